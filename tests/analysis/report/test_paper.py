"""The paper's main table: differences, the best recipe by choice rows, means, and what was published."""

from __future__ import annotations

import math

import pytest

from polystilts.analysis.intervals import Estimate
from polystilts.analysis.report.paper import (
    BEST,
    MEAN,
    MEAN_WITHOUT,
    PUBLISHED,
    STILTS,
    XLMR,
    best_recipe,
    paper_section,
)
from polystilts.analysis.report.values import Marked, Table, plain
from polystilts.errors import MissingData, UnknownName


def around(value: float, half: float = 1.0) -> Estimate:
    return Estimate(value, value - half, value + half, half / 2)


CELLS = {
    ("baseline", "xnli"): around(70.0),
    ("baseline", "udpos"): around(60.0),
    ("baseline", "tatoeba"): around(30.0),
    ("mnli", "xnli"): around(2.0),
    ("mnli", "udpos"): around(-3.0),
    ("mnli", "tatoeba"): around(40.0),
    ("ccg", "xnli"): around(-1.0),
    ("ccg", "udpos"): around(0.5),
    ("ccg", "tatoeba"): around(10.0),
}
CHOICE = {
    ("baseline", "xnli"): 70.0,
    ("mnli", "xnli"): 71.0,
    ("ccg", "xnli"): 72.0,
    ("baseline", "udpos"): 61.0,
    ("mnli", "udpos"): 60.0,
    ("ccg", "udpos"): 60.5,
    ("baseline", "tatoeba"): 30.0,
    ("mnli", "tatoeba"): 65.0,
    ("ccg", "tatoeba"): 50.0,
}


def rows(table: Table) -> dict[object, dict[str, object]]:
    titles = [column.title for column in table.columns]
    return {plain(row[0]): dict(zip(titles, row, strict=True)) for row in table.rows}


def number(cell: object) -> object:
    return plain(cell)  # type: ignore[arg-type]


def test_rows_are_recipes_and_columns_targets() -> None:
    section = paper_section(CELLS, CHOICE)
    table = section.tables[0]
    assert [column.title for column in table.columns[1:]] == ["xnli", "udpos", "tatoeba", MEAN, MEAN_WITHOUT]
    assert [plain(row[0]) for row in table.rows] == ["baseline", "mnli", "ccg", BEST]
    assert number(rows(table)["baseline"]["xnli"]) == 70.0 and number(rows(table)["mnli"]["udpos"]) == -3.0
    assert section.pictures[0].table == table.name and "mnli on tatoeba +40.0" in section.pictures[0].drawing.alt


def test_means_with_and_without_retrieval() -> None:
    found = rows(paper_section(CELLS, CHOICE).tables[0])
    # On XNLI mnli is the target's own training task.
    assert number(found["mnli"][MEAN]) == pytest.approx(18.5) and found["mnli"][MEAN].mark == "of 2"  # type: ignore[attr-defined]
    assert number(found["mnli"][MEAN_WITHOUT]) == pytest.approx(-3.0)
    assert number(found["baseline"][MEAN]) == pytest.approx(160 / 3)
    assert number(found["baseline"][MEAN_WITHOUT]) == pytest.approx(65.0)
    without = {key: value for key, value in CELLS.items() if key[1] != "tatoeba"}
    assert MEAN_WITHOUT not in [column.title for column in paper_section(without, CHOICE).tables[0].columns]


def test_the_best_recipe_is_chosen_on_choice_rows_and_reported_on_others() -> None:
    """On report rows mnli is better on xnli (+2.0) than ccg (-1.0), which the choice rows prefer."""
    best = rows(paper_section(CELLS, CHOICE).tables[0])[BEST]
    assert (number(best["xnli"]), best["xnli"].mark) == (-1.0, "ccg")  # type: ignore[attr-defined]
    assert (number(best["udpos"]), best["udpos"].mark) == (0.0, "baseline")  # type: ignore[attr-defined]
    assert (number(best["tatoeba"]), best["tatoeba"].mark) == (40.0, "mnli")  # type: ignore[attr-defined]
    assert number(best[MEAN]) == pytest.approx(13.0)


def test_without_choice_rows_nothing_is_best() -> None:
    best = rows(paper_section(CELLS, {}).tables[0])[BEST]
    assert [best[name] for name in ("xnli", "udpos", "tatoeba", MEAN)] == [None] * 4


def test_ties_go_to_the_baseline_and_then_by_name() -> None:
    assert best_recipe({("b", "t"): 1.0, ("baseline", "t"): 1.0, ("a", "t"): 1.0}, "t") == "baseline"
    assert best_recipe({("b", "t"): 1.0, ("a", "t"): 1.0, ("c", "t"): math.nan, ("d", "u"): 9.0}, "t") == "a"
    assert best_recipe({("a", "t"): 2.0, ("b", "t"): 1.0}, "t", {("a", "t")}) == "b"


def test_a_missing_cell_makes_its_means_unmeasured_and_is_not_filled_in() -> None:
    cells = {key: value for key, value in CELLS.items() if key != ("mnli", "udpos")}
    found = rows(paper_section(cells, CHOICE).tables[0])["mnli"]
    assert found["udpos"] is None and found[MEAN] is None and found[MEAN_WITHOUT] is None
    assert rows(paper_section(cells, CHOICE).tables[0])["ccg"][MEAN] is not None


def test_floor_cells_support_no_conclusion() -> None:
    """A cell that says nothing takes its target out of all means; the baseline's own does not."""
    alone = rows(paper_section(CELLS, CHOICE, limits={("baseline", "tatoeba"): "floor"}).tables[0])
    assert alone["mnli"]["tatoeba"].look == "good"  # type: ignore[attr-defined]
    section = paper_section(CELLS, CHOICE, limits={("mnli", "tatoeba"): "floor", ("baseline", "tatoeba"): "floor"})
    found = rows(section.tables[0])
    assert found["mnli"]["tatoeba"] == Marked(CELLS["mnli", "tatoeba"], "floor", "nothing")
    assert found["baseline"]["tatoeba"].mark == "floor"  # type: ignore[attr-defined]
    assert found[BEST]["tatoeba"].mark == "ccg", "what says nothing is not chosen"  # type: ignore[attr-defined]
    assert number(found["ccg"][MEAN]) == pytest.approx(-0.25) and MEAN_WITHOUT not in found["ccg"]
    note = section.tables[0].note
    assert "tatoeba." in note and "Left out of the means" in note and "floor: " in note and "ceiling: 99" not in note
    assert "In brackets" in section.pictures[0].caption


def test_of_one_target_or_none_that_counts_there_is_no_mean() -> None:
    one = {key: value for key, value in CELLS.items() if key[1] == "udpos"}
    assert MEAN not in [column.title for column in paper_section(one, CHOICE).tables[0].columns]
    limits = {("mnli", target): "ceiling" for target in ("xnli", "udpos", "tatoeba")}
    section = paper_section(CELLS, CHOICE, limits=limits)
    assert MEAN not in [column.title for column in section.tables[0].columns]
    assert "Means" not in section.tables[0].note and "ceiling: " in section.tables[0].note


def test_the_targets_own_training_task_is_not_chosen() -> None:
    best = rows(paper_section(CELLS, {("mnli", "xnli"): 90.0, ("ccg", "xnli"): 60.0}).tables[0])[BEST]
    assert best["xnli"].mark == "ccg"  # type: ignore[attr-defined]


def test_looks_follow_the_interval_and_same_data_are_marked() -> None:
    found = rows(paper_section({**CELLS, ("mnli", "udpos"): around(-0.5)}, CHOICE).tables[0])
    looks = [found["mnli"][name].look for name in ("xnli", "udpos", "tatoeba")]  # type: ignore[attr-defined]
    assert looks == ["good", "", "good"]
    assert found["mnli"]["xnli"].mark == "=" and found["ccg"]["xnli"].mark == ""  # type: ignore[attr-defined]


def test_published_numbers_stand_beside_ours_where_they_exist() -> None:
    table = paper_section({**CELLS, ("baseline", "xcopa"): around(55.0)}, CHOICE).tables[1]
    found = rows(table)
    assert list(found) == ["xnli", "udpos", "tatoeba"], "nothing was published on XCOPA"
    line = found["xnli"]
    assert (line[f"published: {XLMR}"], line[f"published: {STILTS}"], line["published: difference"]) == (
        79.2,
        80.0,
        0.8,
    )
    assert number(line["ours: baseline"]) == 70.0 and "table 16" in str(line["source"])
    assert plain(found["tatoeba"][f"published: {STILTS}"]) == "none that was checked"  # type: ignore[arg-type]
    only = {("baseline", "xcopa"): around(55.0)}
    assert len(paper_section(only, {}).tables) == 1 and not paper_section(only, {}).pictures


def test_only_checked_numbers_are_published_and_each_names_its_source() -> None:
    found = {(number.system, number.target): number.value for number in PUBLISHED}
    assert len(found) == len(PUBLISHED) == 16
    assert all(entry.source and entry.rows and entry.metric for entry in PUBLISHED)
    # Recalled, not read: the submission's retrieval scores and everything of the paper's table 2.
    assert not {(STILTS, "bucc2018"), (STILTS, "tatoeba")} & set(found)
    assert not {71.9, 81.2} & set(found.values())
    assert found[STILTS, "tydiqa"] == 76.0 and found[XLMR, "panx"] == 65.4 and found[XLMR, "tatoeba"] == 31.0


def test_means_of_the_replication_are_those_of_its_languages() -> None:
    """Pull request 128 lists languages; its means are computed here."""
    bucc = [77.7, 62.7, 79.2, 66.5]
    tatoeba = (
        "30.5 20.4 39.0 13.3 63.9 18.9 48.0 25.8 19.9 42.0 41.5 48.1 28.0 38.3 42.5 47.0 42.3 41.8 10.2 11.8 17.4 35.5 "
        "19.4 15.2 52.6 47.2 42.1 7.9 9.1 19.7 27.4 10.3 37.8 22.5 38.3 41.2"
    )
    values = list(map(float, tatoeba.split()))
    found = {entry.target: entry.value for entry in PUBLISHED if entry.system == XLMR}
    assert found["bucc2018"] == round(sum(bucc) / 4, 1) and found["tatoeba"] == round(sum(values) / len(values), 1)
    assert len(values) == 36


def test_what_is_no_cell_and_no_target_is_refused() -> None:
    with pytest.raises(MissingData, match="no cell"):
        paper_section({}, {})
    with pytest.raises(UnknownName, match="did you mean 'xnli'"):
        paper_section({("baseline", "xnly"): around(1.0)}, {})
