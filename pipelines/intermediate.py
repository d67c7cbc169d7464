"""Entry point `intermediate`: one encoder trained on one English task, or on a mixture."""

from __future__ import annotations

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.intermediate --tasks mnli
  python -m pipelines.intermediate --tasks mnli+squad_v1 --seed 1"""


class Intermediate(JobParameters):
    """Trains an encoder on intermediate tasks and prints the checkpoint's folder."""

    tasks: str = Field(description="mixtures to train, ',' between candidates, '+' inside a mixture")

    options = ("--tasks", NONE)

    def tasks_asked(self) -> tuple[str, str]:
        return self.tasks, NONE


def run(parameters: Intermediate) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "intermediate", parameters):
        base = phases.base_checkpoint(job)
        for mixture in job.intermediate:
            print(phases.train_intermediate(job, mixture, base).folder)


if __name__ == "__main__":
    command(Intermediate, run, examples=EXAMPLES)
