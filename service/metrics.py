"""Figures for Prometheus: ``/metrics`` (``lanner_*``) and ``/prometheus`` (with Kestra's names beside them).

Counted from rows at the time of the scrape, so that they are right after a restart and in every process.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isinf
from typing import Any, Literal

import sqlalchemy as sa
from flask import Blueprint, Response, current_app
from sqlalchemy.engine import Connection

from namespaces.revisions import flow_table
from namespaces.store.outbox import table as outbox_table
from runner.rows import execution_table, run_table
from runner.writing import late_table
from service import limits
from service.api.answers import answer
from service.api.context import lanner
from service.version import VERSION

resource = Blueprint("metrics_export", __name__)


Figure = tuple[str, dict[str, str], float]
"""(name, labels, value)."""


@dataclass(frozen=True, slots=True)
class Family:
    """What one metric is: counters count from the start of the process unless the help says otherwise."""

    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "lanner_info": Family("gauge", "Version of the server; always 1.", ("version",)),
    "lanner_process_start_time_seconds": Family("gauge", "Start of the process, seconds since 1970."),
    "lanner_executions": Family("gauge", "Executions kept, by state.", ("state",)),
    "lanner_executions_open": Family("gauge", "Executions not finished."),
    "lanner_task_runs_open": Family("gauge", "Task runs not ended."),
    "lanner_flows": Family("gauge", "Flows in the registry."),
    "lanner_outbox_messages": Family("gauge", "Effects waiting to be carried out."),
    "lanner_outbox_oldest_seconds": Family("gauge", "How long the oldest effect is overdue."),
    "lanner_late_results_total": Family("counter", "Results refused because their epoch was old; of the instance."),
    "lanner_event_streams_open": Family("gauge", "Open event streams."),
    "lanner_limit": Family("gauge", "Configured limit (`limits.*`): bytes, seconds or a number.", ("name",)),
    "lanner_limit_hits_total": Family("counter", "How often a limit was met in this process.", ("name",)),
    "lanner_limit_used": Family("gauge", "How much of a limit is taken now.", ("name",)),
    "lanner_git_sync_total": Family("counter", "Sync passes by outcome.", ("source", "outcome")),
    "lanner_git_fetch_failures_total": Family("counter", "Failed fetches by reason.", ("source", "reason")),
    "lanner_git_webhook_total": Family("counter", "Git hook deliveries by result.", ("provider", "result")),
    "lanner_git_state": Family("gauge", "1 for the present state of a source, 0 for the others.", ("source", "state")),
    "lanner_git_lag_seconds": Family("gauge", "How long a commit has been seen and not applied.", ("source",)),
    "lanner_git_applied_timestamp_seconds": Family("gauge", "When a source was applied last.", ("source",)),
    "lanner_git_items": Family("gauge", "Files of a source by kind and state.", ("source", "kind", "state")),
}
"""Every metric: the source of `docs/reference/metrics.md`. A figure of another name is a defect."""
STARTED_AT = time.time()

_KESTRA = {
    "lanner_executions": "kestra_executions",
    "lanner_executions_open": "kestra_executor_execution_running_count",
    "lanner_task_runs_open": "kestra_worker_running_count",
}
_TWINS = {twin: name for name, twin in _KESTRA.items()}


@resource.get("/metrics", endpoint="metrics")
def metrics() -> Response:
    return _text(figures())


@resource.get("/prometheus", endpoint="prometheus")
def prometheus() -> Response:
    found = list(figures())
    twins = [(_KESTRA[name], labels, value) for name, labels, value in found if name in _KESTRA]
    return _text([*found, *twins])


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
        family = FAMILIES[_TWINS.get(name, name)]
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        for _, labels, value in figures_of:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """Whole numbers in full: ``1073741824`` and not ``1.07374e+09``."""
    if isinf(value):
        return "+Inf"
    return str(int(value)) if value.is_integer() else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def figures() -> Iterator[Figure]:
    wiring = lanner()
    yield from wiring.database.read(lambda c: list(_of_database(c, wiring.clock.now())))
    yield "lanner_info", {"version": VERSION}, 1.0
    yield "lanner_process_start_time_seconds", {}, STARTED_AT
    yield "lanner_event_streams_open", {}, float(current_app.extensions["lanner.streams"].open)
    yield from limits.figures(wiring)
    yield from wiring.sync.figures()


def _of_database(connection: Connection, now: datetime) -> Iterator[Figure]:
    def one(query: Any) -> float:
        return float(connection.execute(query).scalar_one())

    count = sa.func.count()
    state = execution_table.c.state
    for row in connection.execute(sa.select(state, count.label("n")).group_by(state).order_by(state)):
        yield "lanner_executions", {"state": row.state}, float(row.n)
    unfinished = one(sa.select(count).where(execution_table.c.finished.is_(False)))
    yield "lanner_executions_open", {}, unfinished
    open_runs = one(sa.select(count).where(run_table.c.terminal.is_(False)))
    yield "lanner_task_runs_open", {}, open_runs
    flows = one(sa.select(count).where(flow_table.c.deleted.is_(False)))
    yield "lanner_flows", {}, flows
    waiting, oldest = connection.execute(sa.select(count, sa.func.min(outbox_table.c.due_at))).one()
    yield "lanner_outbox_messages", {}, float(waiting)
    age = max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
    yield "lanner_outbox_oldest_seconds", {}, age
    late = one(sa.select(count).select_from(late_table))
    yield "lanner_late_results_total", {}, late
