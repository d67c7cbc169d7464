"""What raw text costs a tagger: ICU's words against gold tokens, for POS and NER, in every language of a folder.

Benchmarks give a tagger its tokens; over HTTP it gets raw text, which ICU splits (`polystilts.formats.words`). The same
sentences are tagged both ways and scored on the gold tokens.

- **Text**: the files hold tokens, not text, so it is put together: tokens stand apart by a space, except before
  closing and after opening punctuation and quotes, at apostrophes (``l' eau``, ``Anna 's``, ``do n't``) and in
  languages written without spaces. What a treebank has taken apart (Arabic prefixes, German "im", Spanish "del") stays
  apart, so these languages look better here than they are.
- **Boundaries**: a gold token counts as found if one of ICU's words is exactly it.
- **Tags**: a gold token gets the tag of the word that it shares most characters with, of equals the first; of several
  tokens in one word the first gets its B-, the others I-.

Usage: ``python -m benchmarks.words --data DATA --pos CHECKPOINT --ner CHECKPOINT [--limit 250]``
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.common import versions, write_result
from polystilts.data.local import LocalSource
from polystilts.data.roles import evaluation_languages
from polystilts.formats import Pieces, make_format, words
from polystilts.formats.values import TaggingExample, TaggingPrediction
from polystilts.metrics import get_metric
from polystilts.metrics.trivial import UNSPACED
from polystilts.runtime.predictor import Predictor
from polystilts.tasks.catalogue import get_task
from polystilts.training.checkpoint import open_checkpoint
from polystilts.training.model import TorchBackend, build_for

_CLOSING = re.compile(r"[.,;:!?)\]}%…»”’،؛؟।。，、]+|[’'][^\W\d_]+|n[’']t", re.IGNORECASE)
_OPENING = re.compile(r"[(\[{«„“‘¿¡]+|[^\W\d_]+[’']")

Place = tuple[int, int]


@dataclass(frozen=True)
class Loss:
    """One language of one task; percentages.

    Attributes:
        found: gold tokens that are words of ICU's.
        gold: score with gold tokens.
        raw: score with ICU's words, on the gold tokens.
        same: gold tokens that get the same tag either way, right or wrong: what a weak tagger's score does not show.
    """

    task: str
    language: str
    sentences: int
    found: float
    gold: float
    raw: float
    same: float


def put_together(tokens: Sequence[str], language: str) -> tuple[str, list[Place]]:
    """A text that these could be the tokens of, and the code points [start, end) of each in it."""
    text, places, last, open_quote = "", list[Place](), "", False
    for token in tokens:
        spaced = language not in UNSPACED or (last.isascii() and token.isascii())
        quote = token in ('"', "''", "``")
        if last and spaced and not _CLOSING.fullmatch(token) and not _OPENING.fullmatch(last):
            # A straight quote opens and closes in turn.
            after_opening = last in ('"', "''", "``") and open_quote
            text += "" if after_opening or (quote and open_quote) else " "
        open_quote ^= quote
        places.append((len(text), len(text) + len(token)))
        text, last = text + token, token
    return text, places


def word_of(places: Sequence[Place], found: Sequence[words.Word]) -> list[int | None]:
    """For each gold token the index of the word that it shares most characters with; None where it shares none."""
    result: list[int | None] = []
    first = 0
    for start, end in places:
        while first < len(found) and found[first].end <= start:
            first += 1
        best, most = None, 0
        for index in range(first, len(found)):
            if found[index].start >= end:
                break
            shared = min(end, found[index].end) - max(start, found[index].start)
            if shared > most:
                best, most = index, shared
        result.append(best)
    return result


def onto_tokens(word: Sequence[int | None], tags: Sequence[str], nothing: str) -> list[str]:
    """The tags of gold tokens from those of words; `nothing` where a token shares no character with any."""
    result, last = list[str](), None
    for index in word:
        tag = nothing if index is None else tags[index]
        result.append(f"I-{tag[2:]}" if tag.startswith("B-") and index == last else tag)
        last = index
    return result


def loss(predictor: Predictor, task: str, language: str, rows: Sequence[TaggingExample]) -> Loss:
    """Tags the rows both ways."""
    spec = get_task(task)
    texts = [put_together(row.tokens, language) for row in rows]
    split = [words.split(text) for text, _ in texts]
    matched = [word_of(places, found) for (_, places), found in zip(texts, split, strict=True)]
    exact = sum(
        len(set(places) & {(word.start, word.end) for word in found})
        for (_, places), found in zip(texts, split, strict=True)
    )
    gold = [list(row.tags or ()) for row in rows]
    by_tokens = tags_of(predictor, rows)
    by_words = tags_of(
        predictor,
        [
            TaggingExample(row.id, language, tuple(word.text for word in found))
            for row, found in zip(rows, split, strict=True)
        ],
    )
    # What has no word gets the tag that says least.
    nothing = "O" if "O" in spec.labels else "X"
    raw = [
        None if tags is None else onto_tokens(word, tags, nothing) for word, tags in zip(matched, by_words, strict=True)
    ]
    metric = get_metric(spec.metric)
    name = "token_accuracy" if spec.metric == "pos_f1" else spec.metric
    total = sum(map(len, gold))
    same = sum(
        one == other
        for by_token, by_word in zip(by_tokens, raw, strict=True)
        for one, other in zip(by_token or (), by_word or (), strict=bool(by_token and by_word))
    )
    return Loss(
        task,
        language,
        len(rows),
        100 * exact / total,
        metric.details(gold, by_tokens, language)[name],
        metric.details(gold, raw, language)[name],
        100 * same / total,
    )


def tags_of(predictor: Predictor, examples: Sequence[TaggingExample]) -> list[list[str] | None]:
    """Predicted tags; None where there is no word to tag."""
    answers = predictor.predict(examples)
    return [list(answer.tags) if isinstance(answer, TaggingPrediction) else None for answer in answers]


def table(losses: Sequence[Loss]) -> str:
    """Markdown, the language that changes most first, the mean last."""
    lines = [
        "| language | sentences | tokens found | same tag | gold tokens | raw text | loss |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for one in sorted(losses, key=lambda one: one.same):
        lines.append(f"| {one.language} | {one.sentences} | {_cells(one.found, one.same, one.gold, one.raw)} |")
    means = [fmean(getattr(one, name) for one in losses) for name in ("found", "same", "gold", "raw")]
    lines.append(f"| mean | | {_cells(*means)} |")
    return "\n".join(lines)


def _cells(found: float, same: float, gold: float, raw: float) -> str:
    lost = round(round(gold, 1) - round(raw, 1), 1) + 0.0  # never "-0.0"
    return " | ".join(f"{value:.1f}" for value in (found, same, gold, raw, lost))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder in the layout of XTREME's download/")
    parser.add_argument("--pos", type=Path, required=True, help="checkpoint of the target udpos")
    parser.add_argument("--ner", type=Path, required=True, help="checkpoint of the target panx")
    parser.add_argument("--limit", type=int, default=250, help="the first sentences of each language")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    source = LocalSource(arguments.data)
    losses: list[Loss] = []
    models = {}
    for name, folder, tasks in (("pos", arguments.pos, ["udpos"]), ("ner", arguments.ner, ["panx", "masakhaner"])):
        checkpoint = open_checkpoint(folder)
        if checkpoint.settings is None:
            parser.error(f"--{name}: {folder} is no checkpoint of a target")
        models[name] = {"recipe": checkpoint.lineage.get("recipe"), "weights": checkpoint.weights}
        format_ = make_format(Pieces.open(folder), checkpoint.settings)
        predictor = Predictor(format_, TorchBackend(build_for(checkpoint.settings, folder), checkpoint.settings))
        for task in tasks:
            spec = get_task(task)
            for language in evaluation_languages(source, spec):
                splits = [split for split in spec.evaluation_splits if language in source.languages(spec, split)]
                rows = [row for split in splits for row in source.rows(spec, split, language)][: arguments.limit]
                tagged = [row for row in rows if isinstance(row, TaggingExample)]
                losses.append(loss(predictor, task, language, tagged))
    figures = {}
    for task in dict.fromkeys(one.task for one in losses):
        own = [one for one in losses if one.task == task]
        print(f"\n{task} ({'token accuracy' if task == 'udpos' else 'span F1'})\n\n{table(own)}")
        for key in ("found", "same", "gold", "raw"):
            figures[f"{task}_{key}"] = round(fmean(getattr(one, key) for one in own), 2)
    path = write_result(
        "words",
        figures,
        seconds=round(time.perf_counter() - start),
        versions=versions(["torch", "tokenizers"]),
        splitter=words.SPLITTER,
        models=models,
        rows=[
            {"task": one.task, "language": one.language, "sentences": one.sentences}
            | {key: round(getattr(one, key), 2) for key in ("found", "same", "gold", "raw")}
            for one in losses
        ],
    )
    print(f"\n{path}")


if __name__ == "__main__":
    main()
