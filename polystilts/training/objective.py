"""What is trained on: encoded rows, drawn in updates of a fixed number and packed by length inside an update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from polystilts.errors import InvalidValue
from polystilts.formats import Features, FormatSettings
from polystilts.formats.batching import MICRO_BATCH_OVERHEAD, collate, pack
from polystilts.formats.tagging import IGNORED
from polystilts.formats.values import Rejected
from polystilts.training.model import forward_rows, summed_loss

#: One micro-batch: takes the module and returns a scalar loss already divided by the update's rows.
MicroBatch = Callable[[Any], Tensor]


class Objective(Protocol):
    """What the loop needs to know. `update` must depend on nothing but its construction and `step`."""

    total_updates: int

    def update(self, step: int) -> Iterator[MicroBatch]: ...


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What counts as one row of an update: one feature row, or the rows of one example (choice)."""

    features: tuple[Features, ...]
    targets: tuple[np.ndarray, ...]

    @property
    def length(self) -> int:
        return max(len(f) for f in self.features)


def training_rows(format_: Any, examples: Sequence[Any]) -> list[TrainingRow]:
    """Encodes examples; a window or a split sentence is a row of its own, the choices of an example are one.

    Raises:
        InvalidValue: an example that cannot be encoded, by its id.
    """
    rows = []
    for example, features in zip(examples, format_.encode(examples), strict=True):
        if isinstance(features, Rejected):
            raise InvalidValue(f"training row {example.id}: {features.error.message}", param=features.error.param)
        targets = format_.targets(example, features)
        if format_.grouped:
            rows.append(TrainingRow(tuple(features), tuple(targets)))
        else:
            rows += [TrainingRow((f,), (t,)) for f, t in zip(features, targets, strict=True)]
    return rows


@dataclass(frozen=True)
class TaskRows:
    """One task of a mixture: its rows and how long it is trained."""

    name: str
    settings: FormatSettings
    rows: Sequence[TrainingRow]
    epochs: float
    batch_size: int

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    @property
    def updates(self) -> int:
        return max(1, round(self.epochs * self.updates_per_epoch))


class Mixture:
    """One or several tasks over one encoder: one task an update, rows drawn anew every epoch.

    A task is drawn with probability proportional to its number of rows, without a cap, and there are as many updates
    as the tasks would have alone (jiant's ProportionalMultiTaskSampler). Every epoch of a task is a permutation of its
    rows drawn from (seed, task, epoch); its last update may be smaller. So `update(step)` is a function of the step,
    and an interrupted run continues where it was.

    Args:
        max_tokens: padded tokens of a micro-batch. Losses of the micro-batches are summed and divided by the rows
            (labelled tokens for tagging) of the whole update, so packing changes speed and nothing else.
        pad_to: pads every row to this length in micro-batches of `max_tokens` instead of packing (the benchmark's
            baseline: what XTREME's and jiant's scripts do); 0 = pack.
        overhead: what a micro-batch costs beside its tokens, in tokens; more for small models and for GPUs.
    """

    def __init__(
        self,
        tasks: Sequence[TaskRows],
        *,
        pad: int,
        seed: int,
        max_tokens: int,
        pad_to: int = 0,
        overhead: int = MICRO_BATCH_OVERHEAD,
    ) -> None:
        for task in tasks:
            if not task.rows:
                raise InvalidValue(f"task {task.name} has no training rows", param="intermediate", limit=1, given=0)
        self.tasks, self.pad, self.seed = tuple(tasks), pad, seed
        self.max_tokens, self.pad_to, self.overhead = max_tokens, pad_to, overhead
        self.total_updates = sum(task.updates for task in tasks)
        sizes = np.array([len(task.rows) for task in tasks], dtype=float)
        drawn = np.random.default_rng([seed, 0]).choice(len(tasks), size=self.total_updates, p=sizes / sizes.sum())
        self._task_of = drawn.tolist()
        counts = [0] * len(tasks)
        self._turn_of = []
        for task_number in self._task_of:
            self._turn_of.append(counts[task_number])
            counts[task_number] += 1

    def rows_of(self, step: int) -> tuple[TaskRows, list[int]]:
        """The task of an update and the numbers of its rows."""
        number, turn = self._task_of[step], self._turn_of[step]
        task = self.tasks[number]
        epoch, place = divmod(turn, task.updates_per_epoch)
        order = np.random.default_rng([self.seed, 1 + number, epoch]).permutation(len(task.rows))
        return task, order[place * task.batch_size : (place + 1) * task.batch_size].tolist()

    def update(self, step: int) -> Iterator[MicroBatch]:
        task, numbers = self.rows_of(step)
        rows = [task.rows[i] for i in numbers]
        weight = _weight(task.settings, rows)
        for batch in self._micro_batches(rows):
            yield lambda module, batch=batch: self._loss(module, task, batch, weight)  # type: ignore[misc]

    def _micro_batches(self, rows: list[TrainingRow]) -> list[list[TrainingRow]]:
        widest = max(len(row.features) for row in rows)
        lengths = [self.pad_to or row.length for row in rows]
        return [[rows[i] for i in group] for group in pack(lengths, self.max_tokens // widest, overhead=self.overhead)]

    def _loss(self, module: nn.Module, task: TaskRows, batch: list[TrainingRow], weight: int) -> Tensor:
        model: Any = module[task.name] if isinstance(module, nn.ModuleDict) else module
        features = [f for row in batch for f in row.features]
        arrays = collate(features, self.pad, length=self.pad_to)
        ids, mask = (torch.from_numpy(arrays[name]).to(model.device) for name in ("input_ids", "attention_mask"))
        outputs = forward_rows(model, task.settings, ids, mask)
        targets = [t for row in batch for t in row.targets]
        groups = [len(row.features) for row in batch]
        return summed_loss(task.settings, outputs, targets, groups, mask) / weight


def _weight(settings: FormatSettings, rows: Sequence[TrainingRow]) -> int:
    if settings.format == "tagging":
        return max(1, sum(int((t != IGNORED).sum()) for row in rows for t in row.targets))
    return len(rows)


def padding_share(mixture: Mixture, updates: int) -> Mapping[str, float]:
    """Tokens needed and computed by the first `updates` updates, and the share that is padding."""
    needed = computed = 0
    for step in range(min(updates, mixture.total_updates)):
        task, numbers = mixture.rows_of(step)
        for batch in mixture._micro_batches([task.rows[i] for i in numbers]):
            lengths = [len(f) for row in batch for f in row.features]
            needed += sum(lengths)
            computed += (mixture.pad_to or max(lengths)) * len(lengths)
    return {"tokens_needed": needed, "tokens_computed": computed, "padding_share": 1 - needed / computed}
