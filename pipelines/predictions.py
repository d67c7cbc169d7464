"""Predictions on a benchmark's test rows, in its own files, and the labels beside them where the source knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import phases
from pipelines.job import Job
from polystilts.data.columns import has_gold
from polystilts.evaluation import evaluate, scored_rows
from polystilts.formats.values import SentencePair
from polystilts.metrics import plain_gold, plain_prediction
from polystilts.metrics.bank import BankRow
from polystilts.submission import benchmark_tasks, write_labels, write_predictions
from polystilts.tasks import TaskSpec
from polystilts.training.checkpoint import Checkpoint


def languages_there(job: Job, benchmark: str, spec: TaskSpec) -> list[str]:
    """The benchmark's languages of a task that the source has test rows for; the others are said by name."""
    wanted = spec.benchmarks[benchmark]
    there = [language for language in wanted if language in job.source.languages(spec, spec.test_split)]
    absent = [language for language in wanted if language not in there]
    if absent:
        job.say(f"  {spec.data}: no test rows here for {len(absent)} of {len(wanted)}: {' '.join(absent)}")
    return there


def write_task(
    job: Job, benchmark: str, spec: TaskSpec, checkpoint: Checkpoint, languages: Sequence[str], folder: Path
) -> None:
    """The files of one task. Retrieval is predicted as it is scored; everything else row by row, labelled or not."""
    settings, layer = phases.scoring_settings(job, spec, checkpoint)
    predictor = phases.predictor_of(job, checkpoint, settings)
    bank: list[BankRow] = []
    if spec.format == "sentence":
        pools = scored_rows(job.source, spec, languages, hidden=True)
        result = evaluate(predictor, job.source, spec, languages, recipe="", seed=job.seed, layer=layer, rows=pools)
        bank = result.rows
    for language in languages:
        rows = job.source.rows(spec, spec.test_split, language)
        queries: list[str] = []
        if spec.format == "sentence":
            # A language with one split has its rows in both roles.
            splits = [split for split in spec.evaluation_splits if language in job.source.languages(spec, split)]
            own = [row for row in bank if row.language == language and (row.role == "report" or len(splits) == 1)]
            ids = [row.id for row in own]
            predictions: list[Any] = [row.predicted_value for row in own]
            # Most sentences of BUCC have no partner, but not all; where all have none they are hidden.
            golds: list[Any] = [row.gold_value for row in own] if any(row.gold_value for row in own) else []
            queries = [row.query for row in rows if isinstance(row, SentencePair)]
        else:
            ids = [row.id for row in rows]
            predictions = [plain_prediction(prediction) for prediction in predictor.predict(rows)]
            if spec.format == "tagging":
                # A line a word is what the format asks for, so a refused sentence is tagged O.
                predictions = [
                    p or ["O"] * len(getattr(row, "tokens", ())) for p, row in zip(predictions, rows, strict=True)
                ]
            golds = [plain_gold(row) for row in rows] if all(map(has_gold, rows)) else []
        place = (benchmark, spec, language, ids)
        write_predictions(folder / "predictions", *place, predictions, queries=queries)
        if golds:
            write_labels(folder / "labels", *place, golds, queries=queries)
    job.say(f"  {spec.data}: {len(languages)} languages")


def write_best(job: Job, benchmark: str, best: Mapping[str, phases.Cell]) -> Path:
    """The files of a benchmark from the best recipe of each target; tasks that no target covers are said by name.

    Returns:
        The folder, with `predictions/` and `labels/` in it.
    """
    folder = job.output / "submission" / benchmark / "best"
    for data, spec in benchmark_tasks(benchmark).items():
        if spec.name not in best:
            job.say(f"  {data}: not among the targets ({spec.name})")
        elif there := languages_there(job, benchmark, spec):
            write_task(job, benchmark, spec, best[spec.name].checkpoint, there, folder)
    return folder
