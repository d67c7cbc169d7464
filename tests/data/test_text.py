"""Text without labels: folders, the micro world, a task's own rows."""

from pathlib import Path

import pytest

from polystilts.data.roles import checkpoint_rows
from polystilts.data.source import open_source
from polystilts.data.text import MICRO_DOCUMENTS, FolderText, MicroText, TaskText, open_text
from polystilts.errors import MissingData
from polystilts.tasks import get_task

MICRO = open_source("micro", Path("."))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text/en.txt").write_text("one\n\n two words \n", encoding="utf-8")
    (tmp_path / "text/sw.txt").write_text("moja\n", encoding="utf-8")
    (tmp_path / "text/notes.txt").write_text("not a language\n", encoding="utf-8")
    return tmp_path


def test_a_folder_has_a_language_for_each_file_and_a_document_for_each_line(folder):
    text = FolderText(folder / "text")
    assert text.languages() == ("en", "sw")
    assert text.documents("en") == ["one", "two words"]
    before = text.fingerprint("en")
    (folder / "text/en.txt").write_text("one\n", encoding="utf-8")
    assert text.fingerprint("en") != before
    with pytest.raises(MissingData, match=r"no documents in .*de\.txt"):
        text.documents("de")


def test_the_folder_of_a_local_source_or_the_one_that_is_named(folder):
    source = open_source(f"local:{folder}", Path("/"))
    assert open_text(source, "", Path("/")).documents("sw") == ["moja"]
    assert open_text(MICRO, "text", folder).languages() == ("en", "sw")
    with pytest.raises(MissingData, match="no files LANGUAGE"):
        open_text(source, str(folder / "nothing"), Path("/"))


def test_the_micro_world_says_as_much_in_every_language():
    text = open_text(MICRO, "", Path("."))
    assert isinstance(text, MicroText)
    documents = text.documents("tr")
    assert len(documents) == MICRO_DOCUMENTS and all(documents)
    assert documents == text.documents("tr") != text.documents("en")
    assert text.fingerprint("tr") != text.fingerprint("en")
    with pytest.raises(MissingData, match="no text in 'fi'"):
        text.documents("fi")


def test_the_hub_has_no_text_of_its_own(tmp_path):
    with pytest.raises(MissingData, match="give a folder of files LANGUAGE") as caught:
        open_text(open_source(f"hub:{tmp_path}", Path("/")), "", Path("/"))
    assert caught.value.param == "mlm.text"


def test_a_task_s_text_is_that_of_its_training_rows():
    task = get_task("mnli")
    documents = TaskText(MICRO, task).documents("en")
    assert len(set(documents)) == len(documents)
    row = MICRO.rows(task, "train", "en")[0]
    assert {row.premise, row.hypothesis} <= set(documents)
    few = TaskText(MICRO, task, 10).documents("en")
    assert 10 < len(few) <= 20 and set(few) <= set(documents)
    with pytest.raises(MissingData, match="in English alone"):
        TaskText(MICRO, task).documents("de")


def test_what_is_held_out_is_not_read():
    task = get_task("tydiqa")
    documents = set(TaskText(MICRO, task).documents("en"))
    held_out = {row.question for row in checkpoint_rows(MICRO, task)}
    assert held_out and not held_out & documents
