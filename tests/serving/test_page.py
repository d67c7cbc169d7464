"""The page without a browser: its files, headers and examples."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.testclient import TestClient

import serving
from serving.app import create_app
from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES, LANGUAGES
from serving.page import FOLDER, PLACE, page_routes
from tests.serving.fakes import fake_runtime

FILES = {
    "/": "text/html; charset=utf-8",
    "/page/style.css": "text/css; charset=utf-8",
    "/page/app.js": "text/javascript; charset=utf-8",
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=page_routes())) as client:
        yield client


def tasks(client: TestClient) -> list[dict[str, Any]]:
    """What the page knows before it asks the server."""
    found = re.search(r'<script id="tasks" type="application/json">(.*?)</script>', client.get("/").text, re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))


@pytest.mark.parametrize(("path", "media_type"), FILES.items())
def test_a_file_has_its_type_and_is_asked_for_again(client: TestClient, path: str, media_type: str) -> None:
    response = client.get(path)
    assert response.status_code == 200 and response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": f'"another", W/{response.headers["etag"]}'})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == response.headers["etag"]
    assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
    assert client.post(path).status_code == 405


def test_the_policy_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


def test_the_server_has_the_page_and_nothing_below_it() -> None:
    with TestClient(create_app(fake_runtime())) as client:
        assert [client.get(path).headers["content-type"] for path in FILES] == list(FILES.values())
        for path in ("/page", "/page/", "/page/index.html", "/page/../app.py", "/page/%2e%2e/app.py"):
            assert client.get(path).status_code == 404, path


def test_the_page_knows_every_task_and_its_examples(client: TestClient) -> None:
    found = {task["name"]: task for task in tasks(client)}
    assert list(found) == [endpoint.name for endpoint in ENDPOINTS]
    for name, task in found.items():
        assert {one["code"]: one["request"] for one in task["examples"]} == EXAMPLES[name]
    assert PLACE not in client.get("/").text


def test_an_example_cannot_end_the_element_it_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = {"text": "</script><script>alert(1)</script><!--"}
    monkeypatch.setattr("serving.page.EXAMPLES", {**EXAMPLES, "pos": {"en": hostile}})
    with TestClient(Starlette(routes=page_routes())) as client:
        assert next(task for task in tasks(client) if task["name"] == "pos")["examples"][0]["request"] == hostile
        assert "<script>alert" not in client.get("/").text


def test_the_command_of_a_missing_model_is_the_one_of_the_error(client: TestClient) -> None:
    with TestClient(create_app(fake_runtime(["xnli"]))) as server:
        refused = server.post("/v1/choice", json=EXAMPLES["choice"]["en"]).json()["error"]
    made_by = next(task for task in tasks(client) if task["name"] == "choice")["made_by"]
    assert refused["code"] == "no_model" and refused["message"].endswith(made_by)


def texts(value: Any) -> Iterator[str]:
    """Every string in a request."""
    if isinstance(value, str):
        yield value
    else:
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


def scripts(text: str) -> set[str]:
    """The scripts of its letters, by the first word of their names."""
    return {unicodedata.name(letter).split()[0] for letter in text if letter.isalpha()}


def test_examples_are_in_many_languages_and_scripts() -> None:
    for name, examples in EXAMPLES.items():
        languages = {code for pair in examples for code in pair.split("-")}
        assert languages <= set(LANGUAGES)
        if name == "embeddings":  # OpenAI's form of `embed`: for programs, not on the page
            continue
        found = set[str]().union(*(scripts(text) for example in examples.values() for text in texts(example)))
        assert len(languages) >= 10, name
        assert {"LATIN", "CYRILLIC", "CJK", "DEVANAGARI", "THAI", "ARABIC"} <= found, name


def test_the_files_name_nothing_outside_the_server() -> None:
    for path in FOLDER.iterdir():
        named = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text("utf-8")))
        assert named <= {"http://www.w3.org/2000/svg"}, path.name  # a name, not an address


def test_text_never_becomes_markup() -> None:
    code = (FOLDER / "app.js").read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser", code
    )
    assert not re.search(
        r"<script(?! id=\"tasks\"| type=\"module\")|\son\w+=|style=", (FOLDER / "index.html").read_text()
    )


def test_a_bento_ships_the_page() -> None:
    included = yaml.safe_load((Path(serving.__file__).parent / "bentofile.yaml").read_text())["include"]
    assert "serving/page/*" in included
    assert {path.name for path in FOLDER.iterdir()} == {"index.html", "style.css", "app.js"}
