"""The application over fake models: answers, one bad item, every error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from polystilts.errors import ChecksumMismatch
from polystilts.formats import FormatSettings
from polystilts.formats.values import TaggingExample
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.models_folder import deliver
from polystilts.runtime.scheduler import QueueFull
from serving.answering import Encoders
from serving.app import create_app
from serving.examples import EXAMPLES
from serving.keys import new_key
from serving.runtime import Refused, Runtime
from serving.settings import Settings
from tests.serving.fakes import fake_model, fake_runtime, outputs
from tests.world.bundles import SETTINGS, tiny_bundle, tiny_models

JSON = {"Content-Type": "application/json"}
PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}

#: No test should need it, in seconds.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(fake_runtime()), raise_server_exceptions=False) as client:
        yield client


def error(response: Any, status: int, code: str) -> dict[str, Any]:
    """The error of a response, after checking the body's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "type", "param", "limit", "given", "request_id"}
    assert body["error"]["code"] == code, body
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text and "/work" not in response.text
    return dict(body["error"])


@pytest.mark.parametrize(
    ("endpoint", "item"),
    [(endpoint, item) for endpoint, items in EXAMPLES.items() for item in items.values()],
)
def test_every_example_is_answered(client: TestClient, endpoint: str, item: dict[str, Any]) -> None:
    response = client.post(f"/v1/{endpoint}", json=item)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"result", "model"}
    assert set(answer["model"]) == {"target", "name", "version", "digest"}


def test_a_list_is_answered_as_its_items_are(client: TestClient) -> None:
    items = [PAIR, {"premise": "Кошка", "hypothesis": "猫在桌子上"}, PAIR]
    alone = [client.post("/v1/nli", json=item).json()["result"] for item in items]
    assert client.post("/v1/nli", json={"items": items}).json()["results"] == alone


def test_one_bad_item_does_not_spoil_its_neighbours(client: TestClient) -> None:
    long = {"text": "a" * 20_001}
    items: list[Any] = [{"text": "The cat."}, {"text": 7}, {"text": " "}, long, None, {"tokens": ["a", "b"]}]
    response = client.post("/v1/pos", json={"items": items})
    assert response.status_code == 200
    results = response.json()["results"]
    codes = [result.get("error", {}).get("code") for result in results]
    assert codes == [None, "invalid_value", "invalid_value", "too_large", "invalid_value", None]
    assert [token["text"] for token in results[0]["tokens"]] == ["The", "cat", "."]
    assert len(results[5]["tokens"]) == 2
    assert results[3]["error"]["limit"] == 20_000 and results[3]["error"]["given"] == 20_001


def test_offsets_are_code_points_and_entities_are_cut_from_the_text() -> None:
    text = "𝒳 Zoe\u0301  Curie lebt 👩\u200d🚀 in Köln"
    tags = ("O", "B-PER", "I-PER", "O", "O", "O", "I-LOC")
    backend = FakeBackend(outputs(SETTINGS["panx"]))
    model = fake_model("panx", backend=backend)
    labels = model.bundle.settings.labels
    words = ["𝒳", "Zoe\u0301", "Curie", "lebt", "👩\u200d🚀", "in", "Köln"]
    rows = model.format.encode([TaggingExample("", "de", tuple(words))])[0]
    assert isinstance(rows, list)
    for row in rows:
        assert row.word_ids is not None
        logits = np.zeros((len(row), len(labels)), dtype=np.float32)
        for place, word in enumerate(row.word_ids):
            logits[place, labels.index(tags[word]) if word >= 0 else 0] = 5.0
        backend.table[tuple(int(i) for i in row.input_ids)] = {"logits": logits}
    with TestClient(create_app(fake_runtime([model]))) as client:
        result = client.post("/v1/ner", json={"text": text}).json()["result"]
        spaced = client.post("/v1/ner", json={"tokens": words}).json()["result"]
    assert [token["text"] for token in result["tokens"]] == words
    assert all(text[token["start"] : token["end"]] == token["text"] for token in result["tokens"])
    found = [(one["type"], one["text"], one["start"], one["end"]) for one in result["entities"]]
    assert found == [("PER", "Zoe\u0301  Curie", 2, 13), ("LOC", "Köln", len(text) - 4, len(text))]
    assert [one["text"] for one in spaced["entities"]] == ["Zoe\u0301 Curie", "Köln"]
    assert spaced["entities"][0]["start"] is None and spaced["tokens"][0]["start"] is None


def test_the_answer_stands_in_the_context(client: TestClient) -> None:
    context = "𝒳: cafe\u0301 und 猫 auf dem Tisch 👩\u200d🚀"
    result = client.post("/v1/qa", json={"question": "was?", "context": context}).json()["result"]
    assert result["answer"] and context[result["start"] : result["end"]] == result["answer"]


def test_model_chooses_among_several_targets() -> None:
    models = [fake_model(name, settings=FormatSettings("span", max_length=48)) for name in ("mlqa", "tydiqa", "zz")]
    item = {"question": "Who?", "context": "The cat."}
    with TestClient(create_app(fake_runtime(models))) as client:
        assert client.post("/v1/qa", json=item).json()["model"]["target"] == "tydiqa"
        assert client.post("/v1/qa", json={**item, "model": "zz"}).json()["model"]["target"] == "zz"
        several = client.post("/v1/qa", json={"items": [item], "model": "mlqa"})
        assert several.json()["model"]["target"] == "mlqa"
        refused = error(client.post("/v1/qa", json={**item, "model": "xquad"}), 404, "no_model")
    assert "did you mean 'tydiqa'" not in refused["message"] and "mlqa, tydiqa, zz" in refused["message"]
    with TestClient(create_app(fake_runtime(models))) as client:
        refused = error(client.post("/v1/qa", json={**item, "model": "tidyqa"}), 404, "no_model")
    assert "did you mean 'tydiqa'" in refused["message"]


def test_an_endpoint_without_a_model_says_what_makes_one() -> None:
    with TestClient(create_app(fake_runtime(["xnli"]))) as client:
        refused = error(client.post("/v1/choice", json=EXAMPLES["choice"]["en"]), 404, "no_model")
        assert "mlflow run . --env-manager local -P targets=xcopa" in refused["message"]
        assert "mlflow run . --env-manager local -P targets=xcopa" in client.get("/").text


def test_new_targets_need_no_change_of_the_server() -> None:
    settings = FormatSettings("pair", ("not_duplicate", "duplicate"), 32)
    with TestClient(create_app(fake_runtime([fake_model("qqp", settings=settings)]))) as client:
        answer = client.post("/v1/paraphrase", json=EXAMPLES["paraphrase"]["en"]).json()
    assert answer["model"]["target"] == "qqp" and set(answer["result"]["probabilities"]) == set(settings.labels)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ('{"premise": "a"', "malformed_json", "body"),
        ("", "malformed_json", "body"),
        (r'{"premise": "\ud800", "hypothesis": "b"}', "malformed_json", "body"),
        (b'{"premise": "\xff", "hypothesis": "b"}', "malformed_json", "body"),
        ("\ufeff{}", "malformed_json", "body"),
        ("[" * 10_000, "malformed_json", "body"),
        ("[1]", "invalid_value", "body"),
        ('{"premise": "a"}', "missing_field", "hypothesis"),
        ('{"premise": "a", "hypothesis": "b", "c": 1}', "unknown_field", "c"),
        ('{"premise": NaN, "hypothesis": "b"}', "invalid_value", "premise"),
        ('{"premise": "", "hypothesis": "b"}', "invalid_value", "premise"),
        ('{"premise": {"a": 1}, "hypothesis": "b"}', "invalid_value", "premise"),
        (f'{{"premise": {"9" * 4000}, "hypothesis": "b"}}', "invalid_value", "premise"),
        ('{"premise": "a", "hypothesis": "b", "model": 5}', "invalid_value", "model"),
        ('{"items": []}', "invalid_value", "items"),
        ('{"items": {}}', "invalid_value", "items"),
        ('{"items": [], "premise": "a"}', "invalid_value", "items"),
    ],
)
def test_bad_bodies(client: TestClient, body: str | bytes, code: str, param: str) -> None:
    response = client.post("/v1/nli", content=body, headers=JSON)
    refused = error(response, 422, code)
    assert refused["param"] == param
    json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_last_of_duplicate_keys_counts(client: TestClient) -> None:
    body = '{"text": 5, "text": "The cat"}'
    answer = client.post("/v1/pos", content=body, headers=JSON).json()
    assert [token["text"] for token in answer["result"]["tokens"]] == ["The", "cat"]


def test_strange_characters_are_answered(client: TestClient) -> None:
    for text in ("a\x00b", "\u200b\u200d", "\u202egnirts", "e" + "\u0301" * 50, "👍🏽", "﷽" * 50):
        assert client.post("/v1/embed", json={"text": text}).status_code == 200, repr(text)


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_only_json_is_taken(client: TestClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused = error(client.post("/v1/nli", content=json.dumps(PAIR), headers=headers), 415, "unsupported_media_type")
    assert refused["param"] == "Content-Type"


def test_charset_utf8_is_taken(client: TestClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert client.post("/v1/nli", content=json.dumps(PAIR), headers=headers).status_code == 200


def test_sizes_over_their_limit() -> None:
    limits = Settings(body_bytes=2000, align_body_bytes=4000, items=3, characters=50, align_sentences=4)
    with TestClient(create_app(fake_runtime(), limits)) as client:
        large = json.dumps({**PAIR, "premise": "a" * 3000})
        assert error(client.post("/v1/nli", content=large, headers=JSON), 413, "too_large")["param"] == "body"

        def streamed() -> Iterator[bytes]:
            yield from (large[i : i + 500].encode() for i in range(0, len(large), 500))

        assert error(client.post("/v1/nli", content=streamed(), headers=JSON), 413, "too_large")["param"] == "body"
        refused = error(client.post("/v1/nli", json={"items": [PAIR] * 4}), 413, "too_large")
        assert (refused["param"], refused["limit"], refused["given"]) == ("items", 3, 4)
        refused = error(client.post("/v1/nli", json={**PAIR, "premise": "ä" * 51}), 413, "too_large")
        assert (refused["param"], refused["limit"], refused["given"]) == ("premise", 50, 51)
        choices = {"premise": "a", "choices": ["b", "c" * 51]}
        assert error(client.post("/v1/choice", json=choices), 413, "too_large")["param"] == "choices.1"
        both = {"source": ["a" * 45] * 4, "target": ["b" * 45] * 4}
        assert client.post("/v1/align", json=both).status_code == 200
        both["target"].append("b")
        assert error(client.post("/v1/align", json=both), 413, "too_large")["param"] == "target"


def test_unknown_routes_and_methods(client: TestClient) -> None:
    error(client.get("/nothing"), 404, "not_found")
    error(client.post("/v1/nli/", json=PAIR), 404, "not_found")
    refused = client.get("/v1/nli")
    error(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
    error(client.post("/"), 405, "method_not_allowed")
    error(client.delete("/v1/models"), 405, "method_not_allowed")


def test_a_fault_of_ours_says_nothing_of_the_inside() -> None:
    class Broken:
        def run(self, arrays: Any) -> Any:
            raise RuntimeError("secret in /srv/somewhere")

    model = fake_model("xnli", backend=Broken())
    with TestClient(create_app(fake_runtime([model])), raise_server_exceptions=False) as client:
        response = client.post("/v1/nli", json=PAIR)
    assert error(response, 500, "error")["type"] == "server_error"
    assert "secret" not in response.text


def test_not_ready_while_starting_stopping_or_refusing() -> None:
    with TestClient(create_app()) as client:
        for response in (client.get("/readyz"), client.get("/v1/models"), client.post("/v1/nli", json=PAIR)):
            error(response, 503, "not_ready")
            assert response.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
        assert client.get("/").status_code == 200
    runtime = fake_runtime(["xnli"])
    with TestClient(create_app(runtime)) as client:
        assert client.get("/readyz").json()["ready"] is True
        runtime.drain()
        error(client.get("/readyz"), 503, "not_ready")
        assert client.post("/v1/nli", json=PAIR).status_code == 200  # what still arrives is answered
        runtime.close()
        error(client.post("/v1/nli", json=PAIR), 503, "not_ready")
    bad = fake_runtime(["xnli"])
    bad._refused = {"udpos": Refused("d" * 64, ChecksumMismatch("/srv/secret changed"))}
    with TestClient(create_app(bad)) as client:
        refused = error(client.get("/readyz"), 503, "not_ready")
        assert refused["message"] == "bundles refused: udpos (checksum_mismatch)"
        assert client.post("/v1/nli", json=PAIR).status_code == 200


def test_readiness_runs_no_model() -> None:
    backend = FakeBackend(outputs(SETTINGS["xnli"]))
    with TestClient(create_app(fake_runtime([fake_model("xnli", backend=backend)]))) as client:
        client.get("/readyz")
        client.get("/v1/models")
    assert backend.calls == 0


def test_request_ids(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "abc_1-Z"}).headers["x-request-id"] == "abc_1-Z"
    for bad in ("a b", "x" * 65, "", "<script>"):
        made = client.get("/livez", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert made != bad and len(made) == 32


def test_models_in_the_shape_of_openai(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    by_id = {card["id"]: card for card in listed["data"]}
    assert by_id["tatoeba"]["endpoints"] == ["/v1/embed", "/v1/align"]
    assert by_id["udpos"]["splitter"]["name"] == "icu" and by_id["xnli"]["splitter"] is None
    assert {"id", "object", "created", "owned_by"} <= set(by_id["xnli"])


def test_deadlines(client: TestClient) -> None:
    for wrong in ("soon", "-1", "0", "1.5", "٣"):
        refused = error(client.post("/v1/nli", json=PAIR, headers={"X-Timeout-Ms": wrong.encode()}), 400, "bad_header")
        assert refused["param"] == "X-Timeout-Ms"
    assert client.post("/v1/nli", json=PAIR, headers={"X-Timeout-Ms": "99999999999999999999"}).status_code == 200

    answered = threading.Event()

    class Slow(FakeBackend):
        def run(self, arrays: Any) -> Any:
            assert answered.wait(PATIENCE)
            return super().run(arrays)

    slow = fake_model("xnli", backend=Slow(outputs(SETTINGS["xnli"])))
    with TestClient(create_app(fake_runtime([slow]))) as other:
        try:
            response = other.post("/v1/nli", json=PAIR, headers={"X-Timeout-Ms": "100"})
        finally:
            answered.set()
        assert error(response, 504, "deadline")["param"] == "X-Timeout-Ms"


def test_too_many_padded_tokens() -> None:
    with TestClient(create_app(fake_runtime(["xnli"]), Settings(tokens=100))) as client:
        assert client.post("/v1/nli", json={"items": [PAIR] * 3}).status_code == 200
        refused = error(client.post("/v1/nli", json={"items": [PAIR] * 30}), 413, "too_large")
        assert refused["limit"] == 100 and refused["given"] > 100 and refused["param"] == "items"


def test_a_full_queue_says_when_to_come_again() -> None:
    free = threading.Event()

    class Held(FakeBackend):
        def run(self, arrays: Any) -> Any:
            free.wait(PATIENCE)
            return super().run(arrays)

    held = fake_model("xnli", backend=Held(outputs(SETTINGS["xnli"])))
    runtime = fake_runtime([held], lanes=1, limit_ms=10.0)
    with TestClient(create_app(runtime)) as client, ThreadPoolExecutor(8) as pool:
        try:
            waiting = [pool.submit(client.post, "/v1/nli", json=PAIR) for _ in range(8)]
            refused = next(as_completed(waiting, PATIENCE / 2)).result()
            error(refused, 429, "queue_full")
            assert int(refused.headers["retry-after"]) >= 1
        finally:
            free.set()
        assert {one.result(PATIENCE).status_code for one in waiting} == {200, 429}


def test_metrics_and_times(client: TestClient) -> None:
    timing = client.post("/v1/nli", json=PAIR).headers["server-timing"]
    assert [part.split(";")[0] for part in timing.split(", ")] == ["tokenise", "queue", "run", "decode"]
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'polystilts_requests_total{route="/v1/nli",status="200",target="xnli"}' in page.text
    client.get("/no-such-path-1")
    assert "no-such-path" not in client.get("/metrics").text


def test_refresh_reads_the_folder_again(tmp_path: Path) -> None:
    models = tiny_models(tmp_path, ["xnli"])
    admin, entry = new_key("operator", "admin")
    user, other = new_key("someone", share=0.25)
    (tmp_path / "keys.json").write_text(f"{{{entry}, {other}}}")
    settings = Settings(models=models, keys=tmp_path / "keys.json")
    with TestClient(create_app(runtime := Runtime.open(settings), settings)) as client:
        before = runtime.served[0].delivered.digest
        tiny_models(tmp_path, ["xnli"], seed=1)
        refused = client.post("/v1/refresh")
        error(refused, 401, "unauthorised")
        assert refused.headers["www-authenticate"] == "Bearer"
        error(client.post("/v1/refresh", headers={"X-API-Key": user}), 403, "forbidden")
        after = client.post("/v1/refresh", headers={"Authorization": f"Bearer {admin}"}).json()
        assert after["models"]["xnli"] != before and after["refused"] == {}
        answer = client.post("/v1/nli", json=PAIR, headers={"X-API-Key": user}).json()
        assert answer["model"]["digest"] == after["models"]["xnli"]
        assert {client.get(path).status_code for path in ("/", "/page/app.js", "/livez", "/readyz", "/metrics")} == {
            200
        }
        error(client.get("/v1/models"), 401, "unauthorised")
        assert 'polystilts_key_requests_total{key="someone",status="200"} 1.0' in client.get("/metrics").text
    runtime.close()


def test_refresh_without_keys_is_forbidden(client: TestClient) -> None:
    error(client.post("/v1/refresh"), 403, "forbidden")


def test_a_server_on_loopback_has_names() -> None:
    with TestClient(create_app(fake_runtime(["xnli"])), base_url="http://127.0.0.1") as client:
        assert client.get("/livez").status_code == 200
        error(client.get("/livez", headers={"Host": "rebound.example"}), 400, "bad_host")


def test_a_deadline_holds_while_texts_are_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text in the tokenizer must not keep its own client waiting past the deadline, nor others at all."""
    model = fake_model("xnli")
    go, seen = threading.Event(), []
    encode = model.format.encode

    def slow(examples: Any) -> Any:
        seen.append(len(examples))
        if len(examples[0].premise) > 1000:
            go.wait(PATIENCE)
        return encode(examples)

    monkeypatch.setattr(model.format, "encode", slow)
    large = {"items": [{**PAIR, "premise": "猫 " * 9000}] * 20}
    with TestClient(create_app(fake_runtime([model], limit_ms=1e9))) as client:
        try:
            response = client.post("/v1/nli", json=large, headers={"X-Timeout-Ms": "200"})
            error(response, 504, "deadline")
            assert client.post("/v1/nli", json=PAIR).status_code == 200, "small texts pass it by"
        finally:
            go.set()
    assert max(seen) < 20, "tokenised by stretches"


def test_texts_that_wait_to_be_tokenised_are_bounded() -> None:
    encoders = Encoders(100)
    # The first is large, but alone.
    with encoders.room(1000), pytest.raises(QueueFull, match="limit is 100"), encoders.room(1):
        pass
    with encoders.room(60), encoders.room(40):
        pass
    with encoders.room(100):
        pass


def test_an_unreadable_pointer_is_said_and_the_old_models_serve(tmp_path: Path) -> None:
    models = tiny_models(tmp_path, ["xnli"])
    with TestClient(create_app(runtime := Runtime.open(Settings(models=models)))) as client:
        pointer = (models / "current.json").read_text()
        (models / "current.json").write_text("[]")
        runtime.refresh()
        assert client.get("/readyz").json()["refused"] == {"current.json": "invalid_value"}
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        (models / "current.json").write_text(pointer)
        runtime.refresh()
        assert client.get("/readyz").json()["refused"] == {}
    runtime.close()


def test_scores_by_language_are_on_the_card(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", "xnli")
    deliver(bundle, tmp_path / "models", name="polystilts-xnli", version="1", scores={"de": 81.5, "sw": 60.0})
    with TestClient(create_app(runtime := Runtime.open(Settings(models=tmp_path / "models")))) as client:
        card = client.get("/v1/models").json()["data"][0]
        assert card["scores"] == {"de": 81.5, "sw": 60.0}
        assert card["loaded"] is True
    runtime.close()
