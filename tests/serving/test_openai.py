"""OpenAI's embeddings: bodies as their API has them, and their own client against a real server."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest
import uvicorn
from starlette.testclient import TestClient

from pipelines.serve import Server, start_server
from polystilts.formats.values import SentenceExample
from polystilts.runtime.backend import FakeBackend
from serving.app import create_app
from serving.settings import Settings
from tests.serving.fakes import fake_model, fake_runtime, outputs
from tests.world.bundles import HIDDEN, SETTINGS, tiny_models

TEXTS = ["The cat sleeps on the old table.", "猫在旧桌子上睡觉。", "a"]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(fake_runtime(["tatoeba", "xnli"]), Settings(items=4, characters=50))) as client:
        yield client


def test_the_answer_is_openais(client: TestClient) -> None:
    body = client.post("/v1/embeddings", json={"model": "tatoeba", "input": TEXTS}).json()
    assert set(body) == {"object", "data", "model", "usage"}
    assert (body["object"], body["model"]) == ("list", "tatoeba")
    assert [set(row) for row in body["data"]] == [{"object", "index", "embedding"}] * 3
    assert [(row["object"], row["index"]) for row in body["data"]] == [("embedding", i) for i in range(3)]
    assert all(math.isclose(np.linalg.norm(row["embedding"]), 1, abs_tol=1e-6) for row in body["data"])
    one = client.post("/v1/embeddings", json={"model": "tatoeba", "input": TEXTS[1], "user": "someone"}).json()
    assert one["data"] == [{**body["data"][1], "index": 0}]


def test_usage_is_what_the_model_read(client: TestClient) -> None:
    examples = [SentenceExample("", "und", text) for text in TEXTS]
    rows = fake_model("tatoeba").format.encode(examples)
    tokens = sum(len(row) for group in rows if isinstance(group, list) for row in group)
    usage = client.post("/v1/embeddings", json={"model": "tatoeba", "input": TEXTS}).json()["usage"]
    assert usage == {"prompt_tokens": tokens, "total_tokens": tokens} and tokens > 10


def test_base64_is_little_endian_float32() -> None:
    backend = FakeBackend(outputs(SETTINGS["tatoeba"]))
    model = fake_model("tatoeba", backend=backend)
    rows = model.format.encode([SentenceExample("", "und", "a")])[0]
    assert isinstance(rows, list)
    backend.table[tuple(int(i) for i in rows[0].input_ids)] = {
        "embeddings": np.array([[3.0, 0.0, -4.0, 0.0]], dtype=np.float32)
    }
    with TestClient(create_app(fake_runtime([model]))) as client:
        asked = {"model": "tatoeba", "input": "a", "encoding_format": "base64", "dimensions": 4}
        row = client.post("/v1/embeddings", json=asked).json()["data"][0]
    assert base64.b64decode(row["embedding"]) == b"\x9a\x99\x19\x3f" + b"\0" * 4 + b"\xcd\xcc\x4c\xbf" + b"\0" * 4


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "tatoeba"}, 422, "missing_field", "input"),
        ({"input": "a"}, 422, "missing_field", "model"),
        ({"input": "a", "model": None}, 422, "invalid_value", "model"),
        ({"input": "a", "model": "nothing"}, 404, "no_model", "model"),
        ({"input": "a", "model": "xnli"}, 404, "no_model", "model"),
        ({"input": "a", "model": "text-embedding-3-small"}, 404, "no_model", "model"),
        ({"input": "", "model": "tatoeba"}, 422, "invalid_value", "input"),
        ({"input": ["a", "b", ""], "model": "tatoeba"}, 422, "invalid_value", "input.2"),
        ({"input": ["a", 7], "model": "tatoeba"}, 422, "invalid_value", "input.1"),
        ({"input": [], "model": "tatoeba"}, 422, "invalid_value", "input"),
        ({"input": None, "model": "tatoeba"}, 422, "invalid_value", "input"),
        ({"input": ["a", "b" * 51], "model": "tatoeba"}, 413, "too_large", "input.1"),
        ({"input": "b" * 51, "model": "tatoeba"}, 413, "too_large", "input"),
        ({"input": ["a"] * 5, "model": "tatoeba"}, 413, "too_large", "input"),
        ({"input": "a", "model": "tatoeba", "dimensions": 3}, 422, "invalid_value", "dimensions"),
        ({"input": "a", "model": "tatoeba", "dimensions": 0}, 422, "invalid_value", "dimensions"),
        ({"input": "a", "model": "tatoeba", "encoding_format": "hex"}, 422, "invalid_value", "encoding_format"),
        ({"input": "a", "model": "tatoeba", "texts": "b"}, 422, "unknown_field", "texts"),
    ],
)
def test_bad_requests(client: TestClient, body: Mapping[str, Any], status: int, code: str, param: str) -> None:
    response = client.post("/v1/embeddings", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)


@pytest.mark.parametrize("ids", [[1, 2], [[1, 2], [3]]])
def test_token_ids_are_refused_by_name(client: TestClient, ids: Any) -> None:
    response = client.post("/v1/embeddings", json={"model": "tatoeba", "input": ids})
    assert response.status_code == 422
    assert "token ids" in response.json()["error"]["message"] and response.json()["error"]["param"] == "input"


def test_a_refused_list_runs_nothing() -> None:
    backend = FakeBackend(outputs(SETTINGS["tatoeba"]))
    with TestClient(create_app(fake_runtime([fake_model("tatoeba", backend=backend)]))) as client:
        bad = {"model": "tatoeba", "input": ["a", "b" * 20_001]}
        assert client.post("/v1/embeddings", json=bad).status_code == 413
    assert backend.calls == 0


def test_one_model_is_retrieved(client: TestClient) -> None:
    listed = {card["id"]: card for card in client.get("/v1/models").json()["data"]}
    assert client.get("/v1/models/tatoeba").json() == listed["tatoeba"]
    response = client.get("/v1/models/nothing")
    assert response.status_code == 404 and response.json()["error"]["code"] == "no_model"
    assert 'route="/v1/models/{id}",status="404"' in client.get("/metrics").text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tiny_models(tmp_path_factory.mktemp("openai"), ["tatoeba", "xnli"])) as server:
        yield server


@pytest.fixture(scope="module")
def theirs(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_their_client_embeds(server: Server, theirs: openai.OpenAI) -> None:
    items = [{"text": text} for text in TEXTS]
    ours = httpx.post(f"{server.url}/v1/embed", json={"items": items}, timeout=60).json()
    expected = [result["embedding"] for result in ours["results"]]
    default = theirs.embeddings.create(model="tatoeba", input=TEXTS)
    floats = theirs.embeddings.create(model="tatoeba", input=TEXTS, encoding_format="float", dimensions=HIDDEN)
    raw = theirs.embeddings.create(model="tatoeba", input=TEXTS, encoding_format="base64")
    for index, vector in enumerate(expected):
        assert default.data[index].index == index
        assert default.data[index].embedding == pytest.approx(vector, abs=1e-6)
        assert floats.data[index].embedding == pytest.approx(vector, abs=1e-6)
        packed = raw.data[index].embedding
        assert isinstance(packed, str)
        assert np.frombuffer(base64.b64decode(packed), "<f4") == pytest.approx(vector, abs=1e-6)
    assert default.usage.prompt_tokens == default.usage.total_tokens > 10
    one = theirs.embeddings.create(model="tatoeba", input=TEXTS[0])
    assert len(one.data) == 1 and one.data[0].embedding == pytest.approx(expected[0], abs=1e-6)


def test_their_client_lists_and_retrieves_models(theirs: openai.OpenAI) -> None:
    assert [model.id for model in theirs.models.list()] == ["tatoeba", "xnli"]
    model = theirs.models.retrieve("tatoeba")
    assert (model.object, model.owned_by) == ("model", "polystilts") and model.created > 1_600_000_000


def test_their_client_understands_our_errors(theirs: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        theirs.embeddings.create(model="nothing", input="a")
    assert (missing.value.code, missing.value.param) == ("no_model", "model")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        theirs.embeddings.create(model="tatoeba", input=["a", ""])
    assert (wrong.value.code, wrong.value.param) == ("invalid_value", "input.1")
    assert wrong.value.type == "invalid_request_error" and wrong.value.request_id
    with pytest.raises(openai.UnprocessableEntityError, match="token ids"):
        theirs.embeddings.create(model="tatoeba", input=[[1, 2, 3]])
    with pytest.raises(openai.BadRequestError) as header:
        theirs.embeddings.create(model="tatoeba", input="a", extra_headers={"X-Timeout-Ms": "soon"})
    assert header.value.code == "bad_header"
    with pytest.raises(openai.NotFoundError):
        theirs.models.retrieve("nothing")


def test_their_client_comes_again_when_the_queue_is_full() -> None:
    free = threading.Event()

    class Held(FakeBackend):
        def run(self, arrays: Any) -> Any:
            free.wait(60)
            return super().run(arrays)

    runtime = fake_runtime([fake_model("tatoeba", backend=Held(outputs(SETTINGS["tatoeba"])))], lanes=1, limit_ms=10.0)
    statuses: list[int] = []

    def note(response: httpx2.Response) -> None:
        statuses.append(response.status_code)
        if len(statuses) == 2:
            free.set()

    config = uvicorn.Config(create_app(runtime), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    with running(uvicorn.Server(config)) as url, ThreadPoolExecutor(1) as pool:
        # One call is running or about to; many rows behind it fill the queue.
        waiting = pool.submit(httpx.post, f"{url}/v1/embed", json={"items": [{"text": "a"}] * 128}, timeout=60)
        until(lambda: runtime.scheduler.queue_ms > 10)
        once = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        with once as client, pytest.raises(openai.RateLimitError) as full:
            client.embeddings.create(model="tatoeba", input="a")
        assert (full.value.code, full.value.param) == ("queue_full", "queue_ms")
        http = httpx2.Client(event_hooks={"response": [note]})
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=3, http_client=http) as client:
            assert len(client.embeddings.create(model="tatoeba", input="a").data) == 1
        assert waiting.result(60).status_code == 200
    assert statuses == [429, 429, 200]
    runtime.close()


@contextmanager
def running(server: uvicorn.Server) -> Iterator[str]:
    """The URL of a server in a thread of this process."""
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)
