"""Kestra's state words and what they mean for deciding. No transitions happen here."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """States of executions, task runs and attempts (``flows.md`` 3.1)."""

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    BREAKPOINT = "BREAKPOINT"
    RESTARTED = "RESTARTED"
    RETRYING = "RETRYING"
    KILLING = "KILLING"
    SUCCESS = "SUCCESS"
    WARNING = "WARNING"
    FAILED = "FAILED"
    KILLED = "KILLED"
    CANCELLED = "CANCELLED"
    RETRIED = "RETRIED"
    SKIPPED = "SKIPPED"
    RESUBMITTED = "RESUBMITTED"
    """Only on attempts: the worker died and the task run was assigned again."""

    @property
    def terminal(self) -> bool:
        return self in TERMINAL

    @property
    def failed(self) -> bool:
        return self is State.FAILED


TERMINAL = frozenset(
    {State.SUCCESS, State.WARNING, State.FAILED, State.KILLED, State.CANCELLED, State.RETRIED, State.SKIPPED}
)
TERMINATED_WITHOUT_FAILURE = frozenset({State.SUCCESS, State.WARNING, State.SKIPPED, State.RETRIED, State.CANCELLED})

_SEVERITY = {State.KILLED: 4, State.FAILED: 3, State.WARNING: 2, State.PAUSED: 1}


def worst(one: State | None, other: State) -> State:
    """The state that decides the end of a list (``flows.md`` 3.4): KILLED, FAILED, WARNING, else SUCCESS."""
    if one is not None and _SEVERITY.get(one, 0) >= _SEVERITY.get(other, 0):
        return one
    return other if other in _SEVERITY else State.SUCCESS
