"""Studies on the tiny world: a report is written, and made again from the tracking store alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipelines import report, study
from pipelines.micro_encoder import GRADED, _objective
from pipelines.report import ReportParameters
from pipelines.study import DESIGNS, Study, conditions_of, name_of
from polystilts.analysis.report.files import PAGE, TEXT
from polystilts.analysis.study_reports import STUDY, StudyFile
from polystilts.errors import MissingData, Problems
from tests.test_boundaries import run_without


def parameters(preset: Path, tmp_path: Path, **given: Any) -> Study:
    values = {"question": "scale", "intermediate": "udpos", "targets": "udpos,tatoeba", "seeds": "0,1"} | given
    return Study(preset=str(preset), output=str(tmp_path / "outputs"), **values)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_report_from_the_store_alone(preset: Path, tmp_path: Path, tracking: str) -> None:
    shutil.copytree(tmp_path / "encoder", tmp_path / "second")
    given = parameters(preset, tmp_path, bases=f"{tmp_path / 'encoder'},{tmp_path / 'second'}")
    assert not given.problems()
    study.run(given)
    place = tmp_path / "outputs" / "reports" / "study-scale"
    written = files_of(place)
    assert {PAGE, TEXT, "tables/interactions.csv", "figures/gains-by-target.svg"} <= set(written)
    assert "2 seeds a report cannot separate" in written[TEXT].decode()

    [file] = (tmp_path / "outputs" / "studies").glob(f"*/{STUDY}")
    found = StudyFile.read(file)
    assert len(found.cells) == 2 * 2 * 2 * 2
    assert all((tmp_path / "outputs" / cell.bank).is_file() for cell in found.cells)

    # Again without anything of the output folder.
    shutil.rmtree(tmp_path / "outputs")
    report.run(ReportParameters(question="scale", output=str(tmp_path / "again")))
    assert files_of(tmp_path / "again" / "reports" / "study-scale") == written

    report.run(ReportParameters(question="scale", table="main", output=str(tmp_path / "again")))
    assert "main-table" in (tmp_path / "again" / "reports" / "main-table" / TEXT).read_text(encoding="utf-8")
    logged = mlflow.tracking.MlflowClient().list_artifacts(report.last_study(_tracker(), "scale"))
    assert {"report", "study"} <= {one.path for one in logged}


def _tracker() -> Any:
    from rich.console import Console

    from polystilts.tracking.runs import Tracker

    return Tracker(mlflow.get_tracking_uri(), Console(quiet=True))


def test_nothing_there_to_report(tmp_path: Path, tracking: str) -> None:
    with pytest.raises(MissingData, match="no study of 'code'"):
        report.run(ReportParameters(question="code", output=str(tmp_path)))


def test_wrong_parameters(preset: Path, tmp_path: Path) -> None:
    def said(**given: Any) -> str:
        return Problems(list(parameters(preset, tmp_path, **given).problems())).message

    assert "scale compares two bases" in said()
    assert "several languages" in said(question="typo")
    for name in ("a/x", "b/x"):
        (tmp_path / name).mkdir(parents=True)
    assert "two by the same name" in said(bases=f"{tmp_path}/a/x,{tmp_path}/b/x")
    assert "target of pairs" in said(question="paws")
    assert "shares of words" in said(question="paws", rates="2")
    assert "one of --question and --run" in Problems(list(ReportParameters().problems())).message
    assert "'typo'" in Problems(list(ReportParameters(question="typos").problems())).message


def test_conditions_have_the_names_of_studies() -> None:
    found = [name_of(condition) for condition in conditions_of(Study(question="paws"))]
    assert found == ["noise:10:held-out", "noise:20:held-out", "swapped", "renamed"]
    assert [name_of(one) for one in conditions_of(Study(question="typo", kinds="all", rates="0,0.05"))] == ["noise:5"]
    assert conditions_of(Study(question="code")) == []


@pytest.mark.parametrize("question", DESIGNS)
def test_designs_can_be_run(question: str) -> None:
    assert not Study(question=question).problems()


def test_graded_pretraining_reads_less() -> None:
    from collections import Counter

    import numpy as np
    from tokenizers import Tokenizer

    from pipelines.micro_encoder import committed_folder
    from polystilts.training.pretrain import PretrainingSettings

    tokenizer = Tokenizer.from_file(str(committed_folder() / "tokenizer.json"))
    objective = _objective(tokenizer, PretrainingSettings(), GRADED)
    rng = np.random.default_rng(0)
    single = Counter(objective._any(rng) for _ in range(4000))
    pairs = Counter(language for _ in range(4000) for language in objective._two(rng))
    for drawn in (single, pairs):
        assert drawn["sw"] == 0 < drawn["hi"] < drawn["tr"] < drawn["zh"] < drawn["en"]
    assert single["de"] / single["es"] == pytest.approx(4, rel=0.25)


def test_starts_without_libraries() -> None:
    run_without(("torch", "mlflow", "transformers"), "pipelines.study", "pipelines.report")
