"""benchmarks/serving: percentiles, times of sending, the choice of the bare session, texts, the keys of the result."""

import asyncio
import json
import math

import numpy as np
import pytest

from benchmarks.serving import load
from benchmarks.serving.__main__ import parse
from benchmarks.serving.bare import Setup, pick, setups
from benchmarks.serving.bench import per_second, ratio
from benchmarks.serving.figures import FIGURES, ROWS, merged, reached, rounded, table
from benchmarks.serving.inputs import halves


def test_a_percentile_is_a_value_that_was_there():
    values = [float(n) for n in range(100, 0, -1)]
    assert [load.percentile(values, share) for share in (0, 0.5, 0.95, 0.99, 1)] == [1, 50, 95, 99, 100]
    assert load.percentile([7.0], 0.99) == 7
    assert load.percentile([1.0, 2.0, 3.0], 0.5) == 2
    with pytest.raises(ValueError, match="no values"):
        load.percentile([], 0.5)


def test_an_open_loop_sends_at_its_rate_whatever_comes_back():
    times = load.schedule(1000, 3.0)
    assert len(times) == 3000
    assert times[0] >= 0 and times[-1] < 3 and (np.diff(times) >= 0).all()
    assert all(abs(((times >= second) & (times < second + 1)).sum() - 1000) < 150 for second in range(3))
    # independent users do not send in step
    assert np.diff(times).std() > 0.5 / 1000
    assert (load.schedule(1000, 3.0, seed=1) != times).any()
    assert (load.schedule(1000, 3.0) == times).all()


def test_recovery_counts_to_the_first_probe_after_which_all_is_well():
    sent = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert load.recovery(sent, [1, 1, 1, 1, 1, 1, 1], 2, run=3) == 0
    assert load.recovery(sent, [9, 1, 9, 1, 1, 1, 9], 2, run=3) == 0.3
    assert load.recovery(sent, [9, math.inf, 9, 1, 1, 9, 9], 2, run=3) == math.inf


def test_bare_is_the_best_of_two_ways_and_five_sizes():
    ways = setups(2)
    assert len(ways) == len(set(ways)) == 10
    assert {(way.threads, way.calls) for way in ways} == {(2, 1), (1, 2)}
    assert {way.tokens for way in ways} == {0, 128, 256, 512, 1024}
    # one core: both ways are the same
    assert len(setups(1)) == 5
    rates = {way: float(n) for n, way in enumerate(ways)}
    assert pick(rates) == ways[-1]
    assert pick(rates | {Setup(1, 2, 128): 99.0}) == Setup(1, 2, 128)


def test_a_rate_does_not_depend_on_which_texts_were_sent():
    tokens = np.array([10, 10, 40, 40])
    # two short texts in a second are less than two of the mean length; the texts begin again at the end
    assert per_second(tokens, 0, 2, 1.0) == pytest.approx(0.8)
    assert per_second(tokens, 2, 2, 1.0) == pytest.approx(3.2)
    assert per_second(tokens, 3, 4, 2.0) == pytest.approx(2.0)
    assert ratio([8.0, 9.0, 30.0], [10.0, 10.0, 10.0]) == 0.9


def test_texts_are_cut_in_two_at_a_space():
    assert halves("What does Anna buy?") == ("What does", "Anna buy?")
    assert halves("安娜买什么？") == ("安娜买", "什么？")
    assert all(halves(text)[0] and halves(text)[1] for text in ("ab", "a b", "a b c"))


KEYS = """
http_over_bare_c32 http_over_bare_c8 http_over_bare_c1 http_over_mlflow_c8 http_over_mlflow_c32 http_over_pyfunc_c8
http_over_pyfunc_c32 added_ms_p50 added_ms_p99 short_p95_ratio document_share overload_within_50ms overload_goodput
overload_memory_mb overload_recovery_s pss_mb pss_mb_over_files ready_s swap_failed swap_p99_ratio batch_difference
"""


def test_a_result_has_exactly_the_keys_of_the_table():
    assert list(FIGURES) == KEYS.split()
    assert {row for row, _, _ in FIGURES.values()} == set(ROWS)
    figures, rows = merged({}, {"start": {}}, {"ready_s": 5.0})
    assert list(figures) == KEYS.split() and list(rows) == ["start"]
    assert [key for key, value in figures.items() if value is not None] == ["ready_s"]


def test_rows_that_were_not_measured_keep_their_last_figures():
    old = {"figures": {"ready_s": 5.0, "swap_failed": 3, "gone": 1}, "rows": {"start": {"date": "a"}, "swap": {}}}
    # a figure that could not be measured again is not the old one
    figures, rows = merged(old, {"swap": {"date": "b"}}, {"swap_p99_ratio": 1.5})
    assert (figures["ready_s"], figures["swap_failed"], figures["swap_p99_ratio"]) == (5.0, None, 1.5)
    assert rows == {"start": {"date": "a"}, "swap": {"date": "b"}}
    assert "gone" not in figures


def test_verdicts():
    assert reached("http_over_bare_c32", 0.85) is True and reached("http_over_bare_c32", 0.849) is False
    assert reached("ready_s", 8.0) is True and reached("ready_s", 8.01) is False
    assert reached("batch_difference", 0.0) is True and reached("batch_difference", 1e-12) is False
    assert reached("pss_mb", 1.0) is None and reached("ready_s", None) is None
    # a difference never becomes 0 by rounding, and JSON has no infinity
    assert rounded(1.23456e-9) == 1.235e-9 and rounded(0.0) == 0 and rounded(math.inf) is None
    assert table({"ready_s": None}, {"start": {}}).row_count == 1


def test_only_known_rows_can_be_chosen(capsys):
    assert parse([]).only == list(ROWS)
    assert parse(["--only", "swap,added"]).only == ["added", "swap"]
    with pytest.raises(SystemExit):
        parse(["--only", "speed"])
    assert "speed: there are throughput" in capsys.readouterr().err


async def _with_server(ask):
    """A server that answers the n-th request on a connection by the request's own body, and refuses 'no'."""

    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if body == b"bye":
                break
            status = b"429 Too Many Requests" if body == b"no" else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    async def quiet(reader, writer):
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(quiet, "127.0.0.1", 0)
    async with server:
        return await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/nli")


def test_the_client_notes_every_answer_refusal_and_lost_connection():
    bodies = [json.dumps(n).encode() for n in range(8)] + [b"no", b"bye"]
    answers = load.drive(_with_server(lambda url: load.once(url, bodies, clients=3)))
    assert sorted(answers.number) == list(range(10))
    by_number = dict(zip(answers.number, zip(answers.status, answers.bodies, strict=True), strict=True))
    assert all(by_number[n] == (200, bodies[n]) for n in range(8))
    assert by_number[8] == (429, b"no") and by_number[9][0] == 0
    assert answers.failed() == 2 and (answers.ms >= 0).all()
    with pytest.raises(RuntimeError, match=r"2 of 10 requests failed.*0: 1, 200: 8, 429: 1"):
        answers.all_good()


def test_latency_of_an_open_loop_counts_from_the_intended_time():
    times = load.schedule(200, 0.5)
    answers = load.drive(_with_server(lambda url: load.open_loop(url, [b"1", b"2"], times)))
    assert len(answers.number) == len(times) == answers.good.sum()
    assert np.allclose(np.sort(answers.intended) - answers.intended.min(), times - times[0])
    assert (answers.sent >= answers.intended).all()
    assert (answers.ms == (answers.done - answers.intended) * 1000).all()
