"""The simulations of `benchmarks.coverage` with fewer worlds, and bounds as much wider as chance asks for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import SIMULATIONS, slope_on_baseline

BY_NAME = {simulation.name: simulation for simulation in SIMULATIONS}

#: Simulation -> worlds: the weakest of each kind; those of any of ten languages take too long here.
FAST = {
    "interaction, xnli, 3 seeds, rows dominate": 150,
    "interaction, panx, 3 seeds, seeds dominate": 150,
    "error reduction, 3 seeds, seeds dominate": 150,
    "relative loss, 3 seeds, rows dominate": 150,
    "mean over targets, 3 seeds": 100,
    "calibration difference, gaps (0.1, 0.05)": 150,
    "line, 7 languages, seeds turn the line": 100,
    "line, 7 languages, languages differ": 100,
    "rank correlation 0.5, 8 languages": 150,
    "rejects: no interaction": 200,
    "rejects: worse by the limit taken for non-inferior": 200,
    "rejects: as good as the better part taken for better": 100,
    "rejects: regression to the mean, 7 languages": 60,
}


@pytest.mark.parametrize("name", list(FAST))
def test_intervals_cover_and_tests_hold_their_level(name: str) -> None:
    simulation, worlds = BY_NAME[name], FAST[name]
    low, high = simulation.bounds
    # Two standard errors of a share near 5 %.
    chance = 2 * np.sqrt(0.05 * 0.95 / worlds)
    assert low - chance <= simulation.share(worlds, seed=1) <= high + chance


def test_every_simulation_can_be_run() -> None:
    assert len(BY_NAME) == len(SIMULATIONS)
    assert all(0.0 <= simulation.share(1) <= 1.0 for simulation in SIMULATIONS)


def test_a_gain_regressed_on_its_own_baseline_shows_what_is_not_there() -> None:
    """The naive slope is far below 0 where nothing is going on; that of other rows and seeds is not."""
    found = {}
    for divided in (True, False):
        rng = np.random.default_rng(0)
        found[divided] = [
            slope_on_baseline(rng, families=tuple("abcdefghijkl"), divided=divided).value for _ in range(25)
        ]
    assert np.mean(found[False]) < -0.2
    assert abs(np.mean(found[True])) < 3 * np.std(found[True]) / np.sqrt(25)
    assert np.mean(found[True]) - np.mean(found[False]) > 0.15
