"""The README is true: its commands are run or checked against the parsers, its requests against a real server."""

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
from polystilts.tasks.catalogue import TASKS
from polystilts.tasks.languages import spell
from serving.examples import EXAMPLES
from tests.world.bundles import tiny_models

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
ADDRESS = "http://127.0.0.1:3000"

#: Words that stand for a folder of the reader.
PLACEHOLDERS = ("DATA", "ENCODER", "CHECKPOINT")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def lines() -> list[str]:
    """Commands of the shell blocks, continued lines joined, comments left out."""
    whole = "".join(blocks("sh")).replace("\\\n", " ")
    return [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]


COMMANDS = lines()
CURLS = [line for line in COMMANDS if line.startswith("curl ")]


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
        assert words[3:] == [] or (words[3], words[5], len(words)) == ("-H", "-d", 7)
        headers = dict([words[4].split(": ")]) if words[3:] else {}
        content = words[6].encode() if words[3:] else None
        answer = httpx.request("POST" if content else "GET", words[2], headers=headers, content=content)
        body, status = answer.text, str(answer.status_code)
    assert status == "200", body
    assert isinstance(json.loads(body), dict)


def test_every_endpoint_has_a_request_that_the_examples_have() -> None:
    paths = json.loads((ROOT / "serving/openapi.json").read_text(encoding="utf-8"))["paths"]
    asked = {shlex.split(line)[2].removeprefix(ADDRESS) for line in CURLS}
    assert asked == set(paths)
    for line in CURLS:
        path, *rest = shlex.split(line)[2:]
        endpoint = path.removeprefix(f"{ADDRESS}/v1/")
        if rest and endpoint != "align":
            assert json.loads(rest[3]) in EXAMPLES[endpoint].values(), f"not an example of serving/examples.py: {line}"


def test_the_python_block_runs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("python")
    assert ADDRESS in block
    names: dict[str, Any] = {}
    exec(compile(block.replace(ADDRESS, server.url), "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == block.count("print(")


def test_every_block_has_a_language_that_is_looked_at() -> None:
    found = re.findall(r"^```(\w*)$", README, re.MULTILINE)
    assert set(found[::2]) == {"sh", "python", "bibtex"} and set(found[1::2]) == {""}


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
