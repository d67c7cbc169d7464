"""Dividing cores among lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from polystilts.runtime.plan import Plan, best_plan, candidates


def test_few_cores_are_a_lane_each_and_nothing_is_run() -> None:
    def never(threads: int) -> Bound:
        raise AssertionError("nothing is to be measured")

    assert best_plan(2, never, longest=128) == [Plan(2, 1)]
    assert [(plan.lanes, plan.threads) for plan in candidates(16)] == [(16, 1), (8, 2), (4, 4)]


class Bound:
    """A model that `ways` calls can run at once, as where the memory bus is the bound; the others wait."""

    def __init__(self, ways: int, seconds: float) -> None:
        self._free = threading.Semaphore(ways)
        self._seconds = seconds

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._free:
            time.sleep(self._seconds)
        return {}


@pytest.mark.parametrize(("ways", "best"), [(8, (8, 1)), (2, (2, 4))])
def test_the_plan_follows_what_was_measured(ways: int, best: tuple[int, int]) -> None:
    plans = best_plan(8, lambda threads: Bound(ways, 0.05 / threads**0.5), longest=64, seconds=0.25)
    assert (plans[0].lanes, plans[0].threads) == best
    assert len(plans) == 3 and all(len(plan.rows_per_second) == 3 for plan in plans)
