"""Time of bitext mining against a bare faiss search of the same size, and its peak memory.

Mining needs the nearest neighbours in both directions, finds equal vectors, and scores margins; `ours_over_faiss` is
its whole time over that of the two searches alone, the median of runs that take turns. BUCC's test sets have up to
300,000 sentences a side: time grows with the square of the rows, memory with the rows. ``--only-mine`` leaves faiss
out, for sizes at which waiting for it is too long and for the memory that mining alone takes.

Usage: ``python -m benchmarks.mining [--rows 20000] [--dimensions 1024] [--repeats 3] [--only-mine]``
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from statistics import median

import faiss
import numpy as np

from benchmarks.common import versions, write_result
from polystilts.metrics.retrieval import ScoredPair, mine

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
    parser.add_argument("--repeats", type=int, default=3, help="runs of either, in turns")
    parser.add_argument("--only-mine", action="store_true", help="do not run faiss; writes mining-only.json")
    arguments = parser.parse_args()
    rows, dimensions = arguments.rows, arguments.dimensions
    rng = np.random.default_rng(0)
    source = rng.standard_normal((rows, dimensions), dtype=np.float32)
    target = rng.standard_normal((rows, dimensions), dtype=np.float32)
    target += source
    faiss.normalize_L2(source)
    faiss.normalize_L2(target)
    names = [str(row) for row in range(rows)]
    vectors_peak = peak_gib()
    searches: list[float] = []
    whole: list[float] = []
    pairs: list[ScoredPair] = []
    for _ in range(arguments.repeats):
        pairs.clear()
        whole.append(seconds(lambda: pairs.extend(mine(source, target, names, names, NEIGHBOURS))))
        if not arguments.only_mine:
            searches.append(seconds(lambda: (bare_search(source, target), bare_search(target, source))))
    figures: dict[str, float] = {
        "rows": rows,
        "dimensions": dimensions,
        "pairs": len(pairs),
        "right_pairs": sum(pair.source == pair.target for pair in pairs),
        "mine_s": round(median(whole), 2),
        "vectors_gib": round(vectors_peak, 3),
        "peak_gib": round(peak_gib(), 3),
    }
    if searches:
        ratios = sorted(ours / theirs for ours, theirs in zip(whole, searches, strict=True))
        figures |= {
            "faiss_two_searches_s": round(median(searches), 2),
            "ours_over_faiss": round(median(ratios), 3),
            "ours_over_faiss_lowest": round(ratios[0], 3),
            "ours_over_faiss_highest": round(ratios[-1], 3),
        }
    for name, value in figures.items():
        print(f"{name}: {value}")
    details = {"threads": faiss.omp_get_max_threads(), "versions": versions(["faiss-cpu", "numpy"])}
    print(f"written: {write_result('mining-only' if arguments.only_mine else 'mining', figures, **details)}")


if __name__ == "__main__":
    main()
