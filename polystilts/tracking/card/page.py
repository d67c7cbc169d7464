"""The card as one HTML page that needs nothing else: no script, no font, no address is fetched.

The page is built as a tree of elements, so every text is escaped by the library that writes the tree.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from polystilts.tracking.card.parts import Cell, Table, glance, heading, identity, sections
from polystilts.tracking.card.values import Card, Interval

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #dfe3e8; --back: #fff; --tile: #f5f7f9;
  --good: #00714f; --bad: #b3261e; --unsure: #8a5a00; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a2acba; --line: #343c47; --back: #14181d;
  --tile: #1d232b; --good: #4cc79a; --bad: #ff8a80; --unsure: #f0b455; --bar: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 2rem 1.5rem 4rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { max-width: 50rem; margin: .4rem 0; }
.soft { color: var(--soft); }
.note { border-left: 4px solid var(--unsure); background: var(--tile); padding: .6rem 1rem; font-weight: 600;
  max-width: none; }
.identity { display: flex; flex-wrap: wrap; gap: .2rem 1.5rem; margin: 0; padding: 0; list-style: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { background: var(--tile); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.8rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
td { max-width: 32rem; min-width: 3ch; }
.short { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { white-space: nowrap; }
.bar svg { vertical-align: middle; margin-left: .6rem; }
.good { color: var(--good); white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; white-space: nowrap; }
.unsure { color: var(--unsure); font-weight: 600; white-space: nowrap; }
img { max-width: 100%; height: auto; background: #fff; border-radius: .5rem; }
@media print { body { max-width: none; padding: 0; } }
"""

#: Pixels of a bar from 0 to 100 points.
_BAR = 100

#: Characters up to which a cell is not broken into lines.
_SHORT = 20


def html(card: Card, pictures: Mapping[str, Path] | None = None) -> str:
    """The whole card.

    Args:
        pictures: PNG files to hold inside the page, by what they show.
    """
    page = ElementTree.Element("html", lang="en")
    head = ElementTree.SubElement(page, "head")
    ElementTree.SubElement(head, "meta", charset="utf-8")
    # Whatever a name contains, the page loads and runs nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ElementTree.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    ElementTree.SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _text(head, "title", heading(card))
    _text(head, "style", _STYLE)
    body = ElementTree.SubElement(page, "body")
    _text(body, "h1", heading(card))
    if card.note:
        _text(body, "p", card.note, "note")
    described = ElementTree.SubElement(body, "ul", {"class": "identity"})
    for name, value in identity(card):
        entry = _text(described, "li", f"{name} ", "soft")
        _text(entry, "b", value)
    tiles = ElementTree.SubElement(body, "div", {"class": "tiles"})
    for name, value, note in glance(card):
        tile = ElementTree.SubElement(tiles, "div", {"class": "tile"})
        _text(tile, "span", name)
        _text(tile, "b", value)
        _text(tile, "span", note, "soft")
    for section in sections(card):
        _text(body, "h2", section.title)
        for text in section.paragraphs:
            _text(body, "p", text, "soft")
        if section.table:
            _table(body, section.table)
        if section.items:
            items = ElementTree.SubElement(body, "ul")
            for item in section.items:
                _text(items, "li", item)
    for title, path in (pictures or {}).items():
        _text(body, "h2", title)
        source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        ElementTree.SubElement(body, "img", src=source, alt=title)
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _text(parent: ElementTree.Element, tag: str, text: str, kind: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, {"class": kind} if kind else {})
    element.text = text
    return element


def _table(parent: ElementTree.Element, table: Table) -> None:
    place = ElementTree.SubElement(parent, "div", {"class": "wide"})
    element = ElementTree.SubElement(place, "table")
    head = ElementTree.SubElement(ElementTree.SubElement(element, "thead"), "tr")
    for column, title in enumerate(table.head):
        number = bool(table.lines) and table.lines[0][column].kind == "number"
        _text(head, "th", title, "number" if number else "")
    body = ElementTree.SubElement(element, "tbody")
    for line in table.lines:
        row = ElementTree.SubElement(body, "tr")
        for cell in line:
            _cell(row, cell)


def _cell(row: ElementTree.Element, cell: Cell) -> None:
    short = "short" if len(cell.text) <= _SHORT else ""
    element = _text(row, "td", cell.text, " ".join(filter(None, [cell.kind, "bar" if cell.bar else "", short])))
    if cell.bar:
        _bar(element, cell.bar)


def _bar(parent: ElementTree.Element, interval: Interval) -> None:
    """The score as a mark and its interval as a line, from 0 to 100."""
    low, value, high = (min(max(v, 0.0), 100.0) * _BAR / 100 for v in (interval.low, interval.value, interval.high))
    picture = ElementTree.SubElement(
        parent, "svg", {"width": str(_BAR), "height": "12", "viewBox": f"0 0 {_BAR} 12", "aria-hidden": "true"}
    )
    for x, width, height, colour in (
        (0.0, _BAR, 2, "--line"),
        (low, high - low, 4, "--bar"),
        (value - 1, 2, 12, "--bar"),
    ):
        ElementTree.SubElement(
            picture,
            "rect",
            {
                "x": f"{x:.1f}",
                "y": f"{6 - height / 2:g}",
                "width": f"{width:.1f}",
                "height": str(height),
                "style": f"fill: var({colour})",
            },
        )
