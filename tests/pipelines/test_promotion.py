"""Promotions on the micro world: a degraded candidate is refused for the right reason, and the champion stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file, save_file

from pipelines import phases, promote, promotion
from pipelines.cli import parse
from pipelines.job import Job
from polystilts.errors import GateClosed, NoModel
from polystilts.formats import Pieces
from polystilts.tasks import get_task

ENCODER = Path(__file__).resolve().parents[2] / "polystilts/data/micro/encoder"
NAME = "polystilts-tatoeba"


def encoder(folder: Path, *, without: str = "") -> Path:
    """The committed encoder as a base; pieces of one language's script are made to mean nothing."""
    shutil.copytree(ENCODER, folder, ignore=shutil.ignore_patterns("lineage.json"))
    if without:
        weights = load_file(folder / "model.safetensors")
        [name] = [name for name in weights if name.endswith("word_embeddings.weight")]
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        spoiled = [n for n, (piece, _) in enumerate(vocabulary) if any(letter >= "\u4e00" for letter in piece)]
        assert len(spoiled) > 50
        weights[name][spoiled] = 0
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert Pieces.open(folder)
    return folder


def ask(tmp_path: Path, base: Path, **changed: bool) -> promote.Promote:
    return promote.Promote(target="tatoeba", base=str(base), output=str(tmp_path / base.name / "outputs"), **changed)


def aliases(client: MlflowClient) -> dict[str, str]:
    return {name: str(version) for name, version in client.get_registered_model(NAME).aliases.items()}


def test_a_candidate_with_one_language_spoiled_is_refused(
    tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient()
    good, bad = encoder(tmp_path / "good"), encoder(tmp_path / "bad", without="zh")
    with pytest.raises(NoModel, match="no earlier champion of polystilts-tatoeba; nothing was changed"):
        promote.run(ask(tmp_path, good, rollback=True))

    promote.run(ask(tmp_path, good, dry_run=True))
    assert not client.search_registered_models(), "a dry run writes nothing"
    assert "would be the champion" in capsys.readouterr().out

    promote.run(ask(tmp_path, good))
    assert aliases(client) == {"champion": "1", "baseline": "1"}

    with pytest.raises(GateClosed, match=r"no language worse: zh is \d+\.\d points worse than the champion") as refusal:
        promote.run(ask(tmp_path, bad))
    assert "de is" not in str(refusal.value), "the others lost nothing"
    assert aliases(client) == {"champion": "1", "baseline": "1", "challenger": "2"}
    shown = " ".join(capsys.readouterr().out.split())
    assert "cannot tell" in shown or "worse" in shown

    # the page says what it is, and the whole card lies beside it
    version = client.get_model_version(NAME, "1")
    assert version.description is not None and "micro world mean nothing" in version.description
    assert len(version.description) < 5000
    run = mlflow.get_run(version.run_id)
    [folder] = [item.path for item in client.list_artifacts(run.info.run_id) if item.path.startswith("card-")]
    assert {Path(item.path).name for item in client.list_artifacts(run.info.run_id, folder)} == {
        "card.html",
        "card.md",
        "languages.png",
    }


def test_what_is_asked_for_must_fit(tmp_path: Path) -> None:
    neither = promote.Promote(base=str(ENCODER)).problems()
    assert [str(problem) for problem in neither] == ["give either --target or --all"]
    both = promote.Promote(target="tatoeba", all=True, rollback=True, base=str(ENCODER)).problems()
    assert len(both) == 2


def test_switches_need_no_value() -> None:
    asked = parse(
        promote.Promote, ["--target", "tatoeba", "--dry-run", "--strict", f"--base={ENCODER}"], program="promote"
    )
    assert (asked.dry_run, asked.strict, asked.all) == (True, True, False)


def test_choice_rows_alone_are_answered_as_among_all_rows(tracking: str, tmp_path: Path) -> None:
    """Of retrieval every query is a neighbour of the others: half a pool would be easier."""
    asked = ask(tmp_path, encoder(tmp_path / "good"))
    job = Job.open(asked)
    for name in ("tatoeba", "bucc2018"):
        cell = phases.score_checkpoint(job, get_task(name), phases.base_checkpoint(job))
        bundle = promotion.export_cell(job, cell)
        whole = [row for row in promotion.score_bundle(job, cell, bundle) if row.role == "choice"]
        assert promotion.score_bundle(job, cell, bundle, "choice") == whole
        assert whole
