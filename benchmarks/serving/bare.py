"""The bare ONNX Runtime session, in a process of its own: what a server can reach at best.

Run as a program (``python -m benchmarks.serving.bare BUNDLE ROWS``) it answers one JSON line for each on its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.common import PROJECT
from polystilts.formats import Features
from polystilts.formats.batching import collate, pack
from polystilts.runtime.ort import usable_cores

PAD = 1


@dataclass(frozen=True)
class Setup:
    """A way to call the session.

    Attributes:
        threads: of one call.
        calls: at the same time.
        tokens: padded tokens of a length-sorted batch; 0 = one row a call, in the order given.
    """

    threads: int
    calls: int
    tokens: int = 0

    def __str__(self) -> str:
        batches = f"batches of {self.tokens}" if self.tokens else "one by one"
        return f"{self.calls} x {self.threads} threads, {batches}"


def setups(cores: int, sizes: Iterable[int] = (0, 128, 256, 512, 1024)) -> list[Setup]:
    """All cores and one call at a time, one thread and as many calls as cores; one by one, and in batches."""
    return [Setup(*way, size) for size in sizes for way in dict.fromkeys([(cores, 1), (1, cores)])]


def pick(rates: Mapping[Setup, float]) -> Setup:
    """The fastest; of equal ones the first."""
    return max(rates, key=lambda setup: rates[setup])


class Bare:
    """The process; leaving the ``with`` block ends it."""

    def __init__(self, bundle: Path, rows: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.serving.bare", str(bundle.absolute()), str(rows.absolute())]
        self._process = subprocess.Popen(command, cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def seconds(self, setup: Setup, rows: Sequence[int]) -> float:
        """Seconds for these rows."""
        return float(self._ask({"setup": asdict(setup), "rows": list(rows)})["seconds"])

    def ms(self, threads: int, rows: Sequence[int], *, pause: float = 0.0) -> list[float]:
        """Milliseconds of each row's own call, one at a time, with `pause` seconds in between."""
        answer: list[float] = self._ask({"threads": threads, "rows": list(rows), "pause": pause})["ms"]
        return answer

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare session ended with status {self._process.wait()}")
        return dict(json.loads(line))


class _Sessions:
    """Sessions by threads, with ONNX Runtime's own defaults otherwise (its threads spin while a call runs)."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._made: dict[int, onnxruntime.InferenceSession] = {}

    def __call__(self, threads: int) -> onnxruntime.InferenceSession:
        if threads not in self._made:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 3
            path = self._bundle / "model.onnx"
            self._made[threads] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return self._made[threads]


def _seconds(sessions: _Sessions, setup: Setup, rows: Sequence[Features]) -> float:
    groups = pack([len(row) for row in rows], setup.tokens) if setup.tokens else [[n] for n in range(len(rows))]
    calls = [collate([rows[n] for n in group], PAD) for group in groups]
    session = sessions(setup.threads)
    session.run(None, calls[0])
    with ThreadPoolExecutor(setup.calls) as pool:
        start = time.perf_counter()
        for _ in pool.map(lambda arrays: session.run(None, arrays), calls):
            pass
        return time.perf_counter() - start


def _ms(session: onnxruntime.InferenceSession, rows: Sequence[Features], pause: float) -> list[float]:
    calls = [collate([row], PAD) for row in rows]
    session.run(None, calls[0])
    found = []
    for arrays in calls:
        time.sleep(pause)
        start = time.perf_counter()
        session.run(None, arrays)
        found.append((time.perf_counter() - start) * 1000)
    return found


def main(bundle: Path, rows: Path) -> None:
    features = [Features(np.array(ids, dtype=np.int64)) for ids in json.loads(rows.read_text(encoding="utf-8"))]
    sessions = _Sessions(bundle)
    for line in sys.stdin:
        question = json.loads(line)
        wanted = [features[n] for n in question["rows"]]
        if "setup" in question:
            answer: dict[str, Any] = {"seconds": _seconds(sessions, Setup(**question["setup"]), wanted)}
        else:
            answer = {"ms": _ms(sessions(question["threads"] or usable_cores()), wanted, question["pause"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
