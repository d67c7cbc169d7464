"""What every bundle made from another one shares: the graph saved, the self-test recorded anew, the lineage kept."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from polystilts.formats import Features, Pieces, make_format
from polystilts.runtime.bundle import (
    Bundle,
    load_predictor,
    open_bundle,
    record_self_test,
    run_self_test,
    write_manifest,
)
from polystilts.runtime.folders import new_folder
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor

#: Instruction sets that change the arithmetic of int8 products, best first (names of Linux's cpuinfo).
INSTRUCTION_SETS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "i8mm", "asimddp", "asimd")


def instruction_set() -> str:
    """The best of INSTRUCTION_SETS that this processor has; the machine's name where none is found."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    flags = set(lines[0].split()) if lines else set()
    return next((name for name in INSTRUCTION_SETS if name in flags), platform.machine())


def export_notes(model: onnx.ModelProto) -> dict[str, Any]:
    """What a bundle's lineage says of its graph: operators' version, file format, where parity was measured."""
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    return {"opset": opset, "ir_version": model.ir_version, "instruction_set": instruction_set()}


def save_graph(model: onnx.ModelProto, folder: Path) -> None:
    """Writes ``model.onnx`` and, beside it, every weight in ``model.onnx.data``."""
    del model.graph.value_info[:]  # stale shapes make later graph passes fail
    onnx.save_model(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="model.onnx.data",
        size_threshold=1024,
    )


def derive(
    source: Bundle,
    place: Path,
    model: onnx.ModelProto,
    *,
    precision: str,
    tolerance: float,
    notes: Mapping[str, Any],
    tokenizer: str | None = None,
    rows: Sequence[Sequence[int]] | None = None,
) -> Bundle:
    """Writes a bundle with another graph than `source`, and runs its self-test.

    Args:
        tolerance: of the new self-test.
        notes: added to `Bundle.export`.
        tokenizer: text of another ``tokenizer.json``.
        rows: input ids of the self-test; default: those of the source.
    """
    cases = [case["input_ids"] for case in source.self_test["cases"]] if rows is None else rows
    with new_folder(place) as folder:
        if tokenizer is None:
            shutil.copyfile(source.folder / "tokenizer.json", folder / "tokenizer.json")
        else:
            (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        save_graph(model, folder)
        predictor = Predictor(make_format(Pieces.open(folder), source.settings), OrtBackend(folder))
        features = [Features(np.array(ids, dtype=np.int64)) for ids in cases]
        write_manifest(
            folder,
            target=source.target,
            settings=source.settings,
            precision=precision,
            lineage=source.lineage,
            export={**source.export, **export_notes(model), "from": source.digest, **notes},
            self_test=record_self_test(predictor, features, tolerance=tolerance),
        )
        for path in folder.iterdir():
            path.chmod(0o444)
    bundle = open_bundle(place)
    run_self_test(bundle, load_predictor(bundle))
    return bundle


def tables(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """The nodes that look pieces up, each with its table: the embedding, and its scales where it is quantised."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    return [
        (node, weights[node.input[0]])
        for node in graph.node
        if node.op_type == "Gather" and node.input[1] == "input_ids" and node.input[0] in weights
    ]
