"""How often the studies' 95 % intervals hold the truth, and how often their tests reject one that holds.

Every simulation draws worlds of which the truth is known (rows, seeds, families of languages with variances of
their own), lets the code of `polystilts.analysis.studies` look at them, and counts. Intervals are to hold the truth in
92 to 98 % of the worlds; a test is to reject in 2 to 8 % of those without an effect (or fewer, where it says so).
`tests/analysis/studies/test_coverage.py` runs the same simulations with fewer worlds.

Usage: ``python -m benchmarks.coverage [--worlds 4000] [--only NAME]``. All of them are written to
``benchmarks/results/coverage.json``; the exit status is 1 where one lies outside its bounds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import norm

from benchmarks.common import versions, write_result
from polystilts.analysis import BASELINE
from polystilts.analysis.intervals import LanguageRows
from polystilts.analysis.recipes import holm
from polystilts.analysis.studies.common import Arm, Banks, Column, Effect, gain, minus, row_variance, variance_of, weigh
from polystilts.analysis.studies.lines import Slope, rank_correlation, slope_of
from polystilts.analysis.studies.low_resource import baseline_slope
from polystilts.analysis.studies.paws import CalibrationGap, calibration_rows
from polystilts.metrics import get_metric
from polystilts.metrics.core import Floats

ACCURACY = get_metric("accuracy")

#: What an interval has to cover, and a test may reject.
COVERS, REJECTS = (0.92, 0.98), (0.02, 0.08)

Rng = np.random.Generator

#: Variances of a latent normal variable: what a row is to one arm under every seed, a seed to all rows, and a rest;
#: a row's difficulty, shared by all arms, has 1.
ROWS, SEEDS = (1.0, 0.002, 0.3), (0.05, 0.3, 0.3)


@dataclass(frozen=True)
class Simulation:
    """One claim: `world` draws a world and says whether the interval held the truth (or the test rejected)."""

    name: str
    world: Callable[[Rng], bool]
    bounds: tuple[float, float]

    def share(self, worlds: int, seed: int = 0) -> float:
        """Of worlds, 0 to 1."""
        rng = np.random.default_rng(seed)
        return float(np.mean([self.world(rng) for _ in range(worlds)]))


# Arms of rows and seeds.


def arms_of(
    rng: Rng,
    skills: dict[tuple[str, str, str], float],
    *,
    seeds: int,
    rows: int,
    variances: tuple[float, float, float],
    languages: tuple[str, ...] = ("de", "sw"),
    shared: float = 0.0,
    condition: str = "clean",
) -> tuple[Banks, dict[Arm, float]]:
    """Arms that are right where a normal variable is above 0, and their true accuracies in percent.

    Args:
        skills: the mean of that variable, by (base, recipe, target).
        shared: variance of a seed's effect on a recipe that all targets have in common: one intermediate checkpoint.
    """
    banks, truth = Banks.of_measures(), {}
    by_row, by_seed, rest = variances
    scale = np.sqrt(1.0 + by_row + by_seed + rest + shared)
    difficulty, together = {}, {}
    for (base, recipe, target), skill in skills.items():
        parallel = Banks.spec(target).parallel
        shape = (rows, 1 if parallel else len(languages))
        if target not in difficulty:
            difficulty[target] = rng.normal(size=shape)
        if (base, recipe) not in together:
            together[base, recipe] = np.sqrt(shared) * rng.normal(size=seeds)
        own = difficulty[target] + np.sqrt(by_row) * rng.normal(size=shape)
        effect = np.sqrt(by_seed) * rng.normal(size=seeds) + together[base, recipe]
        noise = np.sqrt(rest) * rng.normal(size=(seeds, rows, len(languages)))
        right = skill + own + effect[:, None, None] + noise > 0
        arm = Arm(base, recipe, target, condition)
        banks.measure(
            arm,
            {s: {name: correct(right[s, :, place]) for place, name in enumerate(languages)} for s in range(seeds)},
            ACCURACY,
        )
        truth[arm] = 100.0 * float(norm.cdf(skill / scale))
    return banks, truth


IDS = {number: tuple(f"row {place}" for place in range(number)) for number in (60, 80, 100, 200, 300)}


def correct(hits: Floats) -> LanguageRows:
    ids = IDS[len(hits)]
    return LanguageRows(ids, ids, np.column_stack([hits, np.ones(len(hits))]).astype(np.float64))


def weighed(weights: dict[Arm, float], truth: dict[Arm, float]) -> float:
    return sum(weight * truth[arm] for arm, weight in weights.items())


FOUR = {
    ("small", BASELINE, "xnli"): 0.0,
    ("small", "mnli", "xnli"): 0.3,
    ("large", BASELINE, "xnli"): 0.6,
    ("large", "mnli", "xnli"): 0.8,
}


def interaction(rng: Rng, *, seeds: int, variances: tuple[float, float, float], target: str = "xnli") -> bool:
    """Gain at the large base minus gain at the small one, in points."""
    skills = {(base, recipe, target): skill for (base, recipe, _), skill in FOUR.items()}
    banks, truth = arms_of(rng, skills, seeds=seeds, rows=100, variances=variances)
    weights = minus(gain("large", "mnli", target), gain("small", "mnli", target))
    return weighed(weights, truth) in banks.effect(weights)


def error_reduction(rng: Rng, *, seeds: int, variances: tuple[float, float, float]) -> bool:
    """The interaction as relative error reduction: a ratio, by the delta method."""
    banks, truth = arms_of(rng, FOUR, seeds=seeds, rows=300, variances=variances)
    value, slopes, true = 0.0, {}, 0.0
    for base, sign in (("large", 1.0), ("small", -1.0)):
        below = {Arm(base, BASELINE, "xnli"): -1.0}
        one, slope = banks.relative(gain(base, "mnli", "xnli"), below, constant=100.0)
        value += sign * one
        slopes |= {arm: sign * weight for arm, weight in slope.items()}
        true += sign * 100.0 * weighed(gain(base, "mnli", "xnli"), truth) / (100.0 + weighed(below, truth))
    return true in banks.effect(slopes, value=value)


def relative_loss(rng: Rng, *, seeds: int, variances: tuple[float, float, float]) -> bool:
    """100 (clean - noisy) / clean of one recipe; the noisy arm stands as another recipe on the same rows."""
    skills = {("b", "clean", "xnli"): 0.8, ("b", "noisy", "xnli"): 0.3}
    banks, truth = arms_of(rng, skills, seeds=seeds, rows=200, variances=variances)
    clean, noisy = Arm("b", "clean", "xnli"), Arm("b", "noisy", "xnli")
    value, slopes = banks.relative({clean: 1.0, noisy: -1.0}, {clean: 1.0})
    return 100.0 * (truth[clean] - truth[noisy]) / truth[clean] in banks.effect(slopes, value=value)


def over_targets(rng: Rng, *, seeds: int) -> bool:
    """A mean over three targets whose recipes share intermediate checkpoints, seed by seed."""
    targets = ("xnli", "pawsx", "panx")
    skills = {("b", recipe, target): skill for target in targets for recipe, skill in ((BASELINE, 0.2), ("mnli", 0.4))}
    banks, truth = arms_of(rng, skills, seeds=seeds, rows=80, variances=(0.5, 0.02, 0.3), shared=0.2)
    weights = {arm: w / 3 for target in targets for arm, w in gain("b", "mnli", target).items()}
    return weighed(weights, truth) in banks.effect(weights)


def no_interaction(rng: Rng) -> bool:
    """Rejections where size changes nothing."""
    skills = {(base, recipe, "xnli"): 0.5 for base in ("small", "large") for recipe in (BASELINE, "mnli")}
    banks, _ = arms_of(rng, skills, seeds=3, rows=60, variances=(0.0, 0.0, 1.0))
    return banks.effect(minus(gain("large", "mnli", "xnli"), gain("small", "mnli", "xnli"))).p < 0.05


def two_arms(rng: Rng, truth: float, *, rows: int = 200, seeds: int = 3) -> Effect:
    """The difference of two arms of accuracies 70 + truth and 70 percent, all chance."""
    hits = rng.random((2, seeds, rows)) < np.array([0.7 + truth / 100, 0.7])[:, None, None]
    banks = Banks.of_measures()
    for recipe, own in zip(("mnli", BASELINE), hits, strict=True):
        banks.measure(Arm("b", recipe, "xnli"), {s: {"de": correct(hit)} for s, hit in enumerate(own)}, ACCURACY)
    return banks.effect(gain("b", "mnli", "xnli"))


def inferior(rng: Rng) -> bool:
    """A recipe that is worse by exactly the limit, taken for non-inferior (one-sided 2.5 %)."""
    return two_arms(rng, -1.0).low > -1.0


def best_of_two(rng: Rng) -> bool:
    """A combination as good as the better of its parts, taken for better than both."""
    banks, _ = arms_of(
        rng,
        {("b", "mnli+ccg", "xnli"): 0.5, ("b", "mnli", "xnli"): 0.5, ("b", "ccg", "xnli"): 0.2},
        seeds=3,
        rows=100,
        variances=(0.2, 0.02, 0.5),
    )
    singles = [banks.effect(gain("b", "mnli+ccg", "xnli", over=part)).p_below(0.0) for part in ("mnli", "ccg")]
    return max(singles) < 0.05


def losers(rng: Rng) -> bool:
    """Ten languages without a gain or a loss, any of which is called a loser or a winner."""
    effects = {str(place): two_arms(rng, 0.0, rows=60).p for place in range(10)}
    return min(holm(effects).values()) < 0.05


def calibration_difference(rng: Rng, *, gaps: tuple[float, float]) -> bool:
    """The difference of two calibration errors; models are too confident by a `gap` that seeds vary a little."""
    banks, rows = Banks.of_measures(), 300
    difficulty = rng.random(rows)
    for recipe, gap in zip(("mnli", BASELINE), gaps, strict=True):
        seeds = {}
        for seed in range(3):
            confidence = np.clip(0.55 + 0.44 * np.sqrt(np.abs(difficulty - 0.2 * rng.random(rows))), 0.5, 0.99)
            hit = rng.random(rows) < confidence - gap + 0.01 * rng.normal()
            seeds[seed] = {"de": calibration_rows(IDS[rows], IDS[rows], confidence, hit.astype(np.float64))}
        banks.measure(Arm("b", recipe, "pawsx"), seeds, CalibrationGap())
    return 100.0 * (gaps[0] - gaps[1]) in banks.effect(gain("b", "mnli", "pawsx"))


# Languages as units.

#: Families of languages: the micro world's seven zero-shot ones, and forty as XTREME has them.
FEW = ("ie", "ie", "ie", "ie", "nc", "tu", "st")
MANY = (
    ("ie",) * 19 + ("au",) * 4 + ("dr",) * 2 + ("ur",) * 3 + ("tu",) * 2 + ("af",) * 2 + ("st",) * 2 + tuple("abcdef")
)


@dataclass(frozen=True)
class Languages:
    """A world of languages with known gains; standard deviations are in points.

    Attributes:
        families: of the languages.
        slope: points for every unit of x.
        by_family, by_language: of the true gains around the line.
        by_seed: of a seed on all languages; by_seed_slope: on the slope.
        by_row: of a row, in all languages where `parallel`; rest: of a row under a seed.
    """

    families: tuple[str, ...]
    slope: float = 0.5
    by_family: float = 0.0
    by_language: float = 2.0
    by_seed: float = 1.0
    by_seed_slope: float = 0.0
    by_row: float = 30.0
    rest: float = 20.0
    parallel: bool = True
    seeds: int = 3
    rows: int = 60

    def draw(self, rng: Rng) -> tuple[Floats, list[Column]]:
        """x [languages], in the order of magnitude of log2 of text, and the columns of the gains."""
        count = len(self.families)
        x = rng.normal(4.0, 2.0, size=count)
        family = {name: self.by_family * rng.normal() for name in sorted(set(self.families))}
        gains = (
            1.0 + self.slope * x + [family[name] for name in self.families] + self.by_language * rng.normal(size=count)
        )
        shape = (self.rows, 1 if self.parallel else count)
        row = self.by_row * rng.normal(size=shape) * np.ones(count)
        seed = self.by_seed * rng.normal(size=self.seeds)
        turn = self.by_seed_slope * rng.normal(size=self.seeds)
        columns = []
        for place in range(count):
            values = gains[place] + row[:, place, None] + seed + turn * (x[place] - 4.0)
            values = values + self.rest * rng.normal(size=(self.rows, self.seeds))
            pool = "shared" if self.parallel else str(place)
            columns.append(Column(pool, IDS[self.rows], tuple(range(self.seeds)), values, frozenset(IDS[self.rows])))
        return x, columns


def line(rng: Rng, world: Languages) -> bool:
    """The slope of the gain."""
    x, columns = world.draw(rng)
    effects = [weigh([column], [1.0]) for column in columns]
    found = slope_of(
        [np.array([effect.value for effect in effects])],
        [np.column_stack([np.ones(len(x)), x])],
        np.array([row_variance(column) for column in columns]),
        world.families,
        column=1,
        noise=lambda weights: variance_of(columns, list(weights)),
    )
    return world.slope in found


def rank(rng: Rng, *, points: int, correlation: float) -> bool:
    """Spearman's correlation of a bivariate normal pair."""
    x = rng.normal(size=points)
    y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=points)
    return 6.0 / np.pi * np.arcsin(correlation / 2.0) in rank_correlation(x, y)


def slope_on_baseline(rng: Rng, *, seeds: int = 3, families: tuple[str, ...] = FEW, divided: bool = True) -> Slope:
    """The slope of the gain on the baseline where no gain depends on anything.

    Languages have the same true accuracy under both recipes; every seed is by chance good or bad at each language.
    """
    banks = Banks.of_measures()
    names = tuple(f"x{place}" for place in range(len(families)))
    true = rng.normal(0.3, 0.25, size=len(names))
    for recipe in (BASELINE, "mnli"):
        skill = true + 0.25 * rng.normal(size=(seeds, len(names)))
        right = skill[:, None, :] + rng.normal(size=(seeds, 80, len(names))) > 0
        banks.measure(
            Arm("b", recipe, "panx"),
            {s: {name: correct(right[s, :, place]) for place, name in enumerate(names)} for s in range(seeds)},
            ACCURACY,
        )
    return baseline_slope(banks, "b", "mnli", "panx", names, families=families, divided=divided)


def regression_to_the_mean(rng: Rng, *, seeds: int = 3, families: tuple[str, ...] = FEW) -> bool:
    """Whether that slope is taken for an effect."""
    return 0.0 not in slope_on_baseline(rng, seeds=seeds, families=families)


def _simulations() -> list[Simulation]:
    found: list[Simulation] = []

    def add(name: str, world: Callable[[Rng], bool], bounds: tuple[float, float] = COVERS) -> None:
        found.append(Simulation(name, world, bounds))

    for seeds in (3, 5):
        for dominant, variances in (("rows", ROWS), ("seeds", SEEDS)):
            for target in ("xnli", "panx"):
                name = f"interaction, {target}, {seeds} seeds, {dominant} dominate"
                add(name, partial(interaction, seeds=seeds, variances=variances, target=target))
            add(f"error reduction, {seeds} seeds, {dominant} dominate",
                partial(error_reduction, seeds=seeds, variances=variances))  # fmt: skip
            add(f"relative loss, {seeds} seeds, {dominant} dominate",
                partial(relative_loss, seeds=seeds, variances=variances))  # fmt: skip
        add(f"mean over targets, {seeds} seeds", partial(over_targets, seeds=seeds))
    for gaps in ((0.10, 0.05), (0.15, 0.15)):
        add(f"calibration difference, gaps {gaps}", partial(calibration_difference, gaps=gaps))
    for name, families in (("7 languages", FEW), ("40 languages", MANY)):
        for what, world in (
            ("noise of rows", Languages(families, by_language=0.5, by_seed=0.0)),
            ("not parallel", Languages(families, parallel=False)),
            ("languages differ", Languages(families, by_language=6.0)),
            ("families differ", Languages(families, by_family=2.0)),
            ("families differ much", Languages(families, by_family=6.0, by_row=5.0, rest=5.0)),
            ("seeds turn the line", Languages(families, by_seed_slope=0.7)),
            ("seeds turn the line, 5 seeds", Languages(families, by_seed_slope=0.7, seeds=5)),
        ):
            # Where families differ much more than their languages, intervals are wider than they need be.
            bounds = (0.92, 1.0) if what == "families differ much" else COVERS
            add(f"line, {name}, {what}", partial(line, world=world), bounds)
    for points in (8, 40):
        for correlation in (0.0, 0.5):
            add(f"rank correlation {correlation}, {points} languages",
                partial(rank, points=points, correlation=correlation))  # fmt: skip
    add("rejects: no interaction", no_interaction, REJECTS)
    add("rejects: worse by the limit taken for non-inferior", inferior, (0.01, 0.045))
    add("rejects: as good as the better part taken for better", best_of_two, (0.0, 0.08))
    add("rejects: any of ten languages", losers, REJECTS)
    add("rejects: regression to the mean, 7 languages", regression_to_the_mean, REJECTS)
    add("rejects: regression to the mean, 40 languages", partial(regression_to_the_mean, families=MANY), REJECTS)
    add("rejects: regression to the mean, 5 seeds", partial(regression_to_the_mean, seeds=5), REJECTS)
    return found


SIMULATIONS = _simulations()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worlds", type=int, default=4000, help="of each simulation")
    parser.add_argument("--only", default="", help="simulations whose name contains this")
    arguments = parser.parse_args()
    figures, outside = {}, []
    for simulation in SIMULATIONS:
        if arguments.only not in simulation.name:
            continue
        share = simulation.share(arguments.worlds)
        low, high = simulation.bounds
        mark = "" if low <= share <= high else f"  outside {low:.3f} to {high:.3f}"
        outside += [simulation.name] if mark else []
        print(f"{share:.3f}  {simulation.name}{mark}", flush=True)
        figures[simulation.name] = round(share, 4)
    if not arguments.only:
        about = {
            "worlds": arguments.worlds,
            "bounds": {simulation.name: simulation.bounds for simulation in SIMULATIONS},
            "outside": outside,
            "versions": versions(["numpy", "scipy", "statsmodels"]),
        }
        print(f"\nwrote {write_result('coverage', figures, **about)}")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
