"""RANDOM MEANINGS: what each family of tasks is about, drawn so that labels follow from content alone.

Each draw makes the things that a lazy model could use (length, word order, `never`, classes in place of kinds
of things, a changed verb) equally likely under every label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from numpy.random import Generator

from polystilts.data.micro.grammar import ROLES, Event, Meaning, Query, Scene, lexicon


@dataclass(frozen=True, slots=True)
class Nli:
    """Label 0 entailment, 1 neutral, 2 contradiction."""

    premise: Scene
    hypothesis: Scene
    label: int


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """Two sentences; label 1 when they say the same."""

    first: Scene
    second: Scene
    label: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of two events is the cause or the effect of the premise."""

    premise: Event
    choices: tuple[Event, Event]
    question: str
    label: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A question that scene number `target` of the context answers."""

    context: tuple[Scene, ...]
    query: Query
    target: int


def pick(rng: Generator, items: Sequence[str], but: Sequence[str] = ()) -> str:
    """One of `items` that is not in `but`."""
    left = [item for item in items if item not in but] if but else items
    return left[int(rng.integers(len(left)))]


@cache
def names(slot: str) -> tuple[str, ...]:
    """The concepts of a slot in the order of the lexicon."""
    return tuple(lexicon()[slot])


@cache
def kinds(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The objects that belong to one of `classes`."""
    return tuple(name for name, concept in lexicon()["object"].items() if concept.classes[0] in classes)


def scene(rng: Generator, but: Sequence[Scene] = (), verbs: Sequence[str] = (), time: float = 0.5) -> Scene:
    """A scene that shares no word with the scenes `but`; it names a time with probability `time`."""
    verb = pick(rng, verbs or names("verb"), [other.verb for other in but])
    objects = kinds(lexicon()["verb"][verb].classes)
    return front(
        rng,
        Scene(
            subject=pick(rng, names("person"), [other.subject for other in but]),
            verb=verb,
            object=pick(rng, objects, [other.object for other in but]),
            place=pick(rng, names("place"), [other.place for other in but]),
            time=pick(rng, names("time"), [other.time for other in but]) if rng.random() < time else "",
        ),
    )


def front(rng: Generator, given: Scene, but: Scene | None = None) -> Scene:
    """The same scene in a random legal word order, which is another one if `but` is this scene too."""
    slots = ["S"] + ["P"] * bool(given.place) + ["T"] * bool(given.time)
    twin = but is not None and replace(given, front=but.front) == but
    return replace(given, front=pick(rng, slots, [but.front] if but and twin and len(slots) > 1 else []))


def nli(rng: Generator) -> Nli:
    """A premise and a hypothesis about the same or a similar scene.

    Only verbs with an antonym take part; nobody in this world does a thing and its opposite to the same
    things in one place. Under every label one premise and one hypothesis in three say `never`, and a broader
    (under `never`: narrower) object and a left-out place are equally likely.
    """
    antonyms = {name: concept.link for name, concept in lexicon()["verb"].items() if concept.link}
    label = int(rng.integers(3))
    premise = scene(rng, verbs=list(antonyms))
    never, wide, drop = rng.random() < 1 / 3, rng.random() < 0.4, rng.random() < 0.3
    group = lexicon()["object"][premise.object].classes[0]
    said = replace(premise, time="")
    if never:  # what never happens to fruit never happens to apples
        premise = replace(said, never=True, object=group if wide else premise.object, category=wide)
        said = replace(said, never=True)
    else:
        said = replace(said, object=group if wide else said.object, category=wide, place="" if drop else said.place)
    if label == 2 and not never and rng.random() < 0.5:
        said = replace(said, verb=antonyms[said.verb])
    elif label == 2 or (label == 1 and rng.random() < (0.3 if never else 0.15)):
        said = replace(said, never=not said.never)
    if label == 1:
        said = changed(rng, said, list(antonyms))
    premise = front(rng, premise)
    return Nli(premise, front(rng, said, but=premise), label)


def changed(rng: Generator, given: Scene, verbs: Sequence[str]) -> Scene:
    """`given` with two slots filled anew; an object of another class, an unrelated verb out of `verbs`."""
    table = lexicon()
    group = table["category" if given.category else "object"][given.object].classes[0]
    classes = tuple(name for name in table["verb"][given.verb].classes if name != group)
    others = {
        "subject": names("person"),
        "verb": [
            verb for verb in verbs if group in table["verb"][verb].classes and verb != table["verb"][given.verb].link
        ],
        "object": classes if given.category else kinds(classes),
        "place": names("place") if given.place else [],
        "time": names("time") if given.time else [],
    }
    left = {slot: [name for name in others[slot] if name != getattr(given, slot)] for slot in others}
    slots = [slot for slot in left if left[slot]]
    one = pick(rng, slots)
    # A new verb may not go with a new object.
    two = pick(rng, slots, [one, *({"verb", "object"} if one in ("verb", "object") else ())])
    fresh: dict[str, Any] = {slot: pick(rng, left[slot]) for slot in (one, two)}
    return replace(given, **fresh)


def altered(rng: Generator, given: Scene) -> Scene:
    """`given` as it is, with `never` put in or left out, or with two slots filled anew; order kept."""
    kind = rng.random()
    if kind < 0.3:
        return given
    if kind < 0.5 and not given.time:
        return replace(given, never=not given.never)
    return changed(rng, given, names("verb"))


def paraphrase(rng: Generator) -> Paraphrase:
    """A sentence and itself in another order, or in a random order with two of its five slots filled anew."""
    first = scene(rng, time=1)
    label = int(rng.integers(2))
    second = first if label else changed(rng, first, names("verb"))
    return Paraphrase(first, front(rng, second, but=first), label)


def siblings(rng: Generator) -> tuple[tuple[Scene, Scene], ...]:
    """Four sentences of two clauses with the same words: only who does what, and where, differs."""
    a = scene(rng, time=0)
    b = scene(rng, but=[a], time=0)
    persons, places = (a.subject, b.subject), (a.place, b.place)
    return tuple(
        (front(rng, replace(a, subject=one, place=here)), front(rng, replace(b, subject=other, place=there)))
        for one, other in (persons, persons[::-1])
        for here, there in (places, places[::-1])
    )


def event(rng: Generator) -> Event:
    """A person in one of the states or actions that have a cause or an effect."""
    return Event(pick(rng, names("person")), pick(rng, names("cause") + names("effect")))


def choice(rng: Generator) -> Choice:
    """The true cause or effect against that of another pair; the same person throughout."""
    question = pick(rng, ["cause", "effect"])
    person, given = pick(rng, names("person")), pick(rng, names("effect" if question == "cause" else "cause"))
    right = lexicon()["effect" if question == "cause" else "cause"][given].link
    wrong = pick(rng, names(question), [right])
    label = int(rng.integers(2))
    choices = (Event(person, wrong), Event(person, right)) if label else (Event(person, right), Event(person, wrong))
    return Choice(Event(person, given), choices, question, label)


def reading(rng: Generator, scenes: int = 2) -> Reading:
    """A context of `scenes` scenes without common words and a question about one of them."""
    context: list[Scene] = []
    for _ in range(scenes):
        context.append(scene(rng, but=context, time=1))
    target = int(rng.integers(scenes))
    query = Query(context[target], pick(rng, list(ROLES)), int(rng.integers(2)))
    return Reading(tuple(context), query, target)


def never_or_always(rng: Generator) -> Scene:
    """A scene that in one of four cases never happens, and in one of eight is about a class of things."""
    given = scene(rng)
    if rng.random() < 0.125:
        given = replace(given, object=lexicon()["object"][given.object].classes[0], category=True)
    return front(rng, replace(given, never=True, time="")) if rng.random() < 0.25 else given


def tagging(rng: Generator) -> Meaning:
    """A sentence of any kind: a scene, an event or a question."""
    kind = rng.random()
    if kind < 0.5:
        return never_or_always(rng)
    return event(rng) if kind < 0.8 else reading(rng, 1).query


def naming(rng: Generator) -> tuple[Scene, ...]:
    """One or two scenes with full names and organisations; only what organisations do is told of both."""
    verbs = ["buys", "sells", "shows", "collects", "distributes", "orders", "chooses", "sends", "receives"]
    scenes: list[Scene] = []
    for _ in range(int(rng.integers(1, 3))):
        drawn = scene(rng, but=scenes, verbs=verbs, time=0.3)
        if rng.random() < 0.4:
            drawn = replace(drawn, subject=pick(rng, names("organisation"), [other.subject for other in scenes]))
        elif rng.random() < 0.5:
            drawn = replace(drawn, surname=pick(rng, names("surname")))
        scenes.append(drawn)
    return tuple(scenes)


DRAWS: dict[str, Callable[[Generator], Any]] = {
    "nli": nli,
    "paraphrase": paraphrase,
    "choice": choice,
    "reading": reading,
    "tagging": tagging,
    "naming": naming,
    "retrieval": siblings,
}
