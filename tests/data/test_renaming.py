"""Renaming changes the same name in both sentences, everywhere, and nothing else."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystilts.data.renaming import NAMES, rename, rename_all
from polystilts.formats.values import PairExample


def pair(premise: str, hypothesis: str, language: str = "en", id: str = "1") -> PairExample:
    return PairExample(id, language, premise, hypothesis, "1")


def template(text: str) -> str:
    return re.sub("|".join(sorted((n for names in NAMES.values() for n in names), key=len, reverse=True)), "_", text)


@pytest.mark.parametrize(
    ("language", "premise", "hypothesis", "changed"),
    [
        ("en", "He met Ada Lovelace in Rome.", "In Rome he met Ada Lovelace.",
         ("He met _ _ in Rome.", "In Rome he met _ _.")),
        ("es", "Nació en Snowdonia.", "En Snowdonia nació.", ("Nació en _.", "En _ nació.")),
        ("ko", "그는 Ned Lambton과 결혼했다.", "Ned Lambton은 결혼했다.", ("그는 _ _과 결혼했다.", "_ _은 결혼했다.")),
        ("zh", "它与 Sheshequin 镇接壤。", "Sheshequin镇与它接壤。", ("它与 _ 镇接壤。", "_镇与它接壤。")),
        ("ru", "Он встретил Ивана Петрова.", "Вчера он встретил Ивана Петрова.",
         ("Он встретил _ _.", "Вчера он встретил _ _.")),
        ("el", "Είδε τον Νίκο Παππά.", "Χθες είδε τον Νίκο Παππά.", ("Είδε τον _ _.", "Χθες είδε τον _ _.")),
        ("ja", "彼はジョン・スミスに会った。", "ジョン・スミスは彼に会った。",
         ("彼は_・_に会った。", "_・_は彼に会った。")),
    ],
)  # fmt: skip
def test_the_name_is_another_in_both_sentences(
    language: str, premise: str, hypothesis: str, changed: tuple[str, str]
) -> None:
    done = rename(pair(premise, hypothesis, language))
    assert done is not None and (template(done.premise), template(done.hypothesis)) == changed
    assert done.label == "1" and done.id == "1" and done.language == language


def test_the_same_word_has_the_same_new_name_everywhere() -> None:
    done = rename(pair("Bob Smith left. Then Smith and Bob came.", "Bob Smith came after Smith left."))
    assert done is not None
    new = re.findall(r"(\w+) (\w+) left\.", done.premise)[0]
    assert done.premise == f"{new[0]} {new[1]} left. Then {new[1]} and {new[0]} came."
    assert done.hypothesis == f"{new[0]} {new[1]} came after {new[1]} left."
    assert new[0] != new[1]


@pytest.mark.parametrize(
    ("language", "premise", "hypothesis"),
    [
        ("en", "It rained in May.", "In May it rained."),  # a month
        ("en", "It was a British ship.", "The British ship was."),  # an adjective
        ("en", "He saw NATO.", "NATO he saw."),  # an abbreviation
        ("en", "Yesterday rain fell.", "Yesterday it rained."),  # the start of a sentence
        ("en", "He saw Rome.", "He saw Paris."),  # not in both
        ("de", "Der Sohn sah den Vater.", "Den Vater sah der Sohn."),  # common nouns
        ("de", "Er sah Bob Smith.", "Er sah Bob Smith und Smiths Sohn."),  # another form would be left behind
        ("zh", "她是罗莎琳德·洛温的母亲。", "罗莎琳德·洛温的母亲是她。"),  # Chinese characters
        ("ja", "パソコンがある。", "ここにパソコンがある。"),  # a loan word
        ("ar", "ذهب إلى المدرسة.", "إلى المدرسة ذهب."),
        ("en", "", ""),
    ],
)  # fmt: skip
def test_what_is_no_shared_name_stays(language: str, premise: str, hypothesis: str) -> None:
    assert rename(pair(premise, hypothesis, language)) is None


def test_german_names_are_those_that_english_has_too() -> None:
    german = pair("Er kam aus der Provinz Buenos Aires.", "Aus der Provinz Buenos Aires kam er.", "de")
    english = pair("He came from Buenos Aires Province.", "From Buenos Aires Province he came.")
    done = rename(german, english=english)
    assert done is not None and template(done.premise) == "Er kam aus der Provinz _ _."
    alone = rename(german)
    assert alone is not None and template(alone.premise) == "Er kam aus der _ _ _."
    assert rename_all([german], english=[english]).rows == (done,)


def test_new_names_are_none_that_the_sentences_have() -> None:
    *used, left = NAMES["LATIN"]
    text = f"He saw Zorba, {', '.join(used)}."
    for seed in range(40):
        done = rename(pair(text, f"Then {text}"), seed=seed)
        assert done is not None and done.premise.count(left) == 1
        # Whichever name went, its place is taken by the only one that was not there.
        assert len(set(re.findall(r"[A-Z]\w+", done.premise))) == len(used) + 2


def test_the_share_that_could_be_renamed_is_given() -> None:
    rows = [pair("He saw Rome.", "Rome he saw. He likes Rome.", id="1"), pair("Rain fell.", "It rained.", id="2")]
    done = rename_all(rows)
    assert [row.id for row in done.rows] == ["1"] and done.asked == 2 and done.share == 0.5
    assert rename_all([]).share == 0.0


def test_the_choice_depends_on_seed_and_id_alone() -> None:
    rows = [pair("He met Ada in Rome.", "In Rome he met Ada.", id=str(n)) for n in range(30)]
    assert rename_all(rows).rows == rename_all(rows[::-1]).rows[::-1]
    assert rename_all(rows, seed=1).rows != rename_all(rows).rows
    assert len({template(row.premise) for row in rename_all(rows).rows}) == 2


@given(
    st.lists(st.sampled_from(["Ada", "met", "Rome", "Bob", "in", ".", ",", "한국", "Ż", "é́", "12"]), max_size=9),
    st.randoms(),
)
def test_only_words_of_the_name_change(words: list[str], random) -> None:  # type: ignore[no-untyped-def]
    other = words.copy()
    random.shuffle(other)
    before = pair(" ".join(words), " ".join(other))
    done = rename(before)
    if done is None:
        return
    changes = set()
    for old, new in ((before.premise, done.premise), (before.hypothesis, done.hypothesis)):
        assert len(old.split(" ")) == len(new.split(" "))
        changes |= {(a, b) for a, b in zip(old.split(" "), new.split(" "), strict=True) if a != b}
    assert changes and len({a for a, _ in changes}) == len({b for _, b in changes}) == len(changes)
    assert all(a in ("Ada", "Rome", "Bob") and b in NAMES["LATIN"] for a, b in changes)


def test_no_new_name_is_part_of_another() -> None:
    for names in NAMES.values():
        assert not [(a, b) for a, b in product(names, names) if a != b and a in b]
