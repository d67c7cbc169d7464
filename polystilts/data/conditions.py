"""Conditions under which a target is scored: its rows as they are, or changed so that their meaning stays.

``clean``, ``noise:RATE[:KINDS][:SEED][:in-answers]``, ``swapped`` (the two texts of a pair change places),
``renamed[:SEED]`` (one name becomes another in both texts). docs/noise.md says what each changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from polystilts.data.noise import Counts, Noise, NoiseSettings
from polystilts.data.noise.rows import name_of_kinds, noised_language, parse_kinds
from polystilts.data.renaming import rename
from polystilts.data.roles import ENGLISH, Role
from polystilts.data.scored import Pool, ScoredRows
from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats.values import PairExample, Row
from polystilts.tasks.spec import TaskSpec

CONDITIONS = ("clean", "noise", "swapped", "renamed")

#: Conditions that change pairs of texts and nothing else.
OF_PAIRS = ("swapped", "renamed")

_IN_ANSWERS = "in-answers"


@dataclass(frozen=True)
class Condition:
    """One condition; two are equal if they change rows in the same way.

    Attributes:
        kind: one of `CONDITIONS`.
        noise: its settings, of 'noise' alone.
        seed: of the names, of 'renamed' alone.
    """

    kind: str = "clean"
    noise: NoiseSettings | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The whole of it in a word, as banks, keys and runs hold it; `parse_condition` reads it."""
        if self.noise:
            parts = [str(float(self.noise.rate)), name_of_kinds(self.noise.kinds), str(self.noise.seed)]
            return ":".join(["noise", *parts, *[_IN_ANSWERS] * self.noise.in_answers])
        return f"renamed:{self.seed}" if self.kind == "renamed" else self.kind


CLEAN = Condition()


def noise_of(settings: NoiseSettings) -> Condition:
    """The condition of a noise."""
    return Condition("noise", settings)


def parse_condition(text: str, *, param: str = "condition") -> Condition:
    """A condition as written, see above; the seed is 0 and the kinds are all where they are not given.

    Raises:
        UnknownName: a condition or a kind of noise that is not known.
        InvalidValue: a rate outside 0 to 1, or parts that a condition does not have.
    """
    kind, *parts = text.strip().split(":")
    if kind not in CONDITIONS:
        raise UnknownName("condition", kind, CONDITIONS, param=param)
    if kind == "renamed" and len(parts) < 2 and all(part.isdecimal() for part in parts):
        return Condition(kind, seed=int(parts[0]) if parts else 0)
    if kind == "noise" and parts:
        return noise_of(_noise(text, parts, param))
    if kind in ("noise", "renamed") or parts:
        forms = "clean, noise:RATE[:KINDS][:SEED][:in-answers], swapped, renamed[:SEED]"
        raise InvalidValue(f"{text!r} is not a condition; write {forms}", param=param, given=text)
    return Condition(kind)


def _noise(text: str, parts: list[str], param: str) -> NoiseSettings:
    rate, *rest = parts
    try:
        settings = NoiseSettings(float(rate))
        for part in rest:
            if part == _IN_ANSWERS:
                settings = replace(settings, in_answers=True)
            elif part.isdecimal():
                settings = replace(settings, seed=int(part))
            else:
                settings = replace(settings, kinds=parse_kinds(part))
    except ValueError:
        raise InvalidValue(f"{rate!r} in {text!r} is not a rate", param=param, limit=1, given=rate) from None
    except InvalidValue as error:
        error.param = param
        raise
    return settings


@dataclass(frozen=True)
class Changed:
    """Rows under a condition, and what was done to them.

    Attributes:
        rows: a row that has no changed form (a pair without a name) is not there.
        counts: what noise did, by the language of the rows (of collections the query's).
        share: of the rows of each language that have a changed form, 0 to 1.
    """

    rows: ScoredRows
    counts: Mapping[str, Counts] = field(default_factory=dict)
    share: Mapping[str, float] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What a bank's metadata keeps of it, as JSON values: counts and measured rates, and shares, by language."""
        noise = {
            language: {
                **asdict(counts),
                "kinds": dict(counts.kinds),
                "word_rate": counts.word_rate,
                "character_rate": counts.character_rate,
            }
            for language, counts in self.counts.items()
        }
        return {"noise": noise, "share": dict(self.share)}


def change(rows: ScoredRows, spec: TaskSpec, condition: Condition) -> Changed:
    """What a target is scored on, under a condition. Roles, ids and candidates of retrieval stay.

    Raises:
        InvalidValue: a condition of pairs for a target of another format.
        UnknownName: noise in a language that is not known.
    """
    check_condition(condition, spec)
    if condition.noise:
        return _noised(rows, condition.noise)
    if condition.kind == "swapped":
        return _of_pairs(rows, lambda _, pair: replace(pair, premise=pair.hypothesis, hypothesis=pair.premise))
    if condition.kind == "renamed":
        # Ids name the same pair in every language only where the set is parallel.
        english = {(role, row.id): row for role, row in rows.rows.get(ENGLISH, ())} if spec.parallel else {}
        originals = {key: row for key, row in english.items() if isinstance(row, PairExample)}
        return _of_pairs(
            rows, lambda role, pair: rename(pair, seed=condition.seed, english=originals.get((role, pair.id)))
        )
    return Changed(rows)


def check_condition(condition: Condition, spec: TaskSpec, *, param: str = "condition") -> None:
    """Refuses a condition that the rows of a target cannot have.

    Raises:
        InvalidValue: see above.
    """
    if condition.kind in OF_PAIRS and spec.format != "pair":
        message = f"{condition.kind!r} changes the two texts of a pair; {spec.name} has the format {spec.format!r}"
        raise InvalidValue(message, param=param, limit="pair", given=spec.format)


def _noised(rows: ScoredRows, settings: NoiseSettings) -> Changed:
    noise = Noise(settings)
    counts: defaultdict[str, Counts] = defaultdict(Counts)

    def noised(row: Any, language: str) -> Any:
        new, done = noise.apply(row, noised_language(row))
        counts[language] += done
        return new

    by_language = {
        language: [(role, noised(row, language)) for role, row in own] for language, own in rows.rows.items()
    }
    pools = {
        name: [
            Pool([(role, noised(query, query.language)) for role, query in pool.queries], pool.candidates)
            for pool in group
        ]
        for name, group in rows.pools.items()
    }
    return Changed(ScoredRows(by_language, pools, rows.unlabelled), dict(counts), dict.fromkeys(counts, 1.0))


def _of_pairs(rows: ScoredRows, new: Callable[[Role, PairExample], PairExample | None]) -> Changed:
    found: dict[str, list[tuple[Role, Row]]] = {}
    share: dict[str, float] = {}
    for language, own in rows.rows.items():
        made = [(role, new(role, row)) for role, row in own if isinstance(row, PairExample)]
        there: list[tuple[Role, Row]] = [(role, row) for role, row in made if row is not None]
        share[language] = len(there) / len(own)
        if there:
            found[language] = there
    return Changed(ScoredRows(found, {}, rows.unlabelled), share=share)
