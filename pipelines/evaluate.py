"""Entry point `evaluate`: scores a checkpoint zero-shot in every language the source has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import command
from pipelines.job import Job

if TYPE_CHECKING:
    from pipelines.phases import Cell

EXAMPLES = """\
  python -m pipelines.evaluate --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.evaluate --target tatoeba"""


class Evaluate(CheckpointParameters):
    """Scores a checkpoint on a target's choice and report rows and prints the table of its languages.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """


def run(parameters: Evaluate) -> None:
    run_checkpoint("evaluate", parameters, _show)


def _show(job: Job, cell: Cell) -> None:
    from pipelines import phases

    phases.summary_of(job, [cell], name=f"{cell.spec.name}-{cell.recipe}").render(job.console)


if __name__ == "__main__":
    command(Evaluate, run, examples=EXAMPLES)
