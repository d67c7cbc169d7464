"""Examples and predictions as plain JSON values: what metrics compare and the prediction bank keeps.

========  ===============================  =======================================
format    gold                             prediction
========  ===============================  =======================================
pair      label                            label
choice    index                            index
tagging   list of tags                     list of tags
span      list of accepted answer texts    text ('' = no answer)
span*     the same; [] = unanswerable      ``{"text": text, "null_odds": odds of no answer}``
sentence  id of the translation            id found, or ``{"any_of": n}`` (a guess)
mining    list of candidate ids            list of candidate ids kept, or a guess
ranking   list of relevant candidate ids   list of candidate ids, best first, or a guess
========  ===============================  =======================================

``None`` as a prediction is a row that the model refused. span* stands for tasks with unanswerable questions. The
last two are made from a whole collection, not from a row.
"""

from __future__ import annotations

from typing import Any

from polystilts.errors import InvalidValue
from polystilts.formats.values import (
    ChoiceExample,
    ChoicePrediction,
    PairExample,
    PairPrediction,
    Prediction,
    Rejected,
    Row,
    SentencePair,
    SpanExample,
    SpanPrediction,
    TaggingExample,
    TaggingPrediction,
)


def plain_gold(row: Row) -> Any:
    """The gold of a labelled row, as in the table above.

    Raises:
        InvalidValue: the row has no label.
    """
    gold: Any = None
    match row:
        case PairExample() | ChoiceExample():
            gold = row.label
        case TaggingExample():
            gold = None if row.tags is None else list(row.tags)
        case SpanExample():
            # Several annotators often give the same text; once is enough for the best-of-all rule.
            gold = None if row.answers is None else list(dict.fromkeys(answer.text for answer in row.answers))
        case SentencePair():
            gold = row.id
    if gold is None:
        raise InvalidValue(f"row {row.id!r} ({row.language}) has no gold to score against", param="gold")
    return gold


def plain_prediction(prediction: Prediction | Rejected, *, null_odds: bool = False) -> Any:
    """A prediction as in the table above; ``None`` for a refused row.

    Args:
        null_odds: give the odds of no answer beside a span's text (metric `qa_or_none`).

    Raises:
        InvalidValue: an embedding, which is no answer before retrieval has run.
    """
    match prediction:
        case Rejected():
            return None
        case PairPrediction() | ChoicePrediction():
            return prediction.label
        case TaggingPrediction():
            return list(prediction.tags)
        case SpanPrediction():
            if null_odds:
                return {"text": prediction.text, "null_odds": prediction.null_score - prediction.score}
            return prediction.text
    raise InvalidValue("an embedding is no answer by itself; give the id that retrieval found", param="prediction")
