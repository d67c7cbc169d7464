"""benchmarks/real_data.py: training rows cut out of files of a single split, with no text on both sides."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks.real_data import CUTS, build, groups_of, lines_of, read_rows, trains, write_rows
from polystilts.data.local import LocalSource
from polystilts.errors import BadRow, InvalidValue, MissingData
from polystilts.tasks import get_task

PREMISES = 40


def nli(language: str) -> list[list[str]]:
    labels = ("neutral", "contradiction", "entailment")
    return [[f"{language} premise {n}", f"{language} {label} {n}", label] for n in range(PREMISES) for label in labels]


def questions(start: int) -> dict:
    paragraph = {
        "context": f"Context {start} holds it.",
        "qas": [
            {"id": f"q{start}", "question": "Who?", "answers": [{"text": "it", "answer_start": 15 + len(str(start))}]}
        ],
    }
    return {"title": f"t{start}", "paragraphs": [paragraph]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for language in ("en", "de", "th"):
        write_rows(folder / f"xnli/dev-{language}.tsv", nli(language))
    statements = [
        {"context": f"text {n // 2}\nsecond line", "statement": f"s {n}", "gold_label": "enc"[n % 3]}
        for n in range(120)
    ]
    write_rows(folder / "anli/anli_r1_dev.csv", statements[:61])
    write_rows(folder / "anli/anli_r2_dev.csv", statements[61:])
    write_rows(folder / "cosqa/cosqa-dev.json", [{"doc": f"d{n}", "code": f"c{n}", "label": n % 2} for n in range(50)])
    squad = {"data": [questions(n) for n in range(30)]}
    for place in ("tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.en.train.json", "xquad/xquad.de.json"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_text(json.dumps(squad), "utf-8")
    return folder


def test_rows_that_share_a_text_are_one_group():
    rows = [("a", "b"), ("c", "d"), ("b", "e"), ("f", "e"), ("c", "g")]
    assert groups_of(rows, (0, 1)) == [0, 1, 0, 0, 1]
    assert groups_of(rows, (0,)) == [0, 1, 2, 3, 1]


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.task)
def test_about_its_share_of_a_set_trains(cut):
    rows = [dict.fromkeys(cut.texts, str(n)) for n in range(2000)]
    assert abs(sum(trains(cut, rows)) / 20 - cut.share) < 5


def test_languages_are_cut_alike_and_no_premise_is_on_both_sides(data, tmp_path):
    build(data, tmp_path / "out")
    source, spec = LocalSource(tmp_path / "out"), get_task("xnli")
    trained = {row.premise for row in source.rows(get_task("mnli"), "train", "en")}
    left = {language: source.rows(spec, "validation", language) for language in ("en", "de", "th")}
    assert trained and not trained & {row.premise for row in left["en"]}
    assert len(trained) * 3 + len(left["en"]) == 3 * PREMISES
    for language, rows in left.items():
        assert [row.hypothesis for row in rows] == [r.hypothesis.replace("en ", f"{language} ", 1) for r in left["en"]]
        assert [row.id for row in rows] == [row.id for row in left["en"]]


def test_the_parts_of_a_set_are_cut_together(data, tmp_path):
    build(data, tmp_path / "out")
    source, spec = LocalSource(tmp_path / "out"), get_task("anli")
    sides = {split: source.rows(spec, split, "en") for split in ("train", "validation")}
    train, held = ({row.premise for row in rows} for rows in sides.values())
    assert not train & held and sum(map(len, sides.values())) == 120
    assert sorted(path.name for path in (tmp_path / "out/anli").iterdir()) == [
        "anli_r1_dev.csv",
        "anli_r1_train.csv",
        "anli_r2_dev.csv",
        "anli_r2_train.csv",
    ]


def test_everything_else_is_linked_and_tydiqa_stands_in_for_squad(data, tmp_path):
    build(data, tmp_path / "out")
    assert (tmp_path / "out/xquad/xquad.de.json").is_symlink()
    lines = {line.task: line for line in lines_of(LocalSource(tmp_path / "out"))}
    assert lines["xquad"].trained + lines["xquad"].checkpoint == 30 and lines["xquad"].languages == 1
    assert lines["xnli"].languages == 3 and lines["xnli"].trivial is None
    assert lines["cosqa"].scored == lines["cosqa"].checkpoint and 0 <= (lines["cosqa"].trivial or 0) <= 100


def test_the_same_files_give_the_same_folder(data, tmp_path):
    for out in ("one", "two"):
        build(data, tmp_path / out)
    first, second = (
        {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*") if path.is_file()}
        for out in ("one", "two")
    )
    assert first == second


def test_a_set_with_a_training_file_is_left_as_it_is(data, tmp_path):
    write_rows(data / "xnli/train-en.tsv", [["a", "b", "neutral"]])
    (data / "squad").mkdir()
    (data / "squad/train-v1.1.json").write_text(json.dumps({"data": [questions(0)]}), "utf-8")
    build(data, tmp_path / "out")
    assert (tmp_path / "out/xnli/dev-en.tsv").is_symlink()
    assert (tmp_path / "out/squad/train-v1.1.json").resolve() == (data / "squad/train-v1.1.json").resolve()


def test_languages_of_different_length_are_refused(data, tmp_path):
    write_rows(data / "xnli/dev-de.tsv", nli("de")[1:])
    with pytest.raises(InvalidValue, match=r"dev-de.tsv has 119 rows and xnli/dev-en.tsv 120"):
        build(data, tmp_path / "out")


def test_folders_that_will_not_do_are_refused(data, tmp_path):
    with pytest.raises(MissingData, match="no folder"):
        build(tmp_path / "nowhere", tmp_path / "out")
    for out in (data, data / "derived", data.parent):
        with pytest.raises(InvalidValue, match="must be empty and outside"):
            build(data, out)


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".json"])
def test_rows_are_read_as_they_were_written(tmp_path, suffix):
    texts = ['say "it"', "line\u2028separator", "next\u0085line", "a,b", "tab\tinside"]
    rows = [[text, "x"] if suffix == ".tsv" else {"a": text, "b": "x"} for text in texts]
    write_rows(tmp_path / f"rows{suffix}", rows)
    assert read_rows(tmp_path / f"rows{suffix}") == rows


@pytest.mark.parametrize(("suffix", "text"), [(".tsv", b'a\t"b\n'), (".csv", b"a\n\xff\n"), (".json", b"[1")])
def test_what_cannot_be_read_is_named(tmp_path, suffix, text):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(text)
    with pytest.raises(BadRow, match=f"rows{suffix}"):
        read_rows(path)


def test_cells_of_many_lines_stay_whole(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, [{"a": "one\r\ntwo\nthree", "b": "x"}])
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "one\r\ntwo\nthree", "b": "x"}]


def test_half_of_a_languages_sentences_train_and_none_is_on_both_sides(data: Path, tmp_path: Path) -> None:
    sentences = [f"Satz\tNOUN\n{n % 30}\tNUM" for n in range(40)]
    (data / "udpos").mkdir()
    (data / "udpos/dev-de.tsv").write_text("\n\n".join(sentences) + "\n\n")
    build(data, tmp_path / "out", ["de"])
    halves = [(tmp_path / f"out/udpos/{part}-de.tsv").read_text().strip().split("\n\n") for part in ("train", "dev")]
    assert sorted(halves[0] + halves[1]) == sorted(sentences)
    assert not set(halves[0]) & set(halves[1])
    assert min(map(len, halves)) > 8
    with pytest.raises(MissingData, match="dev-fr"):
        build(data, tmp_path / "other", ["fr"])
    with pytest.raises(InvalidValue, match="there already"):
        build(tmp_path / "out", tmp_path / "again", ["de"])
