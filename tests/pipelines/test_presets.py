"""The presets of XLM-R: two protocols by name, every value with its mark, the hyper-parameters of XTREME's scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import ROOT
from pipelines.job import Job
from pipelines.objectives import loop_settings, selection_of, settings_of
from pipelines.phases import train_target
from pipelines.planning import Graph
from pipelines.preset import PRESETS, load_preset, with_knobs
from pipelines.recipes import shared_knobs, target_plan
from pipelines.scoring import Cell, protocol_of
from polystilts.data.source import RememberedRows, open_source
from polystilts.errors import Problems
from polystilts.formats import FormatSettings
from polystilts.tasks import get_task
from polystilts.training.checkpoint import Checkpoint, open_checkpoint
from tests.world.encoder import tiny_encoder

PROTOCOLS = {
    "xlmr-base": "jiant",
    "xlmr-large-paper": "jiant",
    "xlmr-base-xtreme": "xtreme",
    "xlmr-large-xtreme": "xtreme",
}

#: XTREME's scripts at 838c13b: training task -> rate for base, for large, epochs, rows of an update, decay, selection.
XTREME = {
    "mnli": (2e-5, 3e-5, 5, 32, 0, "best"),
    "pawsx": (2e-5, 2e-5, 5, 32, 0, "best"),
    "panx": (2e-5, 2e-5, 10, 32, 0, "best"),
    "udpos": (2e-5, 2e-5, 10, 32, 0, "best"),
    "squad_v1": (3e-5, 3e-5, 3, 32, 1e-4, "last"),
    "tydiqa": (3e-5, 3e-5, 3, 32, 1e-4, "last"),
    "siqa": (2e-5, 3e-5, 5, 32, 0, "best"),
    "copa": (2e-5, 3e-5, 5, 32, 0, "last"),
    "squad_sentences": (2e-5, 2e-5, 3, 16, 0, "last"),
    "mewslix_pairs": (1e-5, 1e-5, 2, 32, 0, "best"),
}

#: Pieces of a row there.
LENGTHS = {name: 128 for name in ("mnli", "pawsx", "panx", "udpos", "siqa", "copa")} | {
    "squad_v1": 384,
    "tydiqa": 384,
    "squad_sentences": 256,
    "mewslix_pairs": 64,
}

MARKS = ("verified", "reconstructed", "recalled", "an experiment", "ours")


def job_of(preset: str, folder: Path, knobs: str = "", *, base: str = "") -> Job:
    return Job(
        preset=with_knobs(load_preset(preset), knobs),
        source=RememberedRows(open_source("micro", ROOT, param="--source")),
        base=base,
        seed=0,
        output=folder / "outputs",
        intermediate=(),
        targets=(),
        console=Console(quiet=True),
    )


def test_protocols_are_named() -> None:
    found = {path.stem: load_preset(path.stem).protocol for path in PRESETS.glob("*.yaml")}
    assert {name: protocol for name, protocol in found.items() if protocol != "own"} == PROTOCOLS
    with pytest.raises(Problems, match="'jiant', 'xtreme' or 'own'"):
        with_knobs(load_preset("micro").model_copy(update={"protocol": "x"}), "training.epochs=1")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_value_has_its_mark(name: str) -> None:
    """In its own line, or in the comment above a line of several values."""
    above, section = "", ""
    for line in (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        code, _, comment = line.partition("#")
        if not code.strip():
            above = comment
            continue
        if not code.startswith(" "):
            section = code.partition(":")[0]
        elif value := re.fullmatch(r"[\w.]+: *(\S.*)", code.strip()):
            said = comment or (above if value[1].startswith("{") else "")
            assert any(mark in said for mark in MARKS), f"{section}: {line}"
        above = ""


@pytest.mark.parametrize("size", ["base", "large"])
@pytest.mark.parametrize("task", XTREME)
def test_xtremes_hyper_parameters(task: str, size: str, tmp_path: Path) -> None:
    base, large, epochs, rows, decay, selection = XTREME[task]
    job = job_of(f"xlmr-{size}-xtreme", tmp_path)
    knobs = job.knobs(task)
    assert knobs.learning_rate == {"base": base, "large": large}[size]
    assert (knobs.epochs, knobs.batch_size, knobs.weight_decay, knobs.clip) == (epochs, rows, decay, 1.0)
    plan = target_plan(job, job.task(task), ("en",))
    assert selection_of(plan, shared_knobs(job, [task])) == selection
    settings = loop_settings(knobs, selection=selection, seed=0, lm_head_rate=1.0)
    assert (settings.weight_decay, settings.evaluations) == (decay, knobs.evaluations)
    assert (settings.warmup_share, settings.warmup_updates) == (0, 500 if task in ("squad_v1", "tydiqa") else 0)
    assert length_of(job, task, tmp_path) == LENGTHS[task]


@pytest.mark.parametrize("name", ["xlmr-base", "xlmr-large-paper"])
def test_jiants_lengths(name: str, tmp_path: Path) -> None:
    job = job_of(name, tmp_path)
    for task in ("mnli", "pawsx", "udpos", "panx"):
        assert length_of(job, task, tmp_path) == 256
    assert length_of(job, "squad_v1", tmp_path) == 384 and length_of(job, "copa", tmp_path) == 128


def test_a_length_is_the_tasks_own_then_its_knob_within_the_presets_and_the_encoders(tmp_path: Path) -> None:
    for knobs, length in (
        ("", 128),
        ("training.max_length=160", 160),
        ("training.max_length=160 tasks.udpos.max_length=40", 40),
        ("tasks.udpos.max_length=9999", 512),
    ):
        assert length_of(job_of("xlmr-base-xtreme", tmp_path, knobs), "udpos", tmp_path) == length
    assert load_preset("micro").max_length == 96
    assert length_of(job_of("micro", tmp_path, "tasks.udpos.max_length=200"), "udpos", tmp_path) == 96


def test_tables_say_whose_protocol_and_which_checkpoints(tmp_path: Path) -> None:
    def cell(target: str, selection: str, recipe: str = "baseline") -> Cell:
        kept = Checkpoint(tmp_path, "", {"selection": selection})
        return Cell(get_task(target), recipe, kept, FormatSettings("pair"), [], tmp_path, "")

    job = job_of("xlmr-base-xtreme", tmp_path)
    best = [cell("xnli", "best"), cell("udpos", "best"), cell("udpos", "best", "mnli"), cell("tatoeba", "last")]
    assert protocol_of(job, best) == "xtreme, best checkpoint", "Tatoeba is not trained"
    assert protocol_of(job, [*best, cell("xquad", "last")]) == (
        "xtreme, best checkpoint of xnli udpos, last checkpoint of xquad"
    )
    assert protocol_of(job, [cell("tatoeba", "best")]) == "xtreme"


def length_of(job: Job, task: str, folder: Path) -> int:
    """The row length of a task's training with an encoder of 512 positions, as XLM-R's; its weights are not opened."""
    config = tiny_encoder(folder / "long") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 514}), encoding="utf-8")
    return settings_of(job, job.task(task), Checkpoint(config.parent, "", {})).max_length


def test_the_protocols_differ_where_they_are_said_to(tmp_path: Path) -> None:
    for jiant, xtreme in (("xlmr-base", "xlmr-base-xtreme"), ("xlmr-large-paper", "xlmr-large-xtreme")):
        ours, theirs = job_of(jiant, tmp_path), job_of(xtreme, tmp_path)
        assert ours.preset.base == theirs.preset.base
        for task in ("mnli", "squad_v1"):
            one, two = ours.knobs(task), theirs.knobs(task)
            assert (one.warmup_share, one.weight_decay, one.learning_rate) == (0.1, 0.01, 1e-5)
            assert one.warmup_share > two.warmup_share and one.weight_decay > two.weight_decay
            assert one.warmup_updates == 0
        assert (ours.knobs("squad_v1").selection, theirs.knobs("squad_v1").selection) == ("", "last")


@pytest.mark.parametrize("knob", ["selection=last", "evaluations=7", "warmup_updates=3", "max_length=40"])
def test_a_tasks_own_knob_is_in_the_key_of_its_training_alone(tmp_path: Path, knob: str) -> None:
    base = str(tiny_encoder(tmp_path / "encoder"))

    def key(task: str, knobs: str = "") -> str:
        job = job_of("micro-catalogue", tmp_path, knobs, base=base)
        job.graph = Graph()
        return train_target(job, get_task(task), open_checkpoint(Path(base)), "baseline").key

    assert key("udpos", f"tasks.udpos.{knob}") not in (key("udpos"), key("udpos", f"tasks.panx.{knob}"))
    assert key("panx", f"tasks.udpos.{knob}") == key("panx")
