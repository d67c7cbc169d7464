"""English intermediate tasks: the paper's nine, Social IQa, and free stand-ins for CCG."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from polystilts.tasks.catalogue.helpers import frozen, table
from polystilts.tasks.catalogue.labels import COPA_QUESTIONS, NLI_LABELS, UD_RELATIONS
from polystilts.tasks.spec import HubFiles, LocalFiles, TaskSpec, UpstreamFiles


def intermediate(name: str, title: str, format: str, metric: str, skill: str, **rest: Any) -> TaskSpec:
    """A task that is trained on in English and never scored as a target."""
    values = {"train_task": name, "choice_split": "", "report_split": "", **rest}
    return TaskSpec(name, title, format, metric, skill=skill, **values)


ANLI = intermediate(
    "anli",
    "ANLI, rounds 1 to 3",
    "pair",
    "accuracy",
    "semantic",
    labels=NLI_LABELS,
    max_length=256,
    shape="anli",
    hub=HubFiles(
        "facebook/anli",
        "plain_text",
        splits=frozen(train="train_r*", validation="dev_r*"),
        rows=MappingProxyType({"train": 162865, "validation": 3200}),
    ),
    local=LocalFiles("table", frozen(train="anli/anli_r*_train.csv", validation="anli/anli_r*_dev.csv")),
    licence="CC BY-NC 4.0",
    non_commercial=True,
)

SNLI = intermediate(
    "snli",
    "SNLI",
    "pair",
    "accuracy",
    "semantic",
    labels=NLI_LABELS,
    hub=HubFiles(
        "stanfordnlp/snli",
        "plain_text",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 550152, "validation": 10000}),
    ),
    local=table(train="snli/snli_train.jsonl", validation="snli/snli_validation.jsonl"),
    licence="CC BY-SA 4.0",
)

MNLI = intermediate(
    "mnli",
    "MultiNLI",
    "pair",
    "accuracy",
    "semantic",
    labels=NLI_LABELS,
    hub=HubFiles(
        "nyu-mll/glue",
        "mnli",
        splits=frozen(train="train", validation="validation_matched"),
        rows=MappingProxyType({"train": 392702, "validation": 9815}),
    ),
    local=LocalFiles("pair", frozen(train="xnli/train-{language}.tsv")),
    licence="OANC, CC BY 3.0, CC BY-SA 3.0, MIT",
)

ANLI_PLUS = intermediate(
    "anli_plus",
    "ANLI+ (ANLI, MNLI, SNLI)",
    "pair",
    "accuracy",
    "semantic",
    labels=NLI_LABELS,
    max_length=256,
    parts=("anli", "mnli", "snli"),
    licence="CC BY-NC 4.0, CC BY-SA 4.0, OANC, CC BY 3.0, MIT",
    non_commercial=True,
    note="one NLI head; its rows are those of the three sets, so that each is drawn in proportion to its size",
)

QQP = intermediate(
    "qqp",
    "Quora Question Pairs",
    "pair",
    "accuracy",
    "semantic",
    labels=("not_duplicate", "duplicate"),
    hub=HubFiles(
        "nyu-mll/glue",
        "qqp",
        splits=frozen(train="train", validation="validation"),
        columns=frozen(premise="question1", hypothesis="question2"),
        rows=MappingProxyType({"train": 363846, "validation": 40430}),
    ),
    local=LocalFiles(
        "table",
        frozen(train="qqp/train.tsv", validation="qqp/dev.tsv"),
        columns=frozen(premise="question1", hypothesis="question2", label="is_duplicate"),
    ),
    licence="Quora's terms of service: non-commercial use",
    non_commercial=True,
)

SQUAD_V1 = intermediate(
    "squad_v1",
    "SQuAD 1.1",
    "span",
    "qa",
    "reading",
    unit="paragraph",
    max_length=384,
    hub=HubFiles(
        "rajpurkar/squad",
        "plain_text",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 87599, "validation": 10570}),
    ),
    local=LocalFiles("squad", frozen(train="squad/train-v1.1.json", validation="squad/dev-v1.1.json")),
    licence="CC BY-SA 4.0",
)

SQUAD_V2 = intermediate(
    "squad_v2",
    "SQuAD 2.0",
    "span",
    "qa_or_none",
    "reading",
    unit="paragraph",
    unanswerable=True,
    max_length=384,
    hub=HubFiles(
        "rajpurkar/squad_v2",
        "squad_v2",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 130319, "validation": 11873}),
    ),
    local=LocalFiles("squad", frozen(train="squad/train-v2.0.json", validation="squad/dev-v2.0.json")),
    licence="CC BY-SA 4.0",
    note="the threshold for 'no answer' is tuned on the rows that score it, which is optimistic; it does not travel",
)

HELLASWAG = intermediate(
    "hellaswag",
    "HellaSwag",
    "choice",
    "accuracy",
    "reasoning",
    shape="hellaswag",
    max_length=256,
    hub=HubFiles(
        "Rowan/hellaswag",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 39905, "validation": 10042}),
    ),
    local=table(train="hellaswag/hellaswag_train.jsonl", validation="hellaswag/hellaswag_val.jsonl"),
    licence="MIT",
)

COSMOSQA = intermediate(
    "cosmosqa",
    "Cosmos QA",
    "choice",
    "accuracy",
    "reasoning",
    shape="cosmosqa",
    max_length=256,
    upstream=UpstreamFiles(
        frozen(
            **{
                "cosmosqa/train.csv": "https://github.com/wilburOne/cosmosqa/raw/master/data/train.csv",
                "cosmosqa/valid.csv": "https://github.com/wilburOne/cosmosqa/raw/master/data/valid.csv",
            }
        )
    ),
    local=table(train="cosmosqa/train.csv", validation="cosmosqa/valid.csv"),
    licence="CC BY 4.0",
)

CSQA = intermediate(
    "csqa",
    "CommonsenseQA",
    "choice",
    "accuracy",
    "reasoning",
    shape="csqa",
    hub=HubFiles(
        "tau/commonsense_qa",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 9741, "validation": 1221}),
    ),
    local=table(train="commonsenseqa/train_rand_split.jsonl", validation="commonsenseqa/dev_rand_split.jsonl"),
    licence="MIT",
)

SIQA = intermediate(
    "siqa",
    "Social IQa",
    "choice",
    "accuracy",
    "reasoning",
    shape="siqa",
    hub=HubFiles(
        "allenai/social_i_qa",
        splits=frozen(train="train", validation="validation"),
        parquet_branch=True,
        rows=MappingProxyType({"train": 33410, "validation": 1954}),
    ),
    local=table(train="siqa/socialIQa_v1.4_trn.jsonl", validation="siqa/socialIQa_v1.4_dev.jsonl"),
    licence="CC BY 4.0",
)

COPA = intermediate(
    "copa",
    "COPA",
    "choice",
    "accuracy",
    "reasoning",
    selection="last",
    question_texts=COPA_QUESTIONS,
    hub=HubFiles(
        "aps/super_glue",
        "copa",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 400, "validation": 100}),
    ),
    local=LocalFiles(
        "copa",
        frozen(train="xcopa/train-{language}.jsonl", validation="xcopa/val-{language}.jsonl"),
        # The names that XTREME's download leaves.
        otherwise=LocalFiles(
            "copa", frozen(train="xcopa/train.{language}.jsonl", validation="xcopa/val.{language}.jsonl")
        ),
    ),
    licence="BSD 2-Clause",
)

CCG = intermediate(
    "ccg",
    "CCG supertagging",
    "tagging",
    "token_accuracy",
    "syntactic",
    max_length=256,
    local=LocalFiles("ccg", frozen(train="ccg/train.tsv", validation="ccg/val.tsv"), labels="ccg/tags_to_id.json"),
    licence="LDC User Agreement (CCGbank, LDC2005T13)",
    non_commercial=True,
    note="CCGbank (LDC2005T13) is licensed by the Linguistic Data Consortium and cannot be downloaded; "
    "convert it as jiant does and put train.tsv, val.tsv (sentence TAB tags) and tags_to_id.json into ccg/",
)

DEPREL = intermediate(
    "deprel",
    "UD English relations",
    "tagging",
    "token_accuracy",
    "syntactic",
    labels=UD_RELATIONS,
    shape="deprel",
    hub=HubFiles(
        "commul/universal_dependencies",
        "en_ewt",
        revision="2.17",
        splits=frozen(train="train", validation="dev"),
    ),
    local=LocalFiles("conllu", frozen(train="ud/en_ewt-ud-train.conllu", validation="ud/en_ewt-ud-dev.conllu")),
    licence="CC BY-SA 4.0",
    note="a free stand-in for CCG supertagging; so is `udpos`, trained in English as an intermediate task",
)

INTERMEDIATE = (
    ANLI_PLUS,
    ANLI,
    MNLI,
    SNLI,
    QQP,
    SQUAD_V1,
    SQUAD_V2,
    HELLASWAG,
    COSMOSQA,
    CSQA,
    SIQA,
    COPA,
    CCG,
    DEPREL,
)
