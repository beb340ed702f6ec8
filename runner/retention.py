"""What is too old goes: finished executions and rows of the audit log, in small steps (``reliability.md`` R25).

Idempotency keys are the scheduler's, records of syncs the room ``sync``'s.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import audit
from namespaces.errors import NotFound
from runner.executions import Executions
from runner.rows import execution_table, run_table
from runner.writing import log_table, metric_table

log = logging.getLogger("lanner.retention")

EVERY = timedelta(minutes=1)
AT_ONCE = 50
"""Executions of one look; a pass takes as many looks as it needs, in at most ``PASS`` of time."""
ROWS = 500
Go = Callable[[], bool]
PASS = timedelta(seconds=2)
"""The loop has other duties: the rest waits for the next pass, which then comes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long things are kept (``retention.*``); None: for ever."""

    executions: timedelta | None = None
    audit: timedelta | None = None


class Retention:
    """Called by the reconciler under its lease, so that one process of the instance does it."""

    def __init__(self, executions: Executions, kept: Kept) -> None:
        self._executions = executions
        self._database = executions.database
        self._clock = executions.clock
        self._kept = kept
        self._next: datetime | None = None

    def pass_once(self, stop: threading.Event) -> int:
        """Delete what is too old; how many executions and rows of the audit log. At most once a minute unless more
        is waiting. A kill in the middle leaves whole executions: some gone, the others as they were, but for the log.
        """
        now = self._clock.now()
        if self._next is not None and timedelta() <= self._next - now <= EVERY:
            return 0
        gone = 0
        until = self._clock.monotonic() + PASS.total_seconds()
        self._next = now + EVERY

        def time_left() -> bool:
            return not stop.is_set() and self._clock.monotonic() < until

        if self._kept.executions is not None:
            gone += self._purge_executions(now - self._kept.executions, time_left)
        if self._kept.audit is not None:
            gone += self._purge_audit(now, now - self._kept.audit, time_left)
        if self._clock.monotonic() >= until:
            self._next = now
        if gone:
            log.info("%d executions and audit rows were too old", gone, extra={"action": "purged", "count": gone})
        return gone

    def _purge_executions(self, before: datetime, time_left: Go) -> int:
        gone = 0
        after = ""
        while time_left():
            found = self._database.read(partial(_too_old, before=before, after=after))
            for execution_id in found:
                if not time_left():
                    return gone
                self._purge(execution_id)
                gone += 1
            if len(found) < AT_ONCE:
                return gone
            after = found[-1]
        return gone

    def _purge(self, execution_id: str) -> None:
        """Many log lines go first, in small transactions; then the execution itself at once, with its files."""
        for table in (log_table, metric_table):
            ids = sa.select(table.c.id).where(table.c.execution_id == execution_id).limit(ROWS).scalar_subquery()
            delete = sa.delete(table).where(table.c.id.in_(ids))
            while self._database.write(partial(_rows_of, delete)) >= ROWS:
                pass
        try:
            self._executions.delete(execution_id, if_finished=True)
        except NotFound:
            log.debug("execution %s is gone already", execution_id)

    def _purge_audit(self, now: datetime, before: datetime, time_left: Go) -> int:
        gone = 0
        while time_left():
            step = self._database.write(partial(audit.purge, before=before, now=now, limit=ROWS))
            gone += step
            if step < ROWS:
                break
        return gone


def _rows_of(delete: sa.Delete, tx: Connection) -> int:
    return tx.execute(delete).rowcount


def _too_old(connection: Connection, *, before: datetime, after: str) -> Sequence[str]:
    """Finished executions that ended before; not those whose parent still runs and may look at them.

    Iterations of Loops go with the execution that they belong to.
    """
    parent = execution_table.alias()
    waiting = (
        sa.select(parent.c.id)
        .join(run_table, run_table.c.execution_id == parent.c.id)
        .where(run_table.c.id == execution_table.c.parent_run_id, parent.c.finished.is_(False))
        .exists()
    )
    query = (
        sa.select(execution_table.c.id)
        .where(
            execution_table.c.finished.is_(True),
            execution_table.c.kind != "LOOP",
            execution_table.c.ended_at < before,
            execution_table.c.id > after,
            ~waiting,
        )
        .order_by(execution_table.c.id)
        .limit(AT_ONCE)
    )
    return list(connection.execute(query).scalars())
