"""A version's page in the registry: a short description, and the whole card as HTML, Markdown and pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow

from pipelines.job import Job, training_stages
from pipelines.phases import root_of
from pipelines.promotion import Measured, Outcome, latency_ms, training_data
from polystilts.analysis.card_plot import language_plot
from polystilts.analysis.intervals import language_rows
from polystilts.analysis.recipes import Comparison, RecipeEstimate, compare, mean_of_recipe
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.tasks import TASKS, TaskSpec, get_task
from polystilts.tracking.card import (
    Card,
    DataLine,
    DecisionLine,
    GateLine,
    Interval,
    LanguageLine,
    PrecisionLine,
    description,
    html,
    markdown,
)

INTENDED_USE = (
    "Answers in the languages above, each with its own score. Languages that are not listed are not measured; where "
    "an interval is wide, little is known."
)


def log_page(
    job: Job, measured: Measured, rows: Sequence[BankRow], baseline: Sequence[BankRow], outcome: Outcome | None
) -> str:
    """Logs the whole card to the active run; returns the description, which links it.

    Args:
        rows: of the candidate, of every role; the card shows its report rows.
        baseline: the baseline's rows; [] for none.
        outcome: the decision that chose it; None for the baseline's own page.
    """
    run = mlflow.active_run()
    assert run is not None  # promotions run inside their own
    folder = f"card-{measured.bundle.digest[:12]}"
    full = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{folder}/card.html"
    card = card_of(job, measured, rows, baseline, outcome, full=full)
    with tempfile.TemporaryDirectory(prefix="polystilts-") as place:
        picture = language_plot(card, Path(place) / "languages.png")
        (Path(place) / "card.html").write_text(html(card, {"Languages": picture}), encoding="utf-8")
        (Path(place) / "card.md").write_text(markdown(card), encoding="utf-8")
        mlflow.log_artifacts(place, folder)
    return description(card)


def card_of(
    job: Job,
    measured: Measured,
    rows: Sequence[BankRow],
    baseline: Sequence[BankRow],
    outcome: Outcome | None,
    *,
    full: str,
) -> Card:
    """Everything that is known of a candidate."""
    spec, lineage = measured.cell.spec, measured.cell.checkpoint.lineage
    metric = get_metric(spec.metric)
    own, base, live = (
        {0: language_rows([row for row in bank if row.role == "report"], metric)}
        for bank in (rows, baseline, outcome.live if outcome else ())
    )
    languages = list(own[0])
    others = [language for language in languages if language != "en"] or languages
    verdicts = {line.language: line.verdict for line in outcome.decision.languages} if outcome else {}

    def against(other: Mapping[int, Any], names: Sequence[str]) -> Comparison | None:
        if not other[0]:
            return None
        return compare(own, other, metric, joint=spec.parallel, languages=names, fixed_base=True)

    lines = []
    for language in languages:
        to_champion, to_baseline = against(live, [language]), against(base, [language])
        lines.append(
            LanguageLine(
                language,
                len(own[0][language].ids),
                _score(mean_of_recipe(own, metric, joint=spec.parallel, languages=[language])),
                _optional(to_baseline),
                _optional(to_champion),
                getattr(to_champion or to_baseline, "smallest", None),
                (verdicts.get(language) or "ok") if live[0] else "not compared",  # type: ignore[arg-type]
            )
        )
    return Card(
        target=spec.name,
        title=spec.title,
        metric=metric.title,
        base=str(root_of(lineage)["name"]),
        recipe=measured.cell.recipe,
        seed=measured.candidate.seed,
        source=job.source.name.partition(":")[0],
        precision=measured.bundle.precision,
        mean=_score(mean_of_recipe(own, metric, joint=spec.parallel, languages=others)),
        languages=tuple(lines),
        to_baseline=_optional(against(base, others)),
        to_champion=_optional(against(live, others)),
        champion=(outcome.replaced or "") if outcome else "",
        decisions=_decisions(outcome) if outcome else (),
        gates=tuple(
            GateLine(gate.name, str(gate.limit), str(gate.given), gate.passed, gate.message)
            for gate in (outcome.gates if outcome else ())
        ),
        data=tuple(
            DataLine(
                f"{task['name']} ({phase})",
                task["licence"],
                get_task(task["name"]).non_commercial,
                task["rows"],
                str(task["data"])[:12],
            )
            for phase, task in _training_steps(lineage)
        ),
        contamination=contamination(spec, lineage),
        precisions=_precisions(measured),
        parity=tuple((gate.name, gate.message) for gate in (outcome.gates if outcome else ()) if gate.name == "parity"),
        latency_ms=latency_ms(job, measured),
        latency_how="median of single texts of all languages, one thread of the machine that promoted",
        intended_use=INTENDED_USE,
        limits=(
            "One seed's model: the intervals are over rows and speak of this checkpoint, not of its recipe.",
            _trained_in(spec, lineage),
        ),
        lineage=_lineage(measured, lineage),
        full=full,
    )


def contamination(spec: TaskSpec, lineage: Mapping[str, Any]) -> str:
    """Which evaluation texts the base or a training task may have seen."""
    known = []
    if spec.drawn_from:
        source = get_task(spec.drawn_from).title
        known.append(
            f"The English rows of {spec.title} are validation rows of {source}: they trained nothing, and its report "
            "rows chose no checkpoint."
        )
    stages = {get_task(name).data for name in training_stages(spec)}
    recipe = [get_task(name) for name in str(lineage.get("recipe", "")).split("+") if name in TASKS]
    before = {get_task(name).data for task in recipe for name in task.parts or (task.name,)}
    if again := sorted(stages & before):
        known.append(f"The recipe holds the target's own English training set ({', '.join(again)}).")
    known.append("Whether the base has seen evaluation texts in its pretraining was not checked.")
    return " ".join(known)


def _trained_in(spec: TaskSpec, lineage: Mapping[str, Any]) -> str:
    codes = {code for task in training_data(lineage) for code in task.get("languages") or ("en",)}
    if further := sorted(codes - {"en"}):
        return f"Trained in further languages ({', '.join(further)}): not zero-shot in those."
    return "Trained in English alone." if training_stages(spec) else "Not trained for this target."


def _training_steps(lineage: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every training task with its phase, the last one first."""
    own = [(str(lineage["phase"]), task) for task in lineage.get("tasks", [])]
    return own + (_training_steps(lineage["parent"]) if "parent" in lineage else [])


def _decisions(outcome: Outcome) -> tuple[DecisionLine, ...]:
    return tuple(
        DecisionLine(
            line.recipe,
            len(line.seeds),
            _interval(line.mean),
            _optional(line.to_baseline),
            _optional(line.to_champion),
            line.p_baseline,
            *line.worst,
            line.verdict,
        )
        for line in outcome.decision.lines
    )


def _precisions(measured: Measured) -> tuple[PrecisionLine, ...]:
    tried = measured.quantisation["tried"] if measured.quantisation else []
    return tuple(
        PrecisionLine(
            f"int8 row-wise, weights {item['recipe']['name']}",
            item["mean_loss"],
            item["worst_language"],
            item["worst_loss"],
            item["size"] / 1e6,
            item["fits"],
        )
        for item in tried
    )


def _lineage(measured: Measured, lineage: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """From the bundle down to the base."""
    steps = [("bundle", measured.bundle.digest)]
    while "parent" in lineage:
        what = f"weights {lineage['weights'][:12]}, run {lineage.get('run_id', '')}, seed {lineage.get('seed', '')}"
        commit = f", commit {lineage['commit'][:12]}" if lineage.get("commit") else ""
        steps.append((f"{lineage['phase']} {lineage['name']}", f"{what}, version {lineage.get('version', '')}{commit}"))
        lineage = lineage["parent"]
    known = [f"{key} {lineage[key]}" for key in ("revision", "run_id", "seed") if lineage.get(key) not in (None, "")]
    return (*steps, (lineage["phase"], ", ".join([lineage["name"], f"weights {lineage['weights'][:12]}", *known])))


def _interval(estimate: RecipeEstimate) -> Interval:
    return Interval(estimate.value, estimate.low, estimate.high)


def _score(estimate: RecipeEstimate) -> Interval:
    """A t interval may pass the ends of the scale; a score cannot."""
    return Interval(estimate.value, max(estimate.low, 0.0), min(estimate.high, 100.0))


def _optional(estimate: RecipeEstimate | None) -> Interval | None:
    return _interval(estimate) if estimate else None
