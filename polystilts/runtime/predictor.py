"""Format + tokenizer + backend = answers. Evaluation and serving use this one class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from polystilts.formats import Features, Format
from polystilts.formats.batching import collate, pack
from polystilts.formats.values import Outputs, Prediction, Rejected
from polystilts.runtime.backend import Backend

#: Examples whose features are held at once by `predict`; larger inputs go in pieces of this size.
CHUNK = 2048


class Predictor:
    """Three public steps, `encode`, `run` and `decode`; `predict` is the three.

    Args:
        max_tokens: padded tokens of one call of the backend (rows x longest row).
        round_to: rows are padded to a multiple of so many tokens; a GPU gains by shapes that come again.
    """

    def __init__(self, format_: Format, backend: Backend, *, max_tokens: int = 1024, round_to: int = 1) -> None:
        self.format = format_
        self.backend = backend
        self.max_tokens = max_tokens
        self.round_to = round_to
        self._per_token = format_.settings.format in ("tagging", "span")

    def encode(self, examples: Sequence[Any]) -> list[list[Features] | Rejected]:
        """Model rows of each example, or why it is refused."""
        return self.format.encode(examples)

    def run(self, features: Sequence[Features]) -> list[Outputs]:
        """Outputs of each row, in the order given; rows of like length share a call, padding is cut off again."""
        results: list[Outputs] = [{} for _ in features]
        for group in pack([len(f) for f in features], self.max_tokens):
            for index, outputs in zip(group, self.call([features[i] for i in group]), strict=True):
                results[index] = outputs
        return results

    def call(self, features: Sequence[Features]) -> list[Outputs]:
        """Outputs of each row by one call of the backend, however much padding that takes."""
        length = -(-max(map(len, features)) // self.round_to) * self.round_to
        outputs = self.backend.run(collate(features, self.format.pieces.pad, length=length))
        return [
            {
                name: (array[row, : len(feature)] if self._per_token else array[row]).copy()
                for name, array in outputs.items()
            }
            for row, feature in enumerate(features)
        ]

    def decode(self, example: Any, features: list[Features], outputs: list[Outputs]) -> Prediction:
        """The answer to one example."""
        return self.format.decode(example, features, outputs)

    def predict(
        self, examples: Sequence[Any], *, progress: Callable[[int], None] | None = None
    ) -> list[Prediction | Rejected]:
        """Answers in the order given; a refused example is `Rejected` in its place.

        Args:
            progress: called with the number of examples finished since the last call.
        """
        answers: list[Prediction | Rejected] = []
        for start in range(0, len(examples), CHUNK):
            chunk = examples[start : start + CHUNK]
            encoded = self.encode(chunk)
            outputs = iter(self.run([f for rows in encoded if not isinstance(rows, Rejected) for f in rows]))
            for example, rows in zip(chunk, encoded, strict=True):
                if isinstance(rows, Rejected):
                    answers.append(rows)
                else:
                    answers.append(self.decode(example, rows, [next(outputs) for _ in rows]))
            if progress:
                progress(len(chunk))
        return answers
