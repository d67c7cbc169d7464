"""Every error a user can meet: a stable code, an HTTP status, and one sentence with field, limit and value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class PolystiltsError(Exception):
    """Base of all expected errors.

    Args:
        message: one sentence a user can act on.
        param: the field or option that is wrong.
        limit: the bound that was passed.
        given: the value (or size) that was given.
    """

    code = "error"
    status = 500

    def __init__(self, message: str, *, param: str | None = None, limit: Any = None, given: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.limit = limit
        self.given = given


class InvalidValue(PolystiltsError):
    """A value outside what its field allows."""

    code = "invalid_value"
    status = 422


class UnknownName(InvalidValue):
    """A name that is not in its catalogue; the message offers the nearest valid one."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, valid: Iterable[str], *, param: str | None = None) -> None:
        names = sorted(valid)
        super().__init__(
            f"unknown {kind} {name!r}; {nearest(name, names)}known: {', '.join(names)}", param=param, given=name
        )


def nearest(name: str, valid: Iterable[str]) -> str:
    """``did you mean 'x'? `` where one of the valid names is like it, else nothing."""
    close = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? " if close else ""


class TooLarge(PolystiltsError):
    """A text, list or body over its limit."""

    code = "too_large"
    status = 413


class MissingData(PolystiltsError):
    """A file, folder, split or language that was asked for and is not there."""

    code = "missing_data"
    status = 404


class NoModel(PolystiltsError):
    """An endpoint whose target has no champion."""

    code = "no_model"
    status = 404


class BadRow(PolystiltsError):
    """A row of a data file that does not have the documented form. `place` is file and line."""

    code = "bad_row"
    status = 422

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}", given=place)


class ChecksumMismatch(PolystiltsError):
    """A file whose sha256 is not the recorded one, or a folder with missing or extra files."""

    code = "checksum_mismatch"


class TokenizerMismatch(PolystiltsError):
    """A tokenizer that is not the one the weights were trained with."""

    code = "tokenizer_mismatch"
    status = 422


class ParityError(PolystiltsError):
    """An exported model whose outputs differ from the original's by more than the tolerance."""

    code = "parity"


class GateClosed(PolystiltsError):
    """A promotion that was refused; the message names every gate that is shut, what it found and what it allows."""

    code = "gate_closed"


class Diverged(PolystiltsError):
    """A training whose gradient became infinite or not a number."""

    code = "diverged"


class TrackerUnreachable(PolystiltsError):
    """The MLflow tracking server did not answer in time."""

    code = "tracker_unreachable"
    status = 503


class NotReady(PolystiltsError):
    """The server is starting or draining."""

    code = "not_ready"
    status = 503


class Problems(PolystiltsError):
    """Several problems found before anything was started, reported together."""

    code = "invalid_arguments"
    status = 422

    def __init__(self, problems: Sequence[PolystiltsError]) -> None:
        self.problems = tuple(problems)
        lines = [f"{p.param}: {p.message}" if p.param else p.message for p in problems]
        head = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        super().__init__("\n  - ".join([f"{head}; nothing was started", *lines]))
