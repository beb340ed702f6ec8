"""Attempts of task runs: started, finished, lost; blocks and child executions; and the retry that may follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from namespaces.flows.model import (
    Batches,
    Executable,
    Loop,
    RetryBehavior,
    Runnable,
    Subflow,
    TaskBase,
    WorkingDirectory,
)
from runner.engine import deferral, retries
from runner.engine.draft import Draft
from runner.engine.effects import Dispatch, KillChildren, Log, StartTimer
from runner.engine.endings import close_attempts, early_end, end_run, stop
from runner.engine.events import (
    AttemptFinished,
    AttemptStarted,
    BatchesChanged,
    IterationsChanged,
    SubflowChanged,
    SubflowStarted,
    TimerFired,
    TimerKind,
    Update,
    WorkerLost,
)
from runner.engine.outcomes import ATTEMPT_ENDS, of_attempt, of_batches, of_child_execution, of_iterations, with_flags
from runner.engine.progress import enter
from runner.engine.sla import merged
from runner.engine.states import State
from runner.engine.values import Attempt, TaskRun

NOT_BEGUN = frozenset({State.CREATED, State.SUBMITTED, State.RESTARTED})
_LIVE = NOT_BEGUN | {State.RUNNING, State.PAUSED}
_LEAVES = (Runnable, WorkingDirectory, Executable)


def refusal(d: Draft, run: TaskRun, epoch: int, states: frozenset[State] = _LIVE) -> str:
    """Why a report about an attempt does not count, or an empty text."""
    if run.state.terminal:
        return f"the task run is {run.state} already"
    if epoch != run.epoch:
        return f"epoch {epoch} is out of date, the task run is at {run.epoch}"
    if not isinstance(d.task(run), _LEAVES):
        return f"task {run.task_id} has no attempts"
    if run.state not in states or d.is_open(run):
        return f"the task run is {run.state}"
    return ""


def started(d: Draft, event: AttemptStarted) -> str:
    run = d.run(event.task_run_id)
    if reason := refusal(d, run, event.epoch, NOT_BEGUN):
        return reason
    _begin_attempt(d, run, d.at, event.info)
    return ""


def finished(d: Draft, event: AttemptFinished) -> str:
    run = d.run(event.task_run_id)
    if reason := refusal(d, run, event.epoch):
        return reason
    state = event.state if event.state in ATTEMPT_ENDS else State.FAILED
    state = early_end(d, run, state)
    run = record(d, run, state, event.started_at, event.info)
    exit_state = apply_update(d, event.update)
    if exit_state is not None and not d.ending and not d.state.terminal:
        end_run(d, run, exit_state, outputs=event.outputs, error=event.error)
        stop(d, exit_state, kill=exit_state is State.KILLED)
    else:
        conclude_try(d, run, state, event.outputs, event.error)
    return ""


def record(d: Draft, run: TaskRun, state: State, started_at: datetime | None, info: Mapping[str, Any]) -> TaskRun:
    """Note the end of an attempt; one that was never reported as started is noted with both its dates."""
    if not run.attempts or run.attempts[-1].state is not State.RUNNING:
        run = _begin_attempt(d, run, started_at or d.at, {})
    run = close_attempts(run, state, d)
    last = run.attempts[-1]
    if info:
        last = replace(last, info={**last.info, **info})
    return d.put(replace(run, attempts=(*run.attempts[:-1], last)))


def _begin_attempt(d: Draft, run: TaskRun, at: datetime, info: Mapping[str, Any]) -> TaskRun:
    attempt = Attempt(number=len(run.attempts), state=State.RUNNING, started_at=at, info=info)
    return d.turn(run, State.RUNNING, at, attempts=(*run.attempts, attempt), error=None)


def apply_update(d: Draft, update: Update | None) -> State | None:
    """Change labels and variables as an execution-updating task asks; returns the state Exit wants, if any."""
    if update is None:
        return None
    d.labels = merged(d.labels, update.labels)
    if update.variables is not None:
        d.variables = update.variables
    return update.exit_state


def conclude_try(
    d: Draft, run: TaskRun, state: State, outputs: Mapping[str, Any] | None, error: str | None, *, retry: bool = True
) -> None:
    """Retry a failed try, or give the task run its final state."""
    source = retries.applying(d.flow, run, d.ancestors(run))
    if (
        state is State.FAILED
        and retry
        and source is not None
        and not d.ending
        and not isinstance(d.task(run), Loop)  # it has one attempt, its children have their own
        and _again(d, run, source, outputs, error)
    ):
        return
    tried, _ = retries.tries(run)
    final = of_attempt(d.task(run), state, tried, source.retry if source else None)
    end_run(d, run, final, outputs=outputs if outputs is not None else run.outputs, error=error)


def _again(
    d: Draft, run: TaskRun, source: retries.Source, outputs: Mapping[str, Any] | None, error: str | None
) -> bool:
    if source.retry.behavior is RetryBehavior.CREATE_NEW_EXECUTION:
        return not d.state.terminal and _in_new_execution(d, run, source, error)
    tried, first = retries.tries(run)
    decision = retries.next_try(source.retry, tried, first or d.at, d.at)
    if decision is None:
        return False
    run = d.turn(run, State.RETRYING, epoch=run.epoch + 1, outputs=outputs, error=error)
    if source.owner is not None and deferral.must_wait(d, run, source.owner):
        deferral.defer(d, run, source.owner, decision)
        return True
    d.act(
        StartTimer(kind=TimerKind.RETRY, due=decision.due, spread=decision.spread, task_run_id=run.id, epoch=run.epoch)
    )
    return True


def _in_new_execution(d: Draft, run: TaskRun, source: retries.Source, error: str | None) -> bool:
    first = d.old.original_created_at or (d.history[0][1] if d.history else d.at)
    decision = retries.next_try(source.retry, d.attempt_number, first, d.at)
    if decision is None:
        return False
    note = {"due": decision.due.isoformat(), "spread_s": decision.spread.total_seconds()}
    d.scope(None).note("retry", note)
    end_run(d, run, State.RETRIED, error=error)
    stop(d, State.RETRIED, kill=False)
    return True


def retry_due(d: Draft, event: TimerFired) -> str:
    run = d.find(event.task_run_id)
    if run is None or run.state is not State.RETRYING or run.epoch != event.epoch:
        return "the task run does not wait for this retry"
    run = d.turn(run, State.CREATED)
    if d.ending:
        end_run(d, run, d.ending, epoch=run.epoch + 1)
    elif not d.held:
        enter(d, run)
    return ""


def lost(d: Draft, event: WorkerLost) -> str:
    """The worker is gone: assign again, or fail without another try (at most once)."""
    run = d.run(event.task_run_id)
    task = d.task(run)
    if reason := refusal(d, run, event.epoch):
        return reason
    if isinstance(task, Executable):
        return "a task that waits for executions has no worker"
    if d.ending:
        state = early_end(d, run, State.KILLED)
        end_run(d, close_attempts(run, State.KILLED, d), state, epoch=run.epoch + 1, error=event.reason)
    elif _policy(d, task, event) == "FAIL":
        run = record(d, run, State.FAILED, None, {})
        d.log_error(event.reason, run)
        end_run(d, run, with_flags(task, State.FAILED), epoch=run.epoch + 1, error=event.reason)
    else:
        d.act(Log(level="WARN", message=f"{event.reason}: the task is assigned again", task_run_id=run.id))
        run = d.turn(close_attempts(run, State.RESUBMITTED, d), State.CREATED, epoch=run.epoch + 1)
        # Even while the execution is paused: this task run had begun before.
        d.act(Dispatch(task_run_id=run.id, epoch=run.epoch))
    return ""


def _policy(d: Draft, task: TaskBase, event: WorkerLost) -> str:
    return task.on_worker_lost or d.flow.on_worker_lost or event.policy or "RESUBMIT"


def subflow_started(d: Draft, event: SubflowStarted) -> str:
    run = d.run(event.task_run_id)
    task = d.task(run)
    if not isinstance(task, Subflow):
        return f"task {run.task_id} starts no execution"
    if run.state is State.KILLED:
        # The child came into being while its parent was killed: it goes as well.
        d.act(KillChildren(task_run_id=run.id))
        return ""
    replaced = run.state is State.RUNNING and _child_of(run) != event.execution_id
    if reason := refusal(d, run, event.epoch, _LIVE if replaced else NOT_BEGUN):
        return reason
    if not replaced:
        run = _begin_attempt(d, run, d.at, {"executionId": event.execution_id})
    run = d.put(replace(run, outputs={"executionId": event.execution_id}))
    if not task.wait:
        run = record(d, run, State.SUCCESS, None, {})
        conclude_try(d, run, State.SUCCESS, run.outputs, None)
    return ""


def subflow_changed(d: Draft, event: SubflowChanged) -> str:
    run = d.run(event.task_run_id)
    task = d.task(run)
    if not isinstance(task, Subflow):
        return f"task {run.task_id} starts no execution"
    if reason := refusal(d, run, run.epoch):
        return reason
    if run.state in NOT_BEGUN:
        # Its start was reported later than its end; the child of an earlier try is not meant, unless it goes on.
        known = any(attempt.info.get("executionId") == event.execution_id for attempt in run.attempts)
        restarted = run.state is State.RESTARTED and _child_of(run) == event.execution_id
        if known and not (restarted and not event.state.terminal):
            return "the child belongs to an earlier try"
        run = _begin_attempt(d, run, d.at, {"executionId": event.execution_id})
        run = d.put(replace(run, outputs={"executionId": event.execution_id}))
    elif _child_of(run) != event.execution_id:
        return "the child belongs to an earlier try"
    if not event.state.terminal:
        _show_child(d, run, task, event.state)
        return ""
    if event.state is State.RETRIED:
        return ""  # the execution that replaces the child is announced by SubflowStarted
    outputs: dict[str, Any] = {"executionId": event.execution_id, "state": event.state.value}
    if event.outputs is not None:
        outputs["outputs"] = event.outputs
    state = State.FAILED if event.error is not None else of_child_execution(task, event.state)
    if event.error is not None:
        d.log_error(event.error, run)
    run = record(d, run, state, None, {})
    conclude_try(d, run, state, outputs, event.error)
    return ""


def _child_of(run: TaskRun) -> Any:
    return (run.outputs or {}).get("executionId")


def _show_child(d: Draft, run: TaskRun, task: Subflow | Batches, state: State) -> None:
    shown = State.PAUSED if state is State.PAUSED and task.transmit_failed else State.RUNNING
    if shown is not run.state:
        d.turn(run, shown)


def batches_changed(d: Draft, event: BatchesChanged) -> str:
    run = d.run(event.task_run_id)
    task = d.task(run)
    if not isinstance(task, Batches):
        return f"task {run.task_id} starts no executions"
    if run.state is State.KILLED:
        d.act(KillChildren(task_run_id=run.id))
        return ""
    if reason := refusal(d, run, event.epoch):
        return reason
    if run.state in NOT_BEGUN:
        run = _begin_attempt(d, run, d.at, {})
    open_ = 0 if event.done else max(0, event.total - sum(event.ended.values()))
    iterations = {"CREATED": 0, "RUNNING": open_, **{state.value: n for state, n in event.ended.items() if n}}
    outputs = {"iterations": iterations, "numberOfBatches": event.total}
    run = d.put(replace(run, outputs=outputs))
    if event.done:
        state = early_end(d, run, of_batches(task, event.ended))
        run = record(d, run, state, None, {})
        conclude_try(d, run, state, outputs, None)
    else:
        _show_child(d, run, task, State.PAUSED if event.paused else State.RUNNING)
    return ""


def iterations_changed(d: Draft, event: IterationsChanged) -> str:
    run = d.run(event.task_run_id)
    task = d.task(run)
    if not isinstance(task, Loop):
        return f"task {run.task_id} has no iterations"
    if reason := refusal(d, run, event.epoch):
        return reason
    if run.state in NOT_BEGUN:
        run = _begin_attempt(d, run, d.at, {})
    outputs = {
        "iterationCount": event.total,
        "runningIterations": event.running,
        "terminatedIterations": {state.value: n for state, n in event.ended.items() if n},
        **(event.outputs or {}),
    }
    run = d.put(replace(run, outputs=outputs))
    if event.done:
        state = of_iterations(task, event.ended)
        if d.ending is State.KILLED and event.ended.get(State.KILLED):
            state = State.KILLED
        state = early_end(d, run, state)
        run = record(d, run, state, None, {})
        conclude_try(d, run, state, outputs, None)
    elif run.state is not (shown := State.PAUSED if event.paused else State.RUNNING):
        d.turn(run, shown)
    return ""
