from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystilts.errors import InvalidValue
from polystilts.metrics import retrieval
from polystilts.metrics.retrieval import ScoredPair, best_threshold, mine, nearest, ranked


def vectors(seed: int, rows: int, dimensions: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32)


def test_nearest_by_hand() -> None:
    candidates = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
    scores, found = nearest(np.array([[5, 0], [1, 1]], dtype=np.float32), candidates, 2)
    assert found.tolist() == [[0, 2], [2, 0]]
    assert scores == pytest.approx(np.array([[1, 0.5**0.5], [1, 0.5**0.5]]))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_nearest_is_a_stable_sort_of_the_cosines(seed: int, n: int, m: int, k: int) -> None:
    # Entries of -1, 0 and 1 make many ties; cosines are compared as exact integer ratios would be.
    rng = np.random.default_rng(seed)
    queries, candidates = (rng.integers(-1, 2, (rows, 4)).astype(np.float32) for rows in (n, m))
    scores, found = nearest(queries, candidates, k)
    lengths = [np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-12) for side in (queries, candidates)]
    cosines = (queries / lengths[0]) @ (candidates / lengths[1]).T
    assert scores.shape == found.shape == (n, min(k, m))
    assert scores == pytest.approx(-np.sort(-cosines, axis=1)[:, :k], abs=1e-6)
    for row in range(n):
        same = [candidates[i].tobytes() for i in found[row]]
        for i, j in zip(range(len(same)), range(1, len(same)), strict=False):
            assert same[i] != same[j] or found[row, i] < found[row, j]


def test_equal_candidates_are_found_in_order_however_a_kernel_rounds_them() -> None:
    candidates, queries = vectors(0, 1003, 768), vectors(1, 500, 768)
    candidates[[5, 700, 1002]] = candidates[5]
    found = nearest(queries, candidates, 1003)[1]
    places = np.argsort(found, axis=1)[:, [5, 700, 1002]]
    assert (np.diff(places, axis=1) == 1).all()


def test_ties_behind_the_last_column_go_to_the_lower_index() -> None:
    # All cosines with (1, 1, ...) are equal, and k ends inside the tie.
    assert ranked(np.ones((1, 8), dtype=np.float32), np.eye(8, dtype=np.float32)[::-1].copy(), 3).tolist() == [
        [0, 1, 2]
    ]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, candidates = vectors(2, 50), vectors(3, 70)
    whole = nearest(queries, candidates, 5)
    monkeypatch.setattr(retrieval, "BLOCK", 7)
    parts = nearest(queries, candidates, 5)
    assert (whole[1] == parts[1]).all()
    assert whole[0] == pytest.approx(parts[0], abs=1e-6)


def test_bad_vectors_are_refused() -> None:
    x = vectors(0, 3)
    with pytest.raises(InvalidValue, match="k is 0"):
        nearest(x, x, 0)
    with pytest.raises(InvalidValue, match="shapes"):
        nearest(x, vectors(0, 3, 8), 1)
    broken = x.copy()
    broken[2, 1] = np.nan
    with pytest.raises(InvalidValue, match="row 2 of the candidates is not finite"):
        nearest(x, broken, 1)
    with pytest.raises(InvalidValue, match="3 source vectors for 2 sentences"):
        mine(x, x, ["a", "b"], ["a", "b", "c"])
    assert nearest(x, x[:0], 4)[1].shape == (3, 0)
    assert mine(x[:0], x, [], ["a", "b", "c"]) == []


def test_mining_by_hand() -> None:
    # k = 1: the cosine of s0 with t0 is 1, of s1 with t1 0.8; every mean is that of the best neighbour.
    source = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    target = np.array([[1, 0, 0], [0, 0.8, 0.6]], dtype=np.float32)
    pairs = mine(source, target, ["a", "b"], ["A", "B"], k=1)
    assert [(p.source, p.target) for p in pairs] == [(0, 0), (1, 1)]
    assert [p.score for p in pairs] == pytest.approx([1.0, 1.0])
    # k = 2: means 0.5 and 0.4 (s1 has cosines 0.8 and 0), so margins are 2 for both again; ties by source.
    assert [p.score for p in mine(source, target, ["a", "b"], ["A", "B"], k=2)] == pytest.approx([2.0, 2.0])


def test_repeated_sentences_take_part_and_are_dropped() -> None:
    x = np.eye(4, dtype=np.float32)
    pairs = mine(x, x, ["a", "b", "b ", "d"], ["A", "B", "C", "D"], k=2)
    # "b" stands in the pool with its last vector, that of C; B is left over.
    assert {(p.source, p.target) for p in pairs} == {(0, 0), (3, 3)}


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_mined_pairs_are_one_to_one_sorted_and_follow_their_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 40, 2)
    x, y = vectors(seed, n), vectors(seed + 1, m)
    y[: min(n, m)] = x[: min(n, m)] + 0.3 * vectors(seed + 2, min(n, m))
    sources, targets = [f"s{i}" for i in range(n)], [f"t{i}" for i in range(m)]
    pairs = mine(x, y, sources, targets)
    assert len({p.source for p in pairs}) == len({p.target for p in pairs}) == len(pairs)
    assert pairs == sorted(pairs, key=lambda p: (-p.score, p.source, p.target))
    turned = mine(y, x, targets, sources)
    assert {(p.source, p.target) for p in pairs} == {(p.target, p.source) for p in turned}
    order = rng.permutation(n)
    moved = mine(x[order], y, [sources[i] for i in order], targets)
    assert {(int(order[p.source]), p.target) for p in moved} == {(p.source, p.target) for p in pairs}


def by_the_rule(x: np.ndarray, y: np.ndarray, sources: list[str], targets: list[str], k: int) -> dict:
    """Margins by (source, target), spelled out in float64 over the whole matrix; without equal margins."""
    pools = [list({text: place for place, text in enumerate(texts)}.values()) for texts in (sources, targets)]
    x, y = x[pools[0]].astype(np.float64), y[pools[1]].astype(np.float64)
    cosines = x @ y.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
    forward, backward = np.argsort(-cosines, axis=1)[:, :k], np.argsort(-cosines.T, axis=1)[:, :k]
    x_mean = np.take_along_axis(cosines, forward, axis=1).mean(axis=1)
    y_mean = np.take_along_axis(cosines.T, backward, axis=1).mean(axis=1)
    margins = cosines / ((x_mean[:, None] + y_mean) / 2)
    proposed = {(i, int(max(near, key=lambda j: margins[i, j]))) for i, near in enumerate(forward)}
    proposed |= {(int(max(near, key=lambda i: margins[i, j])), j) for j, near in enumerate(backward)}
    pairs: dict[tuple[int, int], float] = {}
    taken: list[set[int]] = [set(), set()]
    for i, j in sorted(proposed, key=lambda pair: -margins[pair]):
        if i in taken[0] or j in taken[1] or margins[i, j] <= 0:
            continue
        taken[0].add(i)
        taken[1].add(j)
        source, target = pools[0][i], pools[1][j]
        if sources.count(sources[source]) == targets.count(targets[target]) == 1:
            pairs[source, target] = margins[i, j]
    return pairs


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_mining_follows_the_rule_at_any_block_size(seed: int, k: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(30, 90, 2)
    x, y = vectors(seed, n), vectors(seed + 1, m)
    y[: min(n, m)] += 2 * x[: min(n, m)]
    sources, targets = ([f"{i - i % 7 % 2}" for i in range(rows)] for rows in (n, m))
    pairs = mine(x, y, sources, targets, k)
    assert {(p.source, p.target): p.score for p in pairs} == pytest.approx(by_the_rule(x, y, sources, targets, k), 1e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", block)
        again = mine(x, y, sources, targets, k)
    assert [(p.source, p.target) for p in again] == [(p.source, p.target) for p in pairs]


@pytest.mark.parametrize("block", [2, 5, 2048])
def test_equal_vectors_of_different_sentences_pair_in_order(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", block)
    x = np.repeat(vectors(4, 3, 768), [1, 4, 2], axis=0)[[1, 0, 5, 2, 3, 6, 4]]
    pairs = mine(x, x, list("abcdefg"), list("ABCDEFG"), k=2)
    # Copies see only their k lowest copies, and propose the first of them; the single vector has the highest margin.
    assert [(p.source, p.target) for p in pairs] == [(1, 1), (0, 0), (2, 2)]
    assert [p.score for p in pairs[1:]] == [1, 1]


def test_a_heap_keeps_the_lower_of_equal_scores_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK", 3)
    # Unit vectors along axes: cosines are exactly 0 or 1, so nearly all of them tie.
    axes = np.eye(11, dtype=np.float32)
    found = ranked(axes[[10, 4]], axes, 5)
    assert found.tolist() == [[10, 0, 1, 2, 3], [4, 0, 1, 2, 3]]
    pairs = mine(axes, axes[::-1].copy(), [str(i) for i in range(11)], [str(i) for i in range(11)])
    assert [(p.source, p.target) for p in pairs] == [(i, 10 - i) for i in range(11)]


def pairs_of(*rows: tuple[float, int]) -> list[ScoredPair]:
    return [ScoredPair(score, i, target) for i, (score, target) in enumerate(rows)]


def test_the_threshold_lies_between_the_last_kept_and_the_next() -> None:
    pairs = pairs_of((1.4, 0), (1.3, 1), (1.1, 9), (1.0, 9))
    assert best_threshold(pairs, {(0, 0), (1, 1)}) == pytest.approx(1.2)
    # Gold that could not be mined lowers the recall and moves nothing.
    assert best_threshold(pairs, {(0, 0), (1, 1), (7, 7)}) == pytest.approx(1.2)
    assert best_threshold(pairs[:2], {(0, 0), (1, 1)}) == 1.3
    assert best_threshold(pairs, {(5, 5)}) == best_threshold([], {(0, 0)}) == 0.0


@given(st.lists(st.tuples(st.sampled_from([1.0, 1.1, 1.2, np.nextafter(1.2, 2), 1.5]), st.booleans()), min_size=1))
def test_no_other_threshold_has_a_higher_f1(rows) -> None:
    pairs = [ScoredPair(float(score), i, i if right else -1) for i, (score, right) in enumerate(rows)]
    gold = {(i, i) for i in range(len(rows))}

    def f1(threshold: float) -> float:
        kept = [p for p in pairs if p.score >= threshold]
        return 2 * sum(p.source == p.target for p in kept) / (len(kept) + len(gold))

    assert f1(best_threshold(pairs, gold)) == pytest.approx(max(f1(p.score) for p in pairs))
