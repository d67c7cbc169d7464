"""95 % intervals over rows: how far a number of *this checkpoint* would move with other rows of its kind.

Nothing here speaks of a recipe: that needs several seeds, which are a second, crossed source of variance.
Rows are resampled in the units that the task names. In a parallel task a unit
is drawn jointly for all languages: drawn per language, the "95 %" interval of the mean over languages is far
too short, because a hard sentence is hard in every language.

`scipy.stats.bootstrap` would index the rows anew for every resample. The metrics here are functions of sums,
so a resample is a vector of counts and all resamples are one matrix product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from polystilts.errors import InvalidValue
from polystilts.metrics import robustness
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats, Metric

LEVEL = 0.95

#: Largest matrix of counts held at once, in elements (8 bytes each).
_BLOCK = 4_000_000


class Estimate(robustness.Estimate):
    """A number with its 95 % percentile interval, that can be asked whether a value lies in it."""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class LanguageRows:
    """The rows of one language: their ids [n], units [n] and row statistics [n, k]."""

    ids: tuple[str, ...]
    units: tuple[str, ...]
    statistics: Floats


def language_rows(rows: Iterable[BankRow], metric: Metric) -> dict[str, LanguageRows]:
    """Bank rows of one cell, by language in alphabetical order, with the statistics of `metric`."""
    grouped: defaultdict[str, list[BankRow]] = defaultdict(list)
    for row in rows:
        grouped[row.language].append(row)
    return {
        language: LanguageRows(
            ids=tuple(row.id for row in group),
            units=tuple(row.unit for row in group),
            statistics=metric.statistics(
                [row.gold_value for row in group], [row.predicted_value for row in group], language
            ),
        )
        for language, group in sorted(grouped.items())
    }


@dataclass(frozen=True)
class Resampled:
    """The metric of several cells on the same resamples of the same rows.

    Attributes:
        languages: L names.
        rows: rows of each language [L].
        observed: the metric [cells, L] on the rows as they are.
        values: the metric [cells, resamples, L].
    """

    languages: tuple[str, ...]
    rows: tuple[int, ...]
    observed: Floats
    values: Floats

    def mean(self, cell: int, languages: Sequence[str]) -> Estimate:
        """The unweighted mean over `languages` of one cell."""
        take = self._columns(languages)
        return _estimate(self.observed[cell, take].mean(), self.values[cell][:, take].mean(axis=1))

    def difference(self, cell: int, base: int, languages: Sequence[str]) -> Estimate:
        """The mean over `languages` of `cell` minus that of `base`, paired on the rows."""
        take = self._columns(languages)
        observed = (self.observed[cell, take] - self.observed[base, take]).mean()
        return _estimate(observed, (self.values[cell][:, take] - self.values[base][:, take]).mean(axis=1))

    def _columns(self, languages: Sequence[str]) -> list[int]:
        return [self.languages.index(language) for language in languages]


def resample(
    cells: Sequence[Mapping[str, LanguageRows]],
    metric: Metric,
    *,
    joint: bool,
    resamples: int = 2000,
    seed: int = 0,
) -> Resampled:
    """Paired bootstrap of one or more cells that were scored on the same rows.

    Args:
        cells: rows by language of each cell; the same languages, ids and units in all.
        metric: whose statistics the rows carry.
        joint: draw a unit for all languages at once (parallel tasks); else every language by itself.
        resamples: draws with replacement, as many units as there are.
        seed: of the draws; the same seed gives the same intervals.

    Raises:
        InvalidValue: no cell, a cell without rows, an id twice in a language, or cells with different rows.
    """
    if not cells or not cells[0]:
        raise InvalidValue("nothing to resample: no scored rows", param="cells", limit=1, given=0)
    first = cells[0]
    aligned = [first, *(_aligned(cell, first) for cell in cells[1:])]
    width = len(metric.columns)
    stacked = {language: np.concatenate([cell[language].statistics for cell in aligned], axis=1) for language in first}
    rng = np.random.default_rng(seed)
    if joint:
        sums = _draw(_joint_sums(first, stacked), resamples, rng)
    else:
        parts = [_draw(_unit_sums(first[lang].units, stacked[lang]), resamples, rng) for lang in first]
        sums = np.concatenate(parts, axis=1)
    # [resamples, L x cells x k] -> [cells, resamples, L, k]
    by_cell = sums.reshape(resamples, len(first), len(cells), width).transpose(2, 0, 1, 3)
    whole = np.stack([stacked[lang].sum(axis=0) for lang in first]).reshape(len(first), len(cells), width)
    return Resampled(
        languages=tuple(first),
        rows=tuple(len(part.ids) for part in first.values()),
        observed=metric.value(whole.transpose(1, 0, 2)),
        values=metric.value(by_cell),
    )


def smallest_difference(standard_error: float, *, power: float = 0.8, degrees: float = np.inf) -> float:
    """The smallest true difference, in points, that a two-sided test at 95 % finds with this power.

    `standard_error` is that of the difference, in points, and `degrees` its degrees of freedom (infinite: it is
    known; at 2 the sum of two quantiles used here is 5 % below the exact figure, at 4 1 %). For accuracy, two
    models that disagree on a share d of n rows have 100 sqrt(d / n): 500 rows at 20 % give 2.0 points, hence 5.6.
    """
    return float((student.ppf(0.5 + LEVEL / 2, degrees) + student.ppf(power, degrees)) * standard_error)


def _estimate(observed: float, draws: Floats) -> Estimate:
    # A resample can leave a tiny language without rows; its mean is then undefined and left out.
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.nanquantile(draws, [tail, 1.0 - tail])
    return Estimate(float(observed), float(low), float(high), float(np.nanstd(draws, ddof=1)))


def _aligned(cell: Mapping[str, LanguageRows], first: Mapping[str, LanguageRows]) -> dict[str, LanguageRows]:
    """`cell` with its rows in the order of `first`."""
    if set(cell) != set(first):
        given = ", ".join(sorted(set(cell) ^ set(first)))
        raise InvalidValue(f"cells to compare were scored in different languages: {given}", param="cells")
    return {language: same_order(cell[language], first[language], language) for language in first}


def same_order(rows: LanguageRows, first: LanguageRows, language: str) -> LanguageRows:
    """`rows` in the order of `first`, paired by id.

    Raises:
        InvalidValue: the ids are not the same, or one occurs twice in `rows`.
    """
    if rows.ids == first.ids:
        return rows
    place = {id_: index for index, id_ in enumerate(rows.ids)}
    if len(place) != len(rows.ids) or len(rows.ids) != len(first.ids) or not place.keys() >= set(first.ids):
        message = f"cells to compare were scored on different rows of {language!r}, or on a row twice"
        raise InvalidValue(message, param="cells", limit=len(first.ids), given=len(rows.ids))
    return LanguageRows(first.ids, first.units, rows.statistics[[place[id_] for id_ in first.ids]])


def _unit_sums(units: Sequence[str], statistics: Floats) -> Floats:
    """Row statistics [n, m] summed by unit [units, m]."""
    names, index = np.unique(np.asarray(units, dtype=object), return_inverse=True)
    sums = np.zeros((len(names), statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums


def _joint_sums(rows: Mapping[str, LanguageRows], stacked: Mapping[str, Floats]) -> Floats:
    """Sums [units, L x m] over the units of all languages together; a unit absent in a language adds 0."""
    width = next(iter(stacked.values())).shape[1]
    units: list[str] = []
    blocks: list[Floats] = []
    for column, (language, part) in enumerate(rows.items()):
        block = np.zeros((len(part.ids), len(rows) * width))
        block[:, column * width : (column + 1) * width] = stacked[language]
        units.extend(part.units)
        blocks.append(block)
    return _unit_sums(units, np.concatenate(blocks))


def _draw(sums: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums [resamples, m] over units drawn with replacement from `sums` [units, m]."""
    units = len(sums)
    step = max(1, _BLOCK // units)
    drawn = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        # Counting drawn indices is several times faster than drawing multinomial counts.
        index = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(index.ravel(), minlength=size * units).reshape(size, units)
        drawn.append(counts @ sums)
    return np.concatenate(drawn)
