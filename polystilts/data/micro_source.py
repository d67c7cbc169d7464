"""The micro world as a source."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

from polystilts.data.columns import make_id, to_row
from polystilts.errors import MissingData
from polystilts.formats.values import Row
from polystilts.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from polystilts.data.micro.world import MicroWorld


class MicroSource:
    """Rows of `MicroWorld`, which is built when the first row is asked for.

    Args:
        seed: of the world.
    """

    name = "micro"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def world(self) -> MicroWorld:
        from polystilts.data.micro.world import MicroWorld

        return MicroWorld(seed=self.seed)

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        """All the world's languages for this task, the real set's first: it is a benchmark of its own.

        The candidates that all languages share stand under the language "".
        """
        try:
            there = self.world.splits(spec.data).get(split, ())
        except (KeyError, MissingData):
            return ()
        known = [language for language in spec.languages if language in there]
        return (*known, *(language for language in there if language not in known))

    def labels(self, spec: TaskSpec) -> tuple[str, ...]:
        """The spec's labels; where it lists none, the world's own (CCG), or () if the task has no labels."""
        return spec.labels or self.world.labels(spec.data)

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        self._check(spec, split, language)
        names = self.labels(spec) or None
        columns = spec.hub.columns if spec.hub else {}
        rows: list[Row] = []
        for index, values in enumerate(self.world.rows(spec.data, split, language)):
            place = f"micro {spec.name} {split} {language}, row {index}"
            id = make_id(values, split, index)
            row = to_row(spec, values, id=id, language=language, place=place, columns=columns, names=names)
            if row is not None:
                rows.append(row)
        return rows

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        self._check(spec, split, language)
        text = "\n".join((self.world.digest(), spec.data, split, language))
        return hashlib.sha256(text.encode()).hexdigest()

    def _check(self, spec: TaskSpec, split: str, language: str) -> None:
        if language not in self.languages(spec, split):
            raise MissingData(f"the micro world has no {spec.name} {split} rows in {language!r}", given=spec.name)
