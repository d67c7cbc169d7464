"""Throughput and latency: against the bare session, against MLflow's server, and of short texts beside documents."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time

import numpy as np

from benchmarks.serving import load
from benchmarks.serving.bare import Setup, pick, setups
from benchmarks.serving.bench import Bench, Figures, cpu_seconds, nli, per_second, ratio, wait_idle
from benchmarks.serving.inputs import SHORT, explained
from benchmarks.serving.load import percentile
from benchmarks.serving.mlflow_servers import bodies as mlflow_bodies
from benchmarks.serving.mlflow_servers import model_server
from polystilts.runtime.ort import usable_cores

#: Between two calls of the session, in seconds: about what a client and a server do in between.
PAUSE = 0.002

#: Between the turns of a server and of a session, in seconds.
REST = 0.3


def throughput(bench: Bench) -> Figures:
    """32, 8 and 1 clients against the bare session."""
    texts, tokens, count = bench.texts, bench.texts.tokens, len(bench.texts.pairs)
    bodies, cores = texts.bodies(), usable_cores()

    def rate(setup: Setup, offset: int, seconds: float) -> float:
        rows = [(offset + n) % count for n in range(min(count, max(64, round(seconds * 100))))]
        time.sleep(1.0)  # what wrk left behind is dropped meanwhile
        spent = cpu_seconds(server.pid)
        took = bare.seconds(setup, rows)
        turns["server_cpu_beside_bare"].append(round((cpu_seconds(server.pid) - spent) / took, 2))
        return per_second(tokens, offset, len(rows), took)

    def http(clients: int, offset: int) -> float:
        spent = cpu_seconds(server.pid)
        found = load.wrk(nli(server), bodies, clients=clients, seconds=bench.seconds, offset=offset)
        share = (cpu_seconds(server.pid) - spent) / found.seconds / cores
        turns[f"c{clients}_errors"].append(found.errors)
        turns[f"c{clients}_p95_ms"].append(round(found.p95_ms, 1))
        turns[f"c{clients}_server_cpu"].append(round(share, 2))
        bench.note("throughput", client=found.client)
        if found.errors:
            raise RuntimeError(f"{clients} clients: {found.errors} requests failed, {found.answers} were answered")
        return per_second(tokens, offset, found.answers, found.seconds)

    keys = [f"c{clients}_{what}" for clients in (32, 8, 1) for what in ("errors", "p95_ms", "server_cpu")]
    turns: dict[str, list[float]] = {key: [] for key in (*keys, "server_cpu_beside_bare")}
    rates: dict[str, list[float]] = {name: [] for name in ("bare", "bare_single", "c32", "c8", "c1")}
    with bench.server() as server, bench.bare() as bare:
        screened = {setup: rate(setup, bench.offset(0), bench.seconds / 2) for setup in setups(cores)}
        alone = {setup: rate(setup, bench.offset(0), bench.seconds / 2) for setup in (Setup(cores, 1), Setup(1, 1))}
        best, single = pick(screened), pick(alone)
        for turn in range(bench.rounds):
            offset = bench.offset(turn + 1)
            rates["c32"].append(http(32, offset))
            # Twice as many texts: the more there are, the better they sort.
            rates["bare"].append(rate(best, offset, 2 * bench.seconds))
            rates["c8"].append(http(8, offset))
            rates["c1"].append(http(1, offset))
            rates["bare_single"].append(rate(single, offset, bench.seconds / 2))
    bench.note(
        "throughput",
        best=str(best),
        best_single=str(single),
        texts_s={name: [round(value, 1) for value in values] for name, values in rates.items()},
        bare_texts_s={str(setup): round(value, 1) for setup, value in (screened | alone).items()},
        **turns,
    )
    return {
        "http_over_bare_c32": ratio(rates["c32"], rates["bare"]),
        "http_over_bare_c8": ratio(rates["c8"], rates["bare"]),
        "http_over_bare_c1": ratio(rates["c1"], rates["bare_single"]),
    }


def against_mlflow(bench: Bench) -> Figures:
    """8 and 32 clients against `mlflow models serve` of the same weights, in fp32 and as our pyfunc."""
    texts, tokens = bench.texts, bench.texts.tokens
    figures: Figures = {}
    for flavour, name in (("transformers", "mlflow"), ("pyfunc", "pyfunc")):
        with explained(f"http_over_{name}", bench.reasons), contextlib.ExitStack() as stack:
            reference, process = stack.enter_context(model_server(bench.work, flavour))
            server = stack.enter_context(bench.server())
            load.wrk(reference, mlflow_bodies(flavour, texts), clients=2, seconds=3)
            wait_idle(process)
            for clients in (8, 32):
                ours, theirs, errors = [], [], 0
                for turn in range(max(1, bench.rounds - 1)):
                    offset = bench.offset(turn)
                    found = load.wrk(nli(server), texts.bodies(), clients=clients, seconds=bench.seconds, offset=offset)
                    # They are slow: more time, so that there are enough answers to count.
                    other = load.wrk(
                        reference,
                        mlflow_bodies(flavour, texts),
                        clients=clients,
                        seconds=2 * bench.seconds,
                        offset=offset,
                    )
                    wait_idle(process)  # it goes on computing for clients that have left
                    ours.append(per_second(tokens, offset, found.answers, found.seconds))
                    theirs.append(per_second(tokens, offset, other.answers, other.seconds))
                    errors += other.errors
                figures[f"http_over_{name}_c{clients}"] = ratio(ours, theirs)
                bench.note(
                    "mlflow",
                    **{f"{name}_c{clients}": {"ours_s": ours, "theirs_s": theirs, "their_errors": errors}},
                )
    return figures


def added(bench: Bench) -> Figures:
    """One client, texts of at most 20 tokens: latency over HTTP less that of the session's own call.

    Turns of the same texts, each after a rest, because threads of a session spin for a while after their last call.
    The session is called as a server calls it, with a pause between two calls in which caches cool; its call without a
    pause stands beside. Of one thread and all cores the quicker counts. p50 and p99 are of the differences text by
    text, from the session's median for that text.
    """
    numbers = [n for n, length in enumerate(bench.texts.tokens) if length <= SHORT][:100]
    texts = bench.texts.take(numbers)
    bodies = [texts.body(n) for n in range(len(numbers))]
    every = range(len(numbers))
    http: list[np.ndarray] = []
    ways = [(threads, pause) for threads in (1, 0) for pause in (PAUSE, 0.0)]
    calls: dict[tuple[int, float], list[list[float]]] = {way: [] for way in ways}
    with bench.server() as server, bench.bare(texts) as bare:
        for _ in range(max(3, round(bench.rounds * bench.seconds / 3))):
            time.sleep(REST)
            http.append(load.one_by_one(nli(server), bodies))
            for (threads, pause), found in calls.items():
                time.sleep(REST)
                found.append(bare.ms(threads, every, pause=pause))
    session = {way: np.median(np.array(found), axis=0) for way, found in calls.items()}
    threads = min((1, 0), key=lambda threads: float(np.median(session[threads, PAUSE])))
    over = (np.array(http) - session[threads, PAUSE]).ravel()
    bench.note(
        "added",
        session="all cores" if threads == 0 else "1 thread",
        session_ms={
            f"{'1 thread' if threads else 'all cores'}, {'paused' if pause else 'without pause'}": round(
                float(np.median(found)), 3
            )
            for (threads, pause), found in session.items()
        },
        http_ms_p50=percentile(np.ravel(http), 0.5),
        # How far the session's own calls are from their median: what no server can be steadier than.
        session_over_its_median_ms_p99=percentile(
            (np.array(calls[threads, PAUSE]) - session[threads, PAUSE]).ravel(), 0.99
        ),
        over_calls_without_pause_ms_p50=percentile((np.array(http) - session[threads, 0.0]).ravel(), 0.5),
        requests=over.size,
    )
    return {"added_ms_p50": percentile(over, 0.5), "added_ms_p99": percentile(over, 0.99)}


def mixed(bench: Bench) -> Figures:
    """Short requests while others send documents without pause: 1 and 4 clients of each."""
    short = bench.texts.take([n for n, length in enumerate(bench.texts.tokens) if length <= SHORT])
    shorts, documents = short.bodies(), bench.documents.bodies()

    async def both(url: str, turn: int, few: int, long: int) -> list[load.Answers | None]:
        async def run(bodies: list[bytes], clients: int) -> load.Answers | None:
            if not clients:
                return None
            return await load.closed_loop(url, bodies, clients=clients, seconds=bench.seconds, offset=97 * turn)

        return list(await asyncio.gather(run(shorts, few), run(documents, long)))

    short_ms: dict[tuple[int, int], list[float]] = {}
    document_s: dict[tuple[int, int], list[float]] = {}
    shares: list[float] = []
    ways = [(1, 0), (4, 0), (0, 1), (0, 4), (1, 1), (1, 4), (4, 1), (4, 4)]
    with bench.server() as server:
        for turn in range(max(2, bench.rounds - 1)):
            for way in ways:
                few, long = load.drive(both(nli(server), turn, *way))
                if few:
                    short_ms.setdefault(way, []).extend(few.ms[few.good])
                if long:
                    within = long.done < long.sent.min() + bench.seconds
                    document_s.setdefault(way, []).append(float((long.good & within).sum() / bench.seconds))
                shares += [found.all_good().client_share for found in (few, long) if found]
    p95 = {way: percentile(found, 0.95) for way, found in short_ms.items()}
    rate = {way: statistics.mean(found) for way, found in document_s.items()}
    together = [way for way in ways if all(way)]
    slower = {f"{few} with {long}": p95[few, long] / p95[few, 0] for few, long in together}
    kept = {f"{few} with {long}": rate[few, long] / rate[0, long] for few, long in together}
    bench.note(
        "mixed",
        short_p95_ms={f"{few} with {long}": round(value, 1) for (few, long), value in p95.items()},
        documents_s={f"{few} with {long}": round(value, 2) for (few, long), value in rate.items()},
        short_p95_ratio={name: round(value, 2) for name, value in slower.items()},
        document_share={name: round(value, 2) for name, value in kept.items()},
        client_share=round(max(shares), 3),
    )
    return {"short_p95_ratio": max(slower.values()), "document_share": min(kept.values())}
