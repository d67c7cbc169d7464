"""Raw rows of data sets whose columns are not ours under other names: one function for each `TaskSpec.shape`.

A shape sees the row as its source has it (hub columns or the authors' files, class labels as integers or names) and
gives the columns of `polystilts.data.columns`, or None for a row that the data set's own rules drop. It raises
LookupError, TypeError or ValueError where the row lacks what it needs; `to_row` turns these into a `BadRow`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from icu4py.breakers import SentenceBreaker

Raw = Mapping[str, Any]

_ANLI_LETTERS = {"e": "entailment", "n": "neutral", "c": "contradiction"}


def anli(row: Raw) -> Raw:
    """``premise, hypothesis, label`` (hub), or ``context, statement, gold_label`` (e, n, c) of the authors' csv."""
    if "statement" not in row:
        return {"premise": row["premise"], "hypothesis": row["hypothesis"], "label": row["label"]}
    label = row["gold_label"]
    return {"premise": row["context"], "hypothesis": row["statement"], "label": _ANLI_LETTERS.get(label, label)}


def hellaswag(row: Raw) -> Raw:
    """``ctx_a`` and four continuations ``ctx_b + " " + ending``, as jiant builds them; an empty label is hidden."""
    endings = (f"{row['ctx_b']} {ending}" for ending in row["endings"])
    return {"premise": row["ctx_a"], "question": "", **_choices(endings), "label": _hidden_if_empty(row["label"])}


def cosmosqa(row: Raw) -> Raw:
    """``context``, ``question``, ``answer0`` to ``answer3``; the files of the test set have no label."""
    answers = (row[f"answer{n}"] for n in range(4))
    label = _hidden_if_empty(row.get("label"))
    return {"premise": row["context"], "question": row["question"], **_choices(answers), "label": label}


def csqa(row: Raw) -> Raw:
    """The question and its choices by letter; on the hub side by side, in the authors' files inside ``question``."""
    question, choices = row["question"], row.get("choices")
    if isinstance(question, Mapping):
        question, choices = question["stem"], question["choices"]
    if choices is None:
        raise KeyError("choices")
    pairs = (
        list(zip(choices["label"], choices["text"], strict=True))
        if isinstance(choices, Mapping)
        else [(choice["label"], choice["text"]) for choice in choices]
    )
    letters, texts = [letter for letter, _ in pairs], [text for _, text in pairs]
    answer = _hidden_if_empty(row.get("answerKey"))
    label = answer if answer is None else _position(answer, letters, "answerKey")
    return {"premise": question, "question": "", **_choices(texts), "label": label}


def siqa(row: Raw) -> Raw:
    """``context``, ``question``, ``answerA`` to ``answerC``; the label is a text counted from 1 (the hub), an index
    (a class label) or a letter in ``correct`` (the authors' files)."""
    label = row["label"] if "label" in row else row.get("correct")
    if isinstance(label, str):
        label = _hidden_if_empty(label.strip())
        if label is not None:
            label = _position(label, "ABC" if label.isalpha() else "123", "label")
    answers = (row[f"answer{letter}"] for letter in "ABC")
    return {"premise": row["context"], "question": row["question"], **_choices(answers), "label": label}


def defect(row: Raw) -> Raw:
    """One function in C; ``target`` is whether it is vulnerable. The second text of the pair stays empty."""
    target = row["target"]
    return {"premise": row["func"], "hypothesis": "", "label": None if target is None else int(target)}


def deprel(row: Raw) -> Raw:
    """Words with the relation to their head, without the treebank's subtype: ``nmod:poss`` is ``nmod``."""
    return {"tokens": row["tokens"], "tags": [str(relation).partition(":")[0] for relation in row["deprel"]]}


def answer_sentence(row: Raw) -> Raw | None:
    """A SQuAD question and the sentence in which its first answer starts, with the whole paragraph behind it.

    Sentence and paragraph are joined without a space and lose their newlines, as XTREME-R does for LAReQA; sentences
    are ICU's, without the space that follows them. None where no sentence holds the start of the answer.
    """
    answers, context = row["answers"], row["context"]
    starts = answers["answer_start"] if isinstance(answers, Mapping) else [one["answer_start"] for one in answers]
    if not starts:
        return None
    for first, last in _sentences(context):
        if first <= starts[0] < last:
            return {"query": row["question"], "candidate": with_paragraph(context[first:last], context)}
    return None


def with_paragraph(sentence: str, paragraph: str) -> str:
    """What stands for a sentence of LAReQA: itself and its paragraph, joined without a space, without newlines."""
    return (sentence + paragraph).replace("\n", "")


#: A paragraph's questions follow each other.
@lru_cache(maxsize=8)
def _sentences(text: str) -> tuple[tuple[int, int], ...]:
    """[start, end) of each sentence in code points, without trailing space."""
    # ICU counts UTF-16 units: a character beyond U+FFFF has two.
    point_of = [point for point, character in enumerate(text) for _ in range(1 + (character > "\uffff"))]
    point_of.append(len(text))
    spans = [(point_of[first], point_of[last]) for first, last in SentenceBreaker(text, "root").segments()]
    return tuple((first, first + len(text[first:last].rstrip())) for first, last in spans)


def _choices(texts: Any) -> dict[str, Any]:
    return {f"choice{n}": text for n, text in enumerate(texts, 1)}


def _hidden_if_empty(label: Any) -> Any:
    return None if label == "" else label


def _position(value: Any, known: Any, name: str) -> int:
    if value not in list(known):
        raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")
    return list(known).index(value)


SHAPES: Mapping[str, Callable[[Raw], Raw | None]] = {
    "anli": anli,
    "hellaswag": hellaswag,
    "cosmosqa": cosmosqa,
    "csqa": csqa,
    "siqa": siqa,
    "defect": defect,
    "deprel": deprel,
    "answer_sentence": answer_sentence,
}

#: Shape -> columns that it reads of a hub repository, checked before the first row.
RAW_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "anli": ("premise", "hypothesis", "label"),
    "hellaswag": ("ctx_a", "ctx_b", "endings", "label"),
    "cosmosqa": ("context", "question", "answer0", "answer1", "answer2", "answer3", "label"),
    "csqa": ("question", "choices", "answerKey"),
    "siqa": ("context", "question", "answerA", "answerB", "answerC", "label"),
    "defect": ("func", "target"),
    "deprel": ("tokens", "deprel"),
    "answer_sentence": ("context", "question", "answers"),
}
