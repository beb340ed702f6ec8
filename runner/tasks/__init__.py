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
    per row). ``forced``: properties rendered although the class does not mark them. ``needs_folder``: expressions
    may use ``workingDir``, so the working folder exists before anything is rendered.
    """

    run: Run
    raw: frozenset[str] = field(default_factory=frozenset)
    forced: frozenset[str] = field(default_factory=frozenset)
    needs_folder: bool = False


CORE = "io.kestra.plugin.core."
SCRIPTS = "io.kestra.plugin.scripts."

_MODULES = {
    "debug": "texts",
    "log": "texts",
    "output": "texts",
    "metric": "texts",
    "execution": "execution",
    "flow": "flow",
    "http": "http",
    "kv": "kv",
    "state": "state",
    "storage": "storage",
    "namespace": "namespace",
    "trigger": "toggle",
    "templating": "templated",
}
"""Package of a core type to the module here; a few types live elsewhere, see ``_ELSEWHERE``."""

_ELSEWHERE = {
    CORE + "log.Fetch": "maintenance",
    CORE + "log.PurgeLogs": "maintenance",
    CORE + "execution.Count": "maintenance",
    CORE + "execution.PurgeExecutions": "maintenance",
    CORE + "kv.PurgeKV": "maintenance",
    CORE + "flow.PurgeFlows": "maintenance",
    CORE + "storage.LocalFiles": "localfiles",
    CORE + "storage.Split": "rows",
    CORE + "storage.Reverse": "rows",
    CORE + "storage.DeduplicateItems": "rows",
    CORE + "storage.FilterItems": "rows",
}

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
    module = _ELSEWHERE.get(type_name)
    if module is None and type_name.startswith(CORE):
        module = _MODULES.get(type_name[len(CORE) :].partition(".")[0])
    elif type_name.startswith(SCRIPTS):
        module = "scripts"
    if module is None:
        return None
    tasks: dict[str, Implementation] = importlib.import_module(f"runner.tasks.{module}").TASKS
    return tasks.get(type_name)
