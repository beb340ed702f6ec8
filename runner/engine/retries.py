"""Whether and when a failed try is made again (``flows.md`` 2.2). Returns decisions, never performs one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from namespaces.flows.model import Flow, Retry, RetryType
from runner.engine.states import State
from runner.engine.values import TaskRun

SHORTEST_WAIT = timedelta(milliseconds=100)
"""Between two tries, so that ``interval: PT0S`` does not keep the whole service busy."""
_LONGEST_WAIT = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Try again at ``due`` plus a part of ``spread`` that the shell draws."""

    due: datetime
    spread: timedelta = timedelta()


def next_try(retry: Retry, tries: int, first: datetime, last: datetime) -> RetryDecision | None:
    """The next try after ``tries`` (at least 1) of them, or None when no retry is left.

    ``first`` is the start of the first try, ``last`` the end of the last one.
    With 1 s, factor 2 and a cap of 1 min exponential waits are 1, 2, 4, 8 … 60 s.
    """
    if retry.max_attempts is not None and tries >= retry.max_attempts:
        return None
    wait, spread = _wait(retry, tries)
    due = last + max(wait, SHORTEST_WAIT)
    if retry.max_duration is not None and due > first + retry.max_duration:
        return None
    return RetryDecision(due, spread)


def _wait(retry: Retry, tries: int) -> tuple[timedelta, timedelta]:
    match retry.type:
        case RetryType.CONSTANT:
            return min(retry.interval, _LONGEST_WAIT), timedelta()
        case RetryType.RANDOM:
            longest = min(retry.max_interval or retry.min_interval, _LONGEST_WAIT)
            return min(retry.min_interval, longest), max(longest - retry.min_interval, timedelta())
        case RetryType.EXPONENTIAL:
            cap = min(retry.max_interval or _LONGEST_WAIT, _LONGEST_WAIT)
            try:
                wait = retry.interval * retry.delay_factor ** (tries - 1)
            except OverflowError:
                wait = cap
            return min(wait, cap), timedelta()


@dataclass(frozen=True, slots=True)
class Source:
    """The retry that applies to a task run; ``owner`` is the flowable's task run it was inherited from."""

    retry: Retry
    owner: str | None = None
    of_flow: bool = False


def applying(flow: Flow, run: TaskRun, ancestors: tuple[TaskRun, ...]) -> Source | None:
    """The task's own retry, else the nearest ancestor's (``ancestors``: closest first), else the flow's."""
    own = flow.by_id[run.task_id].retry
    if own is not None:
        return Source(own)
    for ancestor in ancestors:
        inherited = flow.by_id[ancestor.task_id].retry
        if inherited is not None:
            return Source(inherited, owner=ancestor.id)
    return Source(flow.retry, of_flow=True) if flow.retry is not None else None


def tries(run: TaskRun) -> tuple[int, datetime | None]:
    """How often this task run was really tried since it was last restarted, and when the first try began."""
    since = max((at for state, at in run.history if state is State.RESTARTED), default=None)
    real = [
        attempt
        for attempt in run.attempts
        if attempt.state not in (State.RESUBMITTED, State.SKIPPED)
        and (since is None or (attempt.started_at or attempt.ended_at or since) >= since)
    ]
    return len(real), real[0].started_at if real else None
