"""Search filters as they arrive: flat names (v0) and brackets (v1, v2), read into ``namespaces.filters`` values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from flask import request

from namespaces.durations import parse_duration
from namespaces.errors import BadRequest, InvalidInput
from namespaces.filters import Filter, Filters, Group, Op
from service.api.context import instant, label_pairs

_BRACKETS = re.compile(r"\[([^\]]*)\]")
_LISTS = (Op.IN, Op.NOT_IN)

Flat = Mapping[str, tuple[str, Op]]
"""Flat parameter to the field and operation it stands for."""

EXECUTIONS: Flat = {
    "q": ("q", Op.EQUALS),
    "namespace": ("namespace", Op.PREFIX),
    "flowId": ("flowId", Op.EQUALS),
    "state": ("state", Op.IN),
    "labels": ("labels", Op.EQUALS),
    "startDate": ("startDate", Op.GREATER_THAN_OR_EQUAL_TO),
    "endDate": ("endDate", Op.LESS_THAN_OR_EQUAL_TO),
    "timeRange": ("timeRange", Op.EQUALS),
    "scope": ("scope", Op.IN),
    "triggerExecutionId": ("triggerExecutionId", Op.EQUALS),
    "triggerId": ("triggerId", Op.EQUALS),
    "childFilter": ("childFilter", Op.EQUALS),
    "parentId": ("parentId", Op.EQUALS),
    "kind": ("kind", Op.EQUALS),
}
LOGS: Flat = {
    "q": ("q", Op.EQUALS),
    "namespace": ("namespace", Op.PREFIX),
    "flowId": ("flowId", Op.EQUALS),
    "triggerId": ("triggerId", Op.EQUALS),
    "minLevel": ("level", Op.EQUALS),
    "startDate": ("startDate", Op.GREATER_THAN_OR_EQUAL_TO),
    "endDate": ("endDate", Op.LESS_THAN_OR_EQUAL_TO),
    "timeRange": ("timeRange", Op.EQUALS),
    "scope": ("scope", Op.IN),
}
FLOWS: Flat = {
    "q": ("q", Op.EQUALS),
    "namespace": ("namespace", Op.PREFIX),
    "flowId": ("flowId", Op.EQUALS),
    "labels": ("labels", Op.EQUALS),
    "scope": ("scope", Op.IN),
}
TRIGGERS: Flat = {
    "q": ("q", Op.EQUALS),
    "namespace": ("namespace", Op.PREFIX),
    "flowId": ("flowId", Op.EQUALS),
    "triggerId": ("triggerId", Op.EQUALS),
    "workerId": ("workerId", Op.EQUALS),
    "scope": ("scope", Op.IN),
}
KV: Flat = {"q": ("q", Op.EQUALS), "namespace": ("namespace", Op.EQUALS)}
NAMESPACES: Flat = {
    "q": ("q", Op.EQUALS),
    "existing": ("existingOnly", Op.EQUALS),
    "existingOnly": ("existingOnly", Op.EQUALS),
}


def read(flat: Flat, now: datetime) -> Filters:
    """All filters of the request, AND-ed. Raises ``BadRequest`` for bad filters, ``InvalidInput`` for bad values."""
    return from_pairs(request.args.items(multi=True), flat, now)


def from_pairs(pairs: Iterable[tuple[str, str]], flat: Flat, now: datetime) -> Filters:
    """As ``read``, from decoded (name, value) pairs; names may repeat."""
    plain: dict[str, list[str]] = {}
    found: list[Filter | Group] = []
    labels: dict[Op, list[tuple[str, str]]] = {}
    groups: dict[str, Any] = {}
    for name, value in pairs:
        if name.startswith("filters["):
            _bracketed(_BRACKETS.findall(name[7:]), value, found, labels, groups, name)
        elif name in flat and value != "":
            plain.setdefault(name, []).append(value)
    found.extend(Filter("labels", op, tuple(members)) for op, members in labels.items())
    found.extend(_group(word, members) for word, members in groups.items())
    found.extend(_flat(plain, flat))
    return [_timed(member, now) for member in found]


def from_body(filters: Any, now: datetime) -> Filters:
    """Filters in a body: ``[{field, operation, value}]``."""
    found: list[Filter | Group] = []
    for item in filters or ():
        if not isinstance(item, dict) or "field" not in item:
            raise BadRequest("Invalid query filters: expected a list of {field, operation, value}")
        value = item.get("value")
        if item["field"] == "labels" and isinstance(value, dict):
            value = tuple((str(key), str(one)) for key, one in value.items())
        elif isinstance(value, list):
            value = tuple(str(one) for one in value)
        found.append(_timed(Filter(str(item["field"]), _op(str(item.get("operation", "EQUALS"))), value), now))
    return found


def _op(word: str) -> Op:
    try:
        return Op(word)
    except ValueError as error:
        raise BadRequest(f"Invalid query filters: unknown operation '{word[:40]}'") from error


def _bracketed(
    parts: list[str],
    value: str,
    found: list[Filter | Group],
    labels: dict[Op, list[tuple[str, str]]],
    groups: dict[str, Any],
    name: str,
) -> None:
    if not parts:
        raise BadRequest(f"Invalid query filters: '{name[:80]}' is not filters[field][OPERATION]")
    if parts[0] in ("or", "and") and len(parts) > 2:
        _into_group(groups.setdefault(parts[0], {}), parts[1:], value, name)
        return
    if len(parts) < 2:
        raise BadRequest(f"Invalid query filters: '{name[:80]}' is not filters[field][OPERATION]")
    field, op = parts[0], _op(parts[1])
    if field == "labels":
        labels.setdefault(op, []).extend(_label(parts, value))
        return
    found.append(_one(field, op, value))


def _one(field: str, op: Op, value: str) -> Filter:
    return Filter(field, op, tuple(part for part in value.split(",") if part) if op in _LISTS else value)


def _label(parts: list[str], value: str) -> tuple[tuple[str, str], ...]:
    if len(parts) > 2:
        return ((parts[2], value),)
    return label_pairs([value])


def _into_group(group: dict[str, Any], parts: list[str], value: str, name: str) -> None:
    """Members by index; a member that is ``or``/``and`` again nests once."""
    index, rest = parts[0], parts[1:]
    if not index.isdigit() or len(rest) < 2:
        raise BadRequest(f"Invalid query filters: '{name[:80]}' is not a group of filters")
    if rest[0] in ("or", "and"):
        inner = group.setdefault(index, {})
        if not isinstance(inner, dict):
            raise BadRequest(f"Invalid query filters: '{name[:80]}' mixes a filter and a group")
        _into_group(inner.setdefault(rest[0], {}), rest[1:], value, name)
        return
    op = _op(rest[1])
    member = Filter("labels", op, _label(rest, value)) if rest[0] == "labels" else _one(rest[0], op, value)
    held = group.setdefault(index, [])
    if not isinstance(held, list):
        raise BadRequest(f"Invalid query filters: '{name[:80]}' mixes a filter and a group")
    held.append(member)


def _group(word: str, members: dict[str, Any]) -> Group:
    made: list[Filter | Group] = []
    for index in sorted(members, key=int):
        held = members[index]
        if isinstance(held, dict):
            made.extend(_group(inner, parts) for inner, parts in held.items())
        elif len(held) == 1:
            made.append(held[0])
        else:
            made.append(Group("and", tuple(held)))
    return Group(word, tuple(made))


def _flat(plain: dict[str, list[str]], flat: Flat) -> list[Filter | Group]:
    if "startDate" in plain and "timeRange" in plain:
        raise InvalidInput("Illegal argument: parameters 'startDate' and 'timeRange' are mutually exclusive")
    if "startDate" in plain and "endDate" in plain:
        start, end = instant(plain["startDate"][0], "startDate"), instant(plain["endDate"][0], "endDate")
        if start > end:
            raise InvalidInput("Illegal argument: Start date must be before End Date")
    found: list[Filter | Group] = []
    for name, values in plain.items():
        field, op = flat[name]
        if field == "labels":
            found.append(Filter(field, op, label_pairs(values)))
        elif op in _LISTS:
            found.append(Filter(field, op, tuple(part for value in values for part in value.split(",") if part)))
        else:
            if field in ("startDate", "endDate"):
                instant(values[0], name)
            found.append(Filter(field, op, values[-1]))
    return found


def _timed(member: Filter | Group, now: datetime) -> Filter | Group:
    """``timeRange`` counts back from now: it becomes a lower bound of the start date."""
    if isinstance(member, Group):
        return Group(member.joined_by, tuple(_timed(inner, now) for inner in member.members))
    if member.field != "timeRange":
        return member
    try:
        since = now - parse_duration(str(member.value))
    except ValueError as error:
        raise InvalidInput(f"Illegal argument: timeRange: {error}") from error
    return Filter("startDate", Op.GREATER_THAN_OR_EQUAL_TO, since.isoformat())
