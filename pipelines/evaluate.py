"""Entry point `evaluate`: scores a checkpoint zero-shot in every language the source has."""

from __future__ import annotations

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.evaluate --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.evaluate --target tatoeba"""


class Evaluate(JobParameters):
    """Scores a checkpoint on a target's choice and report rows and prints the table of its languages.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """

    target: str = Field(description="the target")

    options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target


def run(parameters: Evaluate) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "evaluate", parameters):
        checkpoint = phases.base_checkpoint(job)
        for spec in job.targets:
            cell = phases.score_checkpoint(job, spec, checkpoint)
            phases.summary_of(job, [cell], name=f"{spec.name}-{cell.recipe}").render(job.console)


if __name__ == "__main__":
    command(Evaluate, run, examples=EXAMPLES)
