"""Entry point `evaluate`: scores a checkpoint zero-shot in every language the source has, on clean or changed rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import command
from pipelines.job import Job, names
from polystilts.errors import PolystiltsError, UnknownName
from polystilts.tasks import get_task

if TYPE_CHECKING:
    from pipelines.scoring import Cell

EXAMPLES = """\
  python -m pipelines.evaluate --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.evaluate --target tatoeba
  python -m pipelines.evaluate --target tatoeba --condition noise:0.1
  python -m pipelines.evaluate --target pawsx --base FOLDER --condition swapped"""


class Evaluate(CheckpointParameters):
    """Scores a checkpoint on a target's choice and report rows and prints the table of its languages.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder. Under a condition the
    rows are changed before they are answered; the clean ones are scored too, to be compared with.
    """

    condition: str = Field(
        "clean",
        description="clean, noise:RATE[:KINDS][:SEED][:in-answers] (KINDS: all, train, held-out, or names with '+'), "
        "and of pairs swapped, renamed[:SEED]",
    )

    def problems(self) -> Sequence[PolystiltsError]:
        from polystilts.data.conditions import check_condition, parse_condition

        found = list(super().problems())
        try:
            condition = parse_condition(self.condition, param="--condition")
        except PolystiltsError as error:
            return [*found, error]
        for name in names(self.target):
            try:
                check_condition(condition, get_task(name), param="--condition")
            except UnknownName:
                continue  # reported above
            except PolystiltsError as error:
                found.append(error)
        return found


def run(parameters: Evaluate) -> None:
    run_checkpoint("evaluate", parameters, lambda job, cell: _show(job, cell, parameters.condition))


def _show(job: Job, cell: Cell, text: str) -> None:
    from pipelines.conditions import score_under
    from pipelines.scoring import summary_of
    from polystilts.data.conditions import CLEAN, parse_condition
    from polystilts.tasks.recipe import file_name

    name = f"{cell.spec.name}-{cell.recipe}"
    condition = parse_condition(text)
    if condition != CLEAN:
        [found] = score_under(job, cell, [condition])
        cell, name = replace(cell, rows=found.rows, bank=found.bank), f"{name}-{file_name(condition.name)}"
        for language, counts in found.measured.items():
            job.say(f"  {condition.name}, {language}: {100 * counts['character_rate']:.1f} % of the characters changed")
    summary_of(job, [cell], name=name).render(job.console)


if __name__ == "__main__":
    command(Evaluate, run, examples=EXAMPLES)
