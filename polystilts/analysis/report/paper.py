"""The paper's main table from our cells: intermediate tasks against targets, as differences to the baseline.

The published numbers that stand beside ours are those read in a source that is named with its table; numbers of the
paper that could not be checked in such a source are not here, its own main table (table 2 of its second version) among
them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from polystilts.analysis import BASELINE
from polystilts.analysis.report.figures import heat_map
from polystilts.analysis.report.values import (
    Column,
    Marked,
    Picture,
    Ranged,
    Section,
    Table,
    count,
    is_missing,
    joined,
    plain,
)
from polystilts.analysis.studies.common import CEILING
from polystilts.errors import MissingData
from polystilts.tasks.catalogue import get_task
from polystilts.tasks.recipe import repeats

#: How the row of the best recipe of every target is called.
BEST = "best per target, chosen on choice rows"

#: What the marks of both ends of the scale mean.
LIMIT_NOTES: Mapping[str, str] = {
    "floor": "not shown to be above the trivial baseline",
    "ceiling": f"{CEILING:g} points or more, so that there is no room for an effect",
}

#: Titles of the two columns of means.
MEAN, MEAN_WITHOUT = "mean", "mean without retrieval"


@dataclass(frozen=True, slots=True)
class Published:
    """One number of a publication.

    Attributes:
        system: whose number it is.
        target: name of the task in the catalogue.
        value: in points.
        metric, rows: what was measured, on which rows.
        source: publication and table.
    """

    system: str
    target: str
    value: float
    metric: str
    rows: str
    source: str


_REMBERT = "RemBERT paper (arXiv 2010.12821), table 16"
_TEST = "XTREME test, all languages"
_REPLICATION = "jiant-dev pull request 128 (the paper's first author); mean over its languages computed here"

_NONE = Marked("none that was checked", look="nothing")

XLMR, STILTS = "XLM-R large", "X-STILTs, best per target"

#: XTREME test by target: metric, XLM-R large, X-STILTs (the paper's second version, best intermediate task per target).
_TABLE_16 = (
    ("xnli", "accuracy", 79.2, 80.0),
    ("pawsx", "accuracy", 86.4, 87.9),
    ("udpos", "F1", 73.8, 74.9),
    ("panx", "F1", 65.4, 64.0),
    ("xquad", "F1", 76.6, 78.7),
    ("mlqa", "F1", 71.6, 72.4),
    ("tydiqa", "F1", 65.1, 76.0),
)

PUBLISHED: tuple[Published, ...] = (
    *(Published(XLMR, target, base, metric, _TEST, _REMBERT) for target, metric, base, _ in _TABLE_16),
    *(Published(STILTS, target, best, metric, _TEST, _REMBERT) for target, metric, _, best in _TABLE_16),
    Published(XLMR, "bucc2018", 71.5, "F1", "XTREME dev, 4 languages", _REPLICATION),
    Published(XLMR, "tatoeba", 31.0, "accuracy", "all rows, 36 languages", _REPLICATION),
)


def paper_section(
    cells: Mapping[tuple[str, str], Ranged],
    choice: Mapping[tuple[str, str], float],
    *,
    limits: Mapping[tuple[str, str], str] = MappingProxyType({}),
    rows: str = "report rows",
    published: Sequence[Published] = PUBLISHED,
) -> Section:
    """The main table with its picture, and beside it what was published.

    Args:
        cells: by (recipe, target): of the baseline its zero-shot mean, of every other recipe the difference to it,
            paired on rows and seeds; both in points with their intervals. A pair that is missing was not measured.
        choice: zero-shot means on choice rows by (recipe, target), the baseline's among them: on these alone the best
            recipe of a target is chosen.
        limits: 'floor' or 'ceiling' by (recipe, target): where the baseline is, and where both a recipe and the
            baseline are. Such a difference is shown in grey, enters no mean, and is not chosen.
        rows: on which rows the cells were scored, in words.

    Raises:
        MissingData: no cell.
        UnknownName: a target that is not in the catalogue.
    """
    if not cells:
        raise MissingData("the main table has no cell", param="cells", limit=1, given=0)
    targets = list(dict.fromkeys(target for _, target in cells))
    recipes = [recipe for recipe in dict.fromkeys(recipe for recipe, _ in cells) if recipe != BASELINE]
    retrieval = {target for target in targets if get_task(target, param="target").format == "sentence"}
    nothing = frozenset(cell for cell in limits if cell[0] != BASELINE)
    same = frozenset((r, t) for r in recipes for t in targets if repeats(r, {t, get_task(t).train_task} - {""}))
    counted = [target for target in targets if not any(name == target for _, name in nothing)]
    chosen = {target: best_recipe(choice, target, nothing | same) for target in targets}
    own = {
        recipe: {target: _difference(cells, (recipe, target), limits, same) for target in targets} for recipe in recipes
    }
    best = {target: _chosen(chosen[target], own, target) for target in targets}
    lines = {BASELINE: {target: _baseline(cells, target, limits) for target in targets}, **own, BEST: best}
    # Of one target a mean says what its column says.
    means = {MEAN: counted} if counted and len(targets) > 1 else {}
    if means and 0 < len(retrieval & set(counted)) < len(counted):
        means[MEAN_WITHOUT] = [target for target in counted if target not in retrieval]
    table = Table(
        "main-table",
        "Intermediate tasks against targets: the baseline's zero-shot mean in points, below it the differences to it, "
        f"with 95 % intervals ({rows})",
        (Column("intermediate task"), *(Column(title, signed=True) for title in (*targets, *means))),
        tuple(
            (name, *line.values(), *(_mean(name, line, over, same) for over in means.values()))
            for name, line in lines.items()
        ),
        note=_note(targets, list(means)[:1] and counted, retrieval, bool(same), limits),
    )
    pictures = []
    if recipes:
        drawing = heat_map(
            {(r, t): cells.get((r, t)) for r in recipes for t in targets}, rows=recipes, columns=targets, weak=nothing
        )
        caption = "Differences to the baseline. Bold: the interval excludes 0."
        if nothing:
            caption += (
                " In brackets: both sides are at the floor, or at the ceiling, and their difference says nothing."
            )
        pictures = [Picture(table.name, caption, drawing, table.name)]
    return Section("The paper's main table", (), tuple(pictures), (table, *_beside(cells, best, published)))


def best_recipe(
    choice: Mapping[tuple[str, str], float], target: str, nothing: Collection[tuple[str, str]] = ()
) -> str | None:
    """The recipe with the highest mean on choice rows, the baseline among them; a tie goes to the baseline, then to
    the earlier name. None where nothing was measured on choice rows.

    Args:
        nothing: (recipe, target) pairs that support no conclusion and are not chosen.
    """
    known = {
        recipe: value
        for (recipe, name), value in choice.items()
        if name == target and not math.isnan(value) and (recipe, name) not in nothing
    }
    if not known:
        return None
    return min(known, key=lambda recipe: (-known[recipe], recipe != BASELINE, recipe))


def _baseline(
    cells: Mapping[tuple[str, str], Ranged], target: str, limits: Mapping[tuple[str, str], str]
) -> Marked | None:
    found = cells.get((BASELINE, target))
    if found is None:
        return None
    return Marked(found, limits.get((BASELINE, target), ""), signed=False)


def _difference(
    cells: Mapping[tuple[str, str], Ranged],
    cell: tuple[str, str],
    limits: Mapping[tuple[str, str], str],
    same: Collection[tuple[str, str]],
) -> Marked | None:
    found = cells.get(cell)
    if found is None or is_missing(found):
        return None
    if cell in limits:
        return Marked(found, limits[cell], "nothing")
    return Marked(found, "=" if cell in same else "", "good" if found.low > 0 else "bad" if found.high < 0 else "")


def _chosen(recipe: str | None, own: Mapping[str, Mapping[str, Marked | None]], target: str) -> Marked | None:
    if recipe == BASELINE:
        return Marked(0.0, BASELINE)
    found = own[recipe][target] if recipe is not None and recipe in own else None
    return None if found is None else replace(found, mark=str(recipe))


def _mean(
    name: str, line: Mapping[str, Marked | None], targets: Sequence[str], same: Collection[tuple[str, str]]
) -> Marked | None:
    """Over all of `targets` but those whose training task the recipe has learnt; None where one was not measured."""
    taken = [target for target in targets if (name, target) not in same]
    values = [plain(line[target]) for target in taken]
    numbers = [value for value in values if isinstance(value, float)]
    if not values or len(numbers) < len(values):
        return None
    mark = "" if len(taken) == len(targets) else f"of {len(taken)}"
    return Marked(sum(numbers) / len(numbers), mark, signed=name != BASELINE)


def _note(
    targets: Sequence[str],
    counted: Sequence[str],
    retrieval: Collection[str],
    same: bool,
    limits: Mapping[tuple[str, str], str],
) -> str:
    parts = []
    if counted:
        parts.append(
            f"Means are unweighted over {count(len(counted), 'target')} and have no interval: targets share the "
            "intermediate checkpoints, so their errors are not independent."
        )
    if counted and (left := [target for target in targets if target not in counted]):
        why = "a recipe and the baseline are both at the floor, or both at the ceiling"
        parts.append(f"Left out of the means, because {why}: {joined(left)}.")
    parts += [f"{limit}: {LIMIT_NOTES[limit]}." for limit in LIMIT_NOTES if limit in limits.values()]
    if 0 < len(retrieval) < len(targets):
        parts.append(f"Retrieval: {joined([target for target in targets if target in retrieval])}.")
    parts.append(
        f"{BEST.capitalize()}: for each target the recipe with the highest mean on choice rows, the baseline among "
        "them; its numbers are of other rows, so the choice does not flatter them."
    )
    if same:
        parts.append(
            "=: the recipe has learnt the target's training task; it enters no mean of its row, and is not chosen."
        )
    return " ".join(parts)


def _beside(
    cells: Mapping[tuple[str, str], Ranged], best: Mapping[str, Marked | None], published: Sequence[Published]
) -> list[Table]:
    """Ours and theirs, one line a target; [] where nothing was published on these targets."""
    found = {(number.target, number.system): number for number in published}
    lines = []
    for target, ours in best.items():
        base, stilts = found.get((target, XLMR)), found.get((target, STILTS))
        given = [number for number in (base, stilts) if number]
        if not given:
            continue
        lines.append(
            (
                target,
                cells.get((BASELINE, target)),
                ours,
                base.value if base else _NONE,
                stilts.value if stilts else _NONE,
                round(stilts.value - base.value, 1) if base and stilts else _NONE,
                "; ".join(dict.fromkeys(f"{number.metric}, {number.rows}" for number in given)),
                "; ".join(dict.fromkeys(number.source for number in given)),
            )
        )
    if not lines:
        return []
    titles = (
        Column("target"),
        Column("ours: baseline"),
        Column("ours: best per target", signed=True),
        Column(f"published: {XLMR}"),
        Column(f"published: {STILTS}"),
        Column("published: difference", signed=True),
        Column("published: metric and rows"),
        Column("source"),
    )
    note = (
        "The published numbers are of XLM-R large and of other rows: they are no target for ours, which are of the "
        "model and the rows named in this report. XTREME's means include English, ours do not. The published "
        "difference is computed here and has no interval. The paper's own table 2 could not be checked and is left out."
    )
    caption = "Our numbers beside the published ones that could be checked"
    return [Table("published", caption, titles, tuple(lines), note)]
