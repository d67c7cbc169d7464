"""The client: retries 429, 503 and lost connections, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pipelines.serve import Server, start_server
from polystilts.errors import NotReady
from serving.client import AnswerError, AsyncClient, Client
from tests.world.bundles import tiny_models


def body(code: str) -> dict[str, dict[str, str | None]]:
    return {
        "error": {
            "code": code,
            "message": "no",
            "param": "p",
            "limit": None,
            "given": None,
            "request_id": "r",
        }
    }


def transport(answer: Callable[[int], httpx.Response], calls: list[httpx.Request]) -> httpx.MockTransport:
    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return answer(len(calls))

    return httpx.MockTransport(handle)


def client(answer: Callable[[int], httpx.Response], calls: list[httpx.Request], **options: Any) -> Client:
    return Client("http://test", transport=transport(answer, calls), **options)


@pytest.mark.parametrize("status", [429, 503])
def test_tries_again_as_the_server_asks(status: int) -> None:
    calls: list[httpx.Request] = []
    refused = httpx.Response(status, json=body("busy"), headers={"Retry-After": "0"})
    with client(lambda n: refused if n < 3 else httpx.Response(200, json={"result": 1}), calls) as asking:
        assert asking.nli("a", "b") == {"result": 1}
    assert len(calls) == 3


def test_tries_again_when_the_connection_is_lost() -> None:
    calls: list[httpx.Request] = []

    def answer(number: int) -> httpx.Response:
        if number == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"result": 1})

    with client(answer, calls) as asking:
        asking.embed("a")
    assert len(calls) == 2


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 504])
def test_other_errors_are_raised_at_once(status: int) -> None:
    calls: list[httpx.Request] = []
    with (
        client(lambda n: httpx.Response(status, json=body("bad")), calls) as asking,
        pytest.raises(AnswerError) as raised,
    ):
        asking.qa("a", "b")
    assert (len(calls), raised.value.status, raised.value.code, raised.value.param) == (1, status, "bad", "p")


def test_gives_up_after_the_last_attempt_and_reads_a_foreign_page() -> None:
    calls: list[httpx.Request] = []
    page = httpx.Response(503, text="<html>proxy</html>", headers={"Retry-After": "0"})
    with client(lambda n: page, calls) as asking, pytest.raises(AnswerError, match="503"):
        asking.models()
    assert len(calls) == 4


@pytest.mark.parametrize("answer", [{"error": "text"}, {"error": {"code": "x"}}, [], {"detail": "no"}])
def test_another_servers_error_is_one_of_ours(answer: Any) -> None:
    with client(lambda n: httpx.Response(500, json=answer), []) as asking, pytest.raises(AnswerError) as raised:
        asking.nli("a", "b")
    assert (raised.value.code, raised.value.status) == ("bad_answer", 500)


def test_the_server_is_told_what_is_left_of_the_whole_call() -> None:
    calls: list[httpx.Request] = []

    def answer(number: int) -> httpx.Response:
        time.sleep(0.05)
        return httpx.Response(503, json=body("not_ready"), headers={"Retry-After": "0"})

    with client(answer, calls, timeout=60.0) as asking, pytest.raises(AnswerError):
        asking.nli("a", "b")
    left = [int(call.headers["X-Timeout-Ms"]) for call in calls]
    assert len(left) == 4 and left[0] <= 60_000
    assert all(before - after >= 49 for before, after in itertools.pairwise(left))


def test_what_cannot_be_waited_for_is_raised_at_once() -> None:
    calls: list[httpx.Request] = []
    later = httpx.Response(429, json=body("queue_full"), headers={"Retry-After": "60"})
    with client(lambda n: later, calls, timeout=30.0) as asking, pytest.raises(AnswerError) as raised:
        asking.nli("a", "b")
    assert (len(calls), raised.value.retry_after) == (1, 60.0)


def test_waits_as_long_as_the_server_asks() -> None:
    calls: list[httpx.Request] = []
    refused = httpx.Response(429, json=body("queue_full"), headers={"Retry-After": "1"})
    start = time.monotonic()
    with client(lambda n: refused if n == 1 else httpx.Response(200, json={"result": 1}), calls) as asking:
        asking.nli("a", "b")
    assert time.monotonic() - start >= 1.0


def test_a_lost_answer_is_not_asked_for_again() -> None:
    calls: list[httpx.Request] = []

    def answer(number: int) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    with client(answer, calls) as asking, pytest.raises(httpx.ReadTimeout):
        asking.nli("a", "b")
    assert len(calls) == 1


def test_the_key_is_sent_with_every_request() -> None:
    calls: list[httpx.Request] = []
    with client(lambda n: httpx.Response(200, json={"data": []}), calls, key="secret") as asking:
        asking.models()
        asking.embeddings(["a", "b"], model="tatoeba")
        assert asking.ready()
    assert [call.headers["Authorization"] for call in calls] == ["Bearer secret"] * 3
    with client(lambda n: httpx.Response(200, json={}), calls) as asking:
        asking.nli("a", "b")
    assert "Authorization" not in calls[-1].headers


def test_waits_until_the_server_is_ready() -> None:
    def answer(number: int) -> httpx.Response:
        if number == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200 if number > 2 else 503)

    calls: list[httpx.Request] = []
    with client(answer, calls) as asking:
        asking.wait_ready(60)
    assert len(calls) == 3
    with client(lambda n: httpx.Response(503), []) as asking, pytest.raises(NotReady, match=r"0\.2 s"):
        asking.wait_ready(0.2)


def test_the_asynchronous_client_does_the_same() -> None:
    calls: list[httpx.Request] = []
    refused = httpx.Response(429, json=body("queue_full"), headers={"Retry-After": "0"})

    async def ask() -> None:
        mock = transport(lambda n: refused if n % 2 else httpx.Response(200, json={"result": n, "data": []}), calls)
        async with AsyncClient("http://test", key="secret", transport=mock) as asking:
            assert (await asking.nli("a", "b"))["result"] == 2
            assert await asking.models() == []
            both = await asyncio.gather(asking.embed("a"), asking.embed("b"))
            assert len(both) == 2
        late = transport(lambda n: httpx.Response(504, json=body("deadline")), calls)
        async with AsyncClient("http://test", transport=late) as asking:
            with pytest.raises(AnswerError) as raised:
                await asking.embed("a")
            assert raised.value.code == "deadline"
            with pytest.raises(NotReady):
                await asking.wait_ready(0.05)

    asyncio.run(ask())
    assert calls[0].headers["Authorization"] == "Bearer secret"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tiny_models(tmp_path_factory.mktemp("client"), ["tatoeba"])) as server:
        yield server


def test_a_real_server(server: Server) -> None:
    with Client(server.url) as asking:
        asking.wait_ready(60)
        vector = asking.embed("The cat sleeps.")["result"]["embedding"]
        answer = asking.embeddings(["The cat sleeps.", "猫"], model="tatoeba")
        assert answer["data"][0]["embedding"] == pytest.approx(vector, abs=1e-6)
        with pytest.raises(AnswerError) as raised:
            asking.nli("a", "b")
        assert (raised.value.code, raised.value.status) == ("no_model", 404)

    async def ask() -> list[float]:
        async with AsyncClient(server.url) as asking:
            await asking.wait_ready(60)
            return list((await asking.embed("The cat sleeps."))["result"]["embedding"])

    assert asyncio.run(ask()) == vector
    with Client("http://127.0.0.1:9", attempts=2) as asking, pytest.raises(httpx.ConnectError):
        asking.models()
