"""The tasks there are, as values. Sources, label orders and row counts: documentation of each data set."""

from __future__ import annotations

from types import MappingProxyType

from polystilts.errors import UnknownName
from polystilts.tasks.catalogue.code import CODE
from polystilts.tasks.catalogue.intermediate import INTERMEDIATE
from polystilts.tasks.catalogue.labels import COPA_QUESTIONS, NER_TAGS, NLI_LABELS, POS_TAGS, UD_RELATIONS
from polystilts.tasks.catalogue.targets import RETRIEVAL_TRAINING, TARGETS
from polystilts.tasks.catalogue.translated import TRANSLATED
from polystilts.tasks.spec import TaskSpec

__all__ = [
    "COPA_QUESTIONS",
    "NER_TAGS",
    "NLI_LABELS",
    "POS_TAGS",
    "TASKS",
    "UD_RELATIONS",
    "get_task",
    "parse_mixture",
    "training_tasks",
]

TASKS: MappingProxyType[str, TaskSpec] = MappingProxyType(
    {spec.name: spec for spec in (*INTERMEDIATE, *CODE, *TARGETS, *RETRIEVAL_TRAINING, *TRANSLATED)}
)


def get_task(name: str, *, param: str = "task") -> TaskSpec:
    """The task of this name.

    Raises:
        UnknownName: with the nearest known name.
    """
    if name not in TASKS:
        raise UnknownName("task", name, TASKS, param=param)
    return TASKS[name]


def parse_mixture(text: str, *, param: str = "intermediate") -> tuple[TaskSpec, ...]:
    """``mnli+squad_v1`` -> the tasks of one mixture, in the order given."""
    return tuple(get_task(name.strip(), param=param) for name in text.split("+"))


def training_tasks() -> tuple[TaskSpec, ...]:
    """Tasks with training rows of their own: what can be intermediate."""
    return tuple(spec for spec in TASKS.values() if spec.train_task == spec.name)
