"""Folders that are complete or absent: written beside, checksums last, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polystilts.errors import ChecksumMismatch, MissingData


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sums(folder: Path, *, leave_out: str) -> dict[str, str]:
    """sha256 of every file below `folder`, by path, without the one that will hold these sums."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): sha256(p) for p in files if p.relative_to(folder) != Path(leave_out)}


def verify_files(folder: Path, sums: Mapping[str, str], *, manifest: str) -> None:
    """Checks that the folder holds exactly the files of `sums`, unchanged.

    Raises:
        ChecksumMismatch: naming every file that is missing, changed or not listed.
    """
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {manifest}
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
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingData(f"no such file: {path.absolute()}", given=str(path)) from None
    except ValueError as error:
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
