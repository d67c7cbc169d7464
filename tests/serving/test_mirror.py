"""Mirroring: which requests, what counts as agreement, and that no request ever notices."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from polystilts.formats import FormatSettings
from polystilts.formats.values import PairExample, SpanExample
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.models_folder import Delivered, point, store_bundle
from polystilts.runtime.pool import Model
from serving import mirror, schemas
from serving.app import create_app
from serving.mirror import COSINE, agree, drawn, quiet
from serving.runtime import Runtime
from serving.settings import Settings
from tests.serving.fakes import fake_model, fake_runtime, outputs
from tests.world.bundles import SETTINGS, tiny_bundle, tiny_models

PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}
HAN = {"premise": "猫在旧桌子上睡觉。", "hypothesis": "猫。"}


#: No test should need it, in seconds.
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def mirrored_however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that has answered is busy for a moment longer: of a thread that does not run, the moment is long."""
    monkeypatch.setattr(mirror, "SOON", 5.0)
    monkeypatch.setattr(mirror, "PATIENCE", PATIENCE)


class Counting(FakeBackend):
    """Knows in which thread and how often it ran; fails or waits where told to."""

    def __init__(self, target: str, *, wait: threading.Event | None = None, fail: bool = False) -> None:
        super().__init__(outputs(SETTINGS[target]))
        self.wait, self.fail = wait, fail
        self.entered = threading.Event()

    def run(self, arrays: Any) -> Any:
        self.entered.set()
        if self.wait:
            self.wait.wait(PATIENCE)
        if self.fail:
            raise RuntimeError("a challenger's fault")
        return super().run(arrays)


def challenge(runtime: Runtime, model: Model) -> None:
    """Serves a model as the challenger of its target."""
    target = model.bundle.target
    digest = hashlib.sha256(f"{target}@challenger".encode()).hexdigest()
    object.__setattr__(model.bundle, "digest", digest)
    runtime.take(f"{target}@challenger", Delivered(target, digest, f"{target}-new", "2"), runtime.pool.adopt(model))


def says(backend: FakeBackend, model: Model, item: dict[str, str], label: int) -> None:
    """From now on the backend answers this pair with this label."""
    rows = model.format.encode([PairExample("", "und", item["premise"], item["hypothesis"])])[0]
    assert isinstance(rows, list)
    logits = np.zeros(len(model.bundle.settings.labels), dtype=np.float32)
    logits[label] = 5.0
    backend.table[tuple(int(i) for i in rows[0].input_ids)] = {"logits": logits}


@contextmanager
def serving(challenger: Counting | None, share: float = 1.0, target: str = "xnli") -> Iterator[TestClient]:
    champion = fake_model(target, backend=Counting(target))
    runtime = fake_runtime([champion])
    if challenger:
        challenge(runtime, fake_model(target, backend=challenger))
    with TestClient(create_app(runtime, Settings(mirror=share)), raise_server_exceptions=False) as client:
        yield client
    runtime.close()


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.005)


def mirrored(client: TestClient) -> dict[str, float]:
    """``mirrored_total`` by its labels."""
    lines = client.get("/metrics").text.splitlines()
    found = [
        line.removeprefix("polystilts_mirrored_total").rsplit(" ", 1) for line in lines if "mirrored_total{" in line
    ]
    return {labels: float(value) for labels, value in found}


def settled(client: TestClient) -> None:
    """Waits for the mirror to end what it does."""
    until(lambda: not client.app.state.mirror._running)  # type: ignore[attr-defined]


def test_agreement_is_counted_by_script() -> None:
    challenger = Counting("xnli")
    model = fake_model("xnli", backend=challenger)
    says(challenger, model, HAN, 2)  # the champion has no opinion and takes label 0
    with serving(challenger) as client:
        for item in (PAIR, HAN, PAIR):
            assert client.post("/v1/nli", json=item).status_code == 200
            settled(client)
        several = client.post("/v1/nli", json={"items": [PAIR, {"premise": ""}, HAN]})
        assert several.status_code == 200
        settled(client)
        assert mirrored(client) == {
            '{agreed="yes",script="Latin",target="xnli"}': 3.0,
            '{agreed="no",script="Han",target="xnli"}': 2.0,
        }


def test_dialects_are_mirrored_too() -> None:
    with serving(Counting("tatoeba"), target="tatoeba") as client:
        client.post("/v1/embeddings", json={"model": "tatoeba", "input": ["a", "b"]})
        settled(client)
        client.post("/embed", json={"inputs": "a", "normalize": False})
        settled(client)
        assert mirrored(client) == {'{agreed="yes",script="Latin",target="tatoeba"}': 3.0}


def test_nothing_is_mirrored_unless_it_is_set_and_there_is_a_challenger() -> None:
    challenger = Counting("xnli")
    with serving(challenger, share=0.0) as client:
        client.post("/v1/nli", json=PAIR)
        settled(client)
        assert challenger.calls == 0 and mirrored(client) == {}
    with serving(None) as client:
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        settled(client)
        assert mirrored(client) == {}


def test_asking_the_challenger_itself_is_not_mirrored() -> None:
    challenger = Counting("xnli")
    with serving(challenger) as client:
        answer = client.post("/v1/nli", json={**PAIR, "model": "xnli@challenger"})
        assert answer.json()["model"]["version"] == "2"
        settled(client)
        assert challenger.calls == 1 and mirrored(client) == {}


def test_a_share_is_drawn_by_the_requests_id() -> None:
    ids = [f"request-{number}" for number in range(4000)]
    few = {one for one in ids if drawn(one, 0.1)}
    assert 300 < len(few) < 500 and few == {one for one in ids if drawn(one, 0.1)}
    assert few < {one for one in ids if drawn(one, 0.5)}
    assert all(drawn(one, 1.0) for one in ids) and not any(drawn(one, 0.0) for one in ids)


def test_the_share_decides_in_the_server() -> None:
    inside = next(f"id-{number}" for number in range(1000) if drawn(f"id-{number}", 0.3))
    outside = next(f"id-{number}" for number in range(1000) if not drawn(f"id-{number}", 0.3))
    challenger = Counting("xnli")
    with serving(challenger, share=0.3) as client:
        client.post("/v1/nli", json=PAIR, headers={"X-Request-Id": outside})
        settled(client)
        assert challenger.calls == 0
        client.post("/v1/nli", json=PAIR, headers={"X-Request-Id": inside})
        settled(client)
        assert challenger.calls == 1


def test_a_slow_challenger_holds_up_nobody() -> None:
    free = threading.Event()
    challenger = Counting("xnli", wait=free)
    with serving(challenger) as client:
        try:
            assert client.post("/v1/nli", json=PAIR).status_code == 200
            assert challenger.entered.wait(PATIENCE)
            # It is still running: every one of these is answered, and none of them is mirrored.
            for _ in range(20):
                assert client.post("/v1/nli", json=PAIR).status_code == 200
            assert challenger.calls == 0 and mirrored(client) == {}
        finally:
            free.set()
        settled(client)
        assert mirrored(client) == {'{agreed="yes",script="Latin",target="xnli"}': 1.0}


def test_a_challenger_that_fails_fails_no_request() -> None:
    challenger = Counting("xnli", fail=True)
    with serving(challenger) as client:
        for _ in range(3):
            assert client.post("/v1/nli", json=PAIR).status_code == 200
            settled(client)
        assert challenger.entered.is_set() and mirrored(client) == {}


def test_a_challenger_of_another_kind_is_left_alone() -> None:
    other = FormatSettings("pair", ("0", "1"), 64)
    champion, backend = fake_model("xnli"), Counting("pawsx")
    runtime = fake_runtime([champion])
    challenge(runtime, fake_model("xnli", settings=other, backend=backend))
    with TestClient(create_app(runtime, Settings(mirror=1.0))) as client:
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        settled(client)
    assert backend.calls == 0


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_a_busy_server_mirrors_nothing(lanes: int) -> None:
    """One lane always stays free for whoever comes."""
    free = threading.Event()
    held = fake_model("xnli", backend=Counting("xnli", wait=free))
    runtime = fake_runtime([held], lanes=lanes)
    rows = [row for group in held.format.encode([PairExample("", "und", "a", "b")]) for row in group]  # type: ignore[union-attr]
    try:
        assert quiet(runtime.scheduler)
        for busy in range(1, lanes + 1):
            runtime.scheduler.submit(held.engine, rows)
            until(lambda busy=busy: runtime.scheduler.busy == busy)  # type: ignore[misc]
            assert quiet(runtime.scheduler) == (lanes - busy >= 2)
    finally:
        free.set()
        runtime.close(PATIENCE)


def test_a_delivered_challenger_is_mirrored_and_a_removed_one_is_not(tmp_path: Path) -> None:
    models = tiny_models(tmp_path, ["xnli"])
    bundle = tiny_bundle(tmp_path / "challenger", "xnli", seed=1)
    store_bundle(bundle, models)
    point(models, {"xnli@challenger": Delivered("xnli", bundle.digest, "polystilts-xnli", "2")})
    settings = Settings(models=models, mirror=1.0)
    runtime = Runtime.open(settings)
    with TestClient(create_app(runtime, settings)) as client:
        answers = [client.post("/v1/nli", json={**PAIR, "model": f"xnli{each}"}) for each in ("", "@challenger")]
        settled(client)
        first, second = (answer.json()["result"]["label"] for answer in answers)
        agreed = "yes" if first == second else "no"
        assert mirrored(client) == {f'{{agreed="{agreed}",script="Latin",target="xnli"}}': 1.0}
        point(models, {"xnli@challenger": None})
        runtime.refresh()
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        settled(client)
        assert sum(mirrored(client).values()) == 1.0
    runtime.close()


def pos(*tags: str) -> schemas.PosResult:
    return schemas.PosResult(tokens=[schemas.Token(text="a", tag=tag, probability=0.5) for tag in tags])


def qa(answer: str, start: int = 0) -> schemas.QaResult:
    return schemas.QaResult(answer=answer, start=start, end=start + len(answer), score=1.0, null_score=0.0)


def pair(label: str, **probabilities: float) -> schemas.PairResult:
    return schemas.PairResult(label=label, probabilities=probabilities)


def embed(*vector: float) -> schemas.EmbedResult:
    return schemas.EmbedResult(embedding=list(vector))


def choice(label: int) -> schemas.ChoiceResult:
    return schemas.ChoiceResult(label=label, text="a", probabilities=[0.5, 0.5])


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (pair("yes", yes=0.9, no=0.1), pair("yes", yes=0.6, no=0.4), True),
        (pair("yes", yes=0.9, no=0.1), pair("no", yes=0.4, no=0.6), False),
        (choice(0), choice(0), True),
        (choice(0), choice(1), False),
        (qa("Rome", 3), qa("Rome", 9), True),
        (qa("Rome"), qa("in Rome"), False),
        (qa(""), qa("Rome"), False),
        (pos("NOUN", "VERB"), pos("NOUN", "VERB"), True),
        (pos("NOUN", "VERB"), pos("NOUN", "ADJ"), False),
        (embed(1.0, 0.0), embed(COSINE + 0.001, (1 - (COSINE + 0.001) ** 2) ** 0.5), True),
        (embed(1.0, 0.0), embed(COSINE - 0.001, (1 - (COSINE - 0.001) ** 2) ** 0.5), False),
        (embed(10.0, 0.0), embed(0.1, 0.0), True),
        (embed(1.0, 0.0), embed(1.0, 0.0, 0.0), False),
        (embed(0.0, 0.0), embed(0.0, 0.0), False),
    ],
)
def test_what_counts_as_agreement(first: Any, second: Any, same: bool) -> None:
    assert agree(first, second) is same


def test_a_document_of_many_windows_is_mirrored_window_by_window() -> None:
    item = {"question": "Who?", "context": "The cat sleeps on the old table. " * 20}
    windows = fake_model("xquad").format.encode([SpanExample("", "und", item["question"], item["context"])])[0]
    assert isinstance(windows, list) and len(windows) > 5
    challenger = Counting("xquad")
    with serving(challenger, target="xquad") as client:
        assert client.post("/v1/qa", json=item).status_code == 200
        settled(client)
        assert challenger.calls == len(windows)
        assert mirrored(client) == {'{agreed="yes",script="Latin",target="xquad"}': 1.0}
