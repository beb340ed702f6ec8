"""The REST face (``api.md``): one blueprint per resource. A view parses, calls one function of a room, formats."""

from __future__ import annotations

from flask import Blueprint


def blueprints() -> list[Blueprint]:
    """Every blueprint of the API, in the order in which they are registered."""
    from service import health
    from service.api import executions, flows, logs, outputs, webhooks

    return [
        flows.resource,
        executions.resource,
        outputs.resource,
        webhooks.resource,
        logs.resource,
        health.resource,
    ]
