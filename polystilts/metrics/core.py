"""What a metric is, and the two that count right answers.

A metric is told apart into *row statistics*, which can be added, and the *value* of their sum. Whatever
needs the metric of some subset or resample of rows (a bootstrap, a half, one language) adds rows and asks
for the value; F1 is then always that of the summed counts, never a mean of F1s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from polystilts.errors import InvalidValue

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric(ABC):
    """One way of turning gold and predictions into a number from 0 to 100.

    Golds and predictions are plain JSON values (see `polystilts.metrics.plain`). A prediction of ``None``
    stands for a row that the model refused; it counts as wrong.

    Attributes:
        name: the name used in `TaskSpec.metric`.
        title: as a table heads it.
        columns: what the k columns of the row statistics hold.
    """

    name: str
    title: str
    columns: tuple[str, ...]

    @abstractmethod
    def statistics(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> Floats:
        """Row statistics [n, k] of the rows of one language, in the order given.

        Raises:
            InvalidValue: the two sequences do not match.
        """

    @abstractmethod
    def value(self, sums: Floats) -> Floats:
        """The metric [...], 0 to 100, of summed statistics [..., k]."""

    def row_score(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> Floats:
        """A score [n] between 0 and 1 for every row by itself, as the prediction bank keeps it."""
        return self.value(self.statistics(golds, predictions, language)) / 100.0

    def score(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> float:
        """The metric of all rows of one language, 0 to 100.

        Raises:
            InvalidValue: there are no rows, or the two sequences do not match.
        """
        if not len(golds):
            raise InvalidValue(f"{self.name} of no rows in {language!r}", param="golds", limit=1, given=0)
        return float(self.value(self.statistics(golds, predictions, language).sum(axis=0)))

    def details(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> dict[str, float]:
        """Further numbers, 0 to 100, by name; the main one among them."""
        return {self.name: self.score(golds, predictions, language)}


def check_same_length(golds: Sequence[Any], predictions: Sequence[Any]) -> None:
    """Refuse gold and predictions of different lengths.

    Raises:
        InvalidValue: with both lengths.
    """
    if len(golds) != len(predictions):
        message = f"{len(predictions)} predictions for {len(golds)} gold rows"
        raise InvalidValue(message, param="predictions", limit=len(golds), given=len(predictions))


def ratio(numerator: Floats, denominator: Floats, empty: float) -> Floats:
    """numerator / denominator, and `empty` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    out: Floats = np.full(numerator.shape, empty)
    return np.divide(numerator, denominator, out=out, where=denominator != 0)


@dataclass(frozen=True)
class Accuracy(Metric):
    """Share of rows whose prediction equals the gold; statistics (correct, 1).

    XTREME's and XTREME-R's evaluate.py for XNLI, PAWS-X and XCOPA. `details` adds
    the F1 of every label that occurs in gold, by scikit-learn.
    """

    name: str = "accuracy"
    title: str = "accuracy"
    columns: tuple[str, ...] = ("correct", "rows")

    def statistics(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> Floats:
        check_same_length(golds, predictions)
        correct = [self._correct(g, p) for g, p in zip(golds, predictions, strict=True)]
        return np.column_stack([np.array(correct, dtype=np.float64), np.ones(len(golds))])

    def value(self, sums: Floats) -> Floats:
        return 100.0 * ratio(sums[..., 0], sums[..., 1], empty=np.nan)

    def details(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> dict[str, float]:
        labels = sorted({str(g) for g in golds})
        per_label = f1_score(
            [str(g) for g in golds],
            [str(p) for p in predictions],
            labels=labels,
            average=None,
            zero_division=0,
        )
        scores = {f"f1_{label}": 100.0 * float(f1) for label, f1 in zip(labels, per_label, strict=True)}
        return super().details(golds, predictions, language) | scores

    def _correct(self, gold: Any, prediction: Any) -> float:
        return float(gold == prediction)


@dataclass(frozen=True)
class Retrieval(Accuracy):
    """Top-1 accuracy of retrieval; gold and prediction are ids; statistics (correct, 1).

    Tatoeba in XTREME's evaluate.py: the English sentence is the query, the pool is the other language's
    side and stays fixed whichever queries are scored. A prediction ``{"any_of": n}`` is the uniform guess
    among n candidates: it counts 1/n, the expectation.
    """

    name: str = "retrieval"
    title: str = "top-1 accuracy"

    def details(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> dict[str, float]:
        return {self.name: self.score(golds, predictions, language)}

    def _correct(self, gold: Any, prediction: Any) -> float:
        if isinstance(prediction, Mapping):
            return 1.0 / float(prediction["any_of"])
        return float(gold == prediction)
