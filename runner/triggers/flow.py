"""What a Flow trigger decides: does an upstream execution satisfy it, what has it seen so far, does it fire now?

In two halves: ``match`` renders and remembers nothing, ``combine`` remembers and renders nothing. No rows here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runner.triggers.conditions import (
    ConditionError,
    Render,
    Subject,
    Upstream,
    holds,
    judge,
    rendered,
    truthy,
)
from runner.triggers.listening import Entry, Gate, Listening
from runner.triggers.schedule import TICK
from runner.triggers.windows import Window, WindowType

SEEN = 100
"""Announcements remembered, so that one that comes twice is not counted twice."""
FIRED = 20
"""Windows remembered in which the trigger fired, for ``onMiss``."""
SILENT_KINDS = frozenset({"LOOP", "TEST", "PLAYGROUND"})
"""Executions that no Flow trigger hears of."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which entries an execution satisfies, gate by gate. ``hears``: the trigger has to look at it at all."""

    hears: bool
    gates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Combined:
    """``memory`` is what to keep. ``sources`` are ``{namespace, flowId, outputs}`` of all upstreams, oldest first."""

    fires: bool
    memory: Mapping[str, Any]
    sources: tuple[Mapping[str, Any], ...] = ()


def hears(listening: Listening, upstream: Upstream) -> bool:
    """Whether the execution can matter at all, before anything is loaded or rendered.

    The own flow's executions never do, so that a flow cannot start itself for ever.
    """
    flow = (upstream.namespace, upstream.flow_id)
    return (
        flow != (listening.namespace, listening.flow_id)
        and upstream.state in listening.states
        and upstream.kind not in SILENT_KINDS
        and (listening.flows is None or flow in listening.flows)
    )


def match(listening: Listening, subject: Subject, when_variables: Mapping[str, Any], render: Render) -> Match:
    """What the execution of ``subject`` satisfies. Errors of conditions count as false and are told.

    ``when_variables`` is the context of ``when`` (trigger and entry): the upstream's own values at the root.
    """
    upstream = subject.upstream
    if upstream is None or not hears(listening, upstream):
        return Match(False)
    verdict = judge(listening.conditions, None, subject, render)
    errors = [verdict.error] if verdict.error else []
    if verdict.holds and listening.trigger.when is not None:
        verdict = judge((), listening.trigger.when, Subject(upstream=upstream, variables=when_variables), render)
        errors += [verdict.error] if verdict.error else []
    if not verdict.holds:
        return Match(False, error="; ".join(errors) or None)
    found: dict[str, tuple[str, ...]] = {}
    for gate in listening.gates:
        satisfied = []
        for entry in gate.entries:
            try:
                if _satisfies(entry, subject, when_variables, render):
                    satisfied.append(entry.key)
            except ConditionError as error:
                errors.append(error.message)
        found[gate.id] = tuple(satisfied)
    return Match(True, found, "; ".join(errors) or None)


def _satisfies(entry: Entry, subject: Subject, when_variables: Mapping[str, Any], render: Render) -> bool:
    upstream = subject.upstream
    assert upstream is not None
    if entry.condition is not None:
        return holds(entry.condition, subject, render)
    if entry.filters:
        results = (_filter(one, subject, render) for one in entry.filters)
        return any(results) if entry.any_filter else all(results)
    if entry.namespace is not None and entry.namespace != upstream.namespace:
        return False
    if entry.flow_id is not None and entry.flow_id != upstream.flow_id:
        return False
    if entry.states is not None and upstream.state not in entry.states:
        return False
    have = set(upstream.labels)
    if any((key, rendered(value, subject.variables, render)) not in have for key, value in entry.labels):
        return False
    return entry.when is None or truthy(rendered(entry.when, when_variables, render))


def _filter(written: Mapping[str, Any], subject: Subject, render: Render) -> bool:
    upstream = subject.upstream
    assert upstream is not None
    name, kind = written.get("field"), str(written.get("type"))
    values = [rendered(value, subject.variables, render) for value in written.get("values") or ()]
    value: str | None = None
    if written.get("value") is not None:
        value = rendered(written["value"], subject.variables, render)
    if name == "EXPRESSION":
        seen: str | None = value
        value = values[0] if values else None
    else:
        seen = {"FLOW_ID": upstream.flow_id, "NAMESPACE": upstream.namespace, "STATE": upstream.state}.get(str(name))
    return _compare(kind, seen, value, values)


def _compare(kind: str, seen: str | None, value: str | None, values: Sequence[str]) -> bool:
    text = seen or ""
    match kind:
        case "EQUAL_TO":
            return text == value
        case "NOT_EQUAL_TO":
            return text != value
        case "IN":
            return text in values
        case "NOT_IN":
            return text not in values
        case "IS_TRUE":
            return text.strip().lower() == "true"
        case "IS_FALSE":
            return text.strip().lower() == "false"
        case "IS_NULL":
            return text == ""
        case "IS_NOT_NULL":
            return text != ""
        case "STARTS_WITH":
            return text.startswith(value or "")
        case "ENDS_WITH":
            return text.endswith(value or "")
        case "CONTAINS":
            return (value or "") in text
        case "REGEX":
            try:
                return re.fullmatch(value or "", text) is not None
            except re.error as error:
                raise ConditionError(f"'{value}' is not a regular expression: {error}") from None
    raise ConditionError(f"unknown filter type '{kind}'")


def combine(
    listening: Listening,
    memory: Mapping[str, Any] | None,
    matched: Match,
    upstream: Upstream,
    *,
    at: datetime,
    event: str,
) -> Combined:
    """Add what was matched to the memory and tell whether the trigger fires.

    ``at`` is when the execution reached its state, ``event`` names that announcement: the same one again changes
    nothing. Without gates every execution that is heard fires.
    """
    kept: dict[str, Any] = dict(memory or {})
    if not matched.hears or event in kept.get("seen", ()):
        return Combined(False, kept)
    if not listening.gates:
        return Combined(True, kept, (_source(upstream, at),))
    new = False
    complete = True
    open_gates: dict[str, dict[str, Any]] = {}
    sources: list[Mapping[str, Any]] = []
    for gate in listening.gates:
        place = _place(gate, kept.get("gates", {}).get(gate.id), at)
        if place is None:
            complete = False
            continue
        satisfied = place["satisfied"]
        for key in matched.gates.get(gate.id, ()):
            satisfied[key] = _source(upstream, at)
            new = True
        open_gates[gate.id] = place
        if len(satisfied) < gate.needed or (gate.once and place.get("fired")):
            complete = False
        sources.extend(satisfied.values())
    fires = new and complete
    if fires:
        windows = [open_gates[gate.id]["window"] for gate in listening.gates if "window" in open_gates[gate.id]]
        kept["fired"] = [*kept.get("fired", ()), *windows][-FIRED:]
        for gate in listening.gates:
            open_gates[gate.id]["fired"] = True
            if not gate.keeps:
                open_gates[gate.id]["satisfied"] = {}
    if new:
        kept["gates"] = {**kept.get("gates", {}), **open_gates}
        kept["seen"] = [*kept.get("seen", ())[-(SEEN - 1) :], event]
    ordered = sorted({s["id"]: s for s in sources}.values(), key=lambda source: source["at"])
    return Combined(fires, kept, tuple(ordered) if fires else ())


def _place(gate: Gate, remembered: Mapping[str, Any] | None, at: datetime) -> dict[str, Any] | None:
    """The gate's memory for the window of ``at``: what is left of the old one, or a fresh one; None outside of all."""
    known = {entry.key for entry in gate.entries}
    before = dict(remembered or {})
    satisfied = {key: value for key, value in (before.get("satisfied") or {}).items() if key in known}
    window = gate.window
    if window is None:
        return {"satisfied": satisfied}
    if window.type is WindowType.SLIDING:
        oldest = (at - window.length).isoformat()
        return {"satisfied": {key: value for key, value in satisfied.items() if value["at"] > oldest}}
    bounds = window.bounds(at)
    if bounds is None:
        return None
    start = bounds[0].isoformat()
    if before.get("window") != start:
        return {"window": start, "satisfied": {}}
    return {"window": start, "satisfied": satisfied, "fired": bool(before.get("fired"))}


def _source(upstream: Upstream, at: datetime) -> dict[str, Any]:
    return {
        "id": upstream.id,
        "namespace": upstream.namespace,
        "flowId": upstream.flow_id,
        "outputs": dict(upstream.outputs or {}),
        "at": at.astimezone(UTC).isoformat(),
    }


def fired_in(memory: Mapping[str, Any] | None, start: datetime) -> bool:
    """Whether the trigger has fired in the window that began at ``start`` (for ``onMiss``)."""
    return start.isoformat() in (memory or {}).get("fired", ())


def missed(
    window: Window, memory: Mapping[str, Any] | None, ends: datetime, now: datetime
) -> tuple[list[datetime], datetime]:
    """Ends of windows up to ``now`` in which the trigger did not fire, and the end to look at next.

    ``ends`` is the end of the first window that was not looked at yet. At most ``FIRED`` windows are told.
    """
    found: list[datetime] = []
    while ends <= now:
        held = window.bounds(ends - TICK)
        if held is not None and not fired_in(memory, held[0]):
            found.append(ends)
        ends = window.next_end(ends)
        if len(found) == FIRED:
            return found, window.next_end(now)
    return found, ends


def variables(
    listening: Listening, upstream: Upstream, sources: Sequence[Mapping[str, Any]], iso: Any
) -> dict[str, Any]:
    """``trigger.*`` of the new execution: the last matching upstream, and the outputs of all of them.

    ``iso`` turns a moment into text.
    """
    found: dict[str, Any] = {
        "executionId": upstream.id,
        "namespace": upstream.namespace,
        "flowId": upstream.flow_id,
        "flowRevision": upstream.revision,
        "state": upstream.state,
        "executionLabels": dict(reversed(upstream.labels)),
        "outputs": _outputs(listening, upstream, sources),
        "firstFailedTaskId": upstream.first_failed_task_id,
        "lastTaskId": upstream.last_task_id,
    }
    if upstream.started_at is not None:
        found["startDate"] = iso(upstream.started_at)
    if upstream.ended_at is not None:
        found["endDate"] = iso(upstream.ended_at)
    return {name: value for name, value in found.items() if value is not None}


def _outputs(listening: Listening, upstream: Upstream, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not listening.scoped:
        merged: dict[str, Any] = {}
        for source in sources:
            merged.update(source["outputs"])
        return {**merged, **(upstream.outputs or {})}
    scoped: dict[str, Any] = dict(upstream.outputs or {})
    for source in sources:
        scoped[source["flowId"]] = dict(source["outputs"])
        scoped.setdefault(source["namespace"], {})
    for source in sources:
        below = scoped[source["namespace"]]
        if not isinstance(below, dict):
            below = scoped[source["namespace"]] = {}
        below[source["flowId"]] = dict(source["outputs"])
    return scoped
