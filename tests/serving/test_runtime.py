"""Opening a models folder: checks, shared tokenizer, refused bundles."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystilts.errors import InvalidValue, MissingData, NotReady, Problems
from polystilts.runtime.folders import sha256
from polystilts.runtime.models_folder import read_current
from serving.runtime import Runtime
from serving.settings import Settings
from tests.world.bundles import SETTINGS, tiny_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tiny_models(tmp_path, ["xnli", "udpos"])


def open_runtime(models: Path, **settings: Any) -> Runtime:
    return Runtime.open(Settings(models=models, **settings))


def test_opens_tests_and_shares_the_tokenizer(models: Path) -> None:
    runtime = open_runtime(models)
    assert runtime.ready
    first, second = runtime.served
    pool = runtime.pool
    with pool.lease(first.held) as one, pool.lease(second.held) as other:
        assert one.format.pieces is other.format.pieces
    assert first.held.difference <= 1e-5
    runtime.close()
    assert not runtime.ready


def test_a_changed_bundle_is_left_out_and_named(models: Path) -> None:
    folder = read_current(models)["udpos"].folder(models)
    with (folder / "model.onnx.data").open("ab") as file:
        file.write(b"x")
    runtime = open_runtime(models)
    assert [model.delivered.target for model in runtime.served] == ["xnli"]
    assert not runtime.ready
    with pytest.raises(NotReady, match=r"udpos \(checksum_mismatch\)"):
        runtime.check_ready()


def test_a_bundle_that_computes_something_else_is_left_out(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: object, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": np.zeros((*arrays["input_ids"].shape, 1), dtype=np.float32)}

    monkeypatch.setattr("polystilts.runtime.ort.OrtBackend.run", other)
    runtime = open_runtime(models)
    assert not runtime.served
    assert not runtime.ready


def test_no_models_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingData):
        open_runtime(tmp_path)
    (tmp_path / "current.json").write_text(json.dumps({}))
    with pytest.raises(NotReady):
        open_runtime(tmp_path).check_ready()


def test_every_format_has_a_tiny_bundle() -> None:
    assert {settings.format for settings in SETTINGS.values()} == {
        "pair",
        "choice",
        "tagging",
        "span",
        "sentence",
    }


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environment({"POLYSTILTS_MODELS": "/m", "POLYSTILTS_ITEMS": "7", "HOME": "/"})
    assert settings.models == Path("/m") and settings.items == 7
    assert Settings.from_environment({"POLYSTILTS_HOSTS": "a.example, b"}).hosts == {"a.example", "b"}
    with pytest.raises(Problems, match=r"did you mean 'POLYSTILTS_THREADS'"):
        Settings.from_environment({"POLYSTILTS_THREAD": "2", "POLYSTILTS_REAL_DATA": "x"})
    with pytest.raises(Problems, match=r"(?s)THREADS.*many.*LOG_LEVEL"):
        Settings.from_environment({"POLYSTILTS_THREADS": "many", "POLYSTILTS_LOG_LEVEL": "loud"})


def test_a_bundle_that_cannot_be_read_is_refused_and_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file with wrong rights must not keep the other models from being served."""
    weights = read_current(models)["udpos"].folder(models) / "model.onnx.data"

    def unreadable(path: Path) -> str:
        if path == weights and not mended:
            raise PermissionError(13, "Permission denied", str(path))
        return sha256(path)

    mended: list[bool] = []
    monkeypatch.setattr("polystilts.runtime.folders.sha256", unreadable)
    monkeypatch.setattr("serving.runtime.RETRY", 0.0)
    runtime = open_runtime(models)
    assert [model.key for model in runtime.served] == ["xnli"]
    assert "cannot be read" in runtime.refused["udpos"].error.message
    runtime.watch(0.01)
    mended.append(True)
    limit = time.monotonic() + 60
    while not runtime.ready and time.monotonic() < limit:
        time.sleep(0.01)
    assert runtime.ready and not runtime.refused
    runtime.close()


def test_a_device_that_is_not_there_is_refused_before_anything_is_opened(models: Path) -> None:
    with pytest.raises(InvalidValue, match=r"requirements-gpu\.lock"):
        open_runtime(models, device="cuda")


def test_lanes_and_threads_as_the_settings_say(models: Path) -> None:
    runtime = open_runtime(models, lanes=3, threads=1)
    assert runtime.scheduler.lanes == 3 and runtime.pool.threads == 1
    runtime.close()
    runtime = open_runtime(models, threads=2)
    assert runtime.scheduler.max_tokens == 512
    runtime.close()
