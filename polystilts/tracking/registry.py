"""The model registry: one registered model a target, versions that are bundles, aliases that say which is live."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from polystilts.errors import ChecksumMismatch, InvalidValue, NoModel
from polystilts.runtime.bundle import Bundle, open_bundle
from polystilts.tracking.card import DESCRIPTION_LIMIT
from polystilts.tracking.lock import promotion_lock
from polystilts.tracking.pyfunc import log_pyfunc

if TYPE_CHECKING:
    from polystilts.training.checkpoint import Checkpoint

CHAMPION, BASELINE = "champion", "baseline"


#: The tag of a version with its main metric on report rows: ``de=81.2 en=90.1``.
REPORT_SCORES = "scores_report"


def report_scores(tags: Mapping[str, str]) -> dict[str, float]:
    """Main metric on report rows by language, as a version's tags say; empty where they do not."""
    pairs = (part.partition("=") for part in tags.get(REPORT_SCORES, "").split())
    return {language: float(score) for language, _, score in pairs}


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

    Upload, download again, compare digests, then one write: a version that exists is complete and verified, with its
    tags. A digest that has a version already is verified as well, and keeps its tags and description
    (`describe_version` changes the latter). The version's link to its LoggedModel is `source`; ids are tags as well:
    MLflow 3.17 leaves `model_id` empty.

    Raises:
        ChecksumMismatch: what was uploaded does not come back as it was.
        InvalidValue: a tag or the description over the stores' limit; nothing was uploaded.
    """
    client = MlflowClient()
    name = model_name(bundle.target)
    values = {key: str(value) for key, value in tags.items()}
    _check_lengths({"description": description, **values})
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        _create_model(client, name)
    existing = _version_of(client, name, bundle.digest)
    if existing:
        return existing
    run = mlflow.active_run()
    if checkpoint_id and run:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(checkpoint_id)])
    info = log_pyfunc(bundle)
    _verify(info.model_uri, bundle.digest)
    everything = {
        **values,
        "digest": bundle.digest,
        "target": bundle.target,
        "precision": bundle.precision,
        "model_id": info.model_id,
        "checkpoint_model_id": checkpoint_id or "",
    }
    with promotion_lock(name):
        # Another process may have registered the same bundle while this one uploaded.
        existing = _version_of(client, name, bundle.digest)
        if existing:
            return existing
        version = client.create_model_version(
            name,
            source=info.model_uri,
            run_id=run.info.run_id if run else None,
            model_id=info.model_id,  # a server refuses the source without it
            tags=everything,
            description=description,
            await_creation_for=0,  # a version is ready at once; waiting only prints that it waits
        )
    return Registered(name, str(version.version), bundle.digest, bundle.target, everything)


def describe_version(registered: Registered, description: str) -> None:
    """Replaces a version's page.

    Raises:
        InvalidValue: longer than every store can keep.
    """
    _check_lengths({"description": description})
    MlflowClient().update_model_version(registered.name, registered.version, description)


def set_champion(registered: Registered) -> str | None:
    """Makes a version the champion whatever is the champion now. Returns the version it replaces."""
    from polystilts.tracking.promotion import promote_version

    return promote_version(registered, expected=alias_version(registered.name, CHAMPION), decision={})


def alias_version(name: str, alias: str) -> str | None:
    """The version an alias points at, or None."""
    try:
        return str(MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        # No such alias; no such model. Anything else, as a server that does not answer, is no answer.
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def champion(target: str, into: Path) -> tuple[Registered, Bundle]:
    """Downloads and verifies the champion's bundle.

    Raises:
        NoModel: the target has no champion.
        ChecksumMismatch: the store returned something else than was registered.
    """
    name = model_name(target)
    version = alias_version(name, CHAMPION)
    if version is None:
        raise NoModel(
            f"{name} has no {CHAMPION}; make one with: mlflow run . --env-manager local -P targets={target}",
            param="target",
            given=target,
        )
    return download_version(name, version, into)


def download_version(name: str, version: str, into: Path) -> tuple[Registered, Bundle]:
    """Downloads a version into a new folder below `into` and verifies its bundle.

    Raises:
        ChecksumMismatch: the store returned something else than was registered.
    """
    found = MlflowClient().get_model_version(name, version)
    if not {"digest", "target"} <= found.tags.keys():
        raise ChecksumMismatch(f"version {version} of {name} has no digest: no promotion registered it")
    into.mkdir(parents=True, exist_ok=True)
    place = tempfile.mkdtemp(prefix=f"{name}-{version}-", dir=into)  # never beside what is there already
    folder = Path(mlflow.artifacts.download_artifacts(found.source, dst_path=place))
    bundle = open_bundle(_bundle_folder(folder), digest=found.tags["digest"])
    return Registered(name, version, bundle.digest, found.tags["target"], found.tags), bundle


def champions() -> Sequence[str]:
    """Targets that have a champion."""
    found = MlflowClient().search_registered_models(filter_string="name LIKE 'polystilts-%'", max_results=200)
    return sorted(model.name.removeprefix("polystilts-") for model in found if CHAMPION in (model.aliases or {}))


def _create_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise  # else another process was quicker


def _version_of(client: MlflowClient, name: str, digest: str) -> Registered | None:
    """The version with this digest, its files verified."""
    for version in client.search_model_versions(f"name = '{name}' and tags.digest = '{digest}'"):
        _verify(str(version.source), digest)
        return Registered(name, str(version.version), digest, version.tags["target"], version.tags)
    return None


def _check_lengths(values: Mapping[str, str]) -> None:
    for key, value in values.items():
        if len(value) >= DESCRIPTION_LIMIT:
            raise InvalidValue(
                f"{key} of a version has {len(value)} characters; a registry keeps fewer than {DESCRIPTION_LIMIT}",
                param=key,
                limit=DESCRIPTION_LIMIT,
                given=len(value),
            )


def _verify(model_uri: str, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
        open_bundle(
            _bundle_folder(Path(mlflow.artifacts.download_artifacts(model_uri, dst_path=folder))), digest=digest
        )


def _bundle_folder(folder: Path) -> Path:
    found = sorted(folder.rglob("bundle.json"))
    if len(found) != 1:
        raise ChecksumMismatch(f"{folder} holds {len(found)} bundles, not 1")
    return found[0].parent
