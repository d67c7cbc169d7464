"""pair: rows, the cut, labels and probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.errors import UnknownName
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import PairExample
from tests.world.encoder import TEXTS, letter_tokenizer, tiny_tokenizer

LABELS = ("yes", "no", "maybe")


def pair_format(max_length=16):
    return make_format(Pieces(letter_tokenizer()), FormatSettings("pair", LABELS, max_length))


def example(premise, hypothesis, label=None):
    return PairExample("0", "en", premise, hypothesis, label)


def test_a_row_has_a_doubled_separator():
    [[features]] = pair_format().encode([example("a bc", "d")])
    assert features.input_ids.tolist() == [0, 4, 5, 32, 2, 2, 7, 2]
    assert features.input_ids.dtype == np.int64
    assert features.word_ids is None and features.offsets is None


@pytest.mark.parametrize(
    ("premise", "hypothesis", "kept"),
    [
        ("a b c d e f", "g", ([4, 5, 6], [10])),
        ("a", "g h i j k", ([4], [10, 11, 12])),
        ("a b c d e", "g h i", ([4, 5], [10, 11])),
    ],
)
def test_the_longer_text_is_cut_first(premise, hypothesis, kept):
    [[features]] = pair_format(max_length=8).encode([example(premise, hypothesis)])
    assert features.input_ids.tolist() == [0, *kept[0], 2, 2, *kept[1], 2]


@pytest.mark.parametrize(
    ("text", "ids"), [("a b", [4, 5]), ("a b c d e f", [4, 5, 6, 7, 8, 9]), ("a b c d e f g", [4, 5, 6, 7, 8, 9])]
)
def test_one_text_stands_alone(text, ids):
    """Defect detection: no second text, no second separator, and all the room for the first."""
    [[features]] = pair_format(max_length=8).encode([example(text, "")])
    assert features.input_ids.tolist() == [0, *ids, 2]


@given(first=st.integers(0, 30), second=st.integers(1, 30), max_length=st.integers(6, 40))
def test_rows_are_those_of_the_tokenizers_package(first, second, max_length):
    """The same ids as a Hugging Face tokenizer with `truncation='longest_first'`."""
    texts = " ".join("a" * first), " ".join("b" * second)
    reference = letter_tokenizer()
    reference.enable_truncation(max_length, strategy="longest_first")
    [[features]] = pair_format(max_length).encode([example(*texts)])
    assert features.input_ids.tolist() == reference.encode(*texts).ids


@pytest.mark.parametrize("text", TEXTS)
def test_every_script_gives_the_pieces_of_the_tokenizer(text):
    format_ = make_format(Pieces(tiny_tokenizer()), FormatSettings("pair", LABELS, 128))
    [[features]] = format_.encode([example(text, TEXTS[0])])
    assert features.input_ids.tolist() == tiny_tokenizer().encode(text, TEXTS[0]).ids


def test_targets_are_indices_of_the_labels():
    format_ = pair_format()
    examples = [example("a", "b", label) for label in LABELS]
    rows = format_.encode(examples)
    assert [format_.targets(e, r)[0].tolist() for e, r in zip(examples, rows, strict=True)] == [0, 1, 2]


def test_decode_gives_the_best_label_and_a_probability_for_each():
    format_ = pair_format()
    ratios = np.array([1.0, 2.0, 5.0])
    prediction = format_.decode(example("a", "b"), [], [{"logits": np.log(ratios).astype(np.float32)}])
    assert prediction.label == "maybe"
    assert prediction.probabilities == pytest.approx({"yes": 1 / 8, "no": 2 / 8, "maybe": 5 / 8})


def test_probabilities_of_large_logits_are_finite():
    prediction = pair_format().decode(example("a", "b"), [], [{"logits": np.float32([1000, 0, -1000])}])
    assert prediction.probabilities == {"yes": 1.0, "no": 0.0, "maybe": 0.0}


def test_an_unknown_format_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'pair'"):
        make_format(Pieces(letter_tokenizer()), FormatSettings("pairs"))
