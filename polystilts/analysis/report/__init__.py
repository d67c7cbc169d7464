"""A study as something to read: one page that opens offline, Markdown, and CSV of every table.

`Report` holds plain values; `write_report` writes the folder; `figures` draws; `paper` makes the paper's main table.
"""

from __future__ import annotations

from polystilts.analysis.report.files import csv_text, write_report
from polystilts.analysis.report.html import html
from polystilts.analysis.report.markdown import markdown
from polystilts.analysis.report.values import (
    NOT_MEASURED,
    Column,
    DataLine,
    Drawing,
    Gap,
    KeyEstimate,
    Marked,
    Picture,
    Ran,
    Ranged,
    Report,
    RunLine,
    Section,
    Table,
    columns,
)

__all__ = [
    "NOT_MEASURED",
    "Column",
    "DataLine",
    "Drawing",
    "Gap",
    "KeyEstimate",
    "Marked",
    "Picture",
    "Ran",
    "Ranged",
    "Report",
    "RunLine",
    "Section",
    "Table",
    "columns",
    "csv_text",
    "html",
    "markdown",
    "write_report",
]
