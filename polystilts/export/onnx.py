"""Checkpoint -> bundle: torch to ONNX, weights in one external file, parity measured, self-test recorded."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polystilts.errors import ParityError
from polystilts.export.variants import export_notes, save_graph
from polystilts.formats import Features, FormatSettings, Pieces, make_format, words
from polystilts.formats.values import Rejected
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
from polystilts.training.checkpoint import Checkpoint
from polystilts.training.model import TorchBackend, build_for, encoder_of, forward_rows

#: Largest difference of an output between torch and ONNX Runtime in fp32 (logits and pooled states are of order 1-10).
PARITY_FP32 = 1e-3
#: Largest difference of a self-test on another processor.
SELF_TEST_FP32 = 1e-3
OPSET = 20

OUTPUT_NAMES = {
    "pair": ("logits",),
    "choice": ("logits",),
    "tagging": ("logits",),
    "span": ("start", "end"),
    "sentence": ("embeddings",),
}


@dataclass(frozen=True)
class Exported:
    """A bundle and how far its outputs lie from the checkpoint's.

    Attributes:
        parity: largest absolute difference of any output over the parity rows.
        agreement: share of parity rows with the same best index.
    """

    bundle: Bundle
    parity: float
    agreement: float


class _Rows(nn.Module):
    """The graph that is exported: row outputs as a tuple."""

    def __init__(self, model: PreTrainedModel, settings: FormatSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        outputs = forward_rows(self.model, self.settings, input_ids, attention_mask)
        return tuple(outputs[name] for name in OUTPUT_NAMES[self.settings.format])


def export_bundle(
    checkpoint: Checkpoint,
    settings: FormatSettings,
    place: Path,
    *,
    target: str,
    examples: Sequence[Any],
    languages: Sequence[str] = (),
) -> Exported:
    """Exports a checkpoint to `place`, checks parity on `examples` and records the self-test.

    Args:
        settings: of the format; for pooling 'mean' with the one layer that is served.
        place: the folder to make; its parent is created.
        examples: rows on which parity is measured; the shortest few become the self-test.
        languages: those the checkpoint was scored in; noted in the lineage.

    Raises:
        ParityError: outputs differ by more than PARITY_FP32; nothing is left behind.
    """
    model = build_for(settings, checkpoint.folder).eval()
    if settings.format == "sentence" and settings.pooling == "mean":
        _drop_layers(model, max(settings.layers))
    pieces = Pieces.open(checkpoint.folder)
    format_ = make_format(pieces, settings)
    rows = [f for group in format_.encode(examples) if not isinstance(group, Rejected) for f in group]
    with new_folder(place) as folder:
        _write_graph(_Rows(model, settings), settings.format, rows, pieces.pad, folder)
        shutil.copyfile(checkpoint.folder / "tokenizer.json", folder / "tokenizer.json")
        torch_predictor = Predictor(format_, TorchBackend(model, settings))
        ort_predictor = Predictor(format_, OrtBackend(folder))
        parity, agreement = compare(torch_predictor, ort_predictor, rows)
        if not parity <= PARITY_FP32:
            raise ParityError(
                f"{target}: ONNX differs from torch by {parity:.2g}; the limit is {PARITY_FP32:.2g}",
                param="parity",
                limit=PARITY_FP32,
                given=parity,
            )
        shortest = sorted(rows, key=len)[:4]
        write_manifest(
            folder,
            target=target,
            settings=settings,
            precision="fp32",
            lineage={
                **{k: v for k, v in checkpoint.lineage.items() if k not in ("files", "format")},
                "languages": list(languages),
            },
            self_test=record_self_test(ort_predictor, shortest, tolerance=SELF_TEST_FP32),
            export={
                **export_notes(onnx.load(folder / "model.onnx", load_external_data=False)),
                # What makes words of raw text where this is served; another version may split another way.
                **({"splitter": words.SPLITTER} if settings.format == "tagging" else {}),
            },
        )
        for path in folder.iterdir():
            path.chmod(0o444)
    bundle = open_bundle(place)
    run_self_test(bundle, load_predictor(bundle))
    return Exported(bundle, parity, agreement)


def compare(first: Predictor, second: Predictor, rows: Sequence[Features]) -> tuple[float, float]:
    """Largest absolute difference of two predictors over rows, and the share of rows with the same best index."""
    worst, agreeing = 0.0, 0
    for a, b in zip(first.run(rows), second.run(rows), strict=True):
        # Unlike the built-in max, numpy's keeps a NaN.
        worst = float(np.max([worst, *(np.abs(a[name] - b[name]).max() for name in a)]))
        agreeing += all(np.array_equal(a[name].argmax(axis=-1), b[name].argmax(axis=-1)) for name in a)
    return worst, agreeing / max(1, len(rows))


def _drop_layers(model: PreTrainedModel, layer: int) -> None:
    """Layers above the pooled one compute nothing that is served."""
    encoder: Any = encoder_of(model).encoder
    encoder.layer = encoder.layer[:layer]


def _write_graph(module: nn.Module, format_: str, rows: Sequence[Features], pad: int, folder: Path) -> None:
    # Two rows of unequal length: a batch or length of 1, or no padding, would be taken for a constant.
    short, long = min(rows, key=len), max(rows, key=len)
    width = max(len(long), len(short) + 1, 8)
    ids = torch.full((2, width), pad, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate((short, long)):
        ids[i, : len(row)] = torch.from_numpy(row.input_ids)
        mask[i, : len(row)] = 1
    axes = {0: torch.export.Dim("rows", min=1), 1: torch.export.Dim("tokens", min=2)}
    with _quiet():
        program = torch.onnx.export(
            module,
            (ids, mask),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=list(OUTPUT_NAMES[format_]),
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        )
    model = program.model_proto  # type: ignore[union-attr]
    for node in model.graph.node:  # the exporter's notes hold source lines and paths of this machine
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for item in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
    save_graph(model, folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
