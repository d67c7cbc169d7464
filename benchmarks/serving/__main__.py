"""The server's figures: throughput, latency, overload, memory, start, swap, and whether answers depend on company.

XLM-R base shape, random weights, row-wise int8, 250,002 pieces, XQuAD's texts through ``POST /v1/nli``. The service
and what it is compared with take turns in one run, so that a busy machine slows both. Checkpoint and bundles are made
once, in the folder ``--work`` (about 9 GB). ``--only`` keeps the other rows of the last result.

    python -m benchmarks.serving
    python -m benchmarks.serving --only throughput,overload --seconds 5
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.common import PROJECT, RESULTS, commit, versions, write_result
from benchmarks.serving.bench import Bench
from benchmarks.serving.figures import FIGURES, ROWS, merged, rounded, table
from benchmarks.serving.inputs import Work, explained, read_texts
from polystilts.data.source import open_source
from polystilts.export.variants import instruction_set
from polystilts.formats import Pieces
from polystilts.runtime.folders import read_json

NAME = "serving"
PACKAGES = ("bentoml", "mlflow", "numpy", "onnxruntime", "starlette", "tokenizers", "torch", "transformers", "uvloop")
ENCODER = Path("polystilts/data/micro/encoder")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/benchmark-serving"), help="checkpoint and bundles")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/xtreme"), help="folder with xquad/")
    parser.add_argument("--tokenizer", type=Path, default=Path("../shared/models/xlmr-mini"), help="its real pieces")
    parser.add_argument("--texts", type=int, default=3000, help="texts, of 9 to 256 tokens")
    parser.add_argument("--whole", action="store_true", help="a text is a question with its whole context")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of one closed loop; overload takes three times that"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of service and reference")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas")
    parsed = parser.parse_args(arguments)
    parsed.only = [row for row in ROWS if row in parsed.only.split(",")] if _known(parser, parsed.only) else []
    return parsed


def _known(parser: argparse.ArgumentParser, only: str) -> bool:
    if wrong := [row for row in only.split(",") if row not in ROWS]:
        parser.error(f"--only {','.join(wrong)}: there are {', '.join(ROWS)}")
    return True


def others_seconds() -> float:
    """Processor seconds that this machine has spent, without those of this process and the children it waited for.

    What others use while we measure is what a figure's worth depends on; called when no child runs.
    """
    machine, own = psutil.cpu_times(), os.times()
    busy = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    return busy - own.user - own.system - own.children_user - own.children_system


def make_bench(arguments: argparse.Namespace) -> tuple[Bench, str]:
    """The bench, and what its texts are."""
    tokenizer = PROJECT / arguments.tokenizer
    work = Work(PROJECT / arguments.work, tokenizer if tokenizer.is_dir() else PROJECT / ENCODER)
    data = PROJECT / arguments.data
    there = (data / "xquad").is_dir()
    source = open_source(f"local:{data}" if there else "micro", PROJECT)
    pieces = Pieces.open(work.bundle().folder)
    texts, documents = read_texts(source, pieces, arguments.texts, whole=arguments.whole)
    kind = "questions with their whole contexts" if arguments.whole else "questions and contexts, each by itself"
    lengths = sorted(texts.tokens.tolist())
    said = (
        f"{len(lengths)} {kind}, of {'XQuAD' if there else 'the micro world, as there was no XQuAD'}: {lengths[0]} to "
        f"{lengths[-1]} tokens, median {lengths[len(lengths) // 2]}, mean {sum(lengths) / len(lengths):.0f}"
    )
    return Bench(work, arguments.seconds, arguments.rounds, texts, documents), said


def main() -> None:
    arguments = parse()
    # Else a server that is being measured would outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    bench, texts = make_bench(arguments)
    console.print(f"[bold]texts[/] {texts}")
    new: dict[str, float | None] = {}
    rows: dict[str, dict[str, Any]] = {}
    at = commit()  # now: with the first row's figures the result file has changes
    for row in arguments.only:
        began, others = time.perf_counter(), others_seconds()
        with explained(row, bench.reasons):
            new |= {key: rounded(value) for key, value in ROWS[row](bench).items()}
        rows[row] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": at,
            "seconds": arguments.seconds,
            "took_s": round(time.perf_counter() - began),
            "cores_used_by_others": round((others_seconds() - others) / (time.perf_counter() - began), 2),
            "texts": texts,
            **{
                f"missing {what}": why
                for what, why in bench.reasons.items()
                if FIGURES.get(f"{what}_c8") or what == row
            },
            **bench.details.get(row, {}),
        }
        console.print(f"[bold]{row}[/]", {key: value for key, value in rows[row].items() if key != "texts"})
        _write(new, rows)
    figures, _ = merged({}, rows, new)
    console.print(table(figures, rows))
    console.print(f"written to {(RESULTS / f'{NAME}.json').relative_to(PROJECT)}")


def _write(new: dict[str, float | None], rows: dict[str, dict[str, Any]]) -> None:
    place = RESULTS / f"{NAME}.json"
    figures, details = merged(read_json(place) if place.is_file() else {}, rows, new)
    write_result(
        NAME,
        figures,
        versions=versions(PACKAGES),
        instruction_set=instruction_set(),
        model="XLM-R base shape, random weights, 250,002 pieces, row-wise int8",
        rows=details,
    )


if __name__ == "__main__":
    main()
