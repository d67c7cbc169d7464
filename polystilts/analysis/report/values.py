"""What a report says, as plain values, and how a value is written in words.

Every form of a report (page, Markdown, CSV) is made from these values alone. A number that was not measured is NaN or
None, and every form says so; no form fills it in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from polystilts.analysis.recipes import MIN_SEEDS
from polystilts.errors import InvalidValue
from polystilts.tracking.card import MICRO_NOTE

#: How a missing number is called.
NOT_MEASURED = "not measured"

#: Names of tables, figures and reports: they become names of files and anchors of a page.
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

#: Tables that every report has by itself.
_OWN_TABLES = ("data-sets", "runs")

#: Digits before the point from which a number is written as a power of ten.
_LONGEST = 7


@runtime_checkable
class Ranged(Protocol):
    """A number with its 95 % interval: `Interval`, `Estimate`, `RecipeEstimate`, `Comparison`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


Value: TypeAlias = str | int | float | Ranged | None

#: How a cell looks: what is shown to be better or worse, what cannot be told, what supports no conclusion.
Look = Literal["", "good", "bad", "unsure", "nothing"]


@dataclass(frozen=True, slots=True)
class Marked:
    """A value with a short word behind it ('floor', 'chosen'), and how it looks. Colour never stands alone: what it
    says is also said by the mark, the sign or the interval. `signed` None: as the column says."""

    value: Value
    mark: str = ""
    look: Look = ""
    signed: bool | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: at its head, with the unit.
        signed: its numbers are differences and carry their sign.
        digits: after the point; None = three significant ones.
    """

    title: str
    signed: bool = False
    digits: int | None = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        name: of its CSV file, small letters, digits and hyphens.
        caption: what it shows, on which rows, in which unit.
        columns: titles (of plain columns) or `Column`.
        rows: as many values each as there are columns.
        note: how it is to be read: marks, intervals, sources.

    Raises:
        InvalidValue: a name that cannot be a file's, no caption, no column, two columns of one title, or a row of
            another length.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value | Marked, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "table")
        _check_said(self.caption, f"caption of table {self.name!r}")
        titles = [column.title for column in self.columns]
        if not titles or len(set(titles)) != len(titles):
            raise InvalidValue(f"table {self.name!r} needs columns, each with a title of its own", param="columns")
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(titles):
                message = f"row {number} of table {self.name!r} has {len(row)} values; it has {len(titles)} columns"
                raise InvalidValue(message, param="rows", limit=len(titles), given=len(row))


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture: its SVG text, complete in itself, in the light palette of `figures`; and what it shows, in words."""

    svg: str
    alt: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing in a report.

    Attributes:
        name: of its SVG file, small letters, digits and hyphens.
        caption: what it shows and how it is to be read.
        table: name of the table with its numbers; '' for none.
    """

    name: str
    caption: str
    drawing: Drawing
    table: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name, "picture")
        _check_said(self.caption, f"caption of picture {self.name!r}")
        _check_said(self.drawing.alt, f"alternative text of picture {self.name!r}")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the findings: a title, paragraphs, pictures and tables, shown in this order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyEstimate:
    """One of the few numbers that answer the question.

    Attributes:
        name: what was estimated.
        estimate: with its interval; NaN bounds where there is none.
        unit: 'points', '%'.
        signed: it is a difference.
        note: what it rests on: languages, rows, seeds.
    """

    name: str
    estimate: Ranged
    unit: str = "points"
    signed: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """What could not be concluded, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of a study.

    Attributes:
        what: phase and task in words: 'xnli after mnli'.
        seed: of the run; None where nothing is drawn.
        state: 'finished', 'reused' (made by an earlier study), 'failed', 'skipped'.
        seconds: that it took; None where unknown. Of a reused run what it took then.
        run_id: in the tracking store.
    """

    what: str
    seed: int | None = None
    state: str = "finished"
    seconds: float | None = None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class DataLine:
    """One data set that a study read."""

    name: str
    revision: str
    rows: int | None = None
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """What was run.

    Attributes:
        seeds: of the fine-tuning behind the numbers; () where nothing was trained.
        setting: base model, preset, code version, machine, by name.
        runs, data: one line each.
        cost: what it took beside the seconds of the runs, by name.
    """

    seeds: tuple[int, ...]
    setting: tuple[tuple[str, str], ...] = ()
    runs: tuple[RunLine, ...] = ()
    data: tuple[DataLine, ...] = ()
    cost: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report.

    Attributes:
        name: of the study.
        title: at its head.
        question: that it answers.
        answer: two sentences: the effect with its interval; and what it holds for, or that it cannot be told.
        source: where the rows come from: micro, hub or local:DIR.
        ran: what was run.
        command: that repeats it.
        estimates: the few numbers that answer the question.
        sections: the findings, with pictures and tables.
        unconcluded: what could not be concluded and why; `gaps` adds what the seeds and the runs say by themselves.
        sources: publications that the report cites, one line each.

    Raises:
        InvalidValue: an empty part, or a name of a table or picture that is used twice or that a picture does not find.
    """

    name: str
    title: str
    question: str
    answer: tuple[str, str]
    source: str
    ran: Ran
    command: str
    estimates: tuple[KeyEstimate, ...] = ()
    sections: tuple[Section, ...] = ()
    unconcluded: tuple[Gap, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name, "report")
        for text, what in ((self.title, "title"), (self.question, "question"), (self.command, "command")):
            _check_said(text, what)
        for sentence in self.answer:
            _check_said(sentence, "answer")
        tables = [*_OWN_TABLES, *(table.name for table in self.tables)]
        pictures = [picture.name for picture in self.pictures]
        for names, what in ((tables, "table"), (pictures, "picture")):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise InvalidValue(f"two of the report's {what}s are called {twice[0]!r}", param=what, given=twice[0])
        for picture in self.pictures:
            if picture.table and picture.table not in tables:
                own = joined(tables[len(_OWN_TABLES) :]) or "none"
                message = f"picture {picture.name!r} names table {picture.table!r}; the report has {own}"
                raise InvalidValue(message, param="table", given=picture.table)

    @property
    def note(self) -> str:
        """What must stand above all numbers; '' for real data."""
        return MICRO_NOTE if self.source == "micro" else ""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Of all sections, in order."""
        return tuple(table for section in self.sections for table in section.tables)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Of all sections, in order."""
        return tuple(picture for section in self.sections for picture in section.pictures)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What could not be concluded: `unconcluded`, too few seeds, and runs that failed. No report can omit these."""
        found = list(self.unconcluded)
        seeds = len(set(self.ran.seeds))
        if 0 < seeds < MIN_SEEDS:
            what = "Whether the effect belongs to the recipe or to chance."
            some = "With one seed" if seeds == 1 else f"With {seeds} seeds"
            why = (
                f"{some} a report cannot separate the effect of a recipe from the chance of its training; that takes "
                f"{MIN_SEEDS} seeds or more. The intervals are over rows and speak of these checkpoints alone."
            )
            found.insert(0, Gap(what, why))
        failed = [run.what for run in self.ran.runs if run.state == "failed"]
        if failed:
            names = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
            why = f"{len(failed)} of {len(self.ran.runs)} runs failed; no number stands in their place."
            found.append(Gap(f"Anything about {names}.", why))
        return tuple(found)


def run_facts(report: Report) -> list[tuple[str, str]]:
    """Source, seeds, setting, runs and cost in words, by name."""
    ran = report.ran
    found = [("rows from", report.source)]
    seeds = sorted(set(ran.seeds))
    found.append(("seeds", f"{len(seeds)}: {', '.join(map(str, seeds))}" if seeds else "none: nothing was trained"))
    found += ran.setting
    if ran.runs:
        states = [run.state for run in ran.runs]
        parts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        found.append(("runs", f"{len(states)}: {parts}"))
        known = [run.seconds for run in ran.runs if run.seconds is not None]
        if known:
            rest = len(ran.runs) - len(known)
            missing = f"; of {count(rest, 'run')} {NOT_MEASURED}" if rest else ""
            found.append(("time of all runs", f"{duration(sum(known))}{missing}"))
    return [*found, *ran.cost]


def data_table(report: Report) -> Table | None:
    """The data sets with their revisions; None where there are none."""
    if not report.ran.data:
        return None
    titles = (Column("data set"), Column("revision"), Column("rows"), Column("licence"))
    rows = tuple(
        (line.name, line.revision or "not known", "" if line.rows is None else line.rows, line.licence)
        for line in report.ran.data
    )
    return Table("data-sets", "Data sets and their revisions", titles, rows)


def run_table(report: Report) -> Table | None:
    """All runs; None where there are none."""
    if not report.ran.runs:
        return None
    titles = (Column("run"), Column("seed"), Column("state"), Column("seconds"), Column("id in the tracking store"))
    rows = tuple(
        (
            line.what,
            "none" if line.seed is None else str(line.seed),
            Marked(line.state, look="bad" if line.state == "failed" else ""),
            line.seconds,
            line.run_id,
        )
        for line in report.ran.runs
    )
    return Table("runs", "Runs", titles, rows)


def columns(*titles: str | Column) -> tuple[Column, ...]:
    """Columns from titles; those that need more are given as `Column`."""
    return tuple(title if isinstance(title, Column) else Column(title) for title in titles)


def is_number(cell: Value | Marked) -> bool:
    """Everything but text and what was not measured."""
    value = plain(cell)
    return value is not None and not isinstance(value, str)


def is_signed(column: Column, cell: Value | Marked) -> bool:
    """Whether the number of a cell carries its sign."""
    own = cell.signed if isinstance(cell, Marked) else None
    return column.signed if own is None else own


def plain(cell: Value | Marked) -> str | int | float | None:
    """The text or number of a cell without mark and interval, as Python's own type (numpy's are numbers as well)."""
    value = cell.value if isinstance(cell, Marked) else cell
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Ranged):
        return float(value.value)
    return int(value) if isinstance(value, Integral) else float(value)


def bounds(cell: Value | Marked) -> tuple[float, float] | None:
    """The interval of a cell; None for what has none, NaN where it was not measured."""
    value = cell.value if isinstance(cell, Marked) else cell
    if not isinstance(value, Ranged):
        return None
    return float(value.low), float(value.high)


def is_missing(cell: Value | Marked) -> bool:
    """Not measured: None, NaN, or an interval around NaN."""
    value = plain(cell)
    return value is None or (isinstance(value, float) and math.isnan(value))


def shown(cell: Value | Marked, *, signed: bool = False, digits: int | None = 1) -> str:
    """A cell as it is read: its text or number, without interval and mark."""
    value = plain(cell)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_MEASURED
    return value if isinstance(value, str) else _number(value, signed, digits)


def shown_interval(cell: Value | Marked, *, signed: bool = False, digits: int | None = 1) -> str:
    """``[+0.4, +5.8]``; '' for what has no interval."""
    found = bounds(cell)
    if found is None or any(map(math.isnan, found)) or is_missing(cell):
        return ""
    return f"[{', '.join(_number(bound, signed, digits) for bound in found)}]"


def duration(seconds: float) -> str:
    """Seconds in the largest unit that suits them: ``42 s``, ``3.5 min``, ``2.0 h``, ``1.5 days``."""
    for size, unit in ((86400 * 2, "days"), (5400, "h"), (90, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.1f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def joined(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _number(value: float, signed: bool, digits: int | None) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int) and not signed:
        text = f"{value:,}"
    elif math.isinf(value):
        text = f"{'+' if signed and value > 0 else '-' if value < 0 else ''}∞"
    elif abs(value) >= 10**_LONGEST:
        text = f"{value:{'+' if signed else ''}.2e}"
    elif digits is None:
        text = f"{value:{'+' if signed and value else ''},.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    elif digits > 1 and not signed and 0 < value < 0.5 / 10**digits:
        text = f"<{10**-digits:.{digits}f}"
    else:
        # What rounds to nothing has no sign.
        value = 0.0 if round(value, digits) == 0 else value
        text = f"{value:{'+' if signed and value else ''},.{digits}f}"
    return text.replace("-", "−")


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        message = f"the name of a {what} is small letters and digits with single hyphens between them; given {name!r}"
        raise InvalidValue(message, param="name", given=name)


def _check_said(text: str, what: str) -> None:
    if not text.strip():
        raise InvalidValue(f"the report has no {what}", param=what, given=text)
