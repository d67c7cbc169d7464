from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.errors import InvalidValue
from polystilts.formats.values import SpanPrediction
from polystilts.metrics import get_metric, plain_prediction

MINING = get_metric("mining_f1")
MAP = get_metric("map_at_20")
TOKENS = get_metric("token_accuracy")
OR_NONE = get_metric("qa_or_none")


def test_mining_counts_pairs() -> None:
    golds = [["a"], [], ["b", "c"], ["d"]]
    predictions = [["a", "x"], ["y"], ["c", "c"], None]
    assert MINING.statistics(golds, predictions, "de").tolist() == [[1, 2, 1], [0, 1, 0], [1, 1, 2], [0, 0, 1]]
    # Two of four kept pairs are right, of four gold pairs.
    assert MINING.details(golds, predictions, "de") == {"mining_f1": 50.0, "precision": 50.0, "recall": 50.0}
    assert MINING.row_score([[], ["a"]], [[], []], "de").tolist() == [1.0, 0.0]
    assert MINING.score([["a"]], [[]], "de") == 0.0


ids = st.lists(st.sampled_from("abcde"), max_size=4)


@given(st.lists(st.tuples(ids, ids), min_size=1))
def test_mining_is_the_f1_of_two_sets_of_pairs(rows) -> None:
    gold = {(row, i) for row, (golds, _) in enumerate(rows) for i in golds}
    kept = {(row, i) for row, (_, predictions) in enumerate(rows) for i in predictions}
    right = len(gold & kept)
    f1 = 2 / (len(kept) / right + len(gold) / right) if right else 0.0
    assert MINING.score([g for g, _ in rows], [p for _, p in rows], "fr") == pytest.approx(100 * f1)


def test_average_precision_by_hand() -> None:
    # Relevant at places 1, 3 and not found: (1/1 + 2/3) / 3.
    assert MAP.score([["a", "b", "c"]], [["a", "x", "b"]], "el") == pytest.approx(100 * (1 + 2 / 3) / 3)
    # 25 relevant: a perfect list of 20 has 1.
    many = [str(i) for i in range(25)]
    assert MAP.score([many], [many[:20]], "el") == 100.0
    assert MAP.score([["a"]], [[*many[:20], "a"]], "el") == 0.0
    assert MAP.score([["a"], ["a"]], [None, []], "el") == 0.0
    # A repeated id counts once and keeps its later place.
    assert MAP.score([["a", "b"]], [["a", "a", "b"]], "el") == pytest.approx(100 * (1 + 2 / 3) / 2)
    with pytest.raises(InvalidValue, match="row 0 \\(el\\) has no relevant candidate"):
        MAP.score([[]], [["a"]], "el")


@given(st.lists(st.sampled_from("abcdefgh"), max_size=8))
def test_with_one_relevant_candidate_it_is_the_reciprocal_rank(ranking) -> None:
    rank = ranking.index("a") + 1 if "a" in ranking else None
    assert MAP.score([["a"]], [ranking], "uk") == pytest.approx(100 / rank if rank else 0.0)


@pytest.mark.parametrize("relevant", [1, 2, 3])
def test_a_guess_counts_the_mean_over_all_orders(relevant: int) -> None:
    names = "abcde"
    scores = [MAP.score([list(names[:relevant])], [order], "ar") for order in permutations(names)]
    assert MAP.score([list(names[:relevant])], [{"any_of": 5}], "ar") == pytest.approx(np.mean(scores))
    assert MINING.score([["a"]], [{"any_of": 4}], "ar") == pytest.approx(25.0)


def test_token_accuracy_is_over_words() -> None:
    golds, predictions = [["N", "V", "N"], ["O"], []], [["N", "N", "N"], None, []]
    assert TOKENS.statistics(golds, predictions, "yo").tolist() == [[2, 3], [0, 1], [0, 0]]
    assert TOKENS.score(golds, predictions, "yo") == 50.0
    with pytest.raises(InvalidValue, match="row 0 has 1 words and 2"):
        TOKENS.score([["N"]], [["N", "N"]], "yo")


def odds(text: str, value: float) -> dict[str, object]:
    return {"text": text, "null_odds": value}


def test_the_threshold_is_tuned_as_by_squad_2() -> None:
    golds = [["Oslo"], [], ["the red car"], []]
    predictions = [odds("oslo", -1.0), odds("Rome", 0.5), odds("red bus", 1.0), odds("x", 2.0)]
    details = OR_NONE.details(golds, predictions, "en")
    # No answer anywhere: 2. Oslo: 3. Rome lets in a wrong one: 2. "red bus" has F1 1/2: 2.5.
    assert details == pytest.approx(
        {
            "qa_or_none": 75.0,
            "best_exact": 75.0,
            "best_exact_threshold": -1.0,
            "best_f1": 75.0,
            "best_f1_threshold": -1.0,
            "exact": 75.0,
            "f1": 75.0,
        }
    )
    lifted = [odds("oslo", 5.0), odds("Rome", 6.0), odds("red bus", 4.0), odds("x", 7.0)]
    details = OR_NONE.details(golds, lifted, "en")
    assert (details["best_f1"], details["best_f1_threshold"]) == pytest.approx((87.5, 5.0))
    assert (details["best_exact"], details["best_exact_threshold"]) == (75.0, 5.0)
    assert (details["exact"], details["f1"]) == (50.0, 50.0)


def test_texts_without_odds_count_as_they_are() -> None:
    golds = [["Oslo"], [], [], ["Rome"], ["..."]]
    predictions = ["Oslo", "", "x", None, ""]
    assert OR_NONE.statistics(golds, predictions, "en").tolist() == [
        [1, 1, 1],
        [1, 1, 1],
        [0, 0, 1],
        [0, 0, 1],
        [1, 1, 1],
    ]
    assert OR_NONE.score(golds, predictions, "en") == pytest.approx(60.0)
    with pytest.raises(InvalidValue, match="of no rows"):
        OR_NONE.score([], [], "en")


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-50, 50)), min_size=1, unique_by=lambda r: r[2]))
def test_no_threshold_is_better_than_the_tuned_one(rows) -> None:
    golds = [["a b"] if has else [] for has, _, _ in rows]
    texts = ["a b" if right else "b" for _, right, _ in rows]
    values = [float(value) for _, _, value in rows]
    details = OR_NONE.details(golds, [odds(*row) for row in zip(texts, values, strict=True)], "en")
    by_threshold = [
        OR_NONE.details(golds, [odds(t, v - cut) for t, v in zip(texts, values, strict=True)], "en")["exact"]
        for cut in (-60.0, *values)
    ]
    assert details["best_exact"] == pytest.approx(max(by_threshold))


def test_plain_prediction_with_odds() -> None:
    span = SpanPrediction("Oslo", 0, 4, 3.0, 1.0)
    assert plain_prediction(span, null_odds=True) == {"text": "Oslo", "null_odds": -2.0}
