"""Which state may follow which, and why. ``docs/state-machine.md`` is made from these tables; the engine does not ask
them, its tests do (every history of every random run).
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.engine.states import State as S

_Table = Mapping[S, Mapping[S, str]]

_STOPPED = "a kill, an Exit, a cancelled Pause or Approval, or an SLA"
_ENDS = {
    S.SUCCESS: "all tasks ended well, Exit, or an Approval with SUCCEED",
    S.WARNING: "the worst of `tasks` is WARNING, or Exit",
    S.FAILED: "a task of `tasks` FAILED, outputs cannot be rendered, Exit, SLA, or the engine gave up",
    S.KILLED: "a task of `tasks` was KILLED, Exit, or an Approval with KILL",
    S.CANCELLED: "a Pause, an Approval or an SLA with CANCEL, or Exit",
    S.RETRIED: "a retry with CREATE_NEW_EXECUTION",
}
_AGAIN = {S.RESTARTED: "restart, or a task run marked by hand"}
_SHOWN = {
    S.PAUSED: "a Pause or Approval task, a waiting LoopUntil, a paused child, or a person",
    S.RETRYING: "a task run waits for its retry",
    S.RUNNING: "nothing is paused or retrying any more",
}

_LATE_EXIT = dict.fromkeys(
    (S.SUCCESS, S.WARNING, S.KILLED, S.RETRIED), "Exit by an attempt that still ran at a restart"
)

EXECUTION: _Table = {
    S.CREATED: {
        S.RUNNING: "the start date has come and a slot is free",
        S.QUEUED: "concurrency limit, QUEUE",
        S.CANCELLED: "concurrency limit or quota, CANCEL",
        S.FAILED: "concurrency limit or quota, FAIL; or the engine gave up",
        S.KILLED: "kill before the start",
    },
    S.QUEUED: {
        S.RUNNING: "a slot became free, or force run",
        S.KILLING: "kill after a restart",
        **_LATE_EXIT,
        S.KILLED: "kill",
        S.CANCELLED: "refused",
        S.FAILED: "refused, or the engine gave up",
    },
    S.RUNNING: {
        **{state: why for state, why in _SHOWN.items() if state is not S.RUNNING},
        S.KILLING: "kill",
        **_ENDS,
    },
    S.PAUSED: {
        S.RUNNING: "resume, or the wait is over",
        S.RETRYING: "the wait is over and a task run waits for its retry",
        S.KILLING: "kill",
        **_ENDS,
        **_AGAIN,
    },
    S.RETRYING: {
        S.RUNNING: "the retry is due",
        S.PAUSED: _SHOWN[S.PAUSED],
        S.KILLING: "kill",
        **_ENDS,
    },
    S.RESTARTED: {
        S.RUNNING: "the execution passed the gate again",
        S.QUEUED: "concurrency limit, QUEUE",
        S.KILLING: "kill",
        **_LATE_EXIT,
        S.CANCELLED: "refused",
        S.FAILED: "refused, or the engine gave up",
    },
    S.KILLING: {S.KILLED: "every started task run has ended", S.FAILED: "the engine gave up"},
    S.SUCCESS: _AGAIN,
    S.WARNING: _AGAIN,
    S.FAILED: _AGAIN,
    S.KILLED: _AGAIN,
    S.CANCELLED: _AGAIN,
    S.RETRIED: _AGAIN,
}
"""From, to, cause for executions."""

_RUN_ENDS = {
    S.SUCCESS: "the attempt, or all children, ended well",
    S.WARNING: "a warning; or a failure with allowFailure",
    S.FAILED: "a failure without a retry left, or a child FAILED",
    S.KILLED: "kill, or a child KILLED",
    S.CANCELLED: "a Pause or Approval with CANCEL, or the task says so",
    S.RETRIED: "a retry with CREATE_NEW_EXECUTION",
    S.SKIPPED: "the attempt ends SKIPPED",
}
_EARLY = {
    S.SUCCESS: "Exit with this state",
    S.WARNING: "Exit with this state; or an error with allowFailure",
    S.FAILED: "the engine found it impossible (`runIf`, block), Exit, SLA",
    S.KILLED: "kill",
    S.CANCELLED: _STOPPED,
    S.RETRIED: "another task's retry replaces the execution",
}
_MARKED = {
    S.SUCCESS: "marked by hand",
    S.WARNING: "marked by hand",
    S.FAILED: "marked by hand",
    S.KILLED: "marked by hand",
    S.CANCELLED: "marked by hand",
    S.RESTARTED: "restart, replay",
    S.RUNNING: "restart or marking of something below (flowables)",
}

TASK_RUN: _Table = {
    S.CREATED: {
        S.RUNNING: "a worker has started the attempt; a flowable begins",
        S.SKIPPED: "`runIf` is false",
        S.RESTARTED: "replay of an execution that still runs",
        **_EARLY,
    },
    S.SUBMITTED: {S.RUNNING: "a worker has started the attempt", **_EARLY},
    S.RUNNING: {
        S.PAUSED: "a Pause or Approval waits; a LoopUntil waits for its next pass; a child is paused",
        S.RETRYING: "the attempt FAILED and a retry is left",
        S.CREATED: "its worker was lost: assigned again",
        S.RESTARTED: "restart of a paused execution, replay",
        **_RUN_ENDS,
    },
    S.PAUSED: {
        S.RUNNING: "resume, a decision, the date has come, the child goes on",
        S.RETRYING: "the paused child FAILED and a retry is left",
        S.RESTARTED: "restart",
        **_EARLY,
    },
    S.RETRYING: {S.CREATED: "the retry is due", S.RESTARTED: "replay of an execution that still runs", **_EARLY},
    S.RESTARTED: {
        S.RUNNING: "a worker has started the attempt; a flowable begins",
        S.SKIPPED: "`runIf` is false",
        S.CREATED: "its worker was lost before it started: assigned again",
        **_EARLY,
    },
    S.SUCCESS: _MARKED,
    S.WARNING: _MARKED,
    S.FAILED: _MARKED,
    S.KILLED: _MARKED,
    S.CANCELLED: _MARKED,
    S.RETRIED: _MARKED,
    S.SKIPPED: _MARKED,
}
"""From, to, cause for task runs."""
