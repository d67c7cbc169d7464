"""The result of one job: target x recipe, read from prediction banks. Signs are printed as they are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from polystilts.analysis import BASELINE, plot, tables
from polystilts.analysis.intervals import (
    Estimate,
    LanguageRows,
    Resampled,
    language_rows,
    resample,
    smallest_difference,
)
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Metric
from polystilts.tasks.catalogue import get_task
from polystilts.tasks.recipe import repeats
from polystilts.tasks.spec import TaskSpec
from polystilts.tracking.card import MICRO_NOTE

#: The language that targets are trained on; the rest is zero-shot.
TRAINING_LANGUAGE = "en"


@dataclass(frozen=True)
class Cell:
    """One target after one recipe.

    Attributes:
        mean: the zero-shot mean; None without a language other than English.
        difference: `mean` minus the baseline's, paired on the rows; None for the baseline and without one.
        floor: the interval of `mean` reaches down to the trivial baseline, or lies below it.
        same: the recipe contains the target's English training set.
        by_language: the score of every language, English included.
        figures: the metric's further figures (`Metric.details`, the main one among them), each the mean over the
            zero-shot languages; one that a language lacks (the F1 of a label without rows) is left out.
    """

    mean: Estimate | None
    difference: Estimate | None
    floor: bool
    same: bool
    by_language: Mapping[str, Estimate]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class TargetResult:
    """All recipes of one target, on the same rows.

    Attributes:
        target, metric: name of the task, title of its metric.
        zero_shot: the languages in the mean.
        rows: scored rows by language; English first, then alphabetical.
        trivial: the trivial baseline's mean over `zero_shot`; None where it was not computed for all of them.
        trivial_by_language: its score by language.
        trivial_figures: its further figures, as in `Cell`.
        smallest: by language, the smallest true difference to the baseline that these rows show with
            80 % power, in points; of several recipes the largest. Empty without a recipe to compare.
        cells: by recipe.
    """

    target: str
    metric: str
    zero_shot: tuple[str, ...]
    rows: Mapping[str, int]
    trivial: float | None
    trivial_by_language: Mapping[str, float]
    trivial_figures: Mapping[str, float]
    smallest: Mapping[str, float]
    cells: Mapping[str, Cell]

    def tells_nothing(self, recipe: str) -> bool:
        """Both this cell and the baseline are floor: no conclusion uses their difference."""
        return self.cells[recipe].floor and BASELINE in self.cells and self.cells[BASELINE].floor


@dataclass(frozen=True)
class Summary:
    """Every table and picture of a job.

    Attributes:
        source: where the rows come from: micro, hub or local:DIR.
        seed: the one seed behind every cell.
        recipes: in the order of the tables, the baseline first.
        targets: in the order given.
        protocol: whose hyper-parameters, and which checkpoints were kept; '' = not known.
    """

    source: str
    seed: int
    recipes: tuple[str, ...]
    targets: tuple[TargetResult, ...]
    protocol: str = ""

    @property
    def banner(self) -> str:
        """What must stand above every picture of these numbers; '' for real data."""
        return MICRO_NOTE if self.source == "micro" else ""

    @property
    def provenance(self) -> str:
        """Source, rows and seeds, in words."""
        protocol = f" Protocol: {self.protocol}." if self.protocol else ""
        return (
            f"Source: {self.source}.{protocol} Rows: report rows, which no choice has used. One seed ({self.seed}): "
            "the 95 % intervals are over rows and speak of this checkpoint, not of the recipe."
        )

    @property
    def caption(self) -> str:
        """The provenance, and how the tables and their marks are to be read."""
        return (
            f"{self.provenance} Mean: unweighted, over the n languages other than English; behind it the "
            "difference to the baseline, below it the interval of the difference (of the baseline: of its "
            "mean). floor: the interval of the mean reaches down to the trivial baseline. (…): so does the "
            "baseline's, and the difference means nothing. =: the recipe contains the target's English "
            "training set."
        )

    def render(self, console: Console) -> None:
        """Print all tables; they fit the console from 80 columns on."""
        tables.render(self, console)

    def markdown(self) -> str:
        """All tables as GitHub markdown."""
        return tables.markdown(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, in points."""
        return asdict(self) | {"banner": self.banner, "caption": self.caption}

    def plot(self, path: str | Path) -> Path:
        """Write the differences to the baseline with their intervals as one PNG."""
        return plot.write_plot(self, Path(path))


def summarise(
    cells: Mapping[tuple[str, str], Sequence[BankRow]],
    trivial: Mapping[str, Sequence[BankRow]],
    *,
    source: str,
    seed: int,
    protocol: str = "",
    resamples: int = 2000,
) -> Summary:
    """Build the tables of one job from its prediction banks.

    Only report rows are read. Cells of one target must have been scored on the same rows.

    Args:
        cells: bank rows by (target, recipe); the recipe without an intermediate task is called 'baseline'.
        trivial: bank rows of each target's trivial baseline; a target may be missing.
        source: where the rows come from.
        seed: of the fine-tuning; also of the resampling.
        protocol: as `Summary` has it.
        resamples: of the bootstrap.

    Raises:
        UnknownName: a target that is not in the catalogue.
        MissingData: a cell without report rows.
        InvalidValue: rows of several seeds in one cell, or cells of a target with different rows.
    """
    recipes = tuple(dict.fromkeys(recipe for _, recipe in sorted(cells, key=lambda key: key[1] != BASELINE)))
    names = dict.fromkeys(target for target, _ in cells)
    targets = tuple(
        _target_result(
            get_task(name, param="target"),
            {recipe: _report(cells[name, recipe], name, recipe) for recipe in recipes if (name, recipe) in cells},
            [row for row in trivial.get(name, ()) if row.role == "report"],
            resamples=resamples,
            seed=seed,
        )
        for name in names
    )
    return Summary(source=source, seed=seed, recipes=recipes, targets=targets, protocol=protocol)


def _report(rows: Sequence[BankRow], target: str, recipe: str) -> list[BankRow]:
    report = [row for row in rows if row.role == "report"]
    if not report:
        raise MissingData(f"no report rows of {target} after {recipe}", param="cells", given=len(rows))
    if len(seeds := sorted({row.seed for row in report})) > 1:
        message = f"{target} after {recipe} has rows of seeds {seeds}; this table is of one seed"
        raise InvalidValue(message, param="cells", limit=1, given=len(seeds))
    return report


def _target_result(
    spec: TaskSpec,
    rows: Mapping[str, Sequence[BankRow]],
    trivial_rows: Sequence[BankRow],
    *,
    resamples: int,
    seed: int,
) -> TargetResult:
    metric = get_metric(spec.metric)
    names = list(rows)
    parts = [language_rows(group, metric) for group in rows.values()]
    drawn = resample(parts, metric, joint=spec.parallel, resamples=resamples, seed=seed)
    languages = sorted(drawn.languages, key=lambda language: (language != TRAINING_LANGUAGE, language))
    left_out = {TRAINING_LANGUAGE, *spec.average_excludes}
    zero_shot = tuple(language for language in languages if language not in left_out)
    by_language = _values(language_rows(trivial_rows, metric), metric)
    known = zero_shot and set(zero_shot) <= set(by_language)
    trivial = sum(by_language[language] for language in zero_shot) / len(zero_shot) if known else None
    base = names.index(BASELINE) if BASELINE in names else None
    return TargetResult(
        target=spec.name,
        metric=metric.title,
        zero_shot=zero_shot,
        rows={language: drawn.rows[drawn.languages.index(language)] for language in languages},
        trivial=trivial,
        trivial_by_language={language: by_language[language] for language in languages if language in by_language},
        trivial_figures=_figures(trivial_rows, metric, zero_shot),
        smallest=_smallest(drawn, languages, base),
        cells={
            name: _cell(
                drawn,
                index,
                base,
                languages,
                zero_shot,
                trivial,
                _contains_training_set(spec, name),
                _figures(rows[name], metric, zero_shot),
            )
            for index, name in enumerate(names)
        },
    )


def _cell(
    drawn: Resampled,
    index: int,
    base: int | None,
    languages: Sequence[str],
    zero_shot: Sequence[str],
    trivial: float | None,
    same: bool,
    figures: Mapping[str, float],
) -> Cell:
    mean = drawn.mean(index, zero_shot) if zero_shot else None
    compared = zero_shot and base not in (None, index)
    return Cell(
        mean=mean,
        difference=drawn.difference(index, base, zero_shot) if compared and base is not None else None,
        floor=mean is not None and trivial is not None and mean.low <= trivial,
        same=same,
        by_language={language: drawn.mean(index, [language]) for language in languages},
        figures=figures,
    )


def _figures(rows: Sequence[BankRow], metric: Metric, languages: Sequence[str]) -> dict[str, float]:
    """Each figure of `Metric.details` as the unweighted mean over `languages`; {} where one of them has no rows."""
    found = []
    for language in languages:
        part = [row for row in rows if row.language == language]
        if not part:
            return {}
        golds, predictions = [row.gold_value for row in part], [row.predicted_value for row in part]
        found.append(metric.details(golds, predictions, language))
    shared = [name for name in found[0] if all(name in figures for figures in found)] if found else []
    return {name: sum(figures[name] for figures in found) / len(found) for name in shared}


def _values(parts: Mapping[str, LanguageRows], metric: Metric) -> dict[str, float]:
    return {language: float(metric.value(part.statistics.sum(axis=0))) for language, part in parts.items()}


def _smallest(drawn: Resampled, languages: Sequence[str], base: int | None) -> dict[str, float]:
    others = [index for index in range(len(drawn.observed)) if index != base]
    if base is None or not others:
        return {}
    return {
        language: max(smallest_difference(drawn.difference(index, base, [language]).standard_error) for index in others)
        for language in languages
    }


def _contains_training_set(spec: TaskSpec, recipe: str) -> bool:
    return repeats(recipe, {spec.name, spec.train_task})
