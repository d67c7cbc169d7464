"""One row in the hub's shape becomes one `Row` of the library, or is dropped, or is refused with its place.

The micro world, the hub and the local readers all pass through `to_row`, so a label, an answer or a tag is
checked in one place only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polystilts.data.shapes import SHAPES
from polystilts.errors import BadRow
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    RetrievalItem,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks.spec import TaskSpec

#: Our column names by format; the rest of a row is ignored.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pair": ("premise", "hypothesis", "label"),
    "choice": ("premise", "question", "choice1", "choice2", "label"),
    "tagging": ("tokens", "tags"),
    "span": ("id", "context", "question", "answers"),
    "sentence": ("query", "candidate"),
}

#: The column that is a label or holds tags, where there is one.
LABEL_COLUMN: Mapping[str, str] = {"pair": "label", "choice": "label", "tagging": "tags"}

#: PAWS-X marks a sentence that was never translated by this text; upstream's official counts leave such rows
#: out.
_NOT_TRANSLATED = "NS"

#: Hidden and missing labels on the hub (GLUE's test sets, SNLI's rows without consensus), and as csv writes them.
_NO_LABEL = (-1, "-1")


def make_id(values: Mapping[str, Any], split: str, index: int) -> str:
    """The row's own id where it is a text, else one made of split and row index.

    Parallel sets list the same examples in the same order in every language, so the index names the same
    example; numeric ids (`idx`, PAWS-X's `id`) count from the start of each split and say no more than the
    index does.
    """
    own = values.get("id")
    return own if isinstance(own, str) and own else f"{split}-{index}"


def to_row(
    spec: TaskSpec,
    values: Mapping[str, Any],
    *,
    id: str,
    language: str,
    place: str,
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
) -> Row | None:
    """Checks one row and makes it a `Row` of the spec's format.

    Args:
        spec: the task the row belongs to.
        values: the row by column; labels are names or integers, ``None`` where the source hides them.
        id: of the row within its task and language.
        language: code of the row's language.
        place: file and line (or set, split and row) for messages.
        columns: our column name -> the row's, where they differ (not asked where the spec has a shape).
        names: what integer labels stand for, where it is not the order of the spec's labels; all known labels where
            the spec lists none (CCG).

    Returns:
        The row; None if it is one the data set's own rules drop (label -1, an untranslated PAWS-X sentence, an
        answer outside every sentence).

    Raises:
        BadRow: a missing column, an unknown label or tag, tags that do not match the tokens, or an answer
            that does not stand where it should.
    """
    if spec.shape:
        shaped = _shaped(spec.shape, values, place)
        if shaped is None:
            return None
        values, columns = shaped, None
    reader = _Cells(values, columns or {}, place)
    if spec.format in LABEL_COLUMN and _is_no_label(reader.get(LABEL_COLUMN[spec.format])):
        return None
    return _MAKERS[spec.format](reader, spec, id, language, tuple(names or spec.labels))


def _shaped(shape: str, values: Mapping[str, Any], place: str) -> Mapping[str, Any] | None:
    try:
        return SHAPES[shape](values)
    except KeyError as error:
        found = ", ".join(map(str, values))
        raise BadRow(place, f"no column {error.args[0]!r} for {shape}; found: {found}") from None
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise BadRow(place, f"not a row of {shape}: {error}") from None


def _is_no_label(value: Any) -> bool:
    return isinstance(value, int | str) and value in _NO_LABEL


class _Cells:
    """Cells of one row under our column names."""

    def __init__(self, values: Mapping[str, Any], columns: Mapping[str, str], place: str) -> None:
        self._values = values
        self._columns = columns
        self._place = place

    def get(self, column: str) -> Any:
        name = self._columns.get(column, column)
        if name not in self._values:
            self.refuse(f"no column {name!r}; found: {', '.join(map(str, self._values))}")
        return self._values[name]

    def has(self, column: str) -> bool:
        return self._columns.get(column, column) in self._values

    def text(self, column: str) -> str:
        value = self.get(column)
        if not isinstance(value, str):
            self.refuse(f"{column} must be a text, not {type(value).__name__}")
        return str(value)

    def refuse(self, message: str) -> None:
        raise BadRow(self._place, message)


def _label(cells: _Cells, value: Any, names: tuple[str, ...], known: tuple[str, ...], kind: str) -> str:
    known = known or names
    if isinstance(value, str) and value not in known and value.isdecimal():
        value = int(value)  # csv has no numbers
    if isinstance(value, int):
        if not 0 <= value < len(names):
            cells.refuse(f"{kind} {int(value)} is not in 0..{len(names) - 1}")
        value = names[value]
    if value not in known:
        cells.refuse(f"unknown {kind} {value!r}; known: {', '.join(known)}")
    return str(value)


def _pair(cells: _Cells, spec: TaskSpec, id: str, language: str, names: tuple[str, ...]) -> Row | None:
    premise, hypothesis = cells.text("premise"), cells.text("hypothesis")
    if not hypothesis and spec.shape != "defect":
        cells.refuse("hypothesis is empty")
    if _NOT_TRANSLATED in (premise, hypothesis):
        return None
    value = cells.get("label")
    label = None if value is None else _label(cells, value, names, spec.labels, "label")
    return PairExample(id, language, premise, hypothesis, label)


def _choice(cells: _Cells, spec: TaskSpec, id: str, language: str, names: tuple[str, ...]) -> Row:
    columns = [name for name in (f"choice{n}" for n in range(1, 10)) if cells.has(name)]
    if len(columns) < 2:
        cells.refuse("needs choice1 and choice2")
    choices = tuple(cells.text(name) for name in columns)
    question = cells.text("question")
    if spec.question_texts and question not in spec.question_texts:
        cells.refuse(f"unknown question {question!r}; known: {', '.join(spec.question_texts)}")
    label = cells.get("label")
    if isinstance(label, str) and label in columns:
        label = columns.index(label)
    if isinstance(label, str) and label.isdecimal():
        label = int(label)  # csv has no numbers
    if label is not None and (not isinstance(label, int) or not 0 <= label < len(choices)):
        cells.refuse(f"label {label!r} is not in 0..{len(choices) - 1}")
    return ChoiceExample(id, language, cells.text("premise"), question, choices, label)


def _tagging(cells: _Cells, spec: TaskSpec, id: str, language: str, names: tuple[str, ...]) -> Row:
    tokens, values = tuple(cells.get("tokens")), cells.get("tags")
    if not tokens or not all(isinstance(token, str) for token in tokens):
        cells.refuse("tokens must be a list of at least one text")
    if values is None:
        return TaggingExample(id, language, tokens)
    if len(values) != len(tokens):
        cells.refuse(f"{len(tokens)} tokens and {len(values)} tags")
    tags = tuple(_label(cells, value, names, spec.labels, "tag") for value in values)
    return TaggingExample(id, language, tokens, tags)


def _span(cells: _Cells, spec: TaskSpec, id: str, language: str, names: tuple[str, ...]) -> Row:
    context = cells.text("context")
    title = cells.text("title") if cells.has("title") else ""
    pairs = _answers(cells)
    # An empty list hides the answers unless the set has questions without one.
    answers = tuple(_answer(cells, context, *pair) for pair in pairs) if pairs or spec.unanswerable else None
    return SpanExample(id, language, cells.text("question"), context, answers, title)


def _answers(cells: _Cells) -> list[tuple[Any, Any]]:
    """Answers as (text, start), from the hub's dict of lists or SQuAD json's list of dicts; none where
    hidden."""
    value = cells.get("answers")
    try:
        if isinstance(value, Mapping):
            pairs = list(zip(value["text"], value["answer_start"], strict=True))
        else:
            pairs = [(answer["text"], answer["answer_start"]) for answer in value or ()]
    except (KeyError, TypeError, ValueError):
        cells.refuse("answers need one text and one answer_start each")
    # XTREME's preparation blanks the answers of its test files instead of leaving them out.
    return [] if all(text == "" for text, _ in pairs) else pairs


def _answer(cells: _Cells, context: str, text: Any, start: Any) -> Answer:
    if not isinstance(text, str) or not text or not isinstance(start, int):
        cells.refuse(f"answer {text!r} at {start!r} needs a text and an integer start")
    found = context[start : start + len(text)] if start >= 0 else ""
    if found != text:
        cells.refuse(f"answer {text!r} is not at answer_start {start}, where {found!r} stands")
    return Answer(text, start)


def _sentence(cells: _Cells, spec: TaskSpec, id: str, language: str, names: tuple[str, ...]) -> Row:
    if cells.has("keys"):
        return _item(cells, id, language)
    # The hub's Tatoeba keeps the newline of the file it was read from.
    query, candidate = cells.text("query").strip("\r\n"), cells.text("candidate").strip("\r\n")
    for name, text in (("query", query), ("candidate", candidate)):
        if not text.strip():
            cells.refuse(f"{name} is empty")
    return SentencePair(id, language, query, candidate)


def _item(cells: _Cells, id: str, language: str) -> Row:
    """A row of a collection: ``text``, ``query`` (whether it asks) and ``keys``."""
    text, query, keys = cells.text("text"), cells.get("query"), cells.get("keys")
    if not text.strip():
        cells.refuse("text is empty")
    if not isinstance(query, bool):
        cells.refuse(f"query must be true or false, not {query!r}")
    if isinstance(keys, str) or not all(isinstance(key, str) and key for key in keys):
        cells.refuse(f"keys must be a list of texts, not {keys!r}")
    return RetrievalItem(id, language, text, query, tuple(keys))


_MAKERS: Mapping[str, Callable[[_Cells, TaskSpec, str, str, tuple[str, ...]], Row | None]] = {
    "pair": _pair,
    "choice": _choice,
    "tagging": _tagging,
    "span": _span,
    "sentence": _sentence,
}


def has_gold(row: Row) -> bool:
    """Whether the row can be scored or trained on: files whose labels are hidden give rows without gold."""
    match row:
        case PairExample() | ChoiceExample():
            return row.label is not None
        case TaggingExample():
            return row.tags is not None
        case SpanExample():
            return row.answers is not None
        case _:
            return True
