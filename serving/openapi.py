"""The OpenAPI document, from schemas and table of endpoints; ``python -m serving.openapi`` prints it."""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

from serving import schemas
from serving.endpoints import ENDPOINTS, Endpoint
from serving.examples import EXAMPLES

#: Version of the HTTP interface, not of the code.
API_VERSION = "1"

_DESCRIPTION = """Multilingual inference. One item is the request itself, several are `{"items": [...]}`.
The answer is `{"result": …}` or `{"results": [...]}`, where a bad item is `{"error": …}` at its index.
Offsets are code points, end exclusive; of duplicate keys in a body the last counts."""

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_ERRORS = {
    "400": "A header that cannot be read, or a Host that is not ours",
    "401": "No API key, or one that is not known; only where keys are set up",
    "403": "The API key may not do this",
    "404": "No model answers this endpoint, or none of that name",
    "408": "The body did not arrive in time",
    "413": "The body, a list or a text is over its limit",
    "415": "The content type is not application/json",
    "422": "The body is not JSON, or a field is wrong",
    "429": "Too much work is waiting; come again after Retry-After seconds",
    "500": "A fault of the server",
    "503": "The server is starting or stopping",
    "504": "The answer cannot be there by the deadline (X-Timeout-Ms)",
}


@functools.cache
def document() -> dict[str, Any]:
    """The document; it depends on the code alone, not on the models that are loaded."""
    pages: dict[str, tuple[str, type[BaseModel]]] = {
        "/v1/models": ("The models that answer", schemas.ModelList),
        "/readyz": ("Whether every model passed its self-test", schemas.Ready),
    }
    bodies = {endpoint.name: _bodies(endpoint) for endpoint in ENDPOINTS}
    requests = [model for requests, _ in bodies.values() for model in requests]
    answers = [model for _, answers in bodies.values() for model in answers]
    answers += [schemas.ErrorBody, *(model for _, model in pages.values())]
    _, definitions = models_json_schema(
        [*((model, "validation") for model in requests), *((model, "serialization") for model in answers)],
        ref_template=_REF,
    )
    paths: dict[str, Any] = {
        path: {
            "get": {
                "summary": summary,
                "operationId": path.strip("/").replace("/", "_"),
                "responses": {"200": _content(summary, [model]), **_errors("500", "503")},
            }
        }
        for path, (summary, model) in pages.items()
    }
    for endpoint in ENDPOINTS:
        taken, given = bodies[endpoint.name]
        body = _content("", taken)["content"]
        body[_JSON]["examples"] = {
            language: {"summary": f"{endpoint.summary} ({language})", "value": example}
            for language, example in EXAMPLES[endpoint.name].items()
        }
        paths[endpoint.path] = {
            "post": {
                "summary": endpoint.summary,
                "operationId": endpoint.name,
                "requestBody": {"required": True, "content": body},
                "responses": {"200": _content(endpoint.summary, given), **_errors(*_ERRORS)},
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Polystilts", "version": API_VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }


def _bodies(endpoint: Endpoint) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    """What an endpoint takes and gives: for one item, and for several."""
    name, item, result = endpoint.name.capitalize(), endpoint.item, endpoint.result
    # Named subclasses: pydantic calls a generic by all its parameters.
    request = create_model(f"{name}Request", __base__=(item, schemas.Selected))
    answer = create_model(f"{name}Answer", __base__=schemas.Answer[result])  # type: ignore[valid-type]
    if not endpoint.several:
        return [request], [answer]
    requests = create_model(f"{name}ListRequest", __base__=schemas.Several[item])  # type: ignore[valid-type]
    answers = create_model(f"{name}ListAnswer", __base__=schemas.Answers[result])  # type: ignore[valid-type]
    return [request, requests], [answer, answers]


def _content(description: str, models: list[type[BaseModel]]) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _content(_ERRORS[status], [schemas.ErrorBody]) for status in statuses}


if __name__ == "__main__":
    print(json.dumps(document(), indent=1, ensure_ascii=False))
