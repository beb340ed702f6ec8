"""The read side of executions: plain dicts in the JSON shapes of the API, for REST, pages and command line.

Functions over a connection; no query here changes a row. Logs and metrics are in ``queries_logs``. Values come
masked: sealed secrets are shown as stars.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import BadRequest, NotFound
from namespaces.filters import Filters, Page, ordered, total, where
from namespaces.store.base import to_micros
from namespaces.store.statements import Query
from runner import queries_shapes as shapes
from runner.queries_filters import EXECUTION_SORT, execution_fields, mentions, ordinary
from runner.queries_logs import (
    delete_logs,
    log_lines,
    log_text,
    metric_aggregates,
    metric_names,
    metric_tasks,
    metrics,
    search_logs,
)
from runner.queries_shapes import LoadOutputs
from runner.rows import execution_table, run_table

__all__ = [
    "average_duration",
    "delete_logs",
    "distinct_namespaces",
    "distinct_values",
    "execution",
    "head",
    "latest",
    "log_lines",
    "log_text",
    "matching",
    "metric_aggregates",
    "metric_names",
    "metric_tasks",
    "metrics",
    "outputs",
    "run_outputs",
    "runs_with_outputs",
    "search_executions",
    "search_logs",
    "state",
    "states",
    "task_runs",
    "version",
]

_Text = sa.Text()
CHUNK = 400


def _raw(column: Any) -> Any:
    """A JSON or instant column as the database holds it: shaped here without a detour through objects."""
    return sa.type_coerce(column, _Text).label(column.name)


def _micros(column: Any) -> Any:
    return sa.type_coerce(column, sa.BigInteger()).label(column.name)


_e = execution_table.c
_EXECUTION = (
    _e.id,
    _e.version,
    _e.namespace,
    _e.flow_id,
    _e.revision,
    _e.generation,
    _e.state,
    _e.kind,
    _micros(_e.created_at),
    _micros(_e.ended_at),
    _micros(_e.schedule_date),
    _raw(_e.history),
    _raw(_e.labels),
    _raw(_e.inputs),
    _raw(_e.variables),
    _raw(_e.outputs),
    _raw(_e.trigger),
    _e.error,
    _e.parent_id,
    _e.trigger_execution_id,
    _e.original_id,
    _e.attempt_number,
    _micros(_e.original_created_at),
    _raw(_e.breakpoints),
    _raw(_e.loop_run),
    _e.commit,
    _e.source,
)
_r = run_table.c
_RUN = (
    _r.id,
    _r.execution_id,
    _r.task_id,
    _r.parent_id,
    _r.value,
    _r.iteration,
    _r.state,
    _raw(_r.history),
    _raw(_r.attempts),
    _raw(_r.outputs),
    _r.outputs_uri,
    _r.error,
)


_BY_ID = Query(sa.select(*_EXECUTION).where(_e.id == sa.bindparam("k_id")))
_RUNS_BY_EXECUTION = Query(sa.select(*_RUN).where(_r.execution_id == sa.bindparam("k_id")).order_by(_r.sequence))
_HEAD = Query(
    sa.select(_e.id, _e.namespace, _e.flow_id, _e.revision, _e.state, _e.kind, _e.finished, _e.version).where(
        _e.id == sa.bindparam("k_id")
    )
)
_VERSION = Query(sa.select(_e.version, _e.finished).where(_e.id == sa.bindparam("k_id")))
_STATE = Query(sa.select(_e.state).where(_e.id == sa.bindparam("k_id")))


def execution(
    connection: Connection,
    execution_id: str,
    *,
    now: datetime,
    light: bool = False,
    load: LoadOutputs | None = None,
    rewind: str | None = None,
) -> dict[str, Any] | None:
    """One execution with its task runs in order of creation (``light``: without them); None when there is none.

    ``load`` reads outputs that were too large for the row. ``rewind`` shows the states as they were when the
    execution last entered that state: what an action decided, however far things have gone since.
    """
    row = _BY_ID.one_or_none(connection, k_id=execution_id)
    if row is None:
        return None
    micros = to_micros(now)
    if rewind is not None and not light:
        return _rewound(connection, row, rewind, micros, load)
    runs = None
    if not light:
        found = _RUNS_BY_EXECUTION.all(connection, k_id=execution_id)
        runs = [shapes.task_run(run, row.namespace, row.flow_id, micros, load) for run in found]
    return shapes.execution(row, runs, micros)


def _rewound(connection: Connection, row: Any, state: str, micros: int, load: LoadOutputs | None) -> dict[str, Any]:
    until = shapes.last_entered(row.history, state)
    runs = [
        shapes.task_run(run, row.namespace, row.flow_id, micros, load, until=until)
        for run in _RUNS_BY_EXECUTION.all(connection, k_id=row.id)
        if until is None or shapes.began(run.history) <= until
    ]
    return shapes.execution(row, runs, micros, until=until)


def head(connection: Connection, execution_id: str) -> Any:
    """``(id, namespace, flow_id, revision, state, kind, finished, version)`` of one execution, None when unknown."""
    return _HEAD.one_or_none(connection, k_id=execution_id)


def version(connection: Connection, execution_id: str) -> tuple[int, bool] | None:
    """(version, finished): what a stream watches. The version rises with every change of the execution."""
    row = _VERSION.one_or_none(connection, k_id=execution_id)
    return None if row is None else (row.version, bool(row.finished))


def state(connection: Connection, execution_id: str) -> str:
    """The state of one execution. Raises ``NotFound``."""
    found: str | None = _STATE.scalar(connection, k_id=execution_id)
    if found is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    return found


def states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """State by id, of those that exist."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), CHUNK):
        rows = connection.execute(sa.select(_e.id, _e.state).where(_e.id.in_(ids[start : start + CHUNK])))
        found.update({row.id: row.state for row in rows})
    return found


def search_executions(
    connection: Connection,
    filters: Filters,
    page: Page,
    *,
    now: datetime,
    light: bool = False,
    date_filter: str = "START_DATE",
    load: LoadOutputs | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """A page of executions and how many there are in all, newest first unless sorted otherwise; iterations of
    a Loop by their index.

    Raises ``BadRequest`` for filters and ``InvalidInput`` for sort fields that do not exist.
    """
    base = sa.select(*_EXECUTION).where(*where(filters, execution_fields(date_filter)), *ordinary(filters))
    newest = (_e.created_at.desc(), _e.id.desc())
    if page.sort:
        default: tuple[Any, ...] = (_e.id.desc(),)
    else:
        default = (_e.loop_index, *newest) if mentions(filters, {"parentId"}) else newest
    rows = connection.execute(ordered(base, page, EXECUTION_SORT, default)).all()
    micros = to_micros(now)
    runs: dict[str, list[dict[str, Any]]] = {}
    if not light:
        runs = task_runs(connection, [(row.id, row.namespace, row.flow_id) for row in rows], micros, load)
    found = [shapes.execution(row, None if light else runs.get(row.id, []), micros) for row in rows]
    return found, total(connection, base, page, len(rows))


def matching(connection: Connection, filters: Filters, *, date_filter: str = "START_DATE") -> list[tuple[str, str]]:
    """(id, state) of every execution the filters match, oldest first: what by-query actions work on."""
    query = (
        sa.select(_e.id, _e.state)
        .where(*where(filters, execution_fields(date_filter)), *ordinary(filters))
        .order_by(_e.created_at, _e.id)
    )
    return [(row.id, row.state) for row in connection.execute(query)]


def task_runs(
    connection: Connection, executions: Iterable[tuple[str, str, str]], micros: int, load: LoadOutputs | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Task runs of several executions ``(id, namespace, flow_id)`` by execution, in one query a few hundred."""
    known = {execution_id: (namespace, flow_id) for execution_id, namespace, flow_id in executions}
    found: dict[str, list[dict[str, Any]]] = {execution_id: [] for execution_id in known}
    ids = list(known)
    for start in range(0, len(ids), CHUNK):
        query = (
            sa.select(*_RUN)
            .where(_r.execution_id.in_(ids[start : start + CHUNK]))
            .order_by(_r.execution_id, _r.sequence)
        )
        for row in connection.execute(query):
            namespace, flow_id = known[row.execution_id]
            found[row.execution_id].append(shapes.task_run(row, namespace, flow_id, micros, load))
    return found


def outputs(connection: Connection, execution_id: str) -> dict[str, Any] | None:
    """The flow outputs of an execution, ``{}`` when it has none; None for an unknown execution."""
    row = connection.execute(sa.select(_raw(_e.outputs)).where(_e.id == execution_id)).one_or_none()
    return None if row is None else (shapes.json_of(row.outputs) or {})


def runs_with_outputs(connection: Connection, execution_id: str) -> list[dict[str, Any]]:
    """``{taskId, taskRunId, value?, iteration?, inline}`` of the task runs that gave outputs."""
    query = (
        sa.select(_r.id, _r.task_id, _r.value, _r.iteration, _r.outputs_uri)
        .where(_r.execution_id == execution_id, sa.or_(_r.outputs.is_not(None), _r.outputs_uri.is_not(None)))
        .order_by(_r.sequence)
    )
    found = []
    for row in connection.execute(query):
        shape: dict[str, Any] = {"taskId": row.task_id, "taskRunId": row.id, "inline": row.outputs_uri is None}
        if row.value is not None:
            shape["value"] = row.value
        if row.iteration is not None:
            shape["iteration"] = row.iteration
        found.append(shape)
    return found


def run_outputs(
    connection: Connection, execution_id: str, task_run_id: str, load: LoadOutputs | None = None
) -> dict[str, Any] | None:
    """Outputs of one task run (``{}`` when it gave none), None when there is no such task run."""
    row = connection.execute(
        sa.select(*_RUN).where(_r.id == task_run_id, _r.execution_id == execution_id)
    ).one_or_none()
    return None if row is None else (shapes.outputs_of(row, load) or {})


def latest(connection: Connection, flows: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The newest ordinary execution of each of these flows that ever ran."""
    found: list[dict[str, Any]] = []
    for namespace, flow_id in flows:
        row = connection.execute(
            sa.select(_e.id, _e.state, _micros(_e.created_at))
            .where(_e.namespace == namespace, _e.flow_id == flow_id, _e.kind == "NORMAL")
            .order_by(_e.created_at.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            found.append(
                {
                    "id": row.id,
                    "namespace": namespace,
                    "flowId": flow_id,
                    "startDate": shapes.instant(row.created_at),
                    "status": row.state,
                }
            )
    return found


def average_duration(connection: Connection, namespace: str, flow_id: str) -> tuple[float | None, int]:
    """(mean seconds, how many) of the last hundred successful executions of a flow; None when there is none."""
    seconds = (_micros(_e.ended_at) - _micros(_e.created_at)) / 1e6
    last = (
        sa.select(seconds.label("seconds"))
        .where(_e.namespace == namespace, _e.flow_id == flow_id, _e.state == "SUCCESS", _e.ended_at.is_not(None))
        .order_by(_e.created_at.desc())
        .limit(100)
        .subquery()
    )
    mean, count = connection.execute(sa.select(sa.func.avg(last.c.seconds), sa.func.count())).one()
    return (float(mean) if mean is not None else None), int(count)


DISTINCT = {"namespace": _e.namespace, "flowId": _e.flow_id, "state": _e.state, "kind": _e.kind}


def distinct_values(connection: Connection, field: str, filters: Filters, *, size: int) -> list[str]:
    """Different values of a field among the executions that match. Raises ``BadRequest`` for another field."""
    column = DISTINCT.get(field)
    if column is None:
        raise BadRequest(f"field '{field[:40]}' has no list of values", hint=f"one of {', '.join(DISTINCT)}")
    query = sa.select(column).distinct().where(*where(filters, execution_fields()), *ordinary(filters))
    return [str(value) for value in connection.execute(query.order_by(column).limit(size)).scalars()]


def distinct_namespaces(connection: Connection) -> list[str]:
    """Namespaces in which something ever ran, by name; one index look-up each, however many executions there are."""
    found: list[str] = []
    name: str | None = connection.execute(sa.select(sa.func.min(_e.namespace))).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(sa.select(sa.func.min(_e.namespace)).where(_e.namespace > name)).scalar()
    return found
