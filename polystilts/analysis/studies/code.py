"""Intermediate tasks about code against tasks in natural language.

The margin is a code task minus its partner, a natural-language task of the same format and nearly the same number of
training rows, so that neither the head nor the size explains it; the mean over pairs and targets is the answer. That
code does as well is a claim of its own, which a margin that is "not significant" does not make: *non-inferior* is
what loses less than a point by the lower end of the interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from polystilts.analysis import BASELINE
from polystilts.analysis.recipes import holm
from polystilts.analysis.studies.common import (
    LIMITS,
    Banks,
    Cell,
    Compared,
    Effect,
    Result,
    Table,
    Weights,
    chance,
    columns_of,
    gain,
    in_words,
    is_repeat,
    mean_of,
    p_said,
    parts_of,
    too_few_seeds,
)
from polystilts.errors import UnknownName
from polystilts.metrics.bank import BankRow
from polystilts.tasks.catalogue import get_task

QUESTION = "Do intermediate tasks about code help as much as tasks in natural language?"

#: Points that count as no loss.
LIMIT = 1.0


@dataclass(frozen=True)
class Pair:
    """A code task and the natural-language task that it is compared with: the same format, `rows` of training each."""

    code: str
    natural: str
    format: str
    rows: tuple[int, int]


@dataclass(frozen=True)
class Margin(Compared):
    """Code minus natural language: one pair on one target, or the mean over pairs or targets ('' = all).

    Attributes:
        p_holm: over the pairs and targets; None for means and for lines that support no conclusion.
        p_inferior: one-sided, that code loses `LIMIT` points or more; small where it is shown to be non-inferior.
        non_inferior: the interval speaks of recipes and lies above -`LIMIT`.
    """

    code: str
    natural: str
    target: str
    format: str
    margin: Effect
    p_holm: float | None
    p_inferior: float
    non_inferior: bool


@dataclass(frozen=True)
class Gain:
    """A recipe minus the baseline, over the targets on which both are there and not at the same limit."""

    recipe: str
    kind: str
    effect: Effect
    p_holm: float


@dataclass(frozen=True)
class CodeResult(Result):
    """Adds pairs, margins (each, by pair, by target, by format) and the gain of every recipe."""

    pairs: tuple[Pair, ...]
    margins: tuple[Margin, ...]
    means: tuple[Margin, ...]
    gains: tuple[Gain, ...]


def code_study(
    cells: Sequence[Cell],
    trivial: Mapping[str, Sequence[BankRow]],
    *,
    base: str,
    sizes: Mapping[str, int],
) -> CodeResult:
    """The margin of code tasks.

    Args:
        cells: of single intermediate tasks (mixtures are passed over) and 'baseline'; text as it is.
        trivial: rows of each target's trivial baseline.
        base: name of the base; cells of others are passed over.
        sizes: training rows by intermediate task, as they were trained on.

    Raises:
        UnknownName: an intermediate task without a size.
    """
    banks = Banks([cell for cell in cells if cell.base == base], trivial)
    tasks = [recipe for recipe in banks.recipes if parts_of(recipe) == (recipe,)]
    for task in tasks:
        if task not in sizes:
            raise UnknownName("size of intermediate task", task, sizes, param="sizes")
    pairs, alone = paired_tasks(tasks, sizes)
    open_ = [f"{task}, because no task in natural language has its format ({get_task(task).format})" for task in alone]
    if not pairs:
        open_.append("anything on code, because there is no pair of a code task and one in natural language")
    margins = _adjusted([found for pair in pairs for found in _margins(banks, base, pair, open_)])
    means = _means(banks, base, margins)
    open_ += [
        f"{line.code} against {line.natural} on {line.target}, because {LIMITS[line.limit]}"
        for line in margins
        if line.limit
    ]
    overall = means[0] if means else None
    effect = overall.margin if overall else None
    open_ += too_few_seeds(effect) + banks.without_trivial()
    if effect is not None and effect.claim and overall and not overall.non_inferior and 0.0 in effect:
        open_.append(
            f"whether code does as well, because the interval holds both no difference and a loss of {LIMIT:g} point; "
            f"a true difference of {effect.smallest:.1f} points would be shown by these rows and seeds with 80 % power"
        )
    gains = _gains(banks, base, tasks)
    return CodeResult(
        QUESTION,
        _answer(overall),
        effect,
        _tables(pairs, margins, means, gains),
        tuple(dict.fromkeys(open_)),
        pairs,
        tuple(margins),
        tuple(means),
        tuple(gains),
    )


def paired_tasks(tasks: Sequence[str], sizes: Mapping[str, int]) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Pairs each code task with a task in natural language of its format, and names those without one.

    Over all pairs of a format the sizes agree as well as they can (the least sum of differences of their logarithms);
    a partner is used again only where a format has fewer of them than code tasks.
    """
    pairs: list[Pair] = []
    alone: list[str] = []
    for format in dict.fromkeys(get_task(task).format for task in tasks):
        own = [task for task in tasks if get_task(task).format == format]
        code = [task for task in own if get_task(task).skill == "code"]
        natural = [task for task in own if get_task(task).skill != "code"]
        if not natural:
            alone += code
            continue
        often = -(-len(code) // len(natural))
        partners = natural * max(often, 1)
        apart = [[abs(np.log(sizes[one] / sizes[other])) for other in partners] for one in code]
        if code:
            for row, place in zip(*linear_sum_assignment(apart), strict=True):
                one, other = code[row], partners[place]
                pairs.append(Pair(one, other, format, (sizes[one], sizes[other])))
    return tuple(pairs), tuple(alone)


def _contrast(base: str, code: str, natural: str, target: str) -> Weights:
    return gain(base, code, target, over=natural)


def _margins(banks: Banks, base: str, pair: Pair, open_: list[str]) -> list[Margin]:
    found = []
    for target in banks.targets:
        weights = _contrast(base, pair.code, pair.natural, target)
        what = f"{pair.code} against {pair.natural} on {target}"
        if missing := [arm for arm in weights if arm not in banks]:
            open_.append(f"{what}, because there is no cell of {' '.join(missing[0])}")
        elif not banks.seeds(weights):
            open_.append(f"{what}, because they have no seed in common")
        else:
            languages = banks.languages(weights)[target]
            line = _margin(pair.code, pair.natural, target, pair.format, banks.effect(weights, languages))
            same = any(is_repeat(recipe, target) for recipe in (pair.code, pair.natural))
            found.append(replace(line, limit=banks.limit(weights, languages), same=same))
    return found


def _margin(code: str, natural: str, target: str, format: str, margin: Effect) -> Margin:
    non_inferior = margin.claim and margin.low > -LIMIT
    p = margin.p_below(-LIMIT)
    return Margin(code, natural, target, format, margin, None, p, non_inferior)


def _adjusted(lines: Sequence[Margin]) -> list[Margin]:
    p = holm({str(number): line.margin.p for number, line in enumerate(lines) if line.counts})
    return [replace(line, p_holm=p.get(str(number))) for number, line in enumerate(lines)]


def _means(banks: Banks, base: str, margins: Sequence[Margin]) -> list[Margin]:
    """Over everything first, then by format, by pair and by target."""
    counted = [line for line in margins if line.counts]
    one_format = len({line.format for line in counted}) == 1
    groups: dict[tuple[str, str, str, str], list[Margin]] = {}
    for keys in (
        lambda line: ("", "", "", ""),
        *([] if one_format else [lambda line: ("", "", "", line.format)]),
        lambda line: (line.code, line.natural, "", line.format),
        lambda line: ("", "", line.target, ""),
    ):
        for line in counted:
            groups.setdefault(keys(line), []).append(line)
    found = []
    for (code, natural, target, format), lines in groups.items():
        weights = mean_of([_contrast(base, line.code, line.natural, line.target) for line in lines])
        if banks.seeds(weights):
            found.append(_margin(code, natural, target, format, banks.effect(weights)))
    return found


def _gains(banks: Banks, base: str, tasks: Sequence[str]) -> list[Gain]:
    found: dict[str, Effect] = {}
    for task in tasks:
        contrasts = [
            weights
            for target in banks.targets
            for weights in [gain(base, task, target)]
            if all(arm in banks for arm in weights)
            and not is_repeat(task, target)
            and not banks.limit(weights, banks.languages(weights)[target])
        ]
        if contrasts and banks.seeds([arm for weights in contrasts for arm in weights]):
            found[task] = banks.effect(mean_of(contrasts))
    p = holm({task: effect.p for task, effect in found.items()})
    kinds = {task: "code" if get_task(task).skill == "code" else "natural" for task in tasks}
    return [Gain(task, kinds[task], effect, p[task]) for task, effect in found.items()]


def _tables(
    pairs: Sequence[Pair], margins: Sequence[Margin], means: Sequence[Margin], gains: Sequence[Gain]
) -> tuple[Table, ...]:
    def line(margin: Margin) -> dict[str, object]:
        names = {"code": margin.code, "natural": margin.natural, "target": margin.target, "format": margin.format}
        return (
            {name: value or "all" for name, value in names.items()}
            | columns_of(margin.margin)
            | {"p_holm": margin.p_holm, "p_inferior": margin.p_inferior, "non_inferior": margin.non_inferior}
            | {"limit": margin.limit, "same": margin.same}
        )

    return (
        Table("means", "Code minus natural language, in points", tuple(map(line, means))),
        Table("margins", "Code minus natural language by pair and target, in points", tuple(map(line, margins))),
        Table(
            "pairs",
            "Code tasks and their partners, with training rows",
            tuple(
                {"code": pair.code, "natural": pair.natural, "format": pair.format}
                | {"rows_code": pair.rows[0], "rows_natural": pair.rows[1]}
                for pair in pairs
            ),
        ),
        Table(
            "gains",
            f"Every intermediate task minus the {BASELINE}, in points",
            tuple(
                {"recipe": one.recipe, "kind": one.kind} | columns_of(one.effect) | {"p_holm": one.p_holm}
                for one in gains
            ),
        ),
    )


def _answer(overall: Margin | None) -> str:
    if overall is None:
        return "Nothing can be said: no pair of tasks has cells with room for an effect. See what is missing below."
    effect = overall.margin
    shown = "differ" if effect.shown else "are not shown to differ"
    first = f"Intermediate tasks about code {shown} from those in natural language: margin {in_words(effect)}."
    if not effect.claim:
        return f"{first} {chance(effect)}"
    if overall.non_inferior:
        second = f"They are non-inferior: a loss of {LIMIT:g} point is excluded"
    elif effect.high < -LIMIT:
        return f"{first} They lose more than {LIMIT:g} point."
    else:
        second = f"That they lose less than {LIMIT:g} point is not shown"
    return f"{first} {second} (one-sided {p_said(overall.p_inferior)})."
