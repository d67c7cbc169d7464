"""The page at ``/``: static files, read once, and the table of tasks and examples written into them.

The page needs nothing from elsewhere and no build step: ``serving/page/`` is what the browser gets. What it knows
before it asks the server (tasks, examples, the command that makes a missing model) stands in the document as JSON,
so nothing moves when it loads; models and answers it asks for over the same HTTP interface as every other client.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES, LANGUAGES

FOLDER = Path(__file__).with_name("page")

#: Where ``index.html`` gets the JSON.
PLACE = "/*TASKS*/"

#: Nothing but our own files and our own server; data that slipped into the markup could neither run nor leave.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)

_HEADERS: Mapping[str, str] = {
    # Asked for again each time and answered with 304: a page never speaks to a server of another version.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page_routes() -> list[Route]:
    """The page and its two files, each with a route of its own, so that a wrong method is a 405."""
    index = (FOLDER / "index.html").read_text("utf-8").replace(PLACE, _tasks())
    return [
        _route("/", index.encode(), "text/html; charset=utf-8"),
        _route("/page/style.css", (FOLDER / "style.css").read_bytes(), "text/css; charset=utf-8"),
        _route("/page/app.js", (FOLDER / "app.js").read_bytes(), "text/javascript; charset=utf-8"),
    ]


def _tasks() -> str:
    """The table of tasks as JSON that may stand inside a script element."""
    tasks = [
        {
            "name": endpoint.name,
            "path": endpoint.path,
            "summary": endpoint.summary,
            "made_by": f"mlflow run . --env-manager local -P targets={endpoint.targets[0]}",
            "examples": [
                {"code": code, "language": _name(code), "request": request}
                for code, request in EXAMPLES[endpoint.name].items()
            ],
        }
        for endpoint in ENDPOINTS
    ]
    return json.dumps(tasks, ensure_ascii=False).replace("<", "\\u003c")


def _name(code: str) -> str:
    """ "English", or "English → German" for the code of a pair."""
    return " → ".join(LANGUAGES[one] for one in code.split("-"))


def _route(path: str, content: bytes, media_type: str) -> Route:
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": etag}

    async def answer(request: Request) -> Response:
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
        if etag in known:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return Route(path, answer, methods=["GET"])
