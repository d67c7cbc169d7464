"""The rewrite that makes dynamic int8 row-wise: every token row of activations gets a scale of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

#: GELU's outputs are above this.
GELU_MINIMUM = -0.17

_NODE = helper.make_node


def make_row_wise(graph: onnx.GraphProto) -> None:
    """Gives every row of activations a scale of its own, in a graph of `per_tensor_activations`.

    A row x becomes ``q = round(127 x / max|x|) + 128``, and GELU's outputs, which have a lower bound m,
    ``q = round(255 (x - m) / (max x - m))`` with zero point 0, twice as fine; m times the column sums of the weight
    is then added to the bias.
    """
    constants = {
        "row.axis": np.array([-1], np.int64),
        "row.steps": np.float32(127),
        "row.step": np.float32(1 / 127),
        "row.least": np.float32(1e-9),  # a row of zeros has a scale too
        "row.one": np.float32(1),
        "row.zero": np.uint8(128),
        "gelu.steps": np.float32(255),
        "gelu.step": np.float32(1 / 255),
        "gelu.shift": np.float32(-GELU_MINIMUM),
        "gelu.zero": np.uint8(0),
        "tokens.axis": np.int64(1),
        "tokens.last": np.int64(-1),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    users = _users(graph)
    gelus = {node.output[0] for node in graph.node if node.op_type == "Gelu"}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "DynamicQuantizeLinear":
            nodes.append(node)
            continue
        products = [user for user in users[node.output[0]] if user.op_type == "MatMulInteger"]
        biases = [_bias(graph, users, product) for product in products]
        kind = "gelu" if node.input[0] in gelus and all(biases) else "row"
        for product, bias in zip(products, biases, strict=True):
            # Weights are symmetric: their zero point, the last input, is 0, and left out it costs nothing.
            del product.input[2:]
            product.input.append(f"{kind}.zero")
            if bias:
                # Not an Add: ONNX Runtime 1.31 would fuse it into MatMulIntegerToFloat, which multiplies the bias by
                # the rows' scales too.
                bias.op_type = "Sum"
                if kind == "gelu":
                    _shift_bias(graph, product, bias)
        nodes.extend(_quantise_rows(node, kind))
    for node in nodes:
        # Nor here: SkipLayerNormalization, into which this would be fused, is 10 times slower than the two apart.
        if node.op_type == "Add" and [user.op_type for user in users[node.output[0]]].count("LayerNormalization"):
            node.op_type = "Sum"
    _replace_nodes(graph, nodes)
    _replace_nodes(graph, _sums_in_order(graph))
    _replace_nodes(graph, _without_guards(graph))
    used = {name for node in graph.node for name in node.input}
    unused = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in unused:
        graph.initializer.remove(tensor)


def _replace_nodes(graph: onnx.GraphProto, nodes: Sequence[NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)


def _without_guards(graph: onnx.GraphProto) -> list[NodeProto]:
    """The nodes without torch's guard against a softmax over nothing: every row has `<s>` to attend to."""
    guarded = {node.output[0] for node in graph.node if node.op_type == "IsNaN"}
    instead = {
        node.output[0]: node.input[2] for node in graph.node if node.op_type == "Where" and node.input[0] in guarded
    }
    nodes = [node for node in graph.node if node.output[0] not in guarded | instead.keys()]
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
    return nodes


def _sums_in_order(graph: onnx.GraphProto) -> list[NodeProto]:
    """The nodes, with every sum over tokens taken from the first to the last: then zeros behind change no bit.

    ReduceSum adds in an order that depends on the number of tokens, padding included.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.node:
        axes = constants.get(node.input[1]) if node.op_type == "ReduceSum" and len(node.input) == 2 else None
        kept = any(item.name == "keepdims" and item.i == 0 for item in node.attribute)
        if axes is None or not kept or numpy_helper.to_array(axes).tolist() != [1]:
            nodes.append(node)
            continue
        sums = f"{node.output[0]}.sums"
        nodes.append(_NODE("CumSum", [node.input[0], "tokens.axis"], [sums]))
        nodes.append(_NODE("Gather", [sums, "tokens.last"], list(node.output), axis=1))
    return nodes


def _quantise_rows(node: NodeProto, kind: str) -> list[NodeProto]:
    """What stands for a DynamicQuantizeLinear: its outputs q and scale, the scale [..., 1]."""
    x, (q, scale) = node.input[0], node.output[:2]
    name = f"{x}.rows"
    shift = kind == "gelu"
    return [
        _NODE("Add" if shift else "Abs", [x, "gelu.shift"] if shift else [x], [f"{name}.positive"]),
        _NODE("ReduceMax", [f"{name}.positive", "row.axis"], [f"{name}.max"], keepdims=1),
        _NODE("Max", [f"{name}.max", "row.least"], [f"{name}.range"]),
        _NODE("Mul", [f"{name}.range", f"{kind}.step"], [scale]),
        _NODE("Div", [f"{kind}.steps", f"{name}.range"], [f"{name}.inverse"]),
        _NODE("Mul", [f"{name}.positive" if shift else x, f"{name}.inverse"], [f"{name}.divided"]),
        _NODE("QuantizeLinear", [f"{name}.divided", "row.one", f"{kind}.zero"], [q]),
    ]


def _bias(graph: onnx.GraphProto, users: Mapping[str, list[NodeProto]], product: NodeProto) -> NodeProto | None:
    """The Add of a constant behind an integer product, its cast and its scale; None where there is none."""
    node = product
    for kind in ("Cast", "Mul", "Add"):
        following = users[node.output[0]]
        if len(following) != 1 or following[0].op_type != kind:
            return None
        node = following[0]
    return node if any(tensor.name in node.input for tensor in graph.initializer) else None


def _shift_bias(graph: onnx.GraphProto, product: NodeProto, bias: NodeProto) -> None:
    """Adds to a bias what the shift of GELU's outputs takes from the product."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    weight = product.input[1]
    scale = numpy_helper.to_array(weights[weight.removesuffix("_quantized") + "_scale"])
    columns = numpy_helper.to_array(weights[weight]).sum(axis=0, dtype=np.int64) * scale.astype(np.float64)
    place = next(i for i, name in enumerate(bias.input) if name in weights)
    old = numpy_helper.to_array(weights[bias.input[place]])
    new = (old + GELU_MINIMUM * columns).astype(np.float32)
    bias.input[place] = f"{weight}.bias"
    graph.initializer.append(numpy_helper.from_array(new, bias.input[place]))


def _users(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each value."""
    users: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    return users
