"""`python -m pipelines.tasks`: tables, JSON and protocols, at once and without heavy libraries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import tasks
from pipelines.cli import parse
from pipelines.protocol import GROUPS, METRICS, protocol_lines
from polystilts.errors import Problems
from polystilts.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.tasks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_the_tables_name_every_task_once_in_100_columns() -> None:
    result = call()
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert all(re.search(rf"^ {name} .* (pair|choice|tagging|span|sentence) ", result.stdout, re.M) for name in TASKS)
    assert "…" not in "".join(line for line in lines if "…" in line.split("  ")[0]), "a name was cut"


def test_every_task_is_in_one_group_and_every_metric_is_explained() -> None:
    grouped = [spec.name for specs in GROUPS.values() for spec in specs]
    assert sorted(grouped) == sorted(TASKS)
    assert {spec.metric for spec in TASKS.values()} <= set(METRICS)


def test_json_has_every_field_of_every_task_and_its_sources() -> None:
    result = call("--json")
    assert result.returncode == 0, result.stderr
    listed = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert list(listed) == list(TASKS)
    fields = {*TASKS["xnli"].__dataclass_fields__, "sources"}
    assert all(set(entry) == fields for entry in listed.values())
    assert listed["xnli"]["hub"]["rows"] == {"validation": 2490, "test": 5010}
    assert listed["xnli"]["languages"] == list(TASKS["xnli"].languages)
    assert listed["xnli"]["sources"] == {"hub": True, "upstream": False, "local": True, "micro": True}
    assert {name: listed["bucc2018"]["sources"][name] for name in ("hub", "upstream")} == {
        "hub": True,
        "upstream": True,
    }
    assert listed["ccg"]["sources"]["hub"] is False
    assert listed["anli_plus"]["sources"]["hub"] is True, "its parts are there"
    assert listed["mewslix"]["sources"]["hub"] is False, "nothing of it can be fetched"


def test_it_needs_no_heavy_libraries() -> None:
    code = (
        "import sys; from pipelines.tasks import Tasks, run; run(Tasks(show='json'));"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'torch','mlflow','transformers','datasets','sklearn'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.parametrize("name", ["xquad", "xcopa_after_siqa", "bucc2018"])
def test_one_task_is_shown_with_its_whole_protocol(name: str) -> None:
    result = call("--task", name)
    assert result.returncode == 0, result.stderr
    shown = " ".join(result.stdout.split())
    for _, text in protocol_lines(TASKS[name]):
        for word in text.replace("`", "").split():
            # Long addresses are folded over lines.
            assert word in shown or len(word) > 60


def test_protocols_say_what_the_specs_say() -> None:
    lines = dict(protocol_lines(TASKS["xcopa_after_siqa"]))
    assert lines["trained on"] == "`siqa`, then `copa` (English)"
    assert lines["checkpoint rows"].startswith("none are used: the last checkpoint is kept")
    lines = dict(protocol_lines(TASKS["xquad"]))
    assert "of `squad_v1` without the rows of" in lines["checkpoint rows"] and lines["report"] == "the other half"
    lines = dict(protocol_lines(TASKS["tydiqa"]))
    assert lines["checkpoint rows"].startswith("a tenth of the English training rows, by a hash of the title")
    lines = dict(protocol_lines(TASKS["mnli_translated"]))
    assert lines["checkpoint rows"].startswith("English `validation` of `mnli`")
    assert dict(protocol_lines(TASKS["tatoeba"]))["trained on"] == "nothing: the encoder as it is"


def test_problems_are_reported_together() -> None:
    with pytest.raises(Problems, match="did you mean 'xnli'") as error:
        parse(tasks.Tasks, ["--task=xnil", "--show=protocol"], program="tasks")
    assert len(error.value.problems) == 2
