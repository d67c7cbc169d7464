"""What an operator may set, from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from polystilts.errors import InvalidValue, PolystiltsError, Problems, UnknownName

PREFIX = "POLYSTILTS_"
KIB = 1024

#: Variables of this project that are no settings of the server.
OTHERS = (f"{PREFIX}REAL_DATA",)
MIB = 1024 * KIB


class Settings(BaseModel):
    """Settings of the server; each is read from ``POLYSTILTS_`` + its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Path = Field(
        default=Path(__file__).parents[1] / "models", description="the models folder, as `deliver` fills it"
    )
    watch_seconds: float = Field(default=1.0, ge=0, description="how often current.json is looked at; 0 = never")
    public_key: Path | None = Field(
        default=None, description="an ed25519 key (PEM); when set, bundles that it did not sign are refused"
    )
    memory_mb: int = Field(
        default=0,
        ge=0,
        description="files of the bundles in memory, in MB; past it the longest unused go; 0 = no bound",
    )

    device: Literal["cpu", "cuda"] = Field(default="cpu", description="what models run on")
    lanes: int = Field(default=0, ge=0, le=256, description="model calls at once; 0 = cores / threads; cuda: 2")
    threads: int = Field(
        default=0, ge=0, le=256, description="threads of one model call; 0 = 1, on many cores what a trial finds best"
    )
    batch_tokens: int = Field(
        default=0, ge=0, description="padded tokens of one model call; 0 = 256 a thread, 16384 on cuda"
    )
    queue_ms: float = Field(default=3000.0, gt=0, description="work that may wait, in milliseconds per lane")
    timeout_ms: int = Field(default=30_000, gt=0, description="deadline of a request that gives no X-Timeout-Ms")
    longest_timeout_ms: int = Field(default=120_000, gt=0, description="longest deadline a request may ask for")
    waiting_characters: int = Field(
        default=4_000_000, gt=0, description="code points of all texts that may wait to be tokenised"
    )
    drain_seconds: float = Field(
        default=5.0, ge=0, description="time between SIGTERM, which ends readiness, and the last connection accepted"
    )

    body_bytes: int = Field(default=MIB, gt=0, description="largest request body")
    align_body_bytes: int = Field(default=8 * MIB, gt=0, description="largest body of /v1/align")
    body_seconds: float = Field(default=30.0, gt=0, description="time in which a body must have arrived")
    items: int = Field(default=128, gt=0, description="items of one request")
    characters: int = Field(default=20_000, gt=0, description="code points of one text")
    align_sentences: int = Field(default=2_000, gt=0, description="sentences of each side of /v1/align")
    tokens: int = Field(default=65_536, gt=0, description="padded tokens of one request: rows x longest row")
    align_tokens: int = Field(default=2_097_152, gt=0, description="the same for /v1/align")

    mirror: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of a champion's requests that its challenger answers too, for comparison",
    )

    keys: Path | None = Field(default=None, description="file of API keys; none = nobody is asked for one")
    open_metrics: bool = Field(default=True, description="/metrics asks for no key")
    hosts: frozenset[str] | None = Field(
        default=None,
        description="names by which the server may be called, separated by commas, * = any; "
        "none: those of loopback on loopback, any elsewhere",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="of the server's log")

    @field_validator("hosts", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return frozenset(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @property
    def memory_bytes(self) -> int | None:
        return self.memory_mb * 1_000_000 or None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process.

        Raises:
            Problems: naming every variable that is wrong.
        """
        named = {name: PREFIX + name.upper() for name in cls.model_fields}
        values = {name: environment[variable] for name, variable in named.items() if variable in environment}
        unknown = {name for name in environment if name.startswith(PREFIX)} - {*named.values(), *OTHERS}
        problems: list[PolystiltsError] = [
            UnknownName("setting", name, named.values(), param=name) for name in sorted(unknown)
        ]
        try:
            settings = cls.model_validate(values)
            if not problems:
                return settings
        except ValidationError as error:
            for found in error.errors():
                variable = named[str(found["loc"][0])]
                given = found["input"]
                problems.append(InvalidValue(f"{found['msg']}; given {given}", param=variable, given=given))
        raise Problems(problems) from None
