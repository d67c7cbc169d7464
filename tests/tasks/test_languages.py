import pytest

from polystilts.errors import UnknownName
from polystilts.tasks import TASKS
from polystilts.tasks.languages import LANGUAGES, RESOURCES, find_language, get_language, spell

XTREME_R = [
    "af",
    "ar",
    "az",
    "bg",
    "bn",
    "de",
    "el",
    "en",
    "es",
    "et",
    "eu",
    "fa",
    "fi",
    "fr",
    "gu",
    "he",
    "hi",
    "ht",
    "hu",
    "id",
    "it",
    "ja",
    "jv",
    "ka",
    "kk",
    "ko",
    "lt",
    "ml",
    "mr",
    "ms",
    "my",
    "nl",
    "pa",
    "pl",
    "pt",
    "qu",
    "ro",
    "ru",
    "sw",
    "ta",
    "te",
    "th",
    "tl",
    "tr",
    "uk",
    "ur",
    "vi",
    "wo",
    "yo",
    "zh",
]

# The hub's config names, as listed in google/xtreme.
UDPOS = [
    "Afrikaans",
    "Arabic",
    "Basque",
    "Bulgarian",
    "Dutch",
    "English",
    "Estonian",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hebrew",
    "Hindi",
    "Hungarian",
    "Indonesian",
    "Italian",
    "Japanese",
    "Kazakh",
    "Korean",
    "Chinese",
    "Marathi",
    "Persian",
    "Portuguese",
    "Russian",
    "Spanish",
    "Tagalog",
    "Tamil",
    "Telugu",
    "Thai",
    "Turkish",
    "Urdu",
    "Vietnamese",
    "Yoruba",
]
TATOEBA = [
    "afr",
    "ara",
    "ben",
    "bul",
    "deu",
    "cmn",
    "ell",
    "est",
    "eus",
    "fin",
    "fra",
    "heb",
    "hin",
    "hun",
    "ind",
    "ita",
    "jav",
    "jpn",
    "kat",
    "kaz",
    "kor",
    "mal",
    "mar",
    "nld",
    "pes",
    "por",
    "rus",
    "spa",
    "swh",
    "tam",
    "tel",
    "tgl",
    "tha",
    "tur",
    "urd",
    "vie",
]


def test_every_language_of_xtreme_r_and_of_the_catalogue_is_known():
    assert len(XTREME_R) == 50
    assert set(XTREME_R) | {"am", "ig"} == set(LANGUAGES)
    assert {language for spec in TASKS.values() for language in spec.languages} <= set(LANGUAGES)


def test_spellings_are_those_of_the_hub():
    udpos, tatoeba = TASKS["udpos"], TASKS["tatoeba"]
    there = set(udpos.languages) - set(udpos.hub.absent["test"])
    assert {spell(language, udpos.hub.spelling) for language in there} == set(UDPOS)
    there = set(tatoeba.languages) - set(tatoeba.hub.absent["validation"])
    assert {spell(language, tatoeba.hub.spelling) for language in there} == set(TATOEBA)
    assert spell("zh", "code") == "zh"


def test_keys_are_unique_and_families_are_those_of_xtreme():
    for attribute in ("iso3", "name"):
        assert len({getattr(language, attribute) for language in LANGUAGES.values()}) == len(LANGUAGES)
    families = {LANGUAGES[code].family for code in TASKS["panx"].languages} - {"isolate", "Quechuan"}
    assert len(families) == 12
    assert {code for code in LANGUAGES if LANGUAGES[code].family == "isolate"} == {"eu", "ko"}
    assert {code for code in XTREME_R if LANGUAGES[code].cc100 == 0} == {"yo", "ht", "qu", "wo"}


def test_unknown_names_offer_the_known_ones():
    with pytest.raises(UnknownName, match="unknown language 'dee'; did you mean 'de'"):
        get_language("dee")
    with pytest.raises(UnknownName, match="spelling"):
        spell("de", "iso2")


def test_resource_classes_follow_the_size_of_cc100():
    classes = {code: language.resource for code, language in LANGUAGES.items()}
    assert set(classes.values()) == set(RESOURCES)
    assert {code for code, name in classes.items() if name == "absent"} == {"yo", "ht", "qu", "wo"}
    assert {code for code, name in classes.items() if name == "unknown"} == {"am", "ig"}
    # The limits: Georgian has 9.1 GiB, Tamil 12.2, Greek 46.9, Spanish 53.3.
    assert [classes[code] for code in ("sw", "ka", "ta", "el", "es", "en")] == [
        "low",
        "low",
        "mid",
        "mid",
        "high",
        "high",
    ]


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=lambda language: language.code)
def test_every_spelling_finds_its_language(language):
    name, code = language.name, language.code
    for text in (code, language.iso3, name, name.lower(), f" {code.upper()} ", f"UD_{name}-PUD", f"{code}_pud"):
        assert find_language(text) is language


@pytest.mark.parametrize(
    ("text", "code"),
    [("ibo", "ig"), ("swa", "sw"), ("wol", "wo"), ("zho", "zh"), ("fas", "fa"), ("msa", "ms"), ("arb", "ar")],
)
def test_other_codes_of_data_sets_are_known(text, code):
    assert find_language(text).code == code


@pytest.mark.parametrize(
    "text", ["UD_Ancient_Greek-PROIEL", "UD_Hindi_English-HIENCS", "UD_Old_French-SRCMF", "", "xx", "grc_proiel"]
)
def test_near_names_are_not_taken_for_the_language(text):
    with pytest.raises(UnknownName):
        find_language(text)
