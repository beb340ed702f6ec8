"""Which fields executions and logs can be searched and sorted by, and what each means in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from namespaces.errors import BadRequest
from namespaces.filters import (
    Condition,
    Field,
    Filters,
    Group,
    Op,
    contains,
    instant_field,
    number_field,
    text_field,
    unsupported,
    values_of,
)
from runner.logs import LEVELS
from runner.rows import execution_table as execution
from runner.rows import label_table as label
from runner.writing import log_table as log

SYSTEM_NAMESPACE = "system"


def read_instant(text: str) -> datetime:
    """An ISO-8601 instant; without a zone it is UTC. Raises ``BadRequest``."""
    from datetime import UTC

    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
    except ValueError as error:
        raise BadRequest(f"Invalid query filters: '{text}' is not a date-time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _labels(op: Op, value: Any) -> Condition:
    """``value`` holds (key, value) pairs: all must hold (EQUALS, IN), or none may (NOT_EQUALS, NOT_IN)."""
    if not isinstance(value, tuple) or not all(isinstance(pair, tuple) for pair in value):
        raise BadRequest("Invalid query filters: labels need a key, as in filters[labels][EQUALS][key]=value")
    return sa.and_(*(_label(op, key, wanted) for key, wanted in value))


def _label(op: Op, key: str, wanted: str) -> Condition:
    # Wanted labels are looked up in their own index first: few executions carry a certain value, many have to be
    # walked otherwise. What must not be there is asked of each execution.
    found = sa.select(label.c.execution_id).where(label.c.key == key)
    here = sa.select(sa.literal(1)).where(label.c.execution_id == execution.c.id, label.c.key == key)
    match op:
        case Op.EQUALS:
            return sa.and_(execution.c.id.in_(found.where(label.c.value == wanted)))
        case Op.IN:
            return sa.and_(execution.c.id.in_(found.where(label.c.value.in_(values_of(wanted)))))
        case Op.CONTAINS:
            return sa.and_(execution.c.id.in_(found.where(contains(label.c.value, wanted))))
        case Op.NOT_EQUALS:
            return sa.not_(here.where(label.c.value == wanted).exists())
        case Op.NOT_IN:
            return sa.not_(here.where(label.c.value.in_(values_of(wanted))).exists())
        case _:
            raise unsupported("labels", op)


def _query(op: Op, value: Any) -> Condition:
    """Case-insensitive search in id, flow, namespace and label values."""
    if op not in (Op.EQUALS, Op.CONTAINS, Op.NOT_EQUALS):
        raise unsupported("q", op)
    words = str(value)
    in_labels = (
        sa.select(sa.literal(1))
        .where(label.c.execution_id == execution.c.id, sa.or_(contains(label.c.value, words), label.c.key == words))
        .exists()
    )
    found = sa.or_(
        contains(execution.c.id, words),
        contains(execution.c.flow_id, words),
        contains(execution.c.namespace, words),
        in_labels,
    )
    return sa.not_(found) if op is Op.NOT_EQUALS else found


def scope_field(column: Any) -> Field:
    """``USER`` is everything outside the system namespace, ``SYSTEM`` what is in it."""

    def condition(op: Op, value: Any) -> Condition:
        if op not in (Op.EQUALS, Op.NOT_EQUALS, Op.IN, Op.NOT_IN):
            raise unsupported("scope", op)
        words = set(values_of(value))
        if not words <= {"USER", "SYSTEM"}:
            raise BadRequest(f"Invalid query filters: scope is USER or SYSTEM, not '{value}'")
        if len(words) != 1:
            return sa.true() if op in (Op.EQUALS, Op.IN) else sa.false()
        system = (words == {"SYSTEM"}) == (op in (Op.EQUALS, Op.IN))
        return sa.and_(column == SYSTEM_NAMESPACE if system else column != SYSTEM_NAMESPACE)

    return condition


def _child(op: Op, value: Any) -> Condition:
    if op not in (Op.EQUALS, Op.NOT_EQUALS) or value not in ("CHILD", "MAIN"):
        raise BadRequest(f"Invalid query filters: childFilter is CHILD or MAIN, not '{value}'")
    child = (value == "CHILD") == (op is Op.EQUALS)
    column = execution.c.trigger_execution_id
    return sa.and_(column.is_not(None) if child else column.is_(None))


def _parent(op: Op, value: Any) -> Condition:
    """Replays of an execution, and iterations of a Loop in it."""
    if op not in (Op.EQUALS, Op.IN):
        raise unsupported("parentId", op)
    ids = values_of(value)
    return sa.or_(
        execution.c.parent_id.in_(ids),
        sa.and_(execution.c.kind == "LOOP", execution.c.trigger_execution_id.in_(ids)),
    )


def _trigger(op: Op, value: Any) -> Condition:
    """The trigger's id lies in the JSON of what started the execution."""
    if op not in (Op.EQUALS, Op.IN):
        raise unsupported("triggerId", op)
    import orjson

    parts = [
        execution.c.trigger.cast(sa.Text).contains(f'"id":{orjson.dumps(one).decode()}', autoescape=True)
        for one in values_of(value)
    ]
    return sa.or_(*parts)


def execution_fields(date_filter: str = "START_DATE") -> Mapping[str, Field]:
    """Fields of the execution search. ``date_filter``: which date ``startDate``/``endDate``/``timeRange`` bound."""
    dates: Any = execution.c.ended_at if date_filter == "END_DATE" else execution.c.created_at
    if date_filter == "START_OR_END_DATE":
        dates = sa.func.coalesce(execution.c.ended_at, execution.c.created_at)
    return {
        "q": _query,
        "id": text_field("id", execution.c.id),
        "executionId": text_field("executionId", execution.c.id),
        "namespace": text_field("namespace", execution.c.namespace),
        "flowId": text_field("flowId", execution.c.flow_id),
        "flowRevision": number_field("flowRevision", execution.c.revision),
        "state": text_field("state", execution.c.state),
        "labels": _labels,
        "startDate": instant_field("startDate", dates, read_instant),
        "endDate": instant_field("endDate", dates, read_instant),
        "created": instant_field("created", execution.c.created_at, read_instant),
        "scope": scope_field(execution.c.namespace),
        "kind": text_field("kind", execution.c.kind),
        "triggerExecutionId": text_field("triggerExecutionId", execution.c.trigger_execution_id),
        "triggerId": _trigger,
        "childFilter": _child,
        "parentId": _parent,
    }


def ordinary(filters: Filters) -> list[Condition]:
    """Iterations of Loops and runs of tests stay out of lists unless the filters ask for them."""
    if mentions(filters, {"kind", "parentId"}):
        return []
    return [sa.and_(execution.c.kind == "NORMAL")]


def mentions(members: Filters, names: set[str]) -> bool:
    return any(
        mentions(member.members, names) if isinstance(member, Group) else member.field in names for member in members
    )


EXECUTION_SORT: Mapping[str, Any] = {
    "id": execution.c.id,
    "namespace": execution.c.namespace,
    "flowId": execution.c.flow_id,
    "flowRevision": execution.c.revision,
    "state.startDate": execution.c.created_at,
    "state.endDate": execution.c.ended_at,
    "state.current": execution.c.state,
    # Those that still run have no end: they sort as the longest.
    "state.duration": sa.func.coalesce(
        sa.cast(execution.c.ended_at, sa.BigInteger) - sa.cast(execution.c.created_at, sa.BigInteger), 1 << 62
    ),
    "startDate": execution.c.created_at,
    "endDate": execution.c.ended_at,
}


def least_level(op: Op, value: Any) -> Condition:
    """``level`` and ``minLevel`` mean "this level and worse"; IN and NOT_EQUALS are taken at their word."""
    try:
        numbers = [LEVELS[word.upper()] for word in values_of(value)]
    except KeyError as error:
        raise BadRequest(f"Invalid query filters: '{value}' is not a level ({', '.join(LEVELS)})") from error
    match op:
        case Op.EQUALS | Op.GREATER_THAN_OR_EQUAL_TO if len(numbers) == 1:
            return sa.and_(log.c.level >= numbers[0])
        case Op.IN:
            return sa.and_(log.c.level.in_(numbers))
        case Op.NOT_IN | Op.NOT_EQUALS:
            return sa.and_(log.c.level.not_in(numbers))
        case _:
            raise unsupported("level", op)


def _log_query(op: Op, value: Any) -> Condition:
    if op not in (Op.EQUALS, Op.CONTAINS, Op.NOT_EQUALS):
        raise unsupported("q", op)
    found = contains(log.c.message, str(value))
    return sa.not_(found) if op is Op.NOT_EQUALS else found


LOG_FIELDS: Mapping[str, Field] = {
    "q": _log_query,
    "message": text_field("message", log.c.message),
    "namespace": text_field("namespace", log.c.namespace),
    "flowId": text_field("flowId", log.c.flow_id),
    "executionId": text_field("executionId", log.c.execution_id),
    "taskId": text_field("taskId", log.c.task_id),
    "taskRunId": text_field("taskRunId", log.c.task_run_id),
    "attemptNumber": number_field("attemptNumber", log.c.attempt),
    "triggerId": text_field("triggerId", log.c.trigger_id),
    "level": least_level,
    "minLevel": least_level,
    "startDate": instant_field("startDate", log.c.at, read_instant),
    "endDate": instant_field("endDate", log.c.at, read_instant),
    "scope": scope_field(log.c.namespace),
}

LOG_SORT: Mapping[str, Any] = {
    "timestamp": log.c.at,
    "level": log.c.level,
    "namespace": log.c.namespace,
    "flowId": log.c.flow_id,
}
