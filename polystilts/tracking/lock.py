"""One promotion of a target at a time: a file lock beside SQLite, a tag with owner and expiry on a tracking server.

MLflow has no compare-and-set, so the tag is written, left alone for a moment and read again; and whoever is about to
change what the lock protects asks `Held.check` once more. What remains is a pause longer than `SETTLE_SECONDS` between
that question and the write it guards, in a process whose lock somebody has overwritten at the same time.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from polystilts.errors import PolystiltsError

LOCK_TAG = "polystilts.lock"

#: After this time a lock on a server belongs to nobody: its owner was killed. Clocks may differ by less than this.
EXPIRY_SECONDS = 60.0

#: Time for which a tag must stay as it was written; longer than a write by another client takes.
SETTLE_SECONDS = 1.0

#: How long to wait for another promotion; longer than the expiry of one that was killed.
WAIT_SECONDS = 120.0


class PromotionLocked(PolystiltsError):
    """Another promotion of the same target holds the lock, or has taken it over."""

    code = "promotion_locked"
    status = 409


class Held:
    """A lock that this thread holds."""

    def check(self) -> None:
        """Asks whether the lock is still ours, and prolongs it; a file lock is until it is released.

        Raises:
            PromotionLocked: somebody else has it now.
        """


class _HeldTag(Held):
    def __init__(self, name: str) -> None:
        self.name = name
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.client = MlflowClient()

    def read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.client.get_registered_model(self.name).tags.get(LOCK_TAG, "{}"))
        except ValueError:
            return {}  # not ours to understand: as if expired
        return found if isinstance(found, dict) else {}

    def write(self) -> None:
        value = {"owner": self.owner, "expires": round(time.time() + EXPIRY_SECONDS, 1)}
        self.client.set_registered_model_tag(self.name, LOCK_TAG, json.dumps(value))

    def take(self, wait: float) -> None:
        until = time.monotonic() + wait
        while True:
            found = self.read()
            if found.get("expires", 0.0) < time.time():
                try:
                    self.write()
                except MlflowException:
                    # Of two that insert the tag at once the store refuses one: it has lost.
                    if self.read().get("expires", 0.0) < time.time():
                        raise
                time.sleep(SETTLE_SECONDS)
                found = self.read()
                if found.get("owner") == self.owner:
                    return
            if time.monotonic() >= until:
                raise PromotionLocked(
                    f"another promotion of {self.name} ({found.get('owner', 'unknown')}) has held its lock for "
                    f"{wait:g} s",
                    param="target",
                    limit=wait,
                    given=self.name,
                )
            # Two that wrote at once must not meet again and again.
            time.sleep(random.uniform(0.2, 1.0))

    def check(self) -> None:
        owner = self.read().get("owner")
        if owner != self.owner:
            raise PromotionLocked(
                f"the lock of {self.name} was taken over by {owner or 'nobody'} while this promotion waited; "
                "nothing was changed, start again",
                param="target",
                given=self.name,
            )
        self.write()

    def release(self) -> None:
        if self.read().get("owner") == self.owner:
            self.client.delete_registered_model_tag(self.name, LOCK_TAG)


_mine = threading.local()


@contextmanager
def promotion_lock(name: str, *, wait: float = WAIT_SECONDS) -> Iterator[Held]:
    """Holds the lock of a registered model; inside a block of the same thread it is held already.

    A killed process leaves no lock on SQLite, and one that expires on a server.

    Args:
        name: of the registered model, which must exist on a server.
        wait: seconds.

    Raises:
        PromotionLocked: somebody else held it all the time.
    """
    uri = mlflow.get_registry_uri()
    held: dict[tuple[str, str], Held] = _mine.__dict__.setdefault("held", {})
    if (uri, name) in held:
        yield held[uri, name]
        return
    with _file(uri, name, wait) if uri.startswith("sqlite:///") else _tag(name, wait) as lock:
        held[uri, name] = lock
        try:
            yield lock
        finally:
            del held[uri, name]


@contextmanager
def _file(uri: str, name: str, wait: float) -> Iterator[Held]:
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    path = database.with_name(f"{database.name}.{name}.lock")
    lock = FileLock(path, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        raise PromotionLocked(
            f"another promotion of {name} has held {path} for {wait:g} s", param="target", limit=wait, given=name
        ) from None
    try:
        yield Held()
    finally:
        lock.release()


@contextmanager
def _tag(name: str, wait: float) -> Iterator[Held]:
    lock = _HeldTag(name)
    lock.take(wait)
    try:
        yield lock
    finally:
        lock.release()
