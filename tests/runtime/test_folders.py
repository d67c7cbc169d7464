"""Folders and files that are complete or absent."""

import json
import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.errors import ChecksumMismatch, MissingData
from polystilts.runtime.folders import (
    check_name,
    digest_of,
    file_sums,
    files_in,
    new_folder,
    read_json,
    sha256,
    verify_files,
    write_json,
)


class Stop(Exception):
    pass


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_new_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("1")
        assert names(tmp_path / "a") == [folder.name]
    assert names(tmp_path / "a") == ["b"]
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o755


def test_new_folder_leaves_nothing_after_an_error(tmp_path):
    with pytest.raises(Stop), new_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("1")
        raise Stop
    assert names(tmp_path) == []


def test_the_quicker_of_two_stays(tmp_path):
    with new_folder(tmp_path / "b") as slow:
        (slow / "x").write_text("slow")
        with new_folder(tmp_path / "b") as quick:
            (quick / "x").write_text("quick")
    assert names(tmp_path) == ["b"]
    assert (tmp_path / "b" / "x").read_text() == "quick"


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "b").write_text("file")
    with pytest.raises(OSError), new_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("1")
    assert names(tmp_path) == ["b"]


@pytest.fixture
def summed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c", "list.json"):
        (tmp_path / name).write_text(name)
    return tmp_path, file_sums(tmp_path, leave_out="list.json")


def test_sums_go_below_folders_and_leave_out_their_own_file(summed):
    folder, sums = summed
    assert sums == {name: sha256(folder / name) for name in ("a", "b", "sub/c")}
    verify_files(folder, sums, manifest="list.json")


def test_every_wrong_file_is_named(summed):
    folder, sums = summed
    (folder / "a").unlink()
    (folder / "b").write_text("changed")
    (folder / "sub" / "new").write_text("new")
    with pytest.raises(ChecksumMismatch) as caught:
        verify_files(folder, sums, manifest="list.json")
    message = caught.value.message
    assert "a is missing" in message and "sub/new is not listed" in message
    assert f"b has sha256 {sha256(folder / 'b')[:12]}…, expected {sums['b'][:12]}…" in message
    assert "sub/c" not in message and "list.json" not in message


def test_sha256_is_that_of_the_standard(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "a") == expected


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ({"a": 1, "b": [1, "ü"]}, {"b": [1, "ü"], "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ([1, 2], [2, 1], False),
    ],
)
def test_digest_of_a_value_does_not_depend_on_the_order_of_keys(first, second, equal):
    assert (digest_of(first) == digest_of(second)) is equal


def test_write_json_replaces_by_rename(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"text": "猫", "n": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "猫", "n": 1} == read_json(path)
    assert "猫" in path.read_text(encoding="utf-8")

    def killed(*_):
        raise Stop

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(Stop):
        write_json(path, {"n": 2})
    assert read_json(path)["n"] == 1


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    assert read_json(path) == 1


def test_read_json(tmp_path):
    with pytest.raises(MissingData, match="no such file") as caught:
        read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in caught.value.message
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(ChecksumMismatch, match="is not JSON"):
        read_json(tmp_path / "a.json")


#: Names that a manifest may not hold, whatever lies there.
ESCAPES = [
    "", ".", "..", "../a", "sub/../../a", "sub/..", "/etc/passwd", "//etc/passwd", "a//b", "a/", "./a",
    "a\\b", "..\\a", "C:\\a", "a\0b", "a\nb", "\x7f", "a" * 2000, None, 7, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES, ids=repr)
def test_a_name_that_leads_out_of_its_folder_is_refused(name, tmp_path):
    with pytest.raises(ChecksumMismatch, match="no path inside its folder"):
        check_name(name, where="list.json")
    if isinstance(name, str):
        with pytest.raises(ChecksumMismatch, match="no path inside its folder"):
            verify_files(tmp_path, {name: "0" * 64}, manifest="list.json")


@pytest.mark.parametrize("name", ["a", "sub/c.json", ".hidden", "...", "猫/b c", "model.onnx.data"])
def test_ordinary_names_pass(name):
    assert check_name(name, where="list.json") == name


@given(st.text(alphabet="ab./\\\0~", max_size=12))
def test_what_passes_stays_below_its_folder(name):
    try:
        check_name(name, where="x")
    except ChecksumMismatch:
        return
    assert os.path.normpath(f"/folder/{name}") == f"/folder/{name}"
    assert not PurePosixPath(name).is_absolute()


@pytest.mark.parametrize("target", ["inside", "/etc/hostname", "../secret", "nowhere"])
def test_links_are_refused_wherever_they_lead(summed, target):
    folder, sums = summed
    (folder / "inside").write_text("x")
    (folder / "sub" / "link").symlink_to(target)
    with pytest.raises(ChecksumMismatch, match="sub/link is a link"):
        verify_files(folder, sums | {"sub/link": sha256(folder / "a")}, manifest="list.json")
    with pytest.raises(ChecksumMismatch, match="sub/link is a link"):
        file_sums(folder, leave_out="list.json")


def test_a_linked_folder_is_refused(summed, tmp_path_factory):
    folder, sums = summed
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a").write_text("a")
    (folder / "more").symlink_to(elsewhere)
    with pytest.raises(ChecksumMismatch, match="more is a link"):
        verify_files(folder, sums | {"more/a": sums["a"]}, manifest="list.json")


def test_a_file_replaced_by_a_link_to_the_same_bytes_is_refused(summed, tmp_path_factory):
    folder, sums = summed
    copy = tmp_path_factory.mktemp("elsewhere") / "a"
    (folder / "a").rename(copy)
    (folder / "a").symlink_to(copy)
    with pytest.raises(ChecksumMismatch, match="a is a link"):
        verify_files(folder, sums, manifest="list.json")


def test_a_pipe_is_refused_and_not_waited_for(summed):
    folder, sums = summed
    os.mkfifo(folder / "pipe")
    with pytest.raises(ChecksumMismatch, match="pipe is no plain file"):
        verify_files(folder, sums | {"pipe": sums["a"]}, manifest="list.json")


def test_a_folder_may_itself_be_reached_by_a_link(summed, tmp_path_factory):
    folder, sums = summed
    link = tmp_path_factory.mktemp("links") / "current"
    link.symlink_to(folder)
    verify_files(link, sums, manifest="list.json")
    assert files_in(link) == sorted([*sums, "list.json"])


@pytest.mark.parametrize("sums", [None, [], "files", {"a": 1}, {"a": ""}, {"a": "A" * 64}, {"a": "0" * 63}])
def test_malformed_sums_are_refused(summed, sums):
    with pytest.raises(ChecksumMismatch, match=r"lists no files|has no sha256 of a"):
        verify_files(summed[0], sums, manifest="list.json")


def test_a_file_that_may_stand_beside(summed):
    folder, sums = summed
    (folder / "signature").write_text("x")
    with pytest.raises(ChecksumMismatch, match="signature is not listed"):
        verify_files(folder, sums, manifest="list.json")
    verify_files(folder, sums, manifest="list.json", beside=("signature",))


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"\xff\xfe", b"", b"9" * 5000], ids=["deep", "bytes", "empty", "long"]
)
def test_hostile_json_is_an_error_of_ours(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ChecksumMismatch, match="is not JSON"):
        read_json(tmp_path / "a.json")
