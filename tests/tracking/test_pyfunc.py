"""A version as an MLflow pyfunc: answers where there is no torch, from the code it carries, in several languages."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.models import Model

from polystilts.formats.values import FORMATS
from polystilts.runtime.bundle import load_predictor
from polystilts.tracking import registry
from polystilts.tracking.promotion import promote_version
from polystilts.tracking.pyfunc import COLUMNS, EXAMPLES
from tests.tracking.conftest import free_port, running
from tests.world.bundles import tiny_bundle

ROOT = Path(__file__).resolve().parents[2]

#: One target for each format.
TARGETS = {"pair": "xnli", "choice": "xcopa", "tagging": "udpos", "span": "xquad", "sentence": "tatoeba"}


def promote(folder, target):
    """A champion of tiny weights; the registered version and its bundle."""
    bundle = tiny_bundle(folder / target, target)
    with mlflow.start_run():
        registered = registry.register_bundle(bundle, checkpoint_id=None, tags={}, description="")
        promote_version(registered, expected=None, decision={})
    return registered, bundle


def test_every_format_has_an_example_in_several_languages():
    assert set(COLUMNS) == set(EXAMPLES) == set(FORMATS)
    for name, rows in EXAMPLES.items():
        assert len(rows) >= 3 and all(len(row) == len(COLUMNS[name]) and all(row) for row in rows)
        scripts = {"latin" if text.isascii() else text[0] for row in rows for text in row}
        assert len(scripts) >= 3


_ASK = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "datasets"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import mlflow
found = {}
for target in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(f"models:/polystilts-{target}@champion")
    answers = model.predict(model.input_example)
    found[target] = answers.to_dict("list") | {"inputs": model.metadata.get_input_schema().input_names()}
import polystilts
print(json.dumps({"code": polystilts.__file__, "found": found, "torch": "torch" in sys.modules}))
"""


def test_every_format_answers_without_torch_from_the_code_it_carries(store, tmp_path):
    bundles = {target: promote(tmp_path, target)[1] for target in TARGETS.values()}
    away = tmp_path / "away"
    away.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_EXPERIMENT_ID")}
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *TARGETS.values()],
        cwd=away, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert not answer["torch"]
    assert not Path(answer["code"]).is_relative_to(ROOT / "polystilts")
    for name, target in TARGETS.items():
        found = answer["found"][target]
        assert found["inputs"] == list(COLUMNS[name])
        assert len(found["prediction"]) == len(found["score"]) == len(EXAMPLES[name])
        assert all(isinstance(text, str) and not text.startswith("error") for text in found["prediction"])
        assert all(np.isfinite(found["score"]))

    # the same answers as the bundle's own predictor gives
    predictor = load_predictor(bundles["xnli"])
    from polystilts.formats.values import PairExample

    own = predictor.predict([PairExample(str(i), "", *row) for i, row in enumerate(EXAMPLES["pair"])])
    found = answer["found"]["xnli"]
    assert found["prediction"] == [prediction.label for prediction in own]
    assert found["score"] == pytest.approx([max(p.probabilities.values()) for p in own])


def test_a_version_carries_no_pickle_no_torch_and_only_what_a_server_has(store, tmp_path):
    registered, bundle = promote(tmp_path, "xnli")
    folder = Path(
        mlflow.artifacts.download_artifacts(f"models:/{registered.name}@champion", dst_path=str(tmp_path / "d"))
    )
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".bin", ".pt", ".joblib"))]
    code = {name.split("/")[2] for name in files if name.startswith("code/polystilts/")}
    assert code == {"__init__.py", "errors.py", "formats", "runtime"}
    pinned = (folder / "requirements.txt").read_text()
    assert "onnxruntime==" in pinned and "torch" not in pinned
    described = Model.load(str(folder / "MLmodel"))
    assert described.signature.inputs.input_names() == ["premise", "hypothesis"]
    assert described.signature.outputs.input_names() == ["prediction", "score"]
    assert registered.tags["digest"] == bundle.digest


def test_one_bad_row_does_not_spoil_its_neighbours(store, tmp_path):
    registered, _ = promote(tmp_path, "xcopa")
    model = mlflow.pyfunc.load_model(f"models:/{registered.name}@champion")
    columns = COLUMNS["choice"]
    good = EXAMPLES["choice"][0]
    frame = [dict(zip(columns, row, strict=True)) for row in (good, ("p", "effect", ""), good)]
    answers = model.predict(frame)
    assert answers["prediction"][0] == answers["prediction"][2]
    assert answers["prediction"][1].startswith("error: ")
    assert np.isnan(answers["score"][1]) and np.isfinite(answers["score"][[0, 2]]).all()


def test_mlflow_models_serve_answers(store, tmp_path):
    registered, _ = promote(tmp_path, "xquad")
    port = free_port()
    arguments = ["models", "serve", "-m", f"models:/{registered.name}@champion", "--env-manager", "local"]
    url = f"http://127.0.0.1:{port}"
    with running([*arguments, "--host", "127.0.0.1", "--port", str(port)], f"{url}/ping", tmp_path):
        rows = [dict(zip(COLUMNS["span"], row, strict=True)) for row in EXAMPLES["span"]]
        request = urllib.request.Request(
            f"{url}/invocations",
            json.dumps({"dataframe_records": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answers = json.load(response)["predictions"]
    assert [set(answer) for answer in answers] == [{"prediction", "score"}] * len(rows)
    assert all(answer["prediction"] in row["context"] for answer, row in zip(answers, rows, strict=True))


@pytest.mark.spark
def test_spark_udf_answers(store, tmp_path, monkeypatch):
    import pyspark.sql as pyspark

    registered, _ = promote(tmp_path, "xnli")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    spark = pyspark.SparkSession.builder.master("local[1]").getOrCreate()
    try:
        udf = mlflow.pyfunc.spark_udf(
            spark,
            f"models:/{registered.name}@champion",
            result_type="prediction string, score double",
            env_manager="local",
        )
        columns = list(COLUMNS["pair"])
        frame = spark.createDataFrame([list(row) for row in EXAMPLES["pair"]], columns)
        answers = frame.withColumn("answer", udf(*columns)).select("answer.*").collect()
    finally:
        spark.stop()
    assert all(answer["prediction"] in ("entailment", "neutral", "contradiction") for answer in answers)
    assert len(answers) == len(EXAMPLES["pair"])
