"""int8 through the real application: company does not change an answer, and ONNX Runtime's own int8 fails this test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from starlette.testclient import TestClient

from polystilts.export.quantise import SELF_TEST_INT8, per_tensor_activations, quantise
from polystilts.export.variants import derive
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.cost import CallCost
from polystilts.runtime.models_folder import deliver
from serving.app import create_app
from serving.runtime import Runtime
from serving.settings import Settings

PROBE = {"premise": "Die Katze schläft heute auf dem alten Tisch.", "hypothesis": "Niemand schläft."}
#: Shorter and longer than the probe, in several scripts.
COMPANY = [
    {"premise": "猫", "hypothesis": "a"},
    {"premise": "The dog runs to the river because the house is empty. " * 5, "hypothesis": "The house is full."},
    {"premise": "Кошка спит на старом столе.", "hypothesis": "Собака бежит к реке."},
    {"premise": "القطة تنام على الطاولة القديمة", "hypothesis": "👩‍🚀 @@@@ 0000"},
    {"premise": "แมวนอนบนโต๊ะเก่า", "hypothesis": "Nobody is outside."},
    {"premise": "x" * 60, "hypothesis": "Kedi uyuyor."},
    {"premise": "Köpek nehre koşuyor çünkü ev boş.", "hypothesis": "कुत्ता"},
]


def per_tensor(bundle: Bundle, place: Path) -> Bundle:
    """ONNX Runtime's dynamic int8 as it is: one scale for all activations of a call."""
    model = per_tensor_activations(onnx.load(bundle.folder / "model.onnx"), place.parent)
    return derive(bundle, place, model, precision="int8", tolerance=SELF_TEST_INT8, notes={})


@contextmanager
def served(bundle: Bundle, models: Path) -> Iterator[tuple[Callable[[Any], Any], list[int]]]:
    """Asks ``/v1/nli`` of the application over this bundle; and the rows of every call that ran."""
    deliver(bundle, models, name="polystilts-xnli", version="1")
    settings, rows = Settings(models=models), []
    runtime = Runtime.open(settings, on_batch=lambda engine, count, needed, padded: rows.append(count))
    try:
        with TestClient(create_app(runtime, settings)) as client:
            yield lambda body: client.post("/v1/nli", json=body).raise_for_status().json(), rows
    finally:
        runtime.close()


def answers_in_company(bundle: Bundle, models: Path) -> tuple[Any, list[Any]]:
    """The probe's answer alone, and at every place of lists of every size up to all of `COMPANY`."""
    with served(bundle, models) as (ask, rows):
        alone = ask(PROBE)["result"]
        answers = []
        for size in range(1, len(COMPANY) + 2):
            for place in range(size):
                items = [*COMPANY[: size - 1]]
                items.insert(place, PROBE)
                answers.append(ask({"items": items})["results"][place])
    assert max(rows) > 2, "nothing was computed together"
    return alone, answers


@pytest.fixture(autouse=True)
def rows_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """As calls of real models do: whether those of a tiny one do would depend on how it was timed."""
    costs = (CallCost(1.0, 0.01), CallCost(0.9, 0.009))  # on a thread, on all cores
    monkeypatch.setattr("polystilts.runtime.pool.fit_costs", lambda runs, **_: costs[: len(runs)])


@pytest.fixture(scope="module")
def pair(bundles: Callable[[str], Bundle]) -> Bundle:
    return bundles("pair")


def test_an_answer_over_http_does_not_depend_on_its_company(pair: Bundle, tmp_path: Path) -> None:
    alone, answers = answers_in_company(quantise(pair, tmp_path / "int8"), tmp_path / "models")
    assert all(0 < probability < 1 for probability in alone["probabilities"].values())
    assert [answer for answer in answers if answer != alone] == []


def test_with_onnx_runtimes_own_int8_it_does(pair: Bundle, tmp_path: Path) -> None:
    alone, answers = answers_in_company(per_tensor(pair, tmp_path / "int8"), tmp_path / "models")
    assert any(answer != alone for answer in answers)
