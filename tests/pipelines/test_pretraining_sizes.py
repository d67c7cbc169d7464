"""`pretraining.json` of a base's folder: how much text of each language the base has read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.pretraining_sizes import RECORD, pretraining_sizes
from pipelines.study import _texts
from polystilts.analysis.cells import CellFile
from polystilts.errors import ChecksumMismatch, Problems
from polystilts.tasks.languages import LANGUAGES
from tests.world.encoder import tiny_encoder

#: As the record of a real base: what else is said is not read.
REAL = {
    "objective": "MLM on 128-token blocks",
    "tokens_total": 2_009_000,
    "languages": {
        "en": {"tokens": 2_000_000, "sentences": 90_000, "parallel_text": True},
        "sw": {"tokens": 9_000, "sentences": 300, "parallel_text": False},
        "yo": {"tokens": 0},
    },
    "not_seen": ["wo"],
}


def written(folder: Path, record: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(record if isinstance(record, str) else json.dumps(record), encoding="utf-8")
    return folder


def test_a_record_is_read(tmp_path: Path) -> None:
    found = pretraining_sizes(written(tmp_path, REAL))
    assert {language: size for language, size in found.items() if size} == {"en": 2_000_000, "sw": 9_000}
    assert found["yo"] == found["wo"] == 0 and set(found) == set(LANGUAGES), "what is not recorded was not read"


def test_a_study_takes_the_sizes_of_its_first_base(tmp_path: Path) -> None:
    folder = written(tiny_encoder(tmp_path / "base"), REAL)
    other = tiny_encoder(tmp_path / "xlm-r-of-ours")
    assert _texts([cell(folder), cell(other)]) == {"sizes": pretraining_sizes(folder), "size_unit": "tokens"}
    assert _texts([cell(other)]) == {"cc100": True}, "without a record its name says that it is XLM-R"


def test_a_study_refuses_a_bad_record(tmp_path: Path) -> None:
    folder = written(tiny_encoder(tmp_path / "base"), {"languages": {"en": 5}})
    with pytest.raises(Problems, match=r"pretraining.json: languages.en"):
        _texts([cell(folder)])


def cell(folder: Path) -> CellFile:
    """A finished cell, of which the base and its checkpoint count here."""
    return CellFile(
        base=str(folder), base_weights="", parameters=0, recipe="baseline", option="", knobs={}, target="udpos", seed=0,
        bank=folder, checkpoint=folder, weights="", run_id="", key="", metric="", score=None, languages=(), data={},
        trained_on={}, runs=(),
    )  # fmt: skip


@pytest.mark.parametrize("record", [None, {}, {"tokens_total": 5}])
def test_nothing_is_known_without_a_record_of_languages(tmp_path: Path, record: Any) -> None:
    assert pretraining_sizes(tmp_path if record is None else written(tmp_path, record)) == {}


@pytest.mark.parametrize(
    ("languages", "field", "said"),
    [
        ({}, "languages", "at least 1"),
        (["en"], "languages", "valid dictionary"),
        ({"en": 2_000_000}, "languages.en", "2000000"),
        ({"en": {"sentences": 3}}, "languages.en.tokens", "required"),
        ({"en": {"tokens": "many"}}, "languages.en.tokens", "'many'"),
        ({"en": {"tokens": True}}, "languages.en.tokens", "True"),
        ({"en": {"tokens": -1}}, "languages.en.tokens", "greater than or equal to 0"),
        ({"en": {"tokens": float("nan")}}, "languages.en.tokens", "nan"),
    ],
)
def test_a_bad_record_is_refused_by_file_and_field(tmp_path: Path, languages: Any, field: str, said: str) -> None:
    folder = written(tmp_path, {"languages": languages})
    with pytest.raises(Problems) as caught:
        pretraining_sizes(folder)
    [problem] = caught.value.problems
    assert problem.param == f"{folder / RECORD}: {field}" and said in problem.message
    assert problem.param in caught.value.message


def test_all_bad_fields_are_named_at_once(tmp_path: Path) -> None:
    folder = written(tmp_path, {"languages": {"en": {"tokens": -1}, "de": {}, "sw": {"tokens": 5}}})
    with pytest.raises(Problems) as caught:
        pretraining_sizes(folder)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("text", ["", "{", '{"languages": '])
def test_half_a_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ChecksumMismatch, match=rf"{RECORD} is not JSON"):
        pretraining_sizes(written(tmp_path, text))


def test_a_list_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=RECORD):
        pretraining_sizes(written(tmp_path, ["en"]))
