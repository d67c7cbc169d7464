"""Noise on rows: names of sets of kinds, the language of what is changed, and a share of training rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from types import MappingProxyType

from polystilts.data.noise.edits import KINDS
from polystilts.data.noise.noise import HELD_OUT_KINDS, TRAIN_KINDS, Counts, Noise, NoiseSettings
from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats.values import Row, SentencePair

#: Sets of kinds by name: those of a training with noise, and those it is then tested on.
KIND_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"all": KINDS, "train": TRAIN_KINDS, "held-out": HELD_OUT_KINDS}
)


def parse_kinds(text: str, *, param: str = "kinds") -> tuple[str, ...]:
    """Kinds as written: the name of a set, or kinds with ',' or '+' between; in the order of `KINDS`.

    Raises:
        UnknownName: neither; the message has the nearest name.
    """
    if text in KIND_SETS:
        return KIND_SETS[text]
    names = [name.strip() for name in re.split("[+,]", text) if name.strip()]
    for name in names or [text]:
        if name not in KINDS:
            raise UnknownName("kind of noise", name, (*KINDS, *KIND_SETS), param=param)
    return tuple(kind for kind in KINDS if kind in names)


def name_of_kinds(kinds: Iterable[str]) -> str:
    """What `parse_kinds` reads as these kinds: the name of their set, where they are one."""
    given = tuple(kinds)
    return next((name for name, kinds in KIND_SETS.items() if kinds == given), "+".join(given))


def noised_language(row: Row) -> str:
    """The language of what noise changes in a row: its own; of aligned pairs the query's, which is English."""
    return "en" if isinstance(row, SentencePair) else row.language


def noised_share(rows: Iterable[Row], settings: NoiseSettings, *, share: float) -> tuple[list[Row], dict[str, Counts]]:
    """Training rows, a share of them with noise; their order, number, ids and labels stay.

    Which rows are noised depends on the seed and their ids alone: in a parallel set they are the same in every
    language, and those of a share are among those of every larger one.

    Args:
        rows: labelled rows of any format, as they are before they are encoded.
        settings: of the noise; its rate is the share of words inside a noised row.
        share: of the rows, 0 to 1; with 0 the rows are given back as they are.

    Returns:
        The rows, and what was done to the noised ones by language of the changed text.

    Raises:
        InvalidValue: a share outside 0 to 1.
        UnknownName: a language that is not known.
    """
    if not 0.0 <= share <= 1.0:
        raise InvalidValue(f"share must be from 0 to 1, not {share}", param="share", limit=1, given=share)
    noise = Noise(settings)
    kept: list[Row] = []
    counts: dict[str, Counts] = {}
    for row in rows:
        digest = blake2b(f"{settings.seed}\0{row.id}\0share".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if int.from_bytes(digest) < share * 2**64:
            language = noised_language(row)
            row, done = noise.apply(row, language)
            counts[language] = counts.get(language, Counts()) + done
        kept.append(row)
    return kept, counts
