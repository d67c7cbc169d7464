from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.metrics import get_metric
from polystilts.metrics.answers import exact_and_f1, mlqa_normalise, squad_normalise

QA = get_metric("qa")
MLQA = get_metric("qa_mlqa")


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("an (old) cat's theme", "old cats theme"),
        ("Der Turm", "der turm"),
        ("在巴黎。", "在巴黎。"),
        ("«Москва»", "«москва»"),
        ("पेरिस।", "पेरिस।"),
    ],
)
def test_squad_normaliser_knows_english_articles_and_ascii_punctuation_only(text: str, normalised: str) -> None:
    assert squad_normalise(text) == normalised


@pytest.mark.parametrize(
    ("language", "text", "normalised"),
    [
        ("en", "The “old” cat", "old cat"),
        ("de", "Der Turm des Doms", "turm doms"),
        ("es", "¿La torre de los reyes?", "torre de reyes"),
        ("vi", "những con mèo của tôi", "con mèo tôi"),
        ("ar", "البيت الكبير", "بيت كبير"),
        ("hi", "पेरिस।", "पेरिस"),
        ("zh", "在巴黎2024年。", "在 巴 黎 2024 年"),
        ("zh", "Eiffel 铁塔", "eiffel 铁 塔"),
        ("ru", "«Москва»", "москва"),
    ],
)
def test_mlqa_normaliser_by_language(language: str, text: str, normalised: str) -> None:
    assert mlqa_normalise(text, language) == normalised


def test_f1_counts_repeated_words_and_takes_the_best_answer() -> None:
    answers = ["New York", "New York City in New York State"]
    exact, f1 = exact_and_f1(answers, "the New York City", "en", squad_normalise)
    assert exact == 0.0
    assert f1 == pytest.approx(2 * 2 / (2 + 3))
    exact, f1 = exact_and_f1(["a b b c"], "b b b", "en", squad_normalise)
    assert f1 == pytest.approx(2 * 2 / (3 + 3))  # "a" is an article


def test_chinese_has_partial_credit_only_by_mlqas_rule() -> None:
    golds, predictions = [["北京大学"]], ["北京"]
    assert QA.details(golds, predictions, "zh") == {"qa": 0.0, "exact_match": 0.0, "f1": 0.0}
    assert MLQA.details(golds, predictions, "zh")["f1"] == pytest.approx(100 * 2 * 2 / (4 + 2))


def test_statistics_scores_and_details_of_hand_written_rows() -> None:
    golds = [["Paris"], ["apples and pears"], [], [], ["Нева"]]
    predictions = ["paris.", "pears", "", "something", None]
    expected = [[1, 1, 1], [0, 0.5, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]]
    assert QA.statistics(golds, predictions, "ru").tolist() == expected
    assert QA.row_score(golds, predictions, "ru").tolist() == [1.0, 0.25, 1.0, 0.0, 0.0]
    assert QA.details(golds, predictions, "ru") == pytest.approx({"qa": 45.0, "exact_match": 40.0, "f1": 50.0})


def test_a_refused_row_is_wrong_even_where_there_is_no_answer() -> None:
    assert QA.score([[]], [None], "en") == 0.0


TEXTS = st.text(alphabet="the a b Paris 巴黎 पेरिस 。.! ال", max_size=20)


@given(st.lists(st.tuples(st.lists(TEXTS, max_size=3), TEXTS), min_size=1, max_size=10))
def test_the_value_of_summed_rows_is_the_mean_over_rows(rows) -> None:
    golds, predictions = [list(g) for g, _ in rows], [p for _, p in rows]
    for metric, normalise in ((QA, squad_normalise), (MLQA, mlqa_normalise)):
        pairs = np.array([exact_and_f1(g, p, "zh", normalise) for g, p in rows])
        assert metric.score(golds, predictions, "zh") == pytest.approx(100 * pairs.mean())
        assert (pairs >= 0).all() and (pairs <= 1).all()


@given(TEXTS, st.sampled_from(["en", "zh", "ar", "sw"]))
def test_a_text_matches_itself(text: str, language: str) -> None:
    exact, f1 = exact_and_f1([text], text, language, mlqa_normalise)
    assert exact == 1.0
    assert f1 == (1.0 if mlqa_normalise(text, language) else 0.0)
