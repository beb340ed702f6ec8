"""LoopUntil: tasks, then the condition, then a wait, until it holds (``flows.md`` 4.9).

While it waits its task run is PAUSED, its children are gone and its epoch has risen: each pass names new task runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from namespaces.flows.model import LoopUntil
from runner.engine.draft import Draft
from runner.engine.effects import Ask, DropRuns, Question, StartTimer
from runner.engine.events import TimerKind
from runner.engine.flowable.family import Family, list_of, next_of_list, open_main
from runner.engine.outcomes import STOPPING
from runner.engine.states import State
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: LoopUntil) -> None:
    d.put(replace(run, outputs={"iterationCount": 1}))
    open_main(d, run, iterations=1, since=d.at)
    next_of_list(d, run.id)


def _list_over(d: Draft, run: TaskRun, _task: LoopUntil) -> bool:
    scope = d.scope(run.id)
    if scope.worst in STOPPING or scope.extra.get("over") or not list_of(d, run.id):
        return False
    scope.active += 1  # the pending answer
    scope.note("asked", True)
    d.ask(Question.CONDITION, run)
    return True


def _answered(d: Draft, run: TaskRun, task: LoopUntil, _ask: Ask, value: Any) -> None:
    scope = d.scope(run.id)
    if not scope.extra.pop("asked", None):
        return
    scope.active -= 1
    d.todo.append(("check", run.id))
    if value or d.ending:
        scope.note("over", True)
    elif _is_exhausted(d, run, task):
        scope.note("over", True)
        if task.fail_on_max_reached:
            d.log_error(f"The condition does not hold after {scope.iterations} iterations", run)
            scope.worst = State.FAILED
    else:
        _wait(d, run, task)


def failed(d: Draft, run: TaskRun, error: str) -> None:
    """The condition could not be rendered; the loop's own ``errors`` still run."""
    scope = d.scope(run.id)
    if scope.extra.pop("asked", None):
        scope.active -= 1
        scope.note("over", True)
        scope.worst = State.FAILED
        d.put(replace(run, error=error))
        d.todo.append(("check", run.id))


def _is_exhausted(d: Draft, run: TaskRun, task: LoopUntil) -> bool:
    scope = d.scope(run.id)
    if task.max_iterations is not None and scope.iterations >= task.max_iterations:
        return True
    return task.max_duration is not None and d.at >= (scope.since or d.at) + task.max_duration


def _wait(d: Draft, run: TaskRun, task: LoopUntil) -> None:
    scope = d.scope(run.id)
    scope.next = 0
    scope.worst = None
    d.drop({child.id for child in d.children(run.id)})
    d.act(DropRuns(children_of=run.id))
    run = d.turn(run, State.PAUSED, epoch=run.epoch + 1)
    due = d.at + task.interval
    d.act(StartTimer(kind=TimerKind.LOOP, due=due, task_run_id=run.id, epoch=run.epoch))


def due(d: Draft, run: TaskRun) -> None:
    """The wait is over: the next pass."""
    scope = d.scope(run.id)
    scope.iterations += 1
    d.turn(run, State.RUNNING, outputs={"iterationCount": scope.iterations})
    next_of_list(d, run.id)
    d.todo.append(("check", run.id))


FAMILY = Family(open=_open, list_over=_list_over, answered=_answered)
