"""Entry point `promote`: registers a checkpoint's bundle and makes it the champion of its target."""

from __future__ import annotations

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.promote --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.promote --target tatoeba"""


class Promote(JobParameters):
    """Scores, exports and registers a checkpoint, and points the alias champion at it.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """

    target: str = Field(description="the target")

    options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target


def run(parameters: Promote) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "promote", parameters):
        checkpoint = phases.base_checkpoint(job)
        for spec in job.targets:
            cell = phases.score_checkpoint(job, spec, checkpoint)
            phases.promote_cell(job, cell, phases.export_cell(job, cell))


if __name__ == "__main__":
    command(Promote, run, examples=EXAMPLES)
