"""Exact match and F1 of answer texts, with SQuAD's and MLQA's normalisers."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

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
