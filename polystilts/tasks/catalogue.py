"""The tasks there are, as values. Sources, label orders and row counts: documentation of each data set."""

from __future__ import annotations

from types import MappingProxyType

from polystilts.errors import UnknownName
from polystilts.tasks.spec import HubFiles, LocalFiles, TaskSpec

NLI_LABELS = ("entailment", "neutral", "contradiction")
POS_TAGS = tuple(
    [
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
    ]
)
NER_TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")

#: XTREME-R's wording of COPA's question, English in every language (scripts/train_xcopa.sh).
COPA_QUESTIONS = MappingProxyType({"cause": "What was the cause?", "effect": "What was the effect?"})

_XTREME_33 = tuple(
    [
        "af",
        "ar",
        "bg",
        "de",
        "el",
        "en",
        "es",
        "et",
        "eu",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hu",
        "id",
        "it",
        "ja",
        "kk",
        "ko",
        "mr",
        "nl",
        "pt",
        "ru",
        "ta",
        "te",
        "th",
        "tl",
        "tr",
        "ur",
        "vi",
        "yo",
        "zh",
    ]
)
#: XTREME-R's additions, which the hub's copy of XTREME does not have.
_POS_ADDED = ("lt", "pl", "ro", "uk", "wo")
_TATOEBA_ADDED = ("az", "lt", "pl", "ro", "uk")
_POS = tuple(sorted({*_XTREME_33, *_POS_ADDED}))
_NER = tuple(
    sorted(
        {*_XTREME_33, *["bn", "jv", "ka", "ml", "ms", "my", "sw"], *["qu", "pl", "uk", "az", "lt", "pa", "gu", "ro"]}
    )
)
_TATOEBA = tuple(
    [
        "af",
        "ar",
        "az",
        "bg",
        "bn",
        "de",
        "el",
        "es",
        "et",
        "eu",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hu",
        "id",
        "it",
        "ja",
        "jv",
        "ka",
        "kk",
        "ko",
        "lt",
        "ml",
        "mr",
        "nl",
        "pl",
        "pt",
        "ro",
        "ru",
        "sw",
        "ta",
        "te",
        "th",
        "tl",
        "tr",
        "uk",
        "ur",
        "vi",
        "zh",
    ]
)


def _splits(**names: str) -> MappingProxyType[str, str]:
    return MappingProxyType(names)


def _absent(**languages: tuple[str, ...]) -> MappingProxyType[str, tuple[str, ...]]:
    return MappingProxyType(languages)


_SPECS = (
    TaskSpec(
        name="mnli",
        title="MultiNLI",
        format="pair",
        metric="accuracy",
        labels=NLI_LABELS,
        train_task="mnli",
        choice_split="",
        report_split="",
        skill="semantic",
        hub=HubFiles(
            "nyu-mll/glue",
            "mnli",
            splits=_splits(train="train", validation="validation_matched"),
        ),
        local=LocalFiles("pair", _splits(train="xnli/train-{language}.tsv")),
        licence="OANC, CC BY 3.0, CC BY-SA 3.0, MIT",
    ),
    TaskSpec(
        name="squad_v1",
        title="SQuAD 1.1",
        format="span",
        metric="qa",
        train_task="squad_v1",
        choice_split="",
        report_split="",
        skill="reading",
        unit="paragraph",
        max_length=384,
        hub=HubFiles("rajpurkar/squad", "plain_text", splits=_splits(train="train", validation="validation")),
        local=LocalFiles("squad", _splits(train="squad/train-v1.1.json", validation="squad/dev-v1.1.json")),
        licence="CC BY-SA 4.0",
    ),
    TaskSpec(
        name="copa",
        title="COPA",
        format="choice",
        metric="accuracy",
        train_task="copa",
        choice_split="",
        report_split="",
        skill="reasoning",
        selection="last",
        question_texts=COPA_QUESTIONS,
        hub=HubFiles("aps/super_glue", "copa", splits=_splits(train="train", validation="validation")),
        local=LocalFiles(
            "copa", _splits(train="xcopa/train-{language}.jsonl", validation="xcopa/val-{language}.jsonl")
        ),
        licence="BSD 2-Clause",
    ),
    TaskSpec(
        name="xnli",
        title="XNLI",
        format="pair",
        metric="accuracy",
        languages=tuple(["ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"]),
        labels=NLI_LABELS,
        train_task="mnli",
        parallel=True,
        hub=HubFiles("facebook/xnli", "{language}", splits=_splits(validation="validation", test="test")),
        local=LocalFiles(
            "pair",
            _splits(validation="xnli/dev-{language}.tsv", test="xnli/test-{language}.tsv"),
        ),
        licence="CC BY-NC 4.0",
    ),
    TaskSpec(
        name="pawsx",
        title="PAWS-X",
        format="pair",
        metric="accuracy",
        languages=tuple(["de", "en", "es", "fr", "ja", "ko", "zh"]),
        labels=("0", "1"),
        train_task="pawsx",
        skill="semantic",
        parallel=True,
        hub=HubFiles(
            "google-research-datasets/paws-x",
            "{language}",
            splits=_splits(train="train", validation="validation", test="test"),
            columns=MappingProxyType({"premise": "sentence1", "hypothesis": "sentence2"}),
        ),
        local=LocalFiles(
            "pair",
            _splits(
                train="pawsx/train-{language}.tsv",
                validation="pawsx/dev-{language}.tsv",
                test="pawsx/test-{language}.tsv",
            ),
        ),
        licence="Google, free use with acknowledgement",
    ),
    TaskSpec(
        name="xcopa",
        title="XCOPA",
        format="choice",
        metric="accuracy",
        languages=tuple(["en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]),
        train_task="copa",
        selection="last",
        parallel=True,
        question_texts=COPA_QUESTIONS,
        hub=HubFiles(
            "cambridgeltl/xcopa",
            "{language}",
            splits=_splits(validation="validation", test="test"),
            absent=_absent(validation=("en",), test=("en",)),
        ),
        local=LocalFiles("copa", _splits(validation="xcopa/val-{language}.jsonl", test="xcopa/test-{language}.jsonl")),
        licence="CC BY 4.0",
        average_excludes=("en",),
        drawn_from="copa",
    ),
    TaskSpec(
        name="udpos",
        title="UD-POS",
        format="tagging",
        metric="pos_f1",
        languages=_POS,
        labels=POS_TAGS,
        train_task="udpos",
        skill="syntactic",
        hub=HubFiles(
            "google/xtreme",
            "udpos.{language}",
            spelling="name",
            splits=_splits(train="train", validation="validation", test="test"),
            columns=MappingProxyType({"tags": "pos_tags"}),
            absent=_absent(
                train=("th", "tl", "yo", *_POS_ADDED),
                validation=("kk", "th", "tl", "yo", *_POS_ADDED),
                test=_POS_ADDED,
            ),
        ),
        local=LocalFiles(
            "tagged",
            _splits(
                train="udpos/train-{language}.tsv",
                validation="udpos/dev-{language}.tsv",
                test="udpos/test-{language}.tsv",
            ),
        ),
        licence="Universal Dependencies: one licence a treebank (CC BY-SA, CC BY-NC-SA, …)",
    ),
    TaskSpec(
        name="panx",
        title="WikiANN (PAN-X)",
        format="tagging",
        metric="span_f1",
        languages=_NER,
        labels=NER_TAGS,
        train_task="panx",
        skill="syntactic",
        hub=HubFiles(
            "unimelb-nlp/wikiann",
            "{language}",
            splits=_splits(train="train", validation="validation", test="test"),
            columns=MappingProxyType({"tags": "ner_tags"}),
        ),
        local=LocalFiles(
            "prefixed",
            _splits(
                train="panx/train-{language}.tsv",
                validation="panx/dev-{language}.tsv",
                test="panx/test-{language}.tsv",
            ),
        ),
        licence="ODC-BY",
    ),
    TaskSpec(
        name="xquad",
        title="XQuAD",
        format="span",
        metric="qa",
        languages=tuple(["ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"]),
        train_task="squad_v1",
        unit="paragraph",
        parallel=True,
        max_length=384,
        report_split="",
        drawn_from="squad_v1",
        hub=HubFiles("google/xquad", "xquad.{language}", splits=_splits(validation="validation")),
        local=LocalFiles("squad", _splits(validation="xquad/xquad.{language}.json")),
        licence="CC BY-SA 4.0",
    ),
    TaskSpec(
        name="mlqa",
        title="MLQA",
        format="span",
        metric="qa_mlqa",
        languages=tuple(["ar", "de", "en", "es", "hi", "vi", "zh"]),
        train_task="squad_v1",
        # Most of its paragraphs hold one question, and languages share some of a paragraph's questions only.
        unit="id",
        parallel=True,
        max_length=384,
        hub=HubFiles(
            "facebook/mlqa",
            "mlqa.{language}.{language}",
            splits=_splits(validation="validation", test="test"),
            parquet_branch=True,
        ),
        local=LocalFiles(
            "squad",
            _splits(
                validation="mlqa/MLQA_V1/dev/dev-context-{language}-question-{language}.json",
                test="mlqa/MLQA_V1/test/test-context-{language}-question-{language}.json",
            ),
        ),
        licence="CC BY-SA 3.0",
    ),
    TaskSpec(
        name="tydiqa",
        title="TyDiQA-GoldP",
        format="span",
        metric="qa",
        languages=tuple(["ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te"]),
        train_task="tydiqa",
        skill="reading",
        checkpoint_split="",
        group="title",
        report_split="",
        unit="paragraph",
        max_length=384,
        hub=HubFiles(
            "google-research-datasets/tydiqa",
            "secondary_task",
            spelling="name",
            splits=_splits(train="train", validation="validation"),
            id_prefix="{language}-",
        ),
        local=LocalFiles(
            "squad",
            _splits(
                train="tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{language}.train.json",
                validation="tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{language}.dev.json",
            ),
        ),
        licence="Apache-2.0",
    ),
    TaskSpec(
        name="tatoeba",
        title="Tatoeba",
        format="sentence",
        metric="retrieval",
        languages=_TATOEBA,
        report_split="",
        unit="query",
        max_length=512,
        hub=HubFiles(
            "google/xtreme",
            "tatoeba.{language}",
            spelling="iso3",
            splits=_splits(validation="validation"),
            columns=MappingProxyType({"sentence": "source_sentence", "english": "target_sentence"}),
            absent=_absent(validation=_TATOEBA_ADDED),
        ),
        local=LocalFiles("bitext", _splits(validation="tatoeba/tatoeba.{language}-eng.{language}"), spelling="iso3"),
        licence="CC BY 2.0 FR",
    ),
)

TASKS: MappingProxyType[str, TaskSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def get_task(name: str, *, param: str = "task") -> TaskSpec:
    """The task of this name.

    Raises:
        UnknownName: with the nearest known name.
    """
    if name not in TASKS:
        raise UnknownName("task", name, TASKS, param=param)
    return TASKS[name]


def parse_mixture(text: str, *, param: str = "intermediate") -> tuple[TaskSpec, ...]:
    """``mnli+squad_v1`` -> the tasks of one mixture, in the order given."""
    return tuple(get_task(name.strip(), param=param) for name in text.split("+"))


def training_tasks() -> tuple[TaskSpec, ...]:
    """Tasks with training rows of their own: what can be intermediate."""
    return tuple(spec for spec in _SPECS if spec.train_task == spec.name)
