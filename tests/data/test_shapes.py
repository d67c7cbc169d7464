"""Raw rows of each data set, in every layout it comes in, and what is refused."""

import pytest

from polystilts.data.columns import to_row
from polystilts.data.shapes import RAW_COLUMNS, SHAPES
from polystilts.errors import BadRow
from polystilts.formats.values import ChoiceExample, PairExample, SentencePair, TaggingExample
from polystilts.tasks import TASKS, get_task


def row(task, values):
    return to_row(get_task(task), values, id="i", language="en", place="file:1")


def choice(premise, question, *choices, label):
    return ChoiceExample("i", "en", premise, question, choices, label)


def test_every_shape_of_the_catalogue_is_there():
    assert {spec.shape for spec in TASKS.values() if spec.shape} == set(SHAPES) == set(RAW_COLUMNS)


def test_anli_of_the_hub_and_of_the_authors():
    expected = PairExample("i", "en", "p", "h", "contradiction")
    assert row("anli", {"uid": "u", "premise": "p", "hypothesis": "h", "label": 2, "reason": ""}) == expected
    assert row("anli", {"context": "p", "statement": "h", "gold_label": "c"}) == expected
    assert row("anli", {"premise": "p", "hypothesis": "h", "label": "contradiction"}) == expected
    assert row("anli", {"premise": "p", "hypothesis": "h", "label": -1}) is None


@pytest.mark.parametrize(("label", "gold"), [("3", 3), (0, 0), ("", None)])
def test_hellaswag(label, gold):
    values = {"ctx_a": "A.", "ctx_b": "He", "ctx": "A. He", "endings": ["a", "b", "c", "d"], "label": label}
    assert row("hellaswag", values) == choice("A.", "", "He a", "He b", "He c", "He d", label=gold)


@pytest.mark.parametrize(("label", "gold"), [("2", 2), (1, 1)])
def test_cosmosqa(label, gold):
    values = {"context": "c", "question": "q", **{f"answer{n}": f"a{n}" for n in range(4)}, "label": label}
    assert row("cosmosqa", values) == choice("c", "q", "a0", "a1", "a2", "a3", label=gold)
    assert row("cosmosqa", {**values, "label": -1}) is None and row("cosmosqa", {**values, "label": "-1"}) is None
    assert row("cosmosqa", {key: values[key] for key in values if key != "label"}).label is None


def test_csqa_in_three_layouts():
    letters, texts = list("ABCDE"), ["bank", "mall", "x", "y", "z"]
    pairs = [{"label": letter, "text": text} for letter, text in zip(letters, texts, strict=True)]
    expected = choice("Where?", "", *texts, label=1)
    assert (
        row("csqa", {"question": "Where?", "choices": {"label": letters, "text": texts}, "answerKey": "B"}) == expected
    )
    assert row("csqa", {"question": "Where?", "choices": pairs, "answerKey": "B"}) == expected
    assert row("csqa", {"question": {"stem": "Where?", "choices": pairs}, "answerKey": "B"}) == expected
    assert row("csqa", {"question": {"stem": "Where?", "choices": pairs}}).label is None
    with pytest.raises(BadRow, match=r"file:1: not a row of csqa: answerKey 'F' is none of A, B, C, D, E"):
        row("csqa", {"question": "Where?", "choices": pairs, "answerKey": "F"})


@pytest.mark.parametrize("label", [{"label": "3"}, {"label": "3\n"}, {"label": 2}, {"correct": "C"}])
def test_siqa(label):
    values = {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", **label}
    assert row("siqa", values) == choice("c", "q", "a", "b", "c", label=2)


def test_defect_is_one_text():
    assert row("defect", {"func": "int f()", "target": True}) == PairExample("i", "en", "int f()", "", "vulnerable")
    assert row("defect", {"func": "int f()", "target": 0}).label == "sound"
    with pytest.raises(BadRow, match="hypothesis is empty"):
        row("mnli", {"premise": "p", "hypothesis": "", "label": 0})


def test_relations_lose_their_subtypes():
    values = {"tokens": ["my", "dog"], "deprel": ["nmod:poss", "root"]}
    assert row("deprel", values) == TaggingExample("i", "en", ("my", "dog"), ("nmod", "root"))
    with pytest.raises(BadRow, match="unknown tag 'odd'"):
        row("deprel", {"tokens": ["a"], "deprel": ["odd:x"]})


def test_the_sentence_that_holds_the_first_answer():
    context = "🐈 sat here.\nBob slept. He woke."
    start = context.index("slept")
    for answers in ({"text": ["slept"], "answer_start": [start]}, [{"text": "slept", "answer_start": start}]):
        values = {"question": "What?", "context": context, "answers": answers}
        found = row("squad_sentences", values)
        assert found == SentencePair("i", "en", "What?", "Bob slept.🐈 sat here.Bob slept. He woke.")
    for start in ([], [context.index("\n")], [999]):
        values["answers"] = {"text": ["x"] * len(start), "answer_start": start}
        assert row("squad_sentences", values) is None


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_missing_column_is_named(shape):
    task = next(spec.name for spec in TASKS.values() if spec.shape == shape)
    with pytest.raises(BadRow, match=rf"file:1: no column '\w+' for {shape}; found: other"):
        row(task, {"other": 1})


def test_labels_as_csv_writes_them():
    assert row("qqp", {"premise": "a", "hypothesis": "b", "label": "1"}).label == "duplicate"
    assert row("mnli", {"premise": "a", "hypothesis": "b", "label": "0"}).label == "entailment"
    assert row("mnli", {"premise": "a", "hypothesis": "b", "label": "-1"}) is None
    with pytest.raises(BadRow, match=r"label 3 is not in 0..2"):
        row("mnli", {"premise": "a", "hypothesis": "b", "label": "3"})
