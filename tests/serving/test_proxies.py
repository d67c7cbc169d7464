"""Who is asking: the address that shares of the queue go by, behind a proxy and without one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from pipelines.package import bento_environment
from serving.app import create_app
from tests.serving.fakes import fake_runtime

PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}


@contextmanager
def owners() -> Iterator[tuple[str, list[str]]]:
    """The application behind the HTTP layer that BentoML has; its address, and who owned each request."""
    runtime, seen = fake_runtime(["xnli"]), []
    check = runtime.scheduler.check

    def noted(owner: str, share: float | None = None) -> None:
        seen.append(owner)
        check(owner, share)

    runtime.scheduler.check = noted  # type: ignore[method-assign]
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(runtime), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", seen
    finally:
        server.should_exit = True
        thread.join()
        runtime.close()


@pytest.mark.parametrize(
    ("believed", "owner"),
    [
        pytest.param(bento_environment(None)["FORWARDED_ALLOW_IPS"], "127.0.0.1", id="nobody by default"),
        ("10.0.0.0/8", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7"),
        ("10.0.0.0/8,127.0.0.0/8", "203.0.113.7"),
    ],
)
def test_a_proxy_is_believed_if_the_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, believed: str, owner: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", believed)
    with owners() as (url, seen):
        # What a client writes in front itself is not taken for what the proxy saw.
        headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", "X-Forwarded-Proto": "https"}
        assert httpx.post(f"{url}/v1/nli", json=PAIR, headers=headers, timeout=60).status_code == 200
        assert seen == [owner]


def test_what_the_operator_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.1.2.3")
    assert bento_environment(None)["FORWARDED_ALLOW_IPS"] == "10.1.2.3"
