"""sentence: one vector a text, to find texts that belong together (bitext, code search, passages, entities)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polystilts.formats.tokenizer import SINGLE_EXTRA, Pieces
from polystilts.formats.values import (
    Features,
    FormatSettings,
    Outputs,
    Rejected,
    SentenceExample,
    SentencePair,
    SentencePrediction,
)


class SentenceFormat:
    """`<s> text </s>`, the rest of a long text is cut off.

    With pooling 'mean' special tokens are part of the mean (XTREME's Tatoeba script) and nothing is trained. With
    'pooler' a dual encoder is trained on pairs of two rows, query and candidate (`grouped`), and query-side texts
    have a length limit of their own (LAReQA in XTREME-R: question 96, answer 256 pieces).
    """

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings
        self.grouped = settings.pooling == "pooler"

    def encode(self, examples: Sequence[SentenceExample | SentencePair]) -> list[list[Features] | Rejected]:
        """One row a text; a pair gives two, the query first."""
        texts = [
            [(e.query, True), (e.candidate, False)] if isinstance(e, SentencePair) else [(e.text, e.query)]
            for e in examples
        ]
        encodings = iter(self.pieces.encode([text for group in texts for text, _ in group]))
        return [
            [Features(self.pieces.single(next(encodings).ids[: self._room(query)])) for _, query in group]
            for group in texts
        ]

    def _room(self, query: bool) -> int:
        limit = self.settings.max_length
        if query and self.settings.pooling == "pooler":
            limit = min(limit, self.settings.max_question_length)
        return limit - SINGLE_EXTRA

    def decode(
        self, example: SentenceExample, features: Sequence[Features], outputs: Sequence[Outputs]
    ) -> SentencePrediction:
        return SentencePrediction(outputs[0]["embeddings"])

    def targets(self, example: SentencePair, features: Sequence[Features]) -> list[np.ndarray]:
        """int64 [] per row: 1 for the query, 0 for the candidate."""
        return [np.array(i == 0, dtype=np.int64) for i in range(len(features))]


def retrieval_layer(depth: int) -> int:
    """The hidden state used for retrieval when none is chosen: 14 of 24, 8 of 12 layers, else round(0.6 depth).

    Source: XTREME's ``run_tatoeba.sh`` read by its own layer counting, and jiant's `retrieval_layer`.
    """
    return {24: 14, 12: 8}.get(depth, round(0.6 * depth))
