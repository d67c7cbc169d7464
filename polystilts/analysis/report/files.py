"""A report as a folder: ``report.html``, ``report.md``, ``tables/NAME.csv``, ``figures/NAME.svg``, and nothing else."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from polystilts.analysis.report.canvas import with_note
from polystilts.analysis.report.html import html
from polystilts.analysis.report.markdown import markdown
from polystilts.analysis.report.values import Marked, Report, Table, Value, bounds, plain
from polystilts.errors import InvalidValue

PAGE, TEXT, TABLES, FIGURES = "report.html", "report.md", "tables", "figures"


def write_report(report: Report, folder: str | Path) -> Path:
    """Write the report as `folder`, which is there whole or not at all.

    An older report of that name is replaced: it is moved aside, the new one takes its name, the old one goes.

    Raises:
        InvalidValue: `folder` exists and is no report: it is not touched.
    """
    final = Path(folder)
    if final.is_symlink() or (final.exists() and not _replaceable(final)):
        message = f"{final} exists and is no report; a report is written to a folder of its own"
        raise InvalidValue(message, param="folder", given=str(folder))
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        new = beside / "new"
        _fill(report, new)
        if final.exists():
            os.rename(final, beside / "old")
        try:
            os.rename(new, final)
        except OSError:
            if (beside / "old").exists():
                os.rename(beside / "old", final)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return final


def csv_text(table: Table) -> str:
    """The table as RFC 4180: commas, CRLF, quotes where needed, a header line.

    Numbers are written in full, not as they are shown. A column with intervals becomes three (``X``, ``X low``,
    ``X high``), one with marks gets ``X mark`` behind it; what was not measured is an empty field.
    """
    places = range(len(table.columns))
    ranged = [any(bounds(row[place]) for row in table.rows) for place in places]
    marked = [any(_mark(row[place]) for row in table.rows) for place in places]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")
    head: list[str] = []
    for column, has_bounds, has_mark in zip(table.columns, ranged, marked, strict=True):
        title = column.title
        head += [title, *([f"{title} low", f"{title} high"] if has_bounds else []), *([f"{title} mark"] * has_mark)]
    writer.writerow(head)
    for row in table.rows:
        fields: list[str] = []
        for cell, has_bounds, has_mark in zip(row, ranged, marked, strict=True):
            fields.append(_field(plain(cell)))
            if has_bounds:
                fields += [_field(bound) for bound in bounds(cell) or (None, None)]
            if has_mark:
                fields.append(_mark(cell))
        writer.writerow(fields)
    return stream.getvalue()


def _fill(report: Report, folder: Path) -> None:
    for name, text in _texts(report):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    folder.chmod(0o755)


def _texts(report: Report) -> Iterator[tuple[str, str]]:
    yield PAGE, html(report)
    yield TEXT, markdown(report, tables=TABLES, figures=FIGURES)
    for table in report.tables:
        yield f"{TABLES}/{table.name}.csv", csv_text(table)
    for picture in report.pictures:
        yield f"{FIGURES}/{picture.name}.svg", with_note(picture.drawing, report.note)


def _replaceable(folder: Path) -> bool:
    """An empty folder, or one that holds a report and nothing else."""
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or (PAGE in names and names <= {PAGE, TEXT, TABLES, FIGURES})


def _mark(cell: Value | Marked) -> str:
    return cell.mark if isinstance(cell, Marked) else ""


def _field(value: str | int | float | None) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(value) else repr(value)
