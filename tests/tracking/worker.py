"""What the tests of promotion run in processes of their own: MLflow is imported once, in the fork server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from mlflow.tracking import MlflowClient
from sqlalchemy.orm import configure_mappers

from polystilts.tracking import lock, registry
from polystilts.tracking.lock import promotion_lock
from polystilts.tracking.promotion import AliasMoved, promote_version, rollback
from polystilts.tracking.registry import CHAMPION, Registered, alias_version
from tests.world.bundles import tiny_bundle

configure_mappers()  # with the two stores' imports 2 of the 3 seconds that a process needs

TARGET = "xcopa"
NAME = registry.model_name(TARGET)

#: Every write of registering and promoting, uploads among them.
WRITES = (
    "create_registered_model",
    "create_model_version",
    "log_text",
    "set_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


def die_before_write(number: int) -> None:
    """From now on, the `number`-th write (from 0) is a SIGKILL instead."""
    left = number

    def guarded(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return write(*args, **kwargs)

        return call

    for method in WRITES:
        setattr(MlflowClient, method, guarded(getattr(MlflowClient, method)))


def register(folder: Path, score: int) -> Registered:
    """A bundle whose score is its seed."""
    with mlflow.start_run():
        bundle = tiny_bundle(folder, TARGET, seed=score)
        tags = {"score": str(score)}
        return registry.register_bundle(bundle, checkpoint_id=None, tags=tags, description=f"score {score}")


def promote_if_better(registered: Registered, *, rounds: int = 20) -> str | None:
    """Decides against the champion, and again when it has moved; returns the champion in the end."""
    for _ in range(rounds):
        current = alias_version(NAME, CHAMPION)
        tags = MlflowClient().get_model_version(NAME, current).tags if current else {"score": "-1"}
        if int(tags["score"]) >= int(registered.tags["score"]):
            return current
        try:
            promote_version(registered, expected=current, decision={"against": current, "gates": ["all passed"]})
        except AliasMoved:
            continue
        return registered.version
    raise AssertionError("the alias moved in every round")


def promote_until_killed(uri: str, folder: str, score: int, writes: int) -> None:
    os.chdir(Path(folder).parent)
    mlflow.set_tracking_uri(uri)
    die_before_write(writes)
    promote_if_better(register(Path(folder), score))


def rollback_until_killed(uri: str, writes: int) -> None:
    mlflow.set_tracking_uri(uri)
    die_before_write(writes)
    rollback(NAME)


def promote_at_once(uri: str, folder: str, scores: list[int], barrier: Any) -> None:
    """Registers bundles, waits for the other process, then promotes one after the other."""
    os.chdir(Path(folder).parent)
    mlflow.set_tracking_uri(uri)
    lock.SETTLE_SECONDS = 3.0  # longer than a write takes, also on a machine that has other work
    candidates = [register(Path(folder) / str(score), score) for score in scores]
    barrier.wait(120)
    for candidate in candidates:
        promote_if_better(candidate)


def hold(uri: str, wait: float) -> None:
    """Takes the lock of the target and gives it back."""
    mlflow.set_tracking_uri(uri)
    with promotion_lock(NAME, wait=wait):
        pass
