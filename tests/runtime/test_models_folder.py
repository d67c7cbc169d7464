"""The models folder: deliveries, the pointer, and names that would leave it."""

import json
import os
import time

import pytest

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, PolystiltsError
from polystilts.runtime.bundle import MANIFEST, open_bundle
from polystilts.runtime.folders import read_json, write_json
from polystilts.runtime.models_folder import (
    CURRENT,
    SERVING,
    Delivered,
    deliver,
    point,
    prune,
    read_current,
    served_digests,
    store_bundle,
)
from tests.world.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    return [
        tiny_bundle(root / "1", "xnli", seed=1),
        tiny_bundle(root / "2", "xnli", seed=2),
        tiny_bundle(root / "3", "udpos"),
    ]


def test_the_pointer_names_the_last_delivery_of_each_target(bundles, tmp_path):
    first, second, other = bundles
    deliver(first, tmp_path, name="polystilts-xnli", version="1")
    deliver(other, tmp_path, name="polystilts-udpos", version="7")
    delivered = deliver(second, tmp_path, name="polystilts-xnli", version="2")
    current = read_current(tmp_path)
    assert {t: (d.digest, d.name, d.version) for t, d in current.items()} == {
        "xnli": (second.digest, "polystilts-xnli", "2"),
        "udpos": (other.digest, "polystilts-udpos", "7"),
    }
    assert current["xnli"] == delivered
    assert open_bundle(delivered.folder(tmp_path)).digest == second.digest
    assert sorted(p.name for p in (tmp_path / "xnli").iterdir()) == sorted([first.digest, second.digest])


def test_delivering_twice_changes_nothing(bundles, tmp_path):
    deliver(bundles[0], tmp_path, name="a", version="1")
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "xnli").rglob("*") if p.is_file()}
    deliver(bundles[0], tmp_path, name="a", version="1")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "xnli").rglob("*") if p.is_file()} == written
    assert sorted(p.name for p in tmp_path.iterdir()) == [CURRENT, "xnli"]


def test_whoever_serves_may_read_what_was_delivered(bundles, tmp_path):
    (bundles[0].folder / "model.onnx.data").chmod(0o600)
    place = deliver(bundles[0], tmp_path, name="a", version="1").folder(tmp_path)
    assert [p.name for p in (place, *place.iterdir()) if not p.stat().st_mode & 0o004] == []


def test_a_damaged_delivery_does_not_become_current(bundles, tmp_path):
    first, second, _ = bundles
    deliver(first, tmp_path, name="a", version="1")
    place = deliver(second, tmp_path, name="a", version="2").folder(tmp_path)
    deliver(first, tmp_path, name="a", version="1")
    (place / MANIFEST).write_text("{}")
    with pytest.raises(ChecksumMismatch):
        deliver(second, tmp_path, name="a", version="2")
    assert read_current(tmp_path)["xnli"].digest == first.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "../elsewhere"),
        ("target", ".."),
        ("target", "a/b"),
        ("target", "a\\b"),
        ("target", "/etc"),
        ("digest", "../../x"),
        ("digest", "a..b"),
        ("digest", "/tmp"),
    ],
)
def test_a_line_that_leaves_the_folder_is_refused(bundles, tmp_path, field, value):
    deliver(bundles[0], tmp_path, name="a", version="1")
    lines = read_json(tmp_path / CURRENT)
    lines["xnli"][field] = value
    write_json(tmp_path / CURRENT, lines)
    with pytest.raises(ChecksumMismatch, match="outside its folder"):
        read_current(tmp_path)


def test_nothing_delivered(tmp_path):
    with pytest.raises(MissingData, match=r"has no current\.json"):
        read_current(tmp_path)


LINE = {"target": "xnli", "digest": "0" * 64, "name": "polystilts-xnli", "version": "3"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ("{", "not JSON"),
        ("\udcff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"xnli": None}, "'xnli' is no JSON object"),
        ({"xnli": [LINE]}, "'xnli' is no JSON object"),
        ({"xnli": {k: v for k, v in LINE.items() if k != "digest"}}, "'xnli' has no digest; a line has target"),
        ({"xnli": {**LINE, "scores": {"de": "high"}}}, "scores of 'xnli' are no numbers"),
        ({"xnli": {**LINE, "scores": [1.0]}}, "scores of 'xnli' are no numbers"),
        ({"xnli": {**LINE, "weight": "1"}}, "'xnli' has unknown weight; a line has target"),
        ({"xnli": {**LINE, "version": 3}}, "version of 'xnli' is no text"),
        ({"xnli": {**LINE, "digest": ""}}, "digest of 'xnli' is no text"),
        ({"xnli": {**LINE, "digest": "0\n"}}, "digest of 'xnli' is no text"),
        ({"xnli": {**LINE, "digest": "0" * 300}}, "no text of 1 to 255 bytes"),
        ({"xnli": {**LINE, "name": "\ud800"}}, "name of 'xnli' is no text"),
        ({"xnli": {**LINE, "target": "."}}, "outside its folder"),
        ({"panx": LINE}, "'panx' names a bundle of 'xnli'"),
        ({"xnli@champion": LINE}, "'xnli@champion' names a bundle of 'xnli'"),
    ],
)
def test_a_malformed_list_is_refused_with_a_reason(tmp_path, content, message):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / CURRENT).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PolystiltsError, match=message):
        read_current(tmp_path)


def test_a_challenger_has_a_key_of_its_own(bundles, tmp_path):
    first, second, _ = bundles
    champion = deliver(first, tmp_path, name="polystilts-xnli", version="1")
    store_bundle(second, tmp_path)
    challenger = Delivered("xnli", second.digest, "polystilts-xnli", "2")
    point(tmp_path, {"xnli@challenger": challenger})
    assert read_current(tmp_path) == {"xnli": champion, "xnli@challenger": challenger}
    assert challenger.folder(tmp_path) == tmp_path / "xnli" / second.digest
    point(tmp_path, {"xnli@challenger": None})
    assert read_current(tmp_path) == {"xnli": champion}


def test_a_line_without_its_bundle_is_not_written(bundles, tmp_path):
    deliver(bundles[0], tmp_path, name="a", version="1")
    before = (tmp_path / CURRENT).read_bytes()
    with pytest.raises(MissingData, match=f"xnli/{'0' * 64}"):
        point(tmp_path, {"xnli": Delivered(**LINE)})
    assert (tmp_path / CURRENT).read_bytes() == before


def test_nothing_is_written_where_nothing_changes(bundles, tmp_path):
    line = deliver(bundles[0], tmp_path, name="a", version="1")
    before = (tmp_path / CURRENT).stat().st_ino
    point(tmp_path, {"xnli": line, "xnli@challenger": None})
    assert (tmp_path / CURRENT).stat().st_ino == before


def test_what_a_server_has_open(tmp_path):
    assert served_digests(tmp_path) == frozenset()
    lines = {"xnli": {"digest": "a"}, "xnli@challenger": {"digest": "b"}}
    write_json(tmp_path / SERVING, {"pid": 7, "models": lines})
    assert served_digests(tmp_path) == {"a", "b"}
    for wrong in ([], {"models": ["a"]}, {"models": {"xnli": "a"}}, {"models": {"xnli": {"digest": 1}}}, {}):
        write_json(tmp_path / SERVING, wrong)
        with pytest.raises(InvalidValue):
            served_digests(tmp_path)


def test_what_nothing_names_is_removed_after_an_hour(bundles, tmp_path):
    first, second, other = bundles
    old = deliver(first, tmp_path, name="a", version="1").folder(tmp_path)
    new = deliver(second, tmp_path, name="a", version="2").folder(tmp_path)
    served = store_bundle(other, tmp_path)
    write_json(tmp_path / SERVING, {"pid": 7, "models": {"udpos": {"digest": other.digest}}})
    left = tmp_path / "xnli" / f".{first.digest}.killed"
    left.mkdir()
    mine = tmp_path / "xnli" / "notes"
    mine.mkdir()
    assert prune(tmp_path) == []
    assert prune(tmp_path, kept_seconds=0) == sorted([left, old])
    assert new.is_dir() and served.is_dir() and mine.is_dir() and not old.exists() and not left.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [CURRENT, SERVING, "udpos", "xnli"]


def test_the_hour_begins_when_a_bundle_is_replaced(bundles, tmp_path):
    first, second, _ = bundles
    old = deliver(first, tmp_path, name="a", version="1").folder(tmp_path)
    before = old.stat().st_ctime_ns
    time.sleep(0.02)  # longer than a tick of the file system's clock
    deliver(second, tmp_path, name="a", version="2")
    assert old.stat().st_ctime_ns > before


def test_nothing_is_removed_where_it_is_unknown_what_is_used(bundles, tmp_path):
    old = deliver(bundles[0], tmp_path, name="a", version="1").folder(tmp_path)
    deliver(bundles[1], tmp_path, name="a", version="2")
    (tmp_path / SERVING).write_text("{")
    with pytest.raises(ChecksumMismatch):
        prune(tmp_path, kept_seconds=0)
    os.remove(tmp_path / SERVING)
    os.rename(tmp_path / CURRENT, tmp_path / "aside")
    with pytest.raises(MissingData):
        prune(tmp_path, kept_seconds=0)
    assert old.is_dir()


def test_a_link_is_not_followed(bundles, tmp_path):
    deliver(bundles[0], tmp_path / "models", name="a", version="1")
    elsewhere = tmp_path / "elsewhere" / ("1" * 64)
    elsewhere.mkdir(parents=True)
    (tmp_path / "models" / "panx").symlink_to(elsewhere.parent)
    (tmp_path / "models" / "xnli" / ("2" * 64)).symlink_to(elsewhere)
    assert prune(tmp_path / "models", kept_seconds=0) == []
    assert elsewhere.is_dir()


def test_scores_of_a_line_reach_whoever_reads_it(bundles, tmp_path):
    deliver(bundles[0], tmp_path / "models", name="polystilts-xnli", version="1", scores={"de": 81.5})
    assert read_current(tmp_path / "models")["xnli"].scores == {"de": 81.5}
