"""pair: one label for two texts (NLI, paraphrase), or for one (defect detection)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polystilts.formats.tokenizer import PAIR_EXTRA, SINGLE_EXTRA, Pieces, cut_longest_first
from polystilts.formats.values import Features, FormatSettings, Outputs, PairExample, PairPrediction, Rejected


class PairFormat:
    """`<s> premise </s></s> hypothesis </s>`; the longer text is cut first (jiant's ClassificationHead tasks).

    A task of one text leaves the hypothesis empty: `<s> premise </s>`.
    """

    grouped = False

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings

    def encode(self, examples: Sequence[PairExample]) -> list[list[Features] | Rejected]:
        encodings = self.pieces.encode([text for e in examples for text in (e.premise, e.hypothesis)])
        rows: list[list[Features] | Rejected] = []
        for example, first, second in zip(examples, encodings[::2], encodings[1::2], strict=True):
            if not example.hypothesis:
                rows.append([Features(self.pieces.single(first.ids[: self.settings.max_length - SINGLE_EXTRA]))])
                continue
            room = self.settings.max_length - PAIR_EXTRA
            a, b = cut_longest_first(len(first.ids), len(second.ids), room)
            rows.append([Features(self.pieces.pair(first.ids[:a], second.ids[:b]))])
        return rows

    def decode(self, example: PairExample, features: Sequence[Features], outputs: Sequence[Outputs]) -> PairPrediction:
        probabilities = softmax(outputs[0]["logits"])
        named = dict(zip(self.settings.labels, probabilities.tolist(), strict=True))
        return PairPrediction(self.settings.labels[int(probabilities.argmax())], named)

    def targets(self, example: PairExample, features: Sequence[Features]) -> list[np.ndarray]:
        """int64 [] per row: index of the label."""
        return [np.array(self.settings.labels.index(str(example.label)), dtype=np.int64)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64 so that probabilities sum to one within rounding of the last printed digit."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
