from __future__ import annotations

import pytest

from polystilts.errors import InvalidValue, MissingData
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    SentenceExample,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.metrics import get_metric, plain_gold
from polystilts.metrics.trivial import ConstantSpan, best_constant_span, trivial_predictions


def pair(label: str, language: str = "en") -> PairExample:
    return PairExample("1", language, "a", "b", label)


def span(context: str, answer: str, language: str = "en") -> SpanExample:
    return SpanExample("1", language, "?", context, (Answer(answer, context.index(answer)),))


def test_majority_label_of_the_training_rows() -> None:
    training = [pair("neutral"), pair("neutral"), pair("entailment")]
    evaluation = [pair("entailment", "sw"), pair("neutral", "zh")]
    assert trivial_predictions(training, evaluation) == ["neutral", "neutral"]


def test_a_tie_goes_to_the_smallest() -> None:
    training = [ChoiceExample("1", "en", "p", "", ("x", "y"), label) for label in (1, 0)]
    assert trivial_predictions(training, training[:1]) == [0]


def test_most_frequent_tag_by_word() -> None:
    training = [
        TaggingExample("1", "en", ("Anna", "runs", "."), ("PROPN", "VERB", "PUNCT")),
        TaggingExample("2", "en", ("Anna", "likes", "runs", "."), ("PROPN", "VERB", "NOUN", "PUNCT")),
        TaggingExample("3", "en", ("runs", "sells"), ("VERB", "VERB")),
    ]
    evaluation = [TaggingExample("1", "ru", ("Anna", "бегает", "."), ("PROPN", "VERB", "PUNCT"))]
    assert trivial_predictions(training, evaluation) == [["PROPN", "VERB", "PUNCT"]]


def test_constant_span_finds_the_place_and_applies_it_to_every_script() -> None:
    training = [
        span("Anna buys apples in Paris", "Paris"),
        span("In the old town Boris sells red pears in London", "London"),
    ]
    found = best_constant_span(training)
    assert (found.start, found.length) == (-1, 1)
    evaluation = [
        span("Анна покупает яблоки в Париже", "Париже", "ru"),
        span("安娜在巴黎", "巴黎", "zh"),
        span("अन्ना पेरिस में सेब खरीदती है", "पेरिस", "hi"),
    ]
    predictions = trivial_predictions(training, evaluation)
    assert predictions == ["Париже", "黎", "है"]
    golds = [plain_gold(row) for row in evaluation]
    assert get_metric("qa").score(golds[:1], predictions[:1], "ru") == 100.0


@pytest.mark.parametrize(
    ("place", "text", "language", "answer"),
    [
        (ConstantSpan(1, 2), "one two three four", "en", "two three"),
        (ConstantSpan(9, 2), "one two three", "en", "two three"),
        (ConstantSpan(-9, 1), "one two three", "en", "one"),
        (ConstantSpan(0, 5), "one two", "en", "one two"),
        (ConstantSpan(1, 2), "安娜在巴黎买苹果", "zh", "在巴黎买"),
        (ConstantSpan(0, 2), "", "th", ""),
    ],
)
def test_a_constant_span_in_short_and_unspaced_contexts(place, text, language, answer) -> None:
    assert place.answer(SpanExample("1", language, "?", text)) == answer


def test_chance_rank_needs_no_training_and_knows_the_pool() -> None:
    rows = [SentencePair(str(i), language, "x", "y") for language in ("de", "zh") for i in range(4)]
    predictions = trivial_predictions([], rows)
    assert get_metric("retrieval").score([row.id for row in rows], predictions, "de") == pytest.approx(25.0)
    predictions = trivial_predictions([], rows, candidates={"de": 10, "zh": 5})
    assert predictions[0] == {"any_of": 10} and predictions[-1] == {"any_of": 5}


def test_what_has_no_baseline() -> None:
    assert trivial_predictions([], []) == []
    with pytest.raises(MissingData, match="training rows"):
        trivial_predictions([], [pair("neutral")])
    with pytest.raises(InvalidValue, match="PairExample rows mixed with SpanExample"):
        trivial_predictions([span("a b", "b")], [pair("neutral")])
    with pytest.raises(InvalidValue, match="no trivial baseline"):
        trivial_predictions([SentenceExample("1", "en", "x")], [SentenceExample("1", "en", "x")])
