"""The bundle: an immutable folder that says everything a server must know of a model.

``model.onnx`` (graph), ``model.onnx.data`` (all weights, external, memory-mapped), ``tokenizer.json`` and
``bundle.json`` with the format's settings, lineage, a self-test and the sha256 of every other file. The digest of a
bundle is the sha256 of its ``bundle.json``; ``bundle.sig`` may sign it.

Nothing in a bundle is trusted before it was checked: every file by its sum, the manifest by its digest where the
caller has one from elsewhere (sums inside a file can be rewritten with it), the graph by `check_graph`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, ParityError
from polystilts.formats import Features, FormatSettings, Pieces, make_format
from polystilts.runtime.folders import check_name, file_sums, parse_json, sha256, verify_files, write_json
from polystilts.runtime.graph import GRAPH
from polystilts.runtime.ort import ORT_ERRORS, OrtBackend
from polystilts.runtime.predictor import Predictor
from polystilts.runtime.signing import MANIFEST as MANIFEST
from polystilts.runtime.signing import SIGNATURE, verify_signature

SCHEMA_VERSION = 1

#: What a manifest must say, and in which form.
_FIELDS: Mapping[str, type] = {
    "target": str,
    "settings": dict,
    "precision": str,
    "lineage": dict,
    "self_test": dict,
    "files": dict,
}

#: What running a malformed self-test raises.
_MALFORMED: tuple[type[Exception], ...] = (KeyError, TypeError, ValueError, AttributeError, *ORT_ERRORS)


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose manifest has been read (and, by `open_bundle`, verified).

    Attributes:
        target: the task the model answers.
        precision: of the weights, 'fp32', 'fp16' or 'int8'.
        lineage: `lineage.json` of the checkpoint it was exported from.
        self_test: input ids of a few rows and the outputs they gave at export, with their tolerance.
        digest: sha256 of ``bundle.json``.
        export: how the graph was made: opset, IR version, instruction set on which parity was measured, quantisation;
            empty for a bundle that does not say.
    """

    folder: Path
    target: str
    settings: FormatSettings
    precision: str
    lineage: Mapping[str, Any]
    self_test: Mapping[str, Any]
    files: Mapping[str, str]
    digest: str
    export: Mapping[str, Any] = field(default_factory=dict)


def write_manifest(
    folder: Path,
    *,
    target: str,
    settings: FormatSettings,
    precision: str,
    lineage: Mapping[str, Any],
    self_test: Mapping[str, Any],
    export: Mapping[str, Any] | None = None,
) -> str:
    """Writes ``bundle.json`` over the files that are there, checksums included; returns the bundle's digest."""
    # Of another manifest: it would not verify.
    (folder / SIGNATURE).unlink(missing_ok=True)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "settings": settings.to_json(),
        "precision": precision,
        "lineage": dict(lineage),
        "self_test": dict(self_test),
        "export": dict(export or {}),
        "files": file_sums(folder, leave_out=MANIFEST),
    }
    write_json(folder / MANIFEST, manifest)
    return sha256(folder / MANIFEST)


def open_bundle(folder: Path, *, digest: str | None = None, public_key: Path | None = None) -> Bundle:
    """Reads and verifies a bundle.

    Args:
        digest: where given, the digest that the bundle must have.
        public_key: where given, the file of the key that must have signed it.

    Raises:
        MissingData: no bundle there.
        InvalidValue: a schema version this code does not know, or a field that is missing or malformed.
        ChecksumMismatch: a file missing, changed or not listed; a name that leads out of the folder; a link.
        BadSignature: not signed by that key.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingData(f"no bundle in {folder.absolute()}: it has no {MANIFEST}", given=str(folder))
    data = path.read_bytes()
    # Of the very bytes that are parsed below.
    found = hashlib.sha256(data).hexdigest()
    if digest not in (None, found):
        raise ChecksumMismatch(f"bundle {folder} has digest {found[:12]}…, expected {str(digest)[:12]}…")
    if public_key is not None:
        verify_signature(folder, public_key, digest=found)
    manifest = parse_json(data, path)
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != SCHEMA_VERSION:
        raise InvalidValue(
            f"bundle schema {version} in {folder}; this version reads {SCHEMA_VERSION}",
            param="schema_version",
            limit=SCHEMA_VERSION,
            given=version,
        )
    for name, kind in _FIELDS.items():
        if not isinstance(manifest.get(name), kind):
            raise InvalidValue(f"{path} has no {name} of type {kind.__name__}", param=name)
    # The target becomes the name of a folder.
    if "/" in check_name(manifest["target"], where=f"the target of {path}"):
        raise ChecksumMismatch(f"{path} has target {manifest['target']!r}, which is no name", param="target")
    verify_files(folder, manifest["files"], manifest=MANIFEST, beside=(SIGNATURE,))
    if missing := {GRAPH, "tokenizer.json"} - manifest["files"].keys():
        raise ChecksumMismatch(f"bundle {folder} has no {' and no '.join(sorted(missing))}", param="files")
    try:
        settings = FormatSettings.from_json(manifest["settings"])
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{path} has unknown settings: {error}", param="settings") from None
    return Bundle(
        folder=folder,
        target=manifest["target"],
        settings=settings,
        precision=manifest["precision"],
        lineage=manifest["lineage"],
        self_test=manifest["self_test"],
        files=manifest["files"],
        digest=found,
        export=manifest.get("export") or {},
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
        ParityError: over the stored tolerance: this processor computes something else than the exporting one did. For
            int8 the message names the remedy (uint8 x int8 products saturate on x86 without VNNI).
        InvalidValue: there is no self-test in the manifest.
    """
    worst = 0.0
    try:
        tolerance = float(bundle.self_test["tolerance"])
        cases = [
            (Features(np.array(case["input_ids"], dtype=np.int64)), case["outputs"])
            for case in bundle.self_test["cases"]
        ]
        for row, stored in cases:
            outputs = predictor.run([row])[0]
            for name, expected in stored.items():
                # Unlike the built-in max, numpy's keeps a NaN.
                worst = float(np.maximum(worst, _difference(outputs[name], np.array(expected, dtype=float))))
    except _MALFORMED as error:
        raise InvalidValue(
            f"the self-test of bundle {bundle.target} {bundle.digest[:12]} cannot be run: {error!r}", param="self_test"
        ) from None
    if not any(stored for _, stored in cases):
        raise InvalidValue(f"bundle {bundle.target} {bundle.digest[:12]} has no self-test", param="self_test")
    if not worst <= tolerance:
        raise ParityError(
            f"self-test of bundle {bundle.target} {bundle.digest[:12]} differs by {worst:.2g}; "
            f"the tolerance is {tolerance:.2g}{_remedy(bundle)}",
            param="self_test",
            limit=tolerance,
            given=worst,
        )
    return worst


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; infinite where the shapes differ."""
    return float(np.abs(found - expected).max(initial=0)) if found.shape == expected.shape else float("inf")


def _remedy(bundle: Bundle) -> str:
    if not bundle.precision.startswith("int8"):
        return ""
    measured = bundle.export.get("instruction_set")
    where = f", where parity was measured on {measured}" if measured else ""
    return f"{where}; this processor rounds int8 products otherwise: quantise again with reduce_range, or serve fp32"
