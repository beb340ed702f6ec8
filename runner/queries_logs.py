"""The read side of logs and metrics, and the deletion of log lines that the API offers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import InvalidInput
from namespaces.filters import Filters, Page, ordered, total, where
from namespaces.store.base import to_micros
from runner import queries_shapes as shapes
from runner.logs import NAMES
from runner.queries_filters import LOG_FIELDS, LOG_SORT
from runner.writing import log_table, metric_table

_l = log_table.c
_m = metric_table.c
_AT = sa.type_coerce(_l.at, sa.BigInteger()).label("at")
_LINE = (
    _l.id,
    _AT,
    _l.level,
    _l.namespace,
    _l.flow_id,
    _l.execution_id,
    _l.task_id,
    _l.task_run_id,
    _l.attempt,
    _l.trigger_id,
    _l.message,
)
_METRIC = (
    _m.namespace,
    _m.flow_id,
    _m.execution_id,
    _m.task_id,
    _m.task_run_id,
    _m.type,
    _m.name,
    _m.value,
    sa.type_coerce(_m.at, sa.BigInteger()).label("at"),
    sa.type_coerce(_m.tags, sa.Text()).label("tags"),
)


def _of_execution(query: Any, execution_id: str, filters: Filters) -> Any:
    return query.where(_l.execution_id == execution_id, *where(filters, LOG_FIELDS))


def log_lines(
    connection: Connection, execution_id: str, filters: Filters = (), *, after: int = 0, limit: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Log entries of an execution and the id of the last line seen (``after`` for the next call).

    Oldest first by time; with ``after`` or ``limit`` in order of arrival, so that a follower misses none.
    """
    query = _of_execution(sa.select(*_LINE), execution_id, filters)
    if after or limit is not None:
        query = query.where(_l.id > after).order_by(_l.id).limit(limit)
    else:
        query = query.order_by(_l.at, _l.id)
    rows = connection.execute(query).all()
    return [shapes.log_line(row) for row in rows], max((row.id for row in rows), default=after)


def log_text(connection: Connection, execution_id: str, filters: Filters = ()) -> Iterator[str]:
    """``<timestamp> <LEVEL> <message>`` lines, oldest first."""
    query = _of_execution(sa.select(*_LINE), execution_id, filters).order_by(_l.at, _l.id)
    for row in connection.execute(query):
        yield f"{shapes.instant(row.at)} {NAMES.get(row.level, 'INFO')} {row.message}\n"


def search_logs(connection: Connection, filters: Filters, page: Page) -> tuple[list[dict[str, Any]], int]:
    """A page of log entries of all executions and their number, newest first unless sorted otherwise."""
    base = sa.select(*_LINE).where(*where(filters, LOG_FIELDS))
    default = (_l.at.desc(), _l.id.desc()) if not page.sort else (_l.id.desc(),)
    rows = connection.execute(ordered(base, page, LOG_SORT, default)).all()
    return [shapes.log_line(row) for row in rows], total(connection, base, page, len(rows))


def delete_logs(tx: Connection, execution_id: str, filters: Filters = ()) -> int:
    """Delete log lines of an execution; returns how many."""
    return tx.execute(_of_execution(sa.delete(log_table), execution_id, filters)).rowcount


def delete_trigger_logs(tx: Connection, namespace: str, flow_id: str, trigger_id: str) -> int:
    """Delete what a trigger wrote outside executions."""
    return tx.execute(
        sa.delete(log_table).where(_l.namespace == namespace, _l.flow_id == flow_id, _l.trigger_id == trigger_id)
    ).rowcount


METRIC_SORT = {"timestamp": _m.at, "name": _m.name, "value": _m.value, "type": _m.type, "taskId": _m.task_id}


def metrics(
    connection: Connection,
    execution_id: str,
    page: Page,
    *,
    task_run_id: str | None = None,
    task_id: str | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """A page of an execution's metrics and their number."""
    base = sa.select(*_METRIC).where(_m.execution_id == execution_id)
    if task_run_id:
        base = base.where(_m.task_run_id == task_run_id)
    if task_id:
        base = base.where(_m.task_id == task_id)
    rows = connection.execute(ordered(base, page, METRIC_SORT, (_m.id,))).all()
    return [shapes.metric(row) for row in rows], total(connection, base, page, len(rows))


def metric_names(connection: Connection, namespace: str, flow_id: str, task_id: str | None = None) -> list[str]:
    query = sa.select(_m.name).distinct().where(_m.namespace == namespace, _m.flow_id == flow_id)
    if task_id is not None:
        query = query.where(_m.task_id == task_id)
    return list(connection.execute(query.order_by(_m.name)).scalars())


def metric_tasks(connection: Connection, namespace: str, flow_id: str) -> list[str]:
    """Ids of the tasks of a flow that ever gave a metric."""
    query = sa.select(_m.task_id).distinct().where(_m.namespace == namespace, _m.flow_id == flow_id)
    return list(connection.execute(query.order_by(_m.task_id)).scalars())


_AGGREGATES: dict[str, Any] = {"sum": sa.func.sum, "avg": sa.func.avg, "min": sa.func.min, "max": sa.func.max}
_BUCKETS = (
    (timedelta(hours=1), "minute", 60),
    (timedelta(days=1), "hour", 3600),
    (timedelta(days=60), "day", 86_400),
    (timedelta(days=365), "week", 7 * 86_400),
    (timedelta(days=36_500), "month", 30 * 86_400),
)


def metric_aggregates(
    connection: Connection,
    namespace: str,
    flow_id: str,
    name: str,
    *,
    start: datetime,
    end: datetime,
    aggregation: str = "sum",
    task_id: str | None = None,
) -> dict[str, Any]:
    """``{groupBy, aggregations: [{name, value, date}]}`` over the span; buckets are chosen by its length.

    Raises ``InvalidInput`` for an unknown aggregation.
    """
    function = _AGGREGATES.get(aggregation.lower())
    if function is None:
        raise InvalidInput(f"Illegal argument: aggregation is sum, avg, min or max, not '{aggregation}'")
    if end - start > _BUCKETS[-1][0]:
        raise InvalidInput("Illegal argument: the span is longer than a hundred years")
    word, seconds = next(((word, width) for span, word, width in _BUCKETS if end - start <= span), ("month", 2_592_000))
    width = seconds * 1_000_000
    at = sa.type_coerce(_m.at, sa.BigInteger())
    bucket = (at - at % width).label("bucket")
    query = (
        sa.select(bucket, function(_m.value).label("value"), sa.func.max(_m.type).label("type"))
        .where(_m.namespace == namespace, _m.flow_id == flow_id, _m.name == name, _m.at >= start, _m.at <= end)
        .group_by(bucket)
        .order_by(bucket)
    )
    if task_id is not None:
        query = query.where(_m.task_id == task_id)
    found = {row.bucket: row for row in connection.execute(query)}
    first = to_micros(start) - to_micros(start) % width
    points = []
    for moment in range(first, to_micros(end) + 1, width):
        row = found.get(moment)
        value = 0.0 if row is None else float(row.value) * (1000 if row.type == "timer" else 1)
        points.append({"name": name, "value": value, "date": shapes.instant(moment)})
    return {"groupBy": word, "aggregations": points}
