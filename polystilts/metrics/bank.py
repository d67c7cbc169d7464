"""The prediction bank: one row per scored example, in Parquet.

Every table, interval and later metric is computed from these rows, without a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polystilts.errors import BadRow, MissingData

#: What a row may be used for: choose a checkpoint, choose a recipe, or be reported.
ROLES = ("checkpoint", "choice", "report")


@dataclass(frozen=True, slots=True)
class BankRow:
    """One example as one model answered it.

    Attributes:
        task: name of the target task.
        recipe: what the encoder went through before the target ('baseline' = nothing).
        seed: of the target's fine-tuning.
        language: of the example.
        id: of the example; in a parallel task the same in every language.
        unit: what is drawn as one in resampling: the id, the paragraph, the query.
        role: one of ROLES.
        gold, prediction: JSON texts of plain values (`polystilts.metrics.plain`).
        score: of this row by itself, 0 to 1 (`Metric.row_score`).
    """

    task: str
    recipe: str
    seed: int
    language: str
    id: str
    unit: str
    role: str
    gold: str
    prediction: str
    score: float

    @property
    def gold_value(self) -> Any:
        """The plain gold."""
        return json.loads(self.gold)

    @property
    def predicted_value(self) -> Any:
        """The plain prediction."""
        return json.loads(self.prediction)


SCHEMA = pa.schema(
    [
        pa.field(f.name, {"seed": pa.int64(), "score": pa.float64()}.get(f.name, pa.string()), nullable=False)
        for f in fields(BankRow)
    ]
)


def to_json_text(value: Any) -> str:
    """A plain value as the bank stores it: JSON, letters of every script as they are."""
    return json.dumps(value, ensure_ascii=False)


def write_bank(path: str | Path, rows: Iterable[BankRow]) -> Path:
    """Write rows to a Parquet file; the name appears only when the file is complete.

    Raises:
        BadRow: a role that is none of ROLES.
    """
    target = Path(path)
    kept = list(rows)
    for number, row in enumerate(kept):
        if row.role not in ROLES:
            raise BadRow(f"{target.name}, row {number}", f"role {row.role!r} is none of {', '.join(ROLES)}")
    table = pa.table({name: [getattr(row, name) for row in kept] for name in SCHEMA.names}, schema=SCHEMA)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, beside, compression="zstd")
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def read_bank(path: str | Path) -> list[BankRow]:
    """The rows of a bank file, in the order written.

    Raises:
        MissingData: there is no such file.
        BadRow: the file is not Parquet, or its columns are not those of `BankRow`.
    """
    source = Path(path)
    if not source.is_file():
        raise MissingData(f"no prediction bank at {source.absolute()}", param="path", given=str(path))
    try:
        table = pq.ParquetFile(source).read()
    except pa.ArrowInvalid as error:
        raise BadRow(source.name, f"not a Parquet file ({error})") from error
    if not table.schema.equals(SCHEMA):
        raise BadRow(source.name, f"columns {table.schema.names}; expected {SCHEMA.names} of the types documented")
    columns = (table.column(name).to_pylist() for name in SCHEMA.names)
    return [BankRow(*values) for values in zip(*columns, strict=True)]
