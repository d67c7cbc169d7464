"""How much text of each language a base model has read, as `pretraining.json` in its folder says."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.cli import from_pydantic
from polystilts.errors import Problems
from polystilts.runtime.folders import read_json
from polystilts.tasks.languages import LANGUAGES

RECORD = "pretraining.json"


class _Text(BaseModel):
    model_config = ConfigDict(strict=True)

    tokens: int = Field(ge=0)


class _Record(BaseModel):
    """What is read of a record; it may say more."""

    languages: dict[str, _Text] | None = Field(None, min_length=1)


def pretraining_sizes(folder: Path) -> dict[str, int]:
    """Tokens by language: of those recorded, and 0 for every other language of the catalogue, which was not read.

    Args:
        folder: of a base model; ``{"languages": {"en": {"tokens": 2000000}, ...}}`` in its `pretraining.json`.

    Returns:
        {} where there is no such file, or none that speaks of languages.

    Raises:
        ChecksumMismatch: the file is not JSON.
        Problems: every field that is not of this form, by file and name.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        read = _Record.model_validate(read_json(path)).languages
    except ValidationError as error:
        raise Problems([from_pydantic(detail, f"{path}: ") for detail in error.errors()]) from None
    return dict.fromkeys(LANGUAGES, 0) | {name: text.tokens for name, text in read.items()} if read else {}
