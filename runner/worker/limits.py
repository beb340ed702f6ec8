"""The limits of one attempt (``reliability.md`` R21); the values come from ``limits.*`` of the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, rates per second."""

    log_head: int = 8 << 20
    log_tail: int = 2 << 20
    log_line: int = 32 << 10
    log_rate: int = 5_000
    outputs: int = 10 << 20
    file: int = 1 << 30
    files: int = 1_000
    files_total: int = 10 << 30
    processes: int = 512
    written_file: int = 4 << 30
    """The longest file a script may write (RLIMIT_FSIZE)."""
    subprocesses: int = min(64, 2 * (os.cpu_count() or 1))
    """Scripts at once in this worker."""
    download: int = 1 << 30
    response: int = 10 << 20
    kill_grace_s: float = 10.0
    heartbeat_s: float = 5.0
    orphan_after_s: float = 60.0
    unresponsive_s: float = 5.0
    """A task that is no process and ignores its end is given up after so long."""
