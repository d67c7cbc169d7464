"""Local files: good ones in several scripts, and every way a row can be bad, by file and line."""

import csv
import json

import pytest

from polystilts.data.local import LocalSource
from polystilts.errors import BadRow, MissingData
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks import get_task


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(folder, task, split, language):
    return LocalSource(folder).rows(get_task(task), split, language)


def refused(folder, task, split, language, line, *words):
    with pytest.raises(BadRow) as caught:
        read(folder, task, split, language)
    assert f":{line}" in caught.value.message.split(" ")[0] + " ", caught.value.message
    for word in words:
        assert word in caught.value.message


def squad(*paragraphs, title="Chat"):
    return {
        "data": [
            {
                "title": title,
                "paragraphs": [
                    {"context": context, "qas": [{"id": id, "question": question, "answers": answers}]}
                    for id, context, question, answers in paragraphs
                ],
            }
        ]
    }


# --- pairs -----------------------------------------------------------------------------------------------


def test_pairs_as_the_csv_writer_leaves_them(tmp_path):
    rows = [
        ['Er sagte "Nein".', "Er sprach,\u2028leise", "entailment"],
        ["他说：“不”。", "وقف الولد", "neutral"],
        ["ที่นี่", "यहाँ", "contradiction"],
    ]
    path = tmp_path / "xnli/dev-de.tsv"
    path.parent.mkdir()
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    assert read(tmp_path, "xnli", "validation", "de") == [
        PairExample(f"validation-{n}", "de", *row) for n, row in enumerate(rows)
    ]


def test_untranslated_rows_are_dropped_and_ids_stay_parallel(tmp_path):
    write(tmp_path, "pawsx/dev-en.tsv", "a\tb\t0\nc\td\t1\ne\tf\t0\n")
    write(tmp_path, "pawsx/dev-ko.tsv", "가\t나\t0\nNS\t라\t1\n마\t바\t0\n")
    english = read(tmp_path, "pawsx", "validation", "en")
    korean = read(tmp_path, "pawsx", "validation", "ko")
    assert [row.id for row in english] == ["validation-0", "validation-1", "validation-2"]
    assert [row.id for row in korean] == ["validation-0", "validation-2"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a\tb\tneutral\na\tb\n", 2, ["2 columns instead of 3"]),
        ("a\tb\tneutral\na\tb\tc\tneutral\n", 2, ["4 columns instead of 3"]),
        ("a\tb\n", 1, ["2 columns instead of 3"]),
        ("a\tb\tmaybe\n", 1, ["unknown label 'maybe'", "entailment"]),
        ("a\tb\tneutral\n\na\tb\tneutral\n", 2, ["0 columns"]),
        ('a\tb\tneutral\n"a\tb\tneutral\nc\td\tneutral\n', 2, ["csv"]),
        ('"a\nb"\tc\tneutral\n', 1, ["runs on to line 2"]),
        ('"a" b\tc\tneutral\n', 1, ["csv"]),
        (b"a\tb\tneutral\n\xe4\tb\tneutral\n", 2, ["UTF-8", "0xe4"]),
    ],
)
def test_bad_pairs(tmp_path, text, line, words):
    write(tmp_path, "xnli/dev-de.tsv", text)
    refused(tmp_path, "xnli", "validation", "de", line, "dev-de.tsv", *words)


def test_test_files_without_labels_give_rows_without_gold(tmp_path):
    write(tmp_path, "xnli/test-de.tsv", "a\tb\nc\td\n")
    assert [row.label for row in read(tmp_path, "xnli", "test", "de")] == [None, None]
    write(tmp_path, "xnli/test-de.tsv", "a\tb\nc\td\tneutral\n")
    refused(tmp_path, "xnli", "test", "de", 2, "3 columns instead of 2")


@pytest.mark.parametrize("text", ["", "\n\n", " \r\n"])
@pytest.mark.parametrize(
    ("task", "file"),
    [("xnli", "xnli/dev-de.tsv"), ("udpos", "udpos/dev-de.tsv"), ("xquad", "xquad/xquad.de.json")],
)
def test_empty_files(tmp_path, task, file, text):
    write(tmp_path, file, text)
    with pytest.raises(MissingData, match="is empty"):
        read(tmp_path, task, "validation", "de")


# --- tags ------------------------------------------------------------------------------------------------


def test_tagged_sentences(tmp_path):
    write(tmp_path, "udpos/dev-hi.tsv", "यह\tPRON\nहै\tAUX\n\n\nन्यू दिल्ली\tPROPN\r\n।\tPUNCT")
    assert read(tmp_path, "udpos", "validation", "hi") == [
        TaggingExample("validation-0", "hi", ("यह", "है"), ("PRON", "AUX")),
        TaggingExample("validation-1", "hi", ("न्यू दिल्ली", "।"), ("PROPN", "PUNCT")),
    ]


def test_language_prefixes_are_stripped_once_and_only_if_there(tmp_path):
    write(tmp_path, "panx/dev-de.tsv", "de:de:Ulm\tB-LOC\nde::\tO\n")
    write(tmp_path, "panx/dev-en.tsv", "Rome\tB-LOC\nen:\tO\n")
    assert read(tmp_path, "panx", "validation", "de")[0].tokens == ("de:Ulm", ":")
    assert read(tmp_path, "panx", "validation", "en")[0].tokens == ("Rome", "en:")


@pytest.mark.parametrize(
    ("task", "text", "line", "words"),
    [
        ("udpos", "a\tDET\nb\tNOUNS\n", 2, ["unknown tag 'NOUNS'"]),
        ("udpos", "a\tDET\n\nb\n", 3, ["1 columns instead of 2"]),
        ("udpos", "a\tDET\tx\n", 1, ["3 columns instead of 2"]),
        ("udpos", "a\tDET\n \tNOUN\n", 2, ["empty token"]),
        ("panx", "de:a\tO\nb\tO\n", 2, ["lacks the prefix 'de:'"]),
        ("panx", "de:a\tO\nde:\tO\n", 2, ["empty token"]),
        ("panx", "de:a\tPER\n", 1, ["unknown tag 'PER'"]),
    ],
)
def test_bad_tags(tmp_path, task, text, line, words):
    write(tmp_path, f"{task}/dev-de.tsv", text)
    refused(tmp_path, task, "validation", "de", line, "dev-de.tsv", *words)


def test_tagged_test_files_may_lack_tags(tmp_path):
    write(tmp_path, "udpos/test-de.tsv", "Das\nHaus\n\nGut\n")
    assert [row.tags for row in read(tmp_path, "udpos", "test", "de")] == [None, None]
    write(tmp_path, "udpos/test-de.tsv", "Das\nHaus\tNOUN\n")
    refused(tmp_path, "udpos", "test", "de", 2, "2 columns instead of 1")


# --- questions -------------------------------------------------------------------------------------------


def test_squad_json_with_offsets_in_code_points(tmp_path):
    context = "𝄞 Η γάτα κοιμάται 🐈 στο σπίτι."
    answer = {"text": "στο σπίτι", "answer_start": context.index("στο")}
    document = squad(("q1", context, "Πού;", [answer]))
    write(tmp_path, "xquad/xquad.el.json", json.dumps(document))
    expected = SpanExample("q1", "el", "Πού;", context, (Answer("στο σπίτι", context.index("στο")),), "Chat")
    assert read(tmp_path, "xquad", "validation", "el") == [expected]


def test_squad_ids_that_repeat_are_replaced(tmp_path):
    answer = {"text": "b", "answer_start": 2}
    document = squad(("4", "a b", "?", [answer]), ("4", "c b", "?", [answer]))
    write(tmp_path, "tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.en.train.json", json.dumps(document))
    assert [row.id for row in read(tmp_path, "tydiqa", "train", "en")] == ["train-0", "train-1"]


def test_answers_that_were_blanked_are_no_gold(tmp_path):
    document = squad(("q1", "a b", "?", [{"text": "", "answer_start": 0}]))
    write(tmp_path, "xquad/xquad.de.json", json.dumps(document))
    assert read(tmp_path, "xquad", "validation", "de")[0].answers == ()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([{"text": "b", "answer_start": 1}], ["'b' is not at answer_start 1", "q2"]),
        ([{"text": "b", "answer_start": -1}], ["not at answer_start -1"]),
        ([{"text": "b", "answer_start": 99}], ["not at answer_start 99"]),
        ([{"text": "b"}], ["one text and one answer_start"]),
        ([{"text": "b", "answer_start": "2"}], ["integer start"]),
        ([{"text": "b", "answer_start": 2}, {"text": "", "answer_start": 0}], ["needs a text"]),
    ],
)
def test_bad_answers_name_the_line_of_the_question(tmp_path, answers, words):
    good = [{"text": "b", "answer_start": 2}]
    document = squad(("q1", "a b", "?", good), ("q2", "a b", "?", answers))
    text = json.dumps(document, indent=1)
    line = next(n for n, text_line in enumerate(text.split("\n"), 1) if '"q2"' in text_line)
    write(tmp_path, "xquad/xquad.de.json", text)
    refused(tmp_path, "xquad", "validation", "de", line, "xquad.de.json", *words)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('{"data":\n[}', 2, "bad json"),
        ('{"daten": []}', 1, "not SQuAD's json"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": "q"}]}]}]}', 1, "context"),
        ("[1]", 1, "not SQuAD's json"),
    ],
)
def test_bad_squad_json(tmp_path, text, line, word):
    write(tmp_path, "xquad/xquad.de.json", text)
    refused(tmp_path, "xquad", "validation", "de", line, word)


# --- choices ---------------------------------------------------------------------------------------------

CHOICE = {
    "premise": "Ağladı.",
    "choice1": "Düştü.",
    "choice2": "Güldü.",
    "question": "cause",
    "label": 0,
    "idx": 7,
}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_choices(tmp_path):
    write(tmp_path, "xcopa/val-tr.jsonl", lines(CHOICE))
    expected = ChoiceExample("validation-0", "tr", "Ağladı.", "cause", ("Düştü.", "Güldü."), 0)
    assert read(tmp_path, "xcopa", "validation", "tr") == [expected]


def test_a_test_file_with_one_label_throughout_is_read_without_labels(tmp_path, caplog):
    write(tmp_path, "xcopa/test-tr.jsonl", lines(*[CHOICE] * 20))
    assert {row.label for row in read(tmp_path, "xcopa", "test", "tr")} == {None}
    assert "test-tr.jsonl" in caplog.text and "hidden" in caplog.text
    write(tmp_path, "xcopa/test-tr.jsonl", lines(*[CHOICE] * 19, {**CHOICE, "label": 1}))
    assert {row.label for row in read(tmp_path, "xcopa", "test", "tr")} == {0, 1}
    write(tmp_path, "xcopa/val-tr.jsonl", lines(*[CHOICE] * 20))
    assert {row.label for row in read(tmp_path, "xcopa", "validation", "tr")} == {0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"premise": \n', ["bad json"]),
        ("[1]\n", ["not a json object"]),
        (lines({**CHOICE, "label": 2}), ["label 2 is not in 0..1"]),
        (lines({**CHOICE, "question": "why"}), ["unknown question 'why'"]),
        (lines({key: CHOICE[key] for key in CHOICE if key != "premise"}), ["no column 'premise'"]),
        (lines({**CHOICE, "premise": 3}), ["premise must be a text, not int"]),
        (lines({key: CHOICE[key] for key in CHOICE if key != "choice2"}), ["choice1 and choice2"]),
        (lines({key: CHOICE[key] for key in CHOICE if key != "label"}), ["no column 'label'"]),
    ],
)
def test_bad_choices(tmp_path, text, words):
    write(tmp_path, "xcopa/val-tr.jsonl", lines(CHOICE) + text)
    refused(tmp_path, "xcopa", "validation", "tr", 2, "val-tr.jsonl", *words)


# --- bitext ----------------------------------------------------------------------------------------------


def test_bitext(tmp_path):
    write(tmp_path, "tatoeba/tatoeba.cmn-eng.cmn", "你好。\n再见。\n")
    write(tmp_path, "tatoeba/tatoeba.cmn-eng.eng", "Hello.\nBye.")
    assert read(tmp_path, "tatoeba", "validation", "zh") == [
        SentencePair("validation-0", "zh", "你好。", "Hello."),
        SentencePair("validation-1", "zh", "再见。", "Bye."),
    ]


@pytest.mark.parametrize(
    ("foreign", "english", "line", "words"),
    [
        ("a\nb\nc\n", "x\ny\n", 3, ["3 lines", "2: not aligned"]),
        ("a\n", "x\ny\n", 2, ["tatoeba.deu-eng.eng:2", "not aligned"]),
        ("a\n \n", "x\ny\n", 2, ["empty sentence"]),
    ],
)
def test_bad_bitext(tmp_path, foreign, english, line, words):
    write(tmp_path, "tatoeba/tatoeba.deu-eng.deu", foreign)
    write(tmp_path, "tatoeba/tatoeba.deu-eng.eng", english)
    refused(tmp_path, "tatoeba", "validation", "de", line, *words)
