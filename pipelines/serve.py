"""A server as a child process, and the round of questions that shows it works."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from pydantic import Field
from rich.table import Table

from pipelines.cli import ROOT as PROJECT
from pipelines.cli import Parameters, command
from pipelines.package import bento_environment
from polystilts.errors import InvalidValue, PolystiltsError
from polystilts.runtime.models_folder import read_current
from serving.client import Client
from serving.examples import EXAMPLES
from serving.settings import Settings

HOST = "127.0.0.1"

USAGE = """\
  python -m pipelines.serve
  python -m pipelines.serve --models /srv/models --port 8080"""


class Serve(Parameters):
    """Serves the current bundles on 127.0.0.1 until Ctrl-C; the page at / shows every endpoint."""

    models: str = Field("outputs/models", description="the models folder, as `deliver` fills it")
    port: int = Field(3000, ge=1, le=65535, description="to listen on")


#: Seconds in which requests that are being answered may finish after SIGTERM.
GRACE = 25

Examples = Mapping[str, Mapping[str, Mapping[str, Any]]]


class ServerFailed(PolystiltsError):
    """The server ended, or was not ready in time."""

    code = "server_failed"


class Server:
    """A running server; leaving the ``with`` block stops it.

    Attributes:
        url: where it listens.
        log: file with everything it printed.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self._process = process
        self.url = url
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, **options: Any) -> Client:
        """A `Client` of this server."""
        return Client(self.url, **options)

    def wait(self) -> int:
        """Waits until it ends by itself; returns its exit status."""
        return self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and SIGKILL to what is left when the grace period has passed; returns the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(GRACE + 10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def wait_ready(self, seconds: float) -> None:
        """Waits for ``/readyz``.

        Raises:
            ServerFailed: it ended or was not ready in time; with the last lines it printed.
        """
        limit = time.monotonic() + seconds
        reason = "it does not answer"
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended with status {self._process.returncode}:\n{self._last_lines()}")
            # BentoML starts such a worker again and again.
            if b"Application startup failed" in self.log.read_bytes():
                raise ServerFailed(f"the server cannot start:\n{self._last_lines()}")
            try:
                answer = httpx.get(f"{self.url}/readyz", timeout=2)
                if answer.status_code == 200:
                    return
                reason = answer.text
                if "bundles refused" in reason:
                    raise ServerFailed(f"the server is not ready: {answer.json()['error']['message']}")
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise ServerFailed(
            f"the server was not ready after {seconds:g} s ({reason}):\n{self._last_lines()}",
            limit=seconds,
        )

    def _last_lines(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def start_server(
    models: Path | None = None,
    port: int = 0,
    *,
    bento: str | None = None,
    home: Path | None = None,
    log: Path | None = None,
    ready_seconds: float = 60.0,
    drain_seconds: float = 0.0,
) -> Server:
    """Starts ``bentoml serve`` on 127.0.0.1 and returns when it is ready.

    Args:
        models: the models folder to serve with the code of this checkout (or in place of a bento's own).
        port: 0 = a free one.
        bento: tag of a bento in `home`, as `build_bento` returns it; None = this checkout.
        home: BENTOML_HOME of the server; None = a temporary folder, or the user's for a bento.
        log: file for its output; None = in a temporary folder that goes with the `Server`.
        ready_seconds: how long to wait for readiness.
        drain_seconds: between the end of readiness and the last connection; no load balancer watches this server.

    Raises:
        MissingData: no models there.
        ServerFailed: it ended, cannot start or was not ready in time.
    """
    if models is not None:
        read_current(models)
    scratch = Path(tempfile.mkdtemp(prefix="polystilts-server-"))
    log = log or scratch / "server.log"
    environment = bento_environment(home or (None if bento else scratch))
    if models is not None:
        environment["POLYSTILTS_MODELS"] = str(models.absolute())
    environment.setdefault("POLYSTILTS_DRAIN_SECONDS", str(drain_seconds))
    port = port or _free_port()
    _check_free(port)
    command = [sys.executable, "-m", "bentoml", "serve", bento or "serving.service:Polystilts"]
    command += ["--host", HOST, "--port", str(port), "--timeout-graceful-shutdown", str(GRACE)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=scratch if bento else PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
        )
    server = Server(process, f"http://{HOST}:{port}", log)
    weakref.finalize(server, shutil.rmtree, scratch, ignore_errors=True)
    try:
        server.wait_ready(ready_seconds)
    except BaseException:
        server.stop()
        raise
    return server


@dataclass(frozen=True)
class Asked:
    """One request of `ask_every_endpoint` and its answer."""

    endpoint: str
    language: str
    item: Mapping[str, Any]
    answer: Mapping[str, Any]


def ask_every_endpoint(client: Client, examples: Examples = EXAMPLES) -> list[Asked]:
    """Sends each example to its endpoint where that has a model; endpoints without one are left out.

    Args:
        examples: endpoint -> language -> request.
    """
    answered = {path.removeprefix("/v1/") for model in client.models() for path in model["endpoints"]}
    return [
        Asked(endpoint, language, item, client.ask(endpoint, item))
        for endpoint, by_language in examples.items()
        if endpoint in answered
        for language, item in by_language.items()
    ]


def answers_table(asked: Sequence[Asked]) -> Table:
    """The answers, one row a request."""
    table = Table(title="One request in different languages to every endpoint that has a model", show_lines=True)
    for heading, style in (
        ("endpoint", "bold"),
        ("", "cyan"),
        ("request", ""),
        ("answer", "green"),
        ("model", "dim"),
    ):
        table.add_column(heading, style=style, overflow="fold")
    for one in asked:
        model = one.answer["model"]
        name = f"{model['name']} v{model['version']}\n{model['digest'][:12]}"
        request = "\n".join(f"{key}: {_short(value)}" for key, value in one.item.items())
        table.add_row(f"/v1/{one.endpoint}", one.language, request, summary(one), name)
    return table


def summary(asked: Asked) -> str:
    """An answer in a line or two."""
    result = asked.answer["result"]
    match asked.endpoint:
        case "nli" | "paraphrase":
            return f"{result['label']} ({result['probabilities'][result['label']]:.2f})"
        case "pos":
            return " ".join(f"{token['text']}/{token['tag']}" for token in result["tokens"])
        case "ner":
            return ", ".join(f"{found['text']} ({found['type']})" for found in result["entities"]) or "no entities"
        case "qa":
            return f"{result['answer']} [{result['start']}:{result['end']}]" if result["answer"] else "no answer"
        case "choice":
            return f"{result['text']} ({result['probabilities'][result['label']]:.2f})"
        case "embed":
            vector = result["embedding"]
            return f"{len(vector)} numbers: {', '.join(f'{number:.3f}' for number in vector[:3])}, …"
        case "align":
            source, target = asked.item["source"], asked.item["target"]
            pairs = result["pairs"]
            return "\n".join(f"{source[p['source']]} = {target[p['target']]} ({p['score']:.2f})" for p in pairs)
        case _:
            return _short(result)


def _short(value: Any, limit: int = 200) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _check_free(port: int) -> None:
    """Another server on the port would answer in our place.

    Raises:
        InvalidValue: something listens there, or we may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            message = f"port {port} of {HOST} cannot be used: {error.strerror}"
            raise InvalidValue(message, param="port", given=port) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def run(parameters: Serve) -> None:
    models = PROJECT / parameters.models
    read_current(models)
    Settings.from_environment()
    # Whoever ends this process ends the server too, however they do it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with start_server(models, parameters.port) as server:
        print(f"serving {', '.join(read_current(models))} on {server.url}; Ctrl-C stops")
        with contextlib.suppress(KeyboardInterrupt):
            status = server.wait()
            raise ServerFailed(f"the server ended with status {status}; what it printed is in {server.log}")


if __name__ == "__main__":
    command(Serve, run, examples=USAGE)
