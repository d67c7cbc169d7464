"""A report as one HTML page that needs nothing else: no script, no font, no address is fetched.

The page is built as a tree of elements, so every text is escaped by the library that writes the tree. Pictures are
SVG inside the page, in the page's own colours, light or dark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from polystilts.analysis.report.canvas import BACK, DARK
from polystilts.analysis.report.values import (
    NOT_MEASURED,
    Column,
    Marked,
    Picture,
    Report,
    Section,
    Table,
    Value,
    data_table,
    is_missing,
    is_number,
    is_signed,
    plain,
    run_facts,
    run_table,
    shown,
    shown_interval,
)

Element = ElementTree.Element

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #dfe3e8; --back: #ffffff; --tile: #f5f7f9;
  --good: #00714f; --bad: #b3261e; --unsure: #8a5a00; --link: #005b94; LIGHT }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a2acba; --line: #343c47; --back: #14181d;
  --tile: #1d232b; --good: #4cc79a; --bad: #ff8a80; --unsure: #f0b455; --link: #7cc4f5; DARK } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 84rem; padding: 2rem 1.5rem 4rem; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, "Noto Sans", sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .wide:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-block-start: .8rem;
  border-block-start: 1px solid var(--line); }
p, li, dd { max-width: 46rem; }
p { margin: .5rem 0; }
.soft { color: var(--soft); }
.note { border-inline-start: 4px solid var(--unsure); background: var(--tile); padding: .6rem 1rem; font-weight: 600;
  max-width: none; }
.question { font-size: 1.1rem; color: var(--soft); }
.answer { border-inline-start: 4px solid var(--link); padding-inline-start: 1rem; font-size: 1.15rem;
  line-height: 1.5; margin: 1rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15rem, 100%), 1fr)); gap: .75rem;
  margin: 1.5rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--tile); border-radius: .5rem; padding: .8rem 1rem; max-width: none; }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles b small { font-size: .9rem; font-weight: 400; color: var(--soft); }
.tiles span { display: block; font-size: .88rem; }
.tiles .nothing { font-size: 1.1rem; font-weight: 400; padding-block: .3rem; }
nav { font-size: .92rem; margin: 1.5rem 0; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav a { display: inline-block; padding: .12rem 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav strong { display: block; margin-block-end: .3rem; }
figure { margin: 1.5rem 0; break-inside: avoid; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; margin-block-start: .4rem; }
figcaption b, caption b { color: var(--ink); }
.under { color: var(--soft); font-size: .88rem; }
.warn { color: var(--unsure); }
.long { min-width: 13rem; }
.wide { overflow-x: auto; max-width: 100%; background: linear-gradient(90deg, var(--back) 40%, transparent) 0 0 local,
  linear-gradient(-90deg, var(--back) 40%, transparent) 100% 0 local,
  linear-gradient(90deg, var(--line), transparent) 0 0 scroll, linear-gradient(-90deg, var(--line), transparent) 100% 0;
  background-size: 2rem 100%, 2rem 100%, .6rem 100%, .6rem 100%; background-repeat: no-repeat; }
figure svg { display: block; height: auto; max-width: 100%; font-family: system-ui, "Noto Sans", sans-serif;
  direction: ltr; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
table { border-collapse: collapse; font-size: .86rem; margin-block: 1.2rem .4rem; }
caption { text-align: start; padding-block-end: .4rem; font-size: .9rem; color: var(--soft); }
caption > span { display: inline-block; position: sticky; inset-inline-start: 0; max-width: min(46rem, 100vw - 3rem); }
th, td { text-align: start; unicode-bidi: plaintext; padding: .34rem .8rem .34rem 0; vertical-align: top;
  border-block-end: 1px solid var(--line); max-width: 28rem; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; max-width: 10rem;
  border-block-end: 2px solid var(--line); }
tbody th { font-weight: 500; position: sticky; inset-inline-start: 0; background: var(--back); min-width: 5rem;
  max-width: 14rem; }
.number { text-align: end; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td.nothing { white-space: normal; }
.range { display: block; font-size: .92em; font-weight: 400; color: var(--soft); }
.mark { display: block; font-size: .92em; font-weight: 400; color: var(--soft); white-space: normal; max-width: 9rem;
  margin-inline-start: auto; }
sup.mark { display: inline; line-height: 0; }
.nothing { color: var(--soft); font-style: italic; font-size: .95em; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.unsure { color: var(--unsure); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .8rem 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--link); }
pre { background: var(--tile); border-radius: .5rem; padding: .8rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font: .9rem/1.5 ui-monospace, monospace; direction: ltr; text-align: left; }
@media (min-width: 68rem) {
  .page { display: grid; grid-template: "nav header" auto "nav main" 1fr / 14rem minmax(0, 1fr); column-gap: 3rem; }
  header { grid-area: header; }
  main { grid-area: main; }
  nav { grid-area: nav; margin: 0; position: sticky; top: 1.5rem; align-self: start;
    max-height: calc(100vh - 3rem); overflow-y: auto; }
}
@media (max-width: 40rem) {
  body { padding: 1rem .9rem 3rem; }
  h1 { font-size: 1.45rem; }
  .answer { font-size: 1.05rem; }
  figure svg { min-width: 33rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-block-end: .5rem; }
  tbody th { max-width: 8rem; }
}
@media print {
  @page { margin: 14mm; }
  :root { color-scheme: light; PRINT }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .page { display: block; }
  nav { position: static; max-height: none; }
  h2, caption, thead { break-after: avoid; }
  tbody tr:first-child { break-before: avoid; }
  figure svg { max-height: 225mm; }
  tr, .tiles li, .answer { break-inside: avoid; }
  thead { display: table-header-group; }
  .wide { overflow: visible; background: none; }
  table { font-size: 8pt; }
  caption, .under, figcaption { font-size: 8.5pt; }
  th, td { padding-right: .4rem; }
  tbody th { position: static; }
  caption > span { position: static; max-width: none; }
  a { color: inherit; text-decoration: none; }
  .tiles li, .note { border: 1px solid var(--line); }
  details::details-content { content-visibility: visible; block-size: auto; }
  summary { display: none; }
}
"""

_LIGHT = """--ink: #1c2430; --soft: #5c6675; --line: #dfe3e8; --back: #ffffff; --tile: #f5f7f9; --good: #00714f;
  --bad: #b3261e; --unsure: #8a5a00; --link: #005b94;"""

#: Characters from which the text of a cell gets a wider column.
_LONG = 28

#: Runs, and rows of another table, beyond which the table is folded.
_FOLDED, _LONG_TABLE = 12, 25


def html(report: Report) -> str:
    """The whole report as one page."""
    page = Element("html", lang="en")
    head = _add(page, "head")
    _add(head, "meta", charset="utf-8")
    # Whatever a text contains, the page loads and runs nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    _add(head, "meta", **{"http-equiv": "Content-Security-Policy", "content": policy})
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", report.title)
    _add(head, "style", _style())
    body = _add(page, "body")
    place = _add(body, "div", class_="page")
    header = _add(place, "header")
    _add(header, "h1", report.title, dir="auto")
    if report.note:
        _add(header, "p", report.note, class_="note")
    contents = _add(place, "nav", **{"aria-label": "Contents"})
    main = _add(place, "main")
    _Page(report, contents, main).write()
    return "<!doctype html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


class _Page:
    """The page while it is written: sections, tables and pictures count themselves, and enter the contents."""

    def __init__(self, report: Report, contents: Element, main: Element) -> None:
        self.report = report
        self.main = main
        _add(contents, "strong", "Contents")
        self.contents = _add(contents, "ul")
        self.numbers = {table.name: number for number, table in enumerate(report.tables, 1)}
        self.pictures = 0

    def write(self) -> None:
        report = self.report
        self._heading("Question and answer", "answer")
        _add(self.main, "p", report.question, class_="question", dir="auto")
        answer = _add(self.main, "div", class_="answer")
        for sentence in report.answer:
            _add(answer, "p", sentence, dir="auto")
        self._estimates()
        for number, section in enumerate(report.sections, 1):
            self._section(section, f"findings-{number}")
        self._gaps()
        self._ran()
        self._heading("How to repeat it", "repeat")
        _add(_add(self.main, "pre"), "code", report.command)
        if report.sources:
            self._heading("Sources", "sources")
            _items(self.main, report.sources)

    def _heading(self, title: str, name: str) -> None:
        _add(self.main, "h2", title, id=name, dir="auto")
        _add(_add(self.contents, "li"), "a", title, href=f"#{name}", dir="auto")

    def _estimates(self) -> None:
        if not self.report.estimates:
            return
        tiles = _add(self.main, "ul", class_="tiles")
        for key in self.report.estimates:
            tile = _add(tiles, "li")
            _add(tile, "span", key.name, dir="auto")
            missing = is_missing(key.estimate)
            value = _add(tile, "b", shown(key.estimate, signed=key.signed), class_="nothing" if missing else "")
            interval = shown_interval(key.estimate, signed=key.signed)
            if not missing:
                _add(value, "small", f" {key.unit}")
                text = f"95 % interval {interval}" if interval else "no interval"
                _add(tile, "span", text)
            if key.note:
                _add(tile, "span", key.note, class_="soft", dir="auto")

    def _section(self, section: Section, name: str) -> None:
        self._heading(section.title, name)
        for text in section.paragraphs:
            _add(self.main, "p", text, dir="auto")
        for picture in section.pictures:
            self._picture(picture)
        for table in section.tables:
            label = f"Table {self.numbers[table.name]}"
            place = self._folded(f"{label}: {table.caption} ({len(table.rows)} rows)", len(table.rows), _LONG_TABLE)
            self._table(place, table, label, self.report.note)

    def _folded(self, summary: str, rows: int, most: int) -> Element:
        """Where a table of so many rows goes: it is folded from more than `most` rows on."""
        if rows <= most:
            return self.main
        place = _add(self.main, "details")
        _add(place, "summary", summary, dir="auto")
        return place

    def _picture(self, picture: Picture) -> None:
        self.pictures += 1
        figure = _add(self.main, "figure", id=f"picture-{picture.name}")
        place = _add(figure, "div", class_="wide", tabindex="0", role="group")
        place.set("aria-label", f"Figure {self.pictures}, scrolls sideways where it is wider than the window")
        place.append(_svg(picture))
        caption = _add(figure, "figcaption")
        _add(caption, "b", f"Figure {self.pictures}. ")
        words = _add(caption, "span", picture.caption, dir="auto")
        if picture.table:
            words.tail = " Numbers: "
            link = _add(caption, "a", f"table {self.numbers[picture.table]}", href=f"#table-{picture.table}")
            link.tail = "."
        if self.report.note:
            _add(caption, "span", f" {self.report.note}", class_="warn")

    def _table(self, parent: Element, table: Table, label: str = "", note: str = "") -> None:
        name = f"table-{table.name}"
        place = _add(parent, "div", class_="wide", tabindex="0", role="region")
        place.set("aria-labelledby", f"caption-{table.name}")
        element = _add(place, "table", id=name)
        words = _add(_add(element, "caption", id=f"caption-{table.name}"), "span")
        if label:
            _add(words, "b", f"{label}. ")
        _add(words, "span", table.caption, dir="auto")
        if note:
            _add(words, "span", f" {note}", class_="warn")
        kinds = ["number" if any(is_number(row[i]) for row in table.rows) else "" for i in range(len(table.columns))]
        head = _add(_add(element, "thead"), "tr")
        for column, kind in zip(table.columns, kinds, strict=True):
            _add(head, "th", column.title, class_=kind, scope="col")
        body = _add(element, "tbody")
        for row in table.rows:
            line = _add(body, "tr")
            for number, (column, kind, cell) in enumerate(zip(table.columns, kinds, row, strict=True)):
                _cell(line, column, kind, cell, first=number == 0)
        if not table.rows:
            empty = _add(_add(body, "tr"), "td", NOT_MEASURED, class_="nothing")
            empty.set("colspan", str(len(table.columns)))
        if table.note:
            _add(parent, "p", table.note, class_="under", dir="auto")

    def _gaps(self) -> None:
        self._heading("What could not be concluded, and why", "gaps")
        if not self.report.gaps:
            _add(self.main, "p", "Nothing is listed: every question of this report has an answer above.")
            return
        items = _add(self.main, "ul")
        for gap in self.report.gaps:
            entry = _add(items, "li", dir="auto")
            _add(entry, "strong", gap.what).tail = f" {gap.why}"

    def _ran(self) -> None:
        ran = self.report.ran
        self._heading("What was run", "run")
        listed = _add(self.main, "dl")
        for name, value in run_facts(self.report):
            _add(listed, "dt", name, dir="auto")
            _add(listed, "dd", value, dir="auto")
        if data := data_table(self.report):
            self._table(self.main, data)
        if runs := run_table(self.report):
            self._table(self._folded(f"All {len(ran.runs)} runs", len(ran.runs), _FOLDED), runs)


def _cell(line: Element, column: Column, kind: str, cell: Value | Marked, *, first: bool) -> None:
    look = cell.look if isinstance(cell, Marked) else ""
    mark = cell.mark if isinstance(cell, Marked) else ""
    signed = is_signed(column, cell)
    text = shown(cell, signed=signed, digits=column.digits)
    missing = is_missing(cell)
    long = isinstance(plain(cell), str) and len(text) > _LONG
    classes = " ".join(filter(None, [kind, "nothing" if missing else look, "long" if long and not first else ""]))
    element = _add(line, "th" if first else "td", class_=classes)
    _breakable(element, text)
    if first:
        element.set("scope", "row")
    # A sign stands at the number, a name below it.
    if len(mark) == 1:
        _add(element, "sup", mark, class_="mark")
    if interval := shown_interval(cell, signed=signed, digits=column.digits):
        _add(element, "span", interval, class_="range")
    if len(mark) > 1:
        _breakable(_add(element, "span", class_="mark"), mark)


def _breakable(element: Element, text: str) -> None:
    """Text that a narrow column may break behind a '+', where two names meet."""
    head, *rest = re.split(r"(?<=\w\+)(?=\w)", text)
    element.text = head
    for part in rest:
        _add(element, "wbr").tail = part


def _svg(picture: Picture) -> Element:
    """The drawing as an element of the page: no namespaces, ids of its own, colours of the page."""
    root = ElementTree.fromstring(picture.drawing.svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}style") or child.get("class") == BACK:
                parent.remove(child)
    prefix = f"drawing-{picture.name}-"
    for element in root.iter():
        element.tag = _local(element.tag)
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            if key == "id":
                value = prefix + value
            elif _local(key) == "href":
                key, value = "href", value.replace("#", f"#{prefix}", 1)
            value = value.replace("url(#", f"url(#{prefix}")
            element.set(_local(key), re.sub(r"#[0-9a-f]{6}\b", _colour, value))
    width = float(root.attrib["viewBox"].split()[2])
    for key in ("width", "height", "version", "font-family"):
        root.attrib.pop(key, None)
    root.set("style", f"width: {width * 4 / 3:.0f}px")
    root.set("role", "img")
    root.set("aria-label", picture.drawing.alt)
    return root


def _colour(found: re.Match[str]) -> str:
    return f"var(--c{found.group(0)[1:]})" if found.group(0) in DARK else found.group(0)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _style() -> str:
    light = " ".join(f"--c{colour[1:]}: {colour};" for colour in DARK)
    dark = " ".join(f"--c{colour[1:]}: {other};" for colour, other in DARK.items())
    return _STYLE.replace("LIGHT", light).replace("DARK", dark).replace("PRINT", f"{_LIGHT} {light}")


def _items(parent: Element, texts: Sequence[str]) -> None:
    items = _add(parent, "ul")
    for text in texts:
        _add(items, "li", text, dir="auto")


def _add(parent: Element, tag: str, text: str = "", *, class_: str = "", **attributes: str) -> Element:
    element = ElementTree.SubElement(parent, tag, {**({"class": class_} if class_ else {}), **attributes})
    element.text = text or None
    return element
