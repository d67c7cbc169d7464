"""choice: which of several continuations or answers fits a premise (COPA, HellaSwag, Cosmos QA, …)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polystilts.errors import InvalidValue
from polystilts.formats.pair import softmax
from polystilts.formats.tokenizer import PAIR_EXTRA, Pieces
from polystilts.formats.values import (
    ChoiceExample,
    ChoicePrediction,
    Features,
    FormatSettings,
    Outputs,
    Rejected,
)


class ChoiceFormat:
    """`<s> premise question </s></s> choice </s>`, one row a choice; a long prompt keeps its end (jiant)."""

    grouped = True

    def __init__(self, pieces: Pieces, settings: FormatSettings) -> None:
        self.pieces, self.settings = pieces, settings

    def prompt(self, example: ChoiceExample) -> str:
        question = self.settings.question_texts.get(example.question, example.question)
        return f"{example.premise} {question}" if question else example.premise

    def encode(self, examples: Sequence[ChoiceExample]) -> list[list[Features] | Rejected]:
        texts = [text for e in examples for text in (self.prompt(e), *e.choices)]
        encodings = iter(self.pieces.encode(texts))
        rows: list[list[Features] | Rejected] = []
        for example in examples:
            prompt = next(encodings).ids
            choices = [next(encodings).ids for _ in example.choices]
            if len(choices) < 2:
                rows.append(
                    Rejected(
                        InvalidValue(
                            f"choices has {len(choices)} items; at least 2 are needed",
                            param="choices",
                            limit=2,
                            given=len(choices),
                        )
                    )
                )
                continue
            rows.append([Features(self._row(prompt, choice)) for choice in choices])
        return rows

    def _row(self, prompt: list[int], choice: list[int]) -> np.ndarray:
        room = self.settings.max_length - PAIR_EXTRA
        choice = choice[:room]
        kept = room - len(choice)
        return self.pieces.pair(prompt[-kept:] if kept else [], choice)

    def decode(
        self, example: ChoiceExample, features: Sequence[Features], outputs: Sequence[Outputs]
    ) -> ChoicePrediction:
        probabilities = softmax(np.array([float(o["logits"][0]) for o in outputs]))
        return ChoicePrediction(int(probabilities.argmax()), tuple(probabilities.tolist()))

    def targets(self, example: ChoiceExample, features: Sequence[Features]) -> list[np.ndarray]:
        """int64 [] per choice: 1 for the right one, else 0."""
        return [np.array(i == example.label, dtype=np.int64) for i in range(len(features))]
