"""Entry point `sweep`: a grid of bases, recipes, targets, seeds and options, in which nothing is done twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, Field

from pipelines.cli import command
from pipelines.job import Job, JobParameters, names
from pipelines.preset import Preset, with_knobs
from pipelines.recipes import KNOBS, grid_problems
from polystilts.analysis.cells import PLAIN
from polystilts.errors import InvalidValue, PolystiltsError, Problems, UnknownName
from polystilts.runtime.folders import digest_of

EXAMPLES = """\
  python -m pipelines.sweep --seeds 0,1,2 --dry_run
  python -m pipelines.sweep --intermediate mnli,shuffled:mnli --targets xnli,udpos --seeds 0,1,2
  python -m pipelines.sweep --bases micro:small,micro --seeds 0,1,2 --knobs "recipe.updates=200 recipe.rows=1000"
  python -m pipelines.sweep --options "average=0.3; layer_decay=0.9; robust=smoothing robust_radius=0.05\""""

#: Sections of a preset that an option may change: how is trained, and not how is measured.
SECTIONS = ("training", "tasks", "recipe", "mlm", "target")


class Sweep(JobParameters):
    """Trains and scores every target under every recipe, for every base, seed and option.

    Finished phases are found and skipped, a phase that fails is recorded and the rest goes on, and the same command
    continues after an interruption. Every option is compared with the preset as it is, which is always in the grid.
    """

    intermediate: str = Field("", description="recipes, ',' between candidates; the baseline is always among them")
    targets: str = Field("", description="targets to fine-tune and score, separated by ','")
    bases: str = Field("", description="encoders, separated by ','; '' = the one of --base")
    seeds: str = Field("", description="seeds, separated by ','; '' = the one of --seed")
    options: str = Field(
        "", description="knobs changed in arms of their own, ';' between arms: average=0.3; layer_decay=0.9"
    )
    knobs: str = Field("", description=KNOBS)
    dry_run: bool = Field(False, description="print the plan and what it costs, and run nothing")
    probe: bool = Field(False, description="with --dry_run: measure the speed for a moment where none is known")

    def tasks_asked(self) -> tuple[str, str]:
        return self.intermediate, self.targets

    def problems(self) -> Sequence[PolystiltsError]:
        try:
            arms_of(self)
        except Problems as error:
            return error.problems
        except PolystiltsError as error:
            return [error]
        return []


@dataclass(frozen=True)
class Option:
    """One value of the option axis.

    Attributes:
        knobs: what it changes, by ``section.knob``.
    """

    knobs: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As tables show it: a knob's section is left out where no other section has a knob of that name."""
        words = [f"{_short(knob)}={value}" for knob, value in self.knobs.items()]
        return " ".join(words) or PLAIN

    @property
    def text(self) -> str:
        """As `with_knobs` reads it."""
        return " ".join(f"{knob}={value}" for knob, value in self.knobs.items())


@dataclass(frozen=True)
class Arm:
    """The recipes and targets of a grid for one base, one seed and one option.

    Attributes:
        base: as it was asked for; `job.base` is where it is found.
    """

    base: str
    option: Option
    job: Job


def parse_options(text: str, *, param: str = "--options") -> tuple[Option, ...]:
    """``average=0.3; layer_decay=0.9`` -> PLAIN and two more.

    Raises:
        InvalidValue: not KNOB=VALUE, a knob of several sections without its section, one that decides no training, the
            same option twice.
        UnknownName: no such knob.
    """
    options = [Option()]
    for one in text.split(";"):
        words = one.split()
        if not words or words == [PLAIN]:
            continue
        knobs: dict[str, str] = {}
        for word in words:
            knob, equals, value = word.partition("=")
            if not equals or not value:
                raise InvalidValue(f"{word!r} is not KNOB=VALUE", param=param, given=word)
            knobs[_full(knob, param)] = value
        option = Option(knobs)
        if option in options:
            raise InvalidValue(f"the option {option.name!r} is there twice", param=param, given=one.strip())
        options.append(option)
    return tuple(options)


def _sections() -> dict[str, list[str]]:
    """Knobs of each section that an option may change; `tasks` has those of every task."""
    found = {}
    for name in SECTIONS:
        model = Preset.model_fields[name].annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            found[name] = list(model.model_fields)
    return found


def _full(knob: str, param: str) -> str:
    section, dot, _ = knob.partition(".")
    if dot:
        if section not in SECTIONS:
            raise UnknownName("section of knobs that decide a training", section, SECTIONS, param=param)
        return knob
    owners = [name for name, knobs in _sections().items() if knob in knobs]
    if len(owners) > 1:
        written = " or ".join(f"{name}.{knob}" for name in owners)
        raise InvalidValue(f"{knob!r} is a knob of several sections; write {written}", param=param, given=knob)
    if not owners:
        known = {name for knobs in _sections().values() for name in knobs}
        raise UnknownName("knob", knob, known, param=param)
    return f"{owners[0]}.{knob}"


def _short(knob: str) -> str:
    last = knob.rpartition(".")[2]
    owners = [name for name, knobs in _sections().items() if last in knobs]
    return last if [f"{name}.{last}" for name in owners] == [knob] else knob


def arms_of(parameters: Sweep) -> list[Arm]:
    """The grid, base by base, seed by seed, option by option; all arms share the rows that were read.

    Raises:
        Problems: everything that is wrong with the parameters.
    """
    problems: list[PolystiltsError] = []
    options: tuple[Option, ...] = (Option(),)
    seeds: list[int] = []
    try:
        options = parse_options(parameters.options)
    except PolystiltsError as error:
        problems.append(error)
    try:
        seeds = _seeds(parameters.seeds)
    except PolystiltsError as error:
        problems.append(error)
    opened: dict[str, Job] = {}
    for base in names(parameters.bases) or [parameters.base]:
        try:
            opened[base] = Job.open(parameters.model_copy(update={"base": base}))
        except Problems as error:
            problems += [found for found in error.problems if found.message not in {p.message for p in problems}]
    if problems:
        raise Problems(problems)
    first = next(iter(opened.values()))
    preset = with_knobs(first.preset, parameters.knobs)
    presets = {option.name: with_knobs(preset, option.text, param="--options") for option in options}
    for changed in presets.values():
        grid_problems(replace(first, preset=changed), parameters.grid_options)
    return [
        Arm(base or first.preset.base, option, replace(first, base=job.base, seed=seed, preset=presets[option.name]))
        for base, job in opened.items()
        for seed in seeds or [first.seed]
        for option in options
    ]


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in names(text)]
    except ValueError:
        raise InvalidValue(f"{text!r} is no list of seeds as 0,1,2", param="--seeds", given=text) from None
    if any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise InvalidValue("seeds are 0 or more, and none twice", param="--seeds", limit=0, given=text)
    return seeds


def folder_of(parameters: Sweep, output: Path) -> Path:
    """Where a sweep writes its cells: the same for the same grid."""
    grid = parameters.model_dump(mode="json", exclude={"output", "dry_run", "probe"})
    return output / "sweeps" / digest_of(grid)[:16]


def run(parameters: Sweep) -> None:
    arms = arms_of(parameters)
    job = arms[0].job
    tracker = job.tracker
    from pipelines import phases, sweeping

    if parameters.dry_run:
        graph = sweeping.plan_of(arms)
        if parameters.probe:
            phases.prepare_torch()
            sweeping.probe(arms, graph, tracker)
        sweeping.show_plan(job, graph, sweeping.Speeds.measured(tracker))
        return
    folder = folder_of(parameters, job.output)
    with phases.whole(job, tracker, "sweep", parameters):
        phases.say_missing_languages(job)
        sweeping.run_sweep(arms, folder, tracker, parameters.model_dump(mode="json", exclude={"output"}))


if __name__ == "__main__":
    command(Sweep, run, examples=EXAMPLES)
