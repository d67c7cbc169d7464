"""Noise keeps what it promises: alignment, offsets, rates, reproducibility, sound text, in every script."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystilts.data.noise import HELD_OUT_KINDS, KINDS, TRAIN_KINDS, Counts, Noise, NoiseSettings, describe
from polystilts.data.noise.edits import candidates, extends
from polystilts.data.noise.noise import distance
from polystilts.errors import InvalidValue, UnknownName
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    RetrievalItem,
    SentenceExample,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks.languages import LANGUAGES

#: A sentence a script (and where layouts or capitals differ, a language).
SENTENCES = {
    "en": "The quick brown fox, aged 12, doesn't jump over the lazy dog.",
    "de": "Die Mädchen überqueren heute die große Straße in München.",
    "fr": "L'élève a été très fière de sa leçon de français.",
    "tr": "İstanbul'da yağmurlu bir günde ılık çay içtiler.",
    "vi": "Tôi không biết tiếng Việt nhưng tôi muốn học.",
    "ru": "Наша Таня громко плачет: уронила в речку мячик.",
    "kk": "Қазақ тілінде жазылған сөйлем өте қызық.",
    "el": "Η Ελένη αγόρασε φρέσκα ψάρια από την αγορά.",
    "ar": "ذهب الولد إلى المدرسة في الصباح الباكر.",
    "fa": "این کتاب‌ها را برای خواهرم خریدم.",
    "he": "הילדים הלכו לבית הספר בבוקר.",
    "hi": "लड़का हर सुबह स्कूल में हिंदी पढ़ता है।",
    "ta": "நான் தினமும் பள்ளிக்கு செல்கிறேன்.",
    "ko": "아이들이 학교에서 한국어를 열심히 배웠습니다.",
    "th": "เด็กๆ ไปโรงเรียนทุกวันและน้ำท่วมบ้าน",
    "my": "ကျွန်တော် ကျောင်းသို့ သွားသည်။",
    "ka": "ბავშვები სკოლაში მიდიან.",
    "am": "ልጆቹ ወደ ትምህርት ቤት ሄዱ።",
    "zh": "我们明天坐火车去北京看朋友，请你也来。",
    "ja": "私はパソコンで日本語を勉強しています。機会があれば行きたい。",
}

languages = st.sampled_from(sorted(SENTENCES))
seeds = st.integers(0, 10**6)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """A language and a text of its words in any order, with anything between them."""
    language = draw(languages)
    words = st.sampled_from(SENTENCES[language].split())
    parts = draw(st.lists(st.one_of(words, st.text(max_size=8)), max_size=12))
    return language, draw(st.sampled_from([" ", "", " - "])).join(parts)


def noise(rate: float, *, seed: int = 0, kinds: tuple[str, ...] = KINDS, in_answers: bool = False) -> Noise:
    return Noise(NoiseSettings(rate, kinds, seed, in_answers))


def pair(language: str, text: str = "", id: str = "1") -> PairExample:
    return PairExample(id, language, text or SENTENCES[language], text or SENTENCES[language], "entailment")


def lost_marks(text: str) -> int:
    return sum(extends(mark) and before.isspace() for before, mark in pairwise(text))


def sound(before: str, after: str) -> None:
    """Valid text that is as well formed as it was."""
    after.encode("utf-8")
    if unicodedata.is_normalized("NFC", before):
        assert unicodedata.is_normalized("NFC", after)
    assert not after or extends(before[0]) or not extends(after[0])
    # No mark comes to stand where it has nothing to stand on.
    assert lost_marks(after) <= lost_marks(before)


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_candidate_is_a_sound_word(language: str, kind: str) -> None:
    for word in SENTENCES[language].split():
        for made in candidates(kind, word, language):
            assert made and made != word and not any(map(str.isspace, made))
            assert unicodedata.normalize("NFKC", made) != unicodedata.normalize("NFKC", word)
            sound(word, made)


@given(texts(), seeds, st.sampled_from([0.1, 0.5, 1.0]))
@settings(max_examples=250, deadline=None)
def test_texts_stay_sound_and_counts_are_true(case: tuple[str, str], seed: int, rate: float) -> None:
    language, text = case
    example = SentenceExample("x", language, text, query=True)
    done, counts = noise(rate, seed=seed).apply(example, language)
    sound(text, done.text)
    assert counts.changed <= counts.drawn <= counts.words
    assert sum(counts.kinds.values()) == counts.changed
    assert counts.edits >= counts.changed
    # Word by word the edits can only overstate the shortest way from text to text.
    assert distance(text, done.text) <= counts.edits
    assert (done is example) == (done == example) == (counts.changed == 0)
    assert counts.characters == len("".join(text.split()))
    # What is no letter stays, in number and order: digits, punctuation, white space.
    assert [c for c in text if not c.isalpha() and not extends(c)] == [
        c for c in done.text if not c.isalpha() and not extends(c)
    ]


@given(st.sampled_from(sorted(LANGUAGES)), st.lists(st.text(max_size=8), max_size=8), seeds)
@settings(max_examples=150, deadline=None)
def test_tokens_stay_tokens(language: str, tokens: list[str], seed: int) -> None:
    known = SENTENCES.get(language, SENTENCES["en"]).split()
    example = TaggingExample("x", language, (*tokens, *known), ("X",) * (len(tokens) + len(known)))
    done, counts = noise(1.0, seed=seed).apply(example, language)
    assert len(done.tokens) == len(example.tokens) and done.tags == example.tags
    for old, new in zip(example.tokens, done.tokens, strict=True):
        assert bool(new) == bool(old)
        assert sum(map(str.isspace, new)) == sum(map(str.isspace, old))
        sound(old, new) if old else None
    assert counts.changed == sum(a != b for a, b in zip(example.tokens, done.tokens, strict=True))


@st.composite
def questions(draw: st.DrawFn) -> SpanExample:
    language = draw(languages)
    context = " ".join([SENTENCES[language]] * 3)
    spans = draw(st.lists(st.tuples(st.integers(0, len(context) - 1), st.integers(1, 15)), max_size=4))
    answers = tuple(Answer(context[start : start + length], start) for start, length in spans)
    return SpanExample("q", language, SENTENCES[language], context, answers)


@given(questions(), seeds, st.booleans())
@settings(max_examples=250, deadline=None)
def test_answers_stand_where_they_say(example: SpanExample, seed: int, in_answers: bool) -> None:
    done, counts = noise(0.7, seed=seed, in_answers=in_answers).apply(example, example.language)
    assert example.answers is not None and done.answers is not None
    assert len(done.answers) == len(example.answers)
    for old, new in zip(example.answers, done.answers, strict=True):
        assert done.context[new.start : new.start + len(new.text)] == new.text != ""
        if not in_answers:
            assert new.text == old.text
    # Answers keep their order and overlaps.
    assert [a.start for a in sorted(done.answers, key=lambda a: a.start)] == [
        new.start for _, new in sorted(zip(example.answers, done.answers, strict=True), key=lambda x: x[0].start)
    ]
    assert counts.protected == 0 if in_answers or not example.answers else counts.protected >= 0
    sound(example.context, done.context)


def test_an_answer_moves_with_its_letters_only_when_asked() -> None:
    context = "Paris Paris Paris Paris"
    example = SpanExample("q", "en", "Where?", context, (Answer("Paris Paris", 6),))
    kept, counts = noise(1.0, kinds=("double",)).apply(example, "en")
    assert kept.answers == (Answer("Paris Paris", 7),) and counts.protected == 2
    assert len(kept.context) == len(context) + 2 and counts.changed == 3
    moved, counts = noise(1.0, kinds=("double",), in_answers=True).apply(example, "en")
    assert moved.answers is not None and counts.protected == 0
    assert moved.answers[0].start == 7 and len(moved.answers[0].text) == 13
    # The words outside are changed in the same way, whatever happens to the answer.
    assert moved.context.split()[0] == kept.context.split()[0]
    assert moved.context.split()[-1] == kept.context.split()[-1]


def test_a_word_that_an_answer_cuts_is_left_whole_or_cut_there() -> None:
    example = SpanExample("q", "ko", "?", "서울에서", (Answer("서울", 0),))
    assert noise(1.0).apply(example, "ko")[0].context == "서울에서"
    for seed in range(20):
        done, _ = noise(1.0, kinds=("drop",), seed=seed, in_answers=True).apply(example, "ko")
        assert done.answers is not None
        assert done.context != "서울에서" and done.context.startswith(done.answers[0].text)


@pytest.mark.parametrize("language", SENTENCES)
def test_rate_0_gives_the_example_itself(language: str) -> None:
    example = pair(language)
    done, counts = noise(0.0).apply(example, language)
    assert done is example and counts.drawn == counts.edits == 0 and counts.word_rate == 0


@pytest.mark.parametrize("language", SENTENCES)
def test_the_rate_over_many_words_is_the_one_asked(language: str) -> None:
    rows = [TaggingExample(str(n), language, tuple(SENTENCES[language].split()) * 3) for n in range(200)]
    for rate in (0.05, 0.2):
        _, counts = noise(rate).apply_all(rows, language)
        error = (rate * (1 - rate) / counts.words) ** 0.5
        assert counts.drawn / counts.words == pytest.approx(rate, abs=4 * error)
        # Nearly every word of a sentence is open to some mistake.
        assert counts.word_rate == pytest.approx(rate, abs=4 * error + 0.02)
        assert 0 < counts.character_rate < rate


def test_a_higher_rate_changes_the_same_words_and_more() -> None:
    text = " ".join(SENTENCES["en"].split() * 20)
    words = [noise(rate).apply(pair("en", text), "en")[0].premise.split() for rate in (0.0, 0.05, 0.1, 0.2)]
    for lower, higher in pairwise(words):
        assert all(low in (clean, high) for clean, low, high in zip(words[0], lower, higher, strict=True))
        assert lower != higher


def test_noise_depends_on_seed_id_field_and_language_alone() -> None:
    examples = [pair("en", id=str(n)) for n in range(20)]
    forward, _ = noise(0.5).apply_all(examples, "en")
    backward, _ = noise(0.5).apply_all(examples[::-1], "en")
    assert forward == backward[::-1]
    assert len({example.premise for example in forward}) > 10
    assert any(example.premise != example.hypothesis for example in forward)
    assert noise(0.5, seed=1).apply_all(examples, "en")[0] != forward
    assert noise(0.5).apply_all(examples, "de")[0] != forward


def test_another_process_makes_the_same_noise() -> None:
    code = (
        "from polystilts.data.noise import *; from polystilts.formats.values import *;"
        f"e = PairExample('7', 'ru', {SENTENCES['ru']!r}, {SENTENCES['ko']!r});"
        "print(ascii(Noise(NoiseSettings(0.6, KINDS, 3)).apply(e, 'ru')[0]))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    here, _ = noise(0.6, seed=3).apply(PairExample("7", "ru", SENTENCES["ru"], SENTENCES["ko"]), "ru")
    assert done.stdout.strip() == ascii(here)


def test_choices_keep_their_number_and_a_named_question() -> None:
    example = ChoiceExample("1", "en", SENTENCES["en"], "cause", (SENTENCES["en"], SENTENCES["en"]), 1)
    done, _ = noise(1.0).apply(example, "en")
    assert done.question == "cause" and done.label == 1 and len(done.choices) == 2
    assert done.premise != example.premise and all(choice != SENTENCES["en"] for choice in done.choices)
    asked, _ = noise(1.0).apply(replace(example, question="What will Robin do next?"), "en")
    assert asked.question != "What will Robin do next?"


def test_only_the_side_that_asks_is_noised() -> None:
    text = SENTENCES["en"]
    both, _ = noise(1.0).apply(SentencePair("1", "de", text, SENTENCES["de"]), "en")
    assert both.query != text and both.candidate == SENTENCES["de"]
    for query in (True, False):
        for example in (SentenceExample("1", "en", text, query), RetrievalItem("1", "en", text, query, ("k",))):
            done, counts = noise(1.0).apply(example, "en")
            assert (done is example) == (not query) and (counts.words == 0) == (not query)


def test_unanswerable_and_unknown_answers_stay_what_they_are() -> None:
    example = SpanExample("q", "en", "Who?", SENTENCES["en"], ())
    assert noise(1.0).apply(example, "en")[0].answers == ()
    assert noise(1.0).apply(replace(example, answers=None), "en")[0].answers is None


def test_words_without_letters_and_endless_ones_stay() -> None:
    tokens = ("12.5", "!?", "", "😀", "2026", "x" * 41, "\u0301a")
    done, counts = noise(1.0).apply(TaggingExample("1", "en", tokens), "en")
    assert done.tokens == tokens and counts.words == 0 and counts.characters == 54


def test_counts_add_up() -> None:
    a = Counts(words=4, drawn=2, changed=2, characters=20, edits=3, kinds={"swap": 2})
    b = Counts(words=6, protected=1, changed=1, drawn=1, characters=10, edits=1, kinds={"swap": 1})
    assert a + b == Counts(10, 1, 3, 3, 30, 4, {"swap": 3})
    assert (a + b).word_rate == 0.3 and (a + b).character_rate == pytest.approx(4 / 30)


def test_kinds_for_training_and_for_testing_are_apart_and_every_language_has_both() -> None:
    assert not set(TRAIN_KINDS) & set(HELD_OUT_KINDS) and {*TRAIN_KINDS, *HELD_OUT_KINDS} == set(KINDS)
    for language in LANGUAGES:
        kinds = set(describe(language).kinds)
        assert kinds & set(TRAIN_KINDS) and kinds & set(HELD_OUT_KINDS)
    for language, text in SENTENCES.items():
        for kinds in (TRAIN_KINDS, HELD_OUT_KINDS):
            _, counts = noise(1.0, kinds=kinds).apply(pair(language, text), language)
            assert counts.changed > 0.5 * counts.words and counts.kinds.keys() <= set(kinds)


@pytest.mark.parametrize("language", SENTENCES)
def test_what_a_language_is_said_to_have_is_what_it_has(language: str) -> None:
    coverage = describe(language)
    for kind in KINDS:
        if any(candidates(kind, word, language) for word in SENTENCES[language].split()):
            assert kind in coverage.kinds


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"0 to 1.*1\.5"):
        NoiseSettings(1.5)
    with pytest.raises(InvalidValue, match="at least one"):
        NoiseSettings(0.1, ())
    with pytest.raises(UnknownName, match="did you mean 'swap'"):
        NoiseSettings(0.1, ("swaps",))
    with pytest.raises(UnknownName, match="language"):
        noise(0.1).apply(pair("en"), "xx")


def test_distance_by_hand() -> None:
    assert [distance(*words) for words in (("kitten", "sitting"), ("", "ab"), ("ab", "ba"), ("a", "a"))] == [3, 2, 2, 0]


def test_a_letter_whose_mark_is_outside_the_answer_stays() -> None:
    for answer in (Answer("क", 0), Answer("ी", 1)):
        example = SpanExample("q", "hi", "?", "की", (answer,))
        assert noise(1.0, in_answers=True).apply(example, "hi")[0] is example


def test_kinds_that_apply_are_equally_likely() -> None:
    kinds = ("swap", "drop", "double", "neighbour", "no-mark")
    rows = [TaggingExample(str(n), "en", ("words", "that", "have", "letters")) for n in range(500)]
    _, counts = noise(1.0, kinds=kinds).apply_all(rows, "en")
    # Nothing has a mark; a share of 1/4 of 2,000 has a standard error of 1 point.
    assert counts.kinds.keys() == set(kinds) - {"no-mark"}
    assert all(number == pytest.approx(500, abs=80) for number in counts.kinds.values())
