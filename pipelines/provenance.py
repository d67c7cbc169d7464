"""What a checkpoint's lineage says: what it came from, and whether today's rows and settings are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.cli import ROOT
from pipelines.job import BASELINE, Job
from pipelines.recipes import (
    intermediate_plan,
    intermediate_settings,
    recipe_from,
    shared_knobs,
    target_settings,
    training_fingerprint,
)
from polystilts.data.roles import training_languages
from polystilts.errors import MissingData
from polystilts.runtime.folders import digest_of
from polystilts.tasks import get_task
from polystilts.tasks.recipe import Recipe
from polystilts.training.checkpoint import Checkpoint


def root_of(lineage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lineage of the model that everything started from."""
    while "parent" in lineage:
        lineage = lineage["parent"]
    return lineage


def recipe_of(checkpoint: Checkpoint) -> str:
    """What a checkpoint's encoder went through before its target."""
    phase = checkpoint.lineage["phase"]
    if phase == "intermediate":
        return str(checkpoint.lineage["name"])
    return str(checkpoint.lineage.get("recipe", BASELINE))


def seed_of(job: Job, checkpoint: Checkpoint) -> int:
    """Of its last training; of a model that was not trained here the job's."""
    return int(checkpoint.lineage.get("seed", job.seed))


def stages_of(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks of the last unbroken row of target phases, the first one first."""
    stages: list[str] = []
    while lineage.get("phase") == "target":
        stages.insert(0, lineage["name"])
        lineage = lineage["parent"]
    return tuple(stages)


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


def shown(path: Path) -> str:
    """A path as a person reads it: relative to the project where it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``section.knob``."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
