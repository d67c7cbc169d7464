"""The phases of a job, each a function from folders to folders, each its own MLflow run, each skipped when done.

A phase is known by its key, the digest of everything that decides its result. A finished phase is found by its folder,
an interrupted one continues from the state it saved; the key is the name of both.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import torch
from torch import nn
from transformers import PreTrainedModel, XLMRobertaModel

from pipelines.cli import ROOT, Parameters
from pipelines.job import BASELINE, Job, repeated_data, training_stages
from pipelines.preset import TrainingKnobs
from pipelines.recipes import (
    ENGLISH_ALONE,
    Plan,
    TaskPart,
    TextPart,
    as_recipe,
    full_name,
    intermediate_plan,
    intermediate_settings,
    recipe_from,
    recipe_name,
    shared_knobs,
    target_languages,
    target_plan,
    target_settings,
    training_fingerprint,
)
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
from polystilts.data.shuffled import shuffled
from polystilts.data.source import Source
from polystilts.data.training_sets import fewer
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
from polystilts.tasks.recipe import Recipe, file_name
from polystilts.tracking.runs import RunRecorder, Tracker, progress_bar
from polystilts.training.average import move_towards
from polystilts.training.checkpoint import Checkpoint, code_digest, open_checkpoint, write_checkpoint
from polystilts.training.loop import TrainingSettings, resolve_precision, train
from polystilts.training.masking import MLM, MaskedText, MaskingSettings, mask_id_of, text_rows
from polystilts.training.model import (
    TorchBackend,
    bare_encoder,
    build_for,
    build_model,
    has_lm_head,
    read_config,
    share_encoder,
    with_pooler,
)
from polystilts.training.objective import (
    Interleaved,
    Mixture,
    Objective,
    Sampling,
    TaskRows,
    TrainingRow,
    padding_share,
    share_of,
    training_rows,
)

#: What `write_checkpoint` says itself in a lineage.
WRITTEN = frozenset({"schema_version", "key", "weights", "tokenizer", "format", "files"})


@dataclass(frozen=True)
class Trained:
    """One task's part of a training phase, encoded.

    Attributes:
        name, head: of the part, see `TaskPart`.
        examples: data set -> language -> number of examples.
    """

    name: str
    head: str
    spec: TaskSpec
    settings: FormatSettings
    rows: list[TrainingRow]
    examples: dict[str, dict[str, int]]
    checkpoint_rows: list[Row]

    @property
    def languages(self) -> Counter[str]:
        """Language -> examples, over all data sets, in the order of the rows."""
        return sum((Counter(sets) for sets in self.examples.values()), Counter[str]())

    def lineage(self, part: TaskPart, data: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
        """One entry for each data set.

        Args:
            data: part -> data set -> fingerprint.
        """
        return [
            {
                "name": spec.name,
                "part": part.name,
                "task": part.task.name,
                "languages": self.examples[spec.name],
                "rows": sum(self.examples[spec.name].values()),
                "licence": spec.licence,
                "data": data[part.name][spec.name],
            }
            for spec in part.sets
        ]


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


def train_intermediate(
    job: Job, mixture: Recipe | Sequence[TaskSpec], parent: Checkpoint, target: TaskSpec | None = None
) -> Checkpoint:
    """The encoder of a recipe: trained on all parts of its mixture, then averaged with its parent where asked.

    The checkpoint holds embeddings and layers, with the LM head where text was among the parts.

    Args:
        target: that comes after it, for `again`.
    """
    recipe = as_recipe(mixture)
    if not recipe.parts:
        return parent
    specs = [get_task(part.task) for part in recipe.parts if part.kind == "task"]
    if repeated := repeated_data([spec for spec in specs if not spec.translates]):
        job.say(
            f"  intermediate {recipe.encoder}: the rows of {', '.join(repeated)} are in this mixture more than once"
        )
    plan = intermediate_plan(job, recipe, target)
    trained = _train(job, "intermediate", recipe.encoder, plan, parent, recipe=recipe.encoder)
    share = job.preset.recipe.average
    return averaged(job, trained, parent, share) if share else trained


def train_target(
    job: Job, spec: TaskSpec, parent: Checkpoint, recipe: str, languages: Sequence[str] = ENGLISH_ALONE
) -> Checkpoint:
    """A model fine-tuned in English or in `languages`; targets with the same training sets share it.

    Tasks that come before the target's own (Social IQa before COPA) are trained one after the other, each from the
    last one's checkpoint, in English. A head stays where the next task has the same format and as many labels.
    """
    stages = training_stages(spec)
    for name in stages:
        own = languages if name == stages[-1] else ENGLISH_ALONE
        plan = target_plan(job, job.task(name), own)
        parent = _train(job, "target", name, plan, parent, recipe=full_name(recipe, languages))
    return parent


def _train(job: Job, phase: str, name: str, plan: Plan, parent: Checkpoint, *, recipe: str) -> Checkpoint:
    knobs = {part.name: job.knobs(part.task.name) for part in (*plan.tasks, *plan.updates_of)}
    shared = shared_knobs(job, [part.task.name for part in plan.tasks])
    selection = _selection(plan, shared)
    data = {part.name: {spec.name: training_fingerprint(job.source, spec) for spec in part.sets} for part in plan.tasks}
    text = plan.text.fingerprints() if plan.text else {}
    limits = {"max_length": job.preset.max_length, "checkpoint_limit": job.preset.evaluation.checkpoint_limit}
    key = digest_of(
        {
            "phase": phase,
            "name": name,
            "tasks": [[spec.name, spec.train_languages] for part in plan.tasks for spec in part.sets],
            "labels": [part.task.labels for part in plan.tasks],
            "shuffled": [part.name for part in plan.tasks if part.shuffled],
            "data": data,
            "text": text,
            "updates_of": {p.name: training_fingerprint(job.source, p.task) for p in plan.updates_of},
            "parent": parent.weights,
            "knobs": {k: v.model_dump(exclude={"save_seconds", "log_every"}) for k, v in knobs.items()},
            "shared": shared.model_dump(exclude={"save_seconds", "log_every"}),
            "settings": plan.settings,
            "precision": resolve_precision(shared.precision),
            "limits": limits,
            "seed": job.seed,
            "code": code_digest(),
        }
    )
    label = name if phase == "intermediate" else f"{name} from {recipe}"
    place = job.output / "checkpoints" / f"{phase}-{file_name(name)}-{key[:16]}"
    if place.is_dir():
        job.say(f"  {phase} {label}: done before, found in {shown(place)}")
        return open_checkpoint(place)

    prepared = [_prepare(job, part, parent, phase) for part in plan.tasks]
    models = _models(job, prepared, plan.text is not None, parent)
    module = nn.ModuleDict(models)
    objective = _objective(job, phase, plan, prepared, parent, shared)
    settings = _settings(shared, selection=selection, seed=job.seed, lm_head_rate=job.preset.mlm.head_rate)
    languages = sum((p.languages for p in prepared), Counter[str]())
    parameters = {
        "tasks": name,
        "recipe": recipe,
        "source": job.source.name,
        "languages": ",".join(languages),
        "text_languages": ",".join(text),
        "parent": parent.lineage["name"],
        "updates": objective.total_updates,
        "seed": job.seed,
        **shared.model_dump(),
        **flat(plan.settings),
        "selection": selection,
    }
    state = job.output / "unfinished" / key
    with job.tracker.run(phase, f"{phase}/{label}", key, parameters) as run:
        if mixture := _tasks_of(objective):
            mlflow.log_metrics(dict(padding_share(mixture, 50)))
        outcome = train(
            module,
            objective,
            settings,
            state_folder=state,
            evaluate=_evaluator(job, prepared, Pieces.open(parent.folder)) if prepared else None,
            recorder=RunRecorder(job.console),
            description=f"{phase} {label}",
        )
        kept, transfer = _kept(job, phase, models)
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
                "transfer": transfer,
                "source": job.source.name.partition(":")[0],  # not the folder: lineage reaches HTTP clients
                "tasks": [
                    entry for part, p in zip(plan.tasks, prepared, strict=True) for entry in p.lineage(part, data)
                ],
                "languages": dict(languages),
                **({"text": _text_lineage(plan.text, text, objective)} if plan.text else {}),
                "seed": job.seed,
                "updates": outcome.updates,
                "best_update": outcome.best_step,
                "checkpoint_score": outcome.score,
                "selection": selection,
                "settings": shared.model_dump(),
                "recipe_settings": dict(plan.settings),
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


def averaged(job: Job, trained: Checkpoint, parent: Checkpoint, share: float) -> Checkpoint:
    """`trained` with `share` of its parent's weights in it: a checkpoint of its own, made in seconds.

    It has the trained one's lineage and name; `average` in it says the share and whose weights were averaged.
    """
    parts = {"phase": "average", "of": trained.weights, "with": parent.weights, "share": share, "code": code_digest()}
    key = digest_of(parts)
    name = str(trained.lineage["name"])
    place = job.output / "checkpoints" / f"intermediate-{file_name(name)}-{key[:16]}"
    if place.is_dir():
        job.say(f"  average {name}: done before, found in {shown(place)}")
        return open_checkpoint(place)
    kind = "mlm" if has_lm_head(trained.folder) else "encoder"
    module = build_model(kind, trained.folder)
    with job.tracker.run(
        "average", f"average/{name}", key, {"recipe": name, "average": share, "seed": job.seed}
    ) as run:
        _average(module, parent, share)
        left = {name: trained.lineage[name] for name in trained.lineage.keys() - WRITTEN}
        about = {"share": share, "of": trained.weights, "with": parent.weights}
        checkpoint = write_checkpoint(
            place,
            module,
            tokenizer_from=trained.folder,
            key=key,
            # The score was the trained one's; nothing is known of the average's.
            lineage={**left, "average": about, "checkpoint_score": None, "run_id": run.info.run_id},
        )
        log_checkpoint(checkpoint, f"intermediate-{name}", run)
    job.say(f"  average {name}: {share:g} of its parent's weights")
    return checkpoint


def _average(module: Any, parent: Checkpoint, share: float) -> None:
    """Moves a trained model towards its parent; an LM head or pooler that the parent lacks stays as it is."""
    if not isinstance(module, XLMRobertaModel) and not has_lm_head(parent.folder):
        module = module.roberta
    other: Any = build_model("encoder" if isinstance(module, XLMRobertaModel) else "mlm", parent.folder)
    if isinstance(module, XLMRobertaModel) and (module.pooler is None or other.pooler is None):
        other.pooler = module.pooler
    move_towards(module, other, share)


def _selection(plan: Plan, shared: TrainingKnobs) -> str:
    if any(part.shuffled for part in plan.tasks) or not plan.tasks:
        # Scores of a task that was not taught, and no scores, choose nothing.
        return "last"
    return shared.selection or (plan.tasks[0].task.selection if len(plan.tasks) == 1 else "best")


def _models(job: Job, prepared: Sequence[Trained], with_text: bool, parent: Checkpoint) -> dict[str, PreTrainedModel]:
    """A model for every part, over one encoder; parts of one task share their head."""
    models: dict[str, PreTrainedModel] = {}
    heads: dict[str, PreTrainedModel] = {}
    # The LM head comes first because it may be tied to the embeddings that all share.
    if with_text:
        models[MLM] = build_model("mlm", parent.folder, seed=job.seed)
        if not has_lm_head(parent.folder):
            job.say(f"  {parent.folder.name} has no LM head: a new one is trained")
    for i, part in enumerate(prepared):
        if part.head not in heads:
            heads[part.head] = build_for(part.settings, parent.folder, seed=job.seed + i)
        models[part.name] = heads[part.head]
    share_encoder(list(models.values()), pooler=job.preset.recipe.transfer == "encoder+pooler")
    return models


def _objective(
    job: Job, phase: str, plan: Plan, prepared: Sequence[Trained], parent: Checkpoint, shared: TrainingKnobs
) -> Mixture | MaskedText | Interleaved:
    """Tasks, text, or text among tasks, with as many updates as the recipe is to have."""
    pieces = Pieces.open(parent.folder)
    sampling = Sampling(job.preset.recipe.examples_cap, job.preset.recipe.temperature)
    alike = _updates(job, phase, plan, prepared, parent, sampling)
    amount = {"pad": pieces.pad, "seed": job.seed, "max_tokens": shared.max_tokens, "overhead": shared.call_overhead}
    tasks = [_task_rows(job, part) for part in prepared]
    if not plan.text:
        return Mixture(tasks, sampling=sampling, updates=alike, **amount)
    mlm, mixture = job.preset.mlm, None
    if tasks:
        # Of a number that is given the text has its share; else it is added to what the tasks have alone.
        own = max(1, alike - round(alike * mlm.share)) if alike else 0
        mixture = Mixture(tasks, sampling=sampling, updates=own, **amount)
        alike = max(1, alike - own if alike else share_of(mixture.total_updates, mlm.share))
    limit = min(mlm.max_length, _row_limit(job, parent))
    documents = {language: plan.text.text.documents(language) for language in plan.text.languages}
    text = MaskedText(
        {language: text_rows(pieces, own, limit) for language, own in documents.items()},
        MaskingSettings(mlm.mask_rate, mlm.exponent, mlm.batch_size, mlm.epochs, limit),
        mask_id=mask_id_of(parent.folder),
        updates=alike,
        **amount,
    )
    return Interleaved(mixture, text, seed=job.seed) if mixture else text


def _updates(
    job: Job, phase: str, plan: Plan, prepared: Sequence[Trained], parent: Checkpoint, sampling: Sampling
) -> int:
    """Updates that a phase has instead of those of its own epochs; 0 = those."""
    if phase == "target":
        return _matching_updates(job, prepared)
    if job.preset.recipe.updates or not plan.updates_of:
        return job.preset.recipe.updates
    controlled = [_prepare(job, part, parent, phase) for part in plan.updates_of]
    return sum(_task_rows(job, part).updates_within(sampling.cap) for part in controlled)


def _matching_updates(job: Job, prepared: Sequence[Trained]) -> int:
    """Updates of a target in several languages: those of the first alone, or 0 where each row is seen as often."""
    [part] = prepared
    if len(part.languages) < 2 or job.preset.target.match == "passes":
        return 0
    first = next(iter(part.languages))
    return replace(_task_rows(job, part), rows=[row for row in part.rows if row.language == first]).updates


def _tasks_of(objective: Objective) -> Mixture | None:
    """The part of an objective that is tasks."""
    found = objective.objectives[0] if isinstance(objective, Interleaved) else objective
    return found if isinstance(found, Mixture) else None


def _task_rows(job: Job, part: Trained) -> TaskRows:
    knobs = job.knobs(part.spec.name)
    return TaskRows(part.name, part.settings, part.rows, knobs.epochs, knobs.batch_size, part.spec.micro_batch_rows)


def _kept(job: Job, phase: str, models: Mapping[str, PreTrainedModel]) -> tuple[PreTrainedModel, str]:
    """What travels to the next phase, and its name."""
    if phase == "target":
        return next(iter(models.values())), "encoder"
    if MLM in models:
        return models[MLM], "encoder+lm_head"
    if job.preset.recipe.transfer == "encoder+pooler" and (model := with_pooler(list(models.values()))) is not None:
        return bare_encoder(model, pooler=True), "encoder+pooler"
    return bare_encoder(next(iter(models.values()))), "encoder"


def _text_lineage(part: TextPart, fingerprints: Mapping[str, str], objective: Objective) -> dict[str, Any]:
    text = objective.objectives[1] if isinstance(objective, Interleaved) else objective
    assert isinstance(text, MaskedText)
    return {
        "name": part.text.name,
        "languages": {language: len(rows) for language, rows in text.rows.items()},
        "updates": text.total_updates,
        "data": digest_of(dict(fingerprints)),
    }


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``section.knob``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def commit_of(folder: Path) -> str:
    """The commit of a git checkout, with a '+' where files differ from it; '' where there is no checkout."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _prepare(job: Job, part: TaskPart, parent: Checkpoint, phase: str) -> Trained:
    settings = settings_for(part.task, max_length=_row_limit(job, parent))
    format_ = make_format(Pieces.open(parent.folder), settings)
    most = job.preset.recipe.rows if phase == "intermediate" else 0
    examples: dict[str, dict[str, list[Row]]] = {}
    for spec in part.sets:
        by_language = examples.setdefault(spec.name, {})
        for row in english_rows(job.source, spec):
            by_language.setdefault(row.language, []).append(row)
    if most:
        examples = {name: {lang: fewer(own, most) for lang, own in sets.items()} for name, sets in examples.items()}
    everything = [row for sets in examples.values() for own in sets.values() for row in own]
    labelled = shuffled(everything, job.seed) if part.shuffled else everything
    return Trained(
        name=part.name,
        head=part.head,
        spec=part.task,
        settings=settings,
        rows=training_rows(format_, labelled),
        examples={name: {lang: len(own) for lang, own in sets.items()} for name, sets in examples.items()},
        checkpoint_rows=_limited(checkpoint_rows(job.source, part.task), job.preset.evaluation.checkpoint_limit),
    )


def _limited(rows: list[Row], limit: int) -> list[Row]:
    if not limit or len(rows) <= limit:
        return rows
    return sorted(rows, key=lambda row: (hash_of(row.id, "checkpoint limit"), row.id))[:limit]


def _row_limit(job: Job, parent: Checkpoint) -> int:
    """Rows fit the preset's limit and the encoder's positions (XLM-R starts counting behind the padding id)."""
    config = read_config(parent.folder)
    positions = int(config.max_position_embeddings) - int(config.pad_token_id or 0) - 1
    return min(positions, job.preset.max_length or positions)


def _settings(knobs: TrainingKnobs, *, selection: str, seed: int, lm_head_rate: float) -> TrainingSettings:
    names = set(TrainingSettings.__dataclass_fields__) & set(TrainingKnobs.model_fields)
    values = {name: getattr(knobs, name) for name in names - {"selection"}}
    return TrainingSettings(**values, selection=selection, seed=seed, lm_head_rate=lm_head_rate)


def _evaluator(job: Job, prepared: Sequence[Trained], pieces: Pieces) -> Callable[[nn.Module], dict[str, float]]:
    """Every part's main metric on the English checkpoint rows of its task."""

    def evaluate_all(module: nn.Module) -> dict[str, float]:
        scores = {}
        for part in prepared:
            model: PreTrainedModel = module[part.name]  # type: ignore[index]
            predictor = Predictor(
                make_format(pieces, part.settings),
                TorchBackend(model, part.settings),
                max_tokens=job.preset.evaluation.max_tokens,
            )
            scores[part.name] = score_rows(predictor, part.spec, part.checkpoint_rows, "en")
        return scores

    return evaluate_all


def log_checkpoint(checkpoint: Checkpoint, name: str, run: Any) -> None:
    """A checkpoint as a LoggedModel of its run."""
    from polystilts.tracking import registry

    registry.log_checkpoint(
        checkpoint,
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=name.replace("+", "-and-").replace(":", "-of-"),
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
    bank = job.output / "evaluations" / f"{spec.name}-{file_name(recipe)}-{key[:16]}.parquet"
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
    recipes = [Recipe(), *map(as_recipe, job.intermediate)]
    shared = [None if recipe.depends_on_target else train_intermediate(job, recipe, base) for recipe in recipes]
    cells = []
    for recipe, encoder in zip(recipes, shared, strict=True):
        for spec in job.targets:
            parent = encoder or encoder_for(job, recipe, base, spec)
            cells.append(score_cell(job, spec, fine_tune(job, recipe, parent, spec), recipe_name(job, recipe)))
    return cells


def fine_tune(job: Job, recipe: Recipe, encoder: Checkpoint, spec: TaskSpec) -> Checkpoint:
    """A target under a recipe, from the recipe's encoder (`encoder_for`), in the recipe's languages."""
    return train_target(job, spec, encoder, recipe_name(job, recipe), target_languages(job, recipe))


def encoder_for(job: Job, recipe: Recipe, base: Checkpoint, spec: TaskSpec) -> Checkpoint:
    """The encoder that a target starts from under a recipe.

    A target that is not trained (Tatoeba) has nothing to be trained on `again`: it starts from the base.
    """
    if recipe.depends_on_target and not training_stages(spec):
        job.say(f"  {spec.name} is not trained: {recipe.encoder} is the base there")
        return base
    return train_intermediate(job, recipe, base, spec)


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
        if not (_same_rows(job, lineage) and _same_settings(job, lineage)):
            return False
        lineage = lineage["parent"]
    return True


def _same_rows(job: Job, lineage: Mapping[str, Any]) -> bool:
    """Whether a phase's labelled rows and texts are today's."""
    for task in lineage["tasks"]:
        spec = get_task(task["name"])
        if languages := tuple(task.get("languages", ())):
            spec = replace(spec, train_languages=languages)
        if not training_languages(job.source, spec) or task["data"] != training_fingerprint(job.source, spec):
            return False
    if "text" not in lineage:
        return True
    try:
        text = intermediate_plan(job, Recipe(tuple(p for p in recipe_from(lineage).parts if p.is_text))).text
        return text is not None and lineage["text"]["data"] == digest_of(text.fingerprints())
    except MissingData:
        return False


def _same_settings(job: Job, lineage: Mapping[str, Any]) -> bool:
    """Whether a phase had today's knobs."""
    parts = list(
        dict.fromkeys((task.get("part", task["name"]), task.get("task", task["name"])) for task in lineage["tasks"])
    )
    shared = shared_knobs(job, [task for _, task in parts])
    if _deciding(lineage["settings"]) != _deciding(shared.model_dump(mode="json")):
        return False
    if lineage["phase"] == "target":
        wanted = target_settings(job) if len(lineage.get("languages", ())) > 1 else {}
        return lineage.get("recipe_settings", {}) == wanted
    average = lineage.get("average", {}).get("share", 0.0)
    wanted = intermediate_settings(job, with_text="text" in lineage)
    return lineage.get("recipe_settings", wanted) == wanted and average == job.preset.recipe.average


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
