"""What the pictures of a report share: the palette, the canvas, axes, names beside points and lines, and sentences.

Pictures are drawn in one light palette; `DARK` says what each of its colours becomes on a dark page.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from polystilts.analysis import BASELINE
from polystilts.analysis.plot import COLOURS, MARKERS
from polystilts.analysis.report.values import NOT_MEASURED, Drawing, Ranged, shown
from polystilts.errors import InvalidValue

INK, SOFT, LINE, BAND = "#1c2430", "#5c6675", "#c9cfd6", "#eef1f4"

#: What lies above and below 0 in a heat map; the strength of the colour is the size.
ABOVE, BELOW = COLOURS[0].lower(), COLOURS[1].lower()

#: Colours of the light palette -> colours on a dark page.
DARK: Mapping[str, str] = MappingProxyType(
    {
        INK: "#e6e9ee",
        SOFT: "#a2acba",
        LINE: "#48515e",
        BAND: "#1f262e",
        "#ffffff": "#14181d",
        "#0072b2": "#3d96dc",
        "#d55e00": "#e86f28",
        "#009e73": "#2fc796",
        "#cc79a7": "#e79cc5",
        "#e69f00": "#f5b93a",
        "#56b4e9": "#9ad8ff",
    }
)

#: Series after the last colour start again with the next dash.
_SERIES = [colour.lower() for colour in COLOURS if colour != "#000000"]
_DASHES: Sequence[str | tuple[float, tuple[float, ...]]] = ("-", (0, (5, 2)), (0, (1, 1.6)))

#: Class of the white ground of a drawing, which a page leaves out.
BACK = "back"

#: Inches: width of most pictures, height of a line of text, width of a character of 9 points.
WIDTH, LINE_HEIGHT, CHARACTER = 7.0, 0.21, 0.075

#: Where the name of a point may stand, seen from it; the first that is free is taken.
_DIRECTIONS = ((1, 0), (-1, 0), (0.8, 0.9), (-0.8, 0.9), (0.8, -0.9), (-0.8, -0.9), (0, 1.3), (0, -1.3))

#: A point of a line: a number, one with its interval, or not measured.
Point: TypeAlias = float | Ranged | None


def with_note(drawing: Drawing, note: str) -> str:
    """The SVG with `note` above it, for a picture that goes its own way; as it is where `note` is empty."""
    if not note:
        return drawing.svg
    root = ElementTree.fromstring(drawing.svg)
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    room = 22.0
    root.set("viewBox", f"{left:g} {top - room:g} {width:g} {height + room:g}")
    root.set("height", f"{height + room:g}pt")
    root.insert(0, _ground(left, top - room, width, room))
    at = {"x": f"{left + 6:g}", "y": f"{top - 7:g}", "font-size": "9.5", "font-weight": "bold", "fill": INK}
    ElementTree.SubElement(root, f"{{{_SVG}}}text", {**at, "font-family": "sans-serif"}).text = note
    return _written(root)


_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; when the block ends, the list holds its SVG text."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "polystilts",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.parse_math": False,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.unicode_minus": True,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "hatch.color": LINE,
        "hatch.linewidth": 0.8,
    }
    saved: list[str] = []
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Widths of scripts that the measuring font lacks are estimates; the reader's browser has its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="#ffffff")
        FigureCanvasSVG(figure)
        yield figure, saved
        stream = io.StringIO()
        none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=none, transparent=True)
    saved.append(_cleaned(stream.getvalue()))


def _cleaned(svg: str) -> str:
    """Without document type, metadata, and ids that nothing refers to; on a white ground, with one font for all."""
    svg = re.sub(r"font-family: [^;\"]*; ?| transform=\"rotate\(-0 [^\"]*\"", "", svg[svg.index("<svg") :])
    root = ElementTree.fromstring(svg)
    root.set("font-family", "system-ui, 'Noto Sans', 'DejaVu Sans', sans-serif")
    root.insert(0, _ground(*map(float, root.attrib["viewBox"].split())))
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    for element in root.iter():
        name = element.attrib.get("id")
        if name and f"#{name}" not in text:
            del element.attrib["id"]
    return _written(root)


def _ground(left: float, top: float, width: float, height: float) -> ElementTree.Element:
    place = {"x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return ElementTree.Element(f"{{{_SVG}}}rect", {"class": BACK, "fill": "#ffffff", **place})


def _written(root: ElementTree.Element) -> str:
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def must_have(values: Sequence[object] | Mapping[str, object], name: str) -> None:
    if not len(values):
        raise InvalidValue(f"a picture needs {name}", param=name, limit=1, given=0)


def point_value(point: Point) -> float:
    if point is None:
        return math.nan
    return float(point.value if isinstance(point, Ranged) else point)


def point_bounds(point: Point) -> tuple[float, float]:
    return (float(point.low), float(point.high)) if isinstance(point, Ranged) else (math.nan, math.nan)


def excludes_zero(point: Point) -> bool:
    low, high = point_bounds(point)
    return low > 0 or high < 0


def series_names(parts: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for part in parts for name in part))


def look_of(number: int, name: str) -> tuple[str, str, str | tuple[float, tuple[float, ...]]]:
    """Colour, mark and dash of a series; the baseline is always ink."""
    if name == BASELINE:
        return INK, "o", "-"
    turn = number // len(_SERIES)
    return _SERIES[number % len(_SERIES)], MARKERS[number % len(MARKERS)], _DASHES[turn % len(_DASHES)]


def axis_limits(points: Sequence[Point], *, zero: bool = True) -> tuple[float, float]:
    """Of the axis: all values, and of the intervals as much as three times their range; 0 where it has a meaning.

    One cell of few rows must not press all others into a line: an interval that goes on ends in an arrow.
    """
    values = [value for point in points if np.isfinite(value := point_value(point))]
    if not values:
        return -1.0, 1.0
    low, high = min([*values, *([0.0] * zero)]), max([*values, *([0.0] * zero)])
    span = (high - low) or max(abs(high), 1.0)
    edges = [edge for point in points for edge in point_bounds(point) if np.isfinite(edge)]
    low, high = (
        max(min([low, *edges]), low - span),
        min(max([high, *edges]), high + span),
    )
    room = 0.06 * ((high - low) or span)
    return low - room, high + room


def name_points(axes: Axes, places: Sequence[tuple[float, float, str]]) -> None:
    """A name beside each point, where it covers neither another name nor a point, as far as there is room."""
    axes.figure.canvas.draw()
    pixels = axes.transData.transform([(x, y) for x, y, _ in places]) if places else np.zeros((0, 2))
    scale = axes.figure.dpi / 72
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in pixels]
    # The line at 0.
    zero = float(axes.transData.transform((1.0, 0.0))[1])
    taken.append((-math.inf, zero - scale, math.inf, zero + scale))
    for (x, y), (_, _, name) in zip(pixels, places, strict=True):
        wide, tall = 5.6 * len(name) * scale, 9 * scale
        tried = []
        for far, (dx, dy) in itertools.product((7, 13, 20, 28), _DIRECTIONS):
            centre = x + far * dx * scale + math.copysign(wide / 2, dx) * (abs(dx) > 0.1)
            middle = y + far * dy * scale
            box = (centre - wide / 2, middle - tall / 2, centre + wide / 2, middle + tall / 2)
            tried.append((sum(_overlap(box, other) for other in taken) + far, box, (far * dx, far * dy), far))
        _, box, offset, far = min(tried, key=lambda item: item[0])
        taken.append(box)
        axes.annotate(
            name, tuple(axes.transData.inverted().transform((x, y))), xytext=offset, textcoords="offset points",
            ha="center" if abs(offset[0]) < 1 else "left" if offset[0] > 0 else "right", va="center",
            fontsize=8, color=INK,
            arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            if far > 10 else None,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], limits: tuple[float, float], tall: float) -> None:
    """The name of every line behind its end, moved apart where they would cover one another."""
    step = (limits[1] - limits[0]) * 0.17 / tall
    ordered = sorted(ends)
    heights = [value for value, _, _ in ordered]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + step)
    # What was pushed over the top comes back down, and presses the others.
    top = limits[1]
    for index in reversed(range(len(heights))):
        heights[index] = min(heights[index], top)
        top = heights[index] - step
    edge = axes.get_xlim()[1]
    for height, (value, name, colour) in zip(heights, ordered, strict=True):
        axes.annotate(
            name,
            (edge, np.clip(value, *limits)),
            xytext=(14, height),
            textcoords=("offset points", "data"),
            va="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 1.3, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def wrapped(name: str, width: int) -> str:
    """Broken behind a '+', where two names meet."""
    lines = [""]
    for part in re.split(r"(?<=\w\+)(?=\w)", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def inches(names: Sequence[str]) -> float:
    """Inches of the longest line."""
    return max(len(line) for name in names for line in name.split("\n")) * CHARACTER


def rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def extremes(found: Sequence[tuple[str, float]]) -> str:
    if not found:
        return "Nothing was measured."
    low, high = min(found, key=lambda item: item[1]), max(found, key=lambda item: item[1])
    below = sum(value < 0 for _, value in found)
    if len(found) == 1:
        return f"{high[0]} {shown(high[1], signed=True)}."
    return (
        f"Highest {high[0]} {shown(high[1], signed=True)}, lowest {low[0]} {shown(low[1], signed=True)}; "
        f"{below} of {len(found)} below 0."
    )


def sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def missing_said(number: int) -> str:
    return f"{number} {NOT_MEASURED}." if number else ""
