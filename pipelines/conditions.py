"""CELLS under conditions: a checkpoint that was scored on rows as they are, on the same rows changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow

from pipelines.job import Job
from pipelines.provenance import seed_of, shown
from pipelines.scoring import Cell, evaluation_data, predictor_of, rows_of, scores_of, scoring_settings
from polystilts.data.conditions import CLEAN, Condition
from polystilts.data.roles import evaluation_languages
from polystilts.evaluation import evaluate
from polystilts.metrics.bank import BankRow, read_about, read_bank, write_bank
from polystilts.runtime.folders import digest_of
from polystilts.runtime.predictor import Predictor
from polystilts.tasks.recipe import file_name
from polystilts.tracking.runs import progress_bar
from polystilts.training.checkpoint import code_digest


@dataclass(frozen=True)
class Scored:
    """The bank of a cell under one condition.

    Attributes:
        about: the bank's metadata, see `Evaluation.about`; {} of clean text.
    """

    condition: Condition
    rows: list[BankRow]
    about: Mapping[str, Any]
    bank: Path

    @property
    def measured(self) -> Mapping[str, Mapping[str, float]]:
        """What noise did, by language: ``character_rate``, ``word_rate`` and the counts behind them."""
        return dict(self.about.get("noise", {}))


def score_under(job: Job, cell: Cell, conditions: Iterable[Condition]) -> list[Scored]:
    """Scores a cell's checkpoint under each condition; banks that are there are read, the model is opened at most once.

    Banks lie in ``conditions/`` of the output folder: those in ``evaluations/`` are all of clean text.
    """
    opened: list[Predictor] = []
    return [
        Scored(CLEAN, cell.rows, {}, cell.bank) if condition == CLEAN else _score(job, cell, condition, opened)
        for condition in conditions
    ]


def _score(job: Job, cell: Cell, condition: Condition, opened: list[Predictor]) -> Scored:
    spec, recipe = cell.spec, cell.recipe
    settings, layer = scoring_settings(job, spec, cell.checkpoint)
    limit, seed = job.preset.evaluation.limit, seed_of(job, cell.checkpoint)
    key = digest_of(
        {
            "phase": "evaluate",
            "task": spec.name,
            "condition": condition.name,
            "checkpoint": cell.checkpoint.weights,
            "data": evaluation_data(job, spec),
            "limit": limit,
            "layer": layer,
            "settings": settings.to_json(),
            "seed": seed,
            "recipe": recipe,
            "code": code_digest(),
        }
    )
    bank = job.output / "conditions" / f"{spec.name}-{file_name(recipe)}-{file_name(condition.name)}-{key[:16]}.parquet"
    what = f"{spec.name} from {recipe}, {condition.name}"
    if bank.is_file():
        job.say(f"  score {what}: done before, found in {shown(bank)}")
        return Scored(condition, read_bank(bank), read_about(bank), bank)
    rows = rows_of(job, spec)
    if not opened:
        opened.append(predictor_of(job, cell.checkpoint, settings))
    languages = evaluation_languages(job.source, spec)
    parameters = {"task": spec.name, "recipe": recipe, "seed": seed, "condition": condition.name}
    with job.tracker.run("evaluate", f"evaluate/{what}", key, parameters):
        with progress_bar(job.console) as bar:
            line = bar.add_task(f"score {what}", total=len(rows), note="")
            result = evaluate(
                opened[0],
                job.source,
                spec,
                languages,
                recipe=recipe,
                seed=seed,
                layer=layer,
                progress=lambda n: bar.advance(line, n),
                rows=rows,
                condition=condition,
            )
        write_bank(bank, result.rows, result.about)
        mlflow.log_artifact(str(bank), "bank")
        mlflow.log_metrics(scores_of(spec, result.rows))
        for language, counts in result.about["noise"].items():
            mlflow.log_metric(f"character_rate/{language}", counts["character_rate"])
        for at, accuracy in result.layer_curve.items():
            mlflow.log_metric("accuracy_at_layer", accuracy, step=at)
    return Scored(condition, result.rows, result.about, bank)
