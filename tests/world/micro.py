"""The micro world as tests read it."""

from __future__ import annotations

from typing import Any

from polystilts.data.micro import MicroWorld

Row = dict[str, Any]


class Remembered(MicroWorld):
    """The micro world, saying each split once."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.said: dict[tuple[str, str, str], list[Row]] = {}

    def rows(self, name: str, split: str, language: str) -> list[Row]:
        key = (name, split, language)
        if key not in self.said:
            self.said[key] = super().rows(*key)
        return self.said[key]

    def every_row(self, name: str) -> list[tuple[str, Row]]:
        """(language, row) of every split."""
        return [
            (language, row)
            for split, languages in self.splits(name).items()
            for language in languages
            for row in self.rows(name, split, language)
        ]
