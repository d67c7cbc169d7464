"""Tiny real bundles, built without torch: an ONNX graph of a few nodes and a small trained tokenizer.

Their answers mean nothing, but every file, checksum and code path is that of a real one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import (
    ChoiceExample,
    PairExample,
    SentenceExample,
    SpanExample,
    TaggingExample,
)
from polystilts.runtime.bundle import Bundle, open_bundle, record_self_test, write_manifest
from polystilts.runtime.models_folder import deliver
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor

HIDDEN = 16
VOCABULARY = 400

#: Settings of one target for every endpoint of the server.
SETTINGS: Mapping[str, FormatSettings] = {
    "xnli": FormatSettings("pair", ("entailment", "neutral", "contradiction"), 64),
    "pawsx": FormatSettings("pair", ("0", "1"), 64),
    "udpos": FormatSettings("tagging", ("ADJ", "NOUN", "PUNCT", "VERB"), 32),
    "panx": FormatSettings("tagging", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), 32),
    "xquad": FormatSettings("span", max_length=48, max_question_length=16, doc_stride=16),
    "xcopa": FormatSettings("choice", max_length=64, question_texts={"cause": "What was the cause?"}),
    "tatoeba": FormatSettings("sentence", max_length=64, layers=(1,)),
}

#: What the tokenizer learns from: several scripts, characters beyond U+FFFF, combining marks.
TEXTS = (
    "The cat sleeps on the old table, and nobody is outside today.",
    "Die Katze schläft heute auf dem alten Tisch.",
    "Кошка спит на старом столе в большом городе.",
    "बिल्ली पुरानी मेज़ पर सोती है।",
    "猫在旧桌子上睡觉。",
    "แมวนอนบนโต๊ะเก่า",
    "القطة تنام على الطاولة",
    "Paka analala juu ya meza kuukuu.",
    "cafe\u0301 𝒳 👩‍🚀",
)

_SELF_TEST: Mapping[str, Any] = {
    "pair": PairExample("0", "en", "The cat sleeps.", "Nobody sleeps."),
    "choice": ChoiceExample("0", "en", "The cat sleeps.", "cause", ("It is old.", "Die Katze.")),
    "tagging": TaggingExample("0", "en", ("The", "cat", "sleeps", ".")),
    "span": SpanExample("0", "en", "Who sleeps?", TEXTS[0]),
    "sentence": SentenceExample("0", "en", TEXTS[0]),
}


def tiny_tokenizer() -> Tokenizer:
    """A BPE tokenizer with XLM-R's special tokens and Metaspace, learnt from TEXTS."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def tiny_bundle(folder: Path, target: str, settings: FormatSettings | None = None, *, seed: int = 0) -> Bundle:
    """Writes and opens a bundle of random weights.

    Args:
        folder: made if missing; must be empty.
        settings: of any of the five formats; default: those of `target` in SETTINGS.
        seed: of the weights; another seed is another digest.
    """
    settings = settings or SETTINGS[target]
    folder.mkdir(parents=True, exist_ok=True)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    onnx.save(
        _graph(settings, np.random.default_rng(seed)),
        folder / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=100,  # axes stay in the graph: shape inference must see them
    )
    predictor = Predictor(make_format(Pieces.open(folder), settings), OrtBackend(folder, threads=1))
    rows = predictor.encode([_SELF_TEST[settings.format]])[0]
    assert isinstance(rows, list)
    write_manifest(
        folder,
        target=target,
        settings=settings,
        precision="fp32",
        lineage={"base": "tiny", "seed": seed},
        self_test=record_self_test(predictor, rows, tolerance=1e-5),
    )
    return open_bundle(folder)


def tiny_models(folder: Path, targets: Iterable[str] = SETTINGS, *, seed: int = 0) -> Path:
    """A models folder with a tiny bundle delivered for each target; returns ``folder/models``."""
    for target in targets:
        bundle = tiny_bundle(folder / "bundles" / target, target, seed=seed)
        deliver(bundle, folder / "models", name=f"polystilts-{target}", version="1")
    return folder / "models"


def _graph(settings: FormatSettings, random: np.random.Generator) -> onnx.ModelProto:
    """Embeddings, and over them what the format's head computes."""
    width = {"choice": 1, "span": 2, "sentence": HIDDEN}.get(settings.format, len(settings.labels))
    weights: dict[str, np.ndarray] = {
        "table": random.normal(size=(VOCABULARY, HIDDEN)).astype(np.float32),
        "head": random.normal(size=(HIDDEN, width)).astype(np.float32),
        "one": np.array([1], dtype=np.int64),
        "two": np.array([2], dtype=np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["hidden"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "two"], ["column"]),
        node("Mul", ["hidden", "column"], ["seen"]),
        node("ReduceSum", ["seen", "one"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["mean"]),
    ]
    if settings.format == "tagging":
        nodes.append(node("MatMul", ["hidden", "head"], ["logits"]))
        outputs: dict[str, list[Any]] = {"logits": ["rows", "tokens", width]}
    elif settings.format == "span":
        nodes.append(node("MatMul", ["hidden", "head"], ["both"]))
        nodes.append(node("Split", ["both"], ["start_column", "end_column"], axis=2, num_outputs=2))
        nodes.append(node("Squeeze", ["start_column", "two"], ["start"]))
        nodes.append(node("Squeeze", ["end_column", "two"], ["end"]))
        outputs = {"start": ["rows", "tokens"], "end": ["rows", "tokens"]}
    elif settings.format == "sentence":
        nodes.append(node("MatMul", ["mean", "head"], ["vector"]))
        nodes.append(node("Unsqueeze", ["vector", "one"], ["embeddings"]))
        outputs = {"embeddings": ["rows", 1, HIDDEN]}
    else:
        nodes.append(node("MatMul", ["mean", "head"], ["logits"]))
        outputs = {"logits": ["rows", width]}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(name, TensorProto.INT64, ["rows", "tokens"]) for name in ("input_ids", "attention_mask")],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
