"""The languages of XTREME and XTREME-R (and two that are only transfer targets): codes, families, scripts,
text sizes.

Families are XTREME's (its README counts twelve and two isolates) plus those XTREME-R adds; sizes are those of
CC-100 as XLM-R's paper gives them (Conneau et al. 2020, table 6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from polystilts.errors import UnknownName

#: Classes of `Language.resource`, from little text to much.
RESOURCES = ("absent", "low", "mid", "high", "unknown")

#: GiB of CC-100 below which a language is 'low', and from which it is 'high'. The limits are ours: XLM-R's paper
#: speaks of low- and high-resource languages without naming any.
LOW_BELOW, HIGH_FROM = 10.0, 50.0


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    Attributes:
        code: ISO 639-1, our own key everywhere.
        iso3: the ISO 639-3 code that Tatoeba's files use: the individual language where `code` names a group
            (Mandarin ``cmn`` for zh, Iranian Persian ``pes`` for fa, Swahili ``swh`` for sw).
        name: the English name, as Universal Dependencies and TyDiQA write it.
        family: language family; 'isolate' for Basque and Korean.
        branch: branch of Indo-European, else ''.
        script: the script its benchmark texts are written in.
        cc100: GiB of uncompressed text in XLM-R's training corpus; 0 where the language is not in it, None
            where the size is not known to us.
    """

    code: str
    iso3: str
    name: str
    family: str
    branch: str
    script: str
    cc100: float | None

    @property
    def resource(self) -> str:
        """How much text of it XLM-R was trained on: 'absent' (none), 'low' (under 10 GiB of CC-100), 'mid',
        'high' (50 GiB or more), or 'unknown' where the size is not known to us."""
        if self.cc100 is None:
            return "unknown"
        if self.cc100 == 0:
            return "absent"
        return "low" if self.cc100 < LOW_BELOW else "high" if self.cc100 >= HIGH_FROM else "mid"


# code iso3 name family branch script GiB; '-' is an empty cell, '?' an unknown size.
_TABLE = """
af afr Afrikaans  Indo-European Germanic   Latin      1.3
am amh Amharic    Afro-Asiatic  -          Ethiopic   ?
ar ara Arabic     Afro-Asiatic  -          Arabic     28.0
az aze Azerbaijani Turkic       -          Latin      6.5
bg bul Bulgarian  Indo-European Slavic     Cyrillic   57.5
bn ben Bengali    Indo-European Indo-Aryan Bengali    8.4
de deu German     Indo-European Germanic   Latin      66.6
el ell Greek      Indo-European Greek      Greek      46.9
en eng English    Indo-European Germanic   Latin      300.8
es spa Spanish    Indo-European Romance    Latin      53.3
et est Estonian   Uralic        -          Latin      6.1
eu eus Basque     isolate       -          Latin      2.0
fa pes Persian    Indo-European Iranian    Arabic     111.6
fi fin Finnish    Uralic        -          Latin      54.3
fr fra French     Indo-European Romance    Latin      56.8
gu guj Gujarati   Indo-European Indo-Aryan Gujarati   1.9
he heb Hebrew     Afro-Asiatic  -          Hebrew     31.6
hi hin Hindi      Indo-European Indo-Aryan Devanagari 20.2
ht hat Haitian    Creole        -          Latin      0
hu hun Hungarian  Uralic        -          Latin      58.4
id ind Indonesian Austronesian  -          Latin      148.3
ig ibo Igbo       Niger-Congo   -          Latin      ?
it ita Italian    Indo-European Romance    Latin      30.2
ja jpn Japanese   Japonic       -          Japanese   69.3
jv jav Javanese   Austronesian  -          Latin      0.2
ka kat Georgian   Kartvelian    -          Georgian   9.1
kk kaz Kazakh     Turkic        -          Cyrillic   6.4
ko kor Korean     isolate       -          Hangul     54.2
lt lit Lithuanian Indo-European Baltic     Latin      13.7
ml mal Malayalam  Dravidian     -          Malayalam  7.6
mr mar Marathi    Indo-European Indo-Aryan Devanagari 2.8
ms zsm Malay      Austronesian  -          Latin      8.5
my mya Burmese    Sino-Tibetan  -          Myanmar    2.0
nl nld Dutch      Indo-European Germanic   Latin      29.3
pa pan Punjabi    Indo-European Indo-Aryan Gurmukhi   0.8
pl pol Polish     Indo-European Slavic     Latin      44.6
pt por Portuguese Indo-European Romance    Latin      49.1
qu que Quechua    Quechuan      -          Latin      0
ro ron Romanian   Indo-European Romance    Latin      61.4
ru rus Russian    Indo-European Slavic     Cyrillic   278.0
sw swh Swahili    Niger-Congo   -          Latin      1.6
ta tam Tamil      Dravidian     -          Tamil      12.2
te tel Telugu     Dravidian     -          Telugu     4.7
th tha Thai       Kra-Dai       -          Thai       71.7
tl tgl Tagalog    Austronesian  -          Latin      3.1
tr tur Turkish    Turkic        -          Latin      20.9
uk ukr Ukrainian  Indo-European Slavic     Cyrillic   84.6
ur urd Urdu       Indo-European Indo-Aryan Arabic     5.7
vi vie Vietnamese Austro-Asiatic -         Latin      137.3
wo wol Wolof      Niger-Congo   -          Latin      0
yo yor Yoruba     Niger-Congo   -          Latin      0
zh cmn Chinese    Sino-Tibetan  -          Han        63.5
"""


def _language(line: str) -> Language:
    code, iso3, name, family, branch, script, size = line.split()
    cc100 = None if size == "?" else float(size)
    return Language(code, iso3, name, family, "" if branch == "-" else branch, script, cc100)


LANGUAGES: MappingProxyType[str, Language] = MappingProxyType(
    {language.code: language for language in map(_language, _TABLE.strip().splitlines())}
)

_SPELLINGS = ("code", "iso3", "name")

#: Further ISO 639-3 codes that data sets use: the group where the table has the individual language
#: (MasakhaNER's swa, zho), or the individual language where it has the group (arb), and bibliographic codes.
_OTHER_ISO3 = MappingProxyType(
    {
        "arb": "ar", "aze": "az", "azj": "az", "chi": "zh", "dut": "nl", "ekk": "et", "fas": "fa", "fil": "tl",
        "fre": "fr", "geo": "ka", "ger": "de", "gre": "el", "may": "ms", "msa": "ms", "bur": "my", "baq": "eu",
        "per": "fa", "pnb": "pa", "quz": "qu", "rum": "ro", "swa": "sw", "zho": "zh",
    }
)  # fmt: skip

#: ``UD_English-EWT``, and the hub's ``en_ewt`` for the same treebank.
_TREEBANK = re.compile(r"(?:UD_(?P<name>[^-]+)-\w+|(?P<code>[a-z]{2,3})_[a-z]+)")


def get_language(code: str, *, param: str = "language") -> Language:
    """The language with this code.

    Raises:
        UnknownName: with the nearest known code.
    """
    if code not in LANGUAGES:
        raise UnknownName("language", code, LANGUAGES, param=param)
    return LANGUAGES[code]


def spell(code: str, how: str) -> str:
    """The language as a data set spells it: `how` is 'code' (de), 'iso3' (deu) or 'name' (German).

    Raises:
        UnknownName: for a code or a spelling that is not known.
    """
    if how not in _SPELLINGS:
        raise UnknownName("spelling", how, _SPELLINGS)
    return str(getattr(get_language(code), how))


_BY_SPELLING: MappingProxyType[str, Language] = MappingProxyType(
    {code: LANGUAGES[other] for code, other in _OTHER_ISO3.items()}
    | {getattr(language, how).lower(): language for language in LANGUAGES.values() for how in _SPELLINGS}
)


def find_language(text: str, *, param: str = "language") -> Language:
    """The language that any data set's spelling means: a code (sw), an ISO 639-3 code of the language or its group
    (swh, swa), a name (Swahili, swahili), or a treebank (UD_Swahili-X, sw_x).

    A treebank's language must be the whole of its name: ``UD_Ancient_Greek-PROIEL`` is not Greek, nor
    ``UD_Hindi_English-HIENCS`` English or Hindi. (XTREME's copy on the hub took them for such.)

    Raises:
        UnknownName: with the nearest known name.
    """
    treebank = _TREEBANK.fullmatch(text.strip())
    asked = (treebank["name"] or treebank["code"]) if treebank else text
    found = _BY_SPELLING.get(asked.strip().lower())
    if found is None:
        raise UnknownName("language", text, sorted({*LANGUAGES, *(x.name for x in LANGUAGES.values())}), param=param)
    return found
