"""Robustness by hand and against known distributions: values, standard errors, coverage of the intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from polystilts.errors import InvalidValue, UnknownName
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, to_json_text
from polystilts.metrics.core import Floats
from polystilts.metrics.robustness import (
    BINNINGS,
    Confidences,
    calibration_error,
    relative_loss,
    reliability,
    stability,
)

ACCURACY, F1 = get_metric("accuracy"), get_metric("qa")


def bank(predictions: list[str | None], golds: list[str], language: str = "de", first: int = 0) -> list[BankRow]:
    return [
        BankRow(
            "pawsx", "baseline", 0, language, str(n), str(n), "report", to_json_text(gold), to_json_text(said),
            float(said == gold),
        )
        for n, (said, gold) in enumerate(zip(predictions, golds, strict=True), first)
    ]  # fmt: skip


def right(correct: np.ndarray, language: str = "de") -> list[BankRow]:
    return bank(["1" if value else "0" for value in correct], ["1"] * len(correct), language)


def test_stability_by_hand() -> None:
    rows = bank(["1", "0", "1", None, "0"], ["1", "0", "0", "1", "1"])
    changed = bank(["1", "1", "1", None], ["1", "0", "0", "1"])
    found = stability(rows, changed, joint=False)
    # Two of four agree, refused answers do not; one is right both times; four of five rows have a changed form.
    assert found.agreement.languages["de"].value == found.agreement.mean.value == 50.0
    assert found.correct_in_both.languages["de"].value == 25.0
    assert found.share == {"de": 0.8} and found.agreement.rows == {"de": 4}


def test_rows_are_paired_by_id_and_not_by_order() -> None:
    rows, golds = ["1", "0", "1", "1", "0"], ["1", "0", "0", "1", "0"]
    mixed = bank(rows, golds)[::-1]
    assert stability(bank(rows, golds), mixed, joint=True).agreement.mean.value == 100.0
    assert relative_loss(bank(rows, golds), mixed, ACCURACY, joint=True).mean.value == 0.0


def test_the_mean_is_that_of_the_languages() -> None:
    rows = bank(["1"] * 4, ["1"] * 4) + bank(["1"] * 8, ["1"] * 8, "fr")
    changed = bank(["1", "1", "0", "0"], ["1"] * 4) + bank(["1"] * 8, ["1"] * 8, "fr")
    found = stability(rows, changed, joint=False).agreement
    assert {name: found.languages[name].value for name in found.languages} == {"de": 50.0, "fr": 100.0}
    assert found.mean.value == 75.0


def test_agreement_has_the_binomial_standard_error_and_covers() -> None:
    rng, hits = np.random.default_rng(3), 0
    for number in range(200):
        same = rng.random(150) < 0.8
        found = stability(right(np.ones(150)), right(same), joint=False, resamples=300, seed=number).agreement.mean
        hits += found.low <= 80.0 <= found.high
    assert 0.92 <= hits / 200 <= 0.98
    exact = stability(right(np.ones(400)), right(np.arange(400) % 5 > 0), joint=False).agreement.mean
    assert exact.value == 80.0 and exact.standard_error == pytest.approx(2.0, rel=0.06)


def test_units_are_drawn_jointly_where_asked() -> None:
    # The same rows go wrong in every language: three languages tell no more than one.
    wrong = np.arange(300) % 3 == 0
    languages = ("de", "fr", "ru")
    clean = [row for name in languages for row in right(np.ones(300), name)]
    noisy = [row for name in languages for row in right(~wrong, name)]
    together = relative_loss(clean, noisy, ACCURACY, joint=True)
    apart = relative_loss(clean, noisy, ACCURACY, joint=False)
    one = together.languages["de"].standard_error
    assert together.mean.standard_error == pytest.approx(one, rel=1e-9)
    assert apart.mean.standard_error == pytest.approx(one / np.sqrt(3), rel=0.1)


def test_relative_loss_by_hand() -> None:
    clean, noisy = right(np.arange(10) < 8), right(np.arange(10) < 6)
    found = relative_loss(clean, noisy, ACCURACY, joint=False).languages["de"]
    assert found.value == pytest.approx(25.0)
    assert relative_loss(noisy, clean, ACCURACY, joint=False).mean.value == pytest.approx(-100 / 3)


def test_relative_loss_is_paired() -> None:
    # The same rows are wrong on both sides: without pairing the loss would vary by 7 points.
    correct = np.arange(200) % 2 == 0
    found = relative_loss(right(correct), right(correct), ACCURACY, joint=False).mean
    assert (found.value, found.low, found.high, found.standard_error) == (0.0, 0.0, 0.0, 0.0)


def test_the_interval_of_a_relative_loss_covers_it() -> None:
    rng, hits = np.random.default_rng(0), 0
    for number in range(300):
        clean = rng.random(300) < 0.8
        noisy = np.where(clean, rng.random(300) < 0.85, rng.random(300) < 0.1)
        found = relative_loss(right(clean), right(noisy), ACCURACY, joint=False, resamples=400, seed=number).mean
        # Noisy accuracy is 0.8 x 0.85 + 0.2 x 0.1 = 0.7.
        hits += found.low <= 12.5 <= found.high
    assert 0.92 <= hits / 300 <= 0.98


def test_the_gold_may_move_with_the_noise() -> None:
    def row(gold: str, said: str) -> BankRow:
        return BankRow("xquad", "b", 0, "en", "1", "p", "report", to_json_text([gold]), to_json_text(said), 1.0)

    found = relative_loss([row("Paris", "Paris")], [row("Pariis", "Pariis")], F1, joint=True)
    assert found.mean.value == 0.0


def test_what_cannot_be_compared_is_refused() -> None:
    rows = right(np.ones(3))
    with pytest.raises(InvalidValue, match=r"'7' \(de\) has no counterpart"):
        stability(rows, bank(["1"], ["1"], first=7), joint=False)
    with pytest.raises(InvalidValue, match=r"no counterpart, nor have 1 more"):
        relative_loss(rows, rows[:1], ACCURACY, joint=False)
    with pytest.raises(InvalidValue, match="twice"):
        stability(rows + rows, rows, joint=False)
    with pytest.raises(InvalidValue, match="no rows"):
        stability(rows, [], joint=False)
    with pytest.raises(InvalidValue, match="clean accuracy of 'de' is 0"):
        relative_loss(right(np.zeros(3)), rows, ACCURACY, joint=False)


def test_the_same_seed_gives_the_same_interval() -> None:
    clean, noisy = right(np.arange(50) % 4 > 0), right(np.arange(50) % 3 > 0)
    first, second, other = (relative_loss(clean, noisy, ACCURACY, joint=False, seed=seed) for seed in (1, 1, 2))
    assert first == second and first.mean.low != other.mean.low and first.mean.value == other.mean.value


# Calibration.


def confidences(confidence: Floats, correct: np.ndarray) -> Confidences:
    return Confidences(confidence, correct.astype(bool), [str(n) for n in range(len(confidence))])


def drawn(seed: int, n: int, gap: Callable[[Floats], Floats]) -> Confidences:
    """Confidences between 0.5 and 1 whose true accuracy is lower by `gap`."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 1.5, n) / 2 + 0.5
    return confidences(confidence, rng.random(n) < np.clip(confidence - gap(confidence), 0, 1))


def test_calibration_error_by_hand() -> None:
    part = confidences(np.array([0.6, 0.6, 0.9, 0.9]), np.array([1, 0, 1, 1]))
    # |0.6 - 0.5| / 2 + |0.9 - 1| / 2
    for binning in BINNINGS:
        assert calibration_error({"en": part}, binning=binning, joint=True).plain["en"] == pytest.approx(10.0)
    # In one bin the gaps cancel.
    assert calibration_error({"en": part}, bins=1, joint=True).plain["en"] == pytest.approx(0.0)
    bins = reliability(part, binning="width", bins=10)
    assert bins.rows.tolist() == [2, 2]
    assert bins.confidence == pytest.approx([0.6, 0.9]) and bins.accuracy == pytest.approx([0.5, 1.0])


def test_bins_hold_equal_mass_or_equal_width() -> None:
    part = drawn(0, 1500, np.zeros_like)
    assert set(reliability(part).rows.tolist()) == {100}
    wide = reliability(part, binning="width")
    assert (np.diff(wide.confidence) > 0).all() and wide.rows.sum() == 1500
    # Confidences from 0.57 to 1 lie in 7 of 15 bins of [0, 1].
    assert len(wide.rows) == 7
    # Rows of equal confidence are never told apart.
    tied = confidences(np.full(100, 0.7), np.arange(100) % 10 < 7)
    assert len(reliability(tied).rows) == 1
    assert calibration_error({"en": tied}, joint=False).plain["en"] == pytest.approx(0.0, abs=1e-9)


def test_the_plain_error_of_a_calibrated_model_is_too_high_and_the_interval_knows() -> None:
    found = [
        calibration_error({"en": drawn(seed, 500, np.zeros_like)}, joint=False, resamples=200) for seed in range(40)
    ]
    assert min(calibration.plain["en"] for calibration in found) > 2.0
    assert np.mean([calibration.error.mean.value for calibration in found]) < 2.0
    assert np.mean([calibration.error.mean.low == 0.0 for calibration in found]) > 0.9


@pytest.mark.parametrize(
    ("gap", "truth"),
    [
        pytest.param(np.zeros_like, 0.0, id="none"),
        pytest.param(lambda c: np.full_like(c, 0.05), 5.0, id="even"),
        pytest.param(lambda c: np.where(c < 0.88, -0.04, 0.08), None, id="both-ways"),
    ],
)
@pytest.mark.parametrize("binning", BINNINGS)
def test_the_interval_covers_the_true_error(gap: Callable[[Floats], Floats], truth: float | None, binning: str) -> None:
    if truth is None:
        truth = calibration_error({"en": drawn(99, 10**5, gap)}, binning=binning, joint=False, resamples=2).plain["en"]
    hits = []
    for seed in range(80):
        part = drawn(seed, 800, gap)
        found = calibration_error({"en": part}, binning=binning, joint=False, resamples=200, seed=seed).error.mean
        assert found.low <= found.value <= found.high
        hits.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(hits) <= 1.0


def test_calibration_is_by_language_with_a_mean() -> None:
    rows = {"de": drawn(1, 2000, lambda c: np.full_like(c, 0.15)), "en": drawn(2, 2000, np.zeros_like)}
    found = calibration_error(rows, joint=True)
    languages = found.error.languages
    assert languages["de"].low > 10 and languages["en"].low == 0.0 and languages["en"].high < 4
    assert found.error.mean.value == pytest.approx((15.0 + 0.0) / 2, abs=1.5)
    assert found.error.rows == {"de": 2000, "en": 2000}


def test_wrong_confidences_are_refused() -> None:
    part = confidences(np.array([0.5, 0.7]), np.array([1, 0]))
    with pytest.raises(UnknownName, match="mass"):
        calibration_error({"en": part}, binning="masses", joint=False)
    with pytest.raises(InvalidValue, match="from 0 to 1"):
        calibration_error({"en": confidences(np.array([1.2]), np.array([1]))}, joint=False)
    with pytest.raises(InvalidValue, match="1 confidences, 2 answers"):
        reliability(Confidences(np.array([0.5]), np.array([True, False]), ["1"]))
    with pytest.raises(InvalidValue, match="bins must be at least 1"):
        reliability(part, bins=0)
    with pytest.raises(InvalidValue, match="no rows"):
        calibration_error({}, joint=False)
