"""The bundle: an immutable folder that says everything a server must know of a model.

``model.onnx`` (graph), ``model.onnx.data`` (all weights, external, memory-mapped), ``tokenizer.json`` and
``bundle.json`` with the format's settings, lineage, a self-test and the sha256 of every other file. The digest of a
bundle is the sha256 of its ``bundle.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, ParityError
from polystilts.formats import Features, FormatSettings, Pieces, make_format
from polystilts.runtime.folders import file_sums, read_json, sha256, verify_files, write_json
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose manifest has been read (and, by `open_bundle`, verified).

    Attributes:
        target: the task the model answers.
        precision: of the weights, 'fp32' or 'int8'.
        lineage: `lineage.json` of the checkpoint it was exported from.
        self_test: input ids of a few rows and the outputs they gave at export, with their tolerance.
        digest: sha256 of ``bundle.json``.
    """

    folder: Path
    target: str
    settings: FormatSettings
    precision: str
    lineage: Mapping[str, Any]
    self_test: Mapping[str, Any]
    files: Mapping[str, str]
    digest: str


def write_manifest(
    folder: Path,
    *,
    target: str,
    settings: FormatSettings,
    precision: str,
    lineage: Mapping[str, Any],
    self_test: Mapping[str, Any],
) -> str:
    """Writes ``bundle.json`` over the files that are there, checksums included; returns the bundle's digest."""
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "settings": settings.to_json(),
        "precision": precision,
        "lineage": dict(lineage),
        "self_test": dict(self_test),
        "files": file_sums(folder, leave_out=MANIFEST),
    }
    write_json(folder / MANIFEST, manifest)
    return sha256(folder / MANIFEST)


def open_bundle(folder: Path, *, digest: str | None = None) -> Bundle:
    """Reads and verifies a bundle.

    Args:
        digest: where given, the digest that the bundle must have.

    Raises:
        MissingData: no bundle there.
        InvalidValue: a schema version this code does not know.
        ChecksumMismatch: a file missing, changed or not listed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingData(f"no bundle in {folder.absolute()}: it has no {MANIFEST}", given=str(folder))
    found = sha256(path)
    if digest not in (None, found):
        raise ChecksumMismatch(f"bundle {folder} has digest {found[:12]}…, expected {str(digest)[:12]}…")
    manifest = read_json(path)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InvalidValue(
            f"bundle schema {version} in {folder}; this version reads {SCHEMA_VERSION}",
            param="schema_version",
            limit=SCHEMA_VERSION,
            given=version,
        )
    verify_files(folder, manifest["files"], manifest=MANIFEST)
    return Bundle(
        folder=folder,
        target=manifest["target"],
        settings=FormatSettings.from_json(manifest["settings"]),
        precision=manifest["precision"],
        lineage=manifest["lineage"],
        self_test=manifest["self_test"],
        files=manifest["files"],
        digest=found,
    )


def load_predictor(bundle: Bundle, *, threads: int = 0, max_tokens: int = 1024) -> Predictor:
    """The predictor that answers for a bundle, on ONNX Runtime."""
    format_ = make_format(Pieces.open(bundle.folder), bundle.settings)
    return Predictor(format_, OrtBackend(bundle.folder, threads=threads), max_tokens=max_tokens)


def record_self_test(predictor: Predictor, rows: Sequence[Features], *, tolerance: float) -> dict[str, Any]:
    """The self-test's stored form: ids and outputs of `rows`, run one by one."""
    cases = []
    for row in rows:
        outputs = predictor.run([row])[0]
        cases.append(
            {
                "input_ids": row.input_ids.tolist(),
                "outputs": {name: np.asarray(value, dtype=float).tolist() for name, value in outputs.items()},
            }
        )
    return {"tolerance": tolerance, "cases": cases}


def run_self_test(bundle: Bundle, predictor: Predictor) -> float:
    """Runs the stored rows; returns the largest difference.

    Raises:
        ParityError: over the stored tolerance: this processor computes something else than the exporting one did.
    """
    worst = 0.0
    for case in bundle.self_test["cases"]:
        row = Features(np.array(case["input_ids"], dtype=np.int64))
        outputs = predictor.run([row])[0]
        for name, expected in case["outputs"].items():
            # Unlike the built-in max, numpy's keeps a NaN.
            worst = float(np.maximum(worst, np.abs(outputs[name] - np.array(expected)).max()))
    tolerance = bundle.self_test["tolerance"]
    if not worst <= tolerance:
        raise ParityError(
            f"self-test of bundle {bundle.target} {bundle.digest[:12]} differs by {worst:.2g}; "
            f"the tolerance is {tolerance:.2g}",
            param="self_test",
            limit=tolerance,
            given=worst,
        )
    return worst
