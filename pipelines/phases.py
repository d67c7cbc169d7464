"""The phases of a job, each a function from folders to folders, each its own MLflow run, each skipped when done.

A phase is known by its key, the digest of everything that decides its result. A finished phase is found by its folder,
an interrupted one continues from the state it saved; the key is the name of both.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import torch
from torch import nn
from transformers import XLMRobertaModel

from pipelines.cli import ROOT, Parameters, commit_of
from pipelines.demonstration import show_server
from pipelines.job import Job, repeated_data, training_stages
from pipelines.micro_encoder import is_micro
from pipelines.objectives import (
    Trained,
    evaluator,
    expected_updates,
    kept_of,
    loop_settings,
    models_of,
    objective_of,
    selection_of,
    settings_of,
    tasks_of,
    text_lineage,
)
from pipelines.objectives import prepare as _prepare
from pipelines.planning import Node, found, planned, size_of
from pipelines.provenance import as_today, flat, recipe_of, root_of, seed_of, shown, stages_of
from pipelines.recipes import (
    ENGLISH_ALONE,
    Plan,
    as_recipe,
    full_name,
    intermediate_plan,
    recipe_name,
    shared_knobs,
    target_languages,
    target_plan,
    training_fingerprint,
)
from pipelines.scoring import (
    Cell,
    evaluation_data,
    predictor_of,
    rows_of,
    score_cell,
    score_checkpoint,
    scores_of,
    scoring_settings,
    summary_of,
    trivial_rows,
)
from polystilts import __version__
from polystilts.data.roles import missing_languages
from polystilts.errors import MissingData
from polystilts.formats import Pieces
from polystilts.runtime.folders import digest_of
from polystilts.runtime.ort import usable_cores
from polystilts.tasks import TaskSpec, get_task
from polystilts.tasks.recipe import Recipe, file_name
from polystilts.tracking.runs import RunRecorder, Tracker, stopping_between_writes
from polystilts.training.average import move_towards
from polystilts.training.checkpoint import Checkpoint, code_digest, open_checkpoint, write_checkpoint
from polystilts.training.loop import resolve_precision, train
from polystilts.training.model import build_model, has_lm_head
from polystilts.training.objective import padding_share

#: The phases, and what every caller of them needs beside them.
__all__ = [
    "Cell",
    "Trained",
    "Walk",
    "as_today",
    "averaged",
    "base_checkpoint",
    "commit_of",
    "encoder_for",
    "evaluation_data",
    "fine_tune",
    "grid_recipes",
    "log_checkpoint",
    "predictor_of",
    "prepare_torch",
    "recipe_of",
    "root_of",
    "rows_of",
    "run_grid",
    "say_missing_languages",
    "score_cell",
    "score_checkpoint",
    "scores_of",
    "scoring_settings",
    "seed_of",
    "show_server",
    "shown",
    "stages_of",
    "summary_of",
    "train_intermediate",
    "train_target",
    "trivial_rows",
    "whole",
]

#: What `write_checkpoint` says itself in a lineage.
WRITTEN = frozenset({"schema_version", "key", "weights", "tokenizer", "format", "files"})


def prepare_torch() -> None:
    """The same threads and kernels every time, so that the same command gives the same numbers on a CPU."""
    torch.set_num_threads(usable_cores())
    torch.use_deterministic_algorithms(True, warn_only=True)


def base_checkpoint(job: Job) -> Checkpoint:
    """The encoder everything starts from: the micro encoder (pretrained here), a folder, or a pinned hub model."""
    if is_micro(job.base):
        from pipelines.micro_encoder import micro_encoder

        return micro_encoder(job)
    if Path(job.base).is_dir():
        return _found(job, Path(job.base))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    name, _, revision = job.base.partition("@")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            local_files_only=job.graph is not None,  # a plan downloads nothing
            allow_patterns=["model.safetensors", "*.json", "sentencepiece.bpe.model"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        failed = f"find {name}" if job.graph is not None else f"get {name} from the hub, nor find it"
        raise MissingData(
            f"cannot {failed} in the cache: {error}",
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
    selection = selection_of(plan, shared)
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
    if job.graph is not None:
        there = place.is_dir()
        todo = 0 if there else expected_updates(job, phase, plan, parent)
        job.graph.add(key, Node(phase, name, f"{phase} {label}", size_of(parent), there, updates=todo))
        about = {"phase": phase, "name": name, "recipe": recipe, "seed": job.seed}
        own = settings_of(job, plan.tasks[0].task, parent) if phase == "target" else None
        return found(place) if there else planned(parent, key, about, own)
    if place.is_dir():
        job.say(f"  {phase} {label}: done before, found in {shown(place)}")
        return open_checkpoint(place)

    prepared = [_prepare(job, part, parent, phase) for part in plan.tasks]
    models = models_of(job, prepared, plan.text is not None, parent)
    module = nn.ModuleDict(models)
    objective = objective_of(job, phase, plan, prepared, parent, shared)
    settings = loop_settings(shared, selection=selection, seed=job.seed, lm_head_rate=job.preset.mlm.head_rate)
    languages = sum((p.languages for p in prepared), Counter[str]())
    parameters = {
        "tasks": name,
        "recipe": recipe,
        "source": job.source.name,
        "languages": ",".join(languages),
        "text_languages": ",".join(text),
        "parent": parent.lineage["name"],
        "encoder_parameters": size_of(parent),
        "updates": objective.total_updates,
        "seed": job.seed,
        **shared.model_dump(),
        **flat(plan.settings),
        "selection": selection,
    }
    state = job.output / "unfinished" / key
    with job.tracker.run(phase, f"{phase}/{label}", key, parameters) as run:
        if mixture := tasks_of(objective):
            mlflow.log_metrics(dict(padding_share(mixture, 50)))
        outcome = train(
            module,
            objective,
            settings,
            state_folder=state,
            evaluate=evaluator(job, prepared, Pieces.open(parent.folder)) if prepared else None,
            recorder=RunRecorder(job.console),
            description=f"{phase} {label}",
        )
        kept, transfer = kept_of(job, phase, models)
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
                **({"text": text_lineage(plan.text, text, objective)} if plan.text else {}),
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
    if job.graph is not None:
        there = place.is_dir()
        job.graph.add(key, Node("average", name, f"average {name}", size_of(parent), there))
        return found(place) if there else planned(parent, key, {**trained.lineage, "key": key})
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
        about = {"share": share, "of": trained.weights, "with": parent.weights, "run_id": trained.lineage["run_id"]}
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


def _found(job: Job, folder: Path) -> Checkpoint:
    return found(folder) if job.graph is not None else open_checkpoint(folder)


def log_checkpoint(checkpoint: Checkpoint, name: str, run: Any) -> None:
    """A checkpoint as a LoggedModel of its run."""
    from polystilts.tracking import registry

    registry.log_checkpoint(
        checkpoint,
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=name.replace("+", "-and-").replace(":", "-of-"),
    )


@dataclass
class Walk:
    """What is done around the steps of a grid: by itself nothing but keeping the cells."""

    cells: list[Cell] = field(default_factory=list)

    def recipe(self, job: Job, recipe: Recipe) -> contextlib.AbstractContextManager[None]:
        """Around a recipe's intermediate training and all its targets."""
        return contextlib.nullcontext()

    def cell(self, job: Job, recipe: Recipe, spec: TaskSpec) -> contextlib.AbstractContextManager[None]:
        """Around the training and scoring of one target, within its recipe."""
        return contextlib.nullcontext()

    def scored(self, job: Job, recipe: Recipe, cell: Cell) -> None:
        """After the scoring, within the cell."""
        self.cells.append(cell)


def run_grid(job: Job, base: Checkpoint | None = None, walk: Walk | None = None) -> list[Cell]:
    """Every target from the plain encoder and from every intermediate checkpoint; the cells that `walk` kept.

    The one order in which a job, a sweep and a plan of one go through a grid.

    Args:
        base: already opened; None opens it.
    """
    walk, base = walk or Walk(), base or base_checkpoint(job)
    for recipe in grid_recipes(job):
        with walk.recipe(job, recipe):
            shared = None if recipe.depends_on_target else train_intermediate(job, recipe, base)
            for spec in job.targets:
                with walk.cell(job, recipe, spec):
                    parent = shared or encoder_for(job, recipe, base, spec)
                    tuned = fine_tune(job, recipe, parent, spec)
                    walk.scored(job, recipe, score_cell(job, spec, tuned, recipe_name(job, recipe)))
    return walk.cells


def grid_recipes(job: Job) -> tuple[Recipe, ...]:
    """The baseline and the recipes asked for, each once."""
    return tuple(dict.fromkeys((Recipe(), *map(as_recipe, job.intermediate))))


def say_missing_languages(job: Job) -> None:
    """One line for each target of which the source lacks languages."""
    for spec in job.targets:
        absent = missing_languages(job.source, spec)
        if absent and job.source.name != "micro":
            job.say(f"  {spec.name}: no rows here for {len(absent)} languages of the set: {' '.join(absent)}")


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


@contextlib.contextmanager
def whole(job: Job, tracker: Tracker, phase: str, parameters: Parameters) -> Iterator[None]:
    """The run around an entry point: torch prepared, and the run that `mlflow run` has made adopted."""
    prepare_torch()
    values = parameters.model_dump(exclude={"output"})
    key, name = digest_of({"entry": phase, **values}), f"{phase}/{job.preset.description}"
    with stopping_between_writes(), tracker.run(phase, name, key, values):
        yield
        skipped = job.source.skipped
        if skipped:
            mlflow.log_metric("skipped_rows", sum(skipped.values()))
            for file, count in skipped.items():
                job.say(f"  {count} bad rows left out of {file}")
