"""Scores a folder of predictions in XTREME's own files against a folder of labels, as XTREME's evaluate.py does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from pipelines.preset import BENCHMARKS
from polystilts.errors import MissingData, PolystiltsError, UnknownName

if TYPE_CHECKING:
    from polystilts.submission import SubmissionScores

EXAMPLES = """\
  python -m pipelines.score --predictions predictions --labels labels
  python -m pipelines.score --predictions predictions --labels labels --benchmark xtreme-r --output scores.json
  python -m pipelines.score --predictions predictions --labels labels --partial true"""


class Score(Parameters):
    """Scores files TASK/test-LANGUAGE.{tsv,json,jsonl} by XTREME's rules and prints every language and average."""

    predictions: str = Field(description="folder of the predictions, one folder a task")
    labels: str = Field(description="folder of the labels, laid out alike")
    benchmark: str = Field("xtreme", description="xtreme or xtreme-r")
    partial: bool = Field(False, description="pass over languages without a file instead of stopping at the first")
    output: str = Field("", description="a json file for all numbers; '' = none")

    def problems(self) -> Sequence[PolystiltsError]:
        found: list[PolystiltsError] = []
        for name in ("predictions", "labels"):
            # An empty value was already reported as missing.
            given = getattr(self, name)
            if given and not (ROOT / given).is_dir():
                found.append(MissingData(f"no folder {ROOT / given}", param=f"--{name}", given=given))
        if self.benchmark not in BENCHMARKS:
            found.append(UnknownName("benchmark", self.benchmark, BENCHMARKS, param="--benchmark"))
        return found


def run(parameters: Score) -> None:
    from polystilts.submission import score_folder

    folders = (ROOT / parameters.predictions, ROOT / parameters.labels)
    scores = score_folder(*folders, parameters.benchmark, partial=parameters.partial)
    show(scores)
    if parameters.output:
        path = ROOT / parameters.output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(scores.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}")


def show(scores: SubmissionScores, console: Any = None) -> None:
    """Prints a table of tasks and one of averages, no wider than the terminal, and says what is partial or floor."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    tasks = Table("task", "score", "what it is", "languages", title=f"{scores.benchmark}, by task")
    for task, languages in scores.languages.items():
        mean = scores.means.tasks[task]
        # No spaces inside, so that a language stays beside its number.
        cell = " ".join(f"{name}={score.main:.1f}" for name, score in languages.items())
        if floors := [name for name, score in languages.items() if score.floor]:
            cell += f"\nfloor: {' '.join(floors)}"
        tasks.add_row(task, f"{mean.value:.2f}", mean.title, cell)
    tasks.columns[1].justify, tasks.columns[0].no_wrap, tasks.columns[1].no_wrap = "right", True, True
    console.print(tasks)
    overall = Table("mean over tasks", "score", "what it is", title=f"{scores.benchmark}, over tasks")
    for name, mean in scores.means.overall.items():
        overall.add_row(name.replace("_", " "), f"{mean.value:.2f}", mean.title)
    overall.columns[1].justify = "right"
    console.print(overall)
    if any(score.floor for languages in scores.languages.values() for score in languages.values()):
        console.print(
            "floor: the 95 % interval over these rows reaches down to what the most frequent label, tag or a guess "
            "scores; such a number shows nothing, and neither does a difference between two of them."
        )
    missing = {part for mean in scores.means.overall.values() for part in mean.missing}
    if missing:
        console.print(f"partial: this is no {scores.benchmark} score. Missing: {'; '.join(sorted(missing))}.")


if __name__ == "__main__":
    command(Score, run, examples=EXAMPLES)
