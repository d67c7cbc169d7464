"""Every question's report from cells with known accuracies, written and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polystilts.analysis.cells import base_name
from polystilts.analysis.report import html, markdown
from polystilts.analysis.studies.common import CLEAN, RENAMED, SWAPPED, noise_condition
from polystilts.analysis.study_reports import (
    QUESTIONS,
    StudyCell,
    StudyFile,
    main_table,
    report_of,
    table_of,
)
from polystilts.errors import BadRow, MissingData, UnknownName
from polystilts.metrics.bank import BankRow
from tests.analysis.studies.world import World

LANGUAGES = ("en", "de", "hi", "sw", "tr", "zh", "ru")
SIZES = {"en": 1.0, "de": 1.0, "zh": 0.5, "tr": 0.25, "ru": 0.125, "hi": 0.0625, "sw": 0.0}


def world_of(question: str, seeds: int = 3) -> tuple[World, dict[str, Any]]:
    world = World(rows=60, languages=LANGUAGES)
    add = world.add
    if question == "code":
        for recipe, accuracy in (("baseline", 0.6), ("cosqa", 0.62), ("qqp", 0.75)):
            add(recipe, "pawsx", accuracy, seeds=seeds)
        return world, {"sizes_of_tasks": {"cosqa": 800, "qqp": 800}}
    if question == "typo":
        for base in ("b", base_name("b", "noise_share=0.5")):
            for rate in (0.0, 0.1, 0.2):
                for recipe in ("baseline", "mnli", "baseline@en-de"):
                    add(
                        recipe, "pawsx", 0.8 - rate, base=base, seeds=seeds, condition=noise_condition(rate, "held-out")
                    )
        return world, {"intermediate": ["mnli"], "multilingual": ["baseline@en-de"]}
    if question == "low-resource":
        for recipe in ("baseline", "mnli"):
            add(
                recipe, "pawsx", {lang: 0.6 + 0.1 * SIZES[lang] * (recipe == "mnli") for lang in LANGUAGES}, seeds=seeds
            )
        return world, {"sizes": SIZES, "size_unit": "of English", "fertility": dict.fromkeys(LANGUAGES, 1.2)}
    if question == "paws":
        for condition in (CLEAN, SWAPPED, RENAMED, noise_condition(0.1)):
            for recipe, accuracy in (("baseline", 0.6), ("udpos", 0.65), ("mnli", 0.7), ("udpos+mnli", 0.8)):
                add(recipe, "pawsx", accuracy, seeds=seeds, condition=condition)
        return world, {"target": "pawsx", "updates": {"udpos": 9, "mnli": 9, "udpos+mnli": 9}}
    for base, gain in (("b", 0.02), ("c", 0.2)):
        add("baseline", "pawsx", 0.6, base=base, seeds=seeds)
        add("mnli", "pawsx", 0.6 + gain, base=base, seeds=seeds)
    return world, {"small": "b", "large": "c"}


def study_of(question: str, seeds: int = 3) -> tuple[StudyFile, dict[str, list[BankRow]]]:
    world, settings = world_of(question, seeds)
    banks, cells = {}, []
    for number, cell in enumerate(world.cells):
        choice = [replace(row, role="choice") for row in cell.rows]
        banks[f"{number}.parquet"] = [*cell.rows, *choice]
        cells.append(StudyCell(cell.base, cell.recipe, cell.target, cell.seed, cell.condition, f"{number}.parquet"))
    banks["trivial.parquet"] = list(world.trivial("pawsx")["pawsx"])
    file = StudyFile(
        question=question,
        source="micro",
        command=f"study --question {question}",
        settings=settings,
        parameters={"b": 1000, "c": 2000},
        cells=tuple(cells),
        trivial={"pawsx": "trivial.parquet"},
    )
    return file, banks


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_a_report(question: str, tmp_path: Path) -> None:
    file, banks = study_of(question)
    again = StudyFile.read(file.write(tmp_path))
    assert again == file
    report = report_of(again, banks.__getitem__)
    assert report.estimates and report.name == f"study-{question}"
    assert {"gains-by-target", "gains-by-language"} <= {picture.name for picture in report.pictures}
    page = html(report)
    assert page == html(report_of(file, banks.__getitem__))
    assert report.answer[0].split(". ")[0] in markdown(report, tables="tables", figures="figures")
    assert not any("one seed" in gap.why for gap in report.gaps)


def test_the_numbers_are_those_of_the_study() -> None:
    file, banks = study_of("scale")
    report = report_of(file, banks.__getitem__)
    [estimate] = report.estimates
    assert estimate.estimate.low < 18.0 < estimate.estimate.high
    assert f"{estimate.estimate.value:+.1f} points" in report.answer[0]
    # Both bases have their gains, and the picture of sizes names both.
    assert {"gains-by-target", "gains-by-target-2"} <= {table.name for table in report.tables}


def test_noise_training_is_a_section_of_its_own() -> None:
    file, banks = study_of("typo")
    report = report_of(file, banks.__getitem__)
    [table] = [table for table in report.tables if table.name == "training-with-noise"]
    assert {row[1] for row in table.rows} == {"noise_share=0.5"}
    assert {"noise 10 % held-out", "clean"} <= {row[2] for row in table.rows}
    assert {"noise-held-out", "noise-held-out-2"} <= {picture.name for picture in report.pictures}


def test_one_seed_supports_no_claim() -> None:
    file, banks = study_of("code", seeds=1)
    report = report_of(file, banks.__getitem__)
    assert "cannot separate" in " ".join(report.answer)
    assert any("one seed" in gap.why for gap in report.gaps)


def test_missing_cells_are_named() -> None:
    file, banks = study_of("code")
    file = replace(file, missing=("udpos from qqp, because target/udpos from qqp failed",))
    assert ("udpos from qqp.", "Target/udpos from qqp failed.") in [
        (gap.what, gap.why) for gap in report_of(file, banks.__getitem__).gaps
    ]


def test_main_table() -> None:
    file, banks = study_of("code")
    report = main_table(file, banks.__getitem__)
    assert [table.name for table in report.tables] == ["main-table"]  # a micro world has no published numbers
    real = main_table(replace(file, source="local"), banks.__getitem__)
    assert [table.name for table in real.tables] == ["main-table", "published"]


def test_what_is_refused(tmp_path: Path) -> None:
    file, banks = study_of("code")
    with pytest.raises(UnknownName, match="question"):
        report_of(replace(file, question="colour"), banks.__getitem__)
    with pytest.raises(MissingData, match="without cells"):
        report_of(replace(file, cells=()), banks.__getitem__)
    path = file.write(tmp_path)
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**value, "schema_version": 9}), encoding="utf-8")
    with pytest.raises(BadRow, match="schema version 1"):
        StudyFile.read(path)
    value.pop("cells")
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(BadRow, match="cells"):
        StudyFile.read(path)


def test_tables_of_studies() -> None:
    from polystilts.analysis.studies.common import Table

    line = {"target": "pawsx", "value": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, "limit": "", "same": True}
    found = table_of(Table("some_table", "A table", (line, {**line, "limit": "floor"})))
    assert [column.title for column in found.columns] == ["target", "difference", "p"]
    first, second = (row[1] for row in found.rows)
    assert (first.mark, first.look) == ("=", "good")
    assert (second.mark, second.look) == ("floor =", "nothing")
    assert found.note.startswith("floor: ") and "=: " in found.note and "non-inferior" not in found.note
    level = table_of(
        Table("curves", "Levels", ({"target": "pawsx", "value": 9.0, "low": 8.0, "high": 10.0, "p": 0.0},))
    )
    assert [(column.title, column.signed) for column in level.columns] == [("target", False), ("score", False)]


def test_a_folder_is_called_by_its_last_part() -> None:
    assert base_name("/models/xlmr-mini") == "xlmr-mini"
    assert base_name("owner/name@rev", "layer_decay=0.9") == "owner/name@rev, layer_decay=0.9"
