""" "Please sync now": rows that a push hook, a click or another process writes and the loop reads. Never lost.

A request that arrives while a pass runs is later than what that pass handles, so another pass follows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import NotFound
from namespaces.ids import new_id
from sync.pace import Request
from sync.store import source_table

_TICK = timedelta(microseconds=1)
HASTY = frozenset({"api", "cli", "start", "approve", "pin", "resume"})


def request(tx: Connection, name: str, *, now: datetime, trigger: str, by: str = "", full: bool = False) -> str:
    """Ask for a pass over the source; returns the id that its run will have. Raises ``NotFound``.

    Asking twice before the pass begins is one request: ``full`` and haste are kept from either.
    """
    row = tx.execute(
        sa.select(
            source_table.c.requested_at,
            source_table.c.first_requested_at,
            source_table.c.handled_at,
            source_table.c.taken_at,
            source_table.c.request_full,
            source_table.c.request_trigger,
            source_table.c.request_run,
        )
        .where(source_table.c.name == name)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no Git source '{name}'")
    begun = max((moment for moment in (row.handled_at, row.taken_at) if moment is not None), default=None)
    waiting = row.requested_at is not None and (begun is None or row.requested_at > begun)
    at = max(now, row.requested_at) if row.requested_at is not None else now
    if begun is not None and at <= begun:
        at = begun + _TICK
    kept = row.request_trigger if waiting and row.request_trigger in HASTY and trigger not in HASTY else trigger
    run_id: str = row.request_run if waiting and row.request_run else new_id()
    tx.execute(
        sa.update(source_table)
        .where(source_table.c.name == name)
        .values(
            request_run=run_id,
            requested_at=at,
            first_requested_at=row.first_requested_at if waiting and row.first_requested_at else at,
            request_full=bool(full or (waiting and row.request_full)),
            request_trigger=kept,
            requested_by=by,
        )
    )
    return run_id


def is_pending(row: Any) -> bool:
    return row.requested_at is not None and (row.handled_at is None or row.requested_at > row.handled_at)


def pending(row: Any) -> Request | None:
    """The request of a source row that no pass has handled yet."""
    if not is_pending(row):
        return None
    return Request(row.first_requested_at or row.requested_at, row.requested_at, row.request_trigger in HASTY)


def take(tx: Connection, name: str, upto: datetime) -> None:
    """A pass begins for everything asked up to this moment."""
    tx.execute(sa.update(source_table).where(source_table.c.name == name).values(taken_at=upto))


def handled(tx: Connection, name: str, upto: datetime) -> None:
    """Everything asked up to this moment has been done (or has failed, which counts as well)."""
    tx.execute(
        sa.update(source_table)
        .where(source_table.c.name == name)
        .values(
            handled_at=upto,
            request_run=sa.case((source_table.c.requested_at > upto, source_table.c.request_run), else_=None),
            request_full=sa.case((source_table.c.requested_at > upto, source_table.c.request_full), else_=False),
            first_requested_at=sa.case((source_table.c.requested_at > upto, source_table.c.requested_at), else_=None),
        )
    )
