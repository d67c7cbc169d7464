"""Lines of requests, swaps and failures: their form, that they hold no text, and that a slow reader stops nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polystilts.errors import UnknownName
from serving import logs
from serving.record import Record

SECRET = "what the client wrote"


class Written:
    """Logging into memory."""

    def __init__(self, level: str = "info", as_json: bool | None = True) -> None:
        self.stream = io.StringIO()
        self.writing = logs.configure(level, stream=self.stream, as_json=as_json)

    def text(self) -> str:
        self.writing.close()
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    assert root.handlers == before, "a test did not close its logging"
    assert logging.getLogger("serving").propagate


def record(**changes: Any) -> Record:
    values = {
        "key": "shop", "route": "/v1/nli", "method": "POST", "target": "xnli", "digest": "d" * 64, "items": 2,
        "characters": 40, "tokens": 20, "padded": 24, "rows": 2, "scripts": {"Latin": 3}, "tokenise_ms": 1.23456,
        "queue_ms": 0.2, "run_ms": 20.0, "decode_ms": 0.1, "status": 200, "total_ms": 25.0,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }  # fmt: skip
    return Record("r1", **(values | changes))


def test_a_request_is_one_json_line() -> None:
    written = Written()
    logs.access(record())
    (line,) = written.lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info", "logger": "polystilts.access", "request_id": "r1", "key": "shop", "method": "POST",
        "route": "/v1/nli", "status": 200, "code": None, "target": "xnli", "digest": "d" * 64, "items": 2,
        "characters": 40, "rows": 2, "tokens": 20, "padded": 24, "scripts": {"Latin": 3}, "tokenise_ms": 1.235,
        "queue_ms": 0.2, "run_ms": 20.0, "decode_ms": 0.1, "total_ms": 25.0,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }  # fmt: skip


def test_every_field_of_a_record_is_in_the_line() -> None:
    written = Written()
    logs.access(record())
    assert set(Record.__slots__) <= set(written.lines()[0])


def test_levels() -> None:
    written = Written("WARNING")
    logs.access(record())
    logs.access(record(status=503, code="not_ready"))
    logs.audit("swapped", target="xnli", name="polystilts-xnli", version="3", digest="e" * 64)
    logging.getLogger("serving.anything").info("not written")
    refused, swapped = written.lines()
    assert (refused["level"], refused["code"]) == ("warning", "not_ready")
    assert (swapped["logger"], swapped["event"], swapped["name"]) == ("polystilts.audit", "swapped", "polystilts-xnli")


def test_an_unknown_level() -> None:
    with pytest.raises(UnknownName, match="did you mean 'warning'"):
        logs.configure("warnings")


def fail(text: str) -> None:
    """Fails as libraries do: with the text in the message, twice."""
    try:
        int(text)
    except ValueError as error:
        raise RuntimeError(f"cannot answer {text!r}") from error


@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_says_where_and_not_what(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)  # as BentoML leaves it
    written = Written(as_json=as_json)
    try:
        fail(SECRET)
    except RuntimeError as error:
        logs.failed("r7", error)
        logging.getLogger("serving.http_errors").exception("request %s failed", "r7")
        # BentoML's own handlers would print the message.
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        logging.getLogger("asyncio").exception(f"Task exception was never retrieved\nfuture: {error!r}")
    text = written.text()
    assert SECRET not in text
    for word in ("RuntimeError", "from ValueError", "fail"):
        assert text.count(word) >= 4
    assert "r7" in text
    if as_json:
        first = json.loads(text.splitlines()[0])
        assert (first["event"], first["request_id"], first["level"]) == ("request_failed", "r7", "error")
        assert first["exc_info"][0] == "RuntimeError"
        assert first["exc_info"][-1].startswith(f"  {__name__}:") and first["exc_info"][-1].endswith(" fail")


def test_the_members_of_a_group_are_named_and_a_circle_ends() -> None:
    group = ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)])
    assert logs.trail(group) == ["ExceptionGroup", "from ValueError", "from KeyError"]
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert logs.trail(first) == ["ValueError", "from KeyError"]


def test_a_terminal_gets_words() -> None:
    written = Written(as_json=False)
    logs.access(record())
    logs.access(Record("r2", route="/livez", status=200))
    logs.audit("refused", target="xnli", code="checksum_mismatch")
    logging.getLogger("serving.keys").info("read again, %d keys", 2)
    first, second, third, fourth = written.text().splitlines()
    assert "POST /v1/nli 200 25.0 ms · xnli: 2 items, 20 tokens · tokenise 1.2, queue 0.2" in first
    assert first.endswith("shop · r1")
    assert second.endswith("GET /livez 200 0.0 ms · r2")
    assert third.endswith("refused target=xnli code=checksum_mismatch")
    assert fourth.endswith("serving.keys: read again, 2 keys")


def test_a_pipe_gets_json_and_a_terminal_does_not() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, is_json in ((io.StringIO(), True), (Terminal(), False)):
        writing = logs.configure(stream=stream)
        logs.access(record())
        writing.close()
        assert stream.getvalue().startswith("{") is is_json


def test_handlers_are_set_once() -> None:
    written = Written()
    assert logs.configure("debug", stream=io.StringIO()) is written.writing
    logs.access(record())
    assert len(written.lines()) == 1


class Stuck(io.StringIO):
    """A pipe whose reader has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.written_to = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.written_to.set()
        self.reads.wait()
        return super().write(text)


def test_a_reader_that_stops_costs_lines_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUED_LINES", 50)
    stream = Stuck()
    writing = logs.configure(stream=stream, as_json=True)
    for number in range(200):
        logs.access(record())  # would wait for ever if this thread wrote
        # From its first line on the writing thread waits, so that it tells of all that is missing at once.
        assert number or stream.written_to.wait(60)
    dropped = writing.dropped
    assert 145 <= dropped <= 150
    stream.reads.set()
    writing.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["lines"] for line in lines if line.get("event") == "lines_dropped"] == [dropped]
    assert len(lines) == 200 - dropped + 1


def test_the_last_lines_are_written_when_the_process_ends() -> None:
    code = (
        "from serving import logs; from serving.record import Record; logs.configure()\n"
        "for i in range(500): logs.access(Record(str(i)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=os.environ, capture_output=True, text=True
    )
    assert [json.loads(line)["request_id"] for line in done.stderr.splitlines()] == [str(i) for i in range(500)]
