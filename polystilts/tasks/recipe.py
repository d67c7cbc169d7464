"""RECIPES: what an encoder goes through before a target, and the languages that the target is trained in.

    recipes   = recipe, recipe, ...                candidates
    recipe    = encoder [ @ language-language ]    the target is trained in these languages, else as the preset says
    encoder   = baseline | part + part + ...       nothing, or one mixture
    part      = task                               `mnli`: a training task of the catalogue
              | task : language                    `mnli:de`: its rows in another language, translated or in-language
              | shuffled : task                    `shuffled:mnli`: the same with permuted labels
              | mlm                                masked-language modelling in several languages
              | mlm-en [ : task ]                  the same in English alone, or on that task's own text
              | again [ : task ]                   the target's own training task, for as many updates as that task

A name is read from left to right without look-ahead, because no task is called as a control is, no language has a `+`,
`:`, `@` or `-` in its code, and no task has one in its name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from polystilts.errors import InvalidValue, UnknownName
from polystilts.tasks.catalogue import TASKS, get_task
from polystilts.tasks.languages import get_language

BASELINE = "baseline"

Kind = Literal["task", "shuffled", "again", "mlm", "mlm-en"]

#: Parts that are no tasks, and whether a task may or must stand behind them.
_OTHERS: dict[str, tuple[Kind, str]] = {
    "shuffled": ("shuffled", "must"),
    "again": ("again", "may"),
    "mlm-en": ("mlm-en", "may"),
    "mlm": ("mlm", "never"),
}


@dataclass(frozen=True)
class Part:
    """One part of a mixture.

    Attributes:
        kind: 'task', or one of the parts that are no tasks.
        task: the training task; of a control the one that it is the control of ('' = none was named).
        language: of a task's rows ('' = the languages of its training rows).
    """

    kind: Kind
    task: str = ""
    language: str = ""

    @property
    def name(self) -> str:
        """As it is written."""
        first = self.task if self.kind == "task" else self.kind
        second = self.language if self.kind == "task" else self.task
        return f"{first}:{second}" if second else first

    @property
    def is_text(self) -> bool:
        """Whether it is trained on text without labels."""
        return self.kind in ("mlm", "mlm-en")


@dataclass(frozen=True)
class Recipe:
    """What happens before a target is scored.

    Attributes:
        parts: of the intermediate mixture; () = none.
        languages: that the target is trained in; () = as the preset says.
    """

    parts: tuple[Part, ...] = ()
    languages: tuple[str, ...] = ()

    @property
    def encoder(self) -> str:
        """Name of what the encoder goes through."""
        return "+".join(part.name for part in self.parts) or BASELINE

    @property
    def name(self) -> str:
        """As it is written: the one name in tables, lineage, banks and runs."""
        return with_languages(self.encoder, self.languages)

    @property
    def depends_on_target(self) -> bool:
        """Whether its encoder is another one for every target (`again`)."""
        return any(part.kind == "again" for part in self.parts)


def with_languages(encoder: str, languages: tuple[str, ...]) -> str:
    """The name of a recipe whose target is trained in `languages`."""
    return f"{encoder}@{'-'.join(languages)}" if languages else encoder


def file_name(recipe: str) -> str:
    """A recipe's name in the name of a file or folder: some systems give ':' a meaning there."""
    return recipe.replace(":", ".")


def parse_recipes(text: str, *, param: str = "recipe") -> tuple[Recipe, ...]:
    """``mnli,mnli:de+mlm`` -> the candidates, in the order given; '' = none."""
    return tuple(parse_recipe(one, param=param) for one in text.split(",") if one.strip())


def parse_recipe(text: str, *, param: str = "recipe") -> Recipe:
    """One recipe as it is written.

    Raises:
        UnknownName: of a task or language, with the nearest known one.
        InvalidValue: a part twice, a control without its task, `again` or `baseline` among other parts.
    """
    encoder, at, written = text.partition("@")
    languages = parse_languages(written, param=param, separator="-") if at else ()
    if encoder.strip() == BASELINE:
        return Recipe((), languages)
    parts = tuple(_part(one.strip(), param) for one in encoder.split("+"))
    names = [part.name for part in parts]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidValue(f"{text!r} has {', '.join(repeated)} twice", param=param, given=text)
    alone = next((part for part in parts if part.kind == "again"), None)
    if alone and len(parts) > 1:
        raise InvalidValue(f"{alone.name!r} is a recipe by itself, not a part of {text!r}", param=param, given=text)
    if sum(part.is_text for part in parts) > 1:
        raise InvalidValue(f"{text!r} has text twice; one of mlm and mlm-en is possible", param=param, given=text)
    return Recipe(parts, languages)


def parse_languages(text: str, *, param: str = "languages", separator: str = ",") -> tuple[str, ...]:
    """``en,de`` -> codes in the order given, none twice.

    Raises:
        UnknownName: not the code of a language in `polystilts.tasks.languages`.
        InvalidValue: none, or one twice.
    """
    codes = tuple(code.strip() for code in text.split(separator) if code.strip())
    for code in codes:
        get_language(code, param=param)
    if not codes or len(set(codes)) < len(codes):
        raise InvalidValue("at least one language, and none twice", param=param, limit=1, given=text)
    return codes


def _part(text: str, param: str) -> Part:
    first, colon, second = (piece.strip() for piece in text.partition(":"))
    if colon and not second:
        raise InvalidValue(f"{text!r}: nothing stands behind the colon", param=param, given=text)
    if first not in _OTHERS:
        if first == BASELINE:
            raise InvalidValue(f"{BASELINE!r} is a recipe by itself, not a part", param=param, given=text)
        if first not in TASKS:
            raise UnknownName("task", first, (*TASKS, *_OTHERS), param=param)
        return Part("task", first, get_language(second, param=param).code if second else "")
    kind, task = _OTHERS[first]
    if task == "must" and not second:
        raise InvalidValue(f"{first!r} needs a task: {first}:mnli", param=param, given=text)
    if task == "never" and second:
        hint = "; the languages of its text are the preset's" if kind == "mlm" else ""
        raise InvalidValue(f"nothing may stand behind {first!r}{hint}", param=param, given=text)
    return Part(kind, get_task(second, param=param).name if second else "")


def repeats(recipe: str, tasks: Collection[str]) -> bool:
    """Whether a recipe's encoder has already learnt one of these tasks, with true labels, in whatever language.

    Such a cell is marked `=` in tables and stays out of "best intermediate task".

    Args:
        recipe: its name; of one that is not of this grammar, from elsewhere, nothing is known.
        tasks: a target and its training task.
    """
    try:
        parts = parse_recipe(recipe).parts
    except InvalidValue:
        return False
    learnt = {get_task(part.task).translates or part.task for part in parts if part.kind == "task"}
    return any(part.kind == "again" for part in parts) or bool(learnt & set(tasks))


def languages_of(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages that a target was trained in with labels: all others are zero-shot for it.

    They are those of the last unbroken row of target phases. An intermediate task in another language is no example of
    the target; `lineage["parent"]` says which those were, and in which languages there was text.

    Args:
        lineage: of a checkpoint; () for one that is no target.
    """
    found: dict[str, None] = {}
    while lineage.get("phase") == "target":
        for task in lineage["tasks"]:
            found |= dict.fromkeys(task.get("languages") or get_task(task["name"]).train_languages)
        lineage = lineage["parent"]
    return tuple(found)
