"""The training rows of a task in one language: its own, or those of a translated training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polystilts.data.roles import ENGLISH, hash_of, training_languages
from polystilts.data.source import Source
from polystilts.errors import MissingData
from polystilts.formats.values import Row
from polystilts.tasks.catalogue import TASKS
from polystilts.tasks.spec import TaskSpec


def in_language(source: Source, task: TaskSpec, language: str, *, param: str = "languages") -> TaskSpec:
    """The task whose `training_rows` are those of `task` in one language.

    It is the task itself where its data set has training rows in the language (UD-POS, WikiANN, TyDiQA), else the
    translated training set that has (`TaskSpec.translates`: XNLI's, PAWS-X's, MLQA's). Its checkpoint rows stay the
    English ones, and what is held out in English is held out in every language.

    Raises:
        MissingData: there are none; the message names the languages that there are.
    """
    if not task.parts:
        for spec in _sets(task):
            if language in source.languages(spec, "train"):
                return replace(spec, train_languages=(language,))
    there = ", ".join(languages_there(source, task)) or "none"
    tried = " or ".join(spec.name for spec in _sets(task))
    raise MissingData(
        f"{source.name} has no training rows of {tried} in {language!r}; languages there: {there}",
        param=param,
        given=language,
    )


def languages_there(source: Source, task: TaskSpec) -> tuple[str, ...]:
    """Every language that `in_language` finds training rows in, English first."""
    if task.parts:
        return training_languages(source, task)
    found = dict.fromkeys(code for spec in _sets(task) for code in source.languages(spec, "train"))
    return tuple(sorted(found, key=lambda code: code != ENGLISH))


def fewer(rows: Sequence[Row], count: int) -> list[Row]:
    """At most `count` rows, in their order: those with the smallest hash of the id, the same in every language."""
    kept = sorted(range(len(rows)), key=lambda i: (hash_of(rows[i].id, "fewer rows"), i))[:count]
    return [rows[i] for i in sorted(kept)]


def _sets(task: TaskSpec) -> list[TaskSpec]:
    """The task and its translated training sets."""
    return [task, *(spec for spec in TASKS.values() if spec.translates == task.name)]
