"""Wake-ups inside one process. They only shorten the wait: whoever misses one finds the row at the next poll."""

from __future__ import annotations

import threading


class Nudges:
    """Counts per topic; a loop waits until the count it last saw has moved."""

    def __init__(self, *, silent: bool = False) -> None:
        """``silent`` drops every nudge: the test mode in which everything must still finish."""
        self._condition = threading.Condition()
        self._counts: dict[str, int] = {}
        self._silent = silent

    def send(self, topic: str) -> None:
        if self._silent:
            return
        with self._condition:
            self._counts[topic] = self._counts.get(topic, 0) + 1
            self._condition.notify_all()

    def seen(self, topic: str) -> int:
        with self._condition:
            return self._counts.get(topic, 0)

    def wait(self, topic: str, seen: int, timeout_s: float) -> int:
        """Wait until the topic's count differs from ``seen`` or the time is over; returns the count."""
        with self._condition:
            self._condition.wait_for(lambda: self._counts.get(topic, 0) != seen, timeout_s)
            return self._counts.get(topic, 0)
