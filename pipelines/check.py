"""Looks before anything starts: parameters, data, folders, free space and the tracking server, within seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pydantic import Field

from pipelines.cli import ROOT, command
from pipelines.job import Job, JobParameters
from polystilts.errors import InvalidValue

#: Free space below which no job is started: the micro job needs a few hundred MB, large models tens of GB.
MIN_FREE_BYTES = 1_000_000_000

EXAMPLES = """\
  python -m pipelines.check
  python -m pipelines.check --preset xlmr-base --targets xnli,xquad
  MLFLOW_TRACKING_URI=http://mlflow.example:5000 python -m pipelines.check"""


class Check(JobParameters):
    """Checks everything a job needs and says what it found; exits non-zero if the job could not start."""

    intermediate: str = Field("", description="as for main")
    targets: str = Field("", description="as for main")

    def tasks_asked(self) -> tuple[str, str]:
        return self.intermediate, self.targets


def run(parameters: Check) -> None:
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
    check_tracker(uri)
    job = Job.open(parameters)
    check_space(job.output)
    recipes = ["baseline", *(recipe.name for recipe in job.intermediate)]
    job.say(f"ready: {len(job.targets)} targets x {len(recipes)} recipes, rows from {job.source.name}, base {job.base}")


def check_tracker(uri: str) -> None:
    """The tracking server answers within three seconds (without importing MLflow)."""
    from polystilts.tracking.reach import check_tracker as check

    check(uri)


def check_space(folder: Path) -> None:
    """There is room for a job.

    Raises:
        InvalidValue: under MIN_FREE_BYTES.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < MIN_FREE_BYTES:
        raise InvalidValue(
            f"{free / 1e9:.1f} GB free in {there}; at least {MIN_FREE_BYTES / 1e9:.0f} GB are needed",
            param="--output",
            limit=MIN_FREE_BYTES,
            given=free,
        )


if __name__ == "__main__":
    command(Check, run, examples=EXAMPLES)
