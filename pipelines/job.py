"""What every phase of a job shares: the preset, the source, the folders, the tracker and the console."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from rich.console import Console

from pipelines.cli import ROOT, Parameters
from pipelines.micro_encoder import is_micro, width_of
from pipelines.preset import Preset, TrainingKnobs, load_preset
from polystilts.data.roles import training_languages
from polystilts.data.source import RememberedRows, Source, labels_of, open_source
from polystilts.errors import InvalidValue, MissingData, PolystiltsError, Problems
from polystilts.tasks import TaskSpec, get_task
from polystilts.tasks.recipe import Recipe, parse_recipe

if TYPE_CHECKING:
    from pipelines.planning import Graph
    from polystilts.evaluation import ScoredRows
    from polystilts.tracking.runs import Tracker

BASELINE = "baseline"

#: In place of a list of tasks: there are none.
NONE = "none"


class JobParameters(Parameters):
    """Parameters that every training entry point has; '' takes the preset's value."""

    preset: str = Field("micro", description="name of a file in presets/, or path of one")
    source: str = Field("", description="micro, hub, or local:DIR in the layout of XTREME's download folder")
    base: str = Field("", description="micro, micro:SIZE, a hub id, or a folder in Hugging Face layout")
    seed: int = Field(-1, ge=-1, description="of data order and new heads; -1 takes the preset's")
    output: str = Field("outputs", description="folder for checkpoints, evaluations and bundles")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="error stops at a row that does not have the documented form, skip leaves it out"
    )

    #: The options that `tasks_asked` reads, for messages.
    grid_options: ClassVar[tuple[str, str]] = ("--intermediate", "--targets")

    def tasks_asked(self) -> tuple[str, str]:
        """Intermediate mixtures and targets as written; '' takes the preset's, NONE means none."""
        return "", ""

    def problems(self) -> Sequence[PolystiltsError]:
        from pipelines.recipes import grid_problems  # it needs a job, so it is above this module

        try:
            grid_problems(Job.open(self), self.grid_options)
        except Problems as error:
            return error.problems
        except PolystiltsError as error:
            return [error]
        return []


@dataclass
class Job:
    """One run of the project.

    Attributes:
        intermediate: recipes in the order asked for, beside the baseline.
        base: 'micro', 'micro:SIZE', a hub id or a folder.
        scored: what each target is scored on, by its name, once it was asked for.
        graph: where there is one, phases are noted there instead of being run.
    """

    preset: Preset
    source: RememberedRows
    base: str
    seed: int
    output: Path
    intermediate: tuple[Recipe, ...]
    targets: tuple[TaskSpec, ...]
    console: Console
    scored: dict[str, ScoredRows] = field(default_factory=dict, repr=False)
    graph: Graph | None = field(default=None, repr=False)
    _tracker: Tracker | None = field(default=None, repr=False)

    @classmethod
    def open(cls, parameters: JobParameters) -> Job:
        """Checks everything that can be checked without loading a library or a model.

        Raises:
            Problems: all of them together.
        """
        intermediate, targets = parameters.tasks_asked()
        mixture_option, target_option = parameters.grid_options
        preset = load_preset(parameters.preset)
        problems: list[PolystiltsError] = []
        source: RememberedRows | None = None
        try:
            asked = parameters.source or preset.source
            source = RememberedRows(open_source(asked, ROOT, param="--source", on_bad_row=parameters.on_bad_row))
        except PolystiltsError as error:
            problems.append(error)
        recipes: list[Recipe] = [
            recipe
            for text in names("" if intermediate == NONE else intermediate or preset.intermediate)
            for recipe in _collect(problems, lambda text=text: parse_recipe(text, param=mixture_option))
        ]
        mixtures = [tuple(get_task(part.task) for part in recipe.parts if part.task) for recipe in recipes]
        specs = [
            spec
            for name in names("" if targets == NONE else targets or preset.targets)
            for spec in _collect(problems, lambda name=name: get_task(name, param=target_option))
        ]
        for name in preset.tasks:
            _collect(problems, lambda name=name: get_task(name, param=f"{parameters.preset}: tasks"))
        base = parameters.base or preset.base
        if is_micro(base):
            _collect(problems, lambda: width_of(base, param="--base"))
        folder = _folder(base)
        if folder and not folder.is_dir():
            problems.append(MissingData(f"no folder {folder}", param="--base", given=base))
        if source:
            problems += missing_rows(source, mixtures, specs, parameters.grid_options)
        output = Path(parameters.output)
        if source and not problems:
            for spec in dict.fromkeys(spec.name for mixture in mixtures for spec in mixture):
                _collect(problems, lambda spec=spec: labelled(source, get_task(spec)))
        if problems or source is None:
            raise Problems(problems)
        return cls(
            preset=preset,
            source=source,
            base=str(folder) if folder else base,
            seed=parameters.seed if parameters.seed >= 0 else preset.seed,
            output=output if output.is_absolute() else ROOT / output,
            intermediate=tuple(recipes),
            targets=tuple(specs),
            console=Console(highlight=False, width=None if os.environ.get("COLUMNS") else _width()),
        )

    @property
    def tracker(self) -> Tracker:
        """Opened at first use: importing MLflow takes seconds, so arguments are checked before."""
        if self._tracker is None:
            from polystilts.tracking.reach import check_tracker

            uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
            check_tracker(uri)
            from polystilts.tracking.runs import Tracker

            self._tracker = Tracker(uri, self.console)
        return self._tracker

    def task(self, name: str) -> TaskSpec:
        """A training task, with the labels that its source lists where the catalogue does not."""
        return labelled(self.source, get_task(name))

    def knobs(self, task: str) -> TrainingKnobs:
        """The training knobs of one task: the preset's, with the task's own over them."""
        own = self.preset.tasks.get(task)
        changes = {k: v for k, v in own.model_dump().items() if v is not None} if own else {}
        return self.preset.training.model_copy(update=changes)

    def say(self, text: str) -> None:
        self.console.print(text)


def labelled(source: Source, spec: TaskSpec) -> TaskSpec:
    """The task with labels: the source's own where the catalogue lists none (CCG)."""
    return replace(spec, labels=labels_of(source, spec)) if spec.format in ("tagging", "pair") else spec


def training_stages(spec: TaskSpec) -> tuple[str, ...]:
    """Names of the tasks that train a target, in order; () if it is scored directly."""
    return (*spec.before, spec.train_task) if spec.train_task else ()


def repeated_data(mixture: Sequence[TaskSpec]) -> list[str]:
    """Data sets whose rows a mixture holds more than once, as a task of its own or as a part of one (ANLI+)."""
    names = [get_task(name).data for spec in mixture for name in spec.parts or (spec.name,)]
    return sorted({name for name in names if names.count(name) > 1})


def names(text: str) -> list[str]:
    """The names of a list as it is written in a parameter."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _collect(problems: list[PolystiltsError], get: object) -> list:  # type: ignore[type-arg]
    try:
        return [get()]  # type: ignore[operator]
    except PolystiltsError as error:
        problems.append(error)
        return []


def _folder(base: str) -> Path | None:
    """The folder a base names, or None for the micro encoder and hub ids (`owner/name`)."""
    if is_micro(base):
        return None
    path = Path(base).expanduser()
    looks_like_id = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    absolute = (path if path.is_absolute() else ROOT / path).resolve()
    return None if looks_like_id and not absolute.is_dir() else absolute


def missing_rows(
    source: Source,
    mixtures: Sequence[tuple[TaskSpec, ...]],
    targets: Sequence[TaskSpec],
    options: tuple[str, str],
) -> list[PolystiltsError]:
    """What cannot be trained or scored because the source has no rows for it.

    Args:
        options: the parameters that named the mixtures and the targets, for messages.
    """
    problems: list[PolystiltsError] = []
    trained = {spec.name: spec for mixture in mixtures for spec in mixture}
    for spec in trained.values():
        if spec.train_task != spec.name:
            problems.append(
                InvalidValue(
                    f"{spec.name} has no training rows of its own; it is trained on {spec.train_task or 'nothing'}",
                    param=options[0],
                    given=spec.name,
                )
            )
    wanted = {name: spec for name, spec in trained.items() if spec.train_task == name}
    wanted |= {name: get_task(name) for spec in targets for name in training_stages(spec)}
    for spec in wanted.values():
        if not training_languages(source, spec):
            languages = "English" if spec.train_languages == ("en",) else " or ".join(spec.train_languages)
            problems.append(
                MissingData(
                    f"{source.name} has no {languages} training rows of {spec.name}",
                    param="--source",
                    given=spec.name,
                )
            )
    for spec in targets:
        if not any(source.languages(spec, split) for split in spec.evaluation_splits):
            problems.append(
                MissingData(f"{source.name} has no evaluation rows of {spec.name}", param=options[1], given=spec.name)
            )
    return problems


def _width() -> int:
    try:
        return min(os.get_terminal_size().columns, 120)
    except OSError:
        return 100
