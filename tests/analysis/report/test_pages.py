"""A report in its three forms: the page stands alone, the tables come back from CSV, the folder is whole."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from polystilts.analysis.intervals import Estimate
from polystilts.analysis.report import (
    NOT_MEASURED,
    Column,
    DataLine,
    Gap,
    KeyEstimate,
    Marked,
    Picture,
    Ran,
    Report,
    RunLine,
    Section,
    Table,
    columns,
    csv_text,
    html,
    markdown,
    write_report,
)
from polystilts.analysis.report.figures import heat_map, noise_curves
from polystilts.analysis.report.values import duration, shown, shown_interval
from polystilts.errors import InvalidValue
from polystilts.tracking.card import MICRO_NOTE

MISSING = Estimate(math.nan, math.nan, math.nan, math.nan)

TABLE = Table(
    "by-language",
    "XNLI by language",
    columns("language", Column("gain", signed=True), "rows"),
    (
        ("Deutsch", Estimate(3.14159, 0.5, 5.8, 1.3), 200),
        ('العربية, "ar"\nسطر', Marked(Estimate(-2.0, -4.0, 0.0, 1.0), "floor", "nothing"), np.int64(150)),
        ("<b>kiswahili</b>", None, None),
        ("ไทย", MISSING, 0),
    ),
    note="A note | with <marks>.",
)


def report(**changes: object) -> Report:
    pictures = (
        Picture("heat", "Differences", heat_map({("mnli", "xnli"): 1.0}, rows=["mnli"], columns=["xnli"]), TABLE.name),
        Picture("noise", "Curves", noise_curves({"": {"baseline": [50.0, 40.0]}}, rates=[0, 20])),
    )
    made = Report(
        name="low-resource",
        title="Where does it hurt?",
        question="Does it <hurt>?",
        answer=("It does by 2.0 points [−4.0, 0.0].", "It holds for one seed."),
        source="hub",
        ran=Ran(
            (0, 1, 2),
            (("base", "xlm-roberta-base"),),
            (RunLine("xnli after mnli", 0, seconds=7200, run_id="abc"), RunLine("retrieval", None, "reused")),
            (DataLine("xnli", "b8dd5d7", 5010, "CC BY-NC 4.0"),),
            (("price", "0.40 EUR"),),
        ),
        command="mlflow run . -e study -P question=low-resource",
        estimates=(
            KeyEstimate("gain", Estimate(-2.0, -4.0, 0.0, 1.0), note="7 languages"),
            KeyEstimate("large", MISSING),
        ),
        sections=(Section("By language", ("A paragraph.",), pictures, (TABLE,)),),
        unconcluded=(Gap("The slope.", "Seven languages."),),
        sources=("Phang et al. 2020",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Parsed(HTMLParser):
    """What the tests look at in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.captions: list[bool] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.captions.append(False)
        if tag == "caption":
            self.captions[-1] = True
        if tag not in ("meta", "wbr"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.stack[-1] if self.stack else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_stands_alone() -> None:
    text = html(report())
    page = Parsed(text)
    assert not page.stack
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert not {"script", "link", "iframe", "image", "img"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith("#")
        for value in attributes.values():
            assert not re.search(r"url\((?!#)", value or "")
    policy = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_every_reference_finds_its_id() -> None:
    page = Parsed(html(report()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 10
    used = [value[1:] for _, attributes in page.tags if (value := attributes.get("href"))]
    used += [attributes["aria-labelledby"] or "" for _, attributes in page.tags if "aria-labelledby" in attributes]
    used += [
        found for _, a in page.tags for value in a.values() for found in re.findall(r"url\(#([^)]*)\)", value or "")
    ]
    assert set(used) <= set(ids)
    assert any(name.startswith("drawing-") for name in used), "the pictures refer to parts of their own"


def test_pictures_have_alternatives_tables_captions_and_heads() -> None:
    page = Parsed(html(report()))
    pictures = page.all("svg")
    assert len(page.all("figure")) == len(pictures) == len(page.all("figcaption")) == 2
    for picture in pictures:
        assert picture["role"] == "img" and len(picture["aria-label"] or "") > 40
    assert len(page.captions) == 3 and all(page.captions)
    assert {head["scope"] for head in page.all("th")} == {"col", "row"}
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en" and page.all("meta")[0]["charset"] == "utf-8"


def test_contents_name_every_heading() -> None:
    page = Parsed(html(report()))
    headings = [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert [link["href"] for link in page.all("a")][: len(headings)] == [f"#{name}" for name in headings]
    assert headings == ["answer", "findings-1", "gaps", "run", "repeat", "sources"]


def test_pictures_take_the_pages_colours() -> None:
    text = html(report())
    body = text[text.index("<svg") : text.rindex("</svg>")]
    assert "var(--c1c2430)" in body and "#1c2430" not in body
    style = text[text.index("<style>") : text.index("</style>")]
    assert {name for name in re.findall(r"var\((--\w+)\)", text)} <= set(re.findall(r"(--\w+):", style))
    assert style.count("--c1c2430:") == 3, "light, dark and print"


def test_texts_are_escaped_and_may_run_from_the_right() -> None:
    text = html(report(title="</title><script>alert(1)</script>"))
    assert "<script" not in text and "<b>kiswahili" not in text and "Does it &lt;hurt&gt;?" in text
    page = Parsed(text)
    assert all(attributes.get("dir") == "auto" for tag, attributes in page.tags if tag in ("h1", "h2"))
    assert "unicode-bidi: plaintext" in text


def test_what_was_not_measured_is_said() -> None:
    page = Parsed(html(report()))
    said = [tag for tag, text in page.texts if text == NOT_MEASURED]
    assert said.count("td") == 3 + 1 and said.count("b") == 1, "three cells, a run's seconds, a key estimate"
    assert "nan" not in html(report()).lower().replace("tenant", "")
    assert markdown(report()).count(NOT_MEASURED) >= 5
    empty = replace(TABLE, rows=())
    assert NOT_MEASURED in html(report(sections=(Section("Empty", tables=(empty,)),)))


def test_the_micro_world_stands_above_every_number() -> None:
    made = report(source="micro")
    page = Parsed(html(made))
    said = sum(text.strip() == MICRO_NOTE for _, text in page.texts)
    assert said == 1 + len(made.pictures) + len(made.tables)
    assert markdown(made).count(MICRO_NOTE) == said
    assert MICRO_NOTE not in html(report())


@pytest.mark.parametrize(("seeds", "words"), [((7,), "With one seed"), ((0, 1), "With 2 seeds"), ((0, 0), "With one")])
def test_too_few_seeds_are_a_gap_that_no_report_can_omit(seeds: tuple[int, ...], words: str) -> None:
    made = report(ran=Ran(seeds), unconcluded=())
    assert words in made.gaps[0].why and "cannot separate" in made.gaps[0].why
    assert made.gaps[0].why in html(made) and words in markdown(made)


def test_enough_seeds_and_nothing_trained_are_no_gap() -> None:
    assert report(unconcluded=()).gaps == () and report(ran=Ran(()), unconcluded=()).gaps == ()
    assert "Nothing is listed" in html(report(unconcluded=()))


def test_failed_runs_are_a_gap() -> None:
    runs = (*(RunLine(f"run {number}", 0, "failed") for number in range(7)), RunLine("run 8", 0))
    gap = report(ran=Ran((0, 1, 2), runs=runs), unconcluded=()).gaps[0]
    assert "run 4 and 2 more" in gap.what and "7 of 8" in gap.why


def test_many_runs_are_folded() -> None:
    runs = tuple(RunLine(f"run {number}", 0, seconds=1800) for number in range(40))
    page = Parsed(html(report(ran=Ran((0, 1, 2), runs=runs))))
    assert len(page.all("details")) == 1 and ("summary", "All 40 runs") in page.texts
    assert ("dd", "20.0 h") in page.texts
    assert not Parsed(html(report())).all("details")


def test_csv_comes_back() -> None:
    text = csv_text(TABLE)
    assert all(line.endswith("\r") for line in text.split("\n")[:1])
    lines = list(csv.reader(io.StringIO(text, newline="")))
    assert lines[0] == ["language", "gain", "gain low", "gain high", "gain mark", "rows"]
    assert [line[0] for line in lines[1:]] == [str(row[0]) for row in TABLE.rows]
    assert [float(field) for field in lines[1][1:4]] == [3.14159, 0.5, 5.8]
    assert lines[2][1:] == ["-2.0", "-4.0", "0.0", "floor", "150"]
    assert lines[3][1:] == ["", "", "", "", ""] and lines[4][1:] == ["", "", "", "", "0"]


def test_csv_keeps_every_digit_of_numpy_numbers() -> None:
    values = (np.float64(1) / 3, np.float32(0.5), 1e300, -math.inf, True)
    made = Table("t", "c", columns(*"abcde"), (values,))
    assert csv_text(made) == "a,b,c,d,e\r\n0.3333333333333333,0.5,1e+300,-inf,True\r\n"


def test_markdown_tables_have_as_many_cells_as_columns() -> None:
    lines = [line for line in markdown(report()).splitlines() if line.startswith("|")]
    cells = [len(re.split(r"(?<!\\)\|", line)) - 2 for line in lines]
    assert cells == [3] * 6 + [4] * 3 + [5] * 4
    assert "- gain: **−2.0 points** (95 % interval" in markdown(report())
    assert "| Deutsch | +3.1 \\[+0.5, +5.8\\] | 200 |" in lines


def test_markdown_names_the_files_that_are_written(tmp_path: Path) -> None:
    folder = write_report(report(), tmp_path / "report")
    text = (folder / "report.md").read_text("utf-8")
    named = re.findall(r"\]\(([^)]+)\)", text)
    assert sorted(named) == ["figures/heat.svg", "figures/noise.svg", "tables/by-language.csv"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"report.html", "report.md", *named}
    assert (folder / "tables/by-language.csv").read_bytes().decode() == csv_text(TABLE)


def test_a_report_is_replaced_whole_and_nothing_else_is_touched(tmp_path: Path) -> None:
    folder = write_report(report(), tmp_path / "out" / "report")
    write_report(report(sections=(), title="Second"), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md"]
    assert "Second" in (folder / "report.md").read_text("utf-8")
    assert [path.name for path in folder.parent.iterdir()] == ["report"]
    other = tmp_path / "home"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(folder)
    for taken in (other, other / "thesis.tex", link):
        with pytest.raises(InvalidValue, match="no report"):
            write_report(report(), taken)
    assert (other / "thesis.tex").read_text() == "years of work"


def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_report(report(), tmp_path / "report")
    before = (folder / "report.html").read_bytes()
    move = os.rename

    def fails(source: Path, target: Path) -> None:
        if source.name == "new":
            raise OSError("no space")
        move(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OSError, match="no space"):
        write_report(report(title="Second"), folder)
    assert (folder / "report.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "no question"),
        ({"answer": ("It helps.", "")}, "no answer"),
        ({"command": ""}, "no command"),
        ({"name": "Low Resource"}, "name of a report"),
        ({"sections": (Section("a", tables=(TABLE, TABLE)),)}, "two of the report's tables"),
        ({"sections": (Section("a", tables=(replace(TABLE, name="runs"),)),)}, "two of the report's tables"),
    ],
)
def test_a_report_that_lacks_something_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        report(**change)


def test_tables_and_pictures_that_lack_something_are_refused() -> None:
    with pytest.raises(InvalidValue, match="row 2 of table 't' has 1 values; it has 2 columns"):
        Table("t", "c", columns("a", "b"), (("x", 1), ("y",)))
    with pytest.raises(InvalidValue, match="title of its own"):
        Table("t", "c", columns("a", "a"), ())
    with pytest.raises(InvalidValue, match=r"\.\./evil"):
        Table("../evil", "c", columns("a"), ())
    with pytest.raises(InvalidValue, match="no caption"):
        Table("t", "", columns("a"), ())
    picture = report().pictures[0]
    with pytest.raises(InvalidValue, match="names table 'by-language'; the report has none"):
        report(sections=(Section("a", pictures=(picture,)),))


@pytest.mark.parametrize(
    ("value", "signed", "expected"),
    [
        (3.14159, False, "3.1"),
        (3.14159, True, "+3.1"),
        (-0.04, True, "0.0"),
        (-2.0, True, "−2.0"),
        (1234567.0, False, "1,234,567.0"),
        (-1.5e12, True, "−1.50e+12"),
        (math.inf, True, "+∞"),
        (-math.inf, False, "−∞"),
        (math.nan, True, NOT_MEASURED),
        (None, False, NOT_MEASURED),
        (5010, False, "5,010"),
        (np.int64(7), False, "7"),
        (True, False, "yes"),
        ("+text", True, "+text"),
        (Marked(Estimate(1.0, 0.0, 2.0, 0.5), "floor"), True, "+1.0"),
    ],
)
def test_numbers_in_words(value: object, signed: bool, expected: str) -> None:
    assert shown(value, signed=signed) == expected  # type: ignore[arg-type]


def test_intervals_in_words() -> None:
    assert shown_interval(Estimate(1.0, -0.5, 2.5, 1.0), signed=True) == "[−0.5, +2.5]"
    assert shown_interval(Estimate(1.0, -math.inf, math.inf, 1.0)) == "[−∞, ∞]"
    assert (
        shown_interval(Estimate(1.0, math.nan, math.nan, 1.0)) == "" == shown_interval(1.0) == shown_interval(MISSING)
    )


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (89, "89 s"), (120, "2.0 min"), (7200, "2.0 h"), (259200, "3.0 days")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
