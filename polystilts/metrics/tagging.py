"""F1 over tagged chunks, by seqeval's chunk rules, and accuracy over words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from polystilts.errors import InvalidValue
from polystilts.metrics.core import Floats, Metric, check_same_length, ratio

Tags = Sequence[str]


@dataclass(frozen=True)
class SpanF1(Metric):
    """Micro F1 over chunks as seqeval 1.2.2 finds them; statistics (true positives, predicted, gold).

    XTREME's evaluate.py for PAN-X: ``seqeval.metrics.f1_score`` over the sentences of a language. A chunk
    belongs to the row in which it ends. No chunk on either side gives 0, as in seqeval. A refused row
    (``None``) predicts ``O`` everywhere.
    """

    name: str = "span_f1"
    title: str = "span F1"
    columns: tuple[str, ...] = ("true_positives", "predicted", "gold")

    def statistics(self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str) -> Floats:
        return chunk_counts(golds, _matched(golds, predictions))

    def value(self, sums: Floats) -> Floats:
        return 200.0 * ratio(sums[..., 0], sums[..., 1] + sums[..., 2], empty=0.0)

    def row_score(self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str) -> Floats:
        """F1 [n] of each sentence, 0 to 1; 1 where neither gold nor prediction has a chunk."""
        counts = self.statistics(golds, predictions, language)
        return 2.0 * ratio(counts[:, 0], counts[:, 1] + counts[:, 2], empty=0.5)

    def details(self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str) -> dict[str, float]:
        """The main F1, ``precision`` and ``recall`` over chunks, and ``token_accuracy``."""
        matched = _matched(golds, predictions)
        right, predicted, gold = self.statistics(golds, predictions, language).sum(axis=0)
        return {
            self.name: self.score(golds, predictions, language),
            "precision": 100.0 * float(ratio(right, predicted, empty=0.0)),
            "recall": 100.0 * float(ratio(right, gold, empty=0.0)),
            "token_accuracy": 100.0 * accuracy_score(_flat(golds), _flat(matched)),
        }


@dataclass(frozen=True)
class PosF1(SpanF1):
    """XTREME's number for UD-POS: chunk F1 of seqeval 1.2.2 on tags that have no prefix.

    seqeval takes the first letter of a tag for its prefix and the rest for its type, so that neighbours
    of one type merge into a chunk and CCONJ and SCONJ are one type.
    `details` therefore gives four numbers:

    - ``pos_f1``: the above, what evaluate.py prints with seqeval 1.2.2; the main number;
    - ``pos_f1_whole_tag``: the rule of seqeval 0.0.12, which takes the whole tag for the type;
    - ``token_accuracy``: share of words with the right tag, what the papers call POS accuracy;
    - ``macro_f1``: unweighted mean of the tags' F1, over the tags that occur in gold.
    """

    name: str = "pos_f1"
    title: str = "POS F1"

    def details(self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str) -> dict[str, float]:
        matched = _matched(golds, predictions)
        whole = chunk_counts(golds, matched, old_type).sum(axis=0)
        gold, predicted = _flat(golds), _flat(matched)
        macro = f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)
        return {
            self.name: self.score(golds, predictions, language),
            "pos_f1_whole_tag": float(self.value(whole)),
            "token_accuracy": 100.0 * accuracy_score(gold, predicted),
            "macro_f1": 100.0 * float(macro),
        }


@dataclass(frozen=True)
class TokenAccuracy(Metric):
    """Share of words with the right tag; statistics (correct, words). A refused row has no word right."""

    name: str = "token_accuracy"
    title: str = "token accuracy"
    columns: tuple[str, ...] = ("correct", "words")

    def statistics(self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str) -> Floats:
        check_same_length(golds, predictions)
        # A refused word is wrong even where the right tag is O.
        tags = [[""] * len(g) if p is None else p for g, p in zip(golds, predictions, strict=True)]
        right = [sum(map(eq, g, p)) for g, p in zip(golds, _matched(golds, tags), strict=True)]
        return np.array([right, [len(g) for g in golds]], dtype=np.float64).T

    def value(self, sums: Floats) -> Floats:
        return 100.0 * ratio(sums[..., 0], sums[..., 1], empty=np.nan)


def new_type(tag: str) -> str:
    """The type of a tag to seqeval 1.2.2: ``B-PER`` -> PER, but also ``SCONJ`` -> CONJ and ``X`` -> _."""
    return tag[1:].split("-", 1)[-1] or "_"


def old_type(tag: str) -> str:
    """The type of a tag to seqeval 0.0.12: ``B-PER`` -> PER and ``SCONJ`` -> SCONJ."""
    return tag.rsplit("-", 1)[-1]


def chunk_counts(
    golds: Sequence[Tags], predictions: Sequence[Tags], type_of: Callable[[str], str] = new_type
) -> Floats:
    """Counts [n, 3] of (true positives, predicted chunks, gold chunks) by row.

    The rules are those of seqeval's ``start_of_chunk`` and ``end_of_chunk`` (conlleval's), on arrays:
    seqeval's own loop warns at every tag without an IOB prefix and takes eight times as long. Like
    ``seqeval.metrics.f1_score`` it walks all rows as one sequence with an ``O`` behind each, because
    seqeval carries state over a sentence's end: a sentence that opens with the one-letter tag ``X`` is
    given the start of an earlier chunk. Only so do the sums equal its counts; they depend on the order
    of such rows.
    """
    codes: dict[str, int] = {}
    gold_start, gold_type = _chunk_ends(golds, type_of, codes)
    predicted_start, predicted_type = _chunk_ends(predictions, type_of, codes)
    gold, predicted = gold_start >= 0, predicted_start >= 0
    right = gold & (gold_start == predicted_start) & (gold_type == predicted_type)
    row = np.repeat(np.arange(len(golds)), [len(tags) + 1 for tags in golds])
    columns = [np.bincount(row, weights=hit, minlength=len(golds)) for hit in (right, predicted, gold)]
    return np.column_stack(columns)


def _chunk_ends(
    rows: Sequence[Tags], type_of: Callable[[str], str], codes: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The start of the chunk that ends at each position of the flattened rows (-1: none), and its type.

    `codes` numbers the types and grows.
    """
    flat = [tag for tags in rows for tag in (*tags, "O")]
    table = {tag: codes.setdefault(type_of(tag), len(codes)) for tag in dict.fromkeys(flat)}
    kind = np.array([table[tag] for tag in flat], dtype=np.int64)
    letter = np.array([tag[0] for tag in flat], dtype="U1")
    before = np.append("O", letter[:-1])
    changed = kind != np.append(-1, kind[:-1])

    def among(letters: NDArray[np.str_], which: str) -> NDArray[np.bool_]:
        return np.isin(letters, list(which))

    ended = among(before, "ES") | (among(before, "BI") & among(letter, "BSO")) | (~among(before, "O.") & changed)
    begun = among(letter, "BS") | (among(before, "ESO") & among(letter, "EI")) | (~among(letter, "O.") & changed)
    latest = np.maximum.accumulate(np.where(begun, np.arange(len(flat)), 0))
    return np.where(np.append(ended[1:], False), latest, -1), kind


def _matched(golds: Sequence[Tags], predictions: Sequence[Tags | None]) -> list[Tags]:
    check_same_length(golds, predictions)
    matched: list[Tags] = []
    for row, (gold, prediction) in enumerate(zip(golds, predictions, strict=True)):
        tags: Tags = ["O"] * len(gold) if prediction is None else prediction
        if len(tags) != len(gold):
            message = f"row {row} has {len(gold)} words and {len(tags)} predicted tags"
            raise InvalidValue(message, param="predictions", limit=len(gold), given=len(tags))
        matched.append(tags)
    return matched


def _flat(rows: Sequence[Tags]) -> list[Any]:
    return [tag for tags in rows for tag in tags]
