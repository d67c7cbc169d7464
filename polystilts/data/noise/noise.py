"""Seeded typographical noise for every kind of example.

A word is changed with the chosen probability, by one mistake of one kind. Whether and how depends on nothing but
the settings' seed, the example's language and id, the field and the word's place: order and process do not matter, and
the words changed at a rate are changed in the same way at every higher one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise
from random import Random
from typing import TypeVar, cast

from icu4py.breakers import WordBreaker

from polystilts.data.noise import tables
from polystilts.data.noise.edits import KINDS, can_change, candidates, extends, has_letter
from polystilts.data.noise.keyboards import layout_neighbours, layout_of
from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    RetrievalItem,
    Row,
    SentenceExample,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks.languages import get_language

#: Kinds for an arm that is trained with noise, and those it is then tested on. They differ in what went wrong: the
#: first are slips of order, place and choice while typing; the second repeat a key, lose or mistake a mark, or look
#: alike. Every language has kinds of both.
TRAIN_KINDS = ("neighbour", "swap", "drop", "homophone")
HELD_OUT_KINDS = ("double", "no-mark", "wrong-mark", "homoglyph", "shape")

R = TypeVar("R", bound=Row)

#: Start and end of a part of a text, in code points.
Span = tuple[int, int]


@dataclass(frozen=True)
class NoiseSettings:
    """What noise to make.

    Attributes:
        rate: share of words to change, 0 to 1.
        kinds: of `KINDS`; a word is changed by one that can change it, each as likely as the others.
        seed: of all draws.
        in_answers: change words inside gold answers too; the gold moves with them.

    Raises:
        InvalidValue: a rate outside 0 to 1, or no kinds.
        UnknownName: a kind that is none of `KINDS`.
    """

    rate: float
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    in_answers: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0:
            message = f"rate must be from 0 to 1 (a share of words), not {self.rate}"
            raise InvalidValue(message, param="rate", limit=1, given=self.rate)
        if not self.kinds:
            raise InvalidValue("kinds must name at least one kind of noise", param="kinds", limit=1, given=0)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UnknownName("kind of noise", kind, KINDS, param="kinds")


@dataclass(frozen=True)
class Counts:
    """What noise did; add the counts of several examples.

    Attributes:
        words: words that may be changed: with a letter and outside protected answers.
        protected: words that stand in a gold answer, wholly or in part, and were left alone.
        drawn: words chosen by the rate.
        changed: words really changed; a drawn word that no kind applies to stays.
        characters: code points of the noised fields, white space aside.
        edits: Levenshtein distance in code points from the words to the changed words (a swap is 2).
        kinds: changed words by kind.
    """

    words: int = 0
    protected: int = 0
    drawn: int = 0
    changed: int = 0
    characters: int = 0
    edits: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        numbers = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return Counts(**numbers, kinds=Counter(self.kinds) + Counter(other.kinds))

    @property
    def word_rate(self) -> float:
        """Changed words as a share of `words`; 0 where there are none."""
        return self.changed / self.words if self.words else 0.0

    @property
    def character_rate(self) -> float:
        """Edits as a share of `characters`: the character error rate of the noised text; 0 where there are none."""
        return self.edits / self.characters if self.characters else 0.0


_NUMBERS = ("words", "protected", "drawn", "changed", "characters", "edits")


@dataclass(frozen=True)
class Coverage:
    """What noise can do in a language.

    Attributes:
        language: its code.
        script: as `polystilts.tasks.languages` has it.
        layout: name of the keyboard layout; None where there is none, and no 'neighbour' then.
        kinds: those of `KINDS` that apply to letters of this language.
    """

    language: str
    script: str
    layout: str | None
    kinds: tuple[str, ...]


def describe(language: str) -> Coverage:
    """Layout and kinds of a language.

    Raises:
        UnknownName: of a language that is not known.
    """
    script, layout = get_language(language).script, layout_of(language)
    letters = {*tables.marks(language), *tables.homophones(language), *tables.shapes(language)}
    if layout:
        letters |= layout_neighbours(layout).keys()
    applies = {
        "neighbour": layout is not None,
        "no-mark": any(tables.bare(letter) for letter in letters),
        "wrong-mark": bool(tables.marks(language)),
        "homoglyph": bool(letters & tables.homoglyphs().keys()),
        "homophone": bool(tables.homophones(language)),
        "shape": bool(tables.shapes(language)),
    }
    return Coverage(language, script, layout, tuple(kind for kind in KINDS if applies.get(kind, True)))


class Noise:
    """Makes examples with typing mistakes.

    Args:
        settings: which and how many.
    """

    def __init__(self, settings: NoiseSettings) -> None:
        self.settings = settings

    def apply(self, example: R, language: str) -> tuple[R, Counts]:
        """An example with noise, and what was done; the example itself where nothing was changed.

        Labels, tags, ids, the number of tokens and of choices stay. What is changed: both texts of a pair; premise,
        choices and question (not a question of one word, which names one: COPA's ``cause``); tokens, each by itself;
        question and context, where answers keep their text unless `in_answers`, and always their place; of retrieval
        the query's side alone.

        Args:
            example: any example.
            language: code of the language of the texts to change: the example's own, but the query's of a
                `SentencePair`, whose `language` is the candidate's.

        Raises:
            UnknownName: of a language that is not known.
        """
        get_language(language)
        fields = _Fields(self.settings, f"{self.settings.seed}\0{language}\0{example.id}", language)
        noised = cast(R, _noised(example, fields))
        return (noised if fields.counts.changed else example), fields.counts

    def apply_all(self, examples: Iterable[R], language: str) -> tuple[list[R], Counts]:
        """`apply` to each, with the sum of the counts."""
        done = [self.apply(example, language) for example in examples]
        return [example for example, _ in done], sum((counts for _, counts in done), Counts())


def _noised(example: Row, fields: _Fields) -> Row:
    match example:
        case PairExample():
            return replace(
                example,
                premise=fields.text("premise", example.premise),
                hypothesis=fields.text("hypothesis", example.hypothesis),
            )
        case ChoiceExample():
            named = len(_words(example.question)) < 2
            choices = (fields.text(f"choice{n}", choice) for n, choice in enumerate(example.choices, 1))
            return replace(
                example,
                premise=fields.text("premise", example.premise),
                question=example.question if named else fields.text("question", example.question),
                choices=tuple(choices),
            )
        case TaggingExample():
            return replace(example, tokens=fields.tokens("tokens", example.tokens))
        case SpanExample():
            question = fields.text("question", example.question)
            context, answers = fields.context("context", example.context, example.answers or ())
            return replace(
                example, question=question, context=context, answers=None if example.answers is None else answers
            )
        case SentencePair():
            return replace(example, query=fields.text("query", example.query))
        case SentenceExample() | RetrievalItem():
            return replace(example, text=fields.text("query", example.text)) if example.query else example


class _Fields:
    """Changes the fields of one example and counts."""

    def __init__(self, settings: NoiseSettings, key: str, language: str) -> None:
        self.counts = Counts()
        self._settings = settings
        self._key = key
        self._language = language

    def text(self, name: str, text: str) -> str:
        return self.context(name, text, ())[0]

    def context(self, name: str, text: str, answers: Sequence[Answer]) -> tuple[str, tuple[Answer, ...]]:
        """A text with noise, and answers in it where they stand now."""
        golds = [(answer.start, answer.start + len(answer.text)) for answer in answers]
        spans, protected = _parts(text, golds, self._settings.in_answers)
        variant = tables.variant_of(text, self._language)
        parts = [text[start:end] for start, end in spans]
        new = self._words(name, parts, [start for start, _ in spans], variant)
        self.counts += Counts(protected=protected, characters=_visible(text))
        pieces, shifts, last = [], [], 0
        for (start, end), part in zip(spans, new, strict=True):
            pieces += [text[last:start], part]
            last = end
            shifts.append((end, len(part) - (end - start)))
        noised = "".join([*pieces, text[last:]])
        places = [tuple(at + sum(by for end, by in shifts if end <= at) for at in gold) for gold in golds]
        return noised, tuple(Answer(noised[start:end], start) for start, end in places)

    def tokens(self, name: str, tokens: Sequence[str]) -> tuple[str, ...]:
        """Tokens with noise, each a word of its own."""
        variant = tables.variant_of("".join(tokens), self._language)
        places = [place for place, token in enumerate(tokens) if token and can_change(token)]
        new = dict(zip(places, self._words(name, [tokens[p] for p in places], places, variant), strict=True))
        self.counts += Counts(characters=sum(map(_visible, tokens)))
        return tuple(new.get(place, token) for place, token in enumerate(tokens))

    def _words(self, name: str, words: Sequence[str], places: Sequence[int], variant: str) -> list[str]:
        kinds: Counter[str] = Counter()
        drawn = edits = 0
        new = []
        for word, place in zip(words, places, strict=True):
            digest = blake2b(f"{self._key}\0{name}\0{place}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if int.from_bytes(digest[:8]) < self._settings.rate * 2**64:
                drawn += 1
                kind, changed = self._mistake(word, Random(int.from_bytes(digest[8:])), variant)
                if kind:
                    kinds[kind] += 1
                    edits += distance(word, changed)
                    word = changed
            new.append(word)
        self.counts += Counts(words=len(words), drawn=drawn, changed=kinds.total(), edits=edits, kinds=kinds)
        return new

    def _mistake(self, word: str, random: Random, variant: str) -> tuple[str, str]:
        """A kind that applies, each as likely, and one of its candidates; ('', word) if none does."""
        kinds = list(self._settings.kinds)
        random.shuffle(kinds)
        for kind in kinds:
            made = candidates(kind, word, self._language, variant)
            if made:
                return kind, random.choice(made)
        return "", word


def _parts(text: str, golds: Sequence[Span], in_answers: bool) -> tuple[list[Span], int]:
    """The parts of a text that may be changed, and how many words were left out for an answer.

    A word that an answer cuts (서울 in 서울에서) is left alone as a whole; with `in_answers` it is cut there, so that
    what stands in the answer and what does not change apart.
    """
    spans, protected = [], 0
    for start, end in _words(text):
        inside = [gold for gold in golds if gold[0] < end and gold[1] > start]
        if inside and not in_answers:
            protected += 1
            continue
        cuts = sorted({start, end, *(at for gold in inside for at in gold if start < at < end)})
        # A part that is followed by a mark would change what the mark stands on.
        spans += [
            (first, last)
            for first, last in pairwise(cuts)
            if can_change(text[first:last]) and not (last < len(text) and extends(text[last]))
        ]
    return spans, protected


def _words(text: str) -> list[Span]:
    """The words of a text that have a letter, by ICU, whose dictionaries know Thai, Chinese and Japanese."""
    # ICU counts UTF-16 units: a character beyond U+FFFF has two.
    point_of = [point for point, character in enumerate(text) for _ in range(1 + (character > "\uffff"))]
    point_of.append(len(text))
    spans = [(point_of[first], point_of[last]) for first, last in WordBreaker(text, "root").segments()]
    return [(start, end) for start, end in spans if has_letter(text[start:end])]


def _visible(text: str) -> int:
    return sum(not character.isspace() for character in text)


def distance(a: str, b: str) -> int:
    """Levenshtein distance in code points: characters inserted, left out and replaced."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]
