"""Bundles of one model: size, load time, speed and error of torch, ONNX fp32, int8 and int8 with fewer pieces.

XLM-R base shape, random weights, 250,002 pieces (those of the given tokenizer and filler), made, exported and run in
one process on one thread. Rows have 9 to 213 tokens and are packed by length into calls of at most 256 padded tokens.
The variants take turns at every call, so that a busy machine slows all; a call's time is the least processor time of
its rounds.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.export
    python -m benchmarks.export --shape large --only-export
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from benchmarks.common import PROJECT, versions, write_result
from polystilts.export.onnx import export_bundle
from polystilts.export.quantise import RECIPES, per_tensor_activations, quantise
from polystilts.export.trim import trim
from polystilts.export.variants import export_notes, instruction_set, save_graph
from polystilts.formats import Features, FormatSettings, Pieces
from polystilts.formats.batching import collate, pack
from polystilts.formats.values import PairExample
from polystilts.runtime.backend import Backend
from polystilts.runtime.folders import read_json
from polystilts.runtime.ort import OrtBackend
from polystilts.training.checkpoint import Checkpoint, write_checkpoint
from polystilts.training.model import TorchBackend, build_for

PIECES = 250_002
MAX_TOKENS = 256
SHAPES: dict[str, dict[str, Any]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
SETTINGS = FormatSettings("pair", ("entailment", "neutral", "contradiction"))
EXAMPLES = [PairExample(str(n), "en", "The cat sleeps. " * n, "It sleeps.") for n in (1, 3, 9)]
T = TypeVar("T")


def wide_tokenizer(folder: Path, source: Path) -> None:
    """A tokenizer as large as XLM-R's: the pieces of another one, and filler that no text is written with."""
    spec = read_json(source / "tokenizer.json")
    vocabulary = spec["model"]["vocab"]
    specials = [token for token in spec["added_tokens"] if token["id"] >= len(vocabulary)]
    vocabulary += [[f"▁filler{n}", -100.0] for n in range(PIECES - len(vocabulary) - len(specials))]
    for offset, token in enumerate(specials):
        token["id"] = len(vocabulary) + offset
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")


def make_checkpoint(folder: Path, shape: str, tokenizer: Path) -> Checkpoint:
    """Random weights, biases too."""
    config = XLMRobertaConfig(
        vocab_size=PIECES,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
        **SHAPES[shape],
    )
    config.num_labels = len(SETTINGS.labels)
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.1)
    return write_checkpoint(folder / "checkpoint", model, tokenizer_from=tokenizer, key="k", lineage={})


def make_rows(count: int, pieces: int) -> list[Features]:
    """Rows of random pieces below `pieces`; lengths spread evenly over a lognormal law: median 20, 9 to 213."""
    random = np.random.default_rng(0)
    law = NormalDist(math.log(20), 1.5)
    lengths = [round(math.exp(law.inv_cdf((n + 0.5) / count))) for n in range(count)]
    return [Features(np.array([0, *random.integers(4, pieces, min(max(n, 9), 213) - 2), 2])) for n in lengths]


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What an action gives, and its seconds by the clock."""
    start = time.perf_counter()
    return action(), time.perf_counter() - start


def size(folder: Path, *names: str) -> float:
    """MB of some of a folder's files."""
    return round(sum((folder / name).stat().st_size for name in names) / 1e6, 1)


def peak() -> float:
    """GB of memory that this process has held at most."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--tokenizer", type=Path, default=Path("../shared/models/xlmr-mini"))
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kept", type=int, default=50_000, help="pieces of the trimmed bundle")
    parser.add_argument("--only-export", action="store_true", help="export and quantise, print the memory needed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


def run(arguments: argparse.Namespace, root: Path) -> None:
    wide_tokenizer(root / "tokenizer", PROJECT / arguments.tokenizer)
    checkpoint = make_checkpoint(root, arguments.shape, root / "tokenizer")
    figures: dict[str, Any] = {"peak_gb_model_made": peak()}
    fp32, seconds = timed(
        lambda: export_bundle(checkpoint, SETTINGS, root / "fp32", target="benchmark", examples=EXAMPLES).bundle
    )
    figures |= {"export_seconds": round(seconds, 1), "peak_gb_exported": peak()}
    int8, seconds = timed(lambda: quantise(fp32, root / "int8", recipe=RECIPES[0]))
    figures |= {"quantise_seconds": round(seconds, 1), "peak_gb_quantised": peak()}
    details: dict[str, Any] = {
        "versions": versions(["torch", "transformers", "onnx", "onnxruntime", "tokenizers"]),
        "model": f"XLM-R {arguments.shape} shape, random weights, {PIECES} pieces",
        "graph": export_notes(onnx.load(fp32.folder / "model.onnx", load_external_data=False)),
    }
    if arguments.only_export:
        report(f"export-{arguments.shape}", figures, details)
        return
    trimmed = trim(int8, root / "trimmed", keep=range(arguments.kept), characters=False)
    channels = quantise(fp32, root / "channels", recipe=RECIPES[1])
    theirs = root / "theirs"
    theirs.mkdir()
    save_graph(per_tensor_activations(onnx.load(fp32.folder / "model.onnx"), root), theirs)
    model, seconds = timed(lambda: build_for(SETTINGS, checkpoint.folder).eval())
    weights = "model.onnx", "model.onnx.data"
    backends: dict[str, Backend] = {"torch_fp32": TorchBackend(model, SETTINGS)}
    figures |= {"torch_fp32_mb": size(checkpoint.folder, "model.safetensors"), "torch_fp32_load_s": round(seconds, 2)}
    backends["torch_bf16"] = TorchBackend(build_for(SETTINGS, checkpoint.folder).eval().bfloat16(), SETTINGS)
    for name, place in {
        "onnx_fp32": fp32.folder,
        "onnx_int8": int8.folder,
        "onnx_int8_per_channel": channels.folder,
        "onnx_int8_trimmed": trimmed.folder,
        "onnx_int8_by_onnxruntime": theirs,
    }.items():
        backends[name], seconds = timed(partial(OrtBackend, place, threads=1))
        figures |= {f"{name}_mb": size(place, *weights), f"{name}_load_s": round(seconds, 2)}
    for name, place in {"": int8.folder, "_trimmed": trimmed.folder}.items():
        pieces, seconds = timed(partial(Pieces.open, place))
        figures |= {f"pieces{name}": pieces.vocabulary_size, f"tokenizer{name}_load_s": round(seconds, 2)}

    # The trimmed bundle keeps ids below `kept` as they are, so that all variants read the same rows.
    rows = make_rows(arguments.rows, arguments.kept)
    calls = [collate([rows[i] for i in group], 1) for group in pack([len(row) for row in rows], MAX_TOKENS)]
    best = {name: [float("inf")] * len(calls) for name in backends}
    logits: dict[str, list[np.ndarray]] = {name: [] for name in backends}
    for turn in range(arguments.rounds):
        for number, arrays in enumerate(calls):
            for name, backend in backends.items():
                start = time.process_time()
                outputs = backend.run(arrays)
                best[name][number] = min(best[name][number], time.process_time() - start)
                if not turn:
                    logits[name].append(outputs["logits"])
    tokens = sum(len(row) for row in rows)
    exact = np.concatenate(logits["torch_fp32"])
    for name in backends:
        figures[f"{name}_tokens_s"] = round(tokens / sum(best[name]))
        figures[f"{name}_error"] = round(
            float(np.linalg.norm(np.concatenate(logits[name]) - exact) / np.linalg.norm(exact - exact.mean(0))), 5
        )
    seconds_of = {name: sum(values) for name, values in best.items()}
    figures["int8_over_fp32"] = round(seconds_of["onnx_fp32"] / seconds_of["onnx_int8"], 2)
    figures["int8_over_torch_fp32"] = round(seconds_of["torch_fp32"] / seconds_of["onnx_int8"], 2)
    figures["trimmed_equals_int8"] = int(
        all(np.array_equal(a, b) for a, b in zip(logits["onnx_int8"], logits["onnx_int8_trimmed"], strict=True))
    )
    figures |= {
        "rows": len(rows),
        "mean_length": round(tokens / len(rows)),
        "tokens": tokens,
        "calls": len(calls),
        "rounds": arguments.rounds,
    }
    report("export", figures, {**details, "instruction_set": instruction_set(), "threads": 1})


def report(name: str, figures: dict[str, Any], details: dict[str, Any]) -> None:
    path = write_result(name, figures, **details)
    for key, value in figures.items():
        print(f"{key:36} {value}")
    print(f"written to {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
