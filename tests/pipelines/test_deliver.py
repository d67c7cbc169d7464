"""Deliveries from a real registry: what changed and nothing else, several at once, a tracker that goes and comes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from pipelines import deliver
from pipelines.deliver import Deliver, Deliverer, DeliveryLocked, deliveries
from polystilts.errors import ChecksumMismatch, NoModel
from polystilts.runtime import models_folder
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.folders import write_json
from polystilts.runtime.models_folder import CURRENT, SERVING, Delivered, read_current
from polystilts.tracking import registry
from polystilts.tracking.registry import CHAMPION, model_name
from tests.world.bundles import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with three registered bundles (xnli 1, xnli 2, xcopa 1), and their artifacts; copied for each test."""
    folder = tmp_path_factory.mktemp("registry")
    before, place = mlflow.get_tracking_uri(), os.getcwd()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    os.chdir(folder)
    try:
        MlflowClient().create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("tests")
        for target, seed in (("xnli", 1), ("xnli", 2), ("xcopa", 1)):
            bundle = tiny_bundle(folder / "bundles" / f"{target}-{seed}", target, seed=seed)
            with mlflow.start_run():
                registry.register_bundle(bundle, checkpoint_id=None, tags={}, description="tiny")
        for target in ("xnli", "xcopa"):
            MlflowClient().set_registered_model_alias(model_name(target), CHAMPION, "1")
    finally:
        os.chdir(place)
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)  # as `set_experiment` leaves it
    return folder


@pytest.fixture
def store(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The registry of `world`, which this test may change; its URI."""
    (tmp_path / "registry").mkdir()
    shutil.copyfile(world / "mlflow.db", tmp_path / "registry" / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'registry' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


def alias(target: str, name: str, version: str) -> None:
    MlflowClient().set_registered_model_alias(model_name(target), name, version)


def versions(models: Path) -> dict[str, str]:
    return {key: line.version for key, line in read_current(models).items()}


def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that are downloaded from now on."""
    seen: list[str] = []
    real = registry.download_version

    def download(name: str, version: str, into: Path) -> tuple[registry.Registered, Bundle]:
        seen.append(f"{name}/{version}")
        return real(name, version, into)

    monkeypatch.setattr(registry, "download_version", download)
    return seen


def test_what_changed_is_delivered_and_nothing_is_downloaded_twice(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, seen = tmp_path / "models", downloads(monkeypatch)
    deliverer = Deliverer(models)
    assert set(deliverer.round()[0]) == {"xnli", "xcopa"}
    assert seen == ["polystilts-xcopa/1", "polystilts-xnli/1"]
    written = (models / CURRENT).stat().st_ino
    assert deliverer.round() == ({}, [])
    assert (models / CURRENT).stat().st_ino == written
    alias("xnli", CHAMPION, "2")
    changed, _ = deliverer.round()
    assert list(changed) == ["xnli"] and versions(models) == {"xcopa": "1", "xnli": "2"}
    # Back again: the folder of the first one is still there, also for a new process.
    alias("xnli", CHAMPION, "1")
    assert list(Deliverer(models).round()[0]) == ["xnli"]
    assert seen == ["polystilts-xcopa/1", "polystilts-xnli/1", "polystilts-xnli/2"]
    assert sorted(p.name for p in models.iterdir()) == [deliver.LOCK, CURRENT, "xcopa", "xnli"]


def test_a_folder_that_was_there_is_verified(store: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    Deliverer(models).round()
    (models / CURRENT).unlink()
    with (next((models / "xnli").iterdir()) / "model.onnx.data").open("ab") as file:
        file.write(b"x")
    changed, failed = Deliverer(models).round()
    # What is wrong with one target does not keep another from its server.
    assert list(changed) == ["xcopa"] and versions(models) == {"xcopa": "1"}
    assert [type(error) for error in failed] == [ChecksumMismatch] and "model.onnx.data" in failed[0].message


def test_the_challenger_comes_and_goes_with_its_alias(store: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    alias("xnli", "challenger", "2")
    Deliverer(models).round()
    assert versions(models) == {"xcopa": "1", "xnli": "1"}
    deliverer = Deliverer(models, challengers=True)
    deliverer.round()
    assert versions(models) == {"xcopa": "1", "xnli": "1", "xnli@challenger": "2"}
    line = read_current(models)["xnli@challenger"]
    assert line.folder(models) == models / "xnli" / line.digest and line.folder(models).is_dir()
    # Whoever delivers champions only leaves it.
    Deliverer(models).round()
    assert "xnli@challenger" in versions(models)
    alias("xnli", CHAMPION, "2")  # a champion challenges nobody
    assert deliverer.round()[0]["xnli@challenger"] is None
    assert versions(models) == {"xcopa": "1", "xnli": "2"}


def test_a_target_without_a_champion(store: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    with pytest.raises(NoModel, match=r"polystilts-panx has no champion.*targets=panx"):
        deliver.run(Deliver(models=str(models), targets="panx,xnli"))
    assert versions(models) == {"xnli": "1"}


def test_a_registry_without_champions(tmp_path: Path, store: str) -> None:
    for target in ("xnli", "xcopa"):
        MlflowClient().delete_registered_model_alias(model_name(target), CHAMPION)
    with pytest.raises(NoModel, match="make quickstart"):
        deliver.run(Deliver(models=str(tmp_path / "models")))


def test_prune_removes_what_nothing_names(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    parameters = Deliver(models=str(models), targets="xnli", prune=True)
    deliver.run(parameters)
    old = read_current(models)["xnli"].folder(models)
    alias("xnli", CHAMPION, "2")
    deliver.run(parameters)
    assert old.is_dir()  # it was current a moment ago
    monkeypatch.setattr(models_folder, "prune", partial(models_folder.prune, kept_seconds=0))
    write_json(models / SERVING, {"pid": 1, "models": {"xnli": {"digest": old.name}}})
    deliver.run(parameters)
    assert old.is_dir()  # a server has it open
    write_json(models / SERVING, {"pid": 1, "models": {}})
    deliver.run(parameters)
    assert not old.exists() and read_current(models)["xnli"].folder(models).is_dir()
    assert f"removed xnli/{old.name}" in capsys.readouterr().out


def test_two_at_once_lose_no_line(tmp_path: Path) -> None:
    """Many writers of one line each; without the lock nearly every run loses some."""
    bundle = tiny_bundle(tmp_path / "bundle", "xnli")
    lines: dict[str, Delivered] = {}
    for number in range(24):
        target = f"t{number}"
        shutil.copytree(bundle.folder, tmp_path / "models" / target / bundle.digest)
        lines[target] = Delivered(target, bundle.digest, "a", "1")
    code = (
        "import sys; from pathlib import Path; from pipelines.deliver import deliveries\n"
        "from polystilts.runtime.models_folder import Delivered, point\n"
        "models, digest, *targets = Path(sys.argv[1]), *sys.argv[2:]\n"
        "print('imported', flush=True)\n"
        "sys.stdin.readline()\n"
        "for target in targets:\n"
        "    with deliveries(models):\n"
        "        point(models, {target: Delivered(target, digest, 'a', '1')})\n"
    )
    halves = [list(lines)[0::2], list(lines)[1::2]]
    command = [sys.executable, "-c", code, str(tmp_path / "models"), bundle.digest]
    processes = [
        subprocess.Popen([*command, *half], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for half in halves
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "imported\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=240)
        assert process.returncode == 0
    assert read_current(tmp_path / "models") == lines


def test_a_lock_that_is_not_released(tmp_path: Path) -> None:
    with deliveries(tmp_path):
        refused: list[Exception] = []

        def other() -> None:
            try:
                with deliveries(tmp_path, wait=0.1):
                    pass
            except DeliveryLocked as error:
                refused.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1


class Watching:
    """A `deliver --watch` as a process; its output, line by line."""

    def __init__(self, models: Path, uri: str, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "pipelines.deliver", "--models", str(models), "--watch", "0.2", *arguments]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, text: str) -> list[str]:
        """The next lines, the first with `text` last."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if text in line:
                return lines
        raise AssertionError(f"it ended without {text!r}: {lines}")

    def stop(self, number: int) -> tuple[str, int]:
        """What it prints after a signal, and its exit status."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=240)[0], self.process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watching_follows_the_alias_and_outlives_the_tracker(store: str, tmp_path: Path, number: int) -> None:
    models, registry_folder = tmp_path / "models", tmp_path / "registry"
    watching = Watching(models, store, ["--targets", "xnli"])
    try:
        watching.until("xnli: polystilts-xnli version 1")
        registry_folder.rename(tmp_path / "away")
        # A round that had begun may say it in other words.
        assert all(line.startswith("error: ") for line in watching.until("error: cannot write the tracking database"))
        time.sleep(0.6)  # some rounds
        (tmp_path / "away").rename(registry_folder)
        assert watching.until("everything is delivered again") == ["everything is delivered again"]
        alias("xnli", CHAMPION, "2")
        assert len(watching.until("xnli: polystilts-xnli version 2, ")) == 1
        output, status = watching.stop(number)
    finally:
        watching.process.kill()
        watching.process.wait()
    assert (output, status) == ("stopped\n", 0)
    assert versions(models) == {"xnli": "2"}
    assert not [path for path in models.iterdir() if path.name.startswith(".delivery.")]


def test_an_unreachable_tracker_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        watching = Watching(tmp_path / "models", uri)
        try:
            assert "did not answer" in watching.until("error")[-1]
            time.sleep(0.6)
            output, status = watching.stop(signal.SIGTERM)
        finally:
            watching.process.kill()
            watching.process.wait()
    assert (output, status) == ("stopped\n", 0)
