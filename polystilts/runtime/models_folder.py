"""The models folder: what `deliver` writes and the server reads.

``models/<target>/<digest>/`` holds bundles, ``models/current.json`` names the one that answers for each target and is
replaced by rename. Nothing ever writes into a bundle folder that may be open.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polystilts.errors import ChecksumMismatch, MissingData
from polystilts.runtime.bundle import Bundle, open_bundle
from polystilts.runtime.folders import new_folder, read_json, write_json

CURRENT = "current.json"


@dataclass(frozen=True)
class Delivered:
    """One line of ``current.json``: the bundle of a target and what the registry calls it."""

    target: str
    digest: str
    name: str
    version: str

    def folder(self, models: Path) -> Path:
        return models / self.target / self.digest


def deliver(bundle: Bundle, models: Path, *, name: str, version: str) -> Delivered:
    """Copies a verified bundle into the models folder and makes it the current one of its target."""
    delivered = Delivered(bundle.target, bundle.digest, name, version)
    place = delivered.folder(models)
    if not place.is_dir():
        with new_folder(place) as temporary:
            shutil.copytree(bundle.folder, temporary, dirs_exist_ok=True)
    open_bundle(place, digest=bundle.digest)
    current = {d.target: vars(d) for d in read_current(models).values()} if (models / CURRENT).is_file() else {}
    current[bundle.target] = vars(delivered)
    write_json(models / CURRENT, current)
    return delivered


def read_current(models: Path) -> Mapping[str, Delivered]:
    """The current bundle of each target.

    Raises:
        MissingData: no such folder, or nothing was delivered to it.
        ChecksumMismatch: a line that would leave the folder.
    """
    path = models / CURRENT
    if not path.is_file():
        raise MissingData(f"no models in {models.absolute()}: it has no {CURRENT}", given=str(models))
    current = {target: Delivered(**line) for target, line in read_json(path).items()}
    for line in current.values():
        if {"/", "\\", ".."} & {*line.target, *line.digest} or ".." in line.target + line.digest:
            raise ChecksumMismatch(f"{path} names a place outside its folder: {line.target}/{line.digest}")
    return current
