"""A folder laid out like XTREME's ``download/``: the languages are those whose files exist."""

from __future__ import annotations

import hashlib
from pathlib import Path

from polystilts.data.columns import make_id, to_row
from polystilts.data.readers import READERS, english_side
from polystilts.errors import MissingData
from polystilts.formats.values import Row
from polystilts.tasks.languages import spell
from polystilts.tasks.spec import TaskSpec


class LocalSource:
    """Rows of the files below one folder.

    Args:
        folder: the folder that holds ``xnli/``, ``udpos/`` and so on.
        name: how the source was asked for.
    """

    def __init__(self, folder: Path, *, name: str = "") -> None:
        self.folder = folder
        self._name = name or f"local:{folder}"

    @property
    def name(self) -> str:
        return self._name

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        return tuple(language for language in spec.languages if self._exists(spec, split, language))

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        paths = self._files(spec, split, language)
        reader = READERS[spec.local.reader] if spec.local else None
        if reader is None:
            raise MissingData(f"{spec.name} has no local files", given=spec.name)
        raw = list(reader(paths[0], spec, language, split == "test"))
        ids = [make_id(values, split, index) for index, (_, values) in enumerate(raw)]
        if len(set(ids)) < len(ids):
            # XTREME cuts TyDiQA's training ids down to a number that repeats.
            ids = [f"{split}-{index}" for index in range(len(raw))]
        rows = (
            to_row(spec, values, id=id, language=language, place=place)
            for id, (place, values) in zip(ids, raw, strict=True)
        )
        return [row for row in rows if row is not None]

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        digest = hashlib.sha256()
        for path in self._files(spec, split, language):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def _exists(self, spec: TaskSpec, split: str, language: str) -> bool:
        paths = self._paths(spec, split, language)
        return bool(paths) and all(path.is_file() for path in paths)

    def _files(self, spec: TaskSpec, split: str, language: str) -> list[Path]:
        paths = self._paths(spec, split, language)
        if not paths:
            raise MissingData(f"{spec.name} has no local files for split {split!r}", given=split)
        for path in paths:
            if not path.is_file():
                raise MissingData(f"no file {path.absolute()} ({spec.name} {split} in {language!r})", given=language)
        return paths

    def _paths(self, spec: TaskSpec, split: str, language: str) -> list[Path]:
        if spec.local is None or split not in spec.local.splits:
            return []
        path = self.folder / spec.local.splits[split].replace("{language}", spell(language, spec.local.spelling))
        return [path, english_side(path)] if spec.local.reader == "bitext" else [path]
