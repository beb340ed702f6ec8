"""WorkingDirectory: one attempt runs all children; the engine learns about them when it ends (``flows.md`` 4.12)."""

from __future__ import annotations

from dataclasses import replace

from namespaces.flows.model import WorkingDirectory
from runner.engine import attempts
from runner.engine.draft import Draft, Progress
from runner.engine.endings import early_end
from runner.engine.events import AttemptFinished, BlockFinished, ChildResult
from runner.engine.naming import task_run_id
from runner.engine.outcomes import ATTEMPT_ENDS
from runner.engine.states import State, worst
from runner.engine.values import Attempt, History, TaskRun


def is_block(d: Draft, task_run_id: str) -> bool:
    run = d.find(task_run_id)
    return run is not None and isinstance(d.task_or_none(run), WorkingDirectory)


def without_children(event: AttemptFinished) -> BlockFinished:
    """A block whose attempt failed before its first child (or was told of in the plain way)."""
    return BlockFinished(
        at=event.at,
        task_run_id=event.task_run_id,
        epoch=event.epoch,
        state=event.state,
        started_at=event.started_at,
        outputs=event.outputs,
        error=event.error,
        info=event.info,
    )


def finished(d: Draft, event: BlockFinished) -> str:
    """Record the children's task runs and go on with the block's own ``errors`` and ``finally``."""
    if not is_block(d, event.task_run_id):
        return "the task run is not a WorkingDirectory"
    run = d.run(event.task_run_id)
    if reason := attempts.refusal(d, run, event.epoch):
        return reason
    own = early_end(d, run, event.state if event.state in ATTEMPT_ENDS else State.FAILED)
    children = [child for child in event.children if _is_child(d, run, child)]
    end = worst(None, own)
    for child in children:
        end = worst(end, child.state)
    run = attempts.record(d, run, end, event.started_at, event.info)
    d.put(replace(run, outputs=event.outputs, error=event.error))
    for child in children:
        _record(d, run, child)
    scope = d.reset_scope(run.id, Progress(next=len(children), worst=end, halted=end is State.FAILED))
    scope.note("main", "tasks")
    d.todo.append(("check", run.id))
    return ""


def _is_child(d: Draft, run: TaskRun, child: ChildResult) -> bool:
    place = d.flow.places.get(child.task_id)
    return place is not None and place.parent == run.task_id and place.branch == "tasks"


def _record(d: Draft, run: TaskRun, child: ChildResult) -> None:
    state = child.state if child.state.terminal else State.FAILED
    history: History = ((State.CREATED, child.started_at),)
    if child.attempts:
        history = (*history, (State.RUNNING, child.attempts[0][1]))
    tries = tuple(
        Attempt(number=number, state=ended_as, started_at=begun, ended_at=ended, info=child.info)
        for number, (ended_as, begun, ended) in enumerate(child.attempts)
    )
    if state is State.SKIPPED and not tries:
        tries = (Attempt(number=0, state=state, started_at=child.started_at, ended_at=child.ended_at),)
    d.put(
        TaskRun(
            id=task_run_id(d.old.id, child.task_id, run.id, run.epoch),
            task_id=child.task_id,
            parent_id=run.id,
            state=state,
            history=(*history, (state, child.ended_at)),
            attempts=tries,
            outputs=child.outputs,
            error=child.error,
            sequence=d.created,
        )
    )
    d.created += 1
