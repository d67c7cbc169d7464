"""Real files (POLYSTILTS_REAL_DATA or ../shared/data/xtreme) are all read, with the documented counts."""

import os
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
    ("tatoeba", "validation"): dict.fromkeys(get_task("tatoeba").languages, 1000)
    | {"jv": 205, "ka": 746, "kk": 575, "ml": 687, "sw": 390, "ta": 307, "te": 234, "th": 548},
}


SOURCE = LocalSource(FOLDER)
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
        assert {row.language for row in rows} == {language}


@pytest.mark.parametrize("task", [task for task, split in FILES if TASKS[task].parallel and split == "validation"])
def test_parallel_sets_have_the_same_ids_roles_and_units(task):
    spec = get_task(task)
    languages = evaluation_languages(SOURCE, spec)
    roles, units = {}, {}
    for language in languages:
        rows = evaluation_rows(SOURCE, spec, language)
        assert {role for role, _ in rows} == {"choice", "report"}
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
