from __future__ import annotations

import numpy as np
import pytest

from polystilts.analysis.intervals import LanguageRows, language_rows, resample, smallest_difference
from polystilts.errors import InvalidValue
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, to_json_text

ACCURACY = get_metric("accuracy")
LANGUAGES = ("de", "es", "hi", "ru", "sw", "tr", "zh")


def part(correct: np.ndarray, units: list[str] | None = None) -> LanguageRows:
    ids = tuple(str(i) for i in range(len(correct)))
    statistics = np.column_stack([correct, np.ones(len(correct))]).astype(np.float64)
    return LanguageRows(ids, tuple(units or ids), statistics)


def simulate(rng: np.random.Generator, n: int, shared: float) -> dict[str, LanguageRows]:
    """Rows right with probability 0.5; translations have a share `shared` of their difficulty in common."""
    common = rng.normal(size=n)
    return {
        language: part(np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=n) > 0)
        for language in LANGUAGES
    }


def coverage(*, joint: bool, shared: float, sets: int = 300) -> float:
    rng = np.random.default_rng(7)
    hits = 0
    for number in range(sets):
        cell = simulate(rng, 120, shared)
        drawn = resample([cell], ACCURACY, joint=joint, resamples=400, seed=number)
        hits += 50.0 in drawn.mean(0, LANGUAGES)
    return hits / sets


def test_joint_resampling_covers_parallel_rows_and_resampling_by_language_does_not() -> None:
    assert 0.92 <= coverage(joint=True, shared=0.6) <= 0.98
    assert coverage(joint=False, shared=0.6) < 0.85


def test_independent_rows_are_covered_either_way() -> None:
    assert 0.92 <= coverage(joint=False, shared=0.0) <= 0.98
    assert 0.92 <= coverage(joint=True, shared=0.0) <= 0.98


def test_the_interval_of_a_paired_difference_covers_it() -> None:
    rng, hits = np.random.default_rng(11), 0
    for number in range(300):
        hard = rng.normal(size=120)
        cells = []
        for shift in (0.0, 0.3):
            skill = {language: hard + 0.5 * rng.normal(size=120) + shift for language in LANGUAGES}
            cells.append({language: part(values > 0) for language, values in skill.items()})
        drawn = resample(cells, ACCURACY, joint=True, resamples=400, seed=number)
        # P(N(0.3, 1.25) > 0) - 1/2
        hits += 10.5768 in drawn.difference(1, 0, LANGUAGES)
    assert 0.92 <= hits / 300 <= 0.98


def test_values_and_standard_errors_are_the_known_ones() -> None:
    correct = np.arange(400) % 4 > 0
    drawn = resample([{"de": part(correct)}, {"de": part(~correct)}], ACCURACY, joint=True, resamples=4000)
    mean = drawn.mean(0, ["de"])
    assert mean.value == 75.0
    assert mean.standard_error == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 400), rel=0.05)
    difference = drawn.difference(1, 0, ["de"])
    assert difference.value == -50.0
    assert difference.standard_error == pytest.approx(2 * mean.standard_error)
    assert drawn.rows == (400,)


def test_equal_cells_differ_by_exactly_nothing() -> None:
    cell = simulate(np.random.default_rng(0), 50, 0.5)
    difference = resample([cell, cell], ACCURACY, joint=False).difference(1, 0, LANGUAGES)
    assert (difference.value, difference.low, difference.high, difference.standard_error) == (0, 0, 0, 0)


def test_rows_of_one_paragraph_are_drawn_together() -> None:
    correct = np.repeat(np.arange(40) % 2, 10)
    by_row = resample([{"en": part(correct)}], ACCURACY, joint=True).mean(0, ["en"])
    units = [f"p{i // 10}" for i in range(400)]
    by_paragraph = resample([{"en": part(correct, units)}], ACCURACY, joint=True).mean(0, ["en"])
    assert by_paragraph.standard_error == pytest.approx(np.sqrt(10) * by_row.standard_error, rel=0.1)


def test_a_resample_of_tags_has_the_f1_of_its_summed_counts() -> None:
    counts = np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 4.0]])
    cell = {"hi": LanguageRows(("0", "1"), ("0", "1"), counts)}
    drawn = resample([cell], get_metric("span_f1"), joint=False, resamples=200)
    possible = {round(200 * t / (p + g), 9) for t, p, g in ((2, 4, 4), (4, 5, 6), (6, 6, 8))}
    assert {round(v, 9) for v in drawn.values.ravel().tolist()} == possible
    assert drawn.observed.tolist() == [[pytest.approx(200 * 4 / 11)]]


def test_the_same_seed_gives_the_same_interval() -> None:
    cell = simulate(np.random.default_rng(0), 50, 0.5)
    one, two, three = (resample([cell], ACCURACY, joint=True, seed=s).mean(0, LANGUAGES) for s in (1, 1, 2))
    assert one == two != three


def test_cells_are_paired_by_id_whatever_their_order() -> None:
    rng = np.random.default_rng(3)
    first = part(rng.random(60) < 0.7)
    order = rng.permutation(60)
    shuffled = LanguageRows(
        tuple(first.ids[i] for i in order), tuple(first.units[i] for i in order), first.statistics[order]
    )
    difference = resample([{"de": first}, {"de": shuffled}], ACCURACY, joint=True).difference(1, 0, ["de"])
    assert difference.low == difference.high == 0.0


def test_cells_that_cannot_be_paired_are_refused() -> None:
    ten, nine = part(np.ones(10)), part(np.ones(9))
    with pytest.raises(InvalidValue, match="different rows of 'de'"):
        resample([{"de": ten}, {"de": nine}], ACCURACY, joint=True)
    with pytest.raises(InvalidValue, match="different languages: de, zh"):
        resample([{"de": ten}, {"zh": ten}], ACCURACY, joint=True)
    with pytest.raises(InvalidValue, match="nothing to resample"):
        resample([{}], ACCURACY, joint=True)


def test_smallest_difference_of_the_protocols_example() -> None:
    assert smallest_difference(100 * np.sqrt(0.2 / 500)) == pytest.approx(5.6, abs=0.01)


def test_bank_rows_become_statistics_by_language() -> None:
    rows = [
        BankRow(
            "xquad",
            "baseline",
            1,
            language,
            str(i),
            "p",
            "report",
            to_json_text(gold),
            to_json_text(said),
            0.0,
        )
        for language, i, gold, said in (("zh", 0, ["北京"], "北京"), ("en", 1, ["the Neva"], "Neva river"))
    ]
    parts = language_rows(rows, get_metric("qa"))
    assert list(parts) == ["en", "zh"]
    assert parts["zh"].statistics.tolist() == [[1, 1, 1]]
    assert parts["en"].statistics.tolist() == [[0, pytest.approx(2 / 3), 1]]
