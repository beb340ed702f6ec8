"""Pause: waits for a person or a date, then runs its (legacy) tasks (``flows.md`` 4.13, ``decisions.md`` 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from namespaces.flows.model import Pause
from runner.engine.draft import Draft, Progress
from runner.engine.effects import Ask, Question, StartTimer
from runner.engine.endings import fail, stop
from runner.engine.events import TimerKind
from runner.engine.flowable.family import Family, next_of_list
from runner.engine.states import State, worst
from runner.engine.values import TaskRun

_BEHAVIORS = ("RESUME", "WARN", "FAIL", "CANCEL")


def _open(d: Draft, run: TaskRun, _task: Pause) -> None:
    d.ask(Question.PAUSE, run)


def _answered(d: Draft, run: TaskRun, task: Pause, _ask: Ask, value: Any) -> None:
    duration, timeout, *rendered = value
    behavior = str(rendered[0] if rendered else task.behavior).upper()
    if behavior not in _BEHAVIORS:
        fail(d, run, f"behavior is {behavior!r}, expected one of {', '.join(_BEHAVIORS)}")
        return
    scope = d.reset_scope(run.id, Progress(since=d.at))
    scope.note("main", "tasks")
    scope.note("behavior", behavior)
    run = d.turn(run, State.PAUSED)
    if duration is not None:
        d.act(StartTimer(kind=TimerKind.PAUSE, due=d.at + duration, task_run_id=run.id, epoch=run.epoch))
    elif timeout is not None:
        d.act(StartTimer(kind=TimerKind.TIMEOUT, due=d.at + timeout, task_run_id=run.id, epoch=run.epoch))
    for on_pause in d.flow.enabled(task.id, "onPause"):
        d.create(run.id, on_pause)


def resume(d: Draft, run: TaskRun, outputs: Mapping[str, Any] | None = None, end: State | None = None) -> None:
    """Go on with the Pause's own tasks; ``end`` is the worst state it may still reach (a timer's behaviour)."""
    if outputs is not None:
        run = replace(run, outputs={**(run.outputs or {}), **outputs})
    run = d.turn(run, State.RUNNING)
    scope = d.scope(run.id)
    if end is not None:
        scope.worst = worst(scope.worst, end)
        scope.halted = end is State.FAILED
    next_of_list(d, run.id)
    d.todo.append(("check", run.id))


def timed_out(d: Draft, run: TaskRun, kind: TimerKind) -> None:
    """``pauseDuration`` or ``timeout`` is over."""
    task = d.task(run)
    behavior = "FAIL" if kind is TimerKind.TIMEOUT else d.scope(run.id).extra.get("behavior", "RESUME")
    match behavior:
        case "CANCEL":
            d.turn(run, State.RUNNING)
            stop(d, State.CANCELLED, kill=False)  # ends the Pause too, once its onPause is over
        case "FAIL":
            # Seen on Kestra: with allowFailure the children run as if it had been resumed, the pause is WARNING.
            resume(d, run, end=State.WARNING if task.allow_failure else State.FAILED)
        case "WARN":
            resume(d, run, end=State.WARNING)
        case _:
            resume(d, run)


FAMILY = Family(open=_open, answered=_answered)
