"""How long a tokenizer of 250,002 pieces holds up the rest of the process while it is read, by each way to read one.

python -m benchmarks.tokenizer
python -m benchmarks.tokenizer --tokenizer FOLDER_OF_XLM_R --as-it-is
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from benchmarks.common import versions, write_result
from benchmarks.export import PROJECT, wide_tokenizer

ROUNDS = 5


class Watch:
    """A thread that wants to go on every millisecond; `longest` is the most seconds for which it could not."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._stop.wait(0.001):
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now

    def __enter__(self) -> Watch:
        self._thread.start()
        time.sleep(0.01)
        return self

    def __exit__(self, *_: Any) -> None:
        time.sleep(0.01)
        self._stop.set()
        self._thread.join()


def measured(read: Callable[[], object]) -> dict[str, float]:
    """Medians over `ROUNDS`: seconds of reading, of the stall while reading, of the stall while it is freed."""
    found: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        with Watch() as watch:
            start = time.perf_counter()
            made = read()
            seconds = time.perf_counter() - start
        with Watch() as freeing:
            del made
        found.append((seconds, watch.longest, freeing.longest))
    middle = [sorted(column)[ROUNDS // 2] for column in zip(*found, strict=True)]
    return dict(
        zip(("seconds", "stall_seconds", "stall_when_freed_seconds"), (round(one, 3) for one in middle), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=PROJECT / "../shared/models/xlmr-mini")
    parser.add_argument("--as-it-is", action="store_true", help="without filler up to 250,002 pieces")
    arguments = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as the server does
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.tokenizer
        if not arguments.as_it_is:
            place = Path(folder) / "wide"
            wide_tokenizer(place, arguments.tokenizer)
        path = place / "tokenizer.json"
        data = path.read_bytes()
        text = data.decode()
        model = json.loads(text)["model"]
        pieces = [(piece, score) for piece, score in model["vocab"]]
        ways: dict[str, Callable[[], object]] = {
            "Tokenizer.from_file": lambda: Tokenizer.from_file(str(path)),
            "Tokenizer.from_str": lambda: Tokenizer.from_str(text),
            "Tokenizer.from_buffer": lambda: Tokenizer.from_buffer(data),
            "models.Unigram of parsed pieces": lambda: Unigram(pieces, model["unk_id"], False),
        }
        figures = {name: measured(read) for name, read in ways.items()}
    table = Table("way", "reading s", "others stall s", "others stall when freed s", title=f"{len(pieces)} pieces")
    for name, one in figures.items():
        table.add_row(name, *(f"{value:.2f}" for value in one.values()))
    Console().print(table)
    flat = {f"{way} {name}": value for way, one in figures.items() for name, value in one.items()}
    write_result("tokenizer", flat, versions=versions(["tokenizers"]), pieces=len(pieces))


if __name__ == "__main__":
    main()
