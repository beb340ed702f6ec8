"""What a schedule decides: which slots start an execution, which are skipped and why, where the watermark goes.

Slots come from ``namespaces.cron`` or a list of dates; rows and transactions are in ``runner/scheduler.py``.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, Protocol

from namespaces.errors import BadRequest, Conflict
from runner.triggers.conditions import Verdict

CAP = 1_000
"""Missed slots of one trigger that ``ALL`` makes up for (``reliability.md`` R11)."""
SKIP_ROWS = 100
"""Skipped slots in a run that get a row each; a longer run is one row with a count."""
COUNTED = 100_000
"""Slots counted one by one at most: a row of more than that says at least so many."""
SEARCH = timedelta(days=3_653)
TRIES, CHEAP_TRIES = 500, 20_000
"""Slots tried for ``next`` and ``previous`` when conditions need rendering, and when they do not."""
TICK = timedelta(microseconds=1)


class Slots(Protocol):
    """The moments of a schedule, aware and in UTC."""

    def next(self, after: datetime) -> datetime | None:
        """The first slot later than ``after``; None when there is none any more."""
        ...

    def previous(self, before: datetime) -> datetime | None:
        """The last slot earlier than ``before``."""
        ...


class Dates:
    """Slots of ScheduleOnDates: given moments, in any order."""

    def __init__(self, moments: Sequence[datetime]) -> None:
        self._moments = sorted({moment.astimezone(UTC) for moment in moments})

    def next(self, after: datetime) -> datetime | None:
        index = bisect.bisect_right(self._moments, after)
        return self._moments[index] if index < len(self._moments) else None

    def previous(self, before: datetime) -> datetime | None:
        index = bisect.bisect_left(self._moments, before)
        return self._moments[index - 1] if index else None


class Recover(StrEnum):
    """What happens to slots that passed while nobody could fire them."""

    ALL = "ALL"
    LAST = "LAST"
    NONE = "NONE"


class Reason(StrEnum):
    """Why a slot was decided without an execution; the word in ``fire.decision``."""

    MISSED = "missed"
    TOO_LATE = "too-late"
    DISABLED = "disabled"
    CONCURRENCY = "concurrency"
    BACKFILL = "backfill"
    CAP = "cap"
    CONDITION = "condition"
    BACKLOG = "backlog"
    CHECK = "check"
    EDITED = "edited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A request to run every slot of ``start`` … ``end``; ``current`` is the last one decided."""

    id: str
    start: datetime
    end: datetime
    current: datetime | None = None
    paused: bool = False
    inputs: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[tuple[str, str], ...] = ()
    previous_next: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligible:
    """Until ``since`` the trigger could not fire, because of ``why``; ``recover`` overrules the trigger's own."""

    since: datetime
    why: Reason
    recover: Recover | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """A capped catch-up: after slot ``after`` the next one is ``to``; those between are skipped already."""

    after: datetime
    to: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """The run-time state of one schedule. ``watermark`` is the last slot that was decided: it only moves forward."""

    watermark: datetime
    next_at: datetime | None = None
    last_at: datetime | None = None
    locked: bool = False
    disabled: bool = False
    backfill: Backfill | None = None
    eligible: Eligible | None = None
    hole: Hole | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the declaration says. ``test`` judges the conditions for a slot, None: there are none."""

    slots: Slots
    zone: tzinfo = UTC
    recover: Recover = Recover.ALL
    late_maximum_delay: timedelta | None = None
    allow_concurrent: bool = False
    cap: int = CAP
    test: Callable[[datetime], Verdict] | None = None
    cheap: bool = False
    """``test`` renders nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start an execution for ``slot``; with ``error`` it is created FAILED and locks nothing."""

    slot: datetime
    backfill: Backfill | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """``slot`` (and ``count`` - 1 later ones) start nothing."""

    slot: datetime
    reason: Reason
    count: int = 1
    backfill: Backfill | None = None


Decision = Start | Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    decisions: tuple[Decision, ...]
    state: ScheduleState


def first(rules: Rules, now: datetime) -> ScheduleState:
    """The state of a new schedule: no immediate run, the next slot after now."""
    return ScheduleState(watermark=now, next_at=rules.slots.next(now))


def decide(rules: Rules, state: ScheduleState, now: datetime, *, watching_since: datetime, limit: int = 100) -> Outcome:
    """Decide what is due at ``now``: about ``limit`` decisions at most, the rest at the next call.

    ``watching_since`` is the time from which a scheduler has looked at this trigger without a break: earlier slots
    count as missed and follow ``recover``.
    """
    if state.disabled:
        return Outcome(decisions=(), state=replace(state, next_at=None))
    if state.locked:
        return Outcome(decisions=(), state=_with_next(rules, state))
    decisions: list[Decision] = []
    if state.backfill is not None and not state.backfill.paused:
        state = _go_back(rules, state, now, decisions, limit)
        if state.backfill is not None:
            return Outcome(decisions=tuple(decisions), state=replace(state, next_at=now))
    state = _make_up(rules, state, now, watching_since, decisions)
    state = _go_on(rules, state, now, decisions, limit)
    return Outcome(decisions=tuple(decisions), state=_with_next(rules, state))


def edited(rules: Rules, state: ScheduleState, now: datetime) -> Outcome:
    """The timing was changed: what was due and undecided is dropped, the next slot is after now (R11)."""
    moved = replace(state, watermark=max(state.watermark, now), eligible=None, hole=None)
    row = Skip(slot=now, reason=Reason.EDITED, count=0)
    return Outcome(decisions=(row,), state=_with_next(rules, moved))


def refreshed(rules: Rules, state: ScheduleState) -> ScheduleState:
    """Something but the timing was changed: watermark and backfill stay."""
    return _with_next(rules, state)


def disabled(state: ScheduleState) -> ScheduleState:
    return replace(state, disabled=True, next_at=None)


def enabled(rules: Rules, state: ScheduleState, now: datetime, recover: Recover | None = None) -> ScheduleState:
    """Switched on again: ``recover`` (else the trigger's own) applies to the time it was off."""
    on = replace(state, disabled=False, eligible=Eligible(since=now, why=Reason.DISABLED, recover=recover))
    return _with_next(rules, on)


def released(rules: Rules, state: ScheduleState, now: datetime) -> ScheduleState:
    """The execution that held the lock has ended, or the lock was taken away."""
    before = state.eligible
    eligible = Eligible(since=now, why=Reason.CONCURRENCY, recover=before.recover if before else None)
    return _with_next(rules, replace(state, locked=False, eligible=eligible))


def with_backfill(state: ScheduleState, backfill: Backfill, now: datetime) -> ScheduleState:
    """Begin a backfill. Raises ``Conflict`` while another runs, ``BadRequest`` for an empty range."""
    if state.backfill is not None:
        raise Conflict("a backfill of this trigger is already running", hint="delete it first, or wait for its end")
    if backfill.end < backfill.start:
        raise BadRequest("the backfill ends before it starts")
    return replace(state, backfill=replace(backfill, previous_next=state.next_at), next_at=now)


def pause_backfill(rules: Rules, state: ScheduleState, *, paused: bool, now: datetime) -> ScheduleState:
    """Raises ``BadRequest`` without a backfill. While it is paused the regular schedule goes on."""
    if state.backfill is None:
        raise BadRequest("the trigger has no backfill")
    changed = replace(state, backfill=replace(state.backfill, paused=paused))
    return _with_next(rules, changed) if paused else replace(changed, next_at=now)


def without_backfill(rules: Rules, state: ScheduleState, now: datetime) -> ScheduleState:
    """Raises ``BadRequest`` without a backfill. The regular schedule goes on where it stood."""
    if state.backfill is None:
        raise BadRequest("the trigger has no backfill")
    return _with_next(rules, _end_backfill(state, now))


def variables(rules: Rules, slot: datetime) -> dict[str, str]:
    """``trigger.date``, ``next`` and ``previous`` of an execution; the neighbours satisfy the conditions too."""
    found = {"date": slot, "next": _neighbour(rules, slot, rules.slots.next)}
    found["previous"] = _neighbour(rules, slot, rules.slots.previous)
    return {name: iso(moment, rules.zone) for name, moment in found.items() if moment is not None}


def iso(moment: datetime, zone: tzinfo) -> str:
    """ISO with the zone's offset, ``Z`` for UTC, as Kestra writes dates."""
    text = moment.astimezone(zone).isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _neighbour(rules: Rules, slot: datetime, step: Callable[[datetime], datetime | None]) -> datetime | None:
    found = step(slot)
    tries = CHEAP_TRIES if rules.cheap else TRIES
    while found is not None and rules.test is not None and not rules.test(found).holds:
        tries -= 1
        if tries == 0 or abs(found - slot) > SEARCH:
            return None
        found = step(found)
    return found


def _with_next(rules: Rules, state: ScheduleState) -> ScheduleState:
    if state.disabled:
        return replace(state, next_at=None)
    if state.backfill is not None and not state.backfill.paused:
        return state
    return replace(state, next_at=_next(rules, state))


def _next(rules: Rules, state: ScheduleState) -> datetime | None:
    found = rules.slots.next(state.watermark)
    if state.hole is not None and found is not None and state.hole.after < found < state.hole.to:
        return state.hole.to
    return found


def _end_backfill(state: ScheduleState, now: datetime) -> ScheduleState:
    before = state.eligible
    eligible = Eligible(since=now, why=Reason.BACKFILL, recover=before.recover if before else None)
    return replace(state, backfill=None, eligible=eligible)


def _go_back(rules: Rules, state: ScheduleState, now: datetime, decisions: list[Decision], limit: int) -> ScheduleState:
    """The next slots of a backfill up to the first that starts, for one runs at a time."""
    backfill = state.backfill
    assert backfill is not None
    while len(decisions) < limit:
        slot = rules.slots.next(backfill.current or backfill.start - TICK)
        if slot is None or slot > backfill.end:
            return _end_backfill(state, now)
        verdict = rules.test(slot) if rules.test else Verdict(True)
        backfill = replace(backfill, current=slot)
        if verdict.holds or verdict.error:
            decisions.append(Start(slot=slot, backfill=backfill, error=verdict.error))
            if verdict.holds:
                return replace(state, backfill=backfill, locked=True, last_at=now)
        else:
            decisions.append(Skip(slot=slot, reason=Reason.CONDITION, backfill=backfill))
    return replace(state, backfill=backfill)


def _make_up(
    rules: Rules, state: ScheduleState, now: datetime, watching_since: datetime, decisions: list[Decision]
) -> ScheduleState:
    """Skip those missed slots that ``recover`` does not want; what is left is fired by ``_go_on``."""
    eligible = state.eligible
    until = min(max(watching_since, eligible.since) if eligible else watching_since, now)
    recover = (eligible.recover if eligible else None) or rules.recover
    if eligible is not None and eligible.since <= state.watermark:
        state = replace(state, eligible=None)
    if until <= state.watermark:
        return state
    if state.hole is not None and recover is not Recover.ALL:
        state = replace(state, watermark=max(state.watermark, state.hole.to - TICK), hole=None)
    if recover is Recover.ALL:
        return _cap(rules, state, now, until, decisions) if state.hole is None else state
    if recover is Recover.NONE:
        return _skip(rules, state, until, None, decisions)
    last = rules.slots.previous(until + TICK)
    return state if last is None else _skip(rules, state, last - TICK, None, decisions)


def _cap(
    rules: Rules, state: ScheduleState, now: datetime, until: datetime, decisions: list[Decision]
) -> ScheduleState:
    """``ALL`` makes up for ``cap`` slots, then for the last one; the others become one row."""
    if rules.late_maximum_delay is not None:
        state = _skip(rules, state, min(until, now - rules.late_maximum_delay - TICK), Reason.TOO_LATE, decisions)
    last_wanted = state.watermark
    for index, slot in enumerate(_between(rules, state.watermark, until)):
        if index < rules.cap:
            last_wanted = slot
            continue
        last = rules.slots.previous(until + TICK) or slot
        if last <= slot:
            return state
        count = _count(_between(rules, last_wanted, last - TICK))
        decisions.append(Skip(slot=slot, reason=Reason.CAP, count=count))
        return replace(state, hole=Hole(last_wanted, last))
    return state


def _skip(
    rules: Rules, state: ScheduleState, until: datetime, reason: Reason | None, decisions: list[Decision]
) -> ScheduleState:
    """Skip every slot up to and including ``until``; without a reason each gets the one of its time."""
    if until <= state.watermark:
        return state
    eligible = state.eligible
    bounds = [(until, reason or Reason.MISSED)]
    if reason is None and eligible is not None:
        bounds = [(min(eligible.since, until), eligible.why), *bounds]
    for bound, why in bounds:
        slots: list[datetime] = []
        for slot in _between(rules, state.watermark, bound):
            slots.append(slot)
            if len(slots) > SKIP_ROWS:
                break
        if len(slots) <= SKIP_ROWS:
            decisions.extend(Skip(slot=slot, reason=why) for slot in slots)
            last = slots[-1] if slots else None
        else:
            count = _count(_between(rules, state.watermark, bound))
            decisions.append(Skip(slot=slots[0], reason=why, count=count))
            last = rules.slots.previous(bound + TICK)
        if last is not None:
            state = replace(state, watermark=max(state.watermark, last))
    return state


def _go_on(rules: Rules, state: ScheduleState, now: datetime, decisions: list[Decision], limit: int) -> ScheduleState:
    """Fire what is due and left, in order."""
    while len(decisions) < limit:
        slot = _next(rules, state)
        if slot is None or slot > now:
            break
        hole = state.hole if state.hole is not None and slot < state.hole.to else None
        state = replace(state, watermark=slot, hole=hole)
        if rules.late_maximum_delay is not None and now - slot > rules.late_maximum_delay:
            decisions.append(Skip(slot=slot, reason=Reason.TOO_LATE))
            continue
        verdict = rules.test(slot) if rules.test else Verdict(True)
        if not verdict.holds and verdict.error is None:
            decisions.append(Skip(slot=slot, reason=Reason.CONDITION))
            continue
        decisions.append(Start(slot=slot, error=verdict.error))
        state = replace(state, last_at=now)
        if verdict.holds and not rules.allow_concurrent:
            return replace(state, locked=True)
    return state


def _between(rules: Rules, after: datetime, until: datetime) -> Iterator[datetime]:
    """Slots later than ``after``, up to and including ``until``."""
    slot = rules.slots.next(after)
    while slot is not None and slot <= until:
        yield slot
        slot = rules.slots.next(slot)


def _count(slots: Iterator[datetime]) -> int:
    counted = 0
    for counted, _ in enumerate(slots, 1):
        if counted == COUNTED:
            break
    return counted
