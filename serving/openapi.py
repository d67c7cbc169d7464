"""The OpenAPI document, from schemas and table of endpoints; ``python -m serving.openapi`` prints it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.json_schema import models_json_schema

from serving import schemas
from serving.dropins import DESCRIPTIONS, TEI
from serving.endpoints import ENDPOINTS, Endpoint
from serving.examples import EXAMPLES
from serving.openai import OPENAI

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
        "/v1/models/{id}": ("One of them", schemas.ModelCard),
        "/readyz": ("Whether every model passed its self-test", schemas.Ready),
        **{page.path: (page.summary, page.response) for page in DESCRIPTIONS},
        "/v2/health/live": ("Whether the server runs, in KServe's protocol", schemas.Live),
        "/v2/health/ready": ("Whether it is ready, in KServe's protocol", schemas.Ready),
    }
    dialects = (*OPENAI, *TEI)
    bodies = {endpoint.name: _bodies(endpoint) for endpoint in ENDPOINTS}
    requests = [model for requests, _ in bodies.values() for model in requests]
    answers = [model for _, answers in bodies.values() for model in answers]
    answers += [schemas.ErrorBody, *(model for _, model in pages.values())]
    requests += [dialect.request for dialect in dialects]
    answers += [dialect.response for dialect in dialects]
    _, definitions = models_json_schema(
        [*((model, "validation") for model in requests), *((model, "serialization") for model in answers)],
        ref_template=_REF,
    )
    paths = {path: _get(path, summary, model) for path, (summary, model) in pages.items()}
    for endpoint in ENDPOINTS:
        taken, given = bodies[endpoint.name]
        paths[endpoint.path] = _post(endpoint.name, endpoint.summary, taken, given, EXAMPLES[endpoint.name])
    for each in dialects:
        paths[each.path] = _post(each.name, each.summary, [each.request], [each.response], each.examples)
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


def _get(path: str, summary: str, model: type[BaseModel]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    errors = ("404", "500", "503") if names or path == "/info" else ("500", "503")
    operation = {
        "summary": summary,
        "operationId": "_".join(re.findall(r"\w+", path)),
        "responses": {"200": _content(summary, [model]), **_errors(*errors)},
    }
    return {"get": operation | ({"parameters": parameters} if parameters else {})}


def _post(
    name: str,
    summary: str,
    taken: list[type[BaseModel]],
    given: list[type[BaseModel]],
    examples: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    body = _content("", taken)["content"]
    body[_JSON]["examples"] = {
        language: {"summary": f"{summary} ({language})", "value": example} for language, example in examples.items()
    }
    return {
        "post": {
            "summary": summary,
            "operationId": name,
            "requestBody": {"required": True, "content": body},
            "responses": {"200": _content(summary, given), **_errors(*_ERRORS)},
        }
    }


def _content(description: str, models: list[type[BaseModel]]) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _content(_ERRORS[status], [schemas.ErrorBody]) for status in statuses}


if __name__ == "__main__":
    print(json.dumps(document(), indent=1, ensure_ascii=False))
