"""What one request was and cost: filled while it is answered, read once afterwards by metrics, log and traces."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Route of a request that no template matches.
UNKNOWN_ROUTE = "unknown"


@dataclass(slots=True)
class Record:
    """One request; no text of it, so nothing of it can leak into a log.

    Attributes:
        request_id: the client's ``X-Request-Id`` or ours.
        key: the name (never the value) of the API key.
        route: the template that matched, such as ``/v1/nli``.
        method: the HTTP method.
        target: the target whose model answered.
        digest: the bundle that answered.
        items: items asked for.
        characters: code points in all texts.
        tokens: tokens the texts needed.
        padded: tokens computed, padding included; this request's part of its batches.
        rows: rows of the model.
        scripts: texts by their dominant script, from `serving.scripts.script_of`.
        tokenise_ms: in the tokenizer.
        queue_ms: waiting for a lane.
        run_ms: in the model.
        decode_ms: from arrays to answers.
        status: of the response; 0 = none was sent.
        code: of the error, if it was one.
        total_ms: from the first byte of the request read to the last of the answer sent.
        traceparent: the client's header, or the one made here.
    """

    request_id: str
    key: str | None = None
    route: str = UNKNOWN_ROUTE
    method: str = "GET"
    target: str | None = None
    digest: str | None = None
    items: int = 0
    characters: int = 0
    tokens: int = 0
    padded: int = 0
    rows: int = 0
    scripts: dict[str, int] = field(default_factory=dict)
    tokenise_ms: float = 0.0
    queue_ms: float = 0.0
    run_ms: float = 0.0
    decode_ms: float = 0.0
    status: int = 0
    code: str | None = None
    total_ms: float = 0.0
    traceparent: str | None = None
