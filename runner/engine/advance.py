"""The engine's one door: ``advance`` applies an event to an execution. No I/O, no clock, no randomness.

Which module decides what: ``progress.py`` what follows, ``flowable/`` which child starts, ``attempts.py`` results
and retries, ``lifecycle.py`` people and the gate, ``endings.py`` stops, ``restart.py`` running again.
"""

from __future__ import annotations

from collections.abc import Iterable

from namespaces.flows.model import Flow
from runner.engine import answers, attempts, block, endings, lifecycle, restart, sla
from runner.engine.draft import Draft
from runner.engine.effects import StartTimer
from runner.engine.events import (
    Answered,
    AnyEvent,
    AttemptFinished,
    AttemptStarted,
    BatchesChanged,
    BlockFinished,
    Broken,
    ForceRun,
    IterationsChanged,
    Kill,
    Needs,
    Pause,
    Queued,
    Refused,
    Restart,
    Resume,
    Reviewed,
    Started,
    SubflowChanged,
    SubflowStarted,
    TaskRunMarked,
    TimerFired,
    TimerKind,
    WorkerLost,
    needs,
)
from runner.engine.progress import settle
from runner.engine.step import Step
from runner.engine.values import Execution, TaskRun


def advance(flow: Flow, execution: Execution, event: AnyEvent) -> Step:
    """Apply one event to an execution of ``flow`` (its revision).

    ``execution.runs`` must hold at least what ``needs(event, flow)`` names. Total: an event that does not fit gives
    the same execution and a note in ``ignored``; applying an event twice is harmless.
    """
    if (run_id := _named_run(event)) is not None and run_id not in execution.runs:
        return Step(execution=execution, ignored="unknown task run")
    draft = Draft(flow, execution, event.at)
    if not isinstance(event, Broken) and (stranger := _stranger(draft, event, run_id)) is not None:
        event = Broken(
            at=event.at,
            reason=f"Task {stranger.task_id} is not in revision {flow.revision} of flow {flow.namespace}.{flow.id}",
        )
    ignored = _handle(draft, event)
    if ignored:
        return Step(execution=execution, ignored=ignored)
    settle(draft)
    if draft.stops and draft.ending and not isinstance(event, Kill | TimerFired):
        again = StartTimer(kind=TimerKind.STOP, due=event.at, epoch=draft.attempt_number)
        draft.act(again)
    if flow.sla and not isinstance(event, Answered):
        sla.ask_assertions(draft)
    return draft.step()


def _handle(d: Draft, event: AnyEvent) -> str:
    match event:
        case Started():
            return lifecycle.started(d, event)
        case Queued():
            return lifecycle.queued(d, event)
        case Refused():
            return lifecycle.refused(d, event)
        case Answered():
            return answers.answered(d, event)
        case AttemptStarted():
            return attempts.started(d, event)
        case AttemptFinished() if block.is_block(d, event.task_run_id):
            return block.finished(d, block.without_children(event))
        case AttemptFinished():
            return attempts.finished(d, event)
        case BlockFinished():
            return block.finished(d, event)
        case WorkerLost():
            return attempts.lost(d, event)
        case TimerFired():
            return _timer(d, event)
        case SubflowStarted():
            return attempts.subflow_started(d, event)
        case SubflowChanged():
            return attempts.subflow_changed(d, event)
        case BatchesChanged():
            return attempts.batches_changed(d, event)
        case IterationsChanged():
            return attempts.iterations_changed(d, event)
        case Kill():
            return lifecycle.kill(d, event)
        case Pause():
            return lifecycle.pause_by_hand(d, event)
        case Resume():
            return lifecycle.resume(d, event)
        case Reviewed():
            return lifecycle.reviewed(d, event)
        case Restart():
            return restart.restarted(d, event)
        case TaskRunMarked():
            return restart.marked(d, event)
        case ForceRun():
            return lifecycle.force(d, event)
        case Broken():
            return lifecycle.broken(d, event)


def _timer(d: Draft, event: TimerFired) -> str:
    match event.kind:
        case TimerKind.RETRY:
            return attempts.retry_due(d, event)
        case TimerKind.PAUSE | TimerKind.TIMEOUT | TimerKind.LOOP:
            return lifecycle.timer_fired(d, event)
        case TimerKind.SLA:
            return sla.deadline(d, event)
        case TimerKind.STOP:
            return endings.stop_again(d)
        case _:
            return f"timers of kind {event.kind} belong to the shell"


def _named_run(event: AnyEvent) -> str | None:
    match event:
        case Answered():
            return event.ask.task_run_id
        case (
            AttemptStarted()
            | AttemptFinished()
            | BlockFinished()
            | WorkerLost()
            | SubflowStarted()
            | SubflowChanged()
            | BatchesChanged()
            | IterationsChanged()
            | TaskRunMarked()
            | TimerFired()
            | Resume()
            | Reviewed()
        ):
            return event.task_run_id
        case _:
            return None


def _stranger(d: Draft, event: AnyEvent, run_id: str | None) -> TaskRun | None:
    """A task run that matters here and whose task the flow does not know: nothing sensible can follow from it."""
    concerned: Iterable[TaskRun] = ()
    if needs(event) in (Needs.LIVE, Needs.ALL):
        concerned = d.live()
    elif run_id is not None:
        run = d.run(run_id)
        concerned = (run, *d.ancestors(run))
    return next((run for run in concerned if run.task_id not in d.flow.places), None)
