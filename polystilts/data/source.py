"""Where rows come from: what the micro world, local folders and the hub share, and how one is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, get_args

from polystilts.data.skipping import OnBadRow
from polystilts.errors import MissingData, UnknownName
from polystilts.formats.values import Row
from polystilts.tasks.catalogue import get_task
from polystilts.tasks.spec import TaskSpec

_KINDS = ("micro", "hub", "hub:DIR", "local:DIR")


class Source(Protocol):
    """Rows by task, split and language. Splits are ours: train, validation, test."""

    @property
    def name(self) -> str:
        """As it was asked for: goes into lineage."""

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        """Languages with rows in this split, in the spec's order; () if none. Parses nothing.

        Candidates that all languages share (`TaskSpec.pool_split`) have the language ''.

        A source may have languages that the spec does not list (the micro world): they come last.
        """

    def labels(self, spec: TaskSpec) -> tuple[str, ...]:
        """The labels in the order of the logits: the spec's, else those that the source lists (CCG); () if none.

        Raises:
            MissingData: the file that lists them is not there; the message says how to obtain it.
        """

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        """All rows, in the order of the data set; rows whose labels are hidden come without gold.

        Raises:
            MissingData: there is nothing for this task, split and language.
            BadRow: a row that does not have the documented form, with its place.
        """

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        """A sha256 that changes when the rows may have changed: goes into lineage and cache keys.

        Raises:
            MissingData: as `rows`.
        """


def labels_of(source: Source, spec: TaskSpec) -> tuple[str, ...]:
    """As `Source.labels`, without asking the source where the spec lists them."""
    return spec.labels or source.labels(spec)


class RememberedRows:
    """A source that reads every split once: the phases of a job ask for the same rows many times.

    It also composes: the rows of a task with `TaskSpec.parts` are the parts' rows, one part after the other, with ids
    ``PART:ID``. A composed task has the languages that every part has: without one of its parts it is another task.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self._rows: dict[tuple[str, str, str], list[Row]] = {}
        self._fingerprints: dict[tuple[str, str, str], str] = {}

    @property
    def skipped(self) -> dict[str, int]:
        """File -> number of bad rows that were left out of it (`open_source` with on_bad_row='skip')."""
        return getattr(self._source, "skipped", {})

    def labels(self, spec: TaskSpec) -> tuple[str, ...]:
        return labels_of(self._source, spec)

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        if not spec.parts:
            return self._source.languages(spec, split)
        there = [self.languages(get_task(part), split) for part in spec.parts]
        return tuple(language for language in there[0] if all(language in languages for languages in there))

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        key = (spec.name, split, language)
        if key not in self._rows:
            self._rows[key] = (
                [row for part in spec.parts for row in with_part(part, self.rows(get_task(part), split, language))]
                if spec.parts
                else self._source.rows(spec, split, language)
            )
        return self._rows[key]

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        key = (spec.name, split, language)
        if key not in self._fingerprints:
            parts = [self.fingerprint(get_task(part), split, language) for part in spec.parts]
            self._fingerprints[key] = (
                hashlib.sha256("\n".join(parts).encode()).hexdigest()
                if parts
                else self._source.fingerprint(spec, split, language)
            )
        return self._fingerprints[key]


def with_part(part: str, rows: Iterable[Row]) -> list[Row]:
    """The rows of a part as rows of the whole: their ids say which part they are from."""
    return [replace(row, id=f"{part}:{row.id}") for row in rows]


def open_source(text: str, root: Path, *, param: str = "source", on_bad_row: OnBadRow = "error") -> Source:
    """Opens ``micro``, ``local:DIR``, ``hub`` or ``hub:DIR`` (a mirror of hub repositories on disk).

    Args:
        text: the source as written in a parameter.
        root: the project folder; a relative DIR is relative to it, and revisions pinned by `prepare` lie in it, as do
            the files that `prepare` downloads (``downloads/``; in a mirror ``DIR/upstream/``).
        param: name of the parameter, for messages.
        on_bad_row: 'error' refuses a file for its first bad row; 'skip' leaves bad rows out, says how many of which
            file, and keeps the counts in `skipped`.

    Raises:
        MissingData: DIR is not a folder; the message names the absolute path that was tried.
        UnknownName: any other text, or another `on_bad_row`.
    """
    if on_bad_row not in get_args(OnBadRow):
        raise UnknownName("choice", on_bad_row, get_args(OnBadRow), param="on_bad_row")
    kind, _, folder = text.partition(":")
    if text == "micro":
        from polystilts.data.micro_source import MicroSource

        return MicroSource()
    if kind == "local" and folder:
        from polystilts.data.local import LocalSource

        return LocalSource(_folder(folder, root, param), name=text, on_bad_row=on_bad_row)
    if text == "hub" or (kind == "hub" and folder):
        from polystilts.data.hub import REVISIONS_FILE, HubSource, read_revisions

        mirror = _folder(folder, root, param) if folder else None
        return HubSource(
            root=mirror,
            revisions=read_revisions(root / REVISIONS_FILE),
            downloads=mirror / "upstream" if mirror else root / "downloads",
            name=text,
            on_bad_row=on_bad_row,
        )
    raise UnknownName("source", text, _KINDS, param=param)


def _folder(text: str, root: Path, param: str) -> Path:
    path = (root / Path(text).expanduser()).resolve()
    if not path.is_dir():
        raise MissingData(f"no folder {path}", param=param, given=text)
    return path
