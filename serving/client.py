"""A small client: one method an endpoint, retries only what may succeed later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx
import tenacity

from polystilts.errors import PolystiltsError

#: Statuses after which the same request may succeed.
RETRIED = (429, 503)

#: Seconds after which a client gives up, with its retries.
TIMEOUT = 30.0

#: Longest wait between two attempts, in seconds, whatever the server asks for.
LONGEST_WAIT = 10.0


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


class Client:
    """Asks a Polystilts server.

    Every method returns the answer's JSON: ``{"result": …, "model": …}``. Connection errors, 429 and 503 are
    tried again; every other error is raised at once.

    Args:
        base_url: for example ``http://127.0.0.1:3000``.
        timeout: seconds for one attempt.
        attempts: attempts at most.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT,
        attempts: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout, transport=transport)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_succeed_later),
            wait=_wait,
            stop=tenacity.stop_after_attempt(attempts),
            reraise=True,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def ask(self, endpoint: str, item: Mapping[str, Any], *, model: str | None = None) -> dict[str, Any]:
        """The answer to one item.

        Args:
            endpoint: nli, paraphrase, pos, ner, qa, choice, embed or align.
            model: target of the model that shall answer.

        Raises:
            AnswerError: the server refused.
            httpx.TransportError: no connection after the last attempt.
        """
        return self._post(endpoint, item, model)

    def ask_several(
        self, endpoint: str, items: Sequence[Mapping[str, Any]], *, model: str | None = None
    ) -> dict[str, Any]:
        """``{"results": [...], "model": …}`` in the items' order; a bad one is ``{"error": …}`` there."""
        return self._post(endpoint, {"items": list(items)}, model)

    def nli(self, premise: str, hypothesis: str, *, model: str | None = None) -> dict[str, Any]:
        return self.ask("nli", {"premise": premise, "hypothesis": hypothesis}, model=model)

    def paraphrase(self, sentence1: str, sentence2: str, *, model: str | None = None) -> dict[str, Any]:
        return self.ask("paraphrase", {"sentence1": sentence1, "sentence2": sentence2}, model=model)

    def pos(self, text: str | Sequence[str], *, model: str | None = None) -> dict[str, Any]:
        """Tags of raw text, or of a list of tokens."""
        return self.ask("pos", _tagging(text), model=model)

    def ner(self, text: str | Sequence[str], *, model: str | None = None) -> dict[str, Any]:
        """Entities of raw text, or of a list of tokens."""
        return self.ask("ner", _tagging(text), model=model)

    def qa(self, question: str, context: str, *, model: str | None = None) -> dict[str, Any]:
        return self.ask("qa", {"question": question, "context": context}, model=model)

    def choice(
        self, premise: str, choices: Sequence[str], *, question: str = "", model: str | None = None
    ) -> dict[str, Any]:
        item = {"premise": premise, "question": question, "choices": list(choices)}
        return self.ask("choice", item, model=model)

    def embed(self, text: str, *, model: str | None = None) -> dict[str, Any]:
        return self.ask("embed", {"text": text}, model=model)

    def align(self, source: Sequence[str], target: Sequence[str], *, model: str | None = None) -> dict[str, Any]:
        return self.ask("align", {"source": list(source), "target": list(target)}, model=model)

    def models(self) -> list[dict[str, Any]]:
        """The models that answer, each with the `endpoints` it answers."""
        return list(self._retrying(self._send, "GET", "/v1/models")["data"])

    def ready(self) -> bool:
        """Whether the server is ready now; never raises for a server that is not there."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _post(self, endpoint: str, body: Mapping[str, Any], model: str | None) -> dict[str, Any]:
        named = dict(body) if model is None else {**body, "model": model}
        return self._retrying(self._send, "POST", f"/v1/{endpoint}", named)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = self._http.request(method, path, json=body)
        if response.is_success:
            return dict(response.json())
        wait = response.headers.get("Retry-After", "")
        retry_after = float(wait) if wait.isdecimal() else None
        try:
            error = response.json()["error"]
        except (ValueError, KeyError, TypeError):  # a proxy's own page
            error = {
                "code": "bad_answer",
                "message": f"{method} {path} was answered with {response.status_code}",
            }
        raise AnswerError(response.status_code, error, retry_after)


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
    return min(asked, LONGEST_WAIT) if asked is not None else _backoff(state)
