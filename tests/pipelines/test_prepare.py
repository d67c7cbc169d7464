"""`python -m pipelines.prepare` against a server on loopback and a mirror on disk; nothing reaches the internet."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tenacity import wait_none

from pipelines import prepare
from pipelines.cli import parse
from pipelines.prepare import (
    Result,
    fetch_files,
    needed_tasks,
    prepare_base,
    prepare_hub,
    prepare_upstream,
    read_manifest,
)
from polystilts.data.hub import HubSource, read_revisions
from polystilts.errors import InvalidValue, MissingData, Problems
from polystilts.runtime.folders import sha256
from polystilts.tasks import UpstreamFiles, get_task


@contextlib.contextmanager
def no_bar(text: str, total: int | None, unit: str = "files") -> Iterator[Any]:
    yield lambda done: None


@dataclass
class Web:
    """What the server holds by path; `broken` paths are cut off in the middle, `asked` are the requests."""

    address: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    failing: dict[str, list[int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    web = Web()
    monkeypatch.setattr("tenacity.wait_exponential", lambda **_: wait_none())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            if web.failing.get(self.path):
                self.send_error(web.failing[self.path].pop(0))
            elif self.path == "/moved":
                self.send_response(302)
                self.send_header("location", "/plain.csv")
                self.end_headers()
            elif self.path not in web.pages:
                self.send_error(404)
            else:
                body = web.pages[self.path]
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if self.path in web.broken else body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        web.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield web
        server.shutdown()
        thread.join()


def tar(compression: str, **files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def left_over(folder: Path) -> list[str]:
    """Files below the folder beside the manifest and what it lists."""
    known = {*read_manifest(folder), "manifest.json", ".lock"}
    return [
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder)) not in known
    ]


def test_files_are_fetched_recorded_and_not_fetched_again(web: Web, tmp_path: Path) -> None:
    web.pages["/plain.csv"] = "a,b\nё,猫\n".encode()
    files = {"set/plain.csv": f"{web.address}/plain.csv", "set/moved.csv": f"{web.address}/moved"}
    assert fetch_files(files, tmp_path, no_bar) == {}
    assert (tmp_path / "set/moved.csv").read_bytes() == web.pages["/plain.csv"]
    record = read_manifest(tmp_path)["set/plain.csv"]
    assert record == {"url": files["set/plain.csv"], "bytes": 11, "sha256": sha256(tmp_path / "set/plain.csv")}
    assert left_over(tmp_path) == []
    web.asked.clear()
    assert fetch_files(files, tmp_path, no_bar) == {} and web.asked == []
    (tmp_path / "set/plain.csv").write_text("damaged")
    assert fetch_files(files, tmp_path, no_bar) == {} and web.asked == ["/plain.csv"]
    assert (tmp_path / "set/plain.csv").read_bytes() == web.pages["/plain.csv"]


def test_a_file_that_changed_upstream_is_refused_and_the_old_one_stays(web: Web, tmp_path: Path) -> None:
    web.pages["/plain.csv"] = b"old"
    files = {"plain.csv": f"{web.address}/plain.csv"}
    fetch_files(files, tmp_path, no_bar)
    web.pages["/plain.csv"] = b"new"
    (tmp_path / "plain.csv").unlink()
    assert "has changed" in fetch_files(files, tmp_path, no_bar)["plain.csv"]
    assert not (tmp_path / "plain.csv").exists() and left_over(tmp_path) == []


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_members_of_an_archive_are_unpacked_from_one_download(web: Web, tmp_path: Path, compression: str) -> None:
    web.pages["/x.tar"] = tar(compression, **{"./d/one.txt": "1", "d/two.txt": "2", "d/three.txt": "3"})
    files = {f"out/{name}": f"{web.address}/x.tar#d/{name}.txt" for name in ("one", "two", "four")}
    problems = fetch_files(files, tmp_path, no_bar)
    assert problems == {"out/four": f"{web.address}/x.tar holds no file 'd/four.txt'"}
    assert [(tmp_path / "out" / name).read_text() for name in ("one", "two")] == ["1", "2"]
    assert web.asked == ["/x.tar"] and left_over(tmp_path) == []


def test_members_of_a_zip(web: Web, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("MLQA_V1/dev.json", "{}")
    web.pages["/x.zip"] = buffer.getvalue()
    files = {"dev.json": f"{web.address}/x.zip#MLQA_V1/dev.json", "no.json": f"{web.address}/x.zip#no.json"}
    assert list(fetch_files(files, tmp_path, no_bar)) == ["no.json"]
    assert (tmp_path / "dev.json").read_text() == "{}"


def test_nothing_is_written_outside_the_folder(web: Web, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        evil = tarfile.TarInfo("../../evil")
        evil.size = 4
        archive.addfile(evil, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("data")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    web.pages |= {"/evil.tar": buffer.getvalue(), "/plain.csv": b"x"}
    address = f"{web.address}/plain.csv"
    outside = {"../a": address, "/tmp/polystilts-test": address, "b/../../c": address, "link/d": address, ".": address}
    problems = fetch_files({**outside, "data": f"{web.address}/evil.tar#data"}, folder, no_bar)
    assert all("lies outside" in problems[path] for path in outside)
    assert "'data' is not a regular file" in problems["data"]
    # The name inside the archive says nothing about the place.
    assert fetch_files({"e": f"{web.address}/evil.tar#../../evil"}, folder, no_bar) == {}
    assert (folder / "e").read_bytes() == b"evil"
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {"downloads/e", "downloads/manifest.json", "downloads/.lock"}


def test_a_download_that_is_cut_off_is_no_file(web: Web, tmp_path: Path) -> None:
    web.pages["/plain.csv"] = b"0123456789" * 1000
    web.broken.add("/plain.csv")
    files = {"plain.csv": f"{web.address}/plain.csv"}
    assert "plain.csv" in fetch_files(files, tmp_path, no_bar)
    assert len(web.asked) == 3 and not (tmp_path / "plain.csv").exists() and left_over(tmp_path) == []
    web.broken.clear()
    assert fetch_files(files, tmp_path, no_bar) == {}
    assert (tmp_path / "plain.csv").stat().st_size == 10_000


def test_an_archive_that_is_broken_keeps_what_was_whole(web: Web, tmp_path: Path) -> None:
    whole = tar("gz", one="1" * 10, two="".join(map(str, range(100_000))))
    web.pages["/x.tar"] = whole[: len(whole) // 2]
    files = {name: f"{web.address}/x.tar#{name}" for name in ("one", "two")}
    problems = fetch_files(files, tmp_path, no_bar)
    assert list(problems) == ["two"] and "not an archive that can be read" in problems["two"]
    assert list(read_manifest(tmp_path)) == ["one"] and left_over(tmp_path) == []


def test_a_server_in_trouble_is_asked_again_and_a_missing_page_is_not(web: Web, tmp_path: Path) -> None:
    web.pages["/plain.csv"] = b"x"
    web.failing["/plain.csv"] = [503, 429]
    files = {"plain.csv": f"{web.address}/plain.csv", "none.csv": f"{web.address}/none.csv", "ftp": "ftp://x/y"}
    problems = fetch_files(files, tmp_path, no_bar)
    assert problems == {
        "none.csv": f"{web.address}/none.csv: HTTP 404",
        "ftp": "ftp://x/y is not an http address",
    }
    assert web.asked.count("/none.csv") == 1 and web.asked.count("/plain.csv") == 3


def test_an_interrupted_run_continues(web: Web, tmp_path: Path) -> None:
    web.pages |= {"/a": b"a", "/b": b"b"}
    files = {"a": f"{web.address}/a", "b": f"{web.address}/b"}

    @contextlib.contextmanager
    def interrupted(text: str, total: int | None, unit: str = "files") -> Iterator[Any]:
        if text == "b":
            raise KeyboardInterrupt
        yield lambda done: None

    with pytest.raises(KeyboardInterrupt):
        fetch_files(files, tmp_path, interrupted)
    assert list(read_manifest(tmp_path)) == ["a"] and left_over(tmp_path) == []
    # What a killed process leaves is taken away.
    (tmp_path / ".unfinished-c").write_text("half")
    web.asked.clear()
    assert fetch_files(files, tmp_path, no_bar) == {}
    assert web.asked == ["/b"] and left_over(tmp_path) == []


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(InvalidValue, match="another process is fetching"):
        fetch_files({"a": "http://127.0.0.1:9/a"}, tmp_path, no_bar)


def test_languages_are_spelled_as_the_local_files_are(web: Web, tmp_path: Path) -> None:
    bucc = get_task("bucc2018")
    urls = prepare.upstream_files(bucc)
    assert len(urls) == len(bucc.languages) * len(bucc.upstream.urls)
    assert urls["bucc2018/zh-en.dev.zh"].endswith("zh-en.sample-gold.tar.bz2#bucc2018/zh-en/zh-en.sample.zh")
    spec = replace(
        get_task("masakhaner"),
        upstream=UpstreamFiles(MappingProxyType({"m/{language}.txt": f"{web.address}/{{language}}"}), note="and ask"),
    )
    web.pages |= {f"/{name}": b"x" for name in ("am", "ibo", "swa")}
    result = Result()
    prepare_upstream([spec], tmp_path, result, no_bar)
    assert sorted(read_manifest(tmp_path)) == ["m/am.txt", "m/ibo.txt", "m/swa.txt"]
    assert [held.files for held in result.held] == [3]
    assert result.failed == [("masakhaner", f"{web.address}/wol: HTTP 404")]
    assert result.notes == [("masakhaner", "and ask")]


def test_what_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    result = Result()
    prepare_upstream([get_task("ccg"), get_task("mewslix"), get_task("xnli")], tmp_path, result, no_bar)
    notes = dict(result.notes)
    assert "LDC2005T13" in notes["ccg"] and "get-mewsli-x.sh" in notes["mewslix"] and "xnli" not in notes
    assert result.failed == [] and not any(tmp_path.iterdir())


def test_what_a_job_reads_is_needed() -> None:
    def names(*asked: str) -> set[str]:
        return {spec.name for spec in needed_tasks([get_task(name) for name in asked])}

    assert names("xnli") == {"xnli", "mnli"}
    # XQuAD's rows are kept out of SQuAD's checkpoint rows, so they are needed wherever SQuAD is.
    assert names("mlqa") == {"mlqa", "squad_v1", "xquad", "lareqa", "squad_sentences"}
    assert "xquad" in names("squad_v2")
    assert names("xcopa_after_siqa") >= {"siqa", "copa", "xcopa"}
    assert names("anli_plus") == {"anli_plus", "anli", "mnli", "snli"}
    assert names("squad_translated") >= {"squad_v1", "xquad"}


class Repositories(HubSource):
    """A hub of which some files are there, each repository at one commit."""

    def __init__(self, refused: tuple[str, ...] = (), commit: str = "c1", **rest: Any) -> None:
        super().__init__(**rest)
        self.refused, self.commit = refused, commit
        self.asked: list[tuple[str, str, str]] = []

    def prepare(self, spec: Any, split: str, language: str) -> str:
        self.asked.append((spec.name, split, language))
        if language in self.refused:
            raise MissingData(f"{spec.hub.id} cannot be reached")
        return self.revisions.get(spec.hub.id, f"{self.commit}-{spec.hub.id}")


def test_every_split_and_language_is_fetched_and_every_repository_pinned(tmp_path: Path) -> None:
    source, result, file = Repositories(), Result(), tmp_path / "hub-revisions.json"
    prepare_hub(source, [get_task("udpos"), get_task("mnli"), get_task("xcopa")], file, result, no_bar)
    udpos = [(split, language) for name, split, language in source.asked if name == "udpos"]
    assert ("validation", "en") in udpos and ("test", "th") in udpos
    assert ("train", "th") not in udpos and ("test", "wo") not in udpos
    assert ("xcopa", "test", "en") not in source.asked
    pins = {"google/xtreme": "c1-google/xtreme", "nyu-mll/glue": "c1-nyu-mll/glue"}
    assert read_revisions(file) == pins | {"cambridgeltl/xcopa": "c1-cambridgeltl/xcopa"}
    assert [(held.what, held.files) for held in result.held] == [("udpos", 92), ("mnli", 2), ("xcopa", 22)]
    # Another run, another head: the pins stay.
    later = Repositories(commit="c2", revisions=read_revisions(file))
    prepare_hub(later, [get_task("mnli")], file, Result(), no_bar)
    assert read_revisions(file)["nyu-mll/glue"] == "c1-nyu-mll/glue"


def test_protocols_of_one_data_set_are_fetched_once(tmp_path: Path) -> None:
    source, result = Repositories(), Result()
    specs = [get_task("xcopa"), get_task("xcopa_after_siqa")]
    prepare_hub(source, specs, tmp_path / "pins", result, no_bar)
    assert {name for name, _, _ in source.asked} == {"xcopa"}
    assert [(held.what, held.files) for held in result.held] == [("xcopa", 22), ("xcopa_after_siqa", 22)]


def test_unreachable_sets_are_listed_with_reasons_and_the_rest_is_kept(tmp_path: Path) -> None:
    source, result = Repositories(refused=("de", "fr")), Result()
    prepare_hub(source, [get_task("xnli"), get_task("mnli")], tmp_path / "pins", result, no_bar)
    assert result.failed == [("xnli", "facebook/xnli cannot be reached (4 of 30 files)")]
    assert [(held.what, held.files) for held in result.held] == [("xnli", 26), ("mnli", 2)]


def test_pins_are_written_at_once(tmp_path: Path) -> None:
    class Interrupted(Repositories):
        def prepare(self, spec: Any, split: str, language: str) -> str:
            if spec.name == "mnli":
                raise KeyboardInterrupt
            return super().prepare(spec, split, language)

    with pytest.raises(KeyboardInterrupt):
        prepare_hub(Interrupted(), [get_task("copa"), get_task("mnli")], tmp_path / "pins", Result(), no_bar)
    assert json.loads((tmp_path / "pins").read_text()) == {"aps/super_glue": "c1-aps/super_glue"}


def test_a_mirror_is_checked_and_not_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    mirror = tmp_path / "mirror"
    for path in ("nyu-mll/glue/mnli/train-0.parquet", "facebook/xnli/de/test-0.parquet"):
        (mirror / path).parent.mkdir(parents=True)
        (mirror / path).touch()
    monkeypatch.setattr(prepare, "ROOT", tmp_path)
    monkeypatch.setattr(prepare, "unreachable", lambda: "the hub cannot be reached")
    monkeypatch.setattr(prepare, "work_offline", lambda: None)
    parameters = parse(prepare.Prepare, ["--preset=micro", f"--source=hub:{mirror}", "--tasks=xnli"], program="prepare")
    with pytest.raises(MissingData, match="2 tasks are not complete"):
        prepare.run(parameters)
    shown = capsys.readouterr().out
    assert "Could not be fetched" in shown and "xnli: no files ar/validation" in " ".join(shown.split())
    assert not (tmp_path / "hub-revisions.json").exists()


def test_a_mirror_holds_the_authors_files_too(tmp_path: Path) -> None:
    result = Result()
    (tmp_path / "upstream/cosmosqa").mkdir(parents=True)
    (tmp_path / "upstream/cosmosqa/train.csv").write_text("id\n1\n")
    prepare_hub(HubSource(tmp_path), [get_task("cosmosqa")], tmp_path / "pins", result, no_bar)
    assert [(held.what, held.files) for held in result.held] == [("cosmosqa", 1)]
    assert "valid.csv" in result.failed[0][1]


def test_a_hub_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert prepare.unreachable().endswith("is not asked: HF_HUB_OFFLINE is set")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert prepare.unreachable().startswith("http://127.0.0.1:9 cannot be reached (")


def test_a_base_on_disk_needs_nothing_and_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = Result()
    prepare_base("micro", result, no_bar)
    prepare_base(str(tmp_path), result, no_bar)
    prepare_base("nobody/nothing@0000", result, no_bar)
    assert [held.where for held in result.held] == [str(tmp_path)]
    assert result.failed[0][0] == "base model" and "nobody/nothing@0000 cannot be fetched" in result.failed[0][1]


def test_problems_are_reported_together() -> None:
    with pytest.raises(Problems) as error:
        parse(prepare.Prepare, ["--preset=xlmr-bse", "--source=micro", "--tasks=xnil"], program="prepare")
    text = error.value.message
    assert "did you mean 'xlmr-base'" in text and "only hub and hub:DIR" in text and "did you mean 'xnli'" in text
