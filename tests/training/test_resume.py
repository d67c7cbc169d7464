"""Interrupted anywhere and continued: the same weights, bit for bit."""

import multiprocessing
import random
import signal
import time

import pytest
import torch
from safetensors import safe_open

from polystilts.training import state as state_module
from polystilts.training.checkpoint import open_checkpoint
from polystilts.training.loop import NoRecorder
from polystilts.training.state import BEST, STATE
from tests.training.worker import (
    leftovers,
    mixture,
    run,
    same,
    train_in_process,
    weights,
    write_in_process,
)
from tests.world.encoder import tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """With dropout: its noise too must come back after a resume."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain", dropout=0.1)


class Interrupt(Exception):
    pass


class StopAt(NoRecorder):
    """Raises after an update, before or after its state is saved."""

    def __init__(self, step):
        self.step, self.done = step, 0

    def start(self, description, total, done):
        self.done = done

    def advance(self, updates, metrics):
        self.done += updates
        if self.done == self.step:
            raise Interrupt


def saved_step(folder):
    with safe_open(folder / STATE, "pt") as file:
        return int(file.metadata()["step"])


@pytest.mark.parametrize(
    ("names", "changed"),
    [
        (("pair",), {}),
        (("pair",), {"precision": "bf16"}),
        (("pair",), {"selection": "last"}),
        (("choice",), {}),
        (("tagging", "span"), {}),
        (("pair", "tagging", "choice"), {"frozen": ("embeddings.",)}),
        (("span",), {"patience": 1}),
    ],
)
def test_stopped_and_continued_is_bit_identical(encoder, tmp_path, names, changed):
    whole, outcome = run(names, encoder, tmp_path / "whole", **changed)
    stops = range(1, mixture(names).total_updates, 2)
    for stop in stops:
        if stop > outcome.updates:
            break
        with pytest.raises(Interrupt):
            run(names, encoder, tmp_path / "parts", recorder=StopAt(stop), **changed)
    parts, continued = run(names, encoder, tmp_path / "parts", **changed)
    assert continued == outcome
    assert same(weights(whole), weights(parts))


def test_it_continues_where_it_was_and_does_not_start_again(encoder, tmp_path):
    with pytest.raises(Interrupt):
        run(("pair",), encoder, tmp_path, recorder=StopAt(4))
    assert saved_step(tmp_path) == 3  # the fourth update was not saved yet
    recorder = StopAt(99)
    starts = []
    recorder.start = lambda description, total, done: starts.append((total, done))
    run(("pair",), encoder, tmp_path, recorder=recorder)
    assert starts == [(6, 3)]


def test_a_finished_training_that_is_called_again_gives_its_weights(encoder, tmp_path):
    first, outcome = run(("pair",), encoder, tmp_path)
    second, again = run(("pair",), encoder, tmp_path)
    assert again == outcome
    assert same(weights(first), weights(second))


def test_the_seed_decides_dropout(encoder, tmp_path):
    first, _ = run(("pair",), encoder, tmp_path / "a", seed=1)
    other, _ = run(("pair",), encoder, tmp_path / "b", seed=2)
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("name", [STATE, BEST])
def test_a_write_that_fails_leaves_the_former_state(encoder, tmp_path, monkeypatch, name):
    """The disk is full, or the process dies, after half of the bytes."""
    with pytest.raises(Interrupt):
        run(("pair",), encoder, tmp_path, recorder=StopAt(4))
    before = (tmp_path / name).read_bytes()

    def half(tensors, path, metadata):
        path.write_bytes(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(state_module, "save_file", half)
        run(("pair",), encoder, tmp_path)
    assert (tmp_path / name).read_bytes() == before
    continued, _ = run(("pair",), encoder, tmp_path)
    whole, _ = run(("pair",), encoder, tmp_path / "whole")
    assert same(weights(whole), weights(continued))


@pytest.fixture(scope="module")
def processes():
    """Starts real processes from a server that has imported torch once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.worker"])
    return context


def wait_for(done, step, process):
    while done.value < step:
        assert process.is_alive(), f"the training ended by itself at {done.value}"
        time.sleep(0.001)


def test_killed_at_random_moments_and_continued_is_bit_identical(encoder, tmp_path, processes):
    total = mixture(("pair", "span"), epochs=6).total_updates
    never = total + 1

    def start(folder, hang_at):
        done = processes.Value("i", 0, lock=False)  # a killed process would keep the lock
        process = processes.Process(target=train_in_process, args=(encoder, folder, done, hang_at))
        process.start()
        return process, done

    whole, _ = start(tmp_path / "whole", never)
    moments = random.Random(11)
    for step in sorted(moments.sample(range(2, total - 4), 5)):
        process, done = start(tmp_path / "parts", step + 3)
        wait_for(done, step, process)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "parts" / "checkpoint").exists()
        assert step - 1 <= saved_step(tmp_path / "parts" / "state") <= step + 3
    process, _ = start(tmp_path / "parts", never)
    process.join()
    whole.join()
    assert (whole.exitcode, process.exitcode) == (0, 0)
    expected, found = (open_checkpoint(tmp_path / name / "checkpoint") for name in ("whole", "parts"))
    assert expected.weights == found.weights  # the sha256 of the weights' file
    tensors = []
    for checkpoint in (expected, found):
        with safe_open(checkpoint.folder / "model.safetensors", "pt") as file:
            tensors.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    assert same(*tensors)
    with safe_open(encoder / "model.safetensors", "pt") as file:
        assert not torch.equal(file.get_tensor("embeddings.word_embeddings.weight"), next(iter(tensors[0].values())))


def test_a_checkpoint_whose_writer_is_killed_is_whole_or_absent(encoder, tmp_path, processes):
    moments = random.Random(12)
    done = processes.Value("i", 0, lock=False)  # a killed process would keep the lock
    kills = 0
    while kills < 6 or (not leftovers(tmp_path) and kills < 60):
        kills += 1
        process = processes.Process(target=write_in_process, args=(encoder, tmp_path, done))
        process.start()
        wait_for(done, done.value + 1, process)
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done.value += 1  # the one that may be there already
    found = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert len(found) >= kills
    for path in found:
        open_checkpoint(path)
    assert leftovers(tmp_path)  # some kills did come in the middle of writing
