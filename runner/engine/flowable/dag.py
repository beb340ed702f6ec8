"""Dag: a child starts when all it depends on ended well (``flows.md`` 4.4). Bit ``i`` stands for the i-th child."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import ref

from namespaces.flows.model import Dag, Flow
from runner.engine.draft import Draft
from runner.engine.endings import fail
from runner.engine.flowable.family import Family, list_of, open_main
from runner.engine.outcomes import STOPPING
from runner.engine.values import TaskRun


@dataclass(frozen=True, slots=True)
class _Edges:
    """``needs[i]``: bits of what child i waits for; ``leads[i]``: the children that wait for child i."""

    needs: tuple[int, ...]
    leads: tuple[tuple[int, ...], ...]


def _open(d: Draft, run: TaskRun, task: Dag) -> None:
    scope = open_main(d, run)
    ready = 0
    for index, needs in enumerate(_edges(d.flow, task).needs):
        if not needs:
            ready |= 1 << index
    scope.note("ready", f"{ready:x}")
    _top_up(d, run, task)


def _top_up(d: Draft, run: TaskRun, task: Dag) -> None:
    scope = d.scope(run.id)
    tasks = list_of(d, run.id)
    ready = int(scope.extra.get("ready", "0"), 16)
    while ready and not scope.halted and (not task.concurrent or scope.active < task.concurrent):
        index = (ready & -ready).bit_length() - 1
        ready ^= 1 << index
        scope.started |= 1 << index
        d.create(run.id, tasks[index])
    scope.note("ready", f"{ready:x}" if ready else None)


def _child_ended(d: Draft, run: TaskRun, task: Dag, child: TaskRun) -> None:
    scope = d.scope(run.id)
    if child.state in STOPPING:
        return
    edges = _edges(d.flow, task)
    index = d.place(child).index
    scope.done |= 1 << index
    ready = int(scope.extra.get("ready", "0"), 16)
    for follower in edges.leads[index]:
        bit = 1 << follower
        if not scope.started & bit and not edges.needs[follower] & ~scope.done:
            ready |= bit
    scope.note("ready", f"{ready:x}" if ready else None)
    _top_up(d, run, task)


def _list_over(d: Draft, run: TaskRun, _task: Dag) -> bool:
    scope = d.scope(run.id)
    tasks = list_of(d, run.id)
    if scope.halted or scope.started == (1 << len(tasks)) - 1:
        return False
    never = ", ".join(task.id for index, task in enumerate(tasks) if not scope.started >> index & 1)
    fail(d, run, f"Cyclic dependency detected: {never}")
    return True


def ready_bits(flow: Flow, task: Dag, started: int, done: int) -> int:
    """The children that may start but have not (for a restart)."""
    ready = 0
    for index, needs in enumerate(_edges(flow, task).needs):
        if not started >> index & 1 and not needs & ~done:
            ready |= 1 << index
    return ready


_known: dict[int, tuple[ref[Flow], dict[str, _Edges]]] = {}
"""Derived from flows, which never change; an entry goes when its flow does."""


def _edges(flow: Flow, task: Dag) -> _Edges:
    entry = _known.get(id(flow))
    if entry is None or entry[0]() is not flow:
        key = id(flow)
        entry = _known[key] = (ref(flow, lambda _gone: _known.pop(key, None)), {})
    found = entry[1].get(task.id)
    if found is None:
        found = entry[1][task.id] = _derive(flow, task)
    return found


def _derive(flow: Flow, task: Dag) -> _Edges:
    tasks = flow.enabled(task.id, "tasks")
    index = {child.id: position for position, child in enumerate(tasks)}
    needs = [0] * len(tasks)
    leads: list[list[int]] = [[] for _ in tasks]
    for position, child in enumerate(tasks):
        # What is disabled or unknown counts as satisfied.
        for upstream in {index[name] for name in task.depends_on.get(child.id, ()) if name in index}:
            needs[position] |= 1 << upstream
            leads[upstream].append(position)
    return _Edges(tuple(needs), tuple(tuple(followers) for followers in leads))


FAMILY = Family(open=_open, top_up=_top_up, child_ended=_child_ended, list_over=_list_over)
