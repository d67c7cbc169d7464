"""How the cores of a machine are divided: many lanes of one thread, or fewer of several."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from polystilts.runtime.backend import Backend

#: Up to so many cores, one lane a core is best: the weights are streamed from memory by few.
FEW_CORES = 4

#: Calls that are timed, rows x tokens: a short row, a long one, a full batch.
SHAPES = ((1, 20), (1, 128), (4, 64))


@dataclass(frozen=True)
class Plan:
    """`lanes` calls at once, each on `threads` threads; rows a second by shape where it was measured."""

    lanes: int
    threads: int
    rows_per_second: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Geometric mean over the shapes."""
        return float(np.exp(np.mean(np.log(self.rows_per_second)))) if self.rows_per_second else 0.0


def candidates(cores: int) -> list[Plan]:
    """Cores x 1, half of them x 2, a quarter x 4; on few cores the first alone."""
    if cores <= FEW_CORES:
        return [Plan(cores, 1)]
    return [Plan(cores // threads, threads) for threads in (1, 2, 4)]


def best_plan(cores: int, open_backend: Callable[[int], Backend], *, longest: int, seconds: float = 0.3) -> list[Plan]:
    """Every candidate with what it reached, the best first; on few cores nothing is run.

    Args:
        open_backend: the model by threads of a call.
        longest: tokens of the longest row it takes.
        seconds: that each candidate runs each shape for.
    """
    plans = candidates(cores)
    if len(plans) == 1:
        return plans
    measured = []
    for plan in plans:
        backend = open_backend(plan.threads)
        rates = tuple(_rate(backend, plan.lanes, rows, min(length, longest), seconds) for rows, length in SHAPES)
        measured.append(Plan(plan.lanes, plan.threads, rates))
    return sorted(measured, key=lambda plan: -plan.rate)


def _rate(backend: Backend, lanes: int, rows: int, length: int, seconds: float) -> float:
    """Rows a second of `lanes` threads that call the backend without pause."""
    ids = np.full((rows, length), 3, dtype=np.int64)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    backend.run(arrays)
    start = time.perf_counter()

    def work() -> int:
        done = 0
        while time.perf_counter() - start < seconds or not done:
            backend.run(arrays)
            done += rows
        return done

    with ThreadPoolExecutor(lanes) as threads:
        total = sum(running.result() for running in [threads.submit(work) for _ in range(lanes)])
    return total / (time.perf_counter() - start)
