"""Rows into micro-batches: complete, within the limit, and as cheap as can be."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.formats import Features
from polystilts.formats.batching import collate, pack

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


def cost(lengths, groups, overhead):
    return sum(overhead + len(group) * max(lengths[i] for i in group) for group in groups)


@given(lengths=LENGTHS, max_tokens=st.integers(1, 300), overhead=st.integers(0, 40))
def test_every_row_is_in_one_group_and_no_group_is_too_large(lengths, max_tokens, overhead):
    groups = pack(lengths, max_tokens, overhead=overhead)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= max_tokens for g in groups)


@given(lengths=LENGTHS, max_tokens=st.integers(1, 300))
def test_longest_first(lengths, max_tokens):
    groups = pack(lengths, max_tokens)
    assert [lengths[i] for group in groups for i in group] == sorted(lengths, reverse=True)


def all_groupings(items):
    """Every partition of a list into groups."""
    if not items:
        yield []
        return
    first, *rest = items
    for grouping in all_groupings(rest):
        yield [[first], *grouping]
        for i, group in enumerate(grouping):
            yield [*grouping[:i], [first, *group], *grouping[i + 1 :]]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    max_tokens=st.integers(1, 120),
    overhead=st.integers(0, 30),
)
def test_no_grouping_whatever_is_cheaper(lengths, max_tokens, overhead):
    legal = (
        grouping
        for grouping in all_groupings(list(range(len(lengths))))
        if all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= max_tokens for g in grouping)
    )
    cheapest = min(cost(lengths, grouping, overhead) for grouping in legal)
    assert cost(lengths, pack(lengths, max_tokens, overhead=overhead), overhead) == cheapest


@pytest.mark.parametrize(("overhead", "groups"), [(1, [[1], [0, 2]]), (16, [[1], [0, 2]]), (200, [[1, 0, 2]])])
def test_a_dear_call_is_worth_padding(overhead, groups):
    assert pack([10, 100, 10], 1000, overhead=overhead) == groups


def test_the_result_depends_on_the_lengths_alone():
    lengths = [5, 9, 5, 9, 5]
    assert pack(lengths, 20) == pack(tuple(lengths), 20)
    assert all(a < b for group in pack(lengths, 1000, overhead=0) for a, b in pairwise(group))


@pytest.mark.parametrize("length", [0, 2, 5])
def test_collate(length):
    rows = [Features(np.array(ids, dtype=np.int64)) for ids in ([0, 7, 2], [0, 2])]
    arrays = collate(rows, 1, length=length)
    more = max(length - 3, 0)
    assert arrays["input_ids"].tolist() == [[0, 7, 2] + [1] * more, [0, 2, 1] + [1] * more]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1] + [0] * more, [1, 1, 0] + [0] * more]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}
