"""Numbers from gold and predictions: no model, no torch, nothing but plain values and numpy."""

from __future__ import annotations

from types import MappingProxyType

from polystilts.errors import UnknownName
from polystilts.metrics.answers import AnswerMatch, AnswerOrNone, mlqa_normalise
from polystilts.metrics.core import Accuracy, Metric, Retrieval
from polystilts.metrics.plain import plain_gold, plain_prediction
from polystilts.metrics.ranking import MeanAveragePrecision, MiningF1
from polystilts.metrics.tagging import PosF1, SpanF1, TokenAccuracy

__all__ = ["METRICS", "Metric", "get_metric", "plain_gold", "plain_prediction"]

#: Every metric by the name a `TaskSpec` gives; ``qa_mlqa`` is ``qa`` with MLQA's normaliser.
METRICS: MappingProxyType[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Accuracy(),
            Retrieval(),
            SpanF1(),
            PosF1(),
            TokenAccuracy(),
            AnswerMatch(),
            AnswerMatch(name="qa_mlqa", normalise=mlqa_normalise),
            AnswerOrNone(),
            MiningF1(),
            MeanAveragePrecision(),
        )
    }
)


def get_metric(name: str, *, param: str = "metric") -> Metric:
    """The metric of this name.

    Raises:
        UnknownName: with the nearest known name.
    """
    if name not in METRICS:
        raise UnknownName("metric", name, METRICS, param=param)
    return METRICS[name]
