"""CELLS under conditions: a checkpoint that was scored on rows as they are, on the same rows changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.job import Job
from pipelines.provenance import shown
from pipelines.scoring import Cell, predictor_of, score, scoring_key, scoring_settings
from polystilts.data.conditions import CLEAN, Condition
from polystilts.metrics.bank import BankRow, read_about, read_bank
from polystilts.runtime.predictor import Predictor
from polystilts.tasks.recipe import file_name


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
    spec, recipe, checkpoint = cell.spec, cell.recipe, cell.checkpoint
    key = scoring_key(job, spec, checkpoint, recipe, condition=condition)
    bank = job.output / "conditions" / f"{spec.name}-{file_name(recipe)}-{file_name(condition.name)}-{key[:16]}.parquet"
    what = f"{spec.name} from {recipe}, {condition.name}"
    if bank.is_file():
        job.say(f"  score {what}: done before, found in {shown(bank)}")
        return Scored(condition, read_bank(bank), read_about(bank), bank)
    if not opened:
        opened.append(predictor_of(job, checkpoint, scoring_settings(job, spec, checkpoint)[0]))
    parameters = {"condition": condition.name}
    result, _ = score(job, opened[0], spec, checkpoint, recipe, bank, key, what, parameters, condition)
    return Scored(condition, result.rows, result.about, bank)
