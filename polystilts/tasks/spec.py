"""What a task is: one frozen value that reads as its whole protocol. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class HubFiles:
    """Where a task's rows stand on the Hugging Face hub.

    Attributes:
        id: ``owner/name``.
        config: config name; ``{language}`` is replaced by the hub's own spelling of the language.
        spelling: which spelling of a language the configs use: code ('de'), iso3 ('deu') or name ('German').
        revision: the pinned commit or branch ('' = not pinned yet; `prepare` records what it resolved).
        splits: our split name -> the hub's.
        columns: our column name -> the hub's, where they differ.
        parquet_branch: read from ``refs/convert/parquet`` because ``main`` holds only a script.
        absent: our split name -> languages of the task that the repository does not have in this split.
        id_prefix: where one config holds all languages, a row's id starts with this in its language;
            ``{language}`` is replaced by the lower-cased `spelling`.
    """

    id: str
    config: str = "default"
    spelling: str = "code"
    revision: str = ""
    splits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    parquet_branch: bool = False
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    id_prefix: str = ""


@dataclass(frozen=True)
class LocalFiles:
    """Where a task's rows stand in a folder laid out like XTREME's ``download/``.

    Attributes:
        reader: name of the file reader in `polystilts.data.readers`.
        splits: split -> path pattern below the source folder; ``{language}`` is spelled as `spelling` says.
    """

    reader: str
    splits: Mapping[str, str]
    spelling: str = "code"


@dataclass(frozen=True)
class TaskSpec:
    """A task and the protocol by which it is trained and scored.

    Attributes:
        name: the one name used everywhere (tables, runs, folders, HTTP).
        title: as people write it.
        format: pair, choice, tagging, span or sentence.
        metric: main metric in `polystilts.metrics`: accuracy, pos_f1, span_f1 (tagging), qa (mean of exact
            match and F1) or retrieval (top-1 accuracy).
        languages: evaluation languages, English included where the benchmark includes it.
        labels: in the order of the logits.
        train_task: the task whose English rows train this target ('' = none: scored directly).
        skill: what an intermediate task of this kind trains: syntactic, semantic, reasoning, reading, code.
        checkpoint_split: split of the English rows that choose a checkpoint when this task is trained on;
            '' = the rows are held out from training: a tenth, split by `group`.
        group: what keeps rows together when a tenth is held out: 'id' or 'title' (TyDiQA).
        choice_split, report_split: splits whose rows choose a recipe, and are reported; where only one of the
            two is there, the half of the ids given by a hash of the id is `choice` and the other `report`.
            Both '': the task is trained on and never scored as a target.
        selection: 'best' keeps the best checkpoint by the metric on checkpoint rows, 'last' the last one.
        unit: unit of resampling for intervals: 'id' (joint over languages where parallel), 'paragraph',
            'query'.
        parallel: ids name the same example in every language.
        max_length, max_question_length, doc_stride, max_answer_length, question_texts: see FormatSettings.
        hub, local: the sources beside the micro world.
        licence: of the data.
        average_excludes: languages that the benchmark's average leaves out (English for XCOPA).
        drawn_from: the task whose English checkpoint rows contain this task's English rows: XQuAD lies inside
            SQuAD's validation rows, English XCOPA is COPA's. Such rows are kept out of checkpoint rows.
    """

    name: str
    title: str
    format: str
    metric: str
    languages: tuple[str, ...] = ("en",)
    labels: tuple[str, ...] = ()
    train_task: str = ""
    skill: str = ""
    checkpoint_split: str = "validation"
    group: str = "id"
    choice_split: str = "validation"
    report_split: str = "test"
    selection: str = "best"
    unit: str = "id"
    parallel: bool = False
    max_length: int = 128
    max_question_length: int = 64
    doc_stride: int = 128
    max_answer_length: int = 30
    question_texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hub: HubFiles | None = None
    local: LocalFiles | None = None
    licence: str = ""
    average_excludes: tuple[str, ...] = ()
    drawn_from: str = ""

    @property
    def trains_on_itself(self) -> bool:
        return self.train_task in ("", self.name)
