"""The table of endpoints: which models answer each, how an item becomes examples and predictions a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pydantic import BaseModel

from polystilts.errors import InvalidValue, TooLarge
from polystilts.formats import FormatSettings, words
from polystilts.formats.values import (
    ChoiceExample,
    ChoicePrediction,
    Example,
    PairExample,
    PairPrediction,
    Prediction,
    SentenceExample,
    SentencePrediction,
    SpanExample,
    SpanPrediction,
    TaggingExample,
    TaggingPrediction,
)
from serving import schemas
from serving.align import mine, unit
from serving.settings import Settings

#: The server does not know the language of a text and does not need to.
UNKNOWN = "und"


@dataclass(frozen=True)
class Work:
    """An item on its way: the examples to predict, and what makes a result of their predictions."""

    examples: Sequence[Example]
    finish: Callable[[Sequence[Prediction]], BaseModel]


@dataclass(frozen=True)
class Endpoint:
    """One ``POST /v1/<name>``.

    Attributes:
        targets: preferred targets, best first; any other model that `accepts` says yes to answers too.
        accepts: whether a model with these settings can answer.
        prepare: item, settings of the model -> `Work`; raises a PolystiltsError for an item it cannot take.
        several: whether a list of items is taken.
    """

    name: str
    summary: str
    targets: tuple[str, ...]
    item: type[BaseModel]
    result: type[BaseModel]
    accepts: Callable[[FormatSettings], bool]
    prepare: Callable[[Any, FormatSettings], Work]
    several: bool = True

    @property
    def path(self) -> str:
        return f"/v1/{self.name}"


def _nli(item: schemas.PairItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.PairResult:
        answer = cast(PairPrediction, predictions[0])
        return schemas.PairResult(label=answer.label, probabilities=answer.probabilities)

    return Work([PairExample("", UNKNOWN, item.premise, item.hypothesis)], finish)


def _paraphrase(item: schemas.ParaphraseItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.ParaphraseResult:
        answer = cast(PairPrediction, predictions[0])
        same = answer.label == settings.labels[-1]
        return schemas.ParaphraseResult(label=answer.label, probabilities=answer.probabilities, paraphrase=same)

    return Work([PairExample("", UNKNOWN, item.sentence1, item.sentence2)], finish)


def _tagging(item: schemas.TaggingItem) -> tuple[TaggingExample, Callable[[Prediction], list[schemas.Token]]]:
    if (item.text is None) == (item.tokens is None):
        raise InvalidValue("give either text or tokens", param="text")
    if item.text is not None:
        split = words.split(item.text)
        if not split:
            raise InvalidValue("text has no words", param="text", limit=1, given=0)
        tokens = tuple(word.text for word in split)
        places: list[tuple[int | None, int | None]] = [(word.start, word.end) for word in split]
    else:
        tokens = tuple(item.tokens or ())
        places = [(None, None)] * len(tokens)

    def tagged(prediction: Prediction) -> list[schemas.Token]:
        answer = cast(TaggingPrediction, prediction)
        rows = zip(tokens, answer.tags, answer.probabilities, places, strict=True)
        return [
            schemas.Token(text=text, tag=tag, probability=probability, start=start, end=end)
            for text, tag, probability, (start, end) in rows
        ]

    return TaggingExample("", UNKNOWN, tokens), tagged


def _pos(item: schemas.TaggingItem, settings: FormatSettings) -> Work:
    example, tagged = _tagging(item)
    return Work([example], lambda predictions: schemas.PosResult(tokens=tagged(predictions[0])))


def _ner(item: schemas.TaggingItem, settings: FormatSettings) -> Work:
    example, tagged = _tagging(item)

    def finish(predictions: Sequence[Prediction]) -> schemas.NerResult:
        tokens = tagged(predictions[0])
        return schemas.NerResult(tokens=tokens, entities=entities(tokens, item.text))

    return Work([example], finish)


def entities(tokens: Sequence[schemas.Token], text: str | None) -> list[schemas.Entity]:
    """The entities that BIO tags spell; an I- that continues nothing begins one (as seqeval reads it).

    Args:
        text: the raw text, from which an entity's text is cut; None: its tokens with spaces between them.
    """
    ranges: list[tuple[str, int, int]] = []
    for index, token in enumerate(tokens):
        prefix, _, kind = token.tag.partition("-")
        if prefix == "I" and ranges and ranges[-1][0] == kind and ranges[-1][2] == index:
            ranges[-1] = (kind, ranges[-1][1], index + 1)
        elif kind:
            ranges.append((kind, index, index + 1))
    found = []
    for kind, first, last in ranges:
        part = tokens[first:last]
        start, end = part[0].start, part[-1].end
        found.append(
            schemas.Entity(
                type=kind,
                text=text[start:end] if text is not None else " ".join(token.text for token in part),
                first_token=first,
                last_token=last,
                start=start,
                end=end,
                probability=min(token.probability for token in part),
            )
        )
    return found


def _qa(item: schemas.QaItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.QaResult:
        answer = cast(SpanPrediction, predictions[0])
        return schemas.QaResult(
            answer=answer.text,
            start=answer.start,
            end=answer.end,
            score=answer.score,
            null_score=answer.null_score,
        )

    return Work([SpanExample("", UNKNOWN, item.question, item.context)], finish)


def _choice(item: schemas.ChoiceItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.ChoiceResult:
        answer = cast(ChoicePrediction, predictions[0])
        return schemas.ChoiceResult(
            label=answer.label, text=item.choices[answer.label], probabilities=list(answer.probabilities)
        )

    return Work([ChoiceExample("", UNKNOWN, item.premise, item.question, tuple(item.choices))], finish)


def _vector(prediction: Prediction) -> np.ndarray:
    """float32 [hidden]: a bundle that serves embeddings pools one layer; of several the first counts."""
    vector: np.ndarray = cast(SentencePrediction, prediction).embeddings[0]
    return vector


def _embed(item: schemas.EmbedItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.EmbedResult:
        return schemas.EmbedResult(embedding=unit(_vector(predictions[0])).tolist())

    return Work([SentenceExample("", UNKNOWN, item.text)], finish)


def _align(item: schemas.AlignItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.AlignResult:
        vectors = np.stack([_vector(prediction) for prediction in predictions])
        pairs = mine(vectors[: len(item.source)], vectors[len(item.source) :])
        return schemas.AlignResult(
            pairs=[schemas.AlignedPair(source=i, target=j, score=score) for i, j, score in pairs]
        )

    return Work([SentenceExample("", UNKNOWN, text) for text in (*item.source, *item.target)], finish)


def _is(format_: str) -> Callable[[FormatSettings], bool]:
    return lambda settings: settings.format == format_


def _is_nli(settings: FormatSettings) -> bool:
    return settings.format == "pair" and "entailment" in settings.labels


def _is_ner(settings: FormatSettings) -> bool:
    return settings.format == "tagging" and "O" in settings.labels


ENDPOINTS = (
    Endpoint(
        "nli",
        "Does the premise entail the hypothesis?",
        ("xnli",),
        schemas.PairItem,
        schemas.PairResult,
        _is_nli,
        _nli,
    ),
    Endpoint(
        "paraphrase",
        "Do two sentences say the same?",
        ("pawsx",),
        schemas.ParaphraseItem,
        schemas.ParaphraseResult,
        lambda settings: settings.format == "pair" and not _is_nli(settings),
        _paraphrase,
    ),
    Endpoint(
        "pos",
        "The part of speech of every word",
        ("udpos",),
        schemas.TaggingItem,
        schemas.PosResult,
        lambda settings: settings.format == "tagging" and not _is_ner(settings),
        _pos,
    ),
    Endpoint(
        "ner",
        "Persons, organisations and places",
        ("panx",),
        schemas.TaggingItem,
        schemas.NerResult,
        _is_ner,
        _ner,
    ),
    Endpoint(
        "qa",
        "The answer to a question, as a range of its context",
        ("xquad", "tydiqa", "mlqa"),
        schemas.QaItem,
        schemas.QaResult,
        _is("span"),
        _qa,
    ),
    Endpoint(
        "choice",
        "Which choice fits a premise?",
        ("xcopa",),
        schemas.ChoiceItem,
        schemas.ChoiceResult,
        _is("choice"),
        _choice,
    ),
    Endpoint(
        "embed",
        "A sentence as a vector",
        ("tatoeba",),
        schemas.EmbedItem,
        schemas.EmbedResult,
        _is("sentence"),
        _embed,
    ),
    Endpoint(
        "align",
        "Which sentences of two lists are translations of each other?",
        ("tatoeba",),
        schemas.AlignItem,
        schemas.AlignResult,
        _is("sentence"),
        _align,
        several=False,
    ),
)


def texts_of(item: BaseModel) -> list[str]:
    """Every text of an item, in the order of its fields."""
    values = [value if isinstance(value, list) else [value] for _, value in item]
    return [text for several in values for text in several if isinstance(text, str)]


def check_limits(endpoint: Endpoint, item: BaseModel, settings: Settings) -> None:
    """Refuses an item with too many sentences or too long a text, before anything is tokenised.

    Raises:
        TooLarge: naming field, limit and size.
    """
    for field, value in item:
        many = isinstance(value, list)
        if many and not endpoint.several and len(value) > settings.align_sentences:
            raise _too_large(field, "sentences", settings.align_sentences, len(value))
        for index, text in enumerate(value if many else [value]):
            if isinstance(text, str) and len(text) > settings.characters:
                raise _too_large(f"{field}.{index}" if many else field, "characters", settings.characters, len(text))


def _too_large(param: str, unit_: str, limit: int, given: int) -> TooLarge:
    return TooLarge(f"{param} has {given} {unit_}; the limit is {limit}", param=param, limit=limit, given=given)
