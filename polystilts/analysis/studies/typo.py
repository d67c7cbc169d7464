"""Intermediate tasks against multilingual fine-tuning, on clean and on noisy text.

Three contrasts of an intermediate arm and a multilingual one: the difference on clean text, that on noisy text (the
mean over the rates above 0), and their interaction, noisy minus clean, which says whether noise takes more from one
than from the other. Languages that the multilingual arm was trained in are reported apart: only the others are
zero-shot for both. Points lost depend on what there was to lose, so curves over rates stand beside the relative loss,
100 (clean - noisy) / clean, of every language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polystilts.analysis import BASELINE
from polystilts.analysis.recipes import holm
from polystilts.analysis.studies.common import (
    CLEAN,
    ENGLISH,
    LIMITS,
    Arm,
    Banks,
    Cell,
    Compared,
    Effect,
    Result,
    Table,
    Weights,
    around,
    chance,
    columns_of,
    in_words,
    is_repeat,
    mean_of,
    minus,
    noise_of,
    not_shown,
    too_few_seeds,
    trained_in,
    weigh,
)
from polystilts.errors import InvalidValue
from polystilts.metrics.bank import BankRow

QUESTION = (
    "Under typographical noise, how do models with an English intermediate task compare with multilingual fine-tuning?"
)

#: Languages of a comparison: in no arm's training; in that of the multilingual arm.
GROUPS = ("zero-shot", "trained on")


@dataclass(frozen=True)
class Versus(Compared):
    """An intermediate recipe minus a multilingual one on a target.

    Attributes:
        group: of `GROUPS`.
        kinds: name of the kinds of noise ('' = all).
        clean, noisy: difference on clean text, and the mean of those at the rates above 0.
        interaction: noisy minus clean.
        p_holm: of the interaction, over the pairs of recipes and the targets of this group and these kinds.
        limit: floor on clean text or at any rate of noise; ceiling everywhere.
    """

    intermediate: str
    multilingual: str
    target: str
    format: str
    group: str
    kinds: str
    languages: tuple[str, ...]
    rates: tuple[float, ...]
    clean: Effect
    noisy: Effect
    interaction: Effect
    p_holm: float | None


@dataclass(frozen=True)
class FormatMean:
    """The three contrasts over the targets and pairs of recipes of one format ('' = all), zero-shot languages."""

    format: str
    kinds: str
    targets: tuple[str, ...]
    clean: Effect
    noisy: Effect
    interaction: Effect


@dataclass(frozen=True)
class CurvePoint:
    """A recipe at one rate of noise (percent), over the zero-shot languages of all arms of the target."""

    recipe: str
    target: str
    kinds: str
    rate: float
    level: Effect


@dataclass(frozen=True)
class Loss:
    """Relative loss of a recipe in one language at one rate, in percent of the clean score; '' = their mean."""

    recipe: str
    target: str
    kinds: str
    rate: float
    language: str
    loss: Effect


@dataclass(frozen=True)
class TypoResult(Result):
    """Adds everything by pair of recipes, by format, by rate and by language."""

    versus: tuple[Versus, ...]
    formats: tuple[FormatMean, ...]
    curves: tuple[CurvePoint, ...]
    losses: tuple[Loss, ...]


def typo_study(
    cells: Sequence[Cell],
    trivial: Mapping[str, Sequence[BankRow]],
    *,
    base: str,
    intermediate: Sequence[str],
    multilingual: Sequence[str],
) -> TypoResult:
    """Compares every intermediate recipe with every multilingual one.

    Args:
        cells: CLEAN ones and those of `noise_condition`.
        trivial: rows of each target's trivial baseline, on clean text.
        base: name of the base; cells of others are passed over.
        intermediate: recipes whose target is trained in English.
        multilingual: recipes whose target is trained in several languages (``baseline@en-de-es``).
    """
    banks = Banks([cell for cell in cells if cell.base == base], trivial)
    by_kinds: dict[str, list[str]] = {}
    for arm in banks.cells:
        noise = noise_of(arm.condition)
        if noise is not None and arm.condition not in by_kinds.setdefault(noise[1], []):
            by_kinds[noise[1]].append(arm.condition)
    open_: list[str] = [] if by_kinds else ["anything under noise, because no noisy cells were given"]
    versus = [
        found
        for kinds, conditions in by_kinds.items()
        for target in banks.targets
        for one in intermediate
        for other in multilingual
        for found in _versus(banks, base, one, other, target, kinds, _sorted(conditions), open_)
    ]
    versus = _adjusted(versus)
    formats = _formats(banks, base, versus)
    open_ += [
        f"{line.intermediate} against {line.multilingual} on {line.target} ({line.group}), because {LIMITS[line.limit]}"
        for line in versus
        if line.limit
    ]
    overall = next((line for line in formats if not line.format), None)
    if not any(line.group == "zero-shot" and line.counts for line in versus):
        open_.append("languages that are zero-shot for both, because none was scored with room for an effect")
    effect = overall.interaction if overall else None
    open_ += too_few_seeds(effect) + not_shown(effect, "whether noise changes the difference") + banks.without_trivial()
    recipes = dict.fromkeys([BASELINE, *intermediate, *multilingual])
    curves, losses = _curves(banks, base, list(recipes), by_kinds)
    return TypoResult(
        QUESTION,
        _answer(overall),
        effect,
        _tables(versus, formats, curves, losses),
        tuple(dict.fromkeys(open_)),
        tuple(versus),
        tuple(formats),
        tuple(curves),
        tuple(losses),
    )


def _rate(condition: str) -> float:
    noise = noise_of(condition)
    return 0.0 if noise is None else noise[0]


def _sorted(conditions: Sequence[str]) -> list[str]:
    return sorted(conditions, key=_rate)


def _contrasts(base: str, one: str, other: str, target: str, conditions: Sequence[str]) -> tuple[Weights, Weights]:
    """Clean and noisy difference."""

    def difference(condition: str) -> Weights:
        return {Arm(base, one, target, condition): 1.0, Arm(base, other, target, condition): -1.0}

    return difference(CLEAN), mean_of([difference(condition) for condition in conditions])


def _versus(
    banks: Banks,
    base: str,
    one: str,
    other: str,
    target: str,
    kinds: str,
    conditions: Sequence[str],
    open_: list[str],
) -> list[Versus]:
    there = [c for c in conditions if all(Arm(base, recipe, target, c) in banks for recipe in (one, other))]
    what = f"{one} against {other} on {target}"
    if not there or any(Arm(base, recipe, target) not in banks for recipe in (one, other)):
        open_.append(f"{what}, because clean or noisy cells of one of them are missing")
        return []
    clean, noisy = _contrasts(base, one, other, target, there)
    arms = [*clean, *noisy]
    if not banks.seeds(arms):
        open_.append(f"{what}, because their cells have no seed in common")
        return []
    found = []
    for group, languages in _groups(banks, arms, other).items():
        if not languages:
            continue
        limits = [banks.limit(part, languages) for part in _by_condition(arms)]
        limit = "floor" if "floor" in limits else "ceiling" if all(limits) else ""
        if limits[0] == "ceiling" != limit:
            open_.append(f"{what} ({group}) on clean text, because {LIMITS['ceiling']}")
        found.append(
            Versus(
                one,
                other,
                target,
                banks.spec(target).format,
                group,
                kinds,
                languages,
                tuple(_rate(condition) for condition in there),
                banks.effect(clean, languages),
                banks.effect(noisy, languages),
                banks.effect(minus(noisy, clean), languages),
                None,
                limit=limit,
                same=is_repeat(one, target),
            )
        )
    return found


def _by_condition(arms: Sequence[Arm]) -> list[list[Arm]]:
    return [[arm for arm in arms if arm.condition == c] for c in dict.fromkeys(arm.condition for arm in arms)]


def _groups(banks: Banks, arms: Sequence[Arm], multilingual: str) -> dict[str, tuple[str, ...]]:
    target = arms[0].target
    scored = [set(parts) for arm in arms for parts in banks.scores(arm).values()]
    shared = sorted(set.intersection(*scored) - {ENGLISH})
    learnt = set(trained_in(multilingual))
    return {
        GROUPS[0]: tuple(name for name in banks.languages(arms)[target] if name in shared and name not in learnt),
        GROUPS[1]: tuple(name for name in shared if name in learnt),
    }


def _adjusted(lines: Sequence[Versus]) -> list[Versus]:
    found = list(lines)
    for family in dict.fromkeys((line.group, line.kinds) for line in lines):
        own = {
            str(n): line.interaction.p
            for n, line in enumerate(lines)
            if (line.group, line.kinds) == family and line.counts
        }
        for number, p in holm(own).items():
            found[int(number)] = replace(found[int(number)], p_holm=p)
    return found


def _formats(banks: Banks, base: str, versus: Sequence[Versus]) -> list[FormatMean]:
    counted = [line for line in versus if line.counts and line.group == GROUPS[0]]
    found = []
    for kinds in dict.fromkeys(line.kinds for line in counted):
        of_kinds = [line for line in counted if line.kinds == kinds]
        several = dict.fromkeys(line.format for line in of_kinds)
        for format in ("", *(several if len(several) > 1 else ())):
            own = [line for line in of_kinds if format in ("", line.format)]
            clean, noisy = [], []
            for line in own:
                conditions = [c for c in _conditions(banks, kinds) if _rate(c) in line.rates]
                pair = _contrasts(base, line.intermediate, line.multilingual, line.target, conditions)
                clean.append(pair[0])
                noisy.append(pair[1])
            # The languages that are zero-shot for all recipes of a target.
            languages = {
                target: [x for x in own_of[0].languages if all(x in line.languages for line in own_of)]
                for target in dict.fromkeys(line.target for line in own)
                for own_of in [[line for line in own if line.target == target]]
            }
            if not banks.seeds([arm for weights in (*clean, *noisy) for arm in weights]) or not all(languages.values()):
                continue
            found.append(
                FormatMean(
                    format,
                    kinds,
                    tuple(languages),
                    banks.effect(mean_of(clean), languages),
                    banks.effect(mean_of(noisy), languages),
                    banks.effect(minus(mean_of(noisy), mean_of(clean)), languages),
                )
            )
    return found


def _conditions(banks: Banks, kinds: str) -> list[str]:
    found = dict.fromkeys(arm.condition for arm in banks.cells if (noise_of(arm.condition) or (0, None))[1] == kinds)
    return _sorted(list(found))


def _curves(
    banks: Banks, base: str, recipes: Sequence[str], by_kinds: Mapping[str, Sequence[str]]
) -> tuple[list[CurvePoint], list[Loss]]:
    curves: list[CurvePoint] = []
    losses: list[Loss] = []
    for target in banks.targets:
        clean = {recipe: Arm(base, recipe, target) for recipe in recipes if Arm(base, recipe, target) in banks}
        if not clean:
            continue
        languages = banks.languages(clean.values())[target]
        for kinds, conditions in by_kinds.items():
            for recipe, arm in clean.items():
                for condition in [CLEAN, *_sorted(conditions)]:
                    noisy = arm._replace(condition=condition)
                    if noisy not in banks:
                        continue
                    rate = _rate(condition)
                    curves.append(CurvePoint(recipe, target, kinds, rate, banks.level(noisy, languages)))
                    if condition != CLEAN and banks.seeds([arm, noisy]):
                        losses += _losses(banks, arm, noisy, recipe, kinds, rate, languages)
    return curves, losses


def _losses(
    banks: Banks, clean: Arm, noisy: Arm, recipe: str, kinds: str, rate: float, languages: Sequence[str]
) -> list[Loss]:
    """Of every language in which there is anything to lose, and the mean of these losses."""
    seeds = banks.seeds([clean, noisy])
    columns, values, found = [], [], []
    for language in languages:
        try:
            value, slopes = banks.relative({clean: 1.0, noisy: -1.0}, {clean: 1.0}, [language])
        except InvalidValue:
            continue
        columns.append(banks.column(slopes, language, seeds))
        values.append(value)
        found.append(Loss(recipe, clean.target, kinds, rate, language, around(weigh(columns[-1:], [1.0]), value)))
    if found:
        mean = weigh(columns, [1.0 / len(columns)] * len(columns))
        found.append(Loss(recipe, clean.target, kinds, rate, "", around(mean, sum(values) / len(values))))
    return found


def _tables(
    versus: Sequence[Versus], formats: Sequence[FormatMean], curves: Sequence[CurvePoint], losses: Sequence[Loss]
) -> tuple[Table, ...]:
    def three(line: Versus | FormatMean) -> dict[str, object]:
        parts = ("value", "low", "high")
        differences = {
            f"{name}_{part}": getattr(getattr(line, name), part) for name in ("clean", "noisy") for part in parts
        }
        return differences | columns_of(line.interaction)

    return (
        Table(
            "formats",
            "Intermediate minus multilingual by format, zero-shot languages: clean, noisy, interaction, in points",
            tuple(
                {"format": line.format or "all", "kinds": line.kinds or "all", "targets": " ".join(line.targets)}
                | three(line)
                for line in formats
            ),
        ),
        Table(
            "versus",
            "Intermediate minus multilingual: clean, noisy, and their interaction, in points",
            tuple(
                {"intermediate": line.intermediate, "multilingual": line.multilingual, "target": line.target}
                | {"format": line.format, "group": line.group, "kinds": line.kinds or "all"}
                | {"languages": " ".join(line.languages)}
                | three(line)
                | {"p_holm": line.p_holm, "limit": line.limit, "same": line.same}
                for line in versus
            ),
        ),
        Table(
            "curves",
            "Score by rate of noise (percent of words), zero-shot languages, in points",
            tuple(
                {"recipe": line.recipe, "target": line.target, "kinds": line.kinds or "all", "rate": line.rate}
                | columns_of(line.level)
                for line in curves
            ),
        ),
        Table(
            "losses",
            "Relative loss by language, in percent of the clean score",
            tuple(
                {"recipe": line.recipe, "target": line.target, "kinds": line.kinds or "all", "rate": line.rate}
                | {"language": line.language or "mean"}
                | columns_of(line.loss)
                for line in losses
            ),
        ),
    )


def _answer(overall: FormatMean | None) -> str:
    if overall is None:
        return "Nothing can be said: no pair of arms has clean and noisy cells with room for an effect. See below."
    effect = overall.interaction
    shown = "changes" if effect.shown else "is not shown to change"
    towards = f", towards the {'intermediate' if effect.value > 0 else 'multilingual'} arm" if effect.shown else ""
    targets = "one target" if len(overall.targets) == 1 else f"{len(overall.targets)} targets"
    first = (
        f"Intermediate minus multilingual is {in_words(overall.clean)} on clean text and {in_words(overall.noisy)} on "
        f"noisy text (mean of the rates), over {targets} and languages that neither arm was trained in."
    )
    return f"{first} Noise {shown} the difference: by {in_words(effect)}{towards}. {chance(effect)}".strip()
