"""The REST face (``api.md``): one blueprint per resource. A view parses, calls one function of a room, formats."""

from __future__ import annotations

from importlib import import_module

from flask import Blueprint

MODULES = (
    "flows",
    "flows_bulk",
    "flows_validate",
    "graphs",
    "executions",
    "execution_actions",
    "execution_bulk",
    "execution_files",
    "webhooks",
    "outputs",
    "logs",
    "metrics",
    "triggers",
    "kv",
    "namespace_files",
    "namespaces",
    "git",
    "plugins",
    "instance",
)


def blueprints() -> list[Blueprint]:
    """Every blueprint of the API and its neighbours without a page, in the order in which they are registered."""
    modules = [*(f"service.api.{name}" for name in MODULES), "service.health", "service.metrics"]
    return [import_module(name).resource for name in modules]
