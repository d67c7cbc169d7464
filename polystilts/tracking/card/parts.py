"""A card cut into titles, paragraphs and tables, the same for every form it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polystilts.tracking.card.values import NOTHING, Card, Interval, LanguageLine


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, how it looks (`number`, `good`, `bad`, `unsure`), and a bar beside it."""

    text: str
    kind: str = ""
    bar: Interval | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with their titles; lines of cells."""

    head: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title, paragraphs, list items and a table, each of which may be missing; shown in this order."""

    title: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None
    items: tuple[str, ...] = ()


def sections(card: Card) -> list[Section]:
    """The whole card below its title, the same for every form. A part without content is left out."""
    found = [
        Section("Languages", language_notes(card), _languages(card)),
        Section("Choice of the recipe", _DECISION_NOTE, _decisions(card)) if card.decisions else None,
        Section("Gates", (), _gates(card)) if card.gates else None,
        Section("Training data", _data_notes(card), _data(card)) if card.data else None,
        Section("Seen before", (card.contamination,)) if card.contamination else None,
        Section("Precision", _PRECISION_NOTE, _precisions(card)) if card.precisions else None,
        Section("The bundle against its checkpoint", (), _pairs(card.parity)) if card.parity else None,
        Section("Latency", (_latency(card),)) if card.latency_ms is not None else None,
        Section("Intended use", (card.intended_use,)) if card.intended_use else None,
        Section("Limits", (), None, card.limits) if card.limits else None,
        Section("Where it comes from", (), _pairs(card.lineage)) if card.lineage else None,
    ]
    return [section for section in found if section]


def glance(card: Card) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, interval or explanation."""
    others = " other than English" if len(card.averaged) < len(card.languages) else ""
    name = f"{card.metric}, mean of {len(card.averaged)} languages{others}"
    found = [(name, f"{card.mean.value:.1f}", _range(card.mean))]
    if card.to_baseline:
        found.append(("against the baseline", points(card.to_baseline.value), _range(card.to_baseline, signed=True)))
    if card.to_champion:
        name = f"against the champion, version {card.champion}" if card.champion else "against the champion"
        found.append((name, points(card.to_champion.value), _range(card.to_champion, signed=True)))
    for line in card.worst_first[:1]:
        found.append(("weakest language", f"{line.score.value:.1f}", f"{line.name}, {_range(line.score)}"))
    for size in card.precisions:
        if size.chosen:
            found.append(("size", f"{size.megabytes:.1f} MB", size.recipe))
    if card.latency_ms is not None:
        found.append(("latency", f"{card.latency_ms:.1f} ms", "per text"))
    return found


def identity(card: Card) -> list[tuple[str, str]]:
    """Which model this is, in pairs."""
    return [
        ("target", f"{card.title} ({card.target})"),
        ("base", card.base),
        ("recipe", card.recipe),
        ("seed", str(card.seed)),
        ("rows from", card.source),
        ("precision", card.precision),
    ]


def heading(card: Card) -> str:
    return f"{card.title}: {card.recipe}"


def points(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.1f}".replace("-", "−") if round(value, 1) else "0.0"


_DECISION_NOTE = (
    "On the choice rows, measured on the exported bundles: unweighted mean over the languages, over all seeds of a "
    "recipe; p by Holm over the recipes. The version is the seed with the best score on the English checkpoint rows.",
)
_PRECISION_NOTE = ("Losses in points against fp32; the worst language has the largest loss.",)


def _number(text: str) -> Cell:
    return Cell(text, "number")


def _range(interval: Interval, *, signed: bool = False) -> str:
    low, high = (points(v) if signed else f"{v:.1f}" for v in (interval.low, interval.high))
    return f"{low} to {high}"


def smallest(line: LanguageLine) -> str:
    return NOTHING if line.smallest is None else f"{line.smallest:.1f}"


def with_range(interval: Interval | None, *, signed: bool = False) -> Cell:
    if interval is None:
        return _number(NOTHING)
    value = points(interval.value) if signed else f"{interval.value:.1f}"
    return _number(f"{value} ({_range(interval, signed=signed)})")


def language_notes(card: Card) -> tuple[str, ...]:
    notes = [
        f"Score: {card.metric} on the report rows, which no choice has seen; weakest first. Intervals (95 %) are over "
        "rows: they speak of this checkpoint, not of the recipe. Smallest: the smallest true difference that these "
        "rows show with 80 % power. Verdict: against the champion on the choice rows. CC-100: GiB of the language in "
        "XLM-R's training text."
    ]
    for verdict, words in (("worse", "Shown to be worse than the champion"), ("cannot tell", "Cannot tell")):
        names = [line.name for line in card.languages if line.verdict == verdict]
        if names:
            why = "" if verdict == "worse" else " (on the choice rows the interval holds a loss beyond the limit)"
            notes.append(f"{words}{why}: {', '.join(names)}.")
    return tuple(notes)


def _languages(card: Card) -> Table:
    looks = {"ok": "good", "worse": "bad", "cannot tell": "unsure", "not compared": ""}
    # What matters most comes first: a narrow window cuts the right.
    head = (
        "",
        "language",
        "score",
        "to champion",
        "verdict (choice rows)",
        "to baseline",
        "smallest",
        "n",
        "CC-100",
        "family",
        "script",
    )
    return Table(
        head,
        tuple(
            (
                Cell(line.code),
                Cell(line.name),
                Cell(with_range(line.score).text, "number", line.score),
                with_range(line.to_champion, signed=True),
                Cell(line.verdict, looks[line.verdict]),
                with_range(line.to_baseline, signed=True),
                _number(smallest(line)),
                _number(f"{line.rows}"),
                _number(line.cc100),
                Cell(line.family),
                Cell(line.script),
            )
            for line in card.worst_first
        ),
    )


def _decisions(card: Card) -> Table:
    return Table(
        ("recipe", "seeds", "mean", "to baseline", "to champion", "p", "worst language", "verdict"),
        tuple(
            (
                Cell(line.recipe),
                _number(f"{line.seeds}"),
                with_range(line.mean),
                with_range(line.to_baseline, signed=True),
                with_range(line.to_champion, signed=True),
                _number(_probability(line.p)),
                Cell(f"{line.worst} {line.worst_score:.1f}"),
                Cell(line.verdict),
            )
            for line in card.decisions
        ),
    )


def _probability(p: float | None) -> str:
    return NOTHING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _gates(card: Card) -> Table:
    return Table(
        ("gate", "limit", "value", "", "message"),
        tuple(
            (
                Cell(line.name),
                _number(line.limit),
                _number(line.value),
                Cell("passed", "good") if line.passed else Cell("failed", "bad"),
                Cell(line.message),
            )
            for line in card.gates
        ),
    )


def _data_notes(card: Card) -> tuple[str, ...]:
    names = [line.name for line in card.data if line.non_commercial]
    return (f"Non-commercial: {', '.join(names)}.",) if names else ()


def _data(card: Card) -> Table:
    return Table(
        ("data set", "licence", "use", "rows", "revision"),
        tuple(
            (
                Cell(line.name),
                Cell(line.licence),
                Cell("non-commercial", "bad") if line.non_commercial else Cell(""),
                _number(NOTHING if line.rows is None else f"{line.rows}"),
                Cell(line.revision or NOTHING),
            )
            for line in card.data
        ),
    )


def _precisions(card: Card) -> Table:
    return Table(
        ("tried", "mean loss", "worst language", "its loss", "MB", ""),
        tuple(
            (
                Cell(line.recipe),
                _number(f"{line.loss:.2f}"),
                Cell(line.worst),
                _number(f"{line.worst_loss:.2f}"),
                _number(f"{line.megabytes:.1f}"),
                Cell("this version", "good") if line.chosen else Cell(""),
            )
            for line in card.precisions
        ),
    )


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    return Table(("what", "value"), tuple((Cell(name), Cell(value)) for name, value in pairs))


def _latency(card: Card) -> str:
    how = f" {card.latency_how.rstrip('.')}." if card.latency_how else ""
    return f"{card.latency_ms:.1f} ms per text.{how}"
