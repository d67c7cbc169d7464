"""The micro world: rows shaped like the real ones, parallel, disjoint, and without cues."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from polystilts.data.micro import LANGUAGES, MicroWorld
from polystilts.data.micro.grammar import LEXICON, QUESTIONS, STATEMENTS, lexicon
from polystilts.data.micro.world import BLOCKS, NER_TAGS, POS_TAGS
from polystilts.training.pretrain import train_tokenizer
from tests.world.micro import Remembered, Row

COLUMNS = {
    "mnli": ["premise", "hypothesis", "label", "idx"],
    "xnli": ["premise", "hypothesis", "label"],
    "pawsx": ["id", "sentence1", "sentence2", "label"],
    "copa": ["premise", "choice1", "choice2", "question", "idx", "label"],
    "xcopa": ["premise", "choice1", "choice2", "question", "idx", "label", "changed"],
    "squad_v1": ["id", "title", "context", "question", "answers"],
    "xquad": ["id", "context", "question", "answers"],
    "udpos": ["tokens", "pos_tags"],
    "panx": ["tokens", "ner_tags", "langs"],
    "tatoeba": ["source_sentence", "target_sentence"],
}
#: sha256 of the rows that the committed figures (benchmarks/results/micro_world.json) were measured on.
ROW_DIGESTS = {
    "mnli": "cb8a7c7ea1e0687b",
    "xnli": "1e24e8379b73a04a",
    "pawsx": "ce34028e8f2861f0",
    "copa": "f4db3585c828a68c",
    "xcopa": "caee927994ba38d4",
    "squad_v1": "7275b847306d7c12",
    "xquad": "eda1088e6aa3383f",
    "udpos": "732d2611aaa0a736",
    "panx": "cd3d0aac58595cfc",
    "tatoeba": "5d63d0da25073020",
}
CLASSES = {"mnli": 3, "xnli": 3, "pawsx": 2, "copa": 2, "xcopa": 2}
PARALLEL = ["xnli", "pawsx", "xcopa", "xquad", "udpos", "panx"]
BLOCKS_FLAT = [(name, split) for name, splits in BLOCKS.items() for split in splits]


@pytest.fixture(scope="module")
def world() -> Remembered:
    return Remembered()


@pytest.fixture(scope="module")
def tokenizer(world: Remembered) -> Tokenizer:
    return train_tokenizer(world.vocabulary())


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_have_the_real_columns_and_labels(world: Remembered, name: str) -> None:
    for language, row in world.every_row(name):
        assert list(row) == COLUMNS[name]
        assert all(text.strip() for text in row.values() if isinstance(text, str))
        if name in CLASSES:
            assert row["label"] in range(CLASSES[name])
        if name in ("copa", "xcopa"):
            assert row["question"] in ("cause", "effect")
            assert row["choice1"] != row["choice2"]
        for tags, names in (("pos_tags", POS_TAGS), ("ner_tags", NER_TAGS)):
            if tags in row:
                assert len(row[tags]) == len(row["tokens"])
                assert all(tag in range(len(names)) for tag in row[tags])
        if name == "panx":
            assert row["langs"] == [language] * len(row["tokens"])


def test_entity_tags_are_well_formed(world: Remembered) -> None:
    for _, row in world.every_row("panx"):
        tags = [NER_TAGS[tag] for tag in row["ner_tags"]]
        assert not tags[0].startswith("I")
        assert all(after[1:] == before[1:] for before, after in pairwise(tags) if after.startswith("I"))


@pytest.mark.parametrize("name", ["squad_v1", "xquad"])
def test_answers_lie_where_they_say(world: Remembered, name: str) -> None:
    for _, row in world.every_row(name):
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(text)] == text
        assert text not in row["question"].rstrip("?").split()


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_rows_mean_the_same(world: Remembered, name: str) -> None:
    for split, languages in world.splits(name).items():
        by_language = [world.rows(name, split, language) for language in languages]
        assert len({len(rows) for rows in by_language}) == 1
        for rows in zip(*by_language, strict=True):
            for key in ("label", "id", "idx", "question") if name != "xquad" else ("id",):
                assert len({row[key] for row in rows if key in row}) <= 1
            if name == "panx":  # the same entities, in whatever order
                kinds = [
                    sorted(NER_TAGS[tag] for tag in row["ner_tags"] if NER_TAGS[tag].startswith("B")) for row in rows
                ]
                assert all(kind == kinds[0] for kind in kinds)
            if name == "udpos":  # names occur in every language or in none
                names = [POS_TAGS.index("PROPN") in row["pos_tags"] for row in rows]
                assert len(set(names)) == 1


def test_questions_name_the_same_scene_in_every_language(world: Remembered) -> None:
    marks = {
        language: [
            w.text.lower() for n in ("who", "what", "where", "when") for w in lexicon()["word"][n].form(language)
        ]
        for language in LANGUAGES
    }
    for language in LANGUAGES:
        for row in world.rows("xquad", "validation", language):
            assert any(mark in row["question"].lower() for mark in marks[language])


#: Sets that say the meanings of another one on purpose: XQuAD lies inside SQuAD, LAReQA inside XQuAD, and translated
#: training sets are their English ones.
DRAWN_FROM = {
    "xquad": {"squad_v1"},
    "lareqa": {"squad_v1", "xquad"},
    "mnli_translated": {"mnli"},
    "pawsx_translated": {"pawsx"},
    "squad_translated": {"squad_v1"},
}


def test_training_and_evaluation_rows_never_meet(world: Remembered) -> None:
    for (name, split), (other, other_split) in combinations(BLOCKS_FLAT, 2):
        a, b = BLOCKS[name][split], BLOCKS[other][other_split]
        drawn = other in DRAWN_FROM.get(name, ()) or name in DRAWN_FROM.get(other, ())
        if a.family != b.family:
            continue
        if not drawn or (split == "train") != (other_split == "train"):
            assert a.end <= b.start or b.end <= a.start, (name, split, other, other_split)
    for train, evaluation, keys in [
        ("mnli", "xnli", ("premise", "hypothesis")),
        ("pawsx", "pawsx", ("sentence1", "sentence2")),
        ("squad_v1", "xquad", ("context", "question")),
        ("panx", "panx", ("tokens",)),
        ("udpos", "udpos", ("tokens",)),
    ]:
        seen = {str([row[key] for key in keys]) for row in world.rows(train, "train", "en")}
        for split in set(world.splits(evaluation)) - {"train"}:
            assert not seen & {str([row[key] for key in keys]) for row in world.rows(evaluation, split, "en")}


def test_xquad_lies_inside_squad_validation(world: Remembered) -> None:
    squad = {row["id"]: row for row in world.rows("squad_v1", "validation", "en")}
    for row in world.rows("xquad", "validation", "en"):
        assert {**row, "title": "Micro world"} == squad[row["id"]]
    assert not set(squad) & {row["id"] for row in world.rows("squad_v1", "train", "en")}


FUNCTION_WORDS = ["never", "in", "every", "and", "is", "who", "what", "where", "when", "was", "the"]


def cues(text: str) -> list[float]:
    """Length, and number and first position of each function word."""
    words = text.lower().rstrip(".?").split()
    places = [words.index(word) + 1 if word in words else 0 for word in FUNCTION_WORDS]
    return [
        len(words),
        len(text),
        *map(words.count, FUNCTION_WORDS),
        *places,
        *(place == 1 for place in places),
    ]


def pair_cues(first: str, second: str) -> Callable[[Row], list[float]]:
    return lambda row: [
        *cues(row[first]),
        *cues(row[second]),
        *np.subtract(cues(row[first]), cues(row[second])),
    ]


def choice_cues(row: Row) -> list[float]:
    difference = np.subtract(cues(row["choice1"]), cues(row["choice2"]))
    return [
        *difference,
        *cues(row["premise"]),
        *(difference if row["question"] == "cause" else 0 * difference),
    ]


@pytest.mark.parametrize(
    ("sets", "features"),
    [
        (
            [("mnli", "train"), ("mnli", "validation"), ("xnli", "validation"), ("xnli", "test")],
            pair_cues("premise", "hypothesis"),
        ),
        (
            [("pawsx", "train"), ("pawsx", "validation"), ("pawsx", "test")],
            pair_cues("sentence1", "sentence2"),
        ),
        ([("copa", "train"), ("copa", "validation")], choice_cues),
        ([("qqp", "train"), ("qqp", "validation")], pair_cues("question1", "question2")),
    ],
    ids=["nli", "paraphrase", "choice", "duplicate"],
)
def test_length_position_and_function_words_say_nothing_about_labels(
    world: Remembered, sets: list[tuple[str, str]], features: Callable[[Row], list[float]]
) -> None:
    """A logistic regression on cues alone stays within three standard errors of the majority class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, *rest = ([row for row in world.rows(name, split, "en")] for name, split in sets)
    held_out = [row for rows in rest for row in rows]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit([features(row) for row in train], [row["label"] for row in train])
    gold = np.array([row["label"] for row in held_out])
    accuracy = float(np.mean(model.predict([features(row) for row in held_out]) == gold))
    majority = float(np.bincount(gold).max() / len(gold))
    assert accuracy <= majority + 3 * np.sqrt(majority * (1 - majority) / len(gold))


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_pieces(world: Remembered, tokenizer: Tokenizer, language: str) -> None:
    for name in ("udpos", "panx"):
        rows = [row["tokens"] for row in world.rows(name, "test", language)]
        encoded = tokenizer.encode_batch(rows, is_pretokenized=True, add_special_tokens=False)
        assert sum(len(e.ids) for e in encoded) <= 1.1 * sum(map(len, rows))
        assert all(set(e.word_ids) == set(range(len(row))) for e, row in zip(encoded, rows, strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_whole_pieces(world: Remembered, tokenizer: Tokenizer, language: str) -> None:
    unknown = tokenizer.token_to_id("<unk>")
    for row in world.rows("xquad", "validation", language):
        encoded = tokenizer.encode(row["context"], add_special_tokens=False)
        assert unknown not in encoded.ids
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        inside = [span for span in encoded.offsets if span[0] < start + len(text) and span[1] > start]
        assert (inside[0][0], inside[-1][1]) == (start, start + len(text))


def test_special_tokens_are_where_xlmr_has_them(tokenizer: Tokenizer) -> None:
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.token_to_id("<mask>") == tokenizer.get_vocab_size() - 1
    assert tokenizer.encode("Anna", "Ivan").tokens == ["<s>", "▁Anna", "</s>", "</s>", "▁Ivan", "</s>"]


def test_same_seed_same_rows(world: Remembered) -> None:
    again, other = MicroWorld(0), MicroWorld(1)
    assert again.digest() == world.digest() != other.digest()
    assert again.text_digest() == world.text_digest() not in (other.text_digest(), world.digest())
    for name, split in [("xnli", "test"), ("xcopa", "validation"), ("udpos", "test"), ("tatoeba", "validation")]:
        language = world.splits(name)[split][-1]
        assert again.rows(name, split, language) == world.rows(name, split, language)
    assert other.rows("tatoeba", "validation", "de") != world.rows("tatoeba", "validation", "de")


@pytest.mark.parametrize("name", ROW_DIGESTS)
def test_measured_rows_have_not_changed(world: Remembered, name: str) -> None:
    """New tasks and new rows come behind: what has been measured stays comparable."""
    total = hashlib.sha256()
    for split, languages in sorted(world.splits(name).items()):
        for language in languages:
            rows = [split, language, world.rows(name, split, language)]
            total.update(json.dumps(rows, ensure_ascii=False).encode())
    assert total.hexdigest().startswith(ROW_DIGESTS[name])


def test_lexicon_is_complete() -> None:
    text = LEXICON.read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", text)
    for concepts in lexicon().values():
        for concept in concepts.values():
            if concept.name not in ("open", "joint"):
                assert all(form for forms in concept.forms.values() for form in forms), concept.name
    assert set(lexicon()["verb"]) == set(lexicon()["never"])
    for verb in lexicon()["verb"].values():
        assert not verb.link or lexicon()["verb"][verb.link].link == verb.name
    for cause in lexicon()["cause"].values():
        assert lexicon()["effect"][cause.link].link == cause.name


def test_word_orders_use_every_slot_once() -> None:
    for language in LANGUAGES:
        assert all(sorted(order) == sorted(set("SNVOPT")) for order in STATEMENTS[language].values())
        assert all(len(set(order)) == len(order) for orders in QUESTIONS[language].values() for order in orders)


def test_committed_encoder_belongs_to_this_world(world: Remembered, tokenizer: Tokenizer) -> None:
    folder = Path(LEXICON).parent / "encoder"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * 2**20
    assert (folder / "tokenizer.json").read_text(encoding="utf-8") == tokenizer.to_str(pretty=True)
    record = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    assert record["world_digest"] == world.text_digest(), "the world's text has changed: make micro-encoder"


def test_pretraining_updates_are_functions_of_seed_and_step(world: Remembered, tokenizer: Tokenizer) -> None:
    import torch
    from transformers import XLMRobertaForMaskedLM

    from polystilts.training.pretrain import PretrainingObjective, PretrainingSettings, encoder_config

    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(encoder_config(tokenizer.get_vocab_size()))
    settings = PretrainingSettings(documents=2, translations=2, sentence_pairs=2, word_pairs=8)
    one, two = (PretrainingObjective(world, LANGUAGES, tokenizer, settings, seed=3) for _ in range(2))
    list(one.update(4))
    losses = [[float(part(model).detach()) for part in objective.update(5)] for objective in (one, two)]
    assert losses[0] == losses[1]
    assert losses[0] != [float(part(model).detach()) for part in one.update(6)]
