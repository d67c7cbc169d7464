"""FROM MEANINGS TO SENTENCES: the lexicon table, the legal word orders, and how words are written as text.

A meaning is language-free (`Scene`, `Event`, `Query`); `Grammar.words` says it in one language as a list of
`Word`; `write` joins words into text with character offsets. Word forms come from `lexicon.tsv`; nothing here
builds one, except that the first word of a sentence gets its capital letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

LANGUAGES: tuple[str, ...] = ("en", "de", "es", "ru", "sw", "tr", "zh", "hi")
LEXICON = Path(__file__).with_name("lexicon.tsv")


class Word(NamedTuple):
    """A word form with its universal part of speech and the slot of the sentence it fills."""

    text: str
    tag: str
    role: str
    head: bool = True  # False for the words around a role's name: the `in` of `in Paris`


@dataclass(frozen=True, slots=True)
class Concept:
    """One row of the lexicon: `forms[language]` holds a cell's variants (a man, a woman, an organisation)."""

    slot: str
    name: str
    classes: tuple[str, ...]
    link: str
    forms: Mapping[str, tuple[tuple[Word, ...], ...]]

    def form(self, language: str, gender: str = "m") -> tuple[Word, ...]:
        """The words of this concept after a subject of `gender` (m, f or o)."""
        variants = self.forms[language]
        return variants[min("mfo".index(gender), len(variants) - 1)]


@dataclass(frozen=True, slots=True)
class Scene:
    """Somebody does something to things, somewhere, each so often; or never does it.

    `front` is the slot that opens the sentence: S (subject), P (place) or T (time). `category` marks an
    object that is a class of things (fruit) and not a kind of thing (apples).
    """

    subject: str
    verb: str
    object: str
    place: str = ""
    time: str = ""
    never: bool = False
    front: str = "S"
    category: bool = False
    surname: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A person is in a state or does something that has a cause or an effect."""

    subject: str
    predicate: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question about one slot of a scene: who, what, where or when."""

    scene: Scene
    about: str
    variant: int = 0


Meaning = Scene | Event | Query

# Slots: S subject, V verb, O object, P place, T time, N never. Keyed by the slot in front.
STATEMENTS: dict[str, dict[str, str]] = {
    "en": {"S": "SNVOPT", "P": "PSNVOT", "T": "TSNVOP"},
    "de": {"S": "SVNTOP", "P": "PVSNTO", "T": "TVSNOP"},
    "es": {"S": "SNVOPT", "P": "PSNVOT", "T": "TSNVOP"},
    "ru": {"S": "STNVOP", "P": "PSTNVO", "T": "TSNVOP"},
    "sw": {"S": "SVNOPT", "P": "PSVNOT", "T": "TSVNOP"},
    "tr": {"S": "STPNOV", "P": "PSTNOV", "T": "TSPNOV"},
    "zh": {"S": "STPNVO", "P": "PSTNVO", "T": "TSPNVO"},
    "hi": {"S": "STPONV", "P": "PSTONV", "T": "TSPONV"},
}
# W is the question word. English asks as a quiz does, the question word in its place: the other order needs
# `does` and a bare verb.
QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {"who": ("WVOP", "PWVO"), "what": ("SVWP", "PSVW"), "where": ("SVOW",), "when": ("SVOW",)},
    "de": {"who": ("WVOP",), "what": ("WVSP",), "where": ("WVSO",), "when": ("WVSO",)},
    "es": {"who": ("WVOP",), "what": ("WVSP",), "where": ("WVSO",), "when": ("WVSO",)},
    "ru": {"who": ("WVOP",), "what": ("WVSP", "WSVP"), "where": ("WSVO",), "when": ("WSVO",)},
    "sw": {"who": ("WVOP",), "what": ("SVWP",), "where": ("SVOW",), "when": ("SVOW",)},
    "tr": {"who": ("PWOV",), "what": ("SPWV", "PSWV"), "where": ("SWOV",), "when": ("SWOV",)},
    "zh": {"who": ("WPVO", "PWVO"), "what": ("SPVW", "PSVW"), "where": ("SWVO",), "when": ("SWVO",)},
    "hi": {"who": ("PWOV",), "what": ("SPWV", "PSWV"), "where": ("SWOV",), "when": ("SWOV",)},
}
ROLES = {"who": "subject", "what": "object", "where": "place", "when": "time"}


@cache
def lexicon() -> dict[str, dict[str, Concept]]:
    """The committed table as slot -> name -> concept, in the order of the file."""
    lines = [line for line in LEXICON.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    header = lines[0].split("\t")
    table: dict[str, dict[str, Concept]] = {}
    for line in lines[1:]:
        row = dict(zip(header, line.split("\t"), strict=True))
        role = {
            "verb": "verb",
            "never": "verb",
            "category": "object",
            "organisation": "subject",
            "person": "subject",
        }
        forms = {
            language: tuple(
                _cell(variant, row["tag"], role.get(row["slot"], row["slot"])) for variant in row[language].split("|")
            )
            for language in LANGUAGES
        }
        classes = tuple(row["class"].split(",")) if row["class"] else ()
        concept = Concept(row["slot"], row["concept"], classes, row["link"], forms)
        table.setdefault(concept.slot, {})[concept.name] = concept
    return table


def _cell(text: str, tag: str, role: str) -> tuple[Word, ...]:
    parts = [part.partition("/") for part in text.split()]
    # A time is named by all its words (`every day`), other roles by the words that have the row's own tag.
    return tuple(Word(form, own or tag, role, role == "time" or (own or tag) == tag) for form, _, own in parts)


def gender(subject: str) -> str:
    """m or f for persons, o for organisations; the question word `who` counts as m."""
    if subject in lexicon()["organisation"]:
        return "o"
    person = lexicon()["person"].get(subject)
    return person.classes[0] if person else "m"


def words(meaning: Meaning, language: str) -> list[Word]:
    """The sentence that says `meaning` in `language`, with its final mark."""
    if isinstance(meaning, Query):
        return _question(meaning, language)
    return capitalise(clause(meaning, language)) + function("stop", language)


def clause(meaning: Scene | Event, language: str) -> list[Word]:
    """A statement without capital and final mark, so that clauses can be joined."""
    if isinstance(meaning, Event):
        predicate = _event(meaning.predicate).form(language, gender(meaning.subject))
        return [*lexicon()["person"][meaning.subject].form(language), *predicate]
    slots = _slots(meaning, language)
    return [word for slot in STATEMENTS[language][meaning.front] for word in slots[slot]]


def joined(first: Scene, second: Scene, language: str) -> list[Word]:
    """Two scenes in one sentence."""
    both = [*clause(first, language), *function("and", language), *clause(second, language)]
    return capitalise(both) + function("stop", language)


def function(name: str, language: str) -> list[Word]:
    """A function word or mark: never, and, who, what, where, when, stop, ask, open, joint."""
    return list(lexicon()["word"][name].form(language))


def capitalise(sentence: Sequence[Word]) -> list[Word]:
    """The same words with a capital at the start (a no-op in scripts without capitals)."""
    first, *rest = sentence
    return [first._replace(text=first.text[0].upper() + first.text[1:]), *rest]


def answer(query: Query, language: str, sentence: Sequence[Word]) -> tuple[int, int]:
    """The words `start:end` of the statement `sentence` that answer `query`."""
    role = ROLES[query.about]
    hits = [index for index, word in enumerate(sentence) if word.role == role and word.head]
    return hits[0], hits[-1] + 1


def write(sentence: Iterable[Word], language: str) -> tuple[str, list[tuple[int, int]]]:
    """Text of `sentence` and the characters `start:end` of each word; zh is written without spaces."""
    text, spans, glued = "", [], True
    for word in sentence:
        mark = word.tag == "PUNCT"
        if text and not glued and not (mark and word.text != "¿") and language != "zh":
            text += " "
        spans.append((len(text), len(text) + len(word.text)))
        text += word.text
        glued = word.text == "¿"
    return text, spans


def say(meaning: Meaning, language: str) -> str:
    """The text of one sentence."""
    return write(words(meaning, language), language)[0]


def _event(name: str) -> Concept:
    table = lexicon()
    return table["cause"].get(name) or table["effect"][name]


def _subject(scene: Scene, language: str) -> tuple[Word, ...]:
    table = lexicon()
    name = (table["person"].get(scene.subject) or table["organisation"][scene.subject]).form(language)
    if not scene.surname:
        return name
    joint = tuple(word._replace(role="subject", head=True) for word in function("joint", language))
    surname = table["surname"][scene.surname].form(language)
    return (*name, *joint, *(word._replace(role="subject") for word in surname))


def _slots(scene: Scene, language: str) -> dict[str, Sequence[Word]]:
    table = lexicon()
    verb = table["never" if scene.never else "verb"][scene.verb]
    return {
        "S": _subject(scene, language) if scene.subject else (),
        "V": verb.form(language, gender(scene.subject)),
        "O": table["category" if scene.category else "object"][scene.object].form(language) if scene.object else (),
        "P": table["place"][scene.place].form(language) if scene.place else (),
        "T": table["time"][scene.time].form(language) if scene.time else (),
        "N": function("never", language) if scene.never else (),
    }


def _question(query: Query, language: str) -> list[Word]:
    scene = query.scene
    slots = _slots(scene, language)
    if query.about == "who":  # nobody is named, so the verb takes the form that `who` governs
        slots["V"] = lexicon()["verb"][scene.verb].form(language)
    slots["W"] = function(query.about, language)
    orders = QUESTIONS[language][query.about]
    sentence = [word for slot in orders[query.variant % len(orders)] for word in slots[slot]]
    return [*function("open", language), *capitalise(sentence), *function("ask", language)]
