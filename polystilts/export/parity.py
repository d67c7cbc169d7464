"""Do the exported model's decoded answers equal torch's? Over real rows of every language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from polystilts.errors import InvalidValue
from polystilts.formats.values import Features, Outputs

#: Largest difference of a language's metric in fp32, in points.
METRIC_LIMIT = 1e-6
#: Two scores nearer than this are a tie, which the last bit may decide.
NEAR_TIE = 1e-4
#: Largest share of rows with another answer.
DISAGREEMENT_LIMIT = 1e-4


class AnsweredRow(Protocol):
    """What is read of a row of the prediction bank."""

    @property
    def language(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def prediction(self) -> str: ...
    @property
    def gold_value(self) -> Any: ...
    @property
    def predicted_value(self) -> Any: ...


class Scorer(Protocol):
    """What is asked of a metric."""

    def score(self, golds: Sequence[Any], predictions: Sequence[Any], language: str) -> float: ...


@dataclass(frozen=True)
class Disagreement:
    """A row with two answers; `margin` of torch's two best scores, None where it is not known."""

    language: str
    id: str
    torch: str
    ort: str
    margin: float | None

    @property
    def near_tie(self) -> bool:
        return self.margin is not None and self.margin < NEAR_TIE


@dataclass(frozen=True)
class Parity:
    """Attributes:
    rows: compared.
    differences: of the metric, exported minus torch, in points, by language; near-ties as torch decided them.
    disagreements: every row with another answer.
    """

    rows: int
    differences: Mapping[str, float]
    disagreements: tuple[Disagreement, ...]

    @property
    def agreement(self) -> float:
        """Share of rows with the same answer."""
        return 1 - len(self.disagreements) / self.rows

    @property
    def largest_difference(self) -> float:
        """Of any language's metric, in points; a NaN stays one."""
        return float(np.max(np.abs(list(self.differences.values()))))

    def failures(self) -> list[str]:
        """Why an fp32 export is refused; [] = it is as good as torch.

        Metrics must be equal to METRIC_LIMIT, every disagreement a near-tie, at most 1 in 10,000 rows.
        """
        found = []
        if not self.largest_difference <= METRIC_LIMIT:
            worst = max(self.differences, key=lambda language: abs(self.differences[language]))
            found.append(f"the metric of {worst} differs by {self.differences[worst]:.2g}; the limit is {METRIC_LIMIT}")
        clear = [row for row in self.disagreements if not row.near_tie]
        if clear:
            found.append(
                f"{len(clear)} rows have another answer without a near-tie (margin < {NEAR_TIE}), "
                f"the first {clear[0].id!r} ({clear[0].language}): {clear[0].torch} became {clear[0].ort}"
            )
        # One is always allowed: few rows cannot show a rate of 1 in 10,000.
        if len(self.disagreements) > max(1, DISAGREEMENT_LIMIT * self.rows):
            found.append(
                f"{len(self.disagreements)} of {self.rows} rows have another answer; the limit is 1 in "
                f"{round(1 / DISAGREEMENT_LIMIT):,}"
            )
        return found


def parity(
    torch_rows: Sequence[AnsweredRow],
    ort_rows: Sequence[AnsweredRow],
    metric: Scorer,
    *,
    margins: Mapping[tuple[str, str], float] | None = None,
) -> Parity:
    """Compares the answers of two backends to the same rows.

    Args:
        margins: of torch's two best scores (`margin`) by language and id; a disagreement without one is no near-tie.

    Raises:
        InvalidValue: no rows, or not the same rows in the same order.
    """
    keys = [(row.language, row.id) for row in torch_rows]
    if not keys or keys != [(row.language, row.id) for row in ort_rows]:
        raise InvalidValue(
            f"{len(torch_rows)} rows of torch and {len(ort_rows)} of the export are not the same rows", param="rows"
        )
    pairs: dict[str, list[tuple[AnsweredRow, AnsweredRow]]] = defaultdict(list)
    for first, second in zip(torch_rows, ort_rows, strict=True):
        pairs[first.language].append((first, second))
    disagreements = tuple(
        Disagreement(*key, first.prediction, second.prediction, (margins or {}).get(key))
        for key, first, second in zip(keys, torch_rows, ort_rows, strict=True)
        if _answer(first) != _answer(second)
    )
    near = {(row.language, row.id) for row in disagreements if row.near_tie}
    differences = {}
    for language, rows in pairs.items():
        golds = [first.gold_value for first, _ in rows]
        # What the last bit may decide says nothing of the export.
        taken = [(first, first if (language, first.id) in near else second) for first, second in rows]
        scores = [
            metric.score(golds, [row.predicted_value for row in side], language) for side in zip(*taken, strict=True)
        ]
        differences[language] = scores[1] - scores[0]
    return Parity(len(keys), differences, disagreements)


def _answer(row: AnsweredRow) -> Any:
    """What was decided; beside a span's text stand odds, which are no decision yet."""
    value = row.predicted_value
    return value["text"] if isinstance(value, dict) and "text" in value else value


def margin(features: Sequence[Features], outputs: Sequence[Outputs]) -> float:
    """How far an example's answer is from another one: the least difference of two best scores that decide it.

    Of the labels (pair), of the choices, one a row (choice), of any labelled word's tags (tagging), of the start or of
    the end in any window (span). Infinite where there is nothing to choose between.

    Raises:
        InvalidValue: embeddings, which are no answer.
    """
    if "start" in outputs[0]:
        scores = [output[name] for output in outputs for name in ("start", "end")]
    elif "logits" not in outputs[0]:
        raise InvalidValue("embeddings have no scores to choose by", param="outputs")
    elif features[0].word_ids is not None:
        words = [row.word_ids for row in features if row.word_ids is not None]
        scores = [row for ids, output in zip(words, outputs, strict=True) for row in output["logits"][ids >= 0]]
    elif len(outputs[0]["logits"]) == 1:
        scores = [np.concatenate([output["logits"] for output in outputs])]
    else:
        scores = [output["logits"] for output in outputs]
    best = [np.sort(values)[-2:] for values in scores if len(values) > 1]
    return min((float(second - first) for first, second in best), default=float("inf"))
