from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats import values
from polystilts.metrics import METRICS, get_metric, plain_gold, plain_prediction
from polystilts.tasks.catalogue import TASKS

ACCURACY = get_metric("accuracy")
RETRIEVAL = get_metric("retrieval")
LABELS = ("entailment", "neutral", "contradiction")


def test_every_task_names_a_metric_that_exists() -> None:
    assert {spec.metric for spec in TASKS.values()} <= set(METRICS)


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'accuracy'"):
        get_metric("acuracy")


def test_accuracy_of_labels_and_indices() -> None:
    golds = ["entailment", "neutral", "neutral", "contradiction"]
    predictions = ["entailment", "neutral", "entailment", None]
    assert ACCURACY.statistics(golds, predictions, "sw").tolist() == [[1, 1], [1, 1], [0, 1], [0, 1]]
    details = ACCURACY.details(golds, predictions, "sw")
    assert details == pytest.approx(
        {"accuracy": 50.0, "f1_entailment": 200 / 3, "f1_neutral": 200 / 3, "f1_contradiction": 0.0}
    )
    assert ACCURACY.score([0, 1, 1], [0, 1, 0], "zh") == pytest.approx(200 / 3)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1))
def test_accuracy_of_summed_rows_is_the_share_that_is_right(rows) -> None:
    golds, predictions = [g for g, _ in rows], [p for _, p in rows]
    direct = 100 * np.mean([g == p for g, p in rows])
    assert ACCURACY.score(golds, predictions, "en") == pytest.approx(direct)
    assert ACCURACY.row_score(golds, predictions, "en").mean() == pytest.approx(direct / 100)


def test_a_guess_among_candidates_counts_what_it_expects() -> None:
    assert RETRIEVAL.score(["a", "b"], [{"any_of": 4}, "b"], "tr") == pytest.approx(62.5)
    assert RETRIEVAL.details(["a"], ["a"], "tr") == {"retrieval": 100.0}


def test_no_rows_is_an_error_and_not_a_number() -> None:
    with pytest.raises(InvalidValue, match="accuracy of no rows in 'de'"):
        ACCURACY.score([], [], "de")
    assert np.isnan(ACCURACY.value(np.zeros(2)))


def test_plain_golds() -> None:
    answers = (values.Answer("Нева", 3), values.Answer("Нева", 9), values.Answer("река Нева", 4))
    assert plain_gold(values.PairExample("1", "de", "a", "b", "neutral")) == "neutral"
    assert plain_gold(values.ChoiceExample("1", "de", "a", "", ("x", "y"), 0)) == 0
    assert plain_gold(values.TaggingExample("1", "hi", ("घर",), ("NOUN",))) == ["NOUN"]
    assert plain_gold(values.SpanExample("1", "ru", "q", "c", answers)) == ["Нева", "река Нева"]
    assert plain_gold(values.SentencePair("7", "sw", "habari", "news")) == "7"
    with pytest.raises(InvalidValue, match="row '1' \\(de\\) has no gold"):
        plain_gold(values.PairExample("1", "de", "a", "b"))


def test_plain_predictions() -> None:
    assert plain_prediction(values.PairPrediction("neutral", {})) == "neutral"
    assert plain_prediction(values.ChoicePrediction(1, ())) == 1
    assert plain_prediction(values.TaggingPrediction(("NOUN",), (1.0,))) == ["NOUN"]
    assert plain_prediction(values.SpanPrediction("北京", 0, 2, 1.0, 0.0)) == "北京"
    assert plain_prediction(values.Rejected(InvalidValue("too long"))) is None
    with pytest.raises(InvalidValue, match="no answer by itself"):
        plain_prediction(values.SentencePrediction(np.zeros((1, 2), dtype=np.float32)))
