"""Alembic's entry: runs migrations on the connection that `upgrade.py` passes in."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import types

from namespaces.store.base import complete_indexes
from service.migrations.models import whole_metadata


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Our own column types appear in migrations as the database's: old migrations must not import new code."""
    if kind == "type":
        if isinstance(item, types.TypeDecorator):
            return f"sa.{item.impl_instance.__class__.__name__}()"
        if item.__class__.__module__.startswith("sqlmodel"):
            autogen_context.imports.discard("import sqlmodel")
            return f"sa.String(length={item.length})" if item.length else "sa.String()"
    return False


complete_indexes(whole_metadata())
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=whole_metadata(),
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    render_item=render_item,
    # Each step commits by itself, so that a killed upgrade goes on where it stopped.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
if connection.in_transaction():
    connection.commit()
