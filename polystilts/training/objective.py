"""What is trained on: encoded rows, drawn in updates of a fixed number and packed by length inside an update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from polystilts.errors import InvalidValue
from polystilts.formats import Features, FormatSettings
from polystilts.formats.batching import MICRO_BATCH_OVERHEAD, collate, pack
from polystilts.formats.tagging import IGNORED
from polystilts.formats.values import Rejected
from polystilts.training.model import contrastive_loss, forward_rows, summed_loss

#: One micro-batch: takes the module and returns a scalar loss already divided by the update's rows.
MicroBatch = Callable[[Any], Tensor]


class Objective(Protocol):
    """What the loop needs to know. All depends on nothing but its construction and `step`."""

    total_updates: int

    def update(self, step: int) -> Iterator[MicroBatch]: ...


@runtime_checkable
class Several(Objective, Protocol):
    """An objective that trains several things, whose losses are followed apart."""

    def name(self, step: int) -> str:
        """What update `step` trains; '' where there is nothing to tell apart."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """What counts as one row of an update: one feature row, or those of one example (choice, pairs of texts)."""

    features: tuple[Features, ...]
    targets: tuple[np.ndarray, ...]
    language: str = ""

    @property
    def length(self) -> int:
        return max(len(f) for f in self.features)


def training_rows(format_: Any, examples: Sequence[Any]) -> list[TrainingRow]:
    """Encodes examples; a window or a split sentence is a row of its own, the choices of an example are one, and so
    are the two texts of a pair that is embedded apart.

    Raises:
        InvalidValue: an example that cannot be encoded, by its id.
    """
    rows = []
    for example, features in zip(examples, format_.encode(examples), strict=True):
        if isinstance(features, Rejected):
            raise InvalidValue(f"training row {example.id}: {features.error.message}", param=features.error.param)
        targets = format_.targets(example, features)
        if format_.grouped:
            rows.append(TrainingRow(tuple(features), tuple(targets), example.language))
        else:
            rows += [TrainingRow((f,), (t,), example.language) for f, t in zip(features, targets, strict=True)]
    return rows


@dataclass(frozen=True)
class TaskRows:
    """One task of a mixture: its rows and how long it is trained.

    Attributes:
        micro_batch_rows: rows of a micro-batch of a contrastive task, each row's negatives; 0 = a whole update.
    """

    name: str
    settings: FormatSettings
    rows: Sequence[TrainingRow]
    epochs: float
    batch_size: int
    micro_batch_rows: int = 0

    @property
    def contrastive(self) -> bool:
        """Whether the rows of a micro-batch are scored against each other."""
        return self.settings.format == "sentence"

    @property
    def updates_per_epoch(self) -> int:
        return self.parts(len(self.rows), self.batch_size)

    def parts(self, count: int, size: int) -> int:
        """Parts of `count` rows: `size` each, the last one smaller. One row left over joins the part before it where
        the task is contrastive: alone it has no negatives."""
        whole, left = divmod(count, size)
        joined = self.contrastive and whole and left == 1
        return whole + (left > 0) - bool(joined)

    @property
    def updates(self) -> int:
        return self.updates_within(0)

    def updates_within(self, cap: int) -> int:
        """Updates of all its epochs, where an epoch counts at most `cap` rows (0 = all of them)."""
        return max(1, round(self.epochs * self.parts(_capped(len(self.rows), cap), self.batch_size)))


@dataclass(frozen=True)
class Sampling:
    """How the task of an update is drawn: with probability proportional to min(rows, cap) ** (1 / temperature).

    jiant's samplers (`task_sampler.py`): proportional, its default, is temperature 1 without a cap; a cap is what T5
    calls examples-proportional mixing (Raffel et al., 2020, arXiv:1910.10683); large temperatures draw all tasks alike.
    The paper's own setting is not known.

    Attributes:
        cap: rows of a task that count, for its probability and for the number of updates; 0 = all.
    """

    cap: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.cap < 0:
            raise InvalidValue(f"the cap is {self.cap}", param="examples_cap", limit=0, given=self.cap)
        if not self.temperature > 0:
            given = self.temperature
            raise InvalidValue(
                f"the temperature is {given}; above 0 expected", param="temperature", limit=0, given=given
            )

    def shares(self, sizes: Sequence[int]) -> np.ndarray:
        """Probability of each task, float64 [tasks]."""
        powers = np.array([_capped(size, self.cap) for size in sizes], dtype=float) ** (1 / self.temperature)
        return np.asarray(powers / powers.sum())


class Mixture:
    """One or several tasks over one encoder: one task an update, rows drawn anew every epoch.

    The task of an update is drawn as `sampling` says, and there are as many updates as the tasks would have alone
    (jiant's ProportionalMultiTaskSampler). Every epoch of a task is a permutation of its
    rows drawn from (seed, task, epoch); its last update may be smaller. So `update(step)` is a function of the step,
    and an interrupted run continues where it was.

    A contrastive task's micro-batches are fixed numbers of rows as drawn, never packed by length: accumulation adds no
    negatives, and neighbours in length would be negatives of a kind.

    Args:
        max_tokens: padded tokens of a micro-batch. Losses of the micro-batches are summed and divided by the rows
            (labelled tokens for tagging) of the whole update, so packing changes speed and nothing else.
        pad_to: pads every row to this length in micro-batches of `max_tokens` instead of packing (the benchmark's
            baseline: what XTREME's and jiant's scripts do); 0 = pack.
        overhead: what a micro-batch costs beside its tokens, in tokens; more for small models and for GPUs.
        sampling: of tasks.
        updates: in all; 0 = as many as the tasks would have alone.
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
        sampling: Sampling | None = None,
        updates: int = 0,
    ) -> None:
        sampling = sampling or Sampling()
        for task in tasks:
            if not task.rows:
                raise InvalidValue(f"task {task.name} has no training rows", param="intermediate", limit=1, given=0)
            _check_negatives(task)
        self.tasks, self.pad, self.seed = tuple(tasks), pad, seed
        self.max_tokens, self.pad_to, self.overhead = max_tokens, pad_to, overhead
        self.total_updates = updates or sum(task.updates_within(sampling.cap) for task in tasks)
        shares = sampling.shares([len(task.rows) for task in tasks])
        drawn = np.random.default_rng([seed, 0]).choice(len(tasks), size=self.total_updates, p=shares)
        self._task_of = drawn.tolist()
        counts = [0] * len(tasks)
        self._turn_of = []
        for task_number in self._task_of:
            self._turn_of.append(counts[task_number])
            counts[task_number] += 1

    def name(self, step: int) -> str:
        return self.tasks[self._task_of[step]].name if len(self.tasks) > 1 else ""

    def rows_of(self, step: int) -> tuple[TaskRows, list[int]]:
        """The task of an update and the numbers of its rows."""
        number, turn = self._task_of[step], self._turn_of[step]
        task = self.tasks[number]
        epoch, place = divmod(turn, task.updates_per_epoch)
        order = np.random.default_rng([self.seed, 1 + number, epoch]).permutation(len(task.rows))
        return task, _part(order, place, task.updates_per_epoch, task.batch_size).tolist()

    def update(self, step: int) -> Iterator[MicroBatch]:
        task, numbers = self.rows_of(step)
        rows = [task.rows[i] for i in numbers]
        weight = _weight(task.settings, rows)
        for batch in self._micro_batches(task, rows):
            yield lambda module, batch=batch: self._loss(module, task, batch, weight)  # type: ignore[misc]

    def _micro_batches(self, task: TaskRows, rows: list[TrainingRow]) -> list[list[TrainingRow]]:
        if task.contrastive:
            size = task.micro_batch_rows or len(rows)
            count = task.parts(len(rows), size)
            return [_part(rows, place, count, size) for place in range(count)]
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
        if task.contrastive:
            return contrastive_loss(outputs["embeddings"], model.scale, targets) / weight
        groups = [len(row.features) for row in batch]
        return summed_loss(task.settings, outputs, targets, groups, mask) / weight


class Interleaved:
    """Two objectives in one course of training: updates of the second stand at random places among the first's.

    Their number is exact, not drawn, so that two recipes with the same share differ in nothing but the places.

    Args:
        first, second: objectives over the same module.
        seed: of the places.
    """

    def __init__(self, first: Objective, second: Objective, *, seed: int) -> None:
        self.objectives = (first, second)
        self.total_updates = first.total_updates + second.total_updates
        places = np.random.default_rng([seed, 3]).permutation(self.total_updates)
        self._is_second = np.zeros(self.total_updates, dtype=bool)
        self._is_second[places[: second.total_updates]] = True
        self._turn_of = np.where(self._is_second, np.cumsum(self._is_second), np.cumsum(~self._is_second)) - 1

    def at(self, step: int) -> tuple[Objective, int]:
        """Whose update it is, and its number there."""
        return self.objectives[int(self._is_second[step])], int(self._turn_of[step])

    def name(self, step: int) -> str:
        objective, turn = self.at(step)
        return objective.name(turn) if isinstance(objective, Several) else ""

    def update(self, step: int) -> Iterator[MicroBatch]:
        objective, turn = self.at(step)
        return objective.update(turn)


def share_of(updates: int, share: float) -> int:
    """How many updates are to be added to `updates` so that they are `share` of all."""
    if not 0 <= share < 1:
        raise InvalidValue(f"a share is at least 0 and below 1, not {share}", param="mlm.share", limit=1, given=share)
    return round(updates * share / (1 - share))


def _capped(rows: int, cap: int) -> int:
    return min(rows, cap) if cap else rows


def _part(rows: Any, place: int, count: int, size: int) -> Any:
    """The part at `place` of `count` parts of `size` rows; the last one takes what is left."""
    return rows[place * size : (place + 1) * size if place < count - 1 else len(rows)]


def _check_negatives(task: TaskRows) -> None:
    """Refuses a contrastive task without negatives.

    Raises:
        InvalidValue: micro-batches of one row, or a pooling that is not trained.
    """
    if not task.contrastive:
        return
    if task.settings.pooling != "pooler":
        raise InvalidValue(f"task {task.name}: only pooling 'pooler' is trained", param="pooling", limit="pooler")
    fewest = min(len(task.rows), task.batch_size, task.micro_batch_rows or task.batch_size)
    if fewest < 2:
        raise InvalidValue(
            f"task {task.name} takes its negatives from the other rows of a micro-batch; it needs at least 2, "
            f"and has {len(task.rows)} training rows, batch_size {task.batch_size}, "
            f"micro_batch_rows {task.micro_batch_rows}",
            param="batch_size",
            limit=2,
            given=fewest,
        )


def _weight(settings: FormatSettings, rows: Sequence[TrainingRow]) -> int:
    if settings.format == "tagging":
        return max(1, sum(int((t != IGNORED).sum()) for row in rows for t in row.targets))
    return len(rows)


def padding_share(mixture: Mixture, updates: int) -> Mapping[str, float]:
    """Tokens needed and computed by the first `updates` updates, and the share that is padding."""
    needed = computed = 0
    for step in range(min(updates, mixture.total_updates)):
        task, numbers = mixture.rows_of(step)
        for batch in mixture._micro_batches(task, [task.rows[i] for i in numbers]):
            lengths = [len(f) for row in batch for f in row.features]
            needed += sum(lengths)
            computed += (mixture.pad_to or max(lengths)) * len(lengths)
    return {"tokens_needed": needed, "tokens_computed": computed, "padding_share": 1 - needed / computed}
