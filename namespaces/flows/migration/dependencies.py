"""Flow triggers: M08 conditions, M09 preconditions and M10 MultipleCondition become ``dependsOn``, with M11 windows."""

from __future__ import annotations

from typing import Any

from namespaces.flows.migration import expressions, places
from namespaces.flows.migration.conditions import (
    Condition,
    Part,
    Refused,
    as_text,
    joined,
    kind_of,
    label_pairs,
    of_upstream,
    upstream,
)
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.places import TRIGGER
from namespaces.flows.reader import Path

LISTENED = ("SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED", "PAUSED")
"""The states a Flow trigger listens to when it names none."""
_RESTARTS = "its window starts anew: what was met before the conversion is forgotten"


def flow_triggers(draft: Draft) -> None:
    """M08 to M11, one trigger after the other; one that cannot be converted whole stays as it is."""
    for path, trigger in list(places.triggers(draft.value)):
        if draft.around.canonical(trigger["type"]) != TRIGGER + "Flow" or trigger.get("dependsOn") is not None:
            continue
        _convert(draft, path, trigger)
        draft.commit()


def _convert(draft: Draft, path: Path, trigger: dict[str, Any]) -> None:
    canonical = draft.around.canonical
    listed = [one for one in trigger.get("conditions") or () if isinstance(one, dict)]
    several = [one for one in trigger.get("multipleConditions") or () if isinstance(one, dict)]
    several += [one for one in listed if kind_of(one, canonical) == "MultipleCondition"]
    plain = [one for one in listed if kind_of(one, canonical) != "MultipleCondition"]
    preconditions = trigger.get("preconditions")
    written = [key for key in ("conditions", "multipleConditions", "preconditions") if trigger.get(key) is not None]
    if not written:
        return
    if bool(plain) + len(several) + bool(preconditions) > 1:
        draft.ask("M08", (*path, written[0]), "several kinds of conditions on one trigger: write one dependsOn by hand")
    elif plain:
        _conditions(draft, path, trigger, plain)
    elif several:
        _multiple(draft, path, written[0], several[0])
    elif isinstance(preconditions, dict):
        _preconditions(draft, path, preconditions)


# -- M08


def _conditions(draft: Draft, path: Path, trigger: dict[str, Any], listed: list[Condition]) -> None:
    try:
        entry = entry_of(draft, listed, trigger.get("states"))
    except Refused as refused:
        draft.ask("M08", (*path, "conditions"), str(refused))
        return
    sheet = draft.sheet
    sheet.rename((*path, "conditions"), "dependsOn")
    sheet.write((*path, "conditions"), [entry])
    if "states" in entry and trigger.get("states") is not None and set(entry["states"]) <= set(LISTENED):
        sheet.remove((*path, "states"))
    draft.tell("M08", (*path, "conditions"), "conditions is now dependsOn")


def entry_of(draft: Draft, listed: list[Condition], states: Any) -> dict[str, Any]:
    """The conditions, which all must hold, as one entry. ``states`` are the trigger's. Raises ``Refused``."""
    entry: dict[str, Any] = {}
    parts: list[Part] = []
    heard = [str(state) for state in states] if isinstance(states, list) else list(LISTENED)
    wanted = heard
    labels: list[tuple[str, Any]] = []
    for one in listed:
        kind = kind_of(one, draft.around.canonical)
        if kind == "ExecutionFlow":
            _fixed(entry, "namespace", one)
            _fixed(entry, "flowId", one)
        elif kind == "ExecutionNamespace" and _equals(one):
            _fixed(entry, "namespace", one)
        elif kind == "ExecutionStatus":
            wanted = _wanted(wanted, one)
        elif kind == "ExecutionLabels":
            labels += label_pairs(one.get("labels"))
        else:
            parts.append(upstream(one, draft.around.canonical))
    if not wanted:
        raise Refused("the states exclude each other, so that the trigger never fires: say which are meant")
    if wanted != heard or (isinstance(states, list) and set(heard) <= set(LISTENED)):
        entry["states"] = wanted
    if labels:
        if len(dict(labels)) < len(labels):
            raise Refused("a label is asked for twice: keep one of them")
        entry["labels"] = dict(labels)
    if parts:
        entry["when"] = joined(parts)
    return {key: entry[key] for key in ("namespace", "flowId", "states", "labels", "when") if key in entry}


def _equals(condition: Condition) -> bool:
    return condition.get("prefix") is not True and condition.get("comparison") in (None, "EQUALS")


def _fixed(entry: dict[str, Any], key: str, condition: Condition) -> None:
    value = str(condition.get(key))
    if "{{" in value or "{%" in value:
        raise Refused(f"'{key}' of an entry is no expression: write the name, or compare in `when`")
    if entry.get(key, value) != value:
        raise Refused(f"{key} cannot be both {entry[key]} and {value}: several flows are several entries")
    entry[key] = value


def _wanted(states: list[str], condition: Condition) -> list[str]:
    inside, outside = condition.get("in"), condition.get("notIn")
    if isinstance(inside, list):
        states = [state for state in states if state in inside]
    if isinstance(outside, list):
        states = [state for state in states if state not in outside]
    return states


# -- M10


def _multiple(draft: Draft, path: Path, key: str, condition: Condition) -> None:
    members = condition.get("conditions")
    try:
        made = [entry_of(draft, [one], None) for one in (members.values() if isinstance(members, dict) else ())]
    except Refused as refused:
        draft.ask("M10", (*path, key), str(refused))
        return
    window = condition.get("timeWindow")
    if not isinstance(window, dict):
        window = {name: condition[old] for name, old in _OF_MULTIPLE.items() if condition.get(old) is not None}
    sheet = draft.sheet
    sheet.rename((*path, key), "dependsOn")
    sheet.write((*path, key), made)
    _window(draft, path, key, window, condition.get("resetOnSuccess") is not False)
    draft.tell("M10", (*path, key), "MultipleCondition is now dependsOn")
    draft.tell("M10", (*path, key), _RESTARTS, "note")


_OF_MULTIPLE = {"window": "window", "windowAdvance": "windowAdvance"}

# -- M09


def _preconditions(draft: Draft, path: Path, written: dict[str, Any]) -> None:
    where = (*path, "preconditions")
    entries: list[Any] = []
    flows = written.get("flows")
    for index, one in enumerate(flows if isinstance(flows, list) else ()):
        if isinstance(one, dict):
            entries.append(draft.sheet.kept((*where, "flows", index)))
    filters = written.get("where")
    try:
        entries += [_where(one) for one in (filters if isinstance(filters, list) else ()) if isinstance(one, dict)]
    except Refused as refused:
        draft.ask("M09", where, str(refused))
        return
    whole: Any = entries
    if isinstance(flows, list) and len(entries) == len(flows) and entries:
        whole = draft.sheet.kept((*where, "flows"))
    window = written.get("timeWindow")
    draft.sheet.rename(where, "dependsOn")
    draft.sheet.write(where, whole)
    reset = written.get("resetOnSuccess") is not False
    _window(draft, path, "preconditions", window if isinstance(window, dict) else {}, reset)
    draft.tell("M09", where, "preconditions is now dependsOn")
    draft.tell("M09", where, _RESTARTS, "note")


_FIELDS = {"FLOW_ID": "flowId", "NAMESPACE": "namespace", "STATE": "state"}


def _where(one: dict[str, Any]) -> dict[str, Any]:
    word = " or " if one.get("operand") == "OR" else " and "
    parts = [_filter(item) for item in one.get("filters") or () if isinstance(item, dict)]
    text = parts[0] if len(parts) == 1 else word.join(f"({part})" for part in parts)
    return {"when": f"{{{{ {text} }}}}"}


def _filter(item: dict[str, Any]) -> str:
    kind, values = str(item.get("type")), [as_text(value) for value in item.get("values") or ()]
    if item.get("field") == "EXPRESSION":
        found = expressions.find(str(item.get("value")))
        node = expressions.printed(found)
        if found.whole is None or node is None:
            raise Refused("the filter's value is not one {{ }} alone: write one expression")
        part = of_upstream(Part(found.whole, expressions.is_boolean(node)))
        seen = part.text
        if kind in ("IS_TRUE", "IS_FALSE") and part.boolean:
            return seen if kind == "IS_TRUE" else f"not ({seen})"
        value = values[0] if values else None
        seen = f"({seen})"
    else:
        seen = _FIELDS.get(str(item.get("field")), "")
        if not seen:
            raise Refused(f"unknown field {item.get('field')!r}")
        value = None if item.get("value") is None else as_text(item["value"])
    made = _compared(kind, seen, value, values)
    if made is None:
        raise Refused(f"a filter of type {kind} without a value: write the comparison as `when`")
    return made


def _compared(kind: str, seen: str, value: str | None, values: list[str]) -> str | None:
    if kind in ("IN", "NOT_IN"):
        part = f"[{', '.join(values)}] contains {seen}"
        return f"not ({part})" if kind == "NOT_IN" else part
    fixed = {
        "IS_TRUE": f"{seen} == true", "IS_FALSE": f"{seen} == false",
        "IS_NULL": f"({seen} ?? '') == ''", "IS_NOT_NULL": f"({seen} ?? '') != ''",
    }  # fmt: skip
    if kind in fixed:
        return fixed[kind]
    if value is None:
        return None
    return {
        "EQUAL_TO": f"{seen} == {value}",
        "NOT_EQUAL_TO": f"{seen} != {value}",
        "STARTS_WITH": f"{seen} | startsWith({value})",
        "ENDS_WITH": f"{seen} | endsWith({value})",
        "CONTAINS": f"{seen} contains {value}",
        "REGEX": f"{seen} | regexMatch('^(?:' ~ {value} ~ ')$')",
    }.get(kind)


# -- M11


def _window(draft: Draft, path: Path, after: str, window: dict[str, Any], reset: bool) -> None:
    made = window_of(window)
    if not reset:
        made = {**(made or {"every": "P1D"}), "fireOnce": False}
    elif made:
        made = {**made, "fireOnce": True}
    if not made:
        if window:
            draft.tell("M11", (*path, after), "the default window needs no words")
        return
    draft.sheet.add(path, "window", made, after=after)
    draft.tell("M11", (*path, after), f"the time window is now window: {made}")


def window_of(window: dict[str, Any]) -> dict[str, Any]:
    """``timeWindow`` as ``window``; empty for the default one."""
    match window.get("type") or "DURATION_WINDOW":
        case "DAILY_TIME_DEADLINE":
            return {"deadline": window.get("deadline")}
        case "DAILY_TIME_WINDOW":
            return {"from": window.get("startTime"), "to": window.get("endTime")}
        case "SLIDING_WINDOW":
            return {"lookback": window.get("window") or "P1D"}
    if window.get("window") in (None, "P1D", "PT24H") and window.get("windowAdvance") in (None, "PT0S", "P0D"):
        return {}
    made = {"every": window.get("window") or "P1D"}
    if window.get("windowAdvance") is not None:
        made["offset"] = window["windowAdvance"]
    return made


# -- M12


def trigger_outputs(draft: Draft) -> None:
    """M12: with several entries an output of the trigger is found below the flow that declares it."""
    listening = [
        (path, trigger)
        for path, trigger in places.triggers(draft.value)
        if draft.around.canonical(trigger["type"]) == TRIGGER + "Flow"
    ]
    several = {path: entries for path, trigger in listening if len(entries := _entries(trigger)) > 1}
    if not several:
        return
    for path, text, found in draft.found():
        chains = [chain for chain in found.free("trigger") if chain.starts("trigger", "outputs") and chain.keys[1:]]
        if not chains:
            continue
        if path[:1] == ("triggers",) and path[:2] not in several:
            continue
        entries = several.get(path[:2]) or next(iter(several.values()))
        for chain in chains:
            name = chain.names[2]
            if name in {flow_id for _, flow_id in entries} or _is_namespace(name, entries):
                continue
            declaring = [flow_id for flow_id in entries if _declares(draft, flow_id, name)]
            if len(declaring) == 1 and (path[:2] in several or len(listening) == 1):
                scoped = expressions.step(declaring[0][1])
                draft.sheet.write_in(path, chain.keys[0].to, chain.keys[0].to, scoped)
                draft.tell("M12", path, f"trigger.outputs.{name} is now trigger.outputs{scoped}.{name}")
            else:
                told = text[chain.at : chain.to]
                draft.ask("M12", path, f"`{told}` of several flows: say which, as in trigger.outputs.<flowId>.{name}")


def _entries(trigger: dict[str, Any]) -> list[tuple[str, str]]:
    written = trigger.get("dependsOn")
    return [
        (str(one.get("namespace")), str(one.get("flowId", "")))
        for one in (written if isinstance(written, list) else ())
        if isinstance(one, dict)
    ]


def _is_namespace(name: Any, entries: list[tuple[str, str]]) -> bool:
    return any(namespace == name or namespace.startswith(f"{name}.") for namespace, _ in entries)


def _declares(draft: Draft, flow: tuple[str, str], name: Any) -> bool:
    written = draft.around.flows.get(flow, {}).get("outputs")
    declared = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    return any(one.get("id") == name for one in declared)
