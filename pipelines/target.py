"""Entry point `target`: fine-tunes one target, in English or in several languages."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipelines.cli import command
from pipelines.job import NONE, Job, JobParameters
from pipelines.preset import with_knobs
from pipelines.recipes import KNOBS, full_name, language_problems
from polystilts.errors import PolystiltsError, Problems
from polystilts.tasks.recipe import parse_languages

EXAMPLES = """\
  python -m pipelines.target --target xnli
  python -m pipelines.target --target xquad --base outputs/checkpoints/intermediate-mnli-0123456789abcdef
  python -m pipelines.target --target xnli --languages en,de,ru
  python -m pipelines.target --target xnli --languages en,de,ru --knobs target.match=passes
  python -m pipelines.target --target xnli --languages de"""


class Target(JobParameters):
    """Fine-tunes a target on its training task and prints the checkpoint's folder."""

    target: str = Field(description="the target; those with the same training set share a checkpoint")
    languages: str = Field(
        "", description="trained in, from translated or in-language sets, ',' between; the first sets the amount"
    )
    knobs: str = Field("", description=KNOBS)

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target

    def problems(self) -> Sequence[PolystiltsError]:
        try:
            prepare(self)
        except Problems as error:
            return error.problems
        except PolystiltsError as error:
            return [error]
        return []


def prepare(parameters: Target) -> tuple[Job, tuple[str, ...]]:
    """The job and the languages, checked.

    Raises:
        PolystiltsError: what is wrong with them.
    """
    job = Job.open(parameters)
    job.preset = with_knobs(job.preset, parameters.knobs)
    text = parameters.languages or ",".join(job.preset.target.languages)
    languages = parse_languages(text, param="--languages")
    language_problems(job, job.targets, languages)
    return job, languages


def run(parameters: Target) -> None:
    job, languages = prepare(parameters)
    tracker = job.tracker
    from pipelines import phases

    with phases.whole(job, tracker, "target", parameters):
        base = phases.base_checkpoint(job)
        recipe = full_name(phases.recipe_of(base), languages)
        for spec in job.targets:
            print(phases.train_target(job, spec, base, recipe, languages).folder)


if __name__ == "__main__":
    command(Target, run, examples=EXAMPLES)
