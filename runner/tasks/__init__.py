"""The built-in task types' implementations: which module runs which type. Properties are declared in
``namespaces.flows.types``; modules are imported at the first use of one of their types."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runner.plugin import Output, Task

Run = Callable[[Any, Any], Output]
"""``run(context, properties)``; properties are an instance of the task type's class, rendered and converted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """How a task type is run.

    ``raw``: properties handed over unrendered, because the implementation renders them itself (typed, or once
    per row). ``forced``: properties rendered although the class does not mark them. ``render`` False: the
    implementation reads ``context.task.properties`` itself and gets None. ``prepare(context)`` is called before
    anything is rendered: it may make folders and offer variables.
    """

    run: Run
    raw: frozenset[str] = field(default_factory=frozenset)
    forced: frozenset[str] = field(default_factory=frozenset)
    render: bool = True
    prepare: Callable[[Any], None] | None = None


CORE = "io.kestra.plugin.core."
SCRIPTS = "io.kestra.plugin.scripts."

_MODULES = {
    "debug.": "inline",
    "log.Log": "inline",
    "output.": "inline",
    "execution.Resume": "acts",
    "execution.Kill": "acts",
    "execution.Count": "maintenance",
    "execution.PurgeExecutions": "maintenance",
    "execution.": "inline",
    "log.": "maintenance",
    "metric.": "acts",
    "flow.Sleep": "acts",
    "flow.Template": "acts",
    "flow.PurgeFlows": "maintenance",
    "flow.ForEachItem$": "batches",
    "trigger.Toggle": "acts",
    "http.": "http",
    "kv.": "kv",
    "state.": "state",
    "storage.Split": "rows",
    "storage.Reverse": "rows",
    "storage.DeduplicateItems": "rows",
    "storage.FilterItems": "rows",
    "storage.": "storage",
    "namespace.": "namespace",
    "templating.": "templated",
}
"""Beginning of a core type's name to the module here; the first that fits counts."""

_found: dict[str, Implementation | None] = {}


def find(type_name: str, task_type: type[Any] | None = None) -> Implementation | None:
    """The implementation of a canonical type name, or None. ``task_type`` is the class a plugin declared."""
    if type_name in _found:
        return _found[type_name]
    found = _built_in(type_name)
    if found is None and task_type is not None and issubclass(task_type, Task):
        found = Implementation(run=lambda context, task: task.run(context))
    _found[type_name] = found
    return found


def _built_in(type_name: str) -> Implementation | None:
    if type_name.startswith(SCRIPTS):
        module: str | None = "scripts"
    elif type_name.startswith(CORE):
        name = type_name[len(CORE) :]
        module = next((module for start, module in _MODULES.items() if name.startswith(start)), None)
    else:
        module = None
    if module is None:
        return None
    known: dict[str, Implementation] = importlib.import_module(f"runner.tasks.{module}").TASKS
    return known.get(type_name)
