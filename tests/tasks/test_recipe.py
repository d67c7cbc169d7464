"""The grammar of recipes: what a name means, and that a name comes back as it was written."""

import pytest

from polystilts.errors import InvalidValue, UnknownName
from polystilts.tasks import TASKS
from polystilts.tasks.languages import LANGUAGES
from polystilts.tasks.recipe import (
    BASELINE,
    Part,
    Recipe,
    file_name,
    languages_of,
    parse_languages,
    parse_recipe,
    parse_recipes,
    repeats,
)


@pytest.mark.parametrize(
    ("text", "parts", "languages"),
    [
        ("baseline", (), ()),
        ("mnli", (Part("task", "mnli"),), ()),
        ("mnli+squad_v1", (Part("task", "mnli"), Part("task", "squad_v1")), ()),
        ("mnli:de", (Part("task", "mnli", "de"),), ()),
        ("mnli+mnli:de+mlm", (Part("task", "mnli"), Part("task", "mnli", "de"), Part("mlm")), ()),
        ("shuffled:mnli", (Part("shuffled", "mnli"),), ()),
        ("mlm-en", (Part("mlm-en"),), ()),
        ("mlm-en:mnli", (Part("mlm-en", "mnli"),), ()),
        ("again", (Part("again"),), ()),
        ("again:squad_v1", (Part("again", "squad_v1"),), ()),
        ("baseline@en-de-ru", (), ("en", "de", "ru")),
        ("mnli+mlm@de", (Part("task", "mnli"), Part("mlm")), ("de",)),
    ],
)
def test_a_name_is_read_and_written_again(text, parts, languages):
    recipe = parse_recipe(text)
    assert recipe == Recipe(parts, languages)
    assert recipe.name == text


def test_spaces_do_not_matter():
    assert parse_recipe(" mnli + shuffled : squad_v1 @ en - de ").name == "mnli+shuffled:squad_v1@en-de"


def test_candidates_are_separated_by_commas():
    assert [recipe.name for recipe in parse_recipes("mnli, mlm+mnli,,baseline")] == ["mnli", "mlm+mnli", BASELINE]
    assert parse_recipes("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mnly", "did you mean 'mnli'"),
        ("shufled:mnli", "did you mean 'shuffled'"),
        ("mnli++udpos", "unknown task ''"),
        ("mnli:", "nothing stands behind the colon"),
        ("mnli:xx", "unknown language 'xx'"),
        ("shuffled", "needs a task: shuffled:mnli"),
        ("shuffled:nothing", "unknown task 'nothing'"),
        ("mlm:de", "nothing may stand behind 'mlm'; the languages of its text are the preset's"),
        ("mnli+mnli", "has mnli twice"),
        ("again:mnli+udpos", "is a recipe by itself"),
        ("baseline+mnli", "'baseline' is a recipe by itself"),
        ("mlm+mlm-en", "has text twice"),
        ("mnli@", "at least one language"),
        ("mnli@en-en", "none twice"),
        ("mnli@en-xx", "unknown language 'xx'"),
    ],
)
def test_what_is_no_recipe_is_refused_with_the_reason(text, message):
    with pytest.raises(InvalidValue, match=message) as caught:
        parse_recipe(text, param="--tasks")
    assert caught.value.param == "--tasks"


def test_the_grammar_is_unambiguous():
    """No task is called as a part that is none, and no name holds a character that separates."""
    others = {"baseline", "shuffled", "again", "mlm", "mlm-en"}
    assert not others & TASKS.keys()
    assert not [name for name in (*TASKS, *LANGUAGES) if set(name) & set("+:@, ")]
    assert not [code for code in LANGUAGES if "-" in code]


def test_file_names_have_no_colon_and_stay_apart():
    names = ["mnli", "mnli:de", "mlm-en:mnli", "shuffled:mnli", "mnli+mlm@en-de"]
    files = [file_name(name) for name in names]
    assert not [file for file in files if ":" in file] and len(set(files)) == len(names)


def test_only_again_depends_on_the_target():
    assert parse_recipe("again:mnli").depends_on_target
    assert not any(parse_recipe(name).depends_on_target for name in ("baseline", "shuffled:mnli", "mlm-en:mnli"))


def test_languages_by_comma():
    assert parse_languages("en, de") == ("en", "de")
    with pytest.raises(UnknownName, match="unknown language 'deu'") as caught:
        parse_languages("en,deu", param="--languages")
    assert caught.value.param == "--languages"


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("mnli", True),
        ("squad_v1+mnli:de", True),
        ("mnli_translated", True),
        ("again:squad_v1", True),
        ("squad_v1", False),
        ("baseline@en-de", False),
        ("shuffled:mnli", False),
        ("mlm-en:mnli", False),
        ("somebody's own", False),
    ],
)
def test_a_recipe_that_has_learnt_the_target_s_task(recipe, expected):
    assert repeats(recipe, {"xnli", "mnli"}) is expected


def test_languages_with_labels_are_those_of_the_target_s_phases():
    base = {"phase": "base", "name": "b"}
    french = {"phase": "intermediate", "tasks": [{"name": "mnli_translated", "languages": {"fr": 3}}], "parent": base}
    old = {"phase": "target", "tasks": [{"name": "siqa"}], "parent": french}
    target = {"phase": "target", "tasks": [{"name": "copa", "languages": {"de": 3, "en": 2}}], "parent": old}
    assert languages_of(target) == ("de", "en")
    assert languages_of(old) == ("en",), "a lineage that does not count them"
    assert languages_of(french) == ()
