"""What a server does at its limits: overload, memory, start, a swap under load; and whether company changes answers."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np

from benchmarks.serving import load
from benchmarks.serving.bench import Bench, Figures, cpu_seconds, nli, tree_mb
from benchmarks.serving.inputs import OTHER, TARGETS
from benchmarks.serving.load import percentile
from pipelines.serve import start_server


def overload(bench: Bench, *, times_capacity: float = 10.0) -> Figures:
    """Open loop at ten times the capacity for 30 s (three times ``--seconds``), and a look every 0.1 s afterwards."""
    bodies = bench.texts.bodies()
    shortest = bench.texts.body(int(bench.texts.tokens.argmin()))
    seconds = 3 * bench.seconds
    memory: list[float] = []
    with bench.server() as server:
        load.wrk(nli(server), bodies, clients=32, seconds=bench.seconds)
        found = load.wrk(nli(server), bodies, clients=32, seconds=bench.seconds)
        capacity = found.answers / found.seconds
        probes = np.arange(0.0, 12.0, 0.1)
        before = load.drive(load.open_loop(nli(server), [shortest], probes[:30]))
        memory_before, cpu_before = tree_mb(server.pid), cpu_seconds(server.pid)

        async def flood() -> tuple[load.Answers, load.Answers]:
            async with load.meanwhile(lambda: tree_mb(server.pid), memory, every=2.0):
                times = load.schedule(times_capacity * capacity, seconds)
                first = load.open_loop(nli(server), bodies, times)
                return await asyncio.gather(first, load.open_loop(nli(server), [shortest], seconds + probes))

        answers, after = load.drive(flood())
        cpu = cpu_seconds(server.pid) - cpu_before
        memory.append(tree_mb(server.pid))
    refused = np.isin(answers.status, load.REFUSED)
    from_sending = (answers.done - answers.sent) * 1000
    limit = 2 * percentile(before.ms, 0.95)
    late = np.where(after.good, after.ms, math.inf)
    in_time = answers.good & (answers.done <= answers.intended.min() + seconds)
    bench.note(
        "overload",
        capacity_s=round(capacity, 1),
        sent=len(answers.number),
        sent_over_capacity=round(len(answers.number) / seconds / capacity, 2),
        by_status={str(status): int((answers.status == status).sum()) for status in np.unique(answers.status)},
        accepted_ms={str(share): round(percentile(answers.ms[answers.good], share)) for share in (0.5, 0.95, 1)},
        refused_ms={str(share): round(percentile(answers.ms[refused], share), 1) for share in (0.5, 0.99, 1)}
        if refused.any()
        else {},
        refused_within_50ms_of_sending=float((from_sending[refused] <= 50).mean()) if refused.any() else None,
        client_late_ms_p99=round(percentile((answers.sent - answers.intended) * 1000, 0.99), 1),
        client_share=round(answers.client_share, 2),
        server_cores=round(cpu / (seconds + float(probes[-1])), 2),
        normal_ms=round(limit, 1),
        # None: refused, what had been taken before was still being answered.
        after_ms={
            str(share): None if math.isinf(ms := percentile(late, share)) else round(ms, 1) for share in (0.5, 0.95, 1)
        },
        memory_mb={"before": round(memory_before), "most": round(max(memory)), "after": round(memory[-1])},
    )
    return {
        "overload_within_50ms": float((answers.good | (refused & (answers.ms <= 50))).mean()),
        "overload_goodput": float(in_time.sum() / seconds / capacity),
        "overload_memory_mb": max(memory) - memory_before,
        "overload_recovery_s": load.recovery(after.intended - after.intended[0], late, limit),
    }


def memory(bench: Bench) -> Figures:
    """Six models, after one short request and one of about 384 tokens to each."""
    long = bench.documents.pairs[0]
    body = {"premise": long[0][: round(len(long[0]) * 0.96)], "hypothesis": long[1]}
    used: dict[int, dict[str, float]] = {}
    for names in (TARGETS[:1], TARGETS):
        with bench.server(*names) as server, httpx.Client(base_url=server.url, timeout=60) as client:
            for name in names:
                for item in (json.loads(bench.texts.body(int(bench.texts.tokens.argmin()))), body):
                    answer = client.post("/v1/nli", json={**item, "model": name}).raise_for_status().json()
                    assert answer["model"]["target"] == name
            used[len(names)] = {kind: tree_mb(server.pid, kind) for kind in ("Pss", "Pss_Anon", "Pss_File")}
            resident = [card["id"] for card in client.get("/v1/models").json()["data"]]
    files = bench.work.file_mb(*TARGETS)
    more = (used[len(TARGETS)]["Pss_Anon"] - used[1]["Pss_Anon"]) / (len(TARGETS) - 1)
    bench.note(
        "memory",
        files_mb=round(files, 1),
        limit_mb=round(1.15 * files + 700, 1),
        one_model_mb={kind: round(value, 1) for kind, value in used[1].items()},
        six_models_mb={kind: round(value, 1) for kind, value in used[len(TARGETS)].items()},
        anonymous_mb_a_further_model=round(more, 1),
        models=resident,
    )
    pss = used[len(TARGETS)]["Pss"]
    return {"pss_mb": pss, "pss_mb_over_files": pss / (1.15 * files + 700)}


def start(bench: Bench) -> Figures:
    """Seconds from the start of the process to 200 from ``/readyz``: median of three, files in the page cache."""
    bench.work.current(TARGETS[0])
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        with start_server(bench.work.models, home=bench.work.folder / "bentoml"):
            found.append(time.perf_counter() - begin)
    bench.note("start", seconds=[round(value, 2) for value in found])
    return {"ready_s": statistics.median(found)}


def swap(bench: Bench, *, turns: int = 4) -> Figures:
    """Two models of one target take turns under 8 clients.

    A swap's window is from the change of ``current.json`` to one second after the new model's first answer.
    """
    other, first = bench.work.current(OTHER), bench.work.current(TARGETS[0])
    digests = {OTHER: bench.work.bundle(OTHER).digest, TARGETS[0]: bench.work.bundle().digest}
    bodies = bench.texts.bodies()
    calm: list[float] = []
    during: list[float] = []
    took: list[float] = []
    failed = 0
    with bench.server() as server:
        for turn in range(turns):
            wanted, digest = (first, digests[TARGETS[0]]) if turn % 2 else (other, digests[OTHER])
            flipped: list[float] = []

            async def flip(wanted: Any = wanted, flipped: list[float] = flipped) -> None:
                await asyncio.sleep(bench.seconds / 2)
                flipped.append(time.perf_counter())
                bench.work.flip(wanted)

            async def loaded(offset: int = bench.offset(turn), flip: Callable[[], Any] = flip) -> load.Answers:
                loop = load.closed_loop(
                    nli(server), bodies, clients=8, seconds=1.5 * bench.seconds, offset=offset, keep=True
                )
                return (await asyncio.gather(loop, flip()))[0]

            answers = load.drive(loaded())
            failed += answers.failed()
            new = np.array([digest.encode() in body for body in answers.bodies])
            if not new.any():
                raise RuntimeError(f"no answer of the new bundle within {bench.seconds:g} s of the change")
            at = flipped[0]
            until = float(answers.done[new].min()) + 1.0
            took.append(until - 1.0 - at)
            calm += answers.ms[answers.done < at].tolist()
            during += answers.ms[(answers.done >= at) & (answers.sent <= until)].tolist()
    p99 = {"before": percentile(calm, 0.99), "during": percentile(during, 0.99)}
    bench.note(
        "swap",
        p99_ms={name: round(value, 1) for name, value in p99.items()},
        longest_ms={"before": round(max(calm), 1), "during": round(max(during), 1)},
        requests={"before": len(calm), "during": len(during)},
        seconds_until_it_answers=[round(value, 2) for value in took],
    )
    return {"swap_failed": failed, "swap_p99_ratio": p99["during"] / p99["before"]}


def batches(bench: Bench) -> Figures:
    """The same texts alone, in lists of several sizes and orders, and among the traffic of 16 other clients."""
    count = 48
    order = np.argsort(bench.texts.tokens[:600])[:: 600 // count][:count]
    texts = bench.texts.take(order.tolist())
    pairs = [*texts.pairs, *bench.documents.pairs[:2]]
    items = [{"premise": a, "hypothesis": b} for a, b in pairs]
    alone = [json.dumps(item, ensure_ascii=False).encode() for item in items]
    shuffled = np.random.default_rng(0).permutation
    lists = [
        part for size in (2, 7, 25, len(items)) for part in np.array_split(shuffled(len(items)), len(items) // size)
    ]
    many = [json.dumps({"items": [items[n] for n in part]}, ensure_ascii=False).encode() for part in lists]
    differences: dict[str, float] = {}

    def compare(what: str, found: Iterator[tuple[int, Mapping[str, float]]]) -> None:
        worst = max(abs(found_p[label] - p) for n, found_p in found for label, p in truth[n].items())
        differences[what] = max(worst, differences.get(what, 0.0))

    def single(answers: load.Answers) -> Iterator[tuple[int, Mapping[str, float]]]:
        for n, body in zip(answers.all_good().number, answers.bodies, strict=True):
            yield int(n), json.loads(body)["result"]["probabilities"]

    def several(answers: load.Answers) -> Iterator[tuple[int, Mapping[str, float]]]:
        for number, body in zip(answers.all_good().number, answers.bodies, strict=True):
            for n, result in zip(lists[number], json.loads(body)["results"], strict=True):
                yield int(n), result["probabilities"]

    async def among(url: str, bodies: list[bytes], clients: int) -> load.Answers:
        traffic = asyncio.create_task(load.closed_loop(url, bench.texts.bodies(), clients=16, seconds=bench.seconds))
        answers = await load.once(url, bodies, clients=clients, again=True)
        await traffic
        return answers

    with bench.server() as server:
        url = nli(server)
        truth = dict(single(load.drive(load.once(url, alone, again=True))))
        compare("alone, again", single(load.drive(load.once(url, alone, again=True))))
        compare("alone, 16 at once", single(load.drive(load.once(url, alone, clients=16, again=True))))
        compare("in lists", several(load.drive(load.once(url, many, again=True))))
        compare("in lists, 8 at once", several(load.drive(load.once(url, many, clients=8, again=True))))
        compare("alone among traffic", single(load.drive(among(url, alone, 4))))
        compare("in lists among traffic", several(load.drive(among(url, many, 4))))
    bench.note("batches", texts=len(items), lists=len(lists), differences=differences)
    return {"batch_difference": max(differences.values())}
