"""Predictions for every task of a benchmark in XTREME's own files, and the labels beside them where they are known."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipelines.cli import command
from pipelines.job import BASELINE, NONE, Job, JobParameters, missing_rows, names
from pipelines.preset import Benchmark
from polystilts.errors import PolystiltsError, Problems, UnknownName
from polystilts.tasks import TASKS
from polystilts.tasks.recipe import Recipe

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
    benchmark: Benchmark = Field("xtreme", description="xtreme or xtreme-r")

    grid_options = ("--recipe", "--targets")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE if self.recipe == BASELINE else self.recipe, self.targets or NONE

    def problems(self) -> Sequence[PolystiltsError]:
        listed = [spec.name for spec in TASKS.values() if self.benchmark in spec.benchmarks]
        return [
            *super().problems(),
            *(
                UnknownName(f"task of {self.benchmark}", name, listed, param="--targets")
                for name in names(self.targets)
                if name in TASKS and name not in listed
            ),
        ]


def run(parameters: Submission) -> None:
    job = Job.open(parameters)
    tracker = job.tracker

    from pipelines import phases, predictions
    from polystilts.submission import benchmark_tasks

    benchmark = parameters.benchmark
    asked = job.targets or tuple(benchmark_tasks(benchmark).values())
    languages = {spec.name: predictions.languages_there(job, benchmark, spec) for spec in asked}
    targets = [job.task(name) for name, there in languages.items() if there]
    if problems := missing_rows(job.source, (), targets, parameters.grid_options):
        raise Problems(problems)
    folder = job.output / "submission" / benchmark / parameters.recipe
    with phases.whole(job, tracker, "submission", parameters):
        base = phases.base_checkpoint(job)
        recipe = job.intermediate[0] if job.intermediate else Recipe()
        job.say(f"  recipe: {recipe.name}")
        for spec in targets:
            encoder = phases.encoder_for(job, recipe, base, spec)
            checkpoint = phases.fine_tune(job, recipe, encoder, spec)
            predictions.write_task(job, benchmark, spec, checkpoint, languages[spec.name], folder)
    job.say(f"\npredictions in {phases.shown(folder / 'predictions')}, labels in {phases.shown(folder / 'labels')}")


if __name__ == "__main__":
    command(Submission, run, examples=EXAMPLES)
