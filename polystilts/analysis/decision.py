"""A promotion's decision as tables for a terminal and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from polystilts.analysis.recipes import RecipeEstimate
from polystilts.analysis.selection import ALPHA, TIE, Decision, Gate


def decision_tables(decision: Decision, gates: Sequence[Gate], metric: str) -> Iterator[Table | str]:
    """What a promotion prints: candidates, languages against the champion, gates, and how to read them."""
    recipes = Table("recipe", "seeds", "mean", "to baseline", "p", "to champion", "worst", "", title=decision.target)
    for line in decision.lines:
        recipes.add_row(
            line.recipe,
            ",".join(map(str, line.seeds)),
            interval(line.mean, signed=False),
            interval(line.to_baseline),
            _p(line.p_baseline),
            interval(line.to_champion),
            f"{line.worst[0]} {line.worst[1]:.1f}",
            line.verdict,
        )
    yield recipes
    if any(line.to_champion for line in decision.languages):
        languages = Table("language", "n", "score", "to champion", "p worse", "can show", "")
        for row in decision.languages:
            languages.add_row(
                row.language,
                str(row.rows),
                f"{row.score:.1f}",
                interval(row.to_champion),
                _p(row.p_worse),
                f"{row.to_champion.smallest:.1f}" if row.to_champion else "",
                row.verdict,
            )
        yield languages
    conditions = Table("gate", "", "what was found")
    for gate in gates:
        conditions.add_row(gate.name, "open" if gate.passed else "[bold red]shut[/]", gate.message)
    yield conditions
    yield (
        f"{metric} on choice rows, mean over the languages other than English, as the bundle answers; differences "
        f"are paired on the rows, p is adjusted by Holm. Means within {TIE} are a tie: fewer training updates win. "
        f"Shown to be worse: p under {ALPHA}. With fewer than 3 seeds an interval speaks of these checkpoints, not of "
        "the recipe."
    )


def interval(comparison: RecipeEstimate | None, *, signed: bool = True) -> str:
    """A value with its interval, as tables print it."""
    if comparison is None:
        return ""
    if not signed:
        return f"{comparison.value:.1f} [{comparison.low:.1f}, {comparison.high:.1f}]"
    return f"{comparison.value:+.1f} [{comparison.low:+.1f}, {comparison.high:+.1f}]"


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
