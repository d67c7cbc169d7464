"""What is declared in one place is what is real in another."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli import Parameters
from pipelines.preset import PRESETS, load_preset

ROOT = Path(__file__).resolve().parent.parent
MLPROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS = MLPROJECT["entry_points"]


def parameters_of(name: str) -> type[Parameters]:
    module = importlib.import_module(f"pipelines.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Parameters) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"pipelines.{name} declares {len(found)} parameter classes"
    return found[0]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_has_the_parameters_and_defaults_of_its_parser(name: str) -> None:
    declared = ENTRY_POINTS[name]["parameters"]
    fields = parameters_of(name).model_fields
    assert list(declared) == list(fields)
    for parameter, field in fields.items():
        if field.is_required():
            assert "default" not in declared[parameter]
        else:
            assert declared[parameter]["default"] == field.default


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_an_entry_point_hands_every_parameter_to_its_module(name: str) -> None:
    words = shlex.split(ENTRY_POINTS[name]["command"])
    assert words[:3] == ["python", "-m", f"pipelines.{name}"]
    pairs = dict(zip(words[3::2], words[4::2], strict=True))
    assert pairs == {f"--{p}": f"{{{p}}}" for p in ENTRY_POINTS[name]["parameters"]}


def test_every_module_with_a_command_line_is_an_entry_point() -> None:
    modules = {
        path.stem
        for path in (ROOT / "pipelines").glob("*.py")
        if "command(" in path.read_text() and path.stem not in ("cli", "micro_encoder")
    }
    assert modules == set(ENTRY_POINTS)


def requirements(text: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\\n]+)", text, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in pins}


def direct() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return requirements("\n".join(project["dependencies"]))


def test_conda_yaml_has_the_pins_of_pyproject() -> None:
    environment: dict[str, Any] = yaml.safe_load((ROOT / "conda.yaml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert requirements("\n".join(pip)) == direct()


@pytest.mark.parametrize("lock", ["requirements.lock", "serving/requirements.lock"])
def test_locks_agree_with_pyproject(lock: str) -> None:
    locked = requirements((ROOT / lock).read_text())
    assert len(locked) > 30
    shared = direct().items() if lock == "requirements.lock" else [(k, v) for k, v in direct().items() if k in locked]
    assert shared
    for name, version in shared:
        assert locked[name] == version, f"{name} in {lock}"


def test_the_server_installs_no_training_library() -> None:
    locked = requirements((ROOT / "serving/requirements.lock").read_text())
    assert not {"torch", "transformers", "datasets", "mlflow", "pandas"} & set(locked)


def test_presets_are_valid() -> None:
    names = [path.stem for path in PRESETS.glob("*.yaml")]
    assert {"micro", "mini", "xlmr-base", "xlmr-large-paper"} <= set(names)
    for name in names:
        assert load_preset(name).targets


FORBIDDEN = re.compile(r"(?<![\w.])/(work|farm)/")


def test_no_path_of_one_machine_is_in_the_repository() -> None:
    suffixes = {".py", ".md", ".yaml", ".toml", ".json", ".tsv", ".txt", ".lock", ""}
    checked = [
        path
        for folder in ("polystilts", "pipelines", "serving", "tests", "benchmarks", "docs", "presets")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in suffixes and path != Path(__file__).resolve()
    ]
    assert len(checked) > 80
    assert [str(p) for p in checked if FORBIDDEN.search(p.read_text(encoding="utf-8", errors="replace"))] == []
