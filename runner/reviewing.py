"""A person's decision on an Approval (``flows.md`` 4.15): what is refused, and what the task's outputs say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from namespaces.errors import Conflict, InvalidInput, NotFound
from namespaces.flows.model import Approval, Flow
from runner import preparing
from runner.engine.events import Reviewed
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.view import Loaded, load, paused_iteration

if TYPE_CHECKING:
    from runner.executions import Executions

DECISIONS = ("APPROVED", "DENIED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked: the Approval that waits longest. ``comment`` is NEVER, ALWAYS, ON_DENY or ON_APPROVE."""

    task_run_id: str
    task: Approval
    approve: str
    """Text of the button."""
    deny: str
    comment: str
    due: datetime | None
    others: int
    """How many more Approvals wait."""


_NEEDS_COMMENT = {"ALWAYS": DECISIONS, "ON_APPROVE": ("APPROVED",), "ON_DENY": ("DENIED",)}


def review(
    executions: Executions,
    execution_id: str,
    *,
    decision: Any,
    task_run_id: str | None,
    comment: str | None,
    inputs: Mapping[str, Any],
    by: str | None,
) -> None:
    """Decide; of an execution whose Loop waits, in its first PAUSED iteration.

    Raises ``InvalidInput`` (word, comment, inputs), ``Conflict`` when nothing waits, ``NotFound``.
    """
    if decision not in DECISIONS:
        raise InvalidInput(f"decision is {str(decision)[:40]!r}, expected APPROVED or DENIED", code="bad_decision")
    now = executions.clock.now()
    event = Reviewed(at=now, task_run_id=task_run_id or "", outputs={"decision": decision})
    loaded = executions.loaded(execution_id, event)
    flow = executions.flow_of(loaded)
    if not waiting_approvals(flow, loaded) and (task_run_id is None or task_run_id not in loaded.value.runs):
        iteration = executions.database.read(lambda c: paused_iteration(c, flow, loaded))
        if iteration is not None:
            review(
                executions,
                iteration,
                decision=decision,
                task_run_id=task_run_id,
                comment=comment,
                inputs=inputs,
                by=by,
            )
            return
    run = _waiting(flow, loaded, task_run_id)
    task = flow.by_id[run.task_id]
    assert isinstance(task, Approval)
    comment = comment if comment and comment.strip() else None
    asked = run.scope.extra.get("comment", "NEVER") if run.scope is not None else "NEVER"
    if comment is None and decision in _NEEDS_COMMENT.get(asked, ()):
        raise InvalidInput(
            f"task '{run.task_id}' requires a comment with this decision",
            code="comment_required",
            hint="send `comment`",
        )
    resolved = None
    if task.inputs:
        resolved = preparing.resolve(executions.rendering, flow, task.inputs, inputs, execution_id).require()
    outputs = {"decision": decision, "by": by, "on": now.isoformat(), "comment": comment, "inputs": resolved}
    if not executions.apply(execution_id, Reviewed(at=now, task_run_id=run.id, outputs=outputs)):
        raise Conflict("the approval does not wait for a decision any more", code="not_waiting")


def _waiting(flow: Flow, loaded: Loaded, task_run_id: str | None) -> TaskRun:
    """The task run that is meant. Raises ``NotFound``, ``Conflict``, ``InvalidInput`` when several could be."""
    runs = loaded.value.runs
    if task_run_id is not None:
        named = runs.get(task_run_id)
        if named is None:
            raise NotFound(f"execution '{loaded.value.id}' has no task run '{task_run_id}'")
        if not isinstance(flow.by_id.get(named.task_id), Approval):
            raise Conflict(f"task '{named.task_id}' asks for no decision", code="not_waiting")
        if named.state is not State.PAUSED:
            raise Conflict(
                f"task '{named.task_id}' does not wait for a decision, it is {named.state}", code="not_waiting"
            )
        return named
    waiting = waiting_approvals(flow, loaded)
    if not waiting:
        raise Conflict("no approval of this execution waits for a decision", code="not_waiting")
    if len(waiting) > 1:
        named_ = ", ".join(f"{run.id} ({run.task_id})" for run in waiting)
        raise InvalidInput(
            f"{len(waiting)} approvals wait for a decision: {named_}", code="several_waiting", hint="send `taskRunId`"
        )
    return waiting[0]


def waiting_approvals(flow: Flow, loaded: Loaded) -> list[TaskRun]:
    """Approvals of an execution that wait for a decision, in order of creation."""
    return [
        run
        for run in loaded.value.runs.values()
        if run.state is State.PAUSED and isinstance(flow.by_id.get(run.task_id), Approval)
    ]


def question(connection: Connection, flow: Flow, execution_id: str, at: datetime) -> Question | None:
    """What the execution (or the first PAUSED iteration of its Loop) asks a person for, or None."""
    loaded = load(connection, execution_id, [Reviewed(at=at, task_run_id="", outputs={})])
    if loaded is None:
        return None
    waiting = waiting_approvals(flow, loaded)
    if not waiting:
        iteration = paused_iteration(connection, flow, loaded)
        return question(connection, flow, iteration, at) if iteration is not None else None
    run = waiting[0]
    task = flow.by_id[run.task_id]
    extra = run.scope.extra if run.scope is not None else {}
    assert isinstance(task, Approval)
    approve, deny = extra.get("buttons") or ("Approve", "Deny")
    due = (run.outputs or {}).get("due")
    return Question(
        task_run_id=run.id,
        task=task,
        approve=approve,
        deny=deny,
        comment=str(extra.get("comment", "NEVER")),
        due=datetime.fromisoformat(due) if due else None,
        others=len(waiting) - 1,
    )
