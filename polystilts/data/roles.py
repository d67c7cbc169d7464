"""Which rows may be used for what.

- ``checkpoint`` rows, English only, choose checkpoints, thresholds and hyper-parameters.
- ``choice`` rows choose the recipe (intermediate task and options) for a target.
- ``report`` rows are used for no choice whatever: a published number comes from them.

A target's choice and report rows are two splits where the source has both for a language. Where it has one,
the half of the ids that a hash gives is ``choice``, the same ids in every language, so that no example is
chosen on in one language and reported in another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from polystilts.data.columns import has_gold
from polystilts.data.source import Source, with_part
from polystilts.errors import InvalidValue, MissingData
from polystilts.formats.values import (
    ChoiceExample,
    PairExample,
    RetrievalItem,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks.catalogue import TASKS, get_task
from polystilts.tasks.spec import TaskSpec

#: 'both': a candidate of a set with a single split, which stands in the pool of either half. It is no role of a row
#: that is scored: only queries are.
Role = Literal["checkpoint", "choice", "report", "both"]

ENGLISH = "en"


def hash_of(text: str, purpose: str) -> int:
    """A number in 0 .. 2**32 - 1 that depends on the text alone; purposes are independent of each other."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{text}".encode()).digest()[:4])


def half_role(id: str) -> Role:
    """The role of an id whose set has a single split: the first bit of its sha256."""
    return "choice" if hashlib.sha256(id.encode()).digest()[0] < 128 else "report"


def evaluation_languages(source: Source, spec: TaskSpec) -> tuple[str, ...]:
    """Languages that the source has evaluation rows for: the spec's, in its order, then any others."""
    there = [language for split in spec.evaluation_splits for language in source.languages(spec, split)]
    known = [language for language in spec.languages if language in there]
    return tuple(dict.fromkeys((*known, *there)))


def missing_languages(source: Source, spec: TaskSpec) -> tuple[str, ...]:
    """Languages of the spec that the source has no evaluation rows for: a table names them.

    A task without evaluation splits misses none.
    """
    there = evaluation_languages(source, spec) if spec.evaluation_splits else spec.languages
    return tuple(language for language in spec.languages if language not in there)


def evaluation_rows(
    source: Source, spec: TaskSpec, language: str, *, limit: int | None = None
) -> list[tuple[Role, Row]]:
    """The labelled rows of one language with their roles, in the order of the data set.

    Args:
        source: where rows come from.
        spec: the target.
        language: one of `evaluation_languages`.
        limit: at most this many rows of each role, those with the smallest hash of the id: the same ids in
            every language that has them. For smoke runs; None = all. It limits the queries of a collection, never
            its candidates: against fewer of them every query would be easier.

    Returns:
        Candidates of a collection (`RetrievalItem` without `query`) have the role of their split, or 'both' where
        one split is halved; the pool of a role is all candidates with that role or 'both'. Candidates that all
        languages share are not among them: see `pool_rows`.

    Raises:
        MissingData: the source has no labelled rows for this language.
    """
    rows = labelled_rows(source, spec, language, limit=limit)
    if not rows:
        raise _no_labelled_rows(source, spec, language)
    return rows


def labelled_rows(
    source: Source, spec: TaskSpec, language: str, *, limit: int | None = None, hidden: bool = False
) -> list[tuple[Role, Row]]:
    """As `evaluation_rows`, but [] where there are rows and all their labels are hidden.

    Args:
        hidden: with the splits of a collection whose pairs are hidden: to predict them, not to score them.

    Raises:
        MissingData: the source has no rows for this language.
    """
    found, unlabelled = _evaluated(source, spec, language, hidden=hidden)
    if not found and not unlabelled:
        raise _no_labelled_rows(source, spec, language)
    rows = _with_roles(spec, found)
    return rows if limit is None else _limited(rows, limit)


def pool_rows(source: Source, spec: TaskSpec) -> list[Row]:
    """The candidates that all languages of a target share (`TaskSpec.pool_split`); [] where it has none.

    Raises:
        MissingData: the source does not have them.
    """
    return source.rows(spec, spec.pool_split, "") if spec.pool_split else []


def training_languages(source: Source, task: TaskSpec) -> tuple[str, ...]:
    """The languages of the task's training rows that the source has; of a task with parts English if all parts have."""
    there = source.languages(task, "train")
    return tuple(code for code in task.train_languages if code in there)


def training_rows(source: Source, spec: TaskSpec) -> list[Row]:
    """The rows that train this task (or, for a target, its training task), less any that are held out.

    They are those of its `train_languages`, one language after the other, as many of them as the source has. Of a task
    with parts they are the parts' training rows. What is held out in English is held out in every language.

    Raises:
        MissingData: the source has none, or lacks a part.
    """
    task = _training_task(spec)
    if task.parts:
        return [row for part in task.parts for row in with_part(part, training_rows(source, get_task(part)))]
    there = training_languages(source, task) or task.train_languages[:1]
    rows = [row for code in there for row in _labelled(source, task, "train", code)]
    return [row for row in rows if not _is_held_out(task, row)] if _holds_out(source, _english_of(task)) else rows


def checkpoint_rows(source: Source, spec: TaskSpec) -> list[Row]:
    """The English rows that may choose a checkpoint of this task (for a target: of its training task).

    They are the task's checkpoint split; where it names none or the source has none, a tenth of the English
    training rows by a hash of `spec.group`, which `training_rows` leaves out. For a translated training set they are
    those of the English task, for a task with parts the parts'.

    No row of the result is a report row of the task itself or of a target drawn from its data (`TaskSpec.drawn_from`),
    rows with hidden labels included, which a benchmark reports. Rows of such a target are left out altogether, except
    where nothing else is there (English XCOPA is COPA's validation file), when its choice rows stay. Of other sets of
    questions (SQuAD 2.0) the rows about a paragraph of such a target are left out.

    Raises:
        MissingData: the source has no such rows.
    """
    task = _english_of(_training_task(spec))
    if task.parts:
        return [row for part in task.parts for row in with_part(part, checkpoint_rows(source, get_task(part)))]
    if _holds_out(source, task):
        return [row for row in _labelled(source, task, "train", ENGLISH) if _is_held_out(task, row)]
    rows = _labelled(source, task, task.checkpoint_split, ENGLISH)
    drawn = [target for target in TASKS.values() if target.drawn_from]
    for target in (task, *(target for target in drawn if get_task(target.drawn_from).data == task.data)):
        if ENGLISH not in evaluation_languages(source, target):
            continue
        evaluated = _scored_in_english(source, target)
        reported = {_identity(row) for role, row in evaluated if role == "report"}
        everything = reported if target is task else {_identity(row) for _, row in evaluated}
        outside = [row for row in rows if _identity(row) not in everything]
        rows = outside or [row for row in rows if _identity(row) not in reported]
    if task.format == "span":
        contexts = {
            _context(row)
            for target in drawn
            if target.format == "span" and get_task(target.drawn_from).data != task.data
            if ENGLISH in evaluation_languages(source, target)
            for _, row in _scored_in_english(source, target)
        }
        rows = [row for row in rows if _context(row) not in contexts]
    if not rows:
        raise MissingData(f"{source.name} has no {task.name} rows that may choose a checkpoint", given=task.name)
    return rows


def for_selection(rows: Iterable[tuple[Role, Row]]) -> list[Row]:
    """The rows, if all of them may be used for a choice: every selection passes its rows through here.

    Raises:
        InvalidValue: a report row is among them.
    """
    selected = []
    for role, row in rows:
        if role == "report":
            raise InvalidValue(
                f"row {row.id!r} in {row.language!r} is a report row and must not be used for a choice",
                param="rows",
                given=row.id,
            )
        selected.append(row)
    return selected


def resampling_units(spec: TaskSpec, rows: Iterable[Row]) -> dict[str, str]:
    """id -> unit of resampling, for the rows of one language (`TaskSpec.unit`).

    Questions about one paragraph share a unit, named by the smallest of their ids: ids agree between the
    languages of a parallel set, so the unit does too.
    """
    rows = list(rows)
    if spec.unit != "paragraph":
        return {row.id: row.id for row in rows}
    first: dict[str, str] = {}
    for row in rows:
        context = _context(row)
        first[context] = min(first.get(context, row.id), row.id)
    return {row.id: first[_context(row)] for row in rows}


def _evaluated(
    source: Source, spec: TaskSpec, language: str, *, hidden: bool = False
) -> tuple[dict[str, list[Row]], list[Row]]:
    """The labelled rows by evaluation split, and the rows whose labels are hidden.

    A split whose labels are hidden, as XTREME leaves its test files, counts as not there; of a collection it may count
    (`hidden`).
    """
    found: dict[str, list[Row]] = {}
    unlabelled: list[Row] = []
    for split in spec.evaluation_splits:
        if language not in source.languages(spec, split):
            continue
        rows = source.rows(spec, split, language)
        labelled = [] if not hidden and _is_hidden(rows) else [row for row in rows if has_gold(row)]
        if labelled:
            found[split] = labelled
        unlabelled += [row for row in rows if not labelled or not has_gold(row)]
    return found, unlabelled


def _with_roles(spec: TaskSpec, found: Mapping[str, Sequence[Row]]) -> list[tuple[Role, Row]]:
    if len(found) == 2:
        roles: dict[str, Role] = {spec.choice_split: "choice", spec.report_split: "report"}
        return [(roles[split], row) for split, rows in found.items() for row in rows]
    return [("both" if _is_candidate(row) else half_role(row.id), row) for rows in found.values() for row in rows]


def _scored_in_english(source: Source, target: TaskSpec) -> list[tuple[Role, Row]]:
    """A target's English rows, candidates apart, those with hidden labels as reported: a benchmark scores them."""
    found, hidden = _evaluated(source, target, ENGLISH)
    rows = [*_with_roles(target, found), *(("report", row) for row in hidden)]
    return [(role, row) for role, row in rows if not _is_candidate(row)]


def _no_labelled_rows(source: Source, spec: TaskSpec, language: str) -> MissingData:
    message = f"{source.name} has no labelled {spec.name} rows in {language!r}"
    return MissingData(message, param="languages", given=language)


def _limited(rows: list[tuple[Role, Row]], limit: int) -> list[tuple[Role, Row]]:
    if limit < 1:
        raise InvalidValue("must be at least 1", param="limit", limit=1, given=limit)
    kept: set[tuple[Role, str]] = set()
    for role in ("choice", "report"):
        own = {row.id for found, row in rows if found == role and not _is_candidate(row)}
        kept.update((role, id) for id in sorted(own, key=lambda id: (hash_of(id, "limit"), id))[:limit])
    return [(role, row) for role, row in rows if _is_candidate(row) or (role, row.id) in kept]


def _training_task(spec: TaskSpec) -> TaskSpec:
    if not spec.train_task:
        raise MissingData(f"{spec.name} is scored without training", param="task", given=spec.name)
    return spec if spec.train_task == spec.name else get_task(spec.train_task)


def _english_of(task: TaskSpec) -> TaskSpec:
    """The task itself, or the English one that it is a translation of."""
    return get_task(task.translates) if task.translates else task


def _labelled(source: Source, task: TaskSpec, split: str, language: str) -> list[Row]:
    which = "English" if language == ENGLISH else repr(language)
    if language not in source.languages(task, split):
        raise MissingData(f"{source.name} has no {which} {split} rows for {task.name}", given=task.name)
    rows = [row for row in source.rows(task, split, language) if has_gold(row)]
    if not rows:
        raise MissingData(f"{source.name}: the {which} {split} rows of {task.name} have no labels", given=task.name)
    return rows


def _is_candidate(row: Row) -> bool:
    return isinstance(row, RetrievalItem) and not row.query


def _is_hidden(rows: Iterable[Row]) -> bool:
    """Whether the pairs of a collection are hidden: most BUCC sentences have no partner, but not all."""
    queries = [row for row in rows if isinstance(row, RetrievalItem) and row.query]
    return bool(queries) and not any(row.keys for row in queries)


def _holds_out(source: Source, task: TaskSpec) -> bool:
    return not task.checkpoint_split or ENGLISH not in source.languages(task, task.checkpoint_split)


def _is_held_out(task: TaskSpec, row: Row) -> bool:
    # Without a title (XTREME's own preparation drops TyDiQA's) the context keeps the questions of a page
    # together.
    group = (getattr(row, "title", "") or _context(row)) if task.group == "title" else row.id
    return hash_of(group, "checkpoint") % 10 == 0


def _context(row: Row) -> str:
    return row.context if isinstance(row, SpanExample) else row.id


_IDENTITIES: dict[type, Callable[[Any], object]] = {
    PairExample: lambda row: (row.premise, row.hypothesis),
    ChoiceExample: lambda row: (row.premise, row.question, row.choices),
    TaggingExample: lambda row: row.tokens,
    SpanExample: lambda row: row.id,
    SentencePair: lambda row: row.id,
    RetrievalItem: lambda row: row.id,
}


def _identity(row: Row) -> object:
    """What makes two rows the same example: the text; for questions the id, which SQuAD, XQuAD and LAReQA
    share.

    By the text, a sentence that a treebank holds twice cannot choose a checkpoint and be reported as well.
    """
    return _IDENTITIES[type(row)](row)
