"""Machine-translated training sets, for multilingual fine-tuning. Row i is the same example in every language."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from polystilts.tasks.catalogue.helpers import by_benchmark, codes, frozen, three_splits, xtreme_files
from polystilts.tasks.catalogue.intermediate import MNLI, SQUAD_V1
from polystilts.tasks.catalogue.targets import PAWSX
from polystilts.tasks.spec import HubFiles, LocalFiles, TaskSpec

MNLI_TRANSLATED = replace(
    MNLI,
    name="mnli_translated",
    title="MultiNLI, translated (XNLI's training sets)",
    train_task="mnli_translated",
    translates="mnli",
    languages=codes("ar bg de el es fr hi ru sw th tr ur vi zh"),
    train_languages=codes("ar bg de el es fr hi ru sw th tr ur vi zh"),
    parallel=True,
    hub=HubFiles("facebook/xnli", "{language}", splits=frozen(train="train"), rows=MappingProxyType({"train": 392702})),
    local=LocalFiles(
        "pair",
        frozen(train="xnli/train-{language}.tsv"),
        # XTREME's own translations, where its XNLI processor looks for them.
        otherwise=LocalFiles("translated", frozen(train="xnli/XNLI-Translated/en-{language}-translated.tsv")),
    ),
    licence="CC BY-NC 4.0",
    non_commercial=True,
)

PAWSX_TRANSLATED: TaskSpec = replace(
    PAWSX,
    name="pawsx_translated",
    title="PAWS, translated (PAWS-X's training sets)",
    train_task="pawsx_translated",
    translates="pawsx",
    languages=codes("de es fr ja ko zh"),
    train_languages=codes("de es fr ja ko zh"),
    choice_split="",
    report_split="",
    hub=three_splits(
        "google-research-datasets/paws-x",
        columns=frozen(premise="sentence1", hypothesis="sentence2"),
        rows=MappingProxyType({"train": 49401}),
    ),
    local=replace(
        xtreme_files("pair", "pawsx"),
        otherwise=LocalFiles(
            "table",
            # PAWS-X's own archive.
            frozen(train="x-final/{language}/translated_train.tsv"),
            columns=frozen(premise="sentence1", hypothesis="sentence2"),
            # Its ids count from 1; elsewhere rows are counted from 0.
            repeated_ids=("train",),
            # XTREME's own translations, where its PAWS-X processor looks for them.
            otherwise=LocalFiles("translated", frozen(train="pawsx/translated/en-{language}-translated.tsv")),
        ),
    ),
    benchmarks=by_benchmark(),
)

SQUAD_TRANSLATED = replace(
    SQUAD_V1,
    name="squad_translated",
    title="SQuAD 1.1, translated (MLQA's training sets)",
    train_task="squad_translated",
    translates="squad_v1",
    languages=codes("ar de es hi vi zh"),
    train_languages=codes("ar de es hi vi zh"),
    parallel=True,
    hub=HubFiles(
        "facebook/mlqa",
        "mlqa-translate-train.{language}",
        splits=frozen(train="train"),
        parquet_branch=True,
        rows=MappingProxyType({"train": 78058}),
    ),
    local=LocalFiles("squad", frozen(train="mlqa-translate-train/{language}_squad-translate-train-train-v1.1.json")),
    licence="CC BY-SA 3.0",
)

TRANSLATED = (MNLI_TRANSLATED, PAWSX_TRANSLATED, SQUAD_TRANSLATED)
