"""Sweeps on the tiny world: the plan is what runs, nothing is done twice, failures stop nothing else."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from pipelines import phases, sweep, sweeping
from pipelines.cli import parse
from pipelines.micro_encoder import committed_folder
from pipelines.planning import encoder_size
from pipelines.sweep import Sweep, arms_of, folder_of, parse_options
from polystilts.analysis.cells import PLAIN, CellFile, cost_of, read_cells
from polystilts.errors import BadRow, Diverged, InvalidValue, MissingData, PolystiltsError, Problems
from polystilts.metrics.bank import read_bank
from polystilts.tracking.runs import KEY, PHASE
from polystilts.training.checkpoint import open_checkpoint
from tests.pipelines.conftest import killed_when_written
from tests.pipelines.test_recipes import SilentTracker
from tests.test_boundaries import run_without

WORK = ("pretrain", "intermediate", "average", "target", "evaluate")
PARENT = "mlflow.parentRunId"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is read here, and a narrow terminal breaks it into lines."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def parameters(preset: Path, tmp_path: Path) -> Sweep:
    """Two recipes (baseline, udpos) x two targets x two seeds."""
    text = preset.read_text(encoding="utf-8").replace("save_seconds: 0.01", "save_seconds: 99")
    preset.write_text(text, encoding="utf-8")
    return Sweep(
        preset=str(preset),
        output=str(tmp_path / "outputs"),
        intermediate="udpos",
        targets="udpos,tatoeba",
        seeds="0,1",
    )


def runs() -> list[Run]:
    client = MlflowClient()
    found: list[Run] = []
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found += client.search_runs(experiments, max_results=1000)
    return found


def work(of: Sequence[Run]) -> Counter[str]:
    return Counter(run.data.tags[PHASE] for run in of if run.data.tags[PHASE] in WORK)


def cells_of(parameters: Sweep) -> list[CellFile]:
    return read_cells(folder_of(parameters, Path(parameters.output)))


def plan(parameters: Sweep) -> tuple[Counter[str], Counter[str]]:
    """Phases to run, and phases done before."""
    nodes = sweeping.plan_of(arms_of(parameters)).nodes.values()
    return Counter(n.phase for n in nodes if not n.done), Counter(n.phase for n in nodes if n.done)


def test_a_grid_runs_as_planned_and_once(
    parameters: Sweep, tracking: str, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned, done = plan(parameters)
    assert not done
    # One encoder for each seed, used by both targets; Tatoeba is not trained.
    assert planned == {"intermediate": 2, "target": 4, "evaluate": 8}
    sweep.run(parameters.model_copy(update={"dry_run": True}))
    assert "no measurement yet" in capsys.readouterr().out
    assert not runs(), "a plan runs nothing"

    sweep.run(parameters)
    first = runs()
    assert work(first) == planned
    assert {run.info.status for run in first} == {"FINISHED"}

    cells = cells_of(parameters)
    assert [(c.seed, c.recipe, c.target) for c in cells] == [
        (seed, recipe, target) for seed in (0, 1) for recipe in ("baseline", "udpos") for target in ("udpos", "tatoeba")
    ]
    assert len({c.bank for c in cells}) == 8
    assert len({(c.target, c.weights) for c in cells}) == 7, "from the base alone Tatoeba has no seed"
    for cell in cells:
        assert {row.task for row in read_bank(cell.bank)} == {cell.target}
        assert (cell.base, cell.option, cell.knobs, cell.parameters) == (str(encoder), PLAIN, {}, encoder_size(encoder))
        assert MlflowClient().get_run(cell.run_id).data.tags[KEY] == cell.key
        assert cell.languages == (("en",) if cell.target == "udpos" else ())
    last = cells[-2]
    assert [run.phase for run in last.runs] == ["intermediate", "target", "evaluate"] and last.seconds > 0
    assert set(last.trained_on) == {"udpos"} and set(last.data) == {"en", "de", "zh"}
    assert cost_of(cells) < sum(cell.seconds for cell in cells), "a run that cells share counts once"

    # The tree: sweep, base, recipe, cell, and the phases where they were first needed.
    tree = {run.info.run_id: run for run in first}

    def path(run: Run) -> tuple[str, ...]:
        above = tree.get(run.data.tags.get(PARENT, ""))
        return (*(path(above) if above else ()), run.data.tags[PHASE])

    assert Counter(path(run) for run in first) == {
        ("sweep",): 1,
        ("sweep", "base"): 1,
        ("sweep", "base", "recipe"): 4,
        ("sweep", "base", "recipe", "intermediate"): 2,
        ("sweep", "base", "recipe", "cell"): 8,
        ("sweep", "base", "recipe", "cell", "target"): 4,
        ("sweep", "base", "recipe", "cell", "evaluate"): 8,
    }
    scored = next(run for run in first if run.data.tags[PHASE] == "cell" and run.data.params["seed"] == "1")
    assert "score" in scored.data.metrics

    # Again, with one seed more: only that one's phases are new.
    more = parameters.model_copy(update={"seeds": "0,1,2"})
    capsys.readouterr()
    sweep.run(more.model_copy(update={"dry_run": True}))
    assert "on this machine, from its finished runs" in capsys.readouterr().out
    todo, done = plan(more)
    assert (todo, done) == ({"intermediate": 1, "target": 2, "evaluate": 4}, planned)
    sweep.run(more)
    assert work(runs()) == planned + todo
    assert cells_of(more)[:8] == cells, "found cells are described as those that were just scored"


def test_options_are_arms_and_share_what_they_do_not_change(parameters: Sweep, tracking: str) -> None:
    parameters = parameters.model_copy(update={"seeds": "", "options": "average=0.3;training.layer_decay=0.9"})
    planned, _ = plan(parameters)
    # The average needs no second training, and changes nothing in the baseline.
    assert planned == {"intermediate": 2, "average": 1, "target": 2 + 1 + 2, "evaluate": 4 + 2 + 3}
    sweep.run(parameters)
    assert work(runs()) == planned
    cells = cells_of(parameters)
    assert len(cells) == 3 * 4
    named = {(c.option, c.recipe, c.target): c for c in cells}
    assert {c.option for c in cells} == {PLAIN, "average=0.3", "layer_decay=0.9"}
    assert named["layer_decay=0.9", "udpos", "udpos"].knobs == {"training.layer_decay": "0.9"}
    averaged, plain = (named[option, "udpos", "tatoeba"] for option in ("average=0.3", PLAIN))
    assert [run.phase for run in averaged.runs] == ["intermediate", "average", "evaluate"]
    assert averaged.runs[0] == plain.runs[0] and averaged.weights != plain.weights
    assert named["average=0.3", "baseline", "udpos"].key == named[PLAIN, "baseline", "udpos"].key


def test_a_failure_stops_nothing_else_and_is_tried_again(
    parameters: Sweep, tracking: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = parameters.model_copy(update={"seeds": "0"})
    real, broken, tried = phases.train, {"intermediate udpos"}, []

    def sometimes(*arguments: Any, description: str, **options: Any) -> Any:
        tried.append(description)
        if description in broken:
            raise Diverged("not a number")
        return real(*arguments, description=description, **options)

    monkeypatch.setattr(phases, "train", sometimes)
    with pytest.raises(PolystiltsError, match=r"1 failed .*, 2 cells were not run because of it"):
        sweep.run(parameters)
    folder = folder_of(parameters, Path(parameters.output))
    failures = json.loads((folder / "failures.json").read_text(encoding="utf-8"))
    assert [(f["phase"], f["seed"], f["error"], f["message"]) for f in failures["failed"]] == [
        ("intermediate/udpos", 0, "Diverged", "not a number")
    ]
    assert [(n["target"], n["recipe"], n["because"]) for n in failures["not_run"]] == [
        (target, "udpos", "intermediate/udpos") for target in ("udpos", "tatoeba")
    ]
    assert [(c.recipe, c.target) for c in cells_of(parameters)] == [("baseline", t) for t in ("udpos", "tatoeba")]
    shown = capsys.readouterr().out
    assert "failed: intermediate/udpos: Diverged: not a number" in shown and "1 not run" in shown
    status = Counter((run.data.tags[PHASE], run.info.status) for run in runs())
    assert status["intermediate", "FAILED"] == status["recipe", "FAILED"] == status["sweep", "FAILED"] == 1
    assert status["base", "FINISHED"] == status["recipe", "FINISHED"] == 1

    # A target that fails is not the end of its recipe, and the same training is not begun twice.
    broken = {"target udpos from baseline"}
    tried.clear()
    other = parameters.model_copy(update={"targets": "udpos", "seeds": "3", "options": "average=0.5"})
    with pytest.raises(PolystiltsError, match=r"1 failed \(target/udpos from baseline\), 1 cells were not run"):
        sweep.run(other)
    assert Counter(tried)["target udpos from baseline"] == 1
    assert len(cells_of(other)) == 4 - 2

    broken = set()
    sweep.run(parameters)
    assert len(cells_of(parameters)) == 4
    assert json.loads((folder / "failures.json").read_text(encoding="utf-8")) == {"failed": [], "not_run": []}


def test_a_disk_that_is_full_ends_the_sweep(parameters: Sweep, tracking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phases, "train", full)
    with pytest.raises(OSError, match="No space left"):
        sweep.run(parameters)


def test_a_killed_sweep_continues(parameters: Sweep, tracking: str, tmp_path: Path) -> None:
    parameters = parameters.model_copy(update={"seeds": "0"})
    arguments = ["--preset", parameters.preset, "--output", parameters.output]
    arguments += ["--intermediate", "udpos", "--targets", "udpos,tatoeba", "--seeds", "0"]
    planned, _ = plan(parameters)
    killed_when_written("*/outputs/evaluations/*.parquet", "pipelines.sweep", arguments, tmp_path / "log")
    before = runs()
    assert {"sweep", "base", "recipe", "cell"} <= {r.data.tags[PHASE] for r in before if r.info.status == "RUNNING"}

    todo, done = plan(parameters)
    assert todo + done == planned and done["evaluate"] >= 1
    sweep.run(parameters)
    assert len(cells_of(parameters)) == 4
    known = {run.info.run_id for run in before}
    assert work([run for run in runs() if run.info.run_id not in known]) == todo
    assert {run.info.status for run in runs()} == {"FINISHED", "KILLED"}


def test_an_interrupt_waits_for_the_next_update_and_closes_every_run(
    parameters: Sweep, tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = parameters.model_copy(update={"seeds": "0"})
    planned, _ = plan(parameters)
    real, sent = phases.train, list[str]()

    def interrupted(*arguments: Any, description: str, **options: Any) -> Any:
        if not sent and description == "target udpos from udpos":
            os.kill(os.getpid(), signal.SIGINT)
            sent.append("and nothing has happened yet")
        return real(*arguments, description=description, **options)

    monkeypatch.setattr(phases, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(parameters)
    assert sent
    first = runs()
    assert Counter(run.data.tags[PHASE] for run in first if run.info.status != "FINISHED") == {
        "sweep": 1, "base": 1, "recipe": 1, "cell": 1, "target": 1,
    }  # fmt: skip
    assert {run.info.status for run in first} == {"FINISHED", "KILLED"}
    assert [cell.recipe for cell in cells_of(parameters)] == ["baseline", "baseline"]

    sweep.run(parameters)
    made = work(runs())
    assert made == planned + Counter(target=1), "the one that was interrupted, and nothing else, was begun twice"
    assert len(cells_of(parameters)) == 4


def test_the_plan_counts_the_updates_that_run(
    parameters: Sweep, tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "log_checkpoint", lambda *_: None)
    for name in ("log_metrics", "log_metric", "log_artifact"):
        monkeypatch.setattr(phases.mlflow, name, lambda *_, **__: None)
    (rows / "text").mkdir()
    (rows / "text/en.txt").write_text("the cat sleeps\n" * 20, encoding="utf-8")
    recipes = "udpos+mlm,mlm,again:copa,shuffled:udpos,mlm-en:copa,copa+udpos"
    asked = {"intermediate": recipes, "targets": "udpos", "seeds": "0", "knobs": "mlm.share=0.5"}
    [arm] = arms_of(parameters.model_copy(update=asked))
    expected = {n.label: n.updates for n in sweeping.plan_of([arm]).waiting if n.updates}
    assert len(expected) == 6 + 7
    phases.run_grid(replace(arm.job, _tracker=SilentTracker()))  # type: ignore[arg-type]
    for folder in (tmp_path / "outputs/checkpoints").iterdir():
        lineage = open_checkpoint(folder).lineage
        origin = "" if lineage["phase"] == "intermediate" else f" from {lineage['recipe']}"
        assert expected.pop(f"{lineage['phase']} {lineage['name']}{origin}") == lineage["updates"]
    assert not expected


def test_sizes_of_the_micro_encoder_are_bases(tmp_path: Path) -> None:
    asked = {"intermediate": "none", "targets": "tatoeba", "bases": "micro:small,micro,micro:large"}
    graph = sweeping.plan_of(arms_of(Sweep(output=str(tmp_path), **asked)))
    sizes = {"micro-small": 270_016, "micro": 834_944, "micro-large": 2_849_536}
    updates = {"micro-small": 1800, "micro": 180, "micro-large": 1800}
    made = [node for node in graph.nodes.values() if node.phase == "pretrain"]
    assert {n.name: n.parameters for n in made} == sizes and {n.name: n.updates for n in made} == updates
    scored = [node.parameters for node in graph.nodes.values() if node.phase == "evaluate"]
    assert scored == list(sizes.values()), "what is planned from a base has its size"
    assert encoder_size(committed_folder()) == sizes["micro"]


def test_a_probe_measures_the_speed_and_leaves_nothing(
    parameters: Sweep, tracking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.run(parameters.model_copy(update={"dry_run": True, "probe": True}))
    shown = capsys.readouterr().out
    assert [run.data.tags[PHASE] for run in runs()] == ["probe"]
    assert "and 8 phases without a measurement" in shown, "what is scored was not measured"
    assert not Path(parameters.output).exists()


class TestParameters:
    def refused(self, parameters: Sweep, **changes: str) -> str:
        with pytest.raises(Problems) as caught:
            arguments = {**parameters.model_dump(include={"preset", "output"}), **changes}
            parse(Sweep, [f"--{name}={value}" for name, value in arguments.items()], program="sweep")
        return caught.value.message

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"options": "averag=0.3"}, "did you mean 'average'"),
            ({"options": "batch_size=3"}, "write training.batch_size or mlm.batch_size"),
            ({"options": "evaluation.limit=3"}, "unknown section of knobs that decide a training 'evaluation'"),
            ({"options": "average"}, "'average' is not KNOB=VALUE"),
            ({"options": "average=2"}, "less than or equal to 1"),
            ({"options": "average=0.3; recipe.average=0.3"}, "the option 'average=0.3' is there twice"),
            ({"options": "target.languages=[en,de]"}, "no training rows of udpos in 'de'"),
            ({"seeds": "0,0"}, "none twice"),
            ({"seeds": "0,a"}, "no list of seeds"),
            ({"bases": "micro,micro:huge"}, "unknown size of the micro encoder 'huge'"),
            ({"bases": "nowhere"}, "no folder"),
            ({"knobs": "recipe.update=3"}, "did you mean 'updates'"),
            ({"intermediate": "udpo"}, "did you mean 'udpos'"),
        ],
    )
    def test_what_is_wrong_is_said_at_once(self, parameters: Sweep, changes: dict[str, str], message: str) -> None:
        assert message in self.refused(parameters, **changes)

    def test_all_problems_together(self, parameters: Sweep) -> None:
        message = self.refused(parameters, seeds="x", options="averag=1", bases="nowhere")
        assert all(part in message for part in ("no list of seeds", "did you mean 'average'", "no folder"))


def test_options_have_one_name() -> None:
    options = parse_options("training.layer_decay=0.9; average=0.3 tasks.mnli.epochs=2;; plain ;mlm.epochs=1")
    names = [option.name for option in options]
    assert names == [PLAIN, "layer_decay=0.9", "average=0.3 tasks.mnli.epochs=2", "mlm.epochs=1"]
    assert options[2].text == "recipe.average=0.3 tasks.mnli.epochs=2"
    with pytest.raises(InvalidValue, match="not KNOB=VALUE"):
        parse_options("average=")


def test_cells_are_read_without_torch_and_refused_when_strange(tmp_path: Path) -> None:
    assert run_without(("torch", "transformers", "mlflow", "datasets"), "polystilts.analysis.cells") == "[]"
    with pytest.raises(MissingData):
        read_cells(tmp_path)
    (tmp_path / "cells.json").write_text('{"schema_version": 1, "cells": [{"base": "micro"}]}', encoding="utf-8")
    with pytest.raises(BadRow, match="fields differ: bank"):
        read_cells(tmp_path)
    (tmp_path / "cells.json").write_text('{"schema_version": 2, "cells": []}', encoding="utf-8")
    with pytest.raises(BadRow, match="schema version 1"):
        read_cells(tmp_path)
