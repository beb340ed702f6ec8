"""What a family of flowables has to say; and the plain list, which everything else is built on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from namespaces.flows.model import Task
from runner.engine.draft import Draft, Progress
from runner.engine.effects import Ask
from runner.engine.endings import end_run
from runner.engine.outcomes import of_flowable
from runner.engine.states import State
from runner.engine.values import TaskRun

Deed = Callable[[Draft, TaskRun, Any], None]


def next_of_list(d: Draft, owner_id: str | None) -> None:
    """Start the next task of the list at work, when the one before has ended well."""
    scope = d.scope(owner_id)
    if scope.halted or scope.active:
        return
    tasks = list_of(d, owner_id)
    if scope.branch == "listeners":
        skip_listeners(d, scope, tasks)
    if scope.next < len(tasks):
        scope.next += 1
        d.create(owner_id, tasks[scope.next - 1])


def skip_listeners(d: Draft, scope: Progress, tasks: tuple[Task, ...]) -> None:
    """Go past the tasks of listeners whose conditions do not hold: all listeners' tasks are one list."""
    holding = scope.extra.get("listeners", ())
    owners = [index for index, listener in enumerate(d.flow.listeners) for task in listener.tasks if not task.disabled]
    while scope.next < len(tasks) and owners[scope.next] not in holding:
        scope.next += 1


def list_of(d: Draft, owner_id: str | None) -> tuple[Task, ...]:
    """The enabled tasks of the list at work."""
    task_id = None if owner_id is None else d.run(owner_id).task_id
    return d.flow.enabled(task_id, d.scope(owner_id).branch)


def open_main(d: Draft, run: TaskRun, branch: str = "tasks", **progress: Any) -> Progress:
    """Give a flowable its scope with ``branch`` as main list, remembered for a restart."""
    scope = d.reset_scope(run.id, Progress(branch=branch, **progress))
    scope.note("main", branch)
    d.todo.append(("check", run.id))
    return scope


def _top_up_list(d: Draft, run: TaskRun, _task: Any) -> None:
    next_of_list(d, run.id)


def _not_over(_d: Draft, _run: TaskRun, _task: Any) -> bool:
    return False


def _no_answer(_d: Draft, _run: TaskRun, _task: Any, _ask: Ask, _value: Any) -> None:
    return


def _end(d: Draft, run: TaskRun, task: Any, ended: State | None) -> None:
    end_run(d, run, of_flowable(task, ended))


@dataclass(frozen=True, slots=True)
class Family:
    """``open`` begins a RUNNING flowable: it asks a question or opens the scope.

    ``top_up`` starts every child that may start now and is harmless when none may. ``child_ended`` continues after
    a child of the main list (None: ``top_up``). ``list_over`` is called when no child of the main list is left; true
    means that the flowable is not over yet. ``answered`` takes the answer of an ask. ``end`` gives the flowable its
    state once all its lists are over; it is told the worst end of the main list.
    """

    open: Deed
    top_up: Deed = _top_up_list
    child_ended: Callable[[Draft, TaskRun, Any, TaskRun], None] | None = None
    list_over: Callable[[Draft, TaskRun, Any], bool] = _not_over
    answered: Callable[[Draft, TaskRun, Any, Ask, Any], None] = _no_answer
    end: Callable[[Draft, TaskRun, Any, State | None], None] = _end
