"""tagging: one tag a word, long sentences split and never cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.tagging import IGNORED
from polystilts.formats.values import Rejected, TaggingExample
from tests.world.encoder import letter_tokenizer, tiny_format

TAGS = ("N", "V", "X")


def tagging_format(max_length=16):
    return make_format(Pieces(letter_tokenizer()), FormatSettings("tagging", TAGS, max_length))


def example(*tokens, tags=None):
    return TaggingExample("0", "en", tokens, tags)


def rows_of(format_, *tokens):
    [rows] = format_.encode([example(*tokens)])
    return [(row.input_ids.tolist(), row.word_ids.tolist()) for row in rows]


def test_the_first_piece_of_a_word_carries_it():
    assert rows_of(tagging_format(), "ab", "c") == [([0, 4, 31, 6, 2], [-1, 0, -1, 1, -1])]


def test_a_word_without_pieces_is_unknown_and_keeps_its_place():
    assert rows_of(tagging_format(), "a", "", "b") == [([0, 4, 3, 5, 2], [-1, 0, 1, 2, -1])]


def test_a_long_sentence_is_split_between_words():
    assert rows_of(tagging_format(max_length=5), "ab", "cd", "e", "f") == [
        ([0, 4, 31, 2], [-1, 0, -1, -1]),
        ([0, 6, 33, 8, 2], [-1, 1, -1, 2, -1]),
        ([0, 9, 2], [-1, 3, -1]),
    ]


def test_a_word_longer_than_a_row_keeps_its_first_pieces():
    assert rows_of(tagging_format(max_length=5), "a", "bcdefg", "h") == [
        ([0, 4, 2], [-1, 0, -1]),
        ([0, 5, 32, 33, 2], [-1, 1, -1, -1, -1]),
        ([0, 11, 2], [-1, 2, -1]),
    ]


def test_no_words_are_refused_alone():
    encoded = tagging_format().encode([example("a"), example(), example("b")])
    assert isinstance(encoded[1], Rejected) and encoded[1].error.param == "tokens"
    assert [rows[0].input_ids.tolist() for rows in (encoded[0], encoded[2])] == [[0, 4, 2], [0, 5, 2]]


def test_targets_stand_at_first_pieces_only():
    format_ = tagging_format(max_length=5)
    item = example("ab", "c", "d", tags=("X", "N", "V"))
    [rows] = format_.encode([item])
    assert [t.tolist() for t in format_.targets(item, rows)] == [
        [IGNORED, 2, IGNORED, 0, IGNORED],
        [IGNORED, 1, IGNORED],
    ]


def test_decode_reads_first_pieces_only():
    format_ = tagging_format()
    item = example("ab", "c")
    [rows] = format_.encode([item])
    logits = np.zeros((5, 3), dtype=np.float32)
    logits[[0, 2, 4], 0] = 50  # special tokens and the rest of the first word
    logits[1] = np.log([1, 2, 7])
    logits[3] = np.log([1, 3, 1])
    prediction = format_.decode(item, rows, [{"logits": logits}])
    assert prediction.tags == ("X", "V")
    assert prediction.probabilities == pytest.approx((0.7, 0.6))


WORDS = st.sampled_from(
    ["cat", "schläft", "Кошка", "спит", "猫", "桌子上", "แมวนอน", "บ้าน", "बिल्ली", "क", "القطة", "üzerinde", ".",
     "", "\u200b", "👩‍🚀", "cafe\u0301", "ﬁx", "überraschungserfolgsgeschichtenschreiber"]
)  # fmt: skip


@given(words=st.lists(WORDS, min_size=1, max_size=25), max_length=st.integers(4, 40), data=st.data())
def test_every_word_has_one_tag_and_gets_it_back(words, max_length, data):
    format_ = tiny_format("tagging", max_length=max_length, labels=TAGS)
    tags = tuple(data.draw(st.lists(st.sampled_from(TAGS), min_size=len(words), max_size=len(words))))
    item = example(*words, tags=tags)
    [rows] = format_.encode([item])
    assert max(len(row) for row in rows) <= max_length
    assert [w for row in rows for w in row.word_ids if w >= 0] == list(range(len(words)))
    targets = format_.targets(item, rows)
    outputs = [{"logits": np.eye(3, dtype=np.float32)[np.maximum(t, 0)]} for t in targets]
    assert format_.decode(item, rows, outputs).tags == tags
