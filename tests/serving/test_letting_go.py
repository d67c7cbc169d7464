"""What a request or a refused bundle leaves behind: nothing that only the garbage collector would find."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from polystilts.runtime.ort import OrtBackend
from serving.app import create_app
from serving.runtime import Runtime
from serving.settings import Settings
from tests.serving.fakes import fake_model, fake_runtime
from tests.world.bundles import tiny_models

PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def post(app: Any, path: str, body: object, *, leaves: bool = False) -> list[dict[str, Any]]:
    """The messages sent for a request; its client may leave when it has sent the body."""
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        messages = iter([{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            if message := next(messages, None):
                return message
            if not leaves:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
        }
        await app(scope, receive, send)

    asyncio.run(ask())
    return sent


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/nli", PAIR | {"premise": "x" * 100_000}, 413),
        ("/v1/nli", PAIR | {"model": "nobody"}, 404),
        ("/v1/nli", PAIR | {"premise": 1}, 422),
        ("/v1/nli", {"items": []}, 422),
        ("/v1/embeddings", {"model": "tatoeba", "input": ["x" * 100_000]}, 413),
    ],
)
def test_a_refusal_does_not_keep_its_request(path: str, body: object, status: int) -> None:
    runtime = fake_runtime()
    app = create_app(runtime)
    sent = post(app, path, body)
    assert sent[0]["status"] == status
    kept = [found.tb_frame.f_code for found in gc.get_objects() if type(found) is TracebackType]
    assert not [code for code in kept if "serving" in Path(code.co_filename).parts and "tests" not in code.co_filename]
    runtime.close()


def test_who_leaves_while_texts_are_tokenised_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.answering.STRETCH", 10)
    model = fake_model("xnli")
    encode, stretches = model.format.encode, 0

    def slowly(examples: Sequence[Any]) -> Any:
        nonlocal stretches
        stretches += 1
        time.sleep(0.01)
        return encode(examples)

    monkeypatch.setattr(model.format, "encode", slowly)
    runtime = fake_runtime([model])
    body = {"items": [PAIR] * 100}
    app = create_app(runtime)
    assert post(app, "/v1/nli", body)[0]["status"] == 200 and stretches == 100
    stretches = 0
    assert post(app, "/v1/nli", body, leaves=True) == []
    assert stretches < 50, "each alone is quicker than anybody looks"
    runtime.close()


def test_a_refused_bundle_does_not_keep_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server freezes what it has opened at its start: the collector would never find it."""
    opened: weakref.WeakSet[OrtBackend] = weakref.WeakSet()
    rows: list[int] = []

    def wrong(self: OrtBackend, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        opened.add(self)
        rows.append(len(arrays["input_ids"]))
        return {"logits": np.full((len(arrays["input_ids"]), 3), 7.0, dtype=np.float32)}

    models = tiny_models(tmp_path, ["xnli"])
    monkeypatch.setattr(OrtBackend, "run", wrong)
    runtime = Runtime.open(Settings(models=models))
    assert rows and [*runtime.refused] == ["xnli"]
    assert not opened
    runtime.close()
