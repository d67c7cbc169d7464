"""Smaller bundles from fp32 ones: row-wise dynamic int8 for processors, fp16 for GPUs.

ONNX Runtime's dynamic int8 takes one scale for all activations of a call, so that an answer depends on who shares its
batch (microsoft/onnxruntime#10111). Here every token row has a scale of its own: alone equals together, bit for bit.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from polystilts.errors import InvalidValue
from polystilts.export.row_wise import make_row_wise
from polystilts.export.variants import derive, tables
from polystilts.runtime.bundle import Bundle, open_bundle

Floats = NDArray[np.float32]

#: Largest difference of a self-test on another processor. The last bit of a sum in fp32 may turn one rounding to int8.
SELF_TEST_INT8 = 0.05
#: The same in fp16, which has 11 bits.
SELF_TEST_FP16 = 0.05

_NODE = helper.make_node
#: Rows of a table quantised at once.
_BLOCK = 8192


@dataclass(frozen=True)
class QuantRecipe:
    """How a bundle is made int8.

    Attributes:
        per_channel: a scale for every output column of a weight, else one for the whole weight.
        excluded: share of the encoder's products left in fp32, those that lose most (measured on the self-test's rows).
        embeddings: 'int8' (a scale a row), 'fp16' or 'fp32'.
    """

    name: str
    per_channel: bool = False
    excluded: float = 0.0
    embeddings: str = "int8"


#: In the order tried: the smallest and quickest first.
RECIPES = (
    QuantRecipe("per-tensor"),
    QuantRecipe("per-channel", per_channel=True),
    QuantRecipe("exclude-10%", per_channel=True, excluded=0.1),
    QuantRecipe("exclude-10%-embeddings-fp16", per_channel=True, excluded=0.1, embeddings="fp16"),
    QuantRecipe("exclude-25%-embeddings-fp32", per_channel=True, excluded=0.25, embeddings="fp32"),
)


@dataclass(frozen=True)
class Tried:
    """What one recipe cost and gained.

    Attributes:
        size, size_fp32: bytes of graph and weights.
        scores: the main metric by language.
        mean_loss: points of the mean over languages lost against fp32; negative = gained.
        worst_language, worst_loss: where most was lost.
        fits: both are within the limits.
    """

    recipe: QuantRecipe
    size: int
    size_fp32: int
    scores: Mapping[str, float]
    mean_loss: float
    worst_language: str
    worst_loss: float
    fits: bool


@dataclass(frozen=True)
class QuantReport:
    """The recipes tried, in order; `bundle` is the last one's if it fits, None if none does (stay on fp32)."""

    bundle: Bundle | None
    scores_fp32: Mapping[str, float]
    tried: tuple[Tried, ...]

    def to_json(self) -> dict[str, Any]:
        return {"scores_fp32": dict(self.scores_fp32), "tried": [asdict(item) for item in self.tried]}


def int8_within(
    bundle: Bundle,
    place: Path,
    *,
    score: Callable[[Bundle], Mapping[str, float]],
    mean_limit: float = 0.5,
    language_limit: float = 1.5,
    recipes: Sequence[QuantRecipe] = RECIPES,
) -> QuantReport:
    """The first recipe that loses at most `mean_limit` points of the mean and `language_limit` of any language.

    Args:
        bundle: in fp32.
        place: where the bundle goes that fits; nothing is left there if none does.
        score: the main metric by language, 0 to 100, of a bundle.

    Raises:
        InvalidValue: no language scored, or another set of them than in fp32.
    """
    before = dict(score(bundle))
    if not before:
        raise InvalidValue("no language was scored in fp32", param="score")
    tried: list[Tried] = []
    place.parent.mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as folder:
            made = quantise(bundle, Path(folder) / "bundle", recipe=recipe)
            after = dict(score(made))
            if after.keys() != before.keys():
                raise InvalidValue(
                    f"int8 was scored in {sorted(after)}, fp32 in {sorted(before)}", param="score", given=sorted(after)
                )
            losses = {language: before[language] - after[language] for language in before}
            worst = max(losses, key=lambda language: (math.isnan(losses[language]), losses[language]))
            mean = math.fsum(losses.values()) / len(losses)
            fits = mean <= mean_limit and losses[worst] <= language_limit  # False for a NaN
            tried.append(Tried(recipe, size(made), size(bundle), after, mean, worst, losses[worst], fits))
            if fits:
                os.rename(made.folder, place)
                return QuantReport(open_bundle(place), before, tuple(tried))
    return QuantReport(None, before, tuple(tried))


def size(bundle: Bundle) -> int:
    """Bytes of graph and weights."""
    return sum((bundle.folder / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))


def quantise(bundle: Bundle, place: Path, *, recipe: QuantRecipe = RECIPES[0]) -> Bundle:
    """A row-wise dynamic int8 bundle of an fp32 one.

    Raises:
        InvalidValue: the bundle is not in fp32.
    """
    _check_fp32(bundle)
    excluded: list[str] = []
    if recipe.excluded:
        losses = sensitive(bundle, recipe)
        excluded = losses[: math.ceil(recipe.excluded * len(losses))]
    model = onnx.load(bundle.folder / "model.onnx")
    # First, so that the largest weight is not copied by the next step.
    _quantise_tables(model.graph, recipe.embeddings)
    model = per_tensor_activations(model, place.parent, per_channel=recipe.per_channel, excluded=excluded)
    make_row_wise(model.graph)
    return derive(
        bundle,
        place,
        model,
        precision="int8",
        tolerance=SELF_TEST_INT8,
        notes={"quantisation": asdict(recipe), "excluded": excluded},
    )


def fp16(bundle: Bundle, place: Path) -> Bundle:
    """A bundle with weights and arithmetic in fp16, for GPUs; inputs and outputs are those of fp32.

    Raises:
        InvalidValue: the bundle is not in fp32.
    """
    _check_fp32(bundle)
    model = onnx.load(bundle.folder / "model.onnx")
    with _quiet():
        model = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    notes = {"device": "cuda"}
    return derive(bundle, place, model, precision="fp16", tolerance=SELF_TEST_FP16, notes=notes)


def per_tensor_activations(
    model: onnx.ModelProto, folder: Path, *, per_channel: bool = False, excluded: Sequence[str] = ()
) -> onnx.ModelProto:
    """ONNX Runtime's own dynamic int8: products in int8, one scale for the activations of a whole call.

    Args:
        folder: where a temporary copy may stand.
        excluded: names of products that stay in fp32.
    """
    del model.graph.value_info[:]  # with stale shapes the quantiser's inference fails
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".quantise.", dir=folder) as temporary, _quiet():
        path = Path(temporary) / "model.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=list(excluded),
            per_channel=per_channel,
            weight_type=QuantType.QInt8,  # 3 x faster than fp32 with VNNI; QUInt8 only 1.7 x
            use_external_data_format=True,
        )
        return onnx.load(path)


def _quantise_tables(graph: onnx.GraphProto, precision: str) -> None:
    """The embedding in int8 with a scale a row, or in fp16; turned back into fp32 behind the look-up."""
    if precision == "fp32":
        return
    for lookup, table in tables(graph):
        values = numpy_helper.to_array(table)
        name, output = table.name, lookup.output[0]
        nodes = [_NODE("Cast", [f"{output}.small"], [output], to=TensorProto.FLOAT)]
        if precision == "int8":
            # In blocks: whole, the temporary arrays would take three times the table's memory.
            blocks = [quantise_rows(values[start : start + _BLOCK]) for start in range(0, len(values), _BLOCK)]
            quantised, scales = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
            graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scales"))
            nodes[0].output[0] = f"{output}.steps"
            nodes.append(_NODE("Gather", [f"{name}.scales", lookup.input[1]], [f"{output}.scale"]))
            nodes.append(_NODE("Mul", [f"{output}.steps", f"{output}.scale"], [output]))
            table.CopyFrom(numpy_helper.from_array(quantised, name))
        else:
            table.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
        lookup.output[0] = f"{output}.small"
        position = next(i for i, node in enumerate(graph.node) if node.output[0] == lookup.output[0])
        for offset, node in enumerate(nodes, start=1):
            graph.node.insert(position + offset, node)


def quantise_rows(values: Floats, least: float = 1e-9) -> tuple[NDArray[np.int8], Floats]:
    """int8 [..., k] and scales [..., 1] of float rows: q = round(127 x / max|x|)."""
    scales = np.maximum(np.abs(values).max(axis=-1, keepdims=True), np.float32(least)) / np.float32(127)
    return np.rint(values / scales).astype(np.int8), scales.astype(np.float32)


def sensitive(bundle: Bundle, recipe: QuantRecipe) -> list[str]:
    """Names of the encoder's products, the one that loses most in int8 first.

    Measured on the self-test's rows in fp32: the norm of the error of the int8 product over the norm of the product.
    """
    model = _graph(bundle)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    products = _products(model)
    for name in dict.fromkeys(node.input[0] for node in products):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.folder))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = sorted({node.input[0] for node in products})
    seen: dict[str, list[Floats]] = {name: [] for name in asked}
    for case in bundle.self_test["cases"]:
        ids = np.array([case["input_ids"]], dtype=np.int64)
        values = session.run(asked, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, value in zip(asked, values, strict=True):
            seen[name].append(value.reshape(-1, value.shape[-1]))
    errors = {}
    for node in products:
        x = np.concatenate(seen[node.input[0]])
        w = numpy_helper.to_array(weights[node.input[1]], base_dir=str(bundle.folder))
        scale = np.abs(w).max(axis=0 if recipe.per_channel else None) / 127
        quantised, scales = quantise_rows(x)
        exact = x @ w
        error = exact - (quantised * scales) @ (np.rint(w / scale) * scale)
        errors[node.name] = float(np.linalg.norm(error)) / max(float(np.linalg.norm(exact)), 1e-9)
    return sorted(errors, key=lambda name: -errors[name])


def _graph(bundle: Bundle) -> onnx.ModelProto:
    """The graph without the external weights."""
    return onnx.load(bundle.folder / "model.onnx", load_external_data=False)


def _products(model: onnx.ModelProto) -> list[NodeProto]:
    """Products of all tokens with a weight; not the head's of one vector a row, whose fp32 sum depends on the batch."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]


def _check_fp32(bundle: Bundle) -> None:
    if bundle.precision != "fp32":
        raise InvalidValue(
            f"{bundle.target}: only an fp32 bundle can be made smaller, this one is {bundle.precision}",
            param="precision",
            limit="fp32",
            given=bundle.precision,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises its own preprocessing, the converter tells of every number that it rounds to zero."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
