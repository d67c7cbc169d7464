"""The predictor over a fake backend: order, refusals, cropping, calls."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.formats import Features, FormatSettings, Pieces, make_format
from polystilts.formats.values import (
    ChoiceExample,
    PairExample,
    Rejected,
    SpanExample,
    TaggingExample,
)
from polystilts.runtime import ort
from polystilts.runtime import predictor as predictor_module
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.predictor import Predictor
from tests.world.encoder import letter_tokenizer


def predictor_of(settings, default, table=None, **options):
    backend = FakeBackend(default, table)
    return Predictor(make_format(Pieces(letter_tokenizer()), settings), backend, **options)


def rows(*lengths):
    """Rows of these lengths, each of ids that no other row has."""
    return [Features(np.full(length, 100 + i, dtype=np.int64)) for i, length in enumerate(lengths)]


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 100))
def test_outputs_come_in_the_order_given(lengths, max_tokens):
    predictor = predictor_of(FormatSettings("pair", ("a", "b")), {"logits": (2,)}, max_tokens=max_tokens)
    outputs = predictor.run(rows(*lengths))
    assert [o["logits"].tolist() for o in outputs] == [[100.0 + i] * 2 for i in range(len(lengths))]


@pytest.mark.parametrize(
    ("settings", "default"),
    [
        (FormatSettings("tagging", ("a", "b")), {"logits": (-1, 2)}),
        (FormatSettings("span"), {"start": (-1,), "end": (-1,)}),
    ],
)
def test_outputs_of_tokens_are_cut_to_the_row(settings, default):
    predictor = predictor_of(settings, default)
    lengths = [3, 17, 1, 9]
    outputs = predictor.run(rows(*lengths))
    assert predictor.backend.calls < len(lengths)  # rows did share a call
    for output, length in zip(outputs, lengths, strict=True):
        assert {name: array.shape for name, array in output.items()} == {
            name: (length, *shape[1:]) for name, shape in default.items()
        }


def test_outputs_of_rows_are_not_cut():
    predictor = predictor_of(FormatSettings("sentence", layers=(0, 1, 2)), {"embeddings": (3, 8)})
    assert predictor.run(rows(2))[0]["embeddings"].shape == (3, 8)


def test_outputs_do_not_keep_the_whole_call_in_memory():
    predictor = predictor_of(FormatSettings("pair", ("a",)), {"logits": (1,)})
    assert all(output["logits"].base is None for output in predictor.run(rows(4, 4, 4)))


@pytest.mark.parametrize(("max_tokens", "calls"), [(1, 6), (10, 3), (20, 2), (30, 1)])
def test_calls_stay_within_the_tokens_given(max_tokens, calls):
    predictor = predictor_of(FormatSettings("pair", ("a",)), {"logits": (1,)}, max_tokens=max_tokens)
    predictor.run(rows(5, 5, 5, 5, 5, 5))
    assert predictor.backend.calls == calls


def test_a_refused_example_stands_in_its_place():
    predictor = predictor_of(FormatSettings("tagging", ("X", "Y")), {"logits": (-1, 2)})
    examples = [TaggingExample(str(i), "en", words) for i, words in enumerate([("a",), (), ("b", "c"), ()])]
    answers = predictor.predict(examples)
    assert [isinstance(answer, Rejected) for answer in answers] == [False, True, False, True]
    assert [len(answers[i].tags) for i in (0, 2)] == [1, 2]


def test_rows_of_an_example_go_to_its_own_answer():
    table = {
        (0, 4, 2, 2, 5, 2): {"logits": np.float32([1])},
        (0, 4, 2, 2, 6, 2): {"logits": np.float32([3])},
        (0, 7, 2, 2, 8, 2): {"logits": np.float32([9])},
        (0, 7, 2, 2, 9, 2): {"logits": np.float32([2])},
    }
    predictor = predictor_of(FormatSettings("choice"), {"logits": (1,)}, table)
    answers = predictor.predict(
        [
            ChoiceExample("0", "en", "a", "", ("b", "c")),
            ChoiceExample("1", "en", "x", "", ("only one",)),
            ChoiceExample("2", "en", "d", "", ("e", "f")),
        ]
    )
    assert [answers[0].label, answers[2].label] == [1, 0]
    assert isinstance(answers[1], Rejected)


def test_predict_is_encode_run_and_decode():
    ids = (0, 20, 2, 2, 4, 5, 6, 2)
    start, end = np.zeros((2, len(ids)), dtype=np.float32)
    start[5] = end[6] = 4
    predictor = predictor_of(
        FormatSettings("span"), {"start": (-1,), "end": (-1,)}, {ids: {"start": start, "end": end}}
    )
    item = SpanExample("0", "en", "q", "a b c")
    [answer] = predictor.predict([item])
    [encoded] = predictor.encode([item])
    assert encoded[0].input_ids.tolist() == list(ids)
    assert predictor.decode(item, encoded, predictor.run(encoded)) == answer
    assert (answer.text, answer.score) == ("b c", 8.0)


def test_progress_counts_every_example(monkeypatch):
    monkeypatch.setattr(predictor_module, "CHUNK", 3)
    predictor = predictor_of(FormatSettings("pair", ("a",)), {"logits": (1,)})
    done = []
    examples = [PairExample(str(i), "en", "a " * (i + 1), "b") for i in range(7)]
    answers = predictor.predict(examples, progress=done.append)
    assert done == [3, 3, 1]
    assert len(answers) == 7


def test_nothing_to_do():
    predictor = predictor_of(FormatSettings("pair", ("a",)), {"logits": (1,)})
    assert predictor.predict([]) == [] and predictor.run([]) == []
    assert predictor.backend.calls == 0


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 6), ("", 6)]
)
def test_usable_cores_are_bounded_by_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(ort.os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setattr(ort, "Path", lambda _: SimpleNamespace(read_text=lambda: quota))
    assert ort.usable_cores() == cores
