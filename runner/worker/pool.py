"""Threads that carry attempts: one each, started when there is work and none is idle, at most ``size``."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from namespaces.errors import LannerError

log = logging.getLogger(__name__)

Key = tuple[str, int]


class Pool:
    """Calls functions in threads, oldest first. A key that waits or runs already is not taken twice."""

    def __init__(self, size: int = 64, idle_s: float = 30.0) -> None:
        self.size = size
        self._idle_s = idle_s
        self._waiting: OrderedDict[Key, Callable[[], object]] = OrderedDict()
        self._busy: set[Key] = set()
        self._idle = 0
        self._threads = 0
        self._stopping = False
        self._changed = threading.Condition()

    def submit(self, key: Key, call: Callable[[], object]) -> bool:
        """Have ``call`` run soon; False when the pool stops or the key is known already."""
        with self._changed:
            if self._stopping or key in self._waiting or key in self._busy:
                return False
            self._waiting[key] = call
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self.size:
                self._threads += 1
                threading.Thread(target=self._work, name=f"attempt-{self._threads}", daemon=True).start()
            return True

    def withdraw(self, key: Key) -> bool:
        """Take back what waits; False when it does not wait (any more)."""
        with self._changed:
            return self._waiting.pop(key, None) is not None

    def spare(self) -> bool:
        """Whether nothing waits for a thread, so that one with more to do takes nobody's turn; False when it stops."""
        return not self._waiting and not self._stopping

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._waiting:
                    if self._stopping or not self._changed.wait(self._idle_s):
                        if self._waiting and not self._stopping:
                            continue
                        self._idle -= 1
                        self._threads -= 1
                        self._changed.notify_all()
                        return
                self._idle -= 1
                key, call = self._waiting.popitem(last=False)
                self._busy.add(key)
            try:
                call()
            except LannerError as error:
                log.warning("attempt %s was not carried out here: %s", key, error)
            except Exception:  # the thread must live on for the next attempt
                log.exception("attempt %s was not carried out here", key)
            finally:
                with self._changed:
                    self._busy.discard(key)
                    self._changed.notify_all()

    @property
    def busy(self) -> int:
        return len(self._busy)

    def close(self) -> None:
        """Take nothing more and drop what waits; what runs goes on."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._changed.notify_all()

    def stop(self, timeout_s: float) -> bool:
        """Close, and wait for what runs; whether all of it ended in time."""
        self.close()
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, timeout_s)
