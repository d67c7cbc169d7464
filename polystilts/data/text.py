"""Text without labels, for masked-language modelling: documents by language.

It comes from a folder of plain files, from the micro world's generator, or from a task's own training rows. Sentences
of evaluation sets are never among it: an encoder that has read them would not be scored zero-shot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from polystilts.data.roles import training_rows
from polystilts.data.source import Source
from polystilts.data.training_sets import fewer
from polystilts.errors import MissingData
from polystilts.formats.values import ChoiceExample, PairExample, Row, SentencePair, SpanExample, TaggingExample
from polystilts.tasks.languages import LANGUAGES
from polystilts.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from polystilts.data.micro.world import MicroWorld

#: Documents of each language of the micro world.
MICRO_DOCUMENTS = 1000

FOLDER = "text"


class Text(Protocol):
    """Documents by language."""

    @property
    def name(self) -> str:
        """What it is, for lineage."""

    def languages(self) -> tuple[str, ...]:
        """The languages that there are documents in."""

    def documents(self, language: str) -> list[str]:
        """All of them, none empty.

        Raises:
            MissingData: there are none.
        """

    def fingerprint(self, language: str) -> str:
        """A sha256 that changes when the documents may have changed."""


class FolderText:
    """``LANGUAGE.txt``, UTF-8, one document a line; empty lines are left out.

    Args:
        folder: of the files.

    Raises:
        MissingData: no such folder, or no file in it that is named by a language code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, FOLDER
        if not self.languages():
            raise MissingData(
                f"no files LANGUAGE.txt (one document a line) in {folder.absolute()}", param="mlm.text", given=folder
            )

    def languages(self) -> tuple[str, ...]:
        return tuple(code for code in LANGUAGES if self._path(code).is_file())

    def documents(self, language: str) -> list[str]:
        path = self._path(language)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise MissingData(f"no documents in {path.absolute()}", param="mlm.languages", given=language)
        return found

    def fingerprint(self, language: str) -> str:
        path = self._path(language)
        if not path.is_file():
            raise MissingData(f"no file {path.absolute()}", param="mlm.languages", given=language)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _path(self, language: str) -> Path:
        return self.folder / f"{language}.txt"


class MicroText:
    """Short documents of the micro world, as many in every language."""

    name = "micro"

    def __init__(self, world: MicroWorld) -> None:
        self.world = world

    def languages(self) -> tuple[str, ...]:
        from polystilts.data.micro import LANGUAGES as SPOKEN

        return tuple(SPOKEN)

    def documents(self, language: str) -> list[str]:
        if language not in self.languages():
            raise MissingData(f"the micro world has no text in {language!r}", param="mlm.languages", given=language)
        rng = np.random.default_rng([self.world.seed, self.languages().index(language)])
        return [" ".join(filter(None, self.world.document(rng, language))) for _ in range(MICRO_DOCUMENTS)]

    def fingerprint(self, language: str) -> str:
        return hashlib.sha256(f"{self.world.text_digest()} {MICRO_DOCUMENTS} {language}".encode()).hexdigest()


class TaskText:
    """The texts of a task's English training rows, those that are held out left out.

    Args:
        source: of the rows.
        task: one with training rows.
        most: rows that are read; 0 = all.
    """

    def __init__(self, source: Source, task: TaskSpec, most: int = 0) -> None:
        self.source, self.task, self.most = source, task, most
        self.name = f"rows of {task.name}"

    def languages(self) -> tuple[str, ...]:
        return ("en",)

    def documents(self, language: str) -> list[str]:
        if language not in self.languages():
            raise MissingData(
                f"the {self.name} are read in English alone, not in {language!r}", param="mlm.languages", given=language
            )
        rows = training_rows(self.source, self.task)
        # A paragraph with many questions is read once.
        texts = dict.fromkeys(text for row in (fewer(rows, self.most) if self.most else rows) for text in texts_of(row))
        return [text for text in texts if text]

    def fingerprint(self, language: str) -> str:
        return self.source.fingerprint(self.task, "train", language)


def open_text(source: Source, folder: str, root: Path) -> Text:
    """The text that goes with a source.

    Args:
        source: of the job.
        folder: of files ``LANGUAGE.txt``, relative to `root`; '' = the source's own: the micro world's documents, or
            the folder ``text`` in the folder of a local source.
        root: the project folder.

    Raises:
        MissingData: there is none.
    """
    kind, _, place = source.name.partition(":")
    if not folder and kind == "micro":
        from polystilts.data.micro import MicroWorld

        return MicroText(MicroWorld())
    if not folder and kind != "local":
        raise MissingData(
            f"{source.name} has no text without labels; give a folder of files LANGUAGE.txt, one document a line",
            param="mlm.text",
            given=folder,
        )
    given = Path(folder).expanduser() if folder else Path(place).expanduser() / FOLDER
    return FolderText((root / given).resolve())


def texts_of(row: Row) -> Sequence[str]:
    """The texts of one labelled row, without its label."""
    match row:
        case PairExample():
            return (row.premise, row.hypothesis)
        case ChoiceExample():
            return (" ".join(filter(None, (row.premise, row.question))), *row.choices)
        case TaggingExample():
            return (" ".join(row.tokens),)
        case SpanExample():
            return (row.question, row.context)
        case SentencePair():
            return (row.query, row.candidate)
    raise TypeError(f"a {type(row).__name__} is no training row")
