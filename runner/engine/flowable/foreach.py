"""ForEach (and EachSequential): tasks in sequence within a value, values side by side (``flows.md`` 4.7).

An iteration in progress has exactly one active child, so the scope's ``active`` also counts iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from namespaces.flows.model import ForEach
from runner.engine.draft import Draft
from runner.engine.effects import Ask, Question, StoreValues
from runner.engine.flowable.family import Family, list_of, open_main
from runner.engine.outcomes import STOPPING
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: ForEach) -> None:
    d.ask(Question.VALUES, run)


def _answered(d: Draft, run: TaskRun, task: ForEach, ask: Ask, value: Any) -> None:
    if ask.question is Question.VALUES:
        _begin(d, run, task, tuple(value))
    elif taken(d, run, ask):
        start(d, run, ask.index, str(value))


def _begin(d: Draft, run: TaskRun, task: ForEach, values: Sequence[str]) -> None:
    scope = open_main(d, run, size=len(values))
    if not list_of(d, run.id):
        return
    at_once = len(values)
    if 0 < task.concurrency_limit < len(values):
        at_once = task.concurrency_limit
        d.act(StoreValues(task_run_id=run.id, values=tuple(values)))
    scope.next = at_once
    for index in range(at_once):
        start(d, run, index, values[index])


def start(d: Draft, run: TaskRun, index: int, value: str) -> None:
    """Begin an iteration with its first task that has not run yet (replay keeps the ones before)."""
    tasks = list_of(d, run.id)
    kept = d.scope(run.id).extra.get("kept")
    first = kept["first"] if kept and index < kept["upto"] else 0
    d.create(run.id, tasks[first], value=value, iteration=index)


def _top_up(d: Draft, run: TaskRun, task: ForEach) -> None:
    scope = d.scope(run.id)
    tasks = list_of(d, run.id)
    for index, place, value in scope.extra.pop("continue", ()):
        if not scope.halted or index < scope.next:
            d.create(run.id, tasks[place], value=value, iteration=index)
    while not scope.halted and scope.next < scope.size and _has_room(task, scope.active):
        ask_iteration(d, run, scope.next)
        scope.next += 1


def _has_room(task: ForEach, active: int) -> bool:
    return not task.concurrency_limit or active < task.concurrency_limit


def _child_ended(d: Draft, run: TaskRun, task: ForEach, child: TaskRun) -> None:
    tasks = list_of(d, run.id)
    following = d.place(child).index + 1
    # After a restart a value may already have task runs behind the one that ran again.
    reached = d.scope(run.id).extra.get("reached", {}).get(str(child.iteration), -1)
    if child.state not in STOPPING and reached < following < len(tasks):
        d.create(run.id, tasks[following], value=child.value, iteration=child.iteration)
    else:
        _top_up(d, run, task)


def ask_iteration(d: Draft, run: TaskRun, index: int, task_id: str = "") -> None:
    """Ask for a value that was put aside; until it is answered it counts as an active child."""
    scope = d.scope(run.id)
    scope.active += 1
    scope.note("asked", [*scope.extra.get("asked", ()), [index, task_id]])
    d.ask(Question.ITERATION, run, index, task_id)


def taken(d: Draft, run: TaskRun, ask: Ask) -> bool:
    """Take back the place of an ask that was answered; false when it was not pending (answered before)."""
    scope = d.scope(run.id)
    pending = list(scope.extra.get("asked", ()))
    if [ask.index, ask.name] not in pending:
        return False
    pending.remove([ask.index, ask.name])
    scope.note("asked", pending or None)
    scope.active -= 1
    d.todo.append(("check", run.id))
    return d.ending is None and not scope.halted


FAMILY = Family(open=_open, top_up=_top_up, child_ended=_child_ended, answered=_answered)
