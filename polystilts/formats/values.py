"""The values that flow through the library: Example -> Features -> Outputs -> Prediction.

Plain Python and numpy only; every later layer agrees on these and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polystilts.errors import PolystiltsError

FORMATS = ("pair", "choice", "tagging", "span", "sentence")

#: What a model returns for one feature row, by output name (float32): ``logits`` [labels] (pair),
#: [1] (choice), [tokens, labels] (tagging); ``start`` and ``end`` [tokens] (span); ``embeddings``
#: [layers, hidden] (sentence).
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class PairExample:
    """Two texts and, where known, the name of their relation."""

    id: str
    language: str
    premise: str
    hypothesis: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A premise, a question about it ('' if the premise is the question) and the choices; `label` is an index."""

    id: str
    language: str
    premise: str
    question: str
    choices: tuple[str, ...]
    label: int | None = None


@dataclass(frozen=True, slots=True)
class TaggingExample:
    """Words and, where known, one tag a word."""

    id: str
    language: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer text and its start in the context, in code points."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class SpanExample:
    """A question and the context that may hold its answer; answers: () = there is none in it, None = unknown."""

    id: str
    language: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class SentenceExample:
    """One text to embed; `query`: it stands on the asking side, whose length has a limit of its own."""

    id: str
    language: str
    text: str
    query: bool = False


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two texts that belong together and are embedded apart: one asks, the other is to be found among all candidates.

    An English sentence and its translation (Tatoeba), a docstring and its code, a question and the sentence that
    answers it with its paragraph, a mention and its entity. `language` is the candidate's.
    """

    id: str
    language: str
    query: str
    candidate: str


@dataclass(frozen=True, slots=True)
class RetrievalItem:
    """A query or a candidate of a collection where the two are not aligned (BUCC, LAReQA, Mewsli-X).

    A candidate is relevant to a query if they share a key; several may be, in other languages too.
    """

    id: str
    language: str
    text: str
    query: bool
    keys: tuple[str, ...] = ()


Example = PairExample | ChoiceExample | TaggingExample | SpanExample | SentenceExample
Row = Example | SentencePair | RetrievalItem


@dataclass(slots=True)
class Features:
    """One row of model input with what decoding needs; all arrays have the row's true length n (no padding).

    Attributes:
        input_ids: int64 [n], special tokens included.
        word_ids: int32 [n] (tagging): index of the word whose first sub-word stands here, else -1.
        offsets: int32 [n, 2] (span): code-point range in the context; (-1, -1) outside the context.
        best: bool [n] (span): this window shows the token with the most context (SQuAD's rule).
    """

    input_ids: np.ndarray
    word_ids: np.ndarray | None = None
    offsets: np.ndarray | None = None
    best: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class PairPrediction:
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class ChoicePrediction:
    label: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TaggingPrediction:
    tags: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpanPrediction:
    """The best span: `text` is context[start:end]. `score` is its summed logits, `null_score` that of no answer."""

    text: str
    start: int
    end: int
    score: float
    null_score: float


@dataclass(frozen=True, slots=True)
class SentencePrediction:
    """float32 [layers, hidden]: the masked mean of the hidden states of each asked layer."""

    embeddings: np.ndarray


@dataclass(frozen=True, slots=True)
class Rejected:
    """Stands where a prediction would: this item was refused, its neighbours were not."""

    error: PolystiltsError


Prediction = PairPrediction | ChoicePrediction | TaggingPrediction | SpanPrediction | SentencePrediction


@dataclass(frozen=True)
class FormatSettings:
    """Everything encode and decode need beside the tokenizer; stored in checkpoints and bundles.

    Lengths are in pieces (sub-words). Span values are SQuAD's, as XTREME and jiant use them.

    Attributes:
        format: one of FORMATS.
        labels: in the order of the logits (pair, tagging).
        max_length: longest row, special tokens included.
        max_question_length: a longer question is cut (span); the longest row of the query side (sentence, pooler).
        doc_stride: pieces by which consecutive windows move (span).
        max_answer_length: longest answer (span).
        n_best: start and end candidates considered (span).
        question_texts: how a question is written behind the premise, by question (choice);
            a question that is not listed is appended as it stands.
        layers: hidden states to pool, 0 = embeddings (sentence, mean).
        pooling: 'mean' of hidden states over the pieces, specials included, or 'pooler': dense + tanh of `<s>`,
            what a dual encoder is trained with (sentence).
    """

    format: str
    labels: tuple[str, ...] = ()
    max_length: int = 128
    max_question_length: int = 64
    doc_stride: int = 128
    max_answer_length: int = 30
    n_best: int = 20
    question_texts: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    pooling: str = "mean"

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()} | {
            "question_texts": dict(self.question_texts)
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FormatSettings:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return cls(**values)
