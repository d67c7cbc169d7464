"""The phases of a job, each a function from folders to folders, each its own MLflow run, each skipped when done.

A phase is known by its key, the digest of everything that decides its result. A finished phase is found by its folder,
an interrupted one continues from the state it saved; the key is the name of both.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch
from torch import nn
from transformers import PreTrainedModel

from pipelines.cli import ROOT, Parameters
from pipelines.job import BASELINE, Job, mixture_name, repeated_data, training_stages
from pipelines.preset import TrainingKnobs
from polystilts import __version__
from polystilts.analysis.summary import Summary, summarise
from polystilts.data.roles import (
    checkpoint_rows,
    evaluation_languages,
    evaluation_rows,
    hash_of,
    missing_languages,
    training_languages,
)
from polystilts.data.roles import (
    training_rows as english_rows,
)
from polystilts.data.source import Source
from polystilts.errors import InvalidValue, MissingData
from polystilts.evaluation import (
    ScoredRows,
    evaluate,
    evaluate_trivial,
    score_rows,
    scored_rows,
    settings_for,
)
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.formats.values import Row
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, read_bank, write_bank
from polystilts.runtime.folders import digest_of, write_json
from polystilts.runtime.ort import usable_cores
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TaskSpec, get_task
from polystilts.tracking.runs import RunRecorder, Tracker, progress_bar
from polystilts.training.checkpoint import Checkpoint, code_digest, open_checkpoint, write_checkpoint
from polystilts.training.loop import TrainingSettings, resolve_precision, train
from polystilts.training.model import TorchBackend, bare_encoder, build_for, read_config, share_encoder
from polystilts.training.objective import Mixture, TaskRows, padding_share, training_rows


@dataclass(frozen=True)
class Trained:
    """One task's part of a training phase, encoded."""

    spec: TaskSpec
    settings: FormatSettings
    rows: list[Any]
    examples: int
    checkpoint_rows: list[Row]


def prepare_torch() -> None:
    """The same threads and kernels every time, so that the same command gives the same numbers on a CPU."""
    torch.set_num_threads(usable_cores())
    torch.use_deterministic_algorithms(True, warn_only=True)


def base_checkpoint(job: Job) -> Checkpoint:
    """The encoder everything starts from: the micro encoder (pretrained here), a folder, or a pinned hub model."""
    if job.base == "micro":
        from pipelines.micro_encoder import micro_encoder

        return micro_encoder(job)
    if Path(job.base).is_dir():
        return open_checkpoint(Path(job.base))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    name, _, revision = job.base.partition("@")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=["model.safetensors", "*.json", "sentencepiece.bpe.model"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise MissingData(
            f"cannot get {name} from the hub, nor find it in the cache: {error}",
            param="--base",
            given=job.base,
        ) from None
    checkpoint = open_checkpoint(Path(folder))
    lineage = {**checkpoint.lineage, "name": name, "revision": Path(folder).name}
    return Checkpoint(checkpoint.folder, "", lineage)


def train_intermediate(job: Job, mixture: Sequence[TaskSpec], parent: Checkpoint) -> Checkpoint:
    """One encoder trained on all tasks of a mixture; the checkpoint holds embeddings and layers."""
    name = mixture_name(mixture)
    if repeated := repeated_data(mixture):
        job.say(f"  intermediate {name}: the rows of {', '.join(repeated)} are in this mixture more than once")
    return _train(job, "intermediate", name, list(mixture), parent, recipe=name)


def train_target(job: Job, spec: TaskSpec, parent: Checkpoint, recipe: str) -> Checkpoint:
    """A model fine-tuned in English; targets with the same English training sets share it.

    Tasks that come before the target's own (Social IQa before COPA) are trained one after the other, each from the
    last one's checkpoint. A head stays where the next task has the same format and as many labels.
    """
    for name in training_stages(spec):
        parent = _train(job, "target", name, [job.task(name)], parent, recipe=recipe)
    return parent


def _train(
    job: Job, phase: str, name: str, tasks: Sequence[TaskSpec], parent: Checkpoint, *, recipe: str
) -> Checkpoint:
    knobs = {spec.name: job.knobs(spec.name) for spec in tasks}
    shared = knobs[tasks[0].name] if len(tasks) == 1 else job.preset.training
    selection = shared.selection or (tasks[0].selection if len(tasks) == 1 else "best")
    data = {spec.name: _training_fingerprint(job.source, spec) for spec in tasks}
    limits = {"max_length": job.preset.max_length, "checkpoint_limit": job.preset.evaluation.checkpoint_limit}
    key = digest_of(
        {
            "phase": phase,
            "tasks": [spec.name for spec in tasks],
            "labels": [spec.labels for spec in tasks],
            "data": data,
            "parent": parent.weights,
            "knobs": {k: v.model_dump(exclude={"save_seconds", "log_every"}) for k, v in knobs.items()},
            "shared": shared.model_dump(exclude={"save_seconds", "log_every"}),
            "precision": resolve_precision(shared.precision),
            "limits": limits,
            "seed": job.seed,
            "code": code_digest(),
        }
    )
    label = name if phase == "intermediate" else f"{name} from {recipe}"
    place = job.output / "checkpoints" / f"{phase}-{name}-{key[:16]}"
    if place.is_dir():
        job.say(f"  {phase} {label}: done before, found in {shown(place)}")
        return open_checkpoint(place)

    prepared = [_prepare(job, spec, parent) for spec in tasks]
    models = [build_for(p.settings, parent.folder, seed=job.seed + i) for i, p in enumerate(prepared)]
    share_encoder(models)
    pieces = Pieces.open(parent.folder)
    module: nn.Module = nn.ModuleDict({p.spec.name: m for p, m in zip(prepared, models, strict=True)})
    objective = Mixture(
        [
            TaskRows(
                p.spec.name,
                p.settings,
                p.rows,
                knobs[p.spec.name].epochs,
                knobs[p.spec.name].batch_size,
                p.spec.micro_batch_rows,
            )
            for p in prepared
        ],
        pad=pieces.pad,
        seed=job.seed,
        max_tokens=shared.max_tokens,
        overhead=shared.call_overhead,
    )
    settings = _settings(shared, selection=selection, seed=job.seed)
    parameters = {
        "tasks": name,
        "recipe": recipe,
        "source": job.source.name,
        "parent": parent.lineage["name"],
        "updates": objective.total_updates,
        "seed": job.seed,
        **shared.model_dump(),
        "selection": selection,
    }
    state = job.output / "unfinished" / key
    with job.tracker.run(phase, f"{phase}/{label}", key, parameters) as run:
        mlflow.log_metrics(dict(padding_share(objective, 50)))
        outcome = train(
            module,
            objective,
            settings,
            state_folder=state,
            evaluate=_evaluator(job, prepared, pieces),
            recorder=RunRecorder(job.console),
            description=f"{phase} {label}",
        )
        kept = bare_encoder(models[0]) if phase == "intermediate" else models[0]
        checkpoint = write_checkpoint(
            place,
            kept,
            tokenizer_from=parent.folder,
            key=key,
            settings=prepared[0].settings if phase == "target" else None,
            lineage={
                "phase": phase,
                "name": name,
                "recipe": recipe,
                "transfer": "encoder",
                "source": job.source.name.partition(":")[0],  # not the folder: lineage reaches HTTP clients
                "tasks": [
                    {
                        "name": p.spec.name,
                        "rows": p.examples,
                        "licence": p.spec.licence,
                        "data": data[p.spec.name],
                    }
                    for p in prepared
                ],
                "seed": job.seed,
                "updates": outcome.updates,
                "best_update": outcome.best_step,
                "checkpoint_score": outcome.score,
                "selection": selection,
                "settings": shared.model_dump(),
                "version": __version__,
                "commit": commit_of(ROOT),
                "run_id": run.info.run_id,
                "parent": {k: v for k, v in parent.lineage.items() if k not in ("files", "format")},
            },
        )
        if outcome.score is not None:
            mlflow.log_metric("kept_checkpoint_score", outcome.score)
        log_checkpoint(checkpoint, f"{phase}-{name}", run)
    shutil.rmtree(state, ignore_errors=True)
    scored = "" if outcome.score is None else f", English checkpoint rows {outcome.score:.1f}"
    job.say(f"  {phase} {label}: {outcome.updates} updates{scored}")
    return checkpoint


def commit_of(folder: Path) -> str:
    """The commit of a git checkout, with a '+' where files differ from it; '' where there is no checkout."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _training_fingerprint(source: Source, spec: TaskSpec) -> str:
    found = {language: source.fingerprint(spec, "train", language) for language in training_languages(source, spec)}
    return next(iter(found.values())) if len(found) == 1 else digest_of(found)


def _prepare(job: Job, spec: TaskSpec, parent: Checkpoint) -> Trained:
    settings = settings_for(spec, max_length=_row_limit(job, parent))
    examples = english_rows(job.source, spec)
    limit = job.preset.evaluation.checkpoint_limit
    chosen = checkpoint_rows(job.source, spec)
    if limit and len(chosen) > limit:
        chosen = sorted(chosen, key=lambda row: (hash_of(row.id, "checkpoint limit"), row.id))[:limit]
    format_ = make_format(Pieces.open(parent.folder), settings)
    return Trained(spec, settings, training_rows(format_, examples), len(examples), chosen)


def _row_limit(job: Job, parent: Checkpoint) -> int:
    """Rows fit the preset's limit and the encoder's positions (XLM-R starts counting behind the padding id)."""
    config = read_config(parent.folder)
    positions = int(config.max_position_embeddings) - int(config.pad_token_id or 0) - 1
    return min(positions, job.preset.max_length or positions)


def _settings(knobs: TrainingKnobs, *, selection: str, seed: int) -> TrainingSettings:
    names = set(TrainingSettings.__dataclass_fields__) & set(TrainingKnobs.model_fields)
    values = {name: getattr(knobs, name) for name in names - {"selection"}}
    return TrainingSettings(**values, selection=selection, seed=seed)


def _evaluator(job: Job, prepared: Sequence[Trained], pieces: Pieces) -> Callable[[nn.Module], float]:
    """Unweighted mean of the tasks' main metrics on their English checkpoint rows (jiant's equal aggregation)."""

    def evaluate_all(module: nn.Module) -> float:
        scores = []
        for part in prepared:
            model: PreTrainedModel = module[part.spec.name]  # type: ignore[index]
            predictor = Predictor(
                make_format(pieces, part.settings),
                TorchBackend(model, part.settings),
                max_tokens=job.preset.evaluation.max_tokens,
            )
            scores.append(score_rows(predictor, part.spec, part.checkpoint_rows, "en"))
        return sum(scores) / len(scores)

    return evaluate_all


def log_checkpoint(checkpoint: Checkpoint, name: str, run: Any) -> None:
    """A checkpoint as a LoggedModel of its run."""
    from polystilts.tracking import registry

    registry.log_checkpoint(
        checkpoint,
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=name.replace("+", "-and-"),
    )


@dataclass(frozen=True)
class Cell:
    """A target under a recipe: the checkpoint that was scored and its bank rows.

    Attributes:
        settings: as it is served: of the layers that were scored, the one that decides.
    """

    spec: TaskSpec
    recipe: str
    checkpoint: Checkpoint
    settings: FormatSettings
    rows: list[BankRow]
    bank: Path


def scoring_settings(job: Job, spec: TaskSpec, checkpoint: Checkpoint) -> tuple[FormatSettings, int | None]:
    """How a checkpoint is scored on a target, and for mean pooling the layer that decides."""
    layer = None
    settings = checkpoint.settings
    if settings is None or (settings.format, settings.pooling) != (spec.format, spec.pooling):
        # Scored in another way than it was trained (Tatoeba after SQuAD): the target says how.
        settings = settings_for(spec, max_length=_row_limit(job, checkpoint))
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


def score_cell(job: Job, spec: TaskSpec, checkpoint: Checkpoint, recipe: str) -> Cell:
    """Scores a checkpoint zero-shot in every language that is there; the bank goes to Parquet and to MLflow."""
    languages = evaluation_languages(job.source, spec)
    settings, layer = scoring_settings(job, spec, checkpoint)
    limit, seed = job.preset.evaluation.limit, seed_of(job, checkpoint)
    key = digest_of(
        {
            "phase": "evaluate",
            "task": spec.name,
            "checkpoint": checkpoint.weights,
            "data": evaluation_data(job, spec),
            "limit": limit,
            "layer": layer,
            "settings": settings.to_json(),
            "seed": seed,
            "recipe": recipe,
            "code": code_digest(),
        }
    )
    bank = job.output / "evaluations" / f"{spec.name}-{recipe}-{key[:16]}.parquet"
    served = settings if layer is None else settings_for(spec, layers=[layer], max_length=settings.max_length)
    if bank.is_file():
        job.say(f"  score {spec.name} from {recipe}: done before, found in {shown(bank)}")
        return Cell(spec, recipe, checkpoint, served, read_bank(bank), bank)
    rows = rows_of(job, spec)
    predictor = predictor_of(job, checkpoint, settings)
    parameters = {"task": spec.name, "recipe": recipe, "seed": seed, "languages": ",".join(languages)}
    with job.tracker.run("evaluate", f"evaluate/{spec.name} from {recipe}", key, parameters):
        with progress_bar(job.console) as bar:
            line = bar.add_task(f"score {spec.name} from {recipe}", total=len(rows), note="")
            result = evaluate(
                predictor,
                job.source,
                spec,
                languages,
                recipe=recipe,
                seed=seed,
                limit=limit,
                layer=layer,
                progress=lambda n: bar.advance(line, n),
                rows=rows,
            )
        write_bank(bank, result.rows)
        mlflow.log_artifact(str(bank), "bank")
        mlflow.log_metrics(scores_of(spec, result.rows))
        for at, accuracy in result.layer_curve.items():
            mlflow.log_metric("accuracy_at_layer", accuracy, step=at)
    return Cell(spec, recipe, checkpoint, served, result.rows, bank)


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


def run_grid(job: Job) -> list[Cell]:
    """Every target from the plain encoder and from every intermediate checkpoint."""
    base = base_checkpoint(job)
    for spec in job.targets:
        absent = missing_languages(job.source, spec)
        if absent and job.source.name != "micro":
            job.say(f"  {spec.name}: no rows here for {len(absent)} languages of the set: {' '.join(absent)}")
    parents = {BASELINE: base}
    for mixture in job.intermediate:
        parents[mixture_name(mixture)] = train_intermediate(job, mixture, base)
    cells = []
    for recipe, parent in parents.items():
        for spec in job.targets:
            cells.append(score_cell(job, spec, train_target(job, spec, parent, recipe), recipe))
    return cells


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


def root_of(lineage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lineage of the model that everything started from."""
    while "parent" in lineage:
        lineage = lineage["parent"]
    return lineage


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def show_server(job: Job) -> None:
    """Packages the models folder, serves the bento, asks every endpoint once in several languages, stops it."""
    from pipelines.package import build_bento
    from pipelines.serve import answers_table, ask_every_endpoint, start_server

    store = job.output / "bentos"
    tag = build_bento(job.output / "models", output=store)
    job.say(f"  bento {tag} in {shown(store)}")
    with start_server(bento=tag, home=store) as server, server.client() as client:
        job.say(f"  serving on {server.url}")
        own = _micro_questions(job.source) if job.source.name == "micro" else None
        asked = ask_every_endpoint(client, own) if own else ask_every_endpoint(client)
        job.console.print(answers_table(asked))
    job.say("  server stopped")


@contextlib.contextmanager
def whole(job: Job, tracker: Tracker, phase: str, parameters: Parameters) -> Iterator[None]:
    """The run around an entry point: torch prepared, and the run that `mlflow run` has made adopted."""
    prepare_torch()
    values = parameters.model_dump(exclude={"output"})
    with tracker.run(phase, f"{phase}/{job.preset.description}", digest_of({"entry": phase, **values}), values):
        yield
        skipped = job.source.skipped
        if skipped:
            mlflow.log_metric("skipped_rows", sum(skipped.values()))
            for file, count in skipped.items():
                job.say(f"  {count} bad rows left out of {file}")


def recipe_of(checkpoint: Checkpoint) -> str:
    """What a checkpoint's encoder went through before its target."""
    phase = checkpoint.lineage["phase"]
    if phase == "intermediate":
        return str(checkpoint.lineage["name"])
    return str(checkpoint.lineage.get("recipe", BASELINE))


def as_today(job: Job, lineage: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was trained, all the way from its base, on the job's rows with the job's settings."""
    while lineage.get("phase") in ("intermediate", "target"):
        names = [task["name"] for task in lineage["tasks"]]
        for task in lineage["tasks"]:
            spec = get_task(task["name"])
            if not training_languages(job.source, spec) or task["data"] != _training_fingerprint(job.source, spec):
                return False
        shared = job.knobs(names[0]) if len(names) == 1 else job.preset.training
        if _deciding(lineage["settings"]) != _deciding(shared.model_dump(mode="json")):
            return False
        lineage = lineage["parent"]
    return True


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that change what is learnt, as JSON has them."""
    kept = {name: value for name, value in settings.items() if name not in ("save_seconds", "log_every")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def seed_of(job: Job, checkpoint: Checkpoint) -> int:
    """Of its last training; of a model that was not trained here the job's."""
    return int(checkpoint.lineage.get("seed", job.seed))


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


def stages_of(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks of the last unbroken row of target phases, the first one first."""
    stages: list[str] = []
    while lineage.get("phase") == "target":
        stages.insert(0, lineage["name"])
        lineage = lineage["parent"]
    return tuple(stages)


def _on_device(model: Any) -> Any:
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _micro_questions(source: Source) -> dict[str, dict[str, dict[str, Any]]]:
    """Requests in the micro world's own words, from its evaluation rows: its models know no others."""

    def row(task: str, language: str, number: int = 0) -> Any:
        return evaluation_rows(source, get_task(task), language)[number][1]

    pairs = [row("tatoeba", "de", number) for number in (0, 40, 80)]
    return {
        "nli": {
            lang: {"premise": (r := row("xnli", lang)).premise, "hypothesis": r.hypothesis} for lang in ("de", "hi")
        },
        "paraphrase": {"es": {"sentence1": (p := row("pawsx", "es")).premise, "sentence2": p.hypothesis}},
        "pos": {lang: {"tokens": list(row("udpos", lang).tokens)} for lang in ("ru", "tr")},
        "ner": {"sw": {"tokens": list(row("panx", "sw").tokens)}},
        "qa": {lang: {"question": (q := row("xquad", lang)).question, "context": q.context} for lang in ("es", "zh")},
        "choice": {
            lang: {"premise": (c := row("xcopa", lang)).premise, "question": c.question, "choices": list(c.choices)}
            for lang in ("de", "zh")
        },
        "embed": {"sw": {"text": row("tatoeba", "sw").candidate}},
        "align": {"en-de": {"source": [p.query for p in pairs], "target": [p.candidate for p in pairs][::-1]}},
    }
