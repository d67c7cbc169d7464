"""What runs a model: arrays in, arrays out. Torch and ONNX Runtime are two of these, the fake one a third."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Backend(Protocol):
    """`run` takes `input_ids` and `attention_mask`, int64 [rows, tokens], and returns float32 arrays [rows, …]."""

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class FakeBackend:
    """Answers from a table, so that everything above a model can be tried without one.

    Args:
        table: outputs by the row's input ids (without padding); token-level arrays have the row's length.
        default: outputs of a row that is not in the table: name -> shape of one row, where -1 stands for the
            number of tokens; filled with the mean of the row's ids, so that rows differ.
    """

    def __init__(
        self,
        default: Mapping[str, tuple[int, ...]],
        table: Mapping[tuple[int, ...], Mapping[str, np.ndarray]] | None = None,
    ) -> None:
        self.default = dict(default)
        self.table = dict(table or {})
        self.calls = 0

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        rows, longest = arrays["input_ids"].shape
        outputs = {}
        for name, shape in self.default.items():
            full = tuple(longest if n == -1 else n for n in shape)
            outputs[name] = np.zeros((rows, *full), dtype=np.float32)
        for row in range(rows):
            ids = arrays["input_ids"][row][arrays["attention_mask"][row] == 1]
            known = self.table.get(tuple(int(i) for i in ids))
            for name, shape in self.default.items():
                if known is None:
                    outputs[name][row] = ids.mean()
                elif -1 in shape:
                    outputs[name][row, : len(ids)] = known[name]
                else:
                    outputs[name][row] = known[name]
        return outputs
