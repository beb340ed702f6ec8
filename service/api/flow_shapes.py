"""Flows in the JSON shapes of ``api.md`` 2: with and without source, for execution, their Git origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from namespaces.clock import iso
from namespaces.errors import InvalidFlow
from namespaces.flows.model import Flow, Task
from namespaces.registry import Registry
from namespaces.revisions import Stored
from runner.queries_shapes import TENANT


def flow(registry: Registry, stored: Stored, *, source: bool = False) -> dict[str, Any]:
    """One revision. A text that no longer reads becomes a flow with ``exception`` and no tasks, never an error."""
    try:
        shape = of_value(registry.parsed(stored))
    except InvalidFlow as error:
        shape = {"id": stored.id, "namespace": stored.namespace, "tasks": [], "exception": error.message}
    shape |= {
        "tenantId": TENANT,
        "revision": stored.revision,
        "disabled": stored.disabled if stored.revision == stored.latest else shape.get("disabled", False),
        "deleted": stored.deleted,
        "draft": False,
        "updated": iso(stored.created_at),
    }
    if source:
        shape["source"] = stored.text
    git = origin(stored)
    if git:
        shape["git"] = git
    return shape


def of_value(value: Flow) -> dict[str, Any]:
    """A flow as written, with Kestra's lists where the text may have maps."""
    shape = {key: item for key, item in value.written.items() if item is not None and key != "revision"}
    shape |= {"id": value.id, "namespace": value.namespace, "disabled": value.disabled}
    shape.setdefault("tasks", [])
    if value.labels:
        shape["labels"] = [{"key": key, "value": text} for key, text in value.labels]
    else:
        shape.pop("labels", None)
    if value.inputs:
        shape["inputs"] = [_input(one) for one in value.inputs]
    return shape


def _input(declared: Any) -> dict[str, Any]:
    written = {key: item for key, item in declared.written.items() if item is not None}
    return {**written, "id": declared.id, "type": declared.type, "required": declared.required}


def origin(stored: Stored) -> dict[str, Any] | None:
    """Where the revision came from in Git, None for one of the API."""
    git = stored.origin
    if git is None:
        return {"source": stored.source} if stored.source else None
    shape: dict[str, Any] = {
        "source": git.source,
        "commit": git.commit,
        "path": git.path,
        "author": {"name": git.author_name, "email": git.author_email},
        "message": git.message,
    }
    if git.committed_at is not None:
        shape["committedAt"] = iso(git.committed_at)
    if git.renamed_from:
        shape["renamedFrom"] = git.renamed_from
    return shape


def for_execution(value: Flow) -> dict[str, Any]:
    """FlowForExecution: what a page about a run needs, task properties left out."""
    shape: dict[str, Any] = {
        "id": value.id,
        "namespace": value.namespace,
        "revision": value.revision,
        "inputs": [_input(one) for one in value.inputs],
        "labels": [{"key": key, "value": text} for key, text in value.labels],
        "tasks": _tasks(value.tasks),
        "triggers": [{"id": trigger.id, "type": trigger.type} for trigger in value.triggers],
        "disabled": value.disabled,
        "deleted": False,
    }
    for name, tasks in (
        ("errors", value.errors),
        ("finally", value.finally_),
        ("afterExecution", value.after_execution),
    ):
        if tasks:
            shape[name] = _tasks(tasks)
    if value.variables:
        shape["variables"] = dict(value.variables)
    return shape


def _tasks(tasks: Iterable[Task]) -> list[dict[str, Any]]:
    found = []
    for task in tasks:
        shape: dict[str, Any] = {"id": task.id, "type": task.type}
        branches: Mapping[str, tuple[Task, ...]] = task.branches
        children = [child for branch in branches.values() for child in branch]
        if children:
            shape["tasks"] = _tasks(children)
        found.append(shape)
    return found
