"""Lines through languages: weighted least squares with families as clusters.

Languages are a sample, a few dozen at most, from families that are far fewer, so the usual cluster-robust errors are
much too small. These are the bias-reduced ones (CR2) with the degrees of freedom of Bell and McCaffrey (Survey
Methodology 28, 2002; Pustejovsky and Tipton, Journal of Business and Economic Statistics 36, 2018): every family's
residuals are raised by what the line has taken from them, and t has the degrees that the leverage of the families
leaves, often 2 to 5. The usual correction G / (G - 1) with G - 1 degrees rejects a true hypothesis too often as soon
as one family has most of the languages (Indo-European has half of XTREME's); a bootstrap over families has 2^G
different draws at most, 16 for four. With a family for each language CR2 is HC2, and a comparison of two groups is
Welch's.

A language's gain is itself measured, on rows and seeds that other languages share: a seed that is bad for languages
with little text moves the slope and leaves no residuals. So what rows and seeds do to the slope is computed from the
banks (`noise`), and replaces the part of it that residuals show: variance = max(CR2 - what CR2 sees of it, 0) + all of
it. In simulation (`benchmarks/coverage.py`) the intervals cover 92 to 98 %, and up to 99 % where families differ much
more than the languages in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from scipy.stats import norm, spearmanr
from scipy.stats import t as student

from polystilts.analysis.intervals import LEVEL
from polystilts.errors import InvalidValue
from polystilts.metrics.core import Floats

#: Fewest families and degrees of freedom among languages for a line to be drawn.
MIN_FAMILIES, MIN_DEGREES = 3, 2

#: Variance, and its degrees of freedom, of a weighted sum [n] of the measured values over rows and seeds.
Noise = Callable[[Floats], tuple[float, float]]


@dataclass(frozen=True)
class Slope:
    """A coefficient with its 95 % interval.

    Attributes:
        value, low, high, standard_error: points by unit of its column.
        degrees: of freedom.
        p: two-sided, that it is 0.
        points: languages (of each target and recipe) that the line goes through.
        families: clusters.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    p: float
    points: int
    families: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class _Fit:
    """One fit, in the values as they are: the coefficient is `slope @ values`, and `scores` [families, n] @ values
    are what the families add to its error."""

    slope: Floats
    scores: Floats
    working: Floats


def slope_of(
    values: Sequence[Floats],
    designs: Sequence[Floats],
    variances: Floats,
    families: Sequence[str],
    *,
    column: int,
    noise: Noise | None = None,
) -> Slope:
    """One coefficient of a weighted line, averaged over several divisions of the data (usually one).

    Weights are inverse variances: of measuring a language, and among languages beyond that, in part common to a
    family (both by the method of moments; DerSimonian and Laird, 1986, with covariates). So a language with an
    exactly measured gain has no boundless weight, nor has a family by its mere number of languages.

    Args:
        values: gains [n], for every division.
        designs: [n, k] for every division, the constant among the columns.
        variances: [n], of the gains over rows and seeds.
        families: [n], what are clusters.
        column: which coefficient.
        noise: see above; None = measurement errors of different families are independent.

    Raises:
        InvalidValue: too few languages or families, or a column that follows from others.
    """
    points, width = designs[0].shape
    names = sorted(set(families))
    if points - width < MIN_DEGREES or len(names) < MIN_FAMILIES:
        message = (
            f"{points} languages of {len(names)} families do not carry a line with {width} coefficients; needs "
            f"{width + MIN_DEGREES} languages and {MIN_FAMILIES} families"
        )
        raise InvalidValue(message, param="languages", limit=width + MIN_DEGREES, given=points)
    if any(np.linalg.matrix_rank(design) < width for design in designs):
        raise InvalidValue("a covariate follows from the others in these languages", param="covariates")
    members = [np.array([family == name for family in families]) for name in names]
    fits = [_fit(y, x, variances, members, column) for y, x in zip(values, designs, strict=True)]
    value = float(np.mean([fit.slope @ y for fit, y in zip(fits, values, strict=True)]))
    by_family = np.mean([fit.scores @ y for fit, y in zip(fits, values, strict=True)], axis=0)
    scores = np.mean([fit.scores for fit in fits], axis=0)
    working = np.mean([fit.working for fit in fits], axis=0)
    variance = float(np.square(by_family).sum())
    products = scores @ working @ scores.T
    degrees = float(np.trace(products) ** 2 / np.square(products).sum())
    if noise is not None:
        measured, other = noise(np.mean([fit.slope for fit in fits], axis=0))
        seen = sum(noise(score)[0] for score in scores)
        among = max(variance - seen, 0.0)
        variance = among + measured
        # Satterthwaite's, of the two as if they were independent.
        spread = among**2 / degrees + measured**2 / other
        degrees = variance**2 / spread if spread else degrees
    error = float(np.sqrt(variance))
    half = float(student.ppf(0.5 + LEVEL / 2, degrees)) * error
    p = 2.0 * float(student.sf(abs(value) / error, degrees)) if error else float(value == 0)
    return Slope(value, value - half, value + half, error, degrees, p, points, len(names))


def _fit(values: Floats, design: Floats, variances: Floats, members: Sequence[Floats], column: int) -> _Fit:
    # Gains that rows make exact must not have all the weight, nor gains that are all exact none.
    own = np.maximum(variances, 0.1 * variances.mean() if variances.any() else 1.0)
    among = _among(values, design, own)
    of_family = min(_of_families(values, design, own + among, members), among)
    same = np.sum([np.outer(rows, rows) for rows in members], axis=0)
    working = np.diag(own + among - of_family) + of_family * same
    root = np.zeros_like(working)
    for rows in members:
        root[np.ix_(rows, rows)] = _inverse_root(working[np.ix_(rows, rows)])
    whitened = root @ design
    inverse = np.linalg.pinv(whitened)
    # The coefficient is `slope @ whitened values`; residuals are `left @ whitened values`.
    slope = inverse[column]
    left = np.eye(len(values)) - whitened @ inverse
    scores = np.stack([(slope[rows] @ _inverse_root(left[np.ix_(rows, rows)])) @ left[rows] for rows in members])
    return _Fit(slope @ root, scores @ root, working)


def _among(values: Floats, design: Floats, variances: Floats) -> float:
    """The variance among languages around the line, beyond that of measuring them."""
    weights = 1.0 / variances
    residuals = sm.WLS(values, design, weights=weights).fit().resid
    inverse = np.linalg.pinv((design.T * weights) @ design)
    expected = weights.sum() - np.trace(inverse @ ((design.T * weights**2) @ design))
    return max(0.0, (float(weights @ residuals**2) - (len(values) - design.shape[1])) / float(expected))


def _of_families(values: Floats, design: Floats, variances: Floats, members: Sequence[Floats]) -> float:
    """The part of it that languages of a family have in common: the mean product of two residuals of one family."""
    residuals = sm.WLS(values, design, weights=1.0 / variances).fit().resid
    pairs = sum(float(rows.sum()) * (float(rows.sum()) - 1.0) for rows in members)
    products = sum(float(residuals[rows].sum() ** 2 - np.square(residuals[rows]).sum()) for rows in members)
    return max(0.0, products / pairs) if pairs else 0.0


def _inverse_root(matrix: Floats) -> Floats:
    """The symmetric inverse square root, without the directions in which the line passes through every point."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-8
    return (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T


@dataclass(frozen=True)
class Rank:
    """Spearman's rank correlation with its 95 % interval; p is two-sided. Languages count as independent."""

    value: float
    low: float
    high: float
    p: float
    points: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def rank_correlation(x: Floats, y: Floats) -> Rank:
    """Spearman's correlation, with the interval of Bonett and Wright (Psychometrika 65, 2000).

    Raises:
        InvalidValue: fewer than five points, or a side without any difference.
    """
    if len(x) < 5 or len(set(x)) < 2 or len(set(y)) < 2:
        message = f"{len(x)} points with {min(len(set(x)), len(set(y)))} values have no rank correlation"
        raise InvalidValue(message, param="languages", limit=5, given=len(x))
    value, p = (float(number) for number in spearmanr(x, y))
    half = float(norm.ppf(0.5 + LEVEL / 2)) * np.sqrt((1.0 + value**2 / 2.0) / (len(x) - 3))
    # A perfect order has an interval too, from the nearest one that is not perfect.
    centre = np.arctanh(np.clip(value, -1 + 1.0 / len(x) ** 3, 1 - 1.0 / len(x) ** 3))
    return Rank(value, float(np.tanh(centre - half)), float(np.tanh(centre + half)), p, len(x))
