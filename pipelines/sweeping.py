"""A grid as it runs: its plan and what that costs, its runs as a tree, its failures, its cells."""

from __future__ import annotations

import contextlib
import errno
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.table import Table
from torch import nn

from pipelines.job import Job, training_stages
from pipelines.objectives import loop_settings, models_of, objective_of, prepare
from pipelines.phases import Walk, base_checkpoint, grid_recipes, run_grid
from pipelines.planning import Graph, Node, encoder_size, size_of
from pipelines.preset import with_knobs
from pipelines.provenance import root_of, shown
from pipelines.recipes import ENGLISH_ALONE, recipe_name, shared_knobs, target_plan
from pipelines.scoring import Cell, evaluation_data, scores_of
from pipelines.sweep import Arm
from polystilts.analysis.cells import CELLS, FAILURES, PLAIN, CellFile, RunFile, write_cells
from polystilts.errors import PolystiltsError
from polystilts.runtime.folders import digest_of, write_json
from polystilts.tasks import TaskSpec, get_task
from polystilts.tasks.recipe import Recipe, languages_of
from polystilts.tracking.runs import RunRecorder, Tracker
from polystilts.training.checkpoint import Checkpoint
from polystilts.training.loop import train

TRAINING = ("pretrain", "intermediate", "target", "probe")
PROBE_UPDATES = 20

#: Attribute of an error: the name of the innermost run that it ended.
_ENDED = "polystilts_ended"

#: Failures of the machine: the next phase would meet them too.
_HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


# The plan


def plan_of(arms: Sequence[Arm]) -> Graph:
    """Every phase that the grid needs, each once; nothing is run."""
    graph, quiet = Graph(), Console(quiet=True)
    for arm in arms:
        run_grid(replace(arm.job, graph=graph, console=quiet))
    return graph


@dataclass
class Speeds:
    """Seconds an update and a scored row took in finished runs on this machine.

    Attributes:
        seconds: (encoder's parameters, task or mixture; '' = all of them, pretraining apart) -> seconds of one update
            in each run.
        scoring: the same of one row, by target.
    """

    seconds: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    scoring: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def measured(cls, tracker: Tracker) -> Speeds:
        """From the runs that the tracking store has."""
        found = cls()
        for run in tracker.finished(*TRAINING):
            found._take(found.seconds, run, "tasks", "updates")
        for run in tracker.finished("evaluate"):
            found._take(found.scoring, run, "task", "rows")
        return found

    def _take(self, into: dict[tuple[int, str], list[float]], run: Run, name: str, amount: str) -> None:
        given = run.data.params
        size, count = int(given.get("encoder_parameters", 0)), int(given.get(amount, 0))
        if size and count:
            one = (run.info.end_time - run.info.start_time) / 1000 / count
            into[size, given.get(name, "")].append(one)
            if run.data.tags["polystilts.phase"] != "pretrain":
                into[size, ""].append(one)

    def of(self, node: Node) -> float | None:
        """Seconds of one update or row of a phase: of its task with an encoder of that size, else of any task; None
        where no run was measured. The shares of weights are averaged in no time worth counting."""
        if node.phase == "average":
            return 0.0
        known = self.scoring if node.phase == "evaluate" else self.seconds
        own = known.get((node.parameters, node.name), [])
        if not own and node.phase != "pretrain":
            own = known.get((node.parameters, ""), [])
        return median(own) if own else None

    def cost(self, node: Node) -> float | None:
        """Seconds that a phase will take; None where nothing was measured."""
        one = self.of(node)
        return None if one is None else one * (node.updates + node.rows)


def show_plan(job: Job, graph: Graph, speeds: Speeds) -> None:
    """The phases of a plan by encoder size, how many are done, and the time that the others take."""
    table = Table(title="Plan", title_justify="left")
    for column in ("encoder", "phase", "to run", "done", "amount", "speed", "time"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    unknown: set[int] = set()
    for size, phase in dict.fromkeys((node.parameters, node.phase) for node in graph.nodes.values()):
        own = [node for node in graph.nodes.values() if (node.parameters, node.phase) == (size, phase)]
        waiting = [node for node in own if not node.done]
        amount = sum(node.updates + node.rows for node in waiting)
        costs = [speeds.cost(node) for node in waiting]
        measured = [cost for cost in costs if cost is not None]
        if len(measured) < len(costs):
            unknown.add(size)
        unit = "rows" if phase == "evaluate" else "updates"
        complete = bool(waiting) and len(measured) == len(costs)
        took = sum(measured)
        speed = f"{amount / took:.3g} {unit}/s" if complete and took else ""
        table.add_row(
            f"{size / 1e6:.3g} M",
            phase,
            str(len(waiting)),
            str(len(own) - len(waiting)),
            f"{amount:,} {unit}" if amount else "",
            speed or ("no measurement yet" if waiting and amount else ""),
            _duration(took) if complete else "",
        )
    job.console.print(table)
    costs = [speeds.cost(node) for node in graph.waiting]
    total = sum(0.0 if cost is None else cost for cost in costs)
    job.say(f"{len(graph.waiting)} phases to run, {len(graph.nodes) - len(graph.waiting)} done before")
    missing = sum(cost is None for cost in costs)
    if missing < len(costs):
        rest = f", and {missing} phases without a measurement" if missing else ""
        job.say(f"about {_duration(total)} on this machine, from its finished runs{rest}")
    if unknown:
        sizes = ", ".join(f"{size / 1e6:.3g} M" for size in sorted(unknown))
        job.say(f"no measurement yet of some phases with encoders of {sizes} parameters on this machine; ")
        job.say(f"--dry_run --probe trains {PROBE_UPDATES} updates with each base that is there to find out")


def probe(arms: Sequence[Arm], graph: Graph, tracker: Tracker) -> None:
    """Trains a few updates with every base of which no training was measured; the weights are thrown away.

    Only a base that is there is asked, and the first task that is trained in the grid.
    """
    speeds = Speeds.measured(tracker)
    wanted = {node.parameters for node in graph.waiting if node.updates and speeds.of(node) is None}
    for arm in {arm.base: arm for arm in arms}.values():
        knobs = f"recipe.updates={PROBE_UPDATES} recipe.rows={PROBE_UPDATES * arm.job.preset.training.batch_size}"
        job = replace(arm.job, preset=with_knobs(arm.job.preset, knobs))
        stages = [stage for spec in job.targets for stage in training_stages(spec)]
        tasks = stages or [part.task for recipe in job.intermediate for part in recipe.parts if part.task]
        base = base_checkpoint(replace(job, graph=Graph()))
        if not tasks or base.weights.startswith("planned:") or size_of(base) not in wanted:
            continue
        plan, shared = target_plan(job, job.task(tasks[0]), ENGLISH_ALONE), shared_knobs(job, tasks[:1])
        prepared = [prepare(job, part, base, "intermediate") for part in plan.tasks]
        module = nn.ModuleDict(models_of(job, prepared, False, base))
        objective = objective_of(job, "intermediate", plan, prepared, base, shared)
        settings = loop_settings(shared, selection="last", seed=job.seed, lm_head_rate=1.0)
        about = {"tasks": tasks[0], "encoder_parameters": size_of(base), "updates": objective.total_updates}
        with (
            tempfile.TemporaryDirectory(prefix="polystilts-") as scratch,
            tracker.run("probe", f"probe/{arm.base}", digest_of(about), about),
        ):
            recorder = RunRecorder(job.console)
            train(module, objective, settings, state_folder=Path(scratch), recorder=recorder, description="probe")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# The run


class NotRun(PolystiltsError):
    """A phase that would need another one that failed."""

    code = "not_run"


class Remembering(Tracker):
    """A tracker that starts no phase again that failed before, and knows where an error came from."""

    def __init__(self, tracker: Tracker) -> None:
        self.client, self.console = tracker.client, tracker.console
        self.failed: dict[str, str] = {}

    @contextlib.contextmanager
    def run(self, phase: str, name: str, key: str, parameters: Mapping[str, Any]) -> Iterator[Run]:
        if key in self.failed:
            raise NotRun(self.failed[key])
        try:
            with super().run(phase, name, key, parameters) as run:
                yield run
        except NotRun:
            raise
        except Exception as error:
            # On the error and not here: whoever keeps an error keeps the tensors of its frames.
            error.__dict__.setdefault(_ENDED, name)
            self.failed[key] = self.origin(error)
            raise

    @staticmethod
    def origin(error: Exception) -> str:
        """The innermost run that an error ended."""
        return str(error.__dict__[_ENDED])


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the grid."""

    base: str
    recipe: str
    option: str
    seed: int
    target: str

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Sweeping(Walk):
    """Runs as a tree, failures and cells of a sweep, while `run_grid` goes through one arm after the other.

    Args:
        folder: of `cells.json` and `failures.json`, written after every cell.
        about: parameters of the sweep.
        count: cells of the whole grid.
    """

    def __init__(self, folder: Path, tracker: Remembering, about: Mapping[str, Any], count: int) -> None:
        super().__init__()
        self.folder, self.tracker, self.about, self.count = folder, tracker, dict(about), count
        self.files: list[CellFile] = []
        self.failed: list[dict[str, Any]] = []
        self.not_run: list[dict[str, Any]] = []
        self.states: dict[Place, str] = {}
        self._seconds: dict[str, float | None] = {}
        self._arm: Arm | None = None
        self._base: Checkpoint | None = None

    @property
    def arm(self) -> Arm:
        assert self._arm is not None, "the walk is inside an arm"
        return self._arm

    def go(self, arms: Sequence[Arm]) -> None:
        """All arms of one base."""
        first = arms[0]
        places = [self._place(arm, recipe, spec) for arm in arms for recipe, spec in _cells(arm.job)]
        with self._recorded(places, "base", f"base/{first.base}", {"base": first.base}):
            self._base = base_checkpoint(first.job)
            for arm in arms:
                self._arm = arm
                run_grid(arm.job, self._base, self)

    @contextlib.contextmanager
    def recipe(self, job: Job, recipe: Recipe) -> Iterator[None]:
        places = [self._place(self.arm, recipe, spec) for spec in job.targets]
        about = {name: value for name, value in places[0].to_json().items() if name != "target"}
        name = recipe_name(job, recipe)
        option = "" if self.arm.option.name == PLAIN else f", {self.arm.option.name}"
        job.say(f"[bold]{self.arm.base}: {name}[/], seed {job.seed}{option}")
        with self._recorded(places, "recipe", f"recipe/{name}, seed {job.seed}{option}", about):
            yield

    @contextlib.contextmanager
    def cell(self, job: Job, recipe: Recipe, spec: TaskSpec) -> Iterator[None]:
        place = self._place(self.arm, recipe, spec)
        with self._recorded([place], "cell", f"cell/{spec.name} from {place.recipe}", place.to_json()):
            yield

    def scored(self, job: Job, recipe: Recipe, cell: Cell) -> None:
        place = self._place(self.arm, recipe, cell.spec)
        scores = scores_of(cell.spec, cell.rows)
        file = self._file(place, cell, scores)
        mlflow.log_metrics(scores if file.score is None else {**scores, "score": file.score})
        mlflow.set_tag("polystilts.scored_by", file.run_id)
        self.files.append(file)
        self.states[place] = "done"
        self.write()

    def write(self) -> None:
        """What there is up to now."""
        write_cells(self.folder, self.files, sweep=self.about)
        write_json(self.folder / FAILURES, {"failed": self.failed, "not_run": self.not_run})

    @contextlib.contextmanager
    def _recorded(self, places: Sequence[Place], phase: str, name: str, about: Mapping[str, Any]) -> Iterator[None]:
        """A run around some cells; an error inside ends it, is recorded, and goes no further.

        Raises:
            OSError, MlflowException: nothing can be written, so nothing can go on.
        """
        try:
            with self.tracker.run(phase, name, digest_of({"group": phase, "sweep": self.folder.name, **about}), about):
                yield
        except MlflowException:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _HOPELESS:
                raise
            self._failed(error, places, about)

    def _failed(self, error: Exception, places: Sequence[Place], about: Mapping[str, Any]) -> None:
        because = str(error) if isinstance(error, NotRun) else self.tracker.origin(error)
        left = [place for place in places if place not in self.states]
        if not isinstance(error, NotRun):
            message = error.message if isinstance(error, PolystiltsError) else str(error)
            kind, trace = type(error).__name__, "".join(traceback.format_exception(error))
            self.failed.append({**about, "phase": because, "error": kind, "message": message, "traceback": trace})
            self.tracker.console.print(f"  [bold red]failed:[/] {because}: {kind}: {message}")
        whole = len(places) > 1 or isinstance(error, NotRun) or "target" not in about
        for place in left:
            self.states[place] = "not run" if whole else "failed"
            if whole:
                self.not_run.append({**place.to_json(), "because": because})
                self.tracker.console.print(f"  not run: {place.target} from {place.recipe}, because {because} failed")
        self.write()

    def _place(self, arm: Arm, recipe: Recipe, spec: TaskSpec) -> Place:
        return Place(arm.base, recipe_name(arm.job, recipe), arm.option.name, arm.job.seed, spec.name)

    def _file(self, place: Place, cell: Cell, scores: Mapping[str, float]) -> CellFile:
        job, lineage, spec = self.arm.job, cell.checkpoint.lineage, cell.spec
        chain = list(_chain(lineage))
        run_id = cell.run_id or self.tracker.made(cell.key)
        runs = [(f["phase"], f["name"], f["run_id"]) for f in chain if f.get("run_id")]
        for step in chain:
            if "average" in step:  # its lineage is the trained one's, whose run it names
                at = runs.index((step["phase"], step["name"], step["run_id"]))
                runs[at : at + 1] = [
                    (step["phase"], step["name"], step["average"]["run_id"]),
                    ("average", step["name"], step["run_id"]),
                ]
        runs.append(("evaluate", spec.name, run_id))
        reported = [value for name, value in scores.items() if name.startswith(f"report/{spec.metric}/")]
        assert self._base is not None
        return CellFile(
            **place.to_json(),
            base_weights=root_of(lineage)["weights"],
            parameters=encoder_size(self._base.folder),
            knobs=self.arm.option.knobs,
            bank=cell.bank,
            checkpoint=cell.checkpoint.folder,
            weights=cell.checkpoint.weights,
            run_id=run_id,
            key=cell.key,
            metric=spec.metric,
            score=mean(reported) if reported else None,
            languages=languages_of(lineage),
            data=evaluation_data(job, spec),
            trained_on=_trained_on(chain),
            runs=tuple(RunFile(phase, name, run, self._took(run)) for phase, name, run in runs),
        )

    def _took(self, run_id: str) -> float | None:
        if run_id not in self._seconds:
            self._seconds[run_id] = self.tracker.seconds(run_id) if run_id else None
        return self._seconds[run_id]


def _cells(job: Job) -> list[tuple[Recipe, TaskSpec]]:
    return [(recipe, spec) for recipe in grid_recipes(job) for spec in job.targets]


def _chain(lineage: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A lineage and all that it came from, the oldest first."""
    if "parent" in lineage:
        yield from _chain(lineage["parent"])
    yield lineage


def _trained_on(chain: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = {task["name"]: task["data"] for step in chain for task in step.get("tasks", ())}
    return found | {f"text {step['text']['name']}": step["text"]["data"] for step in chain if "text" in step}


def run_sweep(arms: Sequence[Arm], folder: Path, tracker: Tracker, about: Mapping[str, Any]) -> list[CellFile]:
    """Runs a grid inside the active run and returns its cells; `folder` has them too.

    Raises:
        PolystiltsError: something failed; everything else has been done, and the cells are written.
    """
    remembering = Remembering(tracker)
    own = [replace(arm, job=replace(arm.job, _tracker=remembering)) for arm in arms]
    sweeping = Sweeping(folder, remembering, about, sum(len(_cells(arm.job)) for arm in own))
    sweeping.write()
    for base in dict.fromkeys(arm.base for arm in own):
        sweeping.go([arm for arm in own if arm.base == base])
    tracker.close_gone()
    for name in (CELLS, FAILURES):
        mlflow.log_artifact(str(folder / name), "sweep")
    job = arms[0].job
    show_cells(job, sweeping)
    job.say(f"\n{len(sweeping.files)} of {sweeping.count} cells, in {shown(folder / CELLS)}")
    if sweeping.failed:
        raise PolystiltsError(
            f"{len(sweeping.failed)} failed ({', '.join(dict.fromkeys(f['phase'] for f in sweeping.failed))}), "
            f"{len(sweeping.not_run)} cells were not run because of it; the same command tries them again. "
            f"Why is in {shown(folder / FAILURES)}",
            limit=0,
            given=len(sweeping.failed),
        )
    return sweeping.files


def show_cells(job: Job, sweeping: Sweeping) -> None:
    """A table for each base and option: mean over languages and seeds, with the range of the seeds behind it."""
    scores: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for file in sweeping.files:
        if file.score is not None:
            scores[file.base, file.option, file.recipe, file.target].append(file.score)
    places = list(sweeping.states)
    for base, option in dict.fromkeys((place.base, place.option) for place in places):
        table = Table(title=f"\n{base}, {option}", title_justify="left")
        table.add_column("recipe")
        targets = [spec.name for spec in job.targets]
        for target in targets:
            table.add_column(f"{target}\n{get_task(target).metric}", justify="right")
        own = [place for place in places if (place.base, place.option) == (base, option)]
        for recipe in dict.fromkeys(place.recipe for place in own):
            row = []
            for target in targets:
                found = scores[base, option, recipe, target]
                states = [sweeping.states[p] for p in own if (p.recipe, p.target) == (recipe, target)]
                spread = f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else ""
                wrong = [f"{states.count(word)} {word}" for word in ("failed", "not run") if word in states]
                row.append("; ".join([f"{mean(found):.1f}{spread}", *wrong] if found else wrong))
            table.add_row(recipe, *row)
        job.console.print(table)
