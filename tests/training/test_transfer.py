"""What one phase hands to the next: docs/protocol.md, Training and Question answering.

The phases are the real ones; in place of the loop a few weights are set, so that they are known when they come back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from pipelines import phases
from pipelines.cli import ROOT
from pipelines.job import Job, training_stages
from pipelines.preset import load_preset
from polystilts.data.source import RememberedRows, open_source
from polystilts.formats import FormatSettings
from polystilts.formats.values import SpanPrediction
from polystilts.metrics import get_metric, plain_prediction
from polystilts.tasks import TASKS, TaskSpec, get_task
from polystilts.training.checkpoint import Checkpoint, open_checkpoint
from polystilts.training.loop import Outcome
from polystilts.training.model import build_model
from tests.world.encoder import EXAMPLES, tiny_encoder, tiny_format


class Trainings:
    """In place of the loop: keeps every model's weights as they came, and adds 1 to all of them."""

    def __init__(self) -> None:
        self.first: list[dict[str, Tensor]] = []
        self.last: list[dict[str, Tensor]] = []

    def __call__(self, module: nn.Module, *_: Any, **__: Any) -> Outcome:
        self.first.append(copied(module))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 1.0
        self.last.append(copied(module))
        return Outcome(1, None, 1)


class SilentTracker:
    @contextlib.contextmanager
    def run(self, *_: Any) -> Iterator[Any]:
        yield SimpleNamespace(info=SimpleNamespace(run_id="0", experiment_id="0"))


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, without the name of the task in front."""
    return {name.partition(".")[2]: value.detach().clone() for name, value in module.named_parameters()}


def head(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is neither embeddings nor layers: classifier and pooler."""
    return {
        name: value
        for name, value in weights.items()
        if not name.startswith(("roberta.embeddings.", "roberta.encoder."))
    }


def equal(some: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    assert some.keys() == other.keys() and some
    return all(torch.equal(some[name], other[name]) for name in some)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    trainings = Trainings()
    monkeypatch.setattr(phases, "train", trainings)
    monkeypatch.setattr(phases, "log_checkpoint", lambda *_: None)
    monkeypatch.setattr(phases.mlflow, "log_metrics", lambda *_: None)
    return trainings


@pytest.fixture
def job(tmp_path: Path, trainings: Trainings) -> Job:
    return Job(
        preset=load_preset("micro-catalogue"),
        source=RememberedRows(open_source("micro", ROOT, param="--source")),
        base=str(tiny_encoder(tmp_path / "encoder")),
        seed=3,
        output=tmp_path / "output",
        intermediate=(),
        targets=(),
        console=Console(quiet=True),
        _tracker=SilentTracker(),  # type: ignore[arg-type]
    )


def base_of(job: Job) -> Checkpoint:
    return open_checkpoint(Path(job.base))


def test_social_iqas_head_travels_to_copa(job: Job, trainings: Trainings) -> None:
    spec = get_task("xcopa_after_siqa")
    assert training_stages(spec) == ("siqa", "copa") and training_stages(get_task("xcopa")) == ("copa",)
    phases.train_target(job, spec, base_of(job), "baseline")
    (_, copa), (siqa, _) = trainings.first, trainings.last
    assert {name.partition(".")[0] for name in head(siqa)} == {"classifier", "roberta"}, "classifier and pooler"
    assert equal(siqa, copa), "the encoder, the pooler and the classifier"


def test_a_head_stays_behind_where_a_target_begins(job: Job, trainings: Trainings) -> None:
    """Social IQa as an intermediate task: COPA gets its encoder and draws a head of its own."""
    parent = phases.train_intermediate(job, [job.task("siqa")], base_of(job))
    phases.train_target(job, get_task("xcopa"), parent, "siqa")
    (_, copa), (siqa, _) = trainings.first, trainings.last
    assert not equal(head(siqa), head(copa))
    assert not torch.equal(siqa["classifier.weight"], copa["classifier.weight"])
    assert not torch.equal(siqa["roberta.pooler.dense.weight"], copa["roberta.pooler.dense.weight"])
    below = {name: value for name, value in siqa.items() if name not in head(siqa)}
    assert equal(below, {name: copa[name] for name in below})


def test_a_head_of_another_number_of_labels_is_drawn_anew(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "encoder")
    three = build_model("pair", folder, labels=("a", "b", "c"), seed=1)
    three.save_pretrained(tmp_path / "three")
    same = build_model("pair", tmp_path / "three", labels=("x", "y", "z"), seed=2)
    other = build_model("pair", tmp_path / "three", labels=("0", "1"), seed=2)
    assert torch.equal(three.classifier.out_proj.weight, same.classifier.out_proj.weight)
    assert other.classifier.out_proj.weight.shape[0] == 2


def test_no_chain_of_a_target_changes_the_labels() -> None:
    """The one chain of the catalogue keeps its head because both tasks have the format that scores one choice."""
    chains = [training_stages(spec) for spec in TASKS.values() if spec.before]
    assert {chain for chain in chains} == {("siqa", "copa")}
    assert {get_task(name).format for chain in chains for name in chain} == {"choice"}


# No threshold travels. (BUCC's: tests/test_pitfalls.py, test_bucc_threshold_is_found_on_choice_pairs_of_each_language.)


def test_no_threshold_is_kept_with_a_model(job: Job, trainings: Trainings) -> None:
    assert not [field.name for field in fields(FormatSettings) if "threshold" in field.name or "odds" in field.name]
    squad = phases.train_intermediate(job, [job.task("squad_v2")], base_of(job))
    target = phases.train_target(job, get_task("xquad"), squad, "squad_v2")
    for checkpoint in (squad, target):
        written = [path.read_text(encoding="utf-8") for path in checkpoint.folder.glob("*.json") if is_ours(path)]
        assert written and not any("threshold" in text or "null_odds" in text for text in written)
    (_, xquad), (squad_v2, _) = trainings.first, trainings.last
    assert not equal(head(squad_v2), head(xquad)), "nor the head"


def is_ours(path: Path) -> bool:
    """Not the tokenizer's pieces."""
    return not path.name.startswith("tokenizer")


@pytest.mark.parametrize("name", [spec.name for spec in TASKS.values() if spec.is_target and spec.format == "span"])
def test_a_target_always_answers(name: str) -> None:
    """However high 'no answer' scores, as it does after SQuAD 2.0."""
    spec: TaskSpec = get_task(name)
    assert not spec.unanswerable and "none" not in spec.metric
    format_ = tiny_format("span")
    example = EXAMPLES["span"][0]
    [features] = format_.encode([example])
    outputs = []
    for feature in features:
        start, end = np.full((2, len(feature)), -5.0, dtype=np.float32)
        start[0] = end[0] = 50.0
        outputs.append({"start": start, "end": end})
    answer = format_.decode(example, features, outputs)
    assert isinstance(answer, SpanPrediction) and answer.null_score > answer.score + 100
    assert plain_prediction(answer, null_odds=spec.unanswerable) == answer.text != ""


def test_squad_2_tunes_its_threshold_on_the_rows_it_scores() -> None:
    """Two sets of the same answers with odds 10 apart have the same score: neither uses a threshold from elsewhere."""
    metric, golds = get_metric("qa_or_none"), [["cat"], [], ["dog"]]
    low = [{"text": text, "null_odds": odds} for text, odds in (("cat", 1.0), ("x", 3.0), ("dog", 2.0))]
    high = [{**answer, "null_odds": answer["null_odds"] + 10.0} for answer in low]
    assert metric.score(golds, low, "en") == metric.score(golds, high, "en") == 100.0
    thresholds = [metric.details(golds, answers, "en")["best_exact_threshold"] for answers in (low, high)]
    assert 2.0 <= thresholds[0] < 3.0 and 12.0 <= thresholds[1] < 13.0
