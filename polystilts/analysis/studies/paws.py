"""Single intermediate tasks against several: accuracy and robustness on a paraphrase target, at equal updates.

A combination is compared with the *mean* of its single tasks, which needs no choice, and with the *better* of them,
which must not be chosen on the rows that report it: a combination is called better than the best single task only
where it is shown to be better than each (an intersection-union test; the largest p needs no correction).

Robustness is read beside accuracy. Agreement under a change can be had by always saying the same, so rows that are
right both times stand beside it. The calibration error is the plain one in a difference, where the excess by chance is
about the same on either side; levels have theirs corrected (`polystilts.metrics.robustness.calibration_error`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polystilts.analysis import BASELINE
from polystilts.analysis.intervals import LanguageRows
from polystilts.analysis.recipes import holm
from polystilts.analysis.selection import ALPHA
from polystilts.analysis.studies.common import (
    CEILING,
    CLEAN,
    LIMITS,
    RENAMED,
    SWAPPED,
    Arm,
    Banks,
    Cell,
    Effect,
    Result,
    Table,
    Weights,
    chance,
    columns_of,
    condition_said,
    in_words,
    mean_of,
    minus,
    noise_of,
    not_shown,
    parts_of,
    too_few_seeds,
)
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.metrics.core import Floats, Metric, ratio
from polystilts.metrics.robustness import Confidences, Estimate, calibration_error
from polystilts.tasks.catalogue import get_task

QUESTION = "Do several intermediate tasks, syntactic and semantic, make better and more robust models than single ones?"

#: Kinds of recipes: one task; one syntactic and one semantic; all tasks there are; the rest.
KINDS = ("single", "pair", "all", "other")

#: Measures of robustness that an answer names.
_NAMED = 2

#: The measure of which less is better.
CALIBRATION = "calibration error"

#: Bins of a calibration error that is compared; fewer than for a level, because a language has a few hundred rows.
BINS = 10


@dataclass(frozen=True)
class CalibrationGap(Metric):
    """Calibration error of sums by bin, 0 to 100; statistics (rows, confidence, correct) for each of `BINS` bins."""

    name: str = "calibration_gap"
    title: str = "calibration error"
    columns: tuple[str, ...] = ("rows", "confidence", "correct") * BINS

    def statistics(self, golds: Sequence[object], predictions: Sequence[object], language: str) -> Floats:
        """Not from answers: they hold no probabilities. See `calibration_rows`."""
        raise InvalidValue("a calibration error needs probabilities, not answers", param="predictions")

    def value(self, sums: Floats) -> Floats:
        by_bin = sums.reshape(*sums.shape[:-1], BINS, 3)
        gaps = np.abs(by_bin[..., 1] - by_bin[..., 2]).sum(axis=-1)
        return 100.0 * ratio(gaps, by_bin[..., 0].sum(axis=-1), empty=np.nan)


def calibration_rows(ids: Sequence[str], units: Sequence[str], confidence: Floats, correct: Floats) -> LanguageRows:
    """Rows of one language for `CalibrationGap`, in bins of as many rows each."""
    edges = np.quantile(confidence, np.arange(1, BINS) / BINS)
    place = np.searchsorted(edges, confidence, side="left")
    statistics = np.zeros((len(ids), BINS, 3))
    statistics[np.arange(len(ids)), place] = np.column_stack([np.ones(len(ids)), confidence, correct])
    return LanguageRows(tuple(ids), tuple(units), statistics.reshape(len(ids), -1))


@dataclass(frozen=True)
class Measured:
    """One recipe by one measure.

    Attributes:
        measure: 'accuracy'; 'agreement CONDITION', 'both right CONDITION' (rows as they are and changed);
            'accuracy CONDITION' under noise; 'calibration error', where less is better.
        kind: of `KINDS`.
        level: mean over languages.
        to_baseline: recipe minus baseline, and Holm's p over the recipes.
        to_parts: a combination minus the mean of its single tasks, and Holm's p over the combinations.
        p_best: that it is not better than every one of its single tasks.
        limit: of the recipe's accuracy by itself. Two recipes at the floor, or at the ceiling of a measure, are not
            compared.
    """

    measure: str
    recipe: str
    kind: str
    level: Effect
    to_baseline: Effect | None
    p_baseline: float | None
    to_parts: Effect | None
    p_parts: float | None
    p_best: float | None
    limit: str


@dataclass(frozen=True)
class Calibrated:
    """The corrected calibration error of one checkpoint, by language and ('' as language) for their mean."""

    recipe: str
    seed: int
    language: str
    error: Estimate
    plain: float


@dataclass(frozen=True)
class PawsResult(Result):
    """Adds every measure of every recipe, and the mean of pairs minus that of their parts by measure."""

    measured: tuple[Measured, ...]
    calibrated: tuple[Calibrated, ...]
    pairs_to_parts: Mapping[str, Effect]


def paws_study(
    cells: Sequence[Cell],
    trivial: Mapping[str, Sequence[BankRow]],
    *,
    base: str,
    target: str = "pawsx",
    updates: Mapping[str, int] | None = None,
    resamples: int = 1000,
) -> PawsResult:
    """Single tasks, pairs of a syntactic and a semantic one, and all tasks, by every measure that the cells allow.

    Args:
        cells: CLEAN ones, and those of other conditions; with `confidence`, calibration too.
        trivial: rows of the target's trivial baseline.
        base: name of the base; cells of others are passed over.
        target: cells of others are passed over.
        updates: of intermediate training by recipe: differences are at equal updates, or the report says where not.
        resamples: of the bootstrap of calibration errors; 0 = no levels.

    Raises:
        MissingData: no cells of this base and target as they are.
    """
    banks = Banks([cell for cell in cells if (cell.base, cell.target) == (base, target)], trivial)
    arms = {recipe: Arm(base, recipe, target) for recipe in banks.recipes if Arm(base, recipe, target) in banks}
    if not arms:
        raise MissingData(f"no cells of {target} from {base} with text as it is", param="cells", given=target)
    open_: list[str] = []
    kinds = kinds_of(list(arms))
    measures = _measures(banks, arms, open_)
    languages = banks.languages(arms.values())[target]
    floors = [recipe for recipe, arm in arms.items() if banks.is_floor(arm, languages)]
    if len(floors) > 1:
        open_.append(f"how {', '.join(floors)} differ, because {LIMITS['floor']}")
    measured: list[Measured] = []
    pairs: dict[str, Effect] = {}
    for measure, found in measures.items():
        lines, together = _by_measure(banks, measure, found, kinds, languages)
        if measure != CALIBRATION and all(line.level.value >= CEILING for line in lines):
            open_.append(f"what recipes change in {measure}, because {LIMITS['ceiling']}")
        measured += lines
        if together is not None:
            pairs[measure] = together
    if not any(kind == "pair" for kind in kinds.values()):
        open_.append("what pairs do, because there is no recipe of one syntactic and one semantic task")
    elif not pairs:
        open_.append(
            "what pairs do against their parts, because none has all its single tasks beside it and room for an effect"
        )
    open_ += _unequal(updates or {}, kinds)
    effect = pairs.get("accuracy")
    some = effect or (measured[0].level if measured else None)
    open_ += (
        too_few_seeds(some)
        + not_shown(effect, "whether pairs are more accurate than their parts")
        + banks.without_trivial()
    )
    calibrated = _calibrated(banks, arms, resamples) if resamples else []
    return PawsResult(
        QUESTION,
        _answer(effect, pairs),
        effect,
        _tables(measured, calibrated, pairs),
        tuple(open_),
        tuple(measured),
        tuple(calibrated),
        pairs,
    )


def kinds_of(recipes: Sequence[str]) -> dict[str, str]:
    """Recipe -> one of `KINDS`; recipes without an intermediate task are left out. 'all' is the one with most tasks."""
    tasks = {recipe: parts_of(recipe) for recipe in recipes}
    most = max(map(len, tasks.values()), default=0)

    def kind(names: tuple[str, ...]) -> str:
        if len(names) == 1:
            return "single"
        if len(names) == 2 and {get_task(name).skill for name in names} == {"syntactic", "semantic"}:
            return "pair"
        return "all" if len(names) == most and most > 2 else "other"

    return {recipe: kind(names) for recipe, names in tasks.items() if names}


def _measures(banks: Banks, arms: Mapping[str, Arm], open_: list[str]) -> dict[str, dict[str, Arm]]:
    """Measure -> recipe -> the arm that has it; measures that only some recipes have are named."""
    accuracy = get_metric("accuracy")
    found: defaultdict[str, dict[str, Arm]] = defaultdict(dict)
    found["accuracy"] = dict(arms)
    conditions = dict.fromkeys(arm.condition for arm in banks.cells if arm.condition != CLEAN)
    for recipe, arm in arms.items():
        for condition in conditions:
            changed = arm._replace(condition=condition)
            if changed not in banks:
                continue
            if noise_of(condition) is not None:
                found[f"accuracy {condition_said(condition)}"][recipe] = changed
            shared = sorted(set(banks.cells[arm]) & set(banks.cells[changed]))
            said = condition_said(condition)
            for measure, same in ((f"agreement {said}", True), (f"both right {said}", False)):
                scores = {
                    seed: _pairs(banks.cells[arm][seed].rows, banks.cells[changed][seed].rows, agree=same)
                    for seed in shared
                }
                found[measure][recipe] = banks.measure(arm._replace(condition=measure), scores, accuracy)
        if all(cell.confidence for cell in banks.cells[arm].values()):
            scores = {seed: _calibration(cell) for seed, cell in banks.cells[arm].items()}
            measured = banks.measure(arm._replace(condition=CALIBRATION), scores, CalibrationGap())
            found[CALIBRATION][recipe] = measured
    for condition in (SWAPPED, RENAMED):
        if condition not in conditions:
            open_.append(f"how models stand being {condition}, because no cells of that condition were given")
    if CALIBRATION not in found:
        open_.append("calibration, because probabilities were not kept with the answers")
    for measure, recipes in found.items():
        if lacking := [recipe for recipe in arms if recipe not in recipes]:
            open_.append(f"{measure} of {', '.join(lacking)}, because their cells lack it")
    return dict(found)


def _pairs(rows: Sequence[BankRow], changed: Sequence[BankRow], *, agree: bool) -> dict[str, LanguageRows]:
    """Rows that have a changed form, as statistics of accuracy: whether both answers are the same, or both right."""
    clean = {(row.language, row.id): row for row in rows if row.role == "report"}
    found: defaultdict[str, list[tuple[BankRow, float]]] = defaultdict(list)
    for row in changed:
        if row.role != "report":
            continue
        if (row.language, row.id) not in clean:
            message = f"row {row.id!r} ({row.language}) is changed and not there as it is"
            raise InvalidValue(message, param="cells", given=row.id)
        before = clean[row.language, row.id]
        same = before.predicted_value is not None and before.predicted_value == row.predicted_value
        found[row.language].append((before, same if agree else before.score == row.score == 1.0))
    return {
        language: LanguageRows(
            tuple(row.id for row, _ in group),
            tuple(row.unit for row, _ in group),
            np.array([[held, 1.0] for _, held in group], dtype=np.float64),
        )
        for language, group in sorted(found.items())
    }


def _confidences(cell: Cell) -> dict[str, tuple[list[str], Confidences]]:
    """Ids and confidences of the report rows by language."""
    if len(cell.confidence) != len(cell.rows):
        message = f"{len(cell.confidence)} confidences for {len(cell.rows)} rows"
        raise InvalidValue(message, param="confidence", limit=len(cell.rows), given=len(cell.confidence))
    grouped: defaultdict[str, list[tuple[BankRow, float]]] = defaultdict(list)
    for row, confidence in zip(cell.rows, cell.confidence, strict=True):
        if row.role == "report":
            grouped[row.language].append((row, confidence))
    return {
        language: (
            [row.id for row, _ in group],
            Confidences(
                np.array([confidence for _, confidence in group]),
                np.array([row.score == 1.0 for row, _ in group]),
                [row.unit for row, _ in group],
            ),
        )
        for language, group in sorted(grouped.items())
    }


def _calibration(cell: Cell) -> dict[str, LanguageRows]:
    return {
        language: calibration_rows(ids, part.units, part.confidence, part.correct.astype(np.float64))
        for language, (ids, part) in _confidences(cell).items()
    }


def _calibrated(banks: Banks, arms: Mapping[str, Arm], resamples: int) -> list[Calibrated]:
    found = []
    for recipe, arm in arms.items():
        languages = banks.languages(arms.values())[arm.target]
        for seed, cell in banks.cells[arm].items():
            if not cell.confidence:
                continue
            parts = {name: part for name, (_, part) in _confidences(cell).items() if name in languages}
            joint = banks.spec(arm.target).parallel
            errors = calibration_error(parts, joint=joint, resamples=resamples, seed=seed)
            plain = float(np.mean(list(errors.plain.values())))
            found.append(Calibrated(recipe, seed, "", errors.error.mean, plain))
            found += [
                Calibrated(recipe, seed, language, estimate, errors.plain[language])
                for language, estimate in errors.error.languages.items()
            ]
    return found


def _by_measure(
    banks: Banks, measure: str, arms: Mapping[str, Arm], kinds: Mapping[str, str], languages: Sequence[str]
) -> tuple[list[Measured], Effect | None]:
    if not arms:
        return [], None
    # Less of a calibration error is better.
    better = -1.0 if measure == CALIBRATION else 1.0
    shared = banks.languages(arms.values())
    target = next(iter(arms.values())).target
    taken = [language for language in languages if language in shared[target]] or list(shared[target])

    def effect(weights: Weights) -> Effect | None:
        if not banks.seeds(weights) or all(banks.is_floor(arm._replace(condition=CLEAN), taken) for arm in weights):
            return None
        full = measure != CALIBRATION and all(banks.level(arm, taken).value >= CEILING for arm in weights)
        return None if full else banks.effect(weights, taken)

    to_baseline, contrasts, to_parts, best = {}, {}, {}, {}
    for recipe, arm in arms.items():
        if recipe != BASELINE and BASELINE in arms:
            to_baseline[recipe] = effect({arm: 1.0, arms[BASELINE]: -1.0})
        parts = parts_of(recipe)
        if kinds.get(recipe) in ("pair", "all", "other") and all(part in arms for part in parts):
            contrasts[recipe] = minus({arm: 1.0}, mean_of([{arms[part]: 1.0} for part in parts]))
            to_parts[recipe] = effect(contrasts[recipe])
            singles = [effect({arm: better, arms[part]: -better}) for part in parts]
            best[recipe] = max((found.p_below(0.0) for found in singles if found), default=None)
    p_baseline = holm({recipe: found.p for recipe, found in to_baseline.items() if found})
    p_parts = holm({recipe: found.p for recipe, found in to_parts.items() if found})
    pairs = [contrasts[recipe] for recipe in contrasts if kinds[recipe] == "pair"]
    lines = [
        Measured(
            measure,
            recipe,
            kinds.get(recipe, "baseline" if recipe == BASELINE else "other"),
            banks.level(arm, taken),
            to_baseline.get(recipe),
            p_baseline.get(recipe),
            to_parts.get(recipe),
            p_parts.get(recipe),
            best.get(recipe),
            banks.limit([arm._replace(condition=CLEAN)], taken),
        )
        for recipe, arm in arms.items()
    ]
    return lines, effect(mean_of(pairs)) if pairs else None


def _unequal(updates: Mapping[str, int], kinds: Mapping[str, str]) -> list[str]:
    given = {recipe: updates[recipe] for recipe in kinds if recipe in updates}
    if len(given) < len(kinds):
        return ["that the comparison is at equal updates, because the updates of some recipes are not known"]
    if len(set(given.values())) > 1:
        least, most = (pick(given, key=given.__getitem__) for pick in (min, max))
        return [
            f"what several tasks do by themselves, because updates differ: {least} had {given[least]}, "
            f"{most} {given[most]}"
        ]
    return []


def _tables(
    measured: Sequence[Measured], calibrated: Sequence[Calibrated], pairs: Mapping[str, Effect]
) -> tuple[Table, ...]:
    def prefixed(name: str, effect: Effect | None) -> dict[str, object]:
        return {f"{name}_{part}": effect and getattr(effect, part) for part in ("value", "low", "high")}

    return (
        Table(
            "pairs",
            "Pairs of a syntactic and a semantic task minus the mean of the two alone, in points",
            tuple({"measure": measure} | columns_of(effect) for measure, effect in pairs.items()),
        ),
        Table(
            "measures",
            "Every recipe by every measure, to the baseline and to the mean of its single tasks, in points",
            tuple(
                {"measure": line.measure, "recipe": line.recipe, "kind": line.kind}
                | columns_of(line.level)
                | prefixed("to_baseline", line.to_baseline)
                | {"p_baseline": line.p_baseline}
                | prefixed("to_parts", line.to_parts)
                | {"p_parts": line.p_parts, "p_best": line.p_best, "limit": line.limit}
                for line in measured
            ),
        ),
        Table(
            "calibration",
            "Calibration error of every checkpoint, corrected for its excess by chance, in points",
            tuple(
                {"recipe": line.recipe, "seed": line.seed, "language": line.language or "mean"}
                | {"value": line.error.value, "low": line.error.low, "high": line.error.high, "plain": line.plain}
                for line in calibrated
            ),
        ),
    )


def _answer(effect: Effect | None, pairs: Mapping[str, Effect]) -> str:
    if effect is None:
        return "Nothing can be said on pairs of tasks: cells are missing, or leave no room for an effect. See below."
    shown = "differ" if effect.shown else "are not shown to differ"
    first = f"In accuracy pairs of intermediate tasks {shown} from the mean of their parts: {in_words(effect)}."
    if not effect.claim:
        return f"{first} {chance(effect)}"
    robust = {name: found for name, found in pairs.items() if name != "accuracy"}
    adjusted = holm({name: found.p for name, found in robust.items()})
    differing = [name for name, p in adjusted.items() if p < ALPHA]
    if not robust:
        return f"{first} Robustness was not measured."
    chosen = sorted(differing or adjusted, key=adjusted.__getitem__)[: _NAMED if differing else 1]
    words = "; ".join(f"{name} {in_words(robust[name])}" for name in chosen)
    if differing:
        share = f"{len(differing)} of {len(robust)} measures (Holm)"
        return f"{first} In robustness they differ in {share}, foremost {words}."
    return f"{first} In none of {len(robust)} measures of robustness are they shown to differ; nearest: {words}."
