"""The record of a request: what it starts with, and that it takes no field by mistake."""

from __future__ import annotations

import dataclasses

import pytest

from serving.record import Record


def test_a_new_record_is_empty() -> None:
    record = Record("r1")
    assert dataclasses.asdict(record) == {
        "request_id": "r1", "key": None, "route": "unknown", "method": "GET", "target": None, "digest": None,
        "items": 0, "characters": 0, "tokens": 0, "padded": 0, "rows": 0, "scripts": {}, "tokenise_ms": 0.0,
        "queue_ms": 0.0, "run_ms": 0.0, "decode_ms": 0.0, "status": 0, "code": None, "total_ms": 0.0,
        "traceparent": None,
    }  # fmt: skip


def test_records_share_nothing() -> None:
    first, second = Record("a"), Record("b")
    first.scripts["Latin"] = 1
    assert second.scripts == {}


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError):
        Record("a").text = "secret"  # type: ignore[attr-defined]
