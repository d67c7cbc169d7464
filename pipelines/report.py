"""Entry point `report`: makes a report, or the paper's main table, again from the tracking store and banks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from polystilts.errors import InvalidValue, MissingData, PolystiltsError, UnknownName

if TYPE_CHECKING:
    from polystilts.analysis.study_reports import StudyFile
    from polystilts.metrics.bank import BankRow
    from polystilts.tracking.runs import Tracker

EXAMPLES = """\
  python -m pipelines.report --question typo
  python -m pipelines.report --run 0123456789abcdef0123456789abcdef --output elsewhere
  python -m pipelines.report --question code --table main"""

QUESTIONS = ("scale", "paws", "low-resource", "typo", "code")
TABLES = ("study", "main")


class ReportParameters(Parameters):
    """Makes the report of a study again: no model is opened, nothing is trained or scored.

    What was run is read from the study's run in the tracking store, predictions from their banks: those of the output
    folder, else the copies that the tracking store has.
    """

    question: str = Field("", description="the last finished study of this question")
    run: str = Field("", description="id of a study's run; instead of --question")
    table: str = Field("study", description="study, or main: the paper's main table from the same banks")
    output: str = Field("outputs", description="folder with the banks; reports/ in it is written")

    def problems(self) -> Sequence[PolystiltsError]:
        found: list[PolystiltsError] = []
        if bool(self.question) == bool(self.run):
            found.append(InvalidValue("needs one of --question and --run", param="--question", given=self.question))
        if self.question and self.question not in QUESTIONS:
            found.append(UnknownName("question", self.question, QUESTIONS, param="--question"))
        if self.table not in TABLES:
            found.append(UnknownName("table", self.table, TABLES, param="--table"))
        return found


class Banks:
    """Banks by name: from the output folder, else from the run that wrote them.

    Args:
        run_id: of the study, for the banks that are its own.
    """

    def __init__(self, output: Path, tracker: Tracker, run_id: str = "") -> None:
        self.output, self.tracker, self.run_id = output, tracker, run_id

    def __call__(self, name: str) -> list[BankRow]:
        from polystilts.metrics.bank import read_bank

        path = self.output / name
        return read_bank(path if path.is_file() else self._fetched(name))

    def _fetched(self, name: str) -> Path:
        import mlflow

        from polystilts.tracking.runs import KEY

        file = Path(name).name
        runs = [(self.run_id, f"study/{file}")] if self.run_id else []
        # The name of a bank ends with the beginning of the key of the phase that wrote it.
        start = Path(name).stem.rpartition("-")[2]
        experiments = [one.experiment_id for one in self.tracker.client.search_experiments()]
        wanted = f"tags.`{KEY}` LIKE '{start}%' and attributes.status = 'FINISHED'"
        found = self.tracker.client.search_runs(experiments, wanted, max_results=5)
        runs += [(run.info.run_id, f"bank/{file}") for run in found]
        for run_id, artifact in runs:
            folder, _, _ = artifact.partition("/")
            if artifact in {one.path for one in self.tracker.client.list_artifacts(run_id, folder)}:
                return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=artifact))
        message = f"no bank {file}, neither in {self.output} nor in the tracking store"
        raise MissingData(message, param="--output", given=name)


def write_study(study: StudyFile, output: Path, tracker: Tracker, *, run_id: str = "", table: str = "study") -> Path:
    """Writes a study's report into `reports/`, and logs it where a run is active.

    Args:
        table: of `TABLES`.
    """
    import mlflow

    from pipelines.provenance import shown
    from polystilts.analysis.report import write_report
    from polystilts.analysis.study_reports import main_table, report_of

    report = (report_of if table == "study" else main_table)(study, Banks(output, tracker, run_id))
    place = write_report(report, output / "reports" / report.name)
    if mlflow.active_run():
        mlflow.log_artifacts(str(place), f"report/{report.name}")
    tracker.console.print(f"\n[bold]{report.question}[/]")
    tracker.console.print(" ".join(report.answer))
    tracker.console.print(f"written: {shown(place / 'report.html')}")
    return place


def run(parameters: ReportParameters) -> None:
    import os

    from rich.console import Console

    from polystilts.tracking.reach import check_tracker

    uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
    check_tracker(uri)
    import mlflow

    from polystilts.analysis.study_reports import STUDY, StudyFile
    from polystilts.tracking.runs import Tracker

    tracker = Tracker(uri, Console(highlight=False))
    output = Path(parameters.output)
    run_id = parameters.run or last_study(tracker, parameters.question)
    try:
        file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=f"study/{STUDY}")
    except (OSError, mlflow.exceptions.MlflowException) as error:
        raise MissingData(f"run {run_id} has no {STUDY}: {error}", param="--run", given=run_id) from None
    study = StudyFile.read(Path(file))
    place = output if output.is_absolute() else ROOT / output
    write_study(study, place, tracker, run_id=run_id, table=parameters.table)


def last_study(tracker: Tracker, question: str) -> str:
    """Id of the newest run of a question that left a study behind.

    Raises:
        MissingData: there is none.
    """
    experiments = [one.experiment_id for one in tracker.client.search_experiments()]
    wanted = f"tags.`polystilts.question` = '{question}'"
    order = ["attributes.start_time DESC"]
    found: list[Any] = list(tracker.client.search_runs(experiments, wanted, max_results=1, order_by=order))
    if not found:
        raise MissingData(f"the tracking store has no study of {question!r}", param="--question", given=question)
    return str(found[0].info.run_id)


if __name__ == "__main__":
    command(ReportParameters, run, examples=EXAMPLES)
