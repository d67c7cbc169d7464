"""Agreement of decoded answers, and the rule by which an export is refused."""

import json
import math

import numpy as np
import pytest

from polystilts.errors import InvalidValue
from polystilts.export.parity import margin, parity
from polystilts.formats import Features
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow


def row(id, language, gold, prediction):
    return BankRow("xnli", "baseline", 0, language, id, id, "choice", json.dumps(gold), json.dumps(prediction), 0.0)


def rows(answers, count=1):
    return [
        row(f"{i}-{n}", language, "a", answer) for n in range(count) for i, (language, answer) in enumerate(answers)
    ]


ACCURACY = get_metric("accuracy")


def test_the_same_answers():
    bank = rows([("en", "a"), ("en", "b"), ("sw", "a")])
    found = parity(bank, bank, ACCURACY)
    assert (found.rows, found.agreement, found.largest_difference) == (3, 1.0, 0.0)
    assert found.differences == {"en": 0.0, "sw": 0.0} and found.failures() == []


def test_another_answer_is_listed_and_refused():
    before = rows([("en", "a"), ("en", "b"), ("sw", "a"), ("sw", "a")])
    after = rows([("en", "a"), ("en", "b"), ("sw", "a"), ("sw", "b")])
    found = parity(before, after, ACCURACY)
    assert found.differences == {"en": 0.0, "sw": -50.0} and found.agreement == 0.75
    (only,) = found.disagreements
    assert (only.language, only.id, only.torch, only.ort, only.margin) == ("sw", "3-0", '"a"', '"b"', None)
    assert [text.split(";")[0] for text in found.failures()] == [
        "the metric of sw differs by -50",
        '1 rows have another answer without a near-tie (margin < 0.0001), the first \'3-0\' (sw): "a" became "b"',
    ]
    after[0] = row(before[0].id, "en", "a", "c")
    assert "2 of 4 rows have another answer" in parity(before, after, ACCURACY).failures()[-1]


def test_a_near_tie_moves_no_metric():
    """Which of two equal answers is given may decide right and wrong; it says nothing of the export."""
    before, after = rows([("en", "a"), ("en", "a")]), rows([("en", "a"), ("en", "b")])
    found = parity(before, after, ACCURACY, margins={("en", before[1].id): 1e-5})
    assert (found.largest_difference, len(found.disagreements), found.failures()) == (0.0, 1, [])
    assert parity(before, after, ACCURACY, margins={("en", before[1].id): 1e-3}).failures()


@pytest.mark.parametrize(("edge", "refused"), [(9e-5, False), (1.1e-4, True), (None, True)])
def test_a_near_tie_in_ten_thousand_may_turn(edge, refused):
    """Two wrong answers: the metric stays."""
    before, after = rows([("en", "b")], 10_000), rows([("en", "b")], 10_000)
    after[7] = row("0-7", "en", "a", "c")
    margins = {} if edge is None else {("en", "0-7"): edge}
    found = parity(before, after, ACCURACY, margins=margins)
    assert bool(found.failures()) == refused
    after[8] = row("0-8", "en", "a", "c")
    assert "2 of 10000" in parity(before, after, ACCURACY, margins=margins).failures()[-1]


def test_odds_beside_a_text_are_no_disagreement():
    before = [row("0", "en", ["x"], {"text": "x", "null_odds": 1.0})]
    after = [row("0", "en", ["x"], {"text": "x", "null_odds": 1.0000001})]

    class Same:
        def score(self, golds, predictions, language):
            return 100.0

    assert parity(before, after, Same()).disagreements == ()


def test_only_the_same_rows_are_compared():
    bank = rows([("en", "a"), ("sw", "a")])
    for other in ([], bank[:1], bank[::-1]):
        with pytest.raises(InvalidValue, match="not the same rows"):
            parity(bank, other, ACCURACY)
    with pytest.raises(InvalidValue, match="not the same rows"):
        parity([], [], ACCURACY)


def features(words=None):
    return Features(np.arange(4), word_ids=None if words is None else np.array(words, np.int32))


def test_margins():
    assert margin([features()], [{"logits": np.array([1.0, 4.0, 3.5])}]) == pytest.approx(0.5)
    choices = [{"logits": np.array([value])} for value in (1.0, 1.25, 9.0)]
    assert margin([features()] * 3, choices) == pytest.approx(7.75)
    tags = np.array([[0.0, 0.0], [1.0, 3.0], [2.0, 2.5], [0.0, 0.0]])  # only words count
    assert margin([features([-1, 0, 1, -1])], [{"logits": tags}]) == pytest.approx(0.5)
    windows = [{"start": np.array([1.0, 9.0, 2.0]), "end": np.array([8.0, 7.75, 0.0])}] * 2
    assert margin([features()] * 2, windows) == pytest.approx(0.25)
    assert margin([features([-1, -1, -1, -1])], [{"logits": tags}]) == math.inf
    with pytest.raises(InvalidValue, match="no scores"):
        margin([features()], [{"embeddings": np.zeros((1, 3))}])
