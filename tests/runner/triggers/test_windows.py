"""Which window holds a moment (``flows.md`` 7.7)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.triggers.conditions import ConditionError
from runner.triggers.windows import Window, WindowType, of_depends_on, of_preconditions, zone_of

PARIS = ZoneInfo("Europe/Paris")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def bounds(window: Window, moment: str) -> tuple[str, str] | None:
    found = window.bounds(utc(moment))
    return None if found is None else tuple(m.strftime("%m-%dT%H:%M") for m in found)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("written", "moment", "expected"),
    [
        ({}, "2024-03-05T15:00:00Z", ("03-05T00:00", "03-06T00:00")),
        ({"windowAdvance": "PT6H"}, "2024-03-05T05:00:00Z", ("03-04T06:00", "03-05T06:00")),
        ({"windowAdvance": "PT6H"}, "2024-03-05T06:00:00Z", ("03-05T06:00", "03-06T06:00")),
        ({"window": "PT5H"}, "2024-03-05T09:59:59Z", ("03-05T05:00", "03-05T10:00")),
        ({"window": "PT5H"}, "2024-03-05T23:00:00Z", ("03-05T20:00", "03-06T00:00")),
        ({"window": "PT5H", "windowAdvance": "PT1H"}, "2024-03-05T00:30:00Z", ("03-04T21:00", "03-05T01:00")),
        ({"window": "P7D"}, "2024-03-05T09:00:00Z", ("03-04T00:00", "03-11T00:00")),
        (
            {"type": "DAILY_TIME_DEADLINE", "deadline": "09:00:00"},
            "2024-03-05T08:00:00Z",
            ("03-05T00:00", "03-05T09:00"),
        ),
        ({"type": "DAILY_TIME_DEADLINE", "deadline": "09:00:00"}, "2024-03-05T09:00:01Z", None),
        (
            {"type": "DAILY_TIME_WINDOW", "startTime": "06:00:00", "endTime": "09:00:00"},
            "2024-03-05T06:00:00Z",
            ("03-05T06:00", "03-05T09:00"),
        ),
        ({"type": "DAILY_TIME_WINDOW", "startTime": "06:00:00", "endTime": "09:00:00"}, "2024-03-05T05:59:59Z", None),
        (
            {"type": "DAILY_TIME_WINDOW", "startTime": "22:00:00", "endTime": "02:00:00"},
            "2024-03-05T01:00:00Z",
            ("03-04T22:00", "03-05T02:00"),
        ),
        ({"type": "SLIDING_WINDOW", "window": "PT1H"}, "2024-03-05T01:00:00Z", None),
    ],
)
def test_windows_of_preconditions(written: dict[str, Any], moment: str, expected: tuple[str, str] | None) -> None:
    assert bounds(of_preconditions(written, UTC), moment) == expected


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ({"deadline": "09:00:00+01:00"}, WindowType.DEADLINE),
        ({"from": "06:00", "to": "09:00"}, WindowType.DAILY),
        ({"lookback": "PT2H"}, WindowType.SLIDING),
        ({"every": "PT6H", "offset": "PT1H"}, WindowType.DURATION),
        ({"timezone": "Europe/Paris"}, WindowType.DURATION),
    ],
)
def test_the_newer_form_means_the_same_kinds(written: dict[str, Any], kind: WindowType) -> None:
    assert of_depends_on(written, UTC).type is kind


def test_a_day_is_that_of_the_zone_and_may_have_23_hours() -> None:
    spring = Window(zone=PARIS).bounds(utc("2024-03-31T12:00:00+02:00"))

    assert spring is not None
    assert spring[1] - spring[0] == timedelta(hours=23)


def test_a_deadline_with_an_offset_is_that_instant() -> None:
    window = of_depends_on({"deadline": "09:00:00+01:00"}, UTC)

    assert window.bounds(utc("2024-03-05T08:00:00Z")) is not None
    assert window.bounds(utc("2024-03-05T08:00:01Z")) is None


def test_the_next_end_is_todays_or_tomorrows_deadline() -> None:
    window = Window(type=WindowType.DEADLINE, end=time(9), zone=UTC)

    assert window.next_end(utc("2024-03-05T08:00:00Z")).date().day == 5
    assert window.next_end(utc("2024-03-05T10:00:00Z")).date().day == 6


@given(
    length=st.integers(1, 20 * 1440),
    advance=st.integers(0, 2 * 1440),
    minutes=st.integers(0, 60 * 1440),
    zone=st.sampled_from([UTC, PARIS, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")]),
)
def test_every_moment_lies_in_exactly_one_fixed_window(length: int, advance: int, minutes: int, zone: Any) -> None:
    window = Window(length=timedelta(minutes=length), advance=timedelta(minutes=advance), zone=zone)
    moment = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(minutes=minutes)

    found = window.bounds(moment)

    assert found is not None
    assert found[0] <= moment < found[1]
    assert window.bounds(found[0]) == found
    after = window.bounds(found[1])
    assert after is not None
    assert after[0] == found[1]


@pytest.mark.parametrize("name", ["Europe/Berln", "GMT+25x", "+99:00", "../etc/passwd"])
def test_unknown_zones_are_told(name: str) -> None:
    with pytest.raises(ConditionError):
        zone_of(name)
