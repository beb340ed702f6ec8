"""Decisions of schedules: recovery, delays, locks, backfills, and that nothing is decided twice or forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.cron import Schedule
from namespaces.errors import BadRequest, Conflict
from runner.triggers import schedule
from runner.triggers.conditions import Verdict
from runner.triggers.schedule import (
    Backfill,
    Dates,
    Reason,
    Recover,
    Rules,
    ScheduleState,
    Skip,
    Start,
    decide,
)

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def every(cron: str = "* * * * *", **changes: object) -> Rules:
    return Rules(slots=Schedule(cron), **changes)  # type: ignore[arg-type]


def at(minutes: float) -> datetime:
    return BEGIN + minutes * MINUTE


def drain(
    rules: Rules, state: ScheduleState, now: datetime, watching: datetime | None = None
) -> tuple[list[Start | Skip], ScheduleState]:
    """Decide until nothing is left, each lock released at once."""
    found: list[Start | Skip] = []
    for _ in range(10_000):
        outcome = decide(rules, state, now, watching_since=watching or BEGIN)
        found.extend(outcome.decisions)
        state = outcome.state
        if state.locked:
            state = schedule.released(rules, state, now)
        if not outcome.decisions:
            return found, state
    raise AssertionError("did not come to an end")


def starts(decisions: list[Start | Skip]) -> list[datetime]:
    return [d.slot for d in decisions if isinstance(d, Start)]


def skipped(decisions: list[Start | Skip], reason: Reason) -> int:
    return sum(d.count for d in decisions if isinstance(d, Skip) and d.reason is reason)


def test_a_new_schedule_waits_for_the_slot_after_its_creation() -> None:
    state = schedule.first(every(), at(0.5))

    assert state.next_at == at(1)
    assert decide(every(), state, at(0.9), watching_since=BEGIN).decisions == ()


def test_a_due_slot_starts_and_locks_until_released() -> None:
    state = schedule.first(every(), BEGIN)

    one = decide(every(), state, at(1), watching_since=BEGIN)
    while_locked = decide(every(), one.state, at(2), watching_since=BEGIN)

    assert starts(list(one.decisions)) == [at(1)]
    assert one.state.locked
    assert one.state.next_at == at(2)
    assert while_locked.decisions == ()


def test_allow_concurrent_starts_every_due_slot_at_once() -> None:
    rules = every(allow_concurrent=True)

    outcome = decide(rules, schedule.first(rules, BEGIN), at(3), watching_since=BEGIN)

    assert starts(list(outcome.decisions)) == [at(1), at(2), at(3)]
    assert not outcome.state.locked


def test_recovering_all_runs_each_missed_slot_in_order() -> None:
    decisions, state = drain(every(), schedule.first(every(), BEGIN), at(5), watching=at(5))

    assert starts(decisions) == [at(n) for n in range(1, 6)]
    assert state.watermark == at(5)


def test_recovering_the_last_runs_only_the_most_recent_missed_slot() -> None:
    rules = every(recover=Recover.LAST)

    decisions, _ = drain(rules, schedule.first(rules, BEGIN), at(5), watching=at(5))

    assert starts(decisions) == [at(5)]
    assert skipped(decisions, Reason.MISSED) == 4


def test_recovering_none_jumps_to_the_next_future_slot() -> None:
    rules = every(recover=Recover.NONE)

    decisions, state = drain(rules, schedule.first(rules, BEGIN), at(5.5), watching=at(5.5))

    assert starts(decisions) == []
    assert skipped(decisions, Reason.MISSED) == 5
    assert state.next_at == at(6)


def test_a_slot_that_is_only_a_little_late_is_not_missed() -> None:
    rules = every(recover=Recover.NONE)

    decisions, _ = drain(rules, schedule.first(rules, BEGIN), at(1.2), watching=BEGIN)

    assert starts(decisions) == [at(1)]


def test_a_slot_later_than_the_maximum_delay_is_skipped_visibly() -> None:
    rules = every(late_maximum_delay=timedelta(seconds=90))

    decisions, _ = drain(rules, schedule.first(rules, BEGIN), at(5), watching=at(5))

    assert starts(decisions) == [at(4), at(5)]
    assert skipped(decisions, Reason.TOO_LATE) == 3


def test_more_missed_slots_than_the_cap_become_one_row_and_the_last_one_runs() -> None:
    rules = every(cap=10)

    decisions, state = drain(rules, schedule.first(rules, BEGIN), at(50), watching=at(50))

    assert starts(decisions) == [*(at(n) for n in range(1, 11)), at(50)]
    rows = [d for d in decisions if isinstance(d, Skip)]
    assert [(row.slot, row.reason, row.count) for row in rows] == [(at(11), Reason.CAP, 39)]
    assert state.watermark == at(50)


def test_a_long_run_of_skips_is_one_row_with_a_count() -> None:
    rules = every(recover=Recover.NONE)

    decisions, _ = drain(rules, schedule.first(rules, BEGIN), at(5_000), watching=at(5_000))

    assert len(decisions) == 1
    assert skipped(decisions, Reason.MISSED) == 5_000


def test_what_passes_while_the_trigger_is_locked_follows_the_recovery_rule() -> None:
    rules = every(recover=Recover.NONE)
    locked = decide(rules, schedule.first(rules, BEGIN), at(1), watching_since=BEGIN).state

    decisions, _ = drain(rules, schedule.released(rules, locked, at(3.5)), at(4), watching=BEGIN)

    assert skipped(decisions, Reason.CONCURRENCY) == 2
    assert starts(decisions) == [at(4)]


@pytest.mark.parametrize(("recover", "expected"), [(None, [1, 2, 3]), (Recover.LAST, [3]), (Recover.NONE, [])])
def test_enabling_applies_the_given_recovery_to_the_time_it_was_off(
    recover: Recover | None, expected: list[int]
) -> None:
    rules = every()
    off = schedule.disabled(schedule.first(rules, BEGIN))

    on = schedule.enabled(rules, off, at(3.5), recover)
    decisions, _ = drain(rules, on, at(3.5), watching=BEGIN)

    assert decide(rules, off, at(3), watching_since=BEGIN).decisions == ()
    assert starts(decisions) == [at(n) for n in expected]
    assert skipped(decisions, Reason.DISABLED) == 3 - len(expected)


def test_editing_the_timing_drops_what_was_due_and_says_so() -> None:
    hourly = every("0 * * * *")

    outcome = schedule.edited(hourly, schedule.first(every(), BEGIN), at(3.5))

    assert [(d.slot, d.reason, d.count) for d in outcome.decisions if isinstance(d, Skip)] == [
        (at(3.5), Reason.EDITED, 0)
    ]
    assert outcome.state.next_at == at(60)


def test_a_false_condition_moves_on_and_an_error_starts_a_failed_execution() -> None:
    def odd(slot: datetime) -> Verdict:
        return Verdict(False, "boom") if slot == at(4) else Verdict(slot.minute % 2 == 1)

    rules = every(test=odd, allow_concurrent=True)

    decisions, state = drain(rules, schedule.first(rules, BEGIN), at(5))

    assert starts(decisions) == [at(1), at(3), at(4), at(5)]
    assert [d.error for d in decisions if isinstance(d, Start)] == [None, None, "boom", None]
    assert skipped(decisions, Reason.CONDITION) == 1
    assert not state.locked


def test_a_failed_start_does_not_lock() -> None:
    rules = every(test=lambda slot: Verdict(False, "boom"))

    outcome = decide(rules, schedule.first(rules, BEGIN), at(2), watching_since=BEGIN)

    assert len(starts(list(outcome.decisions))) == 2
    assert not outcome.state.locked


def test_the_neighbours_of_a_slot_satisfy_the_conditions_too() -> None:
    zone = ZoneInfo("Europe/Paris")
    monday = lambda slot: Verdict(slot.astimezone(zone).weekday() == 0)  # noqa: E731
    rules = Rules(slots=Schedule("0 9 * * *", zone), zone=zone, test=monday, cheap=True)

    found = schedule.variables(rules, datetime(2024, 4, 1, 7, tzinfo=UTC))

    assert found == {
        "date": "2024-04-01T09:00:00+02:00",
        "next": "2024-04-08T09:00:00+02:00",
        "previous": "2024-03-25T09:00:00+01:00",
    }


def test_dates_in_utc_end_in_z_and_a_missing_neighbour_is_left_out() -> None:
    rules = Rules(slots=Dates([at(5)]))

    assert schedule.variables(rules, at(5)) == {"date": "2024-01-01T00:05:00Z"}


def test_given_dates_run_once_each_and_then_the_trigger_is_idle() -> None:
    rules = Rules(slots=Dates([at(3), at(1), at(-5)]))

    decisions, state = drain(rules, schedule.first(rules, BEGIN), at(10))

    assert starts(decisions) == [at(1), at(3)]
    assert state.next_at is None


def backfill(first: float, last: float) -> Backfill:
    return Backfill(id="b", start=at(first), end=at(last))


def test_a_backfill_runs_each_slot_oldest_first_one_at_a_time() -> None:
    rules = every(allow_concurrent=True)
    state = schedule.with_backfill(schedule.first(rules, at(10)), backfill(1, 3), at(10))

    one = decide(rules, state, at(10), watching_since=BEGIN)
    decisions, after = drain(rules, schedule.released(rules, one.state, at(10)), at(10))

    assert starts(list(one.decisions)) == [at(1)]
    assert one.state.locked
    assert starts(decisions) == [at(2), at(3)]
    assert after.backfill is None
    assert after.next_at == at(11)


def test_the_regular_schedule_waits_for_a_backfill_and_goes_on_when_it_is_paused() -> None:
    rules = every(allow_concurrent=True)
    state = schedule.with_backfill(schedule.first(rules, at(10)), backfill(1, 2), at(10))

    during = decide(rules, state, at(11), watching_since=BEGIN)
    paused = schedule.pause_backfill(rules, state, paused=True, now=at(11))
    meanwhile = decide(rules, paused, at(11), watching_since=BEGIN)

    assert starts(list(during.decisions)) == [at(1)]
    assert starts(list(meanwhile.decisions)) == [at(11)]
    assert meanwhile.state.backfill is not None


def test_a_deleted_backfill_lets_the_schedule_go_on_where_it_stood() -> None:
    rules = every()
    state = schedule.with_backfill(schedule.first(rules, at(10)), backfill(1, 5), at(10))

    after = schedule.without_backfill(rules, state, at(10.5))

    assert after.backfill is None
    assert after.next_at == at(11)
    with pytest.raises(BadRequest):
        schedule.without_backfill(rules, after, at(11))


def test_a_second_backfill_is_refused() -> None:
    state = schedule.with_backfill(schedule.first(every(), at(10)), backfill(1, 5), at(10))

    with pytest.raises(Conflict):
        schedule.with_backfill(state, backfill(1, 2), at(10))


def test_a_clock_set_back_fires_nothing_until_it_passes_again() -> None:
    state = decide(every(), schedule.first(every(), BEGIN), at(3), watching_since=BEGIN).state
    state = schedule.released(every(), state, at(3))
    state, ahead = drain(every(), state, at(3))[1], at(3)

    back, _ = drain(every(), state, ahead - timedelta(hours=2))
    again, _ = drain(every(), state, at(4))

    assert back == []
    assert starts(again) == [at(4)]


@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    recover=st.sampled_from(Recover),
    cap=st.integers(1, 60),
    late=st.one_of(st.none(), st.integers(30, 4_000)),
    concurrent=st.booleans(),
    restarts=st.booleans(),
)
def test_fires_and_skips_together_are_exactly_the_slots(
    gaps: list[int], recover: Recover, cap: int, late: int | None, concurrent: bool, restarts: bool
) -> None:
    """R11, R13: after any sequence of downtimes each slot is decided once, and none is forgotten."""
    delay = timedelta(seconds=late) if late else None
    rules = every("*/3 * * * *", recover=recover, cap=cap, late_maximum_delay=delay, allow_concurrent=concurrent)
    state = schedule.first(rules, BEGIN)
    decided: list[Start | Skip] = []
    now = BEGIN
    for gap in gaps:
        now += gap * MINUTE
        found, state = drain(rules, state, now, watching=now if restarts else BEGIN)
        decided.extend(found)

    slots: list[datetime] = []
    slot = rules.slots.next(BEGIN)
    while slot is not None and slot <= now:
        slots.append(slot)
        slot = rules.slots.next(slot)
    assert sum(d.count if isinstance(d, Skip) else 1 for d in decided) == len(slots)
    fired = starts(decided)
    assert len(set(fired)) == len(fired)
    assert fired == sorted(fired)
    assert set(fired) <= set(slots)
    covered: set[datetime] = set(fired)
    for decision in decided:
        if isinstance(decision, Skip):
            begin = slots.index(decision.slot)
            covered.update(slots[begin : begin + decision.count])
    assert covered == set(slots)


@given(jitter=st.lists(st.integers(-1_000, 1_000), min_size=60, max_size=60), recover=st.sampled_from(Recover))
def test_a_jittering_clock_neither_repeats_nor_loses_a_slot(jitter: list[int], recover: Recover) -> None:
    """R13: a clock that is up to a second off in either direction at every look."""
    rules = Rules(slots=Schedule("*/10 * * * * *", UTC, with_seconds=True), recover=recover, allow_concurrent=True)
    state = schedule.first(rules, BEGIN)
    fired: list[datetime] = []
    for index, off in enumerate(jitter):
        now = BEGIN + timedelta(seconds=10 * index, milliseconds=off)
        outcome = decide(rules, state, now, watching_since=BEGIN)
        fired += starts(list(outcome.decisions))
        state = outcome.state

    assert fired == [BEGIN + timedelta(seconds=10 * n) for n in range(1, len(fired) + 1)]
    assert len(fired) >= 58


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(days=3)])
@pytest.mark.parametrize("recover", list(Recover))
def test_a_clock_set_forward_and_back_decides_each_slot_once(jump: timedelta, recover: Recover) -> None:
    rules = every("*/7 * * * *", recover=recover, cap=50)
    state = schedule.first(rules, BEGIN)
    moments = [at(7), at(7) + jump, at(10), at(60), at(7) + jump, at(30) + jump]
    decided: list[Start | Skip] = []
    for now in moments:
        found, state = drain(rules, state, now, watching=now)
        decided += found

    total = sum(d.count if isinstance(d, Skip) else 1 for d in decided)
    slots = 0
    slot = rules.slots.next(BEGIN)
    while slot is not None and slot <= moments[-1]:
        slots += 1
        slot = rules.slots.next(slot)
    assert total == slots
    assert len(set(starts(decided))) == len(starts(decided))
