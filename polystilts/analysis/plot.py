"""The picture of a `Summary`: every difference to the baseline with its interval."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from polystilts.analysis.summary import Summary

#: Okabe and Ito's colours: told apart by colour-blind readers and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")


def write_plot(summary: Summary, path: Path) -> Path:
    """Write a PNG: targets from top to bottom, recipes beside one another, zero = the baseline.

    A hollow mark is a difference between two floor cells, which means nothing. The file appears only when it
    is complete.
    """
    recipes = [recipe for recipe in summary.recipes if recipe != "baseline"]
    step = 1.0 / (len(recipes) + 1)
    height = 1.9 + len(summary.targets) * max(0.55, 0.3 * len(recipes))
    figure = Figure(figsize=(8.0, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, result in enumerate(summary.targets):
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", linewidth=0)
        for column, recipe in enumerate(recipes):
            cell = result.cells.get(recipe)
            if cell is None or cell.difference is None:
                continue
            found = cell.difference
            colour = COLOURS[column % len(COLOURS)]
            y = row + (column + 1) * step - 0.5
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(
                found.value,
                y,
                marker=MARKERS[column % len(MARKERS)],
                color=colour,
                markerfacecolor="white" if result.tells_nothing(recipe) else colour,
            )
            if cell.same:
                axes.annotate("=", (found.high, y), xytext=(5, 0), textcoords="offset points", va="center")
    axes.axvline(0.0, color="0.3", linewidth=1)
    axes.set_yticks(range(len(summary.targets)), [f"{r.target}\n{r.metric}" for r in summary.targets])
    axes.set_ylim(len(summary.targets) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("difference to the baseline in the zero-shot mean, points (95 % interval over rows, one seed)")
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=recipe)
        for i, recipe in enumerate(recipes)
    ]
    figure.legend(
        handles=handles,
        title=summary.banner or None,
        title_fontproperties={"weight": "bold"},
        alignment="left",
        loc="outside upper left",
        ncols=min(4, len(handles)) or 1,
        frameon=False,
    )
    caption = (
        f"{summary.provenance} Hollow: neither this cell nor the baseline is above the trivial baseline, "
        "and the difference means nothing. =: the recipe contains the target's English training set."
    )
    figure.text(0.01, -0.02, textwrap.fill(caption, 145), fontsize=7, color="0.3", va="top")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(beside, format="png", bbox_inches="tight")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
