"""WHICH tasks exist: `TaskSpec` values, the catalogue, and the languages."""

from polystilts.tasks.catalogue import TASKS, get_task, parse_mixture, training_tasks
from polystilts.tasks.spec import HubFiles, LocalFiles, TaskSpec, UpstreamFiles

__all__ = [
    "TASKS",
    "HubFiles",
    "LocalFiles",
    "TaskSpec",
    "UpstreamFiles",
    "get_task",
    "parse_mixture",
    "training_tasks",
]
