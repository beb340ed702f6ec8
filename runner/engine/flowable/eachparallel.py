"""EachParallel: every task of every value at once, ``concurrent`` limits task runs (``flows.md`` 4.8).

Children are numbered value by value: child ``c`` of ``t`` tasks belongs to value ``c // t``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from namespaces.flows.model import EachParallel
from runner.engine.draft import Draft
from runner.engine.effects import Ask, Question, StoreValues
from runner.engine.flowable.family import Family, list_of, open_main
from runner.engine.flowable.foreach import ask_iteration, taken
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: EachParallel) -> None:
    d.ask(Question.VALUES, run)


def _answered(d: Draft, run: TaskRun, task: EachParallel, ask: Ask, value: Any) -> None:
    if ask.question is Question.VALUES:
        _begin(d, run, task, tuple(value))
    elif taken(d, run, ask):
        d.create(run.id, d.flow.by_id[ask.name], value=str(value), iteration=ask.index)


def _begin(d: Draft, run: TaskRun, task: EachParallel, values: Sequence[str]) -> None:
    scope = open_main(d, run, size=len(values))
    tasks = list_of(d, run.id)
    total = len(values) * len(tasks)
    at_once = total
    if 0 < task.concurrent < total:
        at_once = task.concurrent
        d.act(StoreValues(task_run_id=run.id, values=tuple(values)))
    scope.next = at_once
    for child in range(at_once):
        index, place = divmod(child, len(tasks))
        d.create(run.id, tasks[place], value=values[index], iteration=index)


def _top_up(d: Draft, run: TaskRun, task: EachParallel) -> None:
    scope = d.scope(run.id)
    tasks = list_of(d, run.id)
    total = scope.size * len(tasks)
    while not scope.halted and scope.next < total and (not task.concurrent or scope.active < task.concurrent):
        index, place = divmod(scope.next, len(tasks))
        ask_iteration(d, run, index, tasks[place].id)
        scope.next += 1


FAMILY = Family(open=_open, top_up=_top_up, answered=_answered)
