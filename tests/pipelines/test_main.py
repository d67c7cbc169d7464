"""The main job end to end on a tiny source, in one process, and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipelines import deliver, main
from polystilts.errors import ChecksumMismatch
from polystilts.metrics.bank import read_bank
from polystilts.runtime.bundle import open_bundle
from polystilts.runtime.models_folder import read_current
from polystilts.tracking.runs import KEY, RESUMED_BY, RESUMES
from polystilts.training.checkpoint import open_checkpoint
from tests.pipelines.conftest import killed_when_written

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def parameters(preset: Path, tmp_path: Path) -> main.Main:
    return main.Main(preset=str(preset), output=str(tmp_path / "outputs"), serve=False)


def test_the_whole_job_and_its_repetition(
    parameters: main.Main, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main.run(parameters)
    shown = capsys.readouterr().out
    output = tmp_path / "outputs"

    # every cell of the grid was scored, in every language whose file exists, and each row has a role
    banks = sorted(path.name.rsplit("-", 1)[0] for path in output.glob("evaluations/*.parquet"))
    recipes = ("baseline", "copa+udpos", "udpos")
    assert banks == sorted(f"{t}-{r}" for t in ("udpos", "xcopa", "tatoeba") for r in recipes)
    rows = read_bank(next(output.glob("evaluations/udpos-baseline-*.parquet")))
    assert {row.language for row in rows} == {"en", "de", "zh"}
    assert {row.role for row in rows} == {"choice", "report"}
    assert "no rows here for" in shown

    # lineage reaches the base; checkpoints open and verify
    target = next(
        p for p in output.glob("checkpoints/target-udpos-*") if open_checkpoint(p).lineage["recipe"] == "udpos"
    )
    lineage = open_checkpoint(target).lineage
    assert [lineage["phase"], lineage["parent"]["phase"], lineage["parent"]["parent"]["phase"]] == [
        "target",
        "intermediate",
        "base",
    ]
    assert "=" in json.loads((output / "reports/summary.json").read_text())["caption"]

    # one champion a target, whose bundle is the one delivered
    client = MlflowClient()
    current = read_current(output / "models")
    assert set(current) == {"udpos", "xcopa", "tatoeba"}
    for name, delivered in current.items():
        version = client.get_model_version_by_alias(f"polystilts-{name}", "champion")
        assert version.tags["digest"] == delivered.digest
        assert version.source.startswith("models:/m-")
        assert open_bundle(delivered.folder(output / "models"), digest=delivered.digest).target == name

    # the job's run is the parent of its phases and everything is finished
    runs = client.search_runs([r.experiment_id for r in client.search_experiments()], max_results=200)
    parent = next(r for r in runs if r.data.tags["polystilts.phase"] == "main")
    phases = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {r.data.tags["polystilts.phase"] for r in phases} == {
        "intermediate",
        "target",
        "evaluate",
        "export",
        "promote",
    }
    assert {r.info.status for r in runs} == {"FINISHED"}

    versions = len(client.search_model_versions("name = 'polystilts-udpos'"))

    # again: nothing is trained twice
    main.run(parameters)
    again = " ".join(capsys.readouterr().out.split())
    trained = len(list(output.glob("checkpoints/*")))
    assert again.count("done before, found in outputs") == 0
    assert again.count("done before") == trained + 2 * len(banks), "every checkpoint, every bank and its export"
    assert len(client.search_model_versions("name = 'polystilts-udpos'")) == versions

    # the models folder can be made again from the registry alone
    deliver.run(deliver.Deliver(models=str(tmp_path / "elsewhere")))
    assert {k: v.digest for k, v in read_current(tmp_path / "elsewhere").items()} == {
        k: v.digest for k, v in current.items()
    }

    # a version answers where torch cannot be imported, from the code it carries
    answer = _predict_without_torch(tracking, "models:/polystilts-xcopa@champion", tmp_path)
    assert answer["torch"] is False
    assert answer["prediction"][0] in ("0", "1")

    # a changed checkpoint is refused
    with (target / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ChecksumMismatch, match=r"config\.json has sha256"):
        open_checkpoint(target)


def _predict_without_torch(tracking: str, model: str, folder: Path) -> dict[str, object]:
    code = f"""
import json, sys
for name in ("torch", "transformers", "datasets"):
    sys.modules[name] = None
import mlflow
mlflow.set_tracking_uri({tracking!r})
import pandas as pd
model = mlflow.pyfunc.load_model({model!r})
frame = pd.DataFrame([{{"premise": "Das Glas fiel.", "question": "effect", "choices": "es brach\\nes wuchs"}}])
found = model.predict(frame)
import polystilts
assert {str(ROOT)!r} not in polystilts.__file__, polystilts.__file__
print(json.dumps({{"prediction": found["prediction"].tolist(), "torch": sys.modules.get("torch") is not None}}))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr[-2000:]
    answer: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return answer


def test_a_killed_job_continues_and_its_runs_are_marked(parameters: main.Main, tracking: str, tmp_path: Path) -> None:
    arguments = ["--preset", parameters.preset, "--serve", "false", "--output", parameters.output]
    arguments += ["--intermediate", "udpos", "--targets", "udpos"]
    killed_when_written("*/unfinished/*/state.safetensors", "pipelines.main", arguments, tmp_path / "log")
    client = MlflowClient()
    experiment = [e.experiment_id for e in client.search_experiments()]
    left = client.search_runs(experiment, "attributes.status = 'RUNNING'")
    assert left, "the killed job left no open run, so this test looked at nothing"

    main.run(parameters.model_copy(update={"intermediate": "udpos", "targets": "udpos"}))
    for run in left:
        found = client.get_run(run.info.run_id)
        assert found.info.status == "KILLED"
        successor = client.get_run(found.data.tags[RESUMED_BY])
        assert successor.data.tags[RESUMES] == run.info.run_id
        assert successor.data.tags[KEY] == found.data.tags[KEY]
        assert successor.info.status == "FINISHED"
    assert not list((tmp_path / "outputs/unfinished").glob("*"))
