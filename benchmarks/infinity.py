"""Embeddings of the same texts from our server and from infinity, in turns: both run already, with the same weights.

Our bundle is made of the encoder that infinity serves, with the same layer pooled, so the vectors are equal, which is
checked first. Texts are XQuAD's questions, one a request. Closed loops of wrk on the same cores, A B A B.

Usage: ``python -m benchmarks.infinity --data DATA --infinity http://127.0.0.1:7997 --name NAME``
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path
from statistics import median

import httpx
import numpy as np

from benchmarks.common import versions, write_result
from benchmarks.serving.load import Rate, wrk
from polystilts.data.local import LocalSource
from polystilts.data.roles import evaluation_languages
from polystilts.formats.values import SpanExample
from polystilts.tasks.catalogue import get_task

CLIENTS = (1, 8, 32)


def questions(data: Path, count: int) -> list[str]:
    """Questions of all languages in a random order."""
    source, spec = LocalSource(data), get_task("xquad")
    found = [
        row.question
        for language in evaluation_languages(source, spec)
        for row in source.rows(spec, spec.choice_split, language)
        if isinstance(row, SpanExample)
    ]
    random.Random(0).shuffle(found)
    return found[:count]


def vector(url: str, body: bytes) -> np.ndarray:
    """Float64 [dimensions] of unit length."""
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, timeout=60).raise_for_status()
    found = np.array(answer.json()["data"][0]["embedding"])
    return found / np.linalg.norm(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with xquad/")
    parser.add_argument("--ours", default="http://127.0.0.1:3000", help="where our server listens")
    parser.add_argument("--infinity", default="http://127.0.0.1:7997", help="where infinity listens")
    parser.add_argument("--model", default="tatoeba", help="the model in ours")
    parser.add_argument("--name", required=True, help="infinity's --served-model-name")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one closed loop")
    parser.add_argument("--rounds", type=int, default=3, help="turns")
    arguments = parser.parse_args()
    texts = questions(arguments.data, 2000)
    servers = {
        "ours": (f"{arguments.ours}/v1/embeddings", arguments.model),
        "infinity": (f"{arguments.infinity}/embeddings", arguments.name),
    }
    bodies = {
        name: [json.dumps({"model": model, "input": text}, ensure_ascii=False).encode() for text in texts]
        for name, (_, model) in servers.items()
    }
    cosines = list[float]()
    for number in range(8):
        ours, theirs = (vector(url, bodies[name][number]) for name, (url, _) in servers.items())
        cosines.append(float(ours @ theirs))
    if min(cosines) < 0.9999:
        parser.error(f"the two do not serve the same vectors: cosine {min(cosines):.4f}")
    for name, (url, _) in servers.items():
        wrk(url, bodies[name], clients=8, seconds=2)
    rates: dict[str, list[Rate]] = defaultdict(list)
    for turn in range(arguments.rounds):
        for clients in CLIENTS:
            for name, (url, _) in servers.items():
                key = f"{name}_c{clients}"
                rates[key].append(wrk(url, bodies[name], clients=clients, seconds=arguments.seconds, offset=turn * 300))
    figures = {}
    print("| clients | ours, texts/s | infinity, texts/s | ours, p95 ms | infinity, p95 ms |\n|--:|--:|--:|--:|--:|")
    for clients in CLIENTS:
        cells = []
        for name in servers:
            found = rates[f"{name}_c{clients}"]
            figures[f"{name}_c{clients}"] = round(median(rate.answers / rate.seconds for rate in found), 1)
            figures[f"{name}_c{clients}_p95_ms"] = round(median(rate.p95_ms for rate in found), 1)
            cells.append((figures[f"{name}_c{clients}"], figures[f"{name}_c{clients}_p95_ms"]))
        print(f"| {clients} | {cells[0][0]:.0f} | {cells[1][0]:.0f} | {cells[0][1]:.0f} | {cells[1][1]:.0f} |")
    path = write_result(
        "infinity",
        figures,
        cosine=round(min(cosines), 6),
        errors=sum(rate.errors for found in rates.values() for rate in found),
        versions=versions(["onnxruntime", "tokenizers"]),
        rates={key: [round(rate.answers / rate.seconds, 1) for rate in found] for key, found in rates.items()},
    )
    print(f"\n{path}")


if __name__ == "__main__":
    main()
