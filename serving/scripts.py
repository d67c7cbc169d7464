"""The dominant script of a text: a bounded label for metrics, found without a data file.

The ranges are whole blocks of the Unicode Character Database (Blocks.txt), narrowed where a block is shared (Alphabetic
Presentation Forms, Halfwidth and Fullwidth Forms).
"""

from __future__ import annotations

import sys
from typing import Final

#: Label of a letter of any script not listed, and of a text without letters.
OTHER: Final = "Other"

_RANGES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "Latin": (
        (0x0041, 0x02AF), (0x1D00, 0x1DBF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F),
        (0xFB00, 0xFB06), (0xFF21, 0xFF5A),
    ),
    "Cyrillic": ((0x0400, 0x052F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "Arabic": ((0x0600, 0x06FF), (0x0750, 0x077F), (0x0870, 0x08FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFE)),
    "Hebrew": ((0x0590, 0x05FF), (0xFB1D, 0xFB4F)),
    "Greek": ((0x0370, 0x03FF), (0x1F00, 0x1FFF)),
    "Devanagari": ((0x0900, 0x097F), (0xA8E0, 0xA8FF)),
    "Bengali": ((0x0980, 0x09FF),),
    "Tamil": ((0x0B80, 0x0BFF),),
    "Telugu": ((0x0C00, 0x0C7F),),
    "Thai": ((0x0E00, 0x0E7F),),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xFFA0, 0xFFDC)),
    "Han": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
    "Kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F)),
    "Georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF), (0x2D00, 0x2D2F)),
    "Armenian": ((0x0530, 0x058F), (0xFB13, 0xFB17)),
    "Ethiopic": ((0x1200, 0x139F), (0x2D80, 0x2DDF), (0xAB00, 0xAB2F), (0x1E7E0, 0x1E7FF)),
}  # fmt: skip

#: Every label that `script_of` can give.
SCRIPTS: Final = (*_RANGES, OTHER)

_SAMPLE = 64
#: Samples taken, each one code point further on, until one has a letter.
_SAMPLES = 4
#: Part of Han and Kana together from which Kana makes a text Japanese: a の on a Chinese sign does not.
_KANA_PART = 0.1

# Number of the script of every code point: places in `SCRIPTS`, counted from 1; 0 is `OTHER`, which is also its last
# place, -1. Pages of zeros take no memory.
_NUMBER_AT = bytearray(sys.maxunicode + 1)
for _number, _ranges in enumerate(_RANGES.values(), 1):
    for _first, _last in _ranges:
        _NUMBER_AT[_first : _last + 1] = bytes([_number]) * (_last + 1 - _first)
_HAN, _KANA = (SCRIPTS.index(_name) + 1 for _name in ("Han", "Kana"))


def script_of(text: str) -> str:
    """The script of most letters of a text, one of `SCRIPTS`.

    At most 64 code points, evenly spread over the text, are looked at, so the cost is bounded. Letters are what
    `str.isalpha` says, so digits, punctuation, emoji and vowel signs do not count. Of equally frequent scripts the one
    that comes first in the text wins. Han and Kana count together; the text is Kana (Japanese) where Kana is at
    least a tenth of them, else Han. A text without letters is `OTHER`.
    """
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text[: _SAMPLE * _SAMPLES])) else OTHER
    step = -(-len(text) // _SAMPLE)
    for start in range(min(step, _SAMPLES)):
        # All in C: this runs for every text of every request.
        numbers = bytes(map(_NUMBER_AT.__getitem__, map(ord, filter(str.isalpha, text[start::step]))))
        if numbers:
            break
    else:
        return OTHER
    found = {number: numbers.count(number) for number in dict.fromkeys(numbers)}
    if _HAN in found and _KANA in found:
        both = found[_HAN] + found[_KANA]
        japanese = found[_KANA] >= _KANA_PART * both
        found[_KANA if japanese else _HAN] = both
    return SCRIPTS[max(found, key=found.__getitem__) - 1]
