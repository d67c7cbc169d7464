"""CELLS: a target under a recipe, scored zero-shot in every language; their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch

from pipelines.job import Job, training_stages
from pipelines.objectives import row_limit
from pipelines.planning import Node, size_of
from pipelines.provenance import recipe_of, seed_of, shown, stages_of
from polystilts.analysis.summary import Summary, summarise
from polystilts.data.conditions import CLEAN, Condition
from polystilts.data.roles import evaluation_languages
from polystilts.data.roles import training_rows as english_rows
from polystilts.errors import InvalidValue
from polystilts.evaluation import Evaluation, ScoredRows, evaluate, evaluate_trivial, scored_rows, settings_for
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, read_bank, write_bank
from polystilts.runtime.folders import digest_of, write_json
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TaskSpec
from polystilts.tasks.recipe import file_name
from polystilts.tracking.runs import progress_bar, stop_if_asked
from polystilts.training.checkpoint import Checkpoint, code_digest
from polystilts.training.model import TorchBackend, build_for, read_config


@dataclass(frozen=True)
class Cell:
    """A target under a recipe: the checkpoint that was scored and its bank rows.

    Attributes:
        settings: as it is served: of the layers that were scored, the one that decides.
        key: of the scoring.
        run_id: of the run that scored it, where that was now; '' = it was found.
    """

    spec: TaskSpec
    recipe: str
    checkpoint: Checkpoint
    settings: FormatSettings
    rows: list[BankRow]
    bank: Path
    key: str
    run_id: str = ""


def scoring_settings(job: Job, spec: TaskSpec, checkpoint: Checkpoint) -> tuple[FormatSettings, int | None]:
    """How a checkpoint is scored on a target, and for mean pooling the layer that decides."""
    layer = None
    settings = checkpoint.settings
    if settings is None or (settings.format, settings.pooling) != (spec.format, spec.pooling):
        # Scored in another way than it was trained (Tatoeba after SQuAD): the target says how.
        settings = settings_for(spec, max_length=row_limit(job, checkpoint))
    if spec.format == "sentence" and spec.pooling == "mean":
        depth = int(read_config(checkpoint.folder).num_hidden_layers)
        chosen = job.preset.evaluation.retrieval_layer
        layer = retrieval_layer(depth) if chosen < 0 else chosen
        if layer > depth:
            raise InvalidValue(
                f"retrieval_layer {layer} of an encoder with {depth} layers",
                param="retrieval_layer",
                limit=depth,
                given=layer,
            )
        # Aligned and mined pairs have a curve over layers; elsewhere the layer that decides is enough.
        pooled = range(depth + 1) if spec.metric in ("retrieval", "mining_f1") else [layer]
        settings = settings_for(spec, layers=pooled, max_length=settings.max_length)
    return settings, layer


def predictor_of(job: Job, checkpoint: Checkpoint, settings: FormatSettings) -> Predictor:
    """The checkpoint's model as it is scored."""
    return Predictor(
        make_format(Pieces.open(checkpoint.folder), settings),
        TorchBackend(_on_device(build_for(settings, checkpoint.folder)), settings),
        max_tokens=job.preset.evaluation.max_tokens,
    )


def scoring_key(job: Job, spec: TaskSpec, checkpoint: Checkpoint, recipe: str, *, condition: Condition = CLEAN) -> str:
    """Of the scoring of a checkpoint: everything that the rows of its bank depend on."""
    settings, layer = scoring_settings(job, spec, checkpoint)
    about = {
        "phase": "evaluate",
        "task": spec.name,
        "checkpoint": checkpoint.weights,
        "data": evaluation_data(job, spec),
        "limit": job.preset.evaluation.limit,
        "layer": layer,
        "settings": settings.to_json(),
        "seed": seed_of(job, checkpoint),
        "recipe": recipe,
        "code": code_digest(),
    }
    return digest_of(about | ({} if condition == CLEAN else {"condition": condition.name}))


def score_cell(job: Job, spec: TaskSpec, checkpoint: Checkpoint, recipe: str) -> Cell:
    """Scores a checkpoint zero-shot in every language that is there; the bank goes to Parquet and to MLflow."""
    settings, layer = scoring_settings(job, spec, checkpoint)
    key = scoring_key(job, spec, checkpoint, recipe)
    bank = job.output / "evaluations" / f"{spec.name}-{file_name(recipe)}-{key[:16]}.parquet"
    served = settings if layer is None else settings_for(spec, layers=[layer], max_length=settings.max_length)
    what = f"{spec.name} from {recipe}"
    if job.graph is not None:
        there = bank.is_file()
        count = 0 if there else len(rows_of(job, spec))
        job.graph.add(key, Node("evaluate", spec.name, f"score {what}", size_of(checkpoint), there, rows=count))
        return Cell(spec, recipe, checkpoint, served, [], bank, key)
    if bank.is_file():
        job.say(f"  score {what}: done before, found in {shown(bank)}")
        return Cell(spec, recipe, checkpoint, served, read_bank(bank), bank, key)
    predictor = predictor_of(job, checkpoint, settings)
    parameters = {
        "languages": ",".join(evaluation_languages(job.source, spec)),
        "encoder_parameters": size_of(checkpoint),
        "rows": len(rows_of(job, spec)),
    }
    result, run_id = score(job, predictor, spec, checkpoint, recipe, bank, key, what, parameters)
    return Cell(spec, recipe, checkpoint, served, result.rows, bank, key, run_id)


def score(
    job: Job,
    predictor: Predictor,
    spec: TaskSpec,
    checkpoint: Checkpoint,
    recipe: str,
    bank: Path,
    key: str,
    what: str,
    parameters: Mapping[str, Any],
    condition: Condition = CLEAN,
) -> tuple[Evaluation, str]:
    """Scores in a run of its own, writes the bank, and gives what was found with the id of the run.

    Args:
        what: is scored, in words.
        parameters: of the run, beside task, recipe and seed.
    """
    _, layer = scoring_settings(job, spec, checkpoint)
    rows, seed = rows_of(job, spec), seed_of(job, checkpoint)
    parameters = {"task": spec.name, "recipe": recipe, "seed": seed, **parameters}
    with job.tracker.run("evaluate", f"evaluate/{what}", key, parameters) as run:
        with progress_bar(job.console) as bar:
            line = bar.add_task(f"score {what}", total=len(rows), note="")

            def progress(count: int) -> None:
                stop_if_asked()
                bar.advance(line, count)

            result = evaluate(
                predictor,
                job.source,
                spec,
                evaluation_languages(job.source, spec),
                recipe=recipe,
                seed=seed,
                layer=layer,
                progress=progress,
                rows=rows,
                condition=condition,
            )
        write_bank(bank, result.rows, None if condition == CLEAN else result.about)
        mlflow.log_artifact(str(bank), "bank")
        mlflow.log_metrics(scores_of(spec, result.rows))
        for language, counts in result.about["noise"].items():
            mlflow.log_metric(f"character_rate/{language}", counts["character_rate"])
        for at, accuracy in result.layer_curve.items():
            mlflow.log_metric("accuracy_at_layer", accuracy, step=at)
    return result, run.info.run_id


def rows_of(job: Job, spec: TaskSpec) -> ScoredRows:
    """What a target is scored on in every language that is there, read once a job."""
    if spec.name not in job.scored:
        languages = evaluation_languages(job.source, spec)
        found = scored_rows(job.source, spec, languages, limit=job.preset.evaluation.limit)
        if found.unlabelled:
            job.say(f"  {spec.name}: not scored, labels are hidden: {' '.join(found.unlabelled)}")
        job.scored[spec.name] = found
    return job.scored[spec.name]


def evaluation_data(job: Job, spec: TaskSpec) -> dict[str, list[str]]:
    """Fingerprints of what a target is scored on, by language."""
    pool = [job.source.fingerprint(spec, spec.pool_split, "")] if spec.pool_split else []
    return {
        language: pool
        + [
            job.source.fingerprint(spec, split, language)
            for split in spec.evaluation_splits
            if language in job.source.languages(spec, split)
        ]
        for language in evaluation_languages(job.source, spec)
    }


def scores_of(spec: TaskSpec, rows: Sequence[BankRow]) -> dict[str, float]:
    """Main metric and details by role and language, as MLflow metrics."""
    metric = get_metric(spec.metric)
    scores: dict[str, float] = {}
    for role in ("choice", "report"):
        for language in dict.fromkeys(row.language for row in rows):
            part = [row for row in rows if row.language == language and row.role == role]
            if part:
                golds, predictions = [r.gold_value for r in part], [r.predicted_value for r in part]
                scores[f"{role}/{spec.metric}/{language}"] = metric.score(golds, predictions, language)
                for name, value in metric.details(golds, predictions, language).items():
                    scores[f"{role}/{name.replace(' ', '_')}/{language}"] = value
    return {name: value for name, value in scores.items() if value == value}


def trivial_rows(job: Job, spec: TaskSpec) -> list[BankRow]:
    """The bank of the trivial baseline on the same rows."""
    training = english_rows(job.source, spec) if spec.train_task else []
    languages = evaluation_languages(job.source, spec)
    return evaluate_trivial(job.source, spec, training, languages, rows=rows_of(job, spec))


def score_checkpoint(job: Job, spec: TaskSpec, checkpoint: Checkpoint) -> Cell:
    """Scores a checkpoint by itself.

    Raises:
        InvalidValue: a checkpoint that was trained for something else.
    """
    lineage = checkpoint.lineage
    trained, wanted = stages_of(lineage), training_stages(spec)
    if trained != wanted:
        raise InvalidValue(
            f"{spec.name} needs a checkpoint fine-tuned on {', then '.join(wanted) or 'nothing'}; "
            f"this one was made by phase {lineage['phase']!r} on {', then '.join(trained) or repr(lineage['name'])}",
            param="--base",
            limit=spec.train_task,
            given=lineage["name"],
        )
    return score_cell(job, spec, checkpoint, recipe_of(checkpoint))


def protocol_of(job: Job, cells: Sequence[Cell]) -> str:
    """Whose hyper-parameters made these cells, and which checkpoint of every training was kept."""
    said = kept_checkpoints((cell.spec, cell.checkpoint) for cell in cells)
    return ", ".join([job.preset.protocol, *said])


def kept_checkpoints(cells: Iterable[tuple[TaskSpec, Checkpoint]]) -> list[str]:
    """Which checkpoint of every training was kept ('best checkpoint'), with the targets where that differs."""
    kept: dict[str, list[str]] = {}
    for spec, checkpoint in cells:
        if spec.train_task:
            own = kept.setdefault(str(checkpoint.lineage.get("selection", "unknown")), [])
            own += [spec.name] if spec.name not in own else []
    if len(kept) < 2:
        return [f"{name} checkpoint" for name in kept]
    return [f"{name} checkpoint of {' '.join(targets)}" for name, targets in kept.items()]


def summary_of(job: Job, cells: Sequence[Cell], *, name: str = "summary") -> Summary:
    """The result table on report rows, with the trivial baselines beside it; logged to the job's run.

    Args:
        name: of the files in `reports/`.
    """
    summary = summarise(
        {(cell.spec.name, cell.recipe): cell.rows for cell in cells},
        {name: trivial_rows(job, spec) for name, spec in {cell.spec.name: cell.spec for cell in cells}.items()},
        source=job.source.name,
        seed=job.seed,
        protocol=protocol_of(job, cells),
    )
    folder = job.output / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", summary.to_json())
    (folder / f"{name}.md").write_text(summary.markdown(), encoding="utf-8")
    summary.plot(folder / f"{name}.png")
    if mlflow.active_run():
        for suffix in ("json", "md", "png"):
            mlflow.log_artifact(str(folder / f"{name}.{suffix}"), "report")
    return summary


def _on_device(model: Any) -> Any:
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
