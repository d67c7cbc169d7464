"""The page of a version: what it is, where it came from, how good it is in each language, how it was compressed.

Pure functions of a `Card`: `description` for the registry, `markdown` and `html` for the whole. No store, no model.
"""

from __future__ import annotations

from polystilts.tracking.card.page import html
from polystilts.tracking.card.text import DESCRIPTION_LIMIT, description, markdown
from polystilts.tracking.card.values import (
    MICRO_NOTE,
    Card,
    DataLine,
    DecisionLine,
    GateLine,
    Interval,
    LanguageLine,
    PrecisionLine,
    Verdict,
)

__all__ = [
    "DESCRIPTION_LIMIT",
    "MICRO_NOTE",
    "Card",
    "DataLine",
    "DecisionLine",
    "GateLine",
    "Interval",
    "LanguageLine",
    "PrecisionLine",
    "Verdict",
    "description",
    "html",
    "markdown",
]
