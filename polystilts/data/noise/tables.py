"""What stands for what: marks that are left out or mistaken, look-alikes, sounds; by language, else by script."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from polystilts.data.noise import han
from polystilts.tasks.languages import get_language

Table = Mapping[str, tuple[str, ...]]

#: Letters that Unicode does not decompose but readers take for a letter with a mark.
_STRUCK = {"ł": "l", "đ": "d", "ø": "o", "ı": "i", "ħ": "h", "Ł": "L", "Đ": "D", "Ø": "O", "Ħ": "H", "ґ": "г", "Ґ": "Г"}

#: Marks of combining class 0 that, unlike vowel signs, are left out as accents are: nasal dots and Thai signs.
_LIGHT = frozenset("ँंঁਁਂੰઁં็์")

#: Combining class of the virama, without which the consonants around it would be other syllables.
_VIRAMA = 9

_TONES = ("", "\u0300", "\u0301", "\u0309", "\u0303", "\u0323")
_VIETNAMESE = " ".join(
    "".join(unicodedata.normalize("NFC", vowel + tone) for tone in _TONES) for vowel in "aăâeêioôơuưy"
)

_INDIC = {
    "Devanagari": "िी ुू ेै ोौ ंँ", "Bengali": "িী ুূ েৈ োৌ", "Gujarati": "િી ુૂ ેૈ ોૌ", "Gurmukhi": "ਿੀ ੁੂ ੇੈ ੋੌ ੰਂ",
    "Tamil": "ிீ ுூ ெே ொோ", "Telugu": "ిీ ుూ ెే ొో", "Malayalam": "ിീ ുൂ െേ ൊോ",
}  # fmt: skip

#: Groups of letters or marks that differ in their marks (accents, dots, tone marks, length of a vowel sign), small
#: letters; the first of a group may be without a mark. By language, else by script.
MARKS: Mapping[str, str] = {
    "af": "eéêë iî oôö uû", "az": "cç gğ ıi oö sş uü eə", "de": "aä oö uü", "es": "aá eé ií oó uúü nñ",
    "et": "aä oõö uü sš zž", "eu": "nñ", "fi": "aä oö", "fr": "aàâ cç eéèêë iîï oô uùûü", "ht": "eè oò",
    "hu": "aá eé ií oóöő uúüű", "ig": "iị oọ uụ", "it": "aà eèé iì oò uù", "lt": "aą cč eęė iį sš uųū zž",
    "nl": "eéë iï oóö", "pl": "aą cć eę lł nń oó sś zźż", "pt": "aáâãà cç eéê ií oóôõ uú", "qu": "nñ",
    "ro": "aăâ iî sș tț", "tr": "cç gğ ıi oö sş uü", "vi": f"{_VIETNAMESE} aăâ eê oôơ uư dđ",
    "wo": "aà eéë nñ oó", "yo": "aáà eéèẹ ií oóòọ sṣ",
    "ru": "её ий ьъ", "uk": "иії гґ", "bg": "ий ьъ", "kk": "ий нң кқ гғ уұү оө хһ",
    "el": "αά εέ ηή ιίϊΐ οό υύϋΰ ωώ", "ar": "اأإآ ةه يىئ وؤ", "fa": "اآأ وؤ یئ", "ur": "اآ وؤ یئ ۃہ",
    **_INDIC, "Thai": "่้๊๋ ิี ึื ุู", "Myanmar": "ိီ ုူ",
}  # fmt: skip

#: Characters that look the same or nearly so, across scripts; all of them survive NFKC.
HOMOGLYPHS = """
aа cс eе oоο pр xх yу iі jј sѕ vν dԁ hһ
AАΑ BВΒ CС EЕΕ HНΗ IІΙ JЈ KКΚ MМΜ NΝ OОΟ PРΡ SЅ TТΤ XХΧ YΥ ZΖ ФΦ ГΓ ПΠ
يی كک هہ
へヘ りリ べベ ぺペ カ力 ニ二 ロ口 ト卜 エ工 タ夕 ハ八 ー一
"""

#: Japanese kana by sound (the same spoken, two spellings) and by shape or size.
_KANA_SOUNDS = "ずづ じぢ はわ をお へえ ズヅ ジヂ ヲオ"
_KANA_SHAPES = """
ぬめ ねれわ るろ さきち けは いり こに らろ まほ はほ あぁ いぃ うぅ えぇ おぉ つっ やゃ ゆゅ よょ
シツ ソンリ ノメ クケタワ ウワフ アマ チテ ナメ ユコエ ラヲ ルレ スヌ ヤセ アァ イィ ウゥ エェ オォ ツッ ヤャ ユュ ヨョ
"""

#: Korean vowels that sound alike today, as keys: 에 and 애, 예 and 얘.
_HANGUL_SOUNDS = "ㅐㅔ ㅒㅖ"

#: The variant of Chinese whose text is traditional; a language elsewhere.
TRADITIONAL = "zh-Hant"


def bare(character: str) -> tuple[str, ...]:
    """A character without its marks, and without each of several; '' for a mark that stands by itself.

    Hangul decomposes into jamo, which are no marks, and vowel signs of Indic scripts are letters in all but name:
    both give ().
    """
    if character in _STRUCK:
        return (_STRUCK[character],)
    if character in _LIGHT or _is_accent(character):
        return ("",)
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 1 or not all(map(_is_accent, parts[1:])):
        return ()
    fewer = (parts[0], *(parts[:i] + parts[i + 1 :] for i in range(1, len(parts))))
    composed = (unicodedata.normalize("NFC", form) for form in fewer)
    return tuple(dict.fromkeys(form for form in composed if len(form) == 1))


def _is_accent(character: str) -> bool:
    return unicodedata.combining(character) not in (0, _VIRAMA)


@cache
def marks(language: str) -> Table:
    """Wrong marks: each letter or mark -> those it is mistaken for, but for its bare form, which is a mark dropped."""
    groups = MARKS.get(language) or MARKS.get(get_language(language).script, "")
    table: dict[str, tuple[str, ...]] = {}
    for form in (groups, _upper(groups, language)):
        for character, others in han.groups_of(form).items():
            kept = [other for other in others if other not in bare(character)]
            table[character] = tuple(dict.fromkeys((*table.get(character, ()), *kept)))
    if get_language(language).script == "Japanese":
        table |= han.groups_of(_voiced())
        table = {c: tuple(other for other in others if other not in bare(c)) for c, others in table.items()}
    return MappingProxyType({character: others for character, others in table.items() if others})


def _voiced() -> str:
    """Kana with and without their marks of voice: か が, は ば ぱ."""
    # Without う, whose voiced form is hardly written.
    kana = [chr(point) for point in (*range(0x3048, 0x3094), *range(0x30A2, 0x30F4))]
    forms = [[unicodedata.normalize("NFC", c + mark) for mark in ("", "\u3099", "\u309a")] for c in kana]
    return " ".join("".join(form for form in group if len(form) == 1) for group in forms)


def _upper(groups: str, language: str) -> str:
    return "".join(upper(character, language) for character in groups)


def upper(character: str, language: str) -> str:
    """The capital of a character in this language (Turkish: i, İ and ı, I); itself where that is not one letter."""
    if language in ("tr", "az") and character in "iı":
        return "İ" if character == "i" else "I"
    capital = character.upper()
    return capital if len(capital) == 1 else character


def lower(character: str, language: str) -> str:
    """The small letter of a character in this language."""
    if language in ("tr", "az") and character in "İI":
        return "i" if character == "İ" else "ı"
    small = character.lower()
    return small if len(small) == 1 else character


@cache
def homoglyphs() -> Table:
    """Each character -> its look-alikes of another script."""
    return MappingProxyType(han.groups_of(HOMOGLYPHS))


@cache
def homophones(variant: str) -> Table:
    """Each character -> those of the same sound: Chinese characters by pinyin, kana, Korean vowels (as keys)."""
    tables = {"zh": han.homophones, TRADITIONAL: lambda: han.homophones(traditional=True)}
    groups = {"ja": _KANA_SOUNDS, "ko": _HANGUL_SOUNDS}
    return MappingProxyType(tables[variant]() if variant in tables else han.groups_of(groups.get(variant, "")))


@cache
def words(variant: str) -> Table:
    """Each whole word -> those of the same sound (Japanese)."""
    return MappingProxyType(han.word_homophones() if variant == "ja" else {})


@cache
def shapes(variant: str) -> Table:
    """Each character -> those of like shape in the same script: Chinese characters, kanji, kana."""
    texts = {"zh": han.SHAPES_CHINESE, TRADITIONAL: han.SHAPES_CHINESE, "ja": han.SHAPES_JAPANESE + _KANA_SHAPES}
    return MappingProxyType(han.groups_of(texts.get(variant, ""), traditional=variant == TRADITIONAL))


def variant_of(text: str, language: str) -> str:
    """The key of the tables for a text: its language, or `TRADITIONAL` for Chinese in traditional characters."""
    return TRADITIONAL if language == "zh" and han.is_traditional(text) else language
