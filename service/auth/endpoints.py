"""The one table: endpoint name to the permission it asks for (``gitops.md`` 2.13). What is not listed is refused."""

from __future__ import annotations

from collections.abc import Mapping

PUBLIC = "public"
"""Open to everybody; the route has its own key, or gives away nothing."""
AUTHENTICATED = "authenticated"
"""Any known caller."""

_BY_PERMISSION: Mapping[str, Mapping[str, str]] = {
    PUBLIC: {
        "health": "ping live liveness ready readiness health",
        # Their own key or signature is the credential.
        "webhooks": "fire",
        "git": "hook",
        # They tell only what a stranger may know, and look at the caller for more.
        "instance": "configs configs_login login logout basic_auth basic_auth_errors",
    },
    AUTHENTICATED: {
        "instance": "me pebble_filters pebble_functions",
        "plugins": "plugins subgroups triggers icons inputs schemas plugin",
    },
    "system.read": {
        "metrics_export": "metrics prometheus version",
        "instance": "usages",
    },
    "flow.read": {
        "flows": "get search of_namespace history task distinct_namespaces search_source deprecated",
        "flows_bulk": "export_ids export_query export_csv",
        "flows_validate": "flows task trigger",
        "graphs": "of_flow of_text dependencies of_namespace",
        "executions": "flows_of flow_for_execution",
        "triggers": "search of_flow get fires export_csv",
        "namespaces": "search get autocomplete",
        "plugins": "concurrency",
    },
    "flow.write": {
        "flows": "create update delete",
        "flows_bulk": "update_namespace update_all disable_ids disable_query enable_ids enable_query "
        "delete_ids delete_query import_flows",
    },
    "execution.run": {
        "executions": "create validate",
        "execution_actions": "replay replay_with_inputs",
        "execution_bulk": "replay_ids replay_query",
    },
    "execution.read": {
        "executions": "get search of_flow latest namespaces flow_of follow export_csv average_duration distinct_values",
        "execution_files": "get metas preview",
        "graphs": "of_execution",
        "outputs": "of_execution of_tasks of_task_run",
        "logs": "of_execution download_text follow search",
        "metrics": "of_execution names tasks aggregates",
    },
    "execution.control": {
        "execution_actions": "kill pause resume resume_from_breakpoint review restart force_run unqueue "
        "change_status state labels",
        "execution_bulk": "kill_ids kill_query pause_ids pause_query resume_ids resume_query restart_ids restart_query "
        "labels_ids labels_query change_status_ids change_status_query unqueue_ids unqueue_query "
        "force_run_ids force_run_query",
    },
    "execution.eval": {
        "execution_actions": "evaluate evaluate_for_task_run",
    },
    "execution.delete": {
        "executions": "delete",
        "execution_bulk": "delete_ids delete_query",
        "logs": "delete delete_of_trigger",
    },
    "trigger.control": {
        "triggers": "set_disabled set_disabled_many set_disabled_query update unlock unlock_many unlock_query restart "
        "delete delete_many delete_query create_backfill pause_backfill unpause_backfill delete_backfill pause_many "
        "pause_query unpause_many unpause_query delete_backfill_many delete_backfill_query",
    },
    "kv.read": {"kv": "get of_namespace inherited search"},
    "kv.write": {"kv": "put delete delete_many"},
    "file.read": {"namespace_files": "get directory stats search versions export"},
    "file.write": {"namespace_files": "upload delete move make_directory"},
    "secret.list": {"namespaces": "inherited_secrets secrets", "instance": "secrets"},
    "source.read": {"git": "sources source items runs run results"},
    "source.sync": {"git": "sync plan test"},
    "source.approve": {"git": "approve"},
    "source.pin": {"git": "pause resume pin"},
}


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for permission, resources in _BY_PERMISSION.items():
        for resource, names in resources.items():
            for name in names.split():
                endpoint = f"{resource}.{name}"
                if endpoint in table:
                    raise ValueError(f"endpoint '{endpoint}' is listed twice")
                table[endpoint] = permission
    return table


ENDPOINTS: Mapping[str, str] = _table()

UPLOADS = frozenset(
    {
        "executions.create",
        "executions.validate",
        "execution_actions.resume",
        "execution_actions.review",
        "execution_actions.replay_with_inputs",
        "flows_bulk.import_flows",
        "namespace_files.upload",
    }
)
"""Endpoints that take multipart uploads: their bodies may be as large as ``limits.upload_bytes``."""
