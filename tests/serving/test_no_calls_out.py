"""Nothing phones home: the real server with every outgoing connection and name look-up forbidden.

An audit hook in every Python process of the server sees what the socket module is asked for, whoever asks (also what
libraries do in C through it), writes it down and refuses it. uvloop has sockets of its own that no hook sees, so these
servers run on asyncio's loop.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from pipelines.serve import Server, ask_every_endpoint, start_server
from tests.world.bundles import tiny_models

_HOOK = """
import ipaddress, os, sys

LOG = {log!r}
sys.modules["uvloop"] = None

def write(*words):
    line = " ".join(str(word) for word in words) + "\\n"
    file = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)

def inside(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False

def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else a Unix socket, or one that is connected
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not inside(host):
        write("attempt", event, host)
        raise OSError(f"no calls out: {{event}} {{host}}")

sys.addaudithook(hook)
write("process", os.getpid())
"""


class Watched:
    """What the server's processes were seen to do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "calls.log"
        (folder / "sitecustomize.py").write_text(_HOOK.format(log=str(self._log)))
        monkeypatch.setenv("PYTHONPATH", str(folder))

    def lines(self, kind: str) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if line.startswith(f"{kind} ")]

    @property
    def attempts(self) -> list[str]:
        return self.lines("attempt")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    for name in ("BENTOML_DO_NOT_TRACK", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)  # what starts the server must say it
    return Watched(tmp_path, monkeypatch)


def use(server: Server) -> None:
    with server.client() as client:
        assert ask_every_endpoint(client)
    for path in ("/", "/v1/models", "/openapi.json", "/metrics", "/nothing"):
        assert httpx.get(server.url + path, timeout=60).status_code in (200, 404)


def test_a_server_in_use_calls_nobody(watched: Watched, tmp_path: Path) -> None:
    with start_server(tiny_models(tmp_path / "world")) as server:
        use(server)
    assert server.stop() == 0
    assert len(watched.lines("process")) >= 2, "the supervisor and its worker were not watched"
    assert watched.attempts == []


def test_a_call_would_be_seen(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server with BentoML's telemetry on: the test above can fail."""
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "False")
    with start_server(tiny_models(tmp_path / "world", ["xnli"])):
        limit = time.monotonic() + 60
        while not watched.attempts and time.monotonic() < limit:
            time.sleep(0.1)
    assert any("t.bentoml.com" in line for line in watched.attempts)
