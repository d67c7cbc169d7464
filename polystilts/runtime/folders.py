"""Folders that are complete or absent: written beside, checksums last, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polystilts.errors import ChecksumMismatch, MissingData

_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another, without reading it; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_name(name: Any, *, where: object) -> str:
    """The path of a file inside a folder, as a manifest may say it: relative, in one spelling, going down only.

    Args:
        name: as it was read from a file that anyone may have written.
        where: what names it, for the message.

    Raises:
        ChecksumMismatch: an absolute path, '..', '.', an empty part, a backslash, a control character.
    """
    parts = name.split("/") if isinstance(name, str) else []
    plain = bool(parts) and all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    if not plain or "\\" in name or len(os.fsencode(name)) > 1024:
        raise ChecksumMismatch(f"{where} names {str(name)[:100]!r}, which is no path inside its folder", given=name)
    return str(name)


def files_in(folder: Path) -> list[str]:
    """Paths of all files below `folder`, sorted, with '/'; nothing else may be there but folders.

    Raises:
        ChecksumMismatch: a link (it could lead out of the folder), a pipe (reading it would wait for ever), a device.
    """
    found, wrong = [], []
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
                wrong.append(f"{path.relative_to(folder).as_posix()} is {kind}")
    if wrong:
        raise ChecksumMismatch(f"{folder} may hold plain files only: {'; '.join(sorted(wrong))}")
    return sorted(found)


def file_sums(folder: Path, *, leave_out: str) -> dict[str, str]:
    """sha256 of every file below `folder`, by path, without the one that will hold these sums."""
    return {name: sha256(folder / name) for name in files_in(folder) if name != leave_out}


def verify_files(folder: Path, sums: Mapping[str, str], *, manifest: str, beside: Collection[str] = ()) -> None:
    """Checks that the folder holds exactly the files of `sums`, unchanged.

    Args:
        sums: as read from the manifest: sha256 by path.
        manifest: the file that holds the sums.
        beside: further files that may be there and have no sum.

    Raises:
        ChecksumMismatch: naming every file that is missing, changed or not listed; or a manifest that names
            something outside its folder, or anything in the folder but plain files.
    """
    if not isinstance(sums, Mapping):
        raise ChecksumMismatch(f"{folder / manifest} lists no files", param="files")
    for name, digest in sums.items():
        check_name(name, where=folder / manifest)
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ChecksumMismatch(f"{folder / manifest} has no sha256 of {name}", param="files", given=digest)
    present = set(files_in(folder)) - {manifest, *beside}
    wrong = [f"{name} is missing" for name in sorted(sums.keys() - present)]
    wrong += [f"{name} is not listed" for name in sorted(present - sums.keys())]
    for name in sorted(present & sums.keys()):
        found = sha256(folder / name)
        if found != sums[name]:
            wrong.append(f"{name} has sha256 {found[:12]}…, expected {sums[name][:12]}…")
    if wrong:
        raise ChecksumMismatch(f"{folder} was changed after it was written: {'; '.join(wrong)}")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON beside and renames, so that a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """The JSON value of a file.

    Raises:
        MissingData: no such file.
        ChecksumMismatch: not JSON, as after a half-written copy.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingData(f"no such file: {path.absolute()}", given=str(path)) from None
    return parse_json(data, path)


def parse_json(data: bytes, path: Path) -> Any:
    """The JSON value of the bytes of a file; `path` is for the message.

    Raises:
        ChecksumMismatch: not JSON in UTF-8, or nested too deeply to be read.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ChecksumMismatch(f"{path} is not JSON: {error}") from None


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final` that becomes `final` when the block ends, and vanishes if it raises.

    Whoever finds `final` finds it whole. If another process was quicker, its folder stays and ours goes.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            os.rename(temporary, final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
