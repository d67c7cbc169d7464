"""Time of bitext mining against a bare faiss search of the same size, and its peak memory.

Mining searches in both directions, finds equal vectors, and scores margins; `ours_over_faiss` says what that costs over
the two searches alone. BUCC's test sets have up to 300,000 sentences a side: from the default size ``--rows 300000`` is
estimated, not measured, to take two hours on two cores (the search grows with the square of the rows) and 8 GB.

Usage: ``python -m benchmarks.mining [--rows 20000] [--dimensions 1024]``
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import faiss
import numpy as np

from benchmarks.common import versions, write_result
from polystilts.metrics.retrieval import mine, nearest

NEIGHBOURS = 4


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak_gib() -> float:
    """Largest resident size of this process so far (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def bare_search(queries: np.ndarray, candidates: np.ndarray) -> None:
    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates)
    index.search(queries, NEIGHBOURS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000, help="sentences on each side")
    parser.add_argument("--dimensions", type=int, default=1024, help="of a vector")
    arguments = parser.parse_args()
    rows, dimensions = arguments.rows, arguments.dimensions
    rng = np.random.default_rng(0)
    source = rng.standard_normal((rows, dimensions), dtype=np.float32)
    target = source + rng.standard_normal((rows, dimensions), dtype=np.float32)
    faiss.normalize_L2(source)
    faiss.normalize_L2(target)
    names = [str(row) for row in range(rows)]
    start = peak_gib()
    searches = seconds(lambda: bare_search(source, target)) + seconds(lambda: bare_search(target, source))
    faiss_peak = peak_gib()
    one_way = seconds(lambda: nearest(source, target, NEIGHBOURS))
    found: list[int] = []
    whole = seconds(lambda: found.append(len(mine(source, target, names, names, NEIGHBOURS))))
    figures = {
        "rows": rows,
        "dimensions": dimensions,
        "pairs": found[0],
        "faiss_two_searches_s": round(searches, 2),
        "nearest_s": round(one_way, 2),
        "mine_s": round(whole, 2),
        "nearest_over_faiss": round(one_way / (searches / 2), 3),
        "ours_over_faiss": round(whole / searches, 3),
        "vectors_gib": round(start, 2),
        "faiss_peak_gib": round(faiss_peak, 2),
        "peak_gib": round(peak_gib(), 2),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    details = {"threads": faiss.omp_get_max_threads(), "versions": versions(["faiss-cpu", "numpy"])}
    print(f"written: {write_result('mining', figures, **details)}")


if __name__ == "__main__":
    main()
