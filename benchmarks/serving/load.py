"""Load on an HTTP server and what came back: closed loop with wrk, closed and open loop with a small client.

The client shares the cores with the server, so it does little: one protocol object a connection, no tasks that wait
in line, bodies made beforehand. Its own share of a core is part of every result.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop
from numpy.typing import NDArray

Floats = NDArray[np.float64]
T = TypeVar("T")

#: Seconds after which a request without an answer counts as failed.
PATIENCE = 60.0

#: What a server says that has no room for a request: not an answer, and no failure of a client that asks again.
REFUSED = (429, 503)

#: One counter hands out the bodies, so that no two clients send the same one at a time.
_WRK = """
local bodies, at = {}, 0
function init(args)
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(args[1]) do bodies[#bodies + 1] = wrk.format("POST", nil, nil, line) end
  at = tonumber(args[2])
end
function request()
  at = at % #bodies + 1
  return bodies[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"answers": %d, "seconds": %f, "errors": %d, "p50_ms": %f, "p95_ms": %f}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3))
end
"""


@dataclass(frozen=True)
class Rate:
    """A closed loop's result: `answers` of the bodies that follow `offset`, in `seconds`.

    Attributes:
        errors: answers that were not 2xx, and requests without one.
        client: which program sent, with its share of a core where that was measured.
    """

    answers: int
    seconds: float
    errors: int
    p50_ms: float
    p95_ms: float
    client: str


@dataclass(frozen=True)
class Answers:
    """One element a request, in the order of sending. Seconds of `time.perf_counter`.

    Attributes:
        number: which of the bodies was sent.
        intended: when it should have been sent; in a closed loop, when it was.
        status: of HTTP; 0 = no answer.
        bodies: of the answers, where they were kept.
        client_share: of one core, used by this process meanwhile.
    """

    number: NDArray[np.int64]
    intended: Floats
    sent: Floats
    done: Floats
    status: NDArray[np.int64]
    bodies: list[bytes]
    client_share: float

    @property
    def ms(self) -> Floats:
        """Milliseconds from the intended sending to the end of the answer."""
        return (self.done - self.intended) * 1000

    @property
    def good(self) -> NDArray[np.bool_]:
        return self.status == 200

    def failed(self) -> int:
        return int((~self.good).sum())

    def all_good(self) -> Answers:
        """These answers: a request that failed is quick, and would look like a good figure.

        Raises:
            RuntimeError: a request failed.
        """
        if failed := self.failed():
            kinds = {int(status): int((self.status == status).sum()) for status in np.unique(self.status)}
            raise RuntimeError(f"{failed} of {len(self.status)} requests failed; requests by status, 0 = lost: {kinds}")
        return self


def percentile(values: Sequence[float] | Floats, share: float) -> float:
    """The least value that at least `share` (0 to 1) of the values do not pass (nearest rank).

    Raises:
        ValueError: no values.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    if not len(ordered):
        raise ValueError("no values")
    return float(ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)])


def schedule(rate: float, seconds: float, *, seed: int = 0) -> Floats:
    """Times at which independent users send: `rate` x `seconds` of them, uniform over the time, ascending."""
    return np.sort(np.random.default_rng(seed).uniform(0.0, seconds, round(rate * seconds)))


def recovery(sent: Sequence[float] | Floats, ms: Sequence[float] | Floats, limit: float, *, run: int = 5) -> float:
    """Seconds until latency is normal: when the first of `run` probes in a row within `limit` ms was sent.

    Args:
        sent: seconds since the load ended, ascending.

    Returns:
        Infinity where it never was.
    """
    within = np.asarray(ms) <= limit
    for start in range(len(within) - run + 1):
        if within[start : start + run].all():
            return max(0.0, float(sent[start]))
    return math.inf


def wrk(url: str, bodies: Sequence[bytes], *, clients: int, seconds: float, offset: int = 0) -> Rate:
    """Closed loop: each client sends the next body as soon as it has its answer."""
    if not shutil.which("wrk"):
        answers = drive(closed_loop(url, bodies, clients=clients, seconds=seconds, offset=offset))
        elapsed = float(answers.done.max() - answers.sent.min())
        client = f"asyncio, {answers.client_share:.0%} of a core"
        p50, p95 = (percentile(answers.ms, share) for share in (0.5, 0.95))
        return Rate(int(answers.good.sum()), elapsed, answers.failed(), p50, p95, client)
    with tempfile.TemporaryDirectory() as folder:
        script, lines = f"{folder}/load.lua", f"{folder}/bodies.jsonl"
        Path(script).write_text(_WRK, encoding="utf-8")
        Path(lines).write_bytes(b"\n".join(bodies) + b"\n")
        command = ["wrk", "-t1", f"-c{clients}", f"-d{round(seconds)}s", f"--timeout={PATIENCE:.0f}s"]
        command += ["-s", script, url, "--", lines, str(offset)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    # wrk's own count has every answer in it, whatever its status.
    return Rate(client="wrk", **{**found, "answers": found["answers"] - found["errors"]})


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.open = cast(asyncio.Transport, transport), True  # uvloop's has no such base

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), body))
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())

    def ask(self, request: bytes) -> Awaitable[tuple[int, bytes]]:
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport and self.open:
            self._transport.write(request)
        else:
            self._answer.set_exception(ConnectionResetError())
        return self._answer

    def close(self) -> None:
        self.open = False
        if self._transport:
            self._transport.close()


class _Client:
    """Sends the bodies of one endpoint over connections that are used again, and notes what came back."""

    def __init__(self, url: str, bodies: Sequence[bytes], *, keep: bool = False, again: bool = False) -> None:
        parts = urlsplit(url)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._idle: deque[_Connection] = deque()
        self._keep, self._again = keep, again
        self._cpu, self._start = time.process_time(), time.perf_counter()
        self.notes: list[tuple[int, float, float, float, int, bytes]] = []

    async def send(self, number: int, intended: float | None = None) -> None:
        number %= len(self._requests)
        sent = time.perf_counter()
        status, body = 0, b""
        connection: _Connection | None = None
        try:
            while self._idle and not (connection and connection.open):
                connection = self._idle.pop()
            if not (connection and connection.open):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, self._host, self._port)
            status, body = await asyncio.wait_for(connection.ask(self._requests[number]), PATIENCE)
            while self._again and status in REFUSED and time.perf_counter() - sent < PATIENCE:
                await asyncio.sleep(0.2)
                status, body = await asyncio.wait_for(connection.ask(self._requests[number]), PATIENCE)
            self._idle.append(connection)
        except (OSError, TimeoutError, httptools.HttpParserError):
            if connection:
                connection.close()
        done = time.perf_counter()
        note = (number, sent if intended is None else intended, sent, done, status, body if self._keep else b"")
        self.notes.append(note)

    def result(self) -> Answers:
        for connection in self._idle:
            connection.close()
        share = (time.process_time() - self._cpu) / (time.perf_counter() - self._start)
        number, intended, sent, done, status, bodies = zip(*sorted(self.notes, key=lambda n: n[2]), strict=True)
        return Answers(
            np.array(number), np.array(intended), np.array(sent), np.array(done), np.array(status), [*bodies], share
        )


async def closed_loop(
    url: str, bodies: Sequence[bytes], *, clients: int, seconds: float, offset: int = 0, keep: bool = False
) -> Answers:
    """`clients` that each send the next body when they have their answer; the last answers are waited for."""
    client = _Client(url, bodies, keep=keep)
    until = time.perf_counter() + seconds
    turn = iter(range(offset, offset + 10**9))

    async def work() -> None:
        while time.perf_counter() < until:
            await client.send(next(turn))

    await asyncio.gather(*(work() for _ in range(clients)))
    return client.result()


async def once(url: str, bodies: Sequence[bytes], *, clients: int = 1, again: bool = False) -> Answers:
    """Every body once, in their order, `clients` at a time; answers are kept.

    Args:
        again: what is refused is asked again, so that every body has its answer; latencies then mean nothing.
    """
    client = _Client(url, bodies, keep=True, again=again)
    turn = iter(range(len(bodies)))

    async def work() -> None:
        for number in turn:
            await client.send(number)

    await asyncio.gather(*(work() for _ in range(clients)))
    return client.result()


def one_by_one(url: str, bodies: Sequence[bytes]) -> Floats:
    """Milliseconds of each request on one connection, by a plain socket: as little client as there can be.

    Raises:
        RuntimeError: an answer other than 200.
    """
    address = urlsplit(url)
    found = []
    with socket.create_connection((address.hostname or "", address.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for body in bodies:
            head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
            message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            start = time.perf_counter()
            connection.sendall(message)
            answer = b""
            while not (b"\r\n\r\n" in answer and len(answer) >= _whole(answer)):
                answer += connection.recv(65536)
            found.append((time.perf_counter() - start) * 1000)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answered {answer[:200]!r}")
    return np.array(found)


def _whole(answer: bytes) -> int:
    """Bytes of an answer whose head is there."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(head) + 4 + int(length.split(b":")[1])


async def open_loop(url: str, bodies: Sequence[bytes], times: Floats, *, offset: int = 0) -> Answers:
    """Sends at `times` (seconds from now) whether or not answers come; latency counts from there."""
    client = _Client(url, bodies)
    start = time.perf_counter() + 0.05
    tasks: set[asyncio.Task[None]] = set()
    for number, at in enumerate(times):
        # Never early: uvloop's clock ticks in milliseconds, and shorter waits would spin.
        while (wait := start + float(at) - time.perf_counter()) > 0:
            await asyncio.sleep(max(wait, 0.001))
        task = asyncio.create_task(client.send(offset + number, start + float(at)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tasks)
    return client.result()


@contextlib.asynccontextmanager
async def meanwhile(action: Callable[[], T], results: list[T], *, every: float) -> Any:
    """Calls `action` in a thread every so often while the block runs."""

    async def repeat() -> None:
        while True:
            results.append(await asyncio.to_thread(action))
            await asyncio.sleep(every)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on uvloop."""
    return uvloop.run(work)
