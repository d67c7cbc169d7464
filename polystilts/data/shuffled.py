"""Rows whose labels say nothing: the control that keeps a task's texts, lengths and amount, and takes what it teaches.

Every row gets the label of another one, by a permutation of all rows (Hewitt and Liang, 2019, arXiv:1909.03368, give
the reason for such controls). So the distribution of labels is exactly the task's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows with permuted labels, in the same order with the same ids.

    - pair: the label of another row;
    - choice: the index of another row, which with as many choices as here is its label, else its remainder;
    - tagging: every word the tag of any word of the set;
    - span: as many words as another row's answer has, anywhere in this row's context; none where the other has none;
    - two texts that belong together: the candidate of another row.

    Args:
        rows: labelled, of one task.
        seed: of the permutation.
    """
    rng = np.random.default_rng([seed, len(rows)])
    if rows and isinstance(rows[0], TaggingExample):
        return _tags(rows, rng)
    others = rng.permutation(len(rows))
    return [_with_label_of(row, rows[other], rng) for row, other in zip(rows, others, strict=True)]


def _with_label_of(row: Any, other: Any, rng: np.random.Generator) -> Row:
    if isinstance(row, PairExample):
        return replace(row, label=other.label)
    if isinstance(row, ChoiceExample):
        return replace(row, label=other.label % len(row.choices))
    if isinstance(row, SentencePair):
        return replace(row, candidate=other.candidate)
    if isinstance(row, SpanExample):
        return replace(row, answers=_anywhere(row.context, other.answers, rng))
    raise TypeError(f"rows of {type(row).__name__} have no labels to permute")


def _anywhere(context: str, answers: Sequence[Answer], rng: np.random.Generator) -> tuple[Answer, ...]:
    """One answer as long as the first of `answers`, in words (in characters where the context has one word)."""
    if not answers:
        return ()
    units = list(re.finditer(r"\S+", context))
    length = len(answers[0].text.split())
    if len(units) < 2:
        units, length = list(re.finditer(r"\S", context)), len(answers[0].text)
    length = min(length, len(units))
    first = int(rng.integers(len(units) - length + 1))
    start, stop = units[first].start(), units[first + length - 1].end()
    return (Answer(context[start:stop], start),)


def _tags(rows: Sequence[Any], rng: np.random.Generator) -> list[Row]:
    everything = [tag for row in rows for tag in row.tags]
    order = iter(rng.permutation(len(everything)))
    return [replace(row, tags=tuple(everything[next(order)] for _ in row.tags)) for row in rows]
