from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.score import show
from polystilts.submission import score_folder
from tests.synthetic_submission import write_submission

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    others = ("mlqa", "panx", "udpos", "tydiqa", "mewslix", "tatoeba", "xquad")
    return write_submission(tmp_path_factory.mktemp("files"), "xtreme-r", without=others)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.score", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_it_prints_and_writes_every_number(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "new" / "scores.json"
    done = call(f"--predictions={folders[0]}", f"--labels={folders[1]}", "--benchmark=xtreme-r", f"--output={output}")
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text(encoding="utf-8"))
    assert set(written["tasks"]) == {"xnli", "xcopa", "lareqa"}
    assert f"{written['tasks']['xnli']['value']:.2f}" in done.stdout
    assert "partial: this is no xtreme-r score" in done.stdout
    assert written["overall"]["all_task"]["title"] == "mean of the 3 tasks present"
    assert written["tasks"]["xcopa"]["languages"]["qu"]["floor"] in (True, False)


def test_all_problems_at_once(folders: tuple[Path, Path]) -> None:
    done = call(f"--labels={folders[1]}", "--benchmark=xtrme", "--partly=true")
    assert done.returncode == 2
    assert "did you mean 'xtreme'" in done.stderr
    assert "did you mean '--partial'" in done.stderr
    assert "--predictions: field required" in done.stderr
    assert f"no folder {ROOT / 'nowhere'}" in call("--predictions=nowhere", f"--labels={folders[1]}").stderr


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_tables_fit_and_say_what_is_partial_or_floor(width: int, folders: tuple[Path, Path]) -> None:
    console = Console(width=width, record=True, force_terminal=False)
    show(score_folder(*folders, "xtreme-r"), console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "floor: " in text
    assert "…" not in text
    for cell in ("xnli", "lareqa", "average", "multi choice"):
        assert cell in text
