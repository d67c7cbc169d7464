"""Every task of the catalogue has a miniature with the real set's columns, label order and quirks."""

from __future__ import annotations

import ast
from collections import Counter
from typing import Any

import pytest

from polystilts.data.micro import LANGUAGES, MicroWorld, plots
from polystilts.data.micro.grammar import lexicon
from polystilts.data.micro.miniatures import CCG_TAGS, NONE_ABOVE
from polystilts.data.micro.world import BLOCKS
from polystilts.data.micro_source import MicroSource
from polystilts.data.source import RememberedRows
from polystilts.errors import MissingData
from polystilts.formats.values import (
    ChoiceExample,
    PairExample,
    RetrievalItem,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks import TASKS, get_task
from polystilts.tasks.catalogue import UD_RELATIONS, training_tasks
from tests.world.micro import Remembered

#: Columns of the hub's copies, or of the library's readers where the hub has none.
COLUMNS = {
    "anli": "uid premise hypothesis label reason",
    "snli": "premise hypothesis label",
    "qqp": "question1 question2 label idx",
    "squad_v2": "id title context question answers",
    "hellaswag": "ind activity_label ctx_a ctx_b ctx endings source_id split split_type label",
    "cosmosqa": "id context question answer0 answer1 answer2 answer3 label",
    "csqa": "id question question_concept choices answerKey",
    "siqa": "context question answerA answerB answerC label",
    "ccg": "tokens tags",
    "deprel": "tokens deprel",
    "cosqa": "idx doc code code_tokens docstring_tokens label",
    "defect": "id func target project commit_id",
    "clone": "id id1 id2 func1 func2 label",
    "codesearch": "id repo path func_name original_string language code code_tokens docstring docstring_tokens sha url "
    "docstring_summary parameters return_statement argument_list identifier nwo score",
    "mlqa": "context question answers id",
    "tydiqa": "id title context question answers",
    "bucc2018": "id text query keys",
    "lareqa": "id text query keys",
    "mewslix": "id text query keys",
    "mewslix_pairs": "query candidate",
    "masakhaner": "tokens tags",
    "mnli_translated": "premise hypothesis label",
    "pawsx_translated": "id sentence1 sentence2 label",
    "squad_translated": "context question answers id",
}
#: Label column and every value it takes, with the type.
LABELS = {
    "anli": ("label", {0, 1, 2}),
    "snli": ("label", {-1, 0, 1, 2}),
    "qqp": ("label", {0, 1}),
    "hellaswag": ("label", set("0123")),
    "cosmosqa": ("label", {0, 1, 2, 3}),
    "csqa": ("answerKey", set("ABCDE")),
    "siqa": ("label", set("123")),
    "cosqa": ("label", {0, 1}),
    "defect": ("target", {False, True}),
    "clone": ("label", {False, True}),
    "mnli_translated": ("label", {0, 1, 2}),
    "pawsx_translated": ("label", {0, 1}),
}
KINDS = {
    "pair": PairExample,
    "choice": ChoiceExample,
    "tagging": TaggingExample,
    "span": SpanExample,
    "sentence": SentencePair,
}


@pytest.fixture(scope="module")
def world() -> Remembered:
    return Remembered()


@pytest.fixture(scope="module")
def source(world: Remembered) -> MicroSource:
    source = MicroSource(seed=world.seed)
    source.__dict__["world"] = world
    return source


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_have_the_real_columns(world: Remembered, name: str) -> None:
    rows = [row for _, row in world.every_row(name)]
    assert {tuple(row) for row in rows} == {tuple(COLUMNS[name].split())}
    for row in rows:
        for column in (
            "premise",
            "hypothesis",
            "context",
            "question",
            "text",
            "query",
            "candidate",
            "code",
            "docstring",
        ):
            assert not isinstance(row.get(column), str) or row[column].strip()


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_encoded_as_the_real_ones_and_about_equally_frequent(world: Remembered, name: str) -> None:
    column, values = LABELS[name]
    counts = Counter(row[column] for _, row in world.every_row(name))
    assert set(counts) == values
    assert {type(value) for value in counts} == {type(value) for value in values}
    counts.pop(-1, None)
    assert max(counts.values()) <= 1.35 * min(counts.values())


@pytest.mark.parametrize("spec", training_tasks(), ids=lambda spec: str(spec.name))
def test_every_training_task_has_rows(source: MicroSource, spec: Any) -> None:
    rows_of = RememberedRows(source)
    training = rows_of.languages(spec, "train")
    assert set(training) & set(spec.train_languages)
    assert "en" in training or spec.translates
    for language in training:
        rows = rows_of.rows(spec, "train", language)
        assert len(rows) >= 400
        assert {type(row) for row in rows} == {KINDS[spec.format]}
        assert len({row.id for row in rows}) == len(rows)
    if not spec.translates and spec.checkpoint_split:
        assert "en" in rows_of.languages(spec, spec.checkpoint_split)


@pytest.mark.parametrize("spec", [spec for spec in TASKS.values() if spec.is_target], ids=lambda spec: str(spec.name))
def test_every_target_has_rows_where_it_chooses_and_where_it_reports(source: MicroSource, spec: Any) -> None:
    for split in spec.evaluation_splits:
        languages = source.languages(spec, split)
        assert languages
        for language in languages:
            assert len(source.rows(spec, split, language)) >= 60
            assert source.fingerprint(spec, split, language) == source.fingerprint(spec, split, language)


def test_labels_are_the_specs_and_ccgs_own(source: MicroSource) -> None:
    assert source.labels(get_task("snli")) == ("entailment", "neutral", "contradiction")
    assert source.labels(get_task("squad_v1")) == ()
    assert source.labels(get_task("ccg")) == CCG_TAGS
    rows = source.rows(get_task("ccg"), "train", "en")
    assert {tag for row in rows for tag in row.tags} == set(CCG_TAGS)  # type: ignore[union-attr]


def test_tasks_and_splits_without_rows(source: MicroSource) -> None:
    assert source.languages(get_task("xnli"), "train") == ()
    assert source.languages(get_task("snli"), "train") == ("en",)
    with pytest.raises(MissingData, match="no xnli train rows in 'en'"):
        source.rows(get_task("xnli"), "train", "en")


def test_anli_plus_joins_its_parts(source: MicroSource) -> None:
    spec, whole = get_task("anli_plus"), RememberedRows(source)
    assert whole.languages(spec, "train") == ("en",)
    assert whole.languages(spec, "test") == ()
    parts = {part: source.rows(get_task(part), "train", "en") for part in spec.parts}
    assert all(parts.values())
    expected = [f"{part}:{row.id}" for part, rows in parts.items() for row in rows]
    assert [row.id for row in whole.rows(spec, "train", "en")] == expected


def test_rows_that_the_sets_own_rules_drop_are_there_and_are_dropped(source: MicroSource, world: Remembered) -> None:
    for split in ("train", "validation"):
        raw = world.rows("snli", split, "en")
        unlabelled = sum(row["label"] == -1 for row in raw)
        assert unlabelled >= 2
        assert len(source.rows(get_task("snli"), split, "en")) == len(raw) - unlabelled
    spec = get_task("pawsx_translated")
    for language in source.languages(spec, "train"):
        raw = world.rows("pawsx_translated", "train", language)
        missing = {row["id"] for row in raw if "NS" in (row["sentence1"], row["sentence2"])}
        assert 10 <= len(missing) <= 60
        kept = {row.id for row in source.rows(spec, "train", language)}
        assert kept == {f"train-{row['id'] - 1}" for row in raw if row["id"] not in missing}


def test_some_questions_have_no_answer(source: MicroSource, world: Remembered) -> None:
    for split in ("train", "validation"):
        raw = world.rows("squad_v2", split, "en")
        empty = [row for row in raw if row["answers"] == {"text": [], "answer_start": []}]
        assert 0.2 < len(empty) / len(raw) < 0.45
        inside = [set(row["question"].rstrip("?").lower().split()[1:]) <= _words(row["context"]) for row in empty]
        assert any(inside) and not all(inside)
        rows = source.rows(get_task("squad_v2"), split, "en")
        assert [row.answers == () for row in rows] == [row in empty for row in raw]  # type: ignore[union-attr]


def _words(text: str) -> set[str]:
    return set(text.lower().replace(".", "").split()) | {"who", "what", "where", "when"}


@pytest.mark.parametrize("name", ["squad_v2", "mlqa", "tydiqa", "squad_translated"])
def test_answers_lie_where_they_say(world: Remembered, name: str) -> None:
    for _, row in world.every_row(name):
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert text and row["context"][start : start + len(text)] == text


def test_choices_are_different_and_the_right_one_is_marked(source: MicroSource, world: Remembered) -> None:
    sizes = {"hellaswag": 4, "cosmosqa": 4, "csqa": 5, "siqa": 3}
    for name, size in sizes.items():
        for row in source.rows(get_task(name), "train", "en"):
            assert isinstance(row, ChoiceExample)
            assert len(set(row.choices)) == size and row.label in range(size)
    contexts = {raw["ctx_b"] == "" for raw in world.rows("hellaswag", "train", "en")}
    assert contexts == {True, False}, "WikiHow's rows and ActivityNet's"
    for raw in world.rows("hellaswag", "train", "en"):
        assert raw["ctx"] == f"{raw['ctx_a']} {raw['ctx_b']}".strip()
    none = [NONE_ABOVE in raw.values() for raw in world.rows("cosmosqa", "train", "en")]
    assert 0.7 < sum(none) / len(none) < 0.9
    table = lexicon()
    for raw in world.rows("csqa", "train", "en"):
        verb = table["verb"][raw["question_concept"]]
        fits = [table["object"][text].classes[0] in verb.classes for text in raw["choices"]["text"]]
        assert fits.count(True) == 1 and "ABCDE"[fits.index(True)] == raw["answerKey"]


def test_riddles_have_one_right_choice(source: MicroSource) -> None:
    """By the lexicon: the partner of what the person that the choice names does or is."""
    import numpy as np

    rng = np.random.default_rng(0)
    for draw in (plots.ending, plots.motive, plots.story):
        for _ in range(200):
            riddle = draw(rng)
            other = "effect" if riddle.question == "cause" else "cause"
            true = {(event.subject, lexicon()[other][event.predicate].link) for event in riddle.story}
            right = [choice is not None and (choice.subject, choice.predicate) in true for choice in riddle.choices]
            if riddle.choices[riddle.label] is None:
                assert not any(right)
            else:
                assert right.index(True) == riddle.label and right.count(True) == 1


def test_tags_belong_to_their_words(world: Remembered) -> None:
    for name, column in (("ccg", "tags"), ("deprel", "deprel"), ("masakhaner", "tags")):
        assert all(len(row["tokens"]) == len(row[column]) for _, row in world.every_row(name))
    relations = {relation for _, row in world.every_row("deprel") for relation in row["deprel"]}
    assert "obl:unmarked" in relations, "English treebanks have subtypes"
    assert {relation.partition(":")[0] for relation in relations} <= set(UD_RELATIONS)
    for _, row in world.every_row("deprel"):
        assert row["deprel"].count("root") == 1
        assert row["deprel"].count("conj") == row["deprel"].count("cc") <= 1


@pytest.mark.parametrize(
    ("name", "columns"),
    [("cosqa", ["code"]), ("defect", ["func"]), ("clone", ["func1", "func2"]), ("codesearch", ["code"])],
)
def test_code_is_python(world: Remembered, name: str, columns: list[str]) -> None:
    for _, row in world.every_row(name):
        for column in columns:
            (function,) = ast.parse(row[column]).body
            assert isinstance(function, ast.FunctionDef)


def test_defects_cannot_be_seen_from_the_words_alone(world: Remembered) -> None:
    table = lexicon()
    for _, row in world.every_row("defect"):
        body = ast.parse(row["func"]).body[0].body
        calls = [(node.value.func.id, node.value.args[0].id) for node in body]
        fit = [table["object"][thing].classes[0] in table["verb"][verb].classes for verb, thing in calls]
        assert row["target"] is not all(fit)
        (one, thing), (two, other) = calls
        exchanged = [table["object"][t].classes[0] in table["verb"][v].classes for v, t in ((one, other), (two, thing))]
        assert all(fit) or all(exchanged)


@pytest.mark.parametrize("spec", [spec for spec in TASKS.values() if spec.parallel], ids=lambda spec: str(spec.name))
def test_ids_of_parallel_sets_agree_over_languages(source: MicroSource, spec: Any) -> None:
    for split in ("train", "validation", "test"):
        ids = []
        for language in source.languages(spec, split):
            rows = source.rows(spec, split, language)
            ids.append({row.id for row in rows if not isinstance(row, RetrievalItem) or row.query})
        if spec.name == "pawsx_translated":  # the sentences that nobody translated are others in every language
            assert all(len(there ^ ids[0]) <= 120 for there in ids)
        else:
            assert all(there == ids[0] for there in ids)


@pytest.mark.parametrize("name", ["mnli_translated", "pawsx_translated", "squad_translated"])
def test_row_i_of_a_translated_training_set_is_row_i_of_the_english_one(world: Remembered, name: str) -> None:
    english = world.rows(get_task(name).translates, "train", "en")
    assert world.splits(name)["train"] == LANGUAGES[1:]
    for language in LANGUAGES[1:]:
        rows = world.rows(name, "train", language)
        assert len(rows) == len(english)
        for row, original in zip(rows, english, strict=True):
            assert all(row[key] == original[key] for key in ("label", "id") if key in row and key in original)
            if row.get("question"):
                assert len(row["answers"]["text"]) == len(original["answers"]["text"])
                assert row["question"] != original["question"]


def test_training_and_evaluation_texts_are_different_in_english(world: Remembered) -> None:
    """Families that are drawn apart could still say the same by chance."""
    reading = {row["context"] for name in ("squad_v1", "squad_v2", "tydiqa") for row in world.rows(name, "train", "en")}
    for name, split in (
        ("squad_v2", "validation"),
        ("xquad", "validation"),
        ("mlqa", "test"),
        ("tydiqa", "validation"),
    ):
        assert not reading & {row["context"] for row in world.rows(name, split, "en")}
    sentences = {str(row["tokens"]) for name in ("ccg", "deprel") for row in world.rows(name, "train", "en")}
    for name, split in (("ccg", "validation"), ("deprel", "validation"), ("udpos", "validation"), ("udpos", "test")):
        assert not sentences & {str(row["tokens"]) for row in world.rows(name, split, "en")}
    mentions = {row["query"] for row in world.rows("mewslix_pairs", "train", "en")}
    for split in ("validation", "test"):
        assert not mentions & {row["text"] for row in world.rows("mewslix", split, "en")}
    for name, keys in (
        ("qqp", ("question1", "question2")),
        ("siqa", ("context", "answerA", "answerB", "answerC")),
        ("csqa", ("question", "choices")),
        ("clone", ("func1", "func2")),
        ("codesearch", ("docstring",)),
    ):
        seen = {str([row[key] for key in keys]) for row in world.rows(name, "train", "en")}
        assert not seen & {str([row[key] for key in keys]) for row in world.rows(name, "validation", "en")}


def test_tydiqa_names_its_languages_in_the_ids_and_has_many_titles(world: Remembered) -> None:
    contexts: list[set[str]] = []
    for language, prefix in (("en", "english-"), ("ru", "russian-"), ("sw", "swahili-")):
        rows = world.rows("tydiqa", "validation", language)
        assert all(row["id"].startswith(prefix) for row in rows)
        contexts.append({row["id"].partition("-")[2] for row in rows})
    assert not contexts[0] & contexts[1] and not contexts[1] & contexts[2], "every language has its own questions"
    titles = {row["title"] for row in world.rows("tydiqa", "train", "en")}
    assert len(titles) > 100, "a tenth of them is held out"


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("language", ["de", "ru", "zh", "es"])
def test_bucc_hides_pairs_among_distractors(source: MicroSource, split: str, language: str) -> None:
    rows = source.rows(get_task("bucc2018"), split, language)
    sides = [[row for row in rows if isinstance(row, RetrievalItem) and row.query is query] for query in (True, False)]
    assert len({row.id for row in rows}) == len(rows)
    for side, prefix in zip(sides, (language, "en"), strict=True):
        assert all(row.id.startswith(f"{prefix}-") for row in side)
        assert any(not row.keys for row in side) and max(Counter(row.text for row in side).values()) > 1
    keys = [{key for row in side for key in row.keys} for side in sides]
    assert keys[0] == keys[1] and all(len(row.keys) <= 1 for side in sides for row in side)
    for key in keys[0]:
        assert {row.id for side in sides for row in side if key in row.keys} == set(key.split("\t"))
    order = [[key for row in side for key in row.keys] for side in sides]
    assert sum(a == b for a, b in zip(*order, strict=True)) <= 0.2 * len(order[0]), "places say nothing"


def test_lareqa_asks_xquads_questions_of_sentences_with_their_paragraphs(source: MicroSource) -> None:
    spec = get_task("lareqa")
    candidates: set[str] = set()
    for language in LANGUAGES:
        rows = source.rows(spec, "validation", language)
        xquad = {row.id: row for row in source.rows(get_task("xquad"), "validation", language)}
        queries = [row for row in rows if isinstance(row, RetrievalItem) and row.query]
        answers = {key: row for row in rows if isinstance(row, RetrievalItem) and not row.query for key in row.keys}
        assert 60 <= len(queries) <= 100
        assert sum(not row.query for row in rows) == 2 * len(queries)  # type: ignore[union-attr]
        for query in queries:
            paragraph = xquad[query.id]
            assert isinstance(paragraph, SpanExample) and paragraph.answers
            assert query.text == paragraph.question and query.keys == (query.id,)
            text = answers[query.id].text
            sentence = text.removesuffix(paragraph.context)
            assert sentence + paragraph.context == text
            assert sentence.lower() in paragraph.context.lower() and paragraph.answers[0].text in sentence
        ids = {row.id for row in rows if not row.query}  # type: ignore[union-attr]
        assert not ids & candidates, "candidates of all languages are ranked together"
        candidates |= ids


def test_mewslix_mentions_find_entities_that_training_does_not_name(source: MicroSource, world: Remembered) -> None:
    spec = get_task("mewslix")
    assert source.languages(spec, spec.pool_split) == ("",)
    entities = {row.id: row for row in source.rows(spec, spec.pool_split, "")}
    assert len(entities) == len(plots.entities()) == BLOCKS["mewslix"]["candidates"].stop
    assert len({entity.language for entity in plots.entities()}) == len(LANGUAGES)
    assert len({row.text for row in entities.values()}) == len(entities)  # type: ignore[union-attr]
    trained = {entity.fact for entity in plots.entities()[::2]}
    named: set[str] = set()
    for split in ("validation", "test"):
        assert source.languages(spec, split) == ("de", "en", "es", "tr", "ru", "sw", "zh", "hi")
        for language in source.languages(spec, split):
            for row in source.rows(spec, split, language):
                assert isinstance(row, RetrievalItem) and row.query
                (key,) = row.keys
                named.add(key)
                assert key in entities
                name, _, sentence = row.text.partition(":")
                inside = sentence.partition("{")[2].partition("}")[0].strip()
                assert name == inside != ""
    facts = {entity.id: entity for entity in plots.entities()}
    assert not {facts[key].fact for key in named} & trained
    kinds = {"place" if facts[key].role == "place" else facts[key].fact.surname != "" for key in named}
    assert kinds == {"place", True, False}, "places, persons and organisations"
    assert all("{" in row["query"] for row in world.rows("mewslix_pairs", "train", "en"))


def test_masakhaner_is_swahili_panx(source: MicroSource) -> None:
    rows = source.rows(get_task("masakhaner"), "validation", "sw")
    assert source.languages(get_task("masakhaner"), "validation") == ("sw",)
    assert {tag for row in rows for tag in row.tags} == set(get_task("panx").labels)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", COLUMNS)
def test_same_seed_same_rows(world: Remembered, name: str) -> None:
    split, languages = next(iter(world.splits(name).items()))
    rows = world.rows(name, split, languages[-1])
    assert MicroWorld(0).rows(name, split, languages[-1]) == rows
    if name in ("snli", "ccg", "bucc2018", "mewslix"):
        assert MicroWorld(1).rows(name, split, languages[-1]) != rows
