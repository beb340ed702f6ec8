"""Opening ended flowables again: their scope is worked out anew from the children that are left. Full views only.

Used by restart, marking by hand and replay. What then may start is started by ``progress.py`` at the next Started.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from namespaces.flows.model import (
    Approval,
    Dag,
    EachParallel,
    Executable,
    ForEach,
    Loop,
    LoopUntil,
    Runnable,
    WorkingDirectory,
)
from runner.engine.draft import Draft, Progress
from runner.engine.effects import KillAttempt, StopIterations
from runner.engine.flowable import dag
from runner.engine.lists import late_order
from runner.engine.outcomes import STOPPING
from runner.engine.states import State, worst
from runner.engine.values import TaskRun

_PASSING = ("over", "asked", "ready", "continue", "reached", "handler", "handled", "deferred")
"""What a scope notes about the pass that is undone."""


def by_parent(runs: Iterable[TaskRun]) -> dict[str | None, list[TaskRun]]:
    """Children by parent's id, in order of creation."""
    found: dict[str | None, list[TaskRun]] = defaultdict(list)
    for run in runs:
        found[run.parent_id].append(run)
    return found


def below(run_ids: Iterable[str], tree: dict[str | None, list[TaskRun]]) -> list[TaskRun]:
    """Everything below these task runs."""
    found: list[TaskRun] = []
    queue = list(run_ids)
    while queue:
        for child in tree.get(queue.pop(), ()):
            found.append(child)
            queue.append(child.id)
    return found


def remove(d: Draft, runs: Iterable[TaskRun]) -> None:
    """Forget task runs; what is live among them is ended first, so that counters stay right."""
    gone = set()
    for run in sorted(runs, key=lambda run: run.sequence):
        gone.add(run.id)
        if not run.state.terminal:
            if run.state is State.RUNNING and isinstance(d.task(run), Runnable | WorkingDirectory):
                d.act(KillAttempt(task_run_id=run.id, epoch=run.epoch))
            elif isinstance(d.task(run), Loop):
                d.act(StopIterations(task_run_id=run.id, kill=True))
            d.turn(run, State.KILLED)
    d.drop(gone)


def renew(d: Draft, run: TaskRun, state: State = State.RESTARTED) -> None:
    """Let a task run begin anew; its children must be gone. What waits for executions remembers them."""
    outputs = run.outputs if isinstance(d.task(run), Executable) else None
    d.turn(run, state, epoch=run.epoch + 1, outputs=outputs, error=None)
    if d.is_open(run):
        d.close_scope(run.id)


def reopen(d: Draft, run_ids: Iterable[str]) -> None:
    """Make flowables RUNNING again, with the children that they still have; the execution's scope follows."""
    found = [run for run_id in run_ids if (run := d.find(run_id)) is not None]
    for run in found:
        d.turn(run, State.RUNNING, epoch=run.epoch + 1, error=None)
    # Only now, because a scope counts which of its children are terminal.
    tree = by_parent(d.all_runs())
    for owner_id in [*(run.id for run in found), None]:
        rebuild(d, owner_id, tree.get(owner_id, []))


def rebuild(d: Draft, owner_id: str | None, children: list[TaskRun]) -> Progress:
    """The scope of an owner whose main list goes on with these children."""
    old = d.scope(owner_id)
    main = str(old.extra.get("main", "tasks"))
    own = [child for child in children if d.place(child).branch == main]
    extra = {key: value for key, value in old.extra.items() if key not in _PASSING}
    scope = Progress(branch=main, size=old.size, iterations=old.iterations, since=old.since, extra=extra)
    scope.active = sum(1 for child in children if not child.state.terminal)
    for child in own:
        if child.state.terminal:
            scope.worst = worst(scope.worst, child.state)
            scope.halted = scope.halted or child.state in STOPPING
    scope.next = max((d.place(child).index + 1 for child in own), default=0)
    d.reset_scope(owner_id, scope)
    if owner_id is not None:
        _rebuild_family(d, d.run(owner_id), scope, own)
    _rebuild_late(d, scope, children)
    return scope


def _rebuild_late(d: Draft, scope: Progress, children: list[TaskRun]) -> None:
    """When children of a late list are kept, that list is at work."""
    branch = max((d.place(child).branch for child in children), key=late_order, default="")
    if late_order(branch):
        own = [child for child in children if d.place(child).branch == branch]
        scope.branch = branch
        scope.next = max(d.place(child).index + 1 for child in own)
        scope.halted = any(child.state in STOPPING for child in own)


def _rebuild_family(d: Draft, owner: TaskRun, scope: Progress, own: list[TaskRun]) -> None:
    task = d.task(owner)
    match task:
        case EachParallel():
            scope.next = len(own)
        case ForEach():
            scope.next = max((child.iteration + 1 for child in own if child.iteration is not None), default=0)
            last = _last_of_each(d, own)
            scope.note("continue", _unfinished(d, owner, last) or None)
            overtaken = {c.iteration for c in own if not c.state.terminal and last[c.iteration or 0].id != c.id}
            reached = {str(i): d.place(child).index for i, child in last.items() if i in overtaken}
            scope.note("reached", reached or None)
        case Dag():
            for child in own:
                bit = 1 << d.place(child).index
                scope.started |= bit
                if child.state.terminal and child.state not in STOPPING:
                    scope.done |= bit
            ready = dag.ready_bits(d.flow, task, scope.started, scope.done)
            scope.note("ready", f"{ready:x}" if ready else None)
        case LoopUntil():
            scope.iterations = scope.iterations or 1


def _last_of_each(d: Draft, own: list[TaskRun]) -> dict[int, TaskRun]:
    """The hindmost task run of each value."""
    last: dict[int, TaskRun] = {}
    for child in own:
        index = child.iteration or 0
        if index not in last or d.place(child).index > d.place(last[index]).index:
            last[index] = child
    return last


def _unfinished(d: Draft, owner: TaskRun, last: dict[int, TaskRun]) -> list[list[object]]:
    """[iteration, place of the next task, value] of values that ended well so far but are not through."""
    length = len(d.flow.enabled(owner.task_id, "tasks"))
    return [
        [index, d.place(child).index + 1, child.value]
        for index, child in sorted(last.items())
        if child.state.terminal and child.state not in STOPPING and d.place(child).index + 1 < length
    ]


def clear_execution(d: Draft) -> None:
    """Forget what was decided about the end that is now undone."""
    scope = d.scope(None)
    for key in ("ending", "stop", "outputs", "manual", "blamed", "retry", "sla"):
        scope.note(key, None)
    d.finished = False
    d.outputs = None
    d.error = None
    d.attempt_number += 1


def decides_nothing(d: Draft, chain: Iterable[TaskRun]) -> bool:
    """Whether one of these task runs belongs to a list that the execution has left behind for good."""
    for run in chain:
        branch = d.place(run).branch
        if branch in ("afterExecution", "onPause"):
            return True
        if branch == "onWait" and run.parent_id and d.scope(run.parent_id).extra.get("main") != branch:
            return True
    return False


def fresh_again(d: Draft, run: TaskRun, has_children: bool) -> bool:
    """Whether a flowable begins anew instead of going on: it never opened, or it waited rather than worked."""
    task = d.task(run)
    if isinstance(task, WorkingDirectory) or not d.is_open(run):
        return True
    waits = run.state is State.PAUSED or d.scope(run.id).extra.get("behavior") is not None
    return not has_children and (waits or isinstance(task, LoopUntil | Approval))
