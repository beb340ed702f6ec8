"""A retry lent by a flowable waits for that flowable's ``errors`` (``flows.md`` 2.2).

At the first failure the list runs beside the main one; when it is over the retries that wait for it are armed. It
runs once: later failures retry at once, and the last one goes on with ``finally``.
"""

from __future__ import annotations

from runner.engine.draft import Draft
from runner.engine.effects import StartTimer
from runner.engine.events import TimerKind
from runner.engine.lists import SIDE_LISTS
from runner.engine.moments import moment, span
from runner.engine.outcomes import STOPPING
from runner.engine.retries import RetryDecision
from runner.engine.values import TaskRun


def must_wait(d: Draft, run: TaskRun, owner_id: str) -> bool:
    """Whether the retry that ``owner_id`` lends to ``run`` has to wait for the owner's ``errors``."""
    link = run
    while link.parent_id != owner_id:
        link = d.run(link.parent_id or "")
    scope = d.scope(owner_id)
    if d.place(link).branch in SIDE_LISTS or scope.branch in SIDE_LISTS or scope.extra.get("handled"):
        return False
    return bool(d.flow.enabled(d.run(owner_id).task_id, "errors"))


def defer(d: Draft, run: TaskRun, owner_id: str, decision: RetryDecision) -> None:
    """Put a RETRYING task run's timer off, and start the owner's ``errors`` unless they run already."""
    scope = d.scope(owner_id)
    waiting = [run.id, run.epoch, decision.due.isoformat(), decision.spread.total_seconds()]
    scope.note("deferred", [*scope.extra.get("deferred", ()), waiting])
    if "handler" not in scope.extra:
        scope.note("handler", 1)
        d.create(owner_id, d.flow.enabled(d.run(owner_id).task_id, "errors")[0])


def handler_ended(d: Draft, owner: TaskRun, child: TaskRun) -> None:
    """A task of ``errors`` ended while retries wait: the next one, or the timers."""
    scope = d.scope(owner.id)
    following = scope.extra.get("handler")
    if following is None:
        return
    tasks = d.flow.enabled(owner.task_id, "errors")
    if child.state not in STOPPING and following < len(tasks):
        scope.note("handler", following + 1)
        d.create(owner.id, tasks[following])
        return
    for run_id, epoch, due, spread_s in scope.extra.pop("deferred", ()):
        d.act(
            StartTimer(
                kind=TimerKind.RETRY,
                due=max(moment(due), d.at),
                spread=span(spread_s),
                task_run_id=run_id,
                epoch=epoch,
            )
        )
    scope.note("handler", None)
    scope.note("handled", True)
