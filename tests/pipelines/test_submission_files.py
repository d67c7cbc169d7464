"""Predictions in a benchmark's own files: by `submission` from one recipe, by the main job from the best of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import main, submission
from polystilts.errors import Problems
from polystilts.submission import score_folder

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@pytest.fixture
def tested(rows: Path) -> Path:
    """`rows` with UD-POS test files: English and German labelled, Chinese with hidden tags as XTREME leaves them."""
    for language in ("en", "de"):
        # Other sentences than those that choose the checkpoint.
        text = (rows / f"udpos/dev-{language}.tsv").read_text(encoding="utf-8").replace("\tNUM", "0\tNUM")
        (rows / f"udpos/test-{language}.tsv").write_text(text, encoding="utf-8")
    (rows / "udpos/test-zh.tsv").write_text("猫\n睡\n\n狗\n吃\n\n", encoding="utf-8")
    (rows / "bucc2018").mkdir()
    for split in ("dev", "test"):
        for side in ("de", "en"):
            lines = "".join(f"{side}-{n}\t{word} {split}\n" for n, word in enumerate(WORDS))
            (rows / f"bucc2018/de-en.{split}.{side}").write_text(lines)
    (rows / "bucc2018/de-en.dev.gold").write_text("".join(f"de-{n}\ten-{n}\n" for n in range(len(WORDS))))
    return rows


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_main_job_submits_the_best_of_each_target(
    tested: Path, preset: Path, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = main.Main(preset=str(preset), output=str(tmp_path / "outputs"), serve=False, submission="xtreme")
    main.run(asked.model_copy(update={"targets": "udpos,tatoeba,bucc2018"}))
    folder = tmp_path / "outputs/submission/xtreme/best"
    assert files(folder / "predictions") == [
        "bucc2018/test-de.tsv",
        "tatoeba/test-de.tsv",
        *(f"udpos/test-{language}.tsv" for language in ("de", "en", "zh")),
    ]
    hidden = (folder / "predictions/udpos/test-zh.tsv").read_text().splitlines()
    assert len([line for line in hidden if line]) == 4, "hidden labels are predicted all the same"
    mined = (folder / "predictions/bucc2018/test-de.tsv").read_text().splitlines()
    assert mined, "the threshold of the labelled rows holds for those whose pairs are hidden"
    assert set(mined) <= {f"de-{n}\ten-{n}" for n in range(len(WORDS))}
    assert files(folder / "labels") == ["tatoeba/test-de.tsv", "udpos/test-de.tsv", "udpos/test-en.tsv"]
    scores = score_folder(folder / "predictions", folder / "labels", "xtreme", partial=True)
    assert set(scores.languages["udpos"]) == {"en", "de"}
    shown = " ".join(capsys.readouterr().out.split())
    assert "xnli: not among the targets (xnli)" in shown
    assert "tatoeba: no test rows here for 35 of 36" in shown


def test_submission_writes_one_recipe(tested: Path, preset: Path, tracking: str, tmp_path: Path) -> None:
    asked = submission.Submission(preset=str(preset), output=str(tmp_path / "outputs"), recipe="udpos", targets="udpos")
    submission.run(asked)
    assert files(tmp_path / "outputs/submission") == [
        f"xtreme/udpos/{kind}/udpos/test-{language}.tsv"
        for kind, languages in (("labels", ("de", "en")), ("predictions", ("de", "en", "zh")))
        for language in languages
    ]


def test_what_cannot_be_trained_is_said_before_anything_starts(
    tested: Path, preset: Path, tracking: str, tmp_path: Path
) -> None:
    """By default every task of the benchmark that has test rows is predicted; here XNLI has no training rows."""
    (tested / "xnli").mkdir()
    (tested / "xnli/test-de.tsv").write_text("a\tb\tneutral\n")
    with pytest.raises(Problems, match="no English training rows of mnli"):
        submission.run(submission.Submission(preset=str(preset), output=str(tmp_path / "outputs")))
    assert not (tmp_path / "outputs").exists()


def test_targets_outside_the_benchmark_are_refused(preset: Path) -> None:
    asked = submission.Submission(preset=str(preset), targets="xcopa,udpos", benchmark="xtreme-r")
    [problem] = asked.problems()
    assert "unknown task of xtreme-r 'xcopa'" in str(problem)
    assert "xcopa_after_siqa" in str(problem)


def test_an_unknown_benchmark_is_refused(preset: Path) -> None:
    [problem] = main.Main(preset=str(preset), submission="xtreem,xtreme-r").problems()
    assert "unknown benchmark 'xtreem'; did you mean 'xtreme'" in str(problem)
