"""Names of task lists by the part they play."""

from __future__ import annotations

SIDE_LISTS = frozenset({"errors", "finally", "listeners", "afterExecution", "onPause"})
"""Lists whose tasks never decide the state of their owner."""
BEFORE_WAIT = frozenset({"onPause", "onWait"})
"""Lists that run although, or just before, their owner waits."""
LATE_LISTS = SIDE_LISTS - {"onPause"}
"""Lists that run again from their beginning, after a restart."""


def late_order(branch: str) -> int:
    """Lists in the order in which they run; 0 for a main list."""
    return {"errors": 1, "finally": 2, "listeners": 3, "afterExecution": 4}.get(branch, 0)
