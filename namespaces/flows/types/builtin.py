"""The built-in types together. Importing them costs a tenth of the start: only the catalog does, at the first name."""

from __future__ import annotations

from namespaces.flows.types import tasks_core, tasks_data, tasks_http, tasks_scripts
from namespaces.flows.types.conditions import CONDITION_TYPES
from namespaces.flows.types.flowables import FLOWABLE_TYPES
from namespaces.flows.types.tasks_scripts import RUNNER_TYPES
from namespaces.flows.types.triggers import TRIGGER_TYPES
from namespaces.plugin import TaskType

ALL_TASK_TYPES: tuple[type[TaskType], ...] = (
    *tasks_core.TYPES,
    *tasks_data.TYPES,
    *tasks_http.TYPES,
    *tasks_scripts.TYPES,
)
"""Every built-in runnable task type; the runner maps each class to what runs it."""

__all__ = [
    "ALL_TASK_TYPES",
    "CONDITION_TYPES",
    "FLOWABLE_TYPES",
    "RUNNER_TYPES",
    "TRIGGER_TYPES",
]
