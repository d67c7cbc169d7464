"""Nearest neighbours and bitext mining over plain arrays, by faiss on the CPU.

Similarity is the cosine: rows are L2-normalised in float32 first. Nothing here knows a model or a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from polystilts.errors import InvalidValue

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]

#: Rows that are normalised and searched at a time; with 1,024 dimensions 16 MB.
BLOCK = 4096


class ScoredPair(NamedTuple):
    """A mined pair: indices of the two sentences and their margin, in the order in which pairs compare."""

    score: float
    source: int
    target: int


def nearest(queries: Vectors, candidates: Vectors, k: int) -> tuple[Vectors, Indices]:
    """Cosines [n, k] and indices [n, k] of the k nearest candidates of every query, best first.

    Ties go to the lower index. Equal candidates are searched as one, because matrix kernels round the same product
    differently at different places. With fewer than k candidates there are as many columns as candidates.

    Memory: one float32 copy of the candidates and a block of queries, beside the result.

    Args:
        queries: [n, dimensions].
        candidates: [m, dimensions].
        k: at least 1.

    Raises:
        InvalidValue: shapes that do not fit, values that are not finite, or k below 1.
    """
    _check(queries, candidates, k)
    k = min(k, len(candidates))
    scores = np.empty((len(queries), k), dtype=np.float32)
    found = np.empty((len(queries), k), dtype=np.int64)
    if not k or not len(queries):
        return scores, found
    index = faiss.IndexFlatIP(candidates.shape[1])
    copies = _fill(index, candidates)
    for start in range(0, len(queries), BLOCK):
        block = slice(start, min(start + BLOCK, len(queries)))
        scores[block], found[block] = _search(index, copies, _normalised(queries[block]), k)
    return scores, found


def ranked(queries: Vectors, candidates: Vectors, k: int = 20) -> Indices:
    """Indices [n, k] of the k nearest candidates of every query, best first; see `nearest`."""
    return nearest(queries, candidates, k)[1]


def mine(
    source_vectors: Vectors,
    target_vectors: Vectors,
    source_sentences: Sequence[str],
    target_sentences: Sequence[str],
    k: int = 4,
) -> list[ScoredPair]:
    """Pairs of sentences that translate each other, best first; no sentence is in two pairs.

    BUCC as in XTREME's third_party/utils_retrieve.py (LASER's mining, Artetxe and Schwenk 2019): the margin of a
    pair is its cosine over the mean of the two sentences' mean cosines to their k neighbours. Every sentence
    proposes the best of its k neighbours by margin; the proposals of both sides are taken greedily by margin, ties
    by source, then target index. Pairs whose margin is not positive are dropped.

    A sentence that occurs more than once on its side (white space around it apart) stands in the pool once, with its
    last vector, and takes part up to here; pairs with it are then dropped, because nobody could say which of its
    ids is meant.

    Args:
        source_vectors, target_vectors: [n, dimensions] and [m, dimensions].
        source_sentences, target_sentences: n and m texts.
        k: neighbours.

    Raises:
        InvalidValue: as `nearest`, or sentences and vectors of different numbers.
    """
    for side, vectors, sentences in (
        ("source", source_vectors, source_sentences),
        ("target", target_vectors, target_sentences),
    ):
        if len(vectors) != len(sentences):
            message = f"{len(vectors)} {side} vectors for {len(sentences)} sentences"
            raise InvalidValue(message, param=f"{side}_vectors", limit=len(sentences), given=len(vectors))
    _check(source_vectors, target_vectors, k)
    source_places, source_single = _once(source_sentences)
    target_places, target_single = _once(target_sentences)
    if not len(source_places) or not len(target_places):
        return []
    x, y = _normalised(source_vectors[source_places]), _normalised(target_vectors[target_places])
    forward, backward = ranked(x, y, k), ranked(y, x, k)
    forward_cosines, backward_cosines = _cosines(x, y, forward), _cosines(y, x, backward)
    x_mean, y_mean = forward_cosines.mean(axis=1), backward_cosines.mean(axis=1)
    proposed = (
        _best(source, target, margin)
        for source, target, margin in (
            (np.arange(len(x))[:, None], forward, _ratio(forward_cosines, x_mean[:, None], y_mean[forward])),
            (backward, np.arange(len(y))[:, None], _ratio(backward_cosines, x_mean[backward], y_mean[:, None])),
        )
    )
    scores, sources, targets = (np.concatenate(column) for column in zip(*proposed, strict=True))
    pairs: list[ScoredPair] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for place in np.lexsort((targets, sources, -scores)).tolist():
        source, target, score = int(sources[place]), int(targets[place]), float(scores[place])
        if score <= 0:
            break
        if source in taken[0] or target in taken[1]:
            continue
        taken[0].add(source)
        taken[1].add(target)
        if source_single[source] and target_single[target]:
            pairs.append(ScoredPair(score, int(source_places[source]), int(target_places[target])))
    return pairs


def best_threshold(scored_pairs: Sequence[ScoredPair], gold_pairs: Collection[tuple[int, int]]) -> float:
    """The score from which on (``>=``) pairs are kept with the highest F1.

    It lies halfway between the last kept and the next score, as in XTREME's ``bucc_optimize``. Pairs of equal score
    are kept or left together. Where all are kept it is the lowest score; where no pair is right, 0.

    Args:
        scored_pairs: of `mine`, in any order.
        gold_pairs: (source, target) indices; also pairs that could not be mined, which lower the recall.
    """
    gold = set(gold_pairs)
    pairs = sorted(scored_pairs, key=lambda pair: -pair.score)
    threshold = best = 0.0
    right = 0
    for kept, pair in enumerate(pairs, 1):
        right += (pair.source, pair.target) in gold
        following = pairs[kept].score if kept < len(pairs) else None
        f1 = 2.0 * right / (kept + len(gold))
        if following != pair.score and f1 > best:
            best = f1
            middle = pair.score if following is None else (pair.score + following) / 2
            threshold = pair.score if middle == following else middle
    return threshold


def _check(queries: Vectors, candidates: Vectors, k: int) -> None:
    if k < 1:
        raise InvalidValue(f"k is {k}; at least 1", param="k", limit=1, given=k)
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        message = f"vectors of shapes {queries.shape} and {candidates.shape}; expected [n, d] and [m, d]"
        raise InvalidValue(message, param="candidates", given=candidates.shape)
    for name, vectors in (("queries", queries), ("candidates", candidates)):
        for start in range(0, len(vectors), BLOCK):
            finite = np.isfinite(vectors[start : start + BLOCK]).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise InvalidValue(f"row {row} of the {name} is not finite", param=name, given=row)


def _normalised(vectors: Vectors) -> Vectors:
    """A contiguous float32 copy with rows of length 1; rows of zeros stay."""
    copy = np.array(vectors, dtype=np.float32, order="C")
    faiss.normalize_L2(copy)
    return copy


def _fill(index: faiss.IndexFlatIP, candidates: Vectors) -> list[list[int]]:
    """Adds every distinct candidate once; returns the indices [distinct] that each stands for, in order."""
    copies: list[list[int]] = []
    entries: dict[bytes, int] = {}
    for start in range(0, len(candidates), BLOCK):
        block = _normalised(candidates[start : start + BLOCK])
        new = []
        for row, vector in enumerate(block):
            # Sixteen digest bytes instead of four thousand vector bytes a key.
            entry = entries.setdefault(_digest(vector), len(copies))
            if entry == len(copies):
                copies.append([])
                new.append(row)
            copies[entry].append(start + row)
        index.add(block if len(new) == len(block) else np.ascontiguousarray(block[new]))
    return copies


def _search(index: faiss.IndexFlatIP, copies: list[list[int]], queries: Vectors, k: int) -> tuple[Vectors, Indices]:
    """As `nearest` for a block of normalised queries."""
    scores = np.empty((len(queries), k), dtype=np.float32)
    found = np.empty((len(queries), k), dtype=np.int64)
    rows = np.arange(len(queries))
    width = min(k + 1, index.ntotal)
    while len(rows):
        near, entries = index.search(queries[rows], width)
        # An equal score behind the last one that is looked at may belong to a lower index.
        last = min(k, width) - 1
        open_end = (near[:, last] == near[:, -1]) & (width < index.ntotal)
        for row, score, entry in zip(rows[~open_end], near[~open_end], entries[~open_end], strict=True):
            hits = [(-s, i) for s, e in zip(score.tolist(), entry.tolist(), strict=True) for i in copies[e]]
            hits.sort()
            scores[row], found[row] = [-s for s, _ in hits[:k]], [i for _, i in hits[:k]]
        rows = rows[open_end]
        width = min(2 * width, index.ntotal)
    return scores, found


def _digest(vector: Vectors) -> bytes:
    return blake2b(vector.data, digest_size=16).digest()


def _once(sentences: Sequence[str]) -> tuple[Indices, NDArray[np.bool_]]:
    """Every sentence once, in the order of first occurrence: its last index, and whether that is its only one."""
    stripped = [sentence.strip() for sentence in sentences]
    counts = Counter(stripped)
    last = {sentence: place for place, sentence in enumerate(stripped)}
    places = np.array([last[sentence] for sentence in counts], dtype=np.int64)
    return places, np.array([count == 1 for count in counts.values()], dtype=np.bool_)


def _cosines(x: Vectors, y: Vectors, neighbours: Indices) -> Vectors:
    """[n, k]: every row of x with its neighbours in y. A pair has the same number from either side, which the sums
    of a matrix product do not."""
    cosines = np.empty(neighbours.shape, dtype=np.float32)
    step = BLOCK // 4
    for start in range(0, len(x), step):
        block = slice(start, start + step)
        cosines[block] = np.einsum("nd,nkd->nk", x[block], y[neighbours[block]])
    return cosines


def _ratio(cosines: Vectors, source_mean: Vectors, target_mean: Vectors) -> Vectors:
    mean = (source_mean + target_mean) / 2
    return np.divide(cosines, mean, out=np.zeros_like(cosines), where=mean != 0)


def _best(source: Indices, target: Indices, margins: Vectors) -> tuple[Vectors, Indices, Indices]:
    """(margin, source, target), [n] each, of the best neighbour by margin; ties go to the lower index."""
    source, target = np.broadcast_to(source, margins.shape), np.broadcast_to(target, margins.shape)
    best = np.lexsort((target, source, -margins), axis=1)[:, 0]
    rows = np.arange(len(best))
    return margins[rows, best], source[rows, best], target[rows, best]
