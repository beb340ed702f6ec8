"""The reconciler: looks at what *should* be owned by something, never at what was promised. Its steps are idempotent.

Queues and nudges only make things faster; this loop makes them certain (``reliability.md`` R3, R7, R17).
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import LannerError, Unavailable
from namespaces.store import leases
from namespaces.store.db import database_now
from runner import batches, loops
from runner.dispatch.base import Dispatch
from runner.driving import Driver
from runner.engine import events
from runner.engine.draft import BEFORE_THE_GATE
from runner.engine.states import State
from runner.executions import Executions
from runner.retention import Retention
from runner.routing import worker_table
from runner.rows import batch_table, decode_history, execution_table, run_table

log = logging.getLogger("lanner.rescue")

EVERY_S = 5.0
UNCLAIMED = timedelta(seconds=30)
"""A ready attempt that nobody claimed for so long is dispatched again."""
CREATED_FOR = timedelta(seconds=5)
LOST = timedelta(seconds=90)
KILLING_FOR = timedelta(seconds=60)
MOST_RECOVERIES = 5
BATCH = 200
UNBROKEN = timedelta(seconds=15)
"""The judge must itself have seen the database for so long before it calls a worker lost."""


class Reconciler:
    def __init__(
        self,
        executions: Executions,
        driver: Driver,
        dispatch: Dispatch,
        holder: str,
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention
        self._executions = executions
        self._database = executions.database
        self._clock = executions.clock
        self._driver = driver
        self._dispatch = dispatch
        self._holder = holder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lanner-rescue", daemon=True)
        self._seen_since: datetime | None = None
        self._page = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        first = True
        while not self._stop.is_set():
            try:
                self.pass_once(after_start=first)
                first = False
            except Unavailable as error:
                self._seen_since = None
                log.warning("reconciler waits: %s", error, extra={"action": "rescue_waits"})
            except Exception:
                log.exception("reconciler failed, going on", extra={"action": "rescue_failed"})
            self._stop.wait(EVERY_S)

    def pass_once(self, *, after_start: bool = False) -> int:
        """One look over everything open; returns how many things were helped. ``after_start`` trusts no promise of
        an earlier process on this host, so it need not wait for deadlines."""
        now = self._clock.now()
        if self._seen_since is None:
            self._seen_since = now
        lease = self._database.write(
            lambda tx: leases.acquire(
                tx, "reconciler", self._holder, now=database_now(tx, self._clock), ttl=timedelta(seconds=15)
            )
        )
        if lease is None:
            return 0
        helped = 0
        patience = timedelta(0) if after_start else CREATED_FOR
        for execution_id in self._database.read(lambda c: self._not_begun(c, now - patience)):
            helped += self._help(execution_id, lambda i=execution_id: self._driver.begin(i))
        for worker_id in self._database.read(lambda c: self._lost_workers(c, database_now(c, self._clock))):
            helped += self._lost(worker_id)
        patience = timedelta(0) if after_start else UNCLAIMED
        helped += self._drive_unclaimed(now - patience, whole=after_start)
        for execution_id in self._database.read(lambda c: self._stuck_killing(c, now - KILLING_FOR)):
            helped += self._help(execution_id, lambda i=execution_id: self._force_kill(i))
        for execution_id in self._database.read(lambda c: self._unheard(c, now - UNCLAIMED)):
            helped += self._help(execution_id, lambda i=execution_id: self._announce(i))
        for execution_id in self._database.read(self._senseless):
            self._executions.applier.write_off(execution_id, "its state is not one that exists")
        for run_id in self._database.read(lambda c: batches.unheard(c, BATCH)):
            helped += self._help(run_id, lambda r=run_id: batches.report(self._executions, r))
        for run_id in self._database.read(lambda c: loops.standing(c, BATCH)):
            helped += self._help(run_id, lambda r=run_id: loops.go_on(self._executions, r))
        for namespace, flow_id, oldest in self._database.read(self._queues):
            self._help(oldest, lambda n=namespace, f=flow_id: self._driver.released(n, f))
        if self._retention is not None:
            self._retention.pass_once(self._stop)
        return helped

    def _drive_unclaimed(self, before: datetime, *, whole: bool) -> int:
        """One page of what waits, or after a start all of it; the next pass goes on where this one ended."""
        helped = 0
        while True:
            found, self._page = self._database.read(lambda c: self._unclaimed(c, before, self._page))
            for execution_id in found:
                helped += self._help(execution_id, lambda i=execution_id: self._executions.applier.drive(i))
            if not whole or not self._page or self._stop.is_set():
                return helped

    def _help(self, execution_id: str, step: Any) -> int:
        """One step for one execution; a failing one is counted on its row and ends FAILED after five."""
        try:
            step()
        except Unavailable:
            raise
        except LannerError as error:
            log.warning("execution %s: %s", execution_id, error, extra={"action": "rescue_refused"})
            self._count(execution_id, str(error))
        except Exception as error:
            log.exception("execution %s cannot be helped", execution_id, extra={"action": "rescue_failed"})
            self._count(execution_id, str(error))
        return 1

    def _count(self, execution_id: str, reason: str) -> None:
        recoveries = self._database.write(
            lambda tx: tx.execute(
                sa.update(execution_table)
                .where(execution_table.c.id == execution_id)
                .values(recoveries=execution_table.c.recoveries + 1)
                .returning(execution_table.c.recoveries)
            ).scalar()
        )
        if recoveries is not None and recoveries > MOST_RECOVERIES:
            reason = f"recovery_exhausted: {reason}"
            try:
                self._executions.apply(execution_id, events.Broken(at=self._clock.now(), reason=reason))
            except Unavailable:
                raise
            except Exception:
                log.exception("execution %s cannot be failed", execution_id, extra={"action": "rescue_failed"})
                self._executions.applier.write_off(execution_id, reason)

    @staticmethod
    def _not_begun(connection: Connection, before: datetime) -> list[str]:
        now_or_later = sa.or_(execution_table.c.schedule_date.is_(None), execution_table.c.schedule_date <= before)
        return list(
            connection.execute(
                sa.select(execution_table.c.id)
                .where(
                    execution_table.c.finished.is_(False),
                    execution_table.c.state.in_([State.CREATED.value, State.RESTARTED.value]),
                    execution_table.c.created_at <= before,
                    now_or_later,
                )
                .order_by(execution_table.c.created_at)
                .limit(BATCH)
            ).scalars()
        )

    @staticmethod
    def _unclaimed(connection: Connection, before: datetime, after: str) -> tuple[list[str], str]:
        """Executions with a task run that was decided on before ``before`` and that nobody has taken, in order of
        their ids from ``after`` on; and where the next look begins ("" when this one reached the end).

        In whatever state they are: afterExecution tasks, ``onPause`` and the siblings of a loop that waits count too.
        """
        waiting = (
            sa.select(
                run_table.c.execution_id,
                sa.func.min(run_table.c.history).label("one"),
                sa.func.max(run_table.c.history).label("other"),
            )
            .join(execution_table, execution_table.c.id == run_table.c.execution_id)
            .where(
                execution_table.c.finished.is_(False),
                execution_table.c.state.not_in([state.value for state in BEFORE_THE_GATE]),
                run_table.c.terminal.is_(False),
                run_table.c.worker_id.is_(None),
                run_table.c.epoch > 0,
                run_table.c.state.in_([State.CREATED.value, State.RESTARTED.value, State.SUBMITTED.value]),
                run_table.c.execution_id > after,
            )
            .group_by(run_table.c.execution_id)
            .order_by(run_table.c.execution_id)
            .limit(BATCH)
        )
        rows = connection.execute(waiting).all()
        old = [
            row.execution_id for row in rows if _changed_before(row.one, before) or _changed_before(row.other, before)
        ]
        return old, rows[-1].execution_id if len(rows) == BATCH else ""

    @staticmethod
    def _unheard(connection: Connection, before: datetime) -> list[str]:
        """Executions that ended although the task run waiting for them does not know."""
        counted = batch_table
        return list(
            connection.execute(
                sa.select(execution_table.c.id)
                .join(run_table, run_table.c.id == execution_table.c.parent_run_id)
                .outerjoin(counted, counted.c.execution_id == execution_table.c.id)
                .where(
                    run_table.c.terminal.is_(False),
                    run_table.c.state.in_([State.RUNNING.value, State.PAUSED.value]),
                    execution_table.c.finished.is_(True),
                    execution_table.c.state != State.RETRIED.value,  # its parent waits for what takes its place
                    execution_table.c.ended_at <= before,
                    sa.or_(counted.c.execution_id.is_(None), counted.c.state.is_distinct_from(execution_table.c.state)),
                    counted.c.state.is_distinct_from(State.RESTARTED.value),  # its end is about to be undone
                )
                .limit(BATCH)
            ).scalars()
        )

    def _announce(self, execution_id: str) -> None:
        if self._driver.effects is not None:
            self._driver.effects.announce_again(execution_id)

    def _lost_workers(self, connection: Connection, now: datetime) -> list[str]:
        unbroken = self._seen_since is not None and self._clock.now() - self._seen_since >= UNBROKEN
        lost = []
        for row in connection.execute(sa.select(worker_table).where(worker_table.c.state == "RUNNING")):
            process = {"host": row.host, "boot": row.boot_id, "pid": str(row.pid), "start": row.process_start}
            if leases.is_dead(process) or (unbroken and now - row.heartbeat_at > LOST):
                lost.append(row.id)
        return lost

    def _lost(self, worker_id: str) -> int:
        """Everything the worker held is assigned again or failed, then the worker itself is marked LOST."""
        held = self._database.read(
            lambda c: c.execute(
                sa.select(run_table.c.id, run_table.c.execution_id, run_table.c.epoch).where(
                    run_table.c.worker_id == worker_id
                )
            ).all()
        )
        log.warning("worker %s is gone, %d attempts", worker_id, len(held), extra={"action": "worker_lost"})
        for row in held:
            self._help(
                row.execution_id,
                lambda r=row: self._executions.apply(
                    r.execution_id, events.WorkerLost(at=self._clock.now(), task_run_id=r.id, epoch=r.epoch)
                ),
            )
        self._database.write(
            lambda tx: tx.execute(sa.update(worker_table).where(worker_table.c.id == worker_id).values(state="LOST"))
        )
        return len(held)

    def _stuck_killing(self, connection: Connection, before: datetime) -> list[str]:
        rows = connection.execute(
            sa.select(execution_table.c.id, execution_table.c.history)
            .where(execution_table.c.state == State.KILLING.value)
            .limit(BATCH)
        )
        return [row.id for row in rows if _changed_before(row.history, before)]

    def _force_kill(self, execution_id: str) -> None:
        """The workers do not answer: send the kill again, and give up on attempts without a living worker."""
        alive = set(
            self._database.read(
                lambda c: list(
                    c.execute(sa.select(worker_table.c.id).where(worker_table.c.state == "RUNNING")).scalars()
                )
            )
        )
        runs = self._database.read(
            lambda c: c.execute(
                sa.select(run_table.c.id, run_table.c.epoch, run_table.c.worker_id, run_table.c.state).where(
                    run_table.c.execution_id == execution_id, run_table.c.terminal.is_(False)
                )
            ).all()
        )
        if all(row.worker_id is None for row in runs):
            # Nobody holds anything: deciding once more ends what is left, or tells why it cannot.
            self._executions.apply(execution_id, events.Kill(at=self._clock.now(), cascade=True))
        for row in runs:
            if row.worker_id in alive:
                self._dispatch.kill(row.id, row.epoch)
            elif row.worker_id is not None:
                self._executions.apply(
                    execution_id,
                    events.AttemptFinished(
                        at=self._clock.now(), task_run_id=row.id, epoch=row.epoch, state=State.KILLED
                    ),
                )

    @staticmethod
    def _senseless(connection: Connection) -> list[str]:
        """Open executions in a state that nobody knows, so that nobody else will ever look at them."""
        return list(
            connection.execute(
                sa.select(execution_table.c.id)
                .where(execution_table.c.finished.is_(False), execution_table.c.state.not_in(list(State)))
                .limit(BATCH)
            ).scalars()
        )

    @staticmethod
    def _queues(connection: Connection) -> list[tuple[str, str, str]]:
        """Flows with a queue, and who is first in it."""
        first = execution_table.alias()
        oldest = (
            sa.select(first.c.id)
            .where(
                first.c.namespace == execution_table.c.namespace,
                first.c.flow_id == execution_table.c.flow_id,
                first.c.state == State.QUEUED.value,
            )
            .order_by(first.c.created_at, first.c.id)
            .limit(1)
            .scalar_subquery()
        )
        rows = connection.execute(
            sa.select(execution_table.c.namespace, execution_table.c.flow_id, oldest.label("oldest"))
            .where(execution_table.c.state == State.QUEUED.value)
            .group_by(execution_table.c.namespace, execution_table.c.flow_id)
            .limit(BATCH)
        )
        return [(row.namespace, row.flow_id, row.oldest) for row in rows]


def _changed_before(stored: Any, before: datetime) -> bool:
    """Whether a stored history entered its last state by then. One that cannot be read counts as old: whoever looks
    at it next tells why."""
    try:
        changes = decode_history(stored)
    except (LannerError, ValueError, TypeError):
        return True
    return not changes or changes[-1][1] <= before
