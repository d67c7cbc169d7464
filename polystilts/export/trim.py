"""Bundles with a smaller vocabulary: only the pieces that some languages use.

A text that a bundle writes with kept pieces alone gets the same pieces and, bit for bit, the same outputs from the
trimmed one. Any other text is written with shorter kept pieces, down to single characters where those are kept, and
with ``<unk>`` where a character has no piece left; its answer may change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from polystilts.errors import InvalidValue
from polystilts.export.variants import derive, tables
from polystilts.formats import Pieces
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.folders import read_json

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
#: Texts tokenised at once.
_BATCH = 1000


def used_pieces(folder: Path, texts: Iterable[str]) -> set[int]:
    """Ids of the pieces that a folder's tokenizer writes texts with, as whole texts and word by word."""
    pieces, remaining = Pieces.open(folder), iter(texts)
    used: set[int] = set()
    while batch := list(islice(remaining, _BATCH)):
        for encoding in [*pieces.encode(batch), *pieces.encode_words([text.split() for text in batch])]:
            used.update(encoding.ids)
    return used


def trim(bundle: Bundle, place: Path, *, keep: Iterable[int], characters: bool = True) -> Bundle:
    """A bundle with the pieces `keep` and those that every text may need; any precision.

    Always kept: special tokens, byte pieces, pieces of the format's question texts, and the piece of the lowest score
    (what ``<unk>`` costs depends on it).

    Args:
        keep: ids of pieces, e.g. of `used_pieces`.
        characters: keep every piece of one character too, so that few texts get an ``<unk>``.

    Raises:
        InvalidValue: no such piece, a tokenizer other than Unigram, or a graph without an embedding.
    """
    spec = read_json(bundle.folder / "tokenizer.json")
    questions = used_pieces(bundle.folder, bundle.settings.question_texts.values())
    kept = _kept(spec, {*keep, *questions}, characters)
    new_ids = {old: new for new, old in enumerate(kept)}
    before = Pieces.open(bundle.folder)
    if new_ids[before.pad] != before.pad:
        raise InvalidValue(
            f"padding has id {before.pad}, which the graph holds as a constant; it would become {new_ids[before.pad]}",
            param="tokenizer.json",
            limit=before.pad,
            given=new_ids[before.pad],
        )
    model = onnx.load(bundle.folder / "model.onnx")
    found = tables(model.graph)
    if not found:
        raise InvalidValue(f"the graph in {bundle.folder.name} looks no input_ids up in a table", param="model.onnx")
    for _, table in found:
        table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table)[kept], table.name))
    cases = [case["input_ids"] for case in bundle.self_test["cases"]]
    whole = [[new_ids[i] for i in ids] for ids in cases if new_ids.keys() >= set(ids)]
    return derive(
        bundle,
        place,
        model,
        precision=bundle.precision,
        tolerance=bundle.self_test["tolerance"],
        notes={"vocabulary": {"pieces": len(kept), "of": before.vocabulary_size, "characters": characters}},
        tokenizer=json.dumps(_renumbered(spec, kept, new_ids), ensure_ascii=False),
        # Without any, a row of every kept kind: specials first.
        rows=whole or [[before.bos, *range(len(kept))[-8:], before.eos]],
    )


def _kept(spec: Mapping[str, Any], keep: set[int], characters: bool) -> list[int]:
    """All ids to keep, in order: what stands in front of all (the specials) keeps its id."""
    model = spec["model"]
    if model["type"] != "Unigram":
        raise InvalidValue(
            f"only a Unigram vocabulary can be trimmed, this one is {model['type']}",
            param="tokenizer.json",
            limit="Unigram",
            given=model["type"],
        )
    vocabulary = model["vocab"]
    added = {token["id"] for token in spec["added_tokens"]}
    unknown = sorted(i for i in keep if i not in added and not 0 <= i < len(vocabulary))
    if unknown:
        raise InvalidValue(
            f"no piece has the id {unknown[0]}; the vocabulary has {len(vocabulary)}", param="keep", given=unknown[0]
        )
    keep = keep | added | {model["unk_id"]} | {i for i, (piece, _) in enumerate(vocabulary) if _BYTE.fullmatch(piece)}
    keep.add(min(range(len(vocabulary)), key=lambda i: vocabulary[i][1]))
    if characters:
        keep |= {i for i, (piece, _) in enumerate(vocabulary) if len(piece) == 1}
    return sorted(keep)


def _renumbered(spec: Mapping[str, Any], kept: list[int], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The tokenizer's JSON with kept pieces alone, every id in it renumbered."""
    model = spec["model"]
    vocabulary = [model["vocab"][i] for i in kept if i < len(model["vocab"])]
    spec = {
        **spec,
        "model": {**model, "unk_id": new_ids[model["unk_id"]], "vocab": vocabulary},
        "added_tokens": [{**token, "id": new_ids[token["id"]]} for token in spec["added_tokens"]],
        "padding": None,
        "truncation": None,
    }
    for processor in _processors(spec["post_processor"]):
        for special in processor.get("special_tokens", {}).values():
            special["ids"] = [new_ids[i] for i in special["ids"]]
        for name in {"cls", "sep"} & processor.keys():
            processor[name] = [processor[name][0], new_ids[processor[name][1]]]
    return spec


def _processors(processor: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if processor:
        yield processor
        for inner in processor.get("processors", []):
            yield from _processors(inner)
