"""`python -m pipelines.check_hub` on a mirror on disk, and where there is no hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from pipelines.check_hub import Mirror, check
from polystilts.tasks import get_task

ROOT = Path(__file__).resolve().parents[2]
COPA = ("premise", "choice1", "choice2", "question", "label", "idx")


def store(path: Path, columns: tuple[str, ...], rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({column: ["x"] * rows for column in columns}), path)


def problems(root: Path, name: str) -> dict[str, str]:
    return {found.split: found.problem for found in check(Mirror(root), [get_task(name)], {})}


def test_a_repository_that_is_as_documented(tmp_path: Path) -> None:
    store(tmp_path / "aps/super_glue/copa/train-00000-of-00001.parquet", COPA, 400)
    store(tmp_path / "aps/super_glue/copa/validation/0000.parquet", COPA, 60)
    store(tmp_path / "aps/super_glue/copa/validation/0001.parquet", COPA, 40)
    assert problems(tmp_path, "copa") == {"train": "", "validation": ""}


def test_rows_columns_and_languages_that_are_not(tmp_path: Path) -> None:
    store(tmp_path / "aps/super_glue/copa/train-0.parquet", COPA, 399)
    store(tmp_path / "aps/super_glue/copa/validation-0.parquet", ("premise", "label"), 100)
    found = problems(tmp_path, "copa")
    assert found["train"] == "399 rows, documented 400"
    assert found["validation"] == "no column question, choice1, choice2; found premise, label"
    for language in get_task("xcopa").languages:
        if language not in ("en", "th", "qu"):
            store(tmp_path / f"cambridgeltl/xcopa/{language}/test-0.parquet", COPA, 500)
    found = problems(tmp_path, "xcopa")
    assert found["test"] == "no files for qu th"
    assert problems(tmp_path, "xnli")["test"] == f"no folder {tmp_path / 'facebook/xnli'}"


def test_json_files_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "gonglinyuan/CoSQA"
    folder.mkdir(parents=True)
    rows = [{"idx": "1", "doc": "q", "code": "c", "label": 0}] * 604
    (folder / "cosqa-dev.json").write_text(json.dumps(rows))
    (folder / "cosqa-train.json").write_text("[{")
    found = problems(tmp_path, "cosqa")
    assert found["validation"] == "" and found["train"].startswith("cosqa-train.json cannot be read: ")
    (tmp_path / "aps/super_glue/copa").mkdir(parents=True)
    (tmp_path / "aps/super_glue/copa/train-0.parquet").write_text("no parquet")
    assert "train-0.parquet cannot be read" in problems(tmp_path, "copa")["train"]


def test_protocols_of_one_data_set_are_checked_once(tmp_path: Path) -> None:
    assert check(Mirror(tmp_path), [get_task("xcopa_after_siqa"), get_task("ccg"), get_task("bucc2018")], {}) == []


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "error: https://huggingface.co is not asked: HF_HUB_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}, "error: http://127.0.0.1:9 cannot be reached ("),
    ],
)
def test_without_the_hub_it_says_so_and_fails(environment: dict[str, str], reason: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.check_hub"],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if k != "HF_ENDPOINT"}, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(reason) and result.stderr.strip().endswith("nothing was checked")
