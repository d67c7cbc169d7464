"""F1 over tagged chunks, by seqeval's own chunk rules."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score, f1_score

from polystilts.errors import InvalidValue
from polystilts.metrics.core import Floats, Metric, check_same_length, ratio

Tags = Sequence[str]


@dataclass(frozen=True)
class SpanF1(Metric):
    """Micro F1 over (type, start, end) chunks as seqeval 1.2.2 finds them; statistics (true positives, predicted, gold).

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

    def details(
        self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str
    ) -> dict[str, float]:
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
    of one type merge into a chunk and CCONJ and SCONJ are one type (paper.md 7.8, protocols.md section 3).
    `details` therefore gives four numbers:

    - ``pos_f1``: the above, what evaluate.py prints with seqeval 1.2.2; the main number;
    - ``pos_f1_whole_tag``: the rule of seqeval 0.0.12, which takes the whole tag for the type;
    - ``token_accuracy``: share of words with the right tag, what the papers call POS accuracy;
    - ``macro_f1``: unweighted mean of the tags' F1, over the tags that occur in gold.
    """

    name: str = "pos_f1"
    title: str = "POS F1"

    def details(
        self, golds: Sequence[Tags], predictions: Sequence[Tags | None], language: str
    ) -> dict[str, float]:
        matched = _matched(golds, predictions)
        whole = chunk_counts(_whole_tags(golds), _whole_tags(matched)).sum(axis=0)
        gold, predicted = _flat(golds), _flat(matched)
        macro = f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)
        return {
            self.name: self.score(golds, predictions, language),
            "pos_f1_whole_tag": float(self.value(whole)),
            "token_accuracy": 100.0 * accuracy_score(gold, predicted),
            "macro_f1": 100.0 * float(macro),
        }


def chunk_counts(golds: Sequence[Tags], predictions: Sequence[Tags]) -> Floats:
    """Counts [n, 3] of (true positives, predicted chunks, gold chunks) by row.

    The chunks are found over all rows at once, as ``seqeval.metrics.f1_score`` does, because seqeval carries
    state over a sentence's end: for a sentence that opens with the one-letter tag ``X`` it reports the start of an
    earlier chunk. Only so do the sums equal its counts exactly; the sums do depend on the order of such rows.
    """
    gold, predicted = _chunks(golds), _chunks(predictions)
    # Every sentence is followed by one "O" in seqeval's flattened list.
    ends = np.cumsum([len(tags) + 1 for tags in golds])
    columns = (gold & predicted, predicted, gold)
    counts = [
        np.bincount(
            np.searchsorted(ends, [end for *_, end in chunks], side="right"),
            minlength=len(golds),
        )
        for chunks in columns
    ]
    return np.column_stack(counts).astype(np.float64)


def _chunks(rows: Sequence[Tags]) -> set[tuple[str, int, int]]:
    with warnings.catch_warnings():
        # seqeval warns at every tag without an IOB prefix, which is every tag of UD-POS.
        warnings.simplefilter("ignore")
        return set(get_entities([list(tags) for tags in rows]))


def _whole_tags(rows: Sequence[Tags]) -> list[list[str]]:
    """``SCONJ`` -> ``S-SCONJ``: what seqeval 0.0.12 made of a tag, prefix first letter and type whole tag."""
    return [[tag if tag == "O" else f"{tag[0]}-{tag}" for tag in tags] for tags in rows]


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
