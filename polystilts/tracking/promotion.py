"""What is live: the alias `champion` and how it moves. One write is the promotion; everything before it can be undone.

Order: the version is complete and verified (`registry.register_bundle`), its decision and the champions before it are
written on the candidate, the alias is read again, the alias is set. The alias is the only truth: tags are read only
from the version it points at, and written only on versions it does not point at.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from polystilts.errors import InvalidValue, NoModel, PolystiltsError
from polystilts.tracking.card import DESCRIPTION_LIMIT
from polystilts.tracking.lock import promotion_lock
from polystilts.tracking.registry import (
    BASELINE,
    CHAMPION,
    Registered,
    alias_version,
    download_version,
)

CHALLENGER = "challenger"

#: Tags of a version that is or was a champion: the one it replaced; that one and all before it, latest first.
REPLACES, BEFORE = "replaces", "champions_before"

#: Tag with the short form of the decision and the place of the whole.
DECISION = "decision"

#: Champions that are remembered.
_REMEMBERED = 100


class AliasMoved(PolystiltsError):
    """Somebody else promoted between the decision and the promotion. `current` is the champion now."""

    code = "alias_moved"
    status = 409

    def __init__(self, name: str, *, expected: str | None, current: str | None) -> None:
        super().__init__(
            f"the champion of {name} is now {_shown(current)}; the decision was against {_shown(expected)} "
            "and must be made again",
            param="target",
            limit=expected,
            given=current,
        )
        self.current = current


def promote_version(registered: Registered, *, expected: str | None, decision: Mapping[str, Any]) -> str | None:
    """Makes a version the champion: its record first, the alias last, in one write.

    Args:
        registered: from `register_bundle`, so complete and verified.
        expected: the champion that the decision was made against; None for none.
        decision: JSON values: the table, the gates. All of it becomes an artifact of the run, its plain values a tag.

    Returns:
        The version it replaces: `expected`; None as well if it was the champion already.

    Raises:
        AliasMoved: the champion is not `expected` any more; nothing has changed, decide again.
        PromotionLocked: another promotion holds the target.
    """
    client = MlflowClient()
    name, version = registered.name, registered.version
    with promotion_lock(name) as lock:
        _require(name, expected)
        if version == expected:
            return None
        before = [expected, *_champions_before(client, name, expected)] if expected else []
        client.set_model_version_tag(name, version, DECISION, _store_decision(client, registered, decision))
        _remember(client, name, version, before)
        lock.check()
        _require(name, expected)
        client.set_registered_model_alias(name, CHAMPION, version)
        _tidy(client, name)
    return expected


def rollback(name: str) -> tuple[str, str]:
    """Points the alias back at the champion before this one, once its files are verified.

    Each call goes one further back: a champion takes over what was before it. Versions that were deleted are left out.

    Returns:
        The version that was the champion and the one that is now.

    Raises:
        NoModel: no champion, or none before it.
        ChecksumMismatch: the earlier champion's files are not what was registered; the alias stays.
        PromotionLocked: a promotion holds the target.
    """
    client = MlflowClient()
    _present(name)  # before the lock, which on a server needs a registered model
    with promotion_lock(name) as lock:
        current = _present(name)
        before = [v for v in _champions_before(client, name, current) if _exists(client, name, v)]
        if not before:
            raise NoModel(
                f"version {current} is the first {CHAMPION} of {name}: there is none to go back to",
                param="target",
                given=name,
            )
        earlier, *further = before
        with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
            download_version(name, earlier, Path(folder))
        _remember(client, name, earlier, further)
        lock.check()
        _require(name, current)
        client.set_registered_model_alias(name, CHAMPION, earlier)
        _tidy(client, name)
    return current, earlier


def set_alias(name: str, alias: str, version: str | None) -> None:
    """Points `challenger` or `baseline` at a version; None takes the alias away.

    Raises:
        InvalidValue: any other alias; `champion` moves by `promote_version` and `rollback` alone.
    """
    if alias not in (CHALLENGER, BASELINE):
        raise InvalidValue(
            f"alias {alias!r} cannot be set by hand; {CHALLENGER} and {BASELINE} can",
            param="alias",
            limit=f"{CHALLENGER}, {BASELINE}",
            given=alias,
        )
    client = MlflowClient()
    if version is not None:
        client.set_registered_model_alias(name, alias, version)
    elif alias_version(name, alias) is not None:
        client.delete_registered_model_alias(name, alias)


def earlier_champions(name: str) -> Sequence[str]:
    """Versions that were the champion before the present one, latest first: where `rollback` would go."""
    current = alias_version(name, CHAMPION)
    return _champions_before(MlflowClient(), name, current) if current else []


def _present(name: str) -> str:
    current = alias_version(name, CHAMPION)
    if current is None:
        raise NoModel(f"{name} has no {CHAMPION}, so there is nothing to roll back", param="target", given=name)
    return current


def _require(name: str, expected: str | None) -> None:
    current = alias_version(name, CHAMPION)
    if current != expected:
        raise AliasMoved(name, expected=expected, current=current)


def _remember(client: MlflowClient, name: str, version: str, before: Sequence[str]) -> None:
    client.set_model_version_tag(name, version, BEFORE, " ".join(before[:_REMEMBERED]))
    client.set_model_version_tag(name, version, REPLACES, before[0] if before else "")


def _champions_before(client: MlflowClient, name: str, version: str) -> list[str]:
    return client.get_model_version(name, version).tags.get(BEFORE, "").split()


def _exists(client: MlflowClient, name: str, version: str) -> bool:
    try:
        client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _tidy(client: MlflowClient, name: str) -> None:
    """A champion challenges nobody."""
    if alias_version(name, CHALLENGER) == alias_version(name, CHAMPION):
        client.delete_registered_model_alias(name, CHALLENGER)


def _store_decision(client: MlflowClient, registered: Registered, decision: Mapping[str, Any]) -> str:
    """The whole decision as an artifact of the active run (else of the version's); returns the tag's value."""
    whole = json.dumps(decision, indent=1, ensure_ascii=False, sort_keys=True)
    active = mlflow.active_run()
    run = active.info.run_id if active else client.get_model_version(registered.name, registered.version).run_id
    short: dict[str, Any] = {}
    if run:
        path = f"promotion/{registered.name}-{registered.version}.json"
        client.log_text(run, whole + "\n", path)
        short["whole"] = f"runs:/{run}/{path}"
    for key, value in decision.items():
        if isinstance(value, str | int | float | bool | None):
            longer = short | {key: value}
            if len(json.dumps(longer, ensure_ascii=False)) < DESCRIPTION_LIMIT:
                short = longer
    return json.dumps(short, ensure_ascii=False)


def _shown(version: str | None) -> str:
    return f"version {version}" if version else "none"
