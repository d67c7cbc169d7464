"""What an ONNX file may hold, checked before ONNX Runtime opens it.

The server has no `onnx` package. protobuf, which ONNX Runtime brings along, reads the few fields that matter here, by
the rules by which ONNX Runtime itself reads the file, and skips the rest. Field numbers are those of `onnx.proto`
(onnx 1.23); a test compares them with the package.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from polystilts.errors import ChecksumMismatch, PolystiltsError
from polystilts.runtime.folders import check_name

GRAPH, DATA = "model.onnx", "model.onnx.data"

#: Weights are external, so what is left is small: a few nodes a layer.
GRAPH_BYTES = 64 * 1024 * 1024

#: Operators of these domains are ONNX Runtime's own; any other would need a library that we do not load.
DOMAINS = ("", "ai.onnx", "com.microsoft")

#: An operator of ONNX Runtime that reads a file named by an attribute.
FILE_READERS = ("EPContext",)

#: What an entry of `external_data` may say.
EXTERNAL_KEYS = ("location", "offset", "length", "checksum")
EXTERNAL = 1

_NUMBER = re.compile(r"[0-9]{1,18}")

#: Message of onnx.proto -> field -> (number, message or scalar type); all but `graph`, `g`, `t` and the like may
#: repeat. Every road to an operator, a graph or a tensor is here; text is read as bytes, since it need not be UTF-8.
FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ModelProto": {
        "graph": (7, "GraphProto"),
        "opset_import": (8, "OperatorSetIdProto*"),
        "training_info": (20, "bytes*"),
        "functions": (25, "bytes*"),
    },
    "OperatorSetIdProto": {"domain": (1, "bytes")},
    "GraphProto": {
        "node": (1, "NodeProto*"),
        "initializer": (5, "TensorProto*"),
        "sparse_initializer": (15, "SparseTensorProto*"),
    },
    "NodeProto": {"op_type": (4, "bytes"), "attribute": (5, "AttributeProto*"), "domain": (7, "bytes")},
    "AttributeProto": {
        "t": (5, "TensorProto"),
        "g": (6, "GraphProto"),
        "tensors": (10, "TensorProto*"),
        "graphs": (11, "GraphProto*"),
        "sparse_tensor": (22, "SparseTensorProto"),
        "sparse_tensors": (23, "SparseTensorProto*"),
    },
    "TensorProto": {
        "name": (8, "bytes"),
        "external_data": (13, "StringStringEntryProto*"),
        "data_location": (14, "int32"),
    },
    "SparseTensorProto": {"values": (1, "TensorProto"), "indices": (2, "TensorProto")},
    "StringStringEntryProto": {"key": (1, "bytes"), "value": (2, "bytes")},
}


class UnsafeGraph(PolystiltsError):
    """A model file that would reach beyond its folder or beyond ONNX Runtime's own operators."""

    code = "unsafe_graph"


def check_graph(folder: Path) -> None:
    """Refuses a bundle's `model.onnx` that reads other files than its own or calls other operators than ONNX Runtime's.

    Raises:
        UnsafeGraph: no ONNX model; functions or training graphs inside; an operator of an unknown domain, anywhere,
            also in the branches of an If and the bodies of loops; weights that lie elsewhere than in the folder.
    """
    path = folder / GRAPH
    if not path.is_file():
        raise UnsafeGraph(f"no {GRAPH} in {folder}", param=GRAPH)
    size = path.stat().st_size
    if size > GRAPH_BYTES:
        raise UnsafeGraph(
            f"{path} has {size} bytes; the limit is {GRAPH_BYTES}: weights belong into {DATA}",
            param=GRAPH,
            limit=GRAPH_BYTES,
            given=size,
        )
    try:
        check_model(path.read_bytes(), folder)
    except UnsafeGraph as error:
        raise UnsafeGraph(f"{path} is refused: {error.message}", param=GRAPH, given=error.given) from None


def check_model(data: bytes, folder: Path) -> None:
    """`check_graph` on the file's bytes."""
    model: Any = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise UnsafeGraph(f"it is no ONNX model: {error}") from None
    if not model.HasField("graph"):
        raise UnsafeGraph("it is no ONNX model: there is no graph in it")
    for field in ("functions", "training_info"):
        if getattr(model, field):
            raise UnsafeGraph(f"it has {field}, which no exporter of ours writes", given=field)
    sizes: dict[str, int] = {}
    for name, message in _within("ModelProto", model):
        if name == "OperatorSetIdProto":
            _check_domain(message.domain, "the file")
        elif name == "NodeProto":
            _check_domain(message.domain, f"the operator {_text(message.op_type)!r}")
            if _text(message.op_type) in FILE_READERS:
                raise UnsafeGraph(f"the operator {_text(message.op_type)!r} reads a file of its own", given="op_type")
        elif name == "TensorProto":
            _check_tensor(message, folder, sizes)


def _within(name: str, message: Any) -> Iterator[tuple[str, Any]]:
    """A message and all below it, with their types; deeper than protobuf parses (100 levels) there is nothing."""
    waiting = [(name, message)]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        for field, (_, kind) in FIELDS[name].items():
            if kind.rstrip("*") in FIELDS:
                if kind.endswith("*"):
                    waiting += ((kind[:-1], one) for one in getattr(message, field))
                elif message.HasField(field):
                    waiting.append((kind, getattr(message, field)))


def _check_domain(domain: bytes, whose: str) -> None:
    if _text(domain) not in DOMAINS:
        known = ", ".join(repr(name) for name in DOMAINS)
        raise UnsafeGraph(f"{whose} needs domain {_text(domain)!r}; known: {known}", given=_text(domain))


def _check_tensor(tensor: Any, folder: Path, sizes: dict[str, int]) -> None:
    entries = [(_text(entry.key), _text(entry.value)) for entry in tensor.external_data]
    said = dict(entries)
    external = tensor.data_location == EXTERNAL
    if not entries and not external:
        return
    whose = f"the tensor {_text(tensor.name)!r}"
    if len(said) != len(entries) or not said.keys() <= set(EXTERNAL_KEYS) or "location" not in said:
        raise UnsafeGraph(f"{whose} says unclearly where its data lies: {', '.join(key for key, _ in entries)}")
    location = said["location"]
    if location not in sizes:
        sizes[location] = _size_of(location, folder, whose)
    for key in ("offset", "length"):
        if not _NUMBER.fullmatch(said.get(key, "0")):
            raise UnsafeGraph(f"{whose} has {key} {said[key]!r}, which is no number of bytes", given=said[key])
    end = int(said.get("offset", 0)) + int(said.get("length", 0))
    if end > sizes[location]:
        raise UnsafeGraph(f"{whose} ends at byte {end} of {location}, which has {sizes[location]}", given=end)


def _size_of(location: str, folder: Path, whose: str) -> int:
    """Bytes of a data file; it must be a plain file of the folder itself, where no link can lie on the way."""
    try:
        status = (folder / check_name(location, where=whose)).lstat()
    except (ChecksumMismatch, OSError):
        status = None
    if status is None or "/" in location or not stat.S_ISREG(status.st_mode):
        raise UnsafeGraph(f"{whose} has its data in {location[:100]!r}, no file of this folder", given=location)
    return status.st_size


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="backslashreplace")


@cache
def _model_class() -> type[Message]:
    """ModelProto with the fields of `FIELDS` alone, in a pool of its own beside the one of the `onnx` package."""
    file = FileDescriptorProto(name="graph.proto", package="graph", syntax="proto2")
    kinds = {"bytes": FieldDescriptorProto.TYPE_BYTES, "int32": FieldDescriptorProto.TYPE_INT32}
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            one = kind.rstrip("*")
            message.field.add(
                name=field,
                number=number,
                label=FieldDescriptorProto.LABEL_REPEATED if one != kind else FieldDescriptorProto.LABEL_OPTIONAL,
                type=kinds.get(one, FieldDescriptorProto.TYPE_MESSAGE),
                type_name=None if one in kinds else f".graph.{one}",
            )
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("graph.ModelProto"))
