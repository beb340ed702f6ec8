"""Which attempts may be claimed at this moment: for the shell that repairs lost dispatches (``reliability.md`` R3)."""

from __future__ import annotations

from namespaces.flows.model import Flow, Runnable, WorkingDirectory
from runner.engine.draft import BEFORE_THE_GATE
from runner.engine.effects import Dispatch
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun

_WAITING = frozenset({State.CREATED, State.SUBMITTED, State.RESTARTED})


def ready(flow: Flow, execution: Execution) -> tuple[Dispatch, ...]:
    """The dispatches that were decided and whose attempts have not begun, among the task runs of this view.

    Also right for executions that are PAUSED (``onPause``, siblings of a waiting loop) or terminal with
    afterExecution tasks left. What a pause holds back is not ready: it is dispatched at the resume.
    """
    if execution.finished or execution.state in BEFORE_THE_GATE:
        return ()
    held = bool(execution.scope.extra.get("manual") or execution.scope.extra.get("holding"))
    runs = sorted(execution.runs.values(), key=lambda run: run.sequence)
    return tuple(Dispatch(task_run_id=run.id, epoch=run.epoch) for run in runs if _is_ready(flow, run, held))


def _is_ready(flow: Flow, run: TaskRun, held: bool) -> bool:
    if run.state not in _WAITING or not run.epoch:
        return False
    if not isinstance(flow.by_id.get(run.task_id), Runnable | WorkingDirectory):
        return False
    retries_later = held and bool(run.attempts) and run.attempts[-1].state is State.FAILED
    return not (retries_later and run.state is State.CREATED)
