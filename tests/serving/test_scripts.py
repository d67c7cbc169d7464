"""The script of a text: the languages of the benchmark, mixtures, and texts that have none."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.scripts import OTHER, SCRIPTS, script_of

TEXTS = {
    "The cat sleeps on the old table.": "Latin",
    "Con mèo ngủ trên chiếc bàn cũ.": "Latin",
    "Ọmọ náà ń sùn lórí tábìlì.": "Latin",
    "Кошка спит на старом столе.": "Cyrillic",
    "Мысық ескі үстелде ұйықтап жатыр.": "Cyrillic",
    "القطة نائمة على الطاولة القديمة.": "Arabic",
    "گربه روی میز قدیمی خوابیده است.": "Arabic",
    "החתול ישן על השולחן הישן.": "Hebrew",
    "Η γάτα κοιμάται στο παλιό τραπέζι.": "Greek",
    "बिल्ली पुरानी मेज़ पर सो रही है।": "Devanagari",
    "বিড়ালটি পুরানো টেবিলে ঘুমাচ্ছে।": "Bengali",
    "பூனை பழைய மேசையில் தூங்குகிறது.": "Tamil",
    "పిల్లి పాత బల్ల మీద నిద్రపోతోంది.": "Telugu",
    "แมวนอนหลับอยู่บนโต๊ะเก่า": "Thai",
    "고양이가 낡은 탁자 위에서 잔다.": "Hangul",
    "猫在旧桌子上睡觉。": "Han",
    "猫が古いテーブルの上で寝ている。": "Kana",
    "კატა ძველ მაგიდაზე სძინავს.": "Georgian",
    "Կատուն քնած է հին սեղանի վրա։": "Armenian",
    "ድመቷ በአሮጌው ጠረጴዛ ላይ ተኝታለች።": "Ethiopic",
    "ကြောင်သည် စားပွဲဟောင်းပေါ်တွင် အိပ်နေသည်။": OTHER,
}


@pytest.mark.parametrize(("text", "script"), TEXTS.items())
def test_a_sentence(text: str, script: str) -> None:
    assert script_of(text) == script
    assert script_of(text * 500) == script


def test_every_label_is_tested() -> None:
    assert set(TEXTS.values()) == set(SCRIPTS)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", OTHER),
        ("123 — 456, 789!", OTHER),
        ("👩‍🚀🎉", OTHER),
        ("١٢٣", OTHER),  # digits are no letters
        ("123 猫", "Han"),
        ("東京", "Han"),
        ("東京都に住む", "Kana"),
        ("ﾈｺ", "Kana"),
        ("我在台灣看到一家叫做森の奶茶店的餐廳然後我們就進去吃飯了", "Han"),  # one の in 28 is a brand
        ("我用 iPhone", "Latin"),  # most letters
        ("ab вг", "Latin"),  # the first of equals
        ("вг ab", "Cyrillic"),
        ("ﬀ", "Latin"),
        ("\U00020000\U00020001", "Han"),
        ("\U0010ffff", OTHER),
        ("\ud800", OTHER),  # a lone surrogate costs nothing but its label
    ],
)
def test_rules(text: str, script: str) -> None:
    assert script_of(text) == script


def test_the_whole_text_is_looked_at() -> None:
    assert script_of("a" * 100 + "я" * 1000) == "Cyrillic"
    assert script_of("я 1" * 64) == "Cyrillic"
    assert script_of("1я" * 64) == "Cyrillic"  # the first sample sees digits alone


@given(st.text())
def test_every_text_has_one_of_the_labels(text: str) -> None:
    assert script_of(text) in SCRIPTS


#: Blocks of phonetic and mathematical letters, which no text is written in.
_NOTATION = (
    *range(0x1D00, 0x1DC0), *range(0x2070, 0x20A0), *range(0x2150, 0x2190), 0xAB65, *range(0x1DF00, 0x1E000),
    *range(0x1EE00, 0x1EF00),
)  # fmt: skip


def test_letters_are_where_unicode_says() -> None:
    """The first word of a letter's name is its script's."""
    named = {script.upper(): script for script in SCRIPTS if script not in ("Han", "Kana", OTHER)}
    named |= {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
    checked = 0
    for point in set(range(0x110000)).difference(_NOTATION):
        word = unicodedata.name(chr(point), "").partition(" ")[0]
        if word in named and chr(point).isalpha():
            assert script_of(chr(point)) == named[word], f"{point:04X}"
            checked += 1
    assert checked > 100_000
