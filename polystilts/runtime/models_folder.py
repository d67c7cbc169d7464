"""The models folder: what `deliver` writes and the server reads.

``models/<target>/<digest>/`` holds bundles. ``models/current.json`` names those that answer, by key: a target, or
``<target>@challenger`` for the one its traffic is mirrored to; it is replaced by rename. ``models/serving.json`` is
written by a server and names what it has open. Nothing ever writes into a bundle folder that may be open.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData
from polystilts.runtime.bundle import Bundle, open_bundle
from polystilts.runtime.folders import new_folder, read_json, write_json

CURRENT = "current.json"
SERVING = "serving.json"

#: Between a target and an alias in a key of ``current.json``.
AT_CHALLENGER = "@challenger"

#: Seconds for which a bundle that nothing names any more is kept: a server may still be answering with it.
KEPT_SECONDS = 3600.0

#: Bytes that the name of a folder may have.
LONGEST_NAME = 255

#: How the names of folders begin that a deliverer makes beside the final ones; they stay where it is killed.
UNFINISHED = "."

_SCORES = "scores"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Delivered:
    """One line of ``current.json``: the bundle of a target and what the registry says of it.

    Attributes:
        scores: main metric on report rows, by language; empty where the registry has none.
    """

    target: str
    digest: str
    name: str
    version: str
    scores: Mapping[str, float] = field(default_factory=dict, compare=False)

    def folder(self, models: Path) -> Path:
        return models / self.target / self.digest


def deliver(
    bundle: Bundle, models: Path, *, name: str, version: str, scores: Mapping[str, float] | None = None
) -> Delivered:
    """Copies a verified bundle into the models folder and makes it the current one of its target.

    Raises:
        ChecksumMismatch: the copy, or one that was there already, is not the bundle; nothing is made current.
    """
    delivered = Delivered(bundle.target, bundle.digest, name, version, scores or {})
    store_bundle(bundle, models)
    point(models, {bundle.target: delivered})
    return delivered


def store_bundle(bundle: Bundle, models: Path) -> Path:
    """Copies a verified bundle into the models folder, where it is not there; returns its folder, verified again.

    Raises:
        ChecksumMismatch: what is there is not the bundle.
    """
    place = models / bundle.target / bundle.digest
    if not place.is_dir():
        with new_folder(place) as temporary:
            # Without the files' modes: exporters make weights that only their owner may read.
            shutil.copytree(bundle.folder, temporary, copy_function=shutil.copyfile, dirs_exist_ok=True)
    open_bundle(place, digest=bundle.digest)
    return place


def point(models: Path, lines: Mapping[str, Delivered | None]) -> None:
    """Changes lines of ``current.json`` in one write, by rename; nothing is written where nothing changes.

    Two processes that call this at once can lose each other's lines: `pipelines.deliver.deliveries` keeps them apart.

    Args:
        lines: by key; None removes a line.

    Raises:
        MissingData: the bundle of a line is not there.
        ChecksumMismatch, InvalidValue: what is there, or what is given, is no list of deliveries.
    """
    before = read_current(models) if (models / CURRENT).is_file() else {}
    after = {key: line for key, line in {**before, **lines}.items() if line is not None}
    if after == before:
        return
    for key, line in lines.items():
        if line is not None and not _delivered(key, vars(line), models / CURRENT).folder(models).is_dir():
            raise MissingData(f"the bundle of {key} is not in {models}: {line.target}/{line.digest}", given=key)
    write_json(models / CURRENT, {key: vars(line) for key, line in after.items()})
    for line in before.values():
        # From now on, not from the day of its delivery, is it unused.
        if line not in after.values() and line.folder(models).is_dir():
            os.utime(line.folder(models))


def read_current(models: Path) -> Mapping[str, Delivered]:
    """The lines of ``current.json`` by key.

    Raises:
        MissingData: no such folder, or nothing was delivered to it.
        ChecksumMismatch: not JSON, or a line that would leave the folder.
        InvalidValue: a line without one of its fields, with an unknown one, or with one that is no text.
    """
    path = models / CURRENT
    if not path.is_file():
        raise MissingData(f"no models in {models.absolute()}: it has no {CURRENT}", given=str(models))
    lines = read_json(path)
    if not isinstance(lines, dict):
        raise InvalidValue(f"{path} is no JSON object of deliveries", given=type(lines).__name__)
    return {key: _delivered(key, line, path) for key, line in lines.items()}


def _delivered(key: str, line: Any, path: Path) -> Delivered:
    wanted = [one.name for one in fields(Delivered) if one.name != _SCORES]
    if not isinstance(line, dict):
        raise InvalidValue(f"{path}: {key!r} is no JSON object", param=key, given=type(line).__name__)
    if set(line) - {_SCORES} != set(wanted):
        missing, unknown = sorted(set(wanted) - set(line)), sorted(set(line) - {_SCORES, *wanted})
        wrong = [f"has no {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise InvalidValue(
            f"{path}: {key!r} {' and '.join(wrong)}; a line has {', '.join(wanted)}",
            param=key,
            limit=wanted,
            given=sorted(line),
        )
    scores = line.get(_SCORES, {})
    if not isinstance(scores, dict) or not all(_is_number(score) for score in scores.values()):
        raise InvalidValue(
            f"{path}: {_SCORES} of {key!r} are no numbers by language", param=key, given=str(scores)[:50]
        )
    for name in wanted:
        value = line[name]
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= LONGEST_NAME:
            raise InvalidValue(
                f"{path}: {name} of {key!r} is no text of 1 to {LONGEST_NAME} bytes: {str(value)[:50]!r}",
                param=key,
                limit=LONGEST_NAME,
                given=value,
            )
    delivered = Delivered(**line)
    # Both become names of folders.
    names = (delivered.target, delivered.digest)
    if {"/", "\\"} & set("".join(names)) or any(".." in name or name == "." for name in names):
        raise ChecksumMismatch(f"{path} names a place outside its folder: {'/'.join(names)}", param=key)
    if key.removesuffix(AT_CHALLENGER) != delivered.target:
        raise InvalidValue(f"{path}: {key!r} names a bundle of {delivered.target!r}", param=key, given=line["target"])
    return delivered


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def served_digests(models: Path) -> frozenset[str]:
    """Digests that ``serving.json`` says a server has open; none where no server has written it.

    Raises:
        ChecksumMismatch: not JSON.
        InvalidValue: not of the form ``{"pid": …, "models": {key: {"digest": …}}}``.
    """
    path = models / SERVING
    if not path.is_file():
        return frozenset()
    found = read_json(path)
    lines = found.get("models") if isinstance(found, dict) else None
    if not isinstance(lines, dict):
        raise InvalidValue(f"{path} does not say which models are served", param="models", given=str(path))
    digests = [line.get("digest") if isinstance(line, dict) else None for line in lines.values()]
    if not all(isinstance(digest, str) for digest in digests):
        raise InvalidValue(f"{path} names a model without its digest", param="digest", given=str(path))
    return frozenset(map(str, digests))


def prune(models: Path, *, kept_seconds: float = KEPT_SECONDS) -> list[Path]:
    """Removes bundles that neither ``current.json`` nor ``serving.json`` names; returns their folders.

    Nothing but folders whose name is a digest, and what a killed deliverer left, is ever removed.

    Args:
        kept_seconds: since a folder was delivered, or was current for the last time.

    Raises:
        MissingData, ChecksumMismatch, InvalidValue: what is used cannot be read; nothing was removed.
    """
    used = {line.digest for line in read_current(models).values()} | served_digests(models)
    removed = []
    for folder in sorted(_candidates(models)):
        # The change time: a copy keeps the modification time of what it is a copy of.
        if folder.name not in used and time.time() - folder.stat().st_ctime >= kept_seconds:
            # Whoever looks finds it whole or not at all.
            grave = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}removed.", dir=models))
            folder.rename(grave / folder.name)
            shutil.rmtree(grave, ignore_errors=True)
            removed.append(folder)
    return removed


def _candidates(models: Path) -> Iterator[Path]:
    """Folders of bundles, and of unfinished deliveries."""
    for top in models.iterdir():
        if top.is_symlink() or not top.is_dir():
            continue
        if top.name.startswith(UNFINISHED):
            yield top
            continue
        for folder in top.iterdir():
            named = _DIGEST.fullmatch(folder.name) or folder.name.startswith(UNFINISHED)
            if named and folder.is_dir() and not folder.is_symlink():
                yield folder
