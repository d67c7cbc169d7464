from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from polystilts.analysis.intervals import LanguageRows
from polystilts.analysis.recipes import (
    MIN_SEEDS,
    Scores,
    compare,
    holm,
    mean_of_recipe,
    per_language,
    scores_by_seed,
)
from polystilts.errors import InvalidValue
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, to_json_text

ACCURACY = get_metric("accuracy")
SPAN_F1 = get_metric("span_f1")
LANGUAGES = ("de", "sw", "zh")
IDS = {n: tuple(f"row {i}" for i in range(n)) for n in (4, 8, 20, 40, 60, 80, 100, 500)}


def part(correct: NDArray[Any], units: tuple[str, ...] | None = None) -> LanguageRows:
    ids = IDS[len(correct)]
    return LanguageRows(ids, units or ids, np.column_stack([correct, np.ones(len(correct))]).astype(np.float64))


def recipe(correct: Mapping[str, NDArray[Any]]) -> Scores:
    """`correct` [rows, seeds] by language; seeds count from 0."""
    seeds = next(iter(correct.values())).shape[1]
    return {seed: {language: part(values[:, seed]) for language, values in correct.items()} for seed in range(seeds)}


# ---------------------------------------------------------------- by hand


def by_hand() -> tuple[Scores, Scores]:
    """Four rows, three seeds: differences (1 1 1), (1 1 0), (0 1 0), (0 0 -1)."""
    difference = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, -1]])
    base = (difference < 0).astype(np.float64)
    return recipe({"de": base + difference}), recipe({"de": base})


@pytest.mark.parametrize("joint", [True, False])
def test_the_two_way_analysis_of_a_small_table(joint: bool) -> None:
    """Mean squares: rows 0.97222, seeds 0.58333, rest 0.13889; their sum with signs over 12 is 0.118056."""
    candidate, base = by_hand()
    found = compare(candidate, base, ACCURACY, joint=joint, languages=["de"])
    assert found.value == pytest.approx(100 * 5 / 12)
    assert found.standard_error == pytest.approx(34.3592, abs=1e-4)
    # 0.118056^2 / (0.0810185^2 / 3 + 0.0486111^2 / 2 + 0.0115741^2 / 6)
    assert found.degrees == pytest.approx(4.1091, abs=1e-3)
    # t of 0.975 at 4.1091 degrees of freedom is 2.7478.
    assert [found.low, found.high] == pytest.approx([41.667 - 94.41, 41.667 + 94.41], abs=0.01)
    assert found.p == pytest.approx(0.2895, abs=1e-3) and found.p_worse == pytest.approx(1 - found.p / 2)
    assert (found.seeds, found.rows, found.units, found.claim) == ((0, 1, 2), 4, 4, True)
    assert (found.seeds_base, found.left_out) == (3, ())
    turned = compare(base, candidate, ACCURACY, joint=joint, languages=["de"])
    assert turned.value == -found.value and turned.p == found.p and turned.p_worse == pytest.approx(found.p / 2)


def test_the_variances_of_languages_add_where_rows_are_their_own_and_seeds_are_shared() -> None:
    candidate, base = by_hand()
    two, other = (
        {seed: {"de": arm["de"], "sw": arm["de"]} for seed, arm in arms.items()} for arms in (candidate, base)
    )
    one = compare(candidate, base, ACCURACY, joint=False, languages=["de"])
    joint, apart = (compare(two, other, ACCURACY, joint=joint, languages=["de", "sw"]) for joint in (True, False))
    assert joint.standard_error == pytest.approx(one.standard_error), "the same rows twice tell nothing new"
    # (0.0810185 - 0.0115741) / 2 from rows, and the whole 0.0486111 of the seeds.
    assert apart.standard_error == pytest.approx(100 * np.sqrt(0.0833333), abs=1e-3)
    assert (joint.units, apart.units, joint.rows) == (4, 8, 8)


def test_seeds_are_paired_and_those_without_a_partner_are_named() -> None:
    candidate, base = by_hand()
    moved = {0: candidate[0], 1: candidate[1], 2: candidate[2], 7: candidate[0]}
    other = {9: base[0], 2: base[2], 1: base[1], 0: base[0]}
    found = compare(moved, other, ACCURACY, joint=True, languages=["de"])
    assert found.left_out == (7, 9) and found.seeds == (0, 1, 2)
    assert found.standard_error == compare(candidate, base, ACCURACY, joint=True, languages=["de"]).standard_error
    with pytest.raises(InvalidValue, match=r"no seed in common: \[7\] and \[9\]"):
        compare({7: candidate[0]}, {9: base[0]}, ACCURACY, joint=True, languages=["de"])


def test_what_seeds_have_in_common_goes_out_of_a_paired_difference() -> None:
    rng = np.random.default_rng(2)
    level, rows = np.array([0.3, 0.6, 0.9]), rng.random((500, 3))
    base = recipe({"de": rows < level})
    candidate = recipe({"de": (rows < level) | (rng.random((500, 3)) < 0.02)})
    paired = compare(candidate, base, ACCURACY, joint=True, languages=["de"])
    crosswise = {seed: base[(seed + 1) % 3] for seed in base}
    assert paired.standard_error < 1 < 10 < compare(candidate, crosswise, ACCURACY, joint=True, languages=["de"]).high


def test_rows_are_paired_by_id_whatever_their_order() -> None:
    candidate, base = by_hand()
    rows = candidate[1]["de"]
    turned = LanguageRows(rows.ids[::-1], rows.units[::-1], rows.statistics[::-1])
    shuffled = {**candidate, 1: {"de": turned}}
    want = compare(candidate, base, ACCURACY, joint=True, languages=["de"])
    assert compare(shuffled, base, ACCURACY, joint=True, languages=["de"]) == want


def test_fewer_than_three_seeds_make_no_claim_and_the_interval_is_over_rows() -> None:
    """500 XCOPA rows of which two models disagree on a fifth, half of it each way, can show 5.6 points."""
    assert MIN_SEEDS == 3
    turn = np.arange(500) % 10
    base = {"hi": part(turn != 0)}
    candidate = {"hi": part(turn != 1)}
    one, two, three = (
        compare(dict.fromkeys(seeds, candidate), dict.fromkeys(seeds, base), ACCURACY, joint=True, languages=["hi"])
        for seeds in ((1,), (1, 2), (1, 2, 3))
    )
    assert one.value == two.value == three.value == 0.0
    assert one.standard_error == pytest.approx(100 * np.sqrt(0.2 / 499)) and one.degrees == 499
    assert one.smallest == pytest.approx(5.6, abs=0.03)
    assert (one.claim, two.claim, three.claim) == (False, False, True)
    assert two.standard_error == pytest.approx(one.standard_error), "the same answers twice tell nothing new"
    assert not mean_of_recipe({1: base}, ACCURACY, joint=True, languages=["hi"]).claim
    assert mean_of_recipe(dict.fromkeys((1, 2, 3), base), ACCURACY, joint=True, languages=["hi"]).claim


def test_a_fixed_base_is_compared_with_every_seed_and_adds_no_variance_of_seeds() -> None:
    candidate, base = by_hand()
    champion = {42: base[1]}
    found = compare(candidate, champion, ACCURACY, joint=True, languages=["de"], fixed_base=True)
    assert (found.seeds, found.seeds_base, found.left_out, found.claim) == ((0, 1, 2), 0, (), True)
    copies = dict.fromkeys(candidate, base[1])
    want = compare(candidate, copies, ACCURACY, joint=True, languages=["de"])
    assert (found.value, found.standard_error, found.p) == (want.value, want.standard_error, want.p)
    alone = compare({0: candidate[0]}, champion, ACCURACY, joint=True, languages=["de"], fixed_base=True)
    assert not alone.claim and alone.seeds == (0,)
    with pytest.raises(InvalidValue, match="a fixed base is one model; 3 given"):
        compare(candidate, base, ACCURACY, joint=True, languages=["de"], fixed_base=True)


def test_equal_models_differ_by_exactly_nothing_and_a_constant_difference_is_certain() -> None:
    candidate, _ = by_hand()
    same = compare(candidate, candidate, ACCURACY, joint=True, languages=["de"])
    assert (same.value, same.low, same.high, same.p, same.p_worse, same.smallest) == (0, 0, 0, 1, 0.5, 0)
    right, wrong = (recipe({"de": np.full((20, 3), value)}) for value in (1.0, 0.0))
    spoiled = compare(wrong, right, ACCURACY, joint=True, languages=["de"])
    assert (spoiled.value, spoiled.p, spoiled.p_worse) == (-100, 0, 0)
    json.dumps(asdict(spoiled), allow_nan=False)


def test_per_language_is_each_language_by_itself() -> None:
    rng = np.random.default_rng(5)
    arms = [recipe({language: rng.random((40, 3)) < 0.7 for language in LANGUAGES}) for _ in range(2)]
    found = per_language(arms[0], arms[1], ACCURACY, languages=["zh", "de"])
    assert list(found) == ["zh", "de"]
    assert found["zh"] == compare(arms[0], arms[1], ACCURACY, joint=True, languages=["zh"])
    together = compare(arms[0], arms[1], ACCURACY, joint=True, languages=["zh", "de"])
    assert together.value == pytest.approx((found["zh"].value + found["de"].value) / 2)


def test_rows_of_one_paragraph_are_one_unit() -> None:
    correct = np.repeat(np.arange(20) % 2, 5).astype(float)[:, None].repeat(3, axis=1)
    units = tuple(f"p{i // 5}" for i in range(100))
    by_row = recipe({"en": correct})
    by_paragraph = {seed: {"en": part(arm["en"].statistics[:, 0], units)} for seed, arm in by_row.items()}
    rows, paragraphs = (
        mean_of_recipe(scores, ACCURACY, joint=False, languages=["en"]) for scores in (by_row, by_paragraph)
    )
    assert (rows.units, paragraphs.units, paragraphs.rows) == (100, 20, 100)
    assert paragraphs.standard_error == pytest.approx(np.sqrt(5) * rows.standard_error, rel=0.05)
    assert 50.0 in rows and 49.9 in rows and 95.0 not in rows


def test_a_unit_that_a_language_lacks_adds_nothing_to_it() -> None:
    """MLQA: every language has the ids of its own part; a mean over languages of unlike size is not one over rows."""
    rng = np.random.default_rng(4)
    full = recipe({"de": rng.random((80, 3)) < 0.6, "zh": rng.random((80, 3)) < 0.4})
    cut = {
        seed: {"de": arm["de"], "zh": LanguageRows(IDS[80][:40], IDS[80][:40], arm["zh"].statistics[:40])}
        for seed, arm in full.items()
    }
    found = mean_of_recipe(cut, ACCURACY, joint=True, languages=["de", "zh"])
    alone = [mean_of_recipe(cut, ACCURACY, joint=True, languages=[language]).value for language in ("de", "zh")]
    assert found.value == pytest.approx(np.mean(alone)) and found.units == 80 and found.rows == 120


def test_f1_is_that_of_summed_counts_and_its_error_that_of_the_delta_method() -> None:
    rng = np.random.default_rng(8)
    gold = 1.0 + rng.poisson(2.0, 500)
    kept = 1.0 + rng.poisson(2.0, 500)
    counts = np.column_stack([rng.binomial(np.minimum(gold, kept).astype(int), 0.7), kept, gold])
    rows = {"hi": LanguageRows(IDS[500], IDS[500], counts)}
    scores = dict.fromkeys((1, 2, 3), rows)
    found = mean_of_recipe(scores, SPAN_F1, joint=False, languages=["hi"])
    right, predicted, wanted = counts.sum(axis=0)
    assert found.value == pytest.approx(200 * right / (predicted + wanted))
    residual = 200 * counts[:, 0] - found.value * (kept + gold)
    delta = np.sqrt(500 / 499) * np.sqrt(np.square(residual).sum()) / (predicted + wanted)
    assert found.standard_error == pytest.approx(delta, rel=0.01)


def test_rows_that_cannot_be_compared_are_refused() -> None:
    candidate, base = by_hand()
    with pytest.raises(InvalidValue, match="'sw' is not scored in every arm; this one has de"):
        compare(candidate, base, ACCURACY, joint=True, languages=["de", "sw"])
    with pytest.raises(InvalidValue, match="none given"):
        compare(candidate, base, ACCURACY, joint=True, languages=[])
    with pytest.raises(InvalidValue, match="none twice: de, de"):
        compare(candidate, base, ACCURACY, joint=True, languages=["de", "de"])
    with pytest.raises(InvalidValue, match="different rows of 'de'"):
        compare(candidate, recipe({"de": np.ones((8, 3))}), ACCURACY, joint=True, languages=["de"])
    one = {seed: {"de": part(arm["de"].statistics[:, 0], ("p",) * 4)} for seed, arm in candidate.items()}
    with pytest.raises(InvalidValue, match=r"1 unit\(s\) scored in 'de'; an interval needs two"):
        mean_of_recipe(one, ACCURACY, joint=True, languages=["de"])
    with pytest.raises(InvalidValue, match="without seeds"):
        mean_of_recipe({}, ACCURACY, joint=True, languages=["de"])


def test_bank_rows_become_scores() -> None:
    rows = [
        BankRow("xnli", "mnli", seed, language, str(i), str(i), "choice", to_json_text("a"), to_json_text(said), 0.0)
        for seed in (7, 3)
        for language in ("zh", "de")
        for i, said in enumerate("ab" if seed == 7 else "aa")
    ]
    scores = scores_by_seed(rows, ACCURACY)
    assert list(scores) == [3, 7] and list(scores[3]) == ["de", "zh"]
    assert scores[7]["zh"].statistics.tolist() == [[1, 1], [0, 1]]


def test_holm_on_a_worked_example() -> None:
    """Four hypotheses: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04, raised to its predecessor's 0.06."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert list(found.values()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    with pytest.raises(InvalidValue, match="the p-value of 'a' is nan"):
        holm({"a": float("nan")})


# ---------------------------------------------------------------- coverage


def simulate(
    rng: np.random.Generator, seeds: int, rows: int, *, by_row: float, by_seed: float, rest: float, parallel: bool
) -> tuple[Scores, Scores, float]:
    """Two recipes on the same rows, and their true difference in points.

    A row is right where a normal variable is above 0. Its parts: the row's difficulty, which all arms share
    (variance 1); what the row is to one recipe under every seed (`by_row`); the seed's skill, in all languages
    (`by_seed`); a rest (`rest`). In a parallel set the first two are the same in every language.
    """
    skills = (0.0, 0.4)
    shape = (rows, 1 if parallel else len(LANGUAGES))
    difficulty = rng.normal(size=shape)
    arms = []
    for skill in skills:
        own = difficulty + np.sqrt(by_row) * rng.normal(size=shape)
        effect = np.sqrt(by_seed) * rng.normal(size=seeds)
        noise = np.sqrt(rest) * rng.normal(size=(seeds, rows, len(LANGUAGES)))
        right = skill + own + effect[:, None, None] + noise > 0
        arms.append({s: {lang: part(right[s, :, i]) for i, lang in enumerate(LANGUAGES)} for s in range(seeds)})
    scale = np.sqrt(1 + by_row + by_seed + rest)
    return arms[1], arms[0], 100 * float(norm.cdf(skills[1] / scale) - norm.cdf(skills[0] / scale))


#: Variances. Of the variance of the mean difference, seeds make 2 to 9 % in the first and 97 to 98 % in the second.
DOMINATED_BY = {
    "rows": {"by_row": 1.0, "by_seed": 0.002, "rest": 0.3},
    "seeds": {"by_row": 0.05, "by_seed": 0.3, "rest": 0.3},
}


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("dominant", list(DOMINATED_BY))
@pytest.mark.parametrize("parallel", [True, False])
def test_the_interval_of_a_difference_covers_it(seeds: int, dominant: str, parallel: bool) -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(500):
        candidate, base, truth = simulate(rng, seeds, 100, **DOMINATED_BY[dominant], parallel=parallel)
        hits += truth in compare(candidate, base, ACCURACY, joint=parallel, languages=LANGUAGES)
    assert 0.92 <= hits / 500 <= 0.98


def test_equal_recipes_are_called_different_one_time_in_twenty() -> None:
    """Only noise: no row and no seed is to one recipe what it is not to the other. One-sided as at the gate."""
    rng, different, worse = np.random.default_rng(3), 0, 0
    for _ in range(1000):
        right = rng.random((2, 60, 3)) < 0.7
        one, other = (recipe({"sw": correct}) for correct in right)
        found = compare(one, other, ACCURACY, joint=False, languages=["sw"])
        different += found.p < 0.05
        worse += found.p_worse < 0.05
    assert 20 <= different <= 80 and 20 <= worse <= 80


def test_the_interval_of_an_f1_covers_it() -> None:
    """The mean over three languages of F1 from summed counts, sentences of unlike length, seeds of unlike skill."""
    rng, hits = np.random.default_rng(2), 0
    for _ in range(500):
        gold = {language: 1 + rng.poisson(2.0, 60) for language in LANGUAGES}
        hard = {language: rng.normal(scale=0.15, size=60) for language in LANGUAGES}
        scores: dict[int, dict[str, LanguageRows]] = {}
        for seed, skill in enumerate(rng.normal(0.6, 0.03, size=3)):
            counts = {lang: rng.binomial(gold[lang], np.clip(skill + hard[lang], 0, 1)) for lang in LANGUAGES}
            scores[seed] = {
                lang: LanguageRows(IDS[60], IDS[60], np.column_stack([right, gold[lang], gold[lang]]).astype(float))
                for lang, right in counts.items()
            }
        # Cutting at 0 and 1 takes 0.02 points from the mean of 60.
        hits += 59.98 in mean_of_recipe(scores, SPAN_F1, joint=False, languages=LANGUAGES)
    assert 0.92 <= hits / 500 <= 0.98


def test_the_weakest_mixture_of_rows_and_seeds() -> None:
    """Normal variables; a tenth of the variance of the mean from rows, the rest from three seeds: 92.2 % by theory."""
    rng, hits = np.random.default_rng(6), 0
    rows, seeds = 80, 3
    for _ in range(2000):
        table = np.sqrt(0.1 * rows) * rng.normal(size=(rows, 1)) + np.sqrt(0.9 * seeds) * rng.normal(size=seeds)
        hits += 0.0 in mean_of_recipe(recipe({"de": table}), ACCURACY, joint=False, languages=["de"])
    assert 0.91 <= hits / 2000 <= 0.94
