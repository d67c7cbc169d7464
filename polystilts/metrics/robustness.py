"""How far answers hold when the input changes but its meaning does not, and how far probabilities can be believed.

Everything is computed from prediction banks (`BankRow`) of the same rows, clean and changed, paired by language and id;
calibration needs the probability of each answer (`BankRow.probability`), which pairs and choices have. Intervals are
95 % bootstrap intervals over units, for *these checkpoints* (a claim about a recipe needs seeds); units are drawn
jointly for all languages where the task is parallel. All figures are in points, 0 to 100.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from polystilts.errors import InvalidValue, UnknownName
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats, Metric, ratio

#: Of an interval's ends: 95 %.
_QUANTILES = (0.025, 0.975)

#: How confidences are put into bins: as many rows in each, or as wide a range of confidence each.
BINNINGS = ("mass", "width")

#: Bins of a calibration error, as Guo et al. (2017) have them.
BINS = 15

#: Largest matrix of counts held at once, in elements (8 bytes each).
_BLOCK = 4_000_000

Value = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and standard error over rows, in points."""

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class ByLanguage:
    """An estimate for every language, and for their unweighted mean.

    Attributes:
        languages: estimate by language, in alphabetical order.
        rows: rows of each language that took part.
        mean: over the languages.
    """

    languages: Mapping[str, Estimate]
    rows: Mapping[str, int]
    mean: Estimate


@dataclass(frozen=True)
class Stability:
    """Answers to rows and to their changed forms.

    Attributes:
        agreement: both have the same answer. A model that always says the same agrees with itself in 100 % of the rows,
            so it is read together with `correct_in_both`.
        correct_in_both: both answers are right.
        share: of the rows of each language that have a changed form, 0 to 1 (not every pair has an entity to rename).
    """

    agreement: ByLanguage
    correct_in_both: ByLanguage
    share: Mapping[str, float]


@dataclass(frozen=True)
class Confidences:
    """Rows of one language with the model's probability for the label it predicted.

    Attributes:
        confidence: probability of the predicted label [n], 0 to 1.
        correct: whether the prediction is right [n].
        units: what is drawn as one in resampling [n].
    """

    confidence: Floats
    correct: NDArray[np.bool_]
    units: Sequence[str]


def stability(
    rows: Iterable[BankRow], changed: Iterable[BankRow], *, joint: bool, resamples: int = 2000, seed: int = 0
) -> Stability:
    """Agreement of the answers to rows and to the same rows changed: sentences swapped, an entity renamed, noise.

    Args:
        rows: of one checkpoint on one task, as they are.
        changed: the same rows changed, or some of them.
        joint: draw a unit for all languages at once (parallel tasks).
        resamples: of the bootstrap.
        seed: of the draws.

    Raises:
        InvalidValue: no changed rows, one that is not among `rows`, or a row twice.
    """
    whole = _by_id(rows, "rows")
    pairs = _paired(whole, _by_id(changed, "changed"), some=True)

    def estimate(holds: Callable[[BankRow, BankRow], bool]) -> ByLanguage:
        parts = {
            language: _Part(
                [a.unit for a, _ in group], np.array([[holds(a, b), 1.0] for a, b in group], dtype=np.float64)
            )
            for language, group in pairs.items()
        }
        return _percentile(_bootstrap(parts, _share, joint=joint, resamples=resamples, seed=seed))

    return Stability(
        agreement=estimate(lambda a, b: a.predicted_value is not None and a.predicted_value == b.predicted_value),
        correct_in_both=estimate(lambda a, b: _right(a) and _right(b)),
        share={language: len(group) / len(whole[language]) for language, group in pairs.items()},
    )


def relative_loss(
    clean: Iterable[BankRow],
    noisy: Iterable[BankRow],
    metric: Metric,
    *,
    joint: bool,
    resamples: int = 2000,
    seed: int = 0,
) -> ByLanguage:
    """What noise costs, as a share of the score on clean text: 100 (clean - noisy) / clean, paired on the rows.

    Negative where noise helps. The mean is that of the languages' losses, not the loss of their mean score.

    Args:
        clean: rows of one checkpoint on one task.
        noisy: the same rows, their text with noise; the gold may have moved with it.
        metric: of the task.
        joint: draw a unit for all languages at once (parallel tasks).
        resamples: of the bootstrap.
        seed: of the draws.

    Raises:
        InvalidValue: no rows, other rows on one side, a row twice, or a language whose clean score is 0.
    """
    pairs = _paired(_by_id(clean, "clean"), _by_id(noisy, "noisy"), some=False)
    parts = {}
    for language, group in pairs.items():
        sides = [
            metric.statistics([row.gold_value for row in side], [row.predicted_value for row in side], language)
            for side in zip(*group, strict=True)
        ]
        if not metric.value(sides[0].sum(axis=0)) > 0:
            message = f"the clean {metric.name} of {language!r} is 0: there is nothing to lose"
            raise InvalidValue(message, param="clean", given=0)
        parts[language] = _Part([a.unit for a, _ in group], np.concatenate(sides, axis=1))
    width = len(metric.columns)

    def loss(sums: Floats) -> Floats:
        before, after = metric.value(sums[..., :width]), metric.value(sums[..., width:])
        # A resample of very few rows can have a clean score of 0; its loss is undefined and left out.
        return 100.0 * ratio(before - after, before, empty=np.nan)

    return _percentile(_bootstrap(parts, loss, joint=joint, resamples=resamples, seed=seed))


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error of every language.

    Attributes:
        error: corrected for its excess, with intervals; what tables show.
        plain: as usually reported, by language and too high by chance, in points.
    """

    error: ByLanguage
    plain: Mapping[str, float]


def calibration_error(
    rows: Mapping[str, Confidences],
    *,
    binning: str = "mass",
    bins: int = BINS,
    joint: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Expected calibration error: the mean over rows of |confidence - accuracy| of their bin (Naeini et al., 2015).

    The plain figure is too high, because in a bin of few rows accuracy differs from confidence by chance, and a
    resample is too high once more: percentile intervals of a calibrated model exclude 0. So the bootstrap gives the
    chance alone (resampled minus observed gaps of the bins), it is added to gaps of one size t with the observed signs,
    and the interval holds every t for which the plain figure is not in the outer 2.5 % on either side; the value is
    the t that has the plain figure as its mean. In simulation these intervals cover 91 to 98 %, at 500 and at
    2,000 rows, for gaps of one size, sloping and oscillating, and for none. Bins are made once, from the rows as they
    are, for each language by itself.

    Args:
        rows: by language.
        binning: one of `BINNINGS`.
        bins: number of bins; with 'mass' rows of equal confidence share a bin, so that there may be fewer.
        joint: draw a unit for all languages at once (parallel tasks).
        resamples: of the bootstrap.
        seed: of the draws.

    Raises:
        InvalidValue: no rows, confidences outside 0 to 1, lengths that differ, or fewer than one bin.
        UnknownName: a binning that is not known.
    """
    statistics = {language: _bin_statistics(part, binning, bins) for language, part in sorted(rows.items())}
    parts = {language: _Part(rows[language].units, held) for language, held in statistics.items()}
    weights = np.array([held.sum(axis=0).reshape(bins, 3)[:, 0] / len(held) for held in statistics.values()])

    def gaps(sums: Floats) -> Floats:
        by_bin = sums.reshape(*sums.shape[:-1], bins, 3)
        total = by_bin[..., 0].sum(axis=-1, keepdims=True)
        return ratio(by_bin[..., 1] - by_bin[..., 2], total, empty=0.0)

    drawn = _bootstrap(parts, gaps, joint=joint, resamples=resamples, seed=seed)
    chance, signs = drawn.values - drawn.observed, np.where(drawn.observed >= 0, 1.0, -1.0)

    def estimate(take: list[int]) -> Estimate:
        plain = float(np.abs(drawn.observed[take]).sum(axis=1).mean())

        def errors(size: float) -> Floats:
            return np.abs(size * (weights * signs)[take] + chance[:, take]).sum(axis=2).mean(axis=1)

        mean = 100.0 * _size_of(plain, lambda size: float(errors(size).mean()))
        # Where the plain figure is the upper end, the size is the lower one.
        high, low = (100.0 * _size_of(plain, _quantile_of(errors, q)) for q in _QUANTILES)
        resampled = np.abs(drawn.values[:, take]).sum(axis=2).mean(axis=1)
        return Estimate(mean, low, high, 100.0 * float(resampled.std(ddof=1)))

    languages = {language: estimate([place]) for place, language in enumerate(parts)}
    return Calibration(
        ByLanguage(languages, drawn.rows, estimate(list(range(len(parts))))),
        {name: 100.0 * float(np.abs(drawn.observed[place]).sum()) for place, name in enumerate(parts)},
    )


def _quantile_of(errors: Callable[[float], Floats], quantile: float) -> Callable[[float], float]:
    return lambda size: float(np.quantile(errors(size), quantile))


def _size_of(plain: float, error: Callable[[float], float]) -> float:
    """The size, 0 to 1, at which `error`, which grows with it, is `plain`."""
    if error(0.0) >= plain:
        return 0.0
    return float(brentq(lambda size: error(size) - plain, 0.0, 1.0, xtol=1e-5)) if error(1.0) > plain else 1.0


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: for every bin that has rows their number, mean confidence and accuracy (0 to 1)."""

    rows: Floats
    confidence: Floats
    accuracy: Floats


def reliability(part: Confidences, *, binning: str = "mass", bins: int = BINS) -> Reliability:
    """The bins of `calibration_error`, for a picture.

    Raises:
        InvalidValue, UnknownName: as `calibration_error`.
    """
    sums = _bin_statistics(part, binning, bins).sum(axis=0).reshape(bins, 3)
    kept = sums[sums[:, 0] > 0]
    return Reliability(kept[:, 0], kept[:, 1] / kept[:, 0], kept[:, 2] / kept[:, 0])


def _bin_statistics(part: Confidences, binning: str, bins: int) -> Floats:
    """Row statistics [n, bins x 3]: 1, confidence and correct, in the columns of the row's bin."""
    if binning not in BINNINGS:
        raise UnknownName("binning", binning, BINNINGS, param="binning")
    confidence, correct = np.asarray(part.confidence, dtype=np.float64), np.asarray(part.correct, dtype=np.float64)
    if bins < 1:
        raise InvalidValue(f"bins must be at least 1, not {bins}", param="bins", limit=1, given=bins)
    if not len(confidence) or not len(confidence) == len(correct) == len(part.units):
        message = (
            f"{len(confidence)} confidences, {len(correct)} answers and {len(part.units)} units; needs as many each"
        )
        raise InvalidValue(message, param="rows", given=len(confidence))
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InvalidValue("a confidence is a probability, from 0 to 1", param="confidence", limit=1)
    if binning == "mass":
        # The upper edges of the bins: a row belongs to the first edge that is not below it.
        edges = np.sort(confidence)[np.ceil(np.arange(1, bins) * len(confidence) / bins).astype(int) - 1]
    else:
        edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, confidence, side="left")
    statistics = np.zeros((len(confidence), bins, 3))
    statistics[np.arange(len(confidence)), place] = np.column_stack([np.ones(len(confidence)), confidence, correct])
    return statistics.reshape(len(confidence), -1)


def _share(sums: Floats) -> Floats:
    return 100.0 * ratio(sums[..., 0], sums[..., 1], empty=np.nan)


def _right(row: BankRow) -> bool:
    return row.score == 1.0


# Pairs of rows.

Pairs = dict[str, list[tuple[BankRow, BankRow]]]


def _by_id(rows: Iterable[BankRow], param: str) -> dict[str, dict[str, BankRow]]:
    """Rows by language, in alphabetical order, and id."""
    found: defaultdict[str, dict[str, BankRow]] = defaultdict(dict)
    for row in rows:
        if row.id in found[row.language]:
            raise InvalidValue(f"row {row.id!r} ({row.language}) is there twice", param=param, limit=1, given=2)
        found[row.language][row.id] = row
    if not found:
        raise InvalidValue("no rows to compare", param=param, limit=1, given=0)
    return dict(sorted(found.items()))


def _paired(rows: Mapping[str, Mapping[str, Any]], changed: Mapping[str, Mapping[str, Any]], *, some: bool) -> Pairs:
    """Rows with their changed forms; where not `some`, every row must have one."""
    for language in sorted({*rows, *changed}):
        here, there = rows.get(language, {}).keys(), changed.get(language, {}).keys()
        alone = there - here if some else there ^ here
        if alone:
            message = f"row {min(alone)!r} ({language}) has no counterpart, nor have {len(alone) - 1} more"
            raise InvalidValue(message, param="rows", limit=0, given=len(alone))
    return {language: [(rows[language][id_], row) for id_, row in group.items()] for language, group in changed.items()}


# The bootstrap: metrics are functions of sums, so a resample is a vector of counts.


@dataclass(frozen=True)
class _Part:
    """The rows of one language: their units [n] and statistics [n, k]."""

    units: Sequence[str]
    statistics: Floats


@dataclass(frozen=True)
class _Resampled:
    """A value of every language: on the rows as they are [L, ...], and on resamples [resamples, L, ...]."""

    rows: Mapping[str, int]
    observed: Floats
    values: Floats


def _bootstrap(parts: Mapping[str, _Part], value: Value, *, joint: bool, resamples: int, seed: int) -> _Resampled:
    if not parts:
        raise InvalidValue("no rows to resample", param="rows", limit=1, given=0)
    rng = np.random.default_rng(seed)
    observed = np.array([value(part.statistics.sum(axis=0)) for part in parts.values()])
    if joint:
        values = _resample(list(parts.values()), value, resamples, rng)
    else:
        values = np.concatenate([_resample([part], value, resamples, rng) for part in parts.values()], axis=1)
    return _Resampled({language: len(part.units) for language, part in parts.items()}, observed, values)


def _resample(parts: Sequence[_Part], value: Value, resamples: int, rng: np.random.Generator) -> Floats:
    """Values [resamples, parts, ...]; a unit is drawn for all parts at once and adds nothing where it is absent."""
    names = {name: place for place, name in enumerate(dict.fromkeys(unit for part in parts for unit in part.units))}
    sums = []
    for part in parts:
        block = np.zeros((len(names), part.statistics.shape[1]))
        np.add.at(block, [names[unit] for unit in part.units], part.statistics)
        sums.append(block)
    drawn = [[value(counts @ block) for block in sums] for counts in _counts(len(names), resamples, rng)]
    return np.concatenate([np.stack(values, axis=1) for values in drawn])


def _counts(units: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each unit is drawn [some resamples, units], as many draws as units."""
    step = max(1, _BLOCK // units)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        index = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        yield np.bincount(index.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def _percentile(drawn: _Resampled) -> ByLanguage:
    def estimate(observed: float, values: Floats) -> Estimate:
        low, high = np.nanquantile(values, _QUANTILES)
        return Estimate(observed, float(low), float(high), float(np.nanstd(values, ddof=1)))

    languages = {
        language: estimate(float(drawn.observed[place]), drawn.values[:, place])
        for place, language in enumerate(drawn.rows)
    }
    return ByLanguage(languages, drawn.rows, estimate(float(drawn.observed.mean()), drawn.values.mean(axis=1)))
