"""How task runs get their ids: derived, so that a decision made twice names the same task run."""

from __future__ import annotations

from namespaces.ids import derived_id


def task_run_id(
    execution_id: str, task_id: str, parent_id: str | None, owner_epoch: int, iteration: int | None = None
) -> str:
    """The id of a task run.

    ``owner_epoch`` is the epoch of the parent's task run, or the execution's attempt number at the top level: it
    rises with each pass of a LoopUntil, each restart and each assignment of a WorkingDirectory, so that what runs
    again never takes the name of what was removed. ``iteration`` is that of a loop's direct child.
    """
    place = "" if iteration is None else str(iteration)
    return derived_id(execution_id, task_id, parent_id or "", str(owner_epoch), place)
