"""Fewer pieces, the same answers on texts that use only kept ones."""

import json

import numpy as np
import onnx
import pytest

from polystilts.errors import InvalidValue
from polystilts.export.quantise import fp16, quantise
from polystilts.export.trim import trim, used_pieces
from polystilts.export.variants import tables
from polystilts.formats import Pieces
from polystilts.formats.values import FORMATS, PairExample
from polystilts.runtime.bundle import load_predictor, open_bundle, run_self_test
from tests.world.encoder import EXAMPLES, TEXTS

LATIN = ("en", "de", "tr")
#: Texts in which these are written, and some that are written with the same pieces.
LATIN_TEXTS = [text for text in TEXTS if text.isascii() or any(letter in text for letter in "äöüşçßı")]


def latin(bundle):
    return [row for row in EXAMPLES[bundle.settings.format] if row.language in LATIN]


def texts_of(row):
    names = ("premise", "hypothesis", "question", "context", "text")
    words = [*getattr(row, "choices", ()), *getattr(row, "tokens", ())]
    return [
        *(getattr(row, name) for name in names if hasattr(row, name)),
        *words,
        "What was the CAUSE of this? What then?",
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_identical_answers_on_kept_pieces(bundles, tmp_path, name, precision):
    bundle = bundles(name) if precision == "fp32" else quantise(bundles(name), tmp_path / "int8")
    rows = latin(bundle)
    keep = used_pieces(bundle.folder, [text for row in rows for text in texts_of(row)])
    small = trim(bundle, tmp_path / "small", keep=keep, characters=False)
    assert Pieces.open(small.folder).vocabulary_size < 0.7 * Pieces.open(bundle.folder).vocabulary_size
    first, second = load_predictor(bundle, threads=1), load_predictor(small, threads=1)
    encoded = [predictor.encode(rows) for predictor in (first, second)]
    assert [[len(f) for f in group] for group in encoded[0]] == [[len(f) for f in group] for group in encoded[1]]
    a, b = (p.run([f for group in e for f in group]) for p, e in zip((first, second), encoded, strict=True))
    for before, after in zip(a, b, strict=True):
        for key in before:
            assert np.array_equal(before[key], after[key])
    assert (small.precision, small.settings, small.target) == (bundle.precision, bundle.settings, bundle.target)


def test_quantising_and_trimming_commute(bundles, tmp_path):
    """Rows have scales of their own, so dropping others changes none."""
    keep = range(40, 200)
    first = trim(quantise(bundles("pair"), tmp_path / "q"), tmp_path / "qt", keep=keep)
    second = quantise(trim(bundles("pair"), tmp_path / "t", keep=keep), tmp_path / "tq")
    files = [(b.folder / "model.onnx.data").read_bytes() for b in (first, second)]
    assert files[0] == files[1]


def test_what_is_kept_and_written(bundles, tmp_path):
    bundle = bundles("pair")
    keep = used_pieces(bundle.folder, LATIN_TEXTS)
    small = open_bundle(trim(bundle, tmp_path / "small", keep=keep).folder)
    before, after = (json.loads((b.folder / "tokenizer.json").read_text()) for b in (bundle, small))
    old, new = (dict(spec["model"]["vocab"]) for spec in (before, after))
    assert new.items() <= old.items()
    assert {piece for piece in old if len(piece) == 1} <= new.keys()
    assert {old_piece for i, (old_piece, _) in enumerate(before["model"]["vocab"]) if i in keep} <= new.keys()
    assert min(new.values()) == min(old.values())
    assert [piece for piece, _ in after["model"]["vocab"]] == [p for p, _ in before["model"]["vocab"] if p in new]
    pieces = Pieces.open(small.folder)
    assert (pieces.bos, pieces.pad, pieces.eos, pieces.unk) == (0, 1, 2, 3)
    assert pieces._tokenizer.token_to_id("<mask>") == pieces.vocabulary_size - 1
    model = onnx.load(small.folder / "model.onnx", load_external_data=False)
    assert [table.dims[0] for _, table in tables(model.graph)] == [pieces.vocabulary_size]
    assert small.export["vocabulary"] == {"pieces": pieces.vocabulary_size, "of": 401, "characters": True}
    assert run_self_test(small, load_predictor(small, threads=1)) == 0


def test_other_texts_fall_to_shorter_pieces_or_to_unknown(bundles, tmp_path):
    bundle = bundles("pair")
    keep = used_pieces(bundle.folder, LATIN_TEXTS)
    text = "Собака бежит к реке"
    whole = Pieces.open(bundle.folder).encode([text])[0]
    with_characters = Pieces.open(trim(bundle, tmp_path / "c", keep=keep).folder).encode([text])[0]
    without = trim(bundle, tmp_path / "n", keep=keep, characters=False)
    unknown = Pieces.open(without.folder).encode([text])[0]
    assert len(with_characters) > len(whole) and 3 not in with_characters.ids
    assert 3 in unknown.ids
    answer = load_predictor(without, threads=1).predict([PairExample("x", "ru", text, text)])[0]
    assert answer.label in bundle.settings.labels


def test_fp16_can_be_trimmed(bundles, tmp_path):
    small = trim(fp16(bundles("pair"), tmp_path / "h"), tmp_path / "t", keep=range(50))
    assert small.precision == "fp16" and small.self_test["cases"]


def test_a_self_test_of_dropped_pieces_is_made_anew(bundles, tmp_path):
    small = trim(bundles("pair"), tmp_path / "t", keep=(), characters=False)
    assert Pieces.open(small.folder).vocabulary_size == 6  # four specials, <mask>, the lowest score
    assert small.self_test["cases"][0]["input_ids"][-1] == 2


@pytest.mark.parametrize("keep", [[400_000], [-1]])
def test_unknown_pieces_are_refused(bundles, tmp_path, keep):
    with pytest.raises(InvalidValue, match="no piece has the id"):
        trim(bundles("pair"), tmp_path / "t", keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_only_unigram(tmp_path):
    from tests.world.bundles import tiny_bundle

    bundle = tiny_bundle(tmp_path / "bpe", "xnli")
    with pytest.raises(InvalidValue, match="this one is BPE"):
        trim(bundle, tmp_path / "t", keep=range(9))
