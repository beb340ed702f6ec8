"""The one table: endpoint name to the permission it asks for (``gitops.md`` 2.13). What is not listed is refused."""

from __future__ import annotations

from collections.abc import Mapping

PUBLIC = "public"
"""Open to everybody; the route has its own key, or gives away nothing."""
AUTHENTICATED = "authenticated"
"""Any known caller."""

_FLOWS = {
    "flows.create": "flow.write",
    "flows.update": "flow.write",
    "flows.delete": "flow.write",
    "flows.get": "flow.read",
    "flows.search": "flow.read",
    "flows.of_namespace": "flow.read",
    "flows.history": "flow.read",
    "flows.task": "flow.read",
    "flows.distinct_namespaces": "flow.read",
    "flows.search_source": "flow.read",
    "flows.deprecated": "flow.read",
}
_EXECUTIONS = {
    "executions.create": "execution.run",
    "executions.validate": "execution.run",
    "executions.get": "execution.read",
    "executions.search": "execution.read",
    "executions.of_flow": "execution.read",
    "executions.latest": "execution.read",
    "executions.namespaces": "execution.read",
    "executions.flows_of": "flow.read",
    "executions.flow_for_execution": "flow.read",
    "executions.flow_of": "execution.read",
    "executions.follow": "execution.read",
    "executions.delete": "execution.delete",
    "executions.export_csv": "execution.read",
    "webhooks.fire": PUBLIC,
    "outputs.of_execution": "execution.read",
    "outputs.of_tasks": "execution.read",
    "outputs.of_task_run": "execution.read",
}
_LOGS = {
    "logs.of_execution": "execution.read",
    "logs.download_text": "execution.read",
    "logs.follow": "execution.read",
    "logs.search": "execution.read",
    "logs.delete": "execution.delete",
    "logs.delete_of_trigger": "execution.delete",
}
_INSTANCE = {
    "health.ping": PUBLIC,
    "health.live": PUBLIC,
    "health.liveness": PUBLIC,
    "health.ready": PUBLIC,
    "health.readiness": PUBLIC,
    "health.health": PUBLIC,
}
ENDPOINTS: Mapping[str, str] = {**_FLOWS, **_EXECUTIONS, **_LOGS, **_INSTANCE}

UPLOADS = frozenset({"executions.create", "executions.validate"})
"""Endpoints that take multipart uploads: their bodies may be as large as ``limits.upload_bytes``."""
