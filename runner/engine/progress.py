"""What follows from a change: task runs begin, lists go on, flowables and the execution end (``flows.md`` 1.7, 3.4).

Work is done in the order in which it came up, one level at a time, without recursion.
"""

from __future__ import annotations

from dataclasses import replace

from namespaces.flows.model import Executable, Runnable, WorkingDirectory
from runner.engine.deferral import handler_ended
from runner.engine.draft import BEFORE_THE_GATE, Draft
from runner.engine.effects import CreateRetry, Dispatch, Question, Release
from runner.engine.endings import end_run
from runner.engine.flowable.families import FAMILIES
from runner.engine.flowable.family import next_of_list
from runner.engine.lists import SIDE_LISTS
from runner.engine.moments import moment, span
from runner.engine.outcomes import STOPPING, of_flowable
from runner.engine.ready import of_child
from runner.engine.states import State, worst
from runner.engine.values import TaskRun


def settle(d: Draft) -> None:
    """Work until nothing follows any more."""
    while d.todo:
        step, run_id = d.todo.popleft()
        match step:
            case "begin":
                _begin(d, run_id)
            case "ended":
                _ended(d, run_id)
            case "top_up":
                _top_up(d, run_id)
            case _:
                _check(d, run_id)


def _begin(d: Draft, run_id: str | None) -> None:
    run = d.find(run_id)
    if run is None or run.state not in (State.CREATED, State.RESTARTED):
        return
    if d.ending:
        end_run(d, run, d.ending, epoch=run.epoch + 1)
    elif d.held and not d.is_before_wait(run):
        return  # begins at the resume
    elif d.task(run).run_if is not None:
        d.ask(Question.RUN_IF, run)
    else:
        enter(d, run)


def enter(d: Draft, run: TaskRun) -> None:
    """Really begin a task run whose ``runIf`` holds. Doing so twice gives the same dispatch."""
    task = d.task(run)
    if isinstance(task, Runnable | WorkingDirectory):
        run = d.put(replace(run, epoch=max(run.epoch, 1)))
        d.act(Dispatch(task_run_id=run.id, epoch=run.epoch))
    elif isinstance(task, Executable):
        run = d.put(replace(run, epoch=max(run.epoch, 1)))
        d.act(of_child(task, run))
    else:
        run = d.turn(run, State.RUNNING, error=None)
        FAMILIES[type(task)].open(d, run, task)


def _ended(d: Draft, run_id: str | None) -> None:
    run = d.find(run_id)
    if run is None:
        return
    owner_id = run.parent_id
    scope = d.scope(owner_id)
    branch = d.place(run).branch
    scope.active -= 1
    if branch not in SIDE_LISTS:
        scope.worst = worst(scope.worst, run.state)
    if branch == scope.branch:
        if run.state in STOPPING:
            scope.halted = True
        if d.ending is None:
            if owner_id is None or branch in SIDE_LISTS:
                next_of_list(d, owner_id)
            else:
                _main_child_ended(d, d.run(owner_id), run)
    elif branch == "onPause" and owner_id is not None and d.run(owner_id).state is State.RUNNING:
        next_of_list(d, owner_id)
    elif branch == "errors" and owner_id is not None and d.ending is None:
        handler_ended(d, d.run(owner_id), run)
    _check(d, owner_id)


def _main_child_ended(d: Draft, owner: TaskRun, child: TaskRun) -> None:
    task = d.task(owner)
    family = FAMILIES.get(type(task))
    if family is None:
        return
    if family.child_ended is not None:
        family.child_ended(d, owner, task, child)
    else:
        family.top_up(d, owner, task)


def _top_up(d: Draft, owner_id: str | None) -> None:
    """Start what a flowable may start, after a restart."""
    if d.ending is None:
        if owner_id is None or d.scope(owner_id).branch in SIDE_LISTS:
            next_of_list(d, owner_id)
        else:
            owner = d.run(owner_id)
            task = d.task(owner)
            if (family := FAMILIES.get(type(task))) is not None:
                family.top_up(d, owner, task)
    _check(d, owner_id)


def _check(d: Draft, owner_id: str | None) -> None:
    """Go on to the next list, or end, when no child is active any more."""
    if owner_id is not None and ((owner := d.find(owner_id)) is None or not d.is_open(owner)):
        return
    if d.scope(owner_id).active:
        return
    if owner_id is None:
        _check_execution(d)
        return
    run = d.run(owner_id)
    if run.state.terminal:
        return
    if d.ending:
        end_run(d, run, d.ending)
    elif run.state is State.RUNNING and _list_is_over(d, run):
        _leave_list(d, owner_id)


def _check_execution(d: Draft) -> None:
    if d.state.terminal:
        if d.finished or d.scope(None).extra.get("listening"):
            return
        if d.scope(None).branch == "listeners":
            after_execution(d)
        else:
            _finished(d)
    elif d.state in BEFORE_THE_GATE:
        if d.ending:
            conclude(d, d.ending)
    elif d.ending:
        conclude(d, d.ending)
    else:
        _leave_list(d, None)


def _list_is_over(d: Draft, run: TaskRun) -> bool:
    task = d.task(run)
    family = FAMILIES.get(type(task))
    if family is None or d.scope(run.id).branch in SIDE_LISTS:
        return True
    return not family.list_over(d, run, task)


def _leave_list(d: Draft, owner_id: str | None) -> None:
    """The list at work is over: errors after a failure, finally in any case, else the end."""
    scope = d.scope(owner_id)
    task_id = None if owner_id is None else d.run(owner_id).task_id
    following = []
    if scope.branch not in SIDE_LISTS and scope.worst is State.FAILED and not scope.extra.get("handled"):
        following.append("errors")
    if scope.branch != "finally" and scope.worst is not State.KILLED:
        following.append("finally")
    for branch in following:
        if d.flow.enabled(task_id, branch):
            scope.branch, scope.next, scope.halted = branch, 0, False
            next_of_list(d, owner_id)
            return
    if owner_id is None:
        conclude(d, scope.worst or State.SUCCESS)
    else:
        run = d.run(owner_id)
        task = d.task(run)
        family = FAMILIES.get(type(task))
        if family is None:
            end_run(d, run, of_flowable(task, scope.worst))
        else:
            family.end(d, run, task, scope.worst)


def conclude(d: Draft, state: State) -> None:
    """Nothing of the execution runs any more: its outputs, then its terminal state."""
    scope = d.scope(None)
    if scope.extra.get("manual"):
        return  # ends at the resume
    if scope.extra.get("outputs"):
        return  # already asked
    scope.note("ending", state.value)
    if d.flow.outputs and state is not State.RETRIED:
        scope.note("outputs", "asked")
        d.ask(Question.OUTPUTS)
    else:
        finish(d, state)


def finish(d: Draft, state: State) -> None:
    """The terminal state, then listeners and afterExecution."""
    scope = d.scope(None)
    retry = scope.extra.get("retry")
    for key in ("ending", "stop", "outputs", "manual", "holding", "blamed", "retry"):
        scope.note(key, None)
    d.turn_execution(state)
    if state is State.RETRIED and retry:
        d.act(CreateRetry(due=moment(retry["due"]), spread=span(retry["spread_s"])))
    scope.next, scope.halted, scope.active = 0, False, 0
    if d.flow.enabled(None, "listeners"):
        scope.note("listening", True)
        d.ask(Question.LISTENERS)
    else:
        after_execution(d)


def listen(d: Draft, holding: list[int]) -> None:
    """Run the tasks of the listeners whose conditions hold, then afterExecution."""
    scope = d.scope(None)
    scope.note("listening", None)
    scope.note("listeners", holding)
    scope.branch = "listeners"
    next_of_list(d, None)
    if not scope.active:
        after_execution(d)


def after_execution(d: Draft) -> None:
    scope = d.scope(None)
    scope.branch, scope.next, scope.halted = "afterExecution", 0, False
    next_of_list(d, None)
    if not scope.active:
        _finished(d)


def _finished(d: Draft) -> None:
    d.finished = True
    d.act(Release())
