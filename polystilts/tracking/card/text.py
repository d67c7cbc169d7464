"""A card as Markdown: the whole of it, and the short form that a registry shows."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence

from polystilts.errors import InvalidValue
from polystilts.tracking.card.parts import (
    Table,
    glance,
    heading,
    identity,
    language_notes,
    sections,
    smallest,
    with_range,
)
from polystilts.tracking.card.values import Card, DataLine

#: Descriptions and tags are shorter than this on every store: columns of a PostgreSQL store hold 5,000 characters.
DESCRIPTION_LIMIT = 5000

#: Languages named on the registry's page: the weakest.
_WORST = 5

#: Characters of one text on the registry's page; the card has all of it.
_CLIP = 300


def markdown(card: Card) -> str:
    """The whole card as GitHub Markdown."""
    parts = [f"# {escape(heading(card))}"]
    if card.note:
        parts.append(f"**{card.note}**")
    parts.append("\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in identity(card)))
    parts.append("\n".join(f"- {escape(name)}: **{value}** ({escape(note)})" for name, value, note in glance(card)))
    for section in sections(card):
        parts.append(f"## {section.title}")
        parts += [escape(text) for text in section.paragraphs]
        if section.table:
            parts.append(_markdown_table(section.table))
        if section.items:
            parts.append("\n".join(f"- {escape(item)}" for item in section.items))
    return "\n\n".join(parts) + "\n"


def description(card: Card) -> str:
    """The registry's page: Markdown below every store's limit, whatever the texts and however many languages.

    Raises:
        InvalidValue: over the limit all the same.
    """
    must = [f"**{_short(heading(card))}**"]
    if card.note:
        must.append(f"**{card.note}**")
    if card.full:
        must.append(_link(card.full))
    must.append("\n".join(f"- {_short(name)}: **{value}** ({_short(note)})" for name, value, note in glance(card)))
    may = [_worst_languages(card), _flagged(card), _gates(card)]
    may.append(" · ".join(f"{name}: {_short(value)}" for name, value in identity(card)[1:]))
    may.append(f"**Training data**: {'; '.join(map(_licence, card.data))}" if card.data else "")
    may.append(_labelled("Seen before", [card.contamination]))
    may.append(_labelled("Intended use", [card.intended_use]))
    may.append(_labelled("Limits", card.limits))
    may.append(_labelled("From", [f"{name} {value}" for name, value in card.lineage]))
    may.append(_labelled("All scores", [", ".join(f"{x.code} {x.score.value:.1f}" for x in card.languages)], clip=2000))
    text = "\n\n".join(must)
    for part in may:
        if part and len(text) + 2 + len(part) < DESCRIPTION_LIMIT:
            text += f"\n\n{part}"
    if len(text) >= DESCRIPTION_LIMIT:
        raise InvalidValue(
            f"the description of {card.target} has {len(text)} characters; a registry keeps fewer than "
            f"{DESCRIPTION_LIMIT}",
            param="description",
            limit=DESCRIPTION_LIMIT,
            given=len(text),
        )
    return text


def escape(text: str) -> str:
    """Text as Markdown that means just this text: no HTML, no links, no tables, one line."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", text)


def _markdown_table(table: Table) -> str:
    numbers = [bool(table.lines) and table.lines[0][i].kind == "number" for i in range(len(table.head))]
    lines = [
        "| " + " | ".join(table.head) + " |",
        "|" + "|".join(" ---: " if number else " --- " for number in numbers) + "|",
    ]
    lines += ["| " + " | ".join(escape(cell.text) for cell in line) + " |" for line in table.lines]
    return "\n".join(lines)


def _worst_languages(card: Card) -> str:
    lines = card.worst_first[:_WORST]
    # MLflow's page leaves no room between columns.
    gap = "&nbsp; "
    shown = "\n".join(
        f"| {_short(line.name)}{gap}| {line.rows}{gap}| {with_range(line.score).text}{gap}"
        f"| {with_range(line.to_baseline, signed=True).text}{gap}"
        f"| {with_range(line.to_champion, signed=True).text}{gap}| {smallest(line)}{gap}| {line.verdict} |"
        for line in lines
    )
    head = f"weakest {len(lines)} of {len(card.languages)} | n | {_short(card.metric)} | to baseline | to champion"
    return f"| {head} | smallest shown | |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n{shown}"


def _gates(card: Card) -> str:
    failed = [f"{line.name} ({line.message or line.value})" for line in card.gates if not line.passed]
    if not card.gates:
        return ""
    passed = f"{len(card.gates) - len(failed)} of {len(card.gates)} passed"
    return _labelled("Gates", [passed, *(f"failed: {text}" for text in failed)])


def _flagged(card: Card) -> str:
    return "\n\n".join(escape(note) for note in language_notes(card)[1:])


def _licence(line: DataLine) -> str:
    mark = " (**non-commercial**)" if line.non_commercial else ""
    return f"{_short(line.name)}: {_short(line.licence)}{mark}"


def _labelled(label: str, texts: Sequence[str], *, clip: int = _CLIP) -> str:
    given = [_short(text.rstrip("."), clip) for text in texts if text]
    return f"**{label}**: {'; '.join(given)}" if given else ""


def _short(text: str, clip: int = _CLIP) -> str:
    """Escaped, and cut before it is, so that no escape is cut in two."""
    kept = " ".join(text.split())
    if len(escape(kept)) <= clip:
        return escape(kept)
    kept = kept[:clip]
    while len(escape(kept)) >= clip:
        kept = kept[:-1]
    return f"{escape(kept)}…"


def _link(address: str) -> str:
    # '#/' is a page of the tracking server that shows the description.
    if not address.startswith(("http://", "https://", "#/")) or len(address) > _CLIP:
        return f"Full card: {_short(address)}"
    return f"[Full card]({urllib.parse.quote(address, safe=':/?#&=%@+,;~-._')})"
