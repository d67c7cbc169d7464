"""PLANS: the phases that a grid needs, found by walking it without running anything.

While a job has a `Graph`, each of its phases notes there what it would do and returns a checkpoint that has no folder
of its own. So the plan is made by the code that runs it: what it counts is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pipelines.provenance import root_of
from polystilts.formats import FormatSettings
from polystilts.runtime.folders import read_json
from polystilts.training.checkpoint import LINEAGE, Checkpoint, open_checkpoint


@dataclass(frozen=True)
class Node:
    """One phase of a plan.

    Attributes:
        phase: pretrain, intermediate, average, target or evaluate.
        name: of the task or mixture, as speeds are compared by it.
        label: as it is shown.
        parameters: of the encoder, embeddings and layers.
        done: it was found finished.
        updates: still to be trained; rows: still to be scored. Both 0 where it is done.
    """

    phase: str
    name: str
    label: str
    parameters: int
    done: bool
    updates: int = 0
    rows: int = 0


@dataclass
class Graph:
    """The phases of a plan, each once, in the order of running.

    Attributes:
        nodes: by key. The key of a phase whose parent is not there yet is made of that parent's key in the place of its
            weights: another one than it will have, and just as unique.
    """

    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, key: str, node: Node) -> None:
        self.nodes.setdefault(key, node)

    @property
    def waiting(self) -> list[Node]:
        """Those that are not done."""
        return [node for node in self.nodes.values() if not node.done]


def planned(
    parent: Checkpoint, key: str, lineage: Mapping[str, Any], settings: FormatSettings | None = None
) -> Checkpoint:
    """A checkpoint that is not there yet: it has the sizes and the tokenizer of its parent's folder."""
    known = {**lineage, "weights": f"planned:{key}", "parent": parent.lineage}
    return Checkpoint(parent.folder, key, known, settings)


def found(folder: Path) -> Checkpoint:
    """A checkpoint as a plan needs it: of ours only the lineage is read, without hashing gigabytes of weights."""
    if not (folder / LINEAGE).is_file():
        return open_checkpoint(folder)
    lineage = read_json(folder / LINEAGE)
    settings = lineage.get("format")
    return Checkpoint(folder, lineage["key"], lineage, FormatSettings.from_json(settings) if settings else None)


def size_of(checkpoint: Checkpoint) -> int:
    """Parameters of a checkpoint's encoder, embeddings and layers; of a planned one as its base says."""
    return int(root_of(checkpoint.lineage).get("parameters", 0)) or encoder_size(checkpoint.folder)


def encoder_size(folder: Path) -> int:
    """Parameters of the encoder in a checkpoint folder: embeddings and layers, without heads and pooler."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            own = [name for name in file.keys() if "embeddings." in name or "encoder.layer." in name]  # noqa: SIM118
            count += sum(prod(file.get_slice(name).get_shape()) for name in own)
    return count
