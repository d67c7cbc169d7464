"""API keys: a file of digests, read again when it changes; names and roles, never a key, leave this module.

    python -m serving.keys new NAME [--role admin] [--share 0.5]

prints a fresh key, once, and the entry for the file. The file is JSON: ``{"name": {"sha256": ..., "role": "use",
"share": 0.5}}``. A plain sha256 without salt is enough because keys are 256 random bits: there is no dictionary to try.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from polystilts.errors import InvalidValue, MissingData, PolystiltsError
from polystilts.runtime.folders import state_of

logger = logging.getLogger(__name__)

#: Begins every key made here, so that scanners for leaked secrets can know it.
KEY_PREFIX = "polystilts_"
#: Part of the queue that one key may hold unless its entry says otherwise.
SHARE = 0.5

Role = Literal["use", "admin"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}\z")]

_HINT = "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"


class Unauthorised(PolystiltsError):
    """No key, or one that is not in the file; the response needs `headers`."""

    code = "unauthorised"
    status = 401
    headers: Mapping[str, str] = {"WWW-Authenticate": "Bearer"}


class Forbidden(PolystiltsError):
    """A key whose role is not enough."""

    code = "forbidden"
    status = 403


class Holder(BaseModel):
    """Whose key came with a request.

    Attributes:
        name: for logs and metrics.
        role: `use` asks models, `admin` may also make the server do things.
        share: the largest part of the queue this key may hold.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    role: Role
    share: float


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}\z", repr=False)
    role: Role = "use"
    share: float = Field(default=SHARE, gt=0, le=1)


_FILE = TypeAdapter(dict[Name, _Entry])


class Keys:
    """The keys of a file, as it is now.

    A file that is changed into a wrong one, or removed, is logged and the keys before it stay: a slip of the pen must
    neither open the server nor shut everybody out.

    Raises:
        MissingData: there is no such file.
        InvalidValue: it is not of the form above; names the entry, not what is in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = state_of(path)
        self._holders = _read(path)

    def check(self, headers: Mapping[str, str], role: Role = "use") -> Holder:
        """Whose key a request carries.

        Args:
            headers: of the request, looked up in lower case.
            role: that is needed; `admin` may do all that `use` may.

        Raises:
            Unauthorised, Forbidden
        """
        self._refresh()
        key = _key(headers)
        if not key:
            raise Unauthorised(f"this server asks for an API key; {_HINT}", param="Authorization")
        digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        found: Holder | None = None
        # Every entry is compared, each in constant time: how long it takes tells nothing of the keys.
        for known, holder in self._holders.items():
            if hmac.compare_digest(known, digest):
                found = holder
        if found is None:
            raise Unauthorised(f"this API key is not known here; {_HINT}", param="Authorization")
        if role == "admin" and found.role != "admin":
            raise Forbidden(f"the key {found.name!r} has the role use; this needs admin", param="Authorization")
        return found

    def _refresh(self) -> None:
        version = state_of(self._path)
        if version == self._version:
            return
        self._version = version  # also of a bad file: it is logged once
        try:
            self._holders = _read(self._path)
        except PolystiltsError as error:
            logger.error("API keys: the change is not taken, the keys before it stay: %s", error.message)
        else:
            logger.info("API keys: read again, %d keys", len(self._holders))


def new_key(name: str, role: Role = "use", share: float = SHARE) -> tuple[str, str]:
    """A fresh key, and the entry to add to the file.

    Raises:
        InvalidValue: a name, role or share that the file may not have.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    entry = {"sha256": hashlib.sha256(key.encode()).hexdigest(), "role": role, "share": share}
    _check(json.dumps({name: entry}), "the new key")
    return key, f"{json.dumps(name)}: {json.dumps(entry)}"


def _key(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get("x-api-key", "").strip()


def _read(path: Path) -> dict[str, Holder]:
    """Holders by digest."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise MissingData(f"the file of API keys {path} cannot be read: {error.strerror}", given=str(path)) from None
    except UnicodeDecodeError:
        raise InvalidValue(f"the file of API keys {path} is not UTF-8") from None
    return _check(text, f"the file of API keys {path}")


def _check(text: str, what: str) -> dict[str, Holder]:
    """Holders by digest. No message repeats a value: someone may have written the key itself there."""
    try:
        entries = _FILE.validate_python(json.loads(text, object_pairs_hook=_once))
    except json.JSONDecodeError as error:
        raise InvalidValue(f"{what} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except _TwiceError as error:
        raise InvalidValue(f"{what} has {error.args[0]!r} twice") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidValue(f"{what} is wrong at {place or 'its top'}: {first['msg']}") from None
    holders: dict[str, Holder] = {}
    for name, entry in entries.items():
        if entry.sha256 in holders:
            raise InvalidValue(f"{what} has one key under two names, {holders[entry.sha256].name!r} and {name!r}")
        holders[entry.sha256] = Holder(name=name, role=entry.role, share=entry.share)
    return holders


class _TwiceError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description="API keys of the server.")
    commands = parser.add_subparsers(required=True)
    new = commands.add_parser("new", help="make a key; it is shown once and stored nowhere")
    new.add_argument("name", help="who will use it; seen in logs and metrics")
    new.add_argument("--role", choices=("use", "admin"), default="use")
    new.add_argument(
        "--share", type=float, default=SHARE, help="largest part of the queue, 0 to 1 (default %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        key, entry = new_key(given.name, given.role, given.share)
    except InvalidValue as error:
        parser.error(error.message)
    print(f"the key, shown only now: {key}")
    print(f"for the file of POLYSTILTS_KEYS: {entry}")


if __name__ == "__main__":
    main()
