"""The models of one models folder, ready to answer, and what changes when the folder does."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from polystilts.errors import ChecksumMismatch, MissingData, NotReady, PolystiltsError
from polystilts.runtime.backend import Backend
from polystilts.runtime.bundle import MANIFEST, Bundle, open_bundle
from polystilts.runtime.folders import state_of, write_json
from polystilts.runtime.models_folder import CURRENT, SERVING, Delivered, read_current
from polystilts.runtime.ort import OrtBackend, check_device, usable_cores
from polystilts.runtime.plan import Plan, best_plan
from polystilts.runtime.pool import Held, OpenBackend, Pool
from polystilts.runtime.priority import give_way
from polystilts.runtime.scheduler import Engine, Scheduler
from serving.settings import Settings

logger = logging.getLogger(__name__)

#: A refused bundle is tried again after so many seconds.
RETRY = 15.0

#: Told of a model that began to answer, was refused or went: key, outcome ('loaded', 'refused', 'removed'), digest.
OnSwap = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Served:
    """A model that answers.

    Attributes:
        key: what a request's `model` may say: the target, or ``target@alias``.
        delivered: what the registry calls it.
        held: its bundle in the pool.
        created: Unix seconds at which its manifest was written.
    """

    key: str
    delivered: Delivered
    held: Held
    created: int

    @classmethod
    def of(cls, key: str, delivered: Delivered, held: Held) -> Served:
        manifest = held.bundle.folder / MANIFEST
        return cls(key, delivered, held, int(manifest.stat().st_mtime) if manifest.is_file() else 0)

    @property
    def bundle(self) -> Bundle:
        return self.held.bundle


@dataclass(frozen=True)
class Refused:
    """A bundle that ``current.json`` names and that does not answer."""

    digest: str
    error: PolystiltsError


class Runtime:
    """The models of a server.

    Args:
        models: the models folder; None = nothing is read from disk, `take` is called by hand.
    """

    def __init__(
        self, pool: Pool, scheduler: Scheduler, models: Path | None = None, *, on_swap: OnSwap | None = None
    ) -> None:
        self.pool = pool
        self.scheduler = scheduler
        self._models = models
        self._on_swap = on_swap
        self._served: Mapping[str, Served] = {}
        self._refused: Mapping[str, Refused] = {}
        self._seen: tuple[int, int, int] | None = None
        self._refreshing = threading.Lock()
        self._stop = threading.Event()
        self._draining = False

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        on_swap: OnSwap | None = None,
        on_batch: Callable[[Engine, int, int, int], None] | None = None,
    ) -> Runtime:
        """Opens, verifies and tests what ``current.json`` names; a bundle that fails is left out.

        Raises:
            MissingData: no models folder.
        """
        current = read_current(settings.models)
        check_device(settings.device)

        def open_backend(folder: Path, threads: int, spin: bool) -> Backend:
            return OrtBackend(folder, threads=threads, device=settings.device, spin=spin)

        if settings.device == "cuda":
            # Two calls at once: the device is never idle while the next batch is put together.
            plan, cores = Plan(settings.lanes or 2, settings.threads or 1), 1
        else:
            cores = usable_cores()
            plan = _plan(settings, cores, open_backend, current)
        pool = Pool(
            threads=plan.threads,
            wide_threads=cores,
            budget=settings.memory_bytes,
            public_key=settings.public_key,
            open_backend=open_backend,
            round_to=16 if settings.device == "cuda" else 1,
        )
        tokens = settings.batch_tokens or (16_384 if settings.device == "cuda" else 256 * plan.threads)
        scheduler = Scheduler(
            plan.lanes, limit_ms=settings.queue_ms, max_tokens=tokens, gives_way=True, on_batch=on_batch
        )
        runtime = cls(pool, scheduler, settings.models, on_swap=on_swap)
        # Threads of a model's own are as quick to give way as the one that opened it.
        with ThreadPoolExecutor(1, initializer=give_way) as opening:
            opening.submit(runtime.refresh).result()
        return runtime

    @property
    def served(self) -> list[Served]:
        """Every model that answers, by key."""
        served = self._served
        return [served[key] for key in sorted(served)]

    @property
    def refused(self) -> Mapping[str, Refused]:
        """What ``current.json`` names and does not answer, by key; an older bundle may answer in its place."""
        return self._refused

    @property
    def ready(self) -> bool:
        """Every key has a model that passed its self-test, and the server is not stopping."""
        try:
            self.check_ready()
        except NotReady:
            return False
        return True

    def check_ready(self) -> None:
        """Does nothing when `ready`.

        Raises:
            NotReady: saying why.
        """
        if self._draining:
            raise NotReady("the server is stopping")
        missing = {key: refused for key, refused in self._refused.items() if key not in {*self._served, CURRENT}}
        if missing:
            reasons = [f"{key} ({refused.error.code})" for key, refused in sorted(missing.items())]
            raise NotReady(f"bundles refused: {', '.join(reasons)}", param=",".join(sorted(missing)))
        if not self._served:
            raise NotReady("there are no models")

    def take(self, key: str, delivered: Delivered, held: Held) -> None:
        """Serves a model that is already in the pool."""
        self._served = {**self._served, key: Served.of(key, delivered, held)}

    def refresh(self) -> None:
        """Reads ``current.json`` again and serves what it names.

        A new bundle is verified, loaded and tested beside the old one, then put in its place in one step; requests
        that are being answered keep the old one. A bundle that fails is refused and the old one stays.
        """
        if self._models is None:
            return
        with self._refreshing:
            self._seen = state_of(self._models / CURRENT)
            try:
                current = read_current(self._models)
            except PolystiltsError as error:
                # What is served stays; whoever asks is told.
                self._refused = {**self._refused, CURRENT: Refused("", error)}
                self._tell(CURRENT, "refused", "", error.message)
                return
            refused: dict[str, Refused] = {}
            before = {served.held for served in self._served.values()}
            for key, delivered in current.items():
                served = self._served.get(key)
                try:
                    held = self._hold(delivered)
                except (PolystiltsError, OSError) as error:
                    known = error if isinstance(error, PolystiltsError) else _unreadable(error)
                    # It leads to the frames that it passed, which hold what was loaded before it was refused.
                    known.__traceback__ = None
                    refused[key] = Refused(delivered.digest, known)
                    before_that = self._refused.get(key)
                    if before_that is None or before_that.digest != delivered.digest:
                        self._tell(key, "refused", delivered.digest, known.message)
                    continue
                self.take(key, delivered, held)
                if served is None or served.held is not held:
                    self._tell(key, "loaded", delivered.digest)
            for key in self._served.keys() - current.keys():
                self._tell(key, "removed", self._served[key].delivered.digest)
            self._served = {key: served for key, served in self._served.items() if key in current}
            self._refused = refused
            for held in before - {served.held for served in self._served.values()}:
                self.pool.remove(held)
            self._note()

    def watch(self, seconds: float) -> None:
        """From now on `refresh` is called when ``current.json`` has changed, looked at every so many seconds."""
        if self._models is not None and seconds:
            threading.Thread(target=self._watch, args=(seconds,), name="watch", daemon=True).start()

    def drain(self) -> None:
        """Not ready from now on; everything is still answered."""
        self._draining = True

    def close(self, seconds: float = 0.0) -> None:
        """Ends; waits up to `seconds` for what is being answered."""
        self.drain()
        self._stop.set()
        self.scheduler.close(seconds)

    def _hold(self, delivered: Delivered) -> Held:
        if self._models is None:
            raise NotReady("there is no models folder")
        held = self.pool.add(delivered.folder(self._models), delivered.digest)
        if held.bundle.target != delivered.target:
            if all(served.held is not held for served in self._served.values()):
                self.pool.remove(held)
            raise ChecksumMismatch(
                f"{CURRENT} names a bundle of {held.bundle.target} for {delivered.target}", param="target"
            )
        return held

    def _watch(self, seconds: float) -> None:
        give_way()
        since = time.monotonic()
        while not self._stop.wait(seconds):
            # A bundle may be mended in its place: copied again, made readable.
            again = bool(self._refused) and time.monotonic() - since > RETRY
            if self._models is not None and (again or state_of(self._models / CURRENT) != self._seen):
                since = time.monotonic()
                try:
                    self.refresh()
                except Exception:  # the watch must go on, whatever a file or a model did
                    logger.exception("reading %s again failed", CURRENT)

    def _tell(self, key: str, outcome: str, digest: str, reason: str = "") -> None:
        level = logging.ERROR if outcome == "refused" else logging.INFO
        logger.log(level, "model %s of digest %s %s%s", key, digest[:12], outcome, f": {reason}" if reason else "")
        if self._on_swap:
            self._on_swap(key, outcome, digest)

    def _note(self) -> None:
        """Writes `SERVING`; a folder that cannot be written to is no fault of the server's."""
        if self._models is None:
            return
        note = {key: {"digest": served.delivered.digest} for key, served in self._served.items()}
        try:
            write_json(self._models / SERVING, {"pid": os.getpid(), "models": note})
        except OSError as error:
            logger.info("%s is not written: %s", SERVING, error.strerror)


def _plan(settings: Settings, cores: int, open_backend: OpenBackend, current: Mapping[str, Delivered]) -> Plan:
    """Lanes and threads: what the settings say, else what a trial on the first bundle finds best."""
    if settings.threads or settings.lanes or not current:
        threads = settings.threads or max(1, cores // (settings.lanes or cores))
        return Plan(settings.lanes or max(1, cores // threads), threads)
    first = next(iter(current.values()))
    try:
        bundle = open_bundle(first.folder(settings.models), digest=first.digest, public_key=settings.public_key)
    except PolystiltsError:  # said when it is refused
        return Plan(cores, 1)
    plans = best_plan(
        cores, lambda threads: open_backend(bundle.folder, threads, False), longest=bundle.settings.max_length
    )
    for plan in plans:
        logger.info("%d lanes of %d threads: %.1f rows/s", plan.lanes, plan.threads, plan.rate)
    return plans[0]


def _unreadable(error: OSError) -> PolystiltsError:
    return MissingData(f"a file cannot be read: {error.filename}: {error.strerror}", given=str(error.filename))
