"""What the entry points `evaluate`, `export` and `promote` share: one checkpoint, scored on targets, and then some."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.job import NONE, Job, JobParameters

if TYPE_CHECKING:
    from pipelines.phases import Cell


class CheckpointParameters(JobParameters):
    """Parameters of an entry point that takes a finished checkpoint as `--base`."""

    target: str = Field(description="the target")

    grid_options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target


def run_checkpoint(phase: str, parameters: CheckpointParameters, then: Callable[[Job, Cell], None]) -> None:
    """Scores the checkpoint on every target asked for and hands each cell on."""
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, phase, parameters):
        checkpoint = phases.base_checkpoint(job)
        for spec in job.targets:
            then(job, phases.score_checkpoint(job, spec, checkpoint))
