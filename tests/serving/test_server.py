"""The real server: `bentoml serve` over tiny real bundles, from the checkout and from a bento."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from rich.console import Console

from pipelines.package import build_bento
from pipelines.serve import Server, ServerFailed, answers_table, ask_every_endpoint, start_server
from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData
from polystilts.runtime.models_folder import read_current
from serving.endpoints import ENDPOINTS
from tests.world.bundles import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with start_server(models) as server:
        yield server


def test_every_endpoint_answers(server: Server, models: Path) -> None:
    with server.client() as client:
        asked = ask_every_endpoint(client)
    assert {one.endpoint for one in asked} == {endpoint.name for endpoint in ENDPOINTS}
    digests = {line.digest for line in read_current(models).values()}
    assert {one.answer["model"]["digest"] for one in asked} == digests
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(answers_table(asked))
    assert "/v1/align" in console.export_text()


def test_a_text_has_the_same_answer_alone_and_in_a_list(server: Server) -> None:
    items = [
        {"text": "猫"},
        {"text": "The cat sleeps on the old table, and nobody is outside today."},
        {"text": "a"},
    ]
    with server.client() as client:
        several = client.ask_several("embed", items)["results"]
        for item, result in zip(items, several, strict=True):
            assert client.ask("embed", item)["result"]["embedding"] == pytest.approx(result["embedding"], abs=1e-5)


@pytest.mark.parametrize("path", ["/schema.json", "/docs.json", "/healthz", "/nothing"])
def test_no_path_is_answered_by_bentoml(server: Server, path: str) -> None:
    response = httpx.get(server.url + path, timeout=60)
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"


def test_large_bodies_are_refused_whole_and_streamed(server: Server) -> None:
    body = json.dumps({"premise": "a" * 2_000_000, "hypothesis": "b"}).encode()
    headers = {"Content-Type": "application/json"}
    for content in (body, (body[i : i + 65536] for i in range(0, len(body), 65536))):
        response = httpx.post(f"{server.url}/v1/nli", content=content, headers=headers, timeout=60)
        assert response.status_code == 413 and response.json()["error"]["param"] == "body"


def test_twenty_clients_at_once(server: Server) -> None:
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.post(f"{server.url}/v1/pos", json={"text": "The cat sleeps."}, timeout=60).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


def test_an_unfinished_body_is_answered_with_408(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSTILTS_BODY_SECONDS", "2")
    with start_server(models) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            head = (
                "POST /v1/nli HTTP/1.1",
                "Host: localhost",
                "Content-Type: application/json",
                "Content-Length: 50",
            )
            connection.sendall("\r\n".join((*head, "", "{")).encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 408") and b"body_timeout" in answer
        # SIGTERM lets a running request finish.
        statuses: list[int] = []

        def ask() -> None:
            lists = {"source": [f"cat {i}" for i in range(2000)], "target": [f"猫 {i}" for i in range(2000)]}
            statuses.append(httpx.post(f"{server.url}/v1/align", json=lists, timeout=60).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive() and "polystilts_lanes_busy 0.0" in httpx.get(f"{server.url}/metrics", timeout=60).text:
            time.sleep(0.01)  # it has not begun
        os.kill(server.pid, signal.SIGTERM)
        thread.join()
        assert statuses == [200]
        assert server.wait() == 0


def test_a_bento_holds_all_it_needs(models: Path, tmp_path: Path) -> None:
    tag = build_bento(models, output=tmp_path)
    assert build_bento(models, output=tmp_path) == tag
    source = tmp_path / "bentos" / tag.replace(":", "/") / "src"
    code = {str(path.relative_to(source).parent) for path in source.rglob("*.py")}
    assert code == {"polystilts", "polystilts/formats", "polystilts/runtime", "serving"}
    with start_server(bento=tag, home=tmp_path) as server, server.client() as client:
        assert {one.endpoint for one in ask_every_endpoint(client)} == {endpoint.name for endpoint in ENDPOINTS}
    assert server.stop() == 0


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"current\.json"):
        start_server(tmp_path / "nothing")
    models = tiny_models(tmp_path, ["xnli"])
    with (read_current(models)["xnli"].folder(models) / "model.onnx.data").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ChecksumMismatch, match=r"model\.onnx\.data"):
        build_bento(models, output=tmp_path / "store")
    with pytest.raises(ServerFailed, match="checksum_mismatch"):
        start_server(models)


def test_ending_the_entry_point_ends_the_server(models: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-u", "-m", "pipelines.serve", "--models", str(models), "--port", str(port)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{port}"
        assert url in process.stdout.readline()
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/readyz", timeout=60)


def test_a_port_that_is_taken_is_said_at_once(server: Server, models: Path) -> None:
    port = urlsplit(server.url).port
    assert port
    with pytest.raises(InvalidValue, match=f"port {port} of 127.0.0.1 cannot be used"):
        start_server(models, port)
