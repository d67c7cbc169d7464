"""Nearest neighbours and bitext mining over plain arrays, on the CPU.

Similarity is the cosine: rows are L2-normalised in float32 first, products are taken block by block, and faiss's heaps
keep the best of them. Nothing here knows a model or a task.
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

#: Rows of either side that are multiplied at a time: their products fill 16 MB.
BLOCK = 2048


class ScoredPair(NamedTuple):
    """A mined pair: indices of the two sentences and their margin, in the order in which pairs compare."""

    score: float
    source: int
    target: int


class _Pool(NamedTuple):
    """Normalised rows without their copies: matrix kernels round the same product differently at different places.

    vectors: [distinct, dimensions], in the order of first occurrence. entry: [n], the row of `vectors` of each row.
    """

    vectors: Vectors
    entry: Indices


def nearest(queries: Vectors, candidates: Vectors, k: int) -> tuple[Vectors, Indices]:
    """Cosines [n, k] and indices [n, k] of the k nearest candidates of every query, best first.

    Ties go to the lower index. Equal candidates are searched as one, because matrix kernels round the same product
    differently at different places; different candidates whose cosines are equal only in exact arithmetic can differ
    in the last bit. With fewer than k candidates there are as many columns as candidates.

    Memory: one float32 copy of the candidates, a block of queries and one of products, beside the result.

    Args:
        queries: [n, dimensions].
        candidates: [m, dimensions].
        k: at least 1.

    Raises:
        InvalidValue: shapes that do not fit, values that are not finite, or k below 1.
    """
    _check(queries, candidates, k)
    if not len(queries) or not len(candidates):
        return np.empty((len(queries), 0), dtype=np.float32), np.empty((len(queries), 0), dtype=np.int64)
    pool = _distinct(candidates)
    parts = [_search(_normalised(queries[block]), pool.vectors, k) for block in _blocks(len(queries))]
    scores, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _expanded(scores, found, pool, k)


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

    One product of all rows serves both directions, so this takes about half the time of two searches. Memory: a
    float32 copy of either side and two blocks of products, beside a few hundred bytes a sentence.

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
    x, y = _distinct(source_vectors, source_places), _distinct(target_vectors, target_places)
    forward, backward = _both_ways(x, y, k)
    forward_cosines, backward_cosines = _cosines(x, y, forward), _cosines(y, x, backward)
    x_mean, y_mean = forward_cosines.mean(axis=1), backward_cosines.mean(axis=1)
    proposed = (
        _best(source, target, margin)
        for source, target, margin in (
            (np.arange(len(forward))[:, None], forward, _ratio(forward_cosines, x_mean[:, None], y_mean[forward])),
            (backward, np.arange(len(backward))[:, None], _ratio(backward_cosines, x_mean[backward], y_mean[:, None])),
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
        for block in _blocks(len(vectors)):
            finite = np.isfinite(vectors[block]).all(axis=1)
            if not finite.all():
                row = block.start + int(np.argmin(finite))
                raise InvalidValue(f"row {row} of the {name} is not finite", param=name, given=row)


def _blocks(rows: int, step: int | None = None) -> list[slice]:
    step = step or BLOCK
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _normalised(vectors: Vectors) -> Vectors:
    """A contiguous float32 copy with rows of length 1; rows of zeros stay."""
    copy = np.array(vectors, dtype=np.float32, order="C")
    faiss.normalize_L2(copy)
    return copy


def _distinct(vectors: Vectors, places: Indices | None = None) -> _Pool:
    """The rows of `vectors`, or those at `places` [n], normalised, equal ones once."""
    rows = len(vectors) if places is None else len(places)
    distinct = np.empty((rows, vectors.shape[1]), dtype=np.float32)
    entry = np.empty(rows, dtype=np.int64)
    entries: dict[bytes, int] = {}
    for block in _blocks(rows):
        normalised = _normalised(vectors[block if places is None else places[block]])
        known = len(entries)
        new: list[int] = []
        for row, vector in enumerate(normalised):
            # Sixteen digest bytes instead of four thousand vector bytes a key.
            number = entries.setdefault(_digest(vector), len(entries))
            if number == known + len(new):
                new.append(row)
            entry[block.start + row] = number
        distinct[known : len(entries)] = normalised if len(new) == len(normalised) else normalised[new]
    return _Pool(distinct[: len(entries)], entry)


def _search(
    queries: Vectors, candidates: Vectors, k: int, columns: faiss.ResultHeap | None = None, first: int = 0
) -> tuple[Vectors, Indices]:
    """Products and indices, [n, min(k, m)] each, of the best candidates of a block of queries; ties as in `nearest`.

    Args:
        columns: also keeps the best queries of every candidate; blocks must come in order.
        first: the index that the first query has there.
    """
    best = _heaps(len(queries), min(k, len(candidates)))
    for block in _blocks(len(candidates)):
        products = queries @ candidates[block].T
        _offer(best, products, 0, block.start)
        if columns is not None:
            _offer(columns, _transposed(products), block.start, first)
    return _sorted(best)


def _both_ways(x: _Pool, y: _Pool, k: int) -> tuple[Indices, Indices]:
    """The nearest rows of y for every row of x, and of x for every row of y, best first; ties as in `nearest`."""
    columns = _heaps(len(y.vectors), min(k, len(x.vectors)))
    parts = [_search(x.vectors[block], y.vectors, k, columns, block.start) for block in _blocks(len(x.vectors))]
    scores, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    forward = _expanded(scores, found, y, k)[1]
    backward = _expanded(*_sorted(columns), x, k)[1]
    return forward[x.entry], backward[y.entry]


def _heaps(rows: int, k: int) -> faiss.ResultHeap:
    return faiss.ResultHeap(rows, k, keep_max=True)


def _offer(heaps: faiss.ResultHeap, scores: Vectors, first_row: int, first_column: int) -> None:
    """Offers scores [n, m] to n heaps from `first_row` on; columns must come in ascending order.

    A heap refuses what only equals its worst score, and of equal scores drops the lowest id first. So ids are
    column numbers turned negative, which keeps the lower column; they start at -2 because -1 marks an empty place.
    """
    rows, columns = scores.shape
    ids = -2 - np.arange(first_column, first_column + columns, dtype=np.int64)
    heaps.heaps.addn_with_ids(columns, faiss.swig_ptr(scores), faiss.swig_ptr(ids), 0, first_row, rows)


def _sorted(heaps: faiss.ResultHeap) -> tuple[Vectors, Indices]:
    heaps.finalize()
    return heaps.D, -2 - heaps.I


def _transposed(products: Vectors) -> Vectors:
    """A contiguous copy. By strips of 16 rows, one cache line, which numpy copies five times as fast as the whole."""
    copy = np.empty(products.shape[::-1], dtype=np.float32)
    for strip in _blocks(len(products), 16):
        copy[:, strip] = products[strip].T
    return copy


def _expanded(scores: Vectors, found: Indices, pool: _Pool, k: int) -> tuple[Vectors, Indices]:
    """Scores and entries [n, j] of the best entries as those of the k best rows that have them, ties to the lower."""
    if len(pool.vectors) == len(pool.entry):
        return scores, found
    copies = np.split(np.argsort(pool.entry, kind="stable"), np.cumsum(np.bincount(pool.entry))[:-1])
    hits = [
        sorted((-s, i) for s, e in zip(row, entries, strict=True) for i in copies[e][:k].tolist())[:k]
        for row, entries in zip(scores.tolist(), found.tolist(), strict=True)
    ]
    return np.array([[-s for s, _ in row] for row in hits], np.float32), np.array([[i for _, i in row] for row in hits])


def _digest(vector: Vectors) -> bytes:
    return blake2b(vector.data, digest_size=16).digest()


def _once(sentences: Sequence[str]) -> tuple[Indices, NDArray[np.bool_]]:
    """Every sentence once, in the order of first occurrence: its last index, and whether that is its only one."""
    stripped = [sentence.strip() for sentence in sentences]
    counts = Counter(stripped)
    last = {sentence: place for place, sentence in enumerate(stripped)}
    places = np.array([last[sentence] for sentence in counts], dtype=np.int64)
    return places, np.array([count == 1 for count in counts.values()], dtype=np.bool_)


def _cosines(x: _Pool, y: _Pool, neighbours: Indices) -> Vectors:
    """[n, k]: every row of x with its neighbours in y. A pair has the same number wherever it stands, which the sums
    of a matrix product do not."""
    cosines = np.empty(neighbours.shape, dtype=np.float32)
    for block in _blocks(len(neighbours), BLOCK // 2):
        cosines[block] = np.einsum("nd,nkd->nk", x.vectors[x.entry[block]], y.vectors[y.entry[neighbours[block]]])
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
