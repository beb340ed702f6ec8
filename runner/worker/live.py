"""An attempt in progress, as others see it."""

from __future__ import annotations

import threading

from runner.worker.reporter import Claim
from runner.worker.running import Running


class Live:
    """An attempt in progress, as far as others may touch it: kill, time limit, who reports first."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.cancelled = threading.Event()
        self.killed = False
        self.given_back = False
        """Ended for the worker's sake, not the execution's: to be run again elsewhere."""
        self.timed_out = False
        self.lock = threading.Lock()
        self.reported = False
        self.running: list[Running] = []
        """The task at work; in a WorkingDirectory the child, innermost last."""

    def interrupt(self) -> None:
        self.cancelled.set()
        for running in list(self.running):
            running.interrupt()

    def first_to_report(self) -> bool:
        with self.lock:
            first = not self.reported
            self.reported = True
        return first
