"""What bounds the executions of a flow: concurrency, quotas, SLAs and checks (``flows.md`` 1.9, 1.11, 1.12)."""

from __future__ import annotations

from typing import Any

from namespaces.flows import scalars
from namespaces.flows.declared import read_label_pairs
from namespaces.flows.model import Check, Concurrency, ConcurrencyBehavior, Quota, Sla
from namespaces.flows.reader import Path
from namespaces.flows.scope import Scope


def read_concurrency(scope: Scope, value: Any, path: Path) -> Concurrency | None:
    written = scalars.a_map(scope.findings, value, path)
    for key in written:
        if key not in ("limit", "behavior"):
            scope.findings.unknown_property((*path, key), ("limit", "behavior"), "concurrency")
    if written.get("limit") is None:
        scope.findings.required((*path, "limit"))
        return None
    limit = scalars.integer(scope.findings, written["limit"], (*path, "limit"), at_least=1)
    behavior: ConcurrencyBehavior | None = ConcurrencyBehavior.QUEUE
    if written.get("behavior") is not None:
        behavior = scalars.enum(scope.findings, written["behavior"], (*path, "behavior"), ConcurrencyBehavior)
    return Concurrency(limit=limit, behavior=behavior) if limit and behavior else None


def _entries(
    scope: Scope, value: Any, path: Path, known: tuple[str, ...], what: str
) -> list[tuple[dict[str, Any], Path]]:
    found = []
    for index, item in enumerate(scalars.a_list(scope.findings, value, path)):
        place = (*path, index)
        if not isinstance(item, dict):
            scope.findings.error(scalars.WRONG_TYPE, place, f"must be a {what}: a map")
            continue
        for key in item:
            if key not in known:
                scope.findings.unknown_property((*place, key), known, what)
        found.append((item, place))
    return found


SLA_KEYS = ("id", "type", "duration", "assert", "behavior", "labels")


def read_sla(scope: Scope, value: Any, path: Path) -> tuple[Sla, ...]:
    findings = scope.findings
    found: list[Sla] = []
    for item, place in _entries(scope, value, path, SLA_KEYS, "SLA"):
        missing = [key for key in ("id", "type", "behavior") if item.get(key) is None]
        for key in missing:
            findings.required((*place, key))
        if missing:
            continue
        kind = scalars.one_of(findings, item["type"], (*place, "type"), ("MAX_DURATION", "EXECUTION_ASSERTION"))
        behavior = scalars.one_of(findings, item["behavior"], (*place, "behavior"), ("FAIL", "CANCEL", "NONE"))
        needed = {"MAX_DURATION": "duration", "EXECUTION_ASSERTION": "assert"}.get(kind or "")
        if needed and item.get(needed) is None:
            findings.error("F025", (*place, needed), f"must not be null for an SLA of type {kind}")
            continue
        duration = None
        if item.get("duration") is not None:
            duration = scalars.duration(findings, item["duration"], (*place, "duration"))
        if kind and behavior:
            found.append(
                Sla(
                    id=scalars.text(findings, item["id"], (*place, "id")) or "",
                    type=kind,
                    behavior=behavior,
                    duration=duration,
                    assert_=scalars.text(findings, item.get("assert"), (*place, "assert")),
                    labels=read_label_pairs(scope, item.get("labels"), (*place, "labels")),
                )
            )
    return tuple(found)


CHECK_KEYS = ("condition", "when", "message", "style", "behavior")


def read_checks(scope: Scope, value: Any, path: Path) -> tuple[Check, ...]:
    findings = scope.findings
    found: list[Check] = []
    for item, place in _entries(scope, value, path, CHECK_KEYS, "check"):
        condition, when = item.get("condition"), item.get("when")
        if when is not None:
            scope.is_newer("when", (*place, "when"))
        if condition is not None:
            scope.is_older("check condition", (*place, "condition"))
            if when is not None:
                findings.error("F030", (*place, "condition"), "'condition' and 'when' are two names of one property")
        if condition is None and when is None:
            findings.error("F025", (*place, "when"), "must not be null")
        if item.get("message") is None:
            findings.error("F025", (*place, "message"), "must not be null")
        made: dict[str, str] = {}
        for key, allowed in (
            ("style", ("ERROR", "SUCCESS", "WARNING", "INFO")),
            ("behavior", ("BLOCK_EXECUTION", "FAIL_EXECUTION", "CREATE_EXECUTION")),
        ):
            if item.get(key) is not None:
                made[key] = scalars.one_of(findings, item[key], (*place, key), allowed) or allowed[0]
        written = when if when is not None else condition
        found.append(
            Check(
                condition=scalars.text(findings, written, place) or "",
                message=scalars.text(findings, item.get("message"), (*place, "message")) or "",
                **made,
            )
        )
    return tuple(found)


def read_quotas(scope: Scope, value: Any, path: Path) -> tuple[Quota, ...]:
    findings = scope.findings
    scope.is_newer("quotas", path)
    found: list[Quota] = []
    listed = [value] if isinstance(value, dict) else value
    for item, place in _entries(scope, listed, path, ("duration", "limit", "behavior"), "quota"):
        missing = [key for key in ("duration", "limit") if item.get(key) is None]
        for key in missing:
            findings.required((*place, key))
        if missing:
            continue
        duration = scalars.duration(findings, item["duration"], (*place, "duration"))
        limit = scalars.integer(findings, item["limit"], (*place, "limit"), at_least=1)
        behavior: str | None = "FAIL"
        if item.get("behavior") is not None:
            behavior = scalars.one_of(findings, item["behavior"], (*place, "behavior"), ("FAIL", "CANCEL"))
        if duration is not None and duration.total_seconds() < 60:
            findings.error("F005", (*place, "duration"), "must be at least PT1M")
        elif duration and limit and behavior:
            found.append(Quota(duration=duration, limit=limit, behavior=behavior))
    return tuple(found)
