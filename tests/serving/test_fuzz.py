"""A few hundred requests out of the OpenAPI document to the application in its own process; more: `make fuzz`."""

from __future__ import annotations

import json

import pytest
from schemathesis import openapi
from schemathesis.core.failures import MalformedJson
from schemathesis.specs.openapi.checks import JsonSchemaError, UndefinedStatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.app import create_app
from serving.openapi import document
from tests.serving.fakes import fake_runtime
from tests.serving.fuzz import fuzz, operations

pytestmark = pytest.mark.slow

#: Requests to each operation, at most.
CASES = 36

_APP = create_app(fake_runtime())
_OPERATIONS = {operation.label: operation for operation in operations(openapi.from_asgi("/openapi.json", _APP))}


def test_every_path_of_the_document_is_fuzzed() -> None:
    assert {label.split()[1] for label in _OPERATIONS} == set(document()["paths"])


@pytest.mark.parametrize("label", _OPERATIONS)
def test_answers_are_as_the_document_says(label: str) -> None:
    seen = fuzz(_OPERATIONS[label], CASES)
    if _OPERATIONS[label].body:
        assert seen.total() >= CASES * 2 // 3, seen
        assert seen["422"], "nothing wrong was sent"
        assert label == "POST /v1/embeddings" or seen["200"], "nothing right was sent"
    else:
        assert seen.total() >= 1


ERROR = {"message": "", "type": "", "param": None, "limit": 1, "given": 1, "request_id": ""}


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"result": 5}', JsonSchemaError),
        (200, b"<html>", MalformedJson),
        (418, b"{}", UndefinedStatusCode),
        (422, b'{"error": {"code": "x"}}', JsonSchemaError),
        (500, json.dumps({"error": {"code": "error", **ERROR}}).encode(), AssertionError),
        (503, json.dumps({"error": {"code": "other", **ERROR}}).encode(), AssertionError),
        (503, json.dumps({"error": {"code": "not_ready", **ERROR}}).encode(), None),
    ],
)
def test_a_wrong_answer_is_found(status: int, body: bytes, found: type[BaseException] | None) -> None:
    async def wrong(request: Request) -> Response:
        return Response(body, status, media_type="application/json")

    schema = openapi.from_dict(document())
    schema.app = Starlette(routes=[Route("/v1/nli", wrong, methods=["POST"])])
    try:
        fuzz(schema["/v1/nli"]["POST"], 3)
    except BaseException as failure:  # noqa: BLE001  schemathesis and hypothesis raise groups
        assert found and _holds(failure, found), repr(failure)
    else:
        assert found is None


def _holds(failure: BaseException, kind: type[BaseException]) -> bool:
    inner = failure.exceptions if isinstance(failure, BaseExceptionGroup) else ()
    return isinstance(failure, kind) or any(_holds(one, kind) for one in inner)
