"""Evaluation under conditions, with a real tiny encoder for every format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polystilts import evaluation
from polystilts.data.conditions import CLEAN, parse_condition
from polystilts.data.noise import Noise, NoiseSettings
from polystilts.evaluation import evaluate, scored_rows, settings_for
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    PairPrediction,
    RetrievalItem,
    Row,
    SentencePair,
    SpanExample,
    TaggingExample,
)
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, read_about, read_bank, to_json_text, write_bank
from polystilts.metrics.robustness import relative_loss, stability
from polystilts.runtime.predictor import Predictor
from polystilts.tasks.spec import TaskSpec
from polystilts.training.model import TorchBackend, build_for
from tests.test_evaluation import Memory
from tests.world.encoder import TEXTS, letter_tokenizer, tiny_encoder

#: Two texts a language.
BY_LANGUAGE = {code: TEXTS[2 * n : 2 * n + 2] for n, code in enumerate(("en", "de", "ru", "zh"))}
ROWS_EACH = 12

PAIR = TaskSpec("pairs", "Pairs", "pair", "accuracy", tuple(BY_LANGUAGE), ("0", "1"), choice_split="", parallel=True)
SPECS = {
    "pair": PAIR,
    "choice": replace(PAIR, format="choice", labels=()),
    "tagging": replace(PAIR, format="tagging", metric="pos_f1", labels=("NOUN", "VERB")),
    "span": replace(
        PAIR, format="span", metric="qa", labels=(), unit="paragraph", max_length=96, max_question_length=24
    ),
    "aligned": replace(PAIR, format="sentence", metric="retrieval", labels=()),
    "mined": replace(PAIR, format="sentence", metric="mining_f1", labels=(), unit="query"),
    "ranked": replace(PAIR, format="sentence", metric="map_at_20", labels=(), unit="query"),
}


def example(kind: str, language: str, n: int) -> list[Row]:
    first, second = BY_LANGUAGE[language]
    id, word = f"r{n}", second.split()[0][:4]
    match kind:
        case "pair":
            return [PairExample(id, language, f"{first} {n}", second, "01"[n % 2])]
        case "choice":
            return [ChoiceExample(id, language, f"{first} {n}", "why is it so", (second, first), n % 2)]
        case "tagging":
            tokens = (*first.split(), str(n))
            return [
                TaggingExample(id, language, tokens, tuple(("NOUN", "VERB")[(n + i) % 2] for i in range(len(tokens))))
            ]
        case "span":
            # Two questions share a paragraph.
            context = f"{first} {n // 2} {second}"
            return [SpanExample(id, language, f"{second} {n}", context, (Answer(word, context.index(word)),))]
        case "aligned":
            return [SentencePair(id, language, f"{TEXTS[n % 2]} {n}", f"{BY_LANGUAGE[language][n % 2]} {n}")]
    query = RetrievalItem(id, language, f"{first} {n}", True, (f"{language}{n}",))
    return [query, RetrievalItem(f"c{n}", language, f"{second} {n}", False, (f"{language}{n}",))]


def source_of(kind: str) -> Memory:
    return Memory(
        {
            ("test", language): [row for n in range(ROWS_EACH) for row in example(kind, language, n)]
            for language in BY_LANGUAGE
        }
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def banks(encoder: Path) -> Callable[..., evaluation.Evaluation]:
    """Evaluates a kind under a condition, once."""
    done: dict[tuple[str, str], evaluation.Evaluation] = {}

    def banks(kind: str, text: str = "clean", *, again: bool = False) -> evaluation.Evaluation:
        if again or (kind, text) not in done:
            spec = SPECS[kind]
            settings = settings_for(spec, layers=(1,) if spec.format == "sentence" else (), max_length=96)
            model = build_for(settings, encoder).eval()
            predictor = Predictor(make_format(Pieces.open(encoder), settings), TorchBackend(model, settings))
            done[kind, text] = evaluate(
                predictor, source_of(kind), spec, list(BY_LANGUAGE), recipe="r", seed=0,
                layer=1 if spec.format == "sentence" else None, condition=parse_condition(text),
            )  # fmt: skip
        return done[kind, text]

    return banks


def without_condition(rows: Sequence[BankRow]) -> list[BankRow]:
    return [replace(row, condition="clean") for row in rows]


@pytest.mark.parametrize("kind", SPECS)
class TestEveryFormat:
    def test_noise_keeps_rows_roles_units_and_gold(self, kind: str, banks: Any) -> None:
        clean, noisy = banks(kind).rows, banks(kind, "noise:0.6").rows
        assert len(clean) == len(BY_LANGUAGE) * ROWS_EACH
        kept = [(r.language, r.id, r.role, r.unit, r.gold) for r in noisy]
        assert kept == [(r.language, r.id, r.role, r.unit, r.gold) for r in clean]
        assert {r.condition for r in clean} == {"clean"} and {r.condition for r in noisy} == {"noise:0.6:all:0"}
        assert any(
            (a.prediction, a.probability) != (b.prediction, b.probability) for a, b in zip(clean, noisy, strict=True)
        ), "the noise reached the model"

    def test_at_rate_0_only_the_condition_differs(self, kind: str, banks: Any) -> None:
        zero = banks(kind, "noise:0").rows
        assert {row.condition for row in zero} == {"noise:0.0:all:0"}
        assert without_condition(zero) == banks(kind).rows

    def test_the_same_condition_gives_the_same_bank(self, kind: str, banks: Any) -> None:
        first, second = banks(kind, "noise:0.6"), banks(kind, "noise:0.6", again=True)
        assert first.rows == second.rows and first.about == second.about

    def test_the_measured_rate_is_there_for_every_language(self, kind: str, banks: Any) -> None:
        about = banks(kind, "noise:0.6").about
        assert about["condition"] == "noise:0.6:all:0"
        assert set(about["noise"]) == set(BY_LANGUAGE)
        for counts in about["noise"].values():
            assert counts["character_rate"] == counts["edits"] / counts["characters"] > 0
            assert 0.2 < counts["word_rate"] <= 1.0
        assert banks(kind).about == {"condition": "clean", "noise": {}, "share": {}}

    def test_identical_banks_lose_nothing(self, kind: str, banks: Any) -> None:
        """Every second row is answered as its gold says, so that there is a score to lose."""
        rows = [row for row in banks(kind).rows if row.role == "report"]
        golds = [to_json_text(row.gold_value[0]) if kind == "span" else row.gold for row in rows]
        half = [replace(r, prediction=g) if n % 2 else r for n, (r, g) in enumerate(zip(rows, golds, strict=True))]
        right = [replace(r, prediction=g) for r, g in zip(rows, golds, strict=True)]
        metric = get_metric(SPECS[kind].metric)
        found = relative_loss(half, half, metric, joint=True, resamples=50).mean
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        assert relative_loss(right, half, metric, joint=True, resamples=50).mean.value > 10

    def test_probabilities_are_there_where_the_format_gives_one(self, kind: str, banks: Any, tmp_path: Path) -> None:
        rows = banks(kind).rows
        if kind in ("pair", "choice"):
            # The answer is the likeliest of two.
            assert all(row.probability is not None and 0.5 <= row.probability <= 1 for row in rows)
        else:
            assert {row.probability for row in rows} == {None}
        about = banks(kind, "noise:0.6").about
        path = write_bank(tmp_path / "bank.parquet", rows, about)
        assert read_bank(path) == rows and read_about(path) == about


def test_gold_moves_with_noise_inside_answers(banks: Any) -> None:
    clean, noisy = banks("span").rows, banks("span", "noise:1:in-answers").rows
    assert [(r.id, r.unit) for r in noisy] == [(r.id, r.unit) for r in clean]
    moved = sum(a.gold != b.gold for a, b in zip(clean, noisy, strict=True))
    assert moved > len(clean) / 2
    # As `Noise` says for the example itself.
    [row] = example("span", "de", 3)
    assert isinstance(row, SpanExample)
    expected, _ = Noise(NoiseSettings(1.0, in_answers=True)).apply(row, "de")
    [found] = [r for r in noisy if r.id == "r3" and r.language == "de"]
    assert expected.answers and found.gold_value == [expected.answers[0].text]


def test_questions_about_one_paragraph_stay_one_unit(banks: Any) -> None:
    """Each of them sees the paragraph with other mistakes."""
    units = [row.unit for row in banks("span", "noise:1").rows]
    assert len(set(units)) < len(set(row.id for row in banks("span").rows))


@pytest.mark.parametrize("kind", ["aligned", "mined", "ranked"])
def test_candidates_are_not_touched(kind: str, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS[kind]
    settings = settings_for(spec, layers=(1,), max_length=96)
    model = build_for(settings, encoder).eval()
    predictor = Predictor(make_format(Pieces.open(encoder), settings), TorchBackend(model, settings))
    seen: dict[str, list[tuple[str, str, str]]] = {}
    for text in ("clean", "noise:1"):
        told: list[Any] = []
        run = Predictor.predict
        monkeypatch.setattr(
            Predictor, "predict", lambda self, rows, run=run, told=told, **o: told.extend(rows) or run(self, rows, **o)
        )
        evaluate(
            predictor, source_of(kind), spec, list(BY_LANGUAGE), recipe="r", seed=0, layer=1,
            condition=parse_condition(text),
        )  # fmt: skip
        monkeypatch.undo()
        seen[text] = sorted({(t.language, t.id, t.text) for t in told if not t.query})
        seen[f"{text} queries"] = sorted({(t.language, t.id, t.text) for t in told if t.query})
    assert seen["clean"] == seen["noise:1"] and seen["clean"]
    assert not set(seen["clean queries"]) & set(seen["noise:1 queries"])


def test_a_sentence_that_stands_twice_stays_so_under_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """BUCC's rule leaves such sentences out; mistakes must not bring them back."""
    told: list[Sequence[str]] = []
    real = evaluation.mine
    monkeypatch.setattr(evaluation, "mine", lambda a, b, c, d: told.append(c) or real(a, b, c, d))
    settings = FormatSettings("sentence", layers=(1,))
    predictor = Predictor(make_format(Pieces(letter_tokenizer()), settings), LettersBackend())
    rows: list[Row] = [RetrievalItem(f"q{n}", "en", "the same words", True, (str(n),)) for n in range(4)]
    rows += [RetrievalItem(f"c{n}", "en", f"other {'abcd'[n]}", False, (str(n),)) for n in range(4)]
    source = Memory({("test", "en"): rows})
    for text in ("clean", "noise:1"):
        evaluate(
            predictor, source, SPECS["mined"], ["en"], recipe="r", seed=0, layer=1, condition=parse_condition(text)
        )
    assert set(map(tuple, told)) == {("the same words",) * 4}


class LettersBackend:
    """Embeddings that count the pieces."""

    def run(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        ids = arrays["input_ids"]
        vectors = np.stack([np.bincount(row, minlength=64)[:64] for row in ids]).astype(np.float32)
        return {"embeddings": vectors[:, None]}


class CountsWords(Predictor):
    """Answers from the numbers of words alone, which noise keeps."""

    def predict(self, examples: Sequence[Any], *, progress: Any = None) -> list[Any]:
        words = [(len(e.premise.split()), len(e.hypothesis.split())) for e in examples]
        found = [(str((a + b) % 2), (a + 1) / (a + b + 2)) for a, b in words]
        return [PairPrediction(label, {label: p, str(1 - int(label)): 1 - p}) for label, p in found]


class TestAModelThatReadsWordCountsAlone:
    def bank(self, text: str) -> list[BankRow]:
        settings = settings_for(PAIR)
        predictor = CountsWords(make_format(Pieces(letter_tokenizer()), settings), LettersBackend())
        condition = parse_condition(text)
        return evaluate(
            predictor, source_of("pair"), PAIR, list(BY_LANGUAGE), recipe="r", seed=0, condition=condition
        ).rows

    @pytest.mark.parametrize("text", ["noise:0.3", "noise:1:held-out", "noise:1:train:9"])
    def test_is_not_harmed_by_noise(self, text: str) -> None:
        noisy = self.bank(text)
        assert without_condition(noisy) == self.bank("clean")

    def test_answers_swapped_sentences_alike_but_with_another_probability(self) -> None:
        clean, swapped = self.bank("clean"), self.bank("swapped")
        assert {row.condition for row in swapped} == {"swapped"}
        assert [r.prediction for r in swapped] == [r.prediction for r in clean]
        assert any(a.probability != b.probability for a, b in zip(clean, swapped, strict=True))
        assert stability(clean, swapped, joint=True, resamples=20).agreement.mean.value == 100.0


def test_rows_that_were_read_before_stay_as_they_are(banks: Any) -> None:
    source = source_of("pair")
    rows = scored_rows(source, PAIR, list(BY_LANGUAGE))
    settings = settings_for(PAIR)
    predictor = CountsWords(make_format(Pieces(letter_tokenizer()), settings), LettersBackend())
    before = [row for own in rows.rows.values() for _, row in own]
    for condition in (parse_condition("noise:1"), parse_condition("swapped"), CLEAN):
        evaluate(predictor, source, PAIR, [], recipe="r", seed=0, rows=rows, condition=condition)
    assert [row for own in rows.rows.values() for _, row in own] == before
