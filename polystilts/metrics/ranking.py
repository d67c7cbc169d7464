"""Two metrics of retrieval where a query has any number of right answers: mining F1 and mAP@20."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polystilts.errors import InvalidValue
from polystilts.metrics.core import Floats, Metric, check_same_length, ratio

Ids = Sequence[str]


@dataclass(frozen=True)
class MiningF1(Metric):
    """F1 over mined pairs; statistics (true positives, predicted, gold).

    One row per query: gold is the list of ids of its translations ([] = none), the prediction the list of the
    candidate ids kept for it. XTREME's evaluate.py scores BUCC so on two sets of pairs; repeated ids count once.
    Nothing found gives 0, as there. ``{"any_of": n}`` is the uniform guess of one among n candidates.
    """

    name: str = "mining_f1"
    title: str = "mining F1"
    columns: tuple[str, ...] = ("true_positives", "predicted", "gold")

    def statistics(self, golds: Sequence[Ids], predictions: Sequence[Any], language: str) -> Floats:
        check_same_length(golds, predictions)
        counts = np.zeros((len(golds), 3))
        for row, (gold, prediction) in enumerate(zip(golds, predictions, strict=True)):
            right = set(gold)
            if isinstance(prediction, Mapping):
                counts[row] = len(right) / float(prediction["any_of"]), 1.0, len(right)
            else:
                kept = set(prediction or ())
                counts[row] = len(right & kept), len(kept), len(right)
        return counts

    def value(self, sums: Floats) -> Floats:
        return 200.0 * ratio(sums[..., 0], sums[..., 1] + sums[..., 2], empty=0.0)

    def row_score(self, golds: Sequence[Ids], predictions: Sequence[Any], language: str) -> Floats:
        """F1 [n] of each query, 0 to 1; 1 where there was nothing to find and nothing was kept."""
        counts = self.statistics(golds, predictions, language)
        return 2.0 * ratio(counts[:, 0], counts[:, 1] + counts[:, 2], empty=0.5)

    def details(self, golds: Sequence[Ids], predictions: Sequence[Any], language: str) -> dict[str, float]:
        """The main F1, ``precision`` and ``recall`` over pairs."""
        right, predicted, gold = self.statistics(golds, predictions, language).sum(axis=0)
        return {
            self.name: self.score(golds, predictions, language),
            "precision": 100.0 * float(ratio(right, predicted, empty=0.0)),
            "recall": 100.0 * float(ratio(right, gold, empty=0.0)),
        }


@dataclass(frozen=True)
class MeanAveragePrecision(Metric):
    """Mean over queries of the average precision among the first `depth` candidates; statistics (AP, 1).

    Gold is the list of the relevant candidate ids, the prediction a list of candidate ids, best first. The average
    precision is divided by min(relevant, depth), so that a perfect list has 1. With one relevant candidate it is
    the reciprocal rank, as XTREME-R scores Mewsli-X. An id that is repeated counts where it first stands, and its
    later places stay occupied. ``{"any_of": n}`` is a random order of n candidates; it counts its expectation.

    Attributes:
        depth: candidates looked at.
    """

    name: str = "map_at_20"
    title: str = "mAP@20"
    columns: tuple[str, ...] = ("average_precision", "rows")
    depth: int = 20

    def statistics(self, golds: Sequence[Ids], predictions: Sequence[Any], language: str) -> Floats:
        check_same_length(golds, predictions)
        scores = np.ones((len(golds), 2))
        for row, (gold, prediction) in enumerate(zip(golds, predictions, strict=True)):
            relevant = set(gold)
            if not relevant:
                raise InvalidValue(f"row {row} ({language}) has no relevant candidate", param="golds", limit=1, given=0)
            if isinstance(prediction, Mapping):
                scores[row, 0] = self._expected(len(relevant), int(prediction["any_of"]))
            else:
                scores[row, 0] = self._average_precision(relevant, prediction or ())
        return scores

    def value(self, sums: Floats) -> Floats:
        return 100.0 * ratio(sums[..., 0], sums[..., 1], empty=np.nan)

    def _average_precision(self, relevant: set[str], ranking: Ids) -> float:
        total, waiting = 0.0, set(relevant)
        for place, candidate in enumerate(ranking[: self.depth], 1):
            if candidate in waiting:
                waiting.remove(candidate)
                total += (len(relevant) - len(waiting)) / place
        return total / min(len(relevant), self.depth)

    def _expected(self, relevant: int, candidates: int) -> float:
        """The expectation over all orders: at place i a candidate is relevant with probability r / n, and then
        (i - 1)(r - 1) / (n - 1) relevant ones are expected before it."""
        places = np.arange(1, min(self.depth, candidates) + 1)
        before = (places - 1) * (relevant - 1) / max(candidates - 1, 1)
        total = float((relevant / candidates * (1 + before) / places).sum())
        return total / min(relevant, self.depth)
