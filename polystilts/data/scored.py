"""What a target is scored on: labelled rows with their roles by language, or pools of a collection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polystilts.data.roles import Role, labelled_rows, pool_rows
from polystilts.data.source import Source
from polystilts.errors import InvalidValue, MissingData
from polystilts.formats.values import RetrievalItem, Row, SentenceExample, SentencePair
from polystilts.tasks.spec import TaskSpec

#: Metrics of collections, whose queries and candidates are not aligned: pairs mined by a threshold, and rankings.
MINING, RANKING = "mining_f1", "map_at_20"


@dataclass(frozen=True)
class Pool:
    """Queries with their roles, and the candidates among which each of them looks."""

    queries: list[tuple[Role, RetrievalItem]]
    candidates: list[RetrievalItem]

    @property
    def relevant(self) -> list[list[int]]:
        """For every query the numbers of the candidates that share a key with it."""
        by_key: defaultdict[str, list[int]] = defaultdict(list)
        for number, candidate in enumerate(self.candidates):
            for key in candidate.keys:
                by_key[key].append(number)
        return [sorted({n for key in query.keys for n in by_key[key]}) for _, query in self.queries]

    @property
    def names(self) -> list[str]:
        """Ids of the candidates; where the languages of a pool repeat ids, LANGUAGE/ID.

        Raises:
            InvalidValue: an id that occurs twice in a language.
        """
        for names in (
            [item.id for item in self.candidates],
            [f"{item.language}/{item.id}" for item in self.candidates],
        ):
            if len(set(names)) == len(names):
                return names
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidValue(f"two candidates have the id {repeated!r}", param="id", given=repeated)


@dataclass(frozen=True)
class ScoredRows:
    """What a target is scored on, read once for every recipe, its trivial baseline and its export.

    Attributes:
        rows: labelled rows with their roles by language; empty for collections.
        pools: of a collection, by language (mining) or under '' for all languages together (rankings).
        unlabelled: languages that were asked for and are not among these rows, because all their labels are hidden.
    """

    rows: Mapping[str, list[tuple[Role, Row]]]
    pools: Mapping[str, list[Pool]]
    unlabelled: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Rows, or queries and candidates: what progress counts."""
        pools = [pool for group in self.pools.values() for pool in group]
        return sum(map(len, self.rows.values())) + sum(len(p.queries) + len(p.candidates) for p in pools)

    def only(self, role: Role) -> ScoredRows:
        """The rows of one role, where a row is answered by itself. Retrieval stays whole, as every query is among the
        neighbours of another: there the other role's rows are dropped from the result."""
        if self.pools or any(isinstance(row, SentencePair) for own in self.rows.values() for _, row in own):
            return self
        rows = {language: [row for row in own if row[0] == role] for language, own in self.rows.items()}
        return ScoredRows(rows, {}, self.unlabelled)

    def examples(self, count: int) -> list[Any]:
        """Of every language `count` choice rows, as a predictor takes them; of collections queries and candidates."""
        found: list[Any] = []
        for rows in self.rows.values():
            found += [row for role, row in rows if role == "choice"][:count]
        for pool in (pool for group in self.pools.values() for pool in group):
            by_language: defaultdict[tuple[str, bool], list[RetrievalItem]] = defaultdict(list)
            for item in (*(query for role, query in pool.queries if role == "choice"), *pool.candidates):
                by_language[item.language, item.query].append(item)
            found += [item for items in by_language.values() for item in items[:count]]
        return [
            as_text(row)
            if isinstance(row, RetrievalItem)
            else SentenceExample(row.id, row.language, row.candidate)
            if isinstance(row, SentencePair)
            else row
            for row in found
        ]


def scored_rows(
    source: Source, spec: TaskSpec, languages: Sequence[str], *, limit: int = 0, hidden: bool = False
) -> ScoredRows:
    """Reads what a target is scored on; `ScoredRows.unlabelled` names the languages that cannot be.

    Args:
        limit: rows of each role a language at most, of rankings queries: fewer candidates would make every query
            easier; 0 = all. Mining has no limit: its margins come from the neighbours on both sides.
        hidden: see `labelled_rows`.

    Raises:
        MissingData: no rows in one of the languages, or hidden labels in all of them.
    """
    most = None if spec.metric == MINING else limit or None
    found = {code: labelled_rows(source, spec, code, limit=most, hidden=hidden) for code in languages}
    rows = {language: own for language, own in found.items() if own}
    unlabelled = tuple(language for language in found if language not in rows)
    if unlabelled and not rows:
        message = f"{source.name} hides the labels of {spec.name} in every language: {', '.join(unlabelled)}"
        raise MissingData(message, param="languages", given=spec.name)
    if spec.metric not in (MINING, RANKING):
        return ScoredRows(rows, {}, unlabelled)
    if spec.metric == MINING:
        return ScoredRows({}, {language: _pools(own) for language, own in rows.items()}, unlabelled)
    shared: list[tuple[Role, Row]] = [("both", row) for row in pool_rows(source, spec)]
    return ScoredRows({}, {"": _pools([*(row for own in rows.values() for row in own), *shared])}, unlabelled)


def as_text(item: RetrievalItem) -> SentenceExample:
    """A query or candidate as a predictor takes it."""
    return SentenceExample(item.id, item.language, item.text, query=item.query)


def _pools(rows: Sequence[tuple[Role, Row]]) -> list[Pool]:
    """Each role's queries with its candidates; one pool where every candidate stands in that of both roles."""
    items = [(role, row) for role, row in rows if isinstance(row, RetrievalItem)]
    queries = [(role, item) for role, item in items if item.query]
    candidates = [(role, item) for role, item in items if not item.query]
    if all(role == "both" for role, _ in candidates):
        return [Pool(queries, [item for _, item in candidates])]
    roles = [role for role in ("choice", "report") if any(found == role for found, _ in queries)]
    return [
        Pool([q for q in queries if q[0] == role], [item for found, item in candidates if found in (role, "both")])
        for role in roles
    ]
