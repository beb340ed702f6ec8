"""Which files an execution may read: its own, those of executions it came from or started, its namespace's tree."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.blobs import execution_of, namespace_path
from namespaces.errors import InvalidInput
from runner.rows import execution_table

MOST_STEPS = 100


def refuse(uri: str) -> InvalidInput:
    return InvalidInput(
        f"Unable to read the file '{uri}' as it didn't belong to the current execution",
        code="foreign_file",
        hint="pass the file on as an input or output of a flow of this namespace",
    )


def may_read(connection: Connection, path: str, namespace: str, execution_id: str) -> bool:
    """Whether the execution may read the storage path (``flows.md`` 9.5)."""
    if path.startswith(namespace_path(namespace) + "/"):
        return True
    owner = execution_of(path)
    if owner is None:
        return False
    return are_related(connection, owner, execution_id)


def are_related(connection: Connection, one: str, other: str) -> bool:
    """Whether one of two executions came from the other."""
    return one in _related(connection, other) or other in _related(connection, one)


def _related(connection: Connection, execution_id: str) -> set[str]:
    """The execution and everything it came from: parents by Subflow, originals by replay."""
    related: set[str] = set()
    todo = [execution_id]
    while todo and len(related) < MOST_STEPS:
        one = todo.pop()
        if one in related:
            continue
        related.add(one)
        row = connection.execute(
            sa.select(
                execution_table.c.trigger_execution_id, execution_table.c.parent_id, execution_table.c.original_id
            ).where(execution_table.c.id == one)
        ).one_or_none()
        if row is not None:
            todo.extend(other for other in row if other and other not in related)
    return related
