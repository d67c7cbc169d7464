"""Keyboard layouts, and which keys lie beside each other.

The layouts are the national ones, as the X Keyboard Extension's data (xkeyboard-config) has them; a key that types
neither a letter nor a mark is ``_``. A key's neighbours are those it touches on a keyboard with ANSI's stagger. Of a
script without cases its other level (shift) is a neighbour too: a shift forgotten is a letter of its own there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from polystilts.tasks.languages import get_language

#: Layout -> levels (plain, shift) of four rows, the digits' first. The last row starts with the key left of Z that
#: ISO keyboards have. Cased scripts need no second level.
LAYOUTS: Mapping[str, tuple[str, ...]] = {
    "qwerty": ("_ qwertyuiop asdfghjkl _zxcvbnm",),
    "qwertz": ("__________ß qwertzuiopü asdfghjklöä _yxcvbnm",),
    "azerty": ("_é____è_çà azertyuiop qsdfghjklmù _wxcvbn",),
    "turkish": ("_ qwertyuıopğü asdfghjklşi _zxcvbnmöç",),
    "azerbaijani": ("_ qüertyuiopöğ asdfghjklıə _zxcvbnmçş",),
    "spanish": ("_ qwertyuiop asdfghjklñ_ç _zxcvbnm",),
    "portuguese": ("_ qwertyuiop asdfghjklç _zxcvbnm",),
    "italian": ("___________ì qwertyuiopè asdfghjklòàù _zxcvbnm",),
    "hungarian": ("_________öüó qwertzuiopőú asdfghjkléáű íyxcvbnm",),
    "estonian": ("_ qwertyuiopüõ asdfghjklöä _zxcvbnm",),
    "finnish": ("_ qwertyuiopå asdfghjklöä _zxcvbnm",),
    "lithuanian": ("ąčęėįšųū___ž qwertyuiop asdfghjkl _zxcvbnm",),
    "russian": ("_ йцукенгшщзхъ фывапролджэ _ячсмитьбю",),
    "ukrainian": ("_ йцукенгшщзхї фівапролджєґ _ячсмитьбю",),
    "bulgarian": ("_ _уеишщксдзц ьяаожгтнвмч ѝюйъэфхпрлб",),
    "kazakh": ("_әіңғ__үұқөһ йцукенгшщзхъ фывапролджэ _ячсмитьбю",),
    "greek": ("_ _ςερτυθιοπ ασδφγηξκλ _ζχψωβνμ",),
    "hebrew": ("_ __קראטוןםפ שדגכעיחלךף _זסבהנמצתץ",),
    "arabic": (
        "_ ضصثقفغعهخحجد شسيبلاتنمكط _ئءؤر_ىةوزظ",
        "_ _____إ _____أ ______آ",
    ),
    "persian": (
        "_ ضصثقفغعهخحجچ شسیبلاتنمکگ _ظطزرذدپو",
        "_ _ ؤئيإأآة _ك_ژ___ء",
    ),
    "urdu": (
        "_ قوعرتےءیہپ اسدفگحجکل _زشچطبنم",
        "_ _ؤ_ڑٹ_ئ_ۃ آصڈ_غھضخ _ذژثظ_ں",
    ),
    "thai": (
        "ๅ__ภถุึคตจขช ๆไ_พะัีรนยบล ฟหกดเ้่าสวงฃ _ผปแอิืทมใฝ",
        "_____ู __ฎฑธํ๊ณฯญฐ ฤฆฏโฌ็๋ษศซ_ฅ ___ฉฮฺ์_ฒฬฦ",
    ),
    "georgian": (
        "_ ქწერტყუიოპ ასდფგჰჯკლ _ზხცვბნმ",
        "_ _ჭ_ღთ _შ____ჟ _ძ_ჩ",
    ),
    "burmese": (
        "_ ဆတနမအပကငသစဟဩ ေျိ်ါ့ြုူး _ဖထခလဘညာ",
        "ဍၒဋ___ရ ဈဝဣ_ဤ_ဥ_ဿဏဧဪ ဗှီ္ွံဲဒဓဂ _ဇဌဃဠယဉဦ",
    ),
    "devanagari": (
        "___________ृ ौैाीूबहगदजड़ ोे्िुपरकतचटॉ _ॆंमनवलस__य",
        "ऍॅ________ःऋ औऐआईऊभङघधझढञ ओएअइउफऱखथछठऑ _ऎँणऩऴळशष",
    ),
    "bengali": (
        "___________ঋ ৌৈাীূবহগদজড় োে্িুপরকতচট __ংমন_লস",
        "__________ঃৃ ঔঐআঈঊভঙঘধঝঢঞ ওএঅইউফ_খথছঠ __ঁণ___শষ_য",
    ),
    "gujarati": (
        "___________ઋ ૌૈાીૂબહગદજડ઼ ોે્િુપરકતચટૉ __ંમનવલસ__ય",
        "ઍૅ________ઃૃ ઔઐઆઈઊભઙઘધઝઢઞ ઓએઅઇઉફ_ખથછઠઑ __ઁણ__ળશષ",
    ),
    "gurmukhi": (
        "__________ਃ ੌੈਾੀੂਬਹਗਦਜਡ਼ ੋੇ੍ਿੁਪਰਕਤਚਟ __ਂਮਨਵਲਸ__ਯ",
        "__ੱੴ ਔਐਆਈਊਭਙਘਧਝਢਞ ਓਏਅਇਉਫੜਖਥਛਠ _ਁੰਣ",
    ),
    "tamil": (
        "_ ௌைாீூ_ஹ__ஜ_ஞ ோே்ிுபரகதசட _ெஂமநவலஸ__ய",
        "__________ஃ ஔஐஆஈஊ_ங ஓஏஅஇஉ_ற _எ_ணனழளஶஷ",
    ),
    "telugu": (
        "__________ఃృ ౌైాీూబహగదజడఞ ోే్ిుపరకతచట _ెంమనవలస__య",
        "___________ఋ ఔఐఆఈఊభఙఘధఝఢ ఓఏఅఇఉఫఱఖథఛఠ _ఎఁణ__ళశష",
    ),
    "malayalam": (
        "___________ൃ ൌൈാീൂബഹഗദജഡ ോേ്ിുപരകതചട _െംമനവലസ__യ",
        "__________ഃഋ ഔഐആഈഊഭങഘധഝഢഞ ഓഏഅഇഉഫറഖഥഛഠ _എ_ണ_ഴളശഷ",
    ),
    # KS X 5002, in the jamo that the keys bear.
    "dubeolsik": ("_ ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔ ㅁㄴㅇㄹㅎㅗㅓㅏㅣ _ㅋㅌㅊㅍㅠㅜㅡ", "_ ㅃㅉㄸㄲㅆ___ㅒㅖ _ _"),
}

#: The layout of each script where the language has none of its own, and for its letters in texts of other scripts.
BY_SCRIPT: Mapping[str, str] = {
    "Latin": "qwerty", "Cyrillic": "russian", "Greek": "greek", "Arabic": "arabic", "Hebrew": "hebrew",
    "Devanagari": "devanagari", "Hangul": "dubeolsik", "Thai": "thai", "Georgian": "georgian", "Myanmar": "burmese",
    "Bengali": "bengali", "Gujarati": "gujarati", "Gurmukhi": "gurmukhi", "Tamil": "tamil", "Telugu": "telugu",
    "Malayalam": "malayalam",
}  # fmt: skip

#: Languages whose layout is not their script's. Haitian and Wolof are typed on AZERTY, Quechua on the layout of
#: Spanish; Vietnamese (Telex, VNI), Polish and Romanian on QWERTY, their marks by further keys.
BY_LANGUAGE: Mapping[str, str] = {
    "de": "qwertz", "fr": "azerty", "ht": "azerty", "wo": "azerty", "tr": "turkish", "az": "azerbaijani",
    "es": "spanish", "eu": "spanish", "qu": "spanish", "pt": "portuguese", "it": "italian", "hu": "hungarian",
    "et": "estonian", "fi": "finnish", "lt": "lithuanian", "uk": "ukrainian", "bg": "bulgarian", "kk": "kazakh",
    "fa": "persian", "ur": "urdu",
}  # fmt: skip

#: How far the keys of each row are shifted to the right, in keys; the last row counts from ISO's key.
_STAGGER = (0.0, 0.5, 0.75, 0.25)

#: Keys of adjacent rows touch if their centres are less than this apart, sideways.
_TOUCH = 0.8

Neighbours = Mapping[str, tuple[str, ...]]


def layout_of(language: str) -> str | None:
    """The name of the layout a language is typed on; None where its script has none here (Han, Japanese, Ethiopic).

    Raises:
        UnknownName: of a language that is not known.
    """
    return BY_LANGUAGE.get(language) or BY_SCRIPT.get(get_language(language).script)


@cache
def layout_neighbours(layout: str) -> Neighbours:
    """For each character of a layout those of the keys beside its own, in the order of the keyboard."""
    levels = [rows.split() for rows in LAYOUTS[layout]]
    places = {
        character: (row, _STAGGER[row] + column, level)
        for level, rows in enumerate(levels)
        for row, keys in enumerate(rows)
        for column, character in enumerate(keys)
        if character != "_"
    }
    table = {
        character: tuple(other for other in places if other != character and _touch(places[character], places[other]))
        for character in places
    }
    return MappingProxyType({character: beside for character, beside in table.items() if beside})


def _touch(key: tuple[int, float, int], other: tuple[int, float, int]) -> bool:
    (row, x, level), (other_row, other_x, other_level) = key, other
    if level != other_level:
        return row == other_row and x == other_x
    return abs(x - other_x) <= 1.0 if row == other_row else abs(row - other_row) == 1 and abs(x - other_x) < _TOUCH


@cache
def neighbours(language: str) -> Neighbours:
    """Neighbours of every character that this language's writer may type: on its own layout, and of other scripts on
    theirs (an English name in a Russian text is typed on QWERTY).

    Raises:
        UnknownName: of a language that is not known.
    """
    own = layout_of(language)
    table: dict[str, tuple[str, ...]] = {}
    for layout in (*BY_SCRIPT.values(), *([own] if own else [])):
        table |= layout_neighbours(layout)
    return MappingProxyType(table)
