"""The timer loop: due rows become events. No timer lives anywhere but in its row.

A row cannot get lost: it is written in the transaction of the state that waits for it (``writing.write``), and goes
only after its event was committed. So the reconciler does not look for states without their timer.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.errors import LannerError, Unavailable
from runner.engine.events import TimerFired, TimerKind
from runner.executions import Executions
from runner.rows import timer_table

log = logging.getLogger("lanner.timers")

LONGEST_SLEEP_S = 1.0
BATCH = 200
RETRY = timedelta(seconds=5)


_COLUMNS = [column for column in timer_table.c if column.name != "payload"]


class TimerLoop:
    """Wakes at the earliest due row, at a nudge, or after a second; one bad row never stops the others."""

    def __init__(self, executions: Executions, driver: Any) -> None:
        self._executions = executions
        self._driver = driver
        self._database = executions.database
        self._clock = executions.clock
        self._nudges = executions.nudges
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lanner-timers", daemon=True)
        self.lag_s = 0.0
        """How late the last timer was handled, for health."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._nudges.send("timers")
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            seen = self._nudges.seen("timers")
            try:
                sleep = self.pass_once()
            except Unavailable as error:
                log.warning("timers wait: %s", error, extra={"action": "timers_wait"})
                sleep = LONGEST_SLEEP_S
            except Exception:
                log.exception("timers failed, going on", extra={"action": "timers_failed"})
                sleep = LONGEST_SLEEP_S
            if sleep > 0:
                self._nudges.wait("timers", seen, sleep)

    def pass_once(self) -> float:
        """Fire what is due; returns how long to sleep (seconds) until there may be more."""
        now = self._clock.now()
        due = self._database.read(lambda c: self._due(c, now))
        for row in due:
            self.lag_s = max(0.0, (now - row.due_at).total_seconds())
            self._fire(row)
        if len(due) == BATCH:
            return 0.0
        earliest = self._database.read(lambda c: c.execute(sa.select(sa.func.min(timer_table.c.due_at))).scalar())
        if earliest is None:
            return LONGEST_SLEEP_S
        moment: datetime = earliest
        return min(LONGEST_SLEEP_S, max(0.0, (moment - self._clock.now()).total_seconds()))

    @staticmethod
    def _due(connection: Connection, now: datetime) -> list[Any]:
        return list(
            connection.execute(
                sa.select(*_COLUMNS).where(timer_table.c.due_at <= now).order_by(timer_table.c.due_at).limit(BATCH)
            )
        )

    def _fire(self, row: Any) -> None:
        """Handle, then remove: a crash between fires it again, and every event of a timer is harmless twice."""
        try:
            match row.kind:
                case TimerKind.START:
                    self._begin(row)
                case TimerKind.NEW_EXECUTION:
                    self._driver.retry_as_new(row.execution_id, row.id)
                case _:
                    self._executions.apply(
                        row.execution_id,
                        TimerFired(
                            at=self._clock.now(),
                            kind=TimerKind(row.kind),
                            task_run_id=row.task_run_id,
                            epoch=row.epoch,
                            name=row.name,
                        ),
                    )
        except LannerError as error:
            log.warning(
                "timer %s of execution %s: %s", row.kind, row.execution_id, error, extra={"action": "timer_failed"}
            )
            self._again(row)
            return
        except Exception:
            log.exception("timer %s of execution %s", row.kind, row.execution_id, extra={"action": "timer_failed"})
            self._again(row)
            return
        crash.reach("retry.after_schedule")
        self._database.write(lambda tx: tx.execute(sa.delete(timer_table).where(timer_table.c.id == row.id)))

    def _begin(self, row: Any) -> None:
        self._driver.begin(row.execution_id)

    def _again(self, row: Any) -> None:
        later = self._clock.now() + RETRY * (row.failures + 1)
        self._database.write(
            lambda tx: tx.execute(
                sa.update(timer_table)
                .where(timer_table.c.id == row.id)
                .values(due_at=later, failures=timer_table.c.failures + 1)
            )
        )
