"""When a source is looked at next: polls with jitter, backoff after failures, coalesced requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sync.errors import PATIENT_REASONS, SLOW_REASONS

JITTER = 0.2
QUIET = timedelta(seconds=1)
"""A push hook waits so long after the last one …"""
PATIENCE = timedelta(seconds=5)
"""… but no longer than this after the first."""
BETWEEN_FETCHES = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=15)
SLOW_START = timedelta(minutes=5)
TRIES_BEFORE_ERROR = 3
WHOLE_TREE = timedelta(days=1)
"""So often the whole tree is compared, whatever the fast path said."""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked for a sync. ``hasty`` ones (a click, the command line) are not made to wait for more."""

    first_at: datetime
    last_at: datetime
    hasty: bool = False


def next_poll(now: datetime, poll: timedelta, fraction: float) -> datetime | None:
    """``fraction`` is a random number in [0, 1); None when the source is never polled."""
    if not poll:
        return None
    return now + poll * (1 - JITTER + 2 * JITTER * fraction)


def next_try(now: datetime, poll: timedelta, failures: int, reason: str, fraction: float) -> datetime:
    """After ``failures`` (from 1) in a row: full jitter below ``poll * 2^failures``, at most 15 minutes.

    Reasons that a person has to mend start at five minutes.
    """
    base = poll or timedelta(seconds=60)
    if reason in SLOW_REASONS:
        base = max(base, SLOW_START)
        ceiling: timedelta = min(base * 2.0 ** min(failures - 1, 10), max(LONGEST_BACKOFF, base))
        # Jitter within the upper half: an account must not be locked out by tries that came early.
        return now + ceiling * (0.5 + 0.5 * fraction)
    ceiling = min(base * 2.0 ** min(failures, 20), LONGEST_BACKOFF)
    return now + max(ceiling * fraction, min(base, timedelta(seconds=1)))


def is_error(reason: str, failures: int) -> bool:
    """Whether the state shows Error: what may pass by itself only after three tries."""
    return reason not in PATIENT_REASONS or failures >= TRIES_BEFORE_ERROR


def ready_at(request: Request, fetched_at: datetime | None) -> datetime:
    """When a request is acted upon: after a pause in requests, and some time after the last fetch."""
    due = request.last_at if request.hasty else min(request.last_at + QUIET, request.first_at + PATIENCE)
    if fetched_at is not None and not request.hasty:
        due = max(due, fetched_at + BETWEEN_FETCHES)
    return due
