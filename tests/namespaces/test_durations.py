"""Durations as Java reads and writes them, and the short form of configuration."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.durations import format_duration, parse_config_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("PT30S", 30),
        ("pt1h30m", 5400),
        ("P1D", 86_400),
        ("P1DT1H", 90_000),
        ("PT0.25s", 0.25),
        ("PT0,5S", 0.5),
        ("PT0S", 0),
        (90, 90),
        (1.5, 1.5),
        ("90", 90),
    ],
)
def test_iso_durations_and_bare_seconds_are_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("P1Y", "use days"),
        ("P1M", "use days"),
        ("P2W", "use days"),
        ("PT", "not a duration"),
        ("P", "not a duration"),
        ("P1DT", "not a duration"),
        ("-PT1S", "negative"),
        (-5, "negative"),
        ("PT99999999H", "out of range"),
        (1e300, "out of range"),
        (float("nan"), "out of range"),
        (True, "not a duration"),
        ("1h", "such as PT1H"),
        ("٣", "not a duration"),
        ("", "not a duration"),
    ],
)
def test_what_java_refuses_is_refused_with_a_hint(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_duration(written)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (timedelta(), "PT0S"),
        (timedelta(days=1, hours=1, seconds=0.5), "PT25H0.5S"),
        (timedelta(minutes=5, seconds=6), "PT5M6S"),
        (timedelta(microseconds=1), "PT0.000001S"),
    ],
)
def test_durations_are_written_in_javas_form(value: timedelta, written: str) -> None:
    assert format_duration(value) == written


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36_000)))
def test_what_is_written_reads_as_the_same_duration(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("60s", timedelta(seconds=60)),
        ("5m", timedelta(minutes=5)),
        ("8h", timedelta(hours=8)),
        ("7d", timedelta(days=7)),
        ("1 y", timedelta(days=365)),
        ("500ms", timedelta(milliseconds=500)),
        ("PT5M", timedelta(minutes=5)),
        (30, timedelta(seconds=30)),
    ],
)
def test_configuration_has_a_short_form(written: object, value: timedelta) -> None:
    assert parse_config_duration(written) == value


def test_a_configuration_without_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 60s, 5m, 8h, 7d"):
        parse_config_duration("60")
