"""Exact match and F1 of answer texts, with SQuAD's and MLQA's normalisers, and SQuAD 2.0's threshold."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from polystilts.metrics.core import Floats, Metric, check_same_length, ratio

Normaliser = Callable[[str, str], str]

_ENGLISH_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)

#: MLQA's articles; Hindi and Chinese have none. The Arabic rule takes the article off wherever it stands in a
#: word, its first alternative can never match, and both are kept because published numbers were made so.
_MLQA_ARTICLES = MappingProxyType(
    {
        "en": _ENGLISH_ARTICLES,
        "es": re.compile(r"\b(?:un|una|unos|unas|el|la|los|las)\b"),
        "vi": re.compile(r"\b(?:của|là|cái|chiếc|những)\b"),
        "de": re.compile(r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
        "ar": re.compile(r"\sال^|ال"),
    }
)
_MLQA_MIXED = frozenset({"zh"})
_HAN = re.compile(r"([\u4e00-\u9fa5])")


def squad_normalise(text: str, language: str = "en") -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    SQuAD 1.1's evaluation script; XTREME applies it to XQuAD and TyDiQA whatever the language,
    so Chinese and Thai are compared as whole space-separated stretches. `language` is not used.
    """
    text = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ENGLISH_ARTICLES.sub(" ", text).split())


def mlqa_normalise(text: str, language: str) -> str:
    """Lower case, no Unicode punctuation, no articles of the language, single spaces; Han characters apart.

    MLQA's evaluation script v1: articles by language, "mixed segmentation" for Chinese (every character in
    U+4E00–U+9FA5 is a word, the rest is split at spaces). The script refuses languages outside MLQA's
    seven; here they are split at spaces and keep their articles.
    """
    text = text.lower().translate(_unicode_punctuation())
    if language in _MLQA_ARTICLES:
        text = _MLQA_ARTICLES[language].sub(" ", text)
    if language in _MLQA_MIXED:
        text = _HAN.sub(r" \1 ", text)
    return " ".join(text.split())


@cache
def _unicode_punctuation() -> dict[int, None]:
    marks = (i for i in range(sys.maxunicode) if unicodedata.category(chr(i)).startswith("P"))
    return dict.fromkeys([*marks, *map(ord, string.punctuation)])


def exact_and_f1(answers: Sequence[str], prediction: str, language: str, normalise: Normaliser) -> tuple[float, float]:
    """Exact match and bag-of-words F1, 0 to 1, each the best over the gold answers (SQuAD's rule).

    No gold answers: the question is unanswerable, and both are 1 for an empty prediction and 0 otherwise
    (SQuAD 2.0). With answers, a prediction that normalises to nothing has F1 0, as in SQuAD 1.1.
    """
    predicted = normalise(prediction, language)
    if not answers:
        return (float(not predicted),) * 2
    golds = [normalise(answer, language) for answer in answers]
    words = Counter(predicted.split())
    f1 = [_overlap(Counter(gold.split()), words) for gold in golds]
    return float(predicted in golds), max(f1)


def _overlap(gold: Counter[str], predicted: Counter[str]) -> float:
    common = (gold & predicted).total()
    return 2.0 * common / (gold.total() + predicted.total()) if common else 0.0


@dataclass(frozen=True)
class AnswerMatch(Metric):
    """Mean of exact match and F1; statistics (exact match, F1, 1).

    XTREME's evaluate.py scores a question-answering task by (mean exact match + mean F1) / 2. Gold is the
    list of accepted answer texts, a prediction is a text.

    Attributes:
        normalise: ``(text, language) -> text``, applied to both sides.
    """

    name: str = "qa"
    title: str = "(EM + F1) / 2"
    columns: tuple[str, ...] = ("exact_match", "f1", "rows")
    normalise: Normaliser = squad_normalise

    def statistics(self, golds: Sequence[Sequence[str]], predictions: Sequence[str | None], language: str) -> Floats:
        check_same_length(golds, predictions)
        scores = np.ones((len(golds), 3))
        for row, (answers, prediction) in enumerate(zip(golds, predictions, strict=True)):
            if prediction is None:
                # Refused, hence wrong, even where the right answer is "none".
                scores[row, :2] = 0.0
            else:
                scores[row, :2] = exact_and_f1(answers, prediction, language, self.normalise)
        return scores

    def value(self, sums: Floats) -> Floats:
        return 50.0 * ratio(sums[..., 0] + sums[..., 1], sums[..., 2], empty=np.nan)

    def details(
        self, golds: Sequence[Sequence[str]], predictions: Sequence[str | None], language: str
    ) -> dict[str, float]:
        """The main number, ``exact_match`` and ``f1``."""
        exact, f1, rows = self.statistics(golds, predictions, language).sum(axis=0).tolist()
        return {
            self.name: self.score(golds, predictions, language),
            "exact_match": 100.0 * exact / rows,
            "f1": 100.0 * f1 / rows,
        }


@dataclass(frozen=True)
class AnswerOrNone(Metric):
    """SQuAD 2.0: mean of exact match and F1 where a question may have no answer; statistics (exact, F1, 1).

    Gold is the list of accepted answer texts, [] for a question without an answer. A prediction is a text ('' = no
    answer), or ``{"text": best answer, "null_odds": score of no answer - score of the text}``: then "no answer" is
    given above a threshold.

    `score` tunes the threshold on these same rows as SQuAD 2.0's evaluation script does, once for exact match and
    once for F1, and is (best exact + best F1) / 2: by this number a checkpoint is chosen, and it is optimistic.
    `statistics`, and with them intervals, are those of the threshold 0.
    """

    name: str = "qa_or_none"
    title: str = "(best EM + best F1) / 2"
    columns: tuple[str, ...] = ("exact", "f1", "rows")

    def statistics(self, golds: Sequence[Sequence[str]], predictions: Sequence[Any], language: str) -> Floats:
        check_same_length(golds, predictions)
        scores = np.ones((len(golds), 3))
        for row, (answers, prediction) in enumerate(zip(golds, predictions, strict=True)):
            if isinstance(prediction, Mapping) and prediction["null_odds"] > 0:
                scores[row, :2] = float(not answers)
            else:
                scores[row, :2] = _exact_and_f1_or_none(answers, prediction, language)
        return scores

    def value(self, sums: Floats) -> Floats:
        return 50.0 * ratio(sums[..., 0] + sums[..., 1], sums[..., 2], empty=np.nan)

    def score(self, golds: Sequence[Sequence[str]], predictions: Sequence[Any], language: str) -> float:
        details = self.details(golds, predictions, language)
        return details[self.name]

    def details(self, golds: Sequence[Sequence[str]], predictions: Sequence[Any], language: str) -> dict[str, float]:
        """The main number; ``best_exact`` and ``best_f1`` with their thresholds (in the unit of the odds);
        ``exact`` and ``f1`` at threshold 0."""
        super().score(golds, predictions, language)  # refuses no rows and lengths that differ
        exact, f1, rows = self.statistics(golds, predictions, language).sum(axis=0).tolist()
        best_exact, exact_threshold = _best_threshold(0, golds, predictions, language)
        best_f1, f1_threshold = _best_threshold(1, golds, predictions, language)
        return {
            self.name: (best_exact + best_f1) / 2,
            "best_exact": best_exact,
            "best_exact_threshold": exact_threshold,
            "best_f1": best_f1,
            "best_f1_threshold": f1_threshold,
            "exact": 100.0 * exact / rows,
            "f1": 100.0 * f1 / rows,
        }


def _exact_and_f1_or_none(answers: Sequence[str], prediction: Any, language: str) -> tuple[float, float]:
    """Of the text itself, whatever its odds. Answers that normalise to nothing are no answers (SQuAD 2.0)."""
    if prediction is None:
        return 0.0, 0.0
    text = prediction["text"] if isinstance(prediction, Mapping) else prediction
    return exact_and_f1([a for a in answers if squad_normalise(a)], text, language, squad_normalise)


def _best_threshold(
    which: int, golds: Sequence[Sequence[str]], predictions: Sequence[Any], language: str
) -> tuple[float, float]:
    """The best mean of exact match (0) or F1 (1), 0 to 100, and its threshold.

    ``find_best_thresh`` of SQuAD 2.0's script: from "no answer" everywhere, texts are let through one after the
    other by rising odds. The threshold that never lets one through is called 0, and rows of equal odds are taken
    apart in their order, both as in the script. Rows without odds count as they are.
    """
    fixed = current = 0.0
    open_rows = []
    for answers, prediction in zip(golds, predictions, strict=True):
        score = _exact_and_f1_or_none(answers, prediction, language)[which]
        if not isinstance(prediction, Mapping):
            fixed += score
            continue
        current += not answers
        gain = score if answers else -float(bool(prediction["text"]))
        open_rows.append((float(prediction["null_odds"]), gain))
    best, threshold = current, 0.0
    for odds, gain in sorted(open_rows, key=lambda row: row[0]):
        current += gain
        if current > best:
            best, threshold = current, odds
    return 100.0 * (fixed + best) / len(golds), threshold
