"""Conditions: their names, what each changes, what none changes; noise on a share of training rows."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from polystilts.data.conditions import CLEAN, Condition, change, noise_of, parse_condition
from polystilts.data.noise import HELD_OUT_KINDS, KINDS, TRAIN_KINDS, NoiseSettings
from polystilts.data.noise.rows import name_of_kinds, noised_share, parse_kinds
from polystilts.data.scored import Pool, ScoredRows
from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats.values import PairExample, RetrievalItem, SentencePair, SpanExample, TaggingExample
from polystilts.tasks import get_task
from polystilts.tasks.spec import TaskSpec
from tests.world.encoder import EXAMPLES, TEXTS

PAWSX, XNLI, UDPOS, TATOEBA, LAREQA = (get_task(name) for name in ("pawsx", "xnli", "udpos", "tatoeba", "lareqa"))


@pytest.mark.parametrize(
    ("text", "condition", "name"),
    [
        ("clean", CLEAN, "clean"),
        ("swapped", Condition("swapped"), "swapped"),
        ("renamed", Condition("renamed"), "renamed:0"),
        ("renamed:7", Condition("renamed", seed=7), "renamed:7"),
        ("noise:0.1", noise_of(NoiseSettings(0.1)), "noise:0.1:all:0"),
        ("noise:.05:train", noise_of(NoiseSettings(0.05, TRAIN_KINDS)), "noise:0.05:train:0"),
        ("noise:1:3:held-out", noise_of(NoiseSettings(1.0, HELD_OUT_KINDS, 3)), "noise:1.0:held-out:3"),
        ("noise:0.2:drop+swap:in-answers", noise_of(NoiseSettings(0.2, ("swap", "drop"), 0, True)),
         "noise:0.2:swap+drop:0:in-answers"),
    ],
)  # fmt: skip
def test_a_condition_is_read_from_its_name(text: str, condition: Condition, name: str) -> None:
    assert parse_condition(text) == condition
    assert condition.name == name and parse_condition(name) == condition


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nois:0.1", "unknown condition 'nois'; did you mean 'noise'"),
        ("noise", "write clean, noise:RATE"),
        ("noise:much", "'much' in 'noise:much' is not a rate"),
        ("noise:1.5", "rate must be from 0 to 1"),
        ("noise:0.1:swpa", "unknown kind of noise 'swpa'; did you mean 'swap'"),
        ("noise:0.1:trian", "did you mean 'train'"),
        ("swapped:1", "is not a condition"),
        ("renamed:x", "is not a condition"),
    ],
)
def test_what_is_no_condition_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        parse_condition(text, param="--condition")
    assert caught.value.param == "--condition"


def test_kinds_are_a_set_or_names_in_one_order() -> None:
    assert parse_kinds("all") == KINDS and name_of_kinds(KINDS) == "all"
    assert parse_kinds("drop, swap") == parse_kinds("swap+drop") == ("swap", "drop")
    assert parse_kinds("+".join(TRAIN_KINDS[::-1])) == TRAIN_KINDS and name_of_kinds(TRAIN_KINDS) == "train"
    with pytest.raises(UnknownName):
        parse_kinds("")


def rows_of(*examples: object) -> ScoredRows:
    by_language: dict[str, list] = {}
    for example in examples:
        by_language.setdefault(example.language, []).append(("report", example))
    return ScoredRows(by_language, {}, ("kk",))


def test_clean_rows_are_the_rows() -> None:
    rows = rows_of(*EXAMPLES["pair"])
    assert change(rows, XNLI, CLEAN).rows is rows


@pytest.mark.parametrize("format_", ["pair", "choice", "tagging", "span"])
def test_noise_changes_texts_and_keeps_the_rest(format_: str) -> None:
    examples = [e for e in EXAMPLES[format_] if format_ != "span" or e.answers]
    spec = replace(XNLI, format=format_)
    changed = change(rows_of(*examples), spec, parse_condition("noise:0.9"))
    new = {row.id: row for own in changed.rows.rows.values() for _, row in own}
    assert list(new) == [e.id for e in sorted(examples, key=lambda e: list(changed.rows.rows).index(e.language))]
    assert changed.rows.unlabelled == ("kk",)
    assert sum(new[e.id] != e for e in examples) >= len(examples) - 2
    for example in examples:
        row = new[example.id]
        if isinstance(row, TaggingExample):
            assert row.tags == example.tags and len(row.tokens) == len(example.tokens)
        elif isinstance(row, SpanExample):
            assert row.answers and example.answers
            assert [a.text for a in row.answers] == [a.text for a in example.answers]
            assert all(row.context[a.start : a.start + len(a.text)] == a.text for a in row.answers)
        else:
            assert row.label == example.label
    assert set(changed.about()["noise"]) == set(changed.rows.rows)
    assert all(0 < part["character_rate"] < 0.7 for part in changed.about()["noise"].values())


def test_answers_move_with_noise_inside_them() -> None:
    rows = rows_of(*[e for e in EXAMPLES["span"] if e.answers])
    changed = change(rows, get_task("xquad"), parse_condition("noise:1:in-answers"))
    moved = [row for own in changed.rows.rows.values() for _, row in own]
    assert all(row.context[a.start : a.start + len(a.text)] == a.text for row in moved for a in row.answers)
    before = {row.id: row.answers[0].text for own in rows.rows.values() for _, row in own}
    assert sum(row.answers[0].text != before[row.id] for row in moved) >= 4


def test_of_retrieval_queries_alone_are_changed() -> None:
    pairs = [SentencePair(str(n), "de", TEXTS[0], TEXTS[2]) for n in range(3)]
    changed = change(rows_of(*pairs), TATOEBA, parse_condition("noise:1"))
    new = [row for _, row in changed.rows.rows["de"]]
    assert all(row.query != TEXTS[0] and row.candidate == TEXTS[2] for row in new)
    assert set(changed.counts) == {"de"}, "by the language of the rows, although the query is English"

    queries = [
        ("choice", RetrievalItem(f"q{n}", language, TEXTS[n], True, ("k",))) for n, language in ((1, "en"), (3, "de"))
    ]
    # Candidates that all languages share have no language.
    pool = Pool(queries, [RetrievalItem("k", "", TEXTS[1], False, ("k",))])
    changed = change(ScoredRows({}, {"": [pool]}), LAREQA, parse_condition("noise:1"))
    [new_pool] = changed.rows.pools[""]
    assert new_pool.candidates == pool.candidates and new_pool.relevant == pool.relevant
    assert all(a.text != b.text and a.id == b.id for (_, a), (_, b) in zip(new_pool.queries, queries, strict=True))
    assert set(changed.counts) == {"en", "de"}


def test_swapped_pairs_come_back_when_swapped_again() -> None:
    rows = rows_of(*EXAMPLES["pair"])
    swapped = change(rows, PAWSX, Condition("swapped"))
    assert set(swapped.share.values()) == {1.0}
    for language, own in swapped.rows.rows.items():
        for (_, new), (_, old) in zip(own, rows.rows[language], strict=True):
            assert (new.premise, new.hypothesis, new.label) == (old.hypothesis, old.premise, old.label)
    assert change(swapped.rows, PAWSX, Condition("swapped")).rows == rows


NAMED = [
    PairExample("1", "en", "In May John Smith met Anna in Paris.", "Anna met John Smith in Paris.", "1"),
    PairExample("2", "en", "the cat sleeps", "a cat sleeps", "0"),
    PairExample("1", "de", "Im Mai traf John Smith Anna in Paris.", "Anna traf John Smith in Paris.", "1"),
    PairExample("1", "zh", "猫在睡觉。", "猫睡觉。", "0"),
]


def test_renaming_leaves_out_what_has_no_name_and_says_how_many() -> None:
    changed = change(rows_of(*NAMED), PAWSX, Condition("renamed", seed=1))
    assert dict(changed.share) == {"en": 0.5, "de": 1.0, "zh": 0.0}
    assert {code: [row.id for _, row in own] for code, own in changed.rows.rows.items()} == {"en": ["1"], "de": ["1"]}
    [(role, row)] = changed.rows.rows["en"]
    assert role == "report" and row.label == "1" and "John" not in row.premise + row.hypothesis


def test_german_is_renamed_by_the_english_pair_of_its_role() -> None:
    """The same id may stand in both splits: there it is another pair."""
    german = PairExample("1", "de", "Der Hund sah Paris.", "Paris sah der Hund.", "1")
    english = PairExample("1", "en", "The dog saw Paris.", "The dog visited Paris.", "1")
    other = PairExample("1", "en", "nothing here", "nor here", "1")
    for roles, share in ((("choice", "report"), 0.0), (("report", "choice"), 1.0)):
        rows = ScoredRows({"en": list(zip(roles, (english, other), strict=True)), "de": [("report", german)]}, {})
        assert change(rows, PAWSX, Condition("renamed")).share["de"] == share
    assert change(rows, replace(PAWSX, parallel=False), Condition("renamed")).share["de"] == 0.0


@pytest.mark.parametrize("name", ["swapped", "renamed"])
def test_conditions_of_pairs_are_refused_elsewhere(name: str) -> None:
    with pytest.raises(InvalidValue, match=f"'{name}' changes the two texts of a pair; udpos has the format 'tagging'"):
        change(rows_of(*EXAMPLES["tagging"]), UDPOS, parse_condition(name))


class TestTrainingRows:
    ROWS: ClassVar = [
        PairExample(str(n), language, TEXTS[0], TEXTS[1], "1") for n in range(200) for language in ("en", "fr")
    ]
    SETTINGS = NoiseSettings(0.5, TRAIN_KINDS, seed=3)

    def changed(self, share: float, **other: object) -> set[tuple[str, str]]:
        rows, counts = noised_share(self.ROWS, replace(self.SETTINGS, **other), share=share)  # type: ignore[arg-type]
        assert [(r.id, r.language, r.label) for r in rows] == [(r.id, r.language, r.label) for r in self.ROWS]
        assert set(counts) == ({"en", "fr"} if share else set())
        return {(a.id, a.language) for a, b in zip(rows, self.ROWS, strict=True) if a != b}

    def test_a_share_of_the_rows_is_noised_the_same_in_every_language(self) -> None:
        changed = self.changed(0.25)
        assert 60 < len(changed) < 140
        assert {id for id, language in changed if language == "en"} == {id for id, code in changed if code == "fr"}

    def test_nothing_and_everything(self) -> None:
        assert not self.changed(0.0)
        assert len(self.changed(1.0)) == len(self.ROWS)

    def test_a_larger_share_holds_the_smaller(self) -> None:
        assert self.changed(0.2) < self.changed(0.4)
        assert self.changed(0.2) != self.changed(0.2, seed=4)

    @pytest.mark.parametrize("share", [-0.1, 1.1])
    def test_a_share_that_is_none(self, share: float) -> None:
        with pytest.raises(InvalidValue, match="share must be from 0 to 1"):
            noised_share([], self.SETTINGS, share=share)

    def test_pairs_of_sentences_are_changed_in_english(self) -> None:
        pair = SentencePair("0", "zh", TEXTS[0], TEXTS[6])
        [row], counts = noised_share([pair], NoiseSettings(1.0), share=1.0)
        assert isinstance(row, SentencePair) and row.query != pair.query and row.candidate == pair.candidate
        assert set(counts) == {"en"}


def test_a_spec_is_all_that_change_needs() -> None:
    spec = TaskSpec("pairs", "Pairs", "pair", "accuracy", ("en",), ("0", "1"))
    assert change(rows_of(*EXAMPLES["pair"]), spec, parse_condition("noise:0")).rows == rows_of(*EXAMPLES["pair"])
