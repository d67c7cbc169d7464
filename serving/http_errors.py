"""One error body for everything that can go wrong over HTTP; no trace and no path reaches a client."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polystilts.errors import InvalidValue, PolystiltsError, TooLarge
from polystilts.runtime.scheduler import QueueFull
from serving import logs
from serving.keys import Unauthorised
from serving.metrics import CLIENT_GONE
from serving.record import Record

REQUEST_ID = "X-Request-Id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: Codes of the errors that the HTTP layer itself makes.
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}

#: Characters of a refused value that are sent back.
_ECHO = 100

#: More fields than any request has.
_FIELDS = 100

#: More lists and objects than any request has; each costs the parser, and the garbage collector, as much as many texts.
CONTAINERS = 20_000

_OBJECT = TypeAdapter(dict[str, Any])


class MalformedJson(PolystiltsError):
    """A body that is not JSON in UTF-8, has lone surrogates, or is nested too deeply."""

    code = "malformed_json"
    status = 422


class MissingField(InvalidValue):
    """A required field is not there."""

    code = "missing_field"


class UnknownField(InvalidValue):
    """A field that the endpoint does not have."""

    code = "unknown_field"


class UnsupportedMediaType(PolystiltsError):
    """A content type other than application/json."""

    code = "unsupported_media_type"
    status = 415


class BadHeader(PolystiltsError):
    """A header that we read and that does not say what it may."""

    code = "bad_header"
    status = 400


class BodyTimeout(PolystiltsError):
    """The body had not arrived in time."""

    code = "body_timeout"
    status = 408


#: Answers a request.
Handler = Callable[[Request], Awaitable[Response]]


class JsonResponse(Response):
    """A pydantic model or plain value as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def error_body(error: PolystiltsError, request_id: str) -> dict[str, Any]:
    """The body that every error has."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "type": _type(error.status),
            "param": error.param,
            "limit": error.limit,
            "given": error.given,
            "request_id": request_id,
        }
    }


def _type(status: int) -> str:
    """OpenAI's word for the kind of an error."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


class Boundary:
    """ASGI middleware: a `Record` for every request, the error body for every exception, one place that observes.

    The id is the client's ``X-Request-Id`` where that is plain (1 to 64 of ``A-Za-z0-9_-``), else a new one.

    Args:
        check: raises for a request that is not let in.
        observe: told of every request when its answer has been sent, or its client has gone.
        direct: what answers a POST to these paths, past `app`: its layers cost a tenth of what a short answer does.
    """

    def __init__(
        self,
        app: ASGIApp,
        check: Callable[[Request], None],
        observe: Callable[[Record], None],
        direct: Mapping[str, Handler],
    ) -> None:
        self.app = app
        self._check = check
        self._observe = observe
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        request = Request(scope, receive)
        given = request.headers.get(REQUEST_ID, "")
        record = Record(given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16), method=scope["method"])
        request.state.record = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = record.request_id
            await send(message)

        try:
            try:
                self._check(request)
                handler = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
                response: ASGIApp = self.app if handler is None else await handler(request)
            except PolystiltsError as refusal:
                response = answer_error(request, refusal)
                # It leads to the frames that it passed, which hold it and the whole body.
                refusal.__traceback__ = None
            await response(scope, receive, send_with_id)
        except ClientDisconnect:
            record.code = CLIENT_GONE  # nobody is left to answer
        except Exception as error:
            logs.failed(record.request_id, error)
            if record.status:
                raise
            fault = PolystiltsError("the server failed; it is not your request's fault")
            await answer_error(request, fault)(scope, receive, send_with_id)
        finally:
            record.total_ms = (time.perf_counter() - start) * 1000
            self._observe(record)


def answer_error(request: Request, error: Exception) -> Response:
    """The response to an expected error: ours, or Starlette's own (unknown route, wrong method)."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        path = request.scope["path"][:_ECHO]  # `request.url` cannot be read where the Host header is no host
        message = {
            404: f"there is no {path}; GET / lists what there is",
            405: f"{path} does not take {request.method}",
        }.get(error.status_code, error.detail)
        headers.update(error.headers or {})
        status, code = error.status_code, _HTTP_CODES.get(error.status_code, "bad_request")
        error = PolystiltsError(message)
        error.status, error.code = status, code
    if not isinstance(error, PolystiltsError):
        raise error
    if isinstance(error, QueueFull):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif error.status == 503:
        headers["Retry-After"] = "1"
    elif isinstance(error, Unauthorised):
        headers.update(error.headers)
    if error.status == 408:
        headers["Connection"] = "close"  # the rest of the body is not waited for
    record: Record = request.state.record
    record.code = error.code
    return JsonResponse(error_body(error, record.request_id), error.status, headers)


async def read_object(request: Request, *, limit: int, seconds: float) -> dict[str, Any]:
    """The JSON object in a request's body.

    Args:
        limit: bytes; checked against Content-Length and while the body streams.
        seconds: time in which the body must have arrived.

    Raises:
        UnsupportedMediaType, BodyTimeout, MalformedJson, InvalidValue
        TooLarge: bytes, or lists and objects.
    """
    kind, _, parameter = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json" or parameter.strip().lower() not in ("", "charset=utf-8"):
        raise UnsupportedMediaType(
            "the content type must be application/json",
            param="Content-Type",
            limit="application/json",
            given=request.headers.get("content-type", "")[:_ECHO],
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _body_too_large(limit, int(announced))
    body = await _read_body(request, limit, seconds)
    _check_containers(body)
    try:
        found = _OBJECT.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise MalformedJson(f"the body is not JSON: {first['ctx']['error']}", param="body") from None
        raise InvalidValue("the body must be a JSON object", param="body") from None
    if len(found) > _FIELDS:  # each unknown one would be an error of its own
        raise InvalidValue(f"the body has {len(found)} fields", param="body", limit=_FIELDS, given=len(found))
    return found


def _check_containers(body: bytes) -> None:
    """Refuses a body of very many lists and objects before it is parsed: 8 MiB of them would hold it up for seconds.

    Raises:
        TooLarge
    """
    if body.count(b"[") + body.count(b"{") <= CONTAINERS:
        return
    # Those in texts do not count. Without escapes, what follows an odd number of quotes is a text.
    plain = np.frombuffer(body.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
    in_text = np.logical_xor.accumulate(plain == ord('"'))
    containers = int(np.count_nonzero(((plain == ord("[")) | (plain == ord("{"))) & ~in_text))
    if containers > CONTAINERS:
        raise TooLarge(
            f"the body has {containers} lists and objects; the limit is {CONTAINERS}",
            param="body",
            limit=CONTAINERS,
            given=containers,
        )


async def _read_body(request: Request, limit: int, seconds: float) -> bytes:
    body, end, more = bytearray(), asyncio.get_running_loop().time() + seconds, True
    while more:
        try:
            async with asyncio.timeout_at(end):
                message = await request.receive()
        except TimeoutError:
            raise BodyTimeout(
                f"the body had not arrived after {seconds:g} s", param="body", limit=seconds, given=len(body)
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise _body_too_large(limit, len(body))
    return bytes(body)


def invalid(error: ValidationError) -> PolystiltsError:
    """Pydantic's findings as one error: the first one's field, and the others named in the message."""
    found = error.errors(include_url=False)
    messages = [_message(one) for one in found[:3]]
    if len(found) > 3:
        messages.append(f"and {len(found) - 3} more")
    first = found[0]
    kind = {"missing": MissingField, "extra_forbidden": UnknownField}.get(first["type"], InvalidValue)
    context = first.get("ctx", {})
    limit = next((context[key] for key in ("min_length", "max_length") if key in context), None)
    given = context.get("actual_length", None if first["type"] == "missing" else _plain(first["input"]))
    return kind("; ".join(messages), param=_param(first) or None, limit=limit, given=given)


def _param(found: ErrorDetails) -> str:
    return ".".join(str(part)[:_ECHO] for part in found["loc"])


def _message(found: ErrorDetails) -> str:
    text = {"missing": "is required", "extra_forbidden": "is not a field of this request"}.get(found["type"])
    text = text or found["msg"]
    return f"{_param(found)}: {text}" if found["loc"] else text


def _plain(value: Any) -> Any:
    """A refused value, short enough to be sent back."""
    if isinstance(value, dict | list):
        return "object" if isinstance(value, dict) else "array"
    if isinstance(value, float) and not math.isfinite(value):
        value = str(value)  # JSON has no such number
    elif isinstance(value, int) and value.bit_length() > 64:
        value = str(value)  # few readers of JSON have such numbers
    return value[:_ECHO] if isinstance(value, str) else value


def _body_too_large(limit: int, given: int) -> TooLarge:
    return TooLarge(f"the body has {given} bytes or more; the limit is {limit}", param="body", limit=limit, given=given)
