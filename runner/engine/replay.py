"""A new execution from an old one: from the start, or from one of its task runs (``flows.md`` 3.7). Full views only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from namespaces.errors import Conflict, NotFound
from namespaces.flows.model import (
    Dag,
    EachParallel,
    Executable,
    Flow,
    ForEach,
    Parallel,
    Runnable,
    WorkingDirectory,
)
from namespaces.ids import derived_id
from runner.engine.draft import Draft
from runner.engine.effects import Act, DropRuns, KillAttempt, StopIterations, StoreValues
from runner.engine.events import Restart
from runner.engine.lists import LATE_LISTS, late_order
from runner.engine.outcomes import STOPPING
from runner.engine.progress import settle
from runner.engine.reopen import below, by_parent, clear_execution, decides_nothing, rebuild, remove, renew, reopen
from runner.engine.restart import restarted
from runner.engine.sla import merged
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun

LEAVES = (Runnable, Executable, WorkingDirectory)

Replayed = tuple[Execution, tuple[TaskRun, ...], tuple[Act, ...]]
"""The new execution (a full view), its task runs in order of creation, and what is to be carried out with it."""


def replay(flow: Flow, old: Execution, new_id: str, task_run_id: str | None, at: datetime) -> Replayed:
    """Replay an execution; ``flow`` may be another revision than the old one's.

    Without ``task_run_id`` it is like a fresh run. Else task runs before the target are copied with their outputs,
    the target runs again and what came after it is left out. Inputs, trigger and ``parentId`` are the shell's.

    Raises NotFound when the old execution has no such task run, Conflict when the revision lacks a kept task.
    """
    if task_run_id is None:
        labels = merged(old.labels, (("system.replay", "true"),))
        fresh = Execution(
            id=new_id,
            namespace=old.namespace,
            flow_id=old.flow_id,
            revision=flow.revision,
            history=((State.CREATED, at),),
            labels=labels,
        )
        return fresh, (), ()
    if task_run_id not in old.runs:
        raise NotFound(f"execution {old.id} has no task run {task_run_id}", code="task_run_not_found")
    names = _names(old, new_id)
    d = Draft(flow, _copy(flow, old, new_id, names), at)
    target = d.run(names[task_run_id])
    chain = [target, *d.ancestors(target)]
    _check_tasks(flow, chain)
    if decides_nothing(d, chain):
        raise Conflict(
            f"task {target.task_id} does not decide how the execution goes on",
            code="replay_impossible",
            hint="replay from a task of `tasks`, `errors` or `finally`",
        )
    _cut(d, target)
    return _result(d, names)


def restart_as(flow: Flow, old: Execution, new_id: str, at: datetime) -> Replayed | None:
    """Restart an ended or PAUSED execution as a new one under another revision (``flow``); None: nothing to restart.

    What still runs in a PAUSED one runs again in the new one; the old one is left as it is.
    Raises Conflict when the revision lacks the task of a task run.
    """
    names = _names(old, new_id)
    copy = _copy(flow, old, new_id, names)
    _check_tasks(flow, tuple(copy.runs.values()))
    d = Draft(flow, copy, at)
    for run in d.live():
        if isinstance(d.task(run), LEAVES) or not d.is_open(run):
            d.turn(run, State.KILLED)
    if restarted(d, Restart(at=at)):
        return None
    settle(d)
    for run in d.live():
        if isinstance(d.task(run), Executable):
            d.put(replace(run, outputs=None))  # the child of the old execution stays with it
    return _result(d, names)


def _names(old: Execution, new_id: str) -> Mapping[str, str]:
    return {run_id: derived_id(new_id, run_id) for run_id in old.runs}


def _copy(flow: Flow, old: Execution, new_id: str, names: Mapping[str, str]) -> Execution:
    runs = {
        names[run.id]: replace(run, id=names[run.id], parent_id=names[run.parent_id] if run.parent_id else None)
        for run in old.runs.values()
    }
    return replace(old, id=new_id, revision=flow.revision, runs=runs)


def _check_tasks(flow: Flow, runs: list[TaskRun] | tuple[TaskRun, ...]) -> None:
    for run in runs:
        if run.task_id not in flow.places:
            raise Conflict(
                f"task {run.task_id} is not in revision {flow.revision} of {flow.namespace}.{flow.id}",
                code="task_missing",
                hint="replay with the revision that the execution ran with",
            )


def _cut(d: Draft, target: TaskRun) -> None:
    """Leave out what came after the target; the target and what still ran begin anew, ancestors go on."""
    tree = by_parent(d.all_runs())
    chain = [target, *d.ancestors(target)]
    gone = below([target.id], tree)
    for run in chain:
        owner = d.run(run.parent_id) if run.parent_id else None
        after = [
            other for other in tree.get(run.parent_id, ()) if other.id != run.id and _comes_after(d, owner, run, other)
        ]
        gone += [*after, *below([other.id for other in after], tree)]
    _check_tasks(d.flow, [run for run in d.all_runs() if run.id not in {other.id for other in gone}])
    d.turn_execution(State.RESTARTED)
    clear_execution(d)
    d.attempt_number = 1
    remove(d, gone)
    leaf = isinstance(d.task(target), LEAVES)
    renew(d, replace(target, outputs=None), State.RESTARTED if leaf else State.RUNNING)
    _renew_live(d, chain)
    d.labels = merged(d.labels, (("system.replay", "true"),))


def _renew_live(d: Draft, chain: list[TaskRun]) -> None:
    """The old execution may still run: what is live in it begins anew here."""
    above = {run.id for run in chain[1:]}
    for run in d.live():
        if run.id in above or run.id == chain[0].id:
            continue
        if isinstance(d.task(run), LEAVES) or not d.is_open(run):
            renew(d, replace(run, outputs=None))
        else:
            above.add(run.id)
    reopen(d, above)
    for run in chain[:-1]:
        _rebuild_owner(d, d.run(run.id))


def _rebuild_owner(d: Draft, child: TaskRun) -> None:
    """What the plain rebuilding cannot know of the owner of a replayed child."""
    owner = d.run(child.parent_id or "")
    place = d.place(child)
    task = d.task(owner)
    if place.branch in LATE_LISTS:
        return
    if isinstance(task, ForEach) and task.concurrency_limit == 1 and child.iteration is not None:
        _keep_first_tasks(d, owner, child.iteration, place.index)


def _keep_first_tasks(d: Draft, owner: TaskRun, iteration: int, first: int) -> None:
    """In a serial ForEach Kestra keeps the tasks before the target for every value, not only for the target's."""
    children = d.children(owner.id)
    well = {run.iteration for run in children if d.place(run).index == first - 1 and run.state not in STOPPING}
    upto = iteration + 1
    while upto in well:
        upto += 1
    rest = [run for run in children if (run.iteration or 0) >= upto]
    remove(d, [*rest, *below([run.id for run in rest], by_parent(d.all_runs()))])
    scope = rebuild(d, owner.id, d.children(owner.id))
    scope.next = iteration + 1
    scope.note("continue", None)
    scope.note("kept", {"first": first, "upto": upto} if first else None)


def _comes_after(d: Draft, owner: TaskRun | None, run: TaskRun, other: TaskRun) -> bool:
    """Whether a sibling belongs to what is left out, as Kestra orders the tasks of each family."""
    place, theirs = d.place(run), d.flow.places.get(other.task_id)
    if theirs is None:  # not in this revision: what is kept must be, what came later need not
        return other.sequence > run.sequence
    if theirs.branch != place.branch:
        return late_order(theirs.branch) > late_order(place.branch)
    task = d.task(owner) if owner is not None else None
    if theirs.branch in LATE_LISTS:
        return theirs.index > place.index
    match task:
        case Parallel() | EachParallel():
            return False
        case Dag():
            return other.task_id in _followers(d.flow, task, run.task_id)
        case ForEach():
            mine, other_at = run.iteration or 0, other.iteration or 0
            if task.concurrency_limit == 1:
                return (theirs.index, other_at) > (place.index, mine)
            return other_at == mine and theirs.index > place.index
        case _:
            return theirs.index > place.index


def _followers(flow: Flow, task: Dag, task_id: str) -> set[str]:
    found = {task_id}
    grows = True
    while grows:
        more = {child.id for child in flow.enabled(task.id, "tasks") if found & set(task.depends_on.get(child.id, ()))}
        grows = not more <= found
        found |= more
    return found - {task_id}


def _result(d: Draft, names: Mapping[str, str]) -> Replayed:
    acts: list[Act] = []
    olds = {new: run_id for run_id, new in names.items()}
    for run in d.live():
        task = d.task(run)
        waits = isinstance(task, ForEach | EachParallel) and d.is_open(run)
        if waits and d.scope(run.id).next < d.scope(run.id).size * max(1, len(d.flow.enabled(run.task_id, "tasks"))):
            acts.append(StoreValues(task_run_id=run.id, values=(), copy_of=olds[run.id]))
    step = d.step()
    acts = [*(act for act in step.acts if not isinstance(act, DropRuns | KillAttempt | StopIterations)), *acts]
    runs = tuple(sorted(step.execution.runs.values(), key=lambda run: run.sequence))
    return step.execution, runs, tuple(acts)
