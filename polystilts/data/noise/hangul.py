"""Korean as it is typed: syllables to the keys of dubeolsik (two-set), and keys to what an input method shows."""

from __future__ import annotations

import re

_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"

#: Jamo that take two keys.
_TWO_KEYS = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ", "ㅢ": "ㅡㅣ",
    "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ", "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ",
    "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
_ONE_JAMO = {keys: jamo for jamo, keys in _TWO_KEYS.items()}

_FIRST, _LAST = 0xAC00, 0xD7A3

_VOWEL = "[ㅏ-ㅣ]"
_PAIRS_OF_VOWELS = "|".join(keys for keys in _ONE_JAMO if re.fullmatch(f"{_VOWEL}+", keys))
_PAIRS_OF_FINALS = "|".join(keys for keys in _ONE_JAMO if not re.fullmatch(f"{_VOWEL}+", keys))
#: A consonant before a vowel begins the next syllable, so it is no final.
_SYLLABLE = re.compile(
    f"([{_INITIALS}])({_PAIRS_OF_VOWELS}|{_VOWEL})((?:{_PAIRS_OF_FINALS}|[{_FINALS.strip()}])(?!{_VOWEL}))?"
)


def is_syllable(character: str) -> bool:
    """Whether this is a precomposed Hangul syllable."""
    return _FIRST <= ord(character) <= _LAST


def keys(text: str) -> str:
    """The keys of a text, a jamo each; characters that are no syllables stay."""
    return "".join(_keys(c) if is_syllable(c) else c for c in text)


def _keys(syllable: str) -> str:
    rest, final = divmod(ord(syllable) - _FIRST, len(_FINALS))
    initial, vowel = divmod(rest, len(_VOWELS))
    jamo = _INITIALS[initial] + _VOWELS[vowel] + _FINALS[final].strip()
    return "".join(_TWO_KEYS.get(c, c) for c in jamo)


def compose(keys: str) -> str:
    """What an input method makes of keys: whole syllables where they are, jamo by themselves where not."""
    return _SYLLABLE.sub(_compose, keys)


def _compose(match: re.Match[str]) -> str:
    initial, vowel, final = (_ONE_JAMO.get(part, part) for part in (match[1], match[2], match[3] or " "))
    number = (_INITIALS.index(initial) * len(_VOWELS) + _VOWELS.index(vowel)) * len(_FINALS) + _FINALS.index(final)
    return chr(_FIRST + number)
