"""How a server ends: its worker is killed, or it is asked to stop under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pipelines.serve import GRACE, Server, start_server
from polystilts.runtime.models_folder import SERVING
from tests.world.bundles import tiny_models

pytestmark = pytest.mark.slow

PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}

#: Between SIGTERM and the last connection, in the test that drains.
DRAIN = 4.0

#: No test should need it, in seconds.
PATIENCE = 60.0


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tiny_models(tmp_path, ["xnli"])


def worker(models: Path) -> int:
    """The process that answers; not the one that watches it."""
    return int(json.loads((models / SERVING).read_text())["pid"])


def answers(server: Server) -> bool:
    try:
        return httpx.post(f"{server.url}/v1/nli", json=PAIR, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_worker_is_replaced(models: Path) -> None:
    begun = time.monotonic()
    with start_server(models) as server:
        # Its successor has to start as it did, which takes longer while the machine has other work.
        limit = max(20.0, 12.0 + 3.0 * (time.monotonic() - begun))
        taken: list[float] = []
        while not taken or (taken[-1] >= limit and len(taken) < 3):
            first = worker(models)
            assert first != server.pid
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            while worker(models) == first or not answers(server):
                assert time.monotonic() - killed < 2 * PATIENCE, "nobody took its place"
                time.sleep(0.1)
            taken.append(time.monotonic() - killed)
        assert min(taken) < limit, "it is answered for within 20 s"
    assert server.stop() == 0


def test_in_a_container_a_killed_worker_ends_all(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What watches the container starts it anew."""
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "1")
    with start_server(models) as server:
        os.kill(worker(models), signal.SIGKILL)
        timer = threading.Timer(2 * PATIENCE, os.killpg, (server.pid, signal.SIGKILL))
        timer.start()
        status = server.wait()
        assert timer.is_alive(), "it did not end by itself"
        timer.cancel()
    assert status > 0


def test_sigterm_drains_under_load(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness goes at once; who still comes is answered; what has begun is finished; then it ends well."""
    statuses: Counter[str] = Counter()
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            try:
                with httpx.Client(base_url=server.url, timeout=GRACE + 10) as client:
                    while not over.is_set():
                        statuses[str(client.post("/v1/nli", json=PAIR).status_code)] += 1
            except httpx.TransportError as error:
                # Only once no connection is taken any more may one fail.
                statuses["early" if time.monotonic() < begun + DRAIN else type(error).__name__] += 1
                return

    begun = float("inf")
    body = json.dumps(PAIR).encode()
    monkeypatch.setenv("POLYSTILTS_DRAIN_SECONDS", str(DRAIN))
    with start_server(models) as server:
        address = urlsplit(server.url)
        slow = socket.create_connection((address.hostname, address.port), timeout=GRACE + 10)
        slow.sendall(
            b"POST /v1/nli HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body[:10]
        )
        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        while statuses["200"] < 50:
            time.sleep(0.01)
        begun = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        ready = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
        while ready.status_code == 200 and time.monotonic() < begun + DRAIN / 2:  # the signal is on its way
            ready = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
        assert ready.status_code == 503 and ready.json()["error"]["code"] == "not_ready"
        assert ready.headers["retry-after"] == "1"
        before = statuses["200"]
        while time.monotonic() < begun + 0.6 * DRAIN:
            assert httpx.post(f"{server.url}/v1/nli", json=PAIR, timeout=PATIENCE).status_code == 200
            assert httpx.get(f"{server.url}/livez", timeout=PATIENCE).status_code == 200
        assert statuses["200"] > before
        time.sleep(max(0.0, begun + DRAIN + 1.0 - time.monotonic()))
        slow.sendall(body[10:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 200"), "what had begun is finished"
        slow.close()
        over.set()
        status = server.wait()
        ended = time.monotonic() - begun
        for thread in threads:
            thread.join()
    assert status == 0
    assert statuses["early"] == 0
    assert set(statuses) <= {"200", "ConnectError", "ReadError", "RemoteProtocolError", "early"}
    assert ended < DRAIN + GRACE
