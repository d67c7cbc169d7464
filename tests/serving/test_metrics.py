"""The page at /metrics: what is counted, and that no label can grow without bound."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from polystilts.errors import NoModel, TooLarge
from polystilts.runtime.models_folder import Delivered
from serving.metrics import Metrics, error_codes, memory_bytes
from serving.record import Record

MODEL = Delivered("xnli", "d" * 64, "polystilts-xnli", "3")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(
        routes=["/v1/nli", "/livez"],
        targets=["xnli"],
        queue_ms=lambda: 12.5,
        lanes_busy=lambda: 2,
        models=lambda: [MODEL],
    )


#: The labels of the metrics, in the order in which the tests give their values.
LABELS = {
    "requests_total": "route target status", "request_seconds_sum": "route", "request_seconds_bucket": "route le",
    "stage_seconds_sum": "stage target", "errors_total": "code", "texts_total": "script", "rows_total": "target",
    "tokens_total": "target kind", "batch_rows_bucket": "le", "swaps_total": "target outcome",
    "key_requests_total": "key status", "mirrored_total": "target script agreed", "memory_bytes": "kind",
    "models": "target name version digest", "clients_gone_total": "", "deadlines_missed_total": "", "queue_ms": "",
    "lanes_busy": "",
}  # fmt: skip


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by name and label values."""
    body, kind = metrics.render()
    assert kind.startswith("text/plain")

    def key(name: str, labels: dict[str, str]) -> tuple[str, tuple[str, ...]]:
        name = name.removeprefix("polystilts_")
        names = LABELS.get(name, " ".join(labels)).split()
        assert set(names) == set(labels), name
        return name, tuple(labels[label] for label in names)

    return {
        key(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def answered(**changes: object) -> Record:
    values = {
        "route": "/v1/nli", "method": "POST", "target": "xnli", "items": 2, "rows": 2, "status": 200,
        "scripts": {"Latin": 3, "Han": 1}, "tokenise_ms": 1.5, "queue_ms": 0.2, "run_ms": 20.0, "decode_ms": 0.1,
        "total_ms": 25.0, "key": "shop",
    }  # fmt: skip
    return Record("r1", **(values | changes))  # type: ignore[arg-type]


def test_a_request_is_counted_everywhere(metrics: Metrics) -> None:
    metrics.observe(answered())
    metrics.observe(answered())
    found = samples(metrics)
    assert found["requests_total", ("/v1/nli", "xnli", "200")] == 2
    assert found["request_seconds_sum", ("/v1/nli",)] == pytest.approx(0.05)
    assert found["request_seconds_bucket", ("/v1/nli", "0.02")] == 0
    assert found["request_seconds_bucket", ("/v1/nli", "0.03")] == 2
    assert found["stage_seconds_sum", ("tokenise", "xnli")] == pytest.approx(0.003)
    assert found["stage_seconds_sum", ("queue", "xnli")] == pytest.approx(0.0004)
    assert found["stage_seconds_sum", ("run", "xnli")] == pytest.approx(0.04)
    assert found["stage_seconds_sum", ("decode", "xnli")] == pytest.approx(0.0002)
    assert found["texts_total", ("Latin",)] == 6 and found["texts_total", ("Han",)] == 2
    assert found["key_requests_total", ("shop", "200")] == 2
    assert not any(name == "errors_total" or name.endswith("_created") for name, _ in found)


def test_a_refused_request_has_no_stage_it_did_not_reach(metrics: Metrics) -> None:
    metrics.observe(Record("r", route="/v1/nli", status=413, code=TooLarge.code, total_ms=0.3))
    found = samples(metrics)
    assert found["requests_total", ("/v1/nli", "none", "413")] == 1
    assert found["errors_total", ("too_large",)] == 1
    assert not any(name.startswith(("stage_seconds", "key_requests")) for name, _ in found)


def test_clients_gone_and_missed_deadlines(metrics: Metrics) -> None:
    metrics.observe(answered(status=0, code="client_gone"))
    metrics.observe(answered(status=504, code="deadline"))
    found = samples(metrics)
    assert found["clients_gone_total", ()] == 1 and found["deadlines_missed_total", ()] == 1
    assert found["requests_total", ("/v1/nli", "xnli", "none")] == 1
    assert found["errors_total", ("deadline",)] == 1


def test_batches_swaps_and_mirrored_texts(metrics: Metrics) -> None:
    metrics.batch("xnli", rows=3, needed=40, padded=60)
    metrics.batch("xnli", rows=1, needed=7, padded=7)
    metrics.swap("xnli", "switched")
    metrics.mirrored("xnli", "Han", agreed=True)
    metrics.mirrored("xnli", "Klingon", agreed=False)
    found = samples(metrics)
    assert found["rows_total", ("xnli",)] == 4
    assert found["tokens_total", ("xnli", "needed")] == 47 and found["tokens_total", ("xnli", "padded")] == 67
    assert found["batch_rows_bucket", ("2.0",)] == 1 and found["batch_rows_bucket", ("4.0",)] == 2
    assert found["swaps_total", ("xnli", "switched")] == 1
    assert found["mirrored_total", ("xnli", "Han", "yes")] == found["mirrored_total", ("xnli", "Other", "no")] == 1


def test_a_delivered_target_becomes_a_label(metrics: Metrics) -> None:
    metrics.observe(answered(target="panx"))
    metrics.swap("panx", "switched")
    metrics.observe(answered(target="panx"))
    found = samples(metrics)
    assert found["requests_total", ("/v1/nli", "none", "200")] == 1
    assert found["requests_total", ("/v1/nli", "panx", "200")] == 1


def test_gauges_are_asked_when_read() -> None:
    waiting = [1.0]
    served: list[Delivered] = []
    metrics = Metrics(
        routes=[], queue_ms=lambda: waiting[0], lanes_busy=lambda: 0, models=lambda: served, memory=lambda: {"pss": 5}
    )
    assert samples(metrics)["queue_ms", ()] == 1
    waiting[0] = 7.5
    served.append(MODEL)
    found = samples(metrics)
    assert found["queue_ms", ()] == 7.5 and found["lanes_busy", ()] == 0
    assert found["models", ("xnli", "polystilts-xnli", "3", "d" * 64)] == 1
    assert found["memory_bytes", ("pss",)] == 5


def test_hostile_requests_add_no_line(metrics: Metrics) -> None:
    """One series each for the unknown, however many names clients think of."""

    def hostile(i: int) -> Record:
        return answered(route=f"/v1/{i}", target=f"t{i}", code=f"c{i}", status=1000 + i, scripts={f"s{i}": 1}, key=None)

    metrics.observe(hostile(0))
    metrics.batch("t0", 1, 1, 1)
    lines = len(metrics.render()[0].splitlines())
    for i in range(1, 300):
        metrics.observe(hostile(i))
        metrics.batch(f"t{i}", 1, 1, 1)
    assert len(metrics.render()[0].splitlines()) == lines
    found = samples(metrics)
    assert found["requests_total", ("unknown", "none", "none")] == 300
    assert found["errors_total", ("unknown",)] == 300
    assert found["texts_total", ("Other",)] == 300


def test_two_servers_in_a_process_share_nothing(metrics: Metrics) -> None:
    other = Metrics(routes=[], queue_ms=lambda: 0, lanes_busy=lambda: 0, models=list)
    metrics.observe(answered())
    assert not any(name == "requests_total" for name, _ in samples(other))


def test_counting_from_many_threads_loses_nothing(metrics: Metrics) -> None:
    def work() -> None:
        for _ in range(300):
            metrics.observe(answered())
            metrics.batch("xnli", 1, 1, 2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(metrics)
    assert found["requests_total", ("/v1/nli", "xnli", "200")] == found["rows_total", ("xnli",)] == 1200


def test_codes_are_those_of_the_classes() -> None:
    codes = error_codes()
    assert {"error", NoModel.code, TooLarge.code, "not_found", "client_gone", "deadline"} <= codes


def test_memory(tmp_path: Path) -> None:
    smaps = tmp_path / "smaps_rollup"
    smaps.write_text("00400000-7fff00 ---p 00000000 00:00 0 [rollup]\nRss:  100 kB\nPss:   60 kB\nPss_Dirty: 1 kB\n")
    assert memory_bytes(smaps) == {"pss": 60 * 1024, "rss": 100 * 1024}
    assert memory_bytes(tmp_path / "none") == {}
    own = memory_bytes()
    assert 10e6 < own["pss"] <= own["rss"] < 1e11


def test_nothing_is_counted_in_files(tmp_path: Path) -> None:
    """BentoML sets this variable in its workers; the library then keeps every series in a mapped file."""
    code = (
        "from serving.metrics import Metrics; from serving.record import Record\n"
        "metrics = Metrics(routes=['/x'], queue_ms=lambda: 0, lanes_busy=lambda: 0, models=list)\n"
        "metrics.observe(Record('r', route='/x', status=200)); print(metrics.render()[0].decode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )  # fmt: skip
    assert 'polystilts_requests_total{route="/x",status="200",target="none"} 1.0' in done.stdout
    assert list(tmp_path.iterdir()) == []
