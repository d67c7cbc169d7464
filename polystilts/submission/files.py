"""XTREME's and XTREME-R's own prediction and label files.

``FOLDER/TASK/test-LANGUAGE.SUFFIX``, for predictions and for labels, as XTREME's evaluate.py (838c13b) reads them:

=================  =======  ============================================================================
pawsx, xnli        tsv      a label a line
panx, udpos        tsv      a tag a line, an empty line behind every sentence
tatoeba            tsv      a line per query: the position of the sentence in the other language, from 0
bucc2018           tsv      ``source id TAB target id`` a line
xquad mlqa tydiqa  json     predictions ``{id: text}``; labels SQuAD's json
mewslix            json     predictions ``{id: [entity ids]}``, best first; labels ``{id: [entity id]}``
xcopa              jsonl    ``{"label": 0}`` a line
lareqa             json     as mewslix, with any number of relevant ids; ours, evaluate.py has no LAReQA
=================  =======  ============================================================================

Golds and predictions are the plain values of `polystilts.metrics.plain`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polystilts.errors import BadRow, InvalidValue, MissingData, UnknownName
from polystilts.metrics.benchmark import GROUPS
from polystilts.tasks import TASKS, TaskSpec

_SUFFIX = {"xquad": "json", "mlqa": "json", "tydiqa": "json", "mewslix": "json", "lareqa": "json", "xcopa": "jsonl"}


def benchmark_tasks(benchmark: str) -> dict[str, TaskSpec]:
    """Folder name -> task of a benchmark.

    Raises:
        UnknownName: neither 'xtreme' nor 'xtreme-r'.
    """
    if benchmark not in GROUPS:
        raise UnknownName("benchmark", benchmark, GROUPS, param="benchmark")
    return {spec.data: spec for spec in TASKS.values() if benchmark in spec.benchmarks}


def file_of(folder: str | Path, benchmark: str, spec: TaskSpec, language: str) -> Path:
    """The file of a task in a language.

    Raises:
        UnknownName: the benchmark has no such task, or the task no such language there.
    """
    tasks = benchmark_tasks(benchmark)
    if spec.data not in tasks:
        raise UnknownName(f"task of {benchmark}", spec.data, tasks, param="task")
    languages = tasks[spec.data].benchmarks[benchmark]
    if language not in languages:
        raise UnknownName(f"language of {benchmark}'s {spec.data}", language, languages, param="language")
    return Path(folder) / spec.data / f"test-{language}.{_SUFFIX.get(spec.data, 'tsv')}"


def write_predictions(
    folder: str | Path,
    benchmark: str,
    spec: TaskSpec,
    language: str,
    ids: Sequence[str],
    predictions: Sequence[Any],
    *,
    queries: Sequence[str] = (),
) -> Path:
    """Write the predictions of one language, a row an id, in the order given.

    A refused row (None) becomes a line that is no label (pairs, Tatoeba, XCOPA), or is left out (json, BUCC).

    Args:
        folder: of all tasks.
        benchmark: 'xtreme' or 'xtreme-r'.
        spec: its task; of protocols that share rows any one.
        language: of the rows.
        ids: of the rows, in the order of XTREME's file. Tatoeba: of the sentences to be found, to whose positions
            the ids predicted are turned.
        predictions: plain values.
        queries: Tatoeba's English texts, a row each. Its lines are then sorted by them as XTREME's own preparation
            sorts its English files, for labels that are not ours.

    Raises:
        UnknownName: see `file_of`.
        InvalidValue: lengths that differ, repeated ids, a value that the file cannot hold.
    """
    path = file_of(folder, benchmark, spec, language)
    _check_ids(spec, ids, predictions, "predictions")
    if spec.data == "tatoeba":
        lines = _positions(ids, predictions, queries)
    elif spec.data in _SUFFIX and spec.data != "xcopa":
        _check_json_ids(ids)
        kept = {i: p for i, p in zip(ids, predictions, strict=True) if p is not None}
        for id, prediction in kept.items():
            if isinstance(prediction, Mapping) or isinstance(prediction, str) != (spec.format == "span"):
                raise InvalidValue(f"row {id!r}: {prediction!r} is no prediction of {spec.data}", param="predictions")
        return _write(path, json.dumps(kept, ensure_ascii=False, indent=0) + "\n")
    else:
        lines = _lines_of(spec, ids, predictions, "predictions")
    return _write(path, "".join(f"{line}\n" for line in lines))


def write_labels(
    folder: str | Path,
    benchmark: str,
    spec: TaskSpec,
    language: str,
    ids: Sequence[str],
    golds: Sequence[Any],
    *,
    queries: Sequence[str] = (),
) -> Path:
    """Write the labels of one language; arguments and errors as in `write_predictions`.

    Question answering has no contexts here: evaluate.py does not read them.
    """
    path = file_of(folder, benchmark, spec, language)
    _check_ids(spec, ids, golds, "golds")
    for id, gold in zip(ids, golds, strict=True):
        if gold is None or (spec.data in _SUFFIX and gold == []):
            raise InvalidValue(f"row {id!r} has no gold", param="golds")
    if spec.data == "tatoeba":
        lines = _positions(ids, golds, queries)
    elif spec.format == "span":
        questions = [
            {"id": i, "question": "", "answers": [{"text": text, "answer_start": 0} for text in gold]}
            for i, gold in zip(ids, golds, strict=True)
        ]
        document = {"version": "1.1", "data": [{"title": "", "paragraphs": [{"context": "", "qas": questions}]}]}
        return _write(path, json.dumps(document, ensure_ascii=False, indent=0) + "\n")
    elif spec.data in ("mewslix", "lareqa"):
        _check_json_ids(ids)
        document = {i: list(gold) for i, gold in zip(ids, golds, strict=True)}
        return _write(path, json.dumps(document, ensure_ascii=False, indent=0) + "\n")
    else:
        lines = _lines_of(spec, ids, golds, "golds")
    return _write(path, "".join(f"{line}\n" for line in lines))


def read_predictions(path: str | Path, task: str) -> Any:
    """What a prediction file holds: a list of labels or of lists of tags, a set of (source, target), or a mapping
    from id to text or to a list of ids.

    Lines are taken as evaluate.py takes them: white space around them goes.

    Raises:
        MissingData: there is no such file.
        BadRow: the file does not have the form of the task, with the line.
    """
    source = Path(path)
    if task in ("panx", "udpos"):
        return _read_tags(source)
    if task == "bucc2018":
        return {tuple(line.split("\t")) for line in _read_lines(source)}
    if task == "xcopa":
        return [_label(source, number, line) for number, line in enumerate(_read_lines(source), 1)]
    if task not in _SUFFIX:
        return _read_lines(source)
    document = _read_json(source)
    wanted = list if task in ("mewslix", "lareqa") else str
    if not isinstance(document, dict):
        raise BadRow(str(source), "not a json object from ids to predictions")
    for id, value in document.items():
        if not isinstance(value, wanted):
            kind = "a list of ids" if wanted is list else "a text"
            raise BadRow(f"{source} (id {id!r})", f"{value!r} is not {kind}")
    return document


def read_labels(path: str | Path, task: str) -> Any:
    """What a label file holds: as `read_predictions`, but for question answering a list of (id, answer texts).

    Raises:
        MissingData, BadRow: as `read_predictions`.
    """
    if task not in ("xquad", "mlqa", "tydiqa"):
        labels = read_predictions(path, task)
        for id, gold in labels.items() if isinstance(labels, dict) else ():
            if not gold:
                raise BadRow(f"{path} (id {id!r})", "no gold id")
        return labels
    document = _read_json(Path(path))
    questions = []
    try:
        for article in document["data"] if isinstance(document, dict) else document:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    texts = [answer["text"] for answer in question["answers"]]
                    if not texts:
                        raise BadRow(f"{path} (question {question['id']!r})", "no answers")
                    questions.append((question["id"], texts))
    except (KeyError, TypeError) as error:
        raise BadRow(str(path), f"not SQuAD's json (data, paragraphs, qas, id, answers, text): {error!r}") from None
    return questions


def _check_ids(spec: TaskSpec, ids: Sequence[str], values: Sequence[Any], name: str) -> None:
    if len(ids) != len(values):
        message = f"{len(values)} {name} for {len(ids)} ids"
        raise InvalidValue(message, param=name, limit=len(ids), given=len(values))
    if repeated := [id for id, count in Counter(ids).items() if count > 1]:
        raise InvalidValue(f"id {repeated[0]!r} of {spec.data} is repeated", param="ids", given=repeated[0])


def _check_json_ids(ids: Iterable[str]) -> None:
    if "data" in ids:
        raise InvalidValue("evaluate.py takes the id 'data' for the rows of the file", param="ids", given="data")


def _positions(ids: Sequence[str], found: Sequence[Any], queries: Sequence[str]) -> list[str]:
    """Tatoeba's lines: the position of the id found among `ids`, sorted by query where there are some."""
    places = {id: str(place) for place, id in enumerate(ids)}
    for row, id in enumerate(found):
        if id is not None and (not isinstance(id, str) or id not in places):
            raise InvalidValue(f"row {ids[row]!r}: {id!r} is the id of no sentence", param="predictions", given=id)
    lines = ["-1" if id is None else places[id] for id in found]
    if not queries:
        return lines
    if len(queries) != len(lines):
        message = f"{len(queries)} queries for {len(lines)} rows"
        raise InvalidValue(message, param="queries", limit=len(lines), given=len(queries))
    return [lines[row] for row in sorted(range(len(lines)), key=lambda row: queries[row].strip())]


def _lines_of(spec: TaskSpec, ids: Sequence[str], values: Sequence[Any], name: str) -> list[str]:
    lines = []
    for id, value in zip(ids, values, strict=True):
        try:
            lines += _row_lines(spec, id, value)
        except (TypeError, ValueError) as error:
            raise InvalidValue(f"row {id!r} of {spec.data}: {error}", param=name, given=value) from None
    return lines


def _row_lines(spec: TaskSpec, id: str, value: Any) -> list[str]:
    if spec.data == "xcopa":
        if value is not None and type(value) is not int:
            raise TypeError(f"{value!r} is not the index of a choice")
        return [json.dumps({"label": value})]
    if spec.data == "bucc2018":
        if isinstance(value, str | Mapping):
            raise TypeError(f"{value!r} is not a list of ids")
        return [f"{_one_line(id)}\t{_one_line(candidate)}" for candidate in value or ()]
    if spec.format == "tagging":
        if value is None or isinstance(value, str):
            raise TypeError(f"{value!r} is not a list of tags, one a word (a refused row has the tag O at each)")
        return [*map(_one_line, value), ""]
    return ["refused" if value is None else _one_line(value)]


def _one_line(text: Any) -> str:
    """The text, if a line of a tab-separated file gives it back.

    Raises:
        TypeError, ValueError: it is no text, is empty, or has a tab, a line break or white space at its ends.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a text")
    if not text or text != text.strip() or any(mark in text for mark in "\t\n\r"):
        raise ValueError(f"{text!r} cannot stand in a line: it is empty or has a tab, a line break or outer spaces")
    return text


def _label(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)["label"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRow(f"{path}:{number}", f"not json with a label: {error}") from None


def _read_tags(path: Path) -> list[list[str]]:
    sentences: list[list[str]] = []
    tags: list[str] = []
    for line in _read_lines(path):
        if line:
            tags.append(line)
        else:
            sentences.append(tags)
            tags = []
    return [*sentences, tags] if tags else sentences


def _read_lines(path: Path) -> list[str]:
    # Split as files are by default, at \n, \r and \r\n alone: str.splitlines also splits at U+2028.
    text = _read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def _read_json(path: Path) -> Any:
    try:
        document = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise BadRow(f"{path}:{error.lineno}", f"bad json: {error.msg}") from None
    return document["data"] if isinstance(document, dict) and "data" in document else document


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise MissingData(f"no file {path}", given=str(path))
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadRow(f"{path}:{line}", f"not UTF-8: byte 0x{raw[error.start]:02x}") from None


def _write(path: Path, text: str) -> Path:
    """Writes the file; its name appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
