"""Local files: good ones in several scripts, and every way a row can be bad, by file and line."""

import csv
import json

import pytest

from polystilts.data import readers
from polystilts.data.local import LocalSource
from polystilts.data.roles import checkpoint_rows, training_rows
from polystilts.errors import BadRow, MissingData
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    RetrievalItem,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks import TASKS, get_task


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


# --- translated training sets ----------------------------------------------------------------------------

TRANSLATED = "xnli/XNLI-Translated/en-de-translated.tsv"


def test_xtremes_translations_take_the_ids_of_their_english_rows(tmp_path):
    english = '"He said ""no""."\tIt rains .\tneutral\nOne.\tTwo.\tentailment\nOne.\tTwo.\tcontradiction\n'
    write(tmp_path, "xnli/train-en.tsv", english)
    rows = [
        ("One.", "Two.", "Eins.", "Zwei.", "entailment"),
        ('He said "no".', "It rains.", 'Er sagte "nein".', "Es regnet.", "contradictory"),
        ("One.", "Two.", "Eins!", "Zwei!", "neutral"),
    ]
    path = write(tmp_path, TRANSLATED, "".join("\t".join(row) + "\n" for row in rows))
    assert read(tmp_path, "mnli_translated", "train", "de") == [
        PairExample("train-1", "de", "Eins.", "Zwei.", "entailment"),
        PairExample("train-0", "de", 'Er sagte "nein".', "Es regnet.", "contradiction"),
        PairExample("train-2", "de", "Eins!", "Zwei!", "neutral"),
    ]
    source, spec = LocalSource(tmp_path), get_task("mnli_translated")
    assert source.languages(spec, "train") == ("de",)
    before = source.fingerprint(spec, "train", "de")
    write(tmp_path, "xnli/train-en.tsv", "One.\tTwo.\tentailment\n" + english)
    assert source.fingerprint(spec, "train", "de") != before, "the English file gives the ids"
    (tmp_path / "xnli/train-en.tsv").unlink()
    assert source.languages(spec, "train") == ()
    with pytest.raises(MissingData, match=r"no file .*train-de.tsv nor .*train-en.tsv \(mnli_translated train in 'de'"):
        source.rows(spec, "train", "de")
    assert path.is_file()


def test_what_is_held_out_in_english_is_held_out_of_xtremes_translations(tmp_path):
    """Their rows stand in another order than the English ones."""
    rows = [(f"premise {n}", f"hypothesis {n}", "neutral") for n in range(300)]
    write(tmp_path, "xnli/train-en.tsv", "".join("\t".join(row) + "\n" for row in rows))
    translated = [(p, h, f"de {p}", f"de {h}", label) for p, h, label in reversed(rows)]
    write(tmp_path, TRANSLATED, "".join("\t".join(row) + "\n" for row in translated))
    source, spec = LocalSource(tmp_path), get_task("mnli_translated")
    held, trained = checkpoint_rows(source, spec), training_rows(source, spec)
    assert held and {row.language for row in held} == {"en"} and {row.language for row in trained} == {"de"}
    assert len(held) + len(trained) == 300
    assert not {row.premise for row in held} & {row.premise.removeprefix("de ") for row in trained}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("One.\tTwo.\tEins.\tZwei.\tneutral\nEins.\tZwei.\tneutral\n", 2, "3 columns instead of 5"),
        ("Three.\tTwo.\tDrei.\tZwei.\tneutral\n", 1, "its English pair is not in"),
        ("One.\tTwo.\tEins.\tZwei.\tneutral\n" * 2, 2, "or not as often"),
        ("One.\tTwo.\tEins.\tZwei.\tmaybe\n", 1, "unknown label 'maybe'"),
    ],
)
def test_bad_translations(tmp_path, text, line, word):
    write(tmp_path, "xnli/train-en.tsv", "One.\tTwo.\tneutral\n")
    write(tmp_path, TRANSLATED, text)
    refused(tmp_path, "mnli_translated", "train", "de", line, "en-de-translated.tsv", word)


def test_layouts_are_looked_for_in_order(tmp_path):
    expected = [PairExample("train-0", "de", "a", "b", "1")]
    write(tmp_path, "pawsx/train-en.tsv", "x\ty\t1\nNS\tz\t0\n")
    write(tmp_path, "pawsx/translated/en-de-translated.tsv", "x\ty\ta\tb\t1\n")
    assert read(tmp_path, "pawsx_translated", "train", "de") == expected
    table = 'id\tsentence1\tsentence2\tlabel\n1\tc "d\tb\t1\n2\tNS\tb\t0\n3\te\tf\t0\n'
    write(tmp_path, "x-final/de/translated_train.tsv", table)
    rows = read(tmp_path, "pawsx_translated", "train", "de")
    assert [(row.id, row.premise) for row in rows] == [("train-0", 'c "d'), ("train-2", "e")]
    write(tmp_path, "pawsx/train-de.tsv", "g\th\t0\n")
    assert [row.premise for row in read(tmp_path, "pawsx_translated", "train", "de")] == ["g"]


def test_every_layout_has_a_reader():
    for spec in TASKS.values():
        layout = spec.local
        while layout is not None:
            assert layout.reader in readers.READERS
            assert set(layout.splits) <= set(spec.local.splits)
            layout = layout.otherwise


# --- what may be wrong with any file ---------------------------------------------------------------------


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
    assert read(tmp_path, "xquad", "validation", "de")[0].answers is None


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


def test_choices_under_the_names_of_xtremes_download(tmp_path):
    write(tmp_path, "xcopa/val.tr.jsonl", lines(CHOICE, CHOICE))
    write(tmp_path, "xcopa/val-et.jsonl", lines(CHOICE))
    write(tmp_path, "xcopa/train.en.jsonl", lines(CHOICE))
    source = LocalSource(tmp_path)
    assert source.languages(get_task("xcopa"), "validation") == ("et", "tr")
    assert [row.language for row in read(tmp_path, "copa", "train", "en")] == ["en"]
    assert len(read(tmp_path, "xcopa", "validation", "tr")) == 2
    write(tmp_path, "xcopa/val-tr.jsonl", lines(CHOICE))
    assert len(read(tmp_path, "xcopa", "validation", "tr")) == 1, "the first layout that is there"
    with pytest.raises(MissingData, match=r"no file .*val-zh.jsonl nor .*val.zh.jsonl \(xcopa validation in 'zh'\)"):
        read(tmp_path, "xcopa", "validation", "zh")
    # COPA's test file comes without labels.
    write(tmp_path, "xcopa/test.en.jsonl", lines({key: CHOICE[key] for key in CHOICE if key != "label"}))
    assert [row.label for row in read(tmp_path, "xcopa", "test", "en")] == [None]


def test_a_test_file_with_one_label_throughout_is_read_without_labels(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(readers, "_warned", set())
    write(tmp_path, "xcopa/test-tr.jsonl", lines(*[CHOICE] * 20))
    assert {row.label for row in read(tmp_path, "xcopa", "test", "tr")} == {None}
    assert "test-tr.jsonl" in caplog.text and "hidden" in caplog.text
    write(tmp_path, "xcopa/test-et.jsonl", lines(*[CHOICE] * 20))
    assert {row.label for row in read(tmp_path, "xcopa", "test", "et")} == {None}
    assert len(caplog.records) == 1, "said once a task"
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
        SentencePair("validation-0", "zh", "Hello.", "你好。"),
        SentencePair("validation-1", "zh", "Bye.", "再见。"),
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


# --- what every text file may have -----------------------------------------------------------------------


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    write(tmp_path, "xnli/dev-de.tsv", b"\xef\xbb\xbfa\tb\tneutral\r\nc\td\tneutral\r\n")
    assert [row.premise for row in read(tmp_path, "xnli", "validation", "de")] == ["a", "c"]
    write(tmp_path, "udpos/dev-de.tsv", b"\xef\xbb\xbfDas\tDET\r\n\r\nGut\tADJ\r\n")
    assert [row.tokens for row in read(tmp_path, "udpos", "validation", "de")] == [("Das",), ("Gut",)]


def test_an_id_that_stands_twice_is_named_with_both_places(tmp_path):
    answer = [{"text": "b", "answer_start": 2}]
    text = json.dumps(squad(("q", "a b", "?", answer), ("q", "c b", "?", answer)), indent=1)
    write(tmp_path, "xquad/xquad.de.json", text)
    with pytest.raises(BadRow, match=r"xquad.de.json:\d+ .*the id 'q' stands at .*xquad.de.json:\d+ .* too"):
        read(tmp_path, "xquad", "validation", "de")


# --- tables ----------------------------------------------------------------------------------------------


def test_tables_by_suffix(tmp_path):
    write(tmp_path, "qqp/train.tsv", 'question1\tquestion2\tis_duplicate\nSay "a\tb\t1\n')
    assert read(tmp_path, "qqp", "train", "en") == [PairExample("train-0", "en", 'Say "a', "b", "duplicate")]
    text = '[\n {"doc": "q", "code": "c", "label": 1},\n {"doc": "q", "code": "d\\n", "label": 0}\n]'
    write(tmp_path, "cosqa/cosqa-train.json", text)
    assert [row.label for row in read(tmp_path, "cosqa", "train", "en")] == ["1", "0"]
    write(tmp_path, "clone/train.jsonl", lines({"func1": "a", "func2": "b", "label": True}))
    assert read(tmp_path, "clone", "train", "en")[0].label == "clone"
    header = "id,context,question,answer0,answer1,answer2,answer3,label\n"
    write(tmp_path, "cosmosqa/train.csv", header + 'x,"one\ntwo, three",q,a,b,c,d,2\n')
    row = read(tmp_path, "cosmosqa", "train", "en")[0]
    assert (row.id, row.premise, row.label) == ("x", "one\ntwo, three", 2)


def test_a_pattern_reads_its_files_in_the_order_of_their_names(tmp_path):
    for n in (2, 1):
        write(tmp_path, f"anli/anli_r{n}_dev.csv", f"context,statement,gold_label\np{n},h,e\n")
    rows = read(tmp_path, "anli", "validation", "en")
    assert [(row.id, row.premise) for row in rows] == [("validation-0", "p1"), ("validation-1", "p2")]


@pytest.mark.parametrize(
    ("task", "file", "text", "line", "words"),
    [
        ("anli", "anli/anli_r1_dev.csv", "context,statement,gold_label\np,h\n", 2, ["2 columns instead of 3"]),
        ("anli", "anli/anli_r1_dev.csv", 'context,statement,gold_label\n"p"x,h,e\n', 2, ["not csv"]),
        ("anli", "anli/anli_r1_dev.csv", "context,statement,gold_label\np,h,x\n", 2, ["unknown label 'x'"]),
        ("cosqa", "cosqa/cosqa-dev.json", '[\n{"doc": "a"},\n3]', 2, ["no column 'label'"]),
        ("cosqa", "cosqa/cosqa-dev.json", '[\n{"doc": "a"}\n', 3, ["bad json"]),
        ("cosqa", "cosqa/cosqa-dev.json", "{}", 1, ["not a json list"]),
        ("clone", "clone/valid.jsonl", '\n{"a": \n', 2, ["bad json"]),
        ("clone", "clone/valid.jsonl", "[]\n", 1, ["not a json object"]),
    ],
)
def test_bad_tables(tmp_path, task, file, text, line, words):
    write(tmp_path, file, text)
    refused(tmp_path, task, "validation", "en", line, *words)


# --- tags of other layouts -------------------------------------------------------------------------------


def test_ccg_takes_its_labels_from_their_file(tmp_path):
    write(tmp_path, "ccg/train.tsv", "He sleeps\tNP S\\\\NP\n".replace("\\\\", "\\"))
    with pytest.raises(MissingData, match="LDC2005T13"):
        read(tmp_path, "ccg", "train", "en")
    write(tmp_path, "ccg/tags_to_id.json", json.dumps({"NP": 0, "S\\NP": 1}))
    assert read(tmp_path, "ccg", "train", "en")[0].tags == ("NP", "S\\NP")
    for text, word in (("He\tN\n", "unknown tag 'N'"), ("He is\tNP\n", "2 tokens and 1 tags"), ("He\n", "1 columns")):
        write(tmp_path, "ccg/train.tsv", text)
        refused(tmp_path, "ccg", "train", "en", 1, word)


def test_words_of_a_treebank(tmp_path):
    def word(id, form, relation):
        return "\t".join([id, form, "_", "_", "_", "_", "0", relation, "_", "_"])

    first = [word("1-2", "can't", "_"), word("1", "ca", "aux"), word("2", "n't", "advmod"), word("2.1", "x", "_")]
    text = "\n".join(["# text", *first, word("3", "go", "nmod:poss"), "", "# next", word("1", "Yes", "root"), ""])
    write(tmp_path, "ud/en_ewt-ud-train.conllu", text)
    rows = read(tmp_path, "deprel", "train", "en")
    assert [row.tokens for row in rows] == [("ca", "n't", "go"), ("Yes",)]
    assert rows[0].tags == ("aux", "advmod", "nmod")
    write(tmp_path, "ud/en_ewt-ud-train.conllu", "1\tYes\n")
    refused(tmp_path, "deprel", "train", "en", 1, "2 columns instead of 10")


def test_masakhaner(tmp_path):
    write(tmp_path, "masakhaner-transfer/swa/dev.txt", "Juma B-PER\nyuko O\n\nDar B-LOC\n")
    assert [row.tags for row in read(tmp_path, "masakhaner", "validation", "sw")] == [("B-PER", "O"), ("B-LOC",)]
    write(tmp_path, "masakhaner-transfer/swa/dev.txt", "Juma B-DATE\n")
    refused(tmp_path, "masakhaner", "validation", "sw", 1, "unknown tag 'B-DATE'")


# --- collections -----------------------------------------------------------------------------------------


def test_bucc(tmp_path):
    write(tmp_path, "bucc2018/de-en.dev.de", "de-1\tHallo\nde-2\tNein\n")
    write(tmp_path, "bucc2018/de-en.dev.en", "en-1\tHello\n")
    hidden = read(tmp_path, "bucc2018", "validation", "de")
    assert [row.keys for row in hidden] == [(), (), ()]
    write(tmp_path, "bucc2018/de-en.dev.gold", "de-1\ten-1\n")
    assert read(tmp_path, "bucc2018", "validation", "de") == [
        RetrievalItem("de-1", "de", "Hallo", True, ("de-1\ten-1",)),
        RetrievalItem("de-2", "de", "Nein", True, ()),
        RetrievalItem("en-1", "en", "Hello", False, ("de-1\ten-1",)),
    ]
    write(tmp_path, "bucc2018/de-en.dev.gold", "de-1\ten-9\n")
    refused(tmp_path, "bucc2018", "validation", "de", 1, "dev.gold:1", "no sentence with the id 'en-9'")
    write(tmp_path, "bucc2018/de-en.dev.de", "de-1 Hallo\n")
    refused(tmp_path, "bucc2018", "validation", "de", 1, "1 columns instead of 2 (id, sentence)")


def xquad_r(answers):
    context = "One cat.\nTwo cats. One cat."
    questions = [{"id": f"q{n}", "question": "?", "answers": [answer]} for n, answer in enumerate(answers)]
    breaks = [[0, 8], [9, 18], [19, 27]]
    paragraph = {"context": context, "sentence_breaks": breaks, "qas": questions}
    return json.dumps({"data": [{"paragraphs": [paragraph]}]})


def test_lareqa(tmp_path):
    answers = [("Two", 9), ("cat", 4), ("\n", 8)]
    write(
        tmp_path,
        "lareqa/xquad-r/de.json",
        xquad_r([{"text": text, "answer_start": start} for text, start in answers]),
    )
    rows = read(tmp_path, "lareqa", "validation", "de")
    whole = "One cat.Two cats. One cat."
    # The sentence of q1 stands twice in its paragraph; q2's answer starts between two sentences.
    assert rows == [
        RetrievalItem("q0", "de", "?", True, ("q0",)),
        RetrievalItem("q1", "de", "?", True, ("q1",)),
        RetrievalItem("de_1_0", "de", f"One cat.{whole}", False, ("q1",)),
        RetrievalItem("de_1_1", "de", f"Two cats.{whole}", False, ("q0",)),
        RetrievalItem("de_1_2", "de", f"One cat.{whole}", False, ("q1",)),
    ]
    write(tmp_path, "lareqa/xquad-r/de.json", xquad_r([{"text": "Two", "answer_start": 3}]))
    refused(tmp_path, "lareqa", "validation", "de", 1, "answer 'Two' is not at answer_start 3", "q0")


def mewsli(language, start=4):
    text = "In {a} Bonn it\nrained. Next."
    mention = {
        "example_id": f"m-{language}",
        "entity_id": "Q1",
        "mention_span": {"start": text.index("Bonn") + start - 4, "end": text.index("Bonn") + start, "text": "Bonn"},
    }
    spans = [{"start": 0, "end": text.index(" Next")}, {"start": text.index("Next"), "end": len(text)}]
    context = {"language": language, "text": text, "sentence_spans": spans}
    return context, mention


def test_mewslix(tmp_path):
    rows = []
    for language in ("de", "en"):
        context, mention = mewsli(language)
        rows.append({"context": context, "mentions": [mention]})
    write(tmp_path, "mewslix/wikinews_mentions-dev.jsonl", lines(*rows))
    expected = "Bonn: In (a) { Bonn } it rained."
    assert read(tmp_path, "mewslix", "validation", "de") == [RetrievalItem("m-de", "de", expected, True, ("Q1",))]
    with pytest.raises(MissingData, match="no mewslix rows in 'ta'"):
        read(tmp_path, "mewslix", "validation", "ta")
    entity = {"entity_id": "Q1", "description": "Bonn is a\ncity.", "sentence_spans": [{"start": 0, "end": 15}]}
    write(tmp_path, "mewslix/candidate_set_entities.jsonl", lines(entity))
    source = LocalSource(tmp_path)
    assert source.languages(get_task("mewslix"), "candidates") == ("",)
    pool = source.rows(get_task("mewslix"), "candidates", "")
    assert pool == [RetrievalItem("Q1", "", "Bonn is a city.", False, ("Q1",))]
    context, mention = mewsli("en")
    pair = {"contextual_mention": {"context": context, "mention": mention}, "entity": entity}
    write(tmp_path, "mewslix/wikipedia_pairs-train.jsonl", lines(pair))
    assert read(tmp_path, "mewslix_pairs", "train", "en") == [SentencePair("m-en", "en", expected, "Bonn is a city.")]
    context, mention = mewsli("de", start=5)
    write(tmp_path, "mewslix/wikinews_mentions-dev.jsonl", lines({"context": context, "mentions": [mention]}))
    refused(tmp_path, "mewslix", "validation", "de", 1, "mention 'Bonn' is not at start 8")
    write(tmp_path, "mewslix/wikinews_mentions-dev.jsonl", lines({"context": context, "mentions": [{}]}))
    refused(tmp_path, "mewslix", "validation", "de", 1, "not Mewsli-X's json")
