"""Compares what the catalogue says of the hub with the hub: ids, configs, revisions, rows and columns.

It needs the internet and reads no more than file lists and the footers of parquet files.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from pipelines.prepare import tasks_asked, unreachable
from polystilts.data.columns import COLUMNS
from polystilts.data.hub import REVISIONS_FILE, HubSource, file_patterns, read_revisions
from polystilts.data.shapes import RAW_COLUMNS
from polystilts.data.source import open_source
from polystilts.errors import InvalidValue, MissingData, PolystiltsError, Problems
from polystilts.tasks import TASKS, HubFiles, TaskSpec

EXAMPLES = """\
  python -m pipelines.check_hub
  python -m pipelines.check_hub --tasks xnli,mnli"""


class CheckHub(Parameters):
    """Checks every hub repository of the catalogue: files of all languages, rows and columns of one of them."""

    source: str = Field("hub", description="hub, or hub:DIR, a mirror of its repositories")
    tasks: str = Field("", description="these tasks, by comma; '' = all of the catalogue")

    def problems(self) -> Sequence[PolystiltsError]:
        problems: list[PolystiltsError] = []
        for check in (lambda: _mirror(self.source), lambda: tasks_asked(self.tasks, None)):
            try:
                check()
            except Problems as error:
                problems += error.problems
            except PolystiltsError as error:
                problems.append(error)
        return problems


class Repositories(Protocol):
    """Lists and opens files of data set repositories."""

    def files(self, id: str, revision: str) -> list[str]:
        """Paths of all files.

        Raises:
            MissingData: no such repository or revision, or no way to it.
        """

    def open(self, id: str, revision: str, path: str) -> IO[bytes]:
        """One of the files, for reading anywhere in it."""


class Mirror:
    """Repositories on disk, ``OWNER/NAME/`` each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, id: str, revision: str) -> list[str]:
        folder = self.root / id
        if not folder.is_dir():
            raise MissingData(f"no folder {folder}", given=id)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def open(self, id: str, revision: str, path: str) -> IO[bytes]:
        return (self.root / id / path).open("rb")


class LiveHub:
    """The hub itself."""

    def __init__(self) -> None:
        self.files = cache(self._files)

    def _files(self, id: str, revision: str) -> list[str]:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return list(HfApi().list_repo_files(id, repo_type="dataset", revision=revision))
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise MissingData(_first_line(error), given=id) from None

    def open(self, id: str, revision: str, path: str) -> IO[bytes]:
        from huggingface_hub import HfFileSystem

        return HfFileSystem().open(f"datasets/{id}/{path}", "rb", revision=revision)


@dataclass(frozen=True)
class Finding:
    """One split of one task; `problem` is '' where everything is as documented."""

    task: str
    repository: str
    revision: str
    split: str
    language: str
    rows: int | None
    documented: int | None
    problem: str


def run(parameters: CheckHub) -> None:
    mirror = _mirror(parameters.source)
    if mirror is None and (reason := unreachable()):
        raise MissingData(f"{reason}; nothing was checked", param="--source", given=parameters.source)
    specs = tasks_asked(parameters.tasks, None) or list(TASKS.values())
    revisions = read_revisions(ROOT / REVISIONS_FILE) if mirror is None else {}
    findings = check(Mirror(mirror) if mirror else LiveHub(), specs, revisions)
    show(findings)
    wrong = [finding for finding in findings if finding.problem]
    if wrong:
        raise MissingData(f"{len(wrong)} of {len(findings)} splits are not as the catalogue says")


def check(hub: Repositories, specs: Sequence[TaskSpec], revisions: dict[str, str]) -> list[Finding]:
    """One finding for every split of every task that has a hub repository.

    Args:
        revisions: repository -> commit to look at instead of the spec's revision or the branch's head.
    """
    findings = []
    for spec in specs:
        if spec.hub is None or spec.rows_of:
            continue  # protocols of one data set have its repository
        head = "refs/convert/parquet" if spec.hub.parquet_branch else "main"
        revision = revisions.get(spec.hub.id) or spec.hub.revision or head
        findings += [_check_split(hub, spec, spec.hub, revision, split) for split in spec.hub.splits]
    return findings


def _check_split(hub: Repositories, spec: TaskSpec, files: HubFiles, revision: str, split: str) -> Finding:
    there = [language for language in spec.languages if language not in files.absent.get(split, ())]
    # The documented rows are the English config's.
    language = "en" if "en" in there else there[0]
    rows, problems = None, list[str]()
    try:
        listed = hub.files(files.id, revision)
        found = {name: _matching(listed, file_patterns(files, split, name)) for name in there}
        if lacking := [name for name, paths in found.items() if not paths]:
            problems.append(f"no files for {' '.join(lacking)}")
        if found[language]:
            rows, columns = _rows_and_columns(hub, files.id, revision, found[language])
            ours = RAW_COLUMNS[spec.shape] if spec.shape else COLUMNS[spec.format]
            wanted = [files.columns.get(column, column) for column in ours]
            missing = [column for column in wanted if column not in columns and column != "id"]
            if missing:
                problems.append(f"no column {', '.join(missing)}; found {', '.join(columns)}")
    except PolystiltsError as error:
        problems.append(error.message)
    documented = files.rows.get(split)
    if rows is not None and documented is not None and rows != documented:
        problems.append(f"{rows:,} rows, documented {documented:,}")
    return Finding(spec.name, files.id, revision, split, language, rows, documented, "; ".join(problems))


def _matching(paths: list[str], patterns: list[str]) -> list[str]:
    # As many folders as the pattern has: fnmatch's star would also match a slash.
    return sorted(
        path
        for path in paths
        if any(path.count("/") == p.count("/") and fnmatch.fnmatchcase(path, p) for p in patterns)
    )


def _rows_and_columns(hub: Repositories, id: str, revision: str, paths: list[str]) -> tuple[int, list[str]]:
    """Rows of all files together, columns of the first.

    Raises:
        MissingData: a file that cannot be read.
    """
    import pyarrow
    from huggingface_hub.errors import HfHubHTTPError
    from pyarrow.parquet import ParquetFile

    rows, columns = 0, list[str]()
    for path in paths:
        try:
            with hub.open(id, revision, path) as file:
                if path.endswith(".parquet"):
                    parquet = ParquetFile(file)
                    rows += parquet.metadata.num_rows
                    columns = columns or list(parquet.schema_arrow.names)
                else:
                    values = _json_rows(file.read())
                    rows += len(values)
                    columns = columns or list(values[0] if values else ())
        except (OSError, ValueError, pyarrow.ArrowException, HfHubHTTPError) as error:
            raise MissingData(f"{path} cannot be read: {_first_line(error)}", given=path) from None
    return rows, columns


def _json_rows(raw: bytes) -> list[dict[str, Any]]:
    """The rows of a json list or of json lines."""
    if raw.lstrip().startswith(b"["):
        return list(json.loads(raw))
    return [json.loads(line) for line in raw.splitlines() if line.strip()]


def show(findings: Sequence[Finding]) -> None:
    """All findings in one table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("task", "repository", "revision", "split", "language"):
        table.add_column(column, overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("found")
    for one in findings:
        rows = "-" if one.rows is None else f"{one.rows:,}"
        said = one.problem or ("as documented" if one.documented is not None else "there; rows not documented")
        cells = (one.task, one.repository, one.revision[:20], one.split, one.language, rows)
        table.add_row(*(Text(cell) for cell in cells), Text(said, style="red" if one.problem else ""))
    Console(highlight=False, width=max(100, shutil.get_terminal_size((140, 24)).columns)).print(table)


def _mirror(text: str) -> Path | None:
    """The mirror's folder, or None for the hub itself.

    Raises:
        InvalidValue: neither.
    """
    source = open_source(text, ROOT, param="--source")
    if not isinstance(source, HubSource):
        raise InvalidValue("only hub and hub:DIR can be checked", param="--source", given=text)
    return source.root


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


if __name__ == "__main__":
    command(CheckHub, run, examples=EXAMPLES)
