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
        files: split -> path of a json or csv file in the repository, where it holds no parquet.
        rows: split -> documented number of rows of the English config (of the only one where there is one),
            for `make check-hub`.
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
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rows: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class UpstreamFiles:
    """Where rows stand that the hub does not hold in a form that can be loaded: the authors' own files.

    `prepare` fetches them into the project's downloads folder in the layout of `LocalFiles`, whose readers then
    read them; the source is still called `hub`.

    Attributes:
        urls: path pattern below the folder, as in `LocalFiles.splits` -> address; ``{language}`` is spelled as
            `LocalFiles.spelling` says. An address of an archive ends in ``#MEMBER``.
        note: how to get what cannot be fetched by address ('' = everything can).
    """

    urls: Mapping[str, str]
    note: str = ""


@dataclass(frozen=True)
class LocalFiles:
    """Where a task's rows stand in a folder laid out like XTREME's ``download/``.

    Attributes:
        reader: name of the file reader in `polystilts.data.readers`.
        splits: split -> path pattern below the source folder; ``{language}`` is spelled as `spelling` says. A ``*``
            stands for several files that are read one after the other in the order of their names.
        names: code -> the files' spelling, for the languages that no common spelling fits.
        labels: path of a file with the labels, where the spec does not list them (CCG).
        repeated_ids: splits whose ids repeat for a known reason; rows are then numbered instead.
        columns: our column name -> the file's, where they differ.
        otherwise: another layout of the same rows, whose files are read where those of this one are not there.
    """

    reader: str
    splits: Mapping[str, str]
    spelling: str = "code"
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    labels: str = ""
    repeated_ids: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    otherwise: LocalFiles | None = None


@dataclass(frozen=True)
class TaskSpec:
    """A task and the protocol by which it is trained and scored.

    Attributes:
        name: the one name used everywhere (tables, runs, folders, HTTP).
        title: as people write it.
        format: pair, choice, tagging, span or sentence.
        metric: main metric in `polystilts.metrics`.
        languages: evaluation languages, English included where the benchmark includes it.
        labels: in the order of the logits; () where the source lists them (CCG).
        rows_of: the task whose rows these are ('' = its own): protocols of one data set share its rows.
        parts: tasks whose rows, one after the other, are this task's rows (ANLI+).
        train_task: the task whose English rows train this target ('' = none: scored directly).
        before: tasks trained one after the other before `train_task`, from the recipe's encoder (XTREME-R trains
            Social IQa before COPA). A head travels to the next of the same format.
        train_languages: languages of the training rows; others than English for translated training sets.
        translates: the English task that a translated training set is a translation of: its checkpoint rows
            choose.
        skill: what an intermediate task of this kind trains: syntactic, semantic, reasoning, reading, code.
        checkpoint_split: split of the English rows that choose a checkpoint when this task is trained on;
            '' = the rows are held out from training: a tenth, split by `group`.
        group: what keeps rows together when a tenth is held out: 'id' or 'title' (TyDiQA).
        choice_split, report_split: splits whose rows choose a recipe, and are reported; where only one of the
            two is there, the half of the ids given by a hash of the id is `choice` and the other `report`.
            Both '': the task is trained on and never scored as a target.
        pool_split: split of candidates that all languages share (Mewsli-X's entities).
        selection: 'best' keeps the best checkpoint by the metric on checkpoint rows, 'last' the last one.
        unit: unit of resampling for intervals: 'id' (joint over languages where parallel), 'paragraph',
            'query'.
        parallel: ids name the same example in every language.
        unanswerable: some questions have no answer in their context (SQuAD 2.0).
        shape: the function in `polystilts.data.shapes` that makes a raw row ours, where renaming columns does not.
        max_length, max_question_length, doc_stride, max_answer_length, question_texts: see FormatSettings.
        pooling: see FormatSettings (sentence).
        micro_batch_rows: rows of a micro-batch of a contrastive task: its negatives; 0 = a whole update.
        hub, upstream, local: the sources beside the micro world.
        licence: of the data.
        non_commercial: the licence of the data forbids commercial use.
        benchmarks: benchmark -> the languages of its list, in XTREME's evaluate.py.
        average_excludes: languages that the benchmark's average leaves out (English for XCOPA).
        drawn_from: the task whose English checkpoint rows contain this task's English rows: XQuAD lies inside
            SQuAD's validation rows, English XCOPA is COPA's. Such rows are kept out of checkpoint rows.
        note: what a reader of the catalogue must know beside all this.
    """

    name: str
    title: str
    format: str
    metric: str
    languages: tuple[str, ...] = ("en",)
    labels: tuple[str, ...] = ()
    rows_of: str = ""
    parts: tuple[str, ...] = ()
    train_task: str = ""
    before: tuple[str, ...] = ()
    train_languages: tuple[str, ...] = ("en",)
    translates: str = ""
    skill: str = ""
    checkpoint_split: str = "validation"
    group: str = "id"
    choice_split: str = "validation"
    report_split: str = "test"
    pool_split: str = ""
    selection: str = "best"
    unit: str = "id"
    parallel: bool = False
    unanswerable: bool = False
    shape: str = ""
    max_length: int = 128
    max_question_length: int = 64
    doc_stride: int = 128
    max_answer_length: int = 30
    question_texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pooling: str = "mean"
    micro_batch_rows: int = 0
    hub: HubFiles | None = None
    upstream: UpstreamFiles | None = None
    local: LocalFiles | None = None
    licence: str = ""
    non_commercial: bool = False
    benchmarks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    average_excludes: tuple[str, ...] = ()
    drawn_from: str = ""
    note: str = ""

    @property
    def data(self) -> str:
        """Name of the data set whose rows these are."""
        return self.rows_of or self.name

    @property
    def is_target(self) -> bool:
        """Whether it is scored across languages."""
        return bool(self.evaluation_splits)

    @property
    def evaluation_splits(self) -> tuple[str, ...]:
        """The choice and the report split, those of the two that it has."""
        return tuple(split for split in (self.choice_split, self.report_split) if split)

    @property
    def test_split(self) -> str:
        """The split that a benchmark scores: the report split, or the only one that it has; '' if none."""
        return self.report_split or self.choice_split
