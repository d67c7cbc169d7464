import pytest

from polystilts.data.readers import READERS
from polystilts.errors import UnknownName
from polystilts.formats.values import FORMATS
from polystilts.metrics import get_metric
from polystilts.tasks import TASKS, get_task, parse_mixture, training_tasks

SPLITS = {"train", "validation", "test"}


@pytest.mark.parametrize("spec", TASKS.values(), ids=lambda spec: spec.name)
def test_specs_are_consistent(spec):
    assert spec.format in FORMATS
    assert len(set(spec.languages)) == len(spec.languages)
    assert spec.train_task in ("", *TASKS)
    assert spec.drawn_from in ("", *TASKS)
    assert {spec.checkpoint_split, spec.choice_split, spec.report_split} <= SPLITS | {""}
    assert bool(spec.labels) == (spec.format in ("pair", "tagging"))
    assert spec.licence
    get_metric(spec.metric)
    if spec.train_task:
        assert TASKS[spec.train_task].format == spec.format
        assert TASKS[spec.train_task].labels == spec.labels
        assert "train" in TASKS[spec.train_task].hub.splits
    if spec.local:
        assert spec.local.reader in READERS
        assert set(spec.local.splits) <= SPLITS
        for pattern in spec.local.splits.values():
            assert "{language}" in pattern or spec.languages == ("en",)
    assert set(spec.hub.splits) <= SPLITS
    assert spec.hub.id.count("/") == 1, "the hub takes owner/name only"
    assert set(spec.hub.absent) <= set(spec.hub.splits)
    assert {language for there in spec.hub.absent.values() for language in there} <= set(spec.languages)


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
    assert {"mnli", "squad_v1", "copa", "udpos", "panx", "pawsx", "tydiqa"} == {spec.name for spec in training_tasks()}
    with pytest.raises(UnknownName, match="did you mean 'xnli'"):
        get_task("xnlii")
