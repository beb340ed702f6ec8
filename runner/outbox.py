"""The outbox loop: carries out effects that their writer did not get to, because it died or had trouble."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from namespaces.clock import Clock
from namespaces.errors import Unavailable
from namespaces.store import outbox
from namespaces.store.db import Database
from runner.effects import Effects
from runner.writing import TOPIC

log = logging.getLogger("lanner.outbox")

EVERY_S = 1.0
HOLD = timedelta(seconds=30)
BATCH = 100


class OutboxLoop:
    """Claims due messages and handles them; several loops share the work without doing it twice at once."""

    def __init__(self, database: Database, effects: Effects, clock: Clock) -> None:
        self._database = database
        self._effects = effects
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lanner-outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                handled = self.pass_once()
            except Unavailable as error:
                log.warning("outbox waits: %s", error, extra={"action": "outbox_waits"})
                handled = 0
            except Exception:
                log.exception("outbox failed, going on", extra={"action": "outbox_failed"})
                handled = 0
            if handled < BATCH:
                self._stop.wait(EVERY_S)

    def pass_once(self) -> int:
        """Handle what is due; returns how many messages that were."""
        now = self._clock.now()
        messages = (
            self._database.write(lambda tx: outbox.claim(tx, (TOPIC,), now=now, hold=HOLD, limit=BATCH))
            if self._any(now)
            else []
        )
        for message in messages:
            if self._stop.is_set():
                break
            try:
                self._effects.handle(message)
            except Unavailable:
                raise
            except Exception:
                # It stays claimed until its hold ends, and comes again beside the others.
                log.exception("message %d failed, going on", message.id, extra={"action": "outbox_failed"})
        return len(messages)

    def _any(self, now: object) -> bool:
        """A cheap look first: an idle loop must not take the writer's time."""
        import sqlalchemy as sa

        table = outbox.table
        return (
            self._database.read(
                lambda c: c.execute(
                    sa.select(table.c.id).where(table.c.topic == TOPIC, table.c.due_at <= now).limit(1)
                ).scalar()
            )
            is not None
        )
