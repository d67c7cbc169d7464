"""The committed OpenAPI document is the served one, and its examples are valid."""

from __future__ import annotations

import json
from pathlib import Path

from starlette.testclient import TestClient

import serving
from serving.app import create_app
from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES

COMMITTED = Path(serving.__file__).with_name("openapi.json")


def test_the_committed_document_is_the_served_one() -> None:
    with TestClient(create_app()) as client:
        served = client.get("/openapi.json").json()
    assert served == json.loads(COMMITTED.read_text("utf-8")), "run: python -m serving.openapi > serving/openapi.json"


def test_every_endpoint_has_examples_in_several_languages() -> None:
    assert set(EXAMPLES) == {endpoint.name for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        assert len(EXAMPLES[endpoint.name]) >= 2 or not endpoint.several
        for example in EXAMPLES[endpoint.name].values():
            endpoint.item.model_validate(example)


def test_every_reference_is_defined() -> None:
    text = COMMITTED.read_text("utf-8")
    defined = json.loads(text)["components"]["schemas"]
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= set(defined)
