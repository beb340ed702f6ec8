"""What people, the API and the gate do to a whole execution: start, queue, refuse, kill, pause, resume, force."""

from __future__ import annotations

from namespaces.flows.model import Approval, Loop, Runnable, WorkingDirectory
from namespaces.flows.model import Pause as PauseTask
from runner.engine import sla
from runner.engine.draft import BEFORE_THE_GATE, Draft
from runner.engine.effects import KillAttempt, KillChildren, Log, Release, StopIterations
from runner.engine.endings import close_attempts, stop
from runner.engine.events import Broken, ForceRun, Kill, Pause, Queued, Refused, Resume, Reviewed, Started, TimerFired
from runner.engine.flowable import approval, loopuntil, pause
from runner.engine.flowable.families import FAMILIES
from runner.engine.flowable.family import next_of_list
from runner.engine.progress import enter
from runner.engine.ready import of_child
from runner.engine.states import State
from runner.engine.values import TaskRun


def started(d: Draft, _event: Started | ForceRun) -> str:
    if d.state not in BEFORE_THE_GATE:
        return f"the execution is {d.state} already"
    d.turn_execution(State.RUNNING)
    sla.start_timers(d)
    if d.created == 0:
        next_of_list(d, None)
    else:
        d.show()
        _wake(d)
        for run in d.live():
            family = FAMILIES.get(type(d.task(run)))
            if run.state is State.RUNNING and d.is_open(run):
                d.todo.append(("top_up", run.id))
            elif run.state is State.RUNNING and family is not None:
                family.open(d, run, d.task(run))  # where a replay begins
        d.todo.append(("top_up", None))
    d.todo.append(("check", None))
    return ""


def queued(d: Draft, _event: Queued) -> str:
    if d.state not in (State.CREATED, State.RESTARTED):
        return f"the execution is {d.state} already"
    d.turn_execution(State.QUEUED)
    d.act(Log(level="INFO", message="Execution is queued due to concurrency limit exceeded"))
    return ""


def refused(d: Draft, event: Refused) -> str:
    if d.state not in BEFORE_THE_GATE:
        return f"the execution is {d.state} already"
    state = event.state if event.state.terminal else State.FAILED
    d.act(Log(level="ERROR", message=event.reason))
    d.error = event.reason
    for run in d.live():  # of a restart: they will not run again after all
        d.turn(run, state, epoch=run.epoch + 1)
    d.scope(None).active = 0
    _end_at_once(d, state)
    return ""


def kill(d: Draft, event: Kill) -> str:
    if d.state.terminal:
        if event.cascade:
            d.act(KillChildren())
            return ""
        return f"the execution is {d.state} already"
    if d.state is State.KILLING:
        return "the execution is being killed already"
    if d.created == 0 and d.state in BEFORE_THE_GATE:
        _end_at_once(d, State.KILLED)
        return ""
    d.turn_execution(State.KILLING)
    if event.cascade:
        d.act(KillChildren())
    stop(d, State.KILLED, kill=True, cascade=event.cascade)
    return ""


def pause_by_hand(d: Draft, _event: Pause) -> str:
    if d.state is not State.RUNNING or d.ending:
        return f"the execution is {d.state}, only a RUNNING one can be paused"
    d.scope(None).note("manual", True)
    d.show()
    return ""


def resume(d: Draft, event: Resume) -> str:
    if d.ending:
        return "the execution is about to end"
    scope = d.scope(None)
    if event.task_run_id is None and scope.extra.get("manual"):
        scope.note("manual", None)
        d.show()
    else:
        run = _to_resume(d, event.task_run_id)
        if run is None:
            return "nothing is paused"
        pause.resume(d, run, event.outputs)
    after_hold(d)
    return ""


def _to_resume(d: Draft, task_run_id: str | None) -> TaskRun | None:
    paused = (run for run in d.live() if run.state is State.PAUSED and isinstance(d.task(run), PauseTask))
    return next((run for run in paused if task_run_id in (None, run.id)), None)


def reviewed(d: Draft, event: Reviewed) -> str:
    run = d.run(event.task_run_id)
    if d.ending:
        return "the execution is about to end"
    if not isinstance(d.task(run), Approval):
        return f"task {run.task_id} asks for no decision"
    if reason := approval.refusal(run, event.outputs, event.at):
        return reason
    approval.decide(d, run, event.outputs)
    after_hold(d)
    return ""


def timer_fired(d: Draft, event: TimerFired) -> str:
    """The end of a Pause, of an Approval or of a LoopUntil's wait."""
    run = d.find(event.task_run_id)
    if run is None or run.state is not State.PAUSED or run.epoch != event.epoch or not d.is_open(run):
        return "the task run does not wait for this timer"
    if isinstance(d.task(run), PauseTask):
        pause.timed_out(d, run, event.kind)
        after_hold(d)
    elif isinstance(d.task(run), Approval):
        approval.expired(d, run)
        after_hold(d)
    else:
        loopuntil.due(d, run)
    return ""


def after_hold(d: Draft) -> None:
    """Let what was held back begin, unless something else still holds it."""
    if not d.held:
        _wake(d)
        d.todo.append(("check", None))


def _wake(d: Draft) -> None:
    for run in d.live():
        if run.state is State.RESTARTED or (run.state is State.CREATED and not run.epoch):
            d.todo.append(("begin", run.id))
        elif run.state is State.CREATED and run.attempts:
            enter(d, run)  # its retry came due while nothing could start
        elif isinstance(task := d.task_or_none(run), Loop) and run.state in (State.RUNNING, State.PAUSED):
            d.act(of_child(task, run))  # iterations that could not start meanwhile
        elif run.state is State.RUNNING and isinstance(d.task(run), Approval) and d.is_open(run):
            d.todo.append(("check", run.id))  # decided while another one waited


def force(d: Draft, event: ForceRun) -> str:
    """Run whatever can be run: past the gate, out of a pause, or dispatch once more what seems to be stuck."""
    if d.state in BEFORE_THE_GATE:
        return started(d, event)
    if d.ending or d.state.terminal:
        return f"the execution is {d.ending or d.state}"
    if d.held:
        return resume(d, Resume(at=event.at))
    _wake(d)
    for run in d.live():
        if run.state in (State.CREATED, State.SUBMITTED) and run.epoch and not run.attempts:
            enter(d, run)
    return ""


def broken(d: Draft, event: Broken) -> str:
    """Give up at once: the last live task run fails, the rest is killed, nothing else is started."""
    if d.finished:
        return f"the execution is {d.state} already"
    d.error = event.reason
    d.log_error(event.reason)
    live = d.live()
    for run in live:
        if run.state is State.RUNNING and isinstance(d.task_or_none(run), Runnable | WorkingDirectory | None):
            d.act(KillAttempt(task_run_id=run.id, epoch=run.epoch))
        elif isinstance(d.task_or_none(run), Loop):
            d.act(StopIterations(task_run_id=run.id, kill=True))
        state = State.FAILED if run is live[-1] else State.KILLED
        run = close_attempts(run, state, d)
        d.turn(run, state, epoch=run.epoch + 1, error=event.reason if state is State.FAILED else run.error)
    d.scope(None).active = 0
    _end_at_once(d, d.state if d.state.terminal else State.FAILED)
    return ""


def _end_at_once(d: Draft, state: State) -> None:
    scope = d.scope(None)
    for key in ("ending", "stop", "outputs", "manual", "holding", "blamed", "retry"):
        scope.note(key, None)
    d.turn_execution(state)
    d.finished = True
    d.act(Release())
