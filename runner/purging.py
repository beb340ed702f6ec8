"""Which old revisions of flows may go (``flow.PurgeFlows``): nobody runs them, nobody can be pinned to them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.revisions import revision_table
from runner.rows import execution_table


def old_revisions(connection: Connection, conditions: list[sa.ColumnElement[bool]]) -> list[tuple[str, str, int]]:
    """(namespace, flow, revision) of what can be deleted among the rows that meet the conditions.

    Kept are the newest revision of each flow (a deleted one too: numbering goes on from it), revisions that an
    execution ran with (it may be replayed), and those that an open execution sees at its generation.
    """
    open_since = sa.select(sa.func.min(execution_table.c.generation)).where(execution_table.c.finished.is_(False))
    pinned = connection.execute(open_since).scalar()
    used = sa.select(execution_table.c.id).where(
        execution_table.c.namespace == revision_table.c.namespace,
        execution_table.c.flow_id == revision_table.c.flow_id,
        execution_table.c.revision == revision_table.c.revision,
    )
    query = sa.select(revision_table.c.namespace, revision_table.c.flow_id, revision_table.c.revision).where(
        *conditions, revision_table.c.to_generation.is_not(None), ~used.exists()
    )
    if pinned is not None:
        query = query.where(revision_table.c.to_generation <= pinned)
    return [(row.namespace, row.flow_id, row.revision) for row in connection.execute(query)]


def delete_revisions(tx: Connection, conditions: list[sa.ColumnElement[bool]]) -> int:
    """Delete them in the transaction that found them; how many."""
    found = old_revisions(tx, conditions)
    for namespace, flow_id, revision in found:
        tx.execute(
            sa.delete(revision_table).where(
                revision_table.c.namespace == namespace,
                revision_table.c.flow_id == flow_id,
                revision_table.c.revision == revision,
            )
        )
    return len(found)
