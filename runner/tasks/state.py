"""The legacy state store: Set, Get, Delete. A state is a JSON map kept under a path of internal storage."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from namespaces.blobs import state_folder
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types

    Task = types.StateSet | types.StateGet | types.StateDelete


def _path(context: Running, task: Task) -> str:
    """One file per state, and per value of a loop when ``taskrunValue`` says so."""
    folder = state_folder(context.flow.namespace, None if task.namespace else context.flow.id)
    value = context.claim.task_run.value if task.taskrun_value else None
    name = task.name if re.fullmatch(r"[\w-]{1,100}", task.name) else _mark(task.name)
    return f"{folder}/{name}" + (f"/{_mark(value)}" if value is not None else "") + "/state.json"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def put(context: Running, task: types.StateSet) -> Output:
    path = _path(context, task)
    data = {**(context.world.state_read(path) or {}), **(task.data or {})}
    context.world.state_write(path, data)
    return Output(values={"count": len(data), "key": path})


def get(context: Running, task: types.StateGet) -> Output:
    data = context.world.state_read(_path(context, task))
    if data is None and task.error_on_missing:
        raise _missing(task)
    return Output(values={"count": len(data or {}), "data": data or {}})


def delete(context: Running, task: types.StateDelete) -> Output:
    path = _path(context, task)
    present = context.world.state_read(path) is not None
    if not present and task.error_on_missing:
        raise _missing(task)
    if present:
        context.world.state_write(path, None)
    return Output(values={"deleted": present})


def _missing(task: Task) -> RunFailed:
    return RunFailed(f"Unable to find the state '{task.name}'", hint="errorOnMissing is true")


TASKS = {
    CORE + "state.Set": Implementation(run=put),
    CORE + "state.Get": Implementation(run=get),
    CORE + "state.Delete": Implementation(run=delete),
}
