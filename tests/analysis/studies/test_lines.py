"""Lines through languages: against statsmodels, Welch's test and by hand; what cannot carry a line."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_ind

from polystilts.analysis.studies.lines import rank_correlation, slope_of
from polystilts.errors import InvalidValue


def test_with_a_family_for_each_language_it_is_hc2() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    y = 2 * x + rng.normal(size=12)
    design = np.column_stack([np.ones(12), x])
    found = slope_of([y], [design], np.full(12, 0.1), [str(n) for n in range(12)], column=1)
    fit = sm.OLS(y, design).fit(cov_type="HC2")
    assert found.value == pytest.approx(fit.params[1]) and found.standard_error == pytest.approx(fit.bse[1])
    assert (found.points, found.families) == (12, 12)


def test_the_difference_of_two_groups_is_welchs_test() -> None:
    """Its degrees are those of equal variances, from which Welch's differ by chance alone."""
    rng = np.random.default_rng(1)
    group = np.repeat([0.0, 1.0], 6)
    y = group + rng.normal(size=12)
    found = slope_of([y], [np.column_stack([np.ones(12), group])], np.ones(12), [str(n) for n in range(12)], column=1)
    welch = ttest_ind(y[6:], y[:6], equal_var=False)
    assert found.value / found.standard_error == pytest.approx(welch.statistic)
    assert found.degrees == pytest.approx(10.0)


def test_exact_languages_weigh_more() -> None:
    x, y = np.arange(8.0), np.array([0, 1, 2, 3, 4, 5, 6, 0.0])
    design = np.column_stack([np.ones(8), x])
    names = [str(n) for n in range(8)]
    rough = np.array([1.0] * 7 + [500.0])
    flat = slope_of([y], [design], np.ones(8), names, column=1).value
    assert flat < 0.5 < slope_of([y], [design], rough, names, column=1).value


def test_noise_that_leaves_no_residuals_widens_the_interval() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=20)
    y = x + 0.1 * rng.normal(size=20)
    design = np.column_stack([np.ones(20), x])
    names = [str(n) for n in range(20)]

    def of_seeds(weights: np.ndarray) -> tuple[float, float]:
        """A seed turns the line with a variance of 0.25, over three seeds."""
        return 0.25 * float(weights @ x) ** 2, 2.0

    alone = slope_of([y], [design], np.full(20, 0.01), names, column=1)
    wide = slope_of([y], [design], np.full(20, 0.01), names, column=1, noise=of_seeds)
    assert alone.standard_error < 0.05 and wide.standard_error == pytest.approx(0.5, abs=0.01)
    assert wide.degrees == pytest.approx(2.0, abs=0.2) and wide.value == alone.value


def test_one_large_family_leaves_few_degrees() -> None:
    """Six families of equal leverage have 5 degrees; one that has most of it leaves fewer."""
    x = np.tile([-1.0, 0.0, 1.0], 6)
    y = x + np.random.default_rng(4).normal(size=18)
    design = np.column_stack([np.ones(18), x])
    even = slope_of([y], [design], np.ones(18), np.repeat(list("abcdef"), 3).tolist(), column=1)
    large = slope_of([y], [design], np.ones(18), ["a"] * 13 + list("bcdef"), column=1)
    assert even.degrees == pytest.approx(5.0) and large.degrees < 3


def test_divisions_are_averaged() -> None:
    x = np.arange(8.0)
    design = np.column_stack([np.ones(8), x])
    names = [str(n) for n in range(8)]
    found = slope_of([x, 3 * x], [design, design], np.ones(8), names, column=1)
    assert found.value == pytest.approx(2.0)


def test_too_few_languages_or_families_carry_no_line() -> None:
    design = np.column_stack([np.ones(3), np.arange(3.0)])
    with pytest.raises(InvalidValue, match="3 languages of 3 families do not carry a line with 2 coefficients"):
        slope_of([np.arange(3.0)], [design], np.ones(3), list("abc"), column=1)
    design = np.column_stack([np.ones(8), np.arange(8.0)])
    with pytest.raises(InvalidValue, match="8 languages of 2 families"):
        slope_of([np.arange(8.0)], [design], np.ones(8), list("aaaabbbb"), column=1)
    double = np.column_stack([design, design[:, 1]])
    with pytest.raises(InvalidValue, match="follows from the others"):
        slope_of([np.arange(8.0) ** 2], [double], np.ones(8), list("abcdefgh"), column=1)


def test_rank_correlation() -> None:
    x = np.arange(10.0)
    found = rank_correlation(x, np.exp(x))
    assert found.value == pytest.approx(1.0) and 0.9 < found.low < found.high <= 1.0 and found.p < 1e-6
    assert rank_correlation(x, -x).high < -0.9
    with pytest.raises(InvalidValue, match="have no rank correlation"):
        rank_correlation(x[:4], x[:4])
    with pytest.raises(InvalidValue, match="with 1 values"):
        rank_correlation(x, np.ones(10))
