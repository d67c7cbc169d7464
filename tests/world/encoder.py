"""A tiny XLM-R in Hugging Face layout, and a few rows of every format in several scripts.

Everything is drawn from fixed seeds: two calls write the same bytes. Nothing it predicts means anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaModel
from transformers.utils import logging as transformers_logging

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import (
    Answer,
    ChoiceExample,
    PairExample,
    SentenceExample,
    SpanExample,
    TaggingExample,
)

HIDDEN, LAYERS, POSITIONS = 32, 2, 130

#: Special tokens in XLM-R's order; `<mask>` comes last, as there.
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")

#: What the tokenizer learns from: en de ru zh th hi ar tr.
TEXTS = (
    "The cat sleeps on the old table and nobody is outside today.",
    "The dog runs to the river because the house is empty.",
    "Die Katze schläft heute auf dem alten Tisch, und niemand ist draußen.",
    "Der Hund läuft zum Fluss, weil das Haus leer ist.",
    "Кошка спит на старом столе, а на улице никого нет.",
    "Собака бежит к реке, потому что дом пуст.",
    "猫在旧桌子上睡觉，今天外面没有人。",
    "狗跑到河边，因为房子是空的。",
    "แมวนอนบนโต๊ะเก่า และวันนี้ไม่มีใครอยู่ข้างนอก",
    "สุนัขวิ่งไปที่แม่น้ำเพราะบ้านว่าง",
    "बिल्ली पुरानी मेज़ पर सोती है और आज बाहर कोई नहीं है।",
    "कुत्ता नदी की ओर दौड़ता है क्योंकि घर खाली है।",
    "القطة تنام على الطاولة القديمة ولا أحد في الخارج اليوم.",
    "الكلب يركض إلى النهر لأن البيت فارغ.",
    "Kedi bugün eski masanın üzerinde uyuyor ve dışarıda kimse yok.",
    "Köpek nehre koşuyor çünkü ev boş.",
)

SETTINGS: Mapping[str, FormatSettings] = {
    "pair": FormatSettings("pair", ("entailment", "neutral", "contradiction"), 96),
    "choice": FormatSettings(
        "choice", max_length=96, question_texts={"cause": "What was the CAUSE of this?", "effect": "What then?"}
    ),
    "tagging": FormatSettings("tagging", ("ADJ", "NOUN", "PUNCT", "VERB"), 32),
    "span": FormatSettings("span", max_length=40, max_question_length=12, doc_stride=12, max_answer_length=20),
    "sentence": FormatSettings("sentence", max_length=96, layers=(1,)),
}

#: Formats that have targets to train on.
TRAINABLE = ("pair", "choice", "tagging", "span")


def _span(id: str, language: str, question: str, context: str, answer: str) -> SpanExample:
    return SpanExample(id, language, question, context, (Answer(answer, context.index(answer)),))


#: Rows of unequal length, with gold where the format has any; of each, several languages.
EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "pair": (
        PairExample("p0", "en", TEXTS[0], "Nobody is outside.", "entailment"),
        PairExample("p1", "en", "The dog runs.", "The cat sleeps on the table.", "neutral"),
        PairExample("p2", "de", TEXTS[2], "Die Katze läuft zum Fluss.", "contradiction"),
        PairExample("p3", "ru", "Дом пуст.", "Дом.", "entailment"),
        PairExample("p4", "zh", TEXTS[6], TEXTS[7], "neutral"),
        PairExample("p5", "th", "แมวนอน", "สุนัขวิ่ง", "contradiction"),
        PairExample("p6", "hi", TEXTS[10], "घर खाली है।", "neutral"),
        PairExample("p7", "tr", "Ev boş.", TEXTS[14], "entailment"),
    ),
    "choice": (
        ChoiceExample("c0", "en", "The house is empty.", "cause", ("Nobody is outside.", "The dog runs."), 1),
        ChoiceExample("c1", "en", TEXTS[1], "effect", ("The cat sleeps.", "The house is old today."), 0),
        ChoiceExample("c2", "ru", "Дом пуст.", "cause", ("Собака бежит.", TEXTS[4]), 1),
        ChoiceExample("c3", "zh", "房子是空的。", "effect", ("狗跑到河边。", "猫在睡觉。", "没有人。"), 2),
        ChoiceExample("c4", "th", TEXTS[9], "", ("แมวนอน", "บ้านว่าง"), 0),
        ChoiceExample("c5", "ar", TEXTS[13], "cause", ("القطة تنام", "لا أحد في البيت"), 1),
    ),
    "tagging": (
        TaggingExample("t0", "en", ("The", "old", "cat", "sleeps", "."), ("ADJ", "ADJ", "NOUN", "VERB", "PUNCT")),
        TaggingExample("t1", "de", ("Der", "Hund", "läuft"), ("ADJ", "NOUN", "VERB")),
        TaggingExample("t2", "ru", ("Кошка", "спит", "."), ("NOUN", "VERB", "PUNCT")),
        TaggingExample("t3", "zh", ("旧", "桌子", "。"), ("ADJ", "NOUN", "PUNCT")),
        TaggingExample("t4", "hi", ("पुरानी", "मेज़", "।"), ("ADJ", "NOUN", "PUNCT")),
        TaggingExample(
            "t5",
            "en",
            ("The", "dog", "runs", ",", "the", "river", "runs", ",", "the", "cat", "runs", "."),
            ("ADJ", "NOUN", "VERB", "PUNCT", "ADJ", "NOUN", "VERB", "PUNCT", "ADJ", "NOUN", "VERB", "PUNCT"),
        ),
        TaggingExample("t6", "th", ("แมว", "นอน"), ("NOUN", "VERB")),
    ),
    "span": (
        _span("s0", "en", "Who sleeps?", TEXTS[0], "The cat"),
        _span("s1", "de", "Wer läuft?", TEXTS[3] + " " + TEXTS[2], "niemand"),
        _span("s2", "ru", "Кто спит?", TEXTS[4] + " " + TEXTS[5], "Собака"),
        _span("s3", "zh", "谁睡觉？", TEXTS[6] + TEXTS[7], "河边"),
        _span("s4", "th", "ใครนอน", TEXTS[8], "แมว"),
        _span("s5", "hi", "घर क्या है?", TEXTS[11], "खाली"),
        SpanExample("s6", "en", "Where?", TEXTS[1]),
    ),
    "sentence": tuple(
        SentenceExample(f"e{i}", language, text)
        for i, (language, text) in enumerate(
            [
                ("en", TEXTS[0]),
                ("de", "Das Haus."),
                ("ru", TEXTS[5]),
                ("zh", TEXTS[6]),
                ("th", "แมว"),
                ("ar", TEXTS[12]),
            ]
        )
    ),
}


@cache
def _tokenizer_text() -> str:
    """A Unigram tokenizer, as XLM-R's, over pieces that BPE has learnt: training Unigram is not deterministic."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.NFKC()
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(SPECIAL_TOKENS), show_progress=False)
    learner.train_from_iterator(TEXTS, trainer)
    pieces = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    # A cost for every piece and a little more for a rarer one: the fewest pieces win, as with long words in XLM-R.
    scores = [(piece, 0.0 if number < len(SPECIAL_TOKENS) else -10 - number / 1000) for piece, number in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=SPECIAL_TOKENS.index("<unk>")))
    tokenizer.normalizer = learner.normalizer
    tokenizer.pre_tokenizer = learner.pre_tokenizer
    tokenizer.add_special_tokens([*SPECIAL_TOKENS, "<mask>"])
    tokenizer.post_processor = _special_tokens_added()
    return tokenizer.to_str()


def tiny_tokenizer() -> Tokenizer:
    """The encoder's tokenizer, by itself."""
    return Tokenizer.from_str(_tokenizer_text())


def letter_tokenizer() -> Tokenizer:
    """One piece for each letter a-z, for expected values that can be read.

    A letter that starts a word has the id 4 + n, any other 30 + n (n = 0 for a); the word mark alone is 56.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*SPECIAL_TOKENS, *(f"▁{letter}" for letter in letters), *letters, "▁"]
    scores = [(piece, 0.0 if piece in SPECIAL_TOKENS else -1.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=SPECIAL_TOKENS.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = _special_tokens_added()
    return tokenizer


def _special_tokens_added() -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )


def tiny_format(name: str, **changed: Any) -> Any:
    """A format over the tiny tokenizer with the settings of SETTINGS, some of them changed."""
    settings = FormatSettings(**(vars(SETTINGS[name]) | changed))
    return make_format(Pieces(tiny_tokenizer()), settings)


def tiny_encoder(folder: Path, *, dropout: float = 0.1, seed: int = 0) -> Path:
    """Writes a 2-layer encoder with its tokenizer; returns the folder.

    Args:
        folder: made if missing.
        dropout: of hidden states and attention.
        seed: of the weights, which are larger than usual so that outputs differ from row to row.
    """
    tokenizer = tiny_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        layer_norm_eps=1e-5,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        **{"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return folder
