"""The hub source on local repositories of the documented layout; nothing here reaches the network."""

import huggingface_hub
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from huggingface_hub.errors import LocalEntryNotFoundError

from polystilts.data.hub import HubSource
from polystilts.errors import BadRow, MissingData
from polystilts.formats.values import Answer, ChoiceExample, PairExample, SentencePair, TaggingExample
from polystilts.tasks import get_task

ANSWERS = {"answer_start": List(Value("int32")), "text": List(Value("string"))}
SPAN = {"id": Value("string"), "context": Value("string"), "question": Value("string"), "answers": ANSWERS}


def store(root, place, rows, features):
    path = root / f"{place}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=Features(features)).to_parquet(path)


@pytest.fixture
def hub(tmp_path):
    return HubSource(tmp_path / "mirror", cache_dir=tmp_path / "cache")


def pairs(names):
    text = Value("string")
    return {"premise": text, "hypothesis": text, "label": ClassLabel(names=names)}


def test_pairs_are_read_by_label_name_and_unlabelled_rows_dropped(hub):
    rows = [
        {"premise": "une", "hypothesis": "deux", "label": 2},
        {"premise": "trois", "hypothesis": "quatre", "label": -1},
        {"premise": "cinq", "hypothesis": "six", "label": 0},
    ]
    # Another order than the spec's: names decide.
    names = ["contradiction", "entailment", "neutral"]
    store(hub.root, "facebook/xnli/fr/validation-00000-of-00001", rows, pairs(names))
    assert hub.rows(get_task("xnli"), "validation", "fr") == [
        PairExample("validation-0", "fr", "une", "deux", "neutral"),
        PairExample("validation-2", "fr", "cinq", "six", "contradiction"),
    ]
    assert hub.languages(get_task("xnli"), "validation") == ("fr",)
    assert hub.languages(get_task("xnli"), "train") == ()


def test_several_files_and_split_names_of_the_hub(hub):
    names = get_task("mnli").labels
    for number, word in enumerate(("a", "b")):
        row = {"premise": word, "hypothesis": word, "label": number}
        store(hub.root, f"nyu-mll/glue/mnli/validation_matched-0000{number}-of-00002", [row], pairs(list(names)))
    rows = hub.rows(get_task("mnli"), "validation", "en")
    assert [(row.premise, row.label) for row in rows] == [("a", "entailment"), ("b", "neutral")]


def test_the_layout_of_the_parquet_branch(hub):
    row = {"id": 1, "sentence1": "a", "sentence2": "b", "label": 1}
    text = Value("string")
    features = {
        "id": Value("int32"),
        "sentence1": text,
        "sentence2": text,
        "label": ClassLabel(names=["0", "1"]),
    }
    rows = [row, {**row, "sentence2": "NS"}, row]
    store(hub.root, "google-research-datasets/paws-x/ko/test/0000", rows, features)
    assert [row.id for row in hub.rows(get_task("pawsx"), "test", "ko")] == ["test-0", "test-2"]


def test_tags_by_language_name(hub):
    spec = get_task("udpos")
    features = {"tokens": List(Value("string")), "pos_tags": List(ClassLabel(names=list(spec.labels)))}
    rows = [{"tokens": ["我", "们", "。"], "pos_tags": [10, 10, 12]}]
    store(hub.root, "google/xtreme/udpos.Chinese/validation-00000-of-00001", rows, features)
    expected = TaggingExample("validation-0", "zh", ("我", "们", "。"), ("PRON", "PRON", "PUNCT"))
    assert hub.rows(spec, "validation", "zh") == [expected]


def test_choices_and_sentences(hub):
    text = Value("string")
    features = {name: text for name in ("premise", "choice1", "choice2", "question")}
    row = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 1}
    store(hub.root, "cambridgeltl/xcopa/et/test-0", [row], {**features, "label": Value("int32")})
    classes = ClassLabel(names=["choice1", "choice2"])
    store(hub.root, "aps/super_glue/copa/train-0", [row, {**row, "label": -1}], {**features, "label": classes})
    assert hub.rows(get_task("xcopa"), "test", "et") == [ChoiceExample("test-0", "et", "p", "cause", ("a", "b"), 1)]
    assert [row.label for row in hub.rows(get_task("copa"), "train", "en")] == [1]

    columns = ("source_sentence", "target_sentence", "source_lang", "target_lang")
    row = dict(zip(columns, ("สวัสดี\n", "Hello\n", "x", "eng"), strict=True))
    store(hub.root, "google/xtreme/tatoeba.tha/validation-0", [row], {column: text for column in columns})
    expected = SentencePair("validation-0", "th", "Hello", "สวัสดี")
    assert hub.rows(get_task("tatoeba"), "validation", "th") == [expected]


def test_questions_of_one_language_are_told_by_their_ids(hub):
    row = {
        "context": "a b",
        "question": "?",
        "answers": {"answer_start": [2, 0], "text": ["b", "a"]},
        "title": "T",
    }
    rows = [{**row, "id": f"{name}--1-{n}"} for n, name in enumerate(("swahili", "english", "swahili"))]
    place = "google-research-datasets/tydiqa/secondary_task/validation-0"
    store(hub.root, place, rows, {**SPAN, "title": Value("string")})
    found = hub.rows(get_task("tydiqa"), "validation", "sw")
    assert [row.id for row in found] == ["swahili--1-0", "swahili--1-2"]
    assert found[0].answers == (Answer("b", 2), Answer("a", 0)) and found[0].title == "T"
    with pytest.raises(MissingData, match="no rows in 'ko'"):
        hub.rows(get_task("tydiqa"), "validation", "ko")


def test_unexpected_columns_and_labels_say_what_was_expected_and_found(hub):
    row = {"premise": "a", "hypo": "b", "label": 0}
    text = Value("string")
    features = {"premise": text, "hypo": text, "label": ClassLabel(names=["yes"])}
    store(hub.root, "facebook/xnli/de/test-0", [row], features)
    with pytest.raises(BadRow, match="expected the columns premise, hypothesis, label; found premise, hypo, label"):
        hub.rows(get_task("xnli"), "test", "de")
    row = {"premise": "a", "hypothesis": "b", "label": 0}
    store(hub.root, "facebook/xnli/ru/test-0", [row], pairs(["yes", "no"]))
    with pytest.raises(BadRow, match=r"expected the labels contradiction.*found yes, no"):
        hub.rows(get_task("xnli"), "test", "ru")


def test_a_bad_answer_names_set_and_row(hub):
    row = {"id": "q", "context": "a b", "question": "?", "answers": {"answer_start": [1], "text": ["b"]}}
    store(hub.root, "google/xquad/xquad.de/validation-0", [row], SPAN)
    with pytest.raises(BadRow, match=r"google/xquad xquad.de validation, row 0: answer 'b' is not at"):
        hub.rows(get_task("xquad"), "validation", "de")


def test_what_the_hub_does_not_have():
    hub = HubSource()
    assert hub.languages(get_task("udpos"), "validation")[:3] == ("af", "ar", "bg")
    assert not {"kk", "th", "lt", "wo"} & set(hub.languages(get_task("udpos"), "validation"))
    assert "th" in hub.languages(get_task("udpos"), "test")
    assert "en" not in hub.languages(get_task("xcopa"), "test")
    for task, split, language in (("xcopa", "test", "en"), ("xnli", "test", "ja"), ("xnli", "train", "de")):
        with pytest.raises(MissingData):
            hub.rows(get_task(task), split, language)


def test_mirror_without_the_file(hub):
    with pytest.raises(MissingData, match="facebook/xnli"):
        hub.rows(get_task("xnli"), "test", "de")


def test_fingerprints_of_a_mirror_follow_the_files(hub):
    row = {"premise": "a", "hypothesis": "b", "label": 0}
    labels = list(get_task("xnli").labels)
    store(hub.root, "facebook/xnli/de/test-0", [row], pairs(labels))
    before = hub.fingerprint(get_task("xnli"), "test", "de")
    store(hub.root, "facebook/xnli/de/test-0", [row, row], pairs(labels))
    assert hub.fingerprint(get_task("xnli"), "test", "de") != before


class FakeHub:
    """Stands for `snapshot_download`: a cache and, if `online`, a hub behind it."""

    def __init__(self, folder, online):
        self.folder, self.online, self.cached, self.calls = folder, online, set(), []

    def __call__(self, id, *, repo_type, revision, allow_patterns, local_files_only):
        assert repo_type == "dataset"
        self.calls.append((revision, local_files_only))
        if local_files_only and (id, revision) not in self.cached:
            raise LocalEntryNotFoundError("not in the cache")
        if not local_files_only and not self.online:
            raise ConnectionError("offline mode is on")
        self.cached.add((id, revision))
        commit = revision if len(revision) == 40 else "c" * 40
        place = self.folder / "snapshots" / commit
        row = {"premise": "a", "hypothesis": "b", "label": 0}
        store(place, "de/test-00000-of-00001", [row], pairs(list(get_task("xnli").labels)))
        return str(place)


def test_rows_come_from_the_cache_once_they_are_fetched(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path, online=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    hub, spec = HubSource(cache_dir=tmp_path / "cache"), get_task("xnli")
    assert hub.prepare(spec, "test", "de") == "c" * 40
    assert fake.calls == [("main", False)]
    fake.online = False
    assert len(hub.rows(spec, "test", "de")) == 1
    assert fake.calls[1:] == [("main", True)]


def test_pinned_revisions_are_asked_for_and_change_the_fingerprint(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path, online=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    spec = get_task("xnli")
    prints = {HubSource(revisions={spec.hub.id: pin * 40}).fingerprint(spec, "test", "de") for pin in "ab"}
    assert len(prints) == 2
    assert ("a" * 40, False) in fake.calls and ("b" * 40, False) in fake.calls


def test_sets_without_files_on_main_are_read_from_the_parquet_branch(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path, online=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    with pytest.raises(MissingData, match=r"mlqa.de.de/test/\*.parquet in facebook/mlqa at refs/convert/parquet"):
        HubSource().rows(get_task("mlqa"), "test", "de")
    assert fake.calls == [("refs/convert/parquet", True), ("refs/convert/parquet", False)]


def test_offline_without_a_cache_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", FakeHub(tmp_path, online=False))
    with pytest.raises(MissingData, match=r"facebook/xnli \(main\).*offline mode is on.*load it once"):
        HubSource().rows(get_task("xnli"), "test", "de")


def test_shapes_are_checked_by_their_raw_columns_and_read_class_labels_by_name(hub):
    text, spec = Value("string"), get_task("hellaswag")
    row = {"ctx_a": "A.", "ctx_b": "He", "endings": ["a", "b", "c", "d"], "label": "1"}
    features = {"ctx_a": text, "ctx_b": text, "endings": List(text), "label": text}
    store(hub.root, "Rowan/hellaswag/data/validation-00000-of-00001", [row, {**row, "label": ""}], features)
    rows = hub.rows(spec, "validation", "en")
    assert [row.label for row in rows] == [1, None] and rows[0].choices[1] == "He b"
    store(hub.root, "Rowan/hellaswag/data/train-0", [{"ctx_a": "A."}], {"ctx_a": text})
    with pytest.raises(BadRow, match="expected the columns ctx_a, ctx_b, endings, label; found ctx_a"):
        hub.rows(spec, "train", "en")
    relations = ClassLabel(names=["root", "nmod:poss"])
    store(
        hub.root,
        "commul/universal_dependencies/en_ewt/train-0",
        [{"tokens": ["my", "dog"], "deprel": [1, 0]}],
        {"tokens": List(text), "deprel": List(relations)},
    )
    assert hub.rows(get_task("deprel"), "train", "en")[0].tags == ("nmod", "root")


def test_a_split_of_several_rounds_is_read_in_their_order(hub):
    for number in (3, 1, 2):
        row = {"premise": f"p{number}", "hypothesis": "h", "label": 0 if number > 1 else -1}
        names = list(get_task("anli").labels)
        store(hub.root, f"facebook/anli/plain_text/train_r{number}-00000-of-00001", [row], pairs(names))
    rows = hub.rows(get_task("anli"), "train", "en")
    assert [(row.id, row.premise) for row in rows] == [("train-1", "p2"), ("train-2", "p3")]


def test_json_of_a_repository_without_parquet(hub):
    path = hub.root / "gonglinyuan/CoSQA/cosqa-dev.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"doc": "q", "code": "c", "label": 1}, {"doc": "q", "code": "c", "label": 7}]')
    assert hub.languages(get_task("cosqa"), "validation") == ("en",)
    with pytest.raises(BadRow, match=r"cosqa-dev.json:1: label 7"):
        hub.rows(get_task("cosqa"), "validation", "en")
    lenient = HubSource(hub.root, on_bad_row="skip")
    assert lenient.rows(get_task("cosqa"), "validation", "en") == [PairExample("validation-0", "en", "q", "c", "1")]
    assert list(lenient.skipped.values()) == [1]


def test_what_is_not_on_the_hub_is_read_from_the_downloads(hub, tmp_path):
    spec = get_task("cosmosqa")
    assert hub.languages(spec, "train") == ()
    with pytest.raises(MissingData, match=r"upstream/cosmosqa/train.csv.*python -m pipelines.prepare"):
        hub.rows(spec, "train", "en")
    path = hub.root / "upstream/cosmosqa/train.csv"
    path.parent.mkdir(parents=True)
    path.write_text("id,context,question,answer0,answer1,answer2,answer3,label\nx,c,q,a,b,c,d,2\n")
    assert hub.languages(spec, "train") == ("en",) and hub.prepare(spec, "train", "en") == ""
    assert hub.rows(spec, "train", "en") == [ChoiceExample("x", "en", "c", "q", ("a", "b", "c", "d"), 2)]
    assert len(hub.fingerprint(spec, "train", "en")) == 64
    with pytest.raises(MissingData, match=r"get-mewsli-x.sh"):
        HubSource(downloads=tmp_path).rows(get_task("mewslix"), "test", "de")
