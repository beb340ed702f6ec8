"""Tasks that look at or clear what executions left: log.Fetch, log.PurgeLogs, Count, PurgeExecutions, PurgeFlows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from namespaces.expressions import truthy
from runner.plugin import Output
from runner.tasks import CORE, Implementation
from runner.tasks.rows import write_rows
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_core as types


def fetch_logs(context: Running, task: types.FetchLogs) -> Output:
    rows = context.world.log_rows(
        task.execution_id or context.execution_id,
        task.tasks_id,
        task.level,
        namespace=task.namespace,
        flow_id=task.flow_id,
    )
    return Output(values={"size": len(rows), "uri": context.store("logs.ion", write_rows(rows))})


def purge_logs(context: Running, task: types.PurgeLogs) -> Output:
    count = context.world.purge_logs(
        {
            "namespace": task.namespace,
            "flowId": task.flow_id,
            "executionId": task.execution_id,
            "logLevels": task.log_levels,
            "startDate": task.start_date,
            "endDate": task.end_date,
        }
    )
    return Output(values={"count": count})


def count(context: Running, task: types.Count) -> Output:
    """Only the flows whose ``expression`` holds, with ``count`` as a variable."""
    counted = context.world.count_executions(
        {
            "flows": [{"namespace": flow.namespace, "flowId": flow.flow_id} for flow in task.flows or ()],
            "namespaces": task.namespaces,
            "states": task.states,
            "startDate": task.start_date,
            "endDate": task.end_date,
        }
    )
    kept = [row for row in counted if truthy(str(context.render(task.expression, row)))]
    return Output(values={"results": kept, "total": sum(row["count"] for row in kept)})


def purge_executions(context: Running, task: types.PurgeExecutions) -> Output:
    gone = context.world.purge_executions(
        {
            "namespace": task.namespace,
            "flowId": task.flow_id,
            "startDate": task.start_date,
            "endDate": task.end_date,
            "states": task.states,
            "purgeExecution": task.purge_execution,
            "purgeLog": task.purge_log,
            "purgeMetric": task.purge_metric,
            "purgeStorage": task.purge_storage,
        }
    )
    kinds = ("executions", "logs", "metrics", "storages")
    return Output(values={f"{kind}Count": gone.get(kind, 0) for kind in kinds})


def purge_flows(context: Running, task: types.PurgeFlows) -> Output:
    wanted = {"namespace": task.namespace, "flowId": task.flow_id}
    return Output(values={"count": context.world.purge_flows({k: v for k, v in wanted.items() if v})})


TASKS = {
    CORE + "log.Fetch": Implementation(run=fetch_logs),
    CORE + "log.PurgeLogs": Implementation(run=purge_logs),
    CORE + "execution.Count": Implementation(run=count, raw=frozenset({"expression"})),
    CORE + "execution.PurgeExecutions": Implementation(run=purge_executions),
    CORE + "flow.PurgeFlows": Implementation(run=purge_flows),
}
