"""Running again what failed, and marking a task run by hand (``flows.md`` 3.7). Needs a full view.

Both leave the execution RESTARTED; it goes on when it has passed the gate again (Started).
"""

from __future__ import annotations

from namespaces.flows.model import Loop, WorkingDirectory
from runner.engine.draft import Draft
from runner.engine.effects import DropRuns, KillAttempt, StopIterations
from runner.engine.endings import end_run
from runner.engine.events import Restart, TaskRunMarked
from runner.engine.lifecycle import after_hold
from runner.engine.lists import LATE_LISTS, late_order
from runner.engine.outcomes import STOPPING
from runner.engine.reopen import below, by_parent, clear_execution, decides_nothing, fresh_again, remove, renew, reopen
from runner.engine.sla import merged
from runner.engine.states import State
from runner.engine.values import TaskRun

RESTARTABLE = frozenset({State.FAILED, State.PAUSED, State.KILLED, State.CANCELLED})
NOTHING = "No task found to restart execution from!"


def restarted(d: Draft, _event: Restart) -> str:
    """Restart what failed, paused, was killed or cancelled; what succeeded is kept, the late lists are removed."""
    if reason := _not_now(d):
        return reason
    late = [run for run in d.all_runs() if d.place(run).branch in LATE_LISTS]
    tree = by_parent(d.all_runs())
    late_ids = {run.id for run in [*late, *below([run.id for run in late], tree)]}
    again = _to_restart(d, late_ids)
    if not again and not _list_unfinished(d, late_ids):
        return NOTHING
    d.turn_execution(State.RESTARTED)
    clear_execution(d)
    remove(d, [d.run(run_id) for run_id in late_ids])
    top = [run.id for run in late if run.parent_id not in late_ids]
    owners = {run.parent_id for run in late if run.parent_id is not None and run.parent_id not in late_ids}
    _renew_all(d, again, top, {owner for owner in owners if not d.run(owner).state.terminal})
    d.labels = merged(d.labels, (("system.restarted", "true"),))
    return ""


def _not_now(d: Draft) -> str:
    if d.state is State.PAUSED and not d.ending:
        return ""
    if d.state.terminal:
        return "" if d.finished else "afterExecution tasks still run"
    return f"the execution is {d.state}, it must be terminal or PAUSED"


def _to_restart(d: Draft, late_ids: set[str]) -> dict[str, TaskRun]:
    """What failed, by id; children of a block stand for their block, which runs whole."""
    found: dict[str, TaskRun] = {}
    for run in d.all_runs():
        if run.id in late_ids or run.state not in RESTARTABLE or d.place(run).branch == "onPause":
            continue
        parent = d.find(run.parent_id)
        if parent is not None and isinstance(d.task(parent), WorkingDirectory):
            run = parent
        found[run.id] = run
    return found


def _list_unfinished(d: Draft, late_ids: set[str]) -> bool:
    """A killed execution may have ended between two tasks."""
    own = [run for run in d.children(None) if run.id not in late_ids]
    started = max((d.place(run).index + 1 for run in own), default=0)
    good = all(run.state.terminal and run.state not in STOPPING for run in own)
    return good and d.state is State.KILLED and started < len(d.flow.enabled(None, "tasks"))


def _renew_all(d: Draft, again: dict[str, TaskRun], dropped: list[str], interrupted: set[str]) -> None:
    """Leaves and what cannot go on begin anew; every flowable above them, or interrupted in a late list, goes on."""
    above = {ancestor.id for run in again.values() for ancestor in d.ancestors(run)} | interrupted
    tree = by_parent(d.all_runs())
    for run in again.values():
        has_children = any(child.id in again or not child.state.terminal for child in tree.get(run.id, ()))
        going_on = run.id in above and not isinstance(d.task(run), WorkingDirectory)
        if going_on or (d.is_open(run) and not fresh_again(d, run, has_children)):
            above.add(run.id)
            continue
        children = below([run.id], tree)
        remove(d, children)
        dropped.extend(child.id for child in tree.get(run.id, ()))
        renew(d, run)
    if dropped:
        d.act(DropRuns(task_run_ids=tuple(dropped)))
    reopen(d, above)


def marked(d: Draft, event: TaskRunMarked) -> str:
    """Give a task run a terminal state by hand; the execution goes on from there.

    In a PAUSED execution only what is PAUSED can be marked: it goes on at once. An ended execution is RESTARTED.
    """
    if reason := _not_now(d):
        return reason
    if not event.state.terminal:
        return f"{event.state} is not a terminal state"
    run = d.run(event.task_run_id)
    if d.state is State.PAUSED:
        return _mark_paused(d, run, event.state)
    chain = [run, *d.ancestors(run)]
    branches = [d.place(link).branch for link in chain]
    if decides_nothing(d, chain):
        return f"task {run.task_id} does not decide how the execution goes on"
    tree = by_parent(d.all_runs())
    late = [
        other
        for link, branch in zip(chain, branches, strict=True)
        for other in tree.get(link.parent_id, ())
        if late_order(d.place(other).branch) > late_order(branch)
    ]
    d.turn_execution(State.RESTARTED)
    clear_execution(d)
    d.turn(run, event.state, epoch=run.epoch + 1)
    remove(d, [*late, *below([other.id for other in late], tree)])
    if late:
        d.act(DropRuns(task_run_ids=tuple(other.id for other in late)))
    reopen(d, [link.id for link in chain[1:]])
    return ""


def _mark_paused(d: Draft, run: TaskRun, state: State) -> str:
    if run.state is not State.PAUSED:
        return f"the execution is PAUSED but the task run is {run.state}"
    for child in below([run.id], by_parent(d.all_runs())):
        if not child.state.terminal:  # flows.md 3.4: it gets its parent's state
            if child.state is State.RUNNING:
                d.act(KillAttempt(task_run_id=child.id, epoch=child.epoch))
            d.turn(child, state, epoch=child.epoch + 1)
    if isinstance(d.task(run), Loop):
        d.act(StopIterations(task_run_id=run.id, kill=True))
    if d.is_open(run):
        d.scope(run.id).active = 0
    end_run(d, run, state, epoch=run.epoch + 1)
    after_hold(d)
    return ""
