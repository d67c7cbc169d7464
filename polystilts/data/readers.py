"""Readers of the file formats in XTREME's ``download/`` folder: one file in, (place, columns) out by row.

A place is ``file:line``, as editors and people look it up. The rules are those of the files themselves: XNLI
and PAWS-X are written by Python's csv writer with a tab as delimiter, tags stand one token a line, the rest
is json.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from polystilts.errors import BadRow, MissingData
from polystilts.tasks.spec import TaskSpec

logger = logging.getLogger(__name__)

RawRow = tuple[str, dict[str, Any]]

#: (file, spec, language, whether the file may come without labels: XTREME strips those of test files).
Reader = Callable[[Path, TaskSpec, str, bool], Iterator[RawRow]]

#: Two-way labels that are all the same by chance: once in 2 ** 19 files of this many rows.
_CONSTANT_ROWS = 20


def read_text(path: Path) -> str:
    """The file as text.

    Raises:
        MissingData: the file is empty.
        BadRow: a byte that is not UTF-8, with its line.
    """
    raw = path.read_bytes()
    if not raw.strip():
        raise MissingData(f"{path} is empty", given=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadRow(f"{path}:{line}", f"not UTF-8: byte 0x{raw[error.start]:02x}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # str.splitlines would also split at U+2028 and U+0085, which occur inside sentences.
    for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), 1):
        yield number, line.removesuffix("\r")


def read_pairs(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """``premise TAB hypothesis TAB label`` with csv quoting; a test file may lack the last column
    throughout."""
    records = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", strict=True)
    columns = ["premise", "hypothesis", "label"]
    last = 0
    while True:
        place = f"{path}:{last + 1}"
        try:
            record = next(records, None)
        except csv.Error as error:
            raise BadRow(place, f"not tab-separated csv: {error}") from None
        if record is None:
            return
        if records.line_num - last > 1:
            raise BadRow(place, f"a quoted text runs on to line {records.line_num}; quotes inside must be doubled")
        if last == 0 and unlabelled and len(record) == 2:
            columns = columns[:2]
        if len(record) != len(columns):
            raise BadRow(place, f"{len(record)} columns instead of {len(columns)} ({', '.join(columns)})")
        last = records.line_num
        yield place, {"label": None} | dict(zip(columns, record, strict=True))


def read_tagged(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """``token TAB tag`` with an empty line between sentences; a test file may hold tokens alone
    throughout."""
    return _tagged(path, spec, "", unlabelled)


def read_prefixed(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """As `read_tagged`, with tokens written ``de:token`` as WikiANN does, or bare as XTREME's preparation
    leaves them."""
    first = next((line for _, line in _lines(path) if line.strip()), "")
    prefix = f"{language}:"
    return _tagged(path, spec, prefix if first.startswith(prefix) else "", unlabelled)


def _tagged(path: Path, spec: TaskSpec, prefix: str, unlabelled: bool) -> Iterator[RawRow]:
    width, start = 0, 1
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in [*_lines(path), (0, "")]:
        if not line.strip():
            if tokens:
                yield f"{path}:{start}", {"tokens": tokens, "tags": tags if width == 2 else None}
                tokens, tags = [], []
            continue
        place = f"{path}:{number}"
        cells = line.split("\t")
        width = width or (1 if unlabelled and len(cells) == 1 else 2)
        if len(cells) != width:
            wanted = "token, tag" if width == 2 else "token"
            raise BadRow(place, f"{len(cells)} columns instead of {width} ({wanted})")
        token = cells[0].removeprefix(prefix)
        if prefix and token == cells[0]:
            raise BadRow(place, f"token {token!r} lacks the prefix {prefix!r} that the first one has")
        if not token.strip():
            raise BadRow(place, "empty token")
        if width == 2 and cells[1] not in spec.labels:
            raise BadRow(place, f"unknown tag {cells[1]!r}; known: {', '.join(spec.labels)}")
        start = start if tokens else number
        tokens.append(token)
        tags.append(cells[-1])


def read_squad(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """SQuAD's json: articles of paragraphs (one context each) of questions."""
    text = read_text(path)
    document = _json(text, path, 1)
    line, position = 1, 0
    try:
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    found = text.find(json.dumps(question["id"]), position)
                    if found > position:
                        line, position = line + text.count("\n", position, found), found
                    yield (
                        f"{path}:{line} (question {question['id']!r})",
                        {
                            "id": question["id"],
                            "title": article.get("title", ""),
                            "context": paragraph["context"],
                            "question": question["question"],
                            "answers": question.get("answers", []),
                        },
                    )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRow(
            f"{path}:{line}", f"not SQuAD's json (data, paragraphs, context, qas, id, question): {error!r}"
        ) from None


def read_choices(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """Json lines with premise, question, choice1, choice2 and label.

    Early releases of XCOPA's test files hold 0 in place of every label; a file that may come unlabelled and
    holds one label throughout is read without labels.
    """
    rows: list[RawRow] = []
    for number, line in _lines(path):
        if line.strip():
            place = f"{path}:{number}"
            value = _json(line, path, number)
            if not isinstance(value, Mapping):
                raise BadRow(place, "not a json object")
            rows.append((place, {"label": None, **value} if unlabelled else dict(value)))
    labels = {values.get("label") for _, values in rows}
    if unlabelled and len(rows) >= _CONSTANT_ROWS and len(labels) == 1 and labels != {None}:
        logger.warning("%s: every label is %r, so its labels are taken to be hidden", path, labels.pop())
        rows = [(place, {**values, "label": None}) for place, values in rows]
    yield from rows


def english_side(path: Path) -> Path:
    """The file that is aligned line by line with `path`: ``tatoeba.deu-eng.deu`` ->
    ``tatoeba.deu-eng.eng``."""
    return path.with_suffix(".eng")


def read_bitext(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> Iterator[RawRow]:
    """Two files of equal length, one sentence a line; the second is `english_side`."""
    other = english_side(path)
    sentences, english = list(_lines(path)), list(_lines(other))
    if len(sentences) != len(english):
        place = f"{path if len(sentences) > len(english) else other}:{min(len(sentences), len(english)) + 1}"
        raise BadRow(place, f"{path.name} has {len(sentences)} lines and {other.name} {len(english)}: not aligned")
    for (number, sentence), (_, translation) in zip(sentences, english, strict=True):
        for file, text in ((path, sentence), (other, translation)):
            if not text.strip():
                raise BadRow(f"{file}:{number}", "empty sentence")
        yield f"{path}:{number}", {"sentence": sentence, "english": translation}


def _json(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRow(f"{path}:{line + error.lineno - 1}", f"bad json: {error.msg}") from None


READERS: Mapping[str, Reader] = {
    "pair": read_pairs,
    "tagged": read_tagged,
    "prefixed": read_prefixed,
    "squad": read_squad,
    "copa": read_choices,
    "bitext": read_bitext,
}
