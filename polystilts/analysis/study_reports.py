"""From the banks of a study to its report: the statistics of the question, its tables and pictures, what was run.

`StudyFile` is what a study leaves behind beside its banks: enough to make the report again without a model. `report_of`
makes it, for the study itself and for whoever rebuilds it later, so both have the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from polystilts.analysis import BASELINE
from polystilts.analysis.recipes import MIN_SEEDS
from polystilts.analysis.report import (
    Column,
    DataLine,
    Gap,
    KeyEstimate,
    Marked,
    Picture,
    Ran,
    Report,
    RunLine,
    Section,
    Table,
)
from polystilts.analysis.report.figures import (
    LanguagePoint,
    Line,
    gain_by_size,
    heat_map,
    interaction,
    language_dots,
    layer_curves,
    noise_curves,
)
from polystilts.analysis.report.paper import LIMIT_NOTES, PUBLISHED, paper_section
from polystilts.analysis.report.values import count
from polystilts.analysis.studies import common
from polystilts.analysis.studies.code import code_study
from polystilts.analysis.studies.common import (
    CLEAN,
    LIMITS,
    Arm,
    Banks,
    Cell,
    Effect,
    Result,
    condition_said,
    gain,
    is_repeat,
    mean_of,
    noise_of,
    trained_in,
)
from polystilts.analysis.studies.lines import Slope
from polystilts.analysis.studies.low_resource import LowResourceResult, cc100_sizes, low_resource_study
from polystilts.analysis.studies.paws import PawsResult, paws_study
from polystilts.analysis.studies.retrieval import Staged, split_of
from polystilts.analysis.studies.scale import ScaleResult, scale_study
from polystilts.analysis.studies.typo import TypoResult, typo_study
from polystilts.errors import BadRow, MissingData, UnknownName
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.runtime.folders import read_json, write_json
from polystilts.tasks.catalogue import TASKS
from polystilts.tasks.languages import LANGUAGES

SCHEMA_VERSION = 1

#: Name of the file.
STUDY = "study.json"

#: Recipes that one picture of languages can show beside each other.
_SERIES = 4

#: Tables whose numbers are levels and no differences -> what they are called.
_LEVELS: Mapping[str, str] = {"measures": "score", "calibration": "error", "curves": "score", "losses": "loss, %"}

#: Tables whose numbers are neither levels nor differences -> what they are called.
_RELATIONS: Mapping[str, str] = {"relations": "slope", "ranks": "correlation"}

#: Columns that are called otherwise than a study calls them.
_TITLES = {"p_holm": "p (Holm)", "p_inferior": "p (inferior)", "p_best": "p (better than each)", "slope_of": "slope on"}

#: Columns of differences without an interval; of numbers of any size.
_SIGNED, _ANY_SIZE = ("gain_small", "gain_large"), ("size",)

#: What the marks in tables of studies mean.
_MARKS: Mapping[str, str] = {
    **LIMIT_NOTES,
    "=": "the recipe has learnt the target's training task",
    "loses": "shown over all languages (Holm)",
    "gains": "shown over all languages (Holm)",
    "non-inferior": "a loss of 1 point is excluded",
}

#: Parts of an interval, in columns of a study's table.
_PARTS = ("value", "low", "high")

#: Reads the bank of a name.
Read = Callable[[str], list[BankRow]]


@dataclass(frozen=True)
class StudyCell:
    """One bank of a study.

    Attributes:
        base: the encoder as it was asked for, with its option where there is one: see `cells.base_name`.
        condition: as `polystilts.analysis.studies.common` names it.
        bank: name of the Parquet file, below the output folder.
    """

    base: str
    recipe: str
    target: str
    seed: int
    condition: str
    bank: str


@dataclass(frozen=True)
class StudyFile:
    """What a study was, what it left and where.

    Attributes:
        question: one of `QUESTIONS`.
        source: of the rows.
        command: that repeats it.
        settings: what the question needs beside cells: see the function of each question.
        parameters: embeddings and layers, by base.
        trivial: bank of each target's trivial baseline.
        setting: base, preset, code version, machine, by name.
        runs, data, cost: as in `Ran`.
        missing: cells that failed or were not run, in words.
        retrieval: for each base and target of aligned sentences ``base``, ``target``, ``fixed`` (layer) and ``models``:
            recipe -> seed -> `Staged`, as JSON.
    """

    question: str
    source: str
    command: str
    settings: Mapping[str, Any]
    parameters: Mapping[str, int]
    cells: tuple[StudyCell, ...]
    trivial: Mapping[str, str]
    setting: tuple[tuple[str, str], ...] = ()
    runs: tuple[RunLine, ...] = ()
    data: tuple[DataLine, ...] = ()
    cost: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    retrieval: tuple[Mapping[str, Any], ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        """In the order of the study; the first is the one that questions of one base are asked of."""
        return tuple(dict.fromkeys(cell.base for cell in self.cells))

    def write(self, folder: Path) -> Path:
        """Writes `STUDY` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STUDY, {"schema_version": SCHEMA_VERSION, **asdict(self)})
        return folder / STUDY

    @classmethod
    def read(cls, path: Path) -> StudyFile:
        """Raises:
        BadRow: a file of another schema, or not of this form.
        """
        value = read_json(path)
        if not isinstance(value, dict) or value.pop("schema_version", None) != SCHEMA_VERSION:
            raise BadRow(str(path), f"schema version {SCHEMA_VERSION} expected")
        try:
            lists = {
                "cells": tuple(StudyCell(**cell) for cell in value["cells"]),
                "runs": tuple(RunLine(**run) for run in value["runs"]),
                "data": tuple(DataLine(**line) for line in value["data"]),
                "setting": tuple((name, text) for name, text in value["setting"]),
                "cost": tuple((name, text) for name, text in value["cost"]),
                "missing": tuple(value["missing"]),
                "retrieval": tuple(value["retrieval"]),
            }
            return cls(**{**value, **lists})
        except (KeyError, TypeError) as error:
            raise BadRow(str(path), f"no study: {error}") from None


@dataclass(frozen=True)
class Asked:
    """Cells that were read, and all that is computed from them.

    Attributes:
        cells: each base, recipe, target, seed and condition once.
        choice: zero-shot mean on choice rows by base, recipe and target.
    """

    file: StudyFile
    cells: tuple[Cell, ...]
    trivial: Mapping[str, Sequence[BankRow]]
    choice: Mapping[tuple[str, str, str], float]

    @property
    def base(self) -> str:
        """The one that questions of one base are asked of."""
        return self.file.bases[0]

    def banks(self, base: str) -> Banks:
        """Of one base; all conditions."""
        return Banks([cell for cell in self.cells if cell.base == base], self.trivial)


def report_of(file: StudyFile, read: Read) -> Report:
    """The report of a study.

    Raises:
        MissingData: a study without cells.
        UnknownName: a question that is not known.
    """
    if file.question not in QUESTIONS:
        raise UnknownName("question", file.question, QUESTIONS, param="question")
    if not file.cells:
        raise MissingData("a study without cells has nothing to report", param="cells", given=0)
    asked = _read(file, read)
    title, answer_of = QUESTIONS[file.question]
    result, sections = answer_of(asked)
    first, second = _two_sentences(result.answer)
    estimates: tuple[KeyEstimate, ...] = ()
    if result.effect is not None:
        name, effect, note = EFFECTS[file.question], result.effect, ""
        if isinstance(effect, Effect):
            note = f"{count(effect.rows, 'row')}, {count(len(effect.seeds), 'seed')}"
        elif isinstance(effect, Slope):
            note = f"{count(effect.points, 'gain')} of languages, {effect.families} families"
        estimates = (KeyEstimate(name, result.effect, note=note),)
    tables = tuple(table_of(table) for table in result.tables if table.lines)
    grids = [section for base in file.bases for section in _grid(asked, base)]
    splits = [_split(group, number) for number, group in enumerate(file.retrieval)]
    behind = Section(
        "Everything behind the answer", ("Differences carry their sign; all rows are report rows.",), (), tables
    )
    left_open = [*map(_gap, result.not_concluded), *(gap for _, gaps in splits for gap in gaps)]
    ran = _ran(file)
    if len(ran.seeds) < MIN_SEEDS:
        # Every report says by itself what too few seeds leave open.
        left_open = [gap for gap in left_open if common.ABOUT_CHANCE not in gap.what.lower()]
    return Report(
        name=f"study-{file.question}",
        title=title,
        question=result.question,
        answer=(first, second),
        source=file.source,
        ran=ran,
        command=file.command,
        estimates=estimates,
        sections=(*sections, *grids, *(section for section, _ in splits), behind),
        unconcluded=(*left_open, *map(_gap, file.missing)),
    )


def main_table(file: StudyFile, read: Read) -> Report:
    """The paper's main table from the banks of a study, with published numbers beside ours where they could be checked.

    Raises:
        MissingData: a study without cells, or without a recipe beside the baseline.
    """
    if not file.cells:
        raise MissingData("a study without cells has nothing to report", param="cells", given=0)
    asked = _read(replace(file, cells=tuple(cell for cell in file.cells if cell.condition == CLEAN)), read)
    cells, choice, limits = _gains_of(asked, asked.base)
    if all(recipe == BASELINE for recipe, _ in cells):
        raise MissingData("no recipe beside the baseline was scored", param="cells", given=0)
    # The numbers of XLM-R large stand beside real data only.
    section = paper_section(cells, choice, limits=limits, published=() if file.source == "micro" else PUBLISHED)
    left_open = [f"{r} on {t}, because {LIMITS[limit]}" for (r, t), limit in limits.items() if r != BASELINE]
    gains = [
        effect
        for (recipe, target), effect in cells.items()
        if recipe != BASELINE and (recipe, target) not in limits and not is_repeat(recipe, target)
    ]
    above, below = sum(effect.low > 0 for effect in gains), sum(effect.high < 0 for effect in gains)
    return Report(
        name="main-table",
        title="Intermediate tasks against targets",
        question="What does each English intermediate task change on each target, zero-shot?",
        answer=(
            f"From {asked.base}, of {count(len(gains), 'difference')} to the baseline without an intermediate task "
            f"{above or 'none'} above 0 and {below or 'none'} below it have a 95 % interval, not adjusted for their "
            "number, that leaves out 0.",
            "Differences are paired on rows and seeds; a cell marked floor, ceiling or = supports no conclusion.",
        ),
        source=file.source,
        ran=_ran(file),
        command=file.command,
        sections=(section,),
        unconcluded=tuple(map(_gap, [*left_open, *file.missing])),
    )


def _ran(file: StudyFile) -> Ran:
    seeds = tuple(sorted({cell.seed for cell in file.cells}))
    return Ran(seeds=seeds, setting=file.setting, runs=file.runs, data=file.data, cost=file.cost)


def table_of(table: common.Table, *, prefix: str = "") -> Table:
    """A study's table as a report shows it: value, low and high are one column, the end of the scale and `=` are
    marks."""
    name = prefix + table.name.replace("_", "-")
    keys = list(table.lines[0])
    ranged = [key[: -len("value")] for key in keys if key.endswith("value") and f"{key[:-5]}low" in keys]
    level, relation = _LEVELS.get(table.name, ""), _RELATIONS.get(table.name, "")
    hidden = {f"{one}{part}" for one in ranged for part in ("low", "high")} | {*_MARKING, "claim", "smallest"}
    # That a score differs from 0 is no news; that a loss does, is.
    hidden |= {"p"} if level == "score" else set()
    shown = [key for key in keys if key not in hidden and any(line[key] is not None for line in table.lines)]
    marks = [_marks(line) for line in table.lines]
    return Table(
        name,
        table.title,
        tuple(_column(key, ranged, level, relation) for key in shown),
        tuple(
            tuple(_value(line, key, ranged, level, own) for key in shown)
            for line, own in zip(table.lines, marks, strict=True)
        ),
        note=" ".join(f"{mark}: {said}." for mark, said in _MARKS.items() if any(mark in own for own in marks)),
    )


#: Columns of a study's table that become marks.
_MARKING = ("limit", "same", "verdict", "non_inferior")


def _marks(line: common.Line) -> list[str]:
    words = [line.get("limit"), "=" * bool(line.get("same")), line.get("verdict")]
    return [word for word in (*words, "non-inferior" * bool(line.get("non_inferior"))) if word]


@dataclass(frozen=True)
class Range:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def _column(key: str, ranged: Sequence[str], level: str, relation: str) -> Column:
    if key.endswith("value") and key[:-5] in ranged:
        own = key[:-5].strip("_").replace("_", " ") or level or relation or "difference"
        return Column(own, signed=not level or key != "value", digits=2 if relation else 1)
    digits = 3 if key == "p" or key.startswith("p_") else None if key in _ANY_SIZE else 1
    return Column(_TITLES.get(key, key.replace("_", " ")), signed=key in _SIGNED, digits=digits)


def _value(line: common.Line, key: str, ranged: Sequence[str], level: str, marks: Sequence[str]) -> Any:
    stem = key[:-5] if key.endswith("value") else None
    if stem is None or stem not in ranged:
        value = line[key]
        if value is None and key.startswith("p_"):
            return ""  # adjusted where there is a family of hypotheses, and nowhere else
        return ("yes" if value else "no") if isinstance(value, bool) else value
    if any(line[f"{stem}{part}"] is None for part in _PARTS):
        return None
    found = Range(*(float(line[f"{stem}{part}"]) for part in _PARTS))
    if stem:
        return found
    mark = " ".join(marks)
    if level or line.get("limit"):
        return Marked(found, mark, "" if level else "nothing")
    return Marked(found, mark, "good" if found.low > 0 else "bad" if found.high < 0 else "")


# Reading


def _read(file: StudyFile, read: Read) -> Asked:
    cells: dict[tuple[str, str, str, int, str], Cell] = {}
    sums: dict[tuple[str, str, str], list[float]] = {}
    for one in file.cells:
        rows = read(one.bank)
        kept = [row for row in rows if row.role == "report"]
        confidence = [row.probability for row in kept if row.probability is not None]
        cells[one.base, one.recipe, one.target, one.seed, one.condition] = Cell(
            one.base,
            one.recipe,
            one.target,
            one.seed,
            one.condition,
            kept,
            tuple(confidence) if len(confidence) == len(kept) else (),
        )
        score = _choice(one, rows) if one.condition == CLEAN else math.nan
        if not math.isnan(score):
            sums.setdefault((one.base, one.recipe, one.target), []).append(score)
    trivial = {target: read(bank) for target, bank in file.trivial.items()}
    return Asked(file, tuple(cells.values()), trivial, {arm: float(np.mean(found)) for arm, found in sums.items()})


def _choice(cell: StudyCell, rows: Sequence[BankRow]) -> float:
    """Zero-shot mean on choice rows; NaN where there are none."""
    metric = get_metric(Banks.spec(cell.target).metric)
    seen = {common.ENGLISH, *trained_in(cell.recipe)}
    chosen = sorted((row for row in rows if row.role == "choice"), key=lambda row: row.language)
    scores = {
        language: metric.score([row.gold_value for row in own], [row.predicted_value for row in own], language)
        for language, group in groupby(chosen, key=lambda row: row.language)
        for own in [list(group)]
    }
    zero_shot = [score for language, score in scores.items() if language not in seen] or list(scores.values())
    return float(np.mean(zero_shot)) if zero_shot else math.nan


def _two_sentences(answer: str) -> tuple[str, str]:
    first, dot, rest = answer.partition(". ")
    return (first + dot.strip(), rest) if rest else (answer, "What it does not say stands below.")


def _gap(text: str) -> Gap:
    what, _, why = text.partition(", because ")
    return Gap(f"{_begun(what)}.", f"{_begun(why)}." if why else "It failed, or was not run.")


def _begun(text: str) -> str:
    """With a capital letter, unless it begins with the name of a task or a recipe."""
    name = re.split(r"[^a-z0-9_]", text, maxsplit=1)[0]
    return text if name in TASKS or name == BASELINE else f"{text[:1].upper()}{text[1:]}"


# What every report has: gains by task and target, and by language


def _gains_of(
    asked: Asked, base: str
) -> tuple[dict[tuple[str, str], Effect], dict[tuple[str, str], float], dict[tuple[str, str], str]]:
    """By recipe and target, on clean text: the baseline's level and the others' gains; means on choice rows; limits."""
    banks = asked.banks(base)
    cells: dict[tuple[str, str], Effect] = {}
    limits = {}
    for recipe, target in ((recipe, target) for recipe in banks.recipes for target in banks.targets):
        arm, before = Arm(base, recipe, target), Arm(base, BASELINE, target)
        if arm not in banks or before not in banks:
            continue
        if recipe == BASELINE:
            cells[recipe, target] = banks.level(arm)
        elif banks.seeds([arm, before]):
            cells[recipe, target] = banks.effect(gain(base, recipe, target))
        arms = [arm] if recipe == BASELINE else [arm, before]
        if limit := banks.limit(arms, banks.languages(arms)[target]):
            limits[recipe, target] = limit
    choice = {(recipe, target): score for (own, recipe, target), score in asked.choice.items() if own == base}
    return cells, choice, limits


def _grid(asked: Asked, base: str) -> Iterator[Section]:
    """Gains of every recipe on every target, from one base, on clean text; and by language."""
    banks = asked.banks(base)
    cells, choice, limits = _gains_of(asked, base)
    if not any(recipe != BASELINE for recipe, _ in cells):
        return
    section = paper_section(cells, choice, limits=limits, published=())
    ending = "" if base == asked.base else f"-{asked.file.bases.index(base) + 1}"
    tables = tuple(replace(table, name=f"gains-by-target{ending}") for table in section.tables)
    pictures = [
        replace(picture, name=f"gains-by-target{ending}", table=f"gains-by-target{ending}")
        for picture in section.pictures
    ]
    dots = _languages(banks, base, [recipe for recipe in banks.recipes if recipe != BASELINE][:_SERIES], asked)
    if dots:
        drawing = language_dots(dots, size_title=str(asked.file.settings.get("size_unit", "GiB")))
        caption = (
            "Gain by language, the mean over the targets that have it, with 95 % intervals; languages stand under "
            "their family" + (", behind each the text that the base has read." if _sizes(asked) else ".")
        )
        pictures.append(Picture(f"gains-by-language{ending}", caption, drawing))
    yield Section(f"Gains by intermediate task and target, from {base}", (), tuple(pictures), tables)


def _languages(banks: Banks, base: str, recipes: Sequence[str], asked: Asked) -> list[LanguagePoint]:
    gains: dict[str, dict[str, Effect]] = {}
    for recipe in recipes:
        there: dict[str, list[str]] = {}
        for target in banks.targets:
            arms = [Arm(base, recipe, target), Arm(base, BASELINE, target)]
            if all(arm in banks for arm in arms) and banks.seeds(arms) and not is_repeat(recipe, target):
                for language in banks.languages(arms)[target]:
                    there.setdefault(language, []).append(target)
        for language, targets in there.items():
            weights = mean_of([gain(base, recipe, target) for target in targets])
            if banks.seeds(weights):
                gains.setdefault(language, {})[recipe] = banks.effect(weights, [language])
    sizes = _sizes(asked)
    return [_point(language, own, sizes) for language, own in sorted(gains.items(), key=lambda item: _order(item[0]))]


def _order(language: str) -> tuple[str, str]:
    return common.family_of(language), language


def _point(language: str, gains: Mapping[str, Any], sizes: Mapping[str, float | None]) -> LanguagePoint:
    known = LANGUAGES.get(language)
    size = sizes.get(language)
    name = known.name if known else language
    return LanguagePoint(language, name, common.family_of(language), math.nan if size is None else size, gains)


def _sizes(asked: Asked) -> Mapping[str, float | None]:
    """Text of each language that the base has read."""
    given = asked.file.settings.get("sizes")
    return dict(given) if given else cc100_sizes() if asked.file.settings.get("cc100") else {}


def _split(group: Mapping[str, Any], number: int) -> tuple[Section, list[Gap]]:
    """What the gain in retrieval is made of, and the curves over layers."""
    base, target, fixed = group["base"], group["target"], group["fixed"]
    models = {
        recipe: {int(seed): Staged.from_json(value) for seed, value in seeds.items()}
        for recipe, seeds in group["models"].items()
    }
    found = split_of(models, target=target, fixed=fixed)
    ending = f"-{number + 1}" if number else ""
    panels: dict[str, dict[str, list[float]]] = {}
    for processing in dict.fromkeys(curve.processing for curves in found.curves.values() for curve in curves):
        for recipe in models:
            own = [
                curve.accuracy
                for (name, _), curves in found.curves.items()
                for curve in curves
                if (name, curve.processing) == (recipe, processing)
            ]
            panels.setdefault(processing, {})[recipe] = np.mean(own, axis=0).tolist()
    caption = (
        "Accuracy by layer (0 = embeddings), mean over languages and seeds, on report rows: as it is, each language's "
        f"mean removed, and whitened. The vertical line is the layer of the protocol, {fixed}."
    )
    tables = tuple(table_of(table, prefix=f"retrieval{ending}-") for table in found.tables if table.lines)
    drawing = layer_curves(panels, fixed=fixed)
    picture = Picture(f"layers{ending}", caption, drawing, f"retrieval{ending}-curves")
    return Section(f"Retrieval, {target} from {base}", (found.answer,), (picture,), tables), [
        _gap(f"On {target} from {base}: {text}") for text in found.not_concluded
    ]


# The questions


def _code(asked: Asked) -> tuple[Result, list[Section]]:
    """Settings: ``sizes_of_tasks``, training rows by intermediate task."""
    clean = [cell for cell in asked.cells if cell.condition == CLEAN]
    found = code_study(clean, asked.trivial, base=asked.base, sizes=asked.file.settings["sizes_of_tasks"])
    pictures = []
    lines = [line for line in found.margins if not line.same]
    if lines:
        values = {(f"{line.code} − {line.natural}", line.target): line.margin for line in lines}
        drawing = heat_map(
            values,
            rows=list(dict.fromkeys(row for row, _ in values)),
            columns=list(dict.fromkeys(column for _, column in values)),
            row_title="pair",
            unit="points, code minus natural language",
            weak=frozenset((f"{line.code} − {line.natural}", line.target) for line in lines if line.limit),
        )
        caption = "Margins of code tasks over their partners in natural language, by target."
        pictures.append(Picture("margins-by-target", caption, drawing, "margins"))
    return found, [Section("Code against natural language", (), tuple(pictures))] if pictures else []


def _typo(asked: Asked) -> tuple[Result, list[Section]]:
    """Settings: ``intermediate`` and ``multilingual``, names of recipes."""
    intermediate, multilingual = asked.file.settings["intermediate"], asked.file.settings["multilingual"]
    results: dict[str, TypoResult] = {
        base: typo_study(asked.cells, asked.trivial, base=base, intermediate=intermediate, multilingual=multilingual)
        for base in asked.file.bases
    }
    sections = []
    for base, found in results.items():
        ending = "" if base == asked.base else f"-{asked.file.bases.index(base) + 1}"
        section = Section(f"Noise, {base}", (found.answer,) if ending else ())
        pictures = tuple(_curves(found, ending))
        tables = tuple(table_of(table, prefix=f"base{ending}-") for table in found.tables if table.lines and ending)
        if pictures or tables:
            sections.append(replace(section, pictures=pictures, tables=tables))
    if trained := _noise_training(asked):
        sections.append(trained)
    return results[asked.base], sections


def _curves(found: TypoResult, ending: str) -> Iterator[Picture]:
    for kinds in dict.fromkeys(point.kinds for point in found.curves):
        own = [point for point in found.curves if point.kinds == kinds]
        rates = sorted({point.rate for point in own})
        panels: dict[str, dict[str, list[Any]]] = {}
        for target in dict.fromkeys(point.target for point in own):
            lines = {recipe: dict[float, Effect]() for recipe in dict.fromkeys(point.recipe for point in own)}
            for point in own:
                if point.target == target:
                    lines[point.recipe][point.rate] = point.level
            panels[target] = {name: [line.get(rate) for rate in rates] for name, line in lines.items() if line}
        if len(rates) < 2:
            continue
        caption = (
            f"Score over the share of words with typing mistakes ({kinds or 'all'} kinds), in languages that are "
            "zero-shot for every recipe, with 95 % intervals."
        )
        table = "" if ending else "curves"
        yield Picture(f"noise-{kinds or 'all'}{ending}", caption, noise_curves(panels, rates=rates), table)


def _noise_training(asked: Asked) -> Section | None:
    """Arms of an option minus those of the plain preset, clean and noisy."""
    banks = Banks(asked.cells, asked.trivial)
    lines = []
    for base in asked.file.bases[1:]:
        if not base.startswith(f"{asked.base}, "):
            continue
        for arm in [arm for arm in banks.cells if arm.base == base]:
            plain = arm._replace(base=asked.base)
            if plain in banks and banks.seeds([arm, plain]):
                effect = banks.effect({arm: 1.0, plain: -1.0})
                condition = condition_said(arm.condition)
                lines.append((f"{arm.recipe} on {arm.target}", base[len(asked.base) + 2 :], condition, effect))
    if not lines:
        return None
    table = Table(
        "training-with-noise",
        "Trained with noise minus trained without, zero-shot languages, in points",
        (Column("arm"), Column("trained with"), Column("scored on"), Column("difference", signed=True)),
        tuple((what, option, condition, _looked(effect)) for what, option, condition, effect in lines),
    )
    return Section("What training with noise changes", (), (), (table,))


def _looked(effect: Effect) -> Marked:
    return Marked(effect, "", "good" if effect.low > 0 else "bad" if effect.high < 0 else "")


def _low_resource(asked: Asked) -> tuple[Result, list[Section]]:
    """Settings: ``sizes`` (text by language), ``size_unit``, ``fertility``."""
    settings = asked.file.settings
    clean = [cell for cell in asked.cells if cell.condition == CLEAN]
    found = low_resource_study(
        clean, asked.trivial, base=asked.base, sizes=_sizes(asked), fertility=settings.get("fertility") or {}
    )
    points = [_point(line.language, {"": line.gain}, {line.language: line.size}) for line in found.by_language]
    unit = settings.get("size_unit", "GiB")
    sized = [
        replace(table, title=f"{table.title}; size: the text that the base has read ({unit})")
        if table.lines and "size" in table.lines[0]
        else table
        for table in found.tables
    ]
    found = replace(found, tables=tuple(sized))
    pictures = []
    if points:
        drawing = gain_by_size(
            points,
            _line(found),
            size_title=f"text of the language in the base model's pretraining, {unit}",
        )
        caption = (
            "Mean gain of every language over recipes and targets against the text that the base has read of it; the "
            "line is the weighted one of the answer, with its 95 % band around the mean of the languages."
        )
        pictures.append(Picture("gain-by-text", caption, drawing, "by-language"))
    return found, [Section("Gain against the base's own text", (), tuple(pictures))] if pictures else []


def _line(found: LowResourceResult) -> Line | None:
    """Through the means of gain and log text, with the slope of all; the band is the slope's alone."""
    slope = found.relations[0].slope if found.relations else None
    seen = [(line.size, line.gain.value) for line in found.by_language if line.size and line.counts]
    if slope is None or len(seen) < 2:
        return None
    logs = np.log2([size for size, _ in seen])
    middle, level = float(logs.mean()), float(np.mean([value for _, value in seen]))
    x = np.linspace(logs.min(), logs.max(), 40)
    ends = [level + side * (x - middle) for side in (slope.low, slope.high)]
    y = level + slope.value * (x - middle)
    return Line((2.0**x).tolist(), y.tolist(), np.minimum(*ends).tolist(), np.maximum(*ends).tolist())


def _paws(asked: Asked) -> tuple[Result, list[Section]]:
    """Settings: ``updates`` of intermediate training by recipe, ``target``."""
    settings = asked.file.settings
    found: PawsResult = paws_study(
        asked.cells,
        asked.trivial,
        base=asked.base,
        target=settings.get("target", "pawsx"),
        updates=settings.get("updates") or {},
    )
    pictures = []
    values = {(line.recipe, line.measure): line.to_baseline for line in found.measured if line.to_baseline is not None}
    if values:
        measures = [measure for measure in dict.fromkeys(measure for _, measure in values)]
        short = [measure for measure in measures if not measure.startswith(("agreement noise", "both right noise"))]
        drawing = heat_map(
            values,
            rows=list(dict.fromkeys(recipe for recipe, _ in values)),
            columns=short,
            column_title="measure",
            unit="points more than the baseline (of calibration error, less is better)",
        )
        caption = "Every recipe by every measure, as differences to the baseline. Bold: the interval excludes 0."
        pictures.append(Picture("measures-by-recipe", caption, drawing, "measures"))
    rates = {0.0: "accuracy"} | {
        noise[0]: f"accuracy {condition_said(condition)}"
        for condition in dict.fromkeys(cell.condition for cell in asked.cells)
        if (noise := noise_of(condition))
    }
    levels = {(line.recipe, line.measure): line.level for line in found.measured}
    recipes = list(dict.fromkeys(recipe for recipe, _ in levels))
    if len(rates) > 1:
        ordered = sorted(rates)
        panel = {recipe: [levels.get((recipe, rates[rate])) for rate in ordered] for recipe in recipes}
        drawing = noise_curves({"": panel}, rates=ordered)
        pictures.append(Picture("noise", "Accuracy over the share of words with typing mistakes.", drawing, "measures"))
    return found, [Section("Combinations against single tasks", (), tuple(pictures))] if pictures else []


def _scale(asked: Asked) -> tuple[Result, list[Section]]:
    """Settings: ``small`` and ``large``, names of two bases."""
    small, large = asked.file.settings["small"], asked.file.settings["large"]
    clean = [cell for cell in asked.cells if cell.condition == CLEAN]
    found: ScaleResult = scale_study(clean, asked.trivial, small=small, large=large)
    panels: dict[str, dict[str, list[Any]]] = {}
    for line in found.interactions:
        if not line.family and not line.same:
            panels.setdefault(line.target, {})[line.recipe] = [line.small, line.large]
    families: dict[str, dict[str, list[Any]]] = {}
    for line in found.interactions:
        if line.family and not line.same:
            families.setdefault(f"{line.recipe} on {line.target}", {})[line.family] = [line.small, line.large]
    sizes = [f"{base} ({asked.file.parameters[base] / 1e6:.3g} M)" for base in (small, large)]
    pictures = [
        Picture(name, caption, interaction(own, sizes=sizes), "interactions")
        for name, own, caption in (
            ("gain-by-base", panels, "Gain at each base, by recipe and target: parallel lines are no interaction."),
            ("gain-by-family", families, "Gain at each base by language family."),
        )
        if own
    ]
    return found, [Section("Gain and size", (), tuple(pictures))] if pictures else []


#: Question -> title of its report, and who answers it.
QUESTIONS: Mapping[str, tuple[str, Callable[[Asked], tuple[Result, list[Section]]]]] = {
    "scale": ("What size changes in the gain from intermediate training", _scale),
    "paws": ("Combining intermediate tasks for PAWS-X", _paws),
    "low-resource": ("Where English intermediate training hurts", _low_resource),
    "typo": ("Intermediate tasks and multilingual fine-tuning under typing mistakes", _typo),
    "code": ("Intermediate tasks about code", _code),
}

#: Question -> what its one number is, in points.
EFFECTS: Mapping[str, str] = {
    "scale": "gain at the large base minus gain at the small one",
    "paws": "accuracy of pairs of tasks minus the mean of their parts",
    "low-resource": "gain for every doubling of a language's text",
    "typo": "what noise changes in intermediate minus multilingual",
    "code": "code minus natural language",
}
