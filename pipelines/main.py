"""The main job: encoder -> intermediate -> targets -> scores -> ONNX -> registry -> bento -> HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters, names
from pipelines.preset import BENCHMARKS
from polystilts.errors import PolystiltsError, UnknownName

EXAMPLES = """\
  mlflow run . --env-manager local
  mlflow run . --env-manager local -P preset=xlmr-base -P intermediate=mnli,squad_v1 -P targets=xnli,xquad
  mlflow run . --env-manager local -P preset=mini -P source=local:DATA -P base=MODEL \\
      -P intermediate=udpos,tydiqa -P targets=udpos,panx,tydiqa,xcopa,tatoeba"""


class Main(JobParameters):
    """Trains every intermediate checkpoint, fine-tunes and scores every target from each of them and from the plain
    encoder, promotes the best of each target, and shows it answering over HTTP."""

    intermediate: str = Field("", description="mixtures to train, ',' between candidates, '+' inside a mixture")
    targets: str = Field("", description="targets to fine-tune and score, separated by ','")
    submission: str = Field(
        "", description="benchmarks (xtreme,xtreme-r) in whose files the best of each target predicts; none"
    )
    serve: bool = Field(True, description="package the champions, start the server, ask every endpoint, stop it")

    def tasks_asked(self) -> tuple[str, str]:
        return self.intermediate, self.targets

    def problems(self) -> Sequence[PolystiltsError]:
        return [
            *super().problems(),
            *(
                UnknownName("benchmark", name, BENCHMARKS, param="--submission")
                for name in names(self.submission)
                if name not in (*BENCHMARKS, NONE)
            ),
        ]


def run(parameters: Main) -> None:
    job = Job.open(parameters)
    _announce(job)
    tracker = job.tracker

    from pipelines import phases, predictions, promotion
    from polystilts.analysis.decision import READING

    steps = itertools.count(1)

    def heading(text: str) -> None:
        job.say(f"\n[bold]{next(steps)}  {text}[/]")

    with phases.whole(job, tracker, "main", parameters):
        heading("Train and score")
        phases.say_missing_languages(job)
        cells = phases.run_grid(job)
        heading("Compare")
        phases.summary_of(job, cells).render(job.console)
        heading("Export every candidate, measure it as served, promote the best of each target")
        outcomes = []
        for spec in job.targets:
            own = [cell for cell in cells if cell.spec.name == spec.name]
            outcome = promotion.promote(job, spec, own)
            promotion.say_outcome(job, outcome)
            outcomes.append(outcome)
        promotion.log_heat_map(job, outcomes)
        job.say(f"\n{READING}")
        heading("Deliver")
        promotion.deliver_champions(job, job.targets)
        benchmarks = names(parameters.submission) or job.preset.submission
        if benchmarks and NONE not in benchmarks:
            heading("Submit: the best of each target in the files of the benchmarks")
            for benchmark in benchmarks:
                best = {outcome.decision.target: outcome.chosen.cell for outcome in outcomes}
                folder = predictions.write_best(job, benchmark, best)
                job.say(f"  {benchmark}: predictions and labels in {phases.shown(folder)}")
        if parameters.serve:
            heading("Package and serve")
            phases.show_server(job)
    _next_steps(job)


def _announce(job: Job) -> None:
    if job.source.name == "micro":
        job.console.rule("[bold yellow]micro world: a made-up miniature; its scores mean nothing about real languages")
    recipes = ", ".join(["baseline (no intermediate task)", *(recipe.name for recipe in job.intermediate)])
    job.say(f"rows from {job.source.name}, encoder {job.base}, seed {job.seed}")
    job.say(f"recipes: {recipes}\ntargets: {', '.join(spec.name for spec in job.targets)}")


def _next_steps(job: Job) -> None:
    job.say("\n[bold]Next[/]")
    job.say("  make serve    keep the server running on http://127.0.0.1:3000 and try its page")
    job.say("  make ui       runs, scores and models in the MLflow UI")
    job.say("  mlflow run . --env-manager local -P intermediate=pawsx -P targets=xnli,pawsx    another recipe")


if __name__ == "__main__":
    command(Main, run, examples=EXAMPLES)
