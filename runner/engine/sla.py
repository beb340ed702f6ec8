"""Service levels of an execution (``flows.md`` 1.11): deadlines, assertions, and what a violation does."""

from __future__ import annotations

from namespaces.flows.model import Sla
from runner.engine.draft import Draft
from runner.engine.effects import Log, Question, StartTimer
from runner.engine.endings import stop
from runner.engine.events import TimerFired, TimerKind
from runner.engine.states import State


def start_timers(d: Draft) -> None:
    """Deadlines count from the creation, or from the restart."""
    begun = [at for state, at in d.history if state in (State.CREATED, State.RESTARTED)]
    for rule in d.flow.sla:
        if rule.type == "MAX_DURATION" and rule.duration is not None:
            due = (begun[-1] if begun else d.at) + rule.duration
            d.act(StartTimer(kind=TimerKind.SLA, due=due, name=rule.id, epoch=d.attempt_number))


def ask_assertions(d: Draft) -> None:
    """Ask every assertion that was not violated yet; nothing once the end is decided."""
    if d.state.terminal or d.ending or d.state in (State.CREATED, State.QUEUED):
        return
    known = d.scope(None).extra.get("sla", ())
    for index, rule in enumerate(d.flow.sla):
        if rule.type == "EXECUTION_ASSERTION" and index not in known:
            d.ask(Question.SLA, index=index, name=rule.id)


def deadline(d: Draft, event: TimerFired) -> str:
    if event.epoch != d.attempt_number:
        return "the timer belongs to an earlier run of this execution"
    known = d.scope(None).extra.get("sla", ())
    for index, rule in enumerate(d.flow.sla):
        if rule.type == "MAX_DURATION" and rule.id == event.name and index not in known:
            return violated(d, index)
    return "no such SLA, or violated before"


def violated(d: Draft, index: int) -> str:
    """Act on a violation; the first one that ends the execution wins."""
    if d.state.terminal or d.ending:
        return "the execution has ended"
    scope = d.scope(None)
    known = list(scope.extra.get("sla", ()))
    if index in known or not 0 <= index < len(d.flow.sla):
        return "violated before"
    rule = d.flow.sla[index]
    scope.note("sla", [*known, index])
    d.labels = merged(d.labels, rule.labels)
    d.act(Log(level="WARN" if rule.behavior == "NONE" else "ERROR", message=_message(rule)))
    if rule.behavior in ("FAIL", "CANCEL"):
        stop(d, State.FAILED if rule.behavior == "FAIL" else State.CANCELLED, kill=True, blame_last=True)
    return ""


def merged(labels: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Labels with others put over them: a known key keeps its place, the last value wins."""
    result = dict(reversed(labels))  # of a key given twice the first counts
    order = dict.fromkeys(key for key, _ in labels)
    for key, value in new:
        result[key] = value
        order.setdefault(key)
    return tuple((key, result[key]) for key in order)


def _message(rule: Sla) -> str:
    if rule.type == "MAX_DURATION":
        return f"SLA '{rule.id}' is violated: the execution runs for longer than {rule.duration}"
    return f"SLA '{rule.id}' is violated: {rule.assert_}"
