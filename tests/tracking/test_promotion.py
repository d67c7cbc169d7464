"""Promotion: whatever is killed or runs at once, the alias points at a complete and verified version."""

import json
import multiprocessing
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from polystilts.errors import ChecksumMismatch, InvalidValue, NoModel
from polystilts.tracking import lock, registry
from polystilts.tracking.lock import LOCK_TAG, PromotionLocked, promotion_lock
from polystilts.tracking.promotion import (
    BEFORE,
    CHALLENGER,
    DECISION,
    REPLACES,
    AliasMoved,
    earlier_champions,
    promote_version,
    rollback,
    set_alias,
)
from polystilts.tracking.registry import BASELINE, CHAMPION, alias_version, champion, champions
from tests.tracking import worker
from tests.tracking.worker import NAME, TARGET, register
from tests.world.bundles import tiny_bundle


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.tracking.worker"])
    with pytest.MonkeyPatch.context() as patch:
        # In Python 3.11 the fork server does not get our sys.path, and passes over a module it does not find.
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        forkserver.ensure_running()
    return context


def promote(registered, expected, **decision):
    return promote_version(registered, expected=expected, decision=decision)


def damage(version):
    """Changes a byte of a version's weights in the store."""
    source = MlflowClient().get_model_version(NAME, version).source
    folder = Path(mlflow.artifacts.download_artifacts(source))  # a local store: the place itself
    weights = next(folder.rglob("model.onnx.data"))
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)


def walk(tmp_path):
    """Three champions, a refused candidate, and all the way back."""
    one, two, three = (register(tmp_path / str(score), score) for score in (1, 2, 3))
    assert promote(one, None, verdict="first") is None
    assert promote(two, one.version) == one.version
    set_alias(NAME, CHALLENGER, three.version)
    set_alias(NAME, BASELINE, one.version)
    with pytest.raises(AliasMoved, match="now version 2; the decision was against version 1") as moved:
        promote(three, one.version)
    assert moved.value.current == two.version
    assert not {DECISION, REPLACES, BEFORE} & set(MlflowClient().get_model_version(NAME, three.version).tags)

    table = [{"recipe": f"recipe {n}", "mean": 71.5} for n in range(300)]
    assert promote(three, two.version, verdict="better", table=table) == two.version
    tags = MlflowClient().get_model_version(NAME, three.version).tags
    assert tags[REPLACES] == two.version
    short = json.loads(tags[DECISION])
    assert short["verdict"] == "better" and len(tags[DECISION]) < 5000
    whole = mlflow.artifacts.load_text(short["whole"])
    assert json.loads(whole) == {"verdict": "better", "table": table}
    assert alias_version(NAME, CHALLENGER) is None  # the champion challenges nobody
    assert alias_version(NAME, BASELINE) == one.version
    assert promote(three, three.version) is None

    assert rollback(NAME) == (three.version, two.version)
    assert rollback(NAME) == (two.version, one.version)
    with pytest.raises(NoModel, match="version 1 is the first champion of polystilts-xcopa"):
        rollback(NAME)
    registered, bundle = champion(TARGET, tmp_path / "download")
    assert (registered.version, bundle.digest) == (one.version, one.digest)
    assert champions() == [TARGET]
    return one, two, three


def test_the_walk_and_what_is_remembered(store, tmp_path):
    one, two, _ = walk(tmp_path)
    # up again, then the first one once more: history is a stack, not a ring
    promote(two, one.version)
    assert registry.set_champion(one) == two.version  # whatever is the champion
    assert registry.set_champion(one) is None
    assert earlier_champions(NAME) == [two.version, one.version]
    assert rollback(NAME) == (one.version, two.version)
    assert rollback(NAME) == (two.version, one.version)
    with pytest.raises(NoModel, match="none to go back to"):
        rollback(NAME)


def test_rollback_leaves_out_a_deleted_version_and_refuses_a_damaged_one(store, tmp_path):
    versions = [register(tmp_path / str(score), score) for score in range(4)]
    before = None
    for registered in versions:
        promote(registered, before)
        before = registered.version
    MlflowClient().delete_model_version(NAME, versions[2].version)
    assert rollback(NAME) == (versions[3].version, versions[1].version)
    damage(versions[0].version)
    with pytest.raises(ChecksumMismatch, match=r"model\.onnx\.data has sha256"):
        rollback(NAME)
    assert alias_version(NAME, CHAMPION) == versions[1].version
    assert earlier_champions(NAME) == [versions[0].version]


def test_a_bundle_has_one_version_which_is_verified_again(store, tmp_path):
    first = register(tmp_path / "bundle", 1)
    again = register(tmp_path / "same", 1)
    assert again.version == first.version
    registry.describe_version(again, "another page")
    assert MlflowClient().get_model_version(NAME, first.version).description == "another page"
    with pytest.raises(InvalidValue, match="description of a version has 5001 characters"):
        registry.describe_version(again, "x" * 5001)
    damage(first.version)
    with pytest.raises(ChecksumMismatch):
        register(tmp_path / "third", 1)


def test_nothing_over_the_limit_of_any_store_is_written(store, tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle", TARGET)
    with pytest.raises(InvalidValue, match="description of a version has 5000 characters"):
        registry.register_bundle(bundle, checkpoint_id=None, tags={}, description="x" * 5000)
    with pytest.raises(InvalidValue, match="scores of a version has 6000 characters"):
        registry.register_bundle(bundle, checkpoint_id=None, tags={"scores": "x" * 6000}, description="")
    assert not MlflowClient().search_registered_models()
    with pytest.raises(InvalidValue, match="alias 'champion' cannot be set by hand"):
        set_alias(NAME, CHAMPION, "1")


def test_a_store_that_fails_is_not_a_store_without_champions(store, monkeypatch):
    assert alias_version("polystilts-none", CHAMPION) is None
    with pytest.raises(NoModel, match="polystilts-none has no champion"):
        rollback("polystilts-none")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with pytest.raises(MlflowException):
        alias_version(NAME, CHAMPION)


def test_two_threads_or_processes_do_not_hold_a_target_at_once(store, tmp_path, processes):
    with promotion_lock(NAME) as outer, promotion_lock(NAME) as inner:
        assert inner is outer
        waiting = processes.Process(target=worker.hold, args=(store, 0.2))
        waiting.start()
        waiting.join(240)
        assert waiting.exitcode == 1  # PromotionLocked
    free = processes.Process(target=worker.hold, args=(store, 0.2))
    free.start()
    free.join(240)
    assert free.exitcode == 0


def test_killed_at_any_write_the_champion_is_complete_and_verified(store, tmp_path, processes):
    promote(register(tmp_path / "first", 0), None)

    def killed(score, writes):
        """Promotes a better bundle in a process that dies before a write; whether it came to its end."""
        folder = tmp_path / f"again{score}"
        process = processes.Process(target=worker.promote_until_killed, args=(store, str(folder), score, writes))
        process.start()
        process.join(240)
        assert process.exitcode in (0, -signal.SIGKILL)
        registered, bundle = champion(TARGET, tmp_path / f"download{score}")  # downloads and compares digests
        assert registered.digest == bundle.digest
        # The alias is the one write: the promotion of a killed process has not happened at all.
        assert registered.tags["score"] == (str(score) if process.exitcode == 0 else "0")
        return process.exitcode != 0

    assert killed(1, writes=0)  # uploaded, but not yet a version
    assert len(MlflowClient().search_model_versions(f"name = '{NAME}'")) == 1
    points = 0
    while True:
        register(tmp_path / str(points + 2), points + 2)
        if not killed(points + 2, writes=points):
            break
        points += 1
    assert points >= 5  # the decision's artifact and tag, two tags of the history, the alias


def test_a_rollback_killed_at_any_write_has_not_happened(store, tmp_path, processes):
    before = None
    for score in (1, 2, 3):
        registered = register(tmp_path / str(score), score)
        promote(registered, before)
        before = registered.version
    for writes in range(3):  # two tags of the history, the alias
        process = processes.Process(target=worker.rollback_until_killed, args=(store, writes))
        process.start()
        process.join(240)
        assert process.exitcode == -signal.SIGKILL
        assert (alias_version(NAME, CHAMPION), earlier_champions(NAME)) == ("3", ["2", "1"])
    assert rollback(NAME) == ("3", "2")
    assert earlier_champions(NAME) == ["1"]


def test_two_processes_end_where_one_of_them_alone_would(store, tmp_path, processes):
    barrier = processes.Barrier(2)
    scores = {"a": [1, 4, 5], "b": [2, 3, 6]}
    running = [
        processes.Process(target=worker.promote_at_once, args=(store, str(tmp_path / name), each, barrier))
        for name, each in scores.items()
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
        assert process.exitcode == 0
    client = MlflowClient()
    registered, _ = champion(TARGET, tmp_path / "download")
    assert registered.tags["score"] == "6"
    history = [registered.version, *earlier_champions(NAME)]
    # Each champion was decided against, and replaced, the one before it; scores only rise.
    found = [client.get_model_version(NAME, version).tags for version in history]
    assert [tags[REPLACES] for tags in found] == [*history[1:], ""]
    assert [json.loads(tags[DECISION])["against"] for tags in found] == [*history[1:], None]
    rising = [int(tags["score"]) for tags in reversed(found)]
    assert rising == sorted(rising)


@pytest.mark.slow
def test_the_same_on_a_tracking_server(server, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.2)
    walk(tmp_path)
    client = MlflowClient()
    assert LOCK_TAG not in client.get_registered_model(NAME).tags  # every lock was given back

    # two promotions at once
    barrier = processes.Barrier(2)
    scores = {"a": [5], "b": [6]}
    running = [
        processes.Process(target=worker.promote_at_once, args=(server, str(tmp_path / name), each, barrier))
        for name, each in scores.items()
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(240)
        assert process.exitcode == 0
    assert champion(TARGET, tmp_path / "download")[0].tags["score"] == "6"

    # a lock that somebody holds is waited for; one whose owner was killed expires and is taken over
    def held_until(expires):
        value = json.dumps({"owner": "elsewhere:1:x", "expires": expires})
        client.set_registered_model_tag(NAME, LOCK_TAG, value)

    held_until(time.time() + 60)
    refused = pytest.raises(PromotionLocked, match=r"another promotion of polystilts-xcopa \(elsewhere:1:x\)")
    with refused, promotion_lock(NAME, wait=0.3):
        raise AssertionError("was locked")
    held_until(time.time() - 1)
    with promotion_lock(NAME, wait=0.3) as mine:
        mine.check()
        held_until(time.time() + 60)  # and one that was lost is noticed before the write it guards
        with pytest.raises(PromotionLocked, match="taken over by elsewhere:1:x"):
            mine.check()
    assert json.loads(client.get_registered_model(NAME).tags[LOCK_TAG])["owner"] == "elsewhere:1:x"


def test_of_two_that_insert_the_lock_at_once_the_refused_one_waits(store, tmp_path, monkeypatch):
    """A server's store refuses the second insert of one tag: that is a lost race, not an error."""
    client = MlflowClient()
    client.create_registered_model(NAME)
    write, refused = lock._HeldTag.write, []

    def second(held):
        if not refused:
            refused.append(held)
            client.set_registered_model_tag(
                NAME, LOCK_TAG, json.dumps({"owner": "first", "expires": time.time() + 0.5})
            )
            raise MlflowException("UNIQUE constraint failed: registered_model_tags.key")
        write(held)

    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(lock._HeldTag, "write", second)
    with lock._tag(NAME, wait=10) as held:
        held.check()
    assert refused
    refused.clear()
    monkeypatch.setattr(client, "set_registered_model_tag", lambda *_: None)
    with pytest.raises(MlflowException, match="UNIQUE"), lock._tag(NAME, wait=1):
        pass
