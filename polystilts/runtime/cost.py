"""What a call of a model costs, from a few timed calls: the scheduler's only knowledge of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: Shapes that are timed, rows x tokens: from the shortest row to the longest call of a lane.
SHAPES = ((1, 8), (1, 32), (4, 16), (1, 128), (1, 256))


@dataclass(frozen=True)
class CallCost:
    """Milliseconds of one call: ``call + token * padded tokens + square * sum over rows of length²``.

    The last term is attention's; all rows of a call have the length of its longest.
    """

    call: float
    token: float
    square: float = 0.0

    def of(self, rows: int, length: int) -> float:
        """Milliseconds of a call of `rows` rows, padded to `length` tokens."""
        return self.call + rows * length * (self.token + self.square * length)


def fit_costs(runs: Sequence[Callable[[int, int], object]], *, longest: int, repeats: int = 3) -> tuple[CallCost, ...]:
    """The cost of calls of each of `runs`, by least squares of relative errors over the best time of each shape.

    All take turns at every shape, so that other work on the machine meets all of them; the least time counts, because
    other work only adds.

    Args:
        runs: each makes one call of (rows, tokens).
        longest: tokens of the longest row the model takes; longer shapes are timed at this length.
        repeats: calls of each at a shape.
    """
    shapes = sorted({(rows, min(length, longest)) for rows, length in SHAPES})
    times = np.full((len(runs), len(shapes)), np.inf)
    for place, (rows, length) in enumerate(shapes):
        for _ in range(repeats):
            for number, run in enumerate(runs):
                start = time.perf_counter()
                run(rows, length)
                times[number, place] = min(times[number, place], time.perf_counter() - start)
    return tuple(_fit(shapes, measured * 1000) for measured in times)


def _fit(shapes: Sequence[tuple[int, int]], measured: np.ndarray) -> CallCost:
    columns = np.array([[1.0, rows * length, rows * length**2] for rows, length in shapes])
    kept = np.array([True, True, True])
    found = np.zeros(3)
    while kept.any():
        scaled = columns[:, kept] / measured[:, None]
        found[:] = 0.0
        found[kept] = np.linalg.lstsq(scaled, np.ones(len(measured)), rcond=None)[0]
        if (found >= 0).all():
            break
        # No part of a call takes negative time: the part goes that noise made negative.
        kept &= found > 0
    return CallCost(*(float(value) for value in found))
