"""sentence: one vector a sentence, the masked mean of chosen hidden states (bitext retrieval, embeddings)."""

from __future__ import annotations

from collections.abc import Sequence

from polystilts.formats.tokenizer import SINGLE_EXTRA, Pieces
from polystilts.formats.values import (
    Features,
    FormatSettings,
    Outputs,
    Rejected,
    SentenceExample,
    SentencePrediction,
)


class SentenceFormat:
    """`<s> text </s>`, special tokens included in the mean (XTREME's Tatoeba script). Not trained: no targets."""

    grouped = False

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings

    def encode(self, examples: Sequence[SentenceExample]) -> list[list[Features] | Rejected]:
        room = self.settings.max_length - SINGLE_EXTRA
        encodings = self.pieces.encode([e.text for e in examples])
        return [[Features(self.pieces.single(encoding.ids[:room]))] for encoding in encodings]

    def decode(
        self, example: SentenceExample, features: Sequence[Features], outputs: Sequence[Outputs]
    ) -> SentencePrediction:
        return SentencePrediction(outputs[0]["embeddings"])


def retrieval_layer(depth: int) -> int:
    """The hidden state used for retrieval when none is chosen: 14 of 24, 8 of 12 layers, else round(0.6 depth).

    Source: XTREME's ``run_tatoeba.sh`` read by its own layer counting, and jiant's `retrieval_layer`.
    """
    return {24: 14, 12: 8}.get(depth, round(0.6 * depth))
