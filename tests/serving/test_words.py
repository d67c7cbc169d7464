"""Raw text -> words: offsets are code points of the original text."""

from __future__ import annotations

from itertools import pairwise

import pytest

from polystilts.formats.words import split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("我爱北京。", ["我", "爱", "北京", "。"]),
        ("ฉันรักภาษาไทย", ["ฉัน", "รัก", "ภาษา", "ไทย"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("السلام عليكم", ["السلام", "عليكم"]),
        ("𝒳𝒴 cafe\u0301 👩\u200d🚀 z", ["𝒳𝒴", "cafe\u0301", "👩\u200d🚀", "z"]),
        ("a\u200bb \u202e\x00", ["a", "b"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_words_and_their_places(text: str, expected: list[str]) -> None:
    words = split(text)
    assert [word.text for word in words] == expected
    assert all(text[word.start : word.end] == word.text for word in words)
    assert all(left.end <= right.start for left, right in pairwise(words))


def test_every_visible_character_is_in_a_word() -> None:
    text = "Ein 𝒳-Test: 3,14 €, «да» 東京へ行く👨\u200d👩\u200d👧!"
    covered = {i for word in split(text) for i in range(word.start, word.end)}
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered
