"""Named crash points for tests: a process told so by its environment kills itself at the n-th pass of a point.

A no-op unless ``LANNER_TEST`` is set when the process starts. Which points exist: ``reliability.md`` 3.2, except
``migrate.between_steps``, which comes with the second migration: there are no steps before it.
"""

from __future__ import annotations

import os
import signal
import threading

POINTS = frozenset(
    {
        "accept.before_commit",
        "accept.after_commit",
        "outbox.before_publish",
        "outbox.after_publish",
        "claim.after_commit",
        "spawn.after_fork",
        "spawn.after_register",
        "run.middle",
        "result.after_spool",
        "result.before_commit",
        "result.after_commit",
        "advance.middle_fanout",
        "retry.after_schedule",
        "kill.after_commit",
        "fire.before_commit",
        "fire.after_commit",
        "sync.after_fetch",
        "sync.middle_apply",
        "purge.after_rows",
        "drain.middle",
        "adopt.middle",
        "leader.after_win",
    }
)


def _parse(text: str) -> tuple[str, int]:
    point, _, number = text.partition(":")
    if point not in POINTS:
        raise ValueError(f"LANNER_TEST_CRASH names {point!r}, expected one of {', '.join(sorted(POINTS))}")
    return point, int(number or 1)


_armed: tuple[str, int] | None = None
if os.environ.get("LANNER_TEST") and os.environ.get("LANNER_TEST_CRASH"):
    _armed = _parse(os.environ["LANNER_TEST_CRASH"])
_passes = 0
_lock = threading.Lock()


def reach(point: str) -> None:
    """Die here by SIGKILL when this point is armed and it is the n-th pass; else nothing."""
    if _armed is None or _armed[0] != point:
        return
    global _passes
    with _lock:
        _passes += 1
        if _passes == _armed[1]:
            os.kill(os.getpid(), signal.SIGKILL)
