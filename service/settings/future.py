"""Settings that are agreed on and have no effect yet. Changing one is an error, because silence would be a lie.

A test looks in the code: what is read nowhere must stand here, and what is read must not.
"""

from __future__ import annotations

NOT_YET = frozenset(
    {
        "auth.groups",
        "auth.oidc.client_id",
        "auth.oidc.client_secret",
        "auth.oidc.groups_claim",
        "auth.oidc.issuer",
        "auth.oidc.scopes",
        "flow_language_unmarked",
        "limits.attempt_cpu",
        "limits.attempt_memory_bytes",
        "limits.context_bytes",
        "limits.expression_bytes",
        "limits.flow_aliases",
        "limits.flow_bytes",
        "limits.flow_depth",
        "limits.flow_nodes",
        "limits.input_bytes",
        "limits.memory_bytes",
        "limits.render_memory_bytes",
        "limits.render_time",
        "limits.rendered_bytes",
        "limits.tasks_per_flow",
        "limits.template_bytes",
        "policies",
        "recursive_rendering",
        "retention.audit",
        "retention.executions",
        "retention.sync_runs",
        "subflow_pin",
        "tasks.minimum_isolation",
    }
)
