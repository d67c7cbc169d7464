"""Raw text -> words with code-point offsets, for every language, by ICU's word boundaries.

ICU finds the script's own rules and dictionaries (Thai, Chinese, Japanese, …), so no language has to be
named. Its words are not a treebank's words; the loss against gold tokens is a figure of the benchmarks.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from icu4py import icu_version
from icu4py.breakers import WordBreaker

#: Name and version of what splits; another ICU may split another way.
SPLITTER = {"name": "icu", "version": icu_version}

#: Categories of characters that show nothing: controls and formats (zero-width, bidi marks).
_INVISIBLE = ("Cc", "Cf")


@dataclass(frozen=True, slots=True)
class Word:
    """`text` is the source's [start:end], in code points."""

    text: str
    start: int
    end: int


def split(text: str) -> list[Word]:
    """The words of a text in order, punctuation included; white space and invisible characters are none."""
    # ICU counts UTF-16 units: a character beyond U+FFFF has two.
    point_of = [point for point, character in enumerate(text) for _ in range(1 + (character > "\uffff"))]
    point_of.append(len(text))
    words = []
    for first, last in WordBreaker(text, "root").segments():
        start, end = point_of[first], point_of[last]
        if any(_visible(character) for character in text[start:end]):
            words.append(Word(text[start:end], start, end))
    return words


def _visible(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in _INVISIBLE
