"""Parallel: all children at once, or up to ``concurrent`` of them (``flows.md`` 4.3)."""

from __future__ import annotations

from namespaces.flows.model import Parallel
from runner.engine.draft import Draft
from runner.engine.flowable.family import Family, list_of, open_main
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, task: Parallel) -> None:
    open_main(d, run)
    _top_up(d, run, task)


def _top_up(d: Draft, run: TaskRun, task: Parallel) -> None:
    scope = d.scope(run.id)
    tasks = list_of(d, run.id)
    while not scope.halted and scope.next < len(tasks) and (not task.concurrent or scope.active < task.concurrent):
        scope.next += 1
        d.create(run.id, tasks[scope.next - 1])


FAMILY = Family(open=_open, top_up=_top_up)
