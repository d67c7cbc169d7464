"""Does the server's memory stay flat? Many requests of every endpoint to one server, its memory read as they pass.

    make soak
    python -m benchmarks.soak --requests 200000

The models are tiny, because what grows is not what models hold but what requests leave behind. Memory is PSS of all
server processes, after a first part in which caches fill.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import httpx
from tqdm import tqdm

from benchmarks.common import write_result
from benchmarks.serving import load
from benchmarks.serving.bench import tree_mb
from pipelines.serve import start_server
from serving.examples import EXAMPLES
from tests.world.bundles import tiny_models

#: Requests between two looks at the memory.
STEP = 2000

#: Part of the requests after which memory counts.
WARM = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_server(tiny_models(Path(folder))) as server:
        endpoints = itertools.cycle(EXAMPLES)
        memory: list[float] = []
        bad = 0
        with tqdm(total=arguments.requests, unit="request") as bar:
            while bar.n < arguments.requests:
                endpoint = next(endpoints)
                examples = [json.dumps(example).encode() for example in EXAMPLES[endpoint].values()]
                bodies = list(itertools.islice(itertools.cycle(examples), STEP))
                answers = load.drive(load.once(f"{server.url}/v1/{endpoint}", bodies, clients=arguments.clients))
                bad += int((~answers.good).sum())
                # What is no answer leaves something behind too.
                httpx.get(f"{server.url}/no-such-path-{bar.n}")
                bar.update(STEP)
                memory.append(tree_mb(server.pid))
                bar.set_postfix(mb=round(memory[-1]))
    kept = memory[int(len(memory) * WARM) :]
    figures = {
        "requests": arguments.requests,
        "not_answered": bad,
        "mb_warm": round(kept[0], 1),
        "mb_end": round(kept[-1], 1),
        "mb_most": round(max(kept), 1),
        "bytes_a_request": round((kept[-1] - kept[0]) * 1e6 / (arguments.requests * (1 - WARM)), 1),
    }
    print(json.dumps(figures, indent=1))
    write_result("soak", figures, memory_mb=[round(value, 1) for value in memory])


if __name__ == "__main__":
    main()
