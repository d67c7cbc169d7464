"""TEXT TO PRETRAIN ON: short documents, pairs of translations, and words that mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from numpy.random import Generator

from polystilts.data.micro import draw
from polystilts.data.micro.grammar import (
    LANGUAGES,
    Meaning,
    Query,
    Word,
    answer,
    capitalise,
    lexicon,
    say,
    words,
    write,
)

PROMPTS = {"cause": "What was the cause?", "effect": "What was the effect?"}
OPENING = ("place", "time", "word")  # slots whose first word can open a sentence
KINDS = ("scenes", "reason", "restatement", "reading")


def document(rng: Generator, language: str) -> tuple[str, str]:
    """Sentences of one language that belong together, in two parts; the second may be empty."""
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "reason":
        choice = draw.choice(rng)
        right = choice.choices[choice.label]
        return f"{say(choice.premise, language)} {PROMPTS[choice.question]}", say(right, language)
    if kind == "restatement":
        return _restatement(rng, language)
    given = draw.reading(rng, int(rng.integers(1, 4)))
    context = together(given.context, language)
    if kind == "scenes":
        return context, ""
    return _answered(given.query, language), context


def translation(rng: Generator, first: str, second: str) -> tuple[str, str]:
    """The same one or two sentences in two languages."""
    meanings = [draw.tagging(rng) for _ in range(int(rng.integers(1, 3)))]
    return together(meanings, first), together(meanings, second)


def sentence_pair(rng: Generator, first: str, second: str) -> tuple[str, str]:
    """One sentence in two languages."""
    meaning = draw.tagging(rng)
    return say(meaning, first), say(meaning, second)


def altered(rng: Generator, first: str, second: str) -> tuple[str, str, str]:
    """A text in language `first`; in `second` the same with up to two words changed; its true translation.

    The texts are contexts with a question and its answer, or scenes retold. Causes with wrong effects are left
    out: they would show what XCOPA asks in every language, and its scores would be no zero-shot scores.
    """
    if rng.random() < 0.5:
        given = draw.reading(rng, int(rng.integers(1, 3)))
        false = replace(given.query, scene=draw.altered(rng, given.query.scene))
        return together(given.context, first), _answered(false, second), _answered(given.query, second)
    scene = draw.never_or_always(rng)
    true = draw.front(rng, scene)
    return say(scene, first), say(draw.altered(rng, true), second), say(true, second)


def together(meanings: Sequence[Meaning], language: str) -> str:
    """Sentences one after the other."""
    return ("" if language == "zh" else " ").join(say(meaning, language) for meaning in meanings)


def _answered(query: Query, language: str) -> str:
    sentence = words(query.scene, language)
    start, stop = answer(query, language, sentence)
    return f"{say(query, language)} {write(sentence[start:stop], language)[0]}"


def _restatement(rng: Generator, language: str) -> tuple[str, str]:
    premise = draw.never_or_always(rng)
    said = replace(premise, time="")
    if not premise.never and not premise.category:
        said = replace(said, object=lexicon()["object"][premise.object].classes[0], category=True)
    return say(premise, language), say(draw.front(rng, said), language)


def glossary() -> list[dict[str, str]]:
    """Forms that say the same: language -> one or more words, separated by spaces.

    From each row and variant of the lexicon: the words of each part of speech (`in`, `Paris`), each also with
    a capital where it can open a sentence; and whole predicates without auxiliaries, because `hungry` is a
    noun elsewhere.
    """
    entries: dict[tuple[tuple[str, str], ...], None] = {}

    def add(entry: dict[str, str]) -> None:
        if len(entry) > 1:
            entries.setdefault(tuple(entry.items()))

    for slot, concepts in lexicon().items():
        for concept in concepts.values():
            variants = max(len(forms) for forms in concept.forms.values())
            for gender in "mfo"[:variants]:
                forms = {language: concept.form(language, gender) for language in LANGUAGES}
                for tag in dict.fromkeys(word.tag for form in forms.values() for word in form):
                    entry = {language: _of(form, tag) for language, form in forms.items() if _of(form, tag)}
                    add(entry)
                    if slot in OPENING:
                        add({language: text[0].upper() + text[1:] for language, text in entry.items()})
                if slot in ("cause", "effect") or concept.name == "never":
                    add(
                        {language: " ".join(w.text for w in form if w.tag != "AUX") for language, form in forms.items()}
                    )
    return [dict(entry) for entry in entries]


def _of(form: Sequence[Word], tag: str) -> str:
    return " ".join(word.text for word in form if word.tag == tag)


def vocabulary() -> list[tuple[str, bool]]:
    """Every word of the texts, and whether a space comes before it (False: zh, written without)."""
    seen: dict[tuple[str, bool], None] = {}
    for slot, concepts in lexicon().items():
        for concept in concepts.values():
            for language, forms in concept.forms.items():
                for form in forms:
                    capital = capitalise(form)[:1] if slot in OPENING and form else []
                    for word in (*form, *capital):
                        seen.setdefault((word.text, language != "zh" or word.tag == "PUNCT"))
    for prompt in PROMPTS.values():
        seen.update(dict.fromkeys((word, True) for word in prompt.rstrip("?").split()))
    return list(seen)
