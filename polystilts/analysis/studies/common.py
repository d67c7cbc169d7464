"""What all studies share: cells, arms, contrasts of arms, floors, results.

A *cell* is one bank: a base, a recipe, a target, a seed and a condition (clean text, or a change of it). An *arm* is
all seeds of a cell. Everything that a study asks is a *contrast*: a weighted sum of the scores of arms, averaged over
languages and over targets. A gain is one of two arms, an interaction of gains one of four, a mean of interactions over
tasks one of dozens; all get their interval from the same crossed analysis of rows and seeds
(`polystilts.analysis.recipes`). What units add is known for each arm and language (jackknife pseudo-values), so a
contrast is their weighted sum: arms on the same rows are paired on them, the rows of a parallel task are shared by its
languages, those of different targets are not, and a seed is one for all.

Intervals speak of other rows of the same kind and of other seeds; bases, tasks and languages are what they are. (Only
`lines` takes languages as a sample.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from scipy.stats import t as student

from polystilts.analysis import BASELINE
from polystilts.analysis.intervals import LEVEL, LanguageRows, language_rows, same_order, smallest_difference
from polystilts.analysis.recipes import MIN_SEEDS, RecipeEstimate, Scores, crossed, pseudo_values
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats, Metric
from polystilts.tasks.catalogue import get_task
from polystilts.tasks.languages import LANGUAGES
from polystilts.tasks.recipe import parse_recipe, repeats
from polystilts.tasks.spec import TaskSpec

#: Conditions of a cell: text as it is; the sentences of a pair swapped; an entity renamed in both.
CLEAN, SWAPPED, RENAMED = "clean", "swapped", "renamed"

#: The language that targets are trained on, unless a recipe says otherwise.
ENGLISH = "en"

#: Points from which a score is at the ceiling: less than one is left above it, so that no gain can show.
CEILING = 99.0

#: Where all sides of a comparison are at the same end of the scale, and why this supports no conclusion.
LIMITS: Mapping[str, str] = {
    "floor": "neither side is shown to be above chance",
    "ceiling": f"both sides have {CEILING:g} points or more, which leaves no room for an effect",
}

_NOISE = "noise"


@dataclass(frozen=True)
class Cell:
    """The answers of one checkpoint.

    Attributes:
        base: name of the pretrained encoder.
        recipe: what it went through before the target ('baseline' = nothing).
        target: task of the catalogue.
        seed: of the target's fine-tuning; of the intermediate training where the target is not trained.
        condition: CLEAN, SWAPPED, RENAMED, or `noise_condition`.
        rows: as answered; only report rows are read.
        confidence: probability of the label predicted for each of `rows`; () where it was not kept.
    """

    base: str
    recipe: str
    target: str
    seed: int
    condition: str
    rows: Sequence[BankRow]
    confidence: Sequence[float] = ()


def noise_condition(rate: float, kinds: str = "") -> str:
    """``noise:10`` for a rate of 0.1, ``noise:10:held-out`` with a name for the kinds of noise; CLEAN for none."""
    if rate == 0:
        return CLEAN
    return ":".join([_NOISE, f"{100 * rate:g}", *([kinds] if kinds else [])])


def noise_of(condition: str) -> tuple[float, str] | None:
    """Rate in percent and name of the kinds of a noise condition; None for another condition."""
    name, _, rest = condition.partition(":")
    if name != _NOISE:
        return None
    rate, _, kinds = rest.partition(":")
    return float(rate), kinds


def condition_said(condition: str) -> str:
    """As tables name it: ``noise 10 % held-out``; another condition as it is."""
    noise = noise_of(condition)
    return condition if noise is None else f"noise {noise[0]:g} % {noise[1]}".strip()


class Arm(NamedTuple):
    """All seeds of a base, a recipe, a target and a condition."""

    base: str
    recipe: str
    target: str
    condition: str = CLEAN


#: A contrast: the weight of every arm that takes part.
Weights = Mapping[Arm, float]


@dataclass(frozen=True)
class Effect(RecipeEstimate):
    """A contrast of arms with its 95 % interval, in points unless a table says otherwise.

    Attributes:
        p: two-sided, that it is 0.
        p_worse: one-sided; small where it is shown to be below 0.
        smallest: the smallest true contrast that these rows and seeds find with 80 % power.
        left_out: seeds that some arm does not have.
    """

    p: float
    p_worse: float
    smallest: float
    left_out: tuple[int, ...] = ()

    @property
    def shown(self) -> bool:
        """The interval speaks of recipes and leaves out 0."""
        return self.claim and 0.0 not in self

    def p_below(self, limit: float) -> float:
        """One-sided p of the hypothesis that the contrast is `limit` or below: small where it is shown to be above."""
        return float(student.sf(*_ratio(self.value - limit, self.standard_error, self.degrees)))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What decides whether a comparison takes part in means and conclusions.

    Attributes:
        limit: of `LIMITS`; '' = there is room on at least one side.
        same: a recipe has learnt the target's training task before.
    """

    limit: str = ""
    same: bool = False

    @property
    def counts(self) -> bool:
        """It takes part."""
        return not (self.same or self.limit)


@dataclass(frozen=True)
class Column:
    """What each unit adds to one number under each seed; the mean over units is the number of that seed.

    Attributes:
        pool: columns of the same pool have units in common, those of other pools have not.
        units: names [n].
        seeds: [s].
        values: [n, s], in points.
        ids: of the rows that the units have.
    """

    pool: str
    units: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Floats
    ids: frozenset[str]


def weigh(columns: Sequence[Column], weights: Sequence[float]) -> Effect:
    """The weighted sum of columns with its interval over units and seeds.

    Raises:
        InvalidValue: no columns, other seeds in one of them, or a pool with fewer than two units.
    """
    if not columns or any(column.seeds != columns[0].seeds for column in columns):
        message = f"{len(columns)} columns to weigh; needs at least one, all with the same seeds"
        raise InvalidValue(message, param="columns", limit=1, given=len(columns))
    seeds = columns[0].seeds
    parts = _parts(columns, weights)
    claim = len(seeds) >= MIN_SEEDS
    value, error, degrees = crossed(parts, over_seeds=claim)
    half = float(student.ppf(0.5 + LEVEL / 2, degrees)) * error
    ratio = _ratio(value, error, degrees)
    return Effect(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=error,
        degrees=degrees,
        seeds=seeds,
        rows=sum(len(column.ids) for column in columns),
        units=sum(map(len, parts)),
        claim=claim,
        p=float(2.0 * student.sf(abs(ratio[0]), degrees)),
        p_worse=float(student.cdf(*ratio)),
        smallest=smallest_difference(error, degrees=degrees),
    )


def around(effect: Effect, value: float) -> Effect:
    """The same interval around another value: that of a function whose derivative the contrast is."""
    half = effect.high - effect.value
    ratio = _ratio(value, effect.standard_error, effect.degrees)
    return replace(
        effect,
        value=value,
        low=value - half,
        high=value + half,
        p=float(2.0 * student.sf(abs(ratio[0]), effect.degrees)),
        p_worse=float(student.cdf(*ratio)),
    )


def variance_of(columns: Sequence[Column], weights: Sequence[float]) -> tuple[float, float]:
    """Variance of the weighted sum of columns over units and seeds, and its degrees of freedom."""
    _, error, degrees = crossed(_parts(columns, weights), over_seeds=len(columns[0].seeds) >= MIN_SEEDS)
    return error**2, degrees


def row_variance(column: Column) -> float:
    """Variance of a column's mean over units alone: that over seeds, of few, would make weights by chance."""
    return float(column.values.mean(axis=1).var(ddof=1) / len(column.values))


def _parts(columns: Sequence[Column], weights: Sequence[float]) -> list[Floats]:
    """One table [units, seeds] for every pool; their means add up to the weighted sum."""
    pools: defaultdict[str, list[tuple[Column, float]]] = defaultdict(list)
    for column, weight in zip(columns, weights, strict=True):
        pools[column.pool].append((column, weight))
    return [_together(members) for members in pools.values()]


def _together(members: Sequence[tuple[Column, float]]) -> Floats:
    first = members[0][0]
    if all(column.units == first.units for column, _ in members):
        return np.sum([weight * column.values for column, weight in members], axis=0)
    # A unit that a column lacks adds nothing to it: weigh what leaving a unit out changes, as `recipes` does.
    names = {name: place for place, name in enumerate(dict.fromkeys(u for column, _ in members for u in column.units))}
    value, moved = np.zeros(len(first.seeds)), np.zeros((len(names), len(first.seeds)))
    for column, weight in members:
        mean = column.values.mean(axis=0)
        value += weight * mean
        moved[[names[unit] for unit in column.units]] += weight * (column.values - mean) / (len(column.units) - 1)
    return value + (len(names) - 1) * (moved - moved.mean(axis=0))


def _ratio(value: float, error: float, degrees: float) -> tuple[float, float]:
    """t and its degrees; without any variance 0 is certain, and so is anything else."""
    return (value / error if error else float(np.copysign(np.inf, value)) if value else 0.0), degrees


class Banks:
    """The scores of all arms of a study.

    Args:
        cells: one for each base, recipe, target, seed and condition.
        trivial: rows of each target's trivial baseline, answered to the same rows; where one is missing, floors of
            that target are not known.

    Raises:
        InvalidValue: a cell twice.
        MissingData: no cells, or one without report rows.
        UnknownName: a target that is not in the catalogue.
    """

    def __init__(self, cells: Iterable[Cell], trivial: Mapping[str, Sequence[BankRow]] | None = None) -> None:
        self._start()
        for cell in cells:
            arm = Arm(cell.base, cell.recipe, cell.target, cell.condition)
            what = f"{cell.target} after {cell.recipe} from {cell.base}, seed {cell.seed}, {cell.condition}"
            if cell.seed in self.cells.setdefault(arm, {}):
                raise InvalidValue(f"{what} is there twice", param="cells", limit=1, given=2)
            metric = get_metric(self.spec(cell.target).metric)
            rows = [row for row in cell.rows if row.role == "report"]
            if not rows:
                raise MissingData(f"{what} has no report rows", param="cells", given=0)
            self.cells[arm][cell.seed] = cell
            self._metrics[arm] = metric
            self._scores.setdefault(arm, {})[cell.seed] = language_rows(rows, metric)
        if not self._scores:
            raise MissingData("a study without cells has nothing to say", param="cells", given=0)
        self._trivial |= {
            target: _values([row for row in rows if row.role == "report"], get_metric(self.spec(target).metric))
            for target, rows in (trivial or {}).items()
        }

    def _start(self) -> None:
        self._scores: dict[Arm, dict[int, dict[str, LanguageRows]]] = {}
        self._metrics: dict[Arm, Metric] = {}
        self._columns: dict[tuple[Arm, str, tuple[int, ...]], Column] = {}
        self._trivial: dict[str, dict[str, float]] = {}
        self.cells: dict[Arm, dict[int, Cell]] = {}

    @classmethod
    def of_measures(cls) -> Self:
        """Without cells: arms come by `measure` alone."""
        banks = cls.__new__(cls)
        banks._start()
        return banks

    @staticmethod
    def spec(target: str) -> TaskSpec:
        """The protocol of a target."""
        return get_task(target, param="target")

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Targets, in the order given."""
        return tuple(dict.fromkeys(arm.target for arm in self.cells))

    @cached_property
    def recipes(self) -> tuple[str, ...]:
        """Recipes, in the order given."""
        return tuple(dict.fromkeys(arm.recipe for arm in self.cells))

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """Bases, in the order given."""
        return tuple(dict.fromkeys(arm.base for arm in self.cells))

    def __contains__(self, arm: object) -> bool:
        return arm in self._scores

    def scores(self, arm: Arm) -> Scores:
        """The scores of an arm.

        Raises:
            MissingData: there is no such arm.
        """
        if arm not in self._scores:
            raise MissingData(f"no cells of {' '.join(arm)}", param="cells", given=" ".join(arm))
        return self._scores[arm]

    def metric(self, arm: Arm) -> Metric:
        """The metric of an arm's scores."""
        return self._metrics[arm]

    def measure(self, arm: Arm, scores: Scores, metric: Metric) -> Arm:
        """Adds an arm that is measured in another way (agreement, calibration); `arm.condition` names the measure."""
        self._scores[arm] = {seed: dict(parts) for seed, parts in scores.items()}
        self._metrics[arm] = metric
        return arm

    def is_fixed(self, arm: Arm) -> bool:
        """It is one model whatever the seed: nothing is trained, neither before the target nor on it."""
        if self.spec(arm.target).train_task:
            return False
        return arm.recipe.split("@")[0] == BASELINE or arm.recipe.split(":")[0] == "again"

    def seeds(self, arms: Iterable[Arm]) -> tuple[int, ...]:
        """Seeds that all arms have; a fixed arm has every seed, and several such have one."""
        given = list(arms)
        trained = [set(self.scores(arm)) for arm in given if not self.is_fixed(arm)]
        if not trained:
            return (min(self.scores(given[0])),)
        return tuple(sorted(set.intersection(*trained)))

    def languages(self, arms: Iterable[Arm]) -> dict[str, tuple[str, ...]]:
        """By target, the zero-shot languages that all its arms are scored in.

        Zero-shot is a language other than English that no recipe among the arms names behind `@`. Where a target has
        no such language, all that are there.
        """
        found: dict[str, tuple[str, ...]] = {}
        given = list(arms)
        for target in dict.fromkeys(arm.target for arm in given):
            own = [arm for arm in given if arm.target == target]
            scored = [set(parts) for arm in own for parts in self.scores(arm).values()]
            shared = sorted(set.intersection(*scored))
            seen = {ENGLISH}.union(*(trained_in(arm.recipe) for arm in own))
            found[target] = tuple(language for language in shared if language not in seen) or tuple(shared)
        return found

    def column(self, weights: Weights, language: str, seeds: tuple[int, ...]) -> Column:
        """The contrast of arms of one target in one language, paired on the rows."""
        return _sum_of([(self._column(arm, language, seeds), weight) for arm, weight in weights.items()], language)

    def _column(self, arm: Arm, language: str, seeds: tuple[int, ...]) -> Column:
        key = (arm, language, seeds)
        if key not in self._columns:
            scores = self.scores(arm)
            one = next(iter(scores.values()))
            arms = [one] * len(seeds) if self.is_fixed(arm) else [scores[seed] for seed in seeds]
            values = pseudo_values(arms, self._metrics[arm], False, [language])[0]
            rows = arms[0][language]
            pool = arm.target if self.spec(arm.target).parallel else f"{arm.target}/{language}"
            self._columns[key] = Column(pool, tuple(dict.fromkeys(rows.units)), seeds, values, frozenset(rows.ids))
        return self._columns[key]

    def effect(
        self,
        weights: Weights,
        languages: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        *,
        value: float | None = None,
    ) -> Effect:
        """The contrast, averaged over the languages of each target.

        Args:
            weights: by arm; of several targets where they say so.
            languages: of each target, or of the only one; None = `Banks.languages`.
            value: of a function whose derivative the weights are (`relative`); None = the weighted sum itself.

        Raises:
            InvalidValue: no seed that all arms have, no language, or arms with different rows.
        """
        taken = self._taken(weights, languages)
        seeds = self.seeds(weights)
        if not seeds:
            raise InvalidValue("no seed that all arms have", param="cells", limit=1, given=0)
        columns: list[Column] = []
        shares: list[float] = []
        for target, names in taken.items():
            if not names:
                raise InvalidValue(f"{target} has no language that all arms have", param="languages", limit=1, given=0)
            own = {arm: weight for arm, weight in weights.items() if arm.target == target}
            columns += [self.column(own, language, seeds) for language in names]
            shares += [1.0 / len(names)] * len(names)
        found = weigh(columns, shares)
        all_seeds = {seed for arm in weights if not self.is_fixed(arm) for seed in self.scores(arm)}
        found = replace(found, left_out=tuple(sorted(all_seeds - set(seeds))))
        return found if value is None else around(found, value)

    def _taken(
        self, weights: Weights, languages: Mapping[str, Sequence[str]] | Sequence[str] | None
    ) -> Mapping[str, Sequence[str]]:
        if languages is None:
            return self.languages(weights)
        targets = dict.fromkeys(arm.target for arm in weights)
        return languages if isinstance(languages, Mapping) else dict.fromkeys(targets, languages)

    def relative(
        self,
        above: Weights,
        below: Weights,
        languages: Sequence[str] | None = None,
        *,
        constant: float = 0.0,
    ) -> tuple[float, dict[Arm, float]]:
        """100 x above / (constant + below) of contrasts of one target, and its derivative by the score of every arm.

        The delta method: the ratio moves with the scores as its derivative says, so `effect` of that derivative has the
        interval of the ratio.

        Raises:
            InvalidValue: the denominator is not positive: nothing can be lost, or gained.
        """
        arms = dict.fromkeys([*above, *below])
        names = self._taken(dict.fromkeys(arms, 1.0), languages)

        def scored(weights: Weights) -> float:
            full = {arm: weights.get(arm, 0.0) for arm in arms}
            return self.effect(full, names).value

        top, bottom = scored(above), constant + scored(below)
        if not bottom > 0:
            raise InvalidValue("a share of nothing is not defined", param="cells", limit=0, given=bottom)
        ratio = top / bottom
        slopes = {arm: 100.0 * (above.get(arm, 0.0) - ratio * below.get(arm, 0.0)) / bottom for arm in arms}
        return 100.0 * ratio, slopes

    def level(self, arm: Arm, languages: Sequence[str] | None = None) -> Effect:
        """The mean score of one arm over languages; its interval ends where the scale does."""
        found = self.effect({arm: 1.0}, languages)
        return replace(found, low=max(found.low, 0.0), high=min(found.high, 100.0))

    def trivial(self, target: str, languages: Sequence[str]) -> float | None:
        """The trivial baseline's mean over `languages`; None where it is not known for all of them."""
        known = self._trivial.get(target, {})
        if not languages or any(language not in known for language in languages):
            return None
        return float(np.mean([known[language] for language in languages]))

    def is_floor(self, arm: Arm, languages: Sequence[str]) -> bool:
        """The arm is not shown to be above the trivial baseline: the interval of its mean reaches down to it."""
        trivial = self.trivial(arm.target, languages)
        return trivial is not None and self.level(arm, languages).low <= trivial

    def limit(self, arms: Iterable[Arm], languages: Sequence[str]) -> str:
        """The end of the scale (`LIMITS`) that all arms are at, so that no conclusion uses their differences; or ''."""
        given = list(arms)
        if all(self.is_floor(arm, languages) for arm in given):
            return "floor"
        return "ceiling" if all(self.level(arm, languages).value >= CEILING for arm in given) else ""

    def without_trivial(self) -> list[str]:
        """What must be said of targets whose floor is not known."""
        missing = [target for target in self.targets if target not in self._trivial]
        return (
            [f"whether {', '.join(missing)} is above chance, because no trivial baseline was given"] if missing else []
        )


def gain(base: str, recipe: str, target: str, *, weight: float = 1.0, over: str = BASELINE) -> dict[Arm, float]:
    """The contrast of a recipe to the baseline (or another recipe) on one target."""
    return {Arm(base, recipe, target): weight, Arm(base, over, target): -weight}


def total(contrasts: Iterable[Weights]) -> dict[Arm, float]:
    """The sum of contrasts."""
    found: defaultdict[Arm, float] = defaultdict(float)
    for weights in contrasts:
        for arm, weight in weights.items():
            found[arm] += weight
    return dict(found)


def mean_of(contrasts: Sequence[Weights]) -> dict[Arm, float]:
    """The mean of contrasts: over recipes, targets, pairs of tasks."""
    return {arm: weight / len(contrasts) for arm, weight in total(contrasts).items()}


def minus(one: Weights, other: Weights) -> dict[Arm, float]:
    """The difference of two contrasts."""
    return total([one, {arm: -weight for arm, weight in other.items()}])


def trained_in(recipe: str) -> tuple[str, ...]:
    """The languages that a recipe names behind `@`: those its target is trained in; () where it names none."""
    try:
        return parse_recipe(recipe).languages
    except InvalidValue:
        # A recipe from elsewhere: nothing is known of it.
        return ()


def family_of(language: str) -> str:
    """A language's family; an isolate, or a language that is not in the table, is a family by itself."""
    known = LANGUAGES.get(language)
    return language if known is None or known.family == "isolate" else known.family


def parts_of(recipe: str) -> tuple[str, ...]:
    """The tasks of a mixture of tasks; () of the baseline, of controls and of mixtures with text."""
    try:
        parts = parse_recipe(recipe).parts
    except InvalidValue:
        return ()
    return tuple(part.task for part in parts) if all(part.kind == "task" for part in parts) else ()


def is_repeat(recipe: str, target: str) -> bool:
    """The recipe's encoder has learnt the target's training task before: marked `=`, in no mean over recipes."""
    return repeats(recipe, {target, get_task(target).train_task} - {""})


# What a study hands over.

#: A row of a table: column -> a plain value (None = nothing to say).
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of a report; all lines have the same columns, in the same order."""

    name: str
    title: str
    lines: tuple[Line, ...]


class Interval(Protocol):
    """A number with a 95 % interval: an `Effect`, or a slope."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Result:
    """What a study found.

    Attributes:
        question: in one sentence.
        answer: in two sentences, with effect size and interval; what cannot be said, it says.
        effect: the one number behind the answer; None where there is none.
        tables: everything behind it.
        not_concluded: what could not be concluded, each "…, because …".
    """

    question: str
    answer: str
    effect: Interval | None
    tables: tuple[Table, ...]
    not_concluded: tuple[str, ...]


def columns_of(effect: Effect | None) -> dict[str, Any]:
    """An effect as columns of a table line; all None without one."""
    names = ("value", "low", "high", "p", "smallest", "rows")
    found: dict[str, Any] = {name: None if effect is None else getattr(effect, name) for name in names}
    return found | {"seeds": 0 if effect is None else len(effect.seeds), "claim": bool(effect and effect.claim)}


def in_words(effect: Interval, unit: str = "points") -> str:
    """``+1.2 points (95 % interval −0.3 to +2.7)``."""
    # What rounds to nothing is +0.0.
    numbers = [round(number, 1) + 0.0 for number in (effect.value, effect.low, effect.high)]
    value, low, high = (f"{number:+.1f}".replace("-", "−") for number in numbers)
    return f"{value} {unit} (95 % interval {low} to {high})"


def p_said(p: float) -> str:
    """``p 0.040``, ``p < 0.001``."""
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


#: What fewer seeds than three leave open.
ABOUT_CHANCE = "whether the effect is one of the recipes"


def chance(effect: Effect) -> str:
    """A sentence on what this number of seeds allows to say; '' where there are enough."""
    if effect.claim:
        return ""
    number = {1: "one seed", 2: "two seeds"}[len(effect.seeds)]
    return (
        f"With {number} this cannot separate the effect from chance: the interval is over rows alone and speaks of "
        "these checkpoints, not of the recipes."
    )


def too_few_seeds(effect: Effect | None) -> list[str]:
    """The same for `Result.not_concluded`."""
    if effect is None or effect.claim:
        return []
    number = {1: "one seed", 2: "two seeds"}[len(effect.seeds)]
    return [f"{ABOUT_CHANCE}, because {number} cannot separate it from chance (at least {MIN_SEEDS} are needed)"]


def not_shown(effect: Effect | None, what: str) -> list[str]:
    """That `what` is left open, with what would have been found; [] where the effect is shown, or seeds are too few."""
    if effect is None or not effect.claim or effect.shown:
        return []
    return [
        f"{what}, because the interval holds 0; a true effect of {effect.smallest:.1f} points would be shown by these "
        "rows and seeds with 80 % power"
    ]


def _sum_of(members: Sequence[tuple[Column, float]], language: str) -> Column:
    """Columns of one language on the same units, weighed and added."""
    first = members[0][0]
    values = np.zeros_like(first.values)
    for column, weight in members:
        if column.ids != first.ids:
            message = f"arms to compare were scored on different rows of {language!r}"
            raise InvalidValue(message, param="cells", limit=len(first.ids), given=len(column.ids))
        place = {unit: number for number, unit in enumerate(column.units)}
        values = values + weight * column.values[[place[unit] for unit in first.units]]
    return replace(first, values=values)


def _values(rows: Sequence[BankRow], metric: Metric) -> dict[str, float]:
    return {
        language: float(metric.value(part.statistics.sum(axis=0)))
        for language, part in language_rows(rows, metric).items()
    }


def paired(rows: LanguageRows, first: LanguageRows, language: str) -> LanguageRows:
    """`rows` in the order of `first`, those of its ids alone; see `intervals.same_order`."""
    wanted = set(first.ids)
    keep = [place for place, id_ in enumerate(rows.ids) if id_ in wanted]
    taken = LanguageRows(
        tuple(rows.ids[place] for place in keep), tuple(rows.units[place] for place in keep), rows.statistics[keep]
    )
    return same_order(taken, first, language)
