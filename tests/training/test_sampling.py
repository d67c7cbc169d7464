"""How the parts of a recipe share its updates."""

from collections import Counter

import numpy as np
import pytest

from polystilts.errors import InvalidValue
from polystilts.training.objective import Interleaved, Mixture, Sampling, Several, TaskRows, share_of
from tests.training.worker import mixture, task_rows
from tests.world.encoder import SETTINGS


def tasks(*sizes, epochs=1.0, batch_size=2):
    """Tasks of these many rows."""
    row = task_rows("pair").rows[0]
    return [TaskRows(f"t{i}", SETTINGS["pair"], [row] * n, epochs, batch_size) for i, n in enumerate(sizes)]


def drawn(objective):
    count = Counter(objective.rows_of(step)[0].name for step in range(objective.total_updates))
    return {name: count[name] / objective.total_updates for name in sorted(count)}


class TestSampling:
    @pytest.mark.parametrize(
        ("sampling", "expected"),
        [
            (Sampling(), [0.1, 0.3, 0.6]),
            (Sampling(cap=20), [0.2, 0.4, 0.4]),
            (Sampling(cap=1000), [0.1, 0.3, 0.6]),
            (Sampling(temperature=2), np.sqrt([0.1, 0.3, 0.6]) / np.sqrt([0.1, 0.3, 0.6]).sum()),
            (Sampling(temperature=1e9), [1 / 3] * 3),
            (Sampling(cap=20, temperature=2), np.sqrt([0.2, 0.4, 0.4]) / np.sqrt([0.2, 0.4, 0.4]).sum()),
        ],
    )
    def test_shares_and_what_is_drawn(self, sampling, expected):
        assert sampling.shares([10, 30, 60]) == pytest.approx(expected)
        objective = Mixture(tasks(10, 30, 60), pad=1, seed=0, max_tokens=100, sampling=sampling, updates=4000)
        for found, share in zip(drawn(objective).values(), expected, strict=True):
            assert abs(found - share) < 4 * (share * (1 - share) / 4000) ** 0.5

    def test_the_default_is_proportional_without_a_cap(self):
        assert mixture(["pair", "tagging"])._task_of == mixture(["pair", "tagging"], sampling=Sampling())._task_of

    @pytest.mark.parametrize(("cap", "updates"), [(0, 5 + 15 + 30), (20, 5 + 10 + 10), (9, 5 + 5 + 5)])
    def test_a_cap_counts_for_the_number_of_updates(self, cap, updates):
        objective = Mixture(tasks(10, 30, 60), pad=1, seed=0, max_tokens=100, sampling=Sampling(cap=cap))
        assert objective.total_updates == updates

    def test_a_number_of_updates_is_every_mixture_s(self):
        for sizes in ((10,), (10, 30), (4, 4, 100)):
            assert Mixture(tasks(*sizes), pad=1, seed=0, max_tokens=100, updates=7).total_updates == 7

    @pytest.mark.parametrize(("wrong", "param"), [({"cap": -1}, "examples_cap"), ({"temperature": 0}, "temperature")])
    def test_what_is_no_sampling(self, wrong, param):
        with pytest.raises(InvalidValue) as caught:
            Sampling(**wrong)
        assert caught.value.param == param

    def test_updates_are_named_where_there_are_several_tasks(self):
        one, two = mixture(["pair"]), mixture(["pair", "tagging"])
        assert isinstance(two, Several)
        assert {one.name(step) for step in range(one.total_updates)} == {""}
        assert [two.name(step) for step in range(two.total_updates)] == [
            two.rows_of(step)[0].name for step in range(two.total_updates)
        ]


class Counted:
    """An objective that says which of its updates was asked for."""

    def __init__(self, label, updates):
        self.label, self.total_updates = label, updates

    def update(self, step):
        yield lambda _: (self.label, step)


class TestInterleaved:
    def test_each_gets_all_of_its_updates_in_order(self):
        both = Interleaved(Counted("a", 30), Counted("b", 10), seed=0)
        seen = [part(None) for step in range(both.total_updates) for part in both.update(step)]
        assert [step for label, step in seen if label == "a"] == list(range(30))
        assert [step for label, step in seen if label == "b"] == list(range(10))
        places = [i for i, (label, _) in enumerate(seen) if label == "b"]
        assert places != list(range(30, 40)) and max(np.diff(places)) > 1, "among the others"

    def test_the_seed_places_them(self):
        first, again, other = (
            [Interleaved(Counted("a", 30), Counted("b", 10), seed=seed).at(i)[1] for i in range(40)]
            for seed in (1, 1, 2)
        )
        assert first == again != other

    def test_names_come_from_the_parts(self):
        both = Interleaved(mixture(["pair", "tagging"]), Counted("b", 2), seed=0)
        assert {both.name(step) for step in range(both.total_updates)} == {"pair", "tagging", ""}

    @pytest.mark.parametrize(("updates", "share", "added"), [(80, 0.2, 20), (50, 0.5, 50), (9, 0.1, 1), (5, 0.0, 0)])
    def test_a_share_is_of_all_updates(self, updates, share, added):
        assert share_of(updates, share) == added

    def test_a_share_of_one_leaves_nothing(self):
        with pytest.raises(InvalidValue, match="below 1"):
            share_of(10, 1.0)
