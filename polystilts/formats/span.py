"""span: the answer to a question as a range of its context, by overlapping windows.

Values and rules are SQuAD's as XTREME's ``run_squad.py`` and jiant use them (384 pieces, stride 128, question 64,
answer 30, 20 best, maximum context); positions come from character offsets, never from a tokenizer's class name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from polystilts.errors import InvalidValue
from polystilts.formats.tokenizer import PAIR_EXTRA, Pieces
from polystilts.formats.values import Features, FormatSettings, Outputs, Rejected, SpanExample, SpanPrediction


class SpanFormat:
    """`<s> question </s></s> window of the context </s>`; `<s>` stands for 'no answer in this window'."""

    grouped = False

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings

    def encode(self, examples: Sequence[SpanExample]) -> list[list[Features] | Rejected]:
        # A context is shared by several questions: each distinct one is tokenised once.
        contexts = list(dict.fromkeys(e.context for e in examples))
        encodings = self.pieces.encode([*contexts, *(e.question for e in examples)])
        context_encodings = dict(zip(contexts, encodings, strict=False))
        offsets = {text: _trimmed(text, encoding.offsets) for text, encoding in context_encodings.items()}
        rows: list[list[Features] | Rejected] = []
        for example, question in zip(examples, encodings[len(contexts) :], strict=True):
            if not example.context.strip():
                rows.append(Rejected(InvalidValue("context is empty", param="context", limit=1, given=0)))
                continue
            ids = context_encodings[example.context].ids
            asked = question.ids[: self.settings.max_question_length]
            rows.append(self._windows(asked, ids, offsets[example.context]))
        return rows

    def _windows(self, question: list[int], context: list[int], offsets: np.ndarray) -> list[Features]:
        room = self.settings.max_length - PAIR_EXTRA - len(question)
        if room < 1:
            raise InvalidValue(
                f"max_length {self.settings.max_length} leaves no room for a context",
                param="max_length",
                limit=PAIR_EXTRA + len(question) + 1,
                given=self.settings.max_length,
            )
        starts = [0]
        while starts[-1] + room < len(context):
            starts.append(starts[-1] + min(self.settings.doc_stride, room))
        owner = _owner(starts, room, len(context))
        before = len(question) + 3
        windows = []
        for number, start in enumerate(starts):
            end = min(start + room, len(context))
            row = np.full((before + end - start + 1, 2), -1, dtype=np.int32)
            row[before:-1] = offsets[start:end]
            best = np.zeros(len(row), dtype=bool)
            best[before:-1] = owner[start:end] == number
            windows.append(Features(self.pieces.pair(question, context[start:end]), offsets=row, best=best))
        return windows

    def decode(self, example: SpanExample, features: Sequence[Features], outputs: Sequence[Outputs]) -> SpanPrediction:
        best, null = (-np.inf, 0, 0), np.inf
        for feature, output in zip(features, outputs, strict=True):
            start, end = output["start"].astype(np.float64), output["end"].astype(np.float64)
            null = min(null, float(start[0] + end[0]))
            best = max(best, self._best(feature, start, end))
        score, first, last = best
        if not np.isfinite(score):
            return SpanPrediction("", 0, 0, float(null), float(null))
        return SpanPrediction(example.context[first:last], first, last, float(score), float(null))

    def _best(self, feature: Features, start: np.ndarray, end: np.ndarray) -> tuple[float, int, int]:
        """Highest start + end over legal spans among the n best starts and ends, as (score, from, to)."""
        offsets, owned = _positions(feature)
        inside = offsets[:, 1] > offsets[:, 0]
        starts = _top(np.where(inside & owned, start, -np.inf), self.settings.n_best)
        ends = _top(np.where(inside, end, -np.inf), self.settings.n_best)
        length = ends[None, :] - starts[:, None]
        legal = (length >= 0) & (length < self.settings.max_answer_length)
        scores = np.where(legal, start[starts][:, None] + end[ends][None, :], -np.inf)
        if not scores.size or not np.isfinite(scores.max()):
            return -np.inf, 0, 0
        i, j = np.unravel_index(int(scores.argmax()), scores.shape)
        return float(scores[i, j]), int(offsets[starts[i], 0]), int(offsets[ends[j], 1])

    def targets(self, example: SpanExample, features: Sequence[Features]) -> list[np.ndarray]:
        """int64 [2] per window: first and last piece of the first answer; (0, 0) where it is not all inside."""
        if not example.answers:
            return [np.zeros(2, dtype=np.int64) for _ in features]
        answer = example.answers[0]
        first, last = answer.start, answer.start + len(answer.text)
        context_end = max(int(_positions(f)[0][:, 1].max()) for f in features)
        targets = []
        for feature in features:
            offsets, _ = _positions(feature)
            inside = offsets[:, 1] > offsets[:, 0]
            touched = np.flatnonzero(inside & (offsets[:, 1] > first) & (offsets[:, 0] < last))
            whole = (
                len(touched) > 0
                and offsets[touched[0], 0] <= _first_visible(example.context, first)
                and offsets[touched[-1], 1] >= min(_last_visible(example.context, last), context_end)
            )
            targets.append(np.array([touched[0], touched[-1]] if whole else [0, 0], dtype=np.int64))
        return targets


def _trimmed(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """int32 [n, 2] code-point ranges of what pieces show.

    White space that Metaspace counts to the following piece is left out. NFKC composes characters (marks, Korean
    letters, vowel signs) and keeps the offset of the first alone; the others are counted to their piece again.
    """
    trimmed = []
    for (start, end), (following, _) in pairwise([*offsets, (len(text), len(text))]):
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        while start < end < following and not text[end].isspace() and unicodedata.category(text[end])[0] != "C":
            end += 1
        trimmed.append((start, end))
    return np.array(trimmed, dtype=np.int32).reshape(-1, 2)


def _owner(starts: Sequence[int], room: int, length: int) -> np.ndarray:
    """int32 [length]: the window in which each context piece has the most context (SQuAD's max-context rule)."""
    owner = np.zeros(length, dtype=np.int32)
    best = np.full(length, -np.inf)
    for number, start in enumerate(starts):
        end = min(start + room, length)
        position = np.arange(start, end)
        score = np.minimum(position - start, end - 1 - position) + 0.01 * (end - start)
        better = score > best[start:end]
        owner[start:end][better] = number
        best[start:end][better] = score[better]
    return owner


def _top(scores: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-scores, kind="stable")[:count]
    return order[np.isfinite(scores[order])]


def _first_visible(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _last_visible(text: str, end: int) -> int:
    while end > 0 and text[end - 1].isspace():
        end -= 1
    return end


def _positions(feature: Features) -> tuple[np.ndarray, np.ndarray]:
    if feature.offsets is None or feature.best is None:
        raise TypeError("a span row without offsets. This is a bug.")
    return feature.offsets, feature.best
