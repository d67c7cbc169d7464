"""Entry point `intermediate`: one encoder trained on one task, a mixture, text, or a control of these."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters
from pipelines.preset import with_knobs
from pipelines.recipes import KNOBS, recipe_problems
from polystilts.errors import InvalidValue, PolystiltsError, Problems
from polystilts.tasks import TaskSpec, get_task
from polystilts.tasks.recipe import Recipe, parse_recipes

EXAMPLES = """\
  python -m pipelines.intermediate --tasks mnli
  python -m pipelines.intermediate --tasks mnli+squad_v1 --seed 1
  python -m pipelines.intermediate --tasks mnli+mlm,mnli:de --knobs "recipe.updates=500 mlm.share=0.25"
  python -m pipelines.intermediate --tasks shuffled:mnli,mlm-en:mnli
  python -m pipelines.intermediate --tasks again:mnli --target xquad"""


class Intermediate(JobParameters):
    """Trains an encoder on intermediate tasks, on text, or on a control, and prints the checkpoint's folder."""

    tasks: str = Field(
        description="recipes to train, ',' between candidates, '+' inside a mixture: tasks (mnli, mnli:de), "
        "mlm, mlm-en, and the controls shuffled:TASK, mlm-en:TASK, again:TASK"
    )
    target: str = Field("", description="the target whose training task `again` trains; '' = none")
    knobs: str = Field("", description=KNOBS)

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, NONE

    def problems(self) -> Sequence[PolystiltsError]:
        try:
            prepare(self)
        except Problems as error:
            return error.problems
        except PolystiltsError as error:
            return [error]
        return []


def prepare(parameters: Intermediate) -> tuple[Job, tuple[Recipe, ...], TaskSpec | None]:
    """The job, the recipes and the target, all checked.

    Raises:
        PolystiltsError: what is wrong with them.
    """
    job = Job.open(parameters)
    job.preset = with_knobs(job.preset, parameters.knobs)
    recipes = parse_recipes(parameters.tasks, param="--tasks")
    if not recipes:
        raise InvalidValue("no recipe is given", param="--tasks", limit=1, given=parameters.tasks)
    if named := next((recipe for recipe in recipes if recipe.languages), None):
        message = f"{named.name!r} names languages of a target; here is none, give them to `target`"
        raise InvalidValue(message, param="--tasks", given=named.name)
    target = get_task(parameters.target, param="--target") if parameters.target else None
    recipe_problems(job, recipes, param="--tasks", target=target)
    return job, recipes, target


def run(parameters: Intermediate) -> None:
    job, recipes, target = prepare(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "intermediate", parameters):
        base = phases.base_checkpoint(job)
        for recipe in recipes:
            print(phases.train_intermediate(job, recipe, base, target).folder)


if __name__ == "__main__":
    command(Intermediate, run, examples=EXAMPLES)
