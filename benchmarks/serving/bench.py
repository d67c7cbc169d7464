"""What every row of the serving benchmark has at hand, and what it reads off a server."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.serving import load
from benchmarks.serving.bare import Bare
from benchmarks.serving.inputs import TARGETS, Texts, Work
from pipelines.serve import Server, start_server

Figures = dict[str, float]


@dataclass
class Bench:
    """What every row of the benchmark has at hand.

    Attributes:
        seconds: of one closed loop.
        rounds: turns of service and reference.
        texts: mixed ones, and documents.
        details: what explains the figures, by row.
        reasons: why a figure is missing, by row.
    """

    work: Work
    seconds: float
    rounds: int
    texts: Texts
    documents: Texts
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def server(self, *names: str) -> Iterator[Server]:
        """A server of these bundles, the first target's where none is named; warm."""
        self.work.current(*(names or TARGETS[:1]))
        log = self.work.folder / "server.log"
        with start_server(self.work.models, home=self.work.folder / "bentoml", log=log) as server:
            load.drive(
                load.once(nli(server), [self.texts.body(n) for n in range(40)], clients=8, again=True)
            ).all_good()
            yield server

    @contextlib.contextmanager
    def bare(self, texts: Texts | None = None) -> Iterator[Bare]:
        rows = self.work.folder / "rows.json"
        rows.write_text(json.dumps((texts or self.texts).rows), encoding="utf-8")
        with Bare(self.work.bundle().folder, rows) as bare:
            yield bare

    def offset(self, turn: int) -> int:
        """Where among the texts a turn begins."""
        return turn * 617 % len(self.texts.pairs)

    def note(self, row: str, **values: Any) -> None:
        self.details.setdefault(row, {}).update(values)


def nli(server: Server) -> str:
    return f"{server.url}/v1/nli"


def per_second(tokens: np.ndarray, offset: int, count: int, seconds: float) -> float:
    """Texts a second of `count` texts from `offset` on, had they been of the mean length."""
    done = np.take(tokens, np.arange(offset, offset + count), mode="wrap").sum()
    return float(done / seconds / tokens.mean())


def tree_mb(pid: int, kind: str = "Pss") -> float:
    """MB of a process and all below it: 'Pss' (shared pages by halves and thirds) or 'Pss_Anon'."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))
    return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Processor seconds of a process and all below it."""
    found = [p.cpu_times() for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]]
    return sum(times.user + times.system for times in found)


def wait_idle(pid: int, *, seconds: float = 60.0) -> None:
    """Returns when a process and all below it use less than a tenth of a core, or after `seconds`."""
    until, pause = time.monotonic() + seconds, 0.5
    before = cpu_seconds(pid)
    while time.monotonic() < until:
        time.sleep(pause)
        now = cpu_seconds(pid)
        if now - before < 0.1 * pause:
            return
        before = now


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the turns of one over the other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
