"""The Hugging Face hub as a source: parquet files of pinned revisions, read offline once they are fetched.

`datasets` 5 runs no loading scripts. Every repository of the catalogue holds parquet files, on ``main`` as
``CONFIG/SPLIT-00000-of-00001.parquet`` or on ``refs/convert/parquet`` as ``CONFIG/SPLIT/0000.parquet``, so
the files are fetched by name and read as they are; this also keeps split names that `load_dataset` would
guess and merge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polystilts.data.columns import COLUMNS, LABEL_COLUMN, make_id
from polystilts.data.local import LocalSource
from polystilts.data.readers import RawRow, read_table
from polystilts.data.shapes import RAW_COLUMNS
from polystilts.data.skipping import OnBadRow, Skipper, row_or_bad
from polystilts.errors import BadRow, MissingData
from polystilts.formats.values import Row
from polystilts.tasks.languages import spell
from polystilts.tasks.spec import HubFiles, TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset, Features

T = TypeVar("T")

#: Repository id -> commit, written by `prepare` into the project folder.
REVISIONS_FILE = "hub-revisions.json"


def read_revisions(path: Path) -> dict[str, str]:
    """The commits that `prepare` pinned, by repository id; none where the file does not exist.

    Raises:
        BadRow: the file is not a json object of texts.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadRow(str(path), f"bad json: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(commit, str) for commit in value.values()):
        raise BadRow(str(path), "must be a json object: repository id -> commit")
    return value


class HubSource:
    """Rows of hub repositories.

    Args:
        root: a mirror: a folder with ``OWNER/NAME/`` laid out as the repository is; None = the hub and its
            cache.
        revisions: repository id -> commit, before a spec's own revision and the branch's head.
        cache_dir: where `datasets` keeps its converted copies; None = its default.
        downloads: folder of the files that are not on the hub (`TaskSpec.upstream`), laid out as a local source's;
            None = ``upstream/`` in a mirror, else ``downloads/``.
        name: how the source was asked for.
        on_bad_row: 'error' raises the first bad row; 'skip' leaves bad rows out, see `skipped`.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        revisions: Mapping[str, str] | None = None,
        cache_dir: Path | None = None,
        downloads: Path | None = None,
        name: str = "hub",
        on_bad_row: OnBadRow = "error",
    ) -> None:
        self.root = root
        self.downloads = downloads or (root / "upstream" if root else Path("downloads"))
        self._skipper = Skipper(on_bad_row)
        self._upstream = LocalSource(self.downloads, on_bad_row=on_bad_row)
        self.revisions = dict(revisions or {})
        self.cache_dir = cache_dir
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def skipped(self) -> dict[str, int]:
        """File or hub split -> number of bad rows that were left out of it."""
        return self._skipper.skipped | self._upstream.skipped

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        hub = spec.hub
        if _is_upstream(spec):
            return self._upstream.languages(spec, split)
        if hub is None or split not in hub.splits:
            return ()
        there = [language for language in spec.languages if language not in hub.absent.get(split, ())]
        if self.root is not None:
            there = [language for language in there if _find(self.root / hub.id, file_patterns(hub, split, language))]
        return tuple(there)

    def labels(self, spec: TaskSpec) -> tuple[str, ...]:
        """The spec's labels: every set of labels that is on the hub is in the catalogue."""
        return spec.labels

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        if _is_upstream(spec):
            return self._from_downloads(spec, lambda: self._upstream.rows(spec, split, language))
        hub, files = self._files(spec, split, language)
        where = f"{hub.id} {_config(hub, language)} {hub.splits[split]}"
        if split in hub.files:
            names: tuple[str, ...] | None = None
            raw: list[RawRow | BadRow] = [item for file in files for item in read_table(file, spec, language, False)]
        else:
            data = self._load(files, split)
            names = _check(data.features, spec, where)
            named = _named(data.features) if spec.shape else dict
            raw = [(f"{where}, row {index}", named(values)) for index, values in enumerate(data)]
        prefix = hub.id_prefix.replace("{language}", spell(language, hub.spelling).lower())
        found = (
            item
            if isinstance(item, BadRow)
            else row_or_bad(
                spec,
                item[1],
                id=make_id(item[1], split, index),
                language=language,
                place=item[0],
                columns=hub.columns,
                names=names,
            )
            for index, item in enumerate(raw)
            if isinstance(item, BadRow) or str(item[1].get("id", "")).startswith(prefix)
        )
        rows = self._skipper.kept(found, where)
        if not rows:
            raise MissingData(f"{where} has no rows in {language!r}", given=language)
        return rows

    def _from_downloads(self, spec: TaskSpec, read: Callable[[], T]) -> T:
        """What `read` gives; a missing file's message says how it gets there."""
        try:
            return read()
        except MissingData as error:
            raise MissingData(
                f"{error.message}; {spec.name} is not on the hub: fetch it with `python -m pipelines.prepare`",
                param=error.param,
                given=error.given,
            ) from None

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        if _is_upstream(spec):
            return self._from_downloads(spec, lambda: self._upstream.fingerprint(spec, split, language))
        hub, files = self._files(spec, split, language)
        digest = hashlib.sha256()
        for part in (hub.id, _config(hub, language), hub.splits[split], language):
            digest.update(part.encode() + b"\n")
        if self.root is None:
            digest.update(_commit(files).encode())
        else:
            for file in files:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def prepare(self, spec: TaskSpec, split: str, language: str) -> str:
        """Fetches the files of one split, asking the hub even if some revision is in the cache.

        Returns:
            The commit they are from, to be kept in `REVISIONS_FILE`; '' for a mirror and for files that are not on the
            hub, which must be in the downloads folder already.

        Raises:
            MissingData: the hub cannot be reached or does not have them.
        """
        if _is_upstream(spec):
            self.fingerprint(spec, split, language)
            return ""
        _, files = self._files(spec, split, language, refresh=True)
        return "" if self.root is not None else _commit(files)

    def _files(
        self, spec: TaskSpec, split: str, language: str, *, refresh: bool = False
    ) -> tuple[HubFiles, list[Path]]:
        hub = spec.hub
        if hub is None or split not in hub.splits:
            raise MissingData(f"{spec.name} has no {split} split on the hub", given=spec.name)
        if language not in spec.languages or language in hub.absent.get(split, ()):
            raise MissingData(f"{hub.id} has no {spec.name} {split} rows in {language!r}", given=language)
        patterns = file_patterns(hub, split, language)
        if self.root is not None:
            folder = self.root / hub.id
            files = _find(folder, patterns)
            if not files:
                raise MissingData(f"no files {' or '.join(patterns)} in {folder.absolute()}", given=hub.id)
            return hub, files
        files = [] if refresh else self._fetch(hub, patterns, offline=True)
        return hub, files or self._fetch(hub, patterns, offline=False)

    def _fetch(self, hub: HubFiles, patterns: list[str], *, offline: bool) -> list[Path]:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        head = "refs/convert/parquet" if hub.parquet_branch else "main"
        revision = self.revisions.get(hub.id) or hub.revision or head
        try:
            folder = snapshot_download(
                hub.id,
                repo_type="dataset",
                revision=revision,
                allow_patterns=patterns,
                local_files_only=offline,
            )
        except (HfHubHTTPError, OSError) as error:
            if offline:
                return []
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MissingData(
                f"{hub.id} ({revision}) is not in the cache and cannot be fetched ({reason}); "
                "load it once where the hub can be reached",
                given=hub.id,
            ) from error
        files = _find(Path(folder), patterns)
        if not files and not offline:
            raise MissingData(f"no files {' or '.join(patterns)} in {hub.id} at {revision}", given=hub.id)
        return files

    def _load(self, files: list[Path], split: str) -> Dataset:
        from datasets import load_dataset

        cache = str(self.cache_dir) if self.cache_dir else None
        paths = [str(file) for file in files]
        return load_dataset("parquet", data_files={split: paths}, split=split, cache_dir=cache)


def _config(hub: HubFiles, language: str) -> str:
    return hub.config.replace("{language}", spell(language, hub.spelling))


def _is_upstream(spec: TaskSpec) -> bool:
    """Whether the rows stand in the authors' own files, not on the hub."""
    return spec.hub is None and spec.upstream is not None


def file_patterns(hub: HubFiles, split: str, language: str) -> list[str]:
    if split in hub.files:
        return [hub.files[split]]
    config, name = _config(hub, language), hub.splits[split]
    # The hub writes a repository's only config to data/; Universal Dependencies keep one file a split.
    only = [f"data/{name}-*.parquet"] if config == "default" else []
    return [*only, f"{config}/{name}.parquet", f"{config}/{name}-*.parquet", f"{config}/{name}/*.parquet"]


def _find(folder: Path, patterns: list[str]) -> list[Path]:
    # Patterns with a * of their own overlap.
    return sorted({file for pattern in patterns for file in folder.glob(pattern)})


def _commit(files: list[Path]) -> str:
    """The commit in a cache path ``.../snapshots/COMMIT/CONFIG/...``."""
    parts = files[0].parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _check(features: Features, spec: TaskSpec, where: str) -> tuple[str, ...] | None:
    """Compares columns and label names with the spec's; returns what integer labels stand for, if they have
    names.

    Raises:
        BadRow: with what was expected and what was found.
    """
    columns = spec.hub.columns if spec.hub else {}
    ours = RAW_COLUMNS[spec.shape] if spec.shape else COLUMNS[spec.format]
    wanted = [columns.get(column, column) for column in ours]
    # XQuAD and TyDiQA have an id, a SQuAD-shaped set without one gets it from the row index.
    missing = [column for column in wanted if column not in features and column != "id"]
    if missing:
        raise BadRow(where, f"expected the columns {', '.join(wanted)}; found {', '.join(features)}")
    if spec.shape or spec.format not in LABEL_COLUMN:
        return None
    column = columns.get(LABEL_COLUMN[spec.format], LABEL_COLUMN[spec.format])
    feature: Any = features[column]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    expected = set(spec.labels) or {"choice1", "choice2"}
    if names is not None and set(names) != expected:
        raise BadRow(where, f"expected the labels {', '.join(sorted(expected))} in {column}; found {', '.join(names)}")
    return tuple(names) if names is not None and spec.labels else None


def _named(features: Features) -> Callable[[Any], dict[str, Any]]:
    """A function that writes the names of class labels into a row, as shapes expect them; -1 (hidden) stays."""
    names: dict[str, list[str]] = {}
    for column, feature in features.items():
        found = getattr(getattr(feature, "feature", feature), "names", None)
        if found is not None:
            names[column] = found

    def named(values: Any) -> dict[str, Any]:
        return {column: _name(value, names[column]) if column in names else value for column, value in values.items()}

    return named


def _name(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_name(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
