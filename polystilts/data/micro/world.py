"""THE MICRO WORLD'S ROWS: a miniature of every task, shaped like the real data set, and text to pretrain on.

Rows are made in two steps. A family of tasks (`xnli` and its English training set `mnli`, say) draws
language-free meanings once, all different, and deals them out to the splits, so that training and evaluation
rows never share one and the rows of parallel sets agree across languages. `draw.py` and `plots.py` draw meanings,
`miniatures.py` makes rows of them, and saying a meaning in a language is `grammar.py`'s work.

Scores on these rows mean nothing about real languages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polystilts.data.micro import draw, grammar, plots, text
from polystilts.data.micro.grammar import LANGUAGES, LEXICON
from polystilts.data.micro.miniatures import CCG_TAGS, MAKERS, NER_TAGS, POS_TAGS, At, Row

__all__ = ["BLOCKS", "NER_TAGS", "POS_TAGS", "Block", "MicroWorld", "Row"]

FOREIGN = LANGUAGES[1:]
DRAWS: Mapping[str, Callable[[np.random.Generator], Any]] = {**draw.DRAWS, **plots.DRAWS}


class Block(NamedTuple):
    """One split of a data set: where its meanings lie in the pool of its family, and its languages.

    `step`: how far each language's meanings lie behind those of the language before; 0 = all say the same.
    """

    family: str
    start: int
    stop: int
    languages: tuple[str, ...]
    step: int = 0

    @property
    def end(self) -> int:
        """Where the meanings of its last language end."""
        return self.stop + self.step * (len(self.languages) - 1)

    def numbers(self, language: str) -> range:
        """The places in the pool of the rows in this language."""
        shift = self.step * self.languages.index(language)
        return range(self.start + shift, self.stop + shift)


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
    "snli": {"train": Block("nli", 3750, 4550, ("en",)), "validation": Block("nli", 4550, 4650, ("en",))},
    "anli": {"train": Block("nli", 4650, 5450, ("en",)), "validation": Block("nli", 5450, 5550, ("en",))},
    "qqp": {"train": Block("duplicate", 0, 800, ("en",)), "validation": Block("duplicate", 800, 900, ("en",))},
    "squad_v2": {"train": Block("doubt", 0, 1000, ("en",)), "validation": Block("doubt", 1000, 1100, ("en",))},
    "hellaswag": {"train": Block("ending", 0, 800, ("en",)), "validation": Block("ending", 800, 900, ("en",))},
    "cosmosqa": {"train": Block("story", 0, 800, ("en",)), "validation": Block("story", 800, 900, ("en",))},
    "csqa": {"train": Block("quiz", 0, 800, ("en",)), "validation": Block("quiz", 800, 900, ("en",))},
    "siqa": {"train": Block("motive", 0, 800, ("en",)), "validation": Block("motive", 800, 900, ("en",))},
    "ccg": {"train": Block("syntax", 0, 800, ("en",)), "validation": Block("syntax", 800, 900, ("en",))},
    "deprel": {"train": Block("syntax", 900, 1700, ("en",)), "validation": Block("syntax", 1700, 1800, ("en",))},
    "cosqa": {
        "train": Block("paraphrase", 3500, 4300, ("en",)),
        "validation": Block("paraphrase", 4300, 4400, ("en",)),
    },
    "clone": {
        "train": Block("paraphrase", 4400, 5200, ("en",)),
        "validation": Block("paraphrase", 5200, 5300, ("en",)),
    },
    "defect": {"train": Block("fault", 0, 800, ("en",)), "validation": Block("fault", 800, 900, ("en",))},
    "codesearch": {"train": Block("program", 0, 800, ("en",)), "validation": Block("program", 800, 900, ("en",))},
    "mlqa": {
        "validation": Block("reading", 6600, 6660, ("en", "de", "es", "zh", "hi")),
        "test": Block("reading", 6660, 6760, ("en", "de", "es", "zh", "hi")),
    },
    "tydiqa": {
        "train": Block("reading", 6760, 7560, ("en",)),
        "validation": Block("reading", 7560, 7640, ("en", "ru", "sw"), step=80),
    },
    "lareqa": {"validation": Block("reading", 6300, 6400, LANGUAGES)},
    "bucc2018": {
        "validation": Block("mining", 0, 60, ("de", "ru", "zh", "es"), step=60),
        "test": Block("mining", 240, 340, ("de", "ru", "zh", "es"), step=100),
    },
    "mewslix_pairs": {
        "train": Block("pairing", 0, 800, ("en",)),
        "validation": Block("pairing", 800, 900, ("en",)),
    },
    "mewslix": {
        "validation": Block("linking", 0, 60, LANGUAGES, step=60),
        "test": Block("linking", 480, 580, LANGUAGES, step=100),
        "candidates": Block("entity", 0, 165, ("",)),
    },
    "masakhaner": {"validation": Block("naming", 3500, 3600, ("sw",))},
    # Row i is row i of the English training set.
    "mnli_translated": {"train": Block("nli", 0, 3000, FOREIGN)},
    "pawsx_translated": {"train": Block("paraphrase", 0, 3000, FOREIGN)},
    "squad_translated": {"train": Block("reading", 0, 6000, FOREIGN)},
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
        """The rows of one split in one language, with columns and label order of the real data set.

        Sets without a `Block.step` have the same meaning at the same index in every language. The English rows of
        xquad lie inside the validation split of squad_v1 with the same ids, as the real ones do; lareqa asks the
        questions of xquad, and the translated training sets say what the English ones say. A meaning of bucc2018 and
        lareqa makes several rows: queries and candidates of a collection.

        Raises:
            KeyError: there is no such data set or split, or it has no rows in this language.
        """
        block = BLOCKS[name][split]
        if language not in block.languages:
            raise KeyError(f"{name} {split} has no rows in {language}")
        # Tatoeba's English sides differ from language to language, so each language has a pool of its own.
        meanings = self._pool(f"{block.family}-{language}" if name == "tatoeba" else block.family)
        make = MAKERS["entities" if block.family == "entity" else name]
        rows: list[Row] = []
        for index, number in enumerate(block.numbers(language)):
            made = make(meanings[number], At(split, language, index, number))
            rows += made if isinstance(made, list) else [made]
        # BUCC's files are sorted by id, so that the order says nothing about who belongs to whom.
        return sorted(rows, key=lambda row: str(row["id"])) if name == "bucc2018" else rows

    def labels(self, name: str) -> tuple[str, ...]:
        """The labels of data set `name` where the catalogue leaves them to the source (CCG), else ()."""
        return CCG_TAGS if name == "ccg" else ()

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
        """sha256 over everything the rows depend on: the lexicon, this package's code and the seed."""
        return self._digest(LEXICON, *sorted(Path(__file__).parent.glob("*.py")))

    def text_digest(self) -> str:
        """sha256 over what the pretraining text and the tokenizer depend on, which is less: the committed encoder's."""
        modules = (draw, grammar, text)
        return self._digest(LEXICON, *(Path(str(module.__file__)) for module in modules))

    def _digest(self, *paths: Path) -> str:
        total = hashlib.sha256(str(self.seed).encode())
        for path in paths:
            total.update(path.read_bytes())
        return total.hexdigest()

    def _pool(self, name: str) -> list[Any]:
        """The meanings of a family (``retrieval-de``: of one language's own pool), all different in English."""
        if name == "entity":
            return list(plots.entities())
        if name not in self._pools:
            family = name.partition("-")[0]
            sets = [(there, block) for there, blocks in BLOCKS.items() for block in blocks.values()]
            size = max(block.end for _, block in sets if block.family == family)
            rng = np.random.default_rng([self.seed, *name.encode()])
            pool: dict[str, Any] = {}
            make = next(MAKERS[there] for there, block in sets if block.family == family)
            while len(pool) < size:  # distinct as English rows: two meanings may read the same
                meaning = DRAWS[family](rng)
                pool.setdefault(str(make(meaning, At("", "en", 0, 0))), meaning)
            # Sentences of the same words stand side by side, so that a bag of words finds no translation.
            self._pools[name] = [m for m in pool.values() for _ in m] if family == "retrieval" else list(pool.values())
        return self._pools[name]
