"""What pages show beside the API's shapes: the last runs of many flows, counts by state, windows of a log.

Functions over a connection, as in ``queries``; each is one query a page, whatever the number of rows behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.filters import Filters, where
from runner import queries_shapes as shapes
from runner.logs import NAMES
from runner.queries_filters import LOG_FIELDS
from runner.rows import ENDS, batch_set_table, execution_table, run_table
from runner.triggerrows import declaration_table, same_trigger, state_table
from runner.writing import log_table

_e = execution_table.c
_l = log_table.c
_r = run_table.c
AT_ONCE = 100
"""Flows in one compound select: well below SQLite's limit of 500 terms."""

FlowKey = tuple[str, str]


def _micros(column: Any) -> Any:
    return sa.type_coerce(column, sa.BigInteger()).label(column.name)


def last_executions(connection: Connection, flows: Sequence[FlowKey], most: int) -> dict[FlowKey, list[dict[str, Any]]]:
    """The newest ordinary executions of each flow, newest first: ``{id, state, start, end}`` in microseconds."""
    found: dict[FlowKey, list[dict[str, Any]]] = {key: [] for key in flows}
    for start in range(0, len(flows), AT_ONCE):
        parts = []
        for namespace, flow_id in flows[start : start + AT_ONCE]:
            part = (
                sa.select(_e.id, _e.namespace, _e.flow_id, _e.state, _micros(_e.created_at), _micros(_e.ended_at))
                .where(_e.namespace == namespace, _e.flow_id == flow_id, _e.kind == "NORMAL")
                .order_by(_e.created_at.desc())
                .limit(most)
            )
            parts.append(sa.select(part.subquery()))
        for row in connection.execute(sa.union_all(*parts)):
            found[row.namespace, row.flow_id].append(
                {"id": row.id, "state": row.state, "start": row.created_at, "end": row.ended_at}
            )
    for rows in found.values():
        rows.sort(key=lambda one: one["start"], reverse=True)
    return found


def task_states(connection: Connection, execution_id: str) -> dict[str, int]:
    """How many task runs of an execution are in which state."""
    rows = connection.execute(
        sa.select(_r.state, sa.func.count().label("n")).where(_r.execution_id == execution_id).group_by(_r.state)
    )
    return {row.state: int(row.n) for row in rows}


def iterations(connection: Connection, execution_id: str) -> dict[str, dict[str, Any]]:
    """``{total, running, states}`` of the Loops of an execution, by task run; ``states`` counts ends by their word."""
    rows = connection.execute(
        sa.select(batch_set_table)
        .join(run_table, run_table.c.id == batch_set_table.c.task_run_id)
        .where(run_table.c.execution_id == execution_id, batch_set_table.c.loop.is_(True))
    )
    found = {}
    for row in rows:
        states = {state.value: n for state, name in ENDS.items() if (n := getattr(row, name))}
        running = row.started - row.again - sum(states.values())
        found[row.task_run_id] = {"total": row.total, "running": running, "states": states}
    return found


def children(connection: Connection, execution_id: str, most: int = 50) -> list[dict[str, Any]]:
    """Executions that this one started (subflows, flow triggers), oldest first."""
    rows = connection.execute(
        sa.select(_e.id, _e.namespace, _e.flow_id, _e.state, _micros(_e.created_at))
        .where(_e.trigger_execution_id == execution_id, _e.kind == "NORMAL")
        .order_by(_e.created_at)
        .limit(most)
    )
    return [
        {
            "id": row.id,
            "namespace": row.namespace,
            "flowId": row.flow_id,
            "state": row.state,
            "startDate": shapes.instant(row.created_at),
        }
        for row in rows
    ]


def parent(connection: Connection, execution_id: str) -> dict[str, str] | None:
    """``{id, namespace, flowId}`` of the execution that started this one, None when none did."""
    other = execution_table.alias("starter")
    row = connection.execute(
        sa.select(other.c.id, other.c.namespace, other.c.flow_id)
        .join(execution_table, execution_table.c.trigger_execution_id == other.c.id)
        .where(_e.id == execution_id)
    ).one_or_none()
    return None if row is None else {"id": row.id, "namespace": row.namespace, "flowId": row.flow_id}


def last_success(connection: Connection, flow: FlowKey, before_id: str) -> str | None:
    """Id of the newest successful execution of the flow that began before the given one."""
    began = sa.select(_e.created_at).where(_e.id == before_id).scalar_subquery()
    return connection.execute(
        sa.select(_e.id)
        .where(
            _e.namespace == flow[0],
            _e.flow_id == flow[1],
            _e.kind == "NORMAL",
            _e.state == "SUCCESS",
            _e.created_at < began,
        )
        .order_by(_e.created_at.desc())
        .limit(1)
    ).scalar()


def triggers_of(connection: Connection, flows: Sequence[FlowKey]) -> dict[FlowKey, list[dict[str, Any]]]:
    """Triggers of these flows: ``{id, type, disabled, next}`` with the next date in microseconds or None."""
    found: dict[FlowKey, list[dict[str, Any]]] = {key: [] for key in flows}
    names: dict[str, list[str]] = {}
    for namespace, flow_id in flows:
        names.setdefault(namespace, []).append(flow_id)
    d = declaration_table.c
    for namespace, ids in names.items():
        off = sa.or_(d.disabled, sa.func.coalesce(state_table.c.disabled, sa.false()))
        rows = connection.execute(
            sa.select(d.flow_id, d.trigger_id, d.type, off.label("off"), _micros(state_table.c.next_at))
            .select_from(sa.join(declaration_table, state_table, same_trigger(), isouter=True))
            .where(d.namespace == namespace, d.flow_id.in_(ids))
            .order_by(d.trigger_id)
        )
        for row in rows:
            found[namespace, row.flow_id].append(
                {"id": row.trigger_id, "type": row.type, "disabled": bool(row.off), "next": row.next_at}
            )
    return found


def newest_change(connection: Connection) -> tuple[Any, ...]:
    """A value that differs whenever a list of executions would look different: what lists watch."""
    newest = connection.execute(sa.select(sa.func.max(_micros(_e.created_at)))).scalar()
    row = connection.execute(
        sa.select(sa.func.count().label("n"), sa.func.sum(_e.version).label("versions")).where(_e.finished.is_(False))
    ).one()
    return newest, row.n, row.versions


_LINE = (
    _l.id,
    _micros(_l.at),
    _l.level,
    _l.task_id,
    _l.task_run_id,
    _l.attempt,
    _l.message,
)


def log_window(
    connection: Connection,
    execution_id: str,
    filters: Filters = (),
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int = 500,
) -> list[Any]:
    """Rows of a log in order of arrival: the last ones, those just ``before`` an id, or just ``after`` one."""
    query = sa.select(*_LINE).where(_l.execution_id == execution_id, *where(filters, LOG_FIELDS))
    if after is not None:
        return list(connection.execute(query.where(_l.id > after).order_by(_l.id).limit(limit)))
    if before is not None:
        query = query.where(_l.id < before)
    return list(connection.execute(query.order_by(_l.id.desc()).limit(limit)))[::-1]


def log_count(connection: Connection, execution_id: str, filters: Filters = (), *, before: int | None = None) -> int:
    """How many lines there are (before a line's id)."""
    query = sa.select(sa.func.count()).where(_l.execution_id == execution_id, *where(filters, LOG_FIELDS))
    if before is not None:
        query = query.where(_l.id < before)
    return int(connection.execute(query).scalar_one())


def log_levels(connection: Connection, execution_id: str) -> dict[str, int]:
    """Lines by level word."""
    rows = connection.execute(
        sa.select(_l.level, sa.func.count().label("n")).where(_l.execution_id == execution_id).group_by(_l.level)
    )
    return {NAMES.get(row.level, "INFO"): int(row.n) for row in rows}


def log_tasks(connection: Connection, execution_id: str) -> list[str]:
    """Ids of the tasks that wrote a line."""
    rows: Iterable[str | None] = connection.execute(
        sa.select(_l.task_id).where(_l.execution_id == execution_id).distinct().order_by(_l.task_id)
    ).scalars()
    return [name for name in rows if name]


def open_executions(connection: Connection, flow: FlowKey) -> int:
    """How many executions of a flow have not ended."""
    query = sa.select(sa.func.count()).where(
        _e.namespace == flow[0], _e.flow_id == flow[1], _e.finished.is_(False), _e.kind == "NORMAL"
    )
    return int(connection.execute(query).scalar_one())
