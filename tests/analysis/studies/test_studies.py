"""Every study on worlds whose answer is known: signs, what counts, what is left open, and what one seed may say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polystilts.analysis.studies.code import code_study, paired_tasks
from polystilts.analysis.studies.common import Banks, Result, in_words, noise_condition
from polystilts.analysis.studies.low_resource import baseline_slope, cc100_sizes, half_of, low_resource_study
from polystilts.analysis.studies.paws import kinds_of, paws_study
from polystilts.analysis.studies.scale import scale_study
from polystilts.analysis.studies.typo import typo_study
from polystilts.data.roles import half_role
from polystilts.errors import InvalidValue, MissingData, UnknownName
from tests.analysis.studies.world import World, check_tables


def check(result: Result, *, seeds: int = 3) -> None:
    """What holds of every result: plain tables with the same columns in all lines, one answer, claims from 3 seeds."""
    check_tables(result.tables)
    if result.effect is not None:
        assert in_words(result.effect, "").split(" ", 1)[0] in result.answer
        assert in_words(result.effect).split("interval ")[1] in result.answer
        assert ("cannot separate the effect from chance" in result.answer) == (seeds < 3)
        assert any("cannot separate it from chance" in why for why in result.not_concluded) == (seeds < 3)
    assert all(", because " in why for why in result.not_concluded), result.not_concluded


def sizes_world(*, seeds: int = 3, gain_large: float = 0.15) -> World:
    world = World(rows=200)
    for base, before, gain in (("small", 0.55, 0.05), ("large", 0.7, gain_large)):
        for target in ("xnli", "pawsx"):
            world.add("baseline", target, before, base=base, seeds=seeds)
            world.add("csqa", target, before + gain, base=base, seeds=seeds)
    world.add("baseline", "xcopa", 0.31, base="small", seeds=seeds)
    world.add("csqa", "xcopa", 0.31, base="small", seeds=seeds)
    world.add("baseline", "xcopa", 0.6, base="large", seeds=seeds)
    world.add("csqa", "xcopa", 0.9, base="large", seeds=seeds)
    return world


def test_scale_finds_the_interaction_and_leaves_the_floor_out() -> None:
    world = sizes_world()
    found = scale_study(world.cells, world.trivial("xnli", "pawsx", "xcopa"), small="small", large="large")
    check(found)
    assert found.effect is not None and found.errors is not None
    assert 10.0 in found.effect and found.effect.low > 0
    # 15 of 30 errors at the large base, 5 of 45 at the small one.
    assert found.errors.value == pytest.approx(50 - 100 * 5 / 45, abs=8)
    assert any("csqa on xcopa" in why and "above chance" in why for why in found.not_concluded)
    assert {line.target for line in found.interactions if line.counts and not line.family} == {"xnli", "pawsx"}
    by_family = {line.family: line for line in found.interactions if line.target == "xnli" and line.family}
    assert set(by_family) == {"Indo-European", "Niger-Congo", "Sino-Tibetan"}
    assert by_family["Niger-Congo"].languages == ("sw",)
    whole = next(line for line in found.interactions if line.target == "xnli" and not line.family)
    assert whole.points.value == pytest.approx(np.mean([line.points.value for line in by_family.values()]))
    assert whole.points.value == pytest.approx(whole.large.value - whole.small.value)
    assert whole.p_holm is not None and whole.p_holm >= whole.points.p
    assert "agrees" in found.answer
    means = {one.target or one.family: one.points for one in found.means}
    assert set(means) == {"xnli", "pawsx", *by_family}
    assert means["xnli"].value == pytest.approx(whole.points.value)
    both = [line.points.value for line in found.interactions if line.family == "Niger-Congo" and line.counts]
    assert len(both) == 2 and means["Niger-Congo"].value == pytest.approx(np.mean(both))


def test_scale_marks_the_targets_own_training_task_and_names_what_is_missing() -> None:
    world = World(rows=60)
    for base in ("small", "large"):
        for recipe in ("baseline", "mnli"):
            world.add(recipe, "xnli", 0.7, base=base)
    world.add("csqa", "xnli", 0.7, base="small")
    found = scale_study(world.cells, {}, small="small", large="large")
    assert all(line.same for line in found.interactions) and found.effect is None
    assert "Nothing can be said" in found.answer
    assert any("no cell of large csqa xnli" in why for why in found.not_concluded)
    assert any("no trivial baseline was given" in why for why in found.not_concluded)
    with pytest.raises(UnknownName, match="did you mean 'large'"):
        scale_study(world.cells, {}, small="small", large="larg")


def test_one_seed_cannot_separate_the_effect_from_chance() -> None:
    world = sizes_world(seeds=1)
    found = scale_study(world.cells, world.trivial("xnli", "pawsx", "xcopa"), small="small", large="large")
    check(found, seeds=1)
    assert "With one seed" in found.answer and found.effect is not None


def paws_world() -> World:
    world = World(rows=200, languages=("en", "de", "zh"))
    clean = {"baseline": 0.7, "qqp": 0.75, "ccg": 0.7, "qqp+ccg": 0.85, "qqp+ccg+csqa": 0.86, "csqa": 0.72}
    for recipe, accuracy in clean.items():
        world.add(recipe, "pawsx", accuracy)
        world.add(recipe, "pawsx", accuracy - 0.05, condition="swapped")
        world.add(recipe, "pawsx", accuracy - 0.05, condition="renamed")
        world.add(recipe, "pawsx", accuracy - 0.1, condition=noise_condition(0.1))
    rng = np.random.default_rng(9)
    # Only two of three rows have an entity to rename.
    world.cells = [
        replace(cell, rows=[row for row in cell.rows if int(row.id[1:]) % 3])
        if cell.condition == "renamed"
        else replace(cell, confidence=tuple(rng.uniform(0.6, 1.0, len(cell.rows))))
        for cell in world.cells
    ]
    return world


def test_paws_compares_pairs_with_their_parts_by_every_measure() -> None:
    world = paws_world()
    updates = dict.fromkeys(["qqp", "ccg", "csqa", "qqp+ccg", "qqp+ccg+csqa"], 500)
    found = paws_study(world.cells, world.trivial("pawsx"), base="b", updates=updates, resamples=0)
    check(found)
    kinds = {line.recipe: line.kind for line in found.measured}
    assert kinds == {
        "baseline": "baseline", "qqp": "single", "ccg": "single", "csqa": "single", "qqp+ccg": "pair",
        "qqp+ccg+csqa": "all",
    }  # fmt: skip
    measures = {line.measure for line in found.measured}
    assert measures == {
        "accuracy", "agreement swapped", "both right swapped", "agreement renamed", "both right renamed",
        "accuracy noise 10 %", "agreement noise 10 %", "both right noise 10 %", "calibration error",
    }  # fmt: skip
    lines = {(line.measure, line.recipe): line for line in found.measured}
    pair = lines["accuracy", "qqp+ccg"]
    assert pair.to_parts is not None and 12.5 in pair.to_parts and pair.to_parts.low > 0
    assert pair.p_best is not None and pair.p_best < 0.05
    assert lines["accuracy", "qqp"].to_parts is None and lines["accuracy", "baseline"].to_baseline is None
    renamed, swapped = (lines[f"both right {name}", "qqp"].level.rows for name in ("renamed", "swapped"))
    assert (renamed, swapped) == (2 * len([n for n in range(200) if n % 3]), 400)
    both = lines["both right swapped", "qqp"].level.value
    assert both < lines["accuracy", "qqp"].level.value and both < lines["agreement swapped", "qqp"].level.value
    assert found.effect == found.pairs_to_parts["accuracy"]
    assert not any("equal updates" in why or "updates differ" in why for why in found.not_concluded)


def test_paws_says_what_was_not_measured_and_where_updates_differ() -> None:
    world = World(rows=60, languages=("en", "de"))
    for recipe in ("baseline", "qqp", "ccg", "qqp+ccg"):
        world.add(recipe, "pawsx", 0.25 if recipe == "ccg" else 0.7)
    updates = {"qqp": 100, "ccg": 100, "qqp+ccg": 200}
    found = paws_study(world.cells, world.trivial("pawsx"), base="b", updates=updates)
    check(found)
    whole = " ".join(found.not_concluded)
    for words in (
        "swapped",
        "renamed",
        "probabilities",
        "updates differ",
    ):
        assert words in whole
    # One side at the floor is a difference like another; two sides are none.
    lines = {line.recipe: line for line in found.measured if line.measure == "accuracy"}
    assert found.effect is not None and lines["ccg"].limit == "floor" and lines["ccg"].to_baseline is not None
    for recipe in ("baseline", "qqp"):
        world.cells = [cell for cell in world.cells if cell.recipe != recipe]
        world.add(recipe, "pawsx", 0.25)
    found = paws_study(world.cells, world.trivial("pawsx"), base="b", updates=updates)
    check(found)
    lines = {line.recipe: line for line in found.measured if line.measure == "accuracy"}
    assert lines["ccg"].to_baseline is None and lines["qqp+ccg"].to_baseline is not None
    assert any(why.startswith("how ccg, baseline, qqp differ") for why in found.not_concluded)
    with pytest.raises(MissingData, match="no cells of pawsx from b with text as it is"):
        swapped = [replace(cell, condition="swapped") for cell in world.cells]
        paws_study(swapped, {}, base="b")


def test_paws_gives_the_corrected_calibration_error_of_each_checkpoint() -> None:
    world = World(rows=100, languages=("en", "de", "zh"))
    for recipe in ("baseline", "qqp"):
        world.add(recipe, "pawsx", 0.7, seeds=2)
    rng = np.random.default_rng(9)
    cells = [replace(cell, confidence=tuple(rng.uniform(0.85, 0.95, len(cell.rows)))) for cell in world.cells]
    found = paws_study(cells, world.trivial("pawsx"), base="b", resamples=100)
    assert {(x.recipe, x.seed, x.language) for x in found.calibrated} == {
        (recipe, seed, language) for recipe in ("baseline", "qqp") for seed in range(2) for language in ("", "de", "zh")
    }
    assert all(x.error.low < 20 < x.error.high or 12 < x.error.value < 30 for x in found.calibrated)
    with pytest.raises(InvalidValue, match="1 confidences for 300 rows"):
        paws_study([replace(cells[0], confidence=(0.9,))], {}, base="b")


def test_kinds_of_recipes() -> None:
    names = ["baseline", "mnli", "mnli+ccg", "mnli+qqp", "mnli+mlm", "shuffled:mnli", "mnli+ccg+csqa"]
    assert kinds_of(names) == {"mnli": "single", "mnli+ccg": "pair", "mnli+qqp": "other", "mnli+ccg+csqa": "all"}


TWELVE = ("de", "es", "ru", "hi", "sw", "tr", "zh", "ar", "fi", "ta", "vi", "yo")


def resource_world(*, slope: float = 0.02, seeds: int = 3) -> tuple[World, dict[str, float | None]]:
    """Gains of -2 points and `slope` more for every doubling; yo is not in the text."""
    sizes: dict[str, float | None] = {name: 2.0**place for place, name in enumerate(TWELVE[:-1])} | {"yo": 0.0}
    world = World(rows=200, languages=("en", *TWELVE))
    for target in ("xnli", "pawsx"):
        world.add("baseline", target, 0.6, seeds=seeds)
        gains = {name: 0.6 - 0.1 + slope * np.log2(size or 0.5) for name, size in sizes.items()}
        world.add("csqa", target, {"en": 0.7} | gains, seeds=seeds)
    return world, sizes


def test_low_resource_finds_the_slope_the_losers_and_the_unseen() -> None:
    world, sizes = resource_world()
    fertility = {name: 1.0 + 0.1 * (place % 3) for place, name in enumerate(TWELVE)}
    found = low_resource_study(world.cells, world.trivial("xnli", "pawsx"), base="b", sizes=sizes, fertility=fertility)
    check(found)
    whole, *each = found.relations
    assert whole.recipe == "" and [(one.recipe, one.target) for one in each] == [("csqa", "xnli"), ("csqa", "pawsx")]
    assert whole.slope is not None and 2.0 in whole.slope and whole.slope.low > 0
    assert each[0].rank is not None and each[0].rank.value > 0.8 and each[0].rank.low > 0
    assert set(each[0].adjusted) == {"baseline", "script", "fertility", "all"}
    assert each[0].adjusted["script"].value == pytest.approx(2.0, abs=0.8)
    assert "yo" not in each[0].languages
    assert found.unseen is not None and found.unseen.value == pytest.approx(-12.0, abs=4)
    assert found.unseen_to_seen is not None and found.unseen_to_seen.high < 0
    assert 0.3 < found.share_losing < 0.6
    assert found.shown_losing and set(found.shown_losing) <= {"yo", "de", "es", "ru", "hi", "sw"}
    assert {line.language for line in found.by_language if line.verdict == "gains"} >= {"vi", "ta"}
    assert not {"vi", "ta", "fi"} & set(found.shown_losing)


def test_low_resource_leaves_out_floors_and_unknown_sizes_and_names_them() -> None:
    world, sizes = resource_world()
    low = {name: 0.25 if name == "sw" else 0.6 for name in ("en", *TWELVE)}
    world.cells = []
    for recipe in ("baseline", "csqa"):
        world.add(recipe, "xnli", low)
    found = low_resource_study(world.cells, world.trivial("xnli"), base="b", sizes={**sizes, "tr": None, "yo": None})
    assert not {"sw", "tr", "yo"} & set(found.relations[0].languages)
    assert "sw" not in {line.language for line in found.by_language}
    whole = " ".join(found.not_concluded)
    assert "csqa on xnli in sw, because neither" in whole and "tr, yo fit the line" in whole
    assert "has never read" in whole and found.unseen is None


def test_low_resource_with_one_seed_shows_no_loser_and_no_slope_on_the_baseline() -> None:
    world, sizes = resource_world(seeds=1)
    found = low_resource_study(world.cells, world.trivial("xnli", "pawsx"), base="b", sizes=sizes)
    check(found, seeds=1)
    assert found.shown_losing == () and all(one.baseline is None for one in found.relations)
    assert any("share their only seed" in why for why in found.not_concluded)


def test_three_languages_carry_no_line() -> None:
    world = World(rows=60)
    world.add("baseline", "xnli", 0.6)
    world.add("csqa", "xnli", 0.5)
    found = low_resource_study(world.cells, world.trivial("xnli"), base="b", sizes=cc100_sizes())
    assert found.effect is None and "cannot be drawn" in found.answer
    assert any("3 languages of 3 families do not carry a line" in why for why in found.not_concluded)
    with pytest.raises(UnknownName, match="unknown base 'c'"):
        low_resource_study(world.cells, {}, base="c", sizes={})


def test_halves_are_even_and_independent_of_roles() -> None:
    units = [f"r{place}" for place in range(2000)]
    halves = np.array([half_of(unit) for unit in units])
    assert 0.45 < halves.mean() < 0.55
    report = np.array([half_role(unit) == "report" for unit in units])
    assert abs(np.corrcoef(halves, report)[0, 1]) < 0.07


def typo_world(*, seeds: int = 3, rows: int = 200) -> World:
    world = World(rows=rows, languages=("en", "de", "sw", "zh"))
    for target in ("xnli", "pawsx", "xcopa"):
        for recipe, clean, step in (("baseline", 0.65, 0.05), ("csqa", 0.75, 0.1), ("baseline@en-de", 0.75, 0.02)):
            for times, rate in enumerate((0.0, 0.05, 0.1, 0.2)):
                world.add(recipe, target, clean - step * times, condition=noise_condition(rate), seeds=seeds)
    return world


def test_typo_finds_differences_interaction_formats_curves_and_losses() -> None:
    world = typo_world()
    found = typo_study(
        world.cells,
        world.trivial("xnli", "pawsx", "xcopa"),
        base="b",
        intermediate=["csqa"],
        multilingual=["baseline@en-de"],
    )
    check(found)
    assert found.effect is not None and -16.0 in found.effect and found.effect.high < -10
    assert [line.format for line in found.formats] == ["", "pair", "choice"]
    whole = found.formats[0]
    assert 0.0 in whole.clean and whole.targets == ("xnli", "pawsx", "xcopa")
    assert whole.interaction.value == pytest.approx(whole.noisy.value - whole.clean.value)
    assert {line.group: line.languages for line in found.versus} == {"zero-shot": ("sw", "zh"), "trained on": ("de",)}
    curve = [p for p in found.curves if (p.recipe, p.target) == ("csqa", "xnli")]
    assert [p.rate for p in curve] == [0.0, 5.0, 10.0, 20.0]
    assert [p.level.value for p in curve] == pytest.approx([75, 65, 55, 45], abs=6)
    losses = {(x.recipe, x.rate, x.language): x.loss for x in found.losses if x.target == "xnli"}
    assert losses["csqa", 20.0, ""].value == pytest.approx(
        np.mean([losses["csqa", 20.0, name].value for name in ("sw", "zh")])
    )
    assert losses["csqa", 20.0, ""].value == pytest.approx(40, abs=6)


def test_typo_leaves_floors_out_and_says_what_is_missing() -> None:
    world = typo_world(rows=60)
    found = typo_study(
        world.cells, world.trivial("xnli", "pawsx", "xcopa", accuracy=0.74), base="b",
        intermediate=["csqa", "mnli"], multilingual=["baseline@en-de"],
    )  # fmt: skip
    assert found.effect is None and all(line.limit == "floor" for line in found.versus)
    whole = " ".join(found.not_concluded)
    assert "mnli against baseline@en-de on xnli, because clean or noisy cells" in whole and "above chance" in whole
    clean = [cell for cell in world.cells if cell.condition == "clean"]
    found = typo_study(clean, {}, base="b", intermediate=["csqa"], multilingual=["baseline@en-de"])
    assert "no noisy cells" in " ".join(found.not_concluded)
    check(typo_study(typo_world(seeds=2, rows=60).cells, world.trivial("xnli", "pawsx", "xcopa"), base="b",
                     intermediate=["csqa"], multilingual=["baseline@en-de"]), seeds=2)  # fmt: skip


SIZES = {"cosqa": 20_000, "defect": 21_000, "codesearch": 9_000, "mnli": 390_000, "qqp": 22_000, "csqa": 9_000}


def test_tasks_are_paired_by_format_and_size() -> None:
    pairs, alone = paired_tasks(["baseline", "cosqa", "mnli", "qqp", "csqa", "codesearch"][1:], SIZES)
    assert [(pair.code, pair.natural, pair.format) for pair in pairs] == [("cosqa", "qqp", "pair")]
    assert pairs[0].rows == (20_000, 22_000) and alone == ("codesearch",)
    # Both fit qqp best; the sum of the differences decides, and the larger one has the larger partner.
    pairs, _ = paired_tasks(["cosqa", "defect", "mnli", "qqp"], SIZES)
    assert {pair.natural for pair in pairs} == {"mnli", "qqp"}
    pairs, _ = paired_tasks(["cosqa", "defect", "qqp"], SIZES)
    assert {pair.natural for pair in pairs} == {"qqp"}, "one partner serves twice where there is no other"


@pytest.mark.parametrize(("accuracy", "non_inferior"), [(0.75, True), (0.6, False)])
def test_code_margins_and_non_inferiority(accuracy: float, non_inferior: bool) -> None:
    world = World(rows=400)
    for target in ("xnli", "xcopa"):
        world.add("baseline", target, 0.6)
        world.add("cosqa", target, accuracy)
        world.add("qqp", target, 0.7)
    found = code_study(world.cells, world.trivial("xnli", "xcopa"), base="b", sizes=SIZES)
    check(found)
    overall = found.means[0]
    assert (overall.target, overall.code) == ("", "") and overall.non_inferior == non_inferior
    assert 100 * (accuracy - 0.7) in overall.margin
    assert (overall.p_inferior < 0.025) == non_inferior
    assert {line.target for line in found.means} == {"", "xnli", "xcopa"}
    assert {one.recipe: one.kind for one in found.gains} == {"cosqa": "code", "qqp": "natural"}
    assert ("excluded" in found.answer) == non_inferior
    assert ("They lose more than 1 point" in found.answer) != non_inferior


def test_code_says_where_the_interval_decides_nothing() -> None:
    world = World(rows=60)
    for recipe in ("baseline", "cosqa", "qqp", "codesearch"):
        world.add(recipe, "xnli", 0.7, wobble=0.1)
    found = code_study(world.cells, world.trivial("xnli"), base="b", sizes=SIZES)
    check(found)
    whole = " ".join(found.not_concluded)
    assert "codesearch, because no task in natural language has its format (sentence)" in whole
    assert "whether code does as well" in whole
    with pytest.raises(UnknownName, match="unknown size of intermediate task 'qqp'"):
        code_study(world.cells, {}, base="b", sizes={"cosqa": 1, "codesearch": 2})


def test_baselines_of_one_seed_have_no_slope_of_their_own() -> None:
    world, _ = resource_world(seeds=1)
    with pytest.raises(InvalidValue, match="has one seed"):
        baseline_slope(Banks(world.cells), "b", "csqa", "xnli", TWELVE, families=list(map(str, range(12))))
