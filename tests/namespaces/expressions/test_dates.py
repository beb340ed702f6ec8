"""expressions.md 8.3 and the calendar functions of 5.1."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from namespaces.expressions import NoPorts, render
from tests.namespaces.expressions.support import fault, out

_PARIS = "2013-09-08T16:19:12.123456+01:00"


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("iso", "2013-09-08T17:19:12.123456+02:00"),
        ("iso_sec", "2013-09-08T17:19:12+02:00"),
        ("sql", "2013-09-08 17:19:12.123456"),
        ("sql_seq", "2013-09-08 17:19:12"),
        ("iso_date_time", "2013-09-08T17:19:12.123456+02:00[Europe/Paris]"),
        ("iso_zoned_date_time", "2013-09-08T17:19:12.123456+02:00[Europe/Paris]"),
        ("iso_date", "2013-09-08+02:00"),
        ("iso_time", "17:19:12.123456+02:00"),
        ("iso_local_date", "2013-09-08"),
        ("iso_instant", "2013-09-08T15:19:12.123456Z"),
        ("iso_local_time", "17:19:12.123456"),
        ("iso_local_date_time", "2013-09-08T17:19:12.123456"),
        ("iso_offset_time", "17:19:12.123456+02:00"),
        ("iso_ordinal_date", "2013-251+02:00"),
        ("iso_week_date", "2013-W36-7+02:00"),
        ("rfc_1123_date_time", "Sun, 8 Sep 2013 17:19:12 +0200"),
        ("yyyy yy u", "2013 13 2013"),
        ("M MM MMM MMMM MMMMM", "9 09 Sep September S"),
        ("d dd D DDD", "8 08 251 251"),
        ("E EEEE e w ww", "Sun Sunday 7 36 36"),
        ("h hh K k H HH a", "5 05 5 17 17 17 PM"),
        ("m mm s ss", "19 19 12 12"),
        ("S SS SSS SSSSSS SSSSSSSSS n", "1 12 123 123456 123456000 123456000"),
        ("z Z X XX XXX x", "CEST +0200 +02 +0200 +02:00 +02"),
        ("VV Q QQ QQQ QQQQ", "Europe/Paris 3 03 Q3 3rd quarter"),
        ("yyyy'T'''HH[:mm]", "2013T'17:19"),
        ("YYYY", "2013"),
        ("short", "9/8/13, 5:19 PM"),
        ("medium", "Sep 8, 2013, 5:19:12 PM"),
        ("long", "September 8, 2013 at 5:19:12 PM CEST"),
        ("full", "Sunday, September 8, 2013 at 5:19:12 PM Central European Summer Time"),
    ],
)
def test_formats(format_: str, text: str) -> None:
    assert out("{{ v | date(p, timeZone='Europe/Paris') }}", v=_PARIS, p=format_) == text


def test_zero_offset_is_z_where_java_says_so() -> None:
    assert out("{{ '2024-01-01T00:00Z' | date('X XXX x xxx Z z') }}") == "Z Z +00 +00:00 +0000 UTC"


def test_iso_names_show_only_the_digits_that_are_needed() -> None:
    assert out("{{ '2024-01-01T00:00:01.120Z' | date('iso_local_time') }}") == "00:00:01.12"
    assert out("{{ '2024-01-01T00:00:01Z' | date('iso_instant') }}") == "2024-01-01T00:00:01Z"


def test_the_week_year_is_not_the_year() -> None:
    assert out("{{ '2024-12-30' | date('YYYY yyyy') }}") == "2025 2024"


@pytest.mark.parametrize(
    ("locale", "text"),
    [("fr", "dimanche 8 septembre 2013"), ("de-DE", "Sonntag 8 September 2013"), ("en", "Sunday 8 September 2013")],
)
def test_names_in_other_languages(locale: str, text: str) -> None:
    assert out("{{ v | date('EEEE d MMMM yyyy', locale=l) }}", v=_PARIS, l=locale) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2013-09-08", "2013-09-08T00:00:00.000000+02:00"),
        ("2013-09-08T10:00", "2013-09-08T10:00:00.000000+02:00"),
        ("2013-09-08T10:00:01.5", "2013-09-08T10:00:01.500000+02:00"),
        ("2013-09-08T10:00Z", "2013-09-08T12:00:00.000000+02:00"),
        ("2013-09-08T10:00:00+02:00[Europe/Paris]", "2013-09-08T10:00:00.000000+02:00"),
        (1378653552, "2013-09-08T17:19:12.000000+02:00"),
        (date(2013, 9, 8), "2013-09-08T12:00:00.000000+02:00"),
        (datetime(2013, 9, 8, 15, tzinfo=UTC), "2013-09-08T17:00:00.000000+02:00"),
    ],
)
def test_what_may_stand_for_a_date(value: object, text: str) -> None:
    assert out("{{ v | date(timeZone='Europe/Paris') }}", v=value) == text


@pytest.mark.parametrize(
    ("text", "pattern", "moment"),
    [
        ("July 24, 2001", "MMMM dd, yyyy", "2001-07-24T00:00"),
        ("24/07/2001 05:06 PM", "dd/MM/yyyy hh:mm a", "2001-07-24T17:06"),
        ("20010724", "yyyyMMdd", "2001-07-24T00:00"),
        ("Tue, 08 Feb 2022 19:38:26 GMT", "rfc_1123_date_time", "2022-02-08T19:38:26"),
        ("2001-07-24 01:02:03.456", "yyyy-MM-dd HH:mm:ss.SSS", "2001-07-24T01:02:03.456000"),
        ("2001-205", "yyyy-DDD", "2001-07-24T00:00"),
        ("24.7.01", "d.M.yy", "2001-07-24T00:00"),
        ("2001-07-24T10:00+02:00", "yyyy-MM-dd'T'HH:mmXXX", "2001-07-24T08:00"),
        ("2001-07-24 10:00 Europe/Paris", "yyyy-MM-dd HH:mm VV", "2001-07-24T08:00"),
        ("2001-07-24", "yyyy-MM-dd[ HH:mm]", "2001-07-24T00:00"),
        ("2001-07-24T10:00:00Z", "iso_instant", "2001-07-24T10:00"),
    ],
)
def test_reading_by_a_pattern(text: str, pattern: str, moment: str) -> None:
    wanted = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    assert out("{{ v | date(existingFormat=p) }}", v=text, p=pattern) == out("{{ v | date }}", v=wanted)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' | date }}", "{{ '2013-13-45' | date }}", "{{ '2013-09-08' | date('iso', 'Nowhere/City') }}", "{{ '2013-09-08' | date('yyyy J') }}",
        "{{ '10000-01-01' | date }}", "{{ true | date }}", "{{ 1.5 | date }}", "{{ list | date }}", "{{ '2013-09-08' | date(\"yyyy'\") }}",
        "{{ '24/13/2001' | date(existingFormat='dd/MM/yyyy') }}", "{{ 'x' | date(existingFormat='yyyy') }}",
        "{{ 99999999999999 | date }}", "{{ '2013-09-08' | date(locale='xx-YY-zz') }}", "{{ '2013-09-08' | date('iso', '../etc/passwd') }}",
        "{{ '2013-09-08' | date('iso', '+25:00') }}", "{{ '9999-12-31T23:00:00-10:00' | date(timeZone='Pacific/Auckland') }}",
    ],
)  # fmt: skip
def test_what_is_no_date_zone_or_format(template: str) -> None:
    assert fault(template)


@pytest.mark.parametrize(
    ("amount", "unit", "text"),
    [
        (-1, "DAYS", "2013-09-07T17:19:12.123456+02:00"),
        (1, "MONTHS", "2013-10-08T17:19:12.123456+02:00"),
        (3, "MONTHS", "2013-12-08T17:19:12.123456+01:00"),
        (1, "YEARS", "2014-09-08T17:19:12.123456+02:00"),
        (1, "DECADES", "2023-09-08T17:19:12.123456+02:00"),
        (2, "WEEKS", "2013-09-22T17:19:12.123456+02:00"),
        (1, "HALF_DAYS", "2013-09-09T05:19:12.123456+02:00"),
        (90, "MINUTES", "2013-09-08T18:49:12.123456+02:00"),
        (877, "MILLIS", "2013-09-08T17:19:13.000456+02:00"),
        (1, "MICROS", "2013-09-08T17:19:12.123457+02:00"),
        (1000, "NANOS", "2013-09-08T17:19:12.123457+02:00"),
    ],
)
def test_adding_to_dates(amount: int, unit: str, text: str) -> None:
    assert out("{{ v | dateAdd(a, u, timeZone='Europe/Paris') }}", v=_PARIS, a=amount, u=unit) == text


def test_the_last_day_of_a_shorter_month_is_taken() -> None:
    assert out("{{ '2024-01-31' | dateAdd(1, 'MONTHS', 'iso_local_date') }}") == "2024-02-29"


def test_days_are_days_of_the_calendar_and_hours_are_hours_of_the_clock() -> None:
    spring = "{{ '2024-03-30T12:00' | dateAdd(%s, timeZone='Europe/Paris') }}"

    assert out(spring % "1, 'DAYS'") == "2024-03-31T12:00:00.000000+02:00"
    assert out(spring % "24, 'HOURS'") == "2024-03-31T13:00:00.000000+02:00"
    assert (
        out("{{ '2024-03-30T02:30' | dateAdd(1, 'DAYS', timeZone='Europe/Paris') }}")
        == "2024-03-31T03:30:00.000000+02:00"
    )


@pytest.mark.parametrize("template", ["{{ '2024-01-01' | dateAdd('1', 'DAYS') }}", "{{ '2024-01-01' | dateAdd(1, 'days') }}", "{{ '2024-01-01' | dateAdd(1, 'EONS') }}", "{{ '2024-01-01' | dateAdd(99999, 'YEARS') }}", "{{ '2024-01-01' | dateAdd(99999999999, 'DAYS') }}", "{{ '2024-01-01' | dateAdd(1) }}"])  # fmt: skip
def test_what_cannot_be_added(template: str) -> None:
    assert fault(template)


def test_timestamps() -> None:
    template = "{{ v | timestamp }} {{ v | timestampMilli }} {{ v | timestampMicro }} {{ v | timestampNano }}"

    assert out(template, v=_PARIS) == "1378653552 1378653552123 1378653552123456 1378653552123456000"
    assert out("{{ '1969-12-31T23:59:59Z' | timestamp }}") == "-1"
    assert out("{{ '2013-09-08' | timestamp(timeZone='Europe/Paris') }}") == "1378591200"


def test_now_is_the_clock_that_was_given() -> None:
    assert out("{{ now() }}") == "2026-05-06T07:08:09.000000Z"
    assert out("{{ now('yyyy-MM-dd HH:mm', timeZone='Asia/Tokyo') }}") == "2026-05-06 16:08"


def test_the_zone_of_the_server_is_the_default() -> None:
    made = render("{{ '2024-01-01T00:00Z' | date }}", {}, NoPorts(), zone="America/New_York")

    assert made == "2023-12-31T19:00:00.000000-05:00"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ isWeekend('2025-01-04') }}{{ isWeekend('2025-01-06') }}", "truefalse"),
        ("{{ dayOfWeek('2025-01-06T23:30:00-10:00') }}", "MONDAY"),
        ("{{ dayOfMonth(day) }}{{ monthOfYear(day) }}", "89"),
        ("{{ hourOfDay('2025-01-06T14:30:00+02:00') }}{{ hourOfDay('2025-01-06T14:30') }}", "1414"),
        ("{{ isDayWeekInMonth('2025-01-31', 'friday', 'last') }}", "true"),
        (
            "{{ isDayWeekInMonth('2025-01-03', 'FRIDAY', 'FIRST') }}{{ isDayWeekInMonth('2025-01-10', 'FRIDAY', 'FIRST') }}",
            "truefalse",
        ),
        ("{{ isDayWeekInMonth('2025-01-30', 'FRIDAY', 'LAST') }}", "false"),
        ("{{ isLastWorkingDay('2025-11-28') }}{{ isLastWorkingDay('2025-11-30') }}", "truefalse"),
        ("{{ isLastWorkingDay('2025-11-25', 'MONDAY,TUESDAY') }}", "true"),
        ("{{ isPublicHoliday('2024-11-11', 'FR') }}{{ isPublicHoliday('2024-11-12', 'FR') }}", "truefalse"),
        ("{{ isPublicHoliday('2024-11-11', 'fr', '') }}{{ isPublicHoliday('2024-01-06', 'DE', 'BY') }}", "truetrue"),
        ("{{ isPublicHoliday('2024-01-06', 'DE') }}", "false"),
        ("{{ isDateBetween(b, a, c) }}{{ isDateBetween(a, a, c) }}{{ isDateBetween(c, a, c) }}", "truefalsefalse"),
        ("{{ isDateBefore(a, b) }}{{ isDateAfter(a, b) }}{{ isDateBefore(a, a) }}", "truefalsefalse"),
    ],
)
def test_calendar_functions(template: str, text: str) -> None:
    days: dict[str, Any] = {"a": "2025-06-01T00:00:00Z", "b": "2025-06-01T02:30:00+02:00", "c": "2025-07-01T00:00:00Z"}

    assert out(template, day=date(2025, 9, 8), **days) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ isWeekend() }}", "expects an argument `date`"),
        ("{{ isWeekend(nul) }}", "expects a 'date' argument"),
        ("{{ isWeekend('soon') }}", "could not parse 'date'"),
        ("{{ hourOfDay('2025-01-06') }}", "has no time of day"),
        ("{{ isDayWeekInMonth('2025-01-31', 'FRIDAY', 'FIFTH') }}", "position must be one of"),
        ("{{ isDayWeekInMonth('2025-01-31', 'FREITAG', 'LAST') }}", "no day of the week"),
        ("{{ isPublicHoliday('2024-11-11', 'XX') }}", "unknown country"),
        ("{{ isPublicHoliday('2024-11-11') }}", "expects an argument `countryCode`"),
        ("{{ isDateBetween('2025-06-01T00:00:00Z', 'x', '2025-06-01T00:00:00Z') }}", "could not parse 'after'"),
        ("{{ isDateBetween('2025-06-01T00:00:00Z', '2025-06-01T00:00:00Z') }}", "expects a 'before' argument"),
        ("{{ isDateBetween('2025-06-01T00:00:00', '2025-06-01T00:00:00Z', '2025-06-01T00:00:00Z') }}", "has no offset"),
    ],
)
def test_what_calendar_functions_refuse(template: str, message: str) -> None:
    assert message in fault(template)


_moments = st.datetimes(
    datetime(1900, 1, 1), datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, ZoneInfo("Europe/Paris"), timezone(timedelta(hours=-3, minutes=-30))]),
)  # fmt: skip


@given(_moments)
def test_a_date_written_as_iso_reads_back_as_the_same_instant(moment: datetime) -> None:
    text = render("{{ d | date }}", {"d": moment}, NoPorts())

    assert datetime.fromisoformat(text).timestamp() == moment.timestamp()


@given(_moments)
def test_a_date_reads_back_by_the_pattern_that_wrote_it(moment: datetime) -> None:
    pattern = "EEEE, dd MMM yyyy hh:mm:ss.SSSSSS a XX"
    context = {"d": moment.replace(second=0, microsecond=moment.microsecond), "p": pattern}
    once = render("{{ d | date(p) | date(p, existingFormat=p) }}", context, NoPorts())

    assert once == render("{{ d | date(p) }}", context, NoPorts())
