"""sentence: single rows, cut at the end; the layer that retrieval uses."""

import numpy as np
import pytest

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.formats.values import SentenceExample, SentencePair
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


class TestPooler:
    """The two sides of a dual encoder."""

    def format(self, pooling="pooler", **limits):
        settings = FormatSettings("sentence", pooling=pooling, **({"max_length": 6, "max_question_length": 4} | limits))
        return make_format(Pieces(letter_tokenizer()), settings)

    @pytest.mark.parametrize(
        ("pooling", "query", "ids"),
        [
            ("pooler", True, [0, 4, 5, 2]),
            ("pooler", False, [0, 4, 5, 6, 7, 2]),
            ("mean", True, [0, 4, 5, 6, 7, 2]),
        ],
    )
    def test_queries_have_a_limit_of_their_own(self, pooling, query, ids):
        [[features]] = self.format(pooling).encode([SentenceExample("0", "en", "a b c d e", query=query)])
        assert features.input_ids.tolist() == ids

    def test_a_short_encoder_limits_both(self):
        [[query], [candidate]] = self.format(max_length=3).encode(
            [SentenceExample("0", "en", "a b c d", query=side) for side in (True, False)]
        )
        assert query.input_ids.tolist() == candidate.input_ids.tolist() == [0, 4, 2]

    def test_a_pair_is_two_rows_and_the_query_comes_first(self):
        format_ = self.format()
        pairs = [SentencePair("0", "en", "a b c", "d e f g h"), SentencePair("1", "en", "", "i")]
        rows = format_.encode([pairs[0], SentenceExample("2", "en", "z"), pairs[1]])
        assert [[f.input_ids.tolist() for f in group] for group in rows] == [
            [[0, 4, 5, 2], [0, 7, 8, 9, 10, 2]],
            [[0, 29, 2]],
            [[0, 2], [0, 12, 2]],
        ]
        assert [t.tolist() for t in format_.targets(pairs[0], rows[0])] == [1, 0]

    def test_only_pairs_that_are_trained_are_grouped(self):
        assert self.format().grouped and not self.format("mean").grouped
