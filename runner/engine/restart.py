"""Running again what failed, and marking a task run by hand (``flows.md`` 3.7). Needs a full view.

Both leave the execution RESTARTED; it goes on when it has passed the gate again (Started).
"""

from __future__ import annotations

from namespaces.flows.model import WorkingDirectory
from runner.engine.draft import Draft
from runner.engine.effects import DropRuns
from runner.engine.events import Restart, TaskRunMarked
from runner.engine.outcomes import STOPPING
from runner.engine.reopen import (
    LATE_LISTS,
    below,
    by_parent,
    clear_execution,
    fresh_again,
    remove,
    renew,
    reopen,
)
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
    """Give a task run a terminal state by hand; the execution goes on from there."""
    if reason := _not_now(d):
        return reason
    if not event.state.terminal:
        return f"{event.state} is not a terminal state"
    run = d.run(event.task_run_id)
    if not run.state.terminal and run.state is not State.PAUSED:
        return f"the task run is {run.state}"
    above = [ancestor.id for ancestor in d.ancestors(run)]
    owners: set[str | None] = {None, *above}
    tree = by_parent(d.all_runs())
    late = [
        r
        for r in d.all_runs()
        if r.parent_id in owners and d.place(r).branch in LATE_LISTS and r.id not in {run.id, *above}
    ]
    was_terminal = d.state.terminal
    if was_terminal or d.waiting <= (run.state is State.PAUSED):
        d.turn_execution(State.RESTARTED)
    clear_execution(d)
    _end_below(d, run, tree, event.state)
    d.turn(run, event.state, epoch=run.epoch + 1)
    remove(d, [*late, *below([r.id for r in late], tree)])
    if late:
        d.act(DropRuns(task_run_ids=tuple(r.id for r in late)))
    reopen(d, above)
    if d.state is State.PAUSED:
        d.todo.extend(("top_up", owner_id) for owner_id in (*above, None))
    return ""


def _end_below(d: Draft, run: TaskRun, tree: dict[str | None, list[TaskRun]], state: State) -> None:
    """Children that are not terminal get their parent's state (``flows.md`` 3.4)."""
    for child in below([run.id], tree):
        if not child.state.terminal:
            d.turn(child, state, epoch=child.epoch + 1)
