"""What an expression sees: the root variables of ``expressions.md`` 3, built lazily from one execution.

Outputs and task states are looked up only when a template asks for them, one row at a time where it can be, so
rendering a task costs the same among 10 and among 10,000 task runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.flows.model import EachParallel, Flow, ForEach, Task
from runner import rows
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun
from runner.rows import run_table
from runner.view import Facts

Read = Callable[[Callable[[Connection], Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is the same for every expression of this server."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the server with the prefix ``ENV_``, prefix dropped, lower case."""
    globals: Mapping[str, Any] = field(default_factory=dict)
    kestra: Mapping[str, Any] = field(default_factory=dict)


def loop_depth(flow: Flow, task_id: str) -> int:
    """How many enclosing loops give a value to the outputs of this task."""
    depth = 0
    place = flow.places.get(task_id)
    while place is not None and place.parent is not None:
        if isinstance(flow.by_id.get(place.parent), ForEach | EachParallel):
            depth += 1
        place = flow.places.get(place.parent)
    return depth


class Lookup:
    """Finds outputs and states of task runs: first among those not yet committed, then in the database."""

    def __init__(
        self, flow: Flow, execution_id: str, read: Read, resolve: Callable[[Any], Any], opened: Callable[[Any], Any]
    ) -> None:
        self.flow = flow
        self._execution_id = execution_id
        self._read = read
        self._resolve = resolve
        self._opened = opened
        self.fresh: dict[tuple[str, str], TaskRun] = {}
        """(task id, address) to task runs that this batch has changed."""
        self.paths: dict[str, tuple[str, ...]] = {}
        """Loop path of each task run that is not committed yet."""
        self.outside: Callable[[], Lookup | None] = lambda: None
        """The lookup of the execution around an iteration of a Loop."""

    def of(self, task_id: str) -> Lookup:
        """Where the task runs of this task are: here, or in an execution around."""
        if task_id in self.flow.places or self.flow.whole is None:
            return self
        outside = self.outside()
        return self if outside is None else outside.of(task_id)

    def one(self, task_id: str, path: tuple[str, ...]) -> Any | None:
        """Outputs of the task run at this loop path, None when it has none."""
        key = (task_id, rows.address(path))
        if key in self.fresh:
            return self._opened(self.fresh[key].outputs)
        row = self._read(
            lambda connection: connection.execute(
                sa.select(run_table.c.outputs, run_table.c.outputs_uri)
                .where(
                    run_table.c.execution_id == self._execution_id,
                    run_table.c.task_id == task_id,
                    run_table.c.address == key[1],
                )
                .order_by(run_table.c.sequence.desc())
                .limit(1)
            ).one_or_none()
        )
        return None if row is None else self._resolve(row)

    def all(self, task_id: str) -> list[tuple[tuple[str, ...], Any, str]]:
        """(loop path, outputs, state) of every task run of the task, in order of creation."""
        found = self._read(
            lambda connection: connection.execute(
                sa.select(run_table)
                .where(run_table.c.execution_id == self._execution_id, run_table.c.task_id == task_id)
                .order_by(run_table.c.sequence)
            ).all()
        )
        merged: dict[str, tuple[tuple[str, ...], Any, str]] = {
            row.address: (tuple(row.path or ()), self._resolve(row), row.state) for row in found
        }
        for (fresh_task, address), run in self.fresh.items():
            if fresh_task == task_id:
                path = self.paths.get(run.id, ())
                merged[address] = (path, self._opened(run.outputs), run.state.value)
        return list(merged.values())

    def state(self, task_id: str, path: tuple[str, ...]) -> str | None:
        key = (task_id, rows.address(path))
        if key in self.fresh:
            return self.fresh[key].state.value
        return self._read(  # type: ignore[no-any-return]
            lambda connection: connection.execute(
                sa.select(run_table.c.state)
                .where(
                    run_table.c.execution_id == self._execution_id,
                    run_table.c.task_id == task_id,
                    run_table.c.address == key[1],
                )
                .order_by(run_table.c.sequence.desc())
                .limit(1)
            ).scalar()
        )

    def task_ids(self) -> list[str]:
        """Tasks that have task runs."""
        stored = self._read(
            lambda connection: list(
                connection.execute(
                    sa.select(run_table.c.task_id)
                    .where(run_table.c.execution_id == self._execution_id)
                    .group_by(run_table.c.task_id)
                    .order_by(sa.func.min(run_table.c.sequence))
                ).scalars()
            )
        )
        return list(dict.fromkeys([*stored, *(task_id for task_id, _ in self.fresh)]))


Pick = Callable[[Lookup, str, tuple[str, ...]], Any]


class _ByTask(Mapping[str, Any]):
    """``outputs`` or ``tasks``: task id to a value, or to a map by loop value where the task is below a loop."""

    def __init__(self, lookup: Lookup, pick: Pick, whole: Callable[[Any, str], Any]) -> None:
        self._lookup = lookup
        self._pick = pick
        self._whole = whole

    def __getitem__(self, task_id: str) -> Any:
        lookup = self._lookup.of(task_id)
        depth = loop_depth(lookup.flow, task_id)
        if depth:
            return _ByValue(lookup, task_id, (), depth, self._pick, self._whole)
        found = self._pick(lookup, task_id, ())
        if found is None:
            raise KeyError(task_id)
        return found

    def __iter__(self) -> Iterator[str]:
        lookup: Lookup | None = self._lookup
        while lookup is not None:
            for task_id in lookup.task_ids():
                if any(self._whole(outputs, state) is not None for _, outputs, state in lookup.all(task_id)):
                    yield task_id
            lookup = lookup.outside()

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _ByValue(Mapping[str, Any]):
    """One level of a loop: value to the next level or to the outputs of the task run."""

    def __init__(self, lookup: Lookup, task_id: str, path: tuple[str, ...], depth: int,
                 pick: Pick, whole: Callable[[Any, str], Any]) -> None:  # fmt: skip
        self._lookup = lookup
        self._task_id = task_id
        self._path = path
        self._depth = depth
        self._pick = pick
        self._whole = whole

    def __getitem__(self, value: str) -> Any:
        path = (*self._path, str(value))
        if len(path) < self._depth:
            deeper = _ByValue(self._lookup, self._task_id, path, self._depth, self._pick, self._whole)
            if not any(True for _ in deeper):
                raise KeyError(value)
            return deeper
        found = self._pick(self._lookup, self._task_id, path)
        if found is None:
            raise KeyError(value)
        return found

    def __iter__(self) -> Iterator[str]:
        here = len(self._path)
        seen: dict[str, None] = {}
        for path, outputs, state in self._lookup.all(self._task_id):
            if path[:here] == self._path and len(path) > here and self._whole(outputs, state) is not None:
                seen.setdefault(path[here])
        return iter(seen)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def outputs_of(lookup: Lookup) -> Mapping[str, Any]:
    """The root ``outputs``."""
    return _ByTask(lookup, Lookup.one, lambda outputs, _state: outputs)


def tasks_of(lookup: Lookup) -> Mapping[str, Any]:
    """The root ``tasks``: ``{id: {state}}``."""

    def pick(here: Lookup, task_id: str, path: tuple[str, ...]) -> Any:
        state = here.state(task_id, path)
        return None if state is None else {"state": state}

    return _ByTask(lookup, pick, lambda _outputs, state: {"state": state})


def nested_labels(labels: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Labels as the root ``labels``: dotted keys nest and stay reachable whole; of equal keys the first counts."""
    root: dict[str, Any] = {}
    for key, value in reversed(labels):
        root[key] = value
    for key, value in list(root.items()):
        parts = key.split(".")
        here: Any = root
        for part in parts[:-1]:
            if not isinstance(here.get(part), dict):
                here[part] = {}
            here = here[part]
        here[parts[-1]] = value
    return root


def flow_root(flow: Flow) -> dict[str, Any]:
    return {"id": flow.id, "namespace": flow.namespace, "revision": flow.revision, "tenantId": "main"}


def execution_roots(
    flow: Flow,
    value: Execution,
    facts: Facts,
    inputs: Mapping[str, Any] | None,
    lookup: Lookup | None,
    surroundings: Surroundings,
) -> dict[str, Any]:
    """The roots that do not depend on the task."""
    execution: dict[str, Any] = {
        "id": value.id,
        "startDate": value.created_at,
        "originalId": facts.original_id,
        "state": value.state.value,
    }
    if value.state.terminal and value.history:
        execution["endDate"] = value.history[-1][1]
    if value.outputs is not None:
        execution["outputs"] = value.outputs
    roots: dict[str, Any] = {
        "flow": flow_root(flow),
        "execution": execution,
        "labels": nested_labels(value.labels),
        "envs": surroundings.environment,
        "globals": surroundings.globals,
        "kestra": surroundings.kestra,
    }
    if inputs is not None and (inputs or flow.inputs):
        roots["inputs"] = inputs
    variables = value.variables if value.variables is not None else flow.variables
    if variables:
        roots["vars"] = variables
    if facts.trigger is not None:
        trigger = dict(facts.trigger.get("variables") or {})
        trigger["_context"] = {"id": facts.trigger.get("id"), "type": facts.trigger.get("type")}
        roots["trigger"] = trigger
        if str(facts.trigger.get("type", "")).endswith(".Schedule"):
            roots["schedule"] = trigger
    if facts.loop_run is not None:
        roots["item"] = item_root(facts.loop_run)
    if lookup is not None:
        roots["outputs"] = outputs_of(lookup)
        roots["tasks"] = tasks_of(lookup)
    return roots


def task_roots(task: Task, run: TaskRun, ancestors: tuple[TaskRun, ...], started: datetime) -> dict[str, Any]:
    """The roots that depend on the task run; ``ancestors`` closest first."""
    taskrun: dict[str, Any] = {
        "id": run.id,
        "startDate": started,
        "attemptsCount": sum(1 for attempt in run.attempts if attempt.state is not State.RUNNING),
    }
    if run.parent_id is not None:
        taskrun["parentId"] = run.parent_id
    if run.value is not None:
        taskrun["value"] = run.value
    if run.iteration is not None:
        taskrun["iteration"] = run.iteration
    parents = []
    for ancestor in ancestors:
        entry: dict[str, Any] = {}
        if ancestor.value is not None:
            entry["taskrun"] = {"value": ancestor.value}
            if ancestor.iteration is not None:
                entry["taskrun"]["iteration"] = ancestor.iteration
        if ancestor.outputs:
            entry["outputs"] = ancestor.outputs
        if entry:
            parents.append({"task": {"id": ancestor.task_id}, **entry})
    roots: dict[str, Any] = {"task": {"id": task.id, "type": task.type}, "taskrun": taskrun, "parents": parents}
    if parents:
        roots["parent"] = parents[0]
    return roots


def item_root(loop_run: Mapping[str, Any]) -> dict[str, Any]:
    """``item`` of an iteration; ``parents`` outermost first, so that ``parent`` is the last (``flows.md`` 4.16)."""
    item = {name: loop_run[name] for name in ("index", "key", "value") if name in loop_run}
    if parents := loop_run.get("parents"):
        item |= {"parent": parents[-1], "parents": parents}
    return item


def iteration_roots(around: Mapping[str, Any], own_variables: bool) -> dict[str, Any]:
    """What an iteration sees of the execution that its Loop runs in, instead of its own."""
    names = ["execution", "inputs", "trigger", "schedule", *([] if own_variables else ["vars"])]
    roots = {name: around[name] for name in names if name in around}
    if "value" in around.get("taskrun", {}):  # for what belongs to no task run: the outputs
        roots |= within_loop({"taskrun": {}, "parents": []}, around)
    return roots


def within_loop(own: Mapping[str, Any], around: Mapping[str, Any]) -> dict[str, Any]:
    """The roots of a task run in an iteration: ``taskrun.value`` and ``parents`` of a ForEach around stay visible.

    The value around is the task run's own unless a ForEach within the iteration gives one; then it is a parent's.
    """
    roots = dict(own)
    outer = {name: around["taskrun"][name] for name in ("value", "iteration") if name in around.get("taskrun", {})}
    parents = list(own["parents"])
    if "value" in own["taskrun"] or any("taskrun" in parent for parent in parents):
        if outer:
            parents.append({"task": {"id": around["task"]["id"]}, "taskrun": outer})
    else:
        roots["taskrun"] = {**own["taskrun"], **outer}
    parents.extend(around.get("parents", ()))
    roots["parents"] = parents
    if parents:
        roots["parent"] = parents[0]
    return roots


def ancestors_of(runs: Mapping[str, TaskRun], run: TaskRun) -> tuple[TaskRun, ...]:
    """The enclosing task runs, closest first."""
    found = []
    parent = run.parent_id
    while parent is not None and parent in runs:
        found.append(runs[parent])
        parent = runs[parent].parent_id
    return tuple(found)
