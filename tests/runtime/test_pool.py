"""Bundles in memory: what is loaded once, what goes, what comes back and what is refused when it does."""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from polystilts.errors import ChecksumMismatch, MissingData, PolystiltsError
from polystilts.formats.values import PairExample
from polystilts.runtime.backend import Backend
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.pool import Held, Model, Pool
from tests.world.bundles import tiny_bundle

TARGETS = ("xnli", "pawsx", "udpos")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    root = tmp_path_factory.mktemp("bundles")
    return [tiny_bundle(root / target, target) for target in TARGETS]


@pytest.fixture
def folders(originals: list[Bundle], tmp_path: Path) -> list[Path]:
    """Copies that a test may spoil."""
    return [Path(shutil.copytree(bundle.folder, tmp_path / bundle.target)) for bundle in originals]


class Opened:
    """Opens real backends and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.hold: Callable[[], object] = lambda: None

    def __call__(self, folder: Path, threads: int, spin: bool) -> Backend:
        self.names.append(folder.name)
        self.hold()
        return OrtBackend(folder, threads=threads)


@pytest.fixture
def opened() -> Opened:
    return Opened()


def fill(pool: Pool, folders: list[Path], originals: list[Bundle]) -> list[Held]:
    return [pool.add(folder, bundle.digest) for folder, bundle in zip(folders, originals, strict=True)]


def size(folder: Path) -> int:
    """Of what the manifest lists."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.name != "bundle.json")


def loaded(held: list[Held]) -> list[bool]:
    return [one.loaded for one in held]


def answers(model: Model) -> object:
    rows = model.format.encode([PairExample("", "", "The cat sleeps.", "Die Katze.")])[0]
    assert isinstance(rows, list)
    return model.engine.call(rows)[0]["logits"].tolist()


def test_without_a_budget_everything_stays(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(open_backend=opened)
    held = fill(pool, folders, originals)
    assert loaded(held) == [True] * 3
    assert pool.bytes == sum(map(size, folders))
    assert pool.add(folders[0], originals[0].digest) is held[0]
    assert opened.names == list(TARGETS)


def test_the_longest_unused_go_past_the_budget(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(budget=size(folders[0]) + size(folders[2]), open_backend=opened)
    first, second, third = held = fill(pool, folders, originals)
    assert loaded(held) == [False, True, True], "the first was longest unused when the third came"
    with pool.lease(second):
        pass
    with pool.lease(first):
        assert loaded(held) == [True, True, False], "room is made when a bundle comes, not when its user goes"
    assert loaded(held) == [True, True, False]
    with pool.lease(third):
        pass
    assert loaded(held) == [True, False, True]
    assert pool.bytes <= pool.budget
    assert opened.names == ["xnli", "pawsx", "udpos", "xnli", "udpos"]


def test_what_is_in_use_stays_whatever_the_budget(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(budget=0, open_backend=opened)
    held = fill(pool, folders, originals)
    assert loaded(held) == [False] * 3
    with ExitStack() as stack:
        models = [stack.enter_context(pool.lease(one)) for one in held]
        assert loaded(held) == [True] * 3
        with pool.lease(held[0]) as again:
            assert again is models[0]
        assert held[0].loaded, "its other user has not gone"
    assert loaded(held) == [False] * 3
    assert pool.bytes == 0


def test_a_bundle_answers_the_same_after_it_was_gone(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool(budget=0)
    held = pool.add(folders[0], originals[0].digest)
    with pool.lease(held) as model:
        before = answers(model)
    with pool.lease(held) as other:
        assert other is not model
        assert answers(other) == before
        assert answers(model) == before, "whoever still has the old one may use it"


def change(folder: Path) -> None:
    with (folder / "model.onnx.data").open("ab") as file:
        file.write(b"x")


def replace(folder: Path) -> None:
    """By another whole bundle, whose own sums are right."""
    shutil.rmtree(folder)
    tiny_bundle(folder, "xnli", seed=5)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (change, ChecksumMismatch),
        (replace, ChecksumMismatch),
        (lambda folder: (folder / "tokenizer.json").unlink(), ChecksumMismatch),
        (shutil.rmtree, MissingData),
    ],
)
def test_what_changed_while_it_was_gone_is_refused(
    folders: list[Path],
    originals: list[Bundle],
    spoil: Callable[[Path], None],
    error: type[PolystiltsError],
    tmp_path: Path,
) -> None:
    pool = Pool(budget=0)
    held = pool.add(folders[0], originals[0].digest)
    kept = shutil.copytree(folders[0], tmp_path / "kept")
    spoil(folders[0])
    for _ in range(2):
        with pytest.raises(error), pool.lease(held):
            pass
        assert not held.loaded and held._users == 0
    shutil.rmtree(folders[0], ignore_errors=True)
    kept.rename(folders[0])
    with pool.lease(held) as model:  # once it is right again it answers again
        answers(model)


def test_what_changes_or_goes_while_loaded_answers_on(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool()
    held = pool.add(folders[0], originals[0].digest)
    with pool.lease(held) as model:
        before = answers(model)
    shutil.rmtree(folders[0])
    with pool.lease(held) as model:
        assert answers(model) == before


@pytest.mark.parametrize("spoil", [change, replace])
def test_a_bad_bundle_is_never_taken_in(folders: list[Path], originals: list[Bundle], spoil: Callable) -> None:
    pool = Pool()
    spoil(folders[0])
    for _ in range(2):
        with pytest.raises(ChecksumMismatch):
            pool.add(folders[0], originals[0].digest)
    assert pool.bytes == 0


def test_a_tokenizer_is_shared_and_goes_with_its_last_model(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool(budget=size(folders[0]) * 10)
    held = fill(pool, folders, originals)
    with pool.lease(held[0]) as one, pool.lease(held[2]) as other:
        assert one.format.pieces is other.format.pieces
    assert len(pool._pieces) == 1
    del one, other
    for index, one_held in enumerate(held):
        pool.remove(one_held)
        held[index] = None  # type: ignore[call-overload]
    del one_held
    gc.collect()
    assert not pool._pieces, "half a gigabyte for a real one"


def test_the_cost_of_one_shape_is_measured_once(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool(budget=0)
    held = pool.add(folders[0], originals[0].digest)
    with pool.lease(held) as model, pool.lease(held) as same:
        assert same.engine.cost is model.engine.cost
    with pool.lease(held) as again:
        assert again is not model and again.engine.cost is model.engine.cost


def test_a_removed_bundle_serves_who_has_it(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool()
    held = pool.add(folders[0], originals[0].digest)
    with pool.lease(held) as model:
        pool.remove(held)
        pool.remove(held)
        assert pool.bytes == 0
        answers(model)
        with pool.lease(held) as same:  # a request that had chosen it before the swap
            assert same is model
    assert pool.add(folders[0], originals[0].digest) is not held


def test_a_removed_bundle_that_was_unloaded_still_loads_for_its_last_request(
    folders: list[Path], originals: list[Bundle]
) -> None:
    pool = Pool(budget=0)
    held = pool.add(folders[0], originals[0].digest)
    pool.remove(held)
    with pool.lease(held) as model:
        answers(model)
    assert pool.bytes == 0


def in_threads(count: int, work: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(count) as threads:
        return [future.result(60) for future in [threads.submit(work) for _ in range(count)]]


def test_leases_at_once_load_once(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(budget=0, open_backend=opened)
    held = pool.add(folders[0], originals[0].digest)
    barrier = threading.Barrier(8)

    def lease() -> Model:
        barrier.wait(30)
        with pool.lease(held) as model:
            barrier.wait(30)  # all have it before the first lets go
            return model

    models = in_threads(8, lease)
    assert len(set(map(id, models))) == 1
    assert opened.names == ["xnli"] * 2
    assert held._users == 0 and not held.loaded


def test_additions_at_once_load_once(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(open_backend=opened)
    barrier = threading.Barrier(8)

    def add() -> Held:
        barrier.wait(30)
        return pool.add(folders[0], originals[0].digest)

    assert len(set(map(id, in_threads(8, add)))) == 1
    assert opened.names == ["xnli"]


def test_a_loaded_bundle_does_not_wait_for_one_that_loads(
    folders: list[Path], originals: list[Bundle], opened: Opened
) -> None:
    pool = Pool(open_backend=opened)
    held = pool.add(folders[0], originals[0].digest)
    loading, go = threading.Event(), threading.Event()
    opened.hold = lambda: (loading.set(), go.wait(30))
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(pool.add, folders[1], originals[1].digest)
        assert loading.wait(30)
        with pool.lease(held) as model:
            answers(model)
        assert pool.bytes == size(folders[0])
        go.set()
        assert other.result(30).loaded


def test_storm_of_leases_keeps_the_budget(folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool(budget=size(folders[0]))
    held = fill(pool, folders, originals)
    order = iter(range(10_000))

    def use() -> None:
        for _ in range(15):
            with pool.lease(held[next(order) % 3]) as model:
                assert model.bundle.target in TARGETS

    in_threads(4, use)
    assert [one._users for one in held] == [0] * 3
    assert pool.bytes <= size(folders[0]) + max(map(size, folders))
    with pool.lease(held[1]):
        pass
    assert pool.bytes <= pool.budget


@pytest.fixture
def adopted(originals: list[Bundle]) -> Iterator[Model]:
    other = Pool()
    with other.lease(other.add(originals[0].folder, originals[0].digest)) as model:
        yield model


def test_an_adopted_model_is_never_unloaded(adopted: Model, folders: list[Path], originals: list[Bundle]) -> None:
    pool = Pool(budget=0)
    held = pool.adopt(adopted)
    fill(pool, folders[1:], originals[1:])
    for _ in range(2):
        with pool.lease(held) as model:
            assert model is adopted
    assert held.loaded and pool.bytes == 0


def test_all_cores_where_there_are_several(folders: list[Path], originals: list[Bundle], opened: Opened) -> None:
    pool = Pool(wide_threads=2, open_backend=opened)
    with pool.lease(pool.add(folders[0], originals[0].digest)) as model:
        assert opened.names == ["xnli", "xnli"]
        assert model.engine.wide is not None and model.engine.wide_cost is not None
    with (one := Pool(wide_threads=1)).lease(one.add(folders[1], originals[1].digest)) as model:
        assert model.engine.wide is None
