"""Effects waiting to be carried out: written in the transaction that decided them, delivered at least once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.tables import OutboxRow

table = OutboxRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    topic: str
    key: str
    payload: Any
    attempts: int


def put(tx: Connection, topic: str, messages: Iterable[tuple[str, Any]], *, due_at: datetime) -> list[int]:
    """Write ``(key, payload)`` messages in the caller's transaction; returns their ids in the same order."""
    rows = [
        {"topic": topic, "key": key, "payload": payload, "due_at": due_at, "attempts": 0} for key, payload in messages
    ]
    if not rows:
        return []
    if len(rows) == 1:
        return [int(tx.execute(sa.insert(table).values(rows[0]).returning(table.c.id)).scalar_one())]
    return [
        int(i) for i in tx.execute(sa.insert(table).returning(table.c.id, sort_by_parameter_order=True), rows).scalars()
    ]


def claim(tx: Connection, topics: Sequence[str], *, now: datetime, hold: timedelta, limit: int) -> list[Message]:
    """Take due messages for ``hold``: whoever dies with them leaves them due again afterwards.

    On PostgreSQL rows another claimer holds are skipped; SQLite has one writer anyway.
    """
    due = (
        sa.select(table)
        .where(table.c.topic.in_(topics), table.c.due_at <= now)
        .order_by(table.c.due_at, table.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = tx.execute(due).all()
    if rows:
        tx.execute(
            sa.update(table)
            .where(table.c.id.in_([row.id for row in rows]))
            .values(due_at=now + hold, attempts=table.c.attempts + 1)
        )
    return [Message(row.id, row.topic, row.key, row.payload, row.attempts) for row in rows]


def done(tx: Connection, ids: Iterable[int]) -> None:
    """Delivered: remove."""
    wanted = list(ids)
    for start in range(0, len(wanted), 400):
        tx.execute(sa.delete(table).where(table.c.id.in_(wanted[start : start + 400])))


def postpone(tx: Connection, message_id: int, due_at: datetime) -> None:
    """Not delivered: try again at ``due_at``."""
    tx.execute(sa.update(table).where(table.c.id == message_id).values(due_at=due_at))
