"""Readers of the files in XTREME's ``download/`` folder and of the intermediate tasks: one file in, columns out by row.

A place is ``file:line``, as editors and people look it up. The rules are those of the files themselves: XNLI and PAWS-X
are written by Python's csv writer with a tab as delimiter, tags stand one token a line, the rest is json.

A reader yields a `BadRow` in the place of a row that it cannot read where the rest of the file can still be read, and
raises where it cannot: a file that is not UTF-8 (in another encoding every row is wrong), json that does not end.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from polystilts.data.shapes import with_paragraph
from polystilts.errors import BadRow, MissingData
from polystilts.tasks.spec import TaskSpec

logger = logging.getLogger(__name__)

#: Place and columns. ``id`` is the row's own id; ``language`` is there where it is not the file's.
RawRow = tuple[str, dict[str, Any]]
RawRows = Iterator[RawRow | BadRow]

#: (file, spec, language, whether the file may come without labels: XTREME strips those of test files).
Reader = Callable[[Path, TaskSpec, str, bool], RawRows]

#: Two-way labels that are all the same by chance: once in 2 ** 19 files of this many rows.
_CONSTANT_ROWS = 20


def read_text(path: Path) -> str:
    """The file as text, without a byte order mark.

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


def read_pairs(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """``premise TAB hypothesis TAB label`` with csv quoting; a test file may lack the last column throughout."""
    records = csv.reader(io.StringIO(read_text(path), newline=""), delimiter="\t", strict=True)
    columns = ["premise", "hypothesis", "label"]
    last = 0
    while True:
        place, first = f"{path}:{last + 1}", last == 0
        try:
            record = next(records, None)
        except csv.Error as error:
            last = records.line_num
            yield BadRow(place, f"not tab-separated csv: {error}")
            continue
        if record is None:
            return
        lines, last = records.line_num - last, records.line_num
        if first and unlabelled and len(record) == 2:
            columns = columns[:2]
        if lines > 1:
            yield BadRow(place, f"a quoted text runs on to line {last}; quotes inside must be doubled")
        elif len(record) != len(columns):
            yield BadRow(place, f"{len(record)} columns instead of {len(columns)} ({', '.join(columns)})")
        else:
            yield place, {"label": None} | dict(zip(columns, record, strict=True))


#: XTREME's translations keep the label of XNLI's own files (XNLI-MT), where its preparation writes XNLI's.
_TRANSLATED_LABELS = {"contradictory": "contradiction"}


def english_original(path: Path) -> Path:
    """What a file of translations was made from: ``xnli/XNLI-Translated/en-de-translated.tsv`` ->
    ``xnli/train-en.tsv``."""
    return path.parent.parent / "train-en.tsv"


def read_translated(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """XTREME's translated training sets: English premise and hypothesis, both translated, label; no quoting.

    The rows of these files stand in an order of their own, so a row takes the id of its English pair in
    `english_original`: what is held out from training in English is then held out in every language. Equal pairs are
    taken one after the other. A row whose pair the English file lacks is bad: it could be one that is held out.
    """
    numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for number, item in enumerate(read_pairs(english_original(path), spec, "en", False)):
        if not isinstance(item, BadRow):
            numbers[_bare(item[1]["premise"]), _bare(item[1]["hypothesis"])].append(number)
    columns = "English premise, English hypothesis, premise, hypothesis, label"
    for line_number, line in _lines(path):
        place, cells = f"{path}:{line_number}", line.split("\t")
        if len(cells) != 5:
            yield BadRow(place, f"{len(cells)} columns instead of 5 ({columns})")
            continue
        found = numbers[_bare(cells[0]), _bare(cells[1])]
        if not found:
            yield BadRow(place, f"its English pair is not in {english_original(path)}, or not as often")
            continue
        label = cells[4].strip()
        yield (
            place,
            {
                "id": f"train-{found.pop(0)}",
                "premise": cells[2],
                "hypothesis": cells[3],
                "label": _TRANSLATED_LABELS.get(label, label),
            },
        )


_PUNCTUATION = re.compile(r"[\W_]+")


def _bare(text: str) -> str:
    """Letters and digits alone: files differ in quoting and in the white space around punctuation."""
    return _PUNCTUATION.sub("", text)


def read_tagged(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """``token TAB tag`` with an empty line between sentences; a test file may hold tokens alone throughout."""
    return _tagged(path, spec, "", "\t", unlabelled)


def read_prefixed(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """As `read_tagged`, with tokens written ``de:token`` as WikiANN does, or bare as XTREME's preparation leaves
    them."""
    first = next((line for _, line in _lines(path) if line.strip()), "")
    prefix = f"{language}:"
    return _tagged(path, spec, prefix if first.startswith(prefix) else "", "\t", unlabelled)


def read_spaced(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """As `read_tagged`, with one space between token and tag (MasakhaNER)."""
    return _tagged(path, spec, "", " ", unlabelled)


def _tagged(path: Path, spec: TaskSpec, prefix: str, separator: str, unlabelled: bool) -> RawRows:
    width, start = 0, 0
    tokens: list[str] = []
    tags: list[str] = []
    bad: BadRow | None = None
    for number, line in [*_lines(path), (0, "")]:
        if not line.strip():
            if bad:
                yield bad
            elif tokens:
                yield f"{path}:{start}", {"tokens": tokens, "tags": tags if width == 2 else None}
            tokens, tags, bad = [], [], None
            continue
        cells = line.split(separator)
        width = width or (1 if unlabelled and len(cells) == 1 else 2)
        token = cells[0].removeprefix(prefix)
        problem = ""
        if len(cells) != width:
            problem = f"{len(cells)} columns instead of {width} ({'token, tag' if width == 2 else 'token'})"
        elif prefix and token == cells[0]:
            problem = f"token {token!r} lacks the prefix {prefix!r} that the first one has"
        elif not token.strip():
            problem = "empty token"
        elif width == 2 and cells[1] not in spec.labels:
            problem = f"unknown tag {cells[1]!r}; known: {', '.join(spec.labels)}"
        if problem:
            bad = bad or BadRow(f"{path}:{number}", problem)
        start = start if tokens else number
        tokens.append(token)
        tags.append(cells[-1])


def read_ccg(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """``sentence TAB tags``, one sentence a line, both separated by white space: what jiant reads."""
    for number, line in _lines(path):
        place, cells = f"{path}:{number}", line.split("\t")
        if len(cells) != 2:
            yield BadRow(place, f"{len(cells)} columns instead of 2 (sentence, tags)")
        else:
            yield place, {"tokens": cells[0].split(), "tags": cells[1].split()}


def read_ccg_labels(path: Path) -> tuple[str, ...]:
    """The tags of a json object ``{tag: id}``, in the order of the ids.

    Raises:
        BadRow: not such an object, or ids that are not 0 .. n - 1.
    """
    value = _json(read_text(path), path, 1)
    try:
        by_id = {int(id): tag for tag, id in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise BadRow(f"{path}:1", "must be a json object: tag -> id") from None
    if sorted(by_id) != list(range(len(value))):
        raise BadRow(f"{path}:1", f"ids must be 0 to {len(value) - 1}, each once")
    return tuple(by_id[id] for id in range(len(value)))


def read_conllu(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """Forms and relations of the words of a treebank; lines of multiword tokens (``1-2``) and empty nodes (``1.1``)
    are left out."""
    start = 0
    tokens: list[str] = []
    relations: list[str] = []
    bad: BadRow | None = None
    for number, line in [*_lines(path), (0, "")]:
        if not line.strip():
            if bad:
                yield bad
            elif tokens:
                yield f"{path}:{start}", {"tokens": tokens, "deprel": relations}
            tokens, relations, bad = [], [], None
            continue
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != 10:
            bad = bad or BadRow(f"{path}:{number}", f"{len(cells)} columns instead of 10 (CoNLL-U)")
        elif cells[0].isdecimal():
            start = start if tokens else number
            tokens.append(cells[1])
            relations.append(cells[7])


def read_squad(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """SQuAD's json: articles of paragraphs (one context each) of questions."""
    for place, article, paragraph, question in _questions(path):
        try:
            yield (
                place,
                {
                    "id": question["id"],
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": question.get("answers", []),
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            yield BadRow(place, f"{_NOT_SQUAD}: {error!r}")


_NOT_SQUAD = "not SQuAD's json (data, paragraphs, context, qas, id, question)"


def _questions(path: Path) -> Iterator[tuple[str, Any, Any, Any]]:
    """(place, article, paragraph, question) for every question of SQuAD's json."""
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
                    yield f"{path}:{line} (question {question['id']!r})", article, paragraph, question
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRow(f"{path}:{line}", f"{_NOT_SQUAD}: {error!r}") from None


def read_lareqa(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """XQuAD-R: SQuAD's json with ``sentence_breaks`` ([start, end) of each sentence) beside each context.

    Candidates are all sentences, each with its paragraph; a question is a query. They share the question's id if the
    first answer starts in this sentence, or in one of its paragraph with the same text. A question whose answer starts
    in no sentence is dropped. Both rules are LAReQA's own (utils_lareqa.py).
    """
    paragraphs = 0
    current: Any = None
    candidates: list[RawRow] = []
    for place, _, paragraph, question in _questions(path):
        try:
            if paragraph is not current:
                yield from candidates
                current, paragraphs = paragraph, paragraphs + 1
                context, breaks = paragraph["context"], paragraph["sentence_breaks"]
                sentences = [context[first:last] for first, last in breaks]
                candidates = [
                    (
                        place,
                        {
                            "id": f"{language}_{paragraphs}_{n}",
                            "text": with_paragraph(sentence, context),
                            "query": False,
                            "keys": [],
                        },
                    )
                    for n, sentence in enumerate(sentences)
                ]
            answer = question["answers"][0]
            start, text = answer["answer_start"], answer["text"]
            if context[start : start + len(text)] != text:
                found = context[start : start + len(text)]
                yield BadRow(place, f"answer {text!r} is not at answer_start {start}, where {found!r} stands")
                continue
            sentence = next((context[first:last] for first, last in breaks if first <= start < last), None)
            if sentence is None:
                continue
            for candidate, (_, values) in zip(sentences, candidates, strict=True):
                if candidate == sentence:
                    values["keys"].append(question["id"])
            yield place, {"id": question["id"], "text": question["question"], "query": True, "keys": [question["id"]]}
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            yield BadRow(place, f"not XQuAD-R's json (context, sentence_breaks, answers): {error!r}")
    yield from candidates


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]] | BadRow]:
    """Json objects, one a line; empty lines are nothing."""
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            value = _json(line, path, number)
        except BadRow as error:
            yield error
            continue
        place = f"{path}:{number}"
        yield (place, value) if isinstance(value, dict) else BadRow(place, "not a json object")


def read_choices(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """Json lines with premise, question, choice1, choice2 and label.

    Early releases of XCOPA's test files hold 0 in place of every label; a file that may come unlabelled and holds one
    label throughout is read without labels.
    """
    items = list(_records(path))
    if unlabelled:
        rows = [item[1] for item in items if not isinstance(item, BadRow)]
        labels = {json.dumps(values.setdefault("label", None)) for values in rows}
        if len(rows) >= _CONSTANT_ROWS and len(labels) == 1 and labels != {"null"}:
            _say_hidden(spec.data, str(path), labels.pop())
            for values in rows:
                values["label"] = None
    yield from items


#: Tasks whose hidden labels were spoken of: the files of all languages are alike.
_warned: set[str] = set()


def _say_hidden(task: str, path: str, label: str) -> None:
    if task not in _warned:
        _warned.add(task)
        text = "%s: every label is %s, so its labels are taken to be hidden (said once for %s)"
        logger.warning(text, path, label, task)


def read_table(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """One row a record, by the suffix: ``.csv`` and ``.tsv`` with a header, ``.jsonl``, ``.json`` (one list).

    A csv cell may run over several lines; a tsv knows no quotes, as GLUE's files do not.

    Raises:
        BadRow: another suffix.
    """
    if path.suffix in (".csv", ".tsv"):
        return _separated(path)
    if path.suffix == ".jsonl":
        return _records(path)
    if path.suffix == ".json":
        return _elements(path)
    raise BadRow(str(path), "a table must end in .csv, .tsv, .jsonl or .json")


def _separated(path: Path) -> RawRows:
    file = io.StringIO(read_text(path), newline="")
    quoted = path.suffix == ".csv"
    records = csv.reader(file, strict=True) if quoted else csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = next(records)
    while True:
        place = f"{path}:{records.line_num + 1}"
        try:
            record = next(records, None)
        except csv.Error as error:
            yield BadRow(place, f"not csv: {error}")
            continue
        if record is None:
            return
        if len(record) != len(header):
            yield BadRow(place, f"{len(record)} columns instead of {len(header)} ({', '.join(header)})")
        else:
            yield place, dict(zip(header, record, strict=True))


_SPACE = re.compile(r"[\s,]*")


def _elements(path: Path) -> RawRows:
    text = read_text(path)
    # The whole is parsed first: a list that does not end, or that lacks a comma, is no list.
    if not isinstance(_json(text, path, 1), list):
        raise BadRow(f"{path}:1", "not a json list")
    decoder = json.JSONDecoder()
    position, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    while True:
        start = _SPACE.match(text, position).end()  # type: ignore[union-attr]
        line, position = line + text.count("\n", position, start), start
        if text[position] == "]":
            return
        value, end = decoder.raw_decode(text, position)
        place = f"{path}:{line}"
        yield (place, value) if isinstance(value, dict) else BadRow(place, "not a json object")
        line, position = line + text.count("\n", position, end), end


def english_side(path: Path) -> Path:
    """The file that is aligned line by line with `path`: ``tatoeba.deu-eng.deu`` -> ``tatoeba.deu-eng.eng``."""
    return path.with_suffix(".eng")


def read_bitext(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """Two files of equal length, one sentence a line; the second is `english_side`."""
    other = english_side(path)
    sentences, english = list(_lines(path)), list(_lines(other))
    if len(sentences) != len(english):
        place = f"{path if len(sentences) > len(english) else other}:{min(len(sentences), len(english)) + 1}"
        raise BadRow(place, f"{path.name} has {len(sentences)} lines and {other.name} {len(english)}: not aligned")
    for (number, sentence), (_, translation) in zip(sentences, english, strict=True):
        empty = [file for file, text in ((path, sentence), (other, translation)) if not text.strip()]
        if empty:
            yield BadRow(f"{empty[0]}:{number}", "empty sentence")
        else:
            yield f"{path}:{number}", {"query": translation, "candidate": sentence}


def read_mining(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """BUCC: ``X.de`` and ``X.en`` of lines ``id TAB sentence``, and ``X.gold`` of lines ``id TAB id``.

    The foreign sentences are queries, the English ones candidates; the two of a gold pair share the key
    ``foreign id TAB English id``. Without a gold file (hidden) there are no keys.
    """
    gold = path.with_suffix(".gold")
    sides = {file: list(_identified(file, "sentence")) for file in (path, path.with_suffix(".en"))}
    known = {file: {item[1]["id"] for item in items if not isinstance(item, BadRow)} for file, items in sides.items()}
    # Before the pairs, which a bad sentence makes bad too.
    yield from (item for items in sides.values() for item in items if isinstance(item, BadRow))
    keys: dict[str, list[str]] = {}
    for item in _identified(gold, "id") if gold.is_file() else ():
        if isinstance(item, BadRow):
            yield item
            continue
        place, values = item
        pair = (values["id"], values["text"])
        missing = [id for id, ids in zip(pair, known.values(), strict=True) if id not in ids]
        if missing:
            yield BadRow(place, f"no sentence with the id {missing[0]!r}")
            continue
        for id in pair:
            keys.setdefault(id, []).append("\t".join(pair))
    for file, items in sides.items():
        for item in items:
            if not isinstance(item, BadRow):
                side = {"query": True} if file == path else {"query": False, "language": "en"}
                yield item[0], {**item[1], **side, "keys": keys.get(item[1]["id"], [])}


def _identified(path: Path, what: str) -> RawRows:
    for number, line in _lines(path):
        place, cells = f"{path}:{number}", line.split("\t")
        if len(cells) != 2:
            yield BadRow(place, f"{len(cells)} columns instead of 2 (id, {what})")
        else:
            yield place, {"id": cells[0], "text": cells[1]}


def read_mentions(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """Mewsli-X: contexts with mentions of entities (queries of `language`), or the entities (candidates of all)."""
    for item in _records(path):
        if isinstance(item, BadRow):
            yield item
            continue
        place, record = item
        if "description" in record:
            yield _guarded(place, _entity, record)
            continue
        context = record.get("context", {})
        if not isinstance(context, dict) or context.get("language") == language:
            for mention in record.get("mentions", [record.get("mention")]):
                yield _guarded(place, _mention, context, mention)


def read_mention_pairs(path: Path, spec: TaskSpec, language: str, unlabelled: bool) -> RawRows:
    """Mewsli-X's training pairs: a mention in its context and the entity it names."""
    for item in _records(path):
        if isinstance(item, BadRow):
            yield item
            continue
        yield _guarded(item[0], _mention_pair, item[1])


def _mention_pair(record: Mapping[str, Any]) -> dict[str, Any]:
    found = record["contextual_mention"]
    mention = _mention(found["context"], found["mention"])
    return {"id": mention["id"], "query": mention["text"], "candidate": _entity(record["entity"])["text"]}


def _guarded(place: str, make: Callable[..., dict[str, Any]], *values: Any) -> RawRow | BadRow:
    try:
        return place, make(*values)
    except (KeyError, TypeError, AttributeError) as error:
        return BadRow(place, f"not Mewsli-X's json: {error!r}")
    except ValueError as error:
        return BadRow(place, str(error))


_BRACED = re.compile(r"\{(.*?)\}")


def _mention(context: Mapping[str, Any], mention: Mapping[str, Any]) -> dict[str, Any]:
    """The sentence of a mention, the mention in braces and once more before it, as XTREME-R's baseline writes it
    (preprocess_mention in utils_mewslix.py): ``Smith: The verdict came back for { Smith } .``"""
    text, span = context["text"], mention["mention_span"]
    start, end, name = span["start"], span["end"], span["text"]
    if text[start:end] != name:
        raise ValueError(f"mention {name!r} is not at start {start}, where {text[start:end]!r} stands")
    holding = [one for one in context["sentence_spans"] if one["start"] <= start and end <= one["end"]]
    if not holding:
        raise ValueError(f"mention {name!r} lies in no sentence")
    # Braces of the text itself are not to be taken for the mention's.
    left = _BRACED.sub(r"(\1)", text[holding[0]["start"] : start])
    right = _BRACED.sub(r"(\1)", text[end : holding[0]["end"]])
    marked = _one_line(f"{name}: {left} {{ {name} }} {right}")
    return {"id": mention["example_id"], "text": marked, "query": True, "keys": [mention["entity_id"]]}


def _entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The sentences of an entity's description (preprocess_entity_description)."""
    description = entity["description"]
    text = _one_line(" ".join(description[span["start"] : span["end"]] for span in entity["sentence_spans"]))
    return {"id": entity["entity_id"], "text": text, "query": False, "keys": [entity["entity_id"]]}


def _one_line(text: str) -> str:
    return " ".join(text.splitlines()).replace("  ", " ").strip()


def _json(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadRow(f"{path}:{line + error.lineno - 1}", f"bad json: {error.msg}") from None


READERS: Mapping[str, Reader] = {
    "pair": read_pairs,
    "translated": read_translated,
    "tagged": read_tagged,
    "prefixed": read_prefixed,
    "spaced": read_spaced,
    "ccg": read_ccg,
    "conllu": read_conllu,
    "squad": read_squad,
    "lareqa": read_lareqa,
    "copa": read_choices,
    "table": read_table,
    "bitext": read_bitext,
    "mining": read_mining,
    "mentions": read_mentions,
    "mention_pairs": read_mention_pairs,
}


def files_beside(reader: str, path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Files that a reader reads beside `path`: those it needs, and those that may be absent."""
    if reader == "translated":
        return (english_original(path),), ()
    if reader == "bitext":
        return (english_side(path),), ()
    if reader == "mining":
        return (path.with_suffix(".en"),), (path.with_suffix(".gold"),)
    return (), ()
