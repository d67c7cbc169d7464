from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polystilts.errors import BadRow, MissingData
from polystilts.metrics.bank import SCHEMA, BankRow, read_about, read_bank, to_json_text, write_bank

ROWS = [
    BankRow("xquad", "mnli+squad_v1", 42, "zh", "7", "p1", "report", '["北京"]', '"北京大学"', 0.25),
    BankRow("udpos", "baseline", 42, "hi", "0", "0", "choice", '["NOUN"]', "null", 0.0),
]


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    path = write_bank(tmp_path / "new" / "bank.parquet", ROWS)
    assert read_bank(path) == ROWS
    assert read_bank(path)[0].gold_value == ["北京"]
    assert read_bank(path)[1].predicted_value is None
    assert [file.name for file in path.parent.iterdir()] == ["bank.parquet"]


def test_an_empty_bank_is_a_bank(tmp_path: Path) -> None:
    assert read_bank(write_bank(tmp_path / "bank.parquet", [])) == []


def test_json_text_keeps_letters() -> None:
    assert to_json_text(["北京", "Нева"]) == '["北京", "Нева"]'


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_bank(tmp_path / "bank.parquet", ROWS)
    with pytest.raises(pa.ArrowInvalid):
        write_bank(path, [replace(ROWS[0], score="high")])  # type: ignore[arg-type]
    with pytest.raises(BadRow, match=r"bank\.parquet, row 0: role 'test' is none of checkpoint, choice, report"):
        write_bank(path, [replace(ROWS[0], role="test")])
    assert read_bank(path) == ROWS
    assert [file.name for file in tmp_path.iterdir()] == ["bank.parquet"]


def test_files_that_are_no_bank(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=str(tmp_path / "none.parquet")):
        read_bank(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(BadRow, match="not a Parquet file"):
        read_bank(tmp_path / "text.parquet")
    pq.write_table(pa.table({"task": ["xnli"]}), tmp_path / "other.parquet")
    with pytest.raises(BadRow, match="columns"):
        read_bank(tmp_path / "other.parquet")


def test_condition_and_probability_come_back(tmp_path: Path) -> None:
    rows = [replace(ROWS[0], condition="noise:0.1:all:0", probability=0.75), ROWS[1]]
    path = write_bank(tmp_path / "bank.parquet", rows)
    assert read_bank(path) == rows
    assert (ROWS[1].condition, ROWS[1].probability) == ("clean", None)


def test_a_bank_from_before_conditions_is_clean(tmp_path: Path) -> None:
    path = write_bank(tmp_path / "bank.parquet", ROWS)
    old = pq.read_table(path).drop_columns(["condition", "probability"])
    pq.write_table(old, tmp_path / "old.parquet")
    assert read_bank(tmp_path / "old.parquet") == ROWS
    assert read_about(tmp_path / "old.parquet") == {}
    pq.write_table(old.drop_columns(["score"]), tmp_path / "older.parquet")
    with pytest.raises(BadRow, match="columns"):
        read_bank(tmp_path / "older.parquet")
    # The same names with another type are another file.
    changed = pq.read_table(path).cast(SCHEMA.set(2, pa.field("seed", pa.float64(), nullable=False)))
    pq.write_table(changed, tmp_path / "typed.parquet")
    with pytest.raises(BadRow, match="of the types documented"):
        read_bank(tmp_path / "typed.parquet")


def test_what_is_said_about_a_bank_is_kept_beside_its_rows(tmp_path: Path) -> None:
    about = {"condition": "noise:0.1:all:0", "noise": {"zh": {"character_rate": 0.06, "kinds": {"homophone": 3}}}}
    path = write_bank(tmp_path / "bank.parquet", ROWS, about)
    assert read_about(path) == about and read_bank(path) == ROWS
    assert read_about(write_bank(tmp_path / "plain.parquet", ROWS)) == {}
    with pytest.raises(MissingData, match=str(tmp_path / "none.parquet")):
        read_about(tmp_path / "none.parquet")
