"""Cells with known accuracies, for the studies' tests."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from scipy.stats import norm

from polystilts.analysis.studies.common import CLEAN, Cell, Table
from polystilts.metrics.bank import BankRow

#: Right answers and wrong ones, as banks keep them.
RIGHT, WRONG = '"yes"', '"no"'


def rows_of(
    target: str, hits: Mapping[str, Sequence[bool]], *, recipe: str = "baseline", seed: int = 0
) -> list[BankRow]:
    """Rows whose answers are right where `hits` says so, by language."""
    found = []
    for language, own in hits.items():
        for place, hit in enumerate(own):
            name, answer = f"r{place}", RIGHT if hit else WRONG
            row = BankRow(target, recipe, seed, language, name, name, "report", RIGHT, answer, float(hit))
            found.append(row)
    return found


def check_tables(tables: Sequence[Table]) -> None:
    """Plain values, and the same columns in all lines."""
    json.dumps([asdict(table) for table in tables], allow_nan=False)
    for table in tables:
        assert len({tuple(line) for line in table.lines}) <= 1, table.name
        csv.DictWriter(io.StringIO(), list(table.lines[0]) if table.lines else []).writerows(table.lines)


class World:
    """Draws cells: every row has a difficulty that all arms share, so that arms are paired."""

    def __init__(self, seed: int = 0, rows: int = 200, languages: Sequence[str] = ("en", "de", "sw", "zh")) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows = rows
        self.languages = tuple(languages)
        self.cells: list[Cell] = []
        self._difficulty: dict[tuple[str, str], np.ndarray] = {}

    def add(
        self,
        recipe: str,
        target: str,
        accuracy: float | Mapping[str, float],
        *,
        base: str = "b",
        seeds: int = 3,
        condition: str = CLEAN,
        wobble: float = 0.02,
    ) -> None:
        """Cells of one arm with these accuracies (0 to 1); `wobble` is the spread of seeds in normal units."""
        for seed in range(seeds):
            turn = wobble * self.rng.normal()
            hits = {}
            for language in self.languages:
                p = accuracy if isinstance(accuracy, float) else accuracy[language]
                key = (target, language)
                if key not in self._difficulty:
                    self._difficulty[key] = self.rng.normal(size=self.rows)
                own = 0.8 * self._difficulty[key] + 0.6 * self.rng.normal(size=self.rows)
                hits[language] = own < norm.ppf(p) + turn
            self.cells.append(
                Cell(base, recipe, target, seed, condition, rows_of(target, hits, recipe=recipe, seed=seed))
            )

    def trivial(self, *targets: str, accuracy: float = 0.3) -> dict[str, list[BankRow]]:
        """Trivial baselines that are right in exactly this share of the rows."""
        hits = [place < accuracy * self.rows for place in range(self.rows)]
        return {target: rows_of(target, dict.fromkeys(self.languages, hits)) for target in targets}
