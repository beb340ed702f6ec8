"""One thread that calls functions at given moments: time limits, delayed log writes. Calls must be short."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Alarm:
    """A call that is due; ``cancel`` makes it not happen."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Deadlines:
    """The thread is started by the first alarm and lives as long as the process."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._wake = threading.Condition()
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Have ``call`` made once, about ``seconds`` from now."""
        alarm = Alarm(call)
        with self._wake:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._count), alarm))
            if self._heap[0][2] is alarm:
                self._wake.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
        return alarm

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._wake.wait(None if wait is None else max(0.0, wait))
                alarm = heapq.heappop(self._heap)[2]
            if alarm.cancelled:
                continue
            try:
                alarm.call()
            except Exception:  # one alarm's bug must not stop the clock of all others
                log.exception("a deadline's call failed")
