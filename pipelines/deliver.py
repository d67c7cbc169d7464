"""Entry point `deliver`: champions from the registry into the models folder that a server reads."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from polystilts.errors import ChecksumMismatch, NoModel, PolystiltsError

if TYPE_CHECKING:
    from polystilts.runtime.models_folder import Delivered

EXAMPLES = """\
  python -m pipelines.deliver
  python -m pipelines.deliver --targets xnli,xquad --models /srv/models
  python -m pipelines.deliver --watch 30 --challengers --prune      # beside a server, until SIGTERM"""

#: Of the lock that deliverers to one models folder take while they change its list.
LOCK = ".deliver.lock"

#: Seconds to wait for it; only a rename and the removal of folders happen under it.
LOCK_SECONDS = 60.0


class Deliver(Parameters):
    """Downloads each target's champion, verifies it, and makes it the current bundle of the models folder."""

    targets: str = Field("", description="separated by ','; '' = every target that has a champion")
    models: str = Field("outputs/models", description="the models folder")
    watch: float = Field(0, ge=0, description="seconds between two rounds, until SIGTERM or Ctrl-C; 0 = one round")
    challengers: bool = Field(False, description="also the alias challenger, as TARGET@challenger")
    prune: bool = Field(False, description="remove bundles that nothing has named for an hour")


class DeliveryLocked(PolystiltsError):
    """Another deliverer held the lock of the models folder all the time."""

    code = "delivery_locked"
    status = 409


@contextlib.contextmanager
def deliveries(models: Path, *, wait: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the lock of a models folder: of two deliverers at once neither loses the other's lines.

    A killed process leaves no lock.

    Args:
        wait: seconds.

    Raises:
        DeliveryLocked: somebody else held it all the time.
    """
    models.mkdir(parents=True, exist_ok=True)
    lock = FileLock(models / LOCK)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise DeliveryLocked(f"another delivery has held {models / LOCK} for {wait:g} s", limit=wait) from None
    try:
        yield
    finally:
        lock.release()


class Deliverer:
    """Rounds of deliveries into one models folder.

    Args:
        targets: empty = every target that has a champion.
        challengers: also deliver the alias ``challenger``; a line whose alias has gone is removed.
    """

    def __init__(self, models: Path, targets: Sequence[str] = (), *, challengers: bool = False) -> None:
        self.models = models
        self.targets = targets
        self.challengers = challengers
        self._verified: set[Delivered] = set()

    def round(self) -> tuple[Mapping[str, Delivered | None], Sequence[PolystiltsError]]:
        """Resolves the aliases and delivers what changed, in one write; what failed does not stop the others.

        Returns:
            The lines that changed, by key, and what failed.

        Raises:
            NoModel: no champion at all.
        """
        from polystilts.runtime.models_folder import AT_CHALLENGER, CURRENT, point, read_current
        from polystilts.tracking import registry
        from polystilts.tracking.promotion import CHALLENGER

        targets = self.targets or registry.champions()
        if not targets:
            raise NoModel("the registry has no champions; make some with: make quickstart", param="targets")
        before = read_current(self.models) if (self.models / CURRENT).is_file() else {}
        lines: dict[str, Delivered | None] = {}
        failed: list[PolystiltsError] = []
        for target in targets:
            name = registry.model_name(target)
            try:
                champion = registry.alias_version(name, registry.CHAMPION)
                if champion is None:
                    raise NoModel(
                        f"{name} has no {registry.CHAMPION}; make one with: "
                        f"mlflow run . --env-manager local -P targets={target}",
                        param="targets",
                        given=target,
                    )
                lines[target] = self._store(target, champion)
                if self.challengers:
                    version = registry.alias_version(name, CHALLENGER)
                    # A champion challenges nobody.
                    found = None if version in (None, champion) else self._store(target, version)
                    lines[target + AT_CHALLENGER] = found
            except PolystiltsError as error:
                failed.append(error)
        changed = {key: line for key, line in lines.items() if before.get(key) != line}
        if changed:
            with deliveries(self.models):
                point(self.models, changed)
        return changed, failed

    def _store(self, target: str, version: str) -> Delivered:
        """The line of a version of a target's model, its bundle complete in the models folder.

        Nothing is downloaded where a folder of the registered digest is there; that one is verified once.
        """
        from mlflow.tracking import MlflowClient

        from polystilts.runtime.bundle import open_bundle
        from polystilts.runtime.models_folder import UNFINISHED, Delivered, store_bundle
        from polystilts.tracking import registry

        name = registry.model_name(target)
        tags = MlflowClient().get_model_version(name, version).tags
        line = Delivered(target, tags.get("digest", ""), name, version, registry.report_scores(tags))
        if line in self._verified and line.folder(self.models).is_dir():
            return line
        if line.digest and line.folder(self.models).is_dir():
            open_bundle(line.folder(self.models), digest=line.digest)
        else:
            self.models.mkdir(parents=True, exist_ok=True)
            # Beside its final place: where root is read-only, temporary folders are memory.
            with tempfile.TemporaryDirectory(prefix=f"{UNFINISHED}delivery.", dir=self.models) as folder:
                _, bundle = registry.download_version(name, version, Path(folder))
                if bundle.target != target:
                    raise ChecksumMismatch(f"version {version} of {name} holds a bundle of {bundle.target}")
                store_bundle(bundle, self.models)
        self._verified.add(line)
        return line


def run(parameters: Deliver) -> None:
    uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
    targets = [name.strip() for name in parameters.targets.split(",") if name.strip()]
    deliverer = Deliverer(ROOT / parameters.models, targets, challengers=parameters.challengers)
    if not parameters.watch:
        failed = _round(deliverer, uri, parameters.prune)
        for error in failed[:-1]:
            print(f"error: {error.message}", file=sys.stderr)
        if failed:
            raise failed[-1]
        return
    # Whoever stops the container, or presses Ctrl-C, wants an end in order; a download leaves nothing behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The next round is the better retry; MLflow's own take minutes in which nothing is said.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with contextlib.suppress(KeyboardInterrupt):
        _watch(deliverer, uri, parameters)
    print("stopped", flush=True)


def _watch(deliverer: Deliverer, uri: str, parameters: Deliver) -> None:
    """Rounds for ever. What stays wrong is said once, and that it is over."""
    said: list[str] = []
    while True:
        try:
            wrong = [error.message for error in _round(deliverer, uri, parameters.prune)]
        except PolystiltsError as error:
            wrong = [error.message]
        except OSError as error:  # a full disk; a connection that broke, as `requests` says it
            wrong = [f"{type(error).__name__}: {error}"]
        except Exception as error:
            if not type(error).__module__.startswith("mlflow."):
                raise
            wrong = [f"tracking store: {str(error).splitlines()[0]}"]
        for line in wrong:
            if line not in said:
                print(f"error: {line}; tried again every {parameters.watch:g} s", file=sys.stderr, flush=True)
        if said and not wrong:
            print("everything is delivered again", flush=True)
        said = wrong
        time.sleep(parameters.watch)


def _round(deliverer: Deliverer, uri: str, prune: bool) -> Sequence[PolystiltsError]:
    """One round, and a line for all it did; returns what failed."""
    from polystilts.tracking.reach import check_tracker

    check_tracker(uri)
    from polystilts.runtime import models_folder

    changed, failed = deliverer.round()
    for key, line in changed.items():
        print(
            f"{key}: {line.name} version {line.version}, {line.digest[:16]}" if line else f"{key}: no longer",
            flush=True,
        )
    if prune:
        with deliveries(deliverer.models):
            removed = models_folder.prune(deliverer.models)
        for folder in removed:
            print(f"removed {folder.relative_to(deliverer.models)}", flush=True)
    return failed


if __name__ == "__main__":
    command(Deliver, run, examples=EXAMPLES)
