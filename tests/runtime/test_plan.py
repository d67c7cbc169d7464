"""Dividing cores among lanes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from polystilts.runtime import plan as module
from polystilts.runtime.plan import Plan, best_plan, candidates


def test_few_cores_are_a_lane_each_and_nothing_is_run() -> None:
    def never(threads: int) -> Bound:
        raise AssertionError("nothing is to be measured")

    assert best_plan(2, never, longest=128) == [Plan(2, 1)]
    assert [(plan.lanes, plan.threads) for plan in candidates(16)] == [(16, 1), (8, 2), (4, 4)]


class Clock:
    """Each lane has a time of its own, and the earliest goes first: how busy the real machine is changes nothing."""

    def __init__(self) -> None:
        self._now = 0.0
        self._times: dict[int, float] = {}
        self._changed = threading.Condition()
        self._this = threading.local()

    def perf_counter(self) -> float:
        with self._changed:
            return self._times.get(getattr(self._this, "lane", -1), self._now)

    def lanes(self, count: int) -> ThreadPoolExecutor:
        """Threads whose times begin now."""
        self._times = dict.fromkeys(range(count), self._now)
        waiting = iter(range(count))

        class Lanes(ThreadPoolExecutor):
            def submit(this, work: Callable[[], int]) -> Future[int]:  # type: ignore[override]
                return super().submit(self._run, next(waiting), work)

        return Lanes(count)

    def _run(self, lane: int, work: Callable[[], int]) -> int:
        self._this.lane = lane
        try:
            return work()
        finally:
            with self._changed:
                self._now = max(self._now, self._times.pop(lane))
                self._changed.notify_all()

    def call(self, seconds: float, places: list[float]) -> None:
        """A call in one of several places, each given by when it is free."""
        lane = getattr(self._this, "lane", -1)
        with self._changed:
            if lane not in self._times:
                self._now += seconds
                return
            self._changed.wait_for(lambda: lane == min(self._times, key=lambda one: (self._times[one], one)))
            free = places.index(min(places))
            self._times[lane] = places[free] = max(self._times[lane], places[free]) + seconds
            self._changed.notify_all()


class Bound:
    """A model that `ways` calls can run at once, as where the memory bus is the bound; the others wait."""

    def __init__(self, ways: int, seconds: float, clock: Clock) -> None:
        self._places = [0.0] * ways
        self._seconds = seconds
        self._clock = clock

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._clock.call(self._seconds, self._places)
        return {}


@pytest.mark.parametrize(("ways", "best"), [(8, (8, 1)), (2, (2, 4))])
def test_the_plan_follows_what_was_measured(ways: int, best: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "ThreadPoolExecutor", clock.lanes)
    plans = best_plan(8, lambda threads: Bound(ways, 0.05 / threads**0.5, clock), longest=64, seconds=0.25)
    assert (plans[0].lanes, plans[0].threads) == best
    assert len(plans) == 3 and all(len(plan.rows_per_second) == 3 for plan in plans)
