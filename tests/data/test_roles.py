"""Roles: no reported row is used for a choice, and an id plays the same role in every language."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from polystilts.data.roles import (
    checkpoint_rows,
    evaluation_languages,
    evaluation_rows,
    for_selection,
    half_role,
    labelled_rows,
    missing_languages,
    pool_rows,
    resampling_units,
    training_rows,
)
from polystilts.errors import InvalidValue, MissingData
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    RetrievalItem,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.tasks import get_task


@dataclass
class FakeSource:
    """Rows by (task, split, language)."""

    data: dict = field(default_factory=dict)
    name: str = "fake"

    def languages(self, spec, split):
        return tuple(language for language in spec.languages if (spec.name, split, language) in self.data)

    def rows(self, spec, split, language):
        return list(self.data[spec.name, split, language])

    def fingerprint(self, spec, split, language):
        return "0" * 64


def pairs(split, language, n, label="neutral"):
    return [PairExample(f"{split}-{i}", language, f"{split} p{i}", f"h{i}", label) for i in range(n)]


def sentences(split, n, language="en", tags=("NOUN",)):
    return [TaggingExample(f"{split}-{i}", language, (f"{split}{i}",), tags) for i in range(n)]


def questions(ids, titles=("",)):
    return [
        SpanExample(id, "en", "?", f"context {i // 3}", (Answer("c", 0),), titles[i % len(titles)])
        for i, id in enumerate(ids)
    ]


def ids(rows, role=None):
    return {row.id for found, row in rows if role in (None, found)}


def test_two_splits_are_choice_and_report():
    spec = get_task("xnli")
    source = FakeSource({("xnli", s, "de"): pairs(s, "de", 5) for s in ("validation", "test")})
    rows = evaluation_rows(source, spec, "de")
    assert ids(rows, "choice") == {f"validation-{i}" for i in range(5)}
    assert ids(rows, "report") == {f"test-{i}" for i in range(5)}
    assert evaluation_languages(source, spec) == ("de",)
    assert missing_languages(source, spec) == tuple(code for code in spec.languages if code != "de")


def test_one_split_is_halved_by_id_alike_in_every_language():
    spec = get_task("xnli")
    source = FakeSource({("xnli", "validation", code): pairs("validation", code, 400) for code in ("de", "zh")})
    german, chinese = (evaluation_rows(source, spec, code) for code in ("de", "zh"))
    assert ids(german, "choice") == ids(chinese, "choice")
    assert not ids(german, "choice") & ids(german, "report")
    assert ids(german) == {f"validation-{i}" for i in range(400)}
    assert 150 < len(ids(german, "choice")) < 250
    assert all(role == half_role(row.id) for role, row in german)


def test_halves_never_move():
    assert [half_role(f"validation-{i}") for i in range(4)] == ["choice", "report", "report", "report"]


def test_a_split_with_hidden_labels_counts_as_not_there():
    spec = get_task("xnli")
    hidden = pairs("test", "de", 50, label=None)
    source = FakeSource({("xnli", "validation", "de"): pairs("validation", "de", 50), ("xnli", "test", "de"): hidden})
    rows = evaluation_rows(source, spec, "de")
    assert ids(rows) == {f"validation-{i}" for i in range(50)}
    assert set(Counter(role for role, _ in rows)) == {"choice", "report"}
    del source.data["xnli", "validation", "de"]
    with pytest.raises(MissingData, match="no labelled xnli rows in 'de'"):
        evaluation_rows(source, spec, "de")


def test_hidden_labels_are_told_from_rows_that_are_not_there():
    spec = get_task("xnli")
    source = FakeSource({("xnli", "test", "de"): pairs("test", "de", 5, label=None)})
    assert labelled_rows(source, spec, "de") == []
    with pytest.raises(MissingData, match="no labelled xnli rows in 'fr'"):
        labelled_rows(source, spec, "fr")
    source.data["xnli", "validation", "de"] = pairs("validation", "de", 5)
    assert labelled_rows(source, spec, "de", limit=1) == evaluation_rows(source, spec, "de", limit=1)


def test_rows_with_hidden_labels_choose_no_checkpoint():
    """XTREME blanks the answers of XQuAD and strips the tags of test files; both are still reported by it."""
    squad = questions([f"q{i}" for i in range(30)])
    second = [SpanExample(f"new{i}", "en", "?", row.context, ()) for i, row in enumerate(squad)]
    source = FakeSource(
        {
            ("squad_v1", "validation", "en"): squad,
            ("squad_v2", "validation", "en"): second,
            ("xquad", "validation", "en"): [replace(row, answers=None) for row in squad[:6]],
        }
    )
    assert checkpoint_rows(source, get_task("squad_v1")) == checkpoint_rows(source, get_task("xquad")) == squad[6:]
    assert checkpoint_rows(source, get_task("squad_v2")) == second[6:]
    dev = sentences("validation", 100)
    chosen = next(row for row in dev if half_role(row.id) == "choice")
    source = FakeSource({("udpos", "train", "en"): sentences("train", 20), ("udpos", "validation", "en"): dev})
    assert chosen in checkpoint_rows(source, get_task("udpos"))
    source.data["udpos", "test", "en"] = [TaggingExample("test-0", "en", chosen.tokens)]
    rows = checkpoint_rows(source, get_task("udpos"))
    assert rows and chosen not in rows
    assert {half_role(row.id) for row in rows} == {"choice"}


def test_limit_takes_the_same_ids_of_both_roles_in_every_language():
    spec = get_task("xnli")
    source = FakeSource({("xnli", "validation", code): pairs("validation", code, 300) for code in ("de", "zh")})
    german, chinese = (evaluation_rows(source, spec, code, limit=10) for code in ("de", "zh"))
    assert Counter(role for role, _ in german) == {"choice": 10, "report": 10}
    assert ids(german) == ids(chinese)
    assert [row.id for _, row in german] == sorted(ids(german), key=lambda id: int(id.split("-")[1]))
    assert ids(german) < ids(evaluation_rows(source, spec, "de", limit=11))
    with pytest.raises(InvalidValue, match="at least 1"):
        evaluation_rows(source, spec, "de", limit=0)


def test_checkpoint_rows_are_the_training_tasks_development_rows():
    splits = {("mnli", s, "en"): pairs(s, "en", 20) for s in ("train", "validation")}
    source = FakeSource(splits)
    assert checkpoint_rows(source, get_task("xnli")) == splits["mnli", "validation", "en"]
    assert training_rows(source, get_task("xnli")) == splits["mnli", "train", "en"]
    assert checkpoint_rows(source, get_task("mnli")) == checkpoint_rows(source, get_task("xnli"))


def test_xquad_is_kept_out_of_squads_checkpoint_rows():
    squad = questions([f"q{i}" for i in range(100)])
    source = FakeSource({("squad_v1", "train", "en"): questions(["t"]), ("squad_v1", "validation", "en"): squad})
    assert len(checkpoint_rows(source, get_task("squad_v1"))) == 100
    source.data["xquad", "validation", "en"] = squad[20:60]
    for name in ("squad_v1", "xquad"):
        rows = checkpoint_rows(source, get_task(name))
        assert len(rows) == 60
        assert not {row.id for row in rows} & {row.id for row in squad[20:60]}


def test_report_rows_choose_no_checkpoint_where_one_split_serves_both():
    spec = get_task("udpos")
    dev = sentences("validation", 200)
    # The last sentence stands in the treebank twice, under a reported and a chosen id.
    twin = next(row for row in dev if half_role(row.id) == "report")
    copies = [TaggingExample(f"copy-{i}", "en", twin.tokens, twin.tags) for i in range(8)]
    assert {half_role(row.id) for row in copies} == {"choice", "report"}
    source = FakeSource({("udpos", "train", "en"): sentences("train", 20), ("udpos", "validation", "en"): dev + copies})
    rows = checkpoint_rows(source, spec)
    reported = [row for role, row in evaluation_rows(source, spec, "en") if role == "report"]
    assert rows and not {row.tokens for row in rows} & {row.tokens for row in reported}
    assert {half_role(row.id) for row in rows} == {"choice"}
    source.data["udpos", "test", "en"] = sentences("test", 30)
    assert checkpoint_rows(source, spec) == dev + copies, "with a test split all development rows may choose"


def test_english_xcopa_is_copas_validation_file():
    validation = [ChoiceExample(f"validation-{i}", "en", f"p{i}", "cause", ("a", "b"), 0) for i in range(100)]
    source = FakeSource({("copa", "train", "en"): validation[:1], ("copa", "validation", "en"): validation})
    assert len(checkpoint_rows(source, get_task("copa"))) == 100
    source.data["xcopa", "validation", "en"] = validation
    rows = checkpoint_rows(source, get_task("xcopa"))
    assert rows == checkpoint_rows(source, get_task("copa"))
    assert rows == [row for role, row in evaluation_rows(source, get_task("xcopa"), "en") if role == "choice"]


def test_tydiqa_holds_out_a_tenth_of_its_titles():
    titles = tuple(f"page {i}" for i in range(97))
    rows = questions([f"q{i}" for i in range(1940)], titles)
    source = FakeSource({("tydiqa", "train", "en"): rows, ("tydiqa", "validation", "en"): questions(["d1", "d2"])})
    held, trained = checkpoint_rows(source, get_task("tydiqa")), training_rows(source, get_task("tydiqa"))
    assert len(held) + len(trained) == 1940 and 60 < len(held) < 400
    assert not {row.title for row in held} & {row.title for row in trained}


def test_titles_that_were_dropped_leave_the_context_as_the_group():
    source = FakeSource({("tydiqa", "train", "en"): questions([f"q{i}" for i in range(600)])})
    held, trained = checkpoint_rows(source, get_task("tydiqa")), training_rows(source, get_task("tydiqa"))
    assert held and trained and not {row.context for row in held} & {row.context for row in trained}


def test_a_source_without_the_checkpoint_split_holds_out_training_rows():
    source = FakeSource({("mnli", "train", "en"): pairs("train", "en", 500)})
    held, trained = checkpoint_rows(source, get_task("mnli")), training_rows(source, get_task("mnli"))
    assert len(held) + len(trained) == 500 and 25 < len(held) < 80
    assert not {row.id for row in held} & {row.id for row in trained}


def test_what_is_missing_is_named():
    source = FakeSource()
    with pytest.raises(MissingData, match="no English train rows for mnli"):
        training_rows(source, get_task("xnli"))
    with pytest.raises(MissingData, match="tatoeba is scored without training"):
        training_rows(source, get_task("tatoeba"))
    source.data["mnli", "train", "en"] = pairs("train", "en", 3, label=None)
    with pytest.raises(MissingData, match="have no labels"):
        training_rows(source, get_task("mnli"))


def test_a_selection_refuses_report_rows():
    chosen, reported = pairs("validation", "de", 1)[0], pairs("test", "de", 1)[0]
    assert for_selection([("choice", chosen), ("checkpoint", chosen)]) == [chosen, chosen]
    with pytest.raises(InvalidValue, match="'test-0' in 'de' is a report row"):
        for_selection([("choice", chosen), ("report", reported)])


def test_units_are_paragraphs_where_the_spec_says_so():
    rows = questions(["b", "a", "c", "e", "d", "f"])
    assert resampling_units(get_task("xquad"), rows) == {
        "a": "a",
        "b": "a",
        "c": "a",
        "d": "d",
        "e": "d",
        "f": "d",
    }
    assert resampling_units(get_task("udpos"), sentences("test", 2)) == {
        "test-0": "test-0",
        "test-1": "test-1",
    }


def collection(n, language="de", keys=True):
    queries = [RetrievalItem(f"q{i}", language, "?", True, (f"q{i}",) if keys else ()) for i in range(n)]
    return [*queries, *(RetrievalItem(f"{language}{i}", language, "a", False, (f"q{i}",)) for i in range(n))]


def test_candidates_stand_in_the_pool_of_either_half_whatever_the_limit():
    source = FakeSource({("lareqa", "validation", "de"): collection(60)})
    rows = evaluation_rows(source, get_task("lareqa"), "de", limit=5)
    assert Counter(role for role, _ in rows) == {"choice": 5, "report": 5, "both": 60}
    assert all(role == (half_role(row.id) if row.query else "both") for role, row in rows)
    assert pool_rows(source, get_task("lareqa")) == []
    source.data["mewslix", "candidates", ""] = collection(3)[3:]
    assert len(pool_rows(source, get_task("mewslix"))) == 3


def test_candidates_of_two_splits_have_the_role_of_their_split_and_hidden_pairs_count_as_not_there():
    splits = {("bucc2018", split, "de"): collection(4) for split in ("validation", "test")}
    rows = evaluation_rows(FakeSource(splits), get_task("bucc2018"), "de")
    assert Counter((role, row.query) for role, row in rows) == {
        (role, query): 4 for role in ("choice", "report") for query in (True, False)
    }
    splits["bucc2018", "test", "de"] = collection(4, keys=False)
    rows = evaluation_rows(FakeSource(splits), get_task("bucc2018"), "de")
    assert len(rows) == 8 and {role for role, row in rows if not row.query} == {"both"}


def test_xquads_questions_choose_no_checkpoint_of_any_task_on_squad():
    squad = questions([f"q{i}" for i in range(30)])
    pairs_of = [SentencePair(row.id, "en", row.question, row.context) for row in squad]
    second = [SpanExample(f"new{i}", "en", "?", row.context, ()) for i, row in enumerate(squad)]
    source = FakeSource(
        {
            ("squad_v1", "validation", "en"): squad,
            ("squad_sentences", "validation", "en"): pairs_of,
            ("squad_v2", "validation", "en"): second,
            ("xquad", "validation", "en"): squad[:4],
            ("lareqa", "validation", "en"): collection(6, "en"),
        }
    )
    inside = {f"q{i}" for i in range(6)}
    for task in ("squad_v1", "squad_sentences", "lareqa", "xquad"):
        assert {row.id for row in checkpoint_rows(source, get_task(task))} == {row.id for row in squad} - inside
    # SQuAD 2.0: the first four questions are about the first two paragraphs, of three questions each.
    assert [row.id for row in checkpoint_rows(source, get_task("squad_v2"))] == [f"new{i}" for i in range(6, 30)]


def test_translated_sets_train_in_their_languages_and_choose_in_english():
    data = {("mnli_translated", "train", code): pairs("train", code, 200) for code in ("de", "zh")}
    data |= {("mnli", "train", "en"): pairs("train", "en", 200), ("mnli", "validation", "en"): pairs("v", "en", 9)}
    source, spec = FakeSource(data), get_task("mnli_translated")
    assert Counter(row.language for row in training_rows(source, spec)) == {"de": 200, "zh": 200}
    assert checkpoint_rows(source, spec) == data["mnli", "validation", "en"]
    del source.data["mnli", "validation", "en"]
    held, trained = checkpoint_rows(source, spec), training_rows(source, spec)
    assert {row.language for row in held} == {"en"} and not ids_of(held) & ids_of(trained)
    with pytest.raises(MissingData, match="no 'ar' train rows for mnli_translated"):
        training_rows(FakeSource(), spec)


def test_several_training_languages():
    data = {("udpos", "train", code): sentences("train", 3, code) for code in ("en", "de", "sw")}
    spec = replace(get_task("udpos"), train_languages=("en", "de", "fr"))
    assert [row.language for row in training_rows(FakeSource(data), spec)] == ["en"] * 3 + ["de"] * 3
    assert {row.language for row in training_rows(FakeSource(data), get_task("udpos"))} == {"en"}


def test_a_task_with_parts_has_the_rows_of_its_parts():
    parts = ("anli", "mnli", "snli")
    data = {(part, split, "en"): pairs(split, "en", 40) for part in parts for split in ("train", "validation")}
    del data["mnli", "validation", "en"]
    source, spec = FakeSource(data), get_task("anli_plus")
    trained, held = training_rows(source, spec), checkpoint_rows(source, spec)
    assert len(held) + len(trained) == 40 * 5 and not ids_of(held) & ids_of(trained)
    assert Counter(row.id.partition(":")[0] for row in trained)["anli"] == 40
    del source.data["snli", "train", "en"]
    with pytest.raises(MissingData, match="no English train rows for snli"):
        training_rows(source, spec)


def ids_of(rows):
    return {row.id for row in rows}
