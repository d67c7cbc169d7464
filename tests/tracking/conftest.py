"""Stores of a test's own: SQLite, created once and copied; and a real tracking server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; making them takes seconds. It has no experiment that names a place yet."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@contextmanager
def _tracked(uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Everything is tracked there, in the experiment `tests`; the working directory is `folder`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")  # set_experiment changes it
    monkeypatch.chdir(folder)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture
def store(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The default store of a new project: SQLite, and artifacts in a local folder; its URI."""
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    MlflowClient(uri).create_experiment("tests", artifact_location=(tmp_path / "artifacts").as_uri())
    with _tracked(uri, tmp_path, monkeypatch) as tracked:
        yield tracked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(arguments: list[str], url: str, folder: Path) -> Iterator[None]:
    """A command of MLflow's in `folder` until the block ends, from the moment `url` answers."""
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # `mlflow models serve` calls uvicorn by its name, as in an activated environment.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)
        yield
    finally:
        # Its workers are in its process group, which is this test's own.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)  # it waits for connections that clients keep
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def server(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tracking server on loopback that serves its artifacts; its URI."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--serve-artifacts"]
    arguments += ["--artifacts-destination", str(folder / "artifacts")]
    with running(arguments, f"{uri}/health", folder), _tracked(uri, tmp_path, monkeypatch) as tracked:
        yield tracked
