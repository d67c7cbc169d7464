"""What an operator may set, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polystilts.errors import InvalidValue

PREFIX = "POLYSTILTS_"
KIB = 1024


class Settings(BaseModel):
    """Settings of the server; each is read from ``POLYSTILTS_`` + its name in capitals.

    Attributes:
        models: the models folder.
        threads: threads of one model call; 0 = all cores this process may use.
        public_key: file of an ed25519 key (PEM); when set, bundles that it did not sign are refused.
        body_bytes: largest request body.
        align_body_bytes: largest body of ``/v1/align``.
        body_seconds: time in which a body must have arrived.
        items: items of one request.
        characters: code points of one text.
        align_sentences: sentences of each side of ``/v1/align``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Path = Path(__file__).parents[1] / "models"
    threads: int = Field(default=0, ge=0)
    public_key: Path | None = None
    body_bytes: int = Field(default=1024 * KIB, gt=0)
    align_body_bytes: int = Field(default=8 * 1024 * KIB, gt=0)
    body_seconds: float = Field(default=30.0, gt=0)
    items: int = Field(default=128, gt=0)
    characters: int = Field(default=20_000, gt=0)
    align_sentences: int = Field(default=2_000, gt=0)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process.

        Raises:
            InvalidValue: naming the variable.
        """
        named = {name: PREFIX + name.upper() for name in cls.model_fields}
        values = {name: environment[variable] for name, variable in named.items() if variable in environment}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            variable = named[str(first["loc"][0])]
            raise InvalidValue(
                f"{variable}={first['input']}: {first['msg']}", param=variable, given=first["input"]
            ) from None
