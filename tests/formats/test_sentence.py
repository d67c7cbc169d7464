"""sentence: single rows, cut at the end; the layer that retrieval uses."""

import numpy as np
import pytest

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.formats.values import SentenceExample
from tests.world.encoder import letter_tokenizer


@pytest.mark.parametrize(
    ("text", "ids"), [("a b", [0, 4, 5, 2]), ("a b c d", [0, 4, 5, 6, 2]), ("", [0, 2]), ("ab", [0, 4, 31, 2])]
)
def test_rows(text, ids):
    format_ = make_format(Pieces(letter_tokenizer()), FormatSettings("sentence", max_length=5, layers=(1,)))
    [[features]] = format_.encode([SentenceExample("0", "en", text)])
    assert features.input_ids.tolist() == ids


def test_decode_gives_the_vectors_of_all_layers():
    format_ = make_format(Pieces(letter_tokenizer()), FormatSettings("sentence", layers=(1, 2)))
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    prediction = format_.decode(SentenceExample("0", "en", "a"), [], [{"embeddings": vectors}])
    assert np.array_equal(prediction.embeddings, vectors)


@pytest.mark.parametrize(("depth", "layer"), [(24, 14), (12, 8), (4, 2), (2, 1), (6, 4)])
def test_retrieval_layer(depth, layer):
    assert retrieval_layer(depth) == layer
