"""A worker's sign of life: its row, renewed every 5 s, and the fence that stops it when it can no longer renew.

The fence counts from the start of the last successful renewal by a clock that counts suspend, so that a worker which
slept through its lease stops its own children before others take over (``reliability.md`` R7).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.clock import Clock
from namespaces.errors import Unavailable
from namespaces.ids import new_id
from namespaces.store import leases
from namespaces.store.db import Database, database_now
from runner.routing import worker_table

log = logging.getLogger("lanner.worker")

EVERY_S = 5.0
FENCE_S = 85.0


def boot_time() -> float:
    """Seconds since boot, suspend included where the kernel counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Heartbeat:
    """``fence`` is called once when the row could not be renewed for 85 s: end what runs here."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        fence: Callable[[], None],
        *,
        worker_id: str | None = None,
        groups: Sequence[str] = ("",),
    ) -> None:
        self.worker_id = worker_id or new_id()
        self._database = database
        self._clock = clock
        self._fence = fence
        self._groups = list(groups)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lanner-heartbeat", daemon=True)
        self._renewed = boot_time()
        self._fenced = False

    def start(self) -> None:
        """Write the worker's row, then keep it fresh."""
        process = leases.this_process()
        row = {
            "id": self.worker_id,
            "host": process["host"],
            "boot_id": process["boot"],
            "pid": int(process["pid"]),
            "process_start": process["start"],
            "groups": self._groups,
            "state": "RUNNING",
        }

        def sign_in(tx: Connection) -> None:
            now = database_now(tx, self._clock)
            tx.execute(sa.insert(worker_table).values(**row, started_at=now, heartbeat_at=now))

        self._database.write(sign_in)
        self._thread.start()

    def stop(self, *, state: str = "STOPPED") -> None:
        """Stop renewing; ``STOPPED`` says that nothing is left here, so nobody has to look after it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
        try:
            self._database.write(
                lambda tx: tx.execute(
                    sa.update(worker_table).where(worker_table.c.id == self.worker_id).values(state=state)
                )
            )
        except Unavailable:
            log.warning("worker %s could not sign off on %s", self.worker_id, socket.gethostname())

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            began = boot_time()
            try:
                self._database.write(
                    lambda tx: tx.execute(
                        sa.update(worker_table)
                        .where(worker_table.c.id == self.worker_id)
                        .values(heartbeat_at=database_now(tx, self._clock))
                    )
                )
            except Exception:
                log.warning("heartbeat failed", exc_info=True, extra={"action": "heartbeat_failed"})
            else:
                self._renewed = began
                self._fenced = False
            if not self._fenced and boot_time() - self._renewed > FENCE_S:
                self._fenced = True
                log.error("no heartbeat for %d s: ending what runs here", FENCE_S, extra={"action": "worker_fenced"})
                self._fence()
