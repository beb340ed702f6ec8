"""Answers to ask effects. An answer that nothing waits for any more changes nothing."""

from __future__ import annotations

from dataclasses import replace

from namespaces.flows.model import LoopUntil
from runner.engine import sla
from runner.engine.draft import Draft
from runner.engine.effects import Log, Question
from runner.engine.endings import end_run, fail
from runner.engine.events import Answered
from runner.engine.flowable import loopuntil
from runner.engine.flowable.families import FAMILIES
from runner.engine.flowable.foreach import taken
from runner.engine.progress import enter, finish, listen
from runner.engine.states import State
from runner.engine.values import Attempt, TaskRun


def answered(d: Draft, event: Answered) -> str:
    """Returns why the answer is ignored, or an empty text."""
    match event.ask.question:
        case Question.OUTPUTS:
            return _outputs(d, event)
        case Question.LISTENERS:
            return _listeners(d, event)
        case Question.SLA:
            if event.error is not None or event.value:
                return "the assertion holds"
            return sla.violated(d, event.ask.index)
    run = d.find(event.ask.task_run_id)
    if run is None:
        return "unknown task run"
    if event.ask.question is Question.RUN_IF:
        return _run_if(d, run, event)
    return _flowable(d, run, event)


def _outputs(d: Draft, event: Answered) -> str:
    scope = d.scope(None)
    state = d.ending
    if state is None or not scope.extra.get("outputs"):
        return "no outputs were asked for"
    if event.error is None:
        d.outputs = event.value
    else:
        d.log_error(f"Failed to render output values: {event.error}")
        # A kill stays a kill: its outputs often name tasks that never ran.
        if state not in (State.KILLED, State.CANCELLED):
            state = State.FAILED
            d.error = event.error
    finish(d, state)
    return ""


def _listeners(d: Draft, event: Answered) -> str:
    if not d.scope(None).extra.get("listening"):
        return "no listeners were asked for"
    if event.error is not None:
        d.act(Log(level="WARN", message=f"The listeners are left out: {event.error}"))
    listen(d, list(event.value or ()))
    return ""


def _run_if(d: Draft, run: TaskRun, event: Answered) -> str:
    if run.state is not State.RESTARTED and (run.state is not State.CREATED or run.epoch):
        return "the task run has begun already"
    if d.ending:
        end_run(d, run, d.ending, epoch=run.epoch + 1)
    elif event.error is not None:
        fail(d, run, event.error)
    elif not event.value:
        attempt = Attempt(number=len(run.attempts), state=State.SKIPPED, started_at=d.at, ended_at=d.at)
        end_run(d, run, State.SKIPPED, attempts=(*run.attempts, attempt))
    elif not d.held or d.is_before_wait(run):
        enter(d, run)
    return ""


def _flowable(d: Draft, run: TaskRun, event: Answered) -> str:
    task = d.task(run)
    family = FAMILIES.get(type(task))
    pending = d.scope(run.id).extra.get("asked") if d.is_open(run) else True
    if family is None or run.state is not State.RUNNING or not pending:
        return "the task run does not wait for this answer"
    if event.error is None:
        family.answered(d, run, task, event.ask, event.value)
    elif not d.is_open(run):
        fail(d, run, event.error)
    elif isinstance(task, LoopUntil):
        loopuntil.failed(d, run, event.error)
    elif taken(d, run, event.ask):
        d.log_error(event.error, run)
        scope = d.scope(run.id)
        scope.worst, scope.halted = State.FAILED, True
        d.put(replace(run, error=event.error))
    return ""
