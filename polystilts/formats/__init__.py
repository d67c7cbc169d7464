"""HOW text becomes arrays and arrays become answers: pair, choice, tagging, span, sentence."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from polystilts.errors import UnknownName
from polystilts.formats.choice import ChoiceFormat
from polystilts.formats.pair import PairFormat
from polystilts.formats.sentence import SentenceFormat
from polystilts.formats.span import SpanFormat
from polystilts.formats.tagging import TaggingFormat
from polystilts.formats.tokenizer import Pieces
from polystilts.formats.values import Features, FormatSettings, Outputs, Prediction, Rejected


class Format(Protocol):
    """The three verbs every format has; `grouped` formats score the rows of one example against each other."""

    grouped: bool
    pieces: Pieces
    settings: FormatSettings

    def encode(self, examples: Any) -> list[list[Features] | Rejected]:
        """The model rows of each example, or why there are none."""
        ...

    def decode(self, example: Any, features: Any, outputs: list[Outputs]) -> Prediction:
        """The answer to one example from the outputs of its rows, in order."""
        ...


class TrainableFormat(Format, Protocol):
    """A format with labels to train on."""

    def targets(self, example: Any, features: Any) -> list[np.ndarray]: ...


_CLASSES: dict[str, type[Any]] = {
    "pair": PairFormat,
    "choice": ChoiceFormat,
    "tagging": TaggingFormat,
    "span": SpanFormat,
    "sentence": SentenceFormat,
}


def make_format(pieces: Pieces, settings: FormatSettings) -> Any:
    """The format that `settings.format` names, as a `Format` (`TrainableFormat` for all but sentence).

    Raises:
        UnknownName: not one of the five.
    """
    if settings.format not in _CLASSES:
        raise UnknownName("format", settings.format, _CLASSES, param="format")
    return _CLASSES[settings.format](pieces, settings)


__all__ = ["Features", "Format", "FormatSettings", "Pieces", "TrainableFormat", "make_format"]
