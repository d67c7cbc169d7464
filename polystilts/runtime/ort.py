"""The ONNX Runtime backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from polystilts.errors import InvalidValue, UnknownName
from polystilts.runtime.graph import GRAPH, UnsafeGraph, check_graph

#: What ONNX Runtime raises on a graph or on arrays that it cannot take; they have no base of their own.
ORT_ERRORS: tuple[type[Exception], ...] = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)


def usable_cores() -> int:
    """Cores this process may use: the affinity mask, bounded by the cgroup quota (never `os.cpu_count()`)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


#: Execution providers by device, the first with our options.
_PROVIDERS: Mapping[str, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"}), "CPUExecutionProvider"],
}


def check_device(device: str) -> None:
    """Does nothing for a device that this ONNX Runtime can use.

    Raises:
        UnknownName: neither 'cpu' nor 'cuda'.
        InvalidValue: 'cuda' with an ONNX Runtime that is not built for it.
    """
    if device not in _PROVIDERS:
        raise UnknownName("device", device, _PROVIDERS, param="device")
    if device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InvalidValue(
            "this ONNX Runtime is built for processors alone; install serving/requirements-gpu.lock in its place",
            param="device",
            given=device,
        )


class OrtBackend:
    """One session over `model.onnx`; its weights stand in `model.onnx.data` and are memory-mapped.

    Args:
        folder: a bundle folder whose files have been verified.
        threads: intra-op threads; 0 = all usable cores.
        device: 'cpu' or 'cuda'.
        spin: threads wait awake for the next part of a running call: quicker where nothing else needs the cores.

    Raises:
        UnsafeGraph: by `check_graph`, before ONNX Runtime sees the file; or ONNX Runtime itself refuses it.
        InvalidValue: a device that this ONNX Runtime was not built for, or that is not there.
    """

    def __init__(self, folder: Path, *, threads: int = 0, device: str = "cpu", spin: bool = False) -> None:
        check_device(device)
        check_graph(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Idle threads that spin steal the cores from tokenising, HTTP and other sessions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        # Else they spin on for some milliseconds after a call, on the core that has its answer to write.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # What was checked is what is read: nothing in the file may make it another format.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 3
        path = folder / GRAPH
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=_PROVIDERS[device])
        except ORT_ERRORS as error:
            raise UnsafeGraph(f"ONNX Runtime refuses {path}: {error}", param=GRAPH) from None
        # ONNX Runtime falls back to the processor in silence.
        if device == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise InvalidValue("ONNX Runtime finds no CUDA device, or not its libraries", param="device", given=device)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(arrays)), strict=True))
