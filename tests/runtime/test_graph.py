"""Attacks on the model file: each is a real ONNX file in a real bundle, refused before ONNX Runtime opens it."""

import shutil

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from polystilts.runtime import graph as graph_module
from polystilts.runtime import ort
from polystilts.runtime.bundle import MANIFEST, load_predictor, open_bundle
from polystilts.runtime.folders import file_sums, read_json, write_json
from polystilts.runtime.graph import FIELDS, UnsafeGraph, check_graph, check_model
from polystilts.runtime.ort import OrtBackend
from tests.world.bundles import tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "xnli", "xnli").folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


@pytest.fixture(autouse=True)
def no_session(monkeypatch):
    """What is refused here must never reach ONNX Runtime."""

    def opened(*_, **__):
        raise AssertionError("ONNX Runtime was called")

    monkeypatch.setattr(ort.onnxruntime, "InferenceSession", opened)


def refused(folder, change, match):
    """Changes the graph, rewrites all sums, and opens the bundle as the server does."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"files": file_sums(folder, leave_out=MANIFEST)})
    bundle = open_bundle(folder)
    with pytest.raises(UnsafeGraph, match=match) as caught:
        load_predictor(bundle, threads=1)
    assert caught.value.param == "model.onnx" and "model.onnx is refused" in caught.value.message


def external(location, *, name="evil", more=()):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), *more):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


def body(*, nodes=(), tensors=()):
    """A subgraph that gives one number, and what an attacker put beside it."""
    one = helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.float32(1)))
    out = helper.make_tensor_value_info("one", TensorProto.FLOAT, [])
    return helper.make_graph([one, *nodes], "body", [], [out], list(tensors))


def branch(inner):
    return helper.make_node("If", ["yes"], ["result"], then_branch=inner, else_branch=body())


#: Where a tensor or an operator can hide.
PLACES = {
    "the graph": lambda g, n, t: (g.node.extend(n), g.initializer.extend(t)),
    "an If": lambda g, n, t: g.node.append(branch(body(nodes=n, tensors=t))),
    "a Loop": lambda g, n, t: g.node.append(helper.make_node("Loop", ["m", "c"], [], body=body(nodes=n, tensors=t))),
    "a Scan in an If in an If": lambda g, n, t: g.node.append(
        branch(
            body(
                nodes=[
                    branch(
                        body(
                            nodes=[
                                helper.make_node("Scan", ["x"], [], num_scan_inputs=1, body=body(nodes=n, tensors=t))
                            ]
                        )
                    )
                ]
            )
        )
    ),
    "a list of graphs": lambda g, n, t: g.node.append(
        helper.make_node("If", [], [], several=[body(), body(nodes=n, tensors=t)])
    ),
    "an attribute": lambda g, n, t: (
        g.node.extend(n),
        g.node.extend(helper.make_node("Constant", [], ["c"], value=one) for one in t),
    ),
    "a list of tensors": lambda g, n, t: (
        g.node.extend(n),
        g.node.append(helper.make_node("Constant", [], ["c"], several=list(t))) if t else None,
    ),
    "sparse weights": lambda g, n, t: (
        g.node.extend(n),
        g.sparse_initializer.extend(onnx.SparseTensorProto(values=one) for one in t),
    ),
    "sparse indices in an attribute": lambda g, n, t: (
        g.node.extend(n),
        g.node.append(
            onnx.NodeProto(
                op_type="Constant",
                attribute=[onnx.AttributeProto(sparse_tensor=onnx.SparseTensorProto(indices=one)) for one in t],
            )
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_weights_outside_the_folder_are_found_wherever_they_hide(folder, place):
    refused(folder, lambda m: PLACES[place](m.graph, [], [external("../../etc/passwd")]), "no file of this folder")


@pytest.mark.parametrize("place", PLACES)
def test_an_operator_of_another_domain_is_found_wherever_it_hides(folder, place):
    evil = helper.make_node("Shell", ["input_ids"], ["out"], domain="evil.example")
    refused(folder, lambda m: PLACES[place](m.graph, [evil], []), r"'Shell' needs domain 'evil\.example'")


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd", "../weights", "..", ".", "", "sub/../../weights", "absent.data", "sub", "sub/inner.data",
        "./model.onnx.data", "model.onnx.data/", "model.onnx.data\0", "..\\weights", "file:///etc/passwd",
        # ONNX Runtime's mark for 'at this address in memory'.
        "*/_ORT_MEM_ADDR_/*",
    ],
)  # fmt: skip
def test_places_of_weights_that_are_refused(folder, location):
    (folder.parent / "weights").write_bytes(b"0" * 100)
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.data").write_bytes(b"0" * 100)
    change = external(location, more=[("offset", "0"), ("length", "16")])
    refused(folder, lambda m: m.graph.initializer.append(change), "no file of this folder")


def test_a_link_to_weights_outside_is_refused(folder):
    """`open_bundle` refuses it before; here the check of the graph stands alone."""
    (folder.parent / "weights").write_bytes(b"0" * 100)
    (folder / "link").symlink_to(folder.parent / "weights")
    model = onnx.ModelProto()
    model.graph.initializer.append(external("link"))
    with pytest.raises(UnsafeGraph, match="no file of this folder"):
        check_model(model.SerializeToString(), folder)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([("offset", "-1")], "which is no number of bytes"),
        ([("offset", "0x10")], "which is no number of bytes"),
        ([("length", "")], "which is no number of bytes"),
        ([("length", "9" * 30)], "which is no number of bytes"),
        ([("length", "٤")], "which is no number of bytes"),
        ([("offset", "0"), ("length", "99999999")], "ends at byte 99999999 of model.onnx.data"),
        ([("offset", "99999999"), ("length", "0")], "ends at byte 99999999"),
        ([("location", "/etc/passwd")], "says unclearly"),
        ([("basepath", "/etc")], "says unclearly"),
    ],
)
def test_entries_of_external_data_that_are_refused(folder, more, match):
    refused(folder, lambda m: m.graph.initializer.append(external("model.onnx.data", more=more)), match)


def test_external_weights_without_a_place_are_refused(folder):
    refused(folder, lambda m: m.graph.initializer.append(external(None)), "says unclearly")


def test_a_place_is_checked_also_where_the_tensor_does_not_say_external(folder):
    tensor = external("/etc/passwd")
    tensor.data_location = TensorProto.DEFAULT
    refused(folder, lambda m: m.graph.initializer.append(tensor), "no file of this folder")


def function(domain, op_type="Relu"):
    return helper.make_function(
        domain, op_type, ["x"], ["y"], [helper.make_node("Shell", ["x"], ["y"], domain="evil.example")],
        [helper.make_opsetid("", 18), helper.make_opsetid("evil.example", 1)],
    )  # fmt: skip


@pytest.mark.parametrize("domain", ["evil.example", "", "com.microsoft"])
def test_functions_are_refused_whatever_their_domain(folder, domain):
    """In the standard domain one could stand in for an operator of that name."""
    refused(folder, lambda m: m.functions.append(function(domain)), "it has functions")


def test_training_graphs_are_refused(folder):
    info = onnx.TrainingInfoProto(algorithm=body(tensors=[external("/etc/passwd")]))
    refused(folder, lambda m: m.training_info.append(info), "it has training_info")


def test_a_domain_that_is_only_declared_is_refused(folder):
    declared = helper.make_opsetid("evil.example", 1)
    refused(folder, lambda m: m.opset_import.append(declared), r"the file needs domain 'evil\.example'")


@pytest.mark.parametrize("domain", ["com.microsoft.extensions", "ai.onnx.contrib", "COM.MICROSOFT", "com.microsoft\0"])
def test_domains_that_look_alike_are_refused(folder, domain):
    evil = helper.make_node("Shell", ["x"], ["y"], domain=domain)
    refused(folder, lambda m: m.graph.node.append(evil), "needs domain")


def test_an_operator_that_reads_a_file_is_refused(folder):
    evil = helper.make_node(
        "EPContext", [], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/passwd"
    )
    refused(folder, lambda m: m.graph.node.append(evil), "reads a file of its own")


def test_a_domain_that_is_no_text_is_refused(folder):
    node = b"\x22\x05Shell\x3a\x02\xff\xfe"  # op_type and domain
    graph = b"\x0a" + bytes([len(node)]) + node
    with pytest.raises(UnsafeGraph, match=r"needs domain '\\\\xff\\\\xfe'"):
        check_model(b"\x3a" + bytes([len(graph)]) + graph, folder)


def test_a_graph_given_in_two_parts_is_read_as_one(folder):
    """By protobuf's rules the second part is merged into the first."""
    model = onnx.ModelProto()
    model.graph.node.append(helper.make_node("Shell", [], ["y"], domain="evil.example"))
    with pytest.raises(UnsafeGraph, match="needs domain"):
        check_model((folder / "model.onnx").read_bytes() + model.SerializeToString(), folder)


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"ORTM" * 10, b"{}", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_model_is_refused(folder, data):
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(UnsafeGraph, match="it is no ONNX model"):
        OrtBackend(folder)


def test_subgraphs_nested_beyond_reason_are_refused(folder):
    inner = b""
    for _ in range(200):  # graph -> node (1) -> attribute (5) -> g (6)
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            length, size = len(inner), b""
            while length > 127:
                size, length = size + bytes([length & 127 | 128]), length >> 7
            inner = tag + size + bytes([length]) + inner
    length, size = len(inner), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    with pytest.raises(UnsafeGraph, match="it is no ONNX model"):
        check_model(b"\x3a" + size + bytes([length]) + inner, folder)


def test_weights_inside_the_graph_are_refused(folder, monkeypatch):
    monkeypatch.setattr(graph_module, "GRAPH_BYTES", 100)
    with pytest.raises(UnsafeGraph, match=r"the limit is 100: weights belong into model\.onnx\.data") as caught:
        OrtBackend(folder)
    assert caught.value.given > caught.value.limit == 100


def test_no_model_file(tmp_path):
    with pytest.raises(UnsafeGraph, match=r"no model\.onnx"):
        OrtBackend(tmp_path)


def test_an_ordinary_bundle_passes(original):
    check_graph(original)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_refused_or_harmless(original, data):
    """Whatever the bytes, there is an answer: UnsafeGraph, or a model that names no other file and no other domain."""
    whole = bytearray((original / "model.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        cut = data.draw(st.integers(0, 3))
        whole[at : at + cut] = data.draw(st.binary(max_size=4))
    damaged = bytes(whole)
    try:
        check_model(damaged, original)
    except UnsafeGraph:
        return
    model = onnx.ModelProto()
    try:
        model.ParseFromString(damaged)
    except DecodeError:  # in a field that we do not read
        return
    domains = {node.domain for node in model.graph.node}
    places = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    assert domains <= set(graph_module.DOMAINS) and places <= {"model.onnx.data", "tokenizer.json", MANIFEST}


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_have_an_answer(original, data):
    with pytest.raises(UnsafeGraph):
        check_model(data, original)
        raise UnsafeGraph("an empty graph is none of ours, but harmless")


def test_our_fields_are_those_of_onnx():
    for name, fields in FIELDS.items():
        descriptor = getattr(onnx, name).DESCRIPTOR
        for field, (number, kind) in fields.items():
            theirs = descriptor.fields_by_name[field]
            assert theirs.number == number, f"{name}.{field}"
            assert theirs.is_repeated == kind.endswith("*"), f"{name}.{field}"
            if kind.rstrip("*") in FIELDS:
                assert theirs.message_type.name == kind.rstrip("*")


def test_no_road_to_a_tensor_or_an_operator_is_left_out():
    """In the schema of the installed onnx: a new field that holds graphs or weights must be read or refused."""
    wanted = {"TensorProto", "NodeProto", "GraphProto", "OperatorSetIdProto"}

    def leads(descriptor, seen=()):
        return descriptor.name in wanted or any(
            leads(field.message_type, (*seen, descriptor.name))
            for field in descriptor.fields
            if field.message_type and field.message_type.name not in (*seen, descriptor.name)
        )

    for name, fields in FIELDS.items():
        for field in getattr(onnx, name).DESCRIPTOR.fields:
            if field.message_type and leads(field.message_type):
                assert field.name in fields, f"{name}.{field.name}"
