"""Figures for Prometheus: ``/metrics`` (``lanner_*``) and ``/prometheus`` (with Kestra's names beside them).

Counted from rows at the time of the scrape, so that they are right after a restart and in every process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, current_app
from sqlalchemy.engine import Connection

from namespaces.store.outbox import table as outbox_table
from namespaces.tables import FlowRow
from runner.rows import execution_table, run_table
from runner.tables import LateResultRow
from service.api.answers import answer
from service.api.context import lanner
from service.version import VERSION

resource = Blueprint("metrics_export", __name__)

flow_table = FlowRow.__table__  # type: ignore[attr-defined]
late_table = LateResultRow.__table__  # type: ignore[attr-defined]

Figure = tuple[str, str, str, dict[str, str], float]
"""(name, type, help, labels, value)."""
STARTED_AT = time.time()

_KESTRA = {
    "lanner_executions": "kestra_executions",
    "lanner_executions_open": "kestra_executor_execution_running_count",
    "lanner_task_runs_open": "kestra_worker_running_count",
}


@resource.get("/metrics", endpoint="metrics")
def metrics() -> Response:
    return _text(figures())


@resource.get("/prometheus", endpoint="prometheus")
def prometheus() -> Response:
    found = list(figures())
    twins = [(_KESTRA[name], *rest) for name, *rest in found if name in _KESTRA]
    return _text([*found, *twins])  # type: ignore[list-item]


@resource.get("/version", endpoint="version")
def version() -> Response:
    return answer({"version": VERSION, "serverType": "STANDALONE"})


def _text(found: Iterable[Figure]) -> Response:
    return current_app.response_class(exposition(found), 200, mimetype="text/plain; version=0.0.4")


def exposition(found: Iterable[Figure]) -> str:
    """Prometheus text format; figures of one name stand together."""
    by_name: dict[str, list[Figure]] = {}
    for figure in found:
        by_name.setdefault(figure[0], []).append(figure)
    lines: list[str] = []
    for name, figures_of in by_name.items():
        lines += [f"# HELP {name} {figures_of[0][2]}", f"# TYPE {name} {figures_of[0][1]}"]
        for _, _, _, labels, value in figures_of:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def figures() -> Iterator[Figure]:
    wiring = lanner()
    yield from wiring.database.read(lambda c: list(_of_database(c, wiring.clock.now())))
    yield "lanner_info", "gauge", "Version of the server.", {"version": VERSION}, 1.0
    yield "lanner_process_start_time_seconds", "gauge", "Start of the process.", {}, STARTED_AT
    streams = current_app.extensions["lanner.streams"]
    yield "lanner_event_streams_open", "gauge", "Open event streams.", {}, float(streams.open)
    sync: Any = getattr(wiring, "sync", None)
    if sync is not None:
        for name, labels, value in sync.figures():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield name, kind, "Git sync, see the reference.", labels, value


def _of_database(connection: Connection, now: datetime) -> Iterator[Figure]:
    def one(query: Any) -> float:
        return float(connection.execute(query).scalar_one())

    count = sa.func.count()
    state = execution_table.c.state
    for row in connection.execute(sa.select(state, count.label("n")).group_by(state).order_by(state)):
        yield "lanner_executions", "gauge", "Executions kept, by state.", {"state": row.state}, float(row.n)
    unfinished = one(sa.select(count).where(execution_table.c.finished.is_(False)))
    yield "lanner_executions_open", "gauge", "Executions not finished.", {}, unfinished
    open_runs = one(sa.select(count).where(run_table.c.terminal.is_(False)))
    yield "lanner_task_runs_open", "gauge", "Task runs not ended.", {}, open_runs
    flows = one(sa.select(count).where(flow_table.c.deleted.is_(False)))
    yield "lanner_flows", "gauge", "Flows in the registry.", {}, flows
    waiting, oldest = connection.execute(sa.select(count, sa.func.min(outbox_table.c.due_at))).one()
    yield "lanner_outbox_messages", "gauge", "Effects waiting to be carried out.", {}, float(waiting)
    age = max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
    yield "lanner_outbox_oldest_seconds", "gauge", "How long the oldest effect is overdue.", {}, age
    late = one(sa.select(count).select_from(late_table))
    yield "lanner_late_results_total", "counter", "Results refused because their epoch was old.", {}, late
