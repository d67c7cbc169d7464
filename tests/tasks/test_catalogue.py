import pytest

from polystilts.data.readers import READERS
from polystilts.errors import UnknownName
from polystilts.formats.values import FORMATS
from polystilts.metrics import get_metric
from polystilts.tasks import TASKS, get_task, parse_mixture, training_tasks

SPLITS = {"train", "validation", "test"}

everyone = pytest.mark.parametrize("spec", TASKS.values(), ids=lambda spec: spec.name)


@everyone
def test_specs_are_consistent(spec):
    assert spec.format in FORMATS
    assert len(set(spec.languages)) == len(spec.languages)
    named = {spec.train_task, spec.drawn_from, spec.rows_of, spec.translates, *spec.parts, *spec.before} - {""}
    assert named <= set(TASKS)
    assert {spec.checkpoint_split, spec.choice_split, spec.report_split} <= SPLITS | {""}
    assert spec.selection in ("best", "last") and spec.unit in ("id", "paragraph", "query")
    assert spec.licence
    assert set(spec.average_excludes) <= set(spec.languages)
    assert all(set(languages) <= set(spec.languages) for languages in spec.benchmarks.values())
    if spec.format in ("pair", "tagging"):
        assert spec.labels or (spec.local and spec.local.labels)
    else:
        assert not spec.labels


@everyone
def test_metrics_exist(spec):
    get_metric(spec.metric)


@everyone
def test_readers_exist(spec):
    assert spec.local is None or spec.local.reader in READERS


@everyone
def test_a_training_task_can_train_its_target(spec):
    for name in (*spec.before, *([spec.train_task] if spec.train_task else [])):
        task = TASKS[name]
        assert task.train_task == name, f"{name} is not trained on itself"
        assert spec.format in (task.format, "sentence"), "an encoder may serve retrieval whatever it was trained on"
        splits = set(task.local.splits if task.local else ()) | set(task.hub.splits if task.hub else ())
        assert "train" in splits or task.parts or TASKS[task.data] is not task
    if spec.train_task and spec.format == TASKS[spec.train_task].format:
        assert TASKS[spec.train_task].labels == spec.labels
    for name in spec.parts:
        assert (TASKS[name].format, TASKS[name].labels) == (spec.format, spec.labels)
    if spec.translates:
        original = TASKS[spec.translates]
        assert (original.format, original.labels) == (spec.format, spec.labels)
        assert "en" not in spec.train_languages and set(spec.train_languages) == set(spec.languages)


@everyone
def test_sources_are_consistent(spec):
    assert spec.hub or spec.upstream or spec.local or spec.parts or spec.rows_of
    if spec.local:
        assert set(spec.local.splits) <= SPLITS | ({spec.pool_split} - {""})
        assert set(spec.local.names) <= set(spec.languages)
    if spec.hub:
        assert set(spec.hub.splits) <= SPLITS
        assert spec.hub.id.count("/") == 1, "the hub takes owner/name only"
        assert set(spec.hub.rows) <= set(spec.hub.splits) and set(spec.hub.files) <= set(spec.hub.splits)
        assert set(spec.hub.absent) <= set(spec.hub.splits)
        assert {language for there in spec.hub.absent.values() for language in there} <= set(spec.languages)
        # One config for all languages tells them apart by the id.
        assert len(spec.languages) == 1 or "{language}" in spec.hub.config or spec.hub.id_prefix
    if spec.upstream:
        assert spec.upstream.urls or spec.upstream.note
        assert spec.local, "upstream files are read by the local readers"
        assert set(spec.local.splits.values()) <= set(spec.upstream.urls) or spec.upstream.note
        for pattern, url in spec.upstream.urls.items():
            assert url.startswith("https://")
            assert ("{language}" in pattern) == ("{language}" in url)


def test_language_counts_are_those_of_xtreme_and_xtreme_r():
    counts = {
        name: len(TASKS[name].languages)
        for name in ("xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa", "tatoeba")
    }
    assert counts == {
        "xnli": 15,
        "pawsx": 7,
        "udpos": 38,
        "panx": 48,
        "xquad": 12,
        "mlqa": 7,
        "tydiqa": 9,
        "tatoeba": 41,
    }
    assert len(set(TASKS["xcopa"].languages) - set(TASKS["xcopa"].average_excludes)) == 11


def test_label_orders_are_those_of_the_data_sets():
    assert TASKS["xnli"].labels == ("entailment", "neutral", "contradiction")
    assert TASKS["panx"].labels == ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    assert len(TASKS["udpos"].labels) == 17 and list(TASKS["udpos"].labels) == sorted(TASKS["udpos"].labels)


def test_lookups():
    assert [spec.name for spec in parse_mixture("mnli + squad_v1")] == ["mnli", "squad_v1"]
    trained = {spec.name for spec in training_tasks()}
    assert {"mnli", "squad_v1", "copa", "udpos", "panx", "pawsx", "tydiqa", "squad_sentences", "ccg"} <= trained
    assert not {"xnli", "xquad", "mlqa", "xcopa", "tatoeba", "bucc2018", "lareqa", "mewslix"} & trained
    with pytest.raises(UnknownName, match="did you mean 'xnli'"):
        get_task("xnlii")
