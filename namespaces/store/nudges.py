"""Wake-ups inside one process. They only shorten the wait: whoever misses one finds the row at the next poll."""

from __future__ import annotations

import threading

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
