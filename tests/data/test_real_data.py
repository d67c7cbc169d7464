"""Real files (POLYSTILTS_REAL_DATA or ../shared/data/xtreme) are all read, with the documented counts."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from polystilts.data.local import LocalSource
from polystilts.data.roles import (
    checkpoint_rows,
    evaluation_languages,
    evaluation_rows,
    resampling_units,
    training_rows,
)
from polystilts.data.source import RememberedRows
from polystilts.formats.values import ChoiceExample, PairExample
from polystilts.tasks import TASKS, get_task

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("POLYSTILTS_REAL_DATA", REPOSITORY.parent / "shared/data/xtreme"))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no real benchmark files: {FOLDER} is not there (set POLYSTILTS_REAL_DATA)"
)

#: Rows of a file, where the data set's documentation gives them; PAWS-X without its untranslated rows.
COUNTS = {
    ("copa", "train"): {"en": 400},
    ("copa", "validation"): {"en": 100},
    ("xnli", "validation"): dict.fromkeys(get_task("xnli").languages, 2490),
    ("pawsx", "validation"): {
        "de": 1932,
        "en": 2000,
        "es": 1962,
        "fr": 1992,
        "ja": 1980,
        "ko": 1965,
        "zh": 1984,
    },
    ("xcopa", "validation"): dict.fromkeys(get_task("xcopa").languages, 100),
    ("xcopa", "test"): dict.fromkeys(get_task("xcopa").languages, 500),
    ("udpos", "train"): {"en": 21253},
    ("udpos", "validation"): {"af": 194, "ar": 909, "en": 3974, "de": 19233, "mr": 46, "nl": 1394, "te": 131},
    ("panx", "train"): {"en": 20000},
    ("panx", "validation"): dict.fromkeys(("en", "de", "fr"), 10000),
    ("mlqa", "validation"): {"ar": 517, "de": 512, "en": 1148, "es": 500, "hi": 507, "vi": 511, "zh": 504},
    ("xquad", "validation"): dict.fromkeys(get_task("xquad").languages, 1190),
    ("tydiqa", "train"): {"en": 3696},
    ("tydiqa", "validation"): {"ar": 921, "bn": 113, "en": 440, "fi": 782, "id": 565, "ru": 812, "sw": 499},
    ("csqa", "validation"): {"en": 1221},
    ("cosmosqa", "validation"): {"en": 2985},
    ("cosqa", "validation"): {"en": 604},
    ("anli", "validation"): {"en": 2000},  # rounds 1 and 2
    ("bucc2018", "validation"): {"zh": 8624 + 13589},
    ("tatoeba", "validation"): dict.fromkeys(get_task("tatoeba").languages, 1000)
    | {"jv": 205, "ka": 746, "kk": 575, "ml": 687, "sw": 390, "ta": 307, "te": 234, "th": 548},
}


SOURCE = RememberedRows(LocalSource(FOLDER))
FILES = [
    (task, split)
    for task, spec in TASKS.items()
    for split in ("train", "validation", "test")
    if SOURCE.languages(spec, split)
]
TRAINED = [
    task
    for task, spec in TASKS.items()
    if spec.train_task and (spec.train_task, "train") in FILES and "en" in evaluation_languages(SOURCE, spec)
]


def test_there_are_files():
    assert FILES and TRAINED


@pytest.mark.parametrize(("task", "split"), FILES)
def test_every_file_is_read_with_the_documented_number_of_rows(task, split):
    spec = get_task(task)
    languages = SOURCE.languages(spec, split)
    for language in languages:
        rows = SOURCE.rows(spec, split, language)
        expected = COUNTS.get((task, split), {}).get(language)
        assert rows and (expected is None or len(rows) == expected), (language, len(rows))
        assert len({row.id for row in rows}) == len(rows)
        english = {"en"} if task == "bucc2018" else set()
        assert {row.language for row in rows} == {language} | english


@pytest.mark.parametrize("task", [task for task, split in FILES if TASKS[task].parallel and split == "validation"])
def test_parallel_sets_have_the_same_ids_roles_and_units(task):
    spec = get_task(task)
    languages = evaluation_languages(SOURCE, spec)
    roles, units = {}, {}
    for language in languages:
        rows = evaluation_rows(SOURCE, spec, language)
        assert {role for role, _ in rows} - {"both"} == {"choice", "report"}
        for role, row in rows:
            assert roles.setdefault(row.id, role) == role
        for id, unit in resampling_units(spec, [row for _, row in rows]).items():
            assert units.setdefault(id, unit) == unit


@pytest.mark.parametrize("task", TRAINED)
def test_no_reported_english_row_trains_or_chooses(task):
    spec = get_task(task)
    reported = {row.id for role, row in evaluation_rows(SOURCE, spec, "en") if role == "report"}
    chosen = {row.id for row in checkpoint_rows(SOURCE, spec)}
    assert reported and chosen and not reported & chosen
    assert not {row.id for row in training_rows(SOURCE, spec)} & (reported | chosen)


def test_xcopas_test_labels_are_either_real_or_hidden():
    spec = get_task("xcopa")
    for language in SOURCE.languages(spec, "test"):
        labels = {row.label for row in SOURCE.rows(spec, "test", language)}
        assert labels in ({0, 1}, {None}), language


@pytest.mark.parametrize(
    "task", [task for task in ("anli", "cosmosqa", "csqa", "cosqa") if (task, "validation") in FILES]
)
def test_intermediate_sets_have_texts_and_every_label(task):
    spec = get_task(task)
    rows = SOURCE.rows(spec, "validation", "en")
    if spec.format == "pair":
        assert all(isinstance(row, PairExample) and row.premise and row.hypothesis for row in rows)
        assert {row.label for row in rows} == set(spec.labels)
    else:
        choices = len(rows[0].choices)
        assert all(isinstance(row, ChoiceExample) and all(row.choices) for row in rows)
        assert {len(row.choices) for row in rows} == {choices} and {row.label for row in rows} == set(range(choices))


@pytest.mark.skipif(("bucc2018", "validation") not in FILES, reason="no real benchmark files of BUCC")
def test_bucc_pairs_share_a_key():
    rows = evaluation_rows(SOURCE, get_task("bucc2018"), "zh")
    queries = [row for _, row in rows if row.query]
    candidates = {key: row for role, row in rows if not row.query and role == "both" for key in row.keys}
    pairs = [(row, candidates[key]) for row in queries for key in row.keys]
    assert len(queries) == 8624 and len(pairs) == 257
    assert all(key == f"{query.id}\t{found.id}" for query, found in pairs for key in query.keys)


@pytest.mark.parametrize("language", SOURCE.languages(get_task("lareqa"), "validation"))
def test_every_question_of_lareqa_has_its_sentence(language):
    rows = SOURCE.rows(get_task("lareqa"), "validation", language)
    queries = {row.id for row in rows if row.query}
    keys = {key for row in rows if not row.query for key in row.keys}
    assert keys == queries and len(queries) >= 1180
    assert not any("\n" in row.text for row in rows if not row.query)
    xquad = SOURCE.rows(get_task("xquad"), "validation", language) if ("xquad", "validation") in FILES else []
    assert queries <= {row.id for row in xquad} or not xquad


@pytest.mark.parametrize("language", SOURCE.languages(get_task("masakhaner"), "validation"))
def test_masakhaner_is_tagged_throughout(language):
    rows = SOURCE.rows(get_task("masakhaner"), "validation", language)
    assert all(len(row.tokens) == len(row.tags) for row in rows)
    assert {tag[2:] for row in rows for tag in row.tags} >= {"PER", "ORG", "LOC"}


@pytest.mark.parametrize("language", SOURCE.languages(get_task("xquad"), "validation")[:1])
def test_the_sentence_of_an_answer_is_found_in_real_paragraphs(language):
    spec = replace(get_task("squad_sentences"), local=get_task("xquad").local, languages=(language,))
    rows = LocalSource(FOLDER).rows(spec, "validation", language)
    assert len(rows) >= 1180 and all(row.query and row.candidate for row in rows)
