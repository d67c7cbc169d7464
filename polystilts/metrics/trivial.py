"""Trivial baselines: what a score must beat before it means anything.

Everything is learnt from the English training rows, as the models are, and applied to every language.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from polystilts.errors import InvalidValue, MissingData
from polystilts.formats.values import (
    ChoiceExample,
    PairExample,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.metrics.answers import AnswerMatch
from polystilts.metrics.plain import plain_gold

#: Languages written without spaces between words.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})

Answer = Callable[[Any], Any]


def trivial_predictions(
    training: Sequence[Row], evaluation: Sequence[Row], *, candidates: Mapping[str, int] | None = None
) -> list[Any]:
    """Predictions [n] of the trivial baseline of this kind of rows, in the plain form that metrics score.

    ========  ====================================================================================
    pair      the most frequent training label
    choice    the most frequent index of the right choice
    tagging   the tag most frequent with each training word; the overall most frequent for other words
    span      the constant span of `best_constant_span`
    sentence  a uniform guess, ``{"any_of": n}``; needs no training rows
    ========  ====================================================================================

    Ties go to the smallest value.

    Args:
        training: labelled English rows.
        evaluation: rows of any languages, all of one kind.
        candidates: retrieval pool size by language; without it, the language's rows in `evaluation`.

    Raises:
        MissingData: there are no training rows.
        InvalidValue: rows of a kind that has no baseline, or of two kinds.
    """
    if not evaluation:
        return []
    kind = type(evaluation[0])
    if kind is SentencePair:
        pools = Counter(row.language for row in evaluation) if candidates is None else candidates
        return [{"any_of": pools[row.language]} for row in evaluation]
    if not training:
        raise MissingData("the trivial baseline needs labelled training rows", param="training", given=0)
    if others := {type(row) for row in (*training, *evaluation)} - {kind}:
        names = ", ".join(sorted(other.__name__ for other in others))
        raise InvalidValue(f"{kind.__name__} rows mixed with {names}", param="evaluation")
    answer = _LEARN.get(kind)
    if answer is None:
        raise InvalidValue(f"{kind.__name__} rows have no trivial baseline", param="evaluation")
    predict = answer(training)
    return [predict(row) for row in evaluation]


def _most_frequent(counts: Counter[Any]) -> Any:
    most = max(counts.values())
    return min(value for value, count in counts.items() if count == most)


def _learn_majority(training: Sequence[PairExample | ChoiceExample]) -> Answer:
    majority = _most_frequent(Counter(plain_gold(row) for row in training))
    return lambda row: majority


def _learn_tags(training: Sequence[TaggingExample]) -> Answer:
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in training:
        for word, tag in zip(row.tokens, plain_gold(row), strict=True):
            by_word[word][tag] += 1
    default = _most_frequent(sum(by_word.values(), Counter()))
    known = {word: _most_frequent(counts) for word, counts in by_word.items()}
    return lambda row: [known.get(word, default) for word in row.tokens]


@dataclass(frozen=True)
class ConstantSpan:
    """`length` words of every context from word `start` on; a negative start counts from the end.

    In a language without spaces two characters stand for a word, about the length of a Chinese one.
    """

    start: int
    length: int

    def answer(self, row: SpanExample) -> str:
        """The text at that place, shifted into the context where the context is too short."""
        spaced = row.language not in UNSPACED
        return (" " if spaced else "").join(self._cut(re.findall(r"\S+" if spaced else r"\S{1,2}", row.context)))

    def _cut(self, words: list[str]) -> list[str]:
        start = self.start if self.start >= 0 else len(words) + self.start
        start = max(0, min(start, len(words) - self.length))
        return words[start : start + self.length]


def best_constant_span(
    training: Sequence[SpanExample], *, places: int = 10, longest: int = 6, rows: int = 250
) -> ConstantSpan:
    """The constant span with the highest (EM + F1) / 2 on training rows, by SQuAD's normaliser.

    Args:
        training: labelled English rows.
        places: starts tried from the front, and as many from the end.
        longest: most words tried.
        rows: at most about so many rows are looked at, evenly spread, because every pair of place and length
            reads each of them.
    """
    sample = training[:: -(-len(training) // rows)]
    golds = [plain_gold(row) for row in sample]
    metric = AnswerMatch()
    spans = [ConstantSpan(*pair) for pair in product(range(-places, places), range(1, longest + 1))]
    scores = [metric.score(golds, [span.answer(row) for row in sample], "en") for span in spans]
    return spans[int(np.argmax(scores))]


def _learn_span(training: Sequence[SpanExample]) -> Answer:
    return best_constant_span(training).answer


_LEARN: dict[type, Callable[[Any], Answer]] = {
    PairExample: _learn_majority,
    ChoiceExample: _learn_majority,
    TaggingExample: _learn_tags,
    SpanExample: _learn_span,
}
