"""The ASGI application: every path, method and error of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polystilts.errors import NoModel, NotReady, PolystiltsError, nearest
from polystilts.formats import words
from serving import logs, schemas
from serving.answering import Encoders, answer
from serving.dialects import Description, Dialect, check_count, model_named
from serving.dropins import DESCRIPTIONS, TEI
from serving.endpoints import ENDPOINTS, Endpoint
from serving.hosts import ANY, LOOPBACK, check_host
from serving.http_errors import (
    BadHeader,
    Boundary,
    Handler,
    JsonResponse,
    answer_error,
    error_body,
    invalid,
    read_object,
)
from serving.keys import Forbidden, Holder, Keys
from serving.metrics import Metrics
from serving.mirror import Mirror
from serving.openai import OPENAI
from serving.openapi import document
from serving.page import page_routes
from serving.record import Record
from serving.runtime import Runtime, Served
from serving.settings import Settings
from serving.tracing import Tracing, parse_traceparent

T = TypeVar("T")

#: What a request may always ask for, whether there are API keys or not.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready"})

_LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")

#: The header by which a client says how long it waits, in milliseconds.
TIMEOUT = "X-Timeout-Ms"


def create_app(runtime: Runtime | None = None, settings: Settings | None = None) -> Starlette:
    """The application over `runtime`; without one it answers 503 until ``app.state.runtime`` is set."""
    settings = settings or Settings()
    direct = {
        **{endpoint.path: _noted(endpoint.path, _handler(endpoint)) for endpoint in ENDPOINTS},
        **{dialect.path: _noted(dialect.path, _translated(dialect)) for dialect in (*OPENAI, *TEI)},
    }
    routes = [
        *page_routes(),
        _route("/livez", _live),
        _route("/readyz", _ready),
        _route("/metrics", _metrics),
        _route("/openapi.json", _openapi),
        _route("/v1/models", _models),
        _route("/v1/models/{id}", _model),
        _route("/v1/refresh", _refresh, "POST"),
        *(Route(path, handler, methods=["POST"]) for path, handler in direct.items()),
        *(_route(description.path, _described(description)) for description in DESCRIPTIONS),
        _route("/v2/health/live", _live),
        _route("/v2/health/ready", _ready),
    ]

    async def expected(request: Request, error: Exception) -> Response:
        return answer_error(request, error)

    def check(request: Request) -> None:
        server = request.scope.get("server")
        on_loopback = server and server[0] in _LOOPBACK_ADDRESSES
        check_host(request.headers.get("host"), settings.hosts or (LOOPBACK if on_loopback else (ANY,)))
        state, keys = request.state, app.state.keys
        state.record.traceparent = parse_traceparent(request.headers.get("traceparent"))
        state.holder = None
        path = request.scope["path"]
        if keys and path not in open_paths and not path.startswith("/page/"):
            state.holder = keys.check(request.headers)
            state.record.key = state.holder.name

    def observe(record: Record) -> None:
        metrics.observe(record)
        app.state.tracing.finish(record)
        logs.access(record)

    app = Starlette(
        routes=routes,
        middleware=[Middleware(Boundary, check=check, observe=observe, direct=direct)],
        exception_handlers={PolystiltsError: expected, HTTPException: expected},
    )

    def of_runtime(read: Callable[[Runtime], T], otherwise: T) -> Callable[[], T]:
        return lambda: read(app.state.runtime) if app.state.runtime else otherwise

    metrics = Metrics(
        routes=[route.path for route in routes],
        targets=[target for endpoint in ENDPOINTS for target in endpoint.targets],
        queue_ms=of_runtime(lambda runtime: runtime.scheduler.queue_ms, 0.0),
        lanes_busy=of_runtime(lambda runtime: float(runtime.scheduler.busy), 0.0),
        models=of_runtime(lambda runtime: [model.delivered for model in runtime.served], []),
    )
    open_paths = OPEN_PATHS | ({"/metrics"} if settings.open_metrics else set())
    app.router.redirect_slashes = False
    app.state.keys = Keys(settings.keys) if settings.keys else None
    app.state.tracing = Tracing()
    app.state.runtime = runtime
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.encoders = Encoders(settings.waiting_characters)
    app.state.mirror = Mirror(settings.mirror, metrics)
    return app


def _route(path: str, handler: Handler, method: str = "GET") -> Route:
    return Route(path, _noted(path, handler), methods=[method])


def _noted(path: str, handler: Handler) -> Handler:
    """A handler whose requests' records name the route."""

    async def handle(request: Request) -> Response:
        request.state.record.route = path
        return await handler(request)

    return handle


def endpoint_model(endpoint: Endpoint, runtime: Runtime, wanted: str | None) -> Served:
    """The model that answers: the wanted target's, else that of the first preferred target that is there.

    Raises:
        NoModel: with the command that makes one, or the targets that could have been named.
    """
    able = {model.key: model for model in runtime.served if endpoint.accepts(model.bundle.settings)}
    if wanted in able:
        return able[wanted]
    if able and (wanted is not None or all("@" in key for key in able)):
        made = f"{_command(wanted)} makes one; " if wanted in endpoint.targets else nearest(wanted or "", able)
        raise NoModel(
            f"no model of that name answers {endpoint.path}; {made}there are: {', '.join(able)}",
            param="model",
            given=wanted and wanted[:100],
        )
    if not able:
        raise NoModel(
            f"no model answers {endpoint.path}; this makes one: {_command(endpoint.targets[0])}", param="model"
        )
    return able[next(key for key in (*endpoint.targets, *able) if key in able and "@" not in key)]


def _command(target: str | None) -> str:
    return f"mlflow run . --env-manager local -P targets={target}"


def endpoints_of(model: Served) -> list[Endpoint]:
    """The endpoints that a model can answer."""
    return [endpoint for endpoint in ENDPOINTS if endpoint.accepts(model.bundle.settings)]


def _handler(endpoint: Endpoint) -> Handler:
    async def handle(request: Request) -> Response:
        runtime, settings = _runtime(request), request.app.state.settings
        admit(request, runtime, settings)
        limit = settings.body_bytes if endpoint.several else settings.align_body_bytes
        body = await read_object(request, limit=limit, seconds=patience(request, settings))
        several = endpoint.several and "items" in body
        items, wanted = _items(body, several, settings)
        model = endpoint_model(endpoint, runtime, wanted)
        results = await answer(request, endpoint, model, items)
        line, record = model.delivered, request.state.record
        name = {"target": line.target, "name": line.name, "version": line.version, "digest": line.digest}
        headers = {"Server-Timing": server_timing(record)}
        mirror = request.app.state.mirror.after(request, endpoint, model, items, results)
        if several:
            found = [error_body(r, record.request_id) if isinstance(r, PolystiltsError) else r for r in results]
            return JsonResponse({"results": found, "model": name}, headers=headers, background=mirror)
        if isinstance(results[0], PolystiltsError):
            raise results[0]
        return JsonResponse({"result": results[0], "model": name}, headers=headers, background=mirror)

    return handle


def _translated(dialect: Dialect) -> Handler:
    async def handle(request: Request) -> Response:
        runtime, settings = _runtime(request), request.app.state.settings
        admit(request, runtime, settings)
        body = await read_object(request, limit=settings.body_bytes, seconds=patience(request, settings))
        asked = dialect.read(body, settings)
        model = endpoint_model(asked.endpoint, runtime, asked.model)
        results = await answer(request, asked.endpoint, model, asked.items)
        content = asked.answer(model, results, request.state.record)
        headers = {"Server-Timing": server_timing(request.state.record)}
        mirror = request.app.state.mirror.after(request, asked.endpoint, model, asked.items, results)
        return JsonResponse(content, headers=headers, background=mirror)

    return handle


def _described(description: Description) -> Handler:
    async def handle(request: Request) -> Response:
        name = request.path_params.get("name", "")
        return JsonResponse(description.read(_runtime(request), request.app.state.settings, name))

    return handle


def admit(request: Request, runtime: Runtime, settings: Settings) -> None:
    """Sets the request's owner and deadline, and refuses it at once where there is no room for its owner.

    Raises:
        BadHeader: a deadline that is no number of milliseconds.
        QueueFull, SchedulerClosed
    """
    state, given = request.state, request.headers.get(TIMEOUT)
    if given is not None and not (given.isascii() and given.isdecimal() and given.strip("0")):
        raise BadHeader(f"{TIMEOUT} must be a whole number of milliseconds", param=TIMEOUT, limit=1, given=given[:20])
    asked = int(given.lstrip("0")[:10]) if given else settings.timeout_ms
    milliseconds = min(asked, settings.longest_timeout_ms)
    state.deadline = time.monotonic() + milliseconds / 1000
    holder: Holder | None = state.holder
    # An address has no white space in front, so no client can take the turn of a key by its address, or the reverse.
    state.owner = f" {holder.name}" if holder else request.client.host if request.client else ""
    state.share = holder.share if holder else None
    runtime.scheduler.check(state.owner, state.share)


def patience(request: Request, settings: Settings) -> float:
    """Seconds that a body may take: never longer than its request has."""
    left: float = request.state.deadline - time.monotonic()
    return min(settings.body_seconds, max(left, 0.001))


def server_timing(record: Record) -> str:
    """The four times of a request, as browsers' developer tools show them (W3C Server-Timing, milliseconds)."""
    return (
        f"tokenise;dur={record.tokenise_ms:.2f}, queue;dur={record.queue_ms:.2f}, "
        f"run;dur={record.run_ms:.2f}, decode;dur={record.decode_ms:.2f}"
    )


def _items(body: dict[str, Any], several: bool, settings: Settings) -> tuple[list[Any], str | None]:
    """The unchecked items of a request, and the model it asks for."""
    try:
        if several:
            request = schemas.Several[Any].model_validate(body)
            check_count("items", len(request.items), settings)
            return request.items, request.model
        return [body], schemas.Selected.model_validate({"model": body.pop("model", None)}).model
    except ValidationError as error:
        raise invalid(error) from None


async def _live(request: Request) -> Response:
    runtime: Runtime | None = request.app.state.runtime
    if runtime and runtime.scheduler.stuck:
        raise NotReady("a model call does not come back")
    return JsonResponse({"live": True})


async def _metrics(request: Request) -> Response:
    content, kind = await run_in_threadpool(request.app.state.metrics.render)
    return Response(content, media_type=kind)


async def _refresh(request: Request) -> Response:
    runtime, keys = _runtime(request), request.app.state.keys
    if keys is None:
        raise Forbidden("this needs an admin key, and the server has no keys (POLYSTILTS_KEYS)", param="Authorization")
    keys.check(request.headers, "admin")
    await run_in_threadpool(runtime.refresh)
    refused = {key: one.error.code for key, one in runtime.refused.items()}
    return JsonResponse(
        schemas.Refreshed(models={model.key: model.delivered.digest for model in runtime.served}, refused=refused)
    )


async def _ready(request: Request) -> Response:
    runtime = _runtime(request)
    runtime.check_ready()
    tests = {model.key: _self_test(model) for model in runtime.served}
    refused = {key: one.error.code for key, one in runtime.refused.items()}
    return JsonResponse(schemas.Ready(self_tests=tests, refused=refused))


async def _openapi(request: Request) -> Response:
    return JsonResponse(document())


async def _models(request: Request) -> Response:
    runtime = _runtime(request)
    return JsonResponse(
        schemas.ModelList(data=[_card(model) for model in runtime.served], queue_ms=runtime.scheduler.queue_ms)
    )


async def _model(request: Request) -> Response:
    return JsonResponse(_card(model_named(_runtime(request), request.path_params["id"])))


def _runtime(request: Request) -> Runtime:
    runtime: Runtime | None = request.app.state.runtime
    if runtime is None:
        raise NotReady("the server is starting")
    return runtime


def _self_test(model: Served) -> schemas.SelfTest:
    return schemas.SelfTest(difference=model.held.difference, tolerance=model.bundle.self_test["tolerance"])


def _card(model: Served) -> schemas.ModelCard:
    bundle, delivered = model.bundle, model.delivered
    return schemas.ModelCard(
        id=model.key,
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
        exported_with=dict(bundle.export),
        languages=bundle.lineage.get("languages"),
        scores=dict(delivered.scores),
        lineage=dict(bundle.lineage),
        self_test=_self_test(model),
        loaded=model.held.loaded,
    )
