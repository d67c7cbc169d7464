"""Where does English intermediate training hurt? The gain against how much text of a language the base has read.

Languages are the units of a line, gain against log2 of the text (so a slope is points for every doubling), weighted by
how exactly they are measured, with families as clusters (`lines`). Languages without text have no logarithm and are
reported apart. The line is drawn alone, beside Spearman's rank correlation, and with covariates.

**Regression to the mean.** A baseline that is low by chance makes the gain high by chance, so a gain regressed on the
very baseline that it was subtracted from has a negative slope where nothing is going on. Rows alone are not the only
chance: a seed whose baseline is bad at a language is bad at all its rows. So gain and baseline come from different
halves of the rows (by a hash of the unit) *and* from different seeds, and the slope is the mean over all such
divisions. What is left of the error in the baseline draws the slope towards 0: the slope understates a true relation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from polystilts.analysis import BASELINE
from polystilts.analysis.recipes import holm
from polystilts.analysis.selection import ALPHA
from polystilts.analysis.studies.common import (
    LIMITS,
    Arm,
    Banks,
    Cell,
    Column,
    Compared,
    Effect,
    Result,
    Table,
    chance,
    columns_of,
    family_of,
    gain,
    in_words,
    is_repeat,
    mean_of,
    p_said,
    row_variance,
    too_few_seeds,
    variance_of,
    weigh,
)
from polystilts.analysis.studies.lines import Noise, Rank, Slope, rank_correlation, slope_of
from polystilts.errors import InvalidValue, UnknownName
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats
from polystilts.tasks.languages import LANGUAGES

QUESTION = "Where does English intermediate training hurt: does the gain depend on how much text the base has read?"

#: Covariates of the line, in the order in which tables name them.
COVARIATES = ("baseline", "script", "fertility")


@dataclass(frozen=True)
class LanguageGain(Compared):
    """A language after one recipe on one target, or the mean over those (recipe and target are then '').

    Attributes:
        size: text of it that the base has read; None = not known.
        gain: recipe minus baseline.
        p_holm: of the gain, over the languages of this recipe and target.
        verdict: 'loses' or 'gains' where that is shown (Holm), else ''.
    """

    recipe: str
    target: str
    language: str
    size: float | None
    gain: Effect
    p_holm: float | None
    verdict: str


@dataclass(frozen=True)
class Relation:
    """How the gain of one recipe on one target goes with the languages' text; '' = all recipes and targets together.

    Attributes:
        slope: points for every doubling of the text.
        rank: of gain and text.
        adjusted: the same slope with covariates: each alone, and 'all'. Those that the languages cannot carry are
            left out.
        baseline: points for every point of the baseline, measured on other rows and seeds.
    """

    recipe: str
    target: str
    languages: tuple[str, ...]
    slope: Slope | None
    rank: Rank | None
    adjusted: Mapping[str, Slope]
    baseline: Slope | None


@dataclass(frozen=True)
class LowResourceResult(Result):
    """Adds everything by language and by recipe and target.

    Attributes:
        gains: of every recipe, target and language.
        by_language: the mean over recipes and targets.
        relations: of every recipe and target, first that of all together.
        unseen: mean gain of languages without text, and minus that of the others on the same targets; None without
            such languages.
        share_losing: of the languages, 0 to 1, with a mean gain below 0.
        shown_losing: languages whose mean loss is shown (Holm): at least so many do lose, with 95 % confidence.
    """

    gains: tuple[LanguageGain, ...]
    by_language: tuple[LanguageGain, ...]
    relations: tuple[Relation, ...]
    unseen: Effect | None
    unseen_to_seen: Effect | None
    share_losing: float
    shown_losing: tuple[str, ...]


@dataclass(frozen=True)
class _Setting:
    """What is known of languages."""

    sizes: Mapping[str, float | None]
    fertility: Mapping[str, float]


@dataclass(frozen=True)
class _Data:
    """The languages of one recipe and target that a line goes through, with what is measured of them."""

    recipe: str
    target: str
    languages: tuple[str, ...]
    columns: tuple[Column, ...]
    variances: Floats
    gains: Floats
    # For every division of rows and seeds: gains and baselines [languages]; () where seeds cannot be divided.
    divisions: tuple[tuple[Floats, Floats], ...]


def cc100_sizes() -> dict[str, float | None]:
    """GiB of CC-100 by language: what XLM-R has read; None = not known to us."""
    return {code: language.cc100 for code, language in LANGUAGES.items()}


def low_resource_study(
    cells: Sequence[Cell],
    trivial: Mapping[str, Sequence[BankRow]],
    *,
    base: str,
    sizes: Mapping[str, float | None],
    fertility: Mapping[str, float] | None = None,
) -> LowResourceResult:
    """The gain against the base's own pretraining text.

    Args:
        cells: of the base (others are passed over), the recipe 'baseline' among them; text as it is.
        trivial: rows of each target's trivial baseline.
        base: name of the base.
        sizes: its pretraining text by language, in any unit; 0 = none. `cc100_sizes` for XLM-R.
        fertility: pieces per word of its tokenizer by language.

    Raises:
        UnknownName: a base without cells.
    """
    own = [cell for cell in cells if cell.base == base]
    if not own:
        raise UnknownName("base", base, {cell.base for cell in cells}, param="base")
    banks, known = Banks(own, trivial), _Setting(sizes, fertility or {})
    open_: list[str] = []
    gains: list[LanguageGain] = []
    data: list[_Data] = []
    for target in banks.targets:
        for recipe in banks.recipes:
            if recipe == BASELINE:
                continue
            found = _gains(banks, base, recipe, target, known, open_)
            gains += found
            seen = [line.language for line in found if line.counts and line.size]
            if seen:
                data.append(_data(banks, base, recipe, target, seen))
    by_language = _by_language(banks, base, gains, known)
    relations = [_relation(_stacked([one]), known, open_) for one in data]
    if data:
        relations.insert(0, _relation(_stacked(data), known, open_))
    unseen, unseen_to_seen = _unseen(banks, base, gains)
    if not any(line.size == 0 for line in gains):
        open_.append("anything on languages that the base has never read, because none was scored")
    unknown = sorted({line.language for line in gains if line.size is None})
    if unknown:
        open_.append(f"how {', '.join(unknown)} fit the line, because the size of their text is not known")
    losing = [line for line in by_language if line.gain.value < 0]
    shown = tuple(line.language for line in by_language if line.verdict == "loses")
    slope = relations[0].slope if relations else None
    some = by_language[0].gain if by_language else None
    if slope is not None and 0.0 in slope and some is not None and some.claim:
        open_.append("whether the gain depends on the size of the text, because the interval of the slope holds 0")
    open_ += too_few_seeds(some) + banks.without_trivial()
    return LowResourceResult(
        QUESTION,
        _answer(slope, some, len(losing), shown, len(by_language)),
        slope,
        _tables(gains, by_language, relations, known),
        tuple(dict.fromkeys(open_)),
        tuple(gains),
        tuple(by_language),
        tuple(relations),
        unseen,
        unseen_to_seen,
        len(losing) / len(by_language) if by_language else float("nan"),
        shown,
    )


# Gains.


def _gains(banks: Banks, base: str, recipe: str, target: str, known: _Setting, open_: list[str]) -> list[LanguageGain]:
    arms = list(gain(base, recipe, target))
    missing = [arm for arm in arms if arm not in banks]
    if missing or not banks.seeds(arms):
        reason = f"there is no cell of {' '.join(missing[0])}" if missing else "it shares no seed with the baseline"
        open_.append(f"{recipe} on {target}, because {reason}")
        return []
    found = []
    same = is_repeat(recipe, target)
    for language in banks.languages(arms)[target]:
        effect = banks.effect(gain(base, recipe, target), [language])
        limit, size = banks.limit(arms, [language]), known.sizes.get(language)
        found.append(LanguageGain(recipe, target, language, size, effect, None, "", limit=limit, same=same))
    for limit, why in LIMITS.items():
        if there := [line.language for line in found if line.limit == limit]:
            open_.append(f"{recipe} on {target} in {', '.join(there)}, because {why}")
    return _judged(found)


def _judged(lines: Sequence[LanguageGain]) -> list[LanguageGain]:
    """With Holm's p over these languages, those at a limit apart, and what it shows; too few seeds show nothing."""
    adjusted = holm({line.language: line.gain.p for line in lines if not line.limit})
    found = []
    for line in lines:
        p = adjusted.get(line.language)
        shown = p is not None and p < ALPHA and line.gain.claim
        verdict = ("loses" if line.gain.value < 0 else "gains") if shown else ""
        found.append(replace(line, p_holm=p, verdict=verdict))
    return found


def _by_language(banks: Banks, base: str, gains: Sequence[LanguageGain], known: _Setting) -> list[LanguageGain]:
    found = []
    usable = [line for line in gains if line.counts]
    for language in dict.fromkeys(line.language for line in usable):
        contrasts = [gain(base, line.recipe, line.target) for line in usable if line.language == language]
        weights = mean_of(contrasts)
        if not banks.seeds(weights):
            continue
        effect = banks.effect(weights, [language])
        found.append(LanguageGain("", "", language, known.sizes.get(language), effect, None, ""))
    return _judged(found)


def _unseen(banks: Banks, base: str, gains: Sequence[LanguageGain]) -> tuple[Effect | None, Effect | None]:
    """The mean gain of languages without text, and its difference to the others of the same recipes and targets."""
    cells: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for line in gains:
        if line.size is not None and line.counts:
            cells.setdefault((line.recipe, line.target), ([], []))[line.size > 0].append(line.language)
    cells = {cell: sides for cell, sides in cells.items() if sides[0]}
    if not cells:
        return None, None
    seeds = banks.seeds(arm for recipe, target in cells for arm in gain(base, recipe, target))
    if not seeds:
        return None, None

    def mean(cells: Mapping[tuple[str, str], tuple[list[str], list[str]]], *, both: bool) -> Effect:
        columns, weights = [], []
        for (recipe, target), sides in cells.items():
            for side, sign in zip(sides, (1.0, -1.0), strict=True):
                if sign > 0 or both:
                    columns += [banks.column(gain(base, recipe, target), language, seeds) for language in side]
                    weights += [sign / len(side) / len(cells)] * len(side)
        return weigh(columns, weights)

    two_sided = {cell: sides for cell, sides in cells.items() if sides[1]}
    return mean(cells, both=False), mean(two_sided, both=True) if two_sided else None


# Lines.


def _data(banks: Banks, base: str, recipe: str, target: str, languages: Sequence[str]) -> _Data:
    weights = gain(base, recipe, target)
    seeds = banks.seeds(weights)
    columns = tuple(banks.column(weights, language, seeds) for language in languages)
    effects = [weigh([column], [1.0]) for column in columns]
    return _Data(
        recipe,
        target,
        tuple(languages),
        columns,
        np.array([row_variance(column) for column in columns]),
        np.array([effect.value for effect in effects]),
        _divisions(banks, base, recipe, target, languages, seeds),
    )


def half_of(unit: str) -> int:
    """0 or 1 by a hash of the unit, independent of the one that divides rows between choice and report."""
    return hashlib.sha256(f"half:{unit}".encode()).digest()[0] & 1


def _divisions(
    banks: Banks, base: str, recipe: str, target: str, languages: Sequence[str], seeds: tuple[int, ...]
) -> tuple[tuple[Floats, Floats], ...]:
    """Gains on one half of the rows and some seeds, baselines on the other half and the other seeds."""
    after, before = Arm(base, recipe, target), Arm(base, BASELINE, target)
    fixed = banks.is_fixed(before)
    if len(seeds) < 2 and not fixed:
        return ()
    values = {arm: _by_half(banks, arm, languages) for arm in (after, before)}
    if any(not np.isfinite(halves).all() for found in values.values() for halves in found.values()):
        return ()

    def score(arm: Arm, chosen: Sequence[int], half: int) -> Floats:
        taken = list(values[arm]) if banks.is_fixed(arm) else chosen
        return np.mean([values[arm][seed][half] for seed in taken], axis=0)

    if fixed:
        # One model has no chance of a seed that both could share.
        chosen = [(seeds, seeds)]
    else:
        sizes = sorted({len(seeds) // 2, (len(seeds) + 1) // 2})
        first = [part for size in sizes for part in combinations(seeds, size)]
        chosen = [(part, tuple(seed for seed in seeds if seed not in part)) for part in first]
    return tuple(
        (score(after, one, half) - score(before, one, half), score(before, other, 1 - half))
        for one, other in chosen
        for half in (0, 1)
    )


def _by_half(banks: Banks, arm: Arm, languages: Sequence[str]) -> dict[int, Floats]:
    """Seed -> score [halves, languages]; nan where a half has no rows."""
    metric, found = banks.metric(arm), {}
    for seed, parts in banks.scores(arm).items():
        values = np.full((2, len(languages)), np.nan)
        for place, language in enumerate(languages):
            part = parts[language]
            side = np.array([half_of(unit) for unit in part.units])
            for half in (0, 1):
                if (side == half).any():
                    values[half, place] = metric.value(part.statistics[side == half].sum(axis=0))
        found[seed] = values
    return found


def baseline_slope(
    banks: Banks,
    base: str,
    recipe: str,
    target: str,
    languages: Sequence[str],
    *,
    families: Sequence[str],
    divided: bool = True,
) -> Slope:
    """Points of gain for every point of the baseline, measured on other rows and seeds.

    Args:
        families: of `languages`.
        divided: False regresses the gain on the baseline that it was subtracted from, and shows what that would do.

    Raises:
        InvalidValue: one seed, or too few languages for a line.
    """
    data = _data(banks, base, recipe, target, languages)
    level = np.array([banks.level(Arm(base, BASELINE, target), [language]).value for language in languages])
    divisions = data.divisions if divided else ((data.gains, level),)
    if not divisions:
        message = f"{recipe} on {target} has one seed: gain and baseline cannot be measured apart"
        raise InvalidValue(message, param="seeds", limit=2, given=1)
    return slope_of(
        [gains for gains, _ in divisions],
        [np.column_stack([np.ones(len(languages)), baseline]) for _, baseline in divisions],
        data.variances,
        families,
        column=1,
        noise=lambda weights: variance_of(data.columns, list(weights)),
    )


@dataclass(frozen=True)
class _Stack:
    """Several `_Data` one below the other: a line with one slope and an intercept for each."""

    recipe: str
    target: str
    languages: tuple[str, ...]
    gains: Floats
    variances: Floats
    intercepts: Floats
    divisions: tuple[tuple[Floats, Floats], ...]
    noise: Noise


def _stacked(data: Sequence[_Data]) -> _Stack:
    """Of different seeds those in common count in the error; divisions are taken up to the fewest that any has."""
    columns = [column for one in data for column in one.columns]
    shared = sorted(set.intersection(*(set(column.seeds) for column in columns)))

    def noise(weights: Floats) -> tuple[float, float]:
        return variance_of([_of_seeds(column, shared) for column in columns], list(weights))

    several = len(data) > 1
    number = min(len(one.divisions) for one in data)
    return _Stack(
        "" if several else data[0].recipe,
        "" if several else data[0].target,
        tuple(language for one in data for language in one.languages),
        np.concatenate([one.gains for one in data]),
        np.concatenate([one.variances for one in data]),
        np.concatenate(
            [np.eye(len(data))[[place] * len(one.languages)] for place, one in enumerate(data)],
        ),
        tuple(
            (
                np.concatenate([one.divisions[n][0] for one in data]),
                np.concatenate([one.divisions[n][1] for one in data]),
            )
            for n in range(number)
        ),
        noise if shared else _no_noise,
    )


def _no_noise(weights: Floats) -> tuple[float, float]:
    return 0.0, 1.0


def _of_seeds(column: Column, seeds: Sequence[int]) -> Column:
    if column.seeds == tuple(seeds):
        return column
    places = [column.seeds.index(seed) for seed in seeds]
    return replace(column, seeds=tuple(seeds), values=column.values[:, places])


def _relation(stack: _Stack, known: _Setting, open_: list[str]) -> Relation:
    what = f"{stack.recipe} on {stack.target}" if stack.recipe else "all recipes and targets together"
    families = [family_of(language) for language in stack.languages]
    size = np.log2([float(known.sizes[language] or np.nan) for language in stack.languages])
    covariates = _covariates(stack.languages, known)

    def line(names: Sequence[str], of: str) -> Slope | str:
        """The slope of `of` in a line that has `names` as columns; in words why there is none."""
        if "baseline" in names and not stack.divisions:
            return "gain and baseline share their only seed, so that the slope would show regression to the mean"
        if absent := [name for name in names if name not in covariates and name not in ("size", "baseline")]:
            return f"the {absent[0]} of some languages is not known"
        divided = "baseline" in names
        divisions = stack.divisions if divided else ((stack.gains, np.zeros(0)),)
        designs = [
            np.column_stack(
                [stack.intercepts, *(({"size": size, "baseline": baseline} | covariates)[name] for name in names)]
            )
            for _, baseline in divisions
        ]
        try:
            return slope_of(
                [values for values, _ in divisions],
                designs,
                # Half the rows and about half the seeds.
                stack.variances * (4.0 if divided else 1.0),
                families,
                column=stack.intercepts.shape[1] + list(names).index(of),
                noise=stack.noise,
            )
        except InvalidValue as error:
            return error.message

    def found(outcome: Slope | str, about: str) -> Slope | None:
        if isinstance(outcome, str):
            open_.append(f"{about} for {what}, because {outcome}")
            return None
        return outcome

    slope = found(line(["size"], "size"), "the slope")
    given = [name for name in COVARIATES if name in covariates or name == "baseline"]
    adjusted = {name: line(["size", name], "size") for name in given}
    adjusted["all"] = line(["size", *given], "size")
    if not stack.recipe:
        found(adjusted["all"], "the slope beside all covariates")
    try:
        rank = rank_correlation(size, stack.gains) if stack.recipe else None
    except InvalidValue:
        rank = None
    return Relation(
        stack.recipe,
        stack.target,
        stack.languages,
        slope,
        rank,
        {name: outcome for name, outcome in adjusted.items() if isinstance(outcome, Slope)},
        # Where there is no line through text for want of languages, one reason is enough.
        found(line(["baseline"], "baseline"), "the slope on the baseline") if slope else None,
    )


def _covariates(languages: Sequence[str], known: _Setting) -> dict[str, Floats]:
    """Columns [n] of those that are known for all languages: 1 for another script than Latin, pieces per word."""
    found = {}
    if all(language in LANGUAGES for language in languages):
        found["script"] = np.array([float(LANGUAGES[language].script != "Latin") for language in languages])
    if all(language in known.fertility for language in languages):
        found["fertility"] = np.array([known.fertility[language] for language in languages])
    # A covariate that is the same everywhere is the constant.
    return {name: values for name, values in found.items() if np.ptp(values) > 0}


# What is handed over.


def _tables(
    gains: Sequence[LanguageGain],
    by_language: Sequence[LanguageGain],
    relations: Sequence[Relation],
    known: _Setting,
) -> tuple[Table, ...]:
    def about(line: LanguageGain) -> dict[str, object]:
        script = LANGUAGES[line.language].script if line.language in LANGUAGES else ""
        return {
            "language": line.language,
            "family": family_of(line.language),
            "script": script,
            "size": line.size,
            "fertility": known.fertility.get(line.language),
        }

    def name(relation: Relation) -> dict[str, object]:
        return {"recipe": relation.recipe or "all", "target": relation.target or "all"}

    def slopes(relation: Relation) -> Iterator[dict[str, object]]:
        beside = {f"text beside {'all of them' if one == 'all' else one}": s for one, s in relation.adjusted.items()}
        found = {"text": relation.slope} | beside | {"baseline": relation.baseline}
        for of, slope in found.items():
            if slope is not None:
                parts = {part: getattr(slope, part) for part in ("value", "low", "high", "p", "degrees", "families")}
                yield name(relation) | {"slope_of": of} | parts | {"languages": len(set(relation.languages))}

    return (
        Table(
            "by_language",
            "Mean gain of every language over recipes and targets, in points",
            tuple(
                about(line) | columns_of(line.gain) | {"p_holm": line.p_holm, "verdict": line.verdict}
                for line in sorted(by_language, key=lambda line: (line.size is None, line.size or 0.0))
            ),
        ),
        Table(
            "relations",
            "Slopes of the gain: points for every doubling of the base's text, alone and beside covariates, and points "
            "for every point of the baseline (of other rows and seeds)",
            tuple(line for one in relations for line in slopes(one)),
        ),
        Table(
            "ranks",
            "Spearman's rank correlation of gain and text",
            tuple(
                name(one)
                | {part: getattr(one.rank, part) for part in ("value", "low", "high", "p")}
                | {"languages": one.rank.points}
                for one in relations
                if one.rank is not None
            ),
        ),
        Table(
            "gains",
            "Gain of every recipe, target and language, in points",
            tuple(
                {"recipe": line.recipe, "target": line.target}
                | about(line)
                | columns_of(line.gain)
                | {"p_holm": line.p_holm, "verdict": line.verdict, "limit": line.limit, "same": line.same}
                for line in gains
            ),
        ),
    )


def _answer(slope: Slope | None, some: Effect | None, losing: int, shown: Sequence[str], count: int) -> str:
    if some is None:
        return "Nothing can be said: no language has cells with room for an effect. See what is missing below."
    are = f"{len(shown)} {'is' if len(shown) == 1 else 'are'} shown to (Holm: {', '.join(shown)})"
    lose = f"{losing} of {count} languages lose on average, and {are if shown else 'none is shown to (Holm)'}"
    if slope is None:
        first = f"{lose}; a line through so few languages cannot be drawn."
    else:
        first = f"Every doubling of a language's text changes its gain by {in_words(slope)}; {lose}."
    second = chance(some)
    if not second and slope is not None:
        shows = "is not shown" if 0.0 in slope else "is shown"
        second = (
            f"With languages as a sample and their {slope.families} families as clusters it {shows} that the gain "
            f"depends on the size of the text ({p_said(slope.p)}, {slope.degrees:.1f} degrees of freedom)."
        )
    return f"{first} {second}".strip()
