"""MLflow runs: one a phase, nested below the job's; what a killed process left open is closed by the next one."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlflow
import psutil
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EXPERIMENT = "polystilts"

#: Time between two writes of metrics: a store over the network would else slow the loop.
FLUSH_SECONDS = 3.0

#: Tags that every run carries.
KEY, PHASE, HOST, PROCESS, RESUMED_BY, RESUMES = (
    "polystilts.key",
    "polystilts.phase",
    "polystilts.host",
    "polystilts.process",
    "polystilts.resumed_by",
    "polystilts.resumes",
)


_stop = threading.Event()


@contextmanager
def stopping_between_writes() -> Iterator[None]:
    """Ctrl-C inside the block ends it at the next update, row or run, so that no write to the store is cut in two: a
    transaction left open by an interrupt would lock the store against the writes that close the runs. A second one
    ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(number: int, frame: Any) -> None:
        if _stop.is_set():
            raise KeyboardInterrupt
        _stop.set()

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield
        stop_if_asked()
    finally:
        signal.signal(signal.SIGINT, before)
        _stop.clear()


def stop_if_asked() -> None:
    """Where an interrupt that `stopping_between_writes` kept is let through.

    Raises:
        KeyboardInterrupt: there was one.
    """
    if _stop.is_set():
        raise KeyboardInterrupt


class Tracker:
    """Runs of one job.

    Args:
        uri: of the tracking server or database.
        console: where progress bars go.
    """

    def __init__(self, uri: str, console: Console) -> None:
        mlflow.set_tracking_uri(uri)
        if not os.environ.get("MLFLOW_RUN_ID"):
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        self.client = MlflowClient()
        self.console = console

    @contextmanager
    def run(self, phase: str, name: str, key: str, parameters: Mapping[str, Any]) -> Iterator[Run]:
        """An MLflow run for a phase, nested where one is active; adopts the run that `mlflow run` has made.

        Ends FINISHED, FAILED after an error, KILLED after an interrupt. Runs of the same key whose process has gone are
        marked KILLED and linked with this one.
        """
        stop_if_asked()
        nested = mlflow.active_run() is not None
        gone = self._gone(key) if nested else []
        tags = {PHASE: phase, KEY: key, HOST: socket.gethostname(), PROCESS: _process()}
        with mlflow.start_run(run_name=name, nested=nested, tags=tags if nested else None) as run:
            if not nested:
                mlflow.set_tags({**tags, "mlflow.runName": name})
                gone = [r for r in self._gone(key) if r.info.run_id != run.info.run_id]
            for earlier in gone:
                self.client.set_tag(earlier.info.run_id, RESUMED_BY, run.info.run_id)
                self.client.set_terminated(earlier.info.run_id, "KILLED")
                mlflow.set_tag(RESUMES, earlier.info.run_id)
            _log_parameters(parameters)
            try:
                yield run
            except KeyboardInterrupt:
                mlflow.end_run("KILLED")
                raise

    def finished(self, *phases: str) -> list[Run]:
        """FINISHED runs of these phases on this machine that nothing interrupted, the newest first, 1,000 at most."""
        wanted = f"tags.`{HOST}` = '{socket.gethostname()}' and attributes.status = 'FINISHED'"
        order, found = ["attributes.start_time DESC"], list[Run]()
        for phase in phases:
            filtered = f"{wanted} and tags.`{PHASE}` = '{phase}'"
            found += self.client.search_runs([self._experiment()], filtered, max_results=1000, order_by=order)
        return [run for run in found if RESUMES not in run.data.tags]

    def made(self, key: str) -> str:
        """Id of the run that finished the phase of a key; '' where this store knows none."""
        wanted = f"tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
        found = self.client.search_runs([self._experiment()], wanted, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def seconds(self, run_id: str) -> float | None:
        """How long a finished run took; None where this store does not know it."""
        try:
            info = self.client.get_run(run_id).info
        except MlflowException:
            return None
        return (info.end_time - info.start_time) / 1000 if info.end_time else None

    def close_gone(self) -> None:
        """Marks every run KILLED whose process on this host has gone, also those whose phase was finished all the same:
        between the last write of a folder and the end of its run."""
        for run in self._gone():
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _gone(self, key: str = "") -> list[Run]:
        """RUNNING runs of this key, or of any, on this host whose process no longer exists."""
        experiment = self._experiment()
        of_key = f" and tags.`{KEY}` = '{key}'" if key else ""
        found = self.client.search_runs([experiment], f"attributes.status = 'RUNNING'{of_key}", max_results=50)
        here = socket.gethostname()
        return [r for r in found if r.data.tags.get(HOST) == here and not _alive(r.data.tags.get(PROCESS, ""))]

    def _experiment(self) -> str:
        active = mlflow.active_run()
        if active:
            return str(active.info.experiment_id)
        experiment = self.client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        return str(experiment.experiment_id) if experiment else "0"


class RunRecorder:
    """The loop's `Recorder`: a progress bar on the console, metrics into the active MLflow run."""

    def __init__(self, console: Console) -> None:
        self._progress = progress_bar(console)
        self._pending: list[Metric] = []
        self._flushed = time.monotonic()
        self._task: Any = None

    def start(self, description: str, total: int, done: int) -> None:
        self._progress.start()
        self._task = self._progress.add_task(description, total=total, completed=done, note="")

    def advance(self, updates: int, metrics: Mapping[str, float]) -> None:
        stop_if_asked()
        self._progress.advance(self._task, updates)
        if metrics:
            self._progress.update(self._task, note=f"loss {metrics['loss']:.3f}")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._pending += [Metric(name, value, now, step) for name, value in metrics.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._progress.stop()

    def _flush(self) -> None:
        run = mlflow.active_run()
        if run and self._pending:
            MlflowClient().log_batch(run.info.run_id, metrics=self._pending)
        self._pending = []
        self._flushed = time.monotonic()


def progress_bar(console: Console) -> Progress:
    """The one look of every progress bar; without a terminal it prints nothing."""
    return Progress(
        TextColumn("  {task.description:<44}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _log_parameters(parameters: Mapping[str, Any]) -> None:
    flat = {key: str(value)[:500] for key, value in parameters.items()}
    run = mlflow.active_run()
    # `mlflow run` has logged the entry point's own parameters already; they cannot be logged twice.
    known = MlflowClient().get_run(run.info.run_id).data.params if run else {}
    mlflow.log_params({key: value for key, value in flat.items() if key not in known})


def _process() -> str:
    """This process by number and birth time, so that a number used again is not mistaken for it."""
    me = psutil.Process()
    return f"{me.pid}@{me.create_time():.0f}"


def _alive(process: str) -> bool:
    number, _, born = process.partition("@")
    try:
        return abs(psutil.Process(int(number)).create_time() - float(born)) < 2
    except (psutil.Error, ValueError):
        return False
