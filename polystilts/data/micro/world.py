"""THE MICRO WORLD'S ROWS: a miniature of every task, shaped like the real data set, and text to pretrain on.

Rows are made in two steps. A family of tasks (`xnli` and its English training set `mnli`, say) draws
language-free meanings once, all different, and deals them out to the splits, so that training and evaluation
rows never share one and the rows of parallel sets agree across languages. Saying a meaning in a language is
`grammar.py`'s work.

Scores on these rows mean nothing about real languages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polystilts.data.micro import draw, text
from polystilts.data.micro.grammar import (
    LANGUAGES,
    LEXICON,
    Meaning,
    Scene,
    answer,
    joined,
    lexicon,
    say,
    words,
    write,
)

FOREIGN = LANGUAGES[1:]
POS_TAGS = [
    "ADJ",
    "ADP",
    "ADV",
    "AUX",
    "CCONJ",
    "DET",
    "INTJ",
    "NOUN",
    "NUM",
    "PART",
    "PRON",
    "PROPN",
    "PUNCT",
    "SCONJ",
    "SYM",
    "VERB",
    "X",
]
NER_TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]

Row = dict[str, Any]


class Block(NamedTuple):
    """One split of a data set: where its meanings lie in the pool of its family, and its languages."""

    family: str
    start: int
    stop: int
    languages: tuple[str, ...]


BLOCKS: Mapping[str, Mapping[str, Block]] = {
    "mnli": {"train": Block("nli", 0, 3000, ("en",)), "validation": Block("nli", 3000, 3250, ("en",))},
    "xnli": {"validation": Block("nli", 3250, 3500, LANGUAGES), "test": Block("nli", 3500, 3750, LANGUAGES)},
    "pawsx": {
        "train": Block("paraphrase", 0, 3000, ("en",)),
        "validation": Block("paraphrase", 3000, 3250, LANGUAGES),
        "test": Block("paraphrase", 3250, 3500, LANGUAGES),
    },
    "copa": {"train": Block("choice", 0, 1000, ("en",)), "validation": Block("choice", 1000, 1250, ("en",))},
    "xcopa": {
        "validation": Block("choice", 1250, 1500, FOREIGN),
        "test": Block("choice", 1500, 1750, FOREIGN),
    },
    "squad_v1": {
        "train": Block("reading", 0, 6000, ("en",)),
        "validation": Block("reading", 6000, 6600, ("en",)),
    },
    "xquad": {"validation": Block("reading", 6300, 6600, LANGUAGES)},
    "udpos": {
        "train": Block("tagging", 0, 3000, ("en",)),
        "validation": Block("tagging", 3000, 3250, LANGUAGES),
        "test": Block("tagging", 3250, 3500, LANGUAGES),
    },
    "panx": {
        "train": Block("naming", 0, 3000, ("en",)),
        "validation": Block("naming", 3000, 3250, LANGUAGES),
        "test": Block("naming", 3250, 3500, LANGUAGES),
    },
    "tatoeba": {"validation": Block("retrieval", 0, 300, FOREIGN)},
}


class MicroWorld:
    """Rows and pretraining text of the micro world.

    Args:
        seed: names one draw of the world; the same seed always gives the same rows.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._pools: dict[str, list[Any]] = {}

    def splits(self, name: str) -> dict[str, tuple[str, ...]]:
        """The splits of data set `name` with the languages of each."""
        return {split: block.languages for split, block in BLOCKS[name].items()}

    def rows(self, name: str, split: str, language: str) -> list[Row]:
        """The rows of one split in one language, with columns and label order of the Hugging Face data set.

        xnli, pawsx, xcopa, xquad, udpos and panx have the same meaning at the same index in every language.
        The English rows of xquad lie inside the validation split of squad_v1 with the same ids, as the real
        ones do.
        """
        block = BLOCKS[name][split]
        if language not in block.languages:
            raise KeyError(f"{name} {split} has no rows in {language}")
        # Tatoeba's English sides differ from language to language, so each language has a pool of its own.
        meanings = self._pool(f"{block.family}-{language}" if name == "tatoeba" else block.family)
        make = _ROWS[name]
        return [
            make(meanings[number], language, number - block.start, number) for number in range(block.start, block.stop)
        ]

    def document(self, rng: np.random.Generator, language: str) -> tuple[str, str]:
        """A short document in two parts (question and context, cause and effect); the second may be empty."""
        return text.document(rng, language)

    def translation(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str]:
        """One or two sentences in language `first`, and the same in language `second`."""
        return text.translation(rng, first, second)

    def sentence_pair(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str]:
        """One sentence in language `first`, and the same in language `second`."""
        return text.sentence_pair(rng, first, second)

    def altered(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str, str]:
        """A text in `first`; in `second` the same with up to two words changed; and its true translation."""
        return text.altered(rng, first, second)

    def documents(self, seed: int = 0) -> Iterator[str]:
        """An endless stream of texts, in turn a document of one language and a text with its translation."""
        rng = np.random.default_rng([self.seed, seed])
        while True:
            first, second = (str(language) for language in rng.choice(LANGUAGES, 2, replace=False))
            yield " ".join(filter(None, self.document(rng, first)))
            yield " ".join(self.translation(rng, first, second))

    def glossary(self) -> list[dict[str, str]]:
        """Word forms that say the same: language -> one or more words."""
        return text.glossary()

    def vocabulary(self) -> list[tuple[str, bool]]:
        """Every word of the texts, and whether a space comes before it (False: zh, written without)."""
        return text.vocabulary()

    def digest(self) -> str:
        """sha256 over everything rows and texts depend on: the lexicon, this package's code and the seed."""
        total = hashlib.sha256(str(self.seed).encode())
        for path in (LEXICON, *sorted(Path(__file__).parent.glob("*.py"))):
            total.update(path.read_bytes())
        return total.hexdigest()

    def _pool(self, name: str) -> list[Any]:
        if name not in self._pools:
            family = name.partition("-")[0]
            size = max(b.stop for blocks in BLOCKS.values() for b in blocks.values() if b.family == family)
            rng = np.random.default_rng([self.seed, *name.encode()])
            pool: dict[str, Any] = {}
            make = next(_ROWS[n] for n, blocks in BLOCKS.items() if any(b.family == family for b in blocks.values()))
            while len(pool) < size:  # distinct as English rows: two meanings may read the same
                meaning = draw.DRAWS[family](rng)
                pool.setdefault(str(make(meaning, "en", 0, 0)), meaning)
            # Sentences of the same words stand side by side, so that a bag of words finds no translation.
            self._pools[name] = [m for m in pool.values() for _ in m] if family == "retrieval" else list(pool.values())
        return self._pools[name]


def _mnli(given: draw.Nli, language: str, index: int, number: int) -> Row:
    return {**_xnli(given, language, index, number), "idx": index}


def _xnli(given: draw.Nli, language: str, index: int, number: int) -> Row:
    return {
        "premise": say(given.premise, language),
        "hypothesis": say(given.hypothesis, language),
        "label": given.label,
    }


def _pawsx(given: draw.Paraphrase, language: str, index: int, number: int) -> Row:
    first, second = say(given.first, language), say(given.second, language)
    return {"id": index + 1, "sentence1": first, "sentence2": second, "label": given.label}


def _copa(given: draw.Choice, language: str, index: int, number: int) -> Row:
    first, second = (say(choice, language) for choice in given.choices)
    premise = say(given.premise, language)
    row = {"premise": premise, "choice1": first, "choice2": second, "question": given.question}
    return {**row, "idx": index, "label": given.label}


def _xcopa(given: draw.Choice, language: str, index: int, number: int) -> Row:
    return {**_copa(given, language, index, number), "changed": False}


def _xquad(given: draw.Reading, language: str, index: int, number: int) -> Row:
    sentences = [words(scene, language) for scene in given.context]
    before = sum(len(sentence) for sentence in sentences[: given.target])
    context, spans = write([word for sentence in sentences for word in sentence], language)
    first, last = answer(given.query, language, sentences[given.target])
    start, end = spans[before + first][0], spans[before + last - 1][1]
    answers = {"text": [context[start:end]], "answer_start": [start]}
    return {
        "id": f"micro-{number:05d}",
        "context": context,
        "question": say(given.query, language),
        "answers": answers,
    }


def _squad(given: draw.Reading, language: str, index: int, number: int) -> Row:
    row = _xquad(given, language, index, number)
    return {"id": row.pop("id"), "title": "Micro world", **row}


def _udpos(given: Meaning, language: str, index: int, number: int) -> Row:
    sentence = words(given, language)
    return {
        "tokens": [word.text for word in sentence],
        "pos_tags": [POS_TAGS.index(word.tag) for word in sentence],
    }


def _panx(given: Sequence[Scene], language: str, index: int, number: int) -> Row:
    sentence = joined(given[0], given[1], language) if len(given) == 2 else words(given[0], language)
    names = {word.text for concept in lexicon()["organisation"].values() for word in concept.form(language)}
    tags: list[str] = []
    for word in sentence:
        kind = {"subject": "ORG" if word.text in names else "PER", "place": "LOC"}.get(word.role) if word.head else None
        inside = kind and tags and tags[-1].endswith(kind)
        tags.append(f"{'I' if inside else 'B'}-{kind}" if kind else "O")
    return {
        "tokens": [word.text for word in sentence],
        "ner_tags": [NER_TAGS.index(tag) for tag in tags],
        "langs": [language] * len(sentence),
    }


def _tatoeba(given: Sequence[tuple[Scene, Scene]], language: str, index: int, number: int) -> Row:
    source, target = (write(joined(*given[index % len(given)], speech), speech)[0] for speech in (language, "en"))
    return {"source_sentence": source + "\n", "target_sentence": target + "\n"}


_ROWS: Mapping[str, Callable[..., Row]] = {
    "mnli": _mnli,
    "xnli": _xnli,
    "pawsx": _pawsx,
    "copa": _copa,
    "xcopa": _xcopa,
    "squad_v1": _squad,
    "xquad": _xquad,
    "udpos": _udpos,
    "panx": _panx,
    "tatoeba": _tatoeba,
}
