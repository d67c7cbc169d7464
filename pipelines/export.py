"""Entry point `export`: a checkpoint to an ONNX bundle, with parity and self-test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import command
from pipelines.job import Job

if TYPE_CHECKING:
    from pipelines.phases import Cell

EXAMPLES = """\
  python -m pipelines.export --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.export --target tatoeba"""


class Export(CheckpointParameters):
    """Exports a checkpoint to a bundle and prints its folder.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """


def run(parameters: Export) -> None:
    run_checkpoint("export", parameters, _export)


def _export(job: Job, cell: Cell) -> None:
    from pipelines import promotion

    print(promotion.export_cell(job, cell).folder)


if __name__ == "__main__":
    command(Export, run, examples=EXAMPLES)
