"""Bitext mining: which sentences of two lists are translations of each other."""

from __future__ import annotations

import numpy as np

#: Nearest neighbours over which a margin is taken, fewer where there are fewer sentences.
NEIGHBOURS = 4


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length one; a row of zeros stays."""
    lengths: np.ndarray = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return scaled


def mine(source: np.ndarray, target: np.ndarray, neighbours: int = NEIGHBOURS) -> list[tuple[int, int, float]]:
    """Pairs (source row, target row, score), best first, each row at most once.

    The score is the ratio margin: the cosine of a pair over the mean cosine of both to their nearest
    neighbours on the other side. Candidates are the best partner of every row in both directions, taken
    greedily. Source: Artetxe and Schwenk, 2019, "Margin-based Parallel Corpus Mining" (retrieval 'max').

    Args:
        source, target: float [n, hidden] and [m, hidden], rows of any length but zero.
    """
    cosine = unit(source.astype(np.float64)) @ unit(target.astype(np.float64)).T
    average = (_nearest(cosine, neighbours)[:, None] + _nearest(cosine.T, neighbours)[None, :]) / 2
    # No ratio is taken to an average that is not positive: unlike directions would look like a perfect pair.
    margin = np.where(average > 0, cosine / np.where(average > 0, average, 1), cosine)
    pairs = {(row, int(column)) for row, column in enumerate(margin.argmax(axis=1))}
    pairs |= {(int(row), column) for column, row in enumerate(margin.argmax(axis=0))}
    mined: list[tuple[int, int, float]] = []
    rows, columns = set[int](), set[int]()
    for row, column in sorted(pairs, key=lambda pair: (-margin[pair], pair)):
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            mined.append((row, column, float(margin[row, column])))
    return mined


def _nearest(cosine: np.ndarray, neighbours: int) -> np.ndarray:
    """float64 [rows]: mean cosine of each row to its nearest columns."""
    count = min(neighbours, cosine.shape[1])
    nearest: np.ndarray = np.partition(cosine, -count, axis=1)[:, -count:]
    means: np.ndarray = nearest.mean(axis=1)
    return means
