"""The ONNX Runtime backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime


def usable_cores() -> int:
    """Cores this process may use: the affinity mask, bounded by the cgroup quota (never `os.cpu_count()`)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


class OrtBackend:
    """One session over `model.onnx`; its weights stand in `model.onnx.data` and are memory-mapped.

    Args:
        folder: a bundle folder whose files have been verified.
        threads: intra-op threads; 0 = all usable cores.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Idle threads that spin steal the cores from tokenising and HTTP.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(arrays)), strict=True))
