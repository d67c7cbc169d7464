"""Shows the catalogue of tasks: as tables, as JSON, one task's protocol, or the page of all protocols."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from polystilts.errors import InvalidValue, PolystiltsError, UnknownName
from polystilts.tasks import TASKS, TaskSpec

EXAMPLES = """\
  python -m pipelines.tasks
  python -m pipelines.tasks --task xquad
  python -m pipelines.tasks --json             # the same as --show json
  python -m pipelines.tasks --write-protocol   # the same as --show protocol: writes docs/protocol.md"""

PAGE = ROOT / "docs/protocol.md"

#: Flags without a value, which `mlflow run` has no way to give, and the parameter each stands for.
FLAGS = {"--json": "--show=json", "--write-protocol": "--show=protocol"}

#: How a table shows a source.
LETTERS = {"h": "hub", "l": "local", "m": "micro"}

#: Columns of a table that is not shown on a terminal.
WIDTH = 100


class Tasks(Parameters):
    """Shows the catalogue of tasks with formats, metrics, languages, sources and licences."""

    task: str = Field("", description="only this task: its whole protocol as text; '' = all tasks")
    show: Literal["table", "json", "protocol"] = Field(
        "table", description="table, json (every field of every task), or protocol (writes docs/protocol.md)"
    )

    def problems(self) -> Sequence[PolystiltsError]:
        problems: list[PolystiltsError] = []
        if self.task and self.task not in TASKS:
            problems.append(UnknownName("task", self.task, TASKS, param="--task"))
        if self.task and self.show == "protocol":
            problems.append(InvalidValue("the page holds all tasks; leave --task out", param="--show", given=self.show))
        return problems


def run(parameters: Tasks) -> None:
    from pipelines.protocol import protocol_page

    if parameters.show == "json":
        specs = [TASKS[parameters.task]] if parameters.task else list(TASKS.values())
        print(json.dumps([to_json(spec) for spec in specs], indent=1, ensure_ascii=False))
    elif parameters.show == "protocol":
        PAGE.write_text(protocol_page(), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    elif parameters.task:
        show_task(TASKS[parameters.task])
    else:
        show_catalogue()


def to_json(spec: TaskSpec) -> dict[str, Any]:
    """Every field of a spec as JSON values, and `sources_of` it as ``sources``."""
    return {**_plain(spec), "sources": sources_of(spec)}


def sources_of(spec: TaskSpec) -> dict[str, bool]:
    """Which sources have rows of a task.

    ``hub`` counts the authors' files that `prepare` fetches, since the source `hub` reads them; they alone are
    ``upstream``. ``micro`` is what the micro world says.
    """
    from polystilts.data.micro_source import MicroSource

    if spec.parts:
        parts = [sources_of(TASKS[name]) for name in spec.parts]
        return {source: all(part[source] for part in parts) for source in parts[0]}
    upstream = bool(spec.upstream and spec.upstream.urls)
    micro = MicroSource()
    return {
        "hub": bool(spec.hub) or upstream,
        "upstream": upstream,
        "local": bool(spec.local),
        "micro": any(micro.languages(spec, split) for split in ("train", "validation", "test")),
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def short_licence(spec: TaskSpec) -> str:
    """The first licence, with '…' where there is more, and NC where that is not in the name."""
    first = spec.licence
    for mark in (":", ";", ",", " ("):
        first = first.partition(mark)[0]
    text = first + (" …" if first != spec.licence else "")
    return f"{text} [NC]" if spec.non_commercial and "NC" not in text else text


def show_catalogue() -> None:
    """One table for each group, no wider than `WIDTH`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pipelines.protocol import GROUPS

    console = _console()
    for heading, specs in GROUPS.items():
        table = Table(
            title=heading, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        for column in ("name", "title", "format", "metric", "skill"):
            table.add_column(column, no_wrap=column in ("name", "format", "metric"))
        table.add_column("languages", justify="right")
        table.add_column("sources", no_wrap=True)
        table.add_column("licence")
        for spec in specs:
            sources = sources_of(spec)
            there = " ".join(letter if sources[name] else "·" for letter, name in LETTERS.items())
            cells = (spec.name, spec.title, spec.format, spec.metric, spec.skill, str(len(spec.languages)), there)
            table.add_row(*(Text(cell) for cell in (*cells, short_licence(spec))))
        console.print(table)
    console.print("Sources: h hub, or the authors' own files where the hub has none; l local files; m micro world.")
    console.print("NC: no commercial use.", markup=False)
    console.print("The whole protocol of one task: python -m pipelines.tasks --task NAME")


def show_task(spec: TaskSpec) -> None:
    """Its protocol, and whether the micro world has it."""
    from rich.table import Table
    from rich.text import Text

    from pipelines.protocol import protocol_lines

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    micro = "has a miniature of it" if sources_of(spec)["micro"] else "has no miniature of it"
    for heading, text in (("name", spec.name), *protocol_lines(spec), ("micro world", micro)):
        table.add_row(Text(heading, style="bold"), Text(text.replace("`", "")))
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, width=min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH))


if __name__ == "__main__":
    sys.argv[1:] = [FLAGS.get(word, word) for word in sys.argv[1:]]
    command(Tasks, run, examples=EXAMPLES)
