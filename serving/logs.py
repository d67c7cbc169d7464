"""What the server writes: a line for every request and for every swap, JSON where a machine reads it. Never a text.

Loggers: ``polystilts.access`` (one line a request), ``polystilts.audit`` (what changed what is served), and those of
the modules. Exceptions are written as their types and where they passed, without their messages: a message may quote
what a client sent. Lines are written by a thread of their own, so a slow terminal or a full pipe never stops the event
loop; what does not fit the queue is dropped and counted.
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from types import TracebackType
from typing import Any, Protocol, TextIO

from pythonjsonlogger.json import JsonFormatter

from polystilts.errors import UnknownName
from serving.record import Record

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

#: Lines that may wait to be written, some seconds of full load.
QUEUED_LINES = 10_000
#: Seconds for which lines gather before they are written: their writer and requests take turns in the interpreter.
_GATHER = 0.05
#: Seconds in which the last lines must be written when the server ends.
_CLOSE_SECONDS = 5.0
_FRAMES = 30
_CHAIN = 5

_OURS = ("polystilts", "serving")
# BentoML gives these (the last is the root) a handler that prints exceptions with their messages, and disables
# asyncio's, which tells of tasks that failed.
_THEIRS = ("bentoml", "uvicorn.error", "asyncio", "")

_access = logging.getLogger("polystilts.access")
_audit = logging.getLogger("polystilts.audit")
_server = logging.getLogger("polystilts.server")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def access(record: Record) -> None:
    """Writes the line of a finished request, a warning where the server failed it; the record must not change later."""
    level = logging.WARNING if record.status >= 500 else logging.INFO
    if _access.isEnabledFor(level):
        # Not _access.log(): looking for the calling line costs as much as all the rest.
        _access.handle(_access.makeRecord(_access.name, level, "", 0, record, (), None))


def audit(event: str, **fields: object) -> None:
    """Writes what happened to the models that are served, whatever the level: swaps, refusals of bundles.

    Args:
        event: one word, such as ``swapped`` or ``refused``.
        fields: JSON values; the error's code and message for a refusal.
    """
    _audit.info({"event": event, **fields})


def failed(request_id: str, error: BaseException) -> None:
    """Writes that a request met an error nobody expected: its types and places, nothing of what was asked."""
    _server.error({"event": "request_failed", "request_id": request_id}, exc_info=error)


def trail(error: BaseException | None) -> list[str]:
    """Types and places of an exception, of what it was raised from, and of the members of a group; no message."""
    lines: list[str] = []
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _CHAIN:
        error = waiting.pop(0)
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        lines.append(type(error).__qualname__ if len(seen) == 1 else f"from {type(error).__qualname__}")
        frames = list(traceback.walk_tb(error.__traceback__))[-_FRAMES:]
        lines += (f"  {frame.f_globals.get('__name__')}:{line} {frame.f_code.co_name}" for frame, line in frames)
        waiting.append(error.__cause__ or (None if error.__suppress_context__ else error.__context__))
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
    return lines


class Writing(Protocol):
    """What `configure` gives."""

    @property
    def dropped(self) -> int:
        """Lines that did not fit the queue."""
        ...

    def close(self) -> None:
        """Writes what waits and gives the loggers back as they were."""
        ...


def configure(level: str = "info", *, stream: TextIO | None = None, as_json: bool | None = None) -> Writing:
    """Sets up the loggers of this process; called a second time it does nothing and gives the same.

    For the worker process of the server, after BentoML has set up its own loggers.

    Args:
        level: debug, info, warning, error; of our loggers. Audit lines are always written.
        stream: where to; default: standard error.
        as_json: one JSON object a line; default: unless `stream` is a terminal.

    Raises:
        UnknownName: no such level.
    """
    global _writing
    if level.lower() not in LEVELS:
        raise UnknownName("log level", level, LEVELS, param="POLYSTILTS_LOG_LEVEL")
    with _lock:
        if _writing is None:
            _writing = _Writing(LEVELS[level.lower()], stream or sys.stderr, as_json)
        return _writing


class _Writing:
    def __init__(self, level: int, stream: TextIO, as_json: bool | None) -> None:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_Human() if as_json is False or (as_json is None and stream.isatty()) else _Json())
        self._queue = _Queue()
        self._listener = _Listener(self._queue, handler)
        self._before = []
        for name in (*_OURS, *_THEIRS):
            logger = logging.getLogger(name)
            self._before.append((logger, logger.level, logger.propagate, logger.disabled, logger.handlers[:]))
            logger.handlers[:] = [self._queue]
            logger.propagate = logger.disabled = False
            if name in _OURS:
                logger.setLevel(level)
        _audit.setLevel(logging.INFO)
        self._listener.start()
        atexit.register(self.close)

    @property
    def dropped(self) -> int:
        return self._queue.dropped

    def close(self) -> None:
        global _writing
        with _lock:
            if _writing is not self:
                return
            _writing = None
        atexit.unregister(self.close)
        for logger, level, propagate, disabled, handlers in self._before:
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled
            logger.handlers[:] = handlers
        _audit.setLevel(logging.NOTSET)
        # A pipe that nobody reads must not keep the process from ending.
        stopping = threading.Thread(target=self._listener.stop, name="logs-close", daemon=True)
        stopping.start()
        stopping.join(_CLOSE_SECONDS)


_lock = threading.Lock()
_writing: _Writing | None = None


class _Queue(QueueHandler):
    """Hands records to the writing thread. The bound is approximate: a lock-free queue does not stall its callers."""

    queue: queue.SimpleQueue[logging.LogRecord]

    def __init__(self) -> None:
        super().__init__(queue.SimpleQueue())
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays in this process: formatting is the writing thread's work

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() >= QUEUED_LINES:
            self.dropped += 1
        else:
            self.queue.put_nowait(record)


class _Listener(QueueListener):
    """Writes, and says when lines are missing before the next one."""

    def __init__(self, source: _Queue, handler: logging.Handler) -> None:
        super().__init__(source.queue, handler)
        self._source = source
        self._told = 0

    def dequeue(self, block: bool) -> logging.LogRecord:
        if block and self._source.queue.empty():
            time.sleep(_GATHER)
        return super().dequeue(block)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        if isinstance(record.msg, Record):
            record.msg = _line(record.msg)
        elif not record.name.startswith(_OURS):
            # asyncio goes on with the repr of a task, and in it the message of its exception.
            record.msg, record.args = record.getMessage().partition("\n")[0], ()
        return record

    def handle(self, record: logging.LogRecord) -> None:
        missing = self._source.dropped - self._told
        if missing:
            self._told += missing
            line = {"event": "lines_dropped", "lines": missing}
            super().handle(_server.makeRecord(_server.name, logging.WARNING, "", 0, line, (), None))
        super().handle(record)


class _Json(JsonFormatter):
    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        if record.message:
            log_data["message"] = record.message
        log_data.update(message_dict)

    def formatException(self, ei: _ExcInfo) -> list[str]:  # type: ignore[override]  # as in the class above
        return trail(ei[1])


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = record.msg
        if record.name == _access.name and isinstance(fields, dict):
            text = "{method} {route} {status} {total_ms:.1f} ms".format_map(fields)
            if fields["target"]:
                text += (
                    " · {target}: {items} items, {tokens} tokens · tokenise {tokenise_ms:.1f}, queue {queue_ms:.1f},"
                    " run {run_ms:.1f}, decode {decode_ms:.1f}"
                ).format_map(fields)
            text += "".join(f" · {fields[name]}" for name in ("code", "key", "request_id") if fields[name])
        elif isinstance(fields, dict):
            text = " ".join([str(fields.get("event")), *(f"{k}={v}" for k, v in fields.items() if k != "event")])
        else:
            text = f"{record.name}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {text}"

    def formatException(self, ei: _ExcInfo) -> str:
        return "\n".join(trail(ei[1]))


def _line(record: Record) -> dict[str, Any]:
    """The fields of a line, by hand: `dataclasses.asdict` takes ten times as long."""
    return {
        "request_id": record.request_id,
        "key": record.key,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "code": record.code,
        "target": record.target,
        "digest": record.digest,
        "items": record.items,
        "characters": record.characters,
        "rows": record.rows,
        "tokens": record.tokens,
        "padded": record.padded,
        "scripts": record.scripts,
        "tokenise_ms": round(record.tokenise_ms, 3),
        "queue_ms": round(record.queue_ms, 3),
        "run_ms": round(record.run_ms, 3),
        "decode_ms": round(record.decode_ms, 3),
        "total_ms": round(record.total_ms, 3),
        "traceparent": record.traceparent,
    }
