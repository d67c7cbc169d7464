"""What ONNX Runtime refuses by itself, pinned for the locked version: `check_graph` is the first of two doors."""

import os
import shutil

import onnx
import pytest
from onnx import TensorProto, helper

from polystilts.runtime import ort
from polystilts.runtime.graph import UnsafeGraph
from polystilts.runtime.ort import OrtBackend
from tests.world.bundles import tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "xnli", "xnli").folder


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    monkeypatch.setattr(ort, "check_graph", lambda folder: None)
    shutil.copyfile(original / "model.onnx.data", tmp_path / "outside.data")
    return shutil.copytree(original, tmp_path / "bundle")


def change(folder, edit):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    edit(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def move_weights(graph, location):
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location


def test_an_untouched_bundle_opens(folder):
    OrtBackend(folder, threads=1)


@pytest.mark.parametrize("place", ["../outside.data", "absolute", "link", "absent.data"])
def test_weights_elsewhere(folder, place):
    (folder / "link").symlink_to(folder.parent / "outside.data")
    location = os.fspath(folder.parent / "outside.data") if place == "absolute" else place
    change(folder, lambda graph: move_weights(graph, location))
    with pytest.raises(UnsafeGraph, match="ONNX Runtime refuses"):
        OrtBackend(folder, threads=1)


def test_an_operator_that_nobody_registered(folder):
    evil = helper.make_node("Shell", ["input_ids"], ["out"], domain="evil.example")

    def edit(graph):
        graph.node.append(evil)
        graph.output.append(helper.make_tensor_value_info("out", TensorProto.INT64, ["rows", "tokens"]))

    change(folder, edit)
    with pytest.raises(UnsafeGraph, match="ONNX Runtime refuses"):
        OrtBackend(folder, threads=1)


def test_half_a_file(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnsafeGraph, match="ONNX Runtime refuses"):
        OrtBackend(folder, threads=1)


@pytest.mark.parametrize("spin", [False, True])
def test_threads_spin_during_a_call_at_most(original, spin):
    """Spinning on after it, they would have the core that writes the answer."""
    options = OrtBackend(original, threads=2, spin=spin)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spin))
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
