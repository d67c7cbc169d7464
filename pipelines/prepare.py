"""Fetches and pins everything a preset needs, so that every other entry point runs without the internet."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from pipelines.preset import Preset, load_preset
from pipelines.protocol import drawn_from
from polystilts.data.hub import REVISIONS_FILE, HubSource, read_revisions
from polystilts.data.source import open_source
from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, PolystiltsError, Problems
from polystilts.runtime.folders import read_json, sha256, write_json
from polystilts.tasks import TASKS, TaskSpec, get_task, parse_mixture
from polystilts.tasks.languages import spell

if TYPE_CHECKING:
    from rich.console import Console

#: File of the downloads folder: path -> url, bytes, sha256.
MANIFEST = "manifest.json"

#: What a base model is loaded from.
MODEL_FILES = ("model.safetensors", "*.json", "sentencepiece.bpe.model")

_CHUNK = 1 << 20
_ATTEMPTS = 3

#: Different reasons shown for one task.
_REASONS = 3

#: How the name of an unfinished file begins.
_UNFINISHED = ".unfinished-"

EXAMPLES = """\
  python -m pipelines.prepare --preset xlmr-base
  python -m pipelines.prepare --preset xlmr-base --tasks xnli,xquad

The commit of every repository is kept in hub-revisions.json, and the same one is fetched when the command runs again;
to move to a newer one, take its line out. An interrupted run continues with what is missing."""


class Prepare(Parameters):
    """Downloads and pins the data sets of a preset's tasks, the authors' own files, and the base model."""

    preset: str = Field("xlmr-base", description="name of a file in presets/, or path of one")
    source: str = Field("hub", description="hub, or hub:DIR, a mirror whose files are checked instead of fetched")
    tasks: str = Field("", description="these tasks and what they are trained on, by comma; '' = all of the preset")

    def problems(self) -> Sequence[PolystiltsError]:
        problems: list[PolystiltsError] = []
        try:
            preset: Preset | None = load_preset(self.preset)
        except Problems as error:
            preset, problems = None, list(error.problems)
        except PolystiltsError as error:
            preset, problems = None, [error]
        try:
            if not isinstance(open_source(self.source, ROOT, param="--source"), HubSource):
                problems.append(
                    InvalidValue("only hub and hub:DIR can be prepared", param="--source", given=self.source)
                )
        except PolystiltsError as error:
            problems.append(error)
        try:
            tasks_asked(self.tasks, preset)
        except PolystiltsError as error:
            problems.append(error)
        return problems


class Bar(Protocol):
    """Opens a progress bar: ``with bar(text, total, unit) as step: step(n)``; total None = not known."""

    def __call__(
        self, text: str, total: int | None, unit: str = "files"
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@dataclass
class Held:
    """What is there for one task.

    Attributes:
        what: task, or 'base model'.
        where: repository or address.
        pinned: commit or sha256 (first 12 digits), '' for a mirror.
        files: splits x languages, or files.
    """

    what: str
    where: str
    pinned: str
    files: int


@dataclass
class Result:
    """What a run leaves: what is held, what could not be had and why, and what must be got by hand."""

    held: list[Held] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def run(parameters: Prepare) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=min(shutil.get_terminal_size((100, 24)).columns, 120))
    preset = load_preset(parameters.preset)
    source = open_source(parameters.source, ROOT)
    assert isinstance(source, HubSource), "checked with the parameters"
    result = Result()
    specs = needed_tasks(tasks_asked(parameters.tasks, preset))
    if reason := unreachable():
        # The hub's client would try each file for half a minute.
        console.print(f"{reason}; only what is in the cache is checked")
        work_offline()
    with progress_bar(console) as bar:
        prepare_hub(source, specs, ROOT / REVISIONS_FILE, result, bar)
        prepare_upstream(specs, None if source.root else source.downloads, result, bar)
        prepare_base(preset.base, result, bar)
    show(result, console)
    if result.failed:
        names = dict.fromkeys(what for what, _ in result.failed)
        raise MissingData(f"{len(names)} tasks are not complete: {', '.join(names)}; the same command continues")


def unreachable(seconds: float = 10.0) -> str:
    """Why the hub cannot be reached, '' if it can."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"{constants.ENDPOINT} is not asked: HF_HUB_OFFLINE is set"
    try:
        httpx.head(constants.ENDPOINT, timeout=seconds)
    except httpx.HTTPError as error:
        return f"{constants.ENDPOINT} cannot be reached ({error or type(error).__name__})"
    return ""


def work_offline() -> None:
    """The hub's client asks its cache alone from here on."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True


def tasks_asked(text: str, preset: Preset | None) -> list[TaskSpec]:
    """The tasks of a list, or all that a preset names; none where both are missing.

    Raises:
        UnknownName: with the nearest known name.
    """
    if text.strip():
        return [get_task(name.strip(), param="--tasks") for name in text.split(",") if name.strip()]
    mixtures = preset.intermediate.split(",") if preset else []
    targets = preset.targets.split(",") if preset else []
    names = [name.strip() for name in (*mixtures, *targets) if name.strip() not in ("", "none")]
    return [spec for name in names for spec in parse_mixture(name, param="--preset")]


def needed_tasks(specs: Sequence[TaskSpec]) -> list[TaskSpec]:
    """The tasks, with those whose rows a job on them reads: training tasks and what comes before, parts, the
    original of a translation, and targets drawn from a training set, whose rows are kept out of its checkpoint rows.
    """
    found: dict[str, TaskSpec] = {}
    waiting = list(specs)
    while waiting:
        spec = waiting.pop(0)
        if spec.name in found:
            continue
        found[spec.name] = spec
        names = [*spec.before, spec.train_task, *spec.parts, spec.translates]
        names += [target.name for target in drawn_from(spec)] if spec.train_task == spec.name else []
        waiting += [TASKS[name] for name in names if name]
    return list(found.values())


# The hub


def prepare_hub(source: HubSource, specs: Sequence[TaskSpec], revisions: Path, result: Result, bar: Bar) -> None:
    """Fetches every split of every language and pins each repository at the commit of its first file.

    Pins are written at once, so that a run which is interrupted continues at the same commits. In a mirror the files
    are looked for, those of the authors too.
    """
    done: dict[tuple[str, ...], str] = {}
    parts = {spec.name: hub_parts(spec, upstream=source.root is not None) for spec in specs}
    with bar("data sets", sum(map(len, parts.values()))) as step:
        for spec in specs:
            commit, got, reasons = "", 0, dict[str, int]()
            for split, language in parts[spec.name]:
                try:
                    # Protocols of one data set share its files.
                    key = _key(spec, split, language)
                    if key not in done:
                        done[key] = source.prepare(spec, split, language)
                        if spec.hub:
                            _pin(source, spec.hub.id, done[key], revisions)
                    commit, got = done[key], got + 1
                except PolystiltsError as error:
                    reasons[error.message] = reasons.get(error.message, 0) + 1
                step(1)
            if got:
                result.held.append(Held(spec.name, spec.hub.id if spec.hub else "mirror", commit[:12], got))
            count = len(parts[spec.name])
            for reason, failed in list(reasons.items())[:_REASONS]:
                result.failed.append((spec.name, f"{reason} ({failed} of {count} files)"))
            if len(reasons) > _REASONS:
                rest = sum(list(reasons.values())[_REASONS:])
                result.failed.append((spec.name, f"and {rest} more of {count} files for like reasons"))


def hub_parts(spec: TaskSpec, *, upstream: bool = False) -> list[tuple[str, str]]:
    """(split, language) of everything a task has on the hub; with `upstream` also of the authors' own files."""
    hub = spec.hub
    if hub is not None:
        return [(s, x) for s in hub.splits for x in spec.languages if x not in hub.absent.get(s, ())]
    if upstream and spec.upstream and spec.local:
        return [(s, x) for s in spec.local.splits for x in spec.languages]
    return []


def _key(spec: TaskSpec, split: str, language: str) -> tuple[str, ...]:
    """What is the same where two tasks read the same file."""
    if spec.hub is None:
        return (spec.data, split, language)
    hub = spec.hub
    config = hub.config.replace("{language}", spell(language, hub.spelling))
    return (hub.id, config, hub.files.get(split, hub.splits[split]))


def _pin(source: HubSource, id: str, commit: str, file: Path) -> None:
    if commit and source.revisions.get(id) != commit:
        source.revisions[id] = commit
        write_json(file, dict(sorted({**read_revisions(file), id: commit}.items())))


# The authors' own files


def prepare_upstream(specs: Sequence[TaskSpec], folder: Path | None, result: Result, bar: Bar) -> None:
    """Fetches the authors' own files into `folder`; those that are there with the recorded sha256 stay.

    Without a folder it only notes what has to be got by hand.
    """
    for spec in specs:
        if spec.upstream is None and spec.hub is None and not spec.parts and spec.local:
            result.notes.append((spec.name, spec.note or "local files only"))
        elif spec.upstream and spec.upstream.note:
            result.notes.append((spec.name, spec.upstream.note))
    wanted = {spec.name: urls for spec in specs if (urls := upstream_files(spec))}
    if folder is None or not wanted:
        return
    problems = fetch_files({path: url for urls in wanted.values() for path, url in urls.items()}, folder, bar)
    manifest = read_manifest(folder)
    for name, urls in wanted.items():
        there = [path for path in urls if path not in problems]
        if there:
            address = urlsplit(urls[there[0]]).netloc
            result.held.append(Held(name, address, manifest[there[0]]["sha256"][:12], len(there)))
        for reason in dict.fromkeys(problems[path] for path in urls if path in problems):
            result.failed.append((name, reason))


def upstream_files(spec: TaskSpec) -> dict[str, str]:
    """Path below the downloads folder -> address, for every language of the task."""
    if spec.upstream is None:
        return {}
    names = spec.local.names if spec.local else {}
    how = spec.local.spelling if spec.local else "code"
    files = {}
    for pattern, url in spec.upstream.urls.items():
        for language in spec.languages:
            word = names.get(language) or spell(language, how)
            files[pattern.replace("{language}", word)] = url.replace("{language}", word)
    return files


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """path -> url, bytes, sha256 of every file that was fetched."""
    path = folder / MANIFEST
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise ChecksumMismatch(f"{path} is not a JSON object; remove it to fetch everything again")
    return value


def fetch_files(files: Mapping[str, str], folder: Path, bar: Bar) -> dict[str, str]:
    """Fetches every file that is not there with the recorded sha256.

    Args:
        files: path below `folder` -> address; ``ADDRESS#MEMBER`` is a file inside an archive (zip, or tar in any
            compression), which is fetched once for all its members.

    Returns:
        Path -> why it could not be had.

    Raises:
        InvalidValue: another process is fetching into this folder.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            # A run that was killed could not take its unfinished files away.
            for rest in folder.rglob(f"{_UNFINISHED}*"):
                rest.unlink()
            return _fetch_missing(files, folder, bar)
    except Timeout:
        raise InvalidValue(f"another process is fetching into {folder}; try again when it is done") from None


def _fetch_missing(files: Mapping[str, str], folder: Path, bar: Bar) -> dict[str, str]:
    manifest = read_manifest(folder)
    problems: dict[str, str] = {}
    by_address: dict[str, dict[str, str]] = {}
    for path, url in files.items():
        try:
            if not is_whole(inside(folder, path), manifest.get(path), url):
                address, _, member = url.partition("#")
                by_address.setdefault(address, {})[path] = member
        except InvalidValue as error:
            problems[path] = error.message
    for address, members in by_address.items():
        kept: list[str] = []
        try:
            with fetched(address, folder, bar) as file:
                for path, stream in unpacked(file, members, address):
                    kept.append(path)
                    try:
                        _keep(stream, path, files[path], folder, manifest)
                    except ChecksumMismatch as error:
                        problems[path] = error.message
            reasons = {path: f"{address} holds no file {member!r}" for path, member in members.items()}
        except MissingData as error:
            # The member at which an archive breaks off was begun and is not there.
            kept = [path for path in kept if path in manifest and is_whole(folder / path, manifest[path], files[path])]
            reasons = dict.fromkeys(members, error.message)
        problems |= {path: reason for path, reason in reasons.items() if path not in kept and path not in problems}
    return problems


def inside(folder: Path, path: str) -> Path:
    """The place of a file below `folder`.

    Raises:
        InvalidValue: the path leads out of it.
    """
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()) or place == folder.resolve():
        raise InvalidValue(f"{path!r} lies outside {folder}", param="path", given=path)
    return place


def is_whole(place: Path, record: Mapping[str, Any] | None, url: str) -> bool:
    """Whether a file is the one that was fetched from this address."""
    if record is None or record["url"] != url or not place.is_file():
        return False
    return place.stat().st_size == record["bytes"] and sha256(place) == record["sha256"]


@contextmanager
def fetched(address: str, folder: Path, bar: Bar) -> Iterator[Path]:
    """A file in a temporary place of `folder`, gone when the block ends, however it ends.

    Raises:
        MissingData: the address does not answer, or not with the whole file; three attempts are made.
    """
    import httpx
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    if urlsplit(address).scheme not in ("http", "https"):
        raise MissingData(f"{address} is not an http address", given=address)
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=folder)
    os.close(handle)
    temporary = Path(name)
    again = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=0.2, max=5),
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )
    try:
        try:
            again(_download, address, temporary, bar)
        except httpx.HTTPStatusError as error:
            raise MissingData(f"{address}: HTTP {error.response.status_code}", given=address) from None
        except httpx.HTTPError as error:
            raise MissingData(f"{address}: {error or type(error).__name__}", given=address) from None
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _download(address: str, file: Path, bar: Bar) -> None:
    import httpx

    timeout = httpx.Timeout(60, connect=15)
    with (
        # The bytes as they are stored: a length and a sha256 are theirs.
        httpx.stream(
            "GET", address, follow_redirects=True, timeout=timeout, headers={"accept-encoding": "identity"}
        ) as response,
        file.open("wb") as target,
    ):
        response.raise_for_status()
        size = int(response.headers.get("content-length", 0))
        with bar(Path(urlsplit(address).path).name, size or None, "bytes") as step:
            for chunk in response.iter_bytes(_CHUNK):
                target.write(chunk)
                step(len(chunk))


def _may_pass(error: BaseException) -> bool:
    """Whether another attempt may help: no connection, a cut one, or a server in trouble."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def unpacked(file: Path, members: Mapping[str, str], address: str) -> Iterator[tuple[str, IO[bytes]]]:
    """(path, stream) of the file itself, or of its members in an archive.

    Only members that are asked for by name are read, only if they are regular files, and they are written where
    `members` says: no name or link inside an archive decides about a place.

    Raises:
        MissingData: not an archive that can be opened, or a member that is no regular file.
    """
    if not any(members.values()):
        for path in members:
            with file.open("rb") as stream:
                yield path, stream
        return
    wanted = {member: path for path, member in members.items()}
    with broken_archive(address):
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for member in sorted(wanted.keys() & set(archive.namelist())):
                    with archive.open(member) as stream:
                        yield wanted[member], stream
            return
        with tarfile.open(file) as tar:
            # In the order of the archive: a compressed one can be read forwards only.
            for entry in tar:
                path = wanted.get(entry.name.removeprefix("./"), "")
                if path and not entry.isreg():
                    raise MissingData(f"{address}: {entry.name!r} is not a regular file", given=entry.name)
                inner = tar.extractfile(entry) if path else None
                if inner is not None:
                    with inner:
                        yield path, inner


@contextmanager
def broken_archive(address: str) -> Iterator[None]:
    """Makes what the archive modules raise one error of ours; what the disk raises stays."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise MissingData(f"{address} is not an archive that can be read: {error}", given=address) from None


def _keep(stream: IO[bytes], path: str, url: str, folder: Path, manifest: dict[str, dict[str, Any]]) -> None:
    """Writes a file beside its place, renames it and records it.

    Raises:
        ChecksumMismatch: the manifest has another sha256 for this address: upstream has changed.
    """
    place = inside(folder, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{_UNFINISHED}{place.name}")
    try:
        with temporary.open("wb") as target, broken_archive(url):
            shutil.copyfileobj(stream, target, _CHUNK)
        record: dict[str, Any] = {"url": url, "bytes": temporary.stat().st_size, "sha256": sha256(temporary)}
        old = manifest.get(path)
        if old and old["url"] == url and old["sha256"] != record["sha256"]:
            raise ChecksumMismatch(
                f"{url} has changed: its sha256 is {record['sha256'][:12]}…, pinned is {old['sha256'][:12]}…; "
                f"take {path!r} out of {folder / MANIFEST} to accept the new file"
            )
        os.replace(temporary, place)
        manifest[path] = record
        write_json(folder / MANIFEST, dict(sorted(manifest.items())))
    finally:
        temporary.unlink(missing_ok=True)


# The base model


def prepare_base(base: str, result: Result, bar: Bar) -> None:
    """Fetches the base model, ``OWNER/NAME@REVISION``; the micro encoder and a folder need nothing."""
    from pipelines.micro_encoder import is_micro

    if is_micro(base):
        return
    folder = ROOT / Path(base).expanduser()
    if folder.is_dir():
        result.held.append(Held("base model", str(folder), "", 1))
        return
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    name, _, revision = base.partition("@")
    with bar("base model", 1) as step:
        try:
            place = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(MODEL_FILES)))
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            result.failed.append(("base model", f"{base} cannot be fetched ({reason})"))
            return
        step(1)
    result.held.append(Held("base model", name, place.name[:12], sum(1 for path in place.rglob("*") if path.is_file())))


# What the user sees


@contextmanager
def progress_bar(console: Console) -> Iterator[Bar]:
    """A line for everything under way."""
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

    counted = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)
    sized = Progress(TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), console=console, transient=True)

    @contextmanager
    def bar(text: str, total: int | None, unit: str = "files") -> Iterator[Callable[[int], None]]:
        with sized if unit == "bytes" else counted as shown:
            task = shown.add_task(text, total=total)
            yield lambda done: shown.advance(task, done)
            shown.remove_task(task)

    yield bar


def show(result: Result, console: Console) -> None:
    """What is held, what is to be got by hand, and what failed, in this order."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Held", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("task", "from", "pinned"):
        table.add_column(column, overflow="fold")
    table.add_column("files", justify="right")
    for held in result.held:
        table.add_row(*(Text(cell) for cell in (held.what, held.where, held.pinned or "-", str(held.files))))
    console.print(table)
    for heading, lines in (("By hand", result.notes), ("Could not be fetched", result.failed)):
        if lines:
            console.print(Text(heading, style="bold"))
        for what, text in lines:
            console.print(Text(f"  {what}: {text}"))


if __name__ == "__main__":
    command(Prepare, run, examples=EXAMPLES)
