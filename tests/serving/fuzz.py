"""Requests out of the OpenAPI document, right ones and wrong ones, and what every answer to them must be.

``python -m tests.serving.fuzz --cases 5000`` sends them to a real server over tiny bundles; `make test` sends a few
hundred to the application in its own process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, openapi
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pipelines.serve import start_server
from tests.world.bundles import tiny_models

#: What a server that works may say of itself; every other status of 500 and more is a fault.
ALLOWED = {(503, "not_ready"), (504, "deadline")}

#: The answer has a documented status, content type and form.
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

#: No answer takes so long, in seconds.
PATIENCE = 30.0

#: What makes JSON go wrong, beside what a schema knows of.
_SPOILERS = [
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b'"',
    b"{",
    b"]",
    b",",
    b"NaN",
    b"1e999",
    b"\xef\xbb\xbf",
]

#: A place in the body (0 to 1), how many bytes go there, and what comes in their place.
_Change = tuple[float, int, bytes]


def operations(schema: BaseSchema) -> list[APIOperation]:
    """Every operation of the document."""
    found = list(schema.get_all_operations())
    assert found and all(isinstance(result, Ok) for result in found), "the document has an operation nobody can read"
    return [result.ok() for result in found]


def fuzz(
    operation: APIOperation,
    cases: int,
    *,
    url: str | None = None,
    session: requests.Session | None = None,
    number: int = 0,
) -> Counter[str]:
    """Sends requests to one operation and checks the answers; returns how many had each status.

    A third of the bodies is as the document says, a third is not, and of a third some bytes are spoilt.

    Args:
        cases: at most so many; an operation that takes nothing has but one.
        url: of a server; None = the application that the document was read from, in this process.
        number: another one makes other requests.
    """
    seen: Counter[str] = Counter()

    def check(case: Case, changes: Sequence[_Change] = ()) -> None:
        if changes:
            body = _spoilt(case, changes)
            case = operation.Case(method=case.method, body=body, media_type=case.media_type, headers=case.headers)
        response = case.call(base_url=url, session=session, **({"timeout": PATIENCE} if url else {}))
        seen[str(response.status_code)] += 1
        case.validate_response(response, checks=CHECKS)
        text = response.content.decode("utf-8")
        assert "Traceback" not in text and "site-packages" not in text
        if response.status_code >= 500:
            assert (response.status_code, response.json()["error"]["code"]) in ALLOWED, text

    def run(strategy: st.SearchStrategy[tuple[Any, ...]], most: int) -> None:
        @seed(number)
        @settings(
            max_examples=max(1, most),
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def one(drawn: tuple[Any, ...]) -> None:
            check(*drawn)

        one()

    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not operation.body:
        run(st.tuples(right), cases)
        return seen
    run(st.tuples(right), cases // 3)
    run(st.tuples(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)), cases // 3)
    change = st.tuples(st.floats(0, 1), st.integers(0, 5), st.sampled_from(_SPOILERS) | st.binary(max_size=4))
    run(st.tuples(right, st.lists(change, min_size=1, max_size=4)), cases // 3)
    return seen


def _spoilt(case: Case, changes: Sequence[_Change]) -> bytes:
    """The bytes of a case's body after the changes."""
    body = json.dumps(case.body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    for place, cut, put in changes:
        at = int(place * len(body))
        body = body[:at] + put + body[at + cut :]
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="requests in all, at least")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other requests")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, start_server(tiny_models(Path(folder))) as server:
        schema = openapi.from_url(f"{server.url}/openapi.json")
        number = options.seed
        while total.total() < options.cases:
            for operation in operations(schema):
                with requests.Session() as session:
                    seen = fuzz(operation, 300, url=server.url, session=session, number=number)
                print(
                    operation.label,
                    ", ".join(f"{status}: {count}" for status, count in sorted(seen.items())),
                    flush=True,
                )
                total += seen
            number += 1
        log = server.log.read_text("utf-8", errors="replace")
        assert "Traceback" not in log, log[-5000:]
        assert server.stop() == 0
    print(f"{total.total()} requests, no fault: {', '.join(f'{status}: {n}' for status, n in sorted(total.items()))}")


if __name__ == "__main__":
    main()
