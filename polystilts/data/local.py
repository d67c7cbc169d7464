"""A folder laid out like XTREME's ``download/``: the languages are those whose files exist."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from polystilts.data.columns import make_id
from polystilts.data.readers import READERS, files_beside, read_ccg_labels
from polystilts.data.skipping import OnBadRow, Skipper, row_or_bad
from polystilts.errors import BadRow, MissingData
from polystilts.formats.values import Row
from polystilts.tasks.languages import spell
from polystilts.tasks.spec import LocalFiles, TaskSpec


class LocalSource:
    """Rows of the files below one folder.

    Args:
        folder: the folder that holds ``xnli/``, ``udpos/`` and so on.
        name: how the source was asked for.
        on_bad_row: 'error' raises the first bad row; 'skip' leaves bad rows out, see `skipped`.
    """

    def __init__(self, folder: Path, *, name: str = "", on_bad_row: OnBadRow = "error") -> None:
        self.folder = folder
        self._name = name or f"local:{folder}"
        self._skipper = Skipper(on_bad_row)

    @property
    def name(self) -> str:
        return self._name

    @property
    def skipped(self) -> dict[str, int]:
        """File -> number of bad rows that were left out of it."""
        return self._skipper.skipped

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        # Candidates that all languages share have none of their own.
        candidates = ("",) if split == spec.pool_split and split else spec.languages
        return tuple(language for language in candidates if self._exists(spec, split, language))

    def labels(self, spec: TaskSpec) -> tuple[str, ...]:
        """The spec's labels, else those of its file of labels; () for a task without labels.

        Raises:
            MissingData: the file is not there.
            BadRow: it is not a json object of tags.
        """
        if spec.labels or spec.local is None or not spec.local.labels:
            return spec.labels
        path = self.folder / spec.local.labels
        if not path.is_file():
            raise MissingData(
                f"no file {path.absolute()} (labels of {spec.name}){how_to_obtain(spec)}", given=spec.name
            )
        return read_ccg_labels(path)

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        layout, paths = self._files(spec, split, language)
        labels = self.labels(spec)
        numbers, seen = count(), dict[str, str]()
        rows: list[Row] = []
        for path in paths:
            found = self._read(path, layout, spec, split, language, labels, numbers, seen)
            rows += self._skipper.kept(found, str(path))
        if not rows:
            raise MissingData(f"{paths[0].absolute()} has no {spec.name} rows in {language!r}", given=language)
        return rows

    def _read(
        self,
        path: Path,
        layout: LocalFiles,
        spec: TaskSpec,
        split: str,
        language: str,
        labels: tuple[str, ...],
        numbers: Iterator[int],
        seen: dict[str, str],
    ) -> Iterator[Row | BadRow | None]:
        """The rows of one file; `numbers` and `seen` (id -> place) go on through the files of a split.

        A bad row takes a number too, so that the rows behind it keep theirs in every language.
        """
        numbered = split in layout.repeated_ids
        items = READERS[layout.reader](path, spec, language, split == "test")
        # In this order no number is lost at the end of a file.
        for item, number in zip(items, numbers, strict=False):
            if isinstance(item, BadRow):
                yield item
                continue
            place, values = item
            id = f"{split}-{number}" if numbered else make_id(values, split, number)
            if id in seen:
                yield BadRow(place, f"the id {id!r} stands at {seen[id]} too")
                continue
            seen[id] = place
            yield row_or_bad(
                spec,
                values,
                id=id,
                language=values.get("language", language) if "keys" in values else language,
                place=place,
                columns=layout.columns,
                names=labels,
            )

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        digest = hashlib.sha256()
        layout, paths = self._files(spec, split, language)
        for path in paths:
            needed, optional = self._beside(layout, path)
            for file in (path, *needed, *(other for other in optional if other.is_file())):
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def _exists(self, spec: TaskSpec, split: str, language: str) -> bool:
        return any(not missing for _, _, missing in self._candidates(spec, split, language))

    def _files(self, spec: TaskSpec, split: str, language: str) -> tuple[LocalFiles, list[Path]]:
        """The files of a split, in the first layout that has them all; those beside them are there too.

        Raises:
            MissingData: with the path that is not there in each layout, and how to obtain what cannot be downloaded.
        """
        candidates = list(self._candidates(spec, split, language))
        if not candidates:
            raise MissingData(f"{spec.name} has no local files for split {split!r}", given=split)
        for layout, paths, missing in candidates:
            if not missing:
                return layout, paths
        absent = " nor ".join(str(missing.absolute()) for _, _, missing in candidates if missing)
        where = f"{spec.name} {split}" + (f" in {language!r}" if language else "")
        raise MissingData(f"no file {absent} ({where}){how_to_obtain(spec)}", given=language)

    def _candidates(
        self, spec: TaskSpec, split: str, language: str
    ) -> Iterator[tuple[LocalFiles, list[Path], Path | None]]:
        """For every layout that has the split: its files, and the first one that is not there (None: all are)."""
        layout = spec.local
        while layout is not None:
            if split in layout.splits:
                pattern = self._pattern(layout, split, language)
                paths = [pattern]
                if "*" in pattern.name:
                    paths = sorted(path for path in pattern.parent.glob(pattern.name) if path.is_file()) or [pattern]
                needed = (file for path in paths for file in (path, *self._beside(layout, path)[0]))
                yield layout, paths, next((file for file in needed if not file.is_file()), None)
            layout = layout.otherwise

    def _beside(self, layout: LocalFiles, path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        needed, optional = files_beside(layout.reader, path)
        return (*needed, *([self.folder / layout.labels] if layout.labels else [])), optional

    def _pattern(self, layout: LocalFiles, split: str, language: str) -> Path:
        pattern = layout.splits[split]
        if "{language}" in pattern:
            spelling = layout.names.get(language) or spell(language, layout.spelling)
            pattern = pattern.replace("{language}", spelling)
        return self.folder / pattern


def how_to_obtain(spec: TaskSpec) -> str:
    """What to do about a missing file of a task that nothing can download, as the end of a sentence."""
    if spec.upstream is not None and spec.upstream.note:
        return f"; {spec.upstream.note}"
    return f"; {spec.note}" if spec.note and spec.hub is None and spec.upstream is None else ""
