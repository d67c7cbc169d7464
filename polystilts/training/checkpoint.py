"""Checkpoints: folders in Hugging Face layout with `lineage.json`, complete or absent, verified before use."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

import polystilts
from polystilts.errors import MissingData
from polystilts.formats import FormatSettings, Pieces
from polystilts.runtime.folders import (
    digest_of,
    file_sums,
    new_folder,
    read_json,
    sha256,
    verify_files,
    write_json,
)
from polystilts.training.model import check_tokenizer, read_config
from polystilts.training.state import os_errors

LINEAGE = "lineage.json"
SCHEMA_VERSION = 1

#: Files of a tokenizer that travel with every checkpoint, so that AutoTokenizer opens it.
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder of weights and where they come from.

    Attributes:
        key: digest of everything that determines the weights (parent, data, settings, seed, code); '' for a base
            model that was not made here.
        lineage: content of `lineage.json`, or the base model's description.
        settings: of the format, for a target checkpoint.
    """

    folder: Path
    key: str
    lineage: Mapping[str, Any]
    settings: FormatSettings | None = None

    @property
    def weights(self) -> str:
        """sha256 of the weights."""
        return str(self.lineage["weights"])


def code_digest(*more: str) -> str:
    """sha256 over the package's sources that decide weights and scores: a changed line makes new ones.

    Args:
        more: further layers, for phases that use them.
    """
    root = Path(polystilts.__file__).parent
    whole = hashlib.sha256()
    for layer in ("data", "evaluation.py", "formats", "metrics", "runtime", "tasks", "training", *more):
        place = root / layer
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Opens and verifies a checkpoint of ours, or any Hugging Face folder of an XLM-R encoder.

    Raises:
        MissingData, InvalidValue: no folder, no weights, not XLM-R.
        ChecksumMismatch: changed after it was written.
        TokenizerMismatch: tokenizer and weights do not belong together.
    """
    lineage = read_json(folder / LINEAGE) if (folder / LINEAGE).is_file() else None
    if lineage is not None:
        verify_files(folder, lineage.get("files", {}), manifest=LINEAGE)
    config = read_config(folder)
    pieces = Pieces.open(folder)
    check_tokenizer(pieces, config, folder)
    if lineage is None:
        weights = sorted(folder.glob("*.safetensors"))
        return Checkpoint(
            folder,
            "",
            {
                "phase": "base",
                "name": folder.name,
                "weights": sha256(weights[0]) if len(weights) == 1 else digest_of([sha256(w) for w in weights]),
                "tokenizer": pieces.digest,
            },
        )
    settings = lineage.get("format")
    return Checkpoint(folder, lineage["key"], lineage, FormatSettings.from_json(settings) if settings else None)


def write_checkpoint(
    final: Path,
    model: PreTrainedModel,
    *,
    tokenizer_from: Path,
    key: str,
    lineage: Mapping[str, Any],
    settings: FormatSettings | None = None,
) -> Checkpoint:
    """Saves a model with its tokenizer and lineage; the folder appears whole or not at all."""
    if not (tokenizer_from / "tokenizer.json").is_file():
        raise MissingData(f"no tokenizer.json in {tokenizer_from.absolute()}", given=str(tokenizer_from))
    with new_folder(final) as folder:
        with os_errors(folder / "model.safetensors"):
            model.save_pretrained(folder)
        for name in _TOKENIZER_FILES:
            if (tokenizer_from / name).is_file():
                shutil.copyfile(tokenizer_from / name, folder / name)
        files = file_sums(folder, leave_out=LINEAGE)
        record = {
            "schema_version": SCHEMA_VERSION,
            "key": key,
            **lineage,
            "weights": files["model.safetensors"] if "model.safetensors" in files else digest_of(files),
            "tokenizer": files["tokenizer.json"],
            "format": settings.to_json() if settings else None,
            "files": files,
        }
        write_json(folder / LINEAGE, record)
    return open_checkpoint(final)
