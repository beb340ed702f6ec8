"""Routes of task metrics (``api.md`` 4.6): of an execution, names, aggregates over time."""

from __future__ import annotations

from datetime import timedelta

from flask import Response, request

from namespaces.errors import InvalidInput
from runner import queries
from service.api.answers import answer, paged
from service.api.context import lanner, optional_instant, page
from service.api.executions import require_execution
from service.api.routes import Resource

resource = Resource("metrics")


@resource.on("GET", "/metrics/<execution_id>")
def of_execution(execution_id: str) -> Response:
    require_execution(execution_id)
    asked = page()
    rows, total = lanner().database.read(
        lambda c: queries.metrics(
            c,
            execution_id,
            asked,
            task_run_id=request.args.get("taskRunId"),
            task_id=request.args.get("taskId"),
        )
    )
    return paged(rows, total)


@resource.on("GET", "/metrics/names/<namespace>/<flow_id>", "/metrics/names/<namespace>/<flow_id>/<task_id>")
def names(namespace: str, flow_id: str, task_id: str | None = None) -> Response:
    return answer(lanner().database.read(lambda c: queries.metric_names(c, namespace, flow_id, task_id)))


@resource.on("GET", "/metrics/tasks/<namespace>/<flow_id>")
def tasks(namespace: str, flow_id: str) -> Response:
    return answer(lanner().database.read(lambda c: queries.metric_tasks(c, namespace, flow_id)))


@resource.on(
    "GET",
    "/metrics/aggregates/<namespace>/<flow_id>/<metric>",
    "/metrics/aggregates/<namespace>/<flow_id>/<task_id>/<metric>",
)
def aggregates(namespace: str, flow_id: str, metric: str, task_id: str | None = None) -> Response:
    """The last 30 days unless asked otherwise."""
    end = optional_instant("endDate") or lanner().clock.now()
    start = optional_instant("startDate") or end - timedelta(days=30)
    if start > end:
        raise InvalidInput("Illegal argument: Start date must be before End Date")
    return answer(
        lanner().database.read(
            lambda c: queries.metric_aggregates(
                c,
                namespace,
                flow_id,
                metric,
                start=start,
                end=end,
                aggregation=request.args.get("aggregation", "sum"),
                task_id=task_id,
            )
        )
    )
