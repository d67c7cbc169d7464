"""Which candidate of a target goes live, and whether it may: pure functions of prediction banks.

Candidates are compared on choice rows, as their exported bundles answered them. The seeds of a recipe are replicates,
not candidates: a recipe is chosen by its mean over seeds, and the seed that goes live is the one with the best score on
English checkpoint rows, which no row of another language has touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polystilts.analysis import BASELINE
from polystilts.analysis.intervals import language_rows
from polystilts.analysis.recipes import Comparison, RecipeEstimate, Scores, compare, holm, mean_of_recipe, per_language
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.tasks.languages import LANGUAGES
from polystilts.tasks.spec import TaskSpec

#: Means over languages that differ by less, in points, are a tie: tables print one decimal.
TIE = 0.1

#: A difference is shown where its Holm-adjusted p is below.
ALPHA = 0.05


@dataclass(frozen=True)
class Candidate:
    """One model that could go live, with its answers.

    Attributes:
        recipe: what its encoder went through before the target.
        seed: of its fine-tuning.
        rows: choice rows as its bundle answered them.
        checkpoint_score: on English checkpoint rows, 0 to 100; None where the target is not trained.
        updates: of all the training behind it: what it cost.
        name: how messages call it.
    """

    recipe: str
    seed: int
    rows: Sequence[BankRow]
    checkpoint_score: float | None = None
    updates: int = 0
    name: str = ""


@dataclass(frozen=True)
class Limits:
    """What the gates allow, in points of the main metric unless it says otherwise.

    Attributes:
        mean_loss: the mean over languages other than English may not be shown to be worse than the champion's by more.
        language_loss: no language may be shown to be worse than the champion by more.
        low_resource_loss: nor the languages with little or no text in CC-100, taken together.
        quantisation_mean_loss, quantisation_language_loss: what int8 may cost against fp32.
        missing_languages: languages that may lack scores.
        size_mb, latency_ms: of the bundle, and of one text by itself on one thread; 0 = no limit.
        commercial: refuse models trained on data that forbid commercial use.
        strict: refuse also where the rows cannot tell.
    """

    missing_languages: int = 0
    mean_loss: float = 0.5
    language_loss: float = 1.5
    low_resource_loss: float = 0.5
    quantisation_mean_loss: float = 0.5
    quantisation_language_loss: float = 1.5
    size_mb: float = 0
    latency_ms: float = 0
    commercial: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Gate:
    """One condition of a promotion: what was found, what is allowed, and in words what that means."""

    name: str
    passed: bool
    given: float | str
    limit: float | str
    message: str


@dataclass(frozen=True)
class RecipeLine:
    """A recipe in the decision table; differences are paired on the rows, p is adjusted over the recipes (Holm).

    Attributes:
        worst: the language with the lowest score, and the score.
        verdict: 'chosen', 'tied', or how it stands to the chosen one.
    """

    recipe: str
    seeds: tuple[int, ...]
    updates: int
    mean: RecipeEstimate
    to_baseline: Comparison | None
    p_baseline: float | None
    to_champion: Comparison | None
    worst: tuple[str, float]
    verdict: str


@dataclass(frozen=True)
class LanguageLine:
    """A language of the chosen candidate against the champion.

    Attributes:
        score: of the candidate on choice rows.
        to_champion: candidate minus champion; None without one.
        p_worse: one-sided, that the candidate is worse; adjusted over the languages (Holm).
        verdict: '', 'worse' (shown, by more than the limit) or 'cannot tell' (the interval holds such a loss).
    """

    language: str
    rows: int
    score: float
    to_champion: Comparison | None
    p_worse: float | None
    verdict: str


@dataclass(frozen=True)
class Decision:
    """The decision table of a target, the candidate it chose, and the gates that its choice rows decide."""

    target: str
    lines: tuple[RecipeLine, ...]
    chosen: Candidate
    languages: tuple[LanguageLine, ...]
    gates: tuple[Gate, ...]


def decide(
    spec: TaskSpec,
    candidates: Sequence[Candidate],
    champion: Candidate | None,
    limits: Limits,
    *,
    expected: Sequence[str] = (),
) -> Decision:
    """Chooses the recipe with the best mean over the languages other than English, and its best seed.

    Means that differ by less than `TIE` are a tie, which goes to the recipe with fewer training updates, then fewer
    tasks, then the earlier name. English counts only where a target has no other language.

    Args:
        candidates: scored on the same rows, at least one.
        champion: the model that is live, scored on the same rows.
        expected: languages that a candidate must be scored in; () = the spec's.

    Raises:
        MissingData: no candidate, or one without choice rows.
        InvalidValue: rows of another role: a choice must not see report rows.
    """
    if not candidates:
        raise MissingData(f"{spec.name} has no candidates", param="target", given=spec.name)
    for scored in (*candidates, *([champion] if champion else [])):
        _only_choice_rows(spec, scored)
    metric = get_metric(spec.metric)
    recipes: dict[str, dict[int, Candidate]] = {}
    for candidate in candidates:
        recipes.setdefault(candidate.recipe, {})[candidate.seed] = candidate
    scores = {
        recipe: {seed: language_rows(c.rows, metric) for seed, c in seeds.items()} for recipe, seeds in recipes.items()
    }
    everywhere = list(next(iter(next(iter(scores.values())).values())))
    others = [language for language in everywhere if language != "en"] or everywhere
    live = {champion.seed: language_rows(champion.rows, metric)} if champion else None

    def against(base: Scores, seeds: Scores, *, fixed: bool) -> Comparison | None:
        if not fixed and not base.keys() & seeds.keys():
            return None
        return compare(seeds, base, metric, joint=spec.parallel, languages=others, fixed_base=fixed)

    means = {
        recipe: mean_of_recipe(seeds, metric, joint=spec.parallel, languages=others) for recipe, seeds in scores.items()
    }
    # A baseline that is not trained has no seeds: it is one model.
    to_baseline = {
        recipe: against(scores[BASELINE], seeds, fixed=not spec.train_task)
        for recipe, seeds in scores.items()
        if BASELINE in scores and recipe != BASELINE
    }
    adjusted = holm({recipe: found.p for recipe, found in to_baseline.items() if found})
    to_champion = {recipe: against(live, seeds, fixed=True) for recipe, seeds in scores.items()} if live else {}

    def cost(recipe: str) -> tuple[float, int, str]:
        seeds = recipes[recipe].values()
        return sum(c.updates for c in seeds) / len(seeds), recipe.count("+") + (recipe != BASELINE), recipe

    best = max(mean.value for mean in means.values())
    tied = [recipe for recipe, mean in means.items() if mean.value > best - TIE]
    winner = min(tied, key=cost)
    lines = tuple(
        RecipeLine(
            recipe,
            tuple(sorted(seeds)),
            round(cost(recipe)[0]),
            means[recipe],
            to_baseline.get(recipe),
            adjusted.get(recipe),
            to_champion.get(recipe),
            _worst(scores[recipe], spec),
            "chosen" if recipe == winner else "tied" if recipe in tied else "",
        )
        for recipe, seeds in sorted(recipes.items(), key=lambda item: -means[item[0]].value)
    )
    chosen = max(recipes[winner].values(), key=lambda c: (c.checkpoint_score or 0.0, -c.seed))
    own = {chosen.seed: scores[winner][chosen.seed]}
    languages = _languages(spec, own, live, limits)
    gates = [_all_scored(everywhere, expected or spec.languages, limits)]
    if live:
        gates += [
            _mean_not_worse(against(live, own, fixed=True), limits),
            _no_language_worse(languages, limits),
            *_low_resource(spec, own, live, limits),
        ]
        if limits.strict:
            gates.append(_can_tell(languages, limits))
    return Decision(spec.name, lines, chosen, languages, tuple(gates))


def _only_choice_rows(spec: TaskSpec, candidate: Candidate) -> None:
    if not candidate.rows:
        raise MissingData(f"{spec.name} from {candidate.recipe} has no choice rows", param="target", given=spec.name)
    for row in candidate.rows:
        if row.role != "choice":
            raise InvalidValue(
                f"row {row.id!r} in {row.language!r} is a {row.role} row and must not be used for a choice",
                param="rows",
                given=row.id,
            )


def _worst(seeds: Scores, spec: TaskSpec) -> tuple[str, float]:
    """The language with the lowest mean over seeds."""
    means = _means(seeds, spec)
    return min(means.items(), key=lambda item: (item[1], item[0]))


def _means(seeds: Scores, spec: TaskSpec) -> dict[str, float]:
    metric = get_metric(spec.metric)
    return {
        language: mean_of_recipe(seeds, metric, joint=spec.parallel, languages=[language]).value
        for language in next(iter(seeds.values()))
    }


def _languages(spec: TaskSpec, own: Scores, live: Scores | None, limits: Limits) -> tuple[LanguageLine, ...]:
    rows = next(iter(own.values()))
    scores = _means(own, spec)
    metric = get_metric(spec.metric)
    against = per_language(own, live, metric, languages=list(rows), fixed_base=True) if live else {}
    adjusted = holm({language: comparison.p_worse for language, comparison in against.items()})

    def verdict(language: str) -> str:
        if language not in against:
            return ""
        comparison = against[language]
        if comparison.value < -limits.language_loss and adjusted[language] < ALPHA:
            return "worse"
        # Neither shown nor excluded: the interval is so wide that it holds a loss beyond the limit.
        return "cannot tell" if comparison.low < -limits.language_loss else ""

    return tuple(
        LanguageLine(code, len(part.ids), scores[code], against.get(code), adjusted.get(code), verdict(code))
        for code, part in rows.items()
    )


def _all_scored(scored: Sequence[str], expected: Sequence[str], limits: Limits) -> Gate:
    missing = [language for language in expected if language not in scored]
    message = f"not scored in {', '.join(missing)}" if missing else f"scored in all {len(expected)} languages"
    passed = len(missing) <= limits.missing_languages
    return Gate("languages scored", passed, len(missing), limits.missing_languages, message)


def _mean_not_worse(found: Comparison | None, limits: Limits) -> Gate:
    """Small losses everywhere are shown by all languages together."""
    assert found is not None  # a fixed model shares every seed
    worse = found.value < -limits.mean_loss and found.p_worse < ALPHA
    message = (
        f"the mean over languages is {found.value:+.1f} points [{found.low:+.1f}, {found.high:+.1f}] to the champion"
    )
    return Gate("mean not worse", not worse, round(found.value, 2), -limits.mean_loss, message)


def _no_language_worse(languages: Sequence[LanguageLine], limits: Limits) -> Gate:
    worse = [line for line in languages if line.verdict == "worse"]
    lowest, where = min((line.to_champion.value, line.language) for line in languages if line.to_champion)
    message = "; ".join(
        f"{line.language} is {-line.to_champion.value:.1f} points worse than the champion "
        f"[{line.to_champion.low:+.1f}, {line.to_champion.high:+.1f}], p {line.p_worse:.4f}"
        for line in worse
        if line.to_champion
    )
    return Gate(
        "no language worse",
        not worse,
        round(lowest, 2),
        -limits.language_loss,
        message
        or f"none is shown to be worse by more than {limits.language_loss} points; lowest: {where} {lowest:+.1f}",
    )


def _low_resource(spec: TaskSpec, own: Scores, live: Scores, limits: Limits) -> list[Gate]:
    """No gate where no language of the set has little text in CC-100."""
    group = [
        code for code in next(iter(own.values())) if code in LANGUAGES and LANGUAGES[code].resource in ("low", "absent")
    ]
    if not group:
        return []
    found = compare(own, live, get_metric(spec.metric), joint=spec.parallel, languages=group, fixed_base=True)
    worse = found.value < -limits.low_resource_loss and found.p_worse < ALPHA
    message = (
        f"the low-resource languages together ({' '.join(group)}) are {found.value:+.1f} points "
        f"[{found.low:+.1f}, {found.high:+.1f}] against the champion, p of worse {found.p_worse:.4f}"
    )
    return [Gate("low-resource languages", not worse, round(found.value, 2), -limits.low_resource_loss, message)]


def _can_tell(languages: Sequence[LanguageLine], limits: Limits) -> Gate:
    unknown = [line for line in languages if line.verdict == "cannot tell"]
    message = "; ".join(
        f"{line.language}: {line.rows} rows can show {line.to_champion.smallest:.1f} points at best"
        for line in unknown
        if line.to_champion
    )
    return Gate(
        "strict: rows can tell",
        not unknown,
        len(unknown),
        0,
        message or f"no interval holds a loss of more than {limits.language_loss} points",
    )
