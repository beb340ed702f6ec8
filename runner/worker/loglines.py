"""The log of one attempt on its way to the reporter: masked, cut, filtered by level, in batches, or into a file.

How lines are kept and read is the reporter's business; where script lines come from, the supervisor's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from namespaces.clock import Clock, iso
from namespaces.errors import Unavailable
from namespaces.masking import Masker
from runner.logs import LEVELS, LogLine
from runner.worker.limits import Limits

BATCH = 200
FLUSH_S = 0.1
_BACKLOG = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose lines these are."""

    namespace: str
    flow_id: str
    execution_id: str
    task_id: str
    task_run_id: str
    attempt: int


def clean(message: str, limit: int) -> str:
    """A message that every database takes: no NUL, about ``limit`` characters (the supervisor's mark may follow)."""
    if "\0" in message:
        message = message.replace("\0", "\ufffd")
    if len(message) > limit + 100:
        message = f"{message[:limit]} … [{len(message) - limit} characters cut]"
    return message


def line(origin: Origin, at: datetime, level: str, message: str, seq: int | None = None) -> LogLine:
    return LogLine(
        at=at,
        level=LEVELS[level],
        message=message,
        namespace=origin.namespace,
        flow_id=origin.flow_id,
        execution_id=origin.execution_id,
        task_id=origin.task_id,
        task_run_id=origin.task_run_id,
        attempt=origin.attempt,
        seq=seq,
    )


class LogSink:
    """Collects the lines of one attempt. ``later`` arranges for ``flush`` to be called soon, from any thread.

    While the reporter is unavailable lines wait here, at most 20,000 of them; after that the oldest go, counted.
    """

    def __init__(
        self,
        origin: Origin,
        write: Callable[[Sequence[LogLine]], None],
        masker: Masker,
        clock: Clock,
        limits: Limits,
        *,
        minimum: str | None = None,
        file: Path | None = None,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._origin = origin
        self._write = write
        self._masker = masker
        self._clock = clock
        self._limits = limits
        self._minimum = LEVELS.get(minimum or "TRACE", 0)
        self._file = file
        self._later = later
        self._pending: list[LogLine] = []
        self._bytes = 0
        self._dropped = 0
        self._scheduled = False
        self._lock = threading.RLock()

    def add(self, level: str, message: str, at: datetime | None = None, seq: int | None = None) -> None:
        """One line. ``seq`` is set for script lines, which the supervisor has bounded already."""
        with self._lock:
            number = LEVELS[level]
            if number < self._minimum:
                return
            whole = self._masker.mask(message)
            message = clean(whole, self._limits.log_line)
            if seq is None:
                if len(message) < len(whole):
                    self._limits.hits.note("log_line_bytes")
                self._bytes += len(message)
                if self._bytes > self._limits.log_head + self._limits.log_tail:
                    self._dropped += 1
                    return
            self._pending.append(line(self._origin, at or self._clock.now(), level, message, seq))
            if len(self._pending) >= BATCH:
                self.flush()
            elif self._later is not None and not self._scheduled:
                self._scheduled = True
                self._later(self.flush)

    def by_hand(self) -> None:
        """From now on whoever adds lines calls ``flush`` often enough."""
        self._later = None

    @property
    def backlog(self) -> int:
        return len(self._pending)

    def flush(self) -> None:
        """Hand pending lines on; they stay when the reporter is unavailable."""
        with self._lock:
            self._scheduled = False
            if not self._pending:
                return
            if self._file is not None:
                self._to_file()
                return
            try:
                self._write(self._pending)
            except Unavailable:
                if len(self._pending) > _BACKLOG:
                    self._dropped += len(self._pending) - _BACKLOG
                    del self._pending[: len(self._pending) - _BACKLOG]
                if self._later is not None:
                    self._scheduled = True
                    self._later(self.flush)
                return
            self._pending = []

    def last(self) -> list[LogLine]:
        """The attempt is over: its last lines, for whoever records the end. None are left here."""
        with self._lock:
            if self._file is not None:
                self.close()
            else:
                self._note_dropped()
            lines, self._pending = self._pending, []
            return lines

    def _to_file(self) -> None:
        assert self._file is not None
        names = {number: name for name, number in LEVELS.items()}
        with self._file.open("a", encoding="utf-8") as file:
            for entry in self._pending:
                file.write(f"{iso(entry.at)} {names[entry.level]} {entry.message}\n")
        self._pending = []

    def close(self) -> None:
        """The attempt is over: say what was dropped, hand on what is left."""
        with self._lock:
            self._note_dropped()
            self.flush()

    def _note_dropped(self) -> None:
        if self._dropped:
            self._limits.hits.note("log_bytes")
            self._pending.append(line(self._origin, self._clock.now(), "WARN", f"{self._dropped} lines dropped"))
            self._dropped = 0
