from __future__ import annotations

import warnings

import numpy as np
import pytest
import seqeval.metrics
from hypothesis import given
from hypothesis import strategies as st

from polystilts.errors import InvalidValue
from polystilts.metrics import get_metric
from polystilts.tasks.catalogue import NER_TAGS, POS_TAGS

POS = get_metric("pos_f1")
SPAN = get_metric("span_f1")


def seqeval_f1(golds, predictions) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100.0 * seqeval.metrics.f1_score(golds, predictions)


def tagged(tags):
    """Lists of (gold tags, predicted tags) of equal length, no sentence empty."""
    pair = st.tuples(st.sampled_from(tags), st.sampled_from(tags))
    return st.lists(st.lists(pair, min_size=1, max_size=8), min_size=1, max_size=8)


def unzip(rows):
    return [[g for g, _ in row] for row in rows], [[p for _, p in row] for row in rows]


@given(tagged((*NER_TAGS, "E-PER", "S-LOC", ".")))
def test_span_f1_is_seqevals(rows) -> None:
    golds, predictions = unzip(rows)
    assert SPAN.score(golds, predictions, "en") == pytest.approx(seqeval_f1(golds, predictions), abs=1e-12)


@given(tagged((*POS_TAGS, "_")))
def test_pos_f1_is_seqevals(rows) -> None:
    golds, predictions = unzip(rows)
    assert POS.score(golds, predictions, "en") == pytest.approx(seqeval_f1(golds, predictions), abs=1e-12)


@given(tagged(("X", "NOUN")))
def test_pos_f1_is_seqevals_where_seqeval_carries_state_over_sentences(rows) -> None:
    golds, predictions = unzip(rows)
    assert POS.score(golds, predictions, "en") == pytest.approx(seqeval_f1(golds, predictions), abs=1e-12)


def test_cconj_and_sconj_are_one_class_to_seqeval_1_2_2() -> None:
    golds = [["PRON", "VERB", "CCONJ", "PRON", "VERB"], ["SCONJ", "PRON", "VERB"]]
    swap = {"CCONJ": "SCONJ", "SCONJ": "CCONJ"}
    predictions = [[swap.get(tag, tag) for tag in tags] for tags in golds]
    details = POS.details(golds, predictions, "zh")
    assert details["pos_f1"] == 100.0
    assert details["pos_f1_whole_tag"] == pytest.approx(75.0)
    assert details["token_accuracy"] == pytest.approx(75.0)
    assert details["macro_f1"] == pytest.approx(50.0)  # PRON and VERB 100, CCONJ and SCONJ 0


def test_neighbours_with_one_tag_are_one_chunk() -> None:
    golds = [["NOUN", "NOUN", "VERB"]]
    predictions = [["NOUN", "VERB", "VERB"]]
    assert POS.statistics(golds, predictions, "en").tolist() == [[0, 2, 2]]
    assert POS.details(golds, predictions, "en")["token_accuracy"] == pytest.approx(200 / 3)


def test_counts_by_sentence_on_hand_written_rows() -> None:
    golds = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"], ["B-ORG", "B-ORG"]]
    predictions = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "O"], ["B-ORG", "I-ORG"]]
    assert SPAN.statistics(golds, predictions, "sw").tolist() == [[1, 2, 2], [0, 0, 0], [0, 1, 2]]
    assert SPAN.score(golds, predictions, "sw") == pytest.approx(200 * 1 / 7)
    assert SPAN.row_score(golds, predictions, "sw").tolist() == [0.5, 1.0, 0.0]
    details = SPAN.details(golds, predictions, "sw")
    assert details["precision"] == pytest.approx(100 / 3)
    assert details["recall"] == pytest.approx(25.0)
    assert details["token_accuracy"] == pytest.approx(75.0)


def test_no_chunk_anywhere_is_zero_as_in_seqeval() -> None:
    assert SPAN.score([["O", "O"]], [["O", "O"]], "en") == 0.0


def test_a_refused_sentence_predicts_nothing() -> None:
    assert POS.statistics([["NOUN", "VERB"]], [None], "hi").tolist() == [[0, 0, 2]]


def test_sums_have_the_metrics_value_over_any_leading_axes() -> None:
    sums = np.array([[[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]])
    assert SPAN.value(sums).tolist() == [[50.0, 0.0]]


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidValue, match="row 0 has 2 words and 1 predicted tags"):
        SPAN.score([["O", "O"]], [["O"]], "en")
    with pytest.raises(InvalidValue, match="1 predictions for 2 gold rows"):
        SPAN.score([["O"], ["O"]], [["O"]], "en")
