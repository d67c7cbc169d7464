"""The saved state of a training: weights, AdamW moments and counters in one safetensors file, replaced by rename."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """A full disk reported by safetensors as the OSError it is, and what was half written removed.

    Raises:
        OSError: with the number that the system gave.
    """
    try:
        yield
    except SafetensorError as error:
        path.unlink(missing_ok=True)
        number = re.search(r"os error (\d+)", str(error))
        if not number:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from None


STATE, BEST = "state.safetensors", "best.safetensors"


@dataclass
class Progress:
    """Counters of a training; `best_score` is -inf until something was scored."""

    step: int = 0
    best_score: float = float("-inf")
    best_step: int = 0
    last_score: float | None = None


class TrainingState:
    """Saves and loads a module and its optimizer. What it writes is whole or absent, and never unpickled.

    Early stopping counts evaluations since the best one from `best_step`, so it needs no counter of its own.
    """

    def __init__(self, folder: Path, module: nn.Module, optimizer: Any) -> None:
        self.folder, self.module, self.optimizer = folder, module, optimizer
        self.progress = Progress()
        self._parameters = dict(module.named_parameters())

    def load(self, *, step: int) -> Progress:
        """Continues from the saved state, else starts at `step`; sweeps what a kill left half written."""
        for leftover in self.folder.glob(".*.safetensors.*"):
            leftover.unlink(missing_ok=True)
        self.progress.step = step
        path = self.folder / STATE
        if path.is_file():
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                counters = file.metadata()
            self._copy(tensors, "weight.")
            self._load_moments(tensors)
            last = counters["last_score"]
            self.progress.__dict__.update(
                step=int(counters["step"]),
                best_score=float(counters["best_score"]),
                best_step=int(counters["best_step"]),
                last_score=float(last) if last else None,
            )
        return self.progress

    def save(self) -> None:
        tensors = self._weights()
        for name, parameter in self._parameters.items():
            for key, value in self._adam().get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.detach().cpu()
        last = self.progress.last_score
        self._write(
            STATE,
            tensors,
            {
                "step": str(self.progress.step),
                "best_score": repr(self.progress.best_score),
                "best_step": str(self.progress.best_step),
                "last_score": "" if last is None else repr(last),
            },
        )

    def offer(self, score: float, *, keep: bool) -> None:
        """Notes a score; where it is the best so far and `keep`, writes the weights that reached it."""
        self.progress.last_score = score
        if score > self.progress.best_score:
            self.progress.best_score, self.progress.best_step = score, self.progress.step
            if keep:
                self._write(BEST, self._weights(), {"step": str(self.progress.step), "score": repr(score)})

    def restore_best(self) -> None:
        """Puts the best weights back into the module."""
        with safe_open(self.folder / BEST, "pt") as file:
            self._copy({name: file.get_tensor(name) for name in file.keys()}, "weight.")  # noqa: SIM118

    def _weights(self) -> dict[str, Tensor]:
        return {f"weight.{name}": p.detach().cpu().contiguous() for name, p in self._parameters.items()}

    def _adam(self) -> dict[Tensor, dict[str, Tensor]]:
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        state: dict[Tensor, dict[str, Tensor]] = inner.state
        return state

    @torch.no_grad()
    def _copy(self, tensors: dict[str, Tensor], prefix: str) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[prefix + name])

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors]
            if keys:
                self._adam()[parameter] = {key: tensors[f"{key}.{name}"].to(parameter.device) for key in keys}

    def _write(self, name: str, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.{os.getpid()}"
        with os_errors(temporary):
            save_file(tensors, temporary, metadata=metadata)
        os.replace(temporary, self.folder / name)
