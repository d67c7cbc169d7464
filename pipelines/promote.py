"""Entry point `promote`: registers a checkpoint's bundle and makes it the champion of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import command
from pipelines.job import Job

if TYPE_CHECKING:
    from pipelines.phases import Cell

EXAMPLES = """\
  python -m pipelines.promote --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.promote --target tatoeba"""


class Promote(CheckpointParameters):
    """Scores, exports and registers a checkpoint, and points the alias champion at it.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """


def run(parameters: Promote) -> None:
    run_checkpoint("promote", parameters, _promote)


def _promote(job: Job, cell: Cell) -> None:
    from pipelines import phases

    phases.promote_cell(job, cell, phases.export_cell(job, cell))


if __name__ == "__main__":
    command(Promote, run, examples=EXAMPLES)
