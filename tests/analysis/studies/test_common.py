"""Contrasts of arms: by hand, against the comparison of two recipes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polystilts.analysis.intervals import LanguageRows
from polystilts.analysis.recipes import compare, scores_by_seed
from polystilts.analysis.studies.common import (
    CLEAN,
    Arm,
    Banks,
    Cell,
    condition_said,
    family_of,
    gain,
    in_words,
    is_repeat,
    mean_of,
    minus,
    noise_condition,
    noise_of,
    parts_of,
    trained_in,
)
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from tests.analysis.studies.world import World, rows_of

ACCURACY = get_metric("accuracy")


@pytest.mark.parametrize("target", ["xnli", "tatoeba_after_squad"])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_a_contrast_of_two_arms_is_their_comparison(target: str, seeds: int) -> None:
    world = World(rows=60)
    world.add("baseline", target, 0.6, seeds=seeds, wobble=0.2)
    world.add("mnli", target, 0.7, seeds=seeds, wobble=0.2)
    found = Banks(world.cells).effect(gain("b", "mnli", target))
    scores = {
        recipe: scores_by_seed([row for cell in world.cells if cell.recipe == recipe for row in cell.rows], ACCURACY)
        for recipe in ("mnli", "baseline")
    }
    joint = target == "xnli"
    want = compare(scores["mnli"], scores["baseline"], ACCURACY, joint=joint, languages=["de", "sw", "zh"])
    for name in ("value", "low", "high", "standard_error", "degrees", "p", "p_worse", "smallest", "rows", "units"):
        assert getattr(found, name) == pytest.approx(getattr(want, name)), name
    assert (found.seeds, found.claim) == (want.seeds, want.claim)


def test_languages_of_a_parallel_task_that_lack_units_are_weighed_as_in_a_comparison() -> None:
    world = World(rows=60)
    for recipe in ("baseline", "mnli"):
        world.add(recipe, "mlqa", 0.6)
    cells = [
        replace(c, rows=[row for row in c.rows if row.language != "zh" or int(row.id[1:]) < 20]) for c in world.cells
    ]
    metric = get_metric("qa_mlqa")
    cells = [replace(c, rows=[replace(row, gold=f"[{row.gold}]") for row in c.rows]) for c in cells]
    found = Banks(cells).effect(gain("b", "mnli", "mlqa"))
    scores = {
        recipe: scores_by_seed([row for cell in cells if cell.recipe == recipe for row in cell.rows], metric)
        for recipe in ("mnli", "baseline")
    }
    want = compare(scores["mnli"], scores["baseline"], metric, joint=True, languages=["de", "sw", "zh"])
    assert (found.value, found.standard_error) == pytest.approx((want.value, want.standard_error))
    assert found.units == 60 and found.rows == 140


def test_an_interaction_is_the_difference_of_two_gains_and_pairs_them() -> None:
    world = World(rows=100)
    for base in ("small", "large"):
        for recipe in ("baseline", "mnli"):
            world.add(recipe, "xnli", 0.7, base=base)
    banks = Banks(world.cells)
    small, large = gain("small", "mnli", "xnli"), gain("large", "mnli", "xnli")
    both = banks.effect(minus(large, small))
    assert both.value == pytest.approx(banks.effect(large).value - banks.effect(small).value)
    nothing = banks.effect(minus(large, large))
    assert (nothing.value, nothing.standard_error, nothing.p) == (0, 0, 1)
    mean = banks.effect(mean_of([small, large]))
    assert mean.value == pytest.approx((banks.effect(small).value + banks.effect(large).value) / 2)


def test_targets_add_up_with_seeds_that_they_share() -> None:
    """Two targets whose gains go up and down together by seed tell no more of seeds than one."""
    banks = Banks.of_measures()
    ids = tuple(map(str, range(100)))
    for target in ("xnli", "pawsx"):
        for recipe, hits in (("baseline", (50, 50, 50)), ("mnli", (50, 60, 70))):
            scores = {
                s: {"de": LanguageRows(ids, ids, np.column_stack([np.arange(100) < n, np.ones(100)]).astype(float))}
                for s, n in enumerate(hits)
            }
            banks.measure(Arm("b", recipe, target), scores, ACCURACY)
    one = banks.effect(gain("b", "mnli", "xnli"))
    two = banks.effect(mean_of([gain("b", "mnli", target) for target in ("xnli", "pawsx")]))
    assert two.value == pytest.approx(one.value) == pytest.approx(10.0)
    assert two.standard_error == pytest.approx(one.standard_error, rel=0.05)
    assert two.standard_error == pytest.approx(10.0 / np.sqrt(3), rel=0.05)


def test_a_ratio_has_the_value_and_the_derivative_of_its_parts() -> None:
    world = World(rows=100)
    world.add("baseline", "xnli", 0.6)
    world.add("mnli", "xnli", 0.7)
    banks = Banks(world.cells)
    after, before = Arm("b", "mnli", "xnli"), Arm("b", "baseline", "xnli")
    value, slopes = banks.relative({after: 1.0, before: -1.0}, {before: -1.0}, constant=100.0)
    high, low = banks.level(after).value, banks.level(before).value
    assert value == pytest.approx(100 * (high - low) / (100 - low))
    assert slopes[after] == pytest.approx(100 / (100 - low))
    assert slopes[before] == pytest.approx(-100 * (100 - high) / (100 - low) ** 2)
    with pytest.raises(InvalidValue, match="share of nothing"):
        banks.relative({after: 1.0}, {before: -1.0})


def test_floors_are_intervals_that_reach_down_to_the_trivial_baseline() -> None:
    world = World(rows=200)
    world.add("baseline", "xnli", 0.34)
    world.add("mnli", "xnli", 0.6)
    banks = Banks(world.cells, world.trivial("xnli", accuracy=0.35))
    low, high = Arm("b", "baseline", "xnli"), Arm("b", "mnli", "xnli")
    names = ("de", "sw", "zh")
    assert banks.trivial("xnli", names) == 35.0 and banks.trivial("xnli", ("fr",)) is None
    assert banks.is_floor(low, names) and not banks.is_floor(high, names)
    assert banks.limit([low], names) == "floor" and banks.limit([low, high], names) == ""
    assert banks.without_trivial() == []
    assert "xnli" in Banks(world.cells).without_trivial()[0] and not Banks(world.cells).is_floor(low, names)


def test_ceilings_are_scores_without_room_above() -> None:
    world = World(rows=200)
    for recipe, accuracy in (("baseline", 0.99999), ("mnli", 0.9999), ("csqa", 0.95)):
        world.add(recipe, "xnli", accuracy)
    banks = Banks(world.cells, world.trivial("xnli"))
    first, second, third = (Arm("b", recipe, "xnli") for recipe in ("baseline", "mnli", "csqa"))
    names = ("de", "sw", "zh")
    assert banks.limit([first, second], names) == "ceiling" and banks.limit([first, third], names) == ""
    assert banks.level(second).high <= 100.0


def test_the_interval_of_a_level_ends_where_the_scale_does() -> None:
    world = World(rows=100)
    world.add("baseline", "xnli", 0.7, wobble=3.0)
    banks = Banks(world.cells)
    arm = Arm("b", "baseline", "xnli")
    level, contrast = banks.level(arm), banks.effect({arm: 1.0})
    assert (contrast.low < 0.0 or contrast.high > 100.0) and 0.0 <= level.low < level.value < level.high <= 100.0


def test_a_baseline_without_training_is_one_model_for_every_seed() -> None:
    world = World(rows=60)
    world.add("baseline", "tatoeba", 0.5, seeds=1)
    world.add("mnli", "tatoeba", 0.7, seeds=3)
    banks = Banks(world.cells)
    found = banks.effect(gain("b", "mnli", "tatoeba"))
    assert found.seeds == (0, 1, 2) and found.claim
    assert banks.level(Arm("b", "baseline", "tatoeba")).seeds == (0,)
    trained = World(rows=60)
    trained.add("baseline", "xnli", 0.5, seeds=1)
    trained.add("mnli", "xnli", 0.7, seeds=3)
    found = Banks(trained.cells).effect(gain("b", "mnli", "xnli"))
    assert found.seeds == (0,) and found.left_out == (1, 2) and not found.claim


def test_languages_that_an_arm_was_trained_in_are_not_zero_shot() -> None:
    world = World(rows=20)
    world.add("baseline@en-de", "xnli", 0.5)
    world.add("mnli", "xnli", 0.5)
    banks = Banks(world.cells)
    arms = [Arm("b", recipe, "xnli") for recipe in ("baseline@en-de", "mnli")]
    assert banks.languages(arms) == {"xnli": ("sw", "zh")}
    assert banks.languages(arms[1:]) == {"xnli": ("de", "sw", "zh")}


def test_what_names_say() -> None:
    assert noise_condition(0.0) == CLEAN and noise_of(CLEAN) is None and noise_of("swapped") is None
    assert noise_of(noise_condition(0.05)) == (5.0, "")
    assert noise_condition(0.1, "held-out") == "noise:10:held-out" and noise_of("noise:10:held-out") == (
        10.0,
        "held-out",
    )
    assert [condition_said(x) for x in ("clean", "noise:5", "noise:10:held-out")] == [
        "clean",
        "noise 5 %",
        "noise 10 % held-out",
    ]
    assert parts_of("mnli+ccg") == ("mnli", "ccg") and parts_of("baseline") == parts_of("shuffled:mnli") == ()
    assert trained_in("baseline@en-de-es") == ("en", "de", "es") and trained_in("not a recipe") == ()
    assert is_repeat("mnli", "xnli") and is_repeat("panx", "panx") and not is_repeat("mnli", "panx")
    assert [family_of(x) for x in ("de", "hi", "ko", "eu", "xx")] == [
        "Indo-European",
        "Indo-European",
        "ko",
        "eu",
        "xx",
    ]


def test_an_effect_in_words() -> None:
    world = World(rows=20)
    world.add("baseline", "xnli", 0.5, seeds=1)
    found = replace(Banks(world.cells).level(Arm("b", "baseline", "xnli")), value=1.24, low=-0.26, high=2.74)
    assert in_words(found) == "+1.2 points (95 % interval −0.3 to +2.7)"
    assert in_words(replace(found, low=-0.04)) == "+1.2 points (95 % interval +0.0 to +2.7)"


def test_cells_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(MissingData, match="without cells"):
        Banks([])
    cell = Cell("b", "mnli", "xnli", 0, CLEAN, rows_of("xnli", {"de": [True, False]}))
    with pytest.raises(InvalidValue, match="xnli after mnli from b, seed 0, clean is there twice"):
        Banks([cell, cell])
    with pytest.raises(MissingData, match="no report rows"):
        Banks([replace(cell, rows=[replace(row, role="choice") for row in cell.rows])])
    other = replace(cell, recipe="baseline", rows=rows_of("xnli", {"de": [True, False, True]}))
    with pytest.raises(InvalidValue, match="different rows of 'de'"):
        Banks([cell, other]).effect(gain("b", "mnli", "xnli"))
    with pytest.raises(InvalidValue, match="no seed that all arms have"):
        Banks([cell, replace(other, seed=4)]).effect(gain("b", "mnli", "xnli"))
    with pytest.raises(MissingData, match="no cells of b ccg xnli"):
        Banks([cell]).level(Arm("b", "ccg", "xnli"))
