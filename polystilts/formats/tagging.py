"""tagging: one tag a word (part of speech, entities)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polystilts.errors import InvalidValue
from polystilts.formats.pair import softmax
from polystilts.formats.tokenizer import SINGLE_EXTRA, Pieces
from polystilts.formats.values import (
    Features,
    FormatSettings,
    Outputs,
    Rejected,
    TaggingExample,
    TaggingPrediction,
)

#: Target of every piece that carries no tag; torch's cross entropy leaves it out.
IGNORED = -100


class TaggingFormat:
    """`<s> pieces </s>`; the first sub-word of a word carries its tag, long sentences are split, never truncated.

    Source: XTREME's tagging preprocessing splits, jiant's truncates and loses tags.
    """

    grouped = False

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings

    def encode(self, examples: Sequence[TaggingExample]) -> list[list[Features] | Rejected]:
        rows: list[list[Features] | Rejected] = []
        for example, encoding in zip(examples, self.pieces.encode_words([e.tokens for e in examples]), strict=True):
            if not example.tokens:
                rows.append(Rejected(InvalidValue("tokens is empty", param="tokens", limit=1, given=0)))
                continue
            words: list[list[int]] = [[] for _ in example.tokens]
            for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:
                    words[word].append(piece)
            rows.append(self._rows([word or [self.pieces.unk] for word in words]))
        return rows

    def _rows(self, words: list[list[int]]) -> list[Features]:
        room = self.settings.max_length - SINGLE_EXTRA
        features, ids, word_ids = [], list[int](), list[int]()

        def close() -> None:
            marks = np.array([-1, *word_ids, -1], dtype=np.int32)
            features.append(Features(self.pieces.single(ids), word_ids=marks))

        for index, word in enumerate(words):
            kept = word[:room]  # one word longer than a whole row keeps its first pieces
            if ids and len(ids) + len(kept) > room:
                close()
                ids, word_ids = [], []
            ids += kept
            word_ids += [index] + [-1] * (len(kept) - 1)
        close()
        return features

    def decode(
        self, example: TaggingExample, features: Sequence[Features], outputs: Sequence[Outputs]
    ) -> TaggingPrediction:
        tags, probabilities = [], []
        for feature, output in zip(features, outputs, strict=True):
            rows = softmax(output["logits"][_marks(feature) >= 0])
            best = rows.argmax(axis=-1)
            tags += [self.settings.labels[i] for i in best]
            probabilities += rows.max(axis=-1).tolist()
        return TaggingPrediction(tuple(tags), tuple(probabilities))

    def targets(self, example: TaggingExample, features: Sequence[Features]) -> list[np.ndarray]:
        """int64 [n] per row: index of the tag at first sub-words, IGNORED elsewhere."""
        index = {label: i for i, label in enumerate(self.settings.labels)}
        gold = np.array([index[tag] for tag in example.tags or ()], dtype=np.int64)
        return [np.where(_marks(f) >= 0, gold[np.maximum(_marks(f), 0)], IGNORED) for f in features]


def _marks(feature: Features) -> np.ndarray:
    if feature.word_ids is None:
        raise TypeError("a tagging row without word_ids. This is a bug.")
    return feature.word_ids
