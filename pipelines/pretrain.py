"""Entry point `pretrain`: makes the base encoder of a preset (the micro world's last updates; others are fetched)."""

from __future__ import annotations

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.pretrain
  python -m pipelines.pretrain --preset xlmr-base"""


class Pretrain(JobParameters):
    """Makes or fetches the encoder that everything starts from and prints its folder."""

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, NONE


def run(parameters: Pretrain) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "pretrain", parameters):
        print(phases.base_checkpoint(job).folder)


if __name__ == "__main__":
    command(Pretrain, run, examples=EXAMPLES)
