"""Two replicas behind nginx, each restarted in turn under load: no request fails. Needs nginx; `make test-rolling`.

The configuration is deploy/nginx.conf with this test's addresses in it.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from pipelines.serve import Server, start_server
from tests.world.bundles import tiny_models

CONFIGURATION = Path(__file__).with_name("nginx.conf")
CLIENTS = 8

#: What each client asks in turn.
REQUESTS = (
    ("/v1/nli", {"premise": "The cat sleeps.", "hypothesis": "猫在睡觉。"}),
    ("/v1/pos", {"items": [{"text": "Кошка спит на старом столе."}, {"text": "The cat sleeps. " * 20}]}),
    ("/v1/nli", {"items": [{"premise": "The cat sleeps. " * n, "hypothesis": "Nobody."} for n in range(1, 16)]}),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def proxy(folder: Path, replicas: tuple[int, int]) -> Iterator[str]:
    """nginx over two ports of this machine; its URL."""
    port = free_port()
    text = CONFIGURATION.read_text("utf-8")
    for number, replica in enumerate(replicas, 1):
        assert text.count(f"polystilts-{number}:3000") == 1
        text = text.replace(f"polystilts-{number}:3000", f"127.0.0.1:{replica}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/nginx", f"{folder}/nginx")
    conf = folder / "nginx.conf"
    conf.write_text(text, "utf-8")
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    own = ["-p", str(folder), "-c", str(conf)]
    checked = subprocess.run([nginx, "-t", *own], capture_output=True, text=True)
    assert checked.returncode == 0 and "warn" not in checked.stderr, checked.stderr
    with (folder / "nginx.log").open("wb") as log:
        # As root its workers would be somebody who may not enter the folder.
        process = subprocess.Popen([nginx, *own, "-g", "daemon off; user root;"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


class Load:
    """Clients that ask without a pause, and what they were answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        # Half of the clients take a new connection for every request.
        kept = httpx.Client(base_url=self.url, timeout=30) if number % 2 else None
        while not self._stop.is_set():
            for path, body in REQUESTS:
                begun = time.monotonic()
                try:
                    answer = kept.post(path, json=body) if kept else httpx.post(self.url + path, json=body, timeout=30)
                    outcome = str(answer.status_code) if answer.status_code == 200 else answer.text[:200]
                except httpx.TransportError as error:
                    outcome = repr(error)
                with self._lock:
                    self.answers[outcome] += 1
                    self.slowest = max(self.slowest, time.monotonic() - begun)
        if kept:
            kept.close()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("world"), ["xnli", "udpos"])


def test_a_rolling_restart_fails_no_request(models: Path, tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    replicas: list[Server] = []
    try:
        replicas += [start_server(models, port) for port in ports]
        with proxy(tmp_path, ports) as url:
            with Load(url) as load:
                time.sleep(2)
                for number, port in enumerate(ports):
                    before = load.answers.total()
                    assert replicas[number].stop() == 0
                    # Somebody answered all the while.
                    assert load.answers.total() > before + 20
                    replicas[number] = start_server(models, port)
                    time.sleep(3)
            print(f"{dict(load.answers)}, slowest {load.slowest:.2f} s")
            assert set(load.answers) == {"200"} and load.answers.total() > 200
            # The new ones had their part of it.
            for replica in replicas:
                assert httpx.get(f"{replica.url}/metrics").text.count('route="/v1/nli"') > 0
    finally:
        for replica in replicas:
            replica.stop()


def test_what_the_proxy_answers_itself(models: Path, tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    with start_server(models, ports[0]), proxy(tmp_path, ports) as url:
        # One of the two is not there at all.
        assert {httpx.get(f"{url}/readyz").status_code for _ in range(10)} == {200}
        for path in ("/metrics", "/v1/refresh"):
            answer = httpx.get(url + path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        large = httpx.post(f"{url}/v1/nli", content=b" " * 1_100_000, headers={"Content-Type": "application/json"})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")
        wide = httpx.post(f"{url}/v1/align", content=b" " * 1_100_000, headers={"Content-Type": "application/json"})
        assert wide.status_code != 413
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/livez", headers={"Host": "stranger.example"})


def test_no_replica_at_all(tmp_path: Path) -> None:
    with proxy(tmp_path, (free_port(), free_port())) as url:
        answer = httpx.post(f"{url}/v1/nli", json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.headers["Retry-After"] == "1"
