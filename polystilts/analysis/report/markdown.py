"""A report as GitHub Markdown, with its pictures and tables as files beside it."""

from __future__ import annotations

from polystilts.analysis.report.values import (
    NOT_MEASURED,
    Column,
    KeyEstimate,
    Marked,
    Picture,
    Report,
    Table,
    Value,
    data_table,
    is_number,
    is_signed,
    run_facts,
    run_table,
    shown,
    shown_interval,
)
from polystilts.tracking.card.text import escape


def markdown(report: Report, *, tables: str = "tables", figures: str = "figures") -> str:
    """The whole report.

    Args:
        tables, figures: folders beside the text that hold ``NAME.csv`` and ``NAME.svg``.
    """
    parts = [f"# {escape(report.title)}"]
    if report.note:
        parts.append(f"**{report.note}**")
    parts += ["## Question and answer", f"*{escape(report.question)}*", *map(escape, report.answer)]
    if report.estimates:
        parts.append("\n".join(f"- {_estimate(key)}" for key in report.estimates))
    numbers = {table.name: number for number, table in enumerate(report.tables, 1)}
    places = {picture.name: number for number, picture in enumerate(report.pictures, 1)}
    for section in report.sections:
        parts += [f"## {escape(section.title)}", *map(escape, section.paragraphs)]
        for picture in section.pictures:
            parts += _picture(picture, places[picture.name], numbers, figures, report.note)
        for table in section.tables:
            parts.append(_caption(f"Table {numbers[table.name]}", table.caption, report.note))
            parts += [_table(table), f"[CSV]({tables}/{table.name}.csv)", escape(table.note)]
    parts.append("## What could not be concluded, and why")
    gaps = [f"- **{escape(gap.what)}** {escape(gap.why)}" for gap in report.gaps]
    parts.append("\n".join(gaps) or "Nothing is listed: every question of this report has an answer above.")
    parts.append("## What was run")
    parts.append("\n".join(f"- {escape(name)}: {escape(value)}" for name, value in run_facts(report)))
    parts += [_table(table) for table in (data_table(report), run_table(report)) if table]
    parts += ["## How to repeat it", _fenced(report.command)]
    if report.sources:
        parts += ["## Sources", "\n".join(f"- {escape(source)}" for source in report.sources)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _estimate(key: KeyEstimate) -> str:
    interval = shown_interval(key.estimate, signed=key.signed)
    value = shown(key.estimate, signed=key.signed)
    unit = "" if value == NOT_MEASURED else f" {escape(key.unit)}"
    behind = [f"95 % interval {interval}" if interval else "", key.note]
    said = "; ".join(filter(None, behind))
    return f"{escape(key.name)}: **{value}{unit}**" + (f" ({escape(said)})" if said else "")


def _picture(picture: Picture, number: int, numbers: dict[str, int], folder: str, note: str) -> list[str]:
    alt = escape(picture.drawing.alt)
    table = f" Numbers: table {numbers[picture.table]}." if picture.table else ""
    return [
        f"![{alt}]({folder}/{picture.name}.svg)",
        _caption(f"Figure {number}", picture.caption + table, note),
    ]


def _caption(label: str, text: str, note: str) -> str:
    return f"**{label}.** {escape(text)}" + (f" **{note}**" if note else "")


def _table(table: Table) -> str:
    numbers = [any(is_number(row[place]) for row in table.rows) for place in range(len(table.columns))]
    lines = [
        "| " + " | ".join(escape(column.title) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if number else " --- " for number in numbers) + "|",
    ]
    for row in table.rows:
        cells = [_cell(column, cell) for column, cell in zip(table.columns, row, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(column: Column, cell: Value | Marked) -> str:
    signed = is_signed(column, cell)
    parts = [
        shown(cell, signed=signed, digits=column.digits),
        cell.mark if isinstance(cell, Marked) else "",
        shown_interval(cell, signed=signed, digits=column.digits),
    ]
    return escape(" ".join(filter(None, parts)))


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}sh\n{text}\n{fence}"
