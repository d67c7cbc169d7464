"""From scored checkpoints to a champion: export, measure as served, decide, pass the gates, register, move alias."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import mlflow
from filelock import FileLock

from pipelines import phases
from pipelines.deliver import deliveries
from pipelines.job import BASELINE, Job, training_stages
from pipelines.phases import Cell, root_of, seed_of, shown, stages_of
from polystilts.analysis.card_plot import heat_map
from polystilts.analysis.decision import decision_json, decision_tables
from polystilts.analysis.selection import Candidate, Decision, Gate, Limits, decide
from polystilts.data.roles import Role, evaluation_languages
from polystilts.evaluation import evaluate
from polystilts.export.onnx import export_bundle
from polystilts.export.parity import Parity, margin, parity
from polystilts.export.quantise import int8_within
from polystilts.formats.values import Rejected
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow, read_bank, write_bank
from polystilts.runtime.bundle import Bundle, load_predictor, open_bundle
from polystilts.runtime.folders import digest_of, read_json, write_json
from polystilts.runtime.models_folder import deliver
from polystilts.tasks import TaskSpec, get_task
from polystilts.tracking import promotion, registry
from polystilts.tracking.card.values import MICRO_NOTE
from polystilts.tracking.promotion import AliasMoved
from polystilts.training.checkpoint import Checkpoint, code_digest, open_checkpoint

#: Choice rows of every language on which an export is compared with its checkpoint.
PARITY_ROWS = 8

#: Texts whose latency is taken, one at a time.
TIMED_TEXTS = 32

_LATENCIES: dict[str, float] = {}


@dataclass(frozen=True)
class Measured:
    """A candidate with its answers as served.

    Attributes:
        plain: the fp32 bundle.
        bundle: what would be served: int8 where it keeps its limits, else `plain`.
        quantisation: what int8 cost (`QuantReport.to_json`); None where it was not asked for.
    """

    cell: Cell
    candidate: Candidate
    plain: Bundle
    bundle: Bundle
    quantisation: Mapping[str, Any] | None


@dataclass(frozen=True)
class Outcome:
    """What a promotion came to, and why.

    Attributes:
        registered: the chosen candidate's version; None in a dry run.
        replaced: the champion before it.
        live: that champion's rows of every role.
    """

    decision: Decision
    gates: tuple[Gate, ...]
    chosen: Measured
    registered: registry.Registered | None
    replaced: str | None
    live: Sequence[BankRow] = ()

    @property
    def refused(self) -> list[Gate]:
        return [gate for gate in self.gates if not gate.passed]


def finished_checkpoints(job: Job, spec: TaskSpec) -> list[Checkpoint]:
    """The finished candidates of a target in the job's output folder, the newest of each recipe and seed.

    They have the job's base, rows and settings: seeds are replicates only if nothing else differs. A target that is not
    trained has the encoders themselves.
    """
    base = phases.base_checkpoint(job)
    stages = training_stages(spec)
    pattern = "target-*" if stages else "intermediate-*"
    folders = sorted((job.output / "checkpoints").glob(pattern), key=lambda folder: folder.stat().st_mtime)
    found = {} if stages else {(phases.recipe_of(base), job.seed): base}
    others = 0
    for checkpoint in map(open_checkpoint, folders):
        if stages_of(checkpoint.lineage) != stages:
            continue
        if root_of(checkpoint.lineage)["weights"] == root_of(base.lineage)["weights"] and phases.as_today(
            job, checkpoint.lineage
        ):
            found[phases.recipe_of(checkpoint), seed_of(job, checkpoint)] = checkpoint
        else:
            others += 1
    if others:
        job.say(f"  {spec.name}: {others} checkpoints of another base, other rows or other settings are left out")
    return list(found.values())


def export_cell(job: Job, cell: Cell) -> Bundle:
    """The fp32 bundle of a cell's checkpoint; found again by the weights it was made from."""
    languages = list(dict.fromkeys(row.language for row in cell.rows))
    key = digest_of(
        {
            "weights": cell.checkpoint.weights,
            "target": cell.spec.name,
            "settings": cell.settings.to_json(),
            "languages": languages,
            "code": code_digest("export"),
        }
    )
    place = job.output / "bundles" / f"{cell.spec.name}-{key[:16]}"
    if place.is_dir():
        job.say(f"  export {cell.spec.name} from {cell.recipe}: done before, found in {shown(place)}")
        return open_bundle(place)
    with job.tracker.run("export", f"export/{cell.spec.name} from {cell.recipe}", key, {"task": cell.spec.name}):
        exported = export_bundle(
            cell.checkpoint,
            cell.settings,
            place,
            target=cell.spec.name,
            # Of every language: parity is a property of scripts and lengths, not of English.
            examples=phases.rows_of(job, cell.spec).examples(PARITY_ROWS),
            languages=languages,
        )
        mlflow.log_metrics({"parity": exported.parity, "agreement": exported.agreement})
    job.say(
        f"  export {cell.spec.name} from {cell.recipe}: largest difference to torch {exported.parity:.1e}, "
        f"same answer on {100 * exported.agreement:.1f} % of the rows"
    )
    return exported.bundle


def score_bundle(job: Job, cell: Cell, bundle: Bundle, role: Role | None = None) -> list[BankRow]:
    """A bundle's answers through the serving runtime, on the rows of one role or on all that the target is scored on;
    kept in the output folder by its digest."""
    spec = cell.spec
    key = digest_of(
        {
            "bundle": bundle.digest,
            "data": phases.evaluation_data(job, spec),
            "limit": job.preset.evaluation.limit,
            "role": role,
            "code": code_digest(),
        }
    )
    bank = job.output / "served" / f"{spec.name}-{key[:16]}.parquet"
    if not bank.is_file():
        rows = phases.rows_of(job, spec)
        result = evaluate(
            load_predictor(bundle, max_tokens=job.preset.evaluation.max_tokens),
            job.source,
            spec,
            [],
            recipe=cell.recipe,
            seed=seed_of(job, cell.checkpoint),
            # The bundle says how it answers: a champion of other days may pool another layer.
            layer=next(iter(bundle.settings.layers), None),
            rows=rows.only(role) if role else rows,
        )
        write_bank(bank, [row for row in result.rows if role in (None, row.role)])
    # Equal bundles of two recipes share a file.
    return [replace(row, recipe=cell.recipe, seed=seed_of(job, cell.checkpoint)) for row in read_bank(bank)]


def scores_by_language(spec: TaskSpec, rows: Sequence[BankRow], role: str) -> dict[str, float]:
    """The main metric of every language on the rows of a role."""
    metric = get_metric(spec.metric)
    by_language: dict[str, list[BankRow]] = {}
    for row in rows:
        if row.role == role:
            by_language.setdefault(row.language, []).append(row)
    return {
        language: metric.score([r.gold_value for r in own], [r.predicted_value for r in own], language)
        for language, own in by_language.items()
    }


def measure(job: Job, cell: Cell) -> Measured:
    """Exports a cell in the precision to be served and scores that on choice rows."""
    plain = export_cell(job, cell)
    bundle, quantisation = (plain, None) if job.preset.export.precision == "fp32" else quantised(job, cell, plain)
    candidate = Candidate(
        cell.recipe,
        seed_of(job, cell.checkpoint),
        score_bundle(job, cell, bundle, "choice"),
        cell.checkpoint.lineage.get("checkpoint_score"),
        _updates(cell.checkpoint.lineage),
    )
    return Measured(cell, candidate, plain, bundle, quantisation)


def quantised(job: Job, cell: Cell, plain: Bundle) -> tuple[Bundle, dict[str, Any]]:
    """The int8 bundle with what it cost, found again; the fp32 one where no recipe of quantisation keeps the limits.

    int8 is compared with the checkpoint's own scores on the same choice rows.
    """
    gates = job.preset.gates
    limits = (gates.quantisation_mean_loss, gates.quantisation_language_loss)
    reference = scores_by_language(cell.spec, cell.rows, "choice")
    key = digest_of({"bundle": plain.digest, "reference": reference, "limits": limits, "code": code_digest("export")})
    place = job.output / "bundles" / f"{cell.spec.name}-{key[:16]}-int8"
    report_file = place.with_name(f"{place.name}.json")

    def score(bundle: Bundle) -> dict[str, float]:
        if bundle.digest == plain.digest:
            return reference
        return scores_by_language(cell.spec, score_bundle(job, cell, bundle, "choice"), "choice")

    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):
        # The report is written last; a run that was killed before, or lost its folder, does it again.
        report = read_json(report_file) if report_file.is_file() else None
        if report is None or (report["tried"][-1]["fits"] and not place.is_dir()):
            shutil.rmtree(place, ignore_errors=True)
            with job.tracker.run("export", f"int8/{cell.spec.name} from {cell.recipe}", key, {"task": cell.spec.name}):
                found = int8_within(plain, place, score=score, mean_limit=limits[0], language_limit=limits[1])
                write_json(report_file, found.to_json())
                mlflow.log_artifact(str(report_file))
            report = read_json(report_file)
    if report["tried"][-1]["fits"]:
        return open_bundle(place), report
    job.say(f"  {cell.spec.name} from {cell.recipe} stays fp32: {quantisation_message(report)}")
    return plain, report


def quantisation_message(report: Mapping[str, Any]) -> str:
    """What was tried last, and what it lost."""
    tried = report["tried"]
    last = tried[-1]
    return (
        f"int8 {last['recipe']['name']}: mean {_signed(-last['mean_loss'])} points, {last['worst_language']} "
        f"{_signed(-last['worst_loss'])}, {last['size'] / 1e6:.1f} MB for {last['size_fp32'] / 1e6:.1f}; "
        + (f"kept after {len(tried)} tried" if last["fits"] else f"none of {len(tried)} within the limits")
    )


def _signed(points: float) -> str:
    return f"{round(points, 2) + 0.0:+.2f}"  # no -0.00


def promote(job: Job, spec: TaskSpec, cells: Sequence[Cell], *, strict: bool = False, dry_run: bool = False) -> Outcome:
    """Chooses among a target's candidates and makes the choice its champion, if every gate opens.

    What is registered and refused is the challenger; the baseline's best seed is registered under its own alias. If
    another process moves the alias meanwhile, the decision is made again, against the new champion.

    Args:
        cells: scored candidates.
        strict: refuse also where the rows cannot tell whether a language is worse.
        dry_run: decide and print, write nothing.
    """
    measured = {(m.candidate.recipe, m.candidate.seed): m for m in (measure(job, cell) for cell in cells)}
    if dry_run:
        return _decided(job, spec, measured, strict)
    while True:
        outcome = _decided(job, spec, measured, strict)
        try:
            return _registered(job, measured, outcome)
        except AliasMoved as error:
            job.say(f"  {spec.name}: {error}; deciding again")


def _decided(job: Job, spec: TaskSpec, measured: Mapping[tuple[str, int], Measured], strict: bool) -> Outcome:
    name = registry.model_name(spec.name)
    before = registry.alias_version(name, registry.CHAMPION)
    some = next(iter(measured.values())).cell
    live = _champion(job, some) if before else None
    champion = replace(live, rows=[row for row in live.rows if row.role == "choice"]) if live else None
    world = _same_world(job, live.name) if live else []
    limits = Limits(**job.preset.gates.model_dump(), strict=strict)
    expected = spec.languages if job.source.name != "micro" else tuple(evaluation_languages(job.source, spec))
    decision = decide(spec, [m.candidate for m in measured.values()], champion, limits, expected=expected)
    chosen = measured[decision.chosen.recipe, decision.chosen.seed]
    gates = (*decision.gates, *world, *_bundle_gates(job, chosen, limits))
    for table in decision_tables(decision, gates, get_metric(spec.metric).title):
        job.console.print(table)
    return Outcome(decision, gates, chosen, None, before, live.rows if live else ())


def _champion(job: Job, cell: Cell) -> Candidate:
    """The present champion, downloaded and scored on the rows of today, of every role."""
    with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
        registered, bundle = registry.champion(cell.spec.name, Path(folder))
        rows = score_bundle(job, cell, bundle)
    recipe, seed = str(registered.tags.get("recipe", "")), int(registered.tags.get("seed") or 0)
    rows = [replace(row, recipe=recipe, seed=seed) for row in rows]
    return Candidate(recipe, seed, rows, name=str(registered.tags.get("source", "")))


def _same_world(job: Job, source: str) -> list[Gate]:
    """A model of the micro world may not take the place of one of real rows."""
    if job.source.name != "micro" or source == "micro":
        return []
    message = f"the champion was trained on rows from {source or 'elsewhere'}, this candidate in the micro world"
    return [Gate("same world", False, job.source.name, source, message)]


def _bundle_gates(job: Job, chosen: Measured, limits: Limits) -> list[Gate]:
    """The gates that a bundle passes or not by itself."""
    gates = [_parity_gate(job, chosen)]
    if chosen.quantisation:
        # Open by construction: where int8 lost too much the candidate stayed fp32, and the message says so.
        message = quantisation_message(chosen.quantisation)
        limit = f"{limits.quantisation_mean_loss} / {limits.quantisation_language_loss}"
        gates.append(Gate("loss by quantisation", True, chosen.bundle.precision, limit, message))
    size = sum(path.stat().st_size for path in chosen.bundle.folder.iterdir()) / 1e6
    if limits.size_mb:
        gates.append(Gate("size", size <= limits.size_mb, round(size, 1), limits.size_mb, f"{size:.1f} MB"))
    if limits.latency_ms:
        taken = latency_ms(job, chosen)
        passed = taken <= limits.latency_ms
        gates.append(Gate("latency", passed, round(taken, 2), limits.latency_ms, f"{taken:.1f} ms a text, one thread"))
    missing = missing_lineage(chosen.bundle.lineage)
    message = f"lineage lacks {', '.join(missing)}" if missing else "lineage complete down to the base"
    gates.append(Gate("lineage", not missing, len(missing), 0, message))
    forbidding = non_commercial(chosen.bundle.lineage)
    if limits.commercial:
        message = f"trained on {', '.join(forbidding)}" if forbidding else "no training data forbid it"
        gates.append(Gate("commercial use", not forbidding, len(forbidding), 0, message))
    return gates


def _parity_gate(job: Job, chosen: Measured) -> Gate:
    """Torch's answers to every row against those of the fp32 bundle."""
    cell, metric = chosen.cell, get_metric(chosen.cell.spec.metric)
    answers = score_bundle(job, cell, chosen.plain)
    found = parity(cell.rows, answers, metric)
    if found.disagreements and cell.spec.format != "sentence":
        found = parity(cell.rows, answers, metric, margins=_margins(job, cell, found))
    # A neighbour found has no scores in the bank; its vectors were compared when the bundle was written.
    few = len(found.disagreements) <= max(1, found.rows // 10_000)
    failures = ([] if few else ["too many"]) if cell.spec.format == "sentence" else found.failures()
    message = "; ".join(
        [f"{len(found.disagreements)} of {found.rows} answers differ between torch and ONNX in fp32", *failures]
    )
    return Gate("parity", not failures, len(found.disagreements), "near-ties", message)


def _margins(job: Job, cell: Cell, found: Parity) -> dict[tuple[str, str], float]:
    """How near torch's two best scores are, of the rows with another answer."""
    wanted = {(row.language, row.id) for row in found.disagreements}
    rows = [
        (language, row)
        for language, own in phases.rows_of(job, cell.spec).rows.items()
        for _, row in own
        if (language, row.id) in wanted
    ]
    predictor = phases.predictor_of(job, cell.checkpoint, cell.settings)
    groups = predictor.encode([row for _, row in rows])
    return {
        (language, row.id): margin(group, predictor.run(group))
        for (language, row), group in zip(rows, groups, strict=True)
        if not isinstance(group, Rejected)
    }


def latency_ms(job: Job, chosen: Measured) -> float:
    """Median time of one text by itself on one thread, over choice rows of all languages; measured once a bundle."""
    if chosen.bundle.digest not in _LATENCIES:
        predictor = load_predictor(chosen.bundle, threads=1)
        examples = phases.rows_of(job, chosen.cell.spec).examples(4)
        examples = examples[:: max(1, len(examples) // TIMED_TEXTS)]
        predictor.predict(examples[:1])  # the first call is slower
        taken = []
        for example in examples:
            start = time.perf_counter()
            predictor.predict([example])
            taken.append(1000 * (time.perf_counter() - start))
        _LATENCIES[chosen.bundle.digest] = median(taken)
    return _LATENCIES[chosen.bundle.digest]


def _registered(job: Job, measured: Mapping[tuple[str, int], Measured], outcome: Outcome) -> Outcome:
    """Registers the chosen one, and moves the alias if no gate is shut.

    Raises:
        AliasMoved: another process has promoted since the decision.
    """
    chosen, spec = outcome.chosen, outcome.chosen.cell.spec
    key = digest_of({"promote": chosen.bundle.digest, "replaced": outcome.replaced})
    parameters = {"task": spec.name, "recipe": chosen.candidate.recipe, "seed": chosen.candidate.seed}
    with job.tracker.run("promote", f"promote/{spec.name}", key, parameters):
        plain = [m for m in measured.values() if m.candidate.recipe == BASELINE]
        best = max(plain, key=lambda m: (m.candidate.checkpoint_score or 0.0, -m.candidate.seed), default=None)
        baseline = score_bundle(job, best.cell, best.bundle) if best else []
        registered = _register(job, chosen, baseline, outcome)
        decision = decision_json(outcome.decision, outcome.gates)
        mlflow.log_dict(decision, "promotion/decision.json")
        if outcome.refused:
            if registered.version != registry.alias_version(registered.name, registry.CHAMPION):
                promotion.set_alias(registered.name, promotion.CHALLENGER, registered.version)
            return replace(outcome, registered=registered)
        if best:
            version = registered if best is chosen else _register(job, best, [], None)
            promotion.set_alias(registered.name, registry.BASELINE, version.version)
        promotion.promote_version(registered, expected=outcome.replaced, decision=decision)
    return replace(outcome, registered=registered)


def _register(
    job: Job, measured: Measured, baseline: Sequence[BankRow], outcome: Outcome | None
) -> registry.Registered:
    """A candidate's version with its page; report rows are looked at here, after every choice is made."""
    from pipelines.model_page import log_page

    cell, bundle = measured.cell, measured.bundle
    rows = score_bundle(job, cell, bundle)
    reported = scores_by_language(cell.spec, rows, "report")
    tags = {
        "recipe": cell.recipe,
        "metric": cell.spec.metric,
        "languages": ",".join(reported),
        registry.REPORT_SCORES: " ".join(f"{language}={score:.1f}" for language, score in reported.items()),
        "run_id": str(cell.checkpoint.lineage.get("run_id", "")),
        "seed": str(measured.candidate.seed),
        "source": job.source.name,
    }
    page = log_page(job, measured, rows, baseline, outcome)
    registered = registry.register_bundle(
        bundle, checkpoint_id=registry.checkpoint_model_id(cell.checkpoint), tags=tags, description=page
    )
    if outcome and registered.version != outcome.replaced:
        # Registered before; the champion keeps the page it was promoted with.
        registry.describe_version(registered, page)
    return registered


def say_outcome(job: Job, outcome: Outcome) -> None:
    """One line, and every gate that is shut."""
    target, recipe = outcome.decision.target, outcome.decision.chosen.recipe
    registered, replaced = outcome.registered, outcome.replaced
    for gate in outcome.refused:
        job.say(f"  [bold red]refused[/]  {gate.name}: {gate.message}")
    if registered is None:
        job.say(f"  {target}: {recipe} would be {'refused' if outcome.refused else 'the champion'}; dry run")
    elif outcome.refused:
        job.say(f"  {registered.name} version {registered.version} ({recipe}): challenger")
    elif replaced == registered.version:
        job.say(f"  {registered.name} version {registered.version} ({recipe}): champion, as before")
    else:
        instead = f", replacing version {replaced}" if replaced else ""
        job.say(f"  {registered.name} version {registered.version} ({recipe}): champion{instead}")


def log_heat_map(job: Job, outcomes: Sequence[Outcome]) -> None:
    """Recipes against targets, means on choice rows, as a picture in the reports and the active run."""
    scores = {(line.recipe, o.decision.target): line.mean.value for o in outcomes for line in o.decision.lines}
    folder = job.output / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    note = MICRO_NOTE if job.source.name == "micro" else ""
    picture = heat_map(scores, folder / "heat_map.png", note=note)
    mlflow.log_artifact(str(picture), "report")


def deliver_champions(job: Job, targets: Sequence[TaskSpec]) -> None:
    """Copies the champions of these targets into the models folder that the server reads."""
    delivered = 0
    for spec in targets:
        if registry.alias_version(registry.model_name(spec.name), registry.CHAMPION) is None:
            continue
        with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
            registered, bundle = registry.champion(spec.name, Path(folder))
            with deliveries(job.output / "models"):
                deliver(
                    bundle,
                    job.output / "models",
                    name=registered.name,
                    version=registered.version,
                    scores=registry.report_scores(registered.tags),
                )
        delivered += 1
    job.say(f"  {delivered} bundles in {shown(job.output / 'models')}")


def missing_lineage(lineage: Mapping[str, Any]) -> list[str]:
    """What a walk from a bundle down to its base lacks."""
    missing = []
    while "parent" in lineage:
        wanted = ("phase", "name", "seed", "weights", "run_id", "version", "tasks")
        missing += [f"{lineage.get('name', 'a checkpoint')}: {key}" for key in wanted if key not in lineage]
        missing += [f"{task['name']}: data" for task in lineage.get("tasks", []) if not task.get("data")]
        lineage = lineage["parent"]
    return missing + ([] if lineage.get("weights") else ["base: weights"])


def training_data(lineage: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every task that the model was trained on, the last one first."""
    own = list(lineage.get("tasks", []))
    return own + (training_data(lineage["parent"]) if "parent" in lineage else [])


def non_commercial(lineage: Mapping[str, Any]) -> list[str]:
    """Training tasks whose data forbid commercial use, of composed tasks their parts."""
    tasks = [get_task(task["name"]) for task in training_data(lineage)]
    named = [part for spec in tasks for part in (spec, *map(get_task, spec.parts))]
    return list(dict.fromkeys(spec.name for spec in named if spec.non_commercial))


def _updates(lineage: Mapping[str, Any]) -> int:
    """Of the training since the base: what a candidate cost."""
    own = int(lineage.get("updates", 0)) if lineage.get("phase") in ("intermediate", "target") else 0
    return own + (_updates(lineage["parent"]) if "parent" in lineage else 0)
