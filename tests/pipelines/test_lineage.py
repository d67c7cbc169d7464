"""`python -m pipelines.lineage`: the walk from every form of a model back to its base."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
import uvicorn

from pipelines.cli import parse
from pipelines.lineage import EXAMPLES, Lineage, kind_of, run, spelled, walks
from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, NoModel, Problems
from polystilts.runtime.bundle import Bundle, open_bundle, write_manifest
from polystilts.runtime.folders import file_sums, read_json, write_json
from polystilts.runtime.models_folder import deliver
from polystilts.tracking import registry
from serving.app import create_app
from serving.runtime import Runtime
from serving.settings import Settings
from tests.world.bundles import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]

BASE = {"phase": "base", "name": "FacebookAI/xlm-roberta-base", "revision": "e73636d4f797", "weights": "a" * 64}
INTERMEDIATE = {
    "phase": "intermediate",
    "name": "mnli",
    "recipe": "mnli",
    "source": "hub",
    "tasks": [{"name": "mnli", "rows": 392702, "licence": "OANC", "data": "d" * 64}],
    "seed": 3,
    "updates": 100,
    "best_update": 90,
    "checkpoint_score": 81.25,
    "selection": "best",
    "settings": {"learning_rate": 1e-05, "epochs": 2},
    "version": "0.4.0",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "run_id": "f" * 32,
    "weights": "b" * 64,
    "parent": BASE,
}


def target_lineage(run_id: str) -> dict[str, Any]:
    return {
        **INTERMEDIATE,
        "phase": "target",
        "name": "copa",
        "tasks": [{"name": "copa", "rows": 400, "licence": "BSD 2-Clause", "data": "c" * 64}],
        "run_id": run_id,
        "weights": "9" * 64,
        "parent": INTERMEDIATE,
        "languages": ["en", "tr"],
    }


def bundle_with(folder: Path, lineage: dict[str, Any]) -> Bundle:
    first = tiny_bundle(folder, "xcopa")
    write_manifest(
        folder,
        target="xcopa",
        settings=first.settings,
        precision="int8",
        lineage=lineage,
        self_test=first.self_test,
        export={"opset": 20, "instruction_set": "avx512_vnni", "quantisation": {"tried": [1]}},
    )
    return open_bundle(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return bundle_with(tmp_path / "bundle", target_lineage("e" * 32))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts of a SQLite store below the working directory
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


def kinds(of: str) -> list[list[str]]:
    return [[step.kind for step in walk.steps] for walk in walks(of)]


WALK = ["bundle", "target", "intermediate", "base"]


def test_a_bundle_is_walked_to_its_base(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    run(Lineage(of=str(bundle.folder)))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    order = ("bundle xcopa", "target copa", "intermediate mnli", "base FacebookAI/xlm-roberta-base")
    depths = [next(line.index(text) for line in lines if text in line) for text in order]
    assert depths == sorted(set(depths)), "each stands below and right of the one made from it"
    for fact in (
        f"digest: {bundle.digest}", "precision: int8", "opset=20 instruction_set=avx512_vnni", "languages: en tr",
        "every sha256 is right", f"task copa: 400 rows, data {'c' * 64}, licence BSD 2-Clause", "seed: 3",
        "learning_rate=1e-05 epochs=2", "code: 0.4.0 0123456789abcdef", f"run: {'e' * 32}", f"run: {'f' * 32}",
        "best: best update 90, English checkpoint rows 81.2", "revision: e73636d4f797", f"weights: {'a' * 64}",
    ):  # fmt: skip
        assert fact in shown, fact
    assert "not recorded" not in shown


def test_what_is_not_recorded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lineage = target_lineage("e" * 32)
    lineage["commit"] = ""
    lineage["tasks"] = [{"name": "copa", "rows": 400}]
    lineage["parent"] = {"phase": "base", "name": "encoder", "weights": "a" * 64}
    run(Lineage(of=str(bundle_with(tmp_path / "bundle", lineage).folder)))
    shown = capsys.readouterr().out
    assert "not recorded: commit, licence of copa, data of copa" in shown
    assert "not recorded: revision" in shown
    (walk,) = walks(str(tmp_path / "bundle"))
    assert [step.missing for step in walk.steps] == [(), ("commit", "licence of copa", "data of copa"), ("revision",)]


def test_json_holds_the_same_steps(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    run(Lineage(of=str(bundle.folder), show="json"))
    (walk,) = json.loads(capsys.readouterr().out)
    assert [step["kind"] for step in walk["steps"]] == WALK
    assert walk["steps"][0]["facts"]["digest"] == bundle.digest
    assert walk["steps"][1]["facts"]["seed"] == 3 and walk["steps"][1]["missing"] == []


def test_a_checkpoint_folder(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    record = target_lineage("e" * 32) | {"key": "k", "files": file_sums(folder, leave_out="lineage.json")}
    write_json(folder / "lineage.json", record)
    assert kinds(str(folder)) == [WALK[1:]]
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ChecksumMismatch, match=r"model\.safetensors has sha256"):
        walks(str(folder))


def test_a_damaged_bundle_is_refused(bundle: Bundle) -> None:
    (bundle.folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ChecksumMismatch, match=r"tokenizer\.json has sha256"):
        walks(str(bundle.folder))


@pytest.mark.parametrize("lineage", [{}, {"phase": 7, "tasks": ["x", 3], "parent": "base"}, {"parent": {"parent": 1}}])
def test_a_lineage_of_another_form_is_shown_as_it_is(tmp_path: Path, lineage: dict[str, Any]) -> None:
    bundle_with(tmp_path / "bundle", lineage)
    assert kinds(str(tmp_path / "bundle"))[0][0] == "bundle"
    run(Lineage(of=str(tmp_path / "bundle")))


def test_an_alias_and_a_version(store: str, tmp_path: Path) -> None:
    with mlflow.start_run(run_name="target/copa") as training:
        pass
    bundle = bundle_with(tmp_path / "bundle", target_lineage(training.info.run_id))
    with mlflow.start_run(run_name="promote/xcopa") as promoting:
        made = registry.register_bundle(
            bundle, checkpoint_id="m-checkpoint", tags={"recipe": "mnli"}, description="a page"
        )
    registry.set_champion(made)
    for of in ("xcopa@champion", "polystilts-xcopa@champion", "xcopa/1", "polystilts-xcopa/1"):
        (walk,) = walks(of)
        assert [step.kind for step in walk.steps] == ["version", *WALK]
        facts = walk.steps[0].facts
        assert walk.steps[0].name == "polystilts-xcopa version 1" and "champion" in facts["aliases"]
        assert facts["checkpoint"] == "m-checkpoint" and facts["pyfunc"].startswith("m-")
        assert facts["run"] == f"{promoting.info.run_id} (promote/xcopa, FINISHED)"
        assert walk.steps[1].facts["digest"] == bundle.digest
        assert walk.steps[2].facts["run"] == f"{training.info.run_id} (target/copa, FINISHED)"
        assert walk.steps[3].facts["run"] == f"{'f' * 32} (not in this store)"
    for of in ("xcopa@baseline", "xcopa/7", "xnli@champion", "xnli/1"):
        with pytest.raises(NoModel) as caught:
            walks(of)
        assert caught.value.param == "--of"


@pytest.fixture
def server(bundle: Bundle, tmp_path: Path) -> Iterator[str]:
    deliver(bundle, tmp_path / "models", name="polystilts-xcopa", version="4")
    app = create_app(Runtime.open(Settings(models=tmp_path / "models")))
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


def test_a_running_server_and_its_models_folder(server: str, bundle: Bundle, tmp_path: Path) -> None:
    for of in (server, str(tmp_path / "models")):
        (walk,) = walks(of)
        assert [step.kind for step in walk.steps] == ["version", *WALK]
        assert walk.steps[0].name == "polystilts-xcopa version 4"
        assert walk.steps[1].facts["digest"] == bundle.digest
        assert walk.steps[-1].facts["revision"] == "e73636d4f797"


@pytest.mark.parametrize("body", [b'{"data": [{"id": "gpt", "object": "model"}]}', b"[1]", b"<html>", b'{"data": [7]}'])
def test_another_server_is_said_to_be_none_of_ours(body: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(MissingData, match="no Polystilts server answers at"):
            walks(f"http://127.0.0.1:{other.server_port}")
        other.shutdown()


def test_no_server_and_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no Polystilts server answers at http://127\.0\.0\.1:9"):
        walks("http://127.0.0.1:9")
    with pytest.raises(MissingData, match=r"neither bundle\.json"):
        walks(str(tmp_path))


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        ("xnli@champion", "alias"), ("polystilts-xnli@challenger", "alias"), ("xnli/3", "version"),
        ("http://[::1]:3000", "server"), ("https://models.example", "server"), ("presets", "folder"),
    ],
)  # fmt: skip
def test_forms(of: str, kind: str) -> None:
    assert kind_of(of) == kind


@pytest.mark.parametrize(
    "of", ["", "xnli", "@champion", "xnli@", "xnli/", "/3", "xnli/three", "a/b@c", "xnli/³", "ftp://x"]
)
def test_what_has_no_form_is_refused(of: str) -> None:
    with pytest.raises(InvalidValue, match="none of the other forms"):
        kind_of(of)
    with pytest.raises(Problems, match="--of"):
        parse(Lineage, [f"--of={of}"], program="lineage")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--json"], "json"), (["--json", "true"], "json"), (["--json=true"], "json"), (["--json", "false"], "tree"),
        (["--json=false"], "tree"), (["--show", "json"], "json"), ([], "tree"),
    ],
)  # fmt: skip
def test_spellings_of_json(words: list[str], shown: str) -> None:
    for order in (["--of", "xnli/3", *words], [*words, "--of", "xnli/3"]):
        assert parse(Lineage, spelled(order), program="lineage").show == shown


def test_the_command_answers_without_heavy_libraries(bundle: Bundle) -> None:
    code = (
        f"import sys; from pipelines.lineage import Lineage, run; run(Lineage(of={str(bundle.folder)!r}));"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'torch','mlflow','transformers','datasets'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    command = [sys.executable, "-m", "pipelines.lineage", "--of", str(bundle.folder), "--json"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=240)
    assert json.loads(done.stdout)[0]["steps"][0]["facts"]["digest"] == bundle.digest
    assert "pipelines.lineage --of" in EXAMPLES
    assert read_json(bundle.folder / "bundle.json")["target"] == "xcopa"
