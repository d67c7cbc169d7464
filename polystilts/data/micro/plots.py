"""RANDOM MEANINGS OF THE FURTHER TASKS: riddles, doubtful questions, faulty programs, entities and their mentions.

As in `draw.py`, labels follow from content alone. Nothing here reaches the text that the committed encoder was
pretrained on, so a change of this file leaves the encoder as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator

from polystilts.data.micro import draw
from polystilts.data.micro.draw import Reading, kinds, names, pick
from polystilts.data.micro.grammar import LANGUAGES, Event, Query, Scene, lexicon

#: Slots of a scene that a question about one of them names in every language.
NAMED = {
    "who": ("verb", "object", "place"),
    "what": ("subject", "verb", "place"),
    "where": ("subject", "verb", "object"),
    "when": ("subject", "verb", "object"),
}


#: What organisations do: the verbs of `draw.naming`.
TRADE = ("buys", "sells", "shows", "collects", "distributes", "orders", "chooses", "sends", "receives")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two questions; label 1 when they ask the same."""

    first: Query
    second: Query
    label: int


@dataclass(frozen=True, slots=True)
class Riddle:
    """Which of `choices` is the cause or the effect of what happens in `story`; None = none of the others."""

    story: tuple[Event, ...]
    question: str
    choices: tuple[Event | None, ...]
    label: int


@dataclass(frozen=True, slots=True)
class Quiz:
    """A question about the object of a scene and objects, of which the verb goes with one only."""

    query: Query
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Two calls; label 1 when an object is given to a verb that does not go with it."""

    calls: tuple[Scene, Scene]
    label: int


@dataclass(frozen=True, slots=True)
class Entity:
    """A person with a surname, an organisation or a place, and the scene, opened by its name, that describes it.

    `role`: the entity's in the scene, subject or place; `language`: of its description among the candidates.
    """

    id: str
    fact: Scene
    role: str
    language: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A scene that names an entity; a person's surname may be left out if the rest of the scene tells."""

    entity: Entity
    scene: Scene


def duplicate(rng: Generator) -> Duplicate:
    """A question and itself in another order, or in that order with two slots of its scene filled anew."""
    given = draw.scene(rng, time=0)
    about, variant, label = pick(rng, ["who", "what"]), int(rng.integers(2)), int(rng.integers(2))
    other = given if label else draw.changed(rng, given, names("verb"))
    return Duplicate(Query(given, about, variant), Query(other, about, 1 - variant), label)


def doubt(rng: Generator) -> Reading:
    """A context and a question, in one of three cases about what no scene of it tells (target -1).

    Half of those questions mix the two scenes of the context, so that every word stands there.
    """
    given = draw.reading(rng)
    scene, about = given.query.scene, given.query.about
    if rng.random() >= 1 / 3:
        return given
    if rng.random() < 0.5:
        slot = "place" if about == "who" else "subject"
        false = replace(scene, **{slot: getattr(given.context[1 - given.target], slot)})
    else:
        false = scene
        while all(getattr(false, slot) == getattr(scene, slot) for slot in NAMED[about]):
            false = draw.changed(rng, scene, names("verb"))
    return Reading(given.context, replace(given.query, scene=false), -1)


def ending(rng: Generator) -> Riddle:
    """A cause and four effects on the same person."""
    return _same_person(rng, "effect", 4)


def motive(rng: Generator) -> Riddle:
    """A cause or an effect and three events of the other kind, of the same person."""
    return _same_person(rng, pick(rng, ["cause", "effect"]), 3)


def _same_person(rng: Generator, question: str, size: int) -> Riddle:
    person = pick(rng, names("person"))
    given = pick(rng, names(_other(question)))
    right = _partner(given, question)
    choices = _some(rng, names(question), size - 1, [right])
    label = int(rng.integers(size))
    choices.insert(label, right)
    return Riddle((Event(person, given),), question, tuple(Event(person, name) for name in choices), label)


def story(rng: Generator) -> Riddle:
    """Two persons' causes or effects, and four choices that mix persons and partners; most often one is 'none'."""
    question = pick(rng, ["cause", "effect"])
    persons = _some(rng, names("person"), 2)
    given = _some(rng, names(_other(question)), 2)
    partners = [_partner(name, question) for name in given]
    asked = int(rng.integers(2))
    right: Event | None = Event(persons[asked], partners[asked])
    strange = Event(persons[int(rng.integers(2))], pick(rng, names(question), partners))
    wrong: list[Event | None] = [Event(persons[0], partners[1]), Event(persons[1], partners[0]), strange]
    kind = rng.random()
    if kind < 0.2:
        right = None
    elif kind < 0.8:
        wrong[int(rng.integers(3))] = None
    choices = [wrong[int(place)] for place in rng.permutation(3)]
    label = int(rng.integers(4))
    choices.insert(label, right)
    told = tuple(Event(person, name) for person, name in zip(persons, given, strict=True))
    return Riddle(told, question, tuple(choices), label)


def quiz(rng: Generator) -> Quiz:
    """Five objects, of which one belongs to the classes of the verb."""
    verbs = [name for name, concept in lexicon()["verb"].items() if len(concept.classes) <= 3]
    scene = draw.scene(rng, verbs=verbs, time=0)
    classes = lexicon()["verb"][scene.verb].classes
    strange = kinds(tuple(name for name in names("category") if name not in classes))
    choices = _some(rng, strange, 4)
    label = int(rng.integers(5))
    choices.insert(label, scene.object)
    return Quiz(Query(scene, "what", int(rng.integers(2))), tuple(choices), label)


def fault(rng: Generator) -> Fault:
    """Two calls that go wrong when their objects change places, and in one of two cases they have."""
    while True:
        one = draw.scene(rng, time=0)
        two = draw.scene(rng, but=[one], time=0)
        if not (_fits(one.verb, two.object) and _fits(two.verb, one.object)):
            break
    label = int(rng.integers(2))
    if label:
        one, two = replace(one, object=two.object), replace(two, object=one.object)
    return Fault((one, two), label)


def program(rng: Generator) -> Scene:
    """What a function does."""
    return draw.scene(rng, time=1)


def syntax(rng: Generator) -> tuple[Scene | Event, ...]:
    """Two statements for one sentence, or a scene of somebody with a surname: sentences that UD-POS does not have."""
    if rng.random() < 0.25:
        return (replace(draw.never_or_always(rng), surname=pick(rng, names("surname"))),)
    return tuple(draw.event(rng) if rng.random() < 0.4 else draw.never_or_always(rng) for _ in range(2))


@cache
def entities() -> tuple[Entity, ...]:
    """Every person with every surname, the organisations and the places; the same in every draw of the world."""
    rng = np.random.default_rng(0)
    persons = [("subject", person, surname) for person in names("person") for surname in names("surname")]
    rest = [(role, name, "") for role in ("organisation", "place") for name in names(role)]
    found = []
    for number, (role, name, surname) in enumerate([*persons, *rest]):
        fact = draw.scene(rng, verbs=TRADE if role == "organisation" else (), time=0)
        if role == "place":
            fact = replace(fact, place=name, surname=pick(rng, names("surname")), front="P")
        else:
            fact = replace(fact, subject=name, surname=surname, front="S")
        found.append(
            Entity(f"Q{number + 1}", fact, "place" if role == "place" else "subject", pick(rng, list(LANGUAGES)))
        )
    return tuple(found)


def pairing(rng: Generator) -> Mention:
    """A mention to train on: of every other entity."""
    return _mention(rng, entities()[::2])


def linking(rng: Generator) -> Mention:
    """A mention to evaluate on: of the entities that are not trained on."""
    return _mention(rng, entities()[1::2])


def _mention(rng: Generator, there: Sequence[Entity]) -> Mention:
    entity = there[int(rng.integers(len(there)))]
    fact = entity.fact
    scene = draw.scene(rng, but=[fact], verbs=TRADE if fact.subject in names("organisation") else ())
    if entity.role == "place":
        scene = replace(scene, place=fact.place)
    elif fact.surname and rng.random() < 0.5:
        scene = draw.front(rng, replace(fact, surname="", time=scene.time))
    else:
        scene = replace(scene, subject=fact.subject, surname=fact.surname)
    return Mention(entity, scene)


def _other(question: str) -> str:
    return "effect" if question == "cause" else "cause"


def _partner(name: str, question: str) -> str:
    """The cause of an effect, the effect of a cause: the one of kind `question`."""
    return lexicon()[_other(question)][name].link


def _some(rng: Generator, items: Sequence[str], size: int, but: Sequence[str] = ()) -> list[str]:
    found: list[str] = []
    for _ in range(size):
        found.append(pick(rng, items, [*but, *found]))
    return found


def _fits(verb: str, thing: str) -> bool:
    table = lexicon()
    return table["object"][thing].classes[0] in table["verb"][verb].classes


DRAWS: dict[str, Callable[[Generator], Any]] = {
    "duplicate": duplicate,
    "doubt": doubt,
    "ending": ending,
    "motive": motive,
    "story": story,
    "quiz": quiz,
    "fault": fault,
    "program": program,
    "syntax": syntax,
    "mining": draw.siblings,
    "pairing": pairing,
    "linking": linking,
}
