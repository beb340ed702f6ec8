"""From written triggers and conditions to the model (``flows.md`` 7, 8), with the checks of one trigger alone."""

from __future__ import annotations

from typing import Any

from namespaces.flows import scalars
from namespaces.flows.catalog import TypeEntry
from namespaces.flows.declared import read_label_map
from namespaces.flows.model import Condition, Listener, Trigger
from namespaces.flows.moments import read_instant, read_time, read_zone
from namespaces.flows.reader import Path
from namespaces.flows.scope import Scope
from namespaces.flows.tasks import LEVELS, read_id, read_tasks, read_worker_group
from namespaces.flows.types.fields import State
from namespaces.plugin import is_expression

STATES: tuple[str, ...] = State.__args__  # type: ignore[attr-defined]
_TRIGGER = "io.kestra.plugin.core.trigger."
_CONDITION = "io.kestra.plugin.core.condition."

TRIGGER_COMMON = frozenset(
    {
        "id",
        "type",
        "description",
        "version",
        "conditions",
        "when",
        "policyRefs",
        "disabled",
        "inputs",
        "labels",
        "stopAfter",
        "allowConcurrent",
        "failOnTriggerError",
        "logLevel",
        "minLogLevel",
        "logToFile",
        "workerGroup",
        "workerSelector",
        "assets",
    }
)
_NEWER = ("dependsOn", "mode", "minSatisfied", "window", "onMiss")
_OLDER = ("scheduleConditions", "preconditions", "multipleConditions")


def read_triggers(scope: Scope, value: Any, path: Path) -> tuple[Trigger, ...]:
    found = []
    for index, item in enumerate(scalars.a_list(scope.findings, value, path)):
        trigger = read_trigger(scope, item, (*path, index))
        if trigger is not None:
            found.append(trigger)
    ids = [t.id for t in found if t.id]
    repeated = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if repeated:
        scope.findings.error("F007", path, f"Duplicate trigger id with name [{', '.join(repeated)}]")
    return tuple(found)


def read_trigger(scope: Scope, written: Any, path: Path) -> Trigger | None:
    """One trigger; None when its type is unknown."""
    findings = scope.findings
    if not isinstance(written, dict):
        findings.error(scalars.WRONG_TYPE, path, "must be a trigger: a map with id and type")
        return None
    trigger_id = read_id(scope, written.get("id"), (*path, "id"))
    entry = scope.resolve(written.get("type"), path, ("trigger",), "trigger")
    if entry is None:
        return None
    if entry.short == "core.trigger.McpToolTrigger":
        scope.is_newer("McpToolTrigger", path)
    merged = scope.laid(entry, written, (*TRIGGER_COMMON, *entry.properties), path)
    own = {k: v for k, v in merged.items() if k not in TRIGGER_COMMON and v is not None}
    own = dict(scope.check(entry, own, path, TRIGGER_COMMON))
    common = _common(scope, merged, path)
    conditions = read_conditions(scope, merged.get("conditions"), (*path, "conditions"))
    for key in ("scheduleConditions", "multipleConditions"):
        if key in own and key in entry.nested:
            conditions += read_conditions(scope, own.pop(key), (*path, key))
    for key in _NEWER:
        if key in own and entry.name == _TRIGGER + "Flow":
            scope.is_newer(f"Flow trigger {key}", (*path, key))
    for key in _OLDER:
        if key in written:
            scope.is_older(key, (*path, key))
    check = _CHECKS.get(entry.name)
    if check is not None:
        check(scope, own, merged, path)
    return Trigger(
        id=trigger_id or "", type=entry.name, properties=own, written=written, conditions=conditions, **common
    )


def _common(scope: Scope, merged: dict[str, Any], path: Path) -> dict[str, Any]:
    findings = scope.findings
    common: dict[str, Any] = {
        "disabled": scalars.boolean(findings, merged.get("disabled"), (*path, "disabled"), False),
        "inputs": _inputs(scope, merged.get("inputs"), (*path, "inputs")),
        "labels": read_label_map(scope, merged.get("labels"), (*path, "labels")),
        "allow_concurrent": scalars.boolean(findings, merged.get("allowConcurrent"), (*path, "allowConcurrent"), False),
        "fail_on_trigger_error": scalars.boolean(
            findings, merged.get("failOnTriggerError"), (*path, "failOnTriggerError"), False
        ),
    }
    if merged.get("description") is not None:
        scalars.text(findings, merged["description"], (*path, "description"))
    if merged.get("conditions") is not None:
        scope.is_older("conditions", (*path, "conditions"))
    if merged.get("when") is not None:
        scope.is_newer("when", (*path, "when"))
        common["when"] = scalars.text(findings, merged["when"], (*path, "when"))
    if merged.get("stopAfter") is not None:
        where = (*path, "stopAfter")
        found = enumerate(scalars.a_list(findings, merged["stopAfter"], where))
        states = [scalars.one_of(findings, state, (*where, index), STATES) for index, state in found]
        common["stop_after"] = tuple(state for state in states if state)
    for key in ("logLevel", "minLogLevel"):
        if merged.get(key) is not None:
            scalars.one_of(findings, merged[key], (*path, key), LEVELS)
    if merged.get("minLogLevel") is not None:
        scope.is_older("minLogLevel", (*path, "minLogLevel"))
        findings.warning("F101", (*path, "minLogLevel"), "minLogLevel is deprecated: it is now logLevel")
    scalars.boolean(findings, merged.get("logToFile"), (*path, "logToFile"), False)
    if merged.get("policyRefs") is not None:
        scope.is_newer("policyRefs", (*path, "policyRefs"))
        scalars.texts(findings, merged["policyRefs"], (*path, "policyRefs"))
    for key in ("workerGroup", "workerSelector"):
        if merged.get(key) is not None:
            read_worker_group(scope, merged[key], (*path, key))
    return common


def _inputs(scope: Scope, value: Any, path: Path) -> dict[str, Any]:
    if isinstance(value, list) and all(isinstance(i, dict) and set(i) <= {"name", "value"} for i in value):
        return {str(item.get("name")): item.get("value") for item in value}
    return scalars.a_map(scope.findings, value, path)


def read_conditions(scope: Scope, value: Any, path: Path) -> tuple[Condition, ...]:
    """A list of conditions; a map of them (``MultipleCondition``) keeps its order."""
    if isinstance(value, dict):
        places: list[tuple[Any, Any]] = list(value.items())
    else:
        places = list(enumerate(scalars.a_list(scope.findings, value, path)))
    found = (_read_condition(scope, item, (*path, key)) for key, item in places)
    return tuple(condition for condition in found if condition is not None)


def _read_condition(scope: Scope, written: Any, path: Path) -> Condition | None:
    if not isinstance(written, dict):
        scope.findings.error(scalars.WRONG_TYPE, path, "must be a condition: a map with type")
        return None
    entry = scope.resolve(written.get("type"), path, ("condition",), "condition")
    if entry is None:
        return None
    merged = scope.laid(entry, written, entry.properties, path)
    own = {k: v for k, v in merged.items() if k not in ("type", "version") and v is not None}
    own = scope.check(entry, own, path, ("type",))
    nested: tuple[Condition, ...] = ()
    for key, kind in entry.nested.items():
        if kind in ("conditions", "conditionMap"):
            if not own.get(key):
                scope.findings.error("F004", (*path, key), "must not be empty")
            nested = read_conditions(scope, own.get(key), (*path, key))
        elif kind == "labels":
            if own.get(key) is None:
                scope.findings.required((*path, key))
            read_label_map(scope, own.get(key), (*path, key))
    if kind_check := _CONDITION_CHECKS.get(entry.name):
        kind_check(scope, own, path)
    return Condition(type=entry.name, properties=own, conditions=nested)


def _needs_bound(scope: Scope, own: dict[str, Any], path: Path) -> None:
    if own.get("after") is None and own.get("before") is None:
        scope.findings.error("F004", path, "'after' or 'before' must be given")


def _multiple(scope: Scope, own: dict[str, Any], path: Path) -> None:
    window = own.get("timeWindow")
    if isinstance(window, dict):
        _time_window(scope, window, (*path, "timeWindow"))


_CONDITION_CHECKS = {
    _CONDITION + "DateTimeBetween": _needs_bound,
    _CONDITION + "TimeBetween": _needs_bound,
    _CONDITION + "MultipleCondition": _multiple,
}


def _zone(scope: Scope, own: dict[str, Any], path: Path) -> None:
    zone = own.get("timezone")
    if zone is None:
        return
    try:
        read_zone(scalars.scalar_text(zone))
    except ValueError as error:
        scope.findings.error("F015", (*path, "timezone"), str(error))


def _schedule(scope: Scope, own: dict[str, Any], _merged: dict[str, Any], path: Path) -> None:
    from namespaces.cron import CronFault, read_cron

    _zone(scope, own, path)
    if own.get("backfill") is not None:
        scope.findings.warning("F101", (*path, "backfill"), "backfill is deprecated and has no effect")
    if own.get("cron") is None:
        return
    written = scalars.scalar_text(own["cron"])
    try:
        cron = read_cron(written, with_seconds=own.get("withSeconds") is True)
    except CronFault as fault:
        scope.findings.error("F015", (*path, "cron"), f"invalid cron expression '{written[:100]}': {fault}")
        return
    for code, note in cron.notes():
        (scope.findings.warning if code.startswith("F1") else scope.findings.info)(code, (*path, "cron"), note)


def _on_dates(scope: Scope, own: dict[str, Any], _merged: dict[str, Any], path: Path) -> None:
    _zone(scope, own, path)


def _webhook(scope: Scope, own: dict[str, Any], merged: dict[str, Any], path: Path) -> None:
    key = own.get("key")
    if isinstance(key, str) and not is_expression(key) and len(key) < 32:
        message = "the webhook key is shorter than 32 characters: who guesses it can start the flow"
        scope.findings.warning("F107", (*path, "key"), message, hint="use a long random key, or {{ secret('…') }}")
    for index, item in enumerate(merged.get("conditions") or []):
        if isinstance(item, dict) and str(item.get("type", "")).endswith("MultipleCondition"):
            place = (*path, "conditions", index)
            scope.findings.error(
                "F026", place, "invalid webhook: conditions of type `MultipleCondition` are not supported"
            )
    for name in ("idempotencyKey", "signature", "rateLimit"):
        if own.get(name) is not None:
            scope.findings.info("F203", (*path, name), f"{name} is Lanner's own: a Kestra server refuses the flow")


_WINDOWS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "DURATION_WINDOW": ((), ("window", "windowAdvance")),
    "SLIDING_WINDOW": ((), ("window",)),
    "DAILY_TIME_DEADLINE": (("deadline",), ()),
    "DAILY_TIME_WINDOW": (("startTime", "endTime"), ()),
}


def _time_window(scope: Scope, window: dict[str, Any], path: Path) -> None:
    kind = window.get("type") or "DURATION_WINDOW"
    if not isinstance(kind, str) or kind not in _WINDOWS:
        return
    required, optional = _WINDOWS[kind]
    for key in required:
        if window.get(key) is None:
            scope.findings.error("F018", (*path, key), f"Time window of type `{kind}` must have `{key}`")
    for key, value in window.items():
        if key == "type" or value is None:
            continue
        if key not in required and key not in optional:
            message = f"Time window of type `{kind}` cannot have `{key}`"
            scope.findings.error("F018", (*path, key), message)
        elif key in ("deadline", "startTime", "endTime"):
            _local_time(scope, value, (*path, key))


def _local_time(scope: Scope, value: Any, path: Path) -> None:
    written = scalars.scalar_text(value)
    try:
        if any(mark in written[5:] for mark in "+-Zz"):
            read_instant("2000-01-01T" + written)
        else:
            read_time(written)
    except ValueError:
        scope.findings.error("F018", path, f"not a time: {written[:60]!r}, expected HH:mm:ss")


def _flow_trigger(scope: Scope, own: dict[str, Any], merged: dict[str, Any], path: Path) -> None:
    findings = scope.findings
    preconditions, depends_on = own.get("preconditions"), own.get("dependsOn")
    if preconditions is not None and depends_on is not None:
        findings.error(
            "F030", (*path, "dependsOn"), "'preconditions' and 'dependsOn' exclude each other on one trigger"
        )
    if isinstance(preconditions, dict):
        _preconditions(scope, preconditions, (*path, "preconditions"))
    entries = depends_on if isinstance(depends_on, list) else []
    if own.get("mode") == "AT_LEAST":
        least = own.get("minSatisfied")
        if least is None:
            findings.error("F026", (*path, "minSatisfied"), "must not be null with mode AT_LEAST")
        elif isinstance(least, int) and least > len(entries):
            message = f"must not be more than the number of entries in dependsOn ({len(entries)}), but is {least}"
            findings.error("F026", (*path, "minSatisfied"), message)
    if isinstance(own.get("window"), dict):
        _window(scope, own["window"], (*path, "window"))
    for index, entry in enumerate(entries):
        if isinstance(entry, dict):
            read_label_map(scope, entry.get("labels"), (*path, "dependsOn", index, "labels"))
            if entry.get("when") is not None:
                scope.is_newer("when", (*path, "dependsOn", index, "when"))
    if not (
        preconditions or entries or merged.get("conditions") or merged.get("when") or own.get("multipleConditions")
    ):
        findings.warning(
            "F103",
            path,
            "This flow will be triggered for EVERY execution of EVERY flow on your instance. "
            "We recommend adding conditions, preconditions or dependsOn to it.",
        )
    elif merged.get("states") is None and not any(isinstance(e, dict) and e.get("states") for e in entries):
        findings.info("F204", path, "no 'states': the trigger listens to all terminal states and to PAUSED")


_WINDOW_GROUPS = (("deadline",), ("from", "to"), ("lookback",), ("every", "offset"))


def _window(scope: Scope, window: dict[str, Any], path: Path) -> None:
    given = [group for group in _WINDOW_GROUPS if any(window.get(key) is not None for key in group)]
    if len(given) > 1:
        names = " and ".join(f"`{key}`" for group in given for key in group if window.get(key) is not None)
        scope.findings.error("F026", path, f"a window has one form only, but {names} are given")
    if (window.get("from") is None) != (window.get("to") is None):
        scope.findings.error("F026", path, "`from` and `to` are given together")
    for key in ("deadline", "from", "to"):
        if window.get(key) is not None:
            _local_time(scope, window[key], (*path, key))
    _zone(scope, window, path)


_WITHOUT_VALUE = frozenset({"IS_TRUE", "IS_FALSE", "IS_NULL", "IS_NOT_NULL"})
_WITH_VALUES = frozenset({"IN", "NOT_IN"})


def _preconditions(scope: Scope, written: dict[str, Any], path: Path) -> None:
    if isinstance(written.get("timeWindow"), dict):
        _time_window(scope, written["timeWindow"], (*path, "timeWindow"))
    if not written.get("flows") and not written.get("where"):
        scope.findings.error("F004", path, "`flows` or `where` must be given")
    where = written.get("where")
    for index, entry in enumerate(where if isinstance(where, list) else ()):
        filters = entry.get("filters") if isinstance(entry, dict) else None
        for number, one in enumerate(filters if isinstance(filters, list) else ()):
            if not isinstance(one, dict):
                continue
            kind, place = one.get("type"), (*path, "where", index, "filters", number)
            if not isinstance(kind, str):
                continue
            wanted = "values" if kind in _WITH_VALUES else "value"
            if kind not in _WITHOUT_VALUE and one.get(wanted) is None:
                scope.findings.error("F019", place, f"`{wanted}` cannot be null for type {kind}")


_CHECKS = {
    _TRIGGER + "Schedule": _schedule,
    _TRIGGER + "ScheduleOnDates": _on_dates,
    _TRIGGER + "Webhook": _webhook,
    _TRIGGER + "Flow": _flow_trigger,
}


def read_listeners(scope: Scope, value: Any, path: Path) -> tuple[Listener, ...]:
    """Legacy: tasks after the execution's end."""
    findings = scope.findings
    found = []
    for index, item in enumerate(scalars.a_list(findings, value, path)):
        place = (*path, index)
        if not isinstance(item, dict):
            findings.error(scalars.WRONG_TYPE, place, "must be a listener: a map with tasks and conditions")
            continue
        for key in item:
            if key not in ("description", "conditions", "tasks"):
                findings.unknown_property((*place, key), ("description", "conditions", "tasks"), "listener")
        found.append(
            Listener(
                description=scalars.text(findings, item.get("description"), (*place, "description")),
                conditions=read_conditions(scope, item.get("conditions"), (*place, "conditions")),
                tasks=read_tasks(scope, item.get("tasks"), (*place, "tasks"), empty="must not be empty"),
            )
        )
    return tuple(found)


def trigger_properties(entry: TypeEntry) -> frozenset[str]:
    """Everything one may write on a trigger of that type."""
    return TRIGGER_COMMON | entry.properties
