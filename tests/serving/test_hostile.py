"""What people send who mean no good, or no harm but badly; each with the answer it gets, by a real server.

Everything is answered by the one error body, with two exceptions: what is no HTTP/1.1 is answered by the HTTP layer
itself (400, plain text), and whoever has left gets nothing.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import select
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from pipelines.serve import Server, start_server
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.models_folder import CURRENT, read_current
from polystilts.runtime.pool import Pool
from polystilts.runtime.scheduler import Scheduler
from serving.app import create_app
from serving.endpoints import ENDPOINTS
from serving.http_errors import CONTAINERS
from serving.keys import new_key
from serving.runtime import Runtime
from tests.serving.fakes import fake_model, fake_runtime, outputs
from tests.world.bundles import SETTINGS, tiny_bundle, tiny_models

pytestmark = pytest.mark.slow

#: No test should need it, in seconds.
PATIENCE = 60.0

JSON = {"Content-Type": "application/json"}
PAIR = {"premise": "The cat sleeps.", "hypothesis": "Nobody sleeps."}
FIELDS = {"code", "message", "type", "param", "limit", "given", "request_id"}

#: Traces, and places on a machine.
INSIDE = re.compile(r"Traceback|File \"|\.py\b|site-packages|/(work|root|home|tmp|usr|var|srv)/")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSTILTS_BODY_SECONDS", "3")
        with start_server(models) as server:
            yield server
            log = server.log.read_text("utf-8", errors="replace")
    assert "Traceback" not in log, log[-5000:]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(autouse=True)
def still_answers(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each blow the server answers as before."""
    yield
    if "client" in request.fixturenames:
        response = request.getfixturevalue("client").post("/v1/nli", json=PAIR)
        assert response.status_code == 200, response.text


def error(response: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The error of a response, after checking its form and that it says nothing of the inside."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    assert not INSIDE.search(response.text), response.text
    body = json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert set(body) == {"error"} and set(body["error"]) == FIELDS
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    assert (body["error"]["code"], body["error"]["param"]) == (code, param), body
    return dict(body["error"])


def connect(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    assert address.hostname and address.port
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


def head(body: bytes | None = None, *, path: str = "/v1/nli", **fields: str) -> bytes:
    """A request's head; with `body` a POST of it, to which the body is to be added."""
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1"]
    usual = {"Host": "localhost"}
    if body is not None:
        usual |= {"Content_Type": "application/json", "Content_Length": str(len(body))}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (usual | fields).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def raw(server: Server, sent: bytes) -> bytes:
    """What comes back for bytes that ask for the connection to be closed."""
    answer = b""
    with connect(server) as connection:
        connection.sendall(sent)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def whole(connection: socket.socket) -> bytes:
    """One answer to its end: its head and its body may come in several packets."""
    answer = b""
    while not (length := re.search(rb"content-length: (\d+)(?s:.*?)\r\n\r\n", answer)) or len(answer) < (
        length.end() + int(length[1])
    ):
        chunk = connection.recv(65536)
        assert chunk, f"the connection ended within the answer: {answer!r}"
        answer += chunk
    return answer


def metric(client: httpx.Client, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def eventually(check: Callable[[], bool], seconds: float = PATIENCE) -> None:
    limit = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.02)


# Bodies

DEEP = 10_000

BODIES: Mapping[str, tuple[bytes, int, str, str | None]] = {
    "nested lists": (b"[" * DEEP, 422, "malformed_json", "body"),
    "nested objects": (b'{"a":' * DEEP, 422, "malformed_json", "body"),
    "nested and closed": (b'{"premise":' + b"[" * 5000 + b"]" * 5000 + b"}", 422, "malformed_json", "body"),
    "nested within the limit": (b'{"premise":' + b"[" * 100 + b"]" * 100 + b"}", 422, "invalid_value", "premise"),
    "lone surrogate, escaped": (rb'{"premise": "\ud800", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "low surrogate, escaped": (rb'{"premise": "\udc00a", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "surrogates in the wrong order": (
        rb'{"premise": "\udc00\ud800", "hypothesis": "b"}',
        422,
        "malformed_json",
        "body",
    ),
    "lone surrogate, raw": (b'{"premise": "\xed\xa0\x80", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "lone surrogate in a key": (rb'{"\ud800": 1}', 422, "malformed_json", "body"),
    "overlong UTF-8": (b'{"premise": "\xc0\xaf", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "beyond Unicode": (b'{"premise": "\xf4\x90\x80\x80", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "UTF-16": (json.dumps(PAIR).encode("utf-16"), 422, "malformed_json", "body"),
    "BOM": (b"\xef\xbb\xbf" + json.dumps(PAIR).encode(), 422, "malformed_json", "body"),
    "gzip": (gzip.compress(json.dumps(PAIR).encode()), 422, "malformed_json", "body"),
    "raw NUL": (b'{"premise": "a\x00", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "raw control character": (b'{"premise": "a\x1b", "hypothesis": "b"}', 422, "malformed_json", "body"),
    "nothing": (b"", 422, "malformed_json", "body"),
    "blanks": (b" \n" * 1000, 422, "malformed_json", "body"),
    "half": (b'{"premise": "a', 422, "malformed_json", "body"),
    "two": (b"{} {}", 422, "malformed_json", "body"),
    "comment": (b"{/* a */}", 422, "malformed_json", "body"),
    "quotes of another language": (b"{'premise': 'a'}", 422, "malformed_json", "body"),
    "form": (b"premise=a&hypothesis=b", 422, "malformed_json", "body"),
    "pickle": (b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00}\x94.", 422, "malformed_json", "body"),
    "NaN": (b"NaN", 422, "invalid_value", "body"),
    "null": (b"null", 422, "invalid_value", "body"),
    "a string": (b'"premise"', 422, "invalid_value", "body"),
    "a list": (b"[1]", 422, "invalid_value", "body"),
    "NaN for a text": (b'{"premise": NaN, "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "Infinity for a text": (b'{"premise": -Infinity, "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "a huge float": (b'{"premise": 1e999999, "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "a huge integer": (b'{"premise": ' + b"9" * 4000 + b', "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "true": (b'{"premise": true, "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "a list for a text": (b'{"premise": ["a"], "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "no fields": (b"{}", 422, "missing_field", "premise"),
    "prototype": (b'{"__proto__": {}, "premise": "a", "hypothesis": "b"}', 422, "unknown_field", "__proto__"),
    "a field twice, wrong last": (
        b'{"premise": "a", "hypothesis": "b", "premise": 1}',
        422,
        "invalid_value",
        "premise",
    ),
    "90,000 fields": (
        b"{" + b",".join(b'"%x":1' % number for number in range(90_000)) + b"}",
        422,
        "invalid_value",
        "body",
    ),
    "empty text": (b'{"premise": "", "hypothesis": "b"}', 422, "invalid_value", "premise"),
    "empty list": (b'{"items": []}', 422, "invalid_value", "items"),
    "list and item": (b'{"items": [{}], "premise": "a"}', 422, "unknown_field", "premise"),
    "10,000 items": (b'{"items": [' + b"{}," * 9999 + b"{}]}", 413, "too_large", "items"),
    "a long text": (json.dumps({**PAIR, "premise": "ä" * 20_001}).encode(), 413, "too_large", "premise"),
    "a long model": (json.dumps({**PAIR, "model": "x" * 500_000}).encode(), 404, "no_model", "model"),
    "a long key": (json.dumps({"k" * 500_000: 1}).encode(), 422, "missing_field", "premise"),
    "model of a strange kind": (json.dumps({**PAIR, "model": {"a": [1]}}).encode(), 422, "invalid_value", "model"),
    "model that climbs": (json.dumps({**PAIR, "model": "../../etc/passwd"}).encode(), 404, "no_model", "model"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(client: httpx.Client, name: str) -> None:
    body, status, code, param = BODIES[name]
    response = client.post("/v1/nli", content=body, headers=JSON)
    error(response, status, code, param)
    assert len(response.content) < 2000, "an error is short, whatever it is about"


@pytest.mark.parametrize("name", ["nested lists", "lone surrogate, raw", "NaN", "no fields"])
@pytest.mark.parametrize("path", [endpoint.path for endpoint in ENDPOINTS])
def test_every_endpoint_refuses(client: httpx.Client, path: str, name: str) -> None:
    body, status, code, param = BODIES[name]
    found = client.post(path, content=body, headers=JSON)
    if name == "no fields":
        assert found.status_code == status
        assert found.json()["error"]["code"] in ("missing_field", "invalid_value")
    else:
        error(found, status, code, param)


def test_the_last_of_duplicate_keys_counts(client: httpx.Client) -> None:
    body = b'{"premise": 5, "hypothesis": "b", "premise": "a", "premise": "The cat"}'
    expected = client.post("/v1/nli", json={"premise": "The cat", "hypothesis": "b"}).json()
    assert client.post("/v1/nli", content=body, headers=JSON).json() == expected


def test_bad_items_are_errors_at_their_index(client: httpx.Client) -> None:
    items: list[Any] = [PAIR, None, 5, [], {}, {**PAIR, "premise": "a" * 20_001}, {**PAIR, "x": 1}, PAIR]
    response = client.post("/v1/nli", json={"items": items})
    results = response.json()["results"]
    codes = [result.get("error", {}).get("code") for result in results]
    assert response.status_code == 200 and not INSIDE.search(response.text)
    assert codes == [None, *["invalid_value"] * 3, "missing_field", "too_large", "unknown_field", None]
    assert results[0] == results[-1]


@pytest.mark.parametrize(
    ("path", "field"), [("/v1/pos", "tokens"), ("/v1/ner", "tokens"), ("/v1/align", "source"), ("/v1/align", "target")]
)
def test_of_a_million_wrong_texts_one_is_named(client: httpx.Client, path: str, field: str) -> None:
    """An error for each took four gigabytes and thirteen seconds for a body of 8 MiB."""
    fields = ["source", "target"] if path == "/v1/align" else ["tokens"]
    size = 8_000_000 if path == "/v1/align" else 1_000_000
    wrong = f"[{'1,' * (size // 2)}1]"
    body = ",".join(f'"{name}":{wrong}' if name == field else f'"{name}":["a"]' for name in fields)
    found = error(client.post(path, content=f"{{{body}}}", headers=JSON), 422, "invalid_value", f"{field}.0")
    assert found["message"] == f"{field}.0: Input should be a valid string"


@pytest.mark.parametrize("nested", ["[]", "{}", "[[[]]]", '{"premise":["a"]}'])
@pytest.mark.parametrize("path", ["/v1/nli", "/v1/align"])
def test_very_many_lists_and_objects_are_not_parsed(client: httpx.Client, path: str, nested: str) -> None:
    """2.8 million empty lists in 8 MiB held every request up for two seconds and more, 1 MiB of them for half a one."""
    field = "source" if path == "/v1/align" else "items"
    parts = CONTAINERS // (nested.count("[") + nested.count("{")) + 1
    text = json.dumps('"[{' + "\\" * 3 + "[")  # what is in a text does not count
    body = f'{{"{field}":[{text},{",".join([nested] * parts)}]}}'.encode()
    found = error(client.post(path, content=body, headers=JSON), 413, "too_large", "body")
    assert (found["limit"], found["given"]) == (CONTAINERS, len(re.findall(r"[\[{]", body.decode())) - 3)


def test_brackets_in_texts_are_texts(client: httpx.Client) -> None:
    items = [{"premise": part * (18_000 // len(part)), "hypothesis": "b"} for part in ("[", '{"', "[\\", '\\"[')]
    assert sum(item["premise"].count("[") + item["premise"].count("{") for item in items) > CONTAINERS
    assert all("result" in client.post("/v1/nli", json=item).json() for item in items)
    assert "results" in client.post("/v1/nli", json={"items": items}).json()


def test_10_000_sentences_to_align(client: httpx.Client) -> None:
    found = error(
        client.post("/v1/align", json={"source": ["a"] * 10_000, "target": ["b"]}), 413, "too_large", "source"
    )
    assert (found["limit"], found["given"]) == (2000, 10_000)


@pytest.mark.parametrize("path", ["/v1/nli", "/v1/align"])
def test_50_mb_announced(server: Server, client: httpx.Client, path: str) -> None:
    size = 50 * 2**20
    limit = 2**20 if path == "/v1/nli" else 2**23
    with connect(server) as connection:
        connection.sendall(head(b"", path=path, Content_Length=str(size)))
        answer = whole(connection)  # before a byte of the body was sent
    assert answer.startswith(b"HTTP/1.1 413") and b'"param":"body"' in answer
    assert f'"limit":{limit},"given":{size}'.encode() in answer
    error(client.post(path, content=b"[" * size, headers=JSON), 413, "too_large", "body")


@pytest.mark.parametrize("path", ["/v1/nli", "/v1/align"])
def test_50_mb_in_chunks(server: Server, client: httpx.Client, path: str) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with connect(server) as connection:
        connection.sendall(
            head(path=path, Content_Type="application/json", Transfer_Encoding="chunked").replace(b"GET", b"POST")
        )
        sent = 0
        connection.settimeout(0.0)
        answer = b""
        while sent < 50 * 2**20 and not answer:
            connection.settimeout(PATIENCE)
            connection.sendall(chunk)
            sent += 65536
            connection.settimeout(0.0)
            try:
                answer = connection.recv(65536)
            except BlockingIOError:
                time.sleep(0.001)
    assert answer.startswith(b"HTTP/1.1 413"), "it is answered while it is still being sent"
    assert sent < 30 * 2**20, "long before its end"


def test_both_lengths_are_refused(server: Server) -> None:
    """A length and chunks at once: what one proxy reads as one request another reads as two."""
    body = b"5\r\n{}   \r\n0\r\n\r\n"
    answer = raw(server, head(body, Transfer_Encoding="chunked", Connection="close") + body)
    assert answer.startswith(b"HTTP/1.1 4")


# Characters

TEXTS = {
    "NUL": "a\x00b The cat\x00 sleeps",
    "control characters": "The\x01 cat\x7f \x1b[31msleeps\x85 today",
    "zero width": "The\u200b cat\u200d\u200c sl\u2060eeps \ufeffon",
    "only zero width": "\u200b\u200d\u2060",
    "combining": "Z\u0301o\u0308\u0302e\u0327 " + "e" + "\u0301" * 500 + " cat",
    "begins with a mark": "\u0301 The cat",
    "bidi overrides": "The \u202ecat\u202c sleeps \u2066القطة\u2069 on \u200fالطاولة\u200e .",
    "emoji with modifiers": "👍🏽 The 👩\u200d🚀 cat 👨\u200d👩\u200d👧\u200d👦 sleeps 🏳\ufe0f\u200d🌈 in 🇩🇪 ❤\ufe0f",
    "flags without end": "🇩" * 101,
    "beyond the first plane": "𝒳 𝕿𝖍𝖊 𐍈 cat 𠜎𠜱 😀",
    "one that becomes eighteen": "ﷺ The ﷽ cat ﬁne ½ ㎏ Ⅷ",
    "full width": "Ｔｈｅ　ｃａｔ　ｓｌｅｅｐｓ",
    "Hangul letters": "\u1112\u1161\u11ab\u1100\u116e\u11a8 cat",
    "not characters": "The \ufffe\uffff\U0010ffff cat",
    "private": "\ue000 cat \U000f0000",
    "blanks of every kind": "The\u00a0cat\u2003sleeps\u3000on\u2028the\u2029table\u1680now",
    "line ends": "The\r\ncat\n\r\vsleeps\f",
    "no blanks": "猫" * 300,
    "Thai": "แมวนอนบนโต๊ะเก่า" * 20,
    "one word": "a" * 5000,
    "markup": "</s><s> <pad> <unk> <mask> <script>alert(1)</script> {{7*7}} %s %n ${x} '; DROP TABLE",
    "Metaspace itself": "▁The▁ ▁ cat ▁▁",
    "one character": "a",
    "a comma": ",",
}


@pytest.mark.parametrize("name", TEXTS)
def test_offsets_are_exact_whatever_the_characters(client: httpx.Client, name: str) -> None:
    text = TEXTS[name]
    for path in ("/v1/pos", "/v1/ner"):
        response = client.post(path, json={"text": text})
        if response.status_code == 422:  # a text without a word has nothing to tag
            error(response, 422, "invalid_value", "text")
            assert not re.search(r"[a-z]{2}", text)
            continue
        assert response.status_code == 200, response.text
        result = response.json()["result"]
        assert all(text[token["start"] : token["end"]] == token["text"] for token in result["tokens"])
        places = [place for token in result["tokens"] for place in (token["start"], token["end"])]
        assert places == sorted(places)
        for entity in result.get("entities", ()):
            assert text[entity["start"] : entity["end"]] == entity["text"]


@pytest.mark.parametrize("name", TEXTS)
def test_answers_stand_in_the_context_whatever_the_characters(client: httpx.Client, name: str) -> None:
    text = TEXTS[name]
    response = client.post("/v1/qa", json={"question": text[:100], "context": text})
    if response.status_code == 422:
        error(response, 422, "invalid_value", response.json()["error"]["param"])
        assert not re.search(r"[a-z]{2}", text)
        return
    assert response.status_code == 200, response.text
    result = response.json()["result"]
    assert 0 <= result["start"] <= result["end"] <= len(text)
    assert text[result["start"] : result["end"]] == result["answer"]


@pytest.mark.parametrize("name", TEXTS)
def test_every_other_endpoint_answers_whatever_the_characters(client: httpx.Client, name: str) -> None:
    text = TEXTS[name]
    for path, item in {
        "/v1/nli": {"premise": text, "hypothesis": text},
        "/v1/paraphrase": {"sentence1": text, "sentence2": "a"},
        "/v1/choice": {"premise": text, "question": text, "choices": [text, "a"]},
        "/v1/embed": {"text": text},
        "/v1/align": {"source": [text, "a"], "target": [text, text, "b"]},
        "/v1/pos": {"tokens": [text, "a"]},
    }.items():
        response = client.post(path, json=item)
        assert response.status_code in (200, 422), (path, response.text)
        assert not INSIDE.search(response.text)
        if response.status_code == 422:
            assert not re.search(r"[a-z]{2}", text), (path, response.text)
            assert response.json()["error"]["code"] == "invalid_value"


# Heads


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/json; charset=utf-16",
        "application/jsonp",
        "text/json, application/json",
        "x" * 5000,
    ],
)
def test_content_types(client: httpx.Client, kind: str) -> None:
    body = json.dumps(PAIR)
    error(
        client.post("/v1/nli", content=body, headers={"Content-Type": kind}),
        415,
        "unsupported_media_type",
        "Content-Type",
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GET"])
@pytest.mark.parametrize("path", ["/v1/nli", "/v1/refresh"])
def test_other_methods(client: httpx.Client, path: str, method: str) -> None:
    refused = client.request(method, path)
    error(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/v1/models"])
def test_pages_are_only_read(client: httpx.Client, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        error(client.request(method, path), 405, "method_not_allowed")
    assert client.head(path).status_code == 200 and client.head(path).content == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"BREW /v1/nli HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
        b"\x00" * 100,
        "GET / HTTP/1.1\r\nHost: a\r\nX-\u00e4: b\r\n\r\n".encode(),
    ],
)
def test_what_is_no_http_is_answered_by_the_http_layer(server: Server, client: httpx.Client, sent: bytes) -> None:
    answer = raw(server, sent)
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""
    assert not INSIDE.search(answer.decode("latin-1"))


@pytest.mark.parametrize(
    "path", ["//", "/..", "/%2e%2e/%2e%2e/etc/passwd", "/%00", "/%ff%fe", "/v1/nli%20", "/;a=b", "/v1"]
)
def test_unknown_paths(server: Server, client: httpx.Client, path: str) -> None:
    answer = raw(server, head(path=path, Connection="close"))
    assert answer.startswith(b"HTTP/1.1 404") and b'"code":"not_found"' in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("host", ["[", "[::1", "a b", "a/b?c#d", "\xff", "", "localhost:99999999", "a@b:c@d"])
def test_a_host_that_is_none(server: Server, client: httpx.Client, host: str) -> None:
    for path in ("/nothing", "/v1/nli", "/"):
        answer = raw(server, head(path=path, Host=host, Connection="close"))
        status = int(answer.split()[1])
        assert status in (200, 400, 404, 405, 421), answer
        assert not INSIDE.search(answer.decode("latin-1").partition("\r\n\r\n")[2]) or status == 200


def test_long_paths_and_headers(server: Server, client: httpx.Client) -> None:
    answer = raw(server, head(path="/" + "a" * 60_000 + "?" + "b" * 60_000, Connection="close"))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 414")) and len(answer) < 1000
    assert client.get("/livez", headers={"X-Long": "a" * 500_000}).status_code in (200, 400, 431)
    assert client.get("/livez", headers={"X-Request-Id": "a" * 60_000}).status_code == 200
    assert client.get("/livez", headers=[(f"X-{i}", "a") for i in range(5000)]).status_code in (200, 400, 431)
    error(
        client.post("/v1/nli", json=PAIR, headers={"X-Timeout-Ms": "9" * 5000 + "x"}), 400, "bad_header", "X-Timeout-Ms"
    )
    assert client.post("/v1/nli", json=PAIR, headers={"X-Timeout-Ms": "9" * 5000}).status_code == 200


def test_a_request_id_cannot_carry_a_header_or_a_log_line(client: httpx.Client) -> None:
    for given in ("a\tb", "a\x1b[31m", 'a","x":"', "ä", "a;b", "../a"):
        response = client.get("/livez", headers={"X-Request-Id": given.encode()})
        assert response.status_code == 400 or response.headers["x-request-id"] != given


# Connections


def test_a_body_that_never_ends_is_given_up(server: Server, client: httpx.Client) -> None:
    answer = raw(server, head(b"x" * 50) + b"{")
    assert answer.startswith(b"HTTP/1.1 408") and b'"code":"body_timeout"' in answer


def test_a_body_of_single_bytes_is_given_up(server: Server, client: httpx.Client) -> None:
    with connect(server) as connection:
        connection.sendall(head(b"x" * 100_000))
        connection.settimeout(0.05)
        answer = b""
        while not answer:
            connection.sendall(b" ")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_half_closed_client_is_treated_as_gone(server: Server, client: httpx.Client) -> None:
    body = json.dumps(PAIR).encode()
    with connect(server) as connection:
        connection.sendall(head(body) + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200"), "nothing, or it was quicker than its end"


def test_who_leaves_within_the_body_is_counted(server: Server, client: httpx.Client) -> None:
    gone = metric(client, "polystilts_clients_gone_total")
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(head(b"x" * 5000) + b"{")
    eventually(lambda: metric(client, "polystilts_clients_gone_total") == gone + 5)


def test_who_leaves_before_the_answer_is_counted_and_dropped(server: Server, client: httpx.Client) -> None:
    gone, rows = metric(client, "polystilts_clients_gone_total"), 'polystilts_rows_total{target="tatoeba"}'
    ran = metric(client, rows)
    # As long as the largest request may be: several hundred calls.
    sentences = [f"{number} the old cat sleeps on the table today" for number in range(2000)]
    body = json.dumps({"source": sentences, "target": sentences}).encode()
    left = asked = 0
    while left < 2 and asked < 20:
        asked += 1
        with connect(server) as connection:
            connection.sendall(head(body, path="/v1/align") + body)
            time.sleep(0.05)
            left += not select.select([connection], [], [], 0)[0]  # else the answer was quicker than this thread
    eventually(lambda: metric(client, "polystilts_clients_gone_total") == gone + 2)
    eventually(lambda: metric(client, "polystilts_lanes_busy") == 0.0)
    assert metric(client, rows) - ran < 4000 * asked
    assert client.get("/v1/models").json()["queue_ms"] == 0.0


def test_the_rows_of_who_has_left_are_not_run() -> None:
    """The same, without chance: one lane, held until the client has gone."""
    held, go, ran = threading.Event(), threading.Event(), []

    class Slow(FakeBackend):
        def run(self, arrays: Any) -> Any:
            ran.append(len(arrays["input_ids"]))
            held.set()
            assert go.wait(PATIENCE)
            return super().run(arrays)

    model = fake_model("xnli", backend=Slow(outputs(SETTINGS["xnli"])))
    runtime = fake_runtime([model], lanes=1, max_tokens=32)
    app = create_app(runtime)
    body = json.dumps({"items": [PAIR] * 40}).encode()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/nli",
        "raw_path": b"/v1/nli",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "scheme": "http",
    }
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent: list[Any] = []

    async def receive() -> Any:
        if message := next(messages, None):
            return message
        await asyncio.to_thread(held.wait, PATIENCE)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent == [], "nobody is there to be answered"
    assert runtime.scheduler.queue_ms == 0.0
    go.set()
    runtime.close(PATIENCE)
    assert len(ran) == 1, "of 40 rows only the call that ran when the client left"
    assert "polystilts_clients_gone_total 1.0" in app.state.metrics.render()[0].decode()


def test_500_unfinished_headers_stop_nobody(server: Server, client: httpx.Client) -> None:
    connections = [connect(server) for _ in range(500)]
    try:
        for connection in connections:
            connection.sendall(b"POST /v1/nli HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as other:
            for _ in range(20):
                assert other.post("/v1/nli", json=PAIR).status_code == 200
        assert client.get("/readyz").status_code == 200
    finally:
        for connection in connections:
            connection.close()


def test_pipelined_requests_are_answered_in_order(server: Server, client: httpx.Client) -> None:
    body = json.dumps(PAIR).encode()
    requests = [head(body, X_Request_Id=f"n{number}") + body for number in range(20)]
    requests[7] = head(path="/nothing", X_Request_Id="n7")
    requests.append(head(body, X_Request_Id="last", Connection="close") + body)
    answer = raw(server, b"".join(requests)).decode()
    assert re.findall(r"(?i)^x-request-id: (\w+)", answer, re.MULTILINE) == [*(f"n{n}" for n in range(20)), "last"]
    assert re.findall(r"HTTP/1\.1 (\d+)", answer) == ["200"] * 7 + ["404"] + ["200"] * 13


def test_many_at_once_all_get_an_answer(server: Server, client: httpx.Client) -> None:
    """Answered or refused with what one can act on, never dropped."""
    statuses: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as own:
            for _ in range(3):
                response = own.post("/v1/embed", json={"items": [{"text": "The cat sleeps. " * 20}] * 64})
                if response.status_code != 200:
                    error(response, 429, "queue_full", "queue_ms")
                statuses.append(response.status_code)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 72


# Files


def test_folders_that_change_under_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, entry = new_key("admin", role="admin")
    (tmp_path / "keys.json").write_text(f"{{{entry}}}")
    monkeypatch.setenv("POLYSTILTS_KEYS", str(tmp_path / "keys.json"))
    monkeypatch.setenv("POLYSTILTS_WATCH_SECONDS", "0.05")
    models = tiny_models(tmp_path, ["xnli", "udpos"])
    signed = {"Authorization": f"Bearer {key}"}
    current = (models / CURRENT).read_bytes()
    with (
        start_server(models) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE, headers=signed) as client,
    ):

        def digest() -> str:
            response = client.post("/v1/nli", json=PAIR)
            assert response.status_code == 200, response.text
            return str(response.json()["model"]["digest"])

        def reread() -> dict[str, Any]:
            return dict(client.post("/v1/refresh").json())

        first = digest()
        # The folder of a bundle that answers is deleted.
        kept = shutil.copytree(models, tmp_path / "kept")
        shutil.rmtree(read_current(models)["xnli"].folder(models))
        assert reread()["refused"] == {} and digest() == first
        assert client.get("/v1/models").status_code == 200
        # The pointer is garbage, then gone.
        for garbage in (b"\x00garbage", b"[]", b"{", b'{"xnli": {"digest": "../../etc"}}', b"[" * 100_000, None):
            if garbage is None:
                (models / CURRENT).unlink()
            else:
                (models / CURRENT).write_bytes(garbage)
            answer = client.post("/v1/refresh")
            assert answer.status_code == 200 and not INSIDE.search(answer.text)
            assert digest() == first
            assert client.get("/readyz").status_code == 200
        # What was deleted comes back.
        shutil.rmtree(models / "xnli", ignore_errors=True)
        shutil.copytree(kept / "xnli", models / "xnli")
        (models / CURRENT).write_bytes(current)
        assert reread()["refused"] == {} and digest() == first
        # A new bundle was changed on its way here.
        tiny_models(tmp_path / "new", ["xnli"], seed=1)
        new = read_current(tmp_path / "new" / "models")["xnli"]
        folder = shutil.copytree(new.folder(tmp_path / "new" / "models"), new.folder(models))
        spoiled = folder / "model.onnx.data"
        spoiled.chmod(0o644)
        right = spoiled.read_bytes()
        spoiled.write_bytes(right[:-1] + b"x")
        pointer = json.loads(current)
        pointer["xnli"] = json.loads((tmp_path / "new" / "models" / CURRENT).read_text())["xnli"]
        (models / CURRENT).write_text(json.dumps(pointer))
        eventually(lambda: client.get("/readyz").json().get("refused") == {"xnli": "checksum_mismatch"})
        assert digest() == first
        assert not INSIDE.search(client.get("/readyz").text)
        # It is right at last, and many ask while it is switched in.
        spoiled.write_bytes(right)
        failed: list[str] = []
        seen: set[str] = set()
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=PATIENCE, headers=signed) as own:
                while not stop.is_set():
                    response = own.post("/v1/nli", json=PAIR)
                    if response.status_code == 200:
                        seen.add(response.json()["model"]["digest"])
                    else:
                        failed.append(response.text)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: first in seen)
        (models / CURRENT).write_text(json.dumps(pointer) + "\n")
        eventually(lambda: new.digest in seen)
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == [] and seen == {first, new.digest}
        eventually(lambda: client.get("/readyz").json()["refused"] == {})  # said when all that changed is served
        assert digest() == new.digest
    assert server.stop() == 0


def test_a_bundle_that_was_unloaded_and_is_gone_is_not_ready(tmp_path: Path) -> None:
    """Past a memory budget a bundle is read again: what is wrong with its files is not the client's to know."""
    bundle = tiny_bundle(tmp_path / "secret-folder", "xnli")
    runtime = fake_runtime(["udpos"])
    runtime.pool = Pool(budget=0)
    model = runtime.served[0]
    runtime.take("xnli", model.delivered, runtime.pool.add(bundle.folder, bundle.digest))
    with TestClient(create_app(runtime)) as client:
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        shutil.rmtree(bundle.folder)
        response = client.post("/v1/nli", json=PAIR)
    error(response, 503, "not_ready", "model")
    assert "secret-folder" not in response.text and response.headers["retry-after"] == "1"
    runtime.close()


def test_a_runtime_outlives_its_folder(tmp_path: Path) -> None:
    models = tiny_models(tmp_path, ["xnli"])
    runtime = Runtime(Pool(), Scheduler(1), models)
    runtime.refresh()
    shutil.rmtree(models)
    runtime.refresh()
    with TestClient(create_app(runtime)) as client:
        assert client.post("/v1/nli", json=PAIR).status_code == 200
        assert client.get("/readyz").status_code == 200
    runtime.close()
