"""Predictions for every task of a benchmark in XTREME's own files, and the labels beside them where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipelines.cli import command
from pipelines.job import BASELINE, NONE, Job, JobParameters, mixture_name
from polystilts.tasks import TaskSpec

if TYPE_CHECKING:
    from polystilts.training.checkpoint import Checkpoint

EXAMPLES = """\
  python -m pipelines.submission --benchmark xtreme --source local:DATA --base MODEL --preset mini
  python -m pipelines.submission --benchmark xtreme-r --recipe mnli --targets xnli,xquad
  python -m pipelines.score --predictions outputs/submission/xtreme/baseline/predictions \\
      --labels outputs/submission/xtreme/baseline/labels --benchmark xtreme --partial true"""


class Submission(JobParameters):
    """Writes one recipe's predictions on a benchmark's test rows to OUTPUT/submission/BENCHMARK/RECIPE/predictions and,
    where the source knows them, the labels beside. Rows whose labels are hidden are predicted all the same. Phases that
    are done are found, others are run."""

    targets: str = Field("", description="targets, by comma; '' = all of the benchmark that the source has rows for")
    recipe: str = Field(BASELINE, description="baseline, or the intermediate mixture, '+' between its tasks")
    benchmark: Literal["xtreme", "xtreme-r"] = Field("xtreme", description="xtreme or xtreme-r")

    options = ("--recipe", "--targets")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE if self.recipe == BASELINE else self.recipe, self.targets or NONE


def run(parameters: Submission) -> None:
    job = Job.open(parameters)
    tracker = job.tracker

    from pipelines import phases
    from polystilts.submission import benchmark_tasks

    in_benchmark = benchmark_tasks(parameters.benchmark)
    targets = [spec for spec in job.targets if spec.data in in_benchmark] or [
        job.task(spec.name) for spec in in_benchmark.values()
    ]
    folder = job.output / "submission" / parameters.benchmark / parameters.recipe
    with phases.whole(job, tracker, "submission", parameters):
        parent: Checkpoint = phases.base_checkpoint(job)
        for mixture in job.intermediate:
            parent = phases.train_intermediate(job, mixture, parent)
            job.say(f"  recipe: {mixture_name(mixture)}")
        for spec in targets:
            wanted = spec.benchmarks.get(parameters.benchmark, ())
            there = [language for language in wanted if language in _languages(job, spec)]
            absent = [language for language in wanted if language not in there]
            if absent:
                job.say(f"  {spec.data}: no test rows here for {len(absent)} of {len(wanted)}: {' '.join(absent)}")
            if there:
                checkpoint = phases.train_target(job, spec, parent, parameters.recipe)
                _write(job, spec, checkpoint, parameters, there, folder)
    job.say(f"\npredictions in {phases.shown(folder / 'predictions')}, labels in {phases.shown(folder / 'labels')}")


def _write(
    job: Job, spec: TaskSpec, checkpoint: Checkpoint, parameters: Submission, languages: Sequence[str], folder: Path
) -> None:
    """The files of one task. Retrieval is predicted as it is scored; everything else row by row, labelled or not."""
    from pipelines import phases
    from polystilts.data.columns import has_gold
    from polystilts.evaluation import evaluate
    from polystilts.formats.values import SentencePair
    from polystilts.metrics import plain_gold, plain_prediction
    from polystilts.submission import write_labels, write_predictions

    split = spec.report_split or spec.choice_split
    settings, layer = phases.scoring_settings(job, spec, checkpoint)
    predictor = phases.predictor_of(job, checkpoint, settings)
    scored = (
        evaluate(predictor, job.source, spec, languages, recipe=parameters.recipe, seed=job.seed, layer=layer).rows
        if spec.format == "sentence"
        else []
    )
    for language in languages:
        rows = job.source.rows(spec, split, language)
        queries: list[str] = []
        if spec.format == "sentence":
            bank = [
                row for row in scored if row.language == language and (row.role == "report" or not spec.report_split)
            ]
            ids = [row.id for row in bank]
            predictions: list[Any] = [row.predicted_value for row in bank]
            golds: list[Any] = [row.gold_value for row in bank]
            queries = [row.query for row in rows if isinstance(row, SentencePair)]
        else:
            ids = [row.id for row in rows]
            predictions = [plain_prediction(prediction) for prediction in predictor.predict(rows)]
            if spec.format == "tagging":
                # A line a word is what the format asks for, so a refused sentence is tagged O.
                predictions = [
                    p or ["O"] * len(getattr(row, "tokens", ())) for p, row in zip(predictions, rows, strict=True)
                ]
            golds = [plain_gold(row) for row in rows] if all(map(has_gold, rows)) else []
        place = (parameters.benchmark, spec, language, ids)
        write_predictions(folder / "predictions", *place, predictions, queries=queries)
        if golds:
            write_labels(folder / "labels", *place, golds, queries=queries)
    job.say(f"  {spec.data}: {len(languages)} languages")


def _languages(job: Job, spec: TaskSpec) -> tuple[str, ...]:
    return job.source.languages(spec, spec.report_split or spec.choice_split)


if __name__ == "__main__":
    command(Submission, run, examples=EXAMPLES)
