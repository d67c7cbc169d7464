"""README and docs/serving.md are true: commands are checked against the parsers, requests sent to a real server."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from pipelines.cli import Parameters, parse
from pipelines.serve import Server, start_server
from polystilts.data.readers import english_side
from polystilts.errors import PolystiltsError
from polystilts.tasks.catalogue import TASKS
from polystilts.tasks.languages import spell
from serving import keys
from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES
from serving.settings import PREFIX, Settings
from tests.world.bundles import tiny_models

ROOT = Path(__file__).resolve().parents[1]
README, SERVING = ROOT / "README.md", ROOT / "docs/serving.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
ADDRESS = "http://127.0.0.1:3000"

#: Words that stand for a folder of the reader.
PLACEHOLDERS = ("DATA", "ENCODER", "CHECKPOINT")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def lines(page: Path) -> list[str]:
    """Commands of the shell blocks, continued lines joined, comments left out."""
    whole = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]


COMMANDS = list(dict.fromkeys(line for page in (README, SERVING) for line in lines(page)))
CURLS = [line for line in COMMANDS if line.startswith("curl ")]
#: Of documents whose names stand for what a request asks: the name that the tiny models have.
NAMED = {"{id}": "xnli", "{name}": "xnli"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tiny_models(tmp_path_factory.mktemp("world"))) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for every placeholder: an empty file where a local source would look for rows."""
    folder = tmp_path_factory.mktemp("folder")
    for spec in TASKS.values():
        local = spec.local
        if local is None:
            continue
        for pattern, language in itertools.product(local.splits.values(), spec.languages):
            path = folder / pattern.replace("{language}", spell(language, local.spelling))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            if local.reader == "bitext":
                english_side(path).touch()
    return folder


def check_arguments(entry_point: str, arguments: list[str], folder: Path) -> None:
    """The entry point's own parser takes the arguments: names, types, presets, tasks, folders, rows."""
    module = importlib.import_module(f"pipelines.{entry_point}")
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Parameters) and value.__module__ == module.__name__
    ]
    assert len(own) == 1
    filled = [re.sub(rf"\b({'|'.join(PLACEHOLDERS)})$", str(folder), word) for word in arguments]
    parse(own[0], filled, program=entry_point)


def check_mlflow(words: list[str], folder: Path) -> None:
    """`mlflow run .` with options that it has, an entry point and parameters that MLproject has."""
    assert words[:3] == ["mlflow", "run", "."]
    options: dict[str, list[str]] = {"-P": [], "-e": [], "--env-manager": [], "--experiment-name": []}
    assert len(words[3:]) % 2 == 0
    for option, value in zip(words[3::2], words[4::2], strict=True):
        assert option in options, f"{option} is not an option that this test knows"
        options[option].append(value)
    assert options["--env-manager"] in (["local"], ["uv"])
    entry_point = (options["-e"] or ["main"])[0]
    assert entry_point in ENTRY_POINTS
    given = dict(parameter.split("=", 1) for parameter in options["-P"])
    assert len(given) == len(options["-P"])
    assert set(given) <= set(ENTRY_POINTS[entry_point]["parameters"])
    check_arguments(entry_point, [word for name, value in given.items() for word in (f"--{name}", value)], folder)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in CURLS])
def test_a_command_is_one_that_exists(line: str, folder: Path) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif words[0] == "mlflow":
        check_mlflow(words, folder)
    elif words[:3] == ["python", "-m", "serving.keys"]:
        keys.main(words[3:])
    elif words[:2] == ["python", "-m"]:
        assert words[2].startswith("pipelines.")
        entry_point = words[2].removeprefix("pipelines.")
        assert entry_point in ENTRY_POINTS
        check_arguments(entry_point, [word for word in words[3:] if word != "--help"], folder)
    elif words[0] == "export":
        assert len(words) == 2 and re.fullmatch(r"(MLFLOW|BENTOML|POLYSTILTS)_[A-Z_]+=\S+", words[1])
    else:
        assert line == "source .venv/bin/activate", f"a command of unknown shape: {line}"


@pytest.mark.parametrize("line", CURLS)
def test_a_request_is_answered(line: str, server: Server) -> None:
    words = shlex.split(line)
    assert words[:2] == ["curl", "-s"] and words[2].startswith(f"{ADDRESS}/")
    words[2] = words[2].replace(ADDRESS, server.url)
    if shutil.which("curl"):
        done = subprocess.run([*words, "-w", "\n%{http_code}"], capture_output=True, text=True, check=True)
        body, _, status = done.stdout.rpartition("\n")
    else:
        # Where there is no curl the same request is sent from here.
        options = list(zip(words[3::2], words[4::2], strict=True))
        headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
        content = next((value.encode() for option, value in options if option == "-d"), None)
        assert {option for option, _ in options} <= {"-H", "-d"}
        answer = httpx.request("POST" if content else "GET", words[2], headers=headers, content=content, timeout=60)
        body, status = answer.text, str(answer.status_code)
    assert status == "200", body
    if words[2].endswith("/metrics"):
        told = set(re.findall(r"^# TYPE (\w+)", body, re.MULTILINE))
        assert set(re.findall(r"\bpolystilts_\w+", SERVING.read_text("utf-8"))) <= told
    else:
        assert json.loads(body)


def test_every_endpoint_has_a_request_that_the_examples_have() -> None:
    paths = json.loads((ROOT / "serving/openapi.json").read_text(encoding="utf-8"))["paths"]
    for name, value in NAMED.items():
        paths = {path.replace(name, value) for path in paths}
    asked = {shlex.split(line)[2].removeprefix(ADDRESS) for line in CURLS if line in lines(SERVING)}
    assert asked == paths | {"/metrics"}
    for line in CURLS:
        path, *rest = shlex.split(line)[2:]
        endpoint = path.removeprefix(f"{ADDRESS}/v1/")
        if rest and endpoint in EXAMPLES:
            body = json.loads(rest[-1])
            for item in body.get("items", [body]):
                assert item in EXAMPLES[endpoint].values(), f"not an example of serving/examples.py: {item}"


@pytest.mark.parametrize("page", [README, SERVING], ids=lambda page: page.name)
def test_the_python_block_runs(page: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(page, "python")
    assert ADDRESS in block
    names: dict[str, Any] = {}
    exec(compile(block.replace(ADDRESS, server.url), page.name, "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == block.count("print(")


@pytest.mark.parametrize(("page", "other"), [(README, "bibtex"), (SERVING, "json")], ids=["README", "serving"])
def test_every_block_has_a_language_that_is_looked_at(page: Path, other: str) -> None:
    found = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(found[::2]) == {"sh", "python", other} and set(found[1::2]) == {""}
    for block in blocks(page, "json"):
        json.loads(block)


def rows(heading: str) -> list[list[str]]:
    """Cells of the table in a chapter of docs/serving.md, without its heads."""
    (chapter,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", SERVING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    table = [line for line in chapter.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_endpoints_is_that_of_the_server() -> None:
    found = [(quoted(path), quoted(item), quoted(result)) for path, item, result in rows("Endpoints")]
    assert found == [([e.path], [*e.item.model_fields], [*e.result.model_fields]) for e in ENDPOINTS]


def shown(value: object) -> str:
    """A default as the table of settings writes it."""
    match value:
        case None:
            return "–"
        case bool():
            return str(value).lower()
        case frozenset():
            return ",".join(sorted(value))
        case Path():
            return value.name
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def test_the_table_of_settings_is_that_of_the_server() -> None:
    fields = Settings.model_fields.items()
    assert rows("Limits and settings") == [
        [f"`{PREFIX}{name.upper()}`", shown(field.default), field.description] for name, field in fields
    ]


def test_the_table_of_errors_is_that_of_the_server() -> None:
    importlib.import_module("serving.app")  # and with it every error of the server's own
    classes = [PolystiltsError]
    for one in classes:
        classes += one.__subclasses__()
    modules = ("polystilts.errors", "polystilts.runtime.", "serving.")
    status = {one.code: one.status for one in classes if one.__module__.startswith(modules)}
    status |= {"not_found": 404, "method_not_allowed": 405, "bad_request": 400}
    found = {code: int(row[0]) for row in rows("Errors") for code in quoted(row[1])}
    assert found == {code: status[code] for code in found}
    # Each status that an answer may have by the document, and each code of the server's own.
    document = json.loads((ROOT / "serving/openapi.json").read_text(encoding="utf-8"))["paths"]
    statuses = {int(key) for path in document.values() for one in path.values() for key in one["responses"]}
    assert statuses - {200} <= set(found.values())
    assert {one.code for one in classes if one.__module__.startswith("serving.")} <= set(found)


def test_each_claim_has_tests_that_exist() -> None:
    (chapter,) = re.findall(r"^## Why this one\n(.*?)^## ", SERVING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    claims = re.split(r"^\d\. ", chapter, flags=re.MULTILINE)[1:]
    assert len(claims) == 8
    for claim in claims:
        named = re.findall(r"\[`(\w+)`\]\(\.\./(tests/\S+\.py)\)", claim)
        assert named, f"a claim without a test: {claim}"
        for test, path in named:
            assert re.search(rf"^ *def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), (
                f"no {test} in {path}"
            )


def anchor(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if place:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in map(anchor, headings), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_no_placeholder_is_left(page: Path) -> None:
    assert not re.findall(r"@@\w+@@|\bTODO\b", page.read_text(encoding="utf-8"))
