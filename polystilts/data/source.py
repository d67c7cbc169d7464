"""Where rows come from: what the micro world, local folders and the hub share, and how one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from polystilts.errors import MissingData, UnknownName
from polystilts.formats.values import Row
from polystilts.tasks.spec import TaskSpec

_KINDS = ("micro", "hub", "hub:DIR", "local:DIR")


class Source(Protocol):
    """Rows by task, split and language. Splits are ours: train, validation, test."""

    @property
    def name(self) -> str:
        """As it was asked for: goes into lineage."""

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        """Languages with rows in this split, in the spec's order; () if none. Parses nothing.

        A source may have languages that the spec does not list (the micro world): they come last.
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


class RememberedRows:
    """A source that reads every split once: the phases of a job ask for the same rows many times."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        self.languages = source.languages
        self._rows: dict[tuple[str, str, str], list[Row]] = {}
        self._fingerprints: dict[tuple[str, str, str], str] = {}

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        key = (spec.name, split, language)
        if key not in self._rows:
            self._rows[key] = self._source.rows(spec, split, language)
        return self._rows[key]

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        key = (spec.name, split, language)
        if key not in self._fingerprints:
            self._fingerprints[key] = self._source.fingerprint(spec, split, language)
        return self._fingerprints[key]


def open_source(text: str, root: Path, *, param: str = "source") -> Source:
    """Opens ``micro``, ``local:DIR``, ``hub`` or ``hub:DIR`` (a mirror of hub repositories on disk).

    Args:
        text: the source as written in a parameter.
        root: the project folder; a relative DIR is relative to it, and revisions pinned by `prepare` lie in
            it.
        param: name of the parameter, for messages.

    Raises:
        MissingData: DIR is not a folder; the message names the absolute path that was tried.
        UnknownName: any other text.
    """
    kind, _, folder = text.partition(":")
    if text == "micro":
        from polystilts.data.micro_source import MicroSource

        return MicroSource()
    if kind == "local" and folder:
        from polystilts.data.local import LocalSource

        return LocalSource(_folder(folder, root, param), name=text)
    if text == "hub" or (kind == "hub" and folder):
        from polystilts.data.hub import REVISIONS_FILE, HubSource, read_revisions

        mirror = _folder(folder, root, param) if folder else None
        return HubSource(root=mirror, revisions=read_revisions(root / REVISIONS_FILE), name=text)
    raise UnknownName("source", text, _KINDS, param=param)


def _folder(text: str, root: Path, param: str) -> Path:
    path = (root / Path(text).expanduser()).resolve()
    if not path.is_dir():
        raise MissingData(f"no folder {path}", param=param, given=text)
    return path
