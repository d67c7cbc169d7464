"""Entry point `target`: fine-tunes one target in English from the base or from an intermediate checkpoint."""

from __future__ import annotations

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.target --target xnli
  python -m pipelines.target --target xquad --base outputs/checkpoints/intermediate-mnli-0123456789abcdef"""


class Target(JobParameters):
    """Fine-tunes a target on its English training task and prints the checkpoint's folder."""

    target: str = Field(description="the target; those with the same English training set share a checkpoint")

    options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target


def run(parameters: Target) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "target", parameters):
        base = phases.base_checkpoint(job)
        for spec in job.targets:
            print(phases.train_target(job, spec, base, phases.recipe_of(base)).folder)


if __name__ == "__main__":
    command(Target, run, examples=EXAMPLES)
