from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from polystilts.analysis.summary import Summary, summarise
from polystilts.analysis.tables import short_names
from polystilts.errors import InvalidValue, MissingData, UnknownName
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, to_json_text
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


def test_tables_name_their_protocol() -> None:
    named = summarise(CELLS, TRIVIAL, source="micro", seed=42, protocol="jiant, best checkpoint", resamples=20)
    for text in (named.markdown(), " ".join(rendered(named, 200).split()), named.to_json()["caption"]):
        assert "Protocol: jiant, best checkpoint." in text


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


MIXTURES = (
    "anli_plus+mnli+qqp+squad_v1+squad_v2+hellaswag+cosmosqa+csqa+ccg",
    "siqa+copa+deprel+udpos",
    "cosqa+defect+clone+codesearch",
    "mnli_translated+pawsx_translated+squad_translated",
)


@pytest.fixture(scope="module")
def long_names() -> Summary:
    """The catalogue's mixtures (presets/micro-catalogue.yaml) on two targets of many languages."""
    cells = {}
    for target in ("xnli", "udpos"):
        right = dict.fromkeys(get_task(target).languages, 20)
        for recipe in ("baseline", "mnli", *MIXTURES):
            rows = nli(recipe, right, n=30, task=target)
            if target == "udpos":
                rows = [replace(row, gold='["NOUN", "VERB"]', prediction='["NOUN", "NOUN"]') for row in rows]
            cells[target, recipe] = rows
    return summarise(cells, {}, source="hub", seed=0, resamples=20)


@pytest.mark.parametrize(("width", "parts"), [(80, 2 + 4), (100, 2 + 3), (120, 1 + 3)])
def test_long_recipes_have_a_number_in_the_tables_and_a_legend(long_names: Summary, width: int, parts: int) -> None:
    text = rendered(long_names, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and "…" not in text.replace("(…)", "")
    for number, mixture in enumerate(MIXTURES, 1):
        assert text.count(mixture) == 1 and f"mix {number}: {mixture}" in lines
        rows = [line for line in lines if line.startswith(f"mix {number} ")]
        assert rows and all(len(line.removeprefix(f"mix {number} =").split()) >= 7 for line in rows)
    assert any(line.startswith("mix 1 =") for line in lines), "it contains MultiNLI, on which XNLI is trained"
    assert any(line.startswith("mnli =") for line in lines), "short names stay"
    # 15 and 38 languages; beside a label of 8 characters a column takes 7 ("66.7") and 6 ("0.0").
    assert len([line for line in lines if line.startswith("can show")]) == parts


def test_a_legend_that_is_longer_than_a_line_is_broken_between_tasks(long_names: Summary) -> None:
    names = "+".join(f"task{n:02}" for n in range(20))
    cells = {("xnli", name): nli(name, {"en": 8, "de": 7}, n=10) for name in ("baseline", names)}
    summary = summarise(cells, {}, source="hub", seed=0, resamples=20)
    lines = rendered(summary, 80).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("mix 1: task00+"))
    assert lines[start].endswith("+") and max(map(len, lines)) <= 80
    end = next(n for n, line in enumerate(lines) if line.startswith("Source"))
    assert "".join(lines[start:end]) == f"mix 1: {names}"


def test_numbers_follow_the_order_of_recipes_and_say_what_they_stand_for() -> None:
    folder = "checkpoint-of-somebody-else-2024"
    names = short_names(["baseline", folder, "mnli", MIXTURES[0]])
    assert list(names.values()) == ["baseline", "recipe 1", "mnli", "mix 2"]
    assert short_names(["a" * 20]) == {"a" * 20: "a" * 20}


def test_markdown_and_json_have_the_full_names(long_names: Summary) -> None:
    text = long_names.markdown()
    assert all(text.count(f"- mix {number}: `{mixture}`") == 1 for number, mixture in enumerate(MIXTURES, 1))
    assert "| baseline | `mnli` | mix 1 | mix 2 | mix 3 | mix 4 |" in text
    value = json.loads(json.dumps(long_names.to_json()))
    assert value["recipes"] == ["baseline", "mnli", *MIXTURES] == list(value["targets"][0]["cells"])
    assert "mix 1" not in json.dumps(value)


def tags(recipe: str, gold: list[str], predictions: dict[str, list[str]]) -> list[BankRow]:
    return [
        BankRow("udpos", recipe, 1, language, "0", "0", "report", to_json_text(gold), to_json_text(found), 0.0)
        for language, found in predictions.items()
    ]


def test_the_four_figures_of_pos_are_printed_and_labelled() -> None:
    gold = ["CCONJ", "NOUN", "VERB", "SCONJ"]
    swapped, wrong = ["SCONJ", "NOUN", "VERB", "CCONJ"], ["NOUN", "NOUN", "NOUN", "NOUN"]
    cells = {
        ("udpos", "baseline"): tags("baseline", gold, {"en": wrong, "de": gold, "zh": swapped}),
        ("udpos", "mnli"): tags("mnli", gold, {"en": gold, "de": wrong, "zh": wrong}),
    }
    trivial = {"udpos": tags("trivial", gold, dict.fromkeys(LANGUAGES, wrong))}
    summary = summarise(cells, trivial, source="hub", seed=1, resamples=20)
    [result] = summary.targets
    metric = get_metric("pos_f1")
    german, chinese = (metric.details([gold], [found], "de") for found in (gold, swapped))
    figures = result.cells["baseline"].figures
    assert figures == {name: (german[name] + chinese[name]) / 2 for name in german}, "English is not in the mean"
    assert list(figures) == ["pos_f1", "pos_f1_whole_tag", "token_accuracy", "macro_f1"]
    mean = result.cells["baseline"].mean
    assert mean and figures["pos_f1"] == mean.value == 100.0, "evaluate.py's is the main table's"
    assert figures["token_accuracy"] == figures["pos_f1_whole_tag"] == 75.0
    lines = [line.rstrip() for line in rendered(summary, 80).splitlines()]
    assert "udpos: further figures, mean over n = 2 (no intervals)" in lines
    for label, value in (
        ("F1, seqeval 1.2.2 (evaluate.py)", 100.0),
        ("F1, seqeval 0.0.12 (whole tag)", 75.0),
        ("token accuracy", 75.0),
        ("macro-F1 over tags", 75.0),
    ):
        [line] = [line for line in lines if line.startswith(label)]
        other, ours, after = line.removeprefix(label).split()
        assert other == after and ours == f"{value:.1f}", "trivial, baseline, mnli"
        assert f"| {label} | {other} | {value:.1f} | {after} |" in summary.markdown()
    value = summary.to_json()["targets"][0]
    assert value["cells"]["baseline"]["figures"] == figures
    assert value["trivial_figures"]["token_accuracy"] == 25.0


def test_figures_are_there_where_a_metric_has_more_than_one(summary: Summary) -> None:
    xnli = summary.targets[0]
    assert set(xnli.cells["mnli"].figures) == {"accuracy", "f1_neutral"}
    assert "F1 of neutral" in rendered(summary, 80)
    cells = {("tatoeba", "baseline"): nli("baseline", {"de": 7, "zh": 6}, n=10, task="tatoeba")}
    retrieval = summarise(cells, {}, source="hub", seed=0, resamples=20)
    assert retrieval.targets[0].cells["baseline"].figures.keys() == {"retrieval"}
    assert "further figures" not in rendered(retrieval, 80) + retrieval.markdown()


def test_a_figure_that_a_language_lacks_is_a_dash() -> None:
    """The F1 of a label without rows in one language has no mean over the languages."""
    rows = nli("baseline", {"de": 7, "zh": 6}, n=10)
    rows[0] = replace(rows[0], gold='"contradiction"')
    other = nli("mnli", {"de": 7, "zh": 6}, n=10)
    cells = {("xnli", "baseline"): rows, ("xnli", "mnli"): other}
    result = summarise(cells, {}, source="hub", seed=0, resamples=20).targets[0]
    assert result.cells["baseline"].figures.keys() == {"accuracy", "f1_neutral"} == result.cells["mnli"].figures.keys()
    assert result.trivial_figures == {}


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
