"""A promotion's decision as tables for a terminal and as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.table import Table

from polystilts.analysis.recipes import RecipeEstimate
from polystilts.analysis.selection import ALPHA, TIE, Decision, Gate
from polystilts.analysis.tables import short_names

#: How the tables are to be read; once below all of them.
READING = (
    "Scores are points of the target's main metric on choice rows, as the bundle answers. Mean: over the languages "
    "other than English; ±: half the 95 % interval. Differences are paired on the rows, p is adjusted by Holm. "
    f"Means within {TIE} are tied: fewer training updates win. Shown to be worse: p under {ALPHA}. Can show: the "
    "smallest true difference that these rows find with 80 % power. With fewer than 3 seeds an interval speaks of "
    "these checkpoints, not of the recipe."
)


def decision_tables(decision: Decision, gates: Sequence[Gate], metric: str) -> Iterator[Table]:
    """What a promotion prints: candidates, languages against the champion where there is one, gates."""
    shown = short_names([line.recipe for line in decision.lines])
    legend = "\n".join(f"{name}: {recipe}" for recipe, name in shown.items() if name != recipe)
    title = f"{decision.target}, {metric}"
    yield _table(
        ("recipe", "seeds", "mean", "to baseline", "p", "to champion", "worst", ""),
        (
            (
                shown[line.recipe],
                ",".join(map(str, line.seeds)),
                interval(line.mean, signed=False),
                interval(line.to_baseline),
                _p(line.p_baseline),
                interval(line.to_champion),
                f"{line.worst[0]} {line.worst[1]:.1f}",
                line.verdict,
            )
            for line in decision.lines
        ),
        title=title,
        caption=legend,
    )
    if any(line.to_champion for line in decision.languages):
        yield _table(
            ("language", "n", "score", "to champion", "p worse", "can show", ""),
            (
                (
                    line.language,
                    str(line.rows),
                    f"{line.score:.1f}",
                    interval(line.to_champion),
                    _p(line.p_worse),
                    f"{line.to_champion.smallest:.1f}" if line.to_champion else "",
                    line.verdict,
                )
                for line in decision.languages
            ),
        )
    yield _table(
        ("gate", "", "what was found"),
        ((gate.name, "open" if gate.passed else "[bold red]shut[/]", gate.message) for gate in gates),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", caption: str = "") -> Table:
    """Without the columns that are empty in every row."""
    filled = list(rows)
    kept = [place for place in range(len(heads)) if any(row[place] for row in filled)]
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=title or None,
        title_justify="left",
        caption=caption or None,
    )
    for place in kept:
        # Only the last column, of words, may break.
        table.add_column(heads[place], no_wrap=place < len(heads) - 1)
    for row in filled:
        table.add_row(*(row[place] for place in kept))
    return table


def interval(estimate: RecipeEstimate | None, *, signed: bool = True) -> str:
    """A value with half its 95 % interval, which is symmetric."""
    if estimate is None:
        return ""
    value = f"{estimate.value:+.1f}" if signed else f"{estimate.value:.1f}"
    return f"{value} ±{estimate.high - estimate.value:.1f}"


def decision_json(decision: Decision, gates: Sequence[Gate]) -> dict[str, Any]:
    """Everything as plain values; the chosen one without its rows, which lie in the bank."""
    chosen = decision.chosen
    return {
        "target": decision.target,
        "chosen": {"recipe": chosen.recipe, "seed": chosen.seed, "checkpoint_score": chosen.checkpoint_score},
        "recipes": [asdict(line) for line in decision.lines],
        "languages": [asdict(line) for line in decision.languages],
        "gates": [asdict(gate) for gate in gates],
    }


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "<0.001"
