"""docs/architecture.md names files, folders and functions that are there, and the columns that a bank has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from polystilts.metrics.bank import BankRow

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

#: Where a name in the page may stand: modules are named from the library, and by themselves in the sections on
#: serving and on the micro world.
BASES = ("", "polystilts", "polystilts/runtime", "polystilts/data/micro", "serving")

#: Folders and files of a user, or of anybody.
PLACEHOLDERS = ("text/", "pipelines/NAME.py")

#: `FILE`, `FOLDER/` or `FILE.py: FUNCTION, FUNCTION`.
NAMED = re.compile(r"`((?:[\w.]+/)*(?:[\w.]+\.(?:py|tsv|yaml|md)|\w+/))(?:: ([\w, ]+))?`")


def named() -> Iterator[tuple[str, tuple[str, ...]]]:
    for path, symbols in NAMED.findall(PAGE):
        if path not in PLACEHOLDERS:
            yield path, tuple(name.strip() for name in symbols.split(",") if name)


def places(path: str) -> list[Path]:
    return [place for base in BASES if (place := ROOT / base / path).exists()]


@pytest.mark.parametrize("path", sorted({path for path, _ in named()}))
def test_what_is_named_is_there(path: str) -> None:
    assert places(path), f"docs/architecture.md names {path}"


def test_functions_are_in_the_files_that_are_named_with_them() -> None:
    found = [(path, symbol) for path, symbols in named() for symbol in symbols]
    assert ("data/columns.py", "to_row") in found
    for path, symbol in found:
        defined = {
            node.name
            for place in places(path)
            for node in ast.walk(ast.parse(place.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert symbol in defined, f"docs/architecture.md: {path}: {symbol}"


def test_every_layer_and_what_is_behind_the_entry_points_is_named() -> None:
    paths = {path for path, _ in named()}
    layers = {f"polystilts/{place.parent.name}/" for place in (ROOT / "polystilts").glob("*/__init__.py")}
    assert layers <= paths
    # An entry point is a module that can be run; the job, the plan and the phases are what it calls.
    assert {f"pipelines/{name}.py" for name in ("job", "recipes", "objectives", "phases", "scoring")} <= paths


def test_the_row_shown_has_every_column_of_a_bank() -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith("| `BankRow`")]
    shown = set(re.findall(r"(\w+)=", row)) | set(re.findall(r"`(\w+)` of the answer", row))
    assert shown == {field.name for field in fields(BankRow)}


def test_every_folder_of_the_output_is_named() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipelines").glob("*.py"))
    folders = set(re.findall(r'output / "(\w+)"', code))
    assert {"checkpoints", "conditions", "studies"} <= folders
    for folder in folders:
        assert f"\n      {folder}/" in PAGE, folder


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGE):
        assert "://" in link or (ROOT / "docs" / link).exists(), link
