"""API keys: who gets in, how the file is read again, and that no key is ever shown."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from polystilts.errors import InvalidValue, MissingData
from serving import keys
from serving.keys import Forbidden, Keys, Unauthorised, new_key

SHOP, BOSS = "polystilts_shop-secret", "polystilts_boss-secret"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def write(path: Path, entries: object) -> Path:
    """Replaces the file by rename, as deployments do."""
    new = path.with_suffix(".new")
    new.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    entries = {"shop": {"sha256": digest(SHOP), "share": 0.25}, "boss": {"sha256": digest(BOSS), "role": "admin"}}
    return write(tmp_path / "keys.json", entries)


def bearer(key: str) -> Headers:
    return Headers({"Authorization": f"Bearer {key}"})


def test_a_key_tells_who_asks(path: Path) -> None:
    checked = Keys(path)
    shop = checked.check(bearer(SHOP))
    assert (shop.name, shop.role, shop.share) == ("shop", "use", 0.25)
    boss = checked.check(Headers({"X-API-Key": BOSS}), "admin")
    assert (boss.name, boss.role, boss.share) == ("boss", "admin", 0.5)
    assert checked.check(Headers({"authorization": f"bearer  {SHOP} "})).name == "shop"
    assert checked.check(bearer(BOSS)).name == "boss"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"X-API-Key": " "},
     {"Authorization": f"Basic {SHOP}"}, {"Authorization": SHOP}],
)  # fmt: skip
def test_no_key(path: Path, headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorised, match="asks for an API key") as caught:
        Keys(path).check(Headers(headers))
    assert (caught.value.status, caught.value.code) == (401, "unauthorised")
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(
    "key", [SHOP + "x", SHOP[:-1], SHOP.upper(), digest(SHOP), "ключ", "\ud800", "x" * 100_000, "shop"]
)
def test_a_wrong_key(path: Path, key: str) -> None:
    with pytest.raises(Unauthorised, match="not known") as caught:
        Keys(path).check({"authorization": f"Bearer {key}"})
    assert key == "shop" or key not in f"{caught.value.message} {caught.value.given!r} {caught.value!r}"


def test_a_role_that_is_not_enough(path: Path) -> None:
    with pytest.raises(Forbidden, match="'shop' has the role use") as caught:
        Keys(path).check(bearer(SHOP), "admin")
    assert (caught.value.status, caught.value.code) == (403, "forbidden") and SHOP not in caught.value.message


def test_every_entry_is_compared(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(known: str, given: str) -> bool:
        compared.append(known)
        return known == given

    monkeypatch.setattr(hmac, "compare_digest", compare)
    Keys(path).check(bearer(SHOP))
    assert compared == [digest(SHOP), digest(BOSS)]


def test_the_file_is_read_again_when_it_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = keys._read
    monkeypatch.setattr(keys, "_read", lambda path: read.append(path) or real(path))
    checked = Keys(path)
    for _ in range(3):
        checked.check(bearer(SHOP))
    assert len(read) == 1
    write(path, {"shop": {"sha256": digest("another")}})
    with pytest.raises(Unauthorised):
        checked.check(bearer(SHOP))
    assert checked.check(bearer("another")).name == "shop"
    assert len(read) == 2


def test_the_same_size_in_the_same_moment_is_seen_by_the_inode(path: Path) -> None:
    checked = Keys(path)
    before = path.stat()
    write(path, path.read_text().replace(digest(SHOP), digest("another")))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert checked.check(bearer("another")).name == "shop"


def test_a_file_spoilt_later_keeps_the_keys(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checked = Keys(path)
    with caplog.at_level(logging.INFO, "serving.keys"):
        write(path, '{"shop": ')
        for _ in range(3):
            assert checked.check(bearer(SHOP)).name == "shop"
        assert len(caplog.records) == 1 and "not JSON" in caplog.text
        path.unlink()
        for _ in range(3):
            assert checked.check(bearer(SHOP)).name == "shop"
        assert len(caplog.records) == 2 and "cannot be read" in caplog.text
        write(path, {"new": {"sha256": digest("new")}})
        assert checked.check(bearer("new")).name == "new"
    assert "read again, 1 keys" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON: line 1"),
        ("[]", "wrong at its top"),
        ('{"shop": {}}', r"shop\.sha256: Field required"),
        ({"shop": {"sha256": SHOP}}, r"shop\.sha256"),
        ({"shop": {"sha256": digest(SHOP).upper()}}, r"shop\.sha256"),
        ({"shop": {"sha256": digest(SHOP) + "\n"}}, r"shop\.sha256"),
        ({"shop": {"sha256": digest(SHOP), "role": "root"}}, r"shop\.role: Input should be 'use' or 'admin'"),
        ({"shop": {"sha256": digest(SHOP), "share": 0}}, r"shop\.share: .*greater than 0"),
        ({"shop": {"sha256": digest(SHOP), "share": 1.5}}, r"shop\.share"),
        ({"shop": {"sha256": digest(SHOP), "share": float("nan")}}, r"shop\.share"),
        ({"shop": {"sha256": digest(SHOP), "rol": "use"}}, r"shop\.rol: Extra inputs"),
        ({"a b": {"sha256": digest(SHOP)}}, "String should match"),
        (f'{{"a": {{"sha256": "{digest("1")}"}}, "a": {{"sha256": "{digest("2")}"}}}}', "'a' twice"),
        ({"a": {"sha256": digest(SHOP)}, "b": {"sha256": digest(SHOP)}}, "under two names, 'a' and 'b'"),
    ],
)
def test_a_wrong_file_stops_the_start(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        Keys(write(tmp_path / "keys.json", content))
    assert "keys.json" in caught.value.message
    assert SHOP not in caught.value.message  # a key written where its digest belongs


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"none\.json cannot be read"):
        Keys(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidValue, match="not UTF-8"):
        Keys(tmp_path / "binary")


def test_the_command_makes_a_key_that_opens(path: Path) -> None:
    command = [sys.executable, "-m", "serving.keys", "new", "me", "--role", "admin", "--share", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    first, second = done.stdout.splitlines()
    key, entry = first.rpartition(" ")[2], second.partition(": ")[2]
    assert key not in entry
    write(path, f"{{{entry}}}")
    me = Keys(path).check(bearer(key), "admin")
    assert (me.name, me.role, me.share) == ("me", "admin", 1.0)


def test_the_command_refuses_what_the_file_may_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["a b"], ["me", "--share", "2"]):
        with pytest.raises(SystemExit):
            keys.main(["new", *wrong])
    assert "polystilts_" not in capsys.readouterr().out


def test_keys_differ_and_nothing_shows_a_digest(path: Path) -> None:
    assert len({new_key("a")[0] for _ in range(50)}) == 50
    checked = Keys(path)
    assert digest(SHOP) not in repr(checked) + repr(checked.check(bearer(SHOP)))
