"""Evaluation over a source in memory: rows, roles, scores, retrieval."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pytest

from polystilts import evaluation
from polystilts.data.local import LocalSource
from polystilts.data.roles import evaluation_languages, half_role, training_rows
from polystilts.errors import InvalidValue, MissingData
from polystilts.evaluation import bank_rows, evaluate, evaluate_trivial, score_rows, scored_rows, settings_for
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import (
    Answer,
    PairExample,
    RetrievalItem,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.metrics import get_metric
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TASKS
from polystilts.tasks.spec import TaskSpec
from tests.world.encoder import letter_tokenizer

PAIR = TaskSpec("pairs", "Pairs", "pair", "accuracy", ("en", "de"), ("yes", "no"))
TAGGING = TaskSpec("tags", "Tags", "tagging", "pos_f1", ("en",), ("N", "V"), choice_split="", report_split="test")
SENTENCE = TaskSpec("pool", "Pool", "sentence", "retrieval", ("de",), choice_split="", report_split="test")
SPAN = TaskSpec("spans", "Spans", "span", "qa", ("en",), choice_split="validation", unit="paragraph")


class Memory:
    """A source over given rows, by split and language."""

    name = "memory"

    def __init__(self, rows: Mapping[tuple[str, str], Sequence[Row]]) -> None:
        self._rows = dict(rows)

    def languages(self, spec: TaskSpec, split: str) -> tuple[str, ...]:
        return tuple(language for at, language in self._rows if at == split)

    def rows(self, spec: TaskSpec, split: str, language: str) -> list[Row]:
        return list(self._rows[split, language])

    def fingerprint(self, spec: TaskSpec, split: str, language: str) -> str:
        return "0" * 64


def pair(id, language, text, label):
    return PairExample(id, language, text, "z", label)


def predictor_of(settings, table, default):
    backend = FakeBackend(default, table)
    return Predictor(make_format(Pieces(letter_tokenizer()), settings), backend)


def letter(text):
    return 4 + ord(text) - ord("a")


@pytest.fixture
def pairs():
    """'a' is answered with yes, 'b' with no."""
    table = {
        (0, letter(text), 2, 2, letter("z"), 2): {"logits": np.float32(logits)}
        for text, logits in {"a": [1, 0], "b": [0, 1]}.items()
    }
    return predictor_of(settings_for(PAIR), table, {"logits": (2,)})


@pytest.fixture
def source():
    return Memory(
        {
            ("validation", "en"): [pair("v0", "en", "a", "yes"), pair("v1", "en", "b", "yes")],
            ("test", "en"): [pair("t0", "en", "b", "no"), pair("t1", "en", "a", None)],
            ("test", "de"): [pair(f"t{i}", "de", "a", "yes") for i in range(8)],
        }
    )


def test_every_labelled_row_becomes_a_row_of_the_bank(pairs, source):
    rows = evaluate(pairs, source, PAIR, ["en"], recipe="mnli", seed=4).rows
    assert [(r.id, r.role, r.gold_value, r.predicted_value, r.score) for r in rows] == [
        ("v0", "choice", "yes", "yes", 1.0),
        ("v1", "choice", "yes", "no", 0.0),
        ("t0", "report", "no", "no", 1.0),
    ]
    assert {(r.task, r.recipe, r.seed, r.language) for r in rows} == {("pairs", "mnli", 4, "en")}


def test_one_split_alone_is_halved_by_id(pairs, source):
    rows = evaluate(pairs, source, PAIR, ["de"], recipe="r", seed=0).rows
    assert [r.role for r in rows] == [half_role(f"t{i}") for i in range(8)]
    assert {r.role for r in rows} == {"choice", "report"}


def test_languages_come_in_the_order_asked(pairs, source):
    rows = evaluate(pairs, source, PAIR, ["de", "en"], recipe="r", seed=0).rows
    assert [r.language for r in rows] == ["de"] * 8 + ["en"] * 3


def test_a_language_without_rows(pairs, source):
    with pytest.raises(MissingData, match="no labelled pairs rows in 'fr'"):
        evaluate(pairs, source, PAIR, ["fr"], recipe="r", seed=0)


def test_languages_with_hidden_labels_are_left_out_by_name(tmp_path):
    """kk, th, tl and yo in XTREME's download: test files without tags, and no others."""
    spec = TASKS["udpos"]
    (tmp_path / "udpos").mkdir()
    for name, text in {
        "train-en": "go\tVERB\n",
        "dev-en": "a\tNOUN\n\nb\tVERB\n",
        "test-en": "a\n\nb\n",
        "dev-de": "a\tNOUN\n",
        "test-kk": "a\nb\n",
        "test-yo": "a\n\nb\n",
    }.items():
        (tmp_path / f"udpos/{name}.tsv").write_text(text)
    source = LocalSource(tmp_path)
    languages = evaluation_languages(source, spec)
    assert languages == ("de", "en", "kk", "yo")
    rows = scored_rows(source, spec, languages)
    assert rows.unlabelled == ("kk", "yo")
    assert list(rows.rows) == ["de", "en"] and len(rows) == 3
    predictor = predictor_of(settings_for(spec), {}, {"logits": (-1, len(spec.labels))})
    for given in (rows, None):
        bank = evaluate(predictor, source, spec, languages, recipe="r", seed=0, rows=given).rows
        trivial = evaluate_trivial(source, spec, training_rows(source, spec), languages, rows=given)
        assert [r.language for r in bank] == [r.language for r in trivial] == ["de", "en", "en"]
    with pytest.raises(MissingData, match="hides the labels of udpos in every language: kk, yo"):
        scored_rows(source, spec, ["kk", "yo"])


def test_what_is_not_there_or_empty_is_not_taken_for_hidden(tmp_path):
    (tmp_path / "udpos").mkdir()
    (tmp_path / "udpos/dev-de.tsv").write_text("a\tNOUN\n")
    source, spec = LocalSource(tmp_path), TASKS["udpos"]
    with pytest.raises(MissingData, match="no labelled udpos rows in 'kk'"):
        scored_rows(source, spec, ["de", "kk"])
    (tmp_path / "udpos/test-kk.tsv").write_text("")
    with pytest.raises(MissingData, match="is empty"):
        scored_rows(source, spec, ["de", "kk"])


@pytest.mark.parametrize("metric", ["mining_f1", "map_at_20"])
def test_collections_with_hidden_pairs_are_left_out_by_name(metric):
    spec = TaskSpec("found", "Found", "sentence", metric, ("de", "fr"), unit="query", pooling="pooler")
    hidden = [query("1", "a", language="fr"), candidate("x", "d")]
    splits = {
        ("validation", "de"): [query("1", "a", "1"), candidate("d", "d", "1")],
        ("test", "fr"): hidden,
    }
    rows = scored_rows(Memory(splits), spec, ["de", "fr"])
    assert rows.unlabelled == ("fr",) and len(rows) == 2
    assert {row.language for row in evaluate_trivial(Memory(splits), spec, [], ["de", "fr"], rows=rows)} == {"de"}
    predictor = dual({"a": [1, 0], "d": [1, 0]})
    found = evaluate(predictor, Memory(splits), spec, ["de", "fr"], recipe="r", seed=0, rows=rows)
    assert [(row.language, row.id) for row in found.rows] == [("de", "1")]


def test_limit_is_of_each_role(pairs, source):
    rows = evaluate(pairs, source, PAIR, ["de", "en"], recipe="r", seed=0, limit=1).rows
    assert [(r.language, r.role) for r in rows if r.language == "en"] == [("en", "choice"), ("en", "report")]
    assert sorted(r.role for r in rows if r.language == "de") == ["choice", "report"]


def test_progress_counts_rows(pairs, source):
    done = []
    evaluate(pairs, source, PAIR, ["en", "de"], recipe="r", seed=0, progress=done.append)
    assert sum(done) == 11


def test_score_rows_is_the_main_metric(pairs, source):
    rows = [*source.rows(PAIR, "validation", "en"), source.rows(PAIR, "test", "en")[0]]
    assert score_rows(pairs, PAIR, rows, "en") == pytest.approx(100 * 2 / 3)


def test_a_refused_row_counts_as_wrong():
    table = {(0, letter("a"), 2): {"logits": np.float32([[0, 0], [1, 0], [0, 0]])}}
    predictor = predictor_of(settings_for(TAGGING), table, {"logits": (-1, 2)})
    rows = [TaggingExample("0", "en", ("a",), ("N",)), TaggingExample("1", "en", (), ())]
    source = Memory({("test", "en"): rows})
    found = evaluate(predictor, source, TAGGING, ["en"], recipe="r", seed=0).rows
    assert [(r.id, r.predicted_value) for r in found] == [("0", ["N"]), ("1", None)]
    assert found[0].score == 1.0


def test_questions_about_one_paragraph_share_a_unit():
    predictor = predictor_of(settings_for(SPAN), {}, {"start": (-1,), "end": (-1,)})
    rows = [
        SpanExample(id, "en", question, context, (Answer("a", 0),))
        for id, question, context in [("q2", "x", "a b"), ("q1", "y", "a b"), ("q3", "x", "a c")]
    ]
    found = evaluate(predictor, Memory({("test", "en"): rows}), SPAN, ["en"], recipe="r", seed=0).rows
    assert [r.unit for r in found] == ["q1", "q1", "q3"]


def test_the_trivial_baseline_is_scored_on_the_same_rows(pairs, source):
    training = [pair(str(i), "en", "a", label) for i, label in enumerate(("no", "no", "yes"))]
    trivial = evaluate_trivial(source, PAIR, training, ["en", "de"])
    model = evaluate(pairs, source, PAIR, ["en", "de"], recipe="r", seed=0).rows
    key = [(r.language, r.id, r.role, r.gold, r.unit) for r in trivial]
    assert key == [(r.language, r.id, r.role, r.gold, r.unit) for r in model]
    assert {r.predicted_value for r in trivial} == {"no"}
    assert {(r.recipe, r.seed) for r in trivial} == {("trivial", 0)}
    assert [r.score for r in trivial[:3]] == [0.0, 0.0, 1.0]


PAIRS = [SentencePair(f"s{i}", "de", english, german) for i, (german, english) in enumerate(["da", "eb", "fc"])]

#: Layer 1 is wrong for all but the first; layer 2 right for all. Lengths differ: only directions count.
ENGLISH_VECTORS = {"a": [[1, 0], [1, 0]], "b": [[1, 0], [0, 9]], "c": [[1, 0], [1, 1]]}
GERMAN_VECTORS = {"d": [[1, 0], [5, 0]], "e": [[0, 9], [0, 1]], "f": [[0, 9], [3, 3]]}


class TestRetrieval:
    """English sentences a b c, German d e f; vectors given for two layers."""

    def retrieve(self, english, german, *, layer=2, progress=None):
        vectors = {**english, **german}
        table = {(0, letter(text), 2): {"embeddings": np.float32(v)} for text, v in vectors.items()}
        settings = FormatSettings("sentence", layers=(1, 2))
        predictor = predictor_of(settings, table, {"embeddings": (2, 2)})
        source = Memory({("test", "de"): PAIRS})
        return evaluate(predictor, source, SENTENCE, ["de"], recipe="r", seed=0, layer=layer, progress=progress)

    def test_the_asked_layer_decides(self):
        found = self.retrieve(ENGLISH_VECTORS, GERMAN_VECTORS)
        assert [r.predicted_value for r in found.rows] == ["s0", "s1", "s2"]
        assert [r.score for r in found.rows] == [1, 1, 1]
        found = self.retrieve(ENGLISH_VECTORS, GERMAN_VECTORS, layer=1)
        assert [r.predicted_value for r in found.rows] == ["s0", "s0", "s0"]

    def test_the_curve_has_every_pooled_layer(self):
        assert self.retrieve(ENGLISH_VECTORS, GERMAN_VECTORS).layer_curve == pytest.approx({1: 100 / 3, 2: 100.0})

    def test_english_is_the_query(self):
        """All English sentences are nearest to f; from the other side all would be right."""
        english = {"a": [[1, 1], [2, 1.5]], "b": [[1, 1], [1.5, 2]], "c": [[1, 1], [1, 1]]}
        german = {"d": [[1, 1], [3, 0.2]], "e": [[1, 1], [0.2, 3]], "f": [[1, 1], [1, 1]]}
        near = np.array([v[1] for v in english.values()]), np.array([v[1] for v in german.values()])
        normed = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in near]
        expected = [f"s{i}" for i in (normed[0] @ normed[1].T).argmax(axis=1)]
        other_way = [f"s{i}" for i in (normed[1] @ normed[0].T).argmax(axis=1)]
        assert (expected, other_way) == (["s2", "s2", "s2"], ["s0", "s1", "s2"])
        assert [r.predicted_value for r in self.retrieve(english, german).rows] == expected

    def test_ties_go_to_the_lower_index(self):
        same = {text: [[1, 0], [1, 0]] for text in "abc"}
        assert [r.predicted_value for r in self.retrieve(same, {t: [[1, 0], [1, 0]] for t in "def"}).rows] == ["s0"] * 3

    def test_a_vector_of_length_0_does_no_harm(self):
        nothing = {**ENGLISH_VECTORS, "a": [[0, 0], [0, 0]]}
        assert [r.score for r in self.retrieve(nothing, GERMAN_VECTORS).rows] == [1, 1, 1]  # a tie, to the lower index

    @pytest.mark.parametrize("layer", [None, 3])
    def test_a_layer_that_is_not_pooled(self, layer):
        with pytest.raises(InvalidValue, match=r"not pooled; pooled: \[1, 2\]"):
            self.retrieve(ENGLISH_VECTORS, GERMAN_VECTORS, layer=layer)

    def test_the_trivial_baseline_is_chance_in_the_pool(self):
        rows = evaluate_trivial(Memory({("test", "de"): PAIRS}), SENTENCE, [], ["de"])
        assert [json.loads(r.prediction) for r in rows] == [{"any_of": 3}] * 3
        assert [r.score for r in rows] == pytest.approx([1 / 3] * 3)

    def test_progress(self):
        done = []
        self.retrieve(ENGLISH_VECTORS, GERMAN_VECTORS, progress=done.append)
        assert done == [3]


@pytest.mark.parametrize("name", TASKS)
def test_settings_are_the_task_s(name):
    spec = TASKS[name]
    settings = settings_for(spec, layers=[1, 2])
    assert (settings.format, settings.labels, settings.layers) == (spec.format, spec.labels, (1, 2))
    assert settings.max_length == spec.max_length
    assert settings_for(spec, max_length=20).max_length == 20
    assert settings_for(spec, max_length=9999).max_length == spec.max_length


def test_rows_and_predictions_must_match(source):
    rows = source.rows(PAIR, "validation", "en")
    with pytest.raises(InvalidValue, match="1 predictions for 2 gold rows"):
        bank_rows(PAIR, rows, ["choice", "choice"], ["yes"], "en", recipe="r", seed=0)


def dual(texts, *, table=None, layers=(), pooling="pooler"):
    """A predictor for texts of letters: 'a' -> its vector; every layer of a mean has it, or its own."""
    settings = FormatSettings("sentence", layers=layers, pooling=pooling)
    rows = max(1, len(layers))
    table = {
        (0, *map(letter, text.split()), 2): {
            "embeddings": np.float32(vector if np.ndim(vector) == 2 else [vector] * rows)
        }
        for text, vector in texts.items()
    }
    return predictor_of(settings, table, {"embeddings": (rows, 2)})


class TestCheckpointScores:
    PAIRS_OF_CODE = dataclasses.replace(SENTENCE, pooling="pooler")

    def test_pairs_look_among_the_rows_given(self):
        predictor = dual({"a": [1, 0], "b": [0, 1], "d": [1, 0.1], "e": [1, 0.2]})
        rows = [SentencePair("0", "en", "a", "d"), SentencePair("1", "en", "b", "e")]
        assert score_rows(predictor, self.PAIRS_OF_CODE, rows, "en") == 100
        swapped = [SentencePair("0", "en", "a", "e"), SentencePair("1", "en", "b", "d")]
        assert score_rows(predictor, self.PAIRS_OF_CODE, swapped, "en") == 0

    def test_the_right_text_is_right_whichever_row_it_stands_in(self):
        """Two questions about one sentence."""
        predictor = dual({"a": [1, 0], "b": [1, 0], "d": [1, 0]})
        rows = [SentencePair("0", "en", "a", "d"), SentencePair("1", "en", "b", "d")]
        assert score_rows(predictor, self.PAIRS_OF_CODE, rows, "en") == 100

    def test_odds_of_no_answer_are_handed_to_the_metric(self):
        """One question without an answer, one with: the odds tell them apart, the texts are the same."""
        spec = dataclasses.replace(SPAN, metric="qa_or_none", unanswerable=True)
        logits = {"x": [9, 0, 0, 0, 0, 1, 0], "y": [0, 0, 0, 0, 0, 9, 0]}
        table = {
            (0, letter(question), 2, 2, letter("a"), letter("b"), 2)[:7]: {
                "start": np.float32(values[:7]),
                "end": np.float32(values[:7]),
            }
            for question, values in logits.items()
        }
        predictor = predictor_of(settings_for(spec), table, {"start": (-1,), "end": (-1,)})
        rows = [SpanExample("0", "en", "x", "a b", ()), SpanExample("1", "en", "y", "a b", (Answer("b", 2),))]
        assert score_rows(predictor, spec, rows, "en") == 100
        bank = evaluate(predictor, Memory({("test", "en"): rows}), spec, ["en"], recipe="r", seed=0).rows
        assert [row.predicted_value for row in bank] == [
            {"text": "b", "null_odds": 16.0},
            {"text": "b", "null_odds": -18.0},
        ]


def query(id, text, *keys, language="de"):
    return RetrievalItem(id, language, text, True, keys)


def candidate(id, text, *keys, language="en"):
    return RetrievalItem(id, language, text, False, keys)


#: Ids whose halves are known.
CHOICE, REPORT = ([f"q{i}" for i in range(40) if half_role(f"q{i}") == role] for role in ("choice", "report"))


class TestMining:
    """German a b c, English d e f; which pairs have gold decides the threshold."""

    SPEC = TaskSpec("mine", "Mine", "sentence", "mining_f1", ("de",), unit="query")
    #: Margins: b-e 1.71, a-d 1.46, c-f 1.16.
    VECTORS: ClassVar = {"a": [4, 0], "b": [1, 5], "c": [9, 8], "d": [8, 1], "e": [0, 3], "f": [9, 3]}

    def found(self, splits, layer=1):
        predictor = dual(self.VECTORS, layers=(1,), pooling="mean")
        done = []
        rows = scored_rows(Memory(splits), self.SPEC, ["de"])
        result = evaluate(
            predictor,
            Memory(splits),
            self.SPEC,
            ["de"],
            recipe="r",
            seed=0,
            layer=layer,
            progress=done.append,
            rows=rows,
        )
        assert sum(done) == len(rows)
        assert list(result.layer_curve) == [1]
        return [(row.id, row.role, row.gold_value, row.predicted_value) for row in result.rows]

    def test_two_splits_the_first_gives_the_threshold(self):
        def items(prefix):
            return [
                query("1", "a", "1"),
                query("2", "b", "2"),
                query("3", "c"),
                *(candidate(f"{prefix}{n}", text, str(n)) for n, text in enumerate("def", 1)),
            ]

        found = self.found({("validation", "de"): items("v"), ("test", "de"): items("t")})
        assert found == [
            ("1", "choice", ["v1"], ["v1"]),
            ("2", "choice", ["v2"], ["v2"]),
            ("3", "choice", [], []),  # mined with f, with too small a margin
            ("1", "report", ["t1"], ["t1"]),
            ("2", "report", ["t2"], ["t2"]),
            ("3", "report", [], []),
        ]

    def test_one_split_one_half_gives_the_threshold_for_the_other(self):
        first, second, third = CHOICE[0], REPORT[0], REPORT[1]
        items = [
            query(first, "a", "x"),
            query(second, "b", "y"),
            query(third, "c"),
            candidate("d", "d", "x"),
            candidate("e", "e", "y"),
            candidate("f", "f"),
        ]
        found = self.found({("validation", "de"): items})
        assert found[:2] == [(first, "choice", ["d"], ["d"]), (second, "report", ["e"], ["e"])]
        assert found[2] == (third, "report", [], [])

    def curve(self, splits, languages=("de",), layer=1):
        """Layer 0 finds d for each of a, b and c; layer 1 is as in VECTORS."""
        first = {"a": [1, 0], "b": [1, 0.1], "c": [1, 0.2], "d": [1, 0], "e": [0, 1], "f": [-1, 0]}
        vectors = {text: [first[text], vector] for text, vector in self.VECTORS.items()}
        predictor = dual(vectors, layers=(0, 1), pooling="mean")
        return evaluate(predictor, Memory(splits), self.SPEC, languages, recipe="r", seed=0, layer=layer)

    def items(self, prefix="", keys="123"):
        return [
            *(query(f"{n}", text, keys[n - 1]) for n, text in enumerate("abc", 1)),
            *(candidate(f"{prefix}{n}", text, str(n)) for n, text in enumerate("def", 1)),
        ]

    def test_the_curve_is_the_f1_of_choice_rows_at_every_layer(self):
        # In the report rows every pair is wrong: they have no say.
        splits = {("validation", "de"): self.items(), ("test", "de"): self.items("t", keys="312")}
        for layer in (0, 1):
            result = self.curve(splits, layer=layer)
            # At layer 0 three pairs are kept and one of them is right: 2 / (3 + 3).
            assert result.layer_curve == pytest.approx({0: 100 / 3, 1: 100.0})
            choice = [row for row in result.rows if row.role == "choice"]
            golds, predictions = [r.gold_value for r in choice], [r.predicted_value for r in choice]
            score = get_metric("mining_f1").score(golds, predictions, "de")
            assert score == pytest.approx(result.layer_curve[layer])

    def test_the_curve_is_a_mean_over_languages(self):
        splits = {("validation", "de"): self.items(), ("validation", "fr"): self.items(keys="312")}
        one = {("validation", "de"): splits["validation", "de"]}
        two = {("validation", "fr"): splits["validation", "fr"]}
        curves = [self.curve(one).layer_curve, self.curve(two, ["fr"]).layer_curve]
        both = self.curve(splits, ["de", "fr"]).layer_curve
        assert both == pytest.approx({at: (curves[0][at] + curves[1][at]) / 2 for at in (0, 1)})

    def test_of_too_many_layers_only_the_chosen_one_is_mined(self, monkeypatch):
        splits = {("validation", "de"): self.items(), ("test", "de"): self.items("t")}
        whole = self.curve(splits)
        monkeypatch.setattr(evaluation, "CURVE_BYTES", 1)
        result = self.curve(splits)
        assert list(result.layer_curve) == [1]
        assert result.rows == whole.rows

    def test_the_trivial_baseline_guesses_in_the_pool(self):
        splits = {("validation", "de"): [query("1", "a", "1"), candidate("d", "d", "1"), candidate("e", "e")]}
        [row] = evaluate_trivial(Memory(splits), self.SPEC, [], ["de"])
        assert row.predicted_value == {"any_of": 2}


class TestRankings:
    """LAReQA's way: candidates of all languages at once, relevant in any of them."""

    SPEC = TaskSpec(
        "rank", "Rank", "sentence", "map_at_20", ("en", "de"), report_split="", unit="query", pooling="pooler"
    )
    VECTORS: ClassVar = {"a": [1, 0], "b": [0, 1], "d": [1, 0.1], "e": [0.1, 1], "f": [1, 0.3], "g": [0.7, 0.7]}

    def evaluate(self, splits, spec=SPEC, languages=("en", "de"), **options):
        return evaluate(dual(self.VECTORS), Memory(splits), spec, languages, recipe="r", seed=0, **options).rows

    def splits(self, names=("en_1", "en_2", "de_1", "de_2")):
        return {
            ("validation", "en"): [
                query("k1", "a", "k1", language="en"), query("k2", "b", "k2", language="en"),
                candidate(names[0], "d", "k1"), candidate(names[1], "g"),
            ],
            ("validation", "de"): [
                query("k1", "f", "k1"), query("k2", "b", "k2"),
                candidate(names[2], "e", "k2", language="de"), candidate(names[3], "f", "k1", language="de"),
            ],
        }  # fmt: skip

    def test_candidates_of_every_language_are_ranked_at_once(self):
        rows = self.evaluate(self.splits())
        assert [(r.language, r.id) for r in rows] == [("en", "k1"), ("en", "k2"), ("de", "k1"), ("de", "k2")]
        assert [r.role for r in rows] == [half_role(r.id) for r in rows]
        assert rows[0].gold_value == rows[2].gold_value == ["en_1", "de_2"]
        assert rows[0].predicted_value == ["en_1", "de_2", "en_2", "de_1"]
        assert rows[1].predicted_value[0] == "de_1"
        assert [r.score for r in rows] == [1, 1, 1, 1]

    def test_ids_that_languages_share_are_told_apart(self):
        rows = self.evaluate(self.splits(("1", "2", "1", "2")))
        assert rows[0].gold_value == ["en/1", "de/2"]
        assert rows[0].predicted_value == ["en/1", "de/2", "en/2", "de/1"]

    def test_an_id_that_occurs_twice_in_a_language_is_refused(self):
        with pytest.raises(InvalidValue, match="two candidates have the id 'en/1'"):
            self.evaluate(self.splits(("1", "1", "2", "3")))

    def test_with_one_language_the_pool_is_smaller(self):
        rows = self.evaluate(self.splits(), languages=["en"])
        assert [(r.id, r.gold_value) for r in rows] == [("k1", ["en_1"])]  # nothing answers k2 in English

    def test_a_shared_pool_serves_both_splits(self):
        spec = dataclasses.replace(self.SPEC, report_split="test", pool_split="candidates")
        splits = {
            ("validation", "de"): [query("m1", "a", "Q1")],
            ("test", "de"): [query("m2", "b", "Q2")],
            ("candidates", ""): [candidate("Q1", "d", "Q1", language=""), candidate("Q2", "e", "Q2", language="")],
        }
        rows = self.evaluate(splits, spec, ["de"])
        assert [(r.id, r.role, r.predicted_value, r.score) for r in rows] == [
            ("m1", "choice", ["Q1", "Q2"], 1),
            ("m2", "report", ["Q2", "Q1"], 1),
        ]
        assert len(scored_rows(Memory(splits), spec, ["de"])) == 4

    def test_the_trivial_baseline_is_a_random_order(self):
        rows = evaluate_trivial(Memory(self.splits()), self.SPEC, [], ["en", "de"])
        assert {json.dumps(r.predicted_value) for r in rows} == {'{"any_of": 4}'}
        assert all(0 < r.score < 1 for r in rows)

    def test_examples_hold_both_sides_of_every_language(self):
        texts = scored_rows(Memory(self.splits()), self.SPEC, ["en", "de"]).examples(1)
        chosen = half_role("k1") == "choice" or half_role("k2") == "choice"
        assert sorted((t.language, t.query) for t in texts) == sorted(
            [("en", False), ("de", False), *([("en", True), ("de", True)] if chosen else [])]
        )


def test_of_too_many_layers_only_the_chosen_one_is_kept(monkeypatch):
    monkeypatch.setattr(evaluation, "CURVE_BYTES", 1)
    result = TestRetrieval().retrieve(ENGLISH_VECTORS, GERMAN_VECTORS)
    assert result.layer_curve == {2: 100.0}
    assert [r.predicted_value for r in result.rows] == ["s0", "s1", "s2"]
