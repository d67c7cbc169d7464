"""From a recipe's name to what a training phase trains on: whose rows, in which languages, with which labels, how long.

Everything here is known before a library or a model is loaded, so that a recipe that cannot be trained is refused at
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.cli import ROOT
from pipelines.job import Job, labelled, missing_rows, training_stages
from pipelines.preset import TrainingKnobs
from polystilts.data.roles import training_languages
from polystilts.data.source import Source
from polystilts.data.text import TaskText, Text, open_text
from polystilts.data.training_sets import in_language
from polystilts.errors import InvalidValue, MissingData, PolystiltsError, Problems
from polystilts.runtime.folders import digest_of
from polystilts.tasks import TaskSpec, get_task
from polystilts.tasks.recipe import Part, Recipe, parse_recipe, with_languages

ENGLISH_ALONE = ("en",)

#: Description of the parameter that changes knobs of a preset.
KNOBS = "knobs changed, spaces between: recipe.updates=200 training.layer_decay=0.9; '' = the preset as it is"


@dataclass(frozen=True)
class TaskPart:
    """A task as one part of a training phase.

    Attributes:
        name: of the part: of its model, its curve and its head.
        task: whose labels, checkpoint rows and knobs it has.
        sets: tasks whose training rows are its rows: itself, or one of each data set with the languages wanted.
        shuffled: its labels are permuted.
    """

    name: str
    task: TaskSpec
    sets: tuple[TaskSpec, ...]
    shuffled: bool = False

    @property
    def head(self) -> str:
        """Parts with the same are one task in several languages and share a head; permuted labels have their own."""
        return self.name if self.shuffled else self.task.translates or self.task.name


@dataclass(frozen=True)
class TextPart:
    """Text as one part of a training phase."""

    text: Text
    languages: tuple[str, ...]

    def fingerprints(self) -> dict[str, str]:
        return {language: self.text.fingerprint(language) for language in self.languages}


@dataclass(frozen=True)
class Plan:
    """What a training phase trains on.

    Attributes:
        updates_of: the parts whose number of updates it has instead of its own (controls).
        settings: the knobs beside those of `training` that decide what is learnt: they are in the key.
    """

    tasks: tuple[TaskPart, ...]
    text: TextPart | None = None
    updates_of: tuple[TaskPart, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def as_recipe(mixture: Recipe | Sequence[TaskSpec]) -> Recipe:
    """A mixture given as its tasks is the recipe of these tasks."""
    return mixture if isinstance(mixture, Recipe) else Recipe(tuple(Part("task", spec.name) for spec in mixture))


def intermediate_plan(job: Job, recipe: Recipe, target: TaskSpec | None = None) -> Plan:
    """What the encoder of a recipe goes through.

    Args:
        target: for `again`, whose training task it trains.

    Raises:
        InvalidValue: `again` without a target that is trained, a task without training rows of its own.
        MissingData: the source has no rows or no text for a part.
    """
    tasks = tuple(_task_part(job, part, target) for part in recipe.parts if not part.is_text)
    text = next((_text_part(job, part) for part in recipe.parts if part.is_text), None)
    controlled = [part.task for part in recipe.parts if part.kind in ("again", "mlm-en") and part.task]
    # Mixed with tasks, text has its share; by itself the control of a task has that task's amount.
    amount = controlled if recipe.depends_on_target or not tasks else []
    settings: dict[str, Any] = intermediate_settings(job, with_text=text is not None)
    return Plan(tasks, text, tuple(_plain(job, job.task(name)) for name in amount), settings)


def target_plan(job: Job, task: TaskSpec, languages: Sequence[str]) -> Plan:
    """What a target's training task trains on: in English alone, in several languages, or in another one.

    One other than English, as a source of transfer to all: Turc et al., 2021 (arXiv:2106.16171), who find German and
    Russian often better than English. We differ in that English rows still choose the checkpoint.

    Raises:
        MissingData: there are no rows in one of them.
    """
    if tuple(languages) == ENGLISH_ALONE:
        return Plan((_plain(job, task),))
    return Plan((TaskPart(task.name, task, _in_languages(job, task, languages)),), settings=target_settings(job))


def intermediate_settings(job: Job, *, with_text: bool) -> dict[str, Any]:
    """The knobs of sections `recipe` and `mlm` that decide an intermediate training; averaging comes after it."""
    knobs = job.preset.recipe.model_dump(mode="json", exclude={"average"})
    # The fingerprints say which text it was; its folder is nobody's business who reads the lineage.
    mlm = {"mlm": job.preset.mlm.model_dump(mode="json", exclude={"text"})} if with_text else {}
    return {"recipe": knobs, **mlm}


def target_settings(job: Job) -> dict[str, Any]:
    """The knobs of section `target` that decide the training in several languages, the languages apart."""
    return {"match": job.preset.target.match}


def shared_knobs(job: Job, tasks: Sequence[str]) -> TrainingKnobs:
    """Those of one task where there is one; a mixture has the preset's."""
    return job.knobs(tasks[0]) if len(tasks) == 1 else job.preset.training


def target_languages(job: Job, recipe: Recipe) -> tuple[str, ...]:
    """The languages that a recipe's targets are trained in."""
    return recipe.languages or job.preset.target.languages


def recipe_name(job: Job, recipe: Recipe) -> str:
    """The name of a recipe in this job: with its target's languages, where they are not English alone."""
    return full_name(recipe.encoder, target_languages(job, recipe))


def full_name(encoder: str, languages: Sequence[str]) -> str:
    """The name of a recipe with its target's languages, where they are not English alone."""
    bare = encoder.partition("@")[0]
    return bare if tuple(languages) == ENGLISH_ALONE else with_languages(bare, tuple(languages))


def training_fingerprint(source: Source, spec: TaskSpec) -> str:
    """Of the training rows of a task in its languages."""
    found = {language: source.fingerprint(spec, "train", language) for language in training_languages(source, spec)}
    return next(iter(found.values())) if len(found) == 1 else digest_of(found)


def recipe_problems(job: Job, recipes: Sequence[Recipe], *, param: str, target: TaskSpec | None = None) -> None:
    """Looks whether every recipe can be trained, and every target in the recipe's languages.

    Raises:
        Problems: all of them together.
    """
    problems: list[PolystiltsError] = []
    for recipe in recipes:
        specs = [get_task(part.task) for part in recipe.parts if part.task]
        found = missing_rows(job.source, [tuple(specs)], (), (param, param))
        if found:
            problems += found
            continue
        try:
            intermediate_plan(job, recipe, target)
        except PolystiltsError as error:
            problems.append(error)
    if problems:
        raise Problems(problems)


def language_problems(job: Job, targets: Sequence[TaskSpec], languages: Sequence[str]) -> None:
    """Looks whether every target can be trained in these languages.

    Raises:
        Problems: all of them together.
    """
    problems: list[PolystiltsError] = []
    for spec in targets:
        for stage in training_stages(spec)[-1:]:
            try:
                target_plan(job, job.task(stage), languages)
            except PolystiltsError as error:
                problems.append(error)
    if problems:
        raise Problems(problems)


def grid_problems(job: Job, options: tuple[str, str]) -> None:
    """Looks whether every target of a job can be trained under every recipe of it.

    Args:
        options: the parameters that named recipes and targets, for messages.

    Raises:
        Problems: all of them together.
    """
    trained = next((spec for spec in job.targets if training_stages(spec)), None)
    recipes = [as_recipe(recipe) for recipe in job.intermediate]
    problems: dict[str, PolystiltsError] = {}
    for check in (
        lambda: recipe_problems(job, recipes, param=options[0], target=trained),
        *(
            lambda recipe=recipe: language_problems(job, job.targets, target_languages(job, recipe))
            for recipe in (Recipe(), *recipes)
        ),
    ):
        try:
            check()
        except Problems as error:
            problems |= {problem.message: problem for problem in error.problems}
    if problems:
        raise Problems(list(problems.values()))


def recipe_from(lineage: Mapping[str, Any]) -> Recipe:
    """The recipe of an intermediate checkpoint, from its lineage."""
    return parse_recipe(str(lineage["name"]))


def _task_part(job: Job, part: Part, target: TaskSpec | None) -> TaskPart:
    if part.kind == "again":
        stages = training_stages(target) if target else ()
        if not stages:
            whose = f"{target.name} is not trained" if target else "no target is given"
            message = f"{part.name!r} trains the target's own training task, and {whose}"
            raise InvalidValue(message, param="--target", given=target.name if target else "")
        return _plain(job, job.task(stages[-1]))
    task = job.task(part.task)
    sets = _in_languages(job, task, (part.language,)) if part.language else (task,)
    return TaskPart(part.name, task, sets, part.kind == "shuffled")


def _text_part(job: Job, part: Part) -> TextPart:
    knobs = job.preset.mlm
    text: Text
    if part.task:
        text = TaskText(job.source, get_task(part.task), job.preset.recipe.rows)
    else:
        text = open_text(job.source, knobs.text, ROOT)
    languages = ENGLISH_ALONE if part.kind == "mlm-en" else knobs.languages or text.languages()
    if missing := [language for language in languages if language not in text.languages()]:
        there = ", ".join(text.languages())
        raise MissingData(
            f"there is no text in {', '.join(missing)}; languages there: {there}",
            param="mlm.languages",
            given=missing[0],
        )
    return TextPart(text, tuple(languages))


def _plain(job: Job, task: TaskSpec) -> TaskPart:
    return TaskPart(task.name, task, (task,))


def _in_languages(job: Job, task: TaskSpec, languages: Sequence[str]) -> tuple[TaskSpec, ...]:
    """One task for each data set that has rows in some of the languages, those of the first language first."""
    found: dict[str, TaskSpec] = {}
    for language in languages:
        spec = in_language(job.source, task, language)
        before = found[spec.name].train_languages if spec.name in found else ()
        found[spec.name] = replace(spec, train_languages=(*before, language))
    return tuple(labelled(job.source, spec) for spec in found.values())
