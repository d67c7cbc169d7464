from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from polystilts.analysis.summary import Summary, summarise
from polystilts.errors import InvalidValue, MissingData, UnknownName
from polystilts.metrics.bank import BankRow
from polystilts.tasks.catalogue import get_task

LANGUAGES = ("en", "de", "zh")


def nli(recipe: str, right: dict[str, int], n: int = 100, task: str = "xnli") -> list[BankRow]:
    """`right` report rows in a language are right, the rest wrong; one choice row that must not count."""
    rows = [
        BankRow(
            task, recipe, 42, language, str(i), str(i), "report", '"neutral"',
            '"neutral"' if i < count else '"entailment"', float(i < count),
        )
        for language, count in right.items()
        for i in range(n)
    ]  # fmt: skip
    return [*rows, replace(rows[0], id="c", unit="c", role="choice")]


CELLS = {
    ("xnli", "mnli"): nli("mnli", {"en": 90, "de": 60, "zh": 50}),
    ("xnli", "baseline"): nli("baseline", {"en": 80, "de": 70, "zh": 60}),
    ("xnli", "squad_v1"): nli("squad_v1", {"en": 80, "de": 72, "zh": 64}),
    ("pawsx", "baseline"): nli("baseline", {"en": 50, "de": 50, "zh": 50}, task="pawsx"),
    ("pawsx", "mnli"): nli("mnli", {"en": 50, "de": 52, "zh": 52}, task="pawsx"),
}
TRIVIAL = {
    "xnli": nli("trivial", {"en": 33, "de": 33, "zh": 33}),
    "pawsx": nli("trivial", {"en": 51, "de": 51, "zh": 51}, task="pawsx"),
}


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise(CELLS, TRIVIAL, source="micro", seed=42, resamples=500)


def rendered(summary: Summary, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    summary.render(console)
    return console.file.getvalue()


def test_means_and_differences_leave_english_and_choice_rows_out(summary: Summary) -> None:
    xnli = summary.targets[0]
    assert summary.recipes == ("baseline", "mnli", "squad_v1")
    assert xnli.zero_shot == ("de", "zh")
    assert xnli.rows == {"en": 100, "de": 100, "zh": 100}
    assert xnli.trivial == pytest.approx(33.0)
    baseline, mnli = xnli.cells["baseline"], xnli.cells["mnli"]
    assert baseline.mean and baseline.mean.value == 65.0 and baseline.difference is None
    assert mnli.mean and mnli.mean.value == 55.0
    assert mnli.difference and mnli.difference.value == -10.0
    assert mnli.difference.low < -10.0 < mnli.difference.high < 0.0
    assert mnli.by_language["en"].value == 90.0


def test_marks(summary: Summary) -> None:
    xnli, pawsx = summary.targets
    assert [cell.same for cell in xnli.cells.values()] == [False, True, False]
    assert not any(cell.floor for cell in xnli.cells.values())
    assert all(cell.floor for cell in pawsx.cells.values())
    assert pawsx.tells_nothing("mnli") and not xnli.tells_nothing("mnli")


def test_a_cell_below_the_trivial_baseline_is_floor_too() -> None:
    cells = {("xnli", "baseline"): nli("baseline", {"de": 5})}
    result = summarise(cells, {"xnli": nli("trivial", {"de": 40})}, source="hub", seed=1, resamples=200)
    assert result.targets[0].cells["baseline"].floor


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_the_terminal_and_says_what_it_is(summary: Summary, width: int) -> None:
    text = rendered(summary, width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "mean nothing about real languages" in flat
    assert "one seed" in flat and "report rows" in flat and "this checkpoint, not of the recipe" in flat
    assert "55.0 -10.0 =" in flat
    assert "52.0 (+2.0) floor" in flat
    assert "xnli: accuracy by language" in flat
    assert "n rows 100 100 100" in flat


def test_more_recipes_and_languages_than_fit_are_broken_into_parts() -> None:
    languages = dict.fromkeys(get_task("xnli").languages, 20)
    cells = {("xnli", f"task{i}"): nli(f"task{i}", languages, n=30) for i in range(5)}
    cells["xnli", "baseline"] = nli("baseline", languages, n=30)
    text = rendered(summarise(cells, {}, source="hub", seed=0, resamples=100), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"task{i}" in text for i in range(5))
    assert all(f" {language}" in text for language in languages)
    assert "…" not in text.replace("(…)", "")


def test_markdown_has_the_same_numbers(summary: Summary) -> None:
    text = summary.markdown()
    assert text.startswith("**The scores of the micro world")
    assert "| target | metric | n | trivial | baseline | `mnli` | `squad_v1` |" in text
    line = next(line for line in text.splitlines() if line.startswith("| `xnli`"))
    assert line.startswith("| `xnli` | accuracy | 2 | 33.0 | 65.0 [")
    assert "| 55.0 -10.0 = [" in line
    assert "| `pawsx` | accuracy | 2 | 51.0 | 50.0 floor [" in text
    assert "| mnli = | 90.0 | 60.0 | 50.0 |" in text


def test_a_cell_that_was_not_run_is_a_dash(summary: Summary) -> None:
    assert next(line for line in summary.markdown().splitlines() if "`pawsx`" in line).endswith("| – |")


def test_json_has_everything_and_is_json(summary: Summary) -> None:
    value = json.loads(json.dumps(summary.to_json()))
    assert value["targets"][0]["cells"]["mnli"]["difference"]["value"] == -10.0
    assert value["seed"] == 42 and value["source"] == "micro" and "one seed" in value["caption"].lower()


def test_the_picture_is_a_png_and_the_only_file(summary: Summary, tmp_path: Path) -> None:
    path = summary.plot(tmp_path / "picture.png")
    height, width, _ = imread(path).shape
    assert 900 < width < 1600 and 300 < height < 1600
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_a_real_source_has_no_banner_and_missing_parts_are_dashes(tmp_path: Path) -> None:
    cells = {("xnli", "baseline"): nli("baseline", {"en": 80})}
    alone = summarise(cells, {}, source="local:data", seed=3, resamples=100)
    assert alone.banner == "" and alone.targets[0].cells["baseline"].mean is None
    assert "| `xnli` | accuracy | 0 | – | – |" in alone.markdown()
    assert "80.0" in rendered(alone, 80)
    assert alone.plot(tmp_path / "picture.png").is_file()


def test_input_that_makes_no_table() -> None:
    rows = CELLS["xnli", "mnli"]
    with pytest.raises(MissingData, match="no report rows of xnli after mnli"):
        summarise({("xnli", "mnli"): rows[-1:]}, {}, source="micro", seed=42)
    with pytest.raises(InvalidValue, match=r"rows of seeds \[7, 42\]"):
        summarise({("xnli", "mnli"): [replace(rows[0], seed=7), *rows[1:]]}, {}, source="micro", seed=42)
    with pytest.raises(UnknownName, match="did you mean 'xnli'"):
        summarise({("xnly", "mnli"): rows}, {}, source="micro", seed=42)
