"""The pictures of a report: plain numbers in, SVG text and an alternative text out.

Text stays text, so that browsers set every script and readers can search it. Colour never stands alone: series also
differ in mark and dash and are named at their ends, signs are also written, and what was not measured is hatched.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from polystilts.analysis import BASELINE
from polystilts.analysis.report.canvas import (
    ABOVE,
    BAND,
    BELOW,
    CHARACTER,
    INK,
    LINE,
    LINE_HEIGHT,
    SOFT,
    WIDTH,
    Point,
    axis_limits,
    canvas,
    excludes_zero,
    extremes,
    inches,
    look_of,
    missing_said,
    must_have,
    name_ends,
    name_points,
    point_bounds,
    point_value,
    rounded,
    sentences,
    series_names,
    with_note,
    wrapped,
)
from polystilts.analysis.report.values import NOT_MEASURED, Drawing, count, joined, shown
from polystilts.errors import InvalidValue

__all__ = [
    "STRONGEST",
    "LanguagePoint",
    "Line",
    "Point",
    "gain_by_size",
    "heat_map",
    "interaction",
    "language_dots",
    "layer_curves",
    "noise_curves",
    "with_note",
]

#: Opacity of the strongest cell of a heat map: text on it stays readable in both palettes.
STRONGEST = 0.65


#: Numbers named in an alternative text; the table has all.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class LanguagePoint:
    """One language of a picture.

    Attributes:
        code, name: 'sw', 'Swahili'.
        group: script or family, under which it stands.
        size: of its text in the base model's pretraining; 0 = the base has not seen it, NaN = unknown.
        gains: by series, in points; a series may be missing.
    """

    code: str
    name: str
    group: str
    size: float
    gains: Mapping[str, Point]


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line with its band: `x` ascending (in the unit of the axis), `y`, `low`, `high` as long as it."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def heat_map(
    values: Mapping[tuple[str, str], Point],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str = "intermediate task",
    column_title: str = "target",
    unit: str = "points more than the baseline",
    weak: frozenset[tuple[str, str]] = frozenset(),
) -> Drawing:
    """Differences by row and column, each with its value; the colour is the sign, its strength the size (by
    its root, so that one large difference does not pale the others), and 0 has none.

    Args:
        values: by (row, column); a pair that is missing, None or NaN was not measured and is hatched. A value whose
            interval excludes 0 is printed bold.
        weak: cells that support no conclusion (both models at the floor): in brackets and without colour.

    Raises:
        InvalidValue: no row or no column.
    """
    must_have(rows, "rows")
    must_have(columns, "columns")
    grid = [[point_value(values.get((row, column))) for column in columns] for row in rows]
    cells = [(r, c, grid[r][c]) for r in range(len(rows)) for c in range(len(columns))]
    counted = [abs(value) for r, c, value in cells if math.isfinite(value) and (rows[r], columns[c]) not in weak]
    missing = sum(math.isnan(value) for _, _, value in cells)
    largest = max(counted, default=0.0)
    row_names, column_names = [wrapped(row, 26) for row in rows], [wrapped(column, 18) for column in columns]
    names, head = inches(row_names), inches(column_names)
    room = max(WIDTH - names - 0.6, 0.62 * len(columns))
    steep = head > 0.6
    tall = max(0.34, 0.16 * max(name.count("\n") + 1 for name in row_names))
    height = 1.45 + tall * len(rows) + (0.75 * head if steep else 0.1)
    with canvas(names + 0.6 + room, height) as (figure, saved):
        axes, key = figure.subplots(2, 1, gridspec_kw={"height_ratios": [tall * len(rows), 0.17]})
        for r, c, value in cells:
            point = values.get((rows[r], columns[c]))
            ignored = (rows[r], columns[c]) in weak
            if math.isnan(value):
                axes.add_patch(_cell(c, r, facecolor=BAND, hatch="////", edgecolor=LINE, linewidth=0))
                continue
            if largest and not ignored:
                strength = STRONGEST * math.sqrt(min(1.0, abs(value) / largest))
                axes.add_patch(_cell(c, r, facecolor=ABOVE if value > 0 else BELOW, alpha=strength, linewidth=0))
            text = shown(value, signed=True)
            axes.text(
                c,
                r,
                f"({text})" if ignored else text,
                ha="center",
                va="center",
                color=SOFT if ignored else INK,
                fontweight="bold" if excludes_zero(point) and not ignored else "normal",
            )
        for edge in range(1, len(columns)):
            axes.axvline(edge - 0.5, color="#ffffff", linewidth=1.5)
        for edge in range(1, len(rows)):
            axes.axhline(edge - 0.5, color="#ffffff", linewidth=1.5)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        turned = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if steep else {}
        axes.set_xticks(range(len(columns)), column_names, **turned)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_yticks(range(len(rows)), row_names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel(row_title, loc="top", color=SOFT)
        axes.set_xlabel(column_title, labelpad=6, loc="left", color=SOFT)
        _key(key, largest, unit, missing > 0, room)
    told = [(r, c, value) for r, c, value in cells if math.isfinite(value) and (rows[r], columns[c]) not in weak]
    found = [(f"{rows[r]} on {columns[c]}", value) for r, c, value in told]
    nothing = len(cells) - missing - len(found)
    alt = sentences(
        f"Heat map of {count(len(rows), 'row')} ({row_title}) and {count(len(columns), 'column')} ({column_title}).",
        f"Values: {unit}.",
        extremes(found),
        missing_said(missing),
        f"{nothing} in brackets support no conclusion." if nothing else "",
    )
    return Drawing(saved[0], alt)


def language_dots(
    languages: Sequence[LanguagePoint], *, unit: str = "points more than the baseline", size_title: str = "GiB"
) -> Drawing:
    """Every language with its interval, under its script or family; up to four series beside one another.

    Groups and languages keep their order of first appearance. The size of the language's text stands behind its name.

    Raises:
        InvalidValue: no language.
    """
    must_have(languages, "languages")
    groups = list(dict.fromkeys(language.group for language in languages))
    ordered = sorted(languages, key=lambda language: groups.index(language.group))
    series = series_names(language.gains for language in languages)
    places: list[float] = []
    heads: list[tuple[float, str]] = []
    at = 0.0
    for group, members in itertools.groupby(ordered, key=lambda language: language.group):
        if group:
            heads.append((at, group))
            at += 1
        for _ in members:
            places.append(at)
            at += 1
        at += 0.35
    sized = any(not math.isnan(language.size) for language in ordered)
    labels = [
        f"{language.name}  {_size(language.size, size_title)}" if sized else language.name for language in ordered
    ]
    across = max(1, min(len(series), 4))
    down = max(1, math.ceil(len(series) / across))
    width = max(WIDTH, max(map(len, labels)) * CHARACTER + 1.7 * across)
    limits = axis_limits([point for language in languages for point in language.gains.values()])
    with canvas(width, 0.7 + down * (0.5 + LINE_HEIGHT * at)) as (figure, saved):
        grid = figure.subplots(down, across, sharex=True, squeeze=False)
        for number, axes in enumerate(grid.flat):
            if number >= max(1, len(series)):
                axes.set_visible(False)
                continue
            name = series[number] if series else ""
            colour, marker, _ = look_of(number, name)
            axes.axvline(0.0, color=SOFT, linewidth=1)
            for place, language in zip(places, ordered, strict=True):
                axes.axhline(place, color=BAND, linewidth=1, zorder=0)
                _dot(axes, language.gains.get(name), place, limits, colour, marker, hollow=language.size == 0)
            axes.set_ylim(at - 0.6, -0.7)
            axes.set_xlim(limits)
            axes.set_title(wrapped(name, 22), fontsize=9, fontweight="bold", loc="left", color=INK)
            axes.tick_params(axis="y", length=0)
            axes.spines[["top", "right", "left"]].set_visible(False)
            if number % across == 0:
                everything = sorted([*zip(places, labels, strict=True), *heads])
                axes.set_yticks([place for place, _ in everything], [label for _, label in everything])
                marks = {place for place, _ in heads}
                for tick, (place, _) in zip(axes.get_yticklabels(), everything, strict=True):
                    if place in marks:
                        tick.set_fontweight("bold")
                        tick.set_color(SOFT)
            else:
                axes.set_yticks([])
            axes.tick_params(axis="x", labelbottom=True)
        figure.supxlabel(unit, fontsize=9, color=INK)
    parts = []
    missing = 0
    for name in series:
        found = [(language.name, point_value(language.gains.get(name))) for language in languages]
        missing += sum(math.isnan(value) for _, value in found)
        known = [(label, value) for label, value in found if np.isfinite(value)]
        parts.append(f"{name or 'Gain'}: {extremes(known)}")
    alt = sentences(
        f"Dot plot of {count(len(languages), 'language')} in {count(len(groups), 'group')}, 95 % intervals, {unit}.",
        *parts,
        missing_said(missing),
    )
    return Drawing(saved[0], alt)


def gain_by_size(
    languages: Sequence[LanguagePoint],
    line: Line | None = None,
    *,
    series: str = "",
    unit: str = "points more than the baseline",
    size_title: str = "text of the language in the base model's pretraining, GiB",
) -> Drawing:
    """Gain against the logarithm of the language's pretraining text; languages that the base has not seen stand apart.

    Args:
        languages: their gain is that of `series`; a size that is unknown (NaN) leaves a language out.
        line: fitted over the languages with text; its `x` are sizes.
        series: of `LanguagePoint.gains`.

    Raises:
        InvalidValue: no language.
    """
    must_have(languages, "languages")
    known = [(language, language.gains.get(series)) for language in languages]
    seen = [(lang, point) for lang, point in known if lang.size > 0 and not math.isnan(point_value(point))]
    unseen = [(lang, point) for lang, point in known if lang.size == 0 and not math.isnan(point_value(point))]
    left_out = len(languages) - len(seen) - len(unseen)
    limits = axis_limits([point for _, point in seen + unseen])
    with canvas(WIDTH + 0.5, 5.2) as (figure, saved):
        if unseen:
            apart, axes = figure.subplots(
                1, 2, sharey=True, gridspec_kw={"width_ratios": [max(0.09, min(0.3, 0.05 * len(unseen))), 1]}
            )
            spread = np.linspace(-1, 1, len(unseen)) if len(unseen) > 1 else np.zeros(1)
            for x, (_, point) in zip(spread, unseen, strict=True):
                _pole(apart, x, point, limits, SOFT, hollow=True)
            apart.set_xlim(-1.8, 1.8)
            apart.set_xticks([0], ["not seen"])
            apart.tick_params(axis="x", length=0)
            apart.axhline(0.0, color=SOFT, linewidth=1)
            apart.set_ylabel(unit)
            apart.spines[["top", "right"]].set_visible(False)
            name_points(
                apart, [(x, point_value(point), lang.code) for x, (lang, point) in zip(spread, unseen, strict=True)]
            )
            axes.tick_params(axis="y", length=0)
            axes.spines[["top", "right", "left"]].set_visible(False)
        else:
            axes = figure.add_subplot()
            axes.set_ylabel(unit)
            axes.spines[["top", "right"]].set_visible(False)
        axes.axhline(0.0, color=SOFT, linewidth=1)
        axes.set_xscale("log")
        if line:
            axes.fill_between(line.x, line.low, line.high, color=ABOVE, alpha=0.16, linewidth=0)
            axes.plot(line.x, line.y, color=ABOVE, linewidth=1.8)
        for language, point in seen:
            _pole(axes, language.size, point, limits, INK)
        axes.set_ylim(limits)
        _log_ticks(axes, [language.size for language, _ in seen])
        axes.set_xlabel(size_title)
        figure.canvas.draw()
        name_points(axes, [(language.size, point_value(point), language.code) for language, point in seen])
    slope = ""
    if line and len(line.x) > 1:
        first, last = (f"{shown(float(line.y[end]), signed=True)} at {rounded(line.x[end])}" for end in (0, -1))
        slope = f"The fitted line goes from {first} to {last}."
    alt = sentences(
        f"Scatter plot of {count(len(seen), 'language')}: {unit}, against {size_title}, logarithmic.",
        slope,
        extremes([(language.name, point_value(point)) for language, point in seen]),
        f"Apart, languages that the base has not seen: {_listed(unseen)}." if unseen else "",
        missing_said(left_out),
    )
    return Drawing(saved[0], alt)


def noise_curves(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    *,
    rates: Sequence[float],
    unit: str = "points",
    rate_title: str = "words with noise, %",
) -> Drawing:
    """Score over the rate of noise, a line with its band for each recipe, a panel for each format or target.

    Args:
        panels: points by rate, by recipe, by panel; one panel may be called ''.
        rates: ascending, in percent.

    Raises:
        InvalidValue: no panel, no rate, or a line with another number of points.
    """
    drawing = _curves(panels, list(rates), unit, rate_title)
    return Drawing(drawing.svg, f"Curves over the rate of noise, {unit}. {drawing.alt}")


def layer_curves(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    *,
    fixed: int | None = None,
    best: Mapping[str, int] | None = None,
    unit: str = "points",
) -> Drawing:
    """Retrieval score over the layers (0 = embeddings), a line for each intermediate task.

    Args:
        panels: points by layer, by recipe, by panel (raw, mean removed, whitened); one panel may be called ''.
        fixed: the layer that is fixed beforehand: a vertical line.
        best: each recipe's best layer, chosen on choice rows: a ring.

    Raises:
        InvalidValue: no panel, no layer, or lines of unequal length.
    """
    lengths = {len(points) for lines in panels.values() for points in lines.values()}
    drawing = _curves(panels, list(range(max(lengths, default=0))), unit, "layer", fixed=fixed, best=best or {})
    where = f" The fixed layer is {fixed}." if fixed is not None else ""
    return Drawing(drawing.svg, f"Curves over the layers, {unit}.{where} {drawing.alt}")


def interaction(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    *,
    sizes: Sequence[str],
    unit: str = "points more than the baseline",
) -> Drawing:
    """Gain at each size of the model, a line for each task or family: parallel lines are no interaction.

    Args:
        panels: points by size, by series, by panel; one panel may be called ''.
        sizes: names of the models, small to large, with their parameters: 'base (278 M)'.

    Raises:
        InvalidValue: no panel, no size, or a line with another number of points.
    """
    drawing = _curves(panels, list(range(len(sizes))), unit, "", ticks=sizes, apart=True)
    return Drawing(drawing.svg, f"Gain by size of the model ({joined(sizes)}), {unit}. {drawing.alt}")


def _curves(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    x: list[float],
    unit: str,
    x_title: str,
    *,
    ticks: Sequence[str] = (),
    fixed: int | None = None,
    best: Mapping[str, int] | None = None,
    apart: bool = False,
) -> Drawing:
    """Lines with bands, or with intervals side by side (`apart`); panels of one height, two in a row."""
    must_have(panels, "panels")
    must_have(x, "x")
    for lines in panels.values():
        for name, points in lines.items():
            if len(points) != len(x):
                message = f"the line {name!r} has {len(points)} points; the axis has {len(x)}"
                raise InvalidValue(message, param="panels", limit=len(x), given=len(points))
    series = series_names(panels.values())
    names = max((len(name) for name in series), default=0) * CHARACTER
    across = 1 if names > 1.6 else min(2, len(panels))
    down = math.ceil(len(panels) / across)
    limits = axis_limits([p for lines in panels.values() for points in lines.values() for p in points], zero=apart)
    tall = max(2.9, 0.5 + 0.19 * max((len(lines) for lines in panels.values()), default=0))
    with canvas(max(WIDTH, across * (2.1 + names), 3.6 + names), 0.3 + down * (tall + 0.4)) as (figure, saved):
        grid = figure.subplots(down, across, squeeze=False, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for number, (axes, (panel, lines)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            if apart:
                axes.axhline(0.0, color=SOFT, linewidth=1)
            if fixed is not None:
                axes.axvline(fixed, color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
            ends = []
            for name, points in lines.items():
                place = series.index(name)
                colour, marker, dash = look_of(place, name)
                values = np.array([point_value(point) for point in points])
                low, high = np.array([point_bounds(point) for point in points]).T
                shift = (place - (len(series) - 1) / 2) * min(0.03, 0.3 / len(series)) if apart else 0.0
                at = np.array(x, dtype=float) + shift
                if apart:
                    axes.vlines(at, np.clip(low, *limits), np.clip(high, *limits), color=colour, linewidth=1.2)
                    # An interval that goes on ends in an arrow.
                    for beyond, edge, arrow in ((low < limits[0], limits[0], "v"), (high > limits[1], limits[1], "^")):
                        if beyond.any():
                            (tips,) = axes.plot(
                                at[beyond], np.full(beyond.sum(), edge), arrow, color=colour, markersize=4
                            )
                            tips.set(clip_on=False, in_layout=False)
                else:
                    axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
                every = (place % 4, 4) if len(x) > 13 else 1
                thick = 2.4 if name == BASELINE else 1.5
                axes.plot(
                    at,
                    values,
                    color=colour,
                    linestyle=dash,
                    linewidth=thick,
                    marker=marker,
                    markersize=3.5,
                    markevery=every,
                )
                chosen = (best or {}).get(name)
                if chosen is not None and 0 <= chosen < len(values):
                    axes.plot(
                        at[chosen], values[chosen], marker="o", markersize=9, color=colour, markerfacecolor="none"
                    )
                if np.isfinite(values).any():
                    last = int(np.flatnonzero(np.isfinite(values))[-1])
                    ends.append((values[last], name, colour))
            axes.set_ylim(limits)
            room = (0.22 if apart else 0.12) * (max(x) - min(x) or 1.0)
            axes.set_xlim(min(x) - (room if apart else room / 3), max(x) + room / 2)
            axes.set_title(panel, fontsize=9, fontweight="bold", loc="left", color=INK)
            axes.spines[["top", "right"]].set_visible(False)
            if ticks:
                axes.set_xticks(x, ticks)
            elif len(x) <= 13:
                axes.set_xticks(x, [rounded(value) for value in x])
            axes.set_xlabel(x_title)
            axes.tick_params(labelleft=True)
            if number % across == 0:
                axes.set_ylabel(unit)
            name_ends(axes, ends, limits, tall)
    parts = [f"{panel}: {_spoken(lines, ticks or [rounded(v) for v in x])}" for panel, lines in panels.items()]
    missing = sum(
        math.isnan(point_value(point)) for lines in panels.values() for points in lines.values() for point in points
    )
    return Drawing(saved[0], sentences(*(part.removeprefix(": ") for part in parts), missing_said(missing)))


def _dot(
    axes: Axes, point: Point, y: float, limits: tuple[float, float], colour: str, marker: str, *, hollow: bool
) -> None:
    value = point_value(point)
    if math.isnan(value):
        axes.text(0.0, y, f" {NOT_MEASURED}", color=SOFT, fontsize=7.5, va="center", style="italic")
        return
    low, high = point_bounds(point)
    if not math.isnan(low):
        axes.plot(np.clip([low, high], *limits), [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
        for edge, mark in ((low, "<"), (high, ">")):
            if not limits[0] <= edge <= limits[1]:
                axes.plot(np.clip(edge, *limits), y, marker=mark, color=colour, markersize=4, clip_on=False)
    axes.plot(
        np.clip(value, *limits), y, marker=marker, color=colour, markersize=5,
        markerfacecolor="#ffffff" if hollow else colour,
    )  # fmt: skip


def _pole(
    axes: Axes, x: float, point: Point, limits: tuple[float, float], colour: str, *, hollow: bool = False
) -> None:
    low, high = point_bounds(point)
    if not math.isnan(low):
        axes.plot([x, x], np.clip([low, high], *limits), color=colour, linewidth=0.9, alpha=0.35)
    axes.plot(x, point_value(point), marker="D" if hollow else "o", color=colour, markersize=4.5,
              markerfacecolor="#ffffff" if hollow else colour)  # fmt: skip


def _log_ticks(axes: Axes, sizes: Sequence[float]) -> None:
    if not sizes:
        return
    low, high = min(sizes), max(sizes)
    axes.set_xlim(low / 1.6, high * 1.6)
    if high / low >= 200:
        ticks = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    else:
        ticks = [2.0**power for power in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    inside = [tick for tick in ticks if low / 1.6 <= tick <= high * 1.6] or [low]
    axes.set_xticks(inside, [rounded(tick) for tick in inside])
    axes.set_xticks([], minor=True)


def _cell(column: int, row: int, **look: Any) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, **look)


def _key(axes: Axes, largest: float, unit: str, missing: bool, room: float) -> None:
    """Below a heat map of `room` inches: seven strengths from -largest to +largest, and the hatching."""
    axes.set_xlim(0, room)
    axes.set_ylim(0, 1)
    axes.axis("off")
    at, wide = 0.0, min(0.42, room / 10)
    if largest:
        for step in range(-3, 4):
            if step:
                colour, alpha = ABOVE if step > 0 else BELOW, STRONGEST * abs(step) / 3
                axes.add_patch(Rectangle((at, 0), wide, 1, facecolor=colour, alpha=alpha, linewidth=0))
            text = shown(math.copysign(largest * (step / 3) ** 2, step), signed=True)
            axes.text(at + wide / 2, -0.35, text, ha="center", va="top", fontsize=7.5, color=INK)
            at += wide
        axes.add_patch(Rectangle((0, 0), at, 1, facecolor="none", edgecolor=LINE, linewidth=0.8))
        axes.text(0, -1.5, unit, va="top", fontsize=8, color=INK)
        at += wide / 2
    if missing:
        axes.add_patch(Rectangle((at, 0), wide, 1, facecolor=BAND, hatch="////", edgecolor=LINE, linewidth=0))
        axes.text(at + 1.2 * wide, 0.5, NOT_MEASURED, va="center", fontsize=8, color=INK)


def _size(size: float, title: str) -> str:
    if math.isnan(size):
        return "(size unknown)"
    return "(not seen)" if size == 0 else f"({rounded(size)} {title})"


def _listed(found: Sequence[tuple[LanguagePoint, Point]]) -> str:
    named = [f"{language.name} {shown(point_value(point), signed=True)}" for language, point in found[:_NAMED]]
    rest = len(found) - _NAMED
    return ", ".join(named) + (f" and {rest} more" if rest > 0 else "")


def _spoken(lines: Mapping[str, Sequence[Point]], ticks: Sequence[str]) -> str:
    """First and last point of every line."""
    parts = []
    for name, points in lines.items():
        ends = [(ticks[i], point) for i, point in enumerate(points) if not math.isnan(point_value(point))]
        if not ends:
            parts.append(f"{name} {NOT_MEASURED}")
            continue
        said = [
            f"{shown(point_value(point))} at {tick}"
            for tick, point in (ends[:1] if len(ends) == 1 else [ends[0], ends[-1]])
        ]
        parts.append(f"{name} {' to '.join(said)}")
    return "; ".join(parts) + "."
