"""A small real training that tests run whole, in parts, and in processes of their own that get killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polystilts.training.checkpoint import write_checkpoint
from polystilts.training.loop import NoRecorder, Outcome, TrainingSettings, train
from polystilts.training.model import build_model, share_encoder
from polystilts.training.objective import Mixture, TaskRows, training_rows
from tests.world.encoder import EXAMPLES, SETTINGS, tiny_format

#: A state is saved after every update.
ALWAYS = -1.0

SETTINGS_OF_LOOP: Mapping[str, Any] = {
    "learning_rate": 1e-2,
    "precision": "fp32",
    "evaluations": 4,
    "save_seconds": ALWAYS,
    "log_every": 1,
    "seed": 5,
}


def task_rows(name: str, *, epochs: float = 2, batch_size: int = 3) -> TaskRows:
    """The rows of EXAMPLES for a format, as a task of the format's name."""
    rows = training_rows(tiny_format(name), EXAMPLES[name])
    return TaskRows(name, SETTINGS[name], rows, epochs, batch_size)


def mixture(names: Sequence[str], *, epochs: float = 2, batch_size: int = 3, **options: Any) -> Mixture:
    tasks = [task_rows(name, epochs=epochs, batch_size=batch_size) for name in names]
    return Mixture(tasks, **({"pad": 1, "seed": 3, "max_tokens": 100} | options))


def model_of(name: str, encoder: Path, *, seed: int = 1) -> Any:
    return build_model(name, encoder, labels=SETTINGS[name].labels, seed=seed)


def module_of(names: Sequence[str], encoder: Path) -> nn.Module:
    """One model, or several by name over one encoder."""
    models = {name: model_of(name, encoder) for name in names}
    share_encoder(list(models.values()))
    return nn.ModuleDict(models) if len(names) > 1 else models[names[0]]


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rising_score(module: nn.Module) -> dict[str, float]:
    """A score that depends on the weights alone."""
    return {"rows": float(sum(p.detach().double().abs().sum() for p in module.parameters()) * 1e3 % 7)}


def run(
    names: Sequence[str], encoder: Path, state: Path, *, recorder: Any = None, epochs: float = 2, **changed: Any
) -> tuple[nn.Module, Outcome]:
    """Trains, from the saved state where there is one."""
    module = module_of(names, encoder)
    outcome = train(
        module,
        mixture(names, epochs=epochs),
        TrainingSettings(**(SETTINGS_OF_LOOP | changed)),
        state_folder=state,
        evaluate=rising_score,
        recorder=recorder,
    )
    return module, outcome


class Reporter(NoRecorder):
    """Counts updates for another process and hangs at one of them, where that process kills this one."""

    def __init__(self, done: Any, hang_at: int) -> None:
        self.done, self.hang_at = done, hang_at

    def start(self, description: str, total: int, done: int) -> None:
        self.done.value = done

    def advance(self, updates: int, metrics: Mapping[str, float]) -> None:
        self.done.value += updates
        if self.done.value >= self.hang_at:
            signal.pause()


def train_in_process(encoder: Path, folder: Path, done: Any, hang_at: int) -> None:
    """Trains two tasks with dropout and writes the result as a checkpoint."""
    torch.set_num_threads(1)
    module, _ = run(
        ("pair", "span"), encoder, folder / "state", recorder=Reporter(done, hang_at), epochs=6, selection="last"
    )
    write_checkpoint(folder / "checkpoint", module["pair"], tokenizer_from=encoder, key="k", lineage={})


def write_in_process(encoder: Path, folder: Path, done: Any) -> None:
    """Writes one checkpoint after the other until it is killed."""
    torch.set_num_threads(1)
    model = model_of("pair", encoder)
    while True:
        write_checkpoint(folder / str(done.value), model, tokenizer_from=encoder, key="k", lineage={})
        done.value += 1


def leftovers(folder: Path) -> list[str]:
    """Names of temporary files and folders."""
    return [name for name in os.listdir(folder) if name.startswith(".")]
