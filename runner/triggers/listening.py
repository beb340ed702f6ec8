"""A Flow trigger as it is asked: its gates and entries, read from what the flow declares (``flows.md`` 7.7).

All forms become one: conditions, MultipleCondition, ``preconditions`` and ``dependsOn``. Deciding is in ``flow.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Any

import orjson

from namespaces.flows.model import Condition, Trigger
from runner.triggers.conditions import kind_of, label_pairs, parts_of, states
from runner.triggers.windows import Window, of_depends_on, of_preconditions

DEFAULT_STATES = frozenset({"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED", "PAUSED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that has to happen. ``key`` names it by its content, so that editing one forgets only that one."""

    key: str
    namespace: str | None = None
    flow_id: str | None = None
    states: frozenset[str] | None = None
    labels: tuple[tuple[str, Any], ...] = ()
    when: str | None = None
    condition: Condition | None = None
    filters: tuple[Mapping[str, Any], ...] = ()
    any_filter: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Entries of which ``needed`` must be satisfied within one window.

    ``keeps``: what is satisfied stays so after firing, and every later match fires again. ``once``: it fires at
    most once in a window. Else firing empties the memory, and all that is needed has to happen again.
    """

    id: str
    entries: tuple[Entry, ...]
    needed: int
    window: Window | None = None
    keeps: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A Flow trigger ready to be asked. ``scoped`` outputs stand below their flow (2.x), else they are merged."""

    namespace: str
    flow_id: str
    trigger: Trigger
    states: frozenset[str] = DEFAULT_STATES
    conditions: tuple[Condition, ...] = ()
    gates: tuple[Gate, ...] = ()
    scoped: bool = False
    on_miss: Mapping[str, Any] | None = None
    flows: frozenset[tuple[str, str]] | None = None
    """The only flows whose executions can matter; None: any."""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.namespace, self.flow_id, self.trigger.id

    @property
    def deadline(self) -> Window | None:
        """The window whose passing is a miss, when somebody wants to know."""
        gate = next((gate for gate in self.gates if gate.window is not None and gate.window.has_deadline), None)
        return gate.window if gate is not None and self.on_miss is not None else None


def read(namespace: str, flow_id: str, trigger: Trigger, zone: tzinfo = UTC) -> Listening:
    """The trigger as declared. Raises ``ConditionError`` for windows that make no sense."""
    properties = trigger.properties
    plain = tuple(c for c in trigger.conditions if kind_of(c.type) != "MultipleCondition")
    gates = [
        _multiple(condition, index, zone)
        for index, condition in enumerate(c for c in trigger.conditions if kind_of(c.type) == "MultipleCondition")
    ]
    preconditions, depends_on = properties.get("preconditions"), properties.get("dependsOn")
    if preconditions:
        gates.append(_preconditions(preconditions, zone))
    if depends_on:
        gates.append(_depends_on(properties, depends_on, zone))
    listening = Listening(
        namespace=namespace,
        flow_id=flow_id,
        trigger=trigger,
        states=states(properties["states"]) if properties.get("states") else DEFAULT_STATES,
        conditions=plain,
        gates=tuple(gates),
        scoped=bool(depends_on),
        on_miss=properties.get("onMiss"),
    )
    return replace(listening, flows=_flows(listening))


def _flows(listening: Listening) -> frozenset[tuple[str, str]] | None:
    """The flows that are named literally everywhere, so that others need not be looked at."""
    named = _named(listening.conditions)
    if named is not None:
        return frozenset(named)
    found: set[tuple[str, str]] = set()
    for gate in listening.gates:
        for entry in gate.entries:
            if entry.condition is not None:
                here = _named((entry.condition,))
            else:
                here = {(entry.namespace, entry.flow_id)} if entry.namespace and entry.flow_id else None
            if here is None:
                return None
            found |= here
    return frozenset(found) if listening.gates else None


def _named(conditions: Iterable[Condition]) -> set[tuple[str, str]] | None:
    for condition in conditions:
        if kind_of(condition.type) in ("ExecutionFlow", "FlowCondition"):
            namespace, flow_id = condition.properties.get("namespace"), condition.properties.get("flowId")
            if all(isinstance(part, str) and "{" not in part for part in (namespace, flow_id)):
                return {(str(namespace), str(flow_id))}
    return None


def _key(*parts: Any) -> str:
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(content, digest_size=9).hexdigest()


def _multiple(condition: Condition, index: int, zone: tzinfo) -> Gate:
    properties = condition.properties
    window = properties.get("timeWindow") or {
        key: properties[key] for key in ("window", "windowAdvance") if properties.get(key) is not None
    }
    entries = tuple(Entry(key=f"c:{name}", condition=part) for name, part in parts_of(condition).items())
    return Gate(
        id=f"multiple:{properties.get('id', index)}",
        entries=entries,
        needed=len(entries),
        window=of_preconditions(window, zone),
        keeps=properties.get("resetOnSuccess") is False,
    )


def _flow_entry(written: Mapping[str, Any]) -> Entry:
    return Entry(
        key=_key("flow", dict(written)),
        namespace=written.get("namespace"),
        flow_id=written.get("flowId"),
        states=states(written["states"]) if written.get("states") else None,
        labels=tuple(label_pairs(written.get("labels"))),
        when=written.get("when"),
    )


def _preconditions(written: Mapping[str, Any], zone: tzinfo) -> Gate:
    entries = [_flow_entry(flow) for flow in written.get("flows") or ()]
    for where in written.get("where") or ():
        entries.append(
            Entry(
                key=_key("where", dict(where)),
                filters=tuple(where.get("filters") or ()),
                any_filter=where.get("operand") == "OR",
            )
        )
    return Gate(
        id=f"preconditions:{written.get('id', '')}",
        entries=tuple(entries),
        needed=len(entries),
        window=of_preconditions(written.get("timeWindow"), zone),
        keeps=written.get("resetOnSuccess") is False,
    )


def _depends_on(properties: Mapping[str, Any], written: Sequence[Mapping[str, Any]], zone: tzinfo) -> Gate:
    entries = tuple({entry.key: entry for entry in map(_flow_entry, written)}.values())
    mode = properties.get("mode") or "ALL"
    needed = len(entries) if mode == "ALL" else 1 if mode == "ANY" else int(properties.get("minSatisfied") or 1)
    window = properties.get("window")
    return Gate(
        id="dependsOn",
        entries=entries,
        needed=min(needed, len(entries)),
        window=of_depends_on(window, zone) if window else None,
        once=window is not None and str(window.get("fireOnce", False)).lower() == "true",
    )
