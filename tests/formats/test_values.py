"""Settings survive JSON; a tokenizer without XLM-R's special tokens is refused."""

import json

import pytest
from tokenizers import Tokenizer, models

from polystilts.errors import InvalidValue, MissingData
from polystilts.formats import FormatSettings, Pieces
from tests.world.encoder import SETTINGS, letter_tokenizer


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_survive_json(name):
    text = json.dumps(SETTINGS[name].to_json())
    assert FormatSettings.from_json(json.loads(text)) == SETTINGS[name]


def test_a_tokenizer_without_special_tokens_is_refused():
    tokenizer = Tokenizer(models.Unigram([("<s>", 0.0), ("<pad>", 0.0), ("a", -1.0)], unk_id=0))
    with pytest.raises(InvalidValue, match="no '</s>' token"):
        Pieces(tokenizer)


def test_opening_a_folder(tmp_path):
    with pytest.raises(MissingData, match=r"no tokenizer\.json"):
        Pieces.open(tmp_path)
    letter_tokenizer().save(str(tmp_path / "tokenizer.json"))
    pieces = Pieces.open(tmp_path)
    assert (pieces.bos, pieces.pad, pieces.eos, pieces.unk) == (0, 1, 2, 3)
    assert pieces.vocabulary_size == 57
    assert len(pieces.digest) == 64


def test_a_tokenizer_that_pads_or_cuts_is_told_not_to():
    tokenizer = letter_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding()
    assert [e.ids for e in Pieces(tokenizer).encode(["a b c d e", "a"])] == [[4, 5, 6, 7, 8], [4]]
