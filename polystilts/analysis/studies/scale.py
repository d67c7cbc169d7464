"""How does the size of the encoder change the gain from intermediate training?

The interaction is the gain at the large base minus the gain at the small one: four arms, paired on rows and seeds. In
points it depends on how much room is left above, so it stands beside that of the relative error reduction, 100 x gain
/ (100 - baseline), which is what a gain takes away of the errors there were. Where the two disagree in sign, the
report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from polystilts.analysis import BASELINE
from polystilts.analysis.recipes import holm
from polystilts.analysis.studies.common import (
    LIMITS,
    Arm,
    Banks,
    Cell,
    Compared,
    Effect,
    Result,
    Table,
    Weights,
    chance,
    columns_of,
    family_of,
    gain,
    in_words,
    is_repeat,
    mean_of,
    minus,
    not_shown,
    too_few_seeds,
)
from polystilts.errors import InvalidValue, UnknownName
from polystilts.metrics.bank import BankRow

QUESTION = "How does the number of parameters change the gain from intermediate training?"


@dataclass(frozen=True)
class Interaction(Compared):
    """A recipe on a target, over all its zero-shot languages or those of a family.

    Attributes:
        family: of the languages; '' = all.
        small, large: the gain at either base.
        points: large minus small.
        errors: the same of the relative error reduction, in percent of errors; None where a baseline makes none.
        p_holm: of `points`, over the recipes and targets (of one family); None for lines that support no conclusion.
        limit: at one of the bases.
    """

    recipe: str
    target: str
    family: str
    languages: tuple[str, ...]
    small: Effect
    large: Effect
    points: Effect
    errors: Effect | None
    p_holm: float | None


@dataclass(frozen=True)
class MeanInteraction:
    """The mean interaction, in points, over the recipes of a target, or over the recipes and targets of a family."""

    target: str
    family: str
    points: Effect
    p_holm: float


@dataclass(frozen=True)
class ScaleResult(Result):
    """Adds the interactions, all languages first, then by family; their means by target and by family, with Holm's p
    over the targets and over the families; and `errors`, the mean of all as relative error reduction."""

    interactions: tuple[Interaction, ...]
    means: tuple[MeanInteraction, ...]
    errors: Effect | None


def scale_study(
    cells: Sequence[Cell], trivial: Mapping[str, Sequence[BankRow]], *, small: str, large: str
) -> ScaleResult:
    """The interaction of size and intermediate training.

    Args:
        cells: of both bases, the recipe 'baseline' among them; text as it is.
        trivial: rows of each target's trivial baseline.
        small, large: names of the bases.

    Raises:
        UnknownName: a base without cells.
    """
    banks = Banks(cells, trivial)
    for base in (small, large):
        if base not in banks.bases:
            raise UnknownName("base", base, banks.bases, param="base")
    lines: list[Interaction] = []
    open_: list[str] = []
    for target in banks.targets:
        for recipe in banks.recipes:
            if recipe == BASELINE:
                continue
            arms = [Arm(base, name, target) for base in (small, large) for name in (recipe, BASELINE)]
            if missing := [arm for arm in arms if arm not in banks]:
                open_.append(f"{recipe} on {target}, because there is no cell of {' '.join(missing[0])}")
                continue
            if not banks.seeds(arms):
                open_.append(f"{recipe} on {target}, because its four arms have no seed in common")
                continue
            everywhere = banks.languages(arms)[target]
            groups = {"": everywhere} | _families(everywhere)
            for family, languages in groups.items():
                lines.append(_interaction(banks, recipe, target, family, languages, small, large))
    lines = _adjusted(lines)
    lines.sort(key=lambda line: line.family != "")
    counted = [line for line in lines if line.counts and not line.family]
    open_ += [
        f"{line.recipe} on {line.target}, because at one of the bases {LIMITS[line.limit]}"
        for line in lines
        if line.limit and not line.family
    ]
    effect = errors = None
    if counted:
        pairs = [(line.recipe, line.target) for line in counted]
        contrasts = [_points(recipe, target, small, large) for recipe, target in pairs]
        shared = banks.seeds([arm for weights in contrasts for arm in weights])
        if shared:
            effect = banks.effect(mean_of(contrasts))
            errors = _mean_errors(banks, pairs, small, large)
        else:
            open_.append("the mean over recipes and targets, because they have no seed in common")
    means = _means(banks, lines, small, large)
    open_ += too_few_seeds(effect) + not_shown(effect, "whether size changes the gain") + banks.without_trivial()
    return ScaleResult(
        QUESTION,
        _answer(effect, errors, len(counted)),
        effect,
        (_means_table(means), _table(lines)),
        tuple(open_),
        tuple(lines),
        tuple(means),
        errors,
    )


def _means(banks: Banks, lines: Sequence[Interaction], small: str, large: str) -> list[MeanInteraction]:
    found: list[MeanInteraction] = []
    counted = [line for line in lines if line.counts]
    for by_family in (False, True):
        own = [line for line in counted if bool(line.family) == by_family]
        effects: dict[str, Effect] = {}
        for name in dict.fromkeys(line.family if by_family else line.target for line in own):
            group = [line for line in own if name == (line.family if by_family else line.target)]
            weights = mean_of([_points(line.recipe, line.target, small, large) for line in group])
            # Of a target the recipes may have different zero-shot languages; those of all count.
            languages = {line.target: set(line.languages) for line in group}
            for line in group:
                languages[line.target] &= set(line.languages)
            if banks.seeds(weights) and all(languages.values()):
                effects[name] = banks.effect(weights, {target: sorted(names) for target, names in languages.items()})
        p = holm({name: effect.p for name, effect in effects.items()})
        found += [
            MeanInteraction("" if by_family else name, name if by_family else "", effect, p[name])
            for name, effect in effects.items()
        ]
    return found


def _means_table(means: Sequence[MeanInteraction]) -> Table:
    return Table(
        "means",
        "Mean interaction by target, and by language family, in points",
        tuple(
            {"target": one.target or "all", "family": one.family or "all"}
            | columns_of(one.points)
            | {"p_holm": one.p_holm}
            for one in means
        ),
    )


def _points(recipe: str, target: str, small: str, large: str) -> Weights:
    return minus(gain(large, recipe, target), gain(small, recipe, target))


def _errors(
    banks: Banks, recipe: str, target: str, small: str, large: str, languages: Sequence[str]
) -> tuple[float, Weights]:
    """Value and derivative of the interaction of relative error reductions."""
    found = []
    for base in (large, small):
        # 100 - baseline is the share of errors.
        below = {Arm(base, BASELINE, target): -1.0}
        found.append(banks.relative(gain(base, recipe, target), below, languages, constant=100.0))
    (at_large, large_slopes), (at_small, small_slopes) = found
    return at_large - at_small, minus(large_slopes, small_slopes)


def _mean_errors(banks: Banks, pairs: Sequence[tuple[str, str]], small: str, large: str) -> Effect | None:
    values, slopes = [], []
    for recipe, target in pairs:
        arms = list(_points(recipe, target, small, large))
        try:
            value, slope = _errors(banks, recipe, target, small, large, banks.languages(arms)[target])
        except InvalidValue:
            return None
        values.append(value)
        slopes.append(slope)
    return banks.effect(mean_of(slopes), value=sum(values) / len(values))


def _interaction(
    banks: Banks, recipe: str, target: str, family: str, languages: tuple[str, ...], small: str, large: str
) -> Interaction:
    try:
        value, slopes = _errors(banks, recipe, target, small, large, languages)
        errors = banks.effect(slopes, languages, value=value)
    except InvalidValue:
        errors = None
    limits = [
        banks.limit([Arm(base, recipe, target), Arm(base, BASELINE, target)], languages) for base in (small, large)
    ]
    return Interaction(
        recipe,
        target,
        family,
        languages,
        small=banks.effect(gain(small, recipe, target), languages),
        large=banks.effect(gain(large, recipe, target), languages),
        points=banks.effect(_points(recipe, target, small, large), languages),
        errors=errors,
        p_holm=None,
        same=is_repeat(recipe, target),
        limit=next(filter(None, limits), ""),
    )


def _families(languages: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By family, in alphabetical order; isolates and unknown languages by themselves."""
    names = {language: family_of(language) for language in languages}
    return {
        family: tuple(language for language in languages if names[language] == family)
        for family in sorted(set(names.values()))
    }


def _adjusted(lines: Sequence[Interaction]) -> list[Interaction]:
    """With Holm's p: one family of hypotheses for all languages, and one for each language family."""
    found = list(lines)
    for family in dict.fromkeys(line.family for line in lines):
        own = {str(n): line.points.p for n, line in enumerate(lines) if line.family == family and line.counts}
        for number, p in holm(own).items():
            found[int(number)] = replace(found[int(number)], p_holm=p)
    return found


def _table(lines: Sequence[Interaction]) -> Table:
    return Table(
        "interactions",
        "Gain at the large base minus gain at the small base, in points; errors: of the relative error reduction",
        tuple(
            {"recipe": line.recipe, "target": line.target, "family": line.family or "all"}
            | {"languages": " ".join(line.languages), "gain_small": line.small.value, "gain_large": line.large.value}
            | columns_of(line.points)
            | {"p_holm": line.p_holm}
            | {f"errors_{name}": line.errors and getattr(line.errors, name) for name in ("value", "low", "high")}
            | {"limit": line.limit, "same": line.same}
            for line in lines
        ),
    )


def _answer(effect: Effect | None, errors: Effect | None, count: int) -> str:
    if effect is None:
        return "Nothing can be said: no recipe and target leaves room for an effect at both bases. See below."
    direction = "changes" if effect.shown else "is not shown to change"
    pairs = "one pair" if count == 1 else f"{count} pairs"
    first = (
        f"From the small to the large base the gain from intermediate training {direction}: by {in_words(effect)}, "
        f"over {pairs} of recipe and target."
    )
    if not effect.claim:
        return f"{first} {chance(effect)}"
    if errors is None:
        return f"{first} As a share of errors the change is not defined, because a baseline makes none."
    agree = "agrees in sign" if errors.value * effect.value >= 0 else "disagrees in sign"
    return f"{first} As relative error reduction it is {in_words(errors, 'percent of errors')}, which {agree}."
