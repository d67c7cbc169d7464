"""One test for each pitfall of the reference implementations (jiant, XTREME) that this project could fall into again.

Each fails if the pitfall returned; the comment says who fell into it.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from pipelines.preset import load_preset
from polystilts.data.local import LocalSource
from polystilts.data.roles import checkpoint_rows, evaluation_rows, half_role, training_rows
from polystilts.evaluation import RANKING, scored_rows
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.formats.values import Answer, SpanExample, TaggingExample
from polystilts.metrics import get_metric
from polystilts.metrics.answers import mlqa_normalise, squad_normalise
from polystilts.metrics.benchmark import benchmark_means
from polystilts.metrics.retrieval import best_threshold, mine, nearest
from polystilts.tasks import TASKS, get_task
from polystilts.training.model import build_for, forward_rows
from polystilts.training.pretrain import IGNORED, _mlm_loss
from tests.world.encoder import LAYERS, TEXTS, letter_tokenizer, tiny_encoder, tiny_format


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def squad(questions: dict[str, tuple[str, str]], **paragraph: object) -> str:
    """SQuAD's json: id -> (context, answer), one article and paragraph each."""
    articles = [
        {
            "title": id,
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {
                            "id": id,
                            "question": "?",
                            "answers": [{"text": answer, "answer_start": context.index(answer)}],
                        }
                    ],
                    **paragraph,
                }
            ],
        }
        for id, (context, answer) in questions.items()
    ]
    return json.dumps({"data": articles})


# 1. jiant writes all nine languages into every tydiqa.LANGUAGE.train.json.


def test_tydiqa_trains_on_english_only(tmp_path: Path) -> None:
    for code in ("en", "sw", "ko"):
        rows = {f"{code}-{n}": (f"{code} page {n}", f"{n}") for n in range(30)}
        write(tmp_path, f"tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{code}.train.json", squad(rows))
    source, spec = LocalSource(tmp_path), get_task("tydiqa")
    assert spec.hub and spec.hub.id_prefix == "{language}-", "the hub's one config holds all languages"
    rows = [*training_rows(source, spec), *checkpoint_rows(source, spec)]
    assert len(rows) == 30 and {row.language for row in rows} == {"en"}
    assert all(row.context.startswith("en page") for row in rows)


# 2. jiant takes one hidden state out of a tuple that is no longer there. 5. XTREME and jiant count layers differently.


@pytest.mark.parametrize(("depth", "layer"), [(12, 8), (24, 14), (2, 1), (3, 2)])
def test_retrieval_layer_of_base_is_in_range(depth: int, layer: int) -> None:
    assert retrieval_layer(depth) == layer and 0 <= layer <= depth


def test_layers_are_counted_from_the_embeddings(tmp_path: Path) -> None:
    settings = FormatSettings("sentence", layers=tuple(range(LAYERS + 1)))
    model = build_for(settings, tiny_encoder(tmp_path / "encoder")).eval()
    format_ = tiny_format("sentence", layers=settings.layers)
    ids = torch.from_numpy(format_.pieces.single(format_.pieces.encode([TEXTS[0]])[0].ids))[None]
    with torch.no_grad():
        vectors = forward_rows(model, settings, ids, torch.ones_like(ids))["embeddings"][0]
        embedded = model.embeddings(ids)[0].mean(dim=0)
        last = model(ids).last_hidden_state[0].mean(dim=0)
    assert vectors.shape[0] == LAYERS + 1
    # Means over all pieces, specials included.
    torch.testing.assert_close(vectors[0], embedded)
    torch.testing.assert_close(vectors[-1], last)


# 3. jiant's MLM batch is called masked_input_ids, its model reads input_ids.


def test_mlm_loss_is_that_of_the_masked_input() -> None:
    config = XLMRobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(config).eval()
    labels = torch.full((2, 6), IGNORED)
    labels[0, 2], labels[1, 3] = 7, 9
    masked = torch.tensor([[0, 5, 39, 8, 11, 2], [0, 6, 7, 39, 12, 2]])
    plain = torch.where(labels != IGNORED, labels, masked)
    attention = torch.ones_like(masked)
    ours = _mlm_loss(masked, attention, labels, 2, model)
    torch.testing.assert_close(ours, model(masked, attention, labels=labels).loss)
    assert not torch.isclose(ours, _mlm_loss(plain, attention, labels, 2, model)), "the mask is not seen"


# 4. XTREME's BUCC: no threshold, dev candidates for the test, ids without a language. 11. Its splits are renamed.


def test_bucc_threshold_is_found_on_choice_pairs() -> None:
    vectors = np.eye(4, dtype=np.float32)
    pairs = mine(vectors, vectors, list("abcd"), list("wxyz"), k=2)
    assert [(pair.source, pair.target) for pair in pairs] == [(n, n) for n in range(4)]
    threshold = best_threshold(pairs, {(n, n) for n in range(4)})
    assert sum(pair.score >= threshold for pair in pairs) == 4


def test_bucc_duplicates_not_eligible() -> None:
    vectors = np.eye(3, dtype=np.float32)
    pairs = mine(vectors, vectors, ["a", "b", "b "], ["x", "y", "z"], k=2)
    assert [(pair.source, pair.target) for pair in pairs] == [(0, 0)]
    # Their gold pairs still count: recall is 1 of 3.
    counts = get_metric("mining_f1").statistics([["x"], ["y"], ["z"]], [["x"], [], []], "de").sum(axis=0)
    assert counts.tolist() == [1, 1, 3]


def test_bucc_splits_and_languages_have_files_of_their_own(tmp_path: Path) -> None:
    spec = get_task("bucc2018")
    assert spec.upstream and spec.local
    urls = spec.upstream.urls
    assert all("{language}" in path for path in urls) and len(set(urls.values())) == len(urls)
    assert all(".training" in url for path, url in urls.items() if ".test." in path), "BUCC's training is XTREME's test"
    assert all(".sample" in url for path, url in urls.items() if ".dev." in path)
    for split in ("dev", "test"):
        for side in ("de", "en"):
            write(tmp_path, f"bucc2018/de-en.{split}.{side}", f"{side}-1\t{split} {side} one\n{side}-2\t{split} two\n")
        write(tmp_path, f"bucc2018/de-en.{split}.gold", "de-1\ten-1\n")
    pools = scored_rows(LocalSource(tmp_path), spec, ["de"]).pools["de"]
    found = {role: [c.text.split()[0] for c in pool.candidates] for pool in pools for role, _ in pool.queries}
    assert found == {"choice": ["dev", "dev"], "report": ["test", "test"]}


# 5., 11. Tatoeba: file names that the evaluator does not look for, the wrong side asking, ties.


def test_tatoeba_asks_in_english_and_ties_go_to_the_lower_index(tmp_path: Path) -> None:
    write(tmp_path, "tatoeba/tatoeba.deu-eng.deu", "der Hund\ndie Katze\n")
    write(tmp_path, "tatoeba/tatoeba.deu-eng.eng", "the dog\nthe cat\n")
    rows = LocalSource(tmp_path).rows(get_task("tatoeba"), "validation", "de")
    assert [(row.query, row.candidate) for row in rows] == [("the dog", "der Hund"), ("the cat", "die Katze")]
    same = np.ones((3, 2), dtype=np.float32)
    assert nearest(same[:1], same, 1)[1].tolist() == [[0]]


# 6. get_final_text gives whole sentences for Chinese; XQuAD's score does not segment Chinese, and we say so.


def test_chinese_spans_come_from_offsets() -> None:
    format_ = tiny_format("span")
    context = TEXTS[6] + TEXTS[7]
    example = SpanExample("0", "zh", "谁睡觉？", context, (Answer("河边", context.index("河边")),))
    [features] = format_.encode([example])
    targets = format_.targets(example, features)
    outputs = []
    for feature, (first, last) in zip(features, targets, strict=True):
        start, end = np.full((2, len(feature)), -5.0, dtype=np.float32)
        if first:
            start[first] = end[last] = 9.0
        outputs.append({"start": start, "end": end})
    answer = format_.decode(example, features, outputs)
    assert "河边" in answer.text and len(answer.text) <= 4, "pieces may hold a neighbour, not a sentence"
    assert context[answer.start : answer.end] == answer.text


def test_chinese_answers_are_segmented_for_mlqa_only() -> None:
    assert squad_normalise("北京市。", "zh") == "北京市。"
    assert mlqa_normalise("北京市。", "zh") == "北 京 市"
    assert (get_task("xquad").metric, get_task("mlqa").metric) == ("qa", "qa_mlqa")


# 7. jiant takes XLM-R for a tokenizer with one separator: labels are one piece off.


def test_pairs_have_two_separators_and_labels_stand_after_both() -> None:
    format_ = make_format(Pieces(letter_tokenizer()), FormatSettings("span", max_length=20))
    example = SpanExample("0", "en", "q", "a b c", (Answer("b", 2),))
    [[feature]] = format_.encode([example])
    assert feature.input_ids.tolist() == [0, 20, 2, 2, 4, 5, 6, 2]
    [target] = format_.targets(example, [feature])
    assert target.tolist() == [5, 5] and feature.offsets is not None
    first, last = feature.offsets[target[0]][0], feature.offsets[target[1]][1]
    assert example.context[first:last] == "b"


# 8. Papers say accuracy, the leaderboard's number is seqeval's F1 on tags without prefixes.


def test_seqeval_merges_cconj_and_sconj_and_we_say_so() -> None:
    gold, found = [["CCONJ", "NOUN", "SCONJ"]], [["SCONJ", "NOUN", "CCONJ"]]
    details = get_metric("pos_f1").details(gold, found, "en")
    assert details["pos_f1"] == 100.0
    assert details["pos_f1_whole_tag"] < 50 and details["token_accuracy"] < 50 and details["macro_f1"] < 50
    page = (Path(__file__).parents[1] / "docs/protocol.md").read_text(encoding="utf-8")
    assert "CCONJ and SCONJ are one type" in " ".join(page.split())


def test_cconj_is_not_sconj_for_the_model() -> None:
    labels = get_task("udpos").labels
    assert len(set(labels)) == 17 and {"CCONJ", "SCONJ"} <= set(labels)


# 9. jiant truncates sentences and pads what it did not predict; WikiANN's tokens carry their language.


def test_tagging_splits_instead_of_truncating() -> None:
    settings = FormatSettings("tagging", ("NOUN", "VERB"), max_length=5)
    format_ = make_format(Pieces(letter_tokenizer()), settings)
    words = tuple("abcdefghij")
    example = TaggingExample("0", "en", words, tuple("NOUN" if n % 3 else "VERB" for n in range(10)))
    [rows] = format_.encode([example])
    assert [len(row) for row in rows] == [5, 5, 5, 3]
    outputs = [{"logits": np.eye(2, dtype=np.float32)[np.maximum(t, 0)]} for t in format_.targets(example, rows)]
    assert format_.decode(example, rows, outputs).tags == example.tags


def test_only_the_first_sub_word_is_labelled_and_a_word_without_any_is_unknown() -> None:
    format_ = make_format(Pieces(letter_tokenizer()), FormatSettings("tagging", ("NOUN", "VERB"), max_length=20))
    example = TaggingExample("0", "en", ("abc", "", "d"), ("VERB", "NOUN", "VERB"))
    [[row]] = format_.encode([example])
    [target] = format_.targets(example, [row])
    assert target.tolist() == [-100, 1, -100, -100, 0, 1, -100]
    assert row.input_ids[4] == format_.pieces.unk


def test_wikianns_prefix_is_taken_off(tmp_path: Path) -> None:
    write(tmp_path, "panx/dev-de.tsv", "de:Anna\tB-PER\nde::\tO\n\nde:de:x\tO\n")
    rows = LocalSource(tmp_path).rows(get_task("panx"), "validation", "de")
    assert [row.tokens for row in rows] == [("Anna", ":"), ("de:x",)]


# 10. Processors that took the first line for a header; quoting.


def test_first_line_of_tsv_is_kept(tmp_path: Path) -> None:
    write(tmp_path, "xnli/test-de.tsv", 'eins\tzwei\tneutral\n"a ""b"""\tc\tentailment\n')
    rows = LocalSource(tmp_path).rows(get_task("xnli"), "test", "de")
    assert [(row.premise, row.hypothesis, row.label) for row in rows] == [
        ("eins", "zwei", "neutral"),
        ('a "b"', "c", "entailment"),
    ]


# 12. XQuAD and TyDiQA have no validation split of their own: English SQuAD and TyDiQA choose.


def test_xquad_ids_excluded_from_squad_selection(tmp_path: Path) -> None:
    rows = {f"q{n}": (f"page {n}", "page") for n in range(40)}
    inside = {id: rows[id] for id in list(rows)[:25]}
    write(tmp_path, "squad/dev-v1.1.json", squad(rows))
    write(tmp_path, "squad/train-v1.1.json", squad({"t": ("a", "a")}))
    write(tmp_path, "xquad/xquad.en.json", squad(inside))
    source = LocalSource(tmp_path)
    for name in ("xquad", "mlqa", "squad_v1"):
        chosen = {row.id for row in checkpoint_rows(source, get_task(name))}
        assert chosen == set(rows) - set(inside), name


def test_squad_2_is_not_selected_on_xquads_paragraphs(tmp_path: Path) -> None:
    write(tmp_path, "squad/dev-v2.0.json", squad({f"n{n}": (f"page {n}", "page") for n in range(10)}))
    write(tmp_path, "xquad/xquad.en.json", squad({"q1": ("page 1", "page"), "q2": ("page 2", "page")}))
    chosen = checkpoint_rows(LocalSource(tmp_path), get_task("squad_v2"))
    assert sorted(row.id for row in chosen) == sorted({f"n{n}" for n in range(10)} - {"n1", "n2"})


def test_a_single_split_is_halved_by_id_alike_in_all_languages(tmp_path: Path) -> None:
    rows = {f"q{n}": (f"page {n}", "page") for n in range(30)}
    for language in ("en", "zh"):
        write(tmp_path, f"xquad/xquad.{language}.json", squad(rows))
    source, spec = LocalSource(tmp_path), get_task("xquad")
    roles = {code: {row.id: role for role, row in evaluation_rows(source, spec, code)} for code in ("en", "zh")}
    assert roles["en"] == roles["zh"] == {id: half_role(id) for id in rows}
    assert set(roles["en"].values()) == {"choice", "report"}


# 14. Rates of 2e-5 and more without warm-up make some seeds of XLM-R large collapse.


@pytest.mark.parametrize("name", ["xlmr-base", "xlmr-large-paper"])
def test_learning_rates_of_the_real_presets_are_those_that_do_not_collapse(name: str) -> None:
    preset = load_preset(name)
    for knobs in (preset.training, *preset.tasks.values()):
        assert (knobs.learning_rate or 0) <= 1e-5
        assert knobs.warmup_share is None or knobs.warmup_share > 0
    assert preset.training.warmup_share > 0


# 15. XTREME-R's evaluate.py cannot score LAReQA, and counts XCOPA twice.


def test_lareqa_has_a_score(tmp_path: Path) -> None:
    spec = get_task("lareqa")
    assert spec.metric == RANKING and len(spec.benchmarks["xtreme-r"]) == 11
    context = "Anna runs. Bob sleeps."
    breaks = [[0, 10], [11, 22]]
    for code in ("en", "de"):
        rows = {f"q{n}": (context, answer) for n, answer in enumerate(("Anna", "Bob"))}
        write(tmp_path, f"lareqa/xquad-r/{code}.json", squad(rows, sentence_breaks=breaks))
    [pool] = scored_rows(LocalSource(tmp_path), spec, ["en", "de"]).pools[""]
    assert {candidate.language for candidate in pool.candidates} == {"en", "de"}, "candidates of all languages at once"
    for relevant in pool.relevant:
        assert {pool.candidates[number].language for number in relevant} == {"en", "de"}
    score = get_metric("map_at_20").score([["a", "b"]], [["a", "x", "b"]], "en")
    assert score == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_xcopa_counts_once_in_the_average() -> None:
    names = [spec.data for spec in TASKS.values() if "xtreme-r" in spec.benchmarks]
    assert names.count("xcopa") == 1 and "en" not in get_task("xcopa_after_siqa").benchmarks["xtreme-r"]
    languages = MappingProxyType({"xcopa": ("et",), "xnli": ("en",), "udpos": ("en",)})
    scores = {"xcopa": {"et": 90.0}, "xnli": {"en": 60.0}, "udpos": {"en": 30.0}}
    assert benchmark_means("xtreme-r", scores, languages).overall["all_task"].value == 60.0


# 16. jiant scores the first 500 validation rows of a file, which may be sorted.


def test_limited_rows_are_drawn_over_the_whole_file(tmp_path: Path) -> None:
    rows = {f"q{n}": (f"page {n}", "page") for n in range(200)}
    write(tmp_path, "xquad/xquad.en.json", squad(rows))
    kept = evaluation_rows(LocalSource(tmp_path), get_task("xquad"), "en", limit=20)
    places = sorted(list(rows).index(row.id) for _, row in kept)
    assert len(places) == 40 and places[0] < 40 and places[-1] > 160
