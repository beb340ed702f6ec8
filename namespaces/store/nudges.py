"""Wake-ups. They only shorten the wait: whoever misses one finds the row at the next poll.

``Nudges`` works inside one process; ``PostgresNudges`` also carries them to the other processes of the instance.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy.engine import URL

log = logging.getLogger("lanner.store")

SLOTS = 256


class _Slot:
    __slots__ = ("condition", "count")

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0


class Nudges:
    """Counts per topic; a loop waits until the count it last saw has moved.

    Topics share a fixed number of slots: every execution has topics of its own, and a map of them would grow for
    ever. Whoever shares a slot wakes once too often, which is harmless; nobody else wakes at all.
    """

    def __init__(self, *, silent: bool = False) -> None:
        """``silent`` drops every nudge: the test mode in which everything must still finish."""
        self._slots = tuple(_Slot() for _ in range(SLOTS))
        self._silent = silent

    def _slot(self, topic: str) -> _Slot:
        return self._slots[hash(topic) % SLOTS]

    def send(self, topic: str) -> None:
        if self._silent:
            return
        slot = self._slot(topic)
        with slot.condition:
            slot.count += 1
            slot.condition.notify_all()

    def seen(self, topic: str) -> int:
        return self._slot(topic).count

    def wait(self, topic: str, seen: int, timeout_s: float) -> int:
        """Wait until the topic's count differs from ``seen`` or the time is over; returns the count."""
        slot = self._slot(topic)
        with slot.condition:
            slot.condition.wait_for(lambda: slot.count != seen, timeout_s)
            return slot.count

    def close(self) -> None:
        """End what runs beside; nudges sent later stay in this process."""


CHANNEL = "lanner"
TOPICS = 60
"""Topics in one notification: PostgreSQL takes 8,000 bytes."""
PAUSE_S = 0.005
"""How long topics are collected, so that a burst of commits is one notification."""
AGAIN_S = 2.0
LISTEN_S = 0.25
"""How long one look at the connection lasts: the longest wait for ``close``."""


class PostgresNudges(Nudges):
    """Nudges that reach every process on the same database, by LISTEN and NOTIFY."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._outgoing: dict[str, None] = {}
        self._waiting = threading.Condition()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name="lanner-nudges", daemon=True)
            for work in (self._tell, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, topic: str) -> None:
        super().send(topic)
        with self._waiting:
            self._outgoing[topic] = None
            self._waiting.notify()

    def close(self) -> None:
        self._closed.set()
        with self._waiting:
            self._waiting.notify()
        for thread in self._threads:
            thread.join(5)

    def _guarded(self, work: object) -> None:
        """Connect again for as long as the process lives; meanwhile polling does."""
        import psycopg

        while not self._closed.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    work(connection)  # type: ignore[operator]
            except psycopg.Error as error:
                log.warning("nudges wait for the database: %s", error, extra={"action": "nudges_lost"})
                self._closed.wait(AGAIN_S)

    def _tell(self, connection: object) -> None:
        while not self._closed.is_set():
            with self._waiting:
                self._waiting.wait_for(lambda: self._outgoing or self._closed.is_set())
            self._closed.wait(PAUSE_S)
            with self._waiting:
                topics, self._outgoing = list(self._outgoing), {}
            for start in range(0, len(topics), TOPICS):
                text = "\n".join(topics[start : start + TOPICS])
                connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))  # type: ignore[attr-defined]

    def _listen(self, connection: object) -> None:
        connection.execute(f"LISTEN {CHANNEL}")  # type: ignore[attr-defined]
        own = connection.info.backend_pid  # type: ignore[attr-defined]
        while not self._closed.is_set():
            for note in connection.notifies(timeout=LISTEN_S):  # type: ignore[attr-defined]
                if note.pid != own:
                    for topic in note.payload.split("\n"):
                        super().send(topic)


def open_nudges(url: URL, *, silent: bool = False) -> Nudges:
    """The nudges that fit the database; ``silent`` drops them all."""
    if silent or url.get_backend_name() != "postgresql":
        return Nudges(silent=silent)
    return PostgresNudges(url)
