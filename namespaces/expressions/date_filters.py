"""Filters on dates (expressions.md 8.3) and the reading of what may stand for a date."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from namespaces.expressions import date_reading, java_dates
from namespaces.expressions.failures import RenderError
from namespaces.expressions.registry import filter_
from namespaces.expressions.state import State
from namespaces.expressions.text_filters import integer
from namespaces.expressions.values import kind, shorten, to_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def zone_of(state: State, name: object) -> tzinfo:
    """A zone by name or offset (`Europe/Paris`, `+02:00`, `Z`), or the server's. Raises for unknown ones."""
    text = state.zone if name is None else to_text(name)
    if text in ("Z", "UTC", "GMT", "Etc/UTC"):
        return UTC if text == "Z" else ZoneInfo("UTC")
    offset = java_dates.offset(text)
    if offset is not None:
        return timezone(offset)
    try:
        return ZoneInfo(java_dates.SHORT_ZONES.get(text, text))
    except (KeyError, ValueError, OSError) as error:
        raise RenderError(
            f"unknown time zone {shorten(text)!r}", hint="for instance Europe/Paris, UTC, +02:00"
        ) from error


def to_moment(state: State, value: object, zone: tzinfo, existing: object = None) -> datetime:
    """What a date filter works on, in its own zone. Numbers are epoch seconds, plain dates noon."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(value, date):
        return datetime.combine(value, time(12), zone)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return _EPOCH + timedelta(seconds=value)
        except OverflowError as error:
            raise RenderError(f"{value} seconds are out of the range of dates") from error
    if not isinstance(value, str):
        raise RenderError(f"a date is wanted, got {kind(value)}")
    if existing is not None:
        return date_reading.parsed(value, java_dates.named(to_text(existing)), zone)
    return date_reading.parsed_iso(value, zone)


def _shown(moment: datetime, format_: object, zone: tzinfo, locale: object) -> str:
    try:
        local = moment.astimezone(zone)
    except OverflowError as error:
        raise RenderError("the date is out of the range of dates") from error
    return java_dates.formatted(local, java_dates.named(to_text(format_)), locale)


@filter_(
    "date",
    examples=(
        (
            "{{ '2013-09-08T16:19:12.123456+01:00' | date(timeZone='Europe/Paris') }}",
            "2013-09-08T17:19:12.123456+02:00",
        ),
        ("{{ '2013-09-08' | date(timeZone='Europe/Paris') }}", "2013-09-08T00:00:00.000000+02:00"),
        ("{{ 'July 24, 2001' | date('yyyy-MM-dd', existingFormat='MMMM dd, yyyy') }}", "2001-07-24"),
    ),
)
def date_(
    state: State,
    value: object,
    format_: object = "iso",
    time_zone: object = None,
    existing_format: object = None,
    locale: object = None,
) -> object:
    """A date as text: a named format or a Java pattern, in `timeZone` or the server's zone."""
    if value is None:
        return None
    zone = zone_of(state, time_zone)
    return _shown(to_moment(state, value, zone, existing_format), format_, zone, locale)


@filter_(
    "dateAdd",
    examples=(
        (
            "{{ '2013-09-08T16:19:12.123456+01:00' | dateAdd(-1, 'DAYS', timeZone='Europe/Paris') }}",
            "2013-09-07T17:19:12.123456+02:00",
        ),
    ),
)
def date_add(
    state: State,
    value: object,
    amount: object,
    unit: object,
    format_: object = "iso",
    time_zone: object = None,
    existing_format: object = None,
    locale: object = None,
) -> object:
    """A date moved by an amount of NANOS … DECADES, which may be negative."""
    if value is None:
        return None
    zone = zone_of(state, time_zone)
    moment = to_moment(state, value, zone, existing_format).astimezone(zone)
    count = integer(amount, "dateAdd", "amount")
    return _shown(java_dates.moved(moment, count, to_text(unit)), format_, zone, locale)


def _nanoseconds(state: State, value: object, time_zone: object, existing: object) -> int | None:
    if value is None:
        return None
    zone = zone_of(state, time_zone)
    delta = to_moment(state, value, zone, existing) - _EPOCH
    return ((delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000


@filter_("timestamp", examples=(("{{ '2013-09-08T16:19:12.123456+01:00' | timestamp }}", "1378653552"),))
def timestamp(state: State, value: object, time_zone: object = None, existing_format: object = None) -> object:
    """Seconds since 1970."""
    found = _nanoseconds(state, value, time_zone, existing_format)
    return None if found is None else found // 1_000_000_000


@filter_("timestampMilli", examples=(("{{ '2013-09-08T16:19:12.123456+01:00' | timestampMilli }}", "1378653552123"),))
def timestamp_milli(state: State, value: object, time_zone: object = None, existing_format: object = None) -> object:
    """Milliseconds since 1970."""
    found = _nanoseconds(state, value, time_zone, existing_format)
    return None if found is None else found // 1_000_000


@filter_(
    "timestampMicro", examples=(("{{ '2013-09-08T16:19:12.123456+01:00' | timestampMicro }}", "1378653552123456"),)
)
def timestamp_micro(state: State, value: object, time_zone: object = None, existing_format: object = None) -> object:
    """Microseconds since 1970."""
    found = _nanoseconds(state, value, time_zone, existing_format)
    return None if found is None else found // 1000


@filter_(
    "timestampNano",
    examples=(("{{ '2013-09-08T16:19:12.123456+01:00' | timestampNano }}", "1378653552123456000"),),
)
def timestamp_nano(state: State, value: object, time_zone: object = None, existing_format: object = None) -> object:
    """Nanoseconds since 1970, as text."""
    found = _nanoseconds(state, value, time_zone, existing_format)
    return None if found is None else str(found)
