"""How a single task run ends, and how a whole execution is stopped early. What follows an end is in ``progress.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from namespaces.flows.model import Batches, Loop, Runnable, Subflow, WorkingDirectory
from runner.engine.draft import Draft
from runner.engine.effects import KillAttempt, StopIterations
from runner.engine.outcomes import with_flags
from runner.engine.states import State
from runner.engine.values import TaskRun


def end_run(d: Draft, run: TaskRun, state: State, **changes: Any) -> None:
    """Give a task run its terminal state; its owner looks at it when its turn comes."""
    if run.state.terminal:
        return
    d.turn(run, state, **changes)
    d.todo.append(("ended", run.id))


def fail(d: Draft, run: TaskRun, error: str) -> None:
    """End a task run that the engine itself found to be impossible; flags count, retries do not."""
    d.log_error(error, run)
    end_run(d, run, with_flags(d.task(run), State.FAILED), error=error)


def stop(d: Draft, ending: State, *, kill: bool, cascade: bool = False, blame_last: bool = False) -> None:
    """Start nothing more and let the execution end as ``ending`` once its live task runs are gone.

    What has not begun ends at once. With ``kill`` running attempts are interrupted, else they may finish; either
    way they keep their epoch and report their own end. ``cascade`` says that child executions are killed as well;
    otherwise a killed Subflow task does not wait for its child. ``blame_last`` gives the last task run the
    execution's own state instead of KILLED.
    """
    scope = d.scope(None)
    scope.note("ending", ending.value)
    scope.note("stop", {"kill": kill, "cascade": cascade})
    scope.note("manual", None)
    d.stops = True
    live = d.live()
    if blame_last and live:
        scope.note("blamed", live[-1].id)
    for run in live:
        task = d.task(run)
        if d.is_open(run):
            d.todo.append(("check", run.id))
        elif run.state is State.RUNNING and isinstance(task, Runnable | WorkingDirectory):
            if kill:
                d.act(KillAttempt(task_run_id=run.id, epoch=run.epoch))
        elif run.state in (State.RUNNING, State.PAUSED) and isinstance(task, Subflow | Batches):
            if kill and not cascade:
                end_run(d, run, early_end(d, run, State.KILLED))
        elif run.state in (State.RUNNING, State.PAUSED) and isinstance(task, Loop):
            # Iterations are part of the execution: they end with it, and it waits for them.
            d.act(StopIterations(task_run_id=run.id, kill=kill, cascade=cascade))
        else:
            # The epoch rises so that a dispatch under way is refused: nothing new may start.
            state = early_end(d, run, State.KILLED) if kill else ending
            end_run(d, run, state, epoch=run.epoch + 1)
    d.todo.append(("check", None))


def stop_again(d: Draft) -> str:
    """Stop what a narrow view did not show when the end was decided."""
    how = d.scope(None).extra.get("stop")
    if d.ending is None or how is None:
        return "nothing is to be stopped"
    stop(d, d.ending, kill=how["kill"], cascade=how["cascade"])
    return ""


def early_end(d: Draft, run: TaskRun, state: State) -> State:
    """The state of a task run that ends while the execution is being stopped: the blamed one takes the blame."""
    if state is State.KILLED and d.ending and d.scope(None).extra.get("blamed") == run.id:
        return d.ending
    return state


def close_attempts(run: TaskRun, state: State, d: Draft) -> TaskRun:
    """The task run with a running attempt marked as ended in ``state``."""
    if not run.attempts or run.attempts[-1].state is not State.RUNNING:
        return run
    last = replace(run.attempts[-1], state=state, ended_at=d.at)
    return replace(run, attempts=(*run.attempts[:-1], last))
