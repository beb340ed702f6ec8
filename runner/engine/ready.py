"""What waits to be taken at this moment: for the shell that repairs lost dispatches (``reliability.md`` R3)."""

from __future__ import annotations

from namespaces.flows.model import Batches, Executable, Flow, Loop, Runnable, Subflow, WorkingDirectory
from runner.engine.draft import BEFORE_THE_GATE
from runner.engine.effects import Dispatch, RestartSubflow, StartBatches, StartIterations, StartSubflow
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun

_WAITING = frozenset({State.CREATED, State.SUBMITTED, State.RESTARTED})

StartChild = StartSubflow | RestartSubflow | StartBatches | StartIterations
Waiting = Dispatch | StartChild


def ready(flow: Flow, execution: Execution) -> tuple[Waiting, ...]:
    """What was decided and has not begun, among the task runs of this view: attempts, child executions.

    Also right for executions that are PAUSED (``onPause``, siblings of a waiting loop) or terminal with
    afterExecution tasks left. What a pause holds back is not ready: it is dispatched at the resume; and once the
    end is decided nothing starts any more.
    """
    if execution.finished or execution.state in BEFORE_THE_GATE or execution.ending is not None:
        return ()
    held = bool(execution.scope.extra.get("manual") or execution.scope.extra.get("holding"))
    runs = sorted(execution.runs.values(), key=lambda run: run.sequence)
    found = (_waiting(flow, run) for run in runs if run.state in _WAITING and run.epoch and not _held(run, held))
    return tuple(effect for effect in found if effect is not None)


def strangers(flow: Flow, execution: Execution) -> tuple[str, ...]:
    """Tasks of waiting task runs that the flow does not have, in an execution that could still run them."""
    if execution.finished or execution.state in BEFORE_THE_GATE:
        return ()
    waiting = (run.task_id for run in execution.runs.values() if run.state in _WAITING)
    return tuple(task_id for task_id in waiting if task_id not in flow.by_id)


def _held(run: TaskRun, held: bool) -> bool:
    """Whether the resume will begin this task run: one that runs again, or whose retry came due meanwhile."""
    failed = bool(run.attempts) and run.attempts[-1].state is State.FAILED
    return held and (run.state is State.RESTARTED or (run.state is State.CREATED and failed))


def _waiting(flow: Flow, run: TaskRun) -> Waiting | None:
    match flow.by_id.get(run.task_id):
        case Runnable() | WorkingDirectory():
            return Dispatch(task_run_id=run.id, epoch=run.epoch)
        case Subflow() | Batches() | Loop() as task:
            return of_child(task, run)
        case _:
            return None


def of_child(task: Executable, run: TaskRun) -> StartChild:
    """How the child executions of a task run begin, now that its turn has come."""
    known = run.outputs or {}
    if isinstance(task, Loop):
        restarted = run.state is State.RESTARTED and "iterationCount" in known
        return StartIterations(task_run_id=run.id, epoch=run.epoch, again=restarted)
    again = run.state is State.RESTARTED and task.restart_behavior == "RETRY_FAILED"
    if isinstance(task, Batches):
        return StartBatches(task_run_id=run.id, epoch=run.epoch, again=again and "numberOfBatches" in known)
    if again and known.get("executionId"):
        return RestartSubflow(task_run_id=run.id, execution_id=known["executionId"], epoch=run.epoch)
    return StartSubflow(task_run_id=run.id, epoch=run.epoch)
