"""Trace headers by the letter of W3C Trace Context, and the spans of a request in a real SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from polystilts.errors import InvalidValue, MissingData, UnknownName
from serving.record import Record
from serving.tracing import Tracing, _exporter, parse_traceparent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"
MILLISECOND = 1_000_000


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def record(**changes: Any) -> Record:
    values = {
        "key": "shop", "route": "/v1/nli", "method": "POST", "target": "xnli", "digest": "d" * 64, "items": 2,
        "tokens": 20, "padded": 24, "rows": 2, "tokenise_ms": 1.5, "queue_ms": 0.25, "run_ms": 20.0,
        "decode_ms": 0.5, "status": 200, "total_ms": 25.0,
    }  # fmt: skip
    return Record("r1", **(values | changes))


def spans_of(record: Record) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, batched=False)
    tracing.finish(record)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    tracing.close()
    return spans


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (HEADER, HEADER),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"00-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-ff"),
        (f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01-what.the.future-holds", f"cc-{TRACE}-{PARENT}-01"),
        (None, None),
        ("", None),
        (HEADER.upper(), None),
        (HEADER + "-more", None),
        (HEADER + "-", None),
        (f"cc-{TRACE}-{PARENT}-01.more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[1:]}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}-1", None),
        (f"00-{TRACE}-{PARENT}-0g", None),
        (f"00-{TRACE[:-1]}٣-{PARENT}-01", None),  # an Arabic digit
        (HEADER + "\n", None),
        (f" {HEADER}", None),
        (f"{HEADER},{HEADER}", None),
        (f"cc-{TRACE}-{PARENT}-01-{'a' * 5000}", None),
    ],
)
def test_the_header(header: str | None, kept: str | None) -> None:
    assert parse_traceparent(header) == kept


def test_the_spans_of_a_request() -> None:
    before = time.time_ns()
    asked = record(traceparent=HEADER)
    spans = spans_of(asked)
    assert list(spans) == ["tokenise", "queue", "run", "decode", "POST /v1/nli"]
    request = spans["POST /v1/nli"]
    assert request.kind is SpanKind.SERVER and request.status.status_code is StatusCode.UNSET
    assert request.parent is not None and request.context is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert asked.traceparent == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert request.start_time is not None and request.end_time is not None
    assert request.end_time - request.start_time == 25 * MILLISECOND
    assert before <= request.end_time <= time.time_ns()
    at = request.end_time - int(22.25 * MILLISECOND)
    for name, milliseconds in (("tokenise", 1.5), ("queue", 0.25), ("run", 20.0), ("decode", 0.5)):
        span = spans[name]
        assert span.parent is not None and span.parent.span_id == request.context.span_id
        assert (span.start_time, span.end_time) == (at, at + int(milliseconds * MILLISECOND))
        at += int(milliseconds * MILLISECOND)
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/nli", "http.response.status_code": 200,
        "polystilts.request_id": "r1", "polystilts.key": "shop", "polystilts.target": "xnli",
        "polystilts.digest": "d" * 64, "polystilts.items": 2, "polystilts.rows": 2, "polystilts.tokens": 20,
        "polystilts.padded": 24,
    }  # fmt: skip
    assert request.resource.attributes["service.name"] == "polystilts"


def test_without_a_header_a_trace_begins_here() -> None:
    asked = record()
    request = spans_of(asked)["POST /v1/nli"]
    assert request.parent is None and request.context is not None
    made = f"00-{request.context.trace_id:032x}-{request.context.span_id:016x}-"
    assert asked.traceparent is not None and asked.traceparent.startswith(made)
    assert int(asked.traceparent[-2:], 16) & 1  # sampled; the SDK also says that the id is random
    assert parse_traceparent(asked.traceparent) == asked.traceparent


def test_an_error_has_its_code_and_no_stage_it_did_not_reach() -> None:
    spans = spans_of(record(status=503, code="not_ready", tokenise_ms=0.0, queue_ms=0.0, run_ms=0.0, decode_ms=0.0))
    assert list(spans) == ["POST /v1/nli"]
    request = spans["POST /v1/nli"]
    assert request.status.status_code is StatusCode.ERROR
    assert (request.attributes or {})["error.type"] == "not_ready"
    assert spans_of(record(status=422, code="x"))["POST /v1/nli"].status.status_code is StatusCode.UNSET


def test_stages_that_ran_side_by_side_begin_with_the_request() -> None:
    spans = spans_of(record(run_ms=60.0))
    assert spans["tokenise"].start_time == spans["POST /v1/nli"].start_time


def test_what_the_caller_does_not_sample_is_not_made() -> None:
    asked = record(traceparent=f"00-{TRACE}-{PARENT}-00")
    assert spans_of(asked) == {}
    assert asked.traceparent is not None and asked.traceparent.startswith(f"00-{TRACE}-")
    assert asked.traceparent.endswith("-00")


def test_the_variables_of_the_sdk_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert spans_of(record())["POST /v1/nli"].resource.attributes["service.name"] == "mine"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert spans_of(record()) == {}


def test_probes_are_not_traced() -> None:
    for route in ("/livez", "/readyz", "/metrics"):
        asked = record(route=route)
        assert spans_of(asked) == {} and asked.traceparent is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""},
        {"OTEL_SERVICE_NAME": "mine"},
    ],
)
def test_off(environment: dict[str, str]) -> None:
    tracing = Tracing.from_environment(environment)
    asked = record(traceparent=HEADER)
    tracing.finish(asked)
    tracing.close()
    assert not tracing.on and asked.traceparent == HEADER


def test_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(_exporter({"OTEL_TRACES_EXPORTER": "console"}), ConsoleSpanExporter)
    with pytest.raises(UnknownName, match="zipkin"):
        Tracing.from_environment({"OTEL_TRACES_EXPORTER": "zipkin"})
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    with pytest.raises(InvalidValue, match="only http/protobuf"):
        Tracing.from_environment({**endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    protocols = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    for more in ({}, protocols):
        with pytest.raises(MissingData, match="pip install"):
            Tracing.from_environment({**endpoint, **more})


def test_off_imports_nothing() -> None:
    code = (
        "import sys; from serving.record import Record; from serving.tracing import Tracing\n"
        "tracing = Tracing.from_environment({}); tracing.finish(Record('r')); tracing.close()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
