"""How often each limit of ``reliability.md`` R21 was met in this process; shown as ``lanner_limit_hits_total``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Hits:
    """Counters by the name of the setting (``limits.<name>``); threads may share one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, name: str, times: int = 1) -> None:
        """One more. An empty name is no limit and counts nothing, so that callers may pass what an error carries."""
        if name:
            with self._lock:
                self._counts[name] += times

    def counts(self) -> Mapping[str, int]:
        """Those that were met at all."""
        with self._lock:
            return dict(self._counts)
