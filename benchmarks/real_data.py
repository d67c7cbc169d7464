"""A folder in which every set can be trained on and scored, from real files of a single split.

Many benchmarks publish their evaluation rows in one small file and train on another set of hundreds of megabytes. This
builds a folder in the layout of XTREME's ``download/`` (what ``--source local:DIR`` reads) where such a set trains on a
part of its own English rows and is scored on the rest. A set whose training file is there is left as it is.

- No text is on both sides: rows that share one (XNLI's three hypotheses of a premise, PAWS-X's sentences, the questions
  about a paragraph) form a group, and a hash of the number of a group's first row decides where the group goes.
- Parallel sets are split by the English file, every other language row by row like it.
- ``--languages de,es`` makes training files of UD-POS for these out of half of their dev sentences, by a hash of the
  tokens, so that a sentence that stands twice is on one side. They are the multilingual arm of the study ``typo``.
- TyDiQA-GoldP's English training file stands in for SQuAD's, which trains XQuAD, MLQA and LAReQA.

The same files give the same folder. Scores from it are no benchmark scores: they say that a set can be read, trained on
and scored, and what a small training set gains over the trivial baseline.

Usage: ``python -m benchmarks.real_data --data DATA --out DERIVED``
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from polystilts.data.local import LocalSource
from polystilts.data.roles import checkpoint_rows, evaluation_languages, evaluation_rows, hash_of, training_rows
from polystilts.data.source import RememberedRows, Source
from polystilts.errors import BadRow, InvalidValue, MissingData, PolystiltsError
from polystilts.formats.values import RetrievalItem
from polystilts.metrics import get_metric, plain_gold
from polystilts.metrics.trivial import trivial_predictions
from polystilts.tasks import TASKS, TaskSpec, get_task
from polystilts.tasks.languages import spell


@dataclass(frozen=True)
class Cut:
    """A set with a single split, of which a part becomes training rows.

    Attributes:
        task: whose validation files are cut.
        train_task: whose English training file the part becomes.
        share: per cent of the groups that train.
        texts: columns (of a ``.tsv`` by number) whose text may not be on both sides.
    """

    task: str
    train_task: str
    share: int
    texts: tuple[int | str, ...]


#: Half where other languages are scored too, so that enough rows remain; elsewhere four fifths.
CUTS = (
    Cut("xnli", "mnli", 50, (0,)),
    Cut("pawsx", "pawsx", 50, (0, 1)),
    Cut("anli", "anli", 80, ("context",)),
    Cut("cosmosqa", "cosmosqa", 80, ("context",)),
    Cut("csqa", "csqa", 80, ("question",)),
    Cut("cosqa", "cosqa", 80, ("doc", "code")),
)

#: Training file -> the file that stands in for it.
STAND_INS = {"squad/train-v1.1.json": "tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.en.train.json"}


def groups_of(rows: Sequence[Any], texts: Sequence[int | str]) -> list[int]:
    """For every row the number of the first row that it shares a text with, directly or through others."""
    first = list(range(len(rows)))

    def find(number: int) -> int:
        while first[number] != number:
            number = first[number]
        return number

    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        for text in texts:
            other, own = find(seen.setdefault(str(row[text]), number)), find(number)
            first[max(other, own)] = min(other, own)
    return [find(number) for number in range(len(rows))]


def trains(cut: Cut, rows: Sequence[Any]) -> list[bool]:
    """For every row whether it becomes a training row."""
    return [hash_of(f"{cut.task}-{group}", "cut") % 100 < cut.share for group in groups_of(rows, cut.texts)]


def read_rows(path: Path) -> list[Any]:
    """The rows of a file by its suffix: cells of a ``.tsv`` (csv quoting), records of ``.csv``, ``.jsonl``, ``.json``.

    Raises:
        BadRow: not UTF-8, or not the format of the suffix.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # newlines inside cells stay as they are
        match path.suffix:
            case ".tsv":
                return list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
            case ".csv":
                return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
            case ".jsonl":
                return [json.loads(line) for line in text.split("\n") if line.strip()]
            case _:
                return list(json.loads(text))
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise BadRow(str(path), f"not {path.suffix}: {error}") from None


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Writes what `read_rows` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        match path.suffix:
            case ".tsv":
                csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
            case ".csv":
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            case ".jsonl":
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            case _:
                json.dump(list(rows), file, ensure_ascii=False, indent=1)


def build(data: Path, out: Path, languages: Sequence[str] = ()) -> None:
    """Builds the folder: cut files are written, all others linked.

    Args:
        data: folder in the layout of XTREME's download folder.
        out: folder to build; must be empty.
        languages: codes whose UD-POS dev sentences are halved into training and dev files.

    Raises:
        MissingData: `data` is no folder, or has no UD-POS file of a language.
        InvalidValue: `out` holds something or lies inside `data`; languages of a parallel set differ in length; a
            language has a UD-POS training file of its own.
        BadRow: a file to be cut cannot be read.
    """
    data, out = data.resolve(), out.resolve()
    if not data.is_dir():
        raise MissingData(f"no folder {data}", param="--data", given=str(data))
    if out.is_relative_to(data) or (out.exists() and any(out.iterdir())):
        raise InvalidValue(f"{out} must be empty and outside {data}", param="--out", given=str(out))
    for cut in CUTS:
        _cut(cut, data, out)
    for language in languages:
        _halve(language, data, out)
    links = {path.relative_to(data): path for path in sorted(data.rglob("*")) if path.is_file()}
    links |= {Path(name): data / other for name, other in STAND_INS.items() if not (data / name).is_file()}
    for name, path in links.items():
        if path.is_file() and not (out / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).symlink_to(path)


def _cut(cut: Cut, data: Path, out: Path) -> None:
    files, train_files = _pattern(cut.task, "validation"), _pattern(cut.train_task, "train")
    if any(data.glob(train_files)):
        return
    prefix, star, suffix = files.partition("*")
    names = [path.relative_to(data).as_posix() for path in sorted(data.glob(files))]
    parts = [read_rows(data / name) for name in names]
    # The parts of one set (ANLI's rounds) are cut together: they may share a text.
    marks = iter(trains(cut, [row for rows in parts for row in rows]))
    for name, rows in zip(names, parts, strict=True):
        mask = [next(marks) for _ in rows]
        part = name.removeprefix(prefix).removesuffix(suffix) if star else ""
        write_rows(out / train_files.replace("*", part), list(compress(rows, mask)))
        for other in (
            [name] if star else [_pattern(cut.task, "validation", code) for code in get_task(cut.task).languages]
        ):
            if not (data / other).is_file():
                continue
            found = rows if other == name else read_rows(data / other)
            if len(found) != len(rows):
                raise InvalidValue(f"{data / other} has {len(found)} rows and {name} {len(rows)}", param="--data")
            write_rows(out / other, [row for row, train in zip(found, mask, strict=True) if not train])


def _pattern(task: str, split: str, language: str = "en") -> str:
    local = get_task(task).local
    assert local is not None  # tasks of CUTS are read from files
    return local.splits[split].replace("{language}", spell(language, local.spelling))


@dataclass(frozen=True)
class Line:
    """What a set is trained and scored on in a folder.

    Attributes:
        trained, checkpoint: rows that train, and English rows that may choose a checkpoint.
        files: pattern of the training file.
        scored: rows that are reported, all languages together (collections: queries); of a task that is no target its
            checkpoint rows.
        trivial: score of the trivial baseline on checkpoint rows, for a task that is no target.
    """

    task: str
    files: str
    trained: int
    checkpoint: int
    languages: int
    scored: int
    trivial: float | None


def lines_of(source: Source) -> list[Line]:
    """Every task that can be trained on and scored, in the catalogue's order."""
    return [line for spec in TASKS.values() if (line := _line(source, spec))]


def _line(source: Source, spec: TaskSpec) -> Line | None:
    try:
        training = training_rows(source, spec) if spec.train_task else []
        checkpoint = checkpoint_rows(source, spec) if spec.train_task else []
    except MissingData:
        return None
    files = _pattern(spec.train_task, "train") if spec.train_task else ""
    if not spec.is_target:
        metric, trivial = get_metric(spec.metric), trivial_predictions(training, checkpoint)
        score = metric.score([plain_gold(row) for row in checkpoint], trivial, "en")
        return Line(spec.name, files, len(training), len(checkpoint), 1, len(checkpoint), score)
    languages = evaluation_languages(source, spec)
    rows = [found for language in languages for found in evaluation_rows(source, spec, language)]
    scored = sum(role == "report" and (not isinstance(row, RetrievalItem) or row.query) for role, row in rows)
    return Line(spec.name, files, len(training), len(checkpoint), len(languages), scored, None) if rows else None


def show(lines: Sequence[Line]) -> None:
    table = Table(title="what every set is trained and scored on")
    for heading in ("set", "trained on", "rows", "checkpoint rows", "languages", "rows reported", "trivial"):
        table.add_column(heading, justify="left" if heading in ("set", "trained on") else "right")
    for line in lines:
        counts = map(str, (line.trained, line.checkpoint, line.languages, line.scored))
        table.add_row(line.task, line.files, *counts, "" if line.trivial is None else f"{line.trivial:.1f}")
    Console(width=130).print(table)


def _halve(language: str, data: Path, out: Path) -> None:
    dev, train = (Path(_pattern("udpos", split, language)) for split in ("validation", "train"))
    if not (data / dev).is_file():
        raise MissingData(f"no {data / dev}", param="--languages", given=language)
    if (data / train).is_file():
        raise InvalidValue(f"{data / train} is there already", param="--languages", given=language)
    halves: dict[Path, list[str]] = {train: [], dev: []}
    for sentence in (data / dev).read_text(encoding="utf-8").split("\n\n"):
        if tokens := [line.split("\t")[0] for line in sentence.strip("\n").split("\n") if line]:
            halves[train if hash_of(" ".join(tokens), "cut") % 2 else dev].append(sentence.strip("\n"))
    for name, sentences in halves.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in the layout of XTREME's download folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to build; must be empty")
    parser.add_argument("--languages", default="", help="of UD-POS, ',' between: half of their dev sentences train")
    arguments = parser.parse_args()
    try:
        build(arguments.data, arguments.out, [name for name in arguments.languages.split(",") if name])
    except PolystiltsError as error:
        sys.exit(f"{error.param or 'error'}: {error.message}")
    show(lines_of(RememberedRows(LocalSource(arguments.out))))


if __name__ == "__main__":
    main()
