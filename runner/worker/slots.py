"""How many scripts may run at once in this worker, and whose turn it is: by turns among namespaces, oldest first."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator

from namespaces.hits import Hits
from runner.plugin import RunFailed


class Slots:
    """A counted gate. Waiting ends with a slot, or when the attempt is cancelled."""

    def __init__(self, size: int, hits: Hits | None = None) -> None:
        self.size = size
        self._hits = hits or Hits()
        self._used = 0
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        return self._used

    @contextlib.contextmanager
    def hold(self, namespace: str, cancelled: threading.Event) -> Iterator[None]:
        """Have a slot inside the block. Raises ``RunFailed`` when cancelled before there was one."""
        self._take(namespace, cancelled)
        try:
            yield
        finally:
            self._give()

    def _take(self, namespace: str, cancelled: threading.Event) -> None:
        with self._lock:
            if self._used < self.size and not self._waiting:
                self._used += 1
                return
            self._hits.note("subprocesses")
            turn = threading.Event()
            self._waiting.setdefault(namespace, deque()).append(turn)
        while not turn.wait(0.2):
            if cancelled.is_set():
                with self._lock:
                    if turn.is_set():
                        break
                    self._forget(namespace, turn)
                raise RunFailed("it ended before there was a free place for its process")

    def _forget(self, namespace: str, turn: threading.Event) -> None:
        queue = self._waiting[namespace]
        queue.remove(turn)
        if not queue:
            del self._waiting[namespace]

    def _give(self) -> None:
        with self._lock:
            if not self._waiting:
                self._used -= 1
                return
            namespace, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            if queue:
                self._waiting[namespace] = queue  # to the end: others come first
            turn.set()
