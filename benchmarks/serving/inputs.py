"""What the serving benchmark runs on: real texts, and bundles of random weights with 250,002 pieces.

Texts are XQuAD's questions and contexts, each as it is, so that traffic is mixed as it is in life: for a question of
20 tokens there is a context of 200. The model reads two texts; each is cut in two at a space near its middle.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx

from benchmarks.export import EXAMPLES, make_checkpoint, wide_tokenizer
from polystilts.errors import PolystiltsError
from polystilts.export.onnx import export_bundle
from polystilts.export.quantise import quantise
from polystilts.formats import Features, FormatSettings, Pieces, make_format
from polystilts.formats.values import PairExample, Rejected, SpanExample
from polystilts.runtime.bundle import Bundle, open_bundle, record_self_test, write_manifest
from polystilts.runtime.folders import new_folder, read_json, write_json
from polystilts.runtime.models_folder import CURRENT, deliver
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import get_task

#: Long enough for documents of 400 tokens in one row.
SETTINGS = FormatSettings("pair", ("entailment", "neutral", "contradiction"), 512)
MIN_TOKENS, MAX_TOKENS, SHORT, DOCUMENT = 9, 256, 20, 400

#: One model a target; the last of them is a second model of the first target, for the swap.
TARGETS = ("xnli", "mnli", "anli", "snli", "wanli", "scitail")
OTHER = "other"


@dataclass(frozen=True)
class Texts:
    """Requests and their rows, in a random order.

    Attributes:
        pairs: premise and hypothesis.
        rows: ids of each.
    """

    pairs: list[tuple[str, str]]
    rows: list[list[int]]

    @property
    def tokens(self) -> np.ndarray:
        return np.array([len(row) for row in self.rows])

    def body(self, number: int, **more: Any) -> bytes:
        premise, hypothesis = self.pairs[number]
        return json.dumps({"premise": premise, "hypothesis": hypothesis, **more}, ensure_ascii=False).encode()

    def bodies(self) -> list[bytes]:
        return [self.body(number) for number in range(len(self.pairs))]

    def take(self, numbers: Sequence[int]) -> Texts:
        return Texts([self.pairs[n] for n in numbers], [self.rows[n] for n in numbers])


def halves(text: str) -> tuple[str, str]:
    """The text cut at the space nearest its middle; without spaces, in the middle."""
    middle = len(text) // 2
    spaces = [at for at, letter in enumerate(text) if letter == " " and 0 < at < len(text) - 1]
    cut = min(spaces, key=lambda at: abs(at - middle), default=middle)
    return text[:cut].rstrip(), text[cut:].lstrip()


def read_texts(source: Any, pieces: Pieces, count: int, *, whole: bool = False) -> tuple[Texts, Texts]:
    """Up to `count` texts of 9 to 256 tokens, as many of each language, and documents of about 400.

    Args:
        source: of `polystilts.data`, with XQuAD's rows.
        whole: a text is a question with its whole context, not one of the two.
    """
    spec = get_task("xquad")
    shuffle = random.Random(0)
    format_ = make_format(pieces, SETTINGS)
    pairs: list[tuple[str, str]] = []
    documents: list[tuple[str, str]] = []
    languages = source.languages(spec, spec.choice_split)
    for language in languages:
        examples = [row for row in source.rows(spec, spec.choice_split, language) if isinstance(row, SpanExample)]
        contexts = list(dict.fromkeys(example.context for example in examples))
        found = [(e.context, e.question) for e in examples] if whole else [
            halves(text) for text in (*(e.question for e in examples), *contexts) if len(text) > 3
        ]  # fmt: skip
        shuffle.shuffle(found)
        kept = [pair for pair, row in _rows(format_, found) if MIN_TOKENS <= len(row) <= MAX_TOKENS]
        pairs += kept[: -(-count // len(languages))]
        documents += [halves(text) for text in _documents(contexts[:60], pieces)]
    shuffle.shuffle(pairs)
    shuffle.shuffle(documents)
    return _texts(format_, pairs[:count]), _texts(format_, documents[:200])


def _rows(format_: Any, pairs: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], list[int]]]:
    encoded = format_.encode([PairExample("", "", *pair) for pair in pairs])
    for pair, rows in zip(pairs, encoded, strict=True):
        if not isinstance(rows, Rejected):
            yield pair, rows[0].input_ids.tolist()


def _texts(format_: Any, pairs: list[tuple[str, str]]) -> Texts:
    both = list(_rows(format_, pairs))
    return Texts([pair for pair, _ in both], [row for _, row in both])


def _documents(contexts: Sequence[str], pieces: Pieces) -> Iterator[str]:
    """Contexts behind one another, cut where DOCUMENT tokens are reached."""
    text = ""
    for context in contexts:
        text = f"{text} {context}".strip()
        encoding = pieces.encode([text])[0]
        if len(encoding.ids) >= DOCUMENT - 4:
            yield text[: encoding.offsets[DOCUMENT - 5][1]]
            text = ""


class Work:
    """The folder of checkpoint, tokenizer and bundles; what is complete there is used again.

    Attributes:
        models: a models folder with every bundle; `current` says which answer.
    """

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.models = self.folder / "models"
        self._source = tokenizer
        self._bundles: dict[str, Bundle] = {}

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    def bundle(self, name: str = TARGETS[0]) -> Bundle:
        """The bundle of a target, or OTHER: one model exported, the others with its embedding's rows moved on."""
        if name not in self._bundles:
            place = self.folder / f"int8-{name}"
            if not place.is_dir():
                self._first(place) if name == TARGETS[0] else self._variant(place, name)
            self._bundles[name] = open_bundle(place)
        return self._bundles[name]

    def current(self, *names: str) -> Any:
        """Makes these bundles, and no others, the ones that answer; returns what ``current.json`` then says."""
        bundles = [self.bundle(name) for name in names]
        self.models.mkdir(exist_ok=True)
        (self.models / CURRENT).unlink(missing_ok=True)
        for name, bundle in zip(names, bundles, strict=True):
            version = str([*TARGETS, OTHER].index(name) + 1)
            deliver(bundle, self.models, name=f"benchmark-{bundle.target}", version=version)
        return read_json(self.models / CURRENT)

    def flip(self, current: Any) -> None:
        """Replaces ``current.json``, by rename, under a server that watches it."""
        write_json(self.models / CURRENT, current)

    def file_mb(self, *names: str) -> float:
        """MB of the bundles' files."""
        return sum(path.stat().st_size for name in names for path in self.bundle(name).folder.iterdir()) / 1e6

    def _first(self, place: Path) -> None:
        tokenizer, fp32 = self.folder / "tokenizer", self.folder / "fp32"
        if not tokenizer.is_dir():
            wide_tokenizer(tokenizer, self._source)
        if not (fp32 / "bundle.json").is_file():
            shutil.rmtree(self.checkpoint, ignore_errors=True)
            checkpoint = make_checkpoint(self.folder, "base", tokenizer)
            export_bundle(checkpoint, SETTINGS, fp32, target=TARGETS[0], examples=EXAMPLES)
        quantise(open_bundle(fp32), place)

    def _variant(self, place: Path, name: str) -> None:
        first = self.bundle()
        step = 1000 * ([*TARGETS, OTHER].index(name) + 1)
        graph = onnx.load(first.folder / "model.onnx", load_external_data=False).graph
        table = max(
            (tensor for tensor in graph.initializer if tensor.external_data and len(tensor.dims) == 2),
            key=lambda tensor: tensor.dims[0],
        )
        where = {entry.key: entry.value for entry in table.external_data}
        offset, length = int(where.get("offset", 0)), int(where["length"])
        with new_folder(place) as folder:
            for file in ("model.onnx", "model.onnx.data", "tokenizer.json"):
                (folder / file).write_bytes((first.folder / file).read_bytes())
            with (folder / "model.onnx.data").open("r+b") as data:
                data.seek(offset)
                values = np.frombuffer(data.read(length), dtype=np.uint8).reshape(table.dims[0], -1)
                data.seek(offset)
                data.write(np.roll(values, step, axis=0).tobytes())
            predictor = Predictor(make_format(Pieces.open(folder), SETTINGS), OrtBackend(folder, threads=1))
            cases = [Features(np.array(case["input_ids"], dtype=np.int64)) for case in first.self_test["cases"]]
            write_manifest(
                folder,
                target=TARGETS[0] if name == OTHER else name,
                settings=SETTINGS,
                precision=first.precision,
                lineage=first.lineage,
                self_test=record_self_test(predictor, cases, tolerance=first.self_test["tolerance"]),
                export=first.export,
            )


@contextlib.contextmanager
def explained(what: str, reasons: dict[str, str]) -> Iterator[None]:
    """An error of the block becomes the reason why a figure is missing."""
    try:
        yield
    except (
        PolystiltsError,
        OSError,
        RuntimeError,
        ValueError,
        httpx.HTTPError,
        subprocess.CalledProcessError,
    ) as error:
        reasons[what] = f"{type(error).__name__}: {error}"
