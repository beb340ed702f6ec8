"""Where the parts of a flow stand in its document: tasks, triggers, conditions, inputs, task runners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from namespaces.flows.reader import Path

FLOW = "io.kestra.plugin.core.flow."
TRIGGER = "io.kestra.plugin.core.trigger."
CONDITION = "io.kestra.plugin.core.condition."

_OF_FLOW = ("tasks", "errors", "finally", "afterExecution")
_OF_TASK = ("tasks", "then", "else", "defaults", "errors", "finally", "onWait", "onApprove", "onDeny")


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the document. ``above`` are the tasks around it, closest first; ``branch`` is its list's name."""

    path: Path
    value: dict[str, Any]
    type: str
    above: tuple[Task, ...] = ()
    branch: str = "tasks"

    @property
    def id(self) -> str:
        return str(self.value.get("id", ""))

    @property
    def in_list(self) -> bool:
        """Whether it stands in a list whose tasks run one after the other."""
        if not isinstance(self.path[-1], int):
            return False
        if not self.above:
            return True
        around = self.above[0].type
        return self.branch != "tasks" or around not in (FLOW + "Parallel", FLOW + "Dag", FLOW + "EachParallel")


def tasks(flow: Any, canonical: Any) -> Iterator[Task]:
    """All tasks, parents before children. ``canonical`` gives the type's name for a written one."""
    if not isinstance(flow, dict):
        return
    for branch in _OF_FLOW:
        yield from _listed(flow.get(branch), (branch,), (), branch, canonical)
    listeners = flow.get("listeners")
    for index, listener in enumerate(listeners if isinstance(listeners, list) else ()):
        if isinstance(listener, dict):
            yield from _listed(listener.get("tasks"), ("listeners", index, "tasks"), (), "listeners", canonical)


def _listed(value: Any, path: Path, above: tuple[Task, ...], branch: str, canonical: Any) -> Iterator[Task]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict) and isinstance(item.get("task"), dict) and "type" not in item:
            yield from _task(item["task"], (*path, index, "task"), above, branch, canonical)
        else:
            yield from _task(item, (*path, index), above, branch, canonical)


def _task(value: Any, path: Path, above: tuple[Task, ...], branch: str, canonical: Any) -> Iterator[Task]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return
    task = Task(path, value, canonical(value["type"]), above, branch)
    yield task
    around = (task, *above)
    for name in _OF_TASK:
        yield from _listed(value.get(name), (*path, name), around, name, canonical)
    cases = value.get("cases")
    for key, listed in (cases if isinstance(cases, dict) else {}).items():
        yield from _listed(listed, (*path, "cases", key), around, f"cases.{key}", canonical)
    if isinstance(value.get("onPause"), dict):
        yield from _task(value["onPause"], (*path, "onPause"), around, "onPause", canonical)


def triggers(flow: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All triggers with their paths."""
    written = flow.get("triggers") if isinstance(flow, dict) else None
    for index, item in enumerate(written if isinstance(written, list) else ()):
        if isinstance(item, dict) and isinstance(item.get("type"), str):
            yield ("triggers", index), item


_CONDITION_LISTS = ("conditions", "scheduleConditions", "multipleConditions")


def conditions(flow: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All conditions of triggers and listeners, nested ones too."""
    for path, trigger in triggers(flow):
        for name in _CONDITION_LISTS:
            yield from _conditions(trigger.get(name), (*path, name))
    listeners = flow.get("listeners") if isinstance(flow, dict) else None
    for index, listener in enumerate(listeners if isinstance(listeners, list) else ()):
        if isinstance(listener, dict):
            yield from _conditions(listener.get("conditions"), ("listeners", index, "conditions"))


def _conditions(value: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    listed: Any = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for key, item in listed:
        if isinstance(item, dict) and isinstance(item.get("type"), str):
            yield (*path, key), item
            yield from _conditions(item.get("conditions"), (*path, key, "conditions"))


def inputs(flow: Any, canonical: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All declared inputs: of the flow, of Pause and Approval, and those inside a FORM."""
    if not isinstance(flow, dict):
        return
    yield from _inputs(flow.get("inputs"), ("inputs",))
    for task in tasks(flow, canonical):
        if task.type == FLOW + "Pause":
            yield from _inputs(task.value.get("onResume"), (*task.path, "onResume"))
        elif task.type == FLOW + "Approval":
            yield from _inputs(task.value.get("inputs"), (*task.path, "inputs"))


def _inputs(value: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield (*path, index), item
            yield from _inputs(item.get("inputs"), (*path, index, "inputs"))


def outputs(flow: Any, canonical: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All declared outputs: of the flow and of Loops."""
    if not isinstance(flow, dict):
        return
    yield from _inputs(flow.get("outputs"), ("outputs",))
    for task in tasks(flow, canonical):
        if task.type == FLOW + "Loop":
            yield from _inputs(task.value.get("outputs"), (*task.path, "outputs"))


_PROSE = frozenset(("description", "displayName"))


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text with an expression below a value, but for descriptions, which nobody renders."""
    stack = [(path, value)]
    while stack:
        here, item = stack.pop()
        if isinstance(item, str):
            if "{{" in item or "{%" in item:
                yield here, item
        elif isinstance(item, dict):
            stack += [((*here, key), below) for key, below in item.items() if key not in _PROSE]
        elif isinstance(item, list):
            stack += [((*here, index), below) for index, below in enumerate(item)]


def owner(path: Path, known: dict[Path, Task]) -> Task | None:
    """The innermost task whose own property stands at ``path``."""
    for length in range(len(path), 0, -1):
        found = known.get(path[:length])
        if found is not None:
            return found
    return None
