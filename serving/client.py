"""A small client: one method an endpoint, retries only what may succeed later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import httpx
import tenacity

from polystilts.errors import NotReady, PolystiltsError

#: Statuses after which the same request may succeed.
RETRIED = (429, 503)

#: Seconds after which a client gives up, with its retries.
TIMEOUT = 30.0

#: Seconds in which a connection must be there, so that time is left to try again.
CONNECT = 5.0

#: Seconds past the deadline in which the server's own refusal may still arrive.
GRACE = 0.5

#: Longest wait between two attempts where the server does not say how long, in seconds.
LONGEST_WAIT = 10.0

#: Seconds between two looks at a server that is not ready yet.
LOOK = 0.1

J = TypeVar("J")


class AnswerError(PolystiltsError):
    """The server refused: its code, status, message, param, limit and given.

    Attributes:
        retry_after: seconds after which the server would be asked again, where it said so.
    """

    def __init__(self, status: int, error: Mapping[str, Any], retry_after: float | None = None) -> None:
        super().__init__(error["message"], param=error.get("param"), limit=error.get("limit"), given=error.get("given"))
        self.status = status
        self.code = error["code"]
        self.request_id = error.get("request_id")
        self.retry_after = retry_after


class _Methods(Generic[J]):
    """One method an endpoint; `J` is the answer's JSON, or what is awaited for it."""

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> J:
        raise NotImplementedError

    def ask(self, endpoint: str, item: Mapping[str, Any], *, model: str | None = None) -> J:
        """The answer to one item.

        Args:
            endpoint: nli, paraphrase, pos, ner, qa, choice, embed or align.
            model: target of the model that shall answer.

        Raises:
            AnswerError: the server refused.
            httpx.TransportError: no connection after the last attempt.
        """
        return self._call("POST", f"/v1/{endpoint}", _with(item, model))

    def ask_several(self, endpoint: str, items: Sequence[Mapping[str, Any]], *, model: str | None = None) -> J:
        """``{"results": [...], "model": …}`` in the items' order; a bad one is ``{"error": …}`` there."""
        return self._call("POST", f"/v1/{endpoint}", _with({"items": list(items)}, model))

    def nli(self, premise: str, hypothesis: str, *, model: str | None = None) -> J:
        return self.ask("nli", {"premise": premise, "hypothesis": hypothesis}, model=model)

    def paraphrase(self, sentence1: str, sentence2: str, *, model: str | None = None) -> J:
        return self.ask("paraphrase", {"sentence1": sentence1, "sentence2": sentence2}, model=model)

    def pos(self, text: str | Sequence[str], *, model: str | None = None) -> J:
        """Tags of raw text, or of a list of tokens."""
        return self.ask("pos", _tagging(text), model=model)

    def ner(self, text: str | Sequence[str], *, model: str | None = None) -> J:
        """Entities of raw text, or of a list of tokens."""
        return self.ask("ner", _tagging(text), model=model)

    def qa(self, question: str, context: str, *, model: str | None = None) -> J:
        return self.ask("qa", {"question": question, "context": context}, model=model)

    def choice(self, premise: str, choices: Sequence[str], *, question: str = "", model: str | None = None) -> J:
        item = {"premise": premise, "question": question, "choices": list(choices)}
        return self.ask("choice", item, model=model)

    def embed(self, text: str, *, model: str | None = None) -> J:
        return self.ask("embed", {"text": text}, model=model)

    def align(self, source: Sequence[str], target: Sequence[str], *, model: str | None = None) -> J:
        return self.ask("align", {"source": list(source), "target": list(target)}, model=model)

    def embeddings(self, text: str | Sequence[str], *, model: str) -> J:
        """OpenAI's answer: ``{"data": [{"embedding": …}], "model": …, "usage": …}``; one bad text fails all."""
        texts = text if isinstance(text, str) else list(text)
        return self._call("POST", "/v1/embeddings", {"input": texts, "model": model})


class Client(_Methods[dict[str, Any]]):
    """Asks a Polystilts server.

    Every method returns the answer's JSON: ``{"result": …, "model": …}``. Connection errors, 429 and 503 are
    tried again, after the time the server asks for; every other error is raised at once, and so is one that there
    is no time to wait for.

    Args:
        base_url: for example ``http://127.0.0.1:3000``.
        timeout: seconds for a call with all its attempts; the server is told what is left (``X-Timeout-Ms``).
        attempts: attempts at most.
        key: API key, where the server asks for one.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT,
        attempts: int = 4,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._http = httpx.Client(base_url=base_url, headers=_headers(key), transport=transport)
        self._policy = _policy(timeout, attempts)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """The models that answer, each with the `endpoints` it answers."""
        return list(self._call("GET", "/v1/models")["data"])

    def ready(self) -> bool:
        """Whether the server is ready now; never raises for a server that is not there."""
        try:
            return self._http.get("/readyz", timeout=CONNECT).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Returns when the server is ready.

        Raises:
            NotReady: it was not in time.
        """
        end = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() + LOOK > end:
                raise _not_ready(seconds)
            time.sleep(LOOK)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout
        retrying = tenacity.Retrying(**self._policy)
        return retrying(lambda: _read(self._http.request(method, path, json=body, **_limits(deadline))))


class AsyncClient(_Methods[Awaitable[dict[str, Any]]]):
    """`Client` for asyncio: the same methods, awaited."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT,
        attempts: int = 4,
        key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._http = httpx.AsyncClient(base_url=base_url, headers=_headers(key), transport=transport)
        self._policy = _policy(timeout, attempts)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """The models that answer, each with the `endpoints` it answers."""
        return list((await self._call("GET", "/v1/models"))["data"])

    async def ready(self) -> bool:
        """Whether the server is ready now; never raises for a server that is not there."""
        try:
            return (await self._http.get("/readyz", timeout=CONNECT)).status_code == 200
        except httpx.TransportError:
            return False

    async def wait_ready(self, seconds: float = 60.0) -> None:
        """Returns when the server is ready.

        Raises:
            NotReady: it was not in time.
        """
        end = time.monotonic() + seconds
        while not await self.ready():
            if time.monotonic() + LOOK > end:
                raise _not_ready(seconds)
            await asyncio.sleep(LOOK)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout

        async def send() -> dict[str, Any]:
            return _read(await self._http.request(method, path, json=body, **_limits(deadline)))

        return await tenacity.AsyncRetrying(**self._policy)(send)


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _limits(deadline: float) -> dict[str, Any]:
    """What a request is given of the time that is left, for both sides."""
    left = max(deadline - time.monotonic(), 0.001)
    return {
        "headers": {"X-Timeout-Ms": str(max(1, int(left * 1000)))},
        "timeout": httpx.Timeout(left + GRACE, connect=min(left, CONNECT)),
    }


def _read(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        return dict(response.json())
    wait = response.headers.get("Retry-After", "")
    retry_after = float(wait) if wait.isdecimal() else None
    try:
        error = AnswerError(response.status_code, response.json()["error"], retry_after)
    except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's own page
        request = response.request
        message = f"{request.method} {request.url.path} was answered with {response.status_code}"
        error = AnswerError(response.status_code, {"code": "bad_answer", "message": message}, retry_after)
    raise error


def _with(body: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    return body if model is None else {**body, "model": model}


def _not_ready(seconds: float) -> NotReady:
    return NotReady(f"the server was not ready after {seconds:g} s", limit=seconds)


def _tagging(text: str | Sequence[str]) -> dict[str, Any]:
    return {"text": text} if isinstance(text, str) else {"tokens": list(text)}


def _may_succeed_later(error: BaseException) -> bool:
    if isinstance(error, AnswerError):
        return error.status in RETRIED
    return isinstance(error, httpx.NetworkError | httpx.ConnectTimeout | httpx.RemoteProtocolError)


_backoff = tenacity.wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    """What the server asked for, else a random time that doubles."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, AnswerError) else None
    return asked if asked is not None else _backoff(state)


def _policy(timeout: float, attempts: int) -> dict[str, Any]:
    return {
        "retry": tenacity.retry_if_exception(_may_succeed_later),
        "wait": _wait,
        "stop": tenacity.stop_after_attempt(attempts) | tenacity.stop_before_delay(timeout),
        "reraise": True,
    }
