"""Opening sources, the languages they have, and fingerprints."""

import pytest

from polystilts.data.hub import REVISIONS_FILE, HubSource
from polystilts.data.local import LocalSource
from polystilts.data.source import RememberedRows, open_source
from polystilts.errors import BadRow, MissingData, UnknownName
from polystilts.tasks import TASKS, get_task


def test_open_source(tmp_path):
    (tmp_path / "data").mkdir()
    local = open_source("local:data", tmp_path)
    assert isinstance(local, LocalSource) and local.folder == tmp_path / "data" and local.name == "local:data"
    assert open_source(f"local:{tmp_path}", tmp_path / "elsewhere").name == f"local:{tmp_path}"
    assert open_source("micro", tmp_path).name == "micro"
    (tmp_path / REVISIONS_FILE).write_text('{"google/xquad": "abc"}')
    hub = open_source("hub", tmp_path)
    assert isinstance(hub, HubSource) and hub.root is None and hub.revisions == {"google/xquad": "abc"}
    assert open_source("hub:data", tmp_path).root == tmp_path / "data"


def test_a_missing_folder_is_named_by_its_absolute_path(tmp_path):
    with pytest.raises(MissingData) as caught:
        open_source("local:../nowhere", tmp_path)
    assert str(tmp_path.parent / "nowhere") in caught.value.message
    assert caught.value.param == "source"


@pytest.mark.parametrize("text", ["mikro", "local", "local:", "hub:", ""])
def test_unknown_sources(tmp_path, text):
    with pytest.raises(UnknownName, match="unknown source"):
        open_source(text, tmp_path)


def test_a_broken_revisions_file_is_refused(tmp_path):
    (tmp_path / REVISIONS_FILE).write_text("[1]")
    with pytest.raises(BadRow, match="json object"):
        open_source("hub", tmp_path)


def test_local_languages_are_those_of_the_files(tmp_path):
    for name in ("xnli/dev-zh.tsv", "xnli/dev-ar.tsv", "xnli/dev-xx.tsv", "tatoeba/tatoeba.deu-eng.deu"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a\tb\tneutral\n")
    source = LocalSource(tmp_path)
    assert source.languages(get_task("xnli"), "validation") == ("ar", "zh")
    assert source.languages(get_task("xnli"), "test") == ()
    assert source.languages(get_task("xnli"), "dev") == ()
    assert source.languages(get_task("tatoeba"), "validation") == (), "the English side is missing"
    with pytest.raises(MissingData, match=f"no file {tmp_path}/xnli/dev-de.tsv"):
        source.rows(get_task("xnli"), "validation", "de")


def test_local_fingerprints_follow_the_files(tmp_path):
    source, spec = LocalSource(tmp_path), get_task("tatoeba")
    (tmp_path / "tatoeba").mkdir()
    for side in ("deu", "eng"):
        (tmp_path / f"tatoeba/tatoeba.deu-eng.{side}").write_text(side)
    before = source.fingerprint(spec, "validation", "de")
    assert len(before) == 64 and before == LocalSource(tmp_path).fingerprint(spec, "validation", "de")
    (tmp_path / "tatoeba/tatoeba.deu-eng.eng").write_text("changed")
    assert source.fingerprint(spec, "validation", "de") != before


class FakeWorld:
    def splits(self, name):
        return {"validation": ("de", "sw"), "train": ("en",)} if name == "udpos" else {}

    def rows(self, name, split, language):
        return [{"tokens": ["Haus", "."], "pos_tags": [7, "PUNCT"]}]

    def digest(self):
        return "d"


def test_micro_source_wraps_the_world():
    source = open_source("micro", None)
    source.__dict__["world"] = FakeWorld()
    spec = get_task("udpos")
    assert source.languages(spec, "validation") == ("de", "sw"), "languages beyond the real set come last"
    assert source.languages(get_task("tydiqa"), "train") == ()
    (row,) = source.rows(spec, "validation", "de")
    assert (row.id, row.tags) == ("validation-0", ("NOUN", "PUNCT"))
    digests = {source.fingerprint(spec, "validation", language) for language in ("de", "sw")}
    assert len(digests) == 2
    with pytest.raises(MissingData, match="micro world has no udpos test rows"):
        source.rows(spec, "test", "de")


def test_every_row_of_the_micro_world_can_be_read(tmp_path):
    source = open_source("micro", tmp_path)
    seen = 0
    for spec in TASKS.values():
        for split in ("train", "validation", "test"):
            ids = {}
            for language in source.languages(spec, split):
                rows = source.rows(spec, split, language)
                # Candidates of a collection are each language's own.
                ids[language] = [row.id for row in rows if getattr(row, "query", True)]
                assert len({row.id for row in rows}) == len(rows) > 0
                seen += 1
            if spec.parallel and split != "train":
                assert len({tuple(there) for there in ids.values()}) <= 1
    assert seen > 20


def nli(folder, name, *rows):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))


def test_rows_of_parts_follow_each_other_and_say_where_they_are_from(tmp_path):
    nli(tmp_path, "anli/anli_r1_train.csv", "context,statement,gold_label", "p,h,e")
    nli(tmp_path, "anli/anli_r2_train.csv", "context,statement,gold_label", "p2,h2,c")
    nli(tmp_path, "xnli/train-en.tsv", "a\tb\tneutral")
    spec, source = get_task("anli_plus"), RememberedRows(LocalSource(tmp_path))
    assert source.languages(spec, "train") == (), "without SNLI it is another task"
    nli(tmp_path, "snli/snli_train.jsonl", '{"premise": "c", "hypothesis": "d", "label": 0}')
    assert source.languages(spec, "train") == ("en",)
    rows = source.rows(spec, "train", "en")
    assert [row.id for row in rows] == ["anli:train-0", "anli:train-1", "mnli:train-0", "snli:train-0"]
    assert [row.label for row in rows] == ["entailment", "contradiction", "neutral", "entailment"]
    before = source.fingerprint(spec, "train", "en")
    nli(tmp_path, "anli/anli_r2_train.csv", "context,statement,gold_label", "p2,h2,n")
    assert RememberedRows(LocalSource(tmp_path)).fingerprint(spec, "train", "en") != before


def test_labels_are_the_specs_or_those_of_a_file(tmp_path):
    source, spec = RememberedRows(LocalSource(tmp_path)), get_task("ccg")
    assert source.labels(get_task("xnli")) == get_task("xnli").labels
    with pytest.raises(MissingData, match=r"no file .*tags_to_id.json.*Linguistic Data Consortium"):
        source.labels(spec)
    nli(tmp_path, "ccg/tags_to_id.json", '{"N": 1, "NP": 0}')
    assert source.labels(spec) == ("NP", "N")
    nli(tmp_path, "ccg/tags_to_id.json", '{"N": 2, "NP": 0}')
    with pytest.raises(BadRow, match="ids must be 0 to 1, each once"):
        source.labels(spec)


def test_bad_rows_are_an_error_or_left_out_and_counted(tmp_path, caplog):
    nli(tmp_path, "xnli/dev-de.tsv", "a\tb\tneutral", "a\tb", "c\td\tmaybe", "e\tf\tneutral")
    nli(tmp_path, "xnli/dev-zh.tsv", "a\tb", "c\td")
    spec = get_task("xnli")
    with pytest.raises(BadRow, match=r"dev-de\.tsv:2: 2 columns instead of 3"):
        open_source(f"local:{tmp_path}", tmp_path).rows(spec, "validation", "de")
    source = RememberedRows(open_source(f"local:{tmp_path}", tmp_path, on_bad_row="skip"))
    rows = source.rows(spec, "validation", "de")
    assert [row.id for row in rows] == ["validation-0", "validation-3"], "ids stay parallel"
    assert source.skipped == {str(tmp_path / "xnli/dev-de.tsv"): 2}
    assert "dev-de.tsv: 2 bad rows left out" in caplog.text and "2 columns instead of 3" in caplog.text
    with pytest.raises(BadRow, match=r"dev-zh\.tsv:1"):
        source.rows(spec, "validation", "zh")  # no row is good: another kind of file
    with pytest.raises(UnknownName, match="unknown choice 'ignore'"):
        open_source("micro", tmp_path, on_bad_row="ignore")
