"""CELLS of a sweep: what `sweep` leaves for whoever compares them, in one file `cells.json`.

A sweep's folder holds::

    cells.json      {"schema_version": 1, "sweep": its parameters, "cells": [one object a finished cell]}
    failures.json   {"failed": [what failed and how], "not_run": [cells that were left out because of it]}

A cell is a target under a recipe, for one base, seed and option; its fields are those of `CellFile`. Paths in the file
are relative to its folder, so that a whole output folder can be copied. The bank of a cell
(`polystilts.metrics.bank.read_bank`) has the prediction of every row, which is all that statistics need.

Cells of one target with the same `weights` are one measurement, whatever they are named by: a target that is not
trained has no seed of its own after the base, and averaging changes nothing in a baseline. They count once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import Any

from polystilts.errors import BadRow
from polystilts.runtime.folders import read_json, write_json

SCHEMA_VERSION = 1
CELLS, FAILURES = "cells.json", "failures.json"

#: Name of the option that changes nothing.
PLAIN = "plain"


def base_name(base: str, option: str = PLAIN) -> str:
    """How a study calls a base under an option: arms of an option are compared as those of another base.

    A folder somewhere on this computer is called by its last part.
    """
    name = PurePath(base).name if PurePath(base).is_absolute() else base
    return name if option == PLAIN else f"{name}, {option}"


@dataclass(frozen=True)
class RunFile:
    """One phase that a cell came from.

    Attributes:
        phase: pretrain, intermediate, average, target or evaluate.
        seconds: of the run that finished it (of a phase that was interrupted, since it was continued); None = the
            tracking store does not know the run.
    """

    phase: str
    name: str
    run_id: str
    seconds: float | None


@dataclass(frozen=True)
class CellFile:
    """A finished cell.

    Attributes:
        base: the encoder, as it was asked for.
        base_weights: sha256 of its weights.
        parameters: of its embeddings and layers.
        recipe: name of what came before the target, with the target's languages where they are not English alone.
        option: name of the option, PLAIN = none; knobs: what it changes, by ``section.knob``.
        seed: of the intermediate and the target training.
        bank: Parquet file of the predictions, `checkpoint`: folder of the model that made them.
        weights: sha256 of the checkpoint's.
        run_id: of the run that scored it; '' = the tracking store does not know it.
        key: of the scoring.
        metric: the target's main one; `score`: its unweighted mean over languages on report rows, 0 to 100; None =
            there are none.
        languages: that the target was trained in with labels; () = it is not trained.
        data: language -> fingerprints of the rows scored; `trained_on`: data set -> fingerprint, of every phase.
        runs: of the phases it came from, the oldest first.
    """

    base: str
    base_weights: str
    parameters: int
    recipe: str
    option: str
    knobs: Mapping[str, str]
    target: str
    seed: int
    bank: Path
    checkpoint: Path
    weights: str
    run_id: str
    key: str
    metric: str
    score: float | None
    languages: tuple[str, ...]
    data: Mapping[str, Sequence[str]]
    trained_on: Mapping[str, str]
    runs: tuple[RunFile, ...]

    @property
    def seconds(self) -> float:
        """Of all its phases whose runs are known; those shared with other cells are in each of them, see `cost_of`."""
        return cost_of([self])


def cost_of(cells: Iterable[CellFile]) -> float:
    """Seconds that the cells took together, every run counted once."""
    return sum({run.run_id: run.seconds or 0.0 for cell in cells for run in cell.runs}.values())


def write_cells(folder: Path, cells: Iterable[CellFile], *, sweep: Mapping[str, Any]) -> Path:
    """Writes `cells.json`; a reader sees the old file or the new one.

    Args:
        sweep: parameters of the sweep.
    """

    def entry(cell: CellFile) -> dict[str, Any]:
        places = {name: os.path.relpath(getattr(cell, name), folder) for name in ("bank", "checkpoint")}
        return {**asdict(cell), **places}

    folder.mkdir(parents=True, exist_ok=True)
    value = {"schema_version": SCHEMA_VERSION, "sweep": dict(sweep), "cells": [entry(cell) for cell in cells]}
    write_json(folder / CELLS, value)
    return folder / CELLS


def read_cells(folder: Path) -> list[CellFile]:
    """The finished cells of a sweep, in the order of the grid, with paths that can be opened.

    Raises:
        MissingData: no sweep has written there.
        BadRow: a file of another schema, or not of this form.
    """
    path = folder / CELLS
    value = read_json(path)
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        raise BadRow(str(path), f"schema version {SCHEMA_VERSION} expected")
    names = {field.name for field in fields(CellFile)}
    found = []
    for number, entry in enumerate(value["cells"]):
        if set(entry) != names:
            raise BadRow(f"{path}, cell {number}", f"fields differ: {', '.join(sorted(names ^ set(entry)))}")
        given = {
            "bank": (folder / entry["bank"]).resolve(),
            "checkpoint": (folder / entry["checkpoint"]).resolve(),
            "languages": tuple(entry["languages"]),
            "runs": tuple(RunFile(**run) for run in entry["runs"]),
        }
        found.append(CellFile(**{**entry, **given}))
    return found
