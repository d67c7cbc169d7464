"""The client: retries 429, 503 and lost connections, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from serving.client import AnswerError, Client


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


def client(answer: Callable[[int], httpx.Response], calls: list[httpx.Request]) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return answer(len(calls))

    return Client("http://test", transport=httpx.MockTransport(handle))


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
