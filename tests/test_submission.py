from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from polystilts.errors import BadRow, InvalidValue, MissingData, UnknownName
from polystilts.submission import (
    benchmark_tasks,
    file_of,
    read_labels,
    read_predictions,
    score_files,
    score_folder,
    write_labels,
    write_predictions,
)
from polystilts.tasks import get_task
from tests.synthetic_submission import rows_of, write_submission

#: What XTREME's evaluate.py (838c13b, seqeval 1.2.2) gave on the files of `write_submission`; all 797 numbers of every
#: task and language agreed to 3e-14.
EVALUATE = {
    "xtreme": {
        "pawsx": 44.557823129,
        "xnli": 45.479372479,
        "panx": 65.135099587,
        "udpos": 58.552529946,
        "bucc2018": 40.158730159,
        "tatoeba": 35.54544992,
        "xquad": 47.079628224,
        "mlqa": 47.324425008,
        "tydiqa": 44.436324698,
        "all_task": 47.585487017,
        "classification": 45.018597804,
        "tagging": 61.843814767,
        "qa": 46.280125977,
        "retrieval": 37.85209004,
    },
    "xtreme-r": {
        "xnli": 45.479372479,
        "panx": 65.291325881,
        "udpos": 56.451837529,
        "tatoeba": 35.035472657,
        "xcopa": 55.192787011,
        "mewslix": 5.463907935,
        "xquad": 48.930135396,
        "mlqa": 47.324425008,
        "tydiqa": 44.436324698,
        "classification": 50.336079745,
        "tagging": 60.871581705,
        "qa": 46.896961701,
        "retrieval": 20.249690296,
        "multi_choice": 55.192787011,
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    return {name: write_submission(tmp_path_factory.mktemp(name), name) for name in EVALUATE}


@pytest.mark.parametrize("benchmark", EVALUATE)
def test_scores_are_those_of_evaluate_py(benchmark: str, folders: dict[str, tuple[Path, Path]]) -> None:
    means = score_folder(*folders[benchmark], benchmark).means
    found = {name: mean.value for name, mean in (means.tasks | means.overall).items()}
    assert {name: found[name] for name in EVALUATE[benchmark]} == pytest.approx(EVALUATE[benchmark], abs=1e-8)


def test_every_language_of_every_task_is_scored(folders: dict[str, tuple[Path, Path]]) -> None:
    scores = score_folder(*folders["xtreme-r"], "xtreme-r")
    for task, spec in benchmark_tasks("xtreme-r").items():
        assert set(scores.languages[task]) == set(spec.benchmarks["xtreme-r"])
    assert scores.means.overall["all_task"].title == "average"
    json.dumps(scores.to_json(), allow_nan=False)
    names = scores.languages["udpos"]["th"].details
    assert {"f1", "precision", "recall", "token_accuracy", "pos_f1_whole_tag", "macro_f1"} == set(names)


@pytest.mark.parametrize("benchmark", EVALUATE)
def test_files_give_back_what_was_written(benchmark: str, folders: dict[str, tuple[Path, Path]]) -> None:
    predictions, labels = folders[benchmark]
    for task, spec in benchmark_tasks(benchmark).items():
        for language in spec.benchmarks[benchmark]:
            ids, golds, answers = rows_of(spec, language, random.Random(f"{task} {language}"))
            gold = read_labels(file_of(labels, benchmark, spec, language), task)
            answer = read_predictions(file_of(predictions, benchmark, spec, language), task)
            if spec.format == "span":
                assert gold == list(zip(ids, golds, strict=True))
                assert {i: answer.get(i) for i in ids} == dict(zip(ids, answers, strict=True))
            elif task in ("mewslix", "lareqa"):
                assert gold == dict(zip(ids, golds, strict=True))
            elif task == "bucc2018":
                assert gold == {(i, c) for i, row in zip(ids, golds, strict=True) for c in row}
            elif task == "tatoeba":
                assert gold == [str(i) for i in range(len(ids))]
            else:
                assert gold == golds


def test_files_look_as_xtreme_s_do(tmp_path: Path) -> None:
    def text(path: Path) -> str:
        return path.read_text(encoding="utf-8")

    pos, xcopa, bucc, tatoeba = (get_task(name) for name in ("udpos", "xcopa_after_siqa", "bucc2018", "tatoeba"))
    path = write_predictions(tmp_path, "xtreme", pos, "th", ["1", "2"], [["NOUN"], ["VERB", "X"]])
    assert (path, text(path)) == (tmp_path / "udpos" / "test-th.tsv", "NOUN\n\nVERB\nX\n\n")
    path = write_predictions(tmp_path, "xtreme-r", xcopa, "qu", ["1", "2"], [1, None])
    assert (path, text(path)) == (tmp_path / "xcopa" / "test-qu.jsonl", '{"label": 1}\n{"label": null}\n')
    path = write_predictions(tmp_path, "xtreme", bucc, "zh", ["zh-1", "zh-2"], [["en-3", "en-4"], []])
    assert text(path) == "zh-1\ten-3\nzh-1\ten-4\n"
    path = write_predictions(tmp_path, "xtreme", tatoeba, "de", ["a", "b", "c"], ["b", None, "c"])
    assert text(path) == "1\n-1\n2\n"
    path = write_labels(tmp_path, "xtreme", tatoeba, "de", ["a", "b", "c"], ["a", "b", "c"], queries=["z", " y", "x"])
    assert text(path) == "2\n1\n0\n"
    path = write_predictions(tmp_path, "xtreme-r", get_task("lareqa"), "el", ["q"], [["c1", "c2"]])
    assert json.loads(text(path)) == {"q": ["c1", "c2"]}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_refused_row_is_wrong(tmp_path: Path) -> None:
    xnli = get_task("xnli")
    labels = write_labels(tmp_path / "l", "xtreme", xnli, "sw", ["1", "2"], ["neutral", "neutral"])
    predictions = write_predictions(tmp_path / "p", "xtreme", xnli, "sw", ["1", "2"], ["neutral", None])
    assert score_files(predictions, labels, xnli, "sw").main == 50.0


def test_only_line_breaks_end_lines(tmp_path: Path) -> None:
    file = tmp_path / "test-de.tsv"
    file.write_bytes("neutral \r\n\u2028neutral\r entailment\u0085x\n".encode())
    assert read_predictions(file, "xnli") == ["neutral", "neutral", "entailment\u0085x"]
    file.write_bytes(b"B-PER\n\n\nO\nO")
    assert read_predictions(file, "panx") == [["B-PER"], [], ["O", "O"]]
    file.write_bytes(b"")
    assert read_predictions(file, "bucc2018") == set()


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("xnli", ["a\tb"], "row '0' of xnli: 'a\\\\tb' cannot stand in a line"),
        ("xnli", [" "], "cannot stand in a line"),
        ("xnli", [3], "3 is not a text"),
        ("udpos", [None], "None is not a list of tags"),
        ("udpos", ["NOUN"], "'NOUN' is not a list of tags"),
        ("udpos", [["NOUN", "X\n"]], "cannot stand in a line"),
        ("tatoeba", ["9"], "'9' is the id of no sentence"),
        ("tatoeba", [{"any_of": 4}], "is the id of no sentence"),
        ("xquad", [["a"]], "row '0': \\['a'\\] is no prediction of xquad"),
        ("bucc2018", ["en-1"], "'en-1' is not a list of ids"),
        ("xnli", ["neutral", "neutral"], "2 predictions for 1 ids"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(task: str, values: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=message):
        write_predictions(tmp_path, "xtreme", get_task(task), "de", ["0"], values)
    assert not list(tmp_path.rglob("*.*"))


def test_labels_and_ids_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="row 'q' has no gold"):
        write_labels(tmp_path, "xtreme", get_task("xquad"), "de", ["q"], [[]])
    with pytest.raises(InvalidValue, match="id 'q' of xquad is repeated"):
        write_labels(tmp_path, "xtreme", get_task("xquad"), "de", ["q", "q"], [["a"], ["b"]])
    with pytest.raises(InvalidValue, match="the id 'data'"):
        write_predictions(tmp_path, "xtreme", get_task("xquad"), "de", ["data"], ["a"])
    with pytest.raises(UnknownName, match="unknown task of xtreme 'xcopa'"):
        write_labels(tmp_path, "xtreme", get_task("xcopa"), "et", ["1"], [0])
    with pytest.raises(UnknownName, match="language of xtreme's tatoeba 'uk'"):
        write_labels(tmp_path, "xtreme", get_task("tatoeba"), "uk", ["1"], ["1"])
    with pytest.raises(UnknownName, match="did you mean 'xtreme-r'"):
        benchmark_tasks("xtreme-R")


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    for task, golds in (("pawsx", ["0", "1", "1"]), ("udpos", [["NOUN"], ["VERB", "X"]]), ("mlqa", [["x"], ["y"]])):
        spec = get_task(task)
        for language in spec.benchmarks["xtreme"]:
            ids = [str(i) for i in range(len(golds))]
            write_labels(tmp_path / "labels", "xtreme", spec, language, ids, golds)
            answers = [gold[0] if task == "mlqa" else gold for gold in golds]
            write_predictions(tmp_path / "predictions", "xtreme", spec, language, ids, answers)
    return tmp_path / "predictions", tmp_path / "labels"


def test_a_missing_language_is_an_error_unless_a_part_is_asked_for(small: tuple[Path, Path]) -> None:
    (small[0] / "pawsx" / "test-ko.tsv").unlink()
    with pytest.raises(MissingData, match=r"predictions/pawsx/test-ko.tsv is missing: PAWS-X in 'ko'"):
        score_folder(*small, "xtreme")
    scores = score_folder(*small, "xtreme", partial=True)
    assert scores.means.tasks["pawsx"].missing == ("ko",)
    assert scores.means.overall["all_task"].title == "mean of the 3 tasks present"
    assert scores.means.overall["all_task"].value == 100.0


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("pawsx/test-ko.tsv", "0\n1\n", "test-ko.tsv: 2 lines; expected 3 as in .*labels/pawsx/test-ko.tsv"),
        ("udpos/test-th.tsv", "NOUN\n", "test-th.tsv: 1 sentences; expected 2"),
        ("udpos/test-th.tsv", "NOUN\n\nVERB\n", "test-th.tsv:3: sentence 2 has 1 tags; expected 2"),
        ("mlqa/test-zh.json", '{"0": 3}', "\\(id '0'\\): 3 is not a text"),
        ("mlqa/test-zh.json", '{"0":\n 3', "test-zh.json:2: bad json"),
        ("mlqa/test-zh.json", "[]", "not a json object"),
    ],
)
def test_bad_files_are_named(file: str, content: str, message: str, small: tuple[Path, Path]) -> None:
    (small[0] / file).write_text(content, encoding="utf-8")
    with pytest.raises(BadRow, match=message):
        score_folder(*small, "xtreme")


def test_bad_label_files_are_named(small: tuple[Path, Path], tmp_path: Path) -> None:
    labels = small[1] / "mlqa" / "test-zh.json"
    labels.write_text('{"data": [{"paragraphs": [{"qas": [{"id": "q", "answers": []}]}]}]}', encoding="utf-8")
    with pytest.raises(BadRow, match=r"question 'q'.*no answers"):
        score_folder(*small, "xtreme")
    labels.write_text('{"q": "a"}', encoding="utf-8")
    with pytest.raises(BadRow, match="not SQuAD's json"):
        score_folder(*small, "xtreme")
    labels.write_bytes(b'{\n"q": "\xff"}')
    with pytest.raises(BadRow, match=r"zh.json:2: not UTF-8: byte 0xff"):
        score_folder(*small, "xtreme")
    (small[1] / "pawsx" / "test-ko.tsv").write_text("")
    with pytest.raises(BadRow, match="3 lines; expected 0"):
        score_folder(*small, "xtreme")
    with pytest.raises(MissingData, match="no folder"):
        score_folder(tmp_path / "nowhere", small[1], "xtreme")
    with pytest.raises(MissingData, match="no files of the same task; folders of xtreme: "):
        score_folder(tmp_path, small[1], "xtreme")


def test_a_cell_that_may_be_the_most_frequent_label_is_floor(tmp_path: Path) -> None:
    pawsx = get_task("pawsx")
    ids, golds = [str(i) for i in range(200)], ["0"] * 110 + ["1"] * 90
    labels = write_labels(tmp_path / "l", "xtreme", pawsx, "fr", ids, golds)
    for right, floor in ((200, False), (150, False), (112, True)):
        answers = [gold if i < right else str(1 - int(gold)) for i, gold in enumerate(golds)]
        file = write_predictions(tmp_path / "p", "xtreme", pawsx, "fr", ids, answers)
        score = score_files(file, labels, pawsx, "fr")
        assert (score.main, score.trivial) == pytest.approx((right / 2, 55.0))
        assert score.floor == floor
