"""Noise curves, and how far the answers to pairs hold: from banks of one checkpoint under several conditions.

Only report rows are read. Intervals are over rows and speak of this checkpoint, not of a recipe.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from rich import box
from rich.table import Table

from polystilts.analysis.intervals import language_rows, resample
from polystilts.analysis.report.figures import noise_curves
from polystilts.analysis.report.values import Drawing, Ranged
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.metrics.robustness import (
    ByLanguage,
    Confidences,
    Stability,
    calibration_error,
    relative_loss,
    stability,
)
from polystilts.tasks.spec import TaskSpec

#: In place of a language: the unweighted mean over the languages that the target was not trained in.
MEAN = "mean"

NOTHING = "–"

#: Languages in the picture of a curve; the table has all.
PANELS = 5

CLEAN = "clean"


@dataclass(frozen=True)
class Level:
    """One language at one rate.

    Attributes:
        rate: asked for, as a share of words.
        language: its code, or `MEAN`.
        rows: report rows; of `MEAN` those of its languages together.
        score: of the target's metric, in points, with its interval.
        loss: what noise costs, as a share of the score on clean text, in percent; None on clean text, and where that
            score is 0.
        words, characters: changed, as a share of those there are, 0 to 1, as measured; None where nothing was.
    """

    rate: float
    language: str
    rows: int
    score: Ranged
    loss: Ranged | None
    words: float | None
    characters: float | None


@dataclass(frozen=True)
class NoiseCurve:
    """The scores of one checkpoint on one target over the rates of noise.

    Attributes:
        target, metric, recipe: name of the task, title of its metric, name of the recipe.
        averaged: the languages in the mean.
        levels: by rate, then `MEAN` before the languages in alphabetical order.
    """

    target: str
    metric: str
    recipe: str
    averaged: tuple[str, ...]
    levels: tuple[Level, ...]

    @property
    def rates(self) -> tuple[float, ...]:
        """Ascending; the first is 0, clean text."""
        return tuple(dict.fromkeys(level.rate for level in self.levels))

    @property
    def caption(self) -> str:
        """How the table is to be read."""
        without = sorted({v.language for v in self.levels if v.rate and v.loss is None})
        note = f" No loss where the score on clean text is 0: {', '.join(without)}." if without else ""
        return (
            "Columns: share of words drawn for a mistake. Score, in brackets the share of characters really changed; "
            "below it the relative loss against clean text in % with its 95 % interval over rows (this checkpoint). "
            f"Mean: of {len(self.averaged)} languages not trained in.{note}"
        )

    def by_language(self) -> dict[str, list[Level]]:
        """The levels of each language by rate, the mean first."""
        found: dict[str, list[Level]] = {}
        for level in self.levels:
            found.setdefault(level.language, []).append(level)
        return found

    def table(self) -> Table:
        """Language x rate."""
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        shown.add_column(f"{self.target}\n{self.metric}", no_wrap=True)
        for rate in self.rates:
            shown.add_column(f"{100 * rate:g} %" if rate else CLEAN, justify="right", no_wrap=True)
        for language, levels in self.by_language().items():
            shown.add_row(language, *("\n".join(_cell(level)) for level in levels))
        return shown

    def csv(self) -> str:
        """One line a language and rate, all figures."""
        head = "target recipe rate language rows score score_low score_high loss loss_low loss_high words characters"
        return _csv(
            head.split(),
            (
                (self.target, self.recipe, v.rate, v.language, v.rows, *_three(v.score), *_three(v.loss), v.words,
                 v.characters)
                for v in self.levels
            ),
        )  # fmt: skip

    def picture(self) -> Drawing:
        """Scores over the rates with their intervals: the mean, and the languages that lose most at the last rate."""
        levels = self.by_language()
        losing = {name: own[-1].loss.value for name, own in levels.items() if own[-1].loss and name != MEAN}
        shown = [MEAN, *sorted(losing, key=lambda name: -losing[name])[:PANELS]]
        panels = {name: {self.recipe: [level.score for level in levels[name]]} for name in shown}
        return noise_curves(panels, rates=[100 * rate for rate in self.rates], unit=f"{self.metric}, points")


def noise_curve(
    spec: TaskSpec,
    recipe: str,
    banks: Mapping[float, Sequence[BankRow]],
    measured: Mapping[float, Mapping[str, Mapping[str, float]]],
    *,
    trained: Iterable[str] = ("en",),
    resamples: int = 2000,
) -> NoiseCurve:
    """Scores and relative losses of one checkpoint by language and rate.

    Args:
        spec: the target.
        recipe: the checkpoint's.
        banks: rows by rate; rate 0 is clean text and must be there.
        measured: rate -> language -> ``word_rate`` and ``character_rate`` (a bank's metadata).
        trained: languages that the target was trained in: the mean leaves them out, unless there are no others.
        resamples: of the bootstrap.

    Raises:
        InvalidValue: no clean rows, or banks of different rows.
        MissingData: a bank without report rows.
    """
    if 0.0 not in banks:
        raise InvalidValue("a curve needs the rate 0, clean text", param="rates", limit=0, given=sorted(banks))
    rates = sorted(banks)
    rows = {rate: report_rows(banks[rate], f"{spec.name} at rate {rate:g}") for rate in rates}
    metric = get_metric(spec.metric)
    cells = [language_rows(rows[rate], metric) for rate in rates]
    drawn = resample(cells, metric, joint=spec.parallel, resamples=resamples)
    observed = dict(zip(drawn.languages, drawn.observed[rates.index(0.0)], strict=True))
    left_out = {*trained, *spec.average_excludes}
    averaged = tuple(lang for lang in drawn.languages if lang not in left_out) or drawn.languages
    numbers = dict(zip(drawn.languages, drawn.rows, strict=True))
    levels = []
    for place, rate in enumerate(rates):
        losses: dict[str, Ranged] = {}
        # A loss as a share of nothing is not defined.
        for name, group in {MEAN: averaged, "": drawn.languages}.items() if rate else ():
            there = [language for language in group if observed[language] > 0]
            if there and (name or len(there)):
                clean, noisy = ([row for row in rows[at] if row.language in there] for at in (0.0, rate))
                found = relative_loss(clean, noisy, metric, joint=spec.parallel, resamples=resamples)
                losses |= {MEAN: found.mean} if name else dict(found.languages)
        for language in (MEAN, *drawn.languages):
            group = averaged if language == MEAN else (language,)
            changed = [measured.get(rate, {}).get(code, {}) for code in group]
            levels.append(
                Level(
                    rate=rate,
                    language=language,
                    rows=sum(numbers[code] for code in group),
                    score=drawn.mean(place, group),
                    loss=losses.get(language),
                    words=_mean_of(changed, "word_rate"),
                    characters=_mean_of(changed, "character_rate"),
                )
            )
    return NoiseCurve(spec.name, metric.title, recipe, averaged, tuple(levels))


@dataclass(frozen=True)
class Held:
    """How far the answers to pairs hold: one measure under one condition in one language.

    Attributes:
        measure: score, agreement, correct_in_both, share (of the rows those that have a changed form), ece, ece_plain.
        condition: its name.
        language: its code, or `MEAN`, here of all languages.
        rows: that took part; of a share those asked for.
        value, low, high: in points; no interval of a score, a share and a plain error.
    """

    measure: str
    condition: str
    language: str
    rows: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairRobustness:
    """Everything about one checkpoint on one target of pairs: `held` by condition, measure and language.

    Attributes:
        stabilities: by condition, clean text aside.
    """

    target: str
    recipe: str
    held: tuple[Held, ...]
    stabilities: Mapping[str, Stability]

    caption = (
        "Agreement: the answers to a pair and to its changed form are the same; right in both: and both are right "
        "(a model that always says the same agrees in 100 %). Changed: share of the pairs that have a changed form. "
        "ECE: expected calibration error, 15 bins of equal mass, corrected for its excess by chance; plain: as usually "
        "reported. In points, 95 % intervals over rows (this checkpoint). Swapping keeps the label of paraphrases; in "
        "inference the two texts have different parts, and agreement says how far their order is read."
    )

    def table(self) -> Table:
        """A line a condition and language, the mean first."""
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column in (f"{self.target}", "language"):
            shown.add_column(column, no_wrap=True)
        titles = {
            "score": "accuracy",
            "share": "changed",
            "agreement": "agreement",
            "correct_in_both": "right in both",
            "ece": "ECE",
            "ece_plain": "plain",
        }
        for title in titles.values():
            shown.add_column(title, justify="right", no_wrap=True)
        cells: dict[tuple[str, str], dict[str, Held]] = {}
        for held in self.held:
            cells.setdefault((held.condition, held.language), {})[held.measure] = held
        last = ""
        for (condition, language), own in cells.items():
            name, last = ("" if condition == last else condition), condition
            shown.add_row(name, language, *(_held(own.get(measure)) for measure in titles))
        return shown

    def csv(self) -> str:
        """One line a measure, condition and language."""
        head = "target recipe measure condition language rows value low high"
        return _csv(head.split(), ((self.target, self.recipe, *astuple(held)) for held in self.held))


def pair_robustness(
    spec: TaskSpec, recipe: str, banks: Mapping[str, Sequence[BankRow]], *, resamples: int = 2000
) -> PairRobustness:
    """Agreement, correctness in both forms and calibration of one checkpoint on pairs.

    Args:
        spec: the target, of pairs.
        banks: rows by condition, ``clean`` among them. One without rows (no pair could be renamed) is passed over.
        resamples: of the bootstrap; a calibration error takes half as many.

    Raises:
        InvalidValue: no clean rows, or a changed row that has no clean one.
        MissingData: no report rows on clean text.
    """
    if CLEAN not in banks:
        raise InvalidValue("stability needs the rows as they are", param="banks", limit=CLEAN, given=sorted(banks))
    clean = report_rows(banks[CLEAN], f"clean {spec.name}")
    metric = get_metric(spec.metric)
    asked = dict(sorted(Counter(row.language for row in clean).items()))
    held: list[Held] = []
    stabilities: dict[str, Stability] = {}
    for condition, everything in banks.items():
        rows = [row for row in everything if row.role == "report"]
        if not rows:
            continue
        by_language = {
            code: [row for row in rows if row.language == code] for code in sorted({r.language for r in rows})
        }
        scores = {
            code: metric.score([r.gold_value for r in own], [r.predicted_value for r in own], code)
            for code, own in by_language.items()
        }
        numbers = {code: len(own) for code, own in by_language.items()}
        held += _plain("score", condition, numbers, scores)
        if condition != CLEAN:
            found = stability(clean, rows, joint=spec.parallel, resamples=resamples)
            stabilities[condition] = found
            shares = {code: 100.0 * numbers.get(code, 0) / of for code, of in asked.items()}
            held += _plain("share", condition, asked, shares)
            held += _with_intervals("agreement", condition, found.agreement)
            held += _with_intervals("correct_in_both", condition, found.correct_in_both)
        if confidences := confidences_of(rows):
            error = calibration_error(confidences, joint=spec.parallel, resamples=resamples // 2)
            held += _with_intervals("ece", condition, error.error)
            held += _plain("ece_plain", condition, error.error.rows, error.plain)
    return PairRobustness(spec.name, recipe, tuple(sorted(held, key=_order(list(banks)))), stabilities)


def confidences_of(rows: Iterable[BankRow]) -> dict[str, Confidences]:
    """Rows with the probability of their answer, by language; rows without one (refused) are left out."""
    found: dict[str, list[BankRow]] = {}
    for row in rows:
        if row.probability is not None:
            found.setdefault(row.language, []).append(row)
    return {
        language: Confidences(
            np.array([row.probability for row in own], dtype=np.float64),
            np.array([row.gold_value == row.predicted_value for row in own]),
            [row.unit for row in own],
        )
        for language, own in found.items()
    }


def report_rows(rows: Iterable[BankRow], what: str) -> list[BankRow]:
    """The rows that no choice has used.

    Raises:
        MissingData: there are none.
    """
    report = [row for row in rows if row.role == "report"]
    if not report:
        raise MissingData(f"no report rows of {what}", param="banks", given=0)
    return report


def _order(conditions: Sequence[str]) -> Callable[[Held], tuple[int, bool, str]]:
    return lambda held: (conditions.index(held.condition), held.language != MEAN, held.language)


def _plain(measure: str, condition: str, rows: Mapping[str, int], values: Mapping[str, float]) -> list[Held]:
    mean = sum(values.values()) / len(values)
    total = Held(measure, condition, MEAN, sum(rows[code] for code in values), mean)
    return [total, *(Held(measure, condition, code, rows[code], value) for code, value in values.items())]


def _with_intervals(measure: str, condition: str, found: ByLanguage) -> list[Held]:
    values = {MEAN: found.mean, **found.languages}
    rows = {MEAN: sum(found.rows.values()), **found.rows}
    return [Held(measure, condition, code, rows[code], v.value, v.low, v.high) for code, v in values.items()]


def _mean_of(changed: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [part[name] for part in changed if name in part]
    return sum(values) / len(values) if values else None


def _cell(level: Level) -> list[str]:
    characters = "" if level.characters is None else f" ({100 * level.characters:.1f})"
    score = f"{level.score.value:.1f}{characters}"
    if not level.rate:
        return [score]
    loss = level.loss
    return [score, NOTHING if loss is None else f"{loss.value:.1f} [{loss.low:.1f}, {loss.high:.1f}]"]


def _held(held: Held | None) -> str:
    if held is None:
        return NOTHING
    interval = "" if held.low is None else f" [{held.low:.1f}, {held.high:.1f}]"
    return f"{held.value:.1f}{interval}"


def _three(estimate: Ranged | None) -> tuple[float | None, ...]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    # Six digits: more would differ from machine to machine.
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()
