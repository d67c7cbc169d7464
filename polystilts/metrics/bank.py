"""The prediction bank: one row per scored example, in Parquet.

Every table, interval and later metric is computed from these rows, without a model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
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
        condition: under which it was answered, as `polystilts.data.conditions` names it.
        probability: the model's own of its answer, 0 to 1; None where the format gives none (all but pair and choice)
            and of a refused row.
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
    condition: str = "clean"
    probability: float | None = None

    @property
    def gold_value(self) -> Any:
        """The plain gold."""
        return json.loads(self.gold)

    @property
    def predicted_value(self) -> Any:
        """The plain prediction."""
        return json.loads(self.prediction)


_TYPES = {"seed": pa.int64(), "score": pa.float64(), "probability": pa.float64()}

SCHEMA = pa.schema(
    [pa.field(f.name, _TYPES.get(f.name, pa.string()), nullable=f.name == "probability") for f in fields(BankRow)]
)

#: Of banks written before there were conditions: the columns that have no default.
_FIRST_SCHEMA = pa.schema([SCHEMA.field(f.name) for f in fields(BankRow) if f.default is MISSING])

#: Where a file's metadata keeps what is said about the whole bank.
_ABOUT = b"polystilts"


def to_json_text(value: Any) -> str:
    """A plain value as the bank stores it: JSON, letters of every script as they are."""
    return json.dumps(value, ensure_ascii=False)


def write_bank(path: str | Path, rows: Iterable[BankRow], about: Mapping[str, Any] | None = None) -> Path:
    """Write rows to a Parquet file; the name appears only when the file is complete.

    Args:
        about: JSON values about the whole bank, kept in the file's metadata (`Evaluation.about`).

    Raises:
        BadRow: a role that is none of ROLES.
    """
    target = Path(path)
    kept = list(rows)
    for number, row in enumerate(kept):
        if row.role not in ROLES:
            raise BadRow(f"{target.name}, row {number}", f"role {row.role!r} is none of {', '.join(ROLES)}")
    table = pa.table({name: [getattr(row, name) for row in kept] for name in SCHEMA.names}, schema=SCHEMA)
    if about:
        table = table.replace_schema_metadata({_ABOUT: to_json_text(about)})
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
        BadRow: the file is not Parquet, or its columns are not those of `BankRow` (a bank without the last two, as
            they were written once, is read as clean).
    """
    file = _open(path)
    if file.schema_arrow not in (SCHEMA, _FIRST_SCHEMA):
        names = file.schema_arrow.names
        raise BadRow(Path(path).name, f"columns {names}; expected {SCHEMA.names} of the types documented")
    table = file.read()
    columns = (column.to_pylist() for column in table.columns)
    return [BankRow(*values) for values in zip(*columns, strict=True)]


def read_about(path: str | Path) -> dict[str, Any]:
    """What is said about the whole of a bank; {} where nothing is.

    Raises:
        MissingData, BadRow: as `read_bank`.
    """
    found = json.loads((_open(path).schema_arrow.metadata or {}).get(_ABOUT, b"{}"))
    return dict(found)


def _open(path: str | Path) -> pq.ParquetFile:
    source = Path(path)
    if not source.is_file():
        raise MissingData(f"no prediction bank at {source.absolute()}", param="path", given=str(path))
    try:
        return pq.ParquetFile(source)
    except pa.ArrowInvalid as error:
        raise BadRow(source.name, f"not a Parquet file ({error})") from error
