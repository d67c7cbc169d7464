"""Layouts and tables: true to the keyboard, to the script and to what is said of them."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.data.noise import describe, han, hangul, tables
from polystilts.data.noise.edits import candidates, clusters, extends
from polystilts.data.noise.keyboards import BY_LANGUAGE, BY_SCRIPT, LAYOUTS, layout_neighbours, layout_of, neighbours
from polystilts.tasks.languages import LANGUAGES


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_four_rows_of_keys_that_type_letters_or_marks(layout: str) -> None:
    for level in LAYOUTS[layout]:
        rows = level.split()
        assert len(rows) == 4 and all(len(row) <= 13 for row in rows)
    table = layout_neighbours(layout)
    typed = [c for level in LAYOUTS[layout] for c in level if c not in " _"]
    assert len(set(typed)) == len(typed) >= len(table) > 0.9 * len(typed)
    for character, beside in table.items():
        assert unicodedata.category(character)[0] in "LM"
        assert unicodedata.is_normalized("NFC", character)
        assert 1 <= len(beside) <= 7 and len(set(beside)) == len(beside)
        assert all(character in table[other] for other in beside)


@pytest.mark.parametrize(
    ("language", "key", "beside"),
    [
        ("en", "s", "weadzx"), ("en", "q", "wa"), ("de", "z", "tugh"), ("fr", "a", "ézq"), ("fr", "m", "ùpl"),
        ("tr", "i", "şğü"), ("ru", "н", "егпр"), ("uk", "і", "ївфуцяч"), ("el", "σ", "αδςεζχ"), ("ar", "ب", "يلقفؤر"),
        ("he", "ש", "דז"), ("hi", "क", "रतगदसख"), ("ko", "ㅂ", "ㅈㅁㅃ"), ("th", "ก", "หดพปแฏ"), ("lt", "š", "įųty"),
    ],
)  # fmt: skip
def test_neighbours_by_hand(language: str, key: str, beside: str) -> None:
    assert set(neighbours(language)[key]) == set(beside) - ({"ї"} if language == "uk" else set())


def test_a_foreign_word_is_typed_on_its_own_script_s_layout() -> None:
    assert "w" in neighbours("ru")["s"] and "е" in neighbours("de")["н"]
    assert "z" in neighbours("fr")["a"] and "z" in neighbours("ru")["a"]
    assert "e" not in neighbours("fr")["w"] and "e" in neighbours("ru")["w"]


def test_layouts_belong_to_languages_and_scripts_that_there_are() -> None:
    assert set(BY_LANGUAGE) <= set(LANGUAGES)
    assert set(BY_SCRIPT) <= {language.script for language in LANGUAGES.values()}
    assert {*BY_LANGUAGE.values(), *BY_SCRIPT.values()} == set(LAYOUTS)
    assert {code for code in LANGUAGES if layout_of(code) is None} == {"zh", "ja", "am"}


syllables = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), max_size=6)


@given(syllables)
def test_whole_syllables_come_back_from_their_keys(text: str) -> None:
    assert hangul.compose(hangul.keys(text)) == text
    assert all(key in layout_neighbours("dubeolsik") for key in hangul.keys(text))


def test_keys_are_composed_as_an_input_method_does() -> None:
    assert hangul.keys("닭과 X") == "ㄷㅏㄹㄱㄱㅗㅏ X"
    assert [hangul.compose(keys) for keys in ("ㄷㅏㄹㄱㅏ", "ㅎㄴㄱㅜㄱ", "ㄱㅏㄸㅏ", "ㅇㅣㅆㄷㅏ")] == [
        "달가", "ㅎㄴ국", "가따", "있다",
    ]  # fmt: skip
    # A slip in Korean is a slip of a key, not of a syllable.
    assert candidates("swap", "한국", "ko") == ("ㅏㅎㄴ국", "ㅎ나국", "학눅", "하눅ㄱ", "한ㄱ구")
    assert candidates("drop", "한국", "ko") == ("ㅏㄴ국", "ㅎㄴ국", "하국", "하눅", "한ㄱㄱ", "한구")
    assert {"항국", "함국", "한극"} <= set(candidates("neighbour", "한국", "ko"))
    assert "게" in candidates("homophone", "개", "ko")


def test_clusters_keep_marks_with_their_letters() -> None:
    assert clusters("किताब") == ["कि", "ता", "ब"]
    assert clusters("น้ำ") == ["น้ำ"]
    assert clusters("") == []


def test_letters_stay_letters_and_marks_marks() -> None:
    for language, word in (("hi", "नपर"), ("th", "กรน"), ("bn", "পর")):
        made = candidates("neighbour", word, language)
        assert made and not [c for text in made for c in text if extends(c)]
    # Only the vowel sign of का may become another sign.
    assert all(text[0] == "क" or not extends(text[0]) for text in candidates("neighbour", "का", "hi"))


def test_changed_words_are_composed_and_no_change_is_one_of_normalisation_alone() -> None:
    made = candidates("neighbour", "b\u0308a", "en")
    assert "\u1e27a" in made and all(unicodedata.is_normalized("NFC", text) for text in made)
    assert candidates("swap", "a\uff41", "en") == ()


@pytest.mark.parametrize(
    ("kind", "language", "word", "made"),
    [
        ("neighbour", "en", "Sun", "Dun"), ("swap", "en", "form", "from"), ("drop", "de", "über", "ber"),
        ("double", "el", "ναι", "νναι"), ("no-mark", "fr", "été", "eté"), ("no-mark", "vi", "ệ", "ê"),
        ("no-mark", "ar", "أكل", "اكل"), ("no-mark", "hi", "हैं", "है"), ("no-mark", "th", "บ้าน", "บาน"),
        ("no-mark", "ja", "が", "か"), ("no-mark", "tr", "Işık", "Işik"), ("no-mark", "pl", "łódź", "lódź"),
        ("wrong-mark", "fr", "père", "pére"), ("wrong-mark", "tr", "iyi", "ıyi"), ("no-mark", "ru", "мой", "мои"),
        ("wrong-mark", "ar", "مدرسة", "مدرسه"), ("wrong-mark", "ja", "ば", "ぱ"), ("wrong-mark", "th", "ใช่", "ใช้"),
        ("homoglyph", "en", "Cat", "Сat"), ("homoglyph", "ru", "оно", "oно"), ("homoglyph", "ja", "カ", "力"),
        ("homophone", "zh", "是", "事"), ("homophone", "ja", "機会", "機械"), ("homophone", "ja", "を", "お"),
        ("shape", "zh", "土", "士"), ("shape", "ja", "シ", "ツ"),
    ],
)  # fmt: skip
def test_one_mistake_of_each_kind(kind: str, language: str, word: str, made: str) -> None:
    assert made in candidates(kind, word, language)


def test_a_mark_dropped_and_a_wrong_mark_are_two_things() -> None:
    assert candidates("wrong-mark", "мой", "ru") == ()
    for language in LANGUAGES:
        for character, others in tables.marks(language).items():
            assert others and character not in others
            assert not set(others) & set(tables.bare(character))


@pytest.mark.parametrize("language", LANGUAGES)
def test_turkic_capitals_and_all_others(language: str) -> None:
    turkic = language in ("tr", "az")
    assert tables.upper("i", language) == ("İ" if turkic else "I")
    assert tables.lower("I", language) == ("ı" if turkic else "i")
    assert tables.upper("ß", language) == "ß"


def test_look_alikes_are_of_another_script_and_survive_normalisation() -> None:
    for character, others in tables.homoglyphs().items():
        assert character not in others
        for other in others:
            assert unicodedata.normalize("NFKC", other) == other != character
            assert character in tables.homoglyphs()[other]
            assert unicodedata.name(character).split()[0] != unicodedata.name(other).split()[0] or "ARABIC" in (
                unicodedata.name(other)
            )


def test_chinese_tables_are_of_the_size_the_documentation_gives() -> None:
    groups = [line.split() for line in han.PINYIN.strip().splitlines()]
    characters = [c for _, group in groups for c in group]
    assert len(groups) == 315 and len(characters) == len(set(characters)) == 1600
    assert set(han.homophones()) == set(characters) and all(han.homophones().values())
    assert [len(han.groups_of(text)) for text in (han.SHAPES_CHINESE, han.SHAPES_JAPANESE)] == [235, 191]
    assert len(han.word_homophones()) == 184


def test_traditional_text_gets_traditional_characters() -> None:
    pairs = han.TRADITIONAL.split()
    assert all(len(pair) == 2 and pair[0] != pair[1] for pair in pairs)
    assert not {pair[0] for pair in pairs} & {pair[1] for pair in pairs}
    assert tables.variant_of("她們說話", "zh") == tables.TRADITIONAL
    assert tables.variant_of("她们说话", "zh") == tables.variant_of("是十", "zh") == "zh"
    assert tables.variant_of("她們說話", "ja") == "ja"
    simplified = {pair[0] for pair in pairs}
    for table in (tables.homophones(tables.TRADITIONAL), tables.shapes(tables.TRADITIONAL)):
        assert not simplified & {c for others in table.values() for c in others}
    assert "師" in candidates("homophone", "詩", "zh", tables.TRADITIONAL)
    assert "师" in candidates("homophone", "诗", "zh")


def test_coverage_is_said_by_language() -> None:
    assert describe("am").layout is None and describe("am").kinds == ("swap", "drop", "double")
    assert describe("zh").kinds == ("swap", "drop", "double", "homoglyph", "homophone", "shape")
    assert describe("en").kinds == ("neighbour", "swap", "drop", "double", "homoglyph")
    assert describe("de").layout == "qwertz" and "no-mark" in describe("de").kinds


def test_the_examples_of_the_documentation_are_true() -> None:
    page = (Path(__file__).parents[2] / "docs/noise.md").read_text("utf-8")
    examples = [
        (row[1], example)
        for row in re.finditer(r"^\| `([\w-]+)` \|.* \| (.+) \|$", page, re.M)
        for example in row[2].split(", ")
    ]
    for row in re.finditer(r"^\| [A-Z][^|]+ \| [^|]+ \| (.+→.+) \|$", page, re.M):
        for example in row[1].split(", "):
            kind = re.search(r"`(.+)`", example)
            examples.append((kind[1] if kind else "neighbour", example))
    assert len(examples) >= 28
    for kind, example in examples:
        word, made = (part.split()[0] for part in example.split(" → "))
        assert any(made in candidates(kind, word, language) for language in LANGUAGES), (kind, word, made)
