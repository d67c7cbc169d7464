"""TEI's and KServe's paths: their shapes, our models, limits and errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from starlette.testclient import TestClient

from polystilts.formats.values import SentenceExample
from polystilts.runtime.backend import FakeBackend
from serving.app import create_app
from serving.dropins import TEI
from serving.openai import OPENAI
from serving.runtime import Runtime
from serving.settings import Settings
from tests.serving.fakes import fake_model, fake_runtime, outputs
from tests.world.bundles import SETTINGS, tiny_models


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    models = tiny_models(tmp_path_factory.mktemp("dropins"))
    settings = Settings(models=models, items=4, characters=200)
    runtime = Runtime.open(settings)
    with TestClient(create_app(runtime, settings)) as client:
        yield client
    runtime.close()


@pytest.mark.parametrize("dialect", [*OPENAI, *TEI], ids=lambda dialect: dialect.path)
def test_every_documented_example_is_answered(client: TestClient, dialect: Any) -> None:
    assert len(dialect.examples) >= 2
    for body in dialect.examples.values():
        dialect.request.model_validate(body)
        response = client.post(dialect.path, json=body)
        assert response.status_code == 200, response.text
        dialect.response.model_validate_json(response.text)


def test_embed_gives_a_list_of_vectors(client: TestClient) -> None:
    texts = ["The cat sleeps.", "猫在旧桌子上睡觉。"]
    expected = [client.post("/v1/embed", json={"text": text}).json()["result"]["embedding"] for text in texts]
    assert client.post("/embed", json={"inputs": texts}).json() == [pytest.approx(one, abs=1e-6) for one in expected]
    assert client.post("/embed", json={"inputs": texts[0], "truncate": True}).json() == [pytest.approx(expected[0])]


def test_embed_without_normalising_gives_the_models_own_vector() -> None:
    backend = FakeBackend(outputs(SETTINGS["tatoeba"]))
    model = fake_model("tatoeba", backend=backend)
    rows = model.format.encode([SentenceExample("", "und", "a")])[0]
    assert isinstance(rows, list)
    backend.table[tuple(int(i) for i in rows[0].input_ids)] = {
        "embeddings": np.array([[3.0, 0.0, -4.0, 0.0]], dtype=np.float32)
    }
    with TestClient(create_app(fake_runtime([model]))) as client:
        assert client.post("/embed", json={"inputs": "a", "normalize": False}).json() == [[3.0, 0.0, -4.0, 0.0]]
        assert client.post("/embed", json={"inputs": "a"}).json() == [pytest.approx([0.6, 0.0, -0.8, 0.0])]


def test_predict_gives_labels_the_best_first(client: TestClient) -> None:
    pairs = [["The cat sleeps.", "Nobody sleeps."], ["Кошка спит.", "猫在睡觉。"]]
    answers = [
        client.post("/v1/nli", json={"premise": first, "hypothesis": second}).json()["result"]
        for first, second in pairs
    ]
    batch = client.post("/predict", json={"inputs": pairs}).json()
    for predictions, answer in zip(batch, answers, strict=True):
        assert {one["label"]: pytest.approx(one["score"], abs=1e-6) for one in predictions} == answer["probabilities"]
        assert predictions[0]["label"] == answer["label"]
        assert [one["score"] for one in predictions] == sorted((one["score"] for one in predictions), reverse=True)
    alone = client.post("/predict", json={"inputs": pairs[0]}).json()
    assert [one["label"] for one in alone] == [one["label"] for one in batch[0]]
    other = client.post("/predict", json={"inputs": pairs[0], "model": "pawsx"}).json()
    assert {one["label"] for one in other} == {"0", "1"}


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/embed", {}, 422, "inputs"),
        ("/embed", {"inputs": []}, 422, "inputs"),
        ("/embed", {"inputs": ["a", ""]}, 422, "inputs.1"),
        ("/embed", {"inputs": [1, 2]}, 422, "inputs"),
        ("/embed", {"inputs": ["a"] * 5}, 413, "inputs"),
        ("/embed", {"inputs": ["a", "b" * 201]}, 413, "inputs.1"),
        ("/embed", {"inputs": "a", "model": "xnli"}, 404, "model"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "prompt_name"),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, 422, "truncation_direction"),
        ("/predict", {}, 422, "inputs"),
        ("/predict", {"inputs": "a"}, 422, "inputs"),
        ("/predict", {"inputs": []}, 422, "inputs"),
        ("/predict", {"inputs": ["a"]}, 422, "inputs"),
        ("/predict", {"inputs": ["a", "b", "c"]}, 422, "inputs"),
        ("/predict", {"inputs": ["a", 1]}, 422, "inputs.1"),
        ("/predict", {"inputs": [["a", "b"], ["c"]]}, 422, "inputs.1"),
        ("/predict", {"inputs": [["a", "b"], "c"]}, 422, "inputs.1"),
        ("/predict", {"inputs": [["a", "b"], ["c", ""]]}, 422, "inputs.1.1"),
        ("/predict", {"inputs": [["a", "b"]] * 5}, 413, "inputs"),
        ("/predict", {"inputs": [["a", "b"], ["c", "d" * 201]]}, 413, "inputs.1"),
        ("/predict", {"inputs": ["a", "b"], "raw_scores": True}, 422, "raw_scores"),
        ("/predict", {"inputs": ["a", "b"], "model": "udpos"}, 404, "model"),
    ],
)
def test_bad_requests(client: TestClient, path: str, body: Mapping[str, Any], status: int, param: str) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["param"] == param


def test_info_is_of_the_model_that_embed_asks(client: TestClient) -> None:
    info = client.get("/info").json()
    card = client.get("/v1/models/tatoeba").json()
    assert (info["model_id"], info["model_sha"], info["model_dtype"]) == (card["name"], card["digest"], "fp32")
    assert info["model_type"] == {"embedding": {"pooling": "mean"}} and info["auto_truncate"] is True
    assert (info["max_input_length"], info["max_client_batch_size"]) == (64, 4)
    with TestClient(create_app(fake_runtime(["pawsx"]))) as other:
        kind = other.get("/info").json()["model_type"]
    assert kind == {"classifier": {"id2label": {"0": "0", "1": "1"}, "label2id": {"0": 0, "1": 1}}}
    with TestClient(create_app(fake_runtime(["udpos"]))) as other:
        assert other.get("/info").json()["error"]["code"] == "no_model"


def test_health_in_kserves_protocol() -> None:
    runtime = fake_runtime(["xnli"])
    with TestClient(create_app(runtime)) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json()["ready"] is True
        assert client.get("/v2/models/xnli/ready").json() == {"name": "xnli", "ready": True}
        assert client.get("/v2/models/nothing/ready").status_code == 404
        assert set(client.get("/v2").json()) == {"name", "version", "extensions"}
        runtime.drain()
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/health/live").status_code == 200
    with TestClient(create_app()) as client:
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/xnli/ready").status_code == 503


@pytest.mark.parametrize("target", SETTINGS)
def test_the_tensors_are_those_of_the_graph(client: TestClient, target: str) -> None:
    described = client.get(f"/v2/models/{target}").json()
    assert (described["name"], described["versions"], described["platform"]) == (target, ["1"], "onnxruntime_onnx")
    digest = client.get(f"/v1/models/{target}").json()["digest"]
    models = client.app.state.settings.models  # type: ignore[attr-defined]
    graph = onnx.load(models / target / digest / "model.onnx", load_external_data=False).graph
    assert {one["name"]: len(one["shape"]) for one in described["inputs"]} == {
        one.name: len(one.type.tensor_type.shape.dim) for one in graph.input
    }
    shapes = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in graph.output}
    assert [one["name"] for one in described["outputs"]] == list(shapes)
    for one in described["outputs"]:
        sizes = zip(one["shape"], shapes[one["name"]], strict=True)
        assert all(ours in (-1, real) for ours, real in sizes)
