"""The models folder: deliveries, the pointer, and names that would leave it."""

import pytest

from polystilts.errors import ChecksumMismatch, MissingData
from polystilts.runtime.bundle import MANIFEST, open_bundle
from polystilts.runtime.folders import read_json, write_json
from polystilts.runtime.models_folder import CURRENT, deliver, read_current
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
