"""One mistake in one word: every way a kind of noise can change it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from types import MappingProxyType

from polystilts.data.noise import hangul, tables
from polystilts.data.noise.keyboards import neighbours

#: Longest word that is changed, in code points: longer ones are addresses and encoded data.
LONGEST = 40

#: Characters that belong to the one before although they are no marks: joiners, and the Thai and Lao am, which
#: compatibility normalisation takes apart into a mark and a vowel.
_EXTENDING = frozenset("\u200c\u200d\u0e33\u0eb3")


def extends(character: str) -> bool:
    """Whether a character belongs to the one before: a mark, a joiner, a conjoining vowel or final of Hangul."""
    return (
        character in _EXTENDING
        or unicodedata.category(character).startswith("M")
        or "\u1160" <= character <= "\u11ff"
        or "\ud7b0" <= character <= "\ud7ff"
    )


def clusters(text: str) -> list[str]:
    """A text cut before every character that does not extend the one before."""
    cuts = [0, *(place for place, c in enumerate(text) if place and not extends(c)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if end]


def has_letter(text: str) -> bool:
    """Whether there is a letter in a text; without one it is no word, and is never changed."""
    return any(map(_is_letter, text))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L")


@dataclass(frozen=True, slots=True)
class _Word:
    """A word with what it is typed of: Hangul syllables are keys, everything else is itself."""

    text: str
    language: str
    variant: str
    typed: str
    by_keys: bool

    def units(self) -> list[str]:
        return list(self.typed) if self.by_keys else clusters(self.typed)

    def joined(self, units: list[str] | str) -> str:
        text = "".join(units)
        return hangul.compose(text) if self.by_keys else text


def _word(text: str, language: str, variant: str) -> _Word:
    typed = hangul.keys(text)
    by_keys = typed != text and hangul.compose(typed) == text
    return _Word(text, language, variant, typed if by_keys else text, by_keys)


def _swap(word: _Word) -> Iterator[str]:
    units = word.units()
    for i in range(len(units) - 1):
        if _is_letter(units[i][0]) and _is_letter(units[i + 1][0]):
            yield word.joined([*units[:i], units[i + 1], units[i], *units[i + 2 :]])


def _drop(word: _Word) -> Iterator[str]:
    units = word.units()
    for i, unit in enumerate(units):
        if _is_letter(unit[0]):
            yield word.joined([*units[:i], *units[i + 1 :]])


def _double(word: _Word) -> Iterator[str]:
    units = word.units()
    for i, unit in enumerate(units):
        if _is_letter(unit[0]):
            yield word.joined([*units[:i], unit[0], *units[i:]])


Substitutes = Callable[[str, _Word], tuple[str, ...]]


def _substitute(others: Substitutes, word: _Word) -> Iterator[str]:
    """Every character of a word replaced by each that stands for it."""
    for i, character in enumerate(word.typed):
        for other in others(character, word):
            # A letter stays a letter and a mark a mark, so that no mark loses what it stands on.
            if not other or extends(other) == extends(character):
                yield word.joined(word.typed[:i] + other + word.typed[i + 1 :])


def _cased(table: Mapping[str, tuple[str, ...]], character: str, language: str) -> tuple[str, ...]:
    if character in table:
        return table[character]
    small = tables.lower(character, language)
    return tuple(tables.upper(c, language) for c in table.get(small, ())) if small != character else ()


def _neighbours(character: str, word: _Word) -> tuple[str, ...]:
    return _cased(neighbours(word.language), character, word.language)


def _homophone(word: _Word) -> Iterator[str]:
    yield from tables.words(word.variant).get(word.text, ())
    yield from _substitute(lambda c, w: tables.homophones(w.variant).get(c, ()), word)


_KINDS: Mapping[str, Callable[[_Word], Iterator[str]]] = MappingProxyType(
    {
        "neighbour": partial(_substitute, _neighbours),
        "swap": _swap,
        "drop": _drop,
        "double": _double,
        "no-mark": partial(_substitute, lambda c, word: tables.bare(c)),
        "wrong-mark": partial(_substitute, lambda c, word: tables.marks(word.language).get(c, ())),
        "homoglyph": partial(_substitute, lambda c, word: tables.homoglyphs().get(c, ())),
        "homophone": _homophone,
        "shape": partial(_substitute, lambda c, word: tables.shapes(word.variant).get(c, ())),
    }
)

#: The names of the kinds, in the order in which they are described.
KINDS = tuple(_KINDS)


@lru_cache(maxsize=20_000)
def candidates(kind: str, text: str, language: str, variant: str = "") -> tuple[str, ...]:
    """Every word that one mistake of a kind makes of a word, without repeats and in a fixed order.

    A candidate is never empty and has a letter, begins with no mark and holds no white space that the word does not,
    is NFC where the word is, and differs from the word also after NFKC, which tokenizers apply.

    Args:
        kind: one of `KINDS`.
        text: the word; one without a letter, longer than `LONGEST`, or that begins with a mark has no candidates.
        language: code, chooses the layout and the tables.
        variant: `tables.variant_of` the text that the word stands in; the language where empty.
    """
    if not can_change(text):
        return ()
    word = _word(text, language, variant or language)
    seen = normal(text)
    compose = unicodedata.is_normalized("NFC", text)
    made = (unicodedata.normalize("NFC", c) if compose else c for c in _KINDS[kind](word))
    return tuple(dict.fromkeys(c for c in made if has_letter(c) and not extends(c[0]) and normal(c) != seen))


def can_change(text: str) -> bool:
    """Whether a word is one that noise may change."""
    return len(text) <= LONGEST and has_letter(text) and not extends(text[0])


def normal(text: str) -> str:
    """A text as a tokenizer sees it."""
    return unicodedata.normalize("NFKC", text)
