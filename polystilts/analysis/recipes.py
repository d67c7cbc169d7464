"""95 % intervals and tests over rows and seeds: what may be said of a *recipe*, not of one checkpoint of it.

Every seed answers the same rows, so rows and seeds are crossed: `y[u, s]`, what unit u adds under seed s, is
a mean, an effect of the unit, an effect of the seed and a rest. The mean over both has the variance

    (MS_units + MS_seeds - MS_rest) / (units x seeds)

by the expected mean squares of the two-way random model without replication (Searle, Casella and McCulloch,
*Variance Components*, 1992), and a t interval with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946).
MS_units - MS_rest estimates a variance and is cut at 0. MS_seeds stays as it is: raised to MS_rest wherever chance
makes it smaller, the interval would cover 98.2 % where the rest dominates, which is where two recipes are equal.
As it stands it covers 92.2 to 95.0 % with 3 seeds, over all mixtures of the three variances, and 94.0 to 95.0 % with
5; the low end is where rows make a tenth (3 seeds) or a fifth (5) of the variance of the mean.

A percentile bootstrap over 3 seeds would cover about 68 % where seeds dominate, and one over rows alone speaks of
these checkpoints: fewer than `MIN_SEEDS` seeds make no claim about a recipe, and their interval is over rows alone.

Metrics that are no means of rows (F1 from summed counts) enter through their jackknife pseudo-values, one a unit
and seed, shifted so that their mean is the metric itself (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 11); for accuracy a pseudo-value is the unit's own score. In a parallel task a unit is one
for all languages; else each language has units of its own, whose variances add, while the effect of a seed is
that on the mean over the languages in both cases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from polystilts.analysis.intervals import LEVEL, LanguageRows, language_rows, same_order, smallest_difference
from polystilts.errors import InvalidValue
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats, Metric

#: Seeds below which nothing is said about a recipe.
MIN_SEEDS = 3

#: seed -> language -> rows: one recipe on one target.
Scores = Mapping[int, Mapping[str, LanguageRows]]


@dataclass(frozen=True)
class RecipeEstimate:
    """A mean over languages with its 95 % interval, in points (0 to 100).

    Attributes:
        value, low, high, standard_error: in points.
        degrees: of freedom of the standard error.
        seeds: that took part.
        rows: of one seed, over all languages.
        units: drawn as one: of all languages together, or summed over them.
        claim: the interval is over rows and seeds and speaks of the recipe. False with fewer than `MIN_SEEDS`
            seeds: the interval is over rows alone and speaks of these checkpoints.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    seeds: tuple[int, ...]
    rows: int
    units: int
    claim: bool

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Comparison(RecipeEstimate):
    """A difference candidate - base, paired on rows and seeds.

    Attributes:
        p: two-sided, that there is no difference.
        p_worse: one-sided; small where the candidate is shown to be worse.
        smallest: the smallest true difference that these rows and seeds find with 80 % power, in points.
        seeds_base: arms of the base: as many as `seeds`, or 0 = one fixed model.
        left_out: seeds that only one of the two has.
    """

    p: float
    p_worse: float
    smallest: float
    seeds_base: int
    left_out: tuple[int, ...]


def scores_by_seed(rows: Iterable[BankRow], metric: Metric) -> dict[int, dict[str, LanguageRows]]:
    """The bank rows of one recipe on one target (one role) as `Scores`, seeds in ascending order."""
    grouped: defaultdict[int, list[BankRow]] = defaultdict(list)
    for row in rows:
        grouped[row.seed].append(row)
    return {seed: language_rows(grouped[seed], metric) for seed in sorted(grouped)}


def mean_of_recipe(scores: Scores, metric: Metric, *, joint: bool, languages: Sequence[str]) -> RecipeEstimate:
    """The mean of one recipe over `languages`, unweighted, and over its seeds.

    Args:
        scores: of all seeds, on the same rows.
        metric: whose statistics the rows carry.
        joint: a unit is one for all languages (parallel tasks); else every language has its own.
        languages: of the mean.

    Raises:
        InvalidValue: no seed, no language, a language missing or with fewer than two units, different rows.
    """
    if not scores:
        raise InvalidValue("a recipe without seeds has no mean", param="scores", limit=1, given=0)
    parts = pseudo_values(list(scores.values()), metric, joint, languages)
    claim = len(scores) >= MIN_SEEDS
    value, error, degrees = crossed(parts, over_seeds=claim)
    half = float(student.ppf(0.5 + LEVEL / 2, degrees)) * error
    return RecipeEstimate(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        degrees=degrees,
        seeds=tuple(sorted(scores)),
        rows=_rows(scores, languages),
        units=sum(map(len, parts)),
        claim=claim,
    )


def compare(
    candidate: Scores,
    base: Scores,
    metric: Metric,
    *,
    joint: bool,
    languages: Sequence[str],
    fixed_base: bool = False,
) -> Comparison:
    """The mean over `languages` of `candidate` minus that of `base`, paired on rows and on seeds.

    Args:
        candidate, base: scores on the same rows; seeds that only one of them has are left out and named.
        metric, joint, languages: as in `mean_of_recipe`.
        fixed_base: `base` is one model (today's champion, an encoder without training) under whatever seed: every
            seed of the candidate is compared with it, and nothing is said of the recipe it came from. With one
            seed in `candidate` this compares two models.

    Raises:
        InvalidValue: no seed in common, a fixed base of several arms, or as in `mean_of_recipe`.
    """
    if fixed_base and len(base) != 1:
        raise InvalidValue(f"a fixed base is one model; {len(base)} given", param="base", limit=1, given=len(base))
    seeds = sorted(candidate) if fixed_base else sorted(candidate.keys() & base.keys())
    if not seeds:
        message = f"no seed in common: {sorted(candidate)} and {sorted(base)}"
        raise InvalidValue(message, param="candidate", limit=1, given=0)
    base_arms = list(base.values()) if fixed_base else [base[seed] for seed in seeds]
    arms = [*(candidate[seed] for seed in seeds), *base_arms]
    # A fixed base is one column, subtracted from every seed's.
    parts = [part[:, : len(seeds)] - part[:, len(seeds) :] for part in pseudo_values(arms, metric, joint, languages)]
    claim = len(seeds) >= MIN_SEEDS
    value, error, degrees = crossed(parts, over_seeds=claim)
    half = float(student.ppf(0.5 + LEVEL / 2, degrees)) * error
    # Without any variance there is no t: equal models are equal, and a constant difference is certain.
    ratio = value / error if error else np.copysign(np.inf, value) if value else 0.0
    return Comparison(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        degrees=degrees,
        seeds=tuple(seeds),
        rows=_rows(candidate, languages),
        units=sum(map(len, parts)),
        claim=claim,
        p=float(2.0 * student.sf(abs(ratio), degrees)),
        p_worse=float(student.cdf(ratio, degrees)),
        smallest=smallest_difference(error, degrees=degrees),
        seeds_base=0 if fixed_base else len(seeds),
        left_out=() if fixed_base else tuple(sorted(candidate.keys() ^ base.keys())),
    )


def per_language(
    candidate: Scores, base: Scores, metric: Metric, *, languages: Sequence[str], fixed_base: bool = False
) -> dict[str, Comparison]:
    """`compare` for every language by itself, in the order given."""
    return {
        language: compare(candidate, base, metric, joint=False, languages=[language], fixed_base=fixed_base)
        for language in languages
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values of one family, by name (Scandinavian Journal of Statistics 6, 1979).

    Raises:
        InvalidValue: a p-value outside 0 to 1.
    """
    for name, p in p_values.items():
        if not 0.0 <= p <= 1.0:
            raise InvalidValue(f"the p-value of {name!r} is {p}; expected 0 to 1", param=name, limit=1, given=p)
    if not p_values:
        return {}
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, adjusted), strict=True))


def _rows(scores: Scores, languages: Sequence[str]) -> int:
    arm = next(iter(scores.values()))
    return sum(len(arm[language].ids) for language in languages)


def pseudo_values(
    arms: Sequence[Mapping[str, LanguageRows]], metric: Metric, joint: bool, languages: Sequence[str]
) -> list[Floats]:
    """What every unit adds to the mean over languages of every arm, in one part or one for each language.

    Each part is [units, arms]; its mean over units, summed over the parts, is the metric's mean over `languages`.
    """
    if not languages or len(set(languages)) != len(languages):
        message = f"languages must be at least one, and none twice: {', '.join(languages) or 'none given'}"
        raise InvalidValue(message, param="languages", limit=1, given=len(languages))
    # Leaving unit u out changes the value of the language by moved[u]; codes number the units.
    codes: list[NDArray[np.int64]] = []
    values: list[Floats] = []
    moved: list[Floats] = []
    numbers: dict[str, int] = {}
    for language in languages:
        if not joint:
            numbers = {}
        first, statistics = _stack(arms, language)
        coded = [numbers.setdefault(unit, len(numbers)) for unit in first.units]
        present, place = np.unique(coded, return_inverse=True)
        if len(present) < 2:
            message = f"{len(present)} unit(s) scored in {language!r}; an interval needs two"
            raise InvalidValue(message, param="units", limit=2, given=len(present))
        sums = np.zeros((len(present), *statistics.shape[1:]))
        np.add.at(sums, place, statistics)
        total = sums.sum(axis=0)
        value = metric.value(total) / len(languages)
        codes.append(present)
        values.append(value)
        moved.append(value - metric.value(total - sums) / len(languages))
    if not joint:
        return [_centred(value, change) for value, change in zip(values, moved, strict=True)]
    together = np.zeros((len(numbers), len(arms)))
    for code, change in zip(codes, moved, strict=True):
        together[code] += change
    return [_centred(np.sum(values, axis=0), together)]


def _centred(value: Floats, moved: Floats) -> Floats:
    """Pseudo-values [units, arms] with the mean `value` [arms]; a jackknife's own mean differs by its bias."""
    return value + (len(moved) - 1) * (moved - moved.mean(axis=0))


def _stack(arms: Sequence[Mapping[str, LanguageRows]], language: str) -> tuple[LanguageRows, Floats]:
    """The rows of the first arm, and the statistics [rows, arms, k] of all arms in that order."""
    for arm in arms:
        if language not in arm:
            message = f"{language!r} is not scored in every arm; this one has {', '.join(sorted(arm)) or 'none'}"
            raise InvalidValue(message, param="languages", given=language)
    first = arms[0][language]
    return first, np.stack([same_order(arm[language], first, language).statistics for arm in arms], axis=1)


def crossed(parts: Sequence[Floats], *, over_seeds: bool) -> tuple[float, float, float]:
    """Mean, standard error and degrees of freedom of a sum of crossed tables.

    Args:
        parts: tables [units, seeds] whose means add; the seeds are the same in all.
        over_seeds: count the variance of seeds too; else the seeds are what they are.
    """
    seeds = parts[0].shape[1]
    by_seed = np.sum([part.mean(axis=0) for part in parts], axis=0)
    value = float(by_seed.mean())
    units = np.array([len(part) for part in parts])
    # Mean squares divided by units x seeds, part by part: they are variances of the mean.
    rows = np.array([part.mean(axis=1).var(ddof=1) for part in parts]) / units
    if not over_seeds:
        variance = float(rows.sum())
        return value, float(np.sqrt(variance)), _satterthwaite(variance, rows, units - 1.0)
    rest = np.array([_rest(part) for part in parts]) / ((units - 1) * (seeds - 1)) / (units * seeds)
    among_seeds = by_seed.var(ddof=1) / seeds
    variance = float(max(rows.sum() - rest.sum(), 0.0) + among_seeds)
    terms = np.concatenate([rows, rest, [among_seeds]])
    degrees = np.concatenate([units - 1.0, (units - 1.0) * (seeds - 1), [seeds - 1.0]])
    return value, float(np.sqrt(variance)), _satterthwaite(variance, terms, degrees)


def _rest(table: Floats) -> float:
    """The sum of squares that neither rows nor columns of `table` explain."""
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.square(left).sum())


def _satterthwaite(variance: float, terms: Floats, degrees: Floats) -> float:
    """Degrees of freedom of a variance made of `terms`, within what a sum of them can have.

    A difference of two large mean squares would otherwise leave next to none.
    """
    spread = float((np.square(terms) / degrees).sum())
    least, most = float(degrees.min()), float(degrees.sum())
    return min(max(variance**2 / spread, least), most) if spread else most
