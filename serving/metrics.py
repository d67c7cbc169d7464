"""What Prometheus reads at ``/metrics``: counted per request and per batch, every label out of a bounded set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from polystilts.errors import PolystiltsError
from polystilts.runtime.models_folder import Delivered
from serving.record import UNKNOWN_ROUTE, Record
from serving.scripts import OTHER, SCRIPTS

M = TypeVar("M", bound=MetricWrapperBase)

PREFIX = "polystilts_"

# BentoML asks the library to count in files that several processes share; for one process memory is quicker.
values.ValueClass = values.MutexValue

#: Labels of what is not in its set.
NO_TARGET = "none"
UNKNOWN_CODE = "unknown"
NO_STATUS = "none"

#: Codes of a record that have a counter of their own beside ``errors_total``.
CLIENT_GONE = "client_gone"
DEADLINE = "deadline"

#: Codes that no class of errors has: those of Starlette's own errors, and of a client that left.
_OTHER_CODES = ("bad_request", "not_found", "method_not_allowed", CLIENT_GONE, DEADLINE)

#: Seconds, from the cost of the shortest text to the default deadline.
SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# A second series for each counter, with the time it began: nothing here uses it.
disable_created_metrics()

_SMAPS = Path("/proc/self/smaps_rollup")
_KIB = 1024


def memory_bytes(smaps: Path = _SMAPS) -> dict[str, int]:
    """Memory of this process: ``pss`` (shared pages in parts, what several servers on one host add up to) and ``rss``.

    The kernel counts pages to answer, which takes milliseconds: not for every request. Empty where there is no
    such file (not Linux).
    """
    try:
        lines = smaps.read_text().splitlines()
    except OSError:
        return {}
    values = dict(line.split(":", 1) for line in lines[1:])
    return {kind.lower(): int(values[kind].removesuffix("kB")) * _KIB for kind in ("Pss", "Rss")}


def error_codes() -> frozenset[str]:
    """The codes of every class of errors imported so far, and of the errors that have no class."""
    found = set(_OTHER_CODES)
    classes: list[type[PolystiltsError]] = [PolystiltsError]
    while classes:
        kind = classes.pop()
        found.add(kind.code)
        classes.extend(kind.__subclasses__())
    return frozenset(found)


class Metrics:
    """Counters, histograms and gauges of one server, in a registry of their own.

    Safe from every thread. What is counted where: requests, their times, errors, texts and keys by `observe` when an
    answer has been sent; rows and tokens by `batch`, because only what was run has been computed.

    Args:
        routes: route templates; every other route is ``unknown``.
        targets: targets that may be labels; those of `swap` are added, every other one is ``none``.
        queue_ms: estimated milliseconds of work waiting, per lane.
        lanes_busy: lanes that are running a batch.
        models: what is being served.
        memory: bytes by kind.
    """

    def __init__(
        self,
        *,
        routes: Iterable[str],
        targets: Iterable[str] = (),
        queue_ms: Callable[[], float],
        lanes_busy: Callable[[], float],
        models: Callable[[], Iterable[Delivered]],
        memory: Callable[[], Mapping[str, float]] = memory_bytes,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._routes = frozenset(routes)
        self._targets = set(targets)
        self._codes = error_codes()

        def counter(name: str, help: str, *labels: str) -> _Children[Counter]:
            return _Children(Counter(PREFIX + name, help, labels, registry=self.registry), labelled=bool(labels))

        def histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> _Children[Histogram]:
            return _Children(
                Histogram(PREFIX + name, help, labels, buckets=buckets, registry=self.registry), labelled=bool(labels)
            )

        self._requests = counter(
            "requests_total", "Requests answered; status none: the client left first.", "route", "target", "status"
        )
        self._seconds = histogram("request_seconds", "From the first byte read to the last one sent.", SECONDS, "route")
        self._stages = histogram(
            "stage_seconds", "Parts of a request's time, of those it got to.", SECONDS, "stage", "target"
        )
        self._errors = counter("errors_total", "Requests answered with an error.", "code")
        self._texts = counter("texts_total", "Texts by their dominant script.", "script")
        self._keys = counter("key_requests_total", "Requests by the name of their API key.", "key", "status")
        self._gone = counter("clients_gone_total", "Requests whose client left before the answer.")
        self._deadlines = counter("deadlines_missed_total", "Requests refused or dropped at their deadline.")
        self._rows = counter("rows_total", "Rows run through a model.", "target")
        self._tokens = counter(
            "tokens_total", "Tokens of rows run: needed by the texts, and padded as computed.", "target", "kind"
        )
        self._batch_rows = histogram("batch_rows", "Rows of a batch.", ROWS)
        self._swaps = counter("swaps_total", "Bundles switched in or refused.", "target", "outcome")
        self._mirrored = counter(
            "mirrored_total", "Texts also answered by a shadow model.", "target", "script", "agreed"
        )
        self.registry.register(_Gauges(queue_ms, lanes_busy, models, memory))

    def observe(self, record: Record) -> None:
        """Counts a finished request."""
        route = record.route if record.route in self._routes else UNKNOWN_ROUTE
        target = self._target(record.target)
        status = str(record.status) if 100 <= record.status <= 599 else NO_STATUS
        self._requests[route, target, status].inc()
        self._seconds[(route,)].observe(record.total_ms / 1000)
        for stage, milliseconds in (
            ("tokenise", record.tokenise_ms),
            ("queue", record.queue_ms),
            ("run", record.run_ms),
            ("decode", record.decode_ms),
        ):
            if milliseconds:
                self._stages[stage, target].observe(milliseconds / 1000)
        for script, texts in record.scripts.items():
            self._texts[(script if script in SCRIPTS else OTHER,)].inc(texts)
        if record.key is not None:
            self._keys[record.key, status].inc()
        if record.code is not None:
            self._errors[(record.code if record.code in self._codes else UNKNOWN_CODE,)].inc()
            if record.code == CLIENT_GONE:
                self._gone[()].inc()
            elif record.code == DEADLINE:
                self._deadlines[()].inc()

    def batch(self, target: str | None, rows: int, needed: int, padded: int) -> None:
        """Counts a batch that was run.

        Args:
            needed: tokens of its rows.
            padded: tokens computed, rows x longest.
        """
        target = self._target(target)
        self._batch_rows[()].observe(rows)
        self._rows[(target,)].inc(rows)
        self._tokens[target, "needed"].inc(needed)
        self._tokens[target, "padded"].inc(padded)

    def swap(self, target: str, outcome: str) -> None:
        """Counts a bundle that was switched in, refused or taken away; `outcome` is one word of the caller's code."""
        self._targets.add(target)  # the operator's models folder names it, no client can
        self._swaps[target, outcome].inc()

    def mirrored(self, target: str | None, script: str, agreed: bool) -> None:
        """Counts a text that a shadow model answered too."""
        script = script if script in SCRIPTS else OTHER
        self._mirrored[self._target(target), script, "yes" if agreed else "no"].inc()

    def render(self) -> tuple[bytes, str]:
        """The page and its content type. Reads the gauges, so it takes milliseconds: call it in a thread."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def _target(self, target: str | None) -> str:
        return target if target in self._targets else NO_TARGET


class _Children(dict[tuple[str, ...], M]):
    """The children of a metric by their labels: the library's own look-up costs more than counting does."""

    def __init__(self, metric: M, *, labelled: bool) -> None:
        super().__init__()
        self._metric = metric
        if not labelled:
            self[()] = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child


class _Gauges(Collector):
    """What is asked when it is read."""

    def __init__(
        self,
        queue_ms: Callable[[], float],
        lanes_busy: Callable[[], float],
        models: Callable[[], Iterable[Delivered]],
        memory: Callable[[], Mapping[str, float]],
    ) -> None:
        self._queue_ms = queue_ms
        self._lanes_busy = lanes_busy
        self._models = models
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            PREFIX + "queue_ms", "Estimated milliseconds of work waiting, per lane.", value=self._queue_ms()
        )
        yield GaugeMetricFamily(PREFIX + "lanes_busy", "Lanes that are running a batch.", value=self._lanes_busy())
        served = GaugeMetricFamily(
            PREFIX + "models", "Models that are being served.", labels=("target", "name", "version", "digest")
        )
        for model in self._models():
            served.add_metric((model.target, model.name, model.version, model.digest), 1)
        yield served
        memory = GaugeMetricFamily(PREFIX + "memory_bytes", "Memory of this process.", labels=("kind",))
        for kind, size in self._memory().items():
            memory.add_metric((kind,), size)
        yield memory
