"""The seam between effects and workers."""

from __future__ import annotations

from typing import Protocol


class Dispatch(Protocol):
    """Hands attempts to workers. Losing or doubling a call is harmless: the worker claims the row, and the
    reconciler dispatches again what nobody claimed."""

    def submit(self, task_run_id: str, epoch: int, group: str) -> None:
        """Ring the bell for one attempt. Raises ``Unavailable`` when the broker cannot be reached in time."""
        ...

    def kill(self, task_run_id: str, epoch: int) -> None:
        """Tell the worker that runs this attempt to end it; a hint like the rest."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Take no more and wait for what runs here, at most so long."""
        ...
