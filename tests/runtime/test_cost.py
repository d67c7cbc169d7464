"""The cost model: fitted from timed calls, never negative, and close to what it was fitted to."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from polystilts.runtime import cost as module
from polystilts.runtime.cost import SHAPES, CallCost, fit_costs


class Machine:
    """Its calls take what `cost` says, by its own clock, and a little longer at times."""

    def __init__(self, cost: CallCost, *, noise: float = 0.0) -> None:
        self.cost = cost
        self.noise = noise
        self.now = 0.0
        self.calls: list[tuple[int, int]] = []
        self._random = random.Random(0)

    def perf_counter(self) -> float:
        return self.now

    def __call__(self, rows: int, length: int) -> None:
        self.calls.append((rows, length))
        self.now += self.cost.of(rows, length) / 1000 * (1 + self.noise * self._random.random())


def fit(machine: Machine, monkeypatch: pytest.MonkeyPatch, longest: int = 512, repeats: int = 2) -> CallCost:
    monkeypatch.setattr(module, "time", machine)
    return fit_costs([machine], longest=longest, repeats=repeats)[0]


def test_cost_of_a_call() -> None:
    cost = CallCost(4.0, 0.25, 0.0005)
    assert cost.of(1, 20) == pytest.approx(4 + 5 + 0.2)
    assert cost.of(3, 20) == pytest.approx(4 + 15 + 0.6)


@pytest.mark.parametrize(
    "true", [CallCost(4.2, 0.253, 0.00031), CallCost(0.05, 0.001, 0.0), CallCost(0.0, 0.3, 0.0), CallCost(10.0, 0.0)]
)
def test_an_exact_machine_is_fitted_exactly(monkeypatch: pytest.MonkeyPatch, true: CallCost) -> None:
    found = fit(Machine(true), monkeypatch)
    for shape in [*SHAPES, (12, 20), (1, 400), (2, 128)]:
        assert found.of(*shape) == pytest.approx(true.of(*shape), rel=1e-6)


@pytest.mark.parametrize("noise", [0.3, 3.0, 30.0])
@pytest.mark.parametrize("true", [CallCost(4.2, 0.253, 0.00031), CallCost(0.05, 0.0001), CallCost(0.0, 0.001)])
def test_no_part_is_ever_negative(monkeypatch: pytest.MonkeyPatch, true: CallCost, noise: float) -> None:
    machine = Machine(true, noise=noise)
    for _ in range(20):
        found = fit(machine, monkeypatch)
        assert min(found.call, found.token, found.square) >= 0
        assert found.of(1, 1) > 0, "a row that costs nothing could be queued without bound"
        # Longer and more is never cheaper.
        assert found.of(1, 8) <= found.of(1, 300) and found.of(1, 8) <= found.of(2, 8)


def test_the_least_time_of_a_shape_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Disturbed(Machine):
        def __call__(self, rows: int, length: int) -> None:
            super().__call__(rows, length)
            if len(self.calls) % 3:
                self.now += 1.0

    true = CallCost(4.0, 0.25)
    machine = Disturbed(true)
    found = fit(machine, monkeypatch, repeats=3)
    assert len(machine.calls) == 3 * len(SHAPES)
    assert found.of(1, 100) == pytest.approx(true.of(1, 100), rel=1e-6)


@pytest.mark.parametrize("longest", [1, 8, 20, 128, 255])
def test_no_call_is_longer_than_the_model_takes(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    machine = Machine(CallCost(4.0, 0.25, 0.0003))
    found = fit(machine, monkeypatch, longest=longest)
    assert max(length for _, length in machine.calls) == longest
    assert found.of(1, longest) == pytest.approx(machine.cost.of(1, longest), rel=0.01)


def test_all_take_turns_at_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other work on the machine meets all of them, so that the better one is told from the worse."""
    narrow, wide = CallCost(4.0, 0.25), CallCost(5.0, 0.15)
    machine = Machine(narrow)
    monkeypatch.setattr(module, "time", machine)
    order: list[str] = []

    def run(name: str, cost: CallCost) -> Callable[[int, int], None]:
        def call(rows: int, length: int) -> None:
            order.append(name)
            machine.now += cost.of(rows, length) / 1000

        return call

    first, second = fit_costs([run("narrow", narrow), run("wide", wide)], longest=512, repeats=2)
    assert order == ["narrow", "wide"] * 2 * len(SHAPES)
    assert first.of(1, 100) == pytest.approx(narrow.of(1, 100)) and second.of(1, 100) == pytest.approx(wide.of(1, 100))
