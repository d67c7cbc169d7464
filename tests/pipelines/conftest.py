"""A tiny job: a folder of hand-written rows in XTREME's layout, a tiny encoder, a preset of two updates."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.world.encoder import tiny_encoder

ROOT = Path(__file__).resolve().parents[2]

_KILLED = """
import fnmatch, os, runpy, signal, sys

name, pattern = sys.argv[1:3]
del sys.argv[1:3]
replace = os.replace

def last(source, target, **options):
    replace(source, target, **options)
    if fnmatch.fnmatch(os.fspath(target), pattern):
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = last
runpy.run_module(name, run_name="__main__", alter_sys=True)
"""


def killed_when_written(pattern: str, name: str, arguments: Sequence[str], log: Path) -> None:
    """Runs ``python -m name``; it is killed in the moment in which a file whose path has this pattern is there."""
    with log.open("wb") as file:
        command = [sys.executable, "-c", _KILLED, name, pattern, *arguments]
        status = subprocess.call(command, cwd=ROOT, stdout=file, stderr=file)
    assert status == -signal.SIGKILL, log.read_text()


SENTENCES = {
    "en": [
        "the/DET cat/NOUN sleeps/VERB",
        "a/DET dog/NOUN eats/VERB",
        "Anna/PROPN reads/VERB",
        "we/PRON run/VERB",
    ],
    "de": ["die/DET Katze/NOUN schläft/VERB", "ein/DET Hund/NOUN frisst/VERB", "Anna/PROPN liest/VERB"],
    "zh": ["猫/NOUN 睡/VERB", "狗/NOUN 吃/VERB", "安娜/PROPN 读/VERB", "我们/PRON 跑/VERB"],
}
PAIRS = [
    ("Katze", "cat"),
    ("Hund", "dog"),
    ("Haus", "house"),
    ("Buch", "book"),
    ("Baum", "tree"),
    ("Tag", "day"),
]


def tagged(lines: list[str]) -> str:
    sentences = [[word.rsplit("/", 1) for word in line.split()] for line in lines]
    return "\n".join("".join(f"{token}\t{tag}\n" for token, tag in sentence) for sentence in sentences) + "\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """UD-POS in three languages, COPA and XCOPA in two, Tatoeba in one."""
    folder = tmp_path / "rows"
    (folder / "udpos").mkdir(parents=True)
    (folder / "udpos/train-en.tsv").write_text(tagged(SENTENCES["en"] * 6), encoding="utf-8")
    for language, lines in SENTENCES.items():
        many = [f"{line} {n}/NUM" for n in range(6) for line in lines]
        (folder / f"udpos/dev-{language}.tsv").write_text(tagged(many), encoding="utf-8")
    (folder / "xcopa").mkdir()
    for split, language, count in (("train", "en", 12), ("val", "en", 12), ("val", "tr", 12)):
        lines = [
            {
                "premise": f"{language} premise {i}",
                "choice1": "it broke",
                "choice2": f"it grew {i}",
                "question": ("cause", "effect")[i % 2],
                "label": i % 2,
                "idx": i,
            }
            for i in range(count)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"xcopa/{split}-{language}.jsonl").write_text(text, encoding="utf-8")
    (folder / "tatoeba").mkdir()
    many = [(f"{german} {n}", f"{english} {n}") for n in range(5) for german, english in PAIRS]
    for side, number in (("deu", 0), ("eng", 1)):
        text = "".join(f"{pair[number]}\n" for pair in many)
        (folder / f"tatoeba/tatoeba.deu-eng.{side}").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_encoder(tmp_path / "encoder")


@pytest.fixture
def preset(tmp_path: Path, rows: Path, encoder: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    values = {
        "description": "tiny",
        "source": f"local:{rows}",
        "base": str(encoder),
        "intermediate": "udpos,copa+udpos",
        "targets": "udpos,xcopa,tatoeba",
        "training": {
            "epochs": 1,
            "learning_rate": 1e-3,
            "batch_size": 8,
            "evaluations": 1,
            "save_seconds": 0.01,
        },
        "gates": {"missing_languages": 100},
        "export": {"precision": "fp32"},  # int8 is promoted in test_promotion.py; it takes half as long again
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store of its own for a test; its URI."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts of a SQLite store below the working directory
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)
