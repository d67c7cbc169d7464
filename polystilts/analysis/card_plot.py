"""The pictures of a model's page: every language with its interval, and intermediate tasks against targets."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from polystilts.analysis import BASELINE
from polystilts.analysis.plot import COLOURS
from polystilts.tracking.card import Card

#: Colour and hatching of a bar by its language's verdict, so that grey print tells them apart as well.
_LOOK = {"ok": (COLOURS[0], ""), "cannot tell": (COLOURS[4], "///"), "worse": (COLOURS[1], "xxx")}
_LOOK["not compared"] = _LOOK["ok"]


def language_plot(card: Card, path: Path) -> Path:
    """Write a PNG: a bar for each language, strongest first, with its interval; verdicts by colour and hatching."""
    lines = list(reversed(card.worst_first))
    figure = _figure(9.0, 1.5 + 0.27 * max(len(lines), 4))
    axes = figure.add_subplot()
    for verdict, (colour, hatch) in _LOOK.items():
        places = [place for place, line in enumerate(lines) if line.verdict == verdict]
        scores = [lines[place].score for place in places]
        if not scores:
            continue
        axes.barh(
            places,
            [s.value for s in scores],
            xerr=np.clip([[s.value - s.low for s in scores], [s.high - s.value for s in scores]], 0, None),
            height=0.7,
            color=colour,
            edgecolor="white",
            hatch=hatch,
            ecolor="0.2",
            capsize=2,
            label=verdict,
        )
    axes.set_yticks(range(len(lines)), [f"{_plain(line.name)}  (n = {line.rows})" for line in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.axvline(card.mean.value, color="0.3", linewidth=1, linestyle="--", label=f"mean {card.mean.value:.1f}")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(f"{_plain(card.metric)} on the report rows, with 95 % intervals over rows (this checkpoint)")
    figure.legend(
        loc="outside upper left",
        ncols=4,
        frameon=False,
        title="\n".join(filter(None, [_wrapped(f"{card.title}: {card.recipe}"), card.note])),
        title_fontproperties={"weight": "bold"},
        alignment="left",
    )
    return _save(figure, path)


def heat_map(scores: Mapping[tuple[str, str], float], path: Path, *, note: str = "") -> Path:
    """Write a PNG: intermediate tasks from top to bottom, targets from left to right, each cell with its score.

    Args:
        scores: by (recipe, target), in points; a missing pair stays empty. Recipes and targets keep their order.
        note: stands above the picture.

    The colour is the difference to `baseline` of the same target: scores of two targets cannot be compared. Without a
    baseline there is no colour.
    """
    recipes = list(dict.fromkeys(recipe for recipe, _ in scores))
    targets = list(dict.fromkeys(target for _, target in scores))
    if BASELINE in recipes:
        recipes.sort(key=lambda recipe: recipe != BASELINE)
    differences = np.full((len(recipes), len(targets)), np.nan)
    for (recipe, target), score in scores.items():
        baseline = scores.get((BASELINE, target))
        if baseline is not None:
            differences[recipes.index(recipe), targets.index(target)] = score - baseline
    largest = float(np.nanmax(np.abs(differences), initial=1.0))
    figure = _figure(2.6 + 0.95 * len(targets), 1.7 + 0.5 * len(recipes))
    axes = figure.add_subplot()
    norm = TwoSlopeNorm(0.0, -largest, largest)
    picture = axes.imshow(np.nan_to_num(differences), cmap="PuOr", norm=norm, aspect="auto")
    for row, recipe in enumerate(recipes):
        for column, target in enumerate(targets):
            given = scores.get((recipe, target))
            if given is None:
                axes.add_patch(_empty(column, row))
                continue
            change = differences[row, column]
            shown = f"{given:.1f}"
            if recipe != BASELINE and not np.isnan(change):
                shown += f"\n{change:+.1f}".replace("-", "−")
            dark = not np.isnan(change) and abs(change) > 0.65 * largest
            axes.text(column, row, shown, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(targets)), [_plain(target) for target in targets], rotation=35, ha="right", fontsize=8)
    axes.set_yticks(range(len(recipes)), [_wrapped(recipe, 24) for recipe in recipes], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("intermediate task")
    axes.set_xlabel("target")
    if BASELINE in recipes:
        figure.colorbar(picture, ax=axes, label="points more than the baseline", shrink=0.9)
    if note:
        figure.suptitle(_wrapped(note, 60), fontsize=9, fontweight="bold", x=0.02, ha="left")
    return _save(figure, path)


def _empty(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.92", edgecolor="0.75", hatch="//", linewidth=0)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def _wrapped(text: str, width: int = 90) -> str:
    """Broken behind a '+', so that no task's name is cut."""
    lines = textwrap.wrap(_plain(text).replace("+", "+ "), width, break_on_hyphens=False)
    return "\n".join(lines).replace("+ ", "+")


def _save(figure: Figure, path: Path) -> Path:
    """The file appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(beside, format="png", bbox_inches="tight")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
