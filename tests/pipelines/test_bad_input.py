"""What a wrong command line answers: one message with field, limit and value, before anything heavy loads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str, module: str = "pipelines.main", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture
def refused(preset: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must fail, and returns its one message."""
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def run(*arguments: str, status: int = 2, **environment: str) -> str:
        output = tmp_path / "outputs"
        given = [f"--preset={preset}", f"--output={output}", *arguments]
        result = call(*given, **{"MLFLOW_TRACKING_URI": database, **environment})
        assert result.returncode == status, result.stderr
        assert "Traceback" not in result.stderr
        assert not list(output.glob("checkpoints/*")), "something was left behind"
        return result.stderr

    return run


def test_all_problems_are_reported_at_once(refused: Callable[..., str]) -> None:
    message = refused("--targets=xnil,udpos", "--seed=-3", "--sorce=micro", "--intermediate=mnly")
    assert "did you mean 'xnli'" in message
    assert "--seed: input should be greater than or equal to -1; given: '-3'" in message
    assert "unknown parameter '--sorce'; did you mean '--source'?" in message
    assert "did you mean 'mnli'" in message
    assert "nothing was started" in message


def test_a_name_of_several_words_takes_hyphens_too(refused: Callable[..., str]) -> None:
    for option in ("--on-bad-row=ignore", "--on_bad_row=ignore"):
        assert "--on_bad_row: input should be 'error' or 'skip'; given: 'ignore'" in refused(option)


def test_a_missing_folder_is_named_by_its_absolute_path(refused: Callable[..., str]) -> None:
    assert f"no folder {ROOT / 'nowhere'}" in refused("--source=local:nowhere")
    assert f"no folder {ROOT / 'no-model'}" in refused("--base=./no-model")


def test_a_source_without_the_training_rows_says_which(refused: Callable[..., str]) -> None:
    assert "has no English training rows of squad_v1" in refused("--targets=xquad")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("learning_rate", -0.1, "training.learning_rate: input should be greater than 0; given: -0.1"),
        ("batch_size", 0, "training.batch_size: input should be greater than or equal to 1; given: 0"),
        ("leaning_rate", 0.1, "training.leaning_rate: no such setting; did you mean 'learning_rate'?"),
    ],
)
def test_a_wrong_preset_value_is_refused(
    refused: Callable[..., str], preset: Path, key: str, value: float, expected: str
) -> None:
    values = yaml.safe_load(preset.read_text())
    values["training"][key] = value
    preset.write_text(yaml.safe_dump(values))
    assert expected in refused()


def test_a_wrong_number_of_columns_names_file_and_line(refused: Callable[..., str], rows: Path) -> None:
    path = rows / "udpos/train-en.tsv"
    path.write_text(path.read_text().replace("cat\tNOUN\n", "cat\tNOUN\textra\n", 1))
    assert f"{path}:2: " in refused("--targets=udpos", "--intermediate=udpos", status=1)


def test_an_empty_file_says_so(refused: Callable[..., str], rows: Path) -> None:
    path = rows / "udpos/train-en.tsv"
    path.write_text("")
    assert f"{path} is empty" in refused("--targets=udpos", "--intermediate=udpos", status=1)


def test_a_tokenizer_of_another_model_is_refused_with_both_sizes(refused: Callable[..., str], encoder: Path) -> None:
    from tokenizers import Tokenizer

    path = encoder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    before = tokenizer.get_vocab_size()
    tokenizer.add_tokens([f"extra{i}" for i in range(50)])
    tokenizer.save(str(path))
    message = refused(status=1)
    assert f"{before + 50} pieces" in message
    assert f"the weights were made for {before}" in message


def test_an_unreachable_tracker_is_noticed_within_seconds(refused: Callable[..., str]) -> None:
    start = time.monotonic()
    message = refused(status=1, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "tracking server http://127.0.0.1:9 did not answer within 3 s" in message
    assert time.monotonic() - start < 60, "MLflow itself would try for minutes"


@pytest.mark.parametrize("name", ["main", "check", "intermediate", "target", "evaluate", "export", "promote"])
def test_help_teaches_without_loading_anything(name: str) -> None:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['{name}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('pipelines.{name}', run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'datasets', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert "examples:" in result.stdout


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(encoder: Path, tmp_path: Path) -> None:
    """The limit of one file's size stands for the disk's: writing fails with the same kind of error."""
    code = f"""
import resource, signal
from pathlib import Path
from pipelines.cli import Parameters, command
from polystilts.training.checkpoint import write_checkpoint
from polystilts.training.model import build_model

def run(parameters):
    model = build_model("sentence", Path({str(encoder)!r}))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    place, base = Path({str(tmp_path / "final")!r}), Path({str(encoder)!r})
    write_checkpoint(place, model, tokenizer_from=base, key="k", lineage={{"phase": "x"}})

command(Parameters, run)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1, result.stderr
    assert "error: File too large" in result.stderr
    assert "what was complete is kept" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
