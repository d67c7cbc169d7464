"""Mining: right pairs, each sentence once, distractors unpaired or last."""

from __future__ import annotations

import numpy as np

from serving.align import mine


def test_translations_find_each_other_beside_a_hub() -> None:
    random = np.random.default_rng(0)
    source = random.normal(size=(12, 8))
    order = random.permutation(12)
    target = source[order] + 0.05 * random.normal(size=(12, 8))
    hub = source.mean(axis=0, keepdims=True)  # near to everything; a plain cosine would like it
    mined = mine(source, np.concatenate([target, hub]))
    assert {(int(order[j]), j) for j in range(12)} == {(i, j) for i, j, _ in mined[:12]}
    assert len(mined) == len({i for i, _, _ in mined}) == len({j for _, j, _ in mined}) == 12
    scores = [score for _, _, score in mined]
    assert scores == sorted(scores, reverse=True)


def test_one_sentence_on_a_side() -> None:
    assert [(i, j) for i, j, _ in mine(np.eye(1, 4), np.eye(3, 4))] == [(0, 0)]


def test_zero_and_opposite_vectors_have_finite_scores() -> None:
    source = np.array([[1.0, 0.0], [0.0, 0.0]])
    target = np.array([[-1.0, 0.0], [-1.0, 0.1]])
    assert all(np.isfinite(score) for _, _, score in mine(source, target))
