"""Distributed traces: a request's spans, made from its record when it is over, sent by OTLP where that is set up.

The standard variables of OpenTelemetry decide: with ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``..._TRACES_ENDPOINT``), or
``OTEL_TRACES_EXPORTER`` naming an exporter, there are spans; otherwise nothing is imported and nothing is done. The
exporter is the extra ``polystilts[otel]``. A caller's ``traceparent`` (W3C Trace Context) is honoured in both cases: it
is in the log line, and the parent of the spans.

The provider is this server's own, not the process's: BentoML would add spans of its own to that.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from polystilts.errors import InvalidValue, MissingData, UnknownName
from serving.record import Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

#: Service name where OTEL_SERVICE_NAME gives none.
SERVICE = "polystilts"
#: Asked every few seconds by machines: their spans would bury the others.
UNTRACED_ROUTES = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"
_NANOSECONDS = 1_000_000

# Trace Context, 3.2: lower-case hex; later versions may append fields. All zeros are no id, version ff does not exist.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_LONGEST = 512


def parse_traceparent(header: str | None) -> str | None:
    """The 55 characters of a valid ``traceparent``; None for one that must be ignored, or none."""
    if header is None or len(header) > _LONGEST:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or (match[1] == "00" and match[2] is not None):
        return None
    return header[:55]


class Tracing:
    """Makes spans of finished requests.

    Args:
        exporter: where they go; None = there are none.
        batched: sent by a thread of the SDK, some seconds later; False = at once, for tests.
    """

    def __init__(self, exporter: SpanExporter | None = None, *, batched: bool = True) -> None:
        self._tracer: Tracer | None = None
        if exporter is None:
            return
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        # The SDK reads OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_BSP_*.
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter) if batched else SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("polystilts.serving")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Tracing:
        """Tracing as the variables of OpenTelemetry ask for it.

        Raises:
            UnknownName: an exporter other than otlp, console and none.
            InvalidValue: a protocol other than http/protobuf.
            MissingData: the exporter is not installed.
        """
        return cls(_exporter(environment))

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def finish(self, record: Record) -> None:
        """Makes the spans of a request that has just been answered, before its line is logged.

        The record's ``traceparent``, if any, is the parent; afterwards it is that of the request's own span. The
        stages are laid one behind the other, the last ending with the request: their lengths are measured, their
        starts are not.
        """
        if self._tracer is None or record.route in UNTRACED_ROUTES:
            return
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        end = time.time_ns()
        start = end - int(record.total_ms * _NANOSECONDS)
        parent = TraceContextTextMapPropagator().extract({"traceparent": record.traceparent or ""})
        span = self._tracer.start_span(
            f"{record.method} {record.route}", parent, trace.SpanKind.SERVER, _attributes(record), start_time=start
        )
        context = span.get_span_context()
        record.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        if not span.is_recording():
            return
        if record.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        inside = trace.set_span_in_context(span, parent)
        stages = [
            (name, int(milliseconds * _NANOSECONDS))
            for name, milliseconds in (
                ("tokenise", record.tokenise_ms),
                ("queue", record.queue_ms),
                ("run", record.run_ms),
                ("decode", record.decode_ms),
            )
            if milliseconds
        ]
        at = max(start, end - sum(length for _, length in stages))
        for name, length in stages:
            self._tracer.start_span(name, inside, start_time=at).end(at + length)
            at += length
        span.end(end)

    def close(self) -> None:
        """Sends what waits."""
        if self._tracer is not None:
            self._provider.shutdown()


def _attributes(record: Record) -> dict[str, str | int]:
    """OpenTelemetry's names for HTTP, ours for the rest; no text, no address, no query."""
    known: dict[str, str | int | None] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status or None,
        "error.type": record.code,
        "polystilts.request_id": record.request_id,
        "polystilts.key": record.key,
        "polystilts.target": record.target,
        "polystilts.digest": record.digest,
        "polystilts.items": record.items,
        "polystilts.rows": record.rows,
        "polystilts.tokens": record.tokens,
        "polystilts.padded": record.padded,
    }
    return {name: value for name, value in known.items() if value is not None}


def _exporter(environment: Mapping[str, str]) -> SpanExporter | None:
    default = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"
    name = environment.get("OTEL_TRACES_EXPORTER") or default
    if name == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if name != "otlp":
        raise UnknownName("exporter", name, ("otlp", "console", "none"), param="OTEL_TRACES_EXPORTER")
    for variable in _PROTOCOLS:
        protocol = environment.get(variable)
        if protocol:
            if protocol != _HTTP:
                raise InvalidValue(
                    f"{variable}={protocol}: only {_HTTP} is spoken here", param=variable, limit=_HTTP, given=protocol
                )
            break
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise MissingData(
            "traces are asked for by the OTEL_ variables, and the exporter is not installed; this installs it: "
            "pip install opentelemetry-exporter-otlp-proto-http==1.45.1"
        ) from None
    return OTLPSpanExporter()
