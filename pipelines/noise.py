"""Entry point `noise`: scores a checkpoint under typing mistakes, and of pairs how far its answers hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import command
from pipelines.job import Job, names
from polystilts.errors import InvalidValue, PolystiltsError, UnknownName
from polystilts.tasks import get_task

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.conditions import Scored
    from pipelines.scoring import Cell
    from polystilts.data.conditions import Condition

EXAMPLES = """\
  python -m pipelines.noise --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.noise --target udpos --base FOLDER --rates 0.1,0.3 --kinds held-out
  python -m pipelines.noise --target pawsx --base FOLDER --robustness
  python -m pipelines.noise --target tatoeba --kinds swap,drop --noise-seed 1"""


class Noise(CheckpointParameters):
    """Scores a checkpoint at several rates of typographical noise and prints score and relative loss by language.

    Clean text is always scored too. Noise keeps labels, tags and gold answers; of retrieval only queries are changed.
    The table, its CSV and the picture are of report rows, in `reports/`; banks lie in `conditions/`.
    """

    rates: str = Field("0,0.05,0.1,0.2", description="shares of words with a mistake, 0 to 1, ',' between")
    kinds: str = Field(
        "all", description="of mistakes: all, train, held-out (what a training with noise does not see), or names"
    )
    noise_seed: int = Field(0, ge=0, description="of the mistakes; --seed is that of the training")
    in_answers: bool = Field(False, description="change words of gold answers too; the gold moves with them")
    robustness: bool = Field(
        False,
        description="of pairs also: agreement and correctness with the sentences swapped, a name changed in both, and "
        "noise; calibration",
    )

    def problems(self) -> Sequence[PolystiltsError]:
        found = list(super().problems())
        for check in (rates_of, kinds_of):
            try:
                check(self)
            except PolystiltsError as error:
                found.append(error)
        if self.robustness:
            found += _not_pairs(self.target)
        return found


def kinds_of(parameters: Noise) -> tuple[str, ...]:
    """The kinds of mistakes asked for.

    Raises:
        UnknownName: one that is not known.
    """
    from polystilts.data.noise.rows import parse_kinds

    return parse_kinds(parameters.kinds, param="--kinds")


def rates_of(parameters: Noise) -> list[float]:
    """The rates asked for, ascending, 0 apart.

    Raises:
        InvalidValue: one that is no share, or no rate but 0.
    """
    rates = set()
    for text in names(parameters.rates):
        try:
            rate = float(text)
        except ValueError:
            rate = float("nan")
        if not 0.0 <= rate <= 1.0:
            message = f"{text!r} is not a share of words from 0 to 1"
            raise InvalidValue(message, param="--rates", limit=1, given=text)
        rates.add(rate)
    if not rates - {0.0}:
        raise InvalidValue("no rate above 0 is given", param="--rates", limit=0, given=parameters.rates)
    return sorted(rates - {0.0})


def conditions_of(parameters: Noise) -> dict[float, Condition]:
    """Conditions by rate, ascending; the first is clean text.

    Raises:
        InvalidValue, UnknownName: as `rates_of` and `kinds_of`.
    """
    from polystilts.data.conditions import CLEAN, noise_of
    from polystilts.data.noise import NoiseSettings

    kinds, seed, in_answers = kinds_of(parameters), parameters.noise_seed, parameters.in_answers
    noisy = {rate: noise_of(NoiseSettings(rate, kinds, seed, in_answers)) for rate in rates_of(parameters)}
    return {0.0: CLEAN} | noisy


def _not_pairs(targets: str) -> list[PolystiltsError]:
    """Targets whose rows are no pairs of texts; unknown names are reported elsewhere."""
    found: list[PolystiltsError] = []
    for name in names(targets):
        try:
            format_ = get_task(name).format
        except UnknownName:
            continue
        if format_ != "pair":
            message = f"{name} has the format {format_!r}; --robustness is of pairs of texts"
            found.append(InvalidValue(message, param="--robustness", limit="pair", given=format_))
    return found


def run(parameters: Noise) -> None:
    run_checkpoint("noise", parameters, lambda job, cell: _noise(job, cell, parameters))


def _noise(job: Job, cell: Cell, parameters: Noise) -> None:
    import mlflow

    from pipelines.conditions import score_under
    from polystilts.analysis.report.canvas import with_note
    from polystilts.analysis.robustness import noise_curve
    from polystilts.tasks.recipe import file_name, languages_of

    conditions = conditions_of(parameters)
    scored = dict(zip(conditions, score_under(job, cell, conditions.values()), strict=True))
    curve = noise_curve(
        cell.spec,
        cell.recipe,
        {rate: found.rows for rate, found in scored.items()},
        {rate: found.measured for rate, found in scored.items()},
        trained=languages_of(cell.checkpoint.lineage) or ("en",),
    )
    _show(job, curve.table(), curve.caption)
    for level in curve.levels:
        # A step is a whole number: words in a thousand.
        step = round(1000 * level.rate)
        mlflow.log_metric(f"noise/score/{level.language}", level.score.value, step=step)
        if level.loss is not None:
            mlflow.log_metric(f"noise/relative_loss/{level.language}", level.loss.value, step=step)
    # All that the conditions have in common but the rate: kinds, seed, place.
    settings = conditions[max(conditions)].name.split(":", 2)[2]
    what = f"{cell.spec.name}-{file_name(cell.recipe)}-{file_name(settings)}"
    _write(job, f"noise-{what}", csv=curve.csv(), svg=with_note(curve.picture(), _banner(job)))
    if parameters.robustness:
        _robustness(job, cell, list(scored.values()), parameters.noise_seed, f"robustness-{what}")


def _robustness(job: Job, cell: Cell, scored: Sequence[Scored], seed: int, name: str) -> None:
    import mlflow

    from pipelines.conditions import score_under
    from polystilts.analysis.robustness import pair_robustness
    from polystilts.data.conditions import Condition

    clean, *noisy = scored
    changed = score_under(job, cell, [Condition("swapped"), Condition("renamed", seed=seed)])
    banks = {found.condition.name: found.rows for found in (clean, *changed, *noisy)}
    found = pair_robustness(cell.spec, cell.recipe, banks)
    _show(job, found.table(), found.caption)
    for condition in banks.keys() - {held.condition for held in found.held}:
        job.say(f"  {cell.spec.name}, {condition}: no pair has a changed form")
    for held in found.held:
        kind, _, rest = held.condition.partition(":")
        step = round(1000 * float(rest.partition(":")[0])) if kind == "noise" else 0
        mlflow.log_metric(f"robustness/{held.measure}/{kind}/{held.language}", held.value, step=step)
    _write(job, name, csv=found.csv())


def _banner(job: Job) -> str:
    from polystilts.tracking.card import MICRO_NOTE

    return MICRO_NOTE if job.source.name == "micro" else ""


def _show(job: Job, table: Table, caption: str) -> None:
    job.console.print()
    if banner := _banner(job):
        job.console.print(banner, style="bold")
    job.console.print(table)
    job.console.print(caption, style="dim")


def _write(job: Job, name: str, **texts: str) -> None:
    """A file for each ending, in `reports/` and in the run."""
    import mlflow

    from pipelines.provenance import shown

    folder = job.output / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        place = folder / f"{name}.{ending}"
        place.write_text(text, encoding="utf-8")
        mlflow.log_artifact(str(place), "report")
        job.say(f"  written: {shown(place)}")


if __name__ == "__main__":
    command(Noise, run, examples=EXAMPLES)
