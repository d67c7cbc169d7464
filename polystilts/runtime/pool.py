"""Bundles in memory: opened by digest, counted while in use, unloaded past a budget, one tokenizer per digest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

import numpy as np

from polystilts.formats import Format, Pieces, make_format
from polystilts.runtime.backend import Backend
from polystilts.runtime.bundle import Bundle, open_bundle, run_self_test
from polystilts.runtime.cost import CallCost, fit_costs
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor
from polystilts.runtime.scheduler import Engine


class OpenBackend(Protocol):
    """How a bundle becomes a backend: its folder, the threads of one call, whether they may spin."""

    def __call__(self, folder: Path, threads: int, spin: bool) -> Backend: ...


def open_on_cpu(folder: Path, threads: int, spin: bool) -> Backend:
    """A session on this machine's processor."""
    return OrtBackend(folder, threads=threads, spin=spin)


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle in memory.

    Attributes:
        engine: what the scheduler runs.
        difference: largest one that the self-test found when it was loaded.
    """

    bundle: Bundle
    format: Format
    engine: Engine
    difference: float


@dataclass(eq=False)
class Held:
    """A bundle that passed its checks once, in memory now or not.

    Attributes:
        bundle: what its manifest says.
        difference: largest one that the self-test found when it was added.
        bytes: of its files.
    """

    bundle: Bundle
    difference: float
    bytes: int
    _model: Model | None
    _users: int = 0
    _used: float = 0.0

    @property
    def loaded(self) -> bool:
        """In memory now."""
        return self._model is not None


class Pool:
    """Opens bundles, and forgets the ones longest unused when their files pass a budget.

    Args:
        threads: of one call on a lane.
        wide_threads: of a call that has the machine for itself; `threads` or less = there are none.
        budget: bytes of files of the bundles in memory; what is in use is never unloaded.
        public_key: of the key that must have signed every bundle.
        open_backend: what runs a bundle.
        round_to: of the predictors: rows are padded to a multiple of so many tokens.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        wide_threads: int = 0,
        budget: int | None = None,
        public_key: Path | None = None,
        open_backend: OpenBackend = open_on_cpu,
        round_to: int = 1,
    ) -> None:
        self.threads = threads
        self.wide_threads = wide_threads
        self.budget = budget
        self.public_key = public_key
        self._open_backend = open_backend
        self._round_to = round_to
        self._held: dict[str, Held] = {}
        #: By sha256 of tokenizer.json: of 250,002 pieces it takes half a gigabyte.
        self._pieces: WeakValueDictionary[str, Pieces] = WeakValueDictionary()
        #: By sha256 of the graph, which is without weights: models of one shape cost the same.
        self._costs: dict[str, tuple[CallCost, ...]] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    @property
    def bytes(self) -> int:
        """Of the files of the bundles in memory."""
        with self._lock:
            return sum(held.bytes for held in self._held.values() if held.loaded)

    def add(self, folder: Path, digest: str) -> Held:
        """Verifies, loads and tests a bundle; one that is here already is not opened again.

        Raises:
            PolystiltsError: what `open_bundle`, `Pieces.open`, `OrtBackend` and `run_self_test` raise.
        """
        with self._loading:
            if held := self._held.get(digest):
                return held
            model = self._load(folder, digest)
            size = sum((folder / name).stat().st_size for name in model.bundle.files)
            return self._take_in(Held(model.bundle, model.difference, size, model, _used=time.monotonic()))

    def adopt(self, model: Model) -> Held:
        """Takes in a model that was made elsewhere; it has no files here and is never unloaded."""
        return self._take_in(Held(model.bundle, model.difference, 0, model, _users=1))

    def remove(self, held: Held) -> None:
        """Forgets a bundle; who holds it may use it until done."""
        with self._lock:
            self._held.pop(held.bundle.digest, None)

    @contextmanager
    def lease(self, held: Held) -> Iterator[Model]:
        """The model, loaded again if it was unloaded; it stays while the block runs.

        Raises:
            PolystiltsError: it has to be loaded again and its files have changed or gone.
        """
        with self._lock:
            held._users += 1
            model = held._model
        try:
            if model is None:
                with self._loading:
                    model = held._model or self._load(held.bundle.folder, held.bundle.digest)
                    with self._lock:
                        held._model = model
                        self._unload()
            yield model
        finally:
            with self._lock:
                held._users -= 1
                held._used = time.monotonic()
                self._unload()

    def _take_in(self, held: Held) -> Held:
        with self._lock:
            self._held[held.bundle.digest] = held
            self._unload()
        return held

    def _unload(self) -> None:
        """Past the budget, the longest unused go; the lock is held."""
        if self.budget is None:
            return
        loaded = [held for held in self._held.values() if held.loaded]
        total = sum(held.bytes for held in loaded)
        for held in sorted(loaded, key=lambda held: held._used):
            if total <= self.budget:
                return
            if not held._users:
                held._model = None
                total -= held.bytes

    def _load(self, folder: Path, digest: str) -> Model:
        bundle = open_bundle(folder, digest=digest, public_key=self.public_key)
        key = bundle.files["tokenizer.json"]
        pieces = self._pieces.get(key)
        if pieces is None:
            pieces = self._pieces[key] = Pieces.open(bundle.folder)
        format_ = make_format(pieces, bundle.settings)
        predictor = Predictor(format_, self._open_backend(bundle.folder, self.threads, False), round_to=self._round_to)
        difference = run_self_test(bundle, predictor)
        predictors = [predictor]
        if self.wide_threads > self.threads:
            predictors.append(Predictor(format_, self._open_backend(bundle.folder, self.wide_threads, True)))
        costs = self._measure(bundle, predictors)
        engine = Engine(predictor.call, costs[0], name=bundle.target)
        if len(predictors) > 1:  # which is quicker is decided call by call: a busy start says little about later
            engine = replace(engine, wide=predictors[-1].call, wide_cost=costs[-1])
        return Model(bundle, format_, engine, difference)

    def _measure(self, bundle: Bundle, predictors: Sequence[Predictor]) -> tuple[CallCost, ...]:
        """The cost of each predictor's calls; measured once for all models of one shape."""
        graph = bundle.files["model.onnx"]
        if graph not in self._costs:

            def runs(predictor: Predictor) -> Callable[[int, int], object]:
                def run(rows: int, length: int) -> object:
                    ids = np.full((rows, length), predictor.format.pieces.unk, dtype=np.int64)
                    return predictor.backend.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})

                return run

            measured = [runs(predictor) for predictor in predictors]
            self._costs[graph] = fit_costs(measured, longest=bundle.settings.max_length)
        return self._costs[graph]
