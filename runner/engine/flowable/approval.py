"""Approval: tasks before the wait, a person's decision, the branch of that decision (``flows.md`` 4.15).

Its scope remembers the rendered terms (behaviours, whether a comment is required, the buttons' texts) and, once there
is one, the decision. The branches of several Approvals begin together, after the last decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from namespaces.flows.model import Approval
from runner.engine.draft import Draft, Progress
from runner.engine.effects import Ask, Question, StartTimer
from runner.engine.endings import end_run, fail, stop
from runner.engine.events import TimerKind
from runner.engine.flowable.family import Family, next_of_list
from runner.engine.moments import moment, span
from runner.engine.outcomes import STOPPING, of_flowable, with_flags
from runner.engine.states import State
from runner.engine.values import TaskRun

_BRANCHES = {"APPROVED": "onApprove", "DENIED": "onDeny", "EXPIRED": "expired"}
"""Decision to the list it starts; ``expired`` is a list nobody can write."""
_BEHAVIORS = {"APPROVED": "approve", "DENIED": "deny", "EXPIRED": "expire"}
_ENDS = {"SUCCEED": State.SUCCESS, "CANCEL": State.CANCELLED, "KILL": State.KILLED}
"""Behaviours that end the whole execution."""
UNDECIDED: Mapping[str, Any] = {
    "decision": None,
    "auto": False,
    "by": None,
    "on": None,
    "comment": None,
    "inputs": None,
}


def _open(d: Draft, run: TaskRun, _task: Approval) -> None:
    d.ask(Question.APPROVAL, run)


def _answered(d: Draft, run: TaskRun, _task: Approval, _ask: Ask, value: Any) -> None:
    scope = d.reset_scope(run.id, Progress(branch="onWait", since=d.at))
    scope.note("main", "onWait")
    for key in ("comment", "buttons", "approve", "deny", "expire"):
        scope.note(key, value[key])
    if value["timeout"] is not None:
        scope.note("timeout_s", value["timeout"].total_seconds())
    run = d.put(replace(run, outputs={**UNDECIDED, "url": value["url"]}))
    if value["auto"]:
        decide(d, run, {"decision": "APPROVED", "auto": True, "on": d.at.isoformat()})
    else:
        next_of_list(d, run.id)
        d.todo.append(("check", run.id))


def _list_over(d: Draft, run: TaskRun, task: Approval) -> bool:
    scope = d.scope(run.id)
    if scope.branch != "onWait":
        # Decided: what follows (`finally`, the behaviour) waits for the other decisions too.
        return bool(d.scope(None).extra.get("holding"))
    if scope.worst is State.KILLED or (scope.worst is State.FAILED and not task.allow_failure):
        return False
    scope.worst, scope.halted = None, False
    outputs = dict(run.outputs or {})
    if (timeout_s := scope.extra.get("timeout_s")) is not None:
        due = d.at + span(timeout_s)
        outputs["due"] = due.isoformat()
        d.act(StartTimer(kind=TimerKind.TIMEOUT, due=due, task_run_id=run.id, epoch=run.epoch))
    d.turn(run, State.PAUSED, outputs=outputs)
    return True


def decide(d: Draft, run: TaskRun, outputs: Mapping[str, Any]) -> None:
    """Take a decision: the ``outputs`` say which, by whom and when."""
    decision = outputs["decision"]
    scope = d.scope(run.id)
    scope.branch, scope.next, scope.halted, scope.worst = _BRANCHES[decision], 0, False, None
    scope.note("main", scope.branch)
    scope.note("decision", decision)
    d.turn(replace(run, outputs={**(run.outputs or {}), **outputs}), State.RUNNING)
    d.todo.append(("top_up", run.id))


def refusal(run: TaskRun, outputs: Mapping[str, Any], at: Any) -> str:
    """Why a decision comes too late or means no known word, or an empty text."""
    if run.state is not State.PAUSED:
        return f"the task run is {run.state}, only a PAUSED one waits for a decision"
    if outputs.get("decision") not in ("APPROVED", "DENIED"):
        return "the decision is neither APPROVED nor DENIED"
    due = (run.outputs or {}).get("due")
    return f"the time for a decision was over at {due}" if due is not None and at >= moment(due) else ""


def expired(d: Draft, run: TaskRun) -> None:
    """``timeout`` is over: neither branch runs."""
    decide(d, run, {"decision": "EXPIRED", "on": d.at.isoformat()})


def _end(d: Draft, run: TaskRun, task: Approval, ended: State | None) -> None:
    """Branch and ``finally`` are over. A failed branch is never hidden by a behaviour."""
    extra = d.scope(run.id).extra
    decision = extra.get("decision")
    behavior = "CONTINUE" if decision is None or ended in STOPPING else extra[_BEHAVIORS[decision]]
    match behavior:
        case "CONTINUE":
            end_run(d, run, of_flowable(task, ended))
        case "WARN":
            end_run(d, run, with_flags(task, State.WARNING))
        case "FAIL":
            fail(d, run, f"The approval was {decision}, and its behavior is FAIL")
        case _:
            state = _ENDS[behavior]
            end_run(d, run, state)
            stop(d, state, kill=behavior == "KILL")


FAMILY = Family(open=_open, list_over=_list_over, answered=_answered, end=_end)
