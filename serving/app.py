"""The ASGI application: every path, method and error of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from polystilts.errors import InvalidValue, NoModel, NotReady, PolystiltsError, TooLarge
from polystilts.formats import words
from polystilts.formats.values import Rejected
from serving import schemas
from serving.endpoints import ENDPOINTS, Endpoint, Work, check_limits
from serving.http_errors import Boundary, JsonResponse, answer_error, error_body, invalid, read_object
from serving.openapi import document
from serving.page import page
from serving.runtime import Runtime, Served
from serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


def create_app(runtime: Runtime | None = None, settings: Settings | None = None) -> Starlette:
    """The application over `runtime`; without one it answers 503 until ``app.state.runtime`` is set."""
    routes = [
        Route("/", _index, methods=["GET"]),
        Route("/livez", _live, methods=["GET"]),
        Route("/readyz", _ready, methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/v1/models", _models, methods=["GET"]),
        *(Route(endpoint.path, _handler(endpoint), methods=["POST"]) for endpoint in ENDPOINTS),
    ]

    async def expected(request: Request, error: Exception) -> Response:
        return answer_error(request, error)

    app = Starlette(
        routes=routes,
        middleware=[Middleware(Boundary)],
        exception_handlers={PolystiltsError: expected, HTTPException: expected},
    )
    app.router.redirect_slashes = False
    app.state.runtime = runtime
    app.state.settings = settings or Settings()
    return app


def endpoint_model(endpoint: Endpoint, runtime: Runtime, wanted: str | None) -> Served:
    """The model that answers: the wanted target's, else that of the first preferred target that is there.

    Raises:
        NoModel: with the command that makes one, or the targets that could have been named.
    """
    able = {m.delivered.target: m for m in runtime.served if endpoint.accepts(m.bundle.settings)}
    if wanted in able:
        return able[wanted]
    if able and wanted is not None:
        raise NoModel(
            f"no model of that name answers {endpoint.path}; there are: {', '.join(able)}",
            param="model",
            given=wanted[:100],
        )
    if not able:
        made = f"mlflow run . --env-manager local -P targets={endpoint.targets[0]}"
        raise NoModel(f"no model answers {endpoint.path}; this makes one: {made}", param="model")
    return able[next((target for target in endpoint.targets if target in able), next(iter(able)))]


def endpoints_of(model: Served) -> list[Endpoint]:
    """The endpoints that a model can answer."""
    return [endpoint for endpoint in ENDPOINTS if endpoint.accepts(model.bundle.settings)]


def _handler(endpoint: Endpoint) -> Handler:
    async def handle(request: Request) -> Response:
        runtime, settings = _runtime(request), request.app.state.settings
        limit = settings.body_bytes if endpoint.several else settings.align_body_bytes
        body = await read_object(request, limit=limit, seconds=settings.body_seconds)
        several = endpoint.several and "items" in body
        items, wanted = _items(body, several, settings)
        model = endpoint_model(endpoint, runtime, wanted)
        results = await run_in_threadpool(_answer, endpoint, model, items, settings)
        line = model.delivered
        name = {"target": line.target, "name": line.name, "version": line.version, "digest": line.digest}
        if several:
            request_id = request.state.request_id
            found = [error_body(r, request_id) if isinstance(r, PolystiltsError) else r for r in results]
            return JsonResponse({"results": found, "model": name})
        if isinstance(results[0], PolystiltsError):
            raise results[0]
        return JsonResponse({"result": results[0], "model": name})

    return handle


def _items(body: dict[str, Any], several: bool, settings: Settings) -> tuple[list[Any], str | None]:
    """The unchecked items of a request, and the model it asks for."""
    try:
        if several:
            request = schemas.Several[Any].model_validate(body)
            if len(request.items) > settings.items:
                raise TooLarge(
                    f"items has {len(request.items)} items; the limit is {settings.items}",
                    param="items",
                    limit=settings.items,
                    given=len(request.items),
                )
            return request.items, request.model
        return [body], schemas.Selected.model_validate({"model": body.pop("model", None)}).model
    except ValidationError as error:
        raise invalid(error) from None


def _answer(
    endpoint: Endpoint, model: Served, items: Sequence[Any], settings: Settings
) -> list[BaseModel | PolystiltsError]:
    """A result or an error for every item."""
    works = [_prepare(endpoint, model, item, settings) for item in items]
    examples = [example for work in works if isinstance(work, Work) for example in work.examples]
    predictions = iter(model.predict(examples))
    results: list[BaseModel | PolystiltsError] = []
    for work in works:
        if isinstance(work, PolystiltsError):
            results.append(work)
            continue
        own = [next(predictions) for _ in work.examples]
        refused = [one.error for one in own if isinstance(one, Rejected)]
        results.append(refused[0] if refused else work.finish([o for o in own if not isinstance(o, Rejected)]))
    return results


def _prepare(endpoint: Endpoint, model: Served, item: Any, settings: Settings) -> Work | PolystiltsError:
    try:
        if not isinstance(item, dict):
            raise InvalidValue("an item must be a JSON object")
        checked = endpoint.item.model_validate(item)
        check_limits(endpoint, checked, settings)
        return endpoint.prepare(checked, model.bundle.settings)
    except ValidationError as error:
        return invalid(error)
    except PolystiltsError as error:
        return error


async def _index(request: Request) -> Response:
    runtime = request.app.state.runtime
    models = runtime.served if runtime else []
    answered = {endpoint.name for model in models for endpoint in endpoints_of(model)}
    return HTMLResponse(page(str(request.base_url).rstrip("/"), answered))


async def _live(request: Request) -> Response:
    return JsonResponse({"live": True})


async def _ready(request: Request) -> Response:
    runtime = _runtime(request)
    runtime.check_ready()
    tests = {model.delivered.target: _self_test(model) for model in runtime.served}
    return JsonResponse(schemas.Ready(self_tests=tests))


async def _openapi(request: Request) -> Response:
    return JsonResponse(document())


async def _models(request: Request) -> Response:
    return JsonResponse(schemas.ModelList(data=[_card(model) for model in _runtime(request).served]))


def _runtime(request: Request) -> Runtime:
    runtime: Runtime | None = request.app.state.runtime
    if runtime is None:
        raise NotReady("the server is starting")
    return runtime


def _self_test(model: Served) -> schemas.SelfTest:
    return schemas.SelfTest(difference=model.difference, tolerance=model.bundle.self_test["tolerance"])


def _card(model: Served) -> schemas.ModelCard:
    bundle, delivered = model.bundle, model.delivered
    return schemas.ModelCard(
        id=delivered.target,
        created=model.created,
        target=delivered.target,
        name=delivered.name,
        version=delivered.version,
        digest=delivered.digest,
        format=bundle.settings.format,
        labels=list(bundle.settings.labels),
        endpoints=[endpoint.path for endpoint in endpoints_of(model)],
        precision=bundle.precision,
        splitter=words.SPLITTER if bundle.settings.format == "tagging" else None,
        languages=bundle.lineage.get("languages"),
        lineage=dict(bundle.lineage),
        self_test=_self_test(model),
    )
