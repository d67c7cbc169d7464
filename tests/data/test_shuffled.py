"""The control whose labels say nothing: same rows, same distribution of labels, no signal."""

from collections import Counter
from pathlib import Path

import pytest

from polystilts.data.shuffled import shuffled
from polystilts.data.source import open_source
from polystilts.data.training_sets import fewer, in_language, languages_there
from polystilts.errors import MissingData
from polystilts.formats.values import Answer, ChoiceExample, PairExample, SentencePair, SpanExample, TaggingExample
from polystilts.tasks import get_task

PAIRS = [PairExample(f"p{i}", "en", f"text {i}", "other", ("yes", "no", "perhaps")[i % 3]) for i in range(300)]


def test_pairs_keep_everything_but_the_label():
    rows = shuffled(PAIRS, 1)
    assert [(row.id, row.premise, row.hypothesis) for row in rows] == [(r.id, r.premise, r.hypothesis) for r in PAIRS]
    assert Counter(row.label for row in rows) == Counter(row.label for row in PAIRS)
    kept = sum(row.label == before.label for row, before in zip(rows, PAIRS, strict=True))
    assert 60 < kept < 140, "a third by chance"


def test_the_seed_alone_decides():
    assert shuffled(PAIRS, 1) == shuffled(PAIRS, 1) != shuffled(PAIRS, 2)


def test_choices_keep_their_number():
    rows = [ChoiceExample(f"c{i}", "en", "p", "cause", ("a", "b", "c")[: 2 + i % 2], i % 2) for i in range(100)]
    mixed = shuffled(rows, 0)
    assert all(0 <= row.label < len(row.choices) for row in mixed)
    assert [row.label for row in mixed] != [row.label for row in rows]


def test_words_get_tags_of_the_whole_set():
    rows = [
        TaggingExample(f"t{i}", "en", ("a", "b", "c")[: 1 + i % 3], ("D", "N", "V")[: 1 + i % 3]) for i in range(90)
    ]
    mixed = shuffled(rows, 0)
    assert [row.tokens for row in mixed] == [row.tokens for row in rows]
    assert all(len(row.tags) == len(row.tokens) for row in mixed)
    assert Counter(tag for row in mixed for tag in row.tags) == Counter(tag for row in rows for tag in row.tags)
    first = Counter(row.tags[0] for row in mixed)
    assert set(first) == {"D", "N", "V"}, "the first word was always D"


def test_answers_lie_in_their_own_context_and_have_the_lengths_of_others():
    rows = [
        SpanExample(f"s{i}", "en", "who?", "one two three four five six", (Answer("two three", 4),) if i % 3 else ())
        for i in range(120)
    ]
    mixed = shuffled(rows, 0)
    for row in mixed:
        for answer in row.answers:
            assert row.context[answer.start : answer.start + len(answer.text)] == answer.text
            assert len(answer.text.split()) == 2
    assert sum(not row.answers for row in mixed) == sum(not row.answers for row in rows)
    assert len({answer.start for row in mixed for answer in row.answers}) == 5, "every place there is"
    assert {not a.answers for a, b in zip(mixed, rows, strict=True) if b.answers} == {True, False}


def test_an_answer_in_a_text_without_spaces_is_cut_by_characters():
    [row] = shuffled([SpanExample("z", "zh", "谁？", "猫在旧桌子上睡觉。", (Answer("旧桌子", 2),))], 0)
    [answer] = row.answers
    assert len(answer.text) == 3 and row.context[answer.start :].startswith(answer.text)


def test_pairs_of_texts_change_partners():
    rows = [SentencePair(f"x{i}", "de", f"q{i}", f"c{i}") for i in range(50)]
    mixed = shuffled(rows, 0)
    assert sorted(row.candidate for row in mixed) == sorted(row.candidate for row in rows)
    assert sum(row.candidate == f"c{row.query[1:]}" for row in mixed) < 10


class TestTrainingSets:
    source = open_source("micro", Path("."))

    def test_a_translation_stands_for_the_task(self):
        spec = in_language(self.source, get_task("mnli"), "de")
        assert (spec.name, spec.train_languages, spec.translates) == ("mnli_translated", ("de",), "mnli")
        assert in_language(self.source, get_task("mnli"), "en").name == "mnli"
        assert languages_there(self.source, get_task("mnli"))[0] == "en"

    def test_a_language_that_is_not_there_is_refused_with_those_that_are(self):
        with pytest.raises(MissingData, match="no training rows of udpos in 'de'; languages there: en") as caught:
            in_language(self.source, get_task("udpos"), "de", param="--languages")
        assert caught.value.param == "--languages"

    def test_fewer_rows_are_the_same_ids_in_every_language(self):
        english = [PairExample(f"{i}", "en", "a", "b", "c") for i in range(100)]
        german = [PairExample(f"{i}", "de", "x", "y", "c") for i in reversed(range(100))]
        some = fewer(english, 30)
        assert len(some) == 30 and {row.id for row in some} == {row.id for row in fewer(german, 30)}
        assert [row.id for row in some] == sorted((row.id for row in some), key=int), "in their order"
        assert {row.id for row in fewer(english, 10)} < {row.id for row in some}
