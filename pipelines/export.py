"""Entry point `export`: a checkpoint to an ONNX bundle, with parity and self-test."""

from __future__ import annotations

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters

EXAMPLES = """\
  python -m pipelines.export --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.export --target tatoeba"""


class Export(JobParameters):
    """Exports a checkpoint to a bundle and prints its folder.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder.
    """

    target: str = Field(description="the target")

    options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target


def run(parameters: Export) -> None:
    job = Job.open(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "export", parameters):
        checkpoint = phases.base_checkpoint(job)
        for spec in job.targets:
            cell = phases.score_checkpoint(job, spec, checkpoint)
            print(phases.export_cell(job, cell).folder)


if __name__ == "__main__":
    command(Export, run, examples=EXAMPLES)
