"""The model registry: one registered model a target, versions that are bundles, aliases that say which is live."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema

import polystilts
from polystilts.errors import ChecksumMismatch, NoModel
from polystilts.runtime.bundle import Bundle, open_bundle

if TYPE_CHECKING:
    from polystilts.training.checkpoint import Checkpoint

CHAMPION, BASELINE = "champion", "baseline"
DESCRIPTION_LIMIT = 5000  # columns of PostgreSQL stores

_COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "pair": (("premise", "string"), ("hypothesis", "string")),
    "choice": (("premise", "string"), ("question", "string"), ("choices", "string")),
    "tagging": (("tokens", "string"),),
    "span": (("question", "string"), ("context", "string")),
    "sentence": (("text", "string"),),
}

_EXAMPLES: Mapping[str, list[dict[str, str]]] = {
    "pair": [{"premise": "Anna kauft Äpfel.", "hypothesis": "Anna kauft Obst."}],
    "choice": [{"premise": "The glass fell.", "question": "effect", "choices": "It broke.\nIt grew."}],
    "tagging": [{"tokens": "Анна читает книги ."}],
    "span": [{"question": "¿Qué compra Anna?", "context": "Anna compra manzanas."}],
    "sentence": [{"text": "安娜买苹果。"}],
}

#: Packages the pyfunc needs; torch is not among them.
PYFUNC_REQUIREMENTS = ("onnxruntime==1.31.1", "tokenizers==0.23.3", "numpy==2.4.6", "pandas")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model and the bundle it holds."""

    name: str
    version: str
    digest: str
    target: str
    tags: Mapping[str, str]


def model_name(target: str) -> str:
    return f"polystilts-{target}"


def log_checkpoint(checkpoint: Checkpoint, *, run_id: str, experiment_id: str, name: str) -> str:
    """A checkpoint as a LoggedModel of its run; returns the model id."""
    client = MlflowClient()
    model = client.create_logged_model(
        experiment_id,
        name=name,
        source_run_id=run_id,
        model_type="checkpoint",
        params={"phase": str(checkpoint.lineage["phase"]), "seed": str(checkpoint.lineage.get("seed", ""))},
        tags={"polystilts.key": checkpoint.key, "polystilts.weights": checkpoint.weights},
    )
    client.log_model_artifacts(model.model_id, str(checkpoint.folder))
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def checkpoint_model_id(checkpoint: Checkpoint) -> str | None:
    """The LoggedModel of a checkpoint by its key, in whichever experiment it was logged."""
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_logged_models(
        experiments, filter_string=f"tags.`polystilts.key` = '{checkpoint.key}'", max_results=1
    )
    return str(found[0].model_id) if found else None


def register_bundle(
    bundle: Bundle, *, checkpoint_id: str | None, tags: Mapping[str, str], description: str
) -> Registered:
    """Logs a bundle as a pyfunc in the active run and registers it; uploads nothing if this digest has a version.

    The version's link to its LoggedModel is `source`; ids are tags as well: MLflow 3.17 leaves `model_id` empty.

    Raises:
        ChecksumMismatch: what was uploaded does not come back as it was.
    """
    client = MlflowClient()
    name = model_name(bundle.target)
    existing = _version_of(client, name, bundle.digest)
    if existing:
        return existing
    run = mlflow.active_run()
    if checkpoint_id and run:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(checkpoint_id)])
    columns = _COLUMNS[bundle.settings.format]
    with tempfile.TemporaryDirectory(prefix="polystilts-") as staging:
        info = mlflow.pyfunc.log_model(
            name=f"bundle-{bundle.target}",
            python_model=str(_stage_code(Path(staging)) / "pyfunc_model.py"),
            artifacts={"bundle": str(bundle.folder)},
            code_paths=[str(Path(staging) / "polystilts")],
            pip_requirements=list(PYFUNC_REQUIREMENTS),
            signature=ModelSignature(
                inputs=Schema([ColSpec(kind, column) for column, kind in columns]),
                outputs=Schema([ColSpec("string", "prediction"), ColSpec("double", "score")]),
            ),
            input_example=pd.DataFrame(_EXAMPLES[bundle.settings.format]),
        )
    _check_upload(info.model_uri, bundle)
    everything = {
        **tags,
        "digest": bundle.digest,
        "target": bundle.target,
        "precision": bundle.precision,
        "model_id": info.model_id,
        "checkpoint_model_id": checkpoint_id or "",
    }
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name)
    # One write: a version without its tags never exists.
    version = client.create_model_version(
        name,
        source=info.model_uri,
        run_id=run.info.run_id if run else None,
        tags={key: str(value)[:DESCRIPTION_LIMIT] for key, value in everything.items()},
        description=description[:DESCRIPTION_LIMIT],
    )
    return Registered(name, str(version.version), bundle.digest, bundle.target, everything)


def set_champion(registered: Registered) -> str | None:
    """Makes a version the champion: its record first, the alias last. Returns the version it replaces."""
    client = MlflowClient()
    before = alias_version(registered.name, CHAMPION)
    if before == registered.version:
        return None
    client.set_model_version_tag(registered.name, registered.version, "replaces", before or "")
    client.set_registered_model_alias(registered.name, CHAMPION, registered.version)
    return before


def alias_version(name: str, alias: str) -> str | None:
    """The version an alias points at, or None."""
    try:
        return str(MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException:
        return None


def champion(target: str, into: Path) -> tuple[Registered, Bundle]:
    """Downloads and verifies the champion's bundle.

    Raises:
        NoModel: the target has no champion.
        ChecksumMismatch: the store returned something else than was registered.
    """
    name = model_name(target)
    try:
        version = MlflowClient().get_model_version_by_alias(name, CHAMPION)
    except MlflowException:
        raise NoModel(
            f"{name} has no {CHAMPION}; make one with: mlflow run . --env-manager local -P targets={target}",
            param="target",
            given=target,
        ) from None
    folder = Path(mlflow.artifacts.download_artifacts(version.source, dst_path=str(into)))
    bundle = open_bundle(_bundle_folder(folder), digest=version.tags["digest"])
    return Registered(name, str(version.version), bundle.digest, target, version.tags), bundle


def champions() -> Sequence[str]:
    """Targets that have a champion."""
    found = MlflowClient().search_registered_models(filter_string="name LIKE 'polystilts-%'", max_results=200)
    return sorted(model.name.removeprefix("polystilts-") for model in found if CHAMPION in (model.aliases or {}))


def _version_of(client: MlflowClient, name: str, digest: str) -> Registered | None:
    try:
        versions = client.search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
    except MlflowException:
        return None
    for version in versions:
        return Registered(name, str(version.version), digest, version.tags["target"], version.tags)
    return None


def _stage_code(staging: Path) -> Path:
    """The library that a version carries: what the server has, and the pyfunc's own module."""
    source = Path(polystilts.__file__).parent
    package = staging / "polystilts"
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("formats", "runtime"):
        shutil.copytree(source / part, package / part, ignore=ignore)
    for part in ("__init__.py", "errors.py"):
        shutil.copyfile(source / part, package / part)
    shutil.copyfile(source / "tracking" / "pyfunc_model.py", staging / "pyfunc_model.py")
    return staging


def _check_upload(model_uri: str, bundle: Bundle) -> None:
    with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
        open_bundle(
            _bundle_folder(Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=folder))),
            digest=bundle.digest,
        )


def _bundle_folder(folder: Path) -> Path:
    found = sorted(folder.rglob("bundle.json"))
    if len(found) != 1:
        raise ChecksumMismatch(f"{folder} holds {len(found)} bundles, not 1")
    return found[0].parent


def describe(values: Mapping[str, Any]) -> str:
    """A version's page: lines of Markdown below the stores' limit."""
    lines = [f"**{key}**: {value}" for key, value in values.items()]
    return "\n\n".join(lines)[:DESCRIPTION_LIMIT]
