"""The validator in front of croniter, and the written rule for days on which the clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from namespaces.cron import CronFault, Schedule, read_cron


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 0 12 * * *", "6 fields need withSeconds: true (seconds first)"),
        ("0 0 * * * * *", "7 fields"),
        ("* * * *", "expected 5 fields, but found 4"),
        ("", "expected 5 fields, but found 0"),
        ("*/61 * * * *", "minute: step 61"),
        ("*/0 * * * *", "minute: step 0"),
        ("60 * * * *", "minute: 60 is not between 0 and 59"),
        ("0 24 * * *", "hour: 24 is not between 0 and 23"),
        ("0 0 * * 8", "day of week: 8"),
        ("0 0 0 * *", "day of month: 0 is not between 1 and 31"),
        ("0 0 1 13 *", "month: 13"),
        ("5-1 * * * *", "range goes backwards"),
        ("0 0 * * fri-mon", "range goes backwards"),
        ("0 0 1 Jan-Jan *", "range goes backwards"),
        ("H * * * *", "'H' is not supported"),
        ("R * * * *", "'R' is not supported"),
        ("0 0 L * *", "'L' is not supported"),
        ("0 0 * * 5L", "'L' is not supported"),
        ("0 0 * * L5", "'L' is not supported"),
        ("0 0 15W * *", "'W' is not supported"),
        ("0 0 * * 5#2", "'#' is not supported"),
        ("0 0 ? * *", "'?' is not supported"),
        ("@reboot", "unknown nickname @reboot"),
        ("@every 5m", "unknown nickname"),
        ("٣ * * * *", "unexpected character U+0663 at 1"),
        ("0\u00a00 * * *", "unexpected character U+00A0 at 2"),
        ("0 0 * *\n*", "unexpected character U+000A at 8"),
        ("* * * * *; id", "unexpected character ; at 10"),
        (",".join("0" * 50_000) + " * * * *", "longer than 200"),
        ("1,,2 * * * *", "minute: ''"),
        ("*-5 * * * *", "minute: '*-5' is not a range"),
    ],
)
def test_what_kestra_refuses_is_refused_with_field_and_range(expression: str, said: str) -> None:
    with pytest.raises(CronFault) as refused:
        read_cron(expression)

    assert said in str(refused.value)


def test_five_fields_with_seconds_are_refused() -> None:
    with pytest.raises(CronFault, match="expected 6 fields with withSeconds"):
        read_cron("* * * * *", with_seconds=True)


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [("0/15 * * * *", {0, 15, 30, 45}), ("59/15 * * * *", {59}), ("10-30/10 * * * *", {10, 20, 30})],
)
def test_steps_run_to_the_end_of_the_field(expression: str, minutes: set[int]) -> None:
    assert read_cron(expression).fields[0] == minutes


def test_sunday_is_zero_and_seven_and_names_are_read_in_any_case() -> None:
    assert read_cron("0 0 * * 7").fields == read_cron("0 0 * * sun").fields
    assert read_cron("0 0 * * 5-7").fields[4] == {5, 6, 0}
    assert read_cron("0 0 * * Fri-SUN").fields[4] == {5, 6, 0}


@pytest.mark.parametrize("expression", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6 *"])
def test_a_date_that_does_not_exist_is_accepted_and_never_fires(expression: str) -> None:
    cron = read_cron(expression)

    assert [code for code, _ in cron.notes()] == ["F104"]
    assert Schedule(cron).next(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert Schedule(cron).previous(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_day_of_month_and_day_of_week_mean_either_with_a_note() -> None:
    cron = read_cron("0 0 13 * 5")
    found = Schedule(cron).next(datetime(2026, 3, 10, tzinfo=UTC))

    assert found == datetime(2026, 3, 13, tzinfo=UTC)
    assert any("13) OR day of week (5" in note for _, note in cron.notes())


def test_the_29th_of_february_is_found_over_the_years() -> None:
    schedule = Schedule("0 0 29 2 *")

    assert schedule.next(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2028, 2, 29, tzinfo=UTC)
    assert schedule.next(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)


def test_seconds_stand_first() -> None:
    schedule = Schedule("30 0 12 * * *", with_seconds=True)

    assert schedule.next(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def test_a_fixed_time_in_the_skipped_hour_runs_once_right_after_it() -> None:
    schedule = Schedule("15,30,45 2 * * *", "Europe/Berlin")
    night = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)

    first = schedule.next(night)
    assert first == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert schedule.next(first) == datetime(2026, 3, 30, 0, 15, tzinfo=UTC)
    assert schedule.previous(datetime(2026, 3, 30, tzinfo=UTC)) == first


def test_a_fixed_time_in_the_repeated_hour_runs_the_first_time_only() -> None:
    schedule = Schedule("30 2 * * *", "Europe/Berlin")
    night = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)

    first = schedule.next(night)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert schedule.next(first) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_wildcard_schedule_runs_in_both_passes_of_the_repeated_hour() -> None:
    schedule = Schedule("*/30 2 * * *", "Europe/Berlin")
    found = []
    for at in schedule.after(datetime(2026, 10, 24, 12, 0, tzinfo=UTC)):
        if at > datetime(2026, 10, 25, 12, 0, tzinfo=UTC):
            break
        found.append(at)

    first = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert found == [first + timedelta(minutes=30 * n) for n in range(4)]


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "+02:00", "EST5EDT", "Z"])
def test_zones_are_names_or_offsets(name: str) -> None:
    assert Schedule("0 0 * * *", name).next(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("name", "said"), [("Europe/Berln", "did you mean 'Europe/Berlin'"), ("GMT+25", "not a valid"), ("Europe", "not")]
)
def test_an_unknown_zone_is_refused_with_the_nearest_name(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Schedule("0 0 * * *", name)


def test_microseconds_do_not_move_a_slot() -> None:
    schedule = Schedule("* * * * *")
    moment = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)

    assert schedule.next(moment) == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    assert schedule.previous(moment) == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
