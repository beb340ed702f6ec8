"""Questions about dates (expressions.md 5.1, [2.x]). The date counts as written: no conversion to UTC."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta

from namespaces.errors import did_you_mean
from namespaces.expressions import date_reading
from namespaces.expressions.failures import RenderError
from namespaces.expressions.registry import function
from namespaces.expressions.state import State
from namespaces.expressions.values import is_list, kind, shorten, to_text

_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_POSITIONS = ("FIRST", "SECOND", "THIRD", "FOURTH", "LAST")


def _moment(value: object, name: str, what: str = "date") -> tuple[date, datetime | None]:
    """The date as written, and the moment when there is a time of day."""
    if isinstance(value, datetime):
        return value.date(), value
    if isinstance(value, date):
        return value, None
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RenderError(f"{name}() expects a '{what}' argument")
    if isinstance(value, str):
        try:
            found = date_reading.parsed_iso(value, UTC)
        except RenderError as error:
            raise RenderError(f"{name}() could not parse '{what}': {shorten(value)!r} is not an ISO date") from error
        return found.date(), found if "T" in value or ":" in value else None
    raise RenderError(f"{name}() could not parse '{what}': got {kind(value)}")


def _day(value: object, name: str) -> date:
    return _moment(value, name)[0]


def _weekday(value: object, name: str) -> int:
    word = to_text(value).strip().upper()
    if word not in _DAYS:
        raise RenderError(f"{name}(): {shorten(to_text(value))!r} is no day of the week{did_you_mean(word, _DAYS)}")
    return _DAYS.index(word)


@function("isWeekend", examples=(("{{ isWeekend('2025-01-04') }}", "true"),))
def is_weekend(state: State, date: object) -> bool:
    """Saturday or Sunday."""
    return _day(date, "isWeekend").weekday() >= 5


@function("dayOfWeek", examples=(("{{ dayOfWeek('2025-01-06') }}", "MONDAY"),))
def day_of_week(state: State, date: object) -> str:
    """`MONDAY` to `SUNDAY`."""
    return _DAYS[_day(date, "dayOfWeek").weekday()]


@function("dayOfMonth", examples=(("{{ dayOfMonth('2025-01-06') }}", "6"),))
def day_of_month(state: State, date: object) -> int:
    """1 to 31."""
    return _day(date, "dayOfMonth").day


@function("monthOfYear", examples=(("{{ monthOfYear('2025-01-06') }}", "1"),))
def month_of_year(state: State, date: object) -> int:
    """1 to 12."""
    return _day(date, "monthOfYear").month


@function("hourOfDay", examples=(("{{ hourOfDay('2025-01-06T14:30:00+02:00') }}", "14"),))
def hour_of_day(state: State, date: object) -> int:
    """0 to 23 as written; a date without a time is an error."""
    moment = _moment(date, "hourOfDay")[1]
    if moment is None:
        raise RenderError(f"hourOfDay(): {shorten(to_text(date))!r} has no time of day")
    return moment.hour


@function(
    "isDayWeekInMonth",
    examples=(
        ("{{ isDayWeekInMonth('2025-01-31', 'FRIDAY', 'LAST') }}", "true"),
        ("{{ isDayWeekInMonth('2025-01-31', 'FRIDAY', 'FOURTH') }}", "false"),
    ),
)
def is_day_week_in_month(state: State, date: object, day_of_week: object, position: object) -> bool:
    """Whether the date is the FIRST … FOURTH or LAST such weekday of its month."""
    found = _day(date, "isDayWeekInMonth")
    wanted = _weekday(day_of_week, "isDayWeekInMonth")
    place = to_text(position).strip().upper()
    if place not in _POSITIONS:
        raise RenderError(
            f"isDayWeekInMonth(): position must be one of {', '.join(_POSITIONS)}, got {shorten(place)!r}"
        )
    if found.weekday() != wanted:
        return False
    if place == "LAST":
        return found.day + 7 > calendar.monthrange(found.year, found.month)[1]
    return (found.day - 1) // 7 == _POSITIONS.index(place)


@function("isLastWorkingDay", examples=(("{{ isLastWorkingDay('2025-11-28') }}", "true"),))
def is_last_working_day(state: State, date: object, working_days: object = None) -> bool:
    """Whether the date is the last working day of its month; `MONDAY,TUESDAY`, without Monday to Friday."""
    found = _day(date, "isLastWorkingDay")
    words = working_days if is_list(working_days) else to_text(working_days).split(",") if working_days else _DAYS[:5]
    assert isinstance(words, list | tuple)
    working = {_weekday(word, "isLastWorkingDay") for word in words}
    last = found.replace(day=calendar.monthrange(found.year, found.month)[1])
    while last.weekday() not in working:
        last -= timedelta(days=1)
    return found == last


@function("isPublicHoliday", cheap=False, examples=(("{{ isPublicHoliday('2024-11-11', 'FR', 'IDF') }}", "true"),))
def is_public_holiday(state: State, date: object, country_code: object, sub_division: object = None) -> bool:
    """Public holiday of a country (ISO 3166-1) or of one of its parts; a part without holidays of its own
    has the country's."""
    import holidays

    day = _day(date, "isPublicHoliday")
    country = to_text(country_code).strip().upper()
    part = to_text(sub_division).strip()
    try:
        supported = holidays.list_supported_countries()
        if country not in supported:
            raise RenderError(
                f"isPublicHoliday(): unknown country {shorten(country)!r}", hint="ISO 3166-1, for instance FR"
            )
        known = {name.upper(): name for name in supported[country]}
        found = holidays.country_holidays(country, subdiv=known.get(part.upper()), years=day.year)
    except NotImplementedError as error:
        raise RenderError(f"isPublicHoliday(): {error}") from error
    return day in found


def _instant(value: object, name: str, what: str) -> datetime:
    day, moment = _moment(value, name, what)
    if moment is None:
        if isinstance(value, str):
            raise RenderError(f"{name}() could not parse '{what}': {shorten(value)!r} has no time and offset")
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    text = value.strip() if isinstance(value, str) else ""
    if (isinstance(value, datetime) and value.tzinfo is None) or (
        text and not (text.endswith(("Z", "]")) or any(sign in text[11:] for sign in "+-"))
    ):
        raise RenderError(f"{name}() could not parse '{what}': {shorten(to_text(value))!r} has no offset")
    return moment


@function(
    "isDateBetween",
    examples=(("{{ isDateBetween('2025-06-15T12:00:00Z', '2025-06-01T00:00:00Z', '2025-07-01T00:00:00Z') }}", "true"),),
)
def is_date_between(state: State, date: object, after: object = None, before: object = None) -> bool:
    """Strictly between two instants; texts need an offset."""
    low, high = _instant(after, "isDateBetween", "after"), _instant(before, "isDateBetween", "before")
    return low < _instant(date, "isDateBetween", "date") < high


@function("isDateBefore", examples=(("{{ isDateBefore('2025-06-15T12:00:00Z', '2025-06-15T12:00:01Z') }}", "true"),))
def is_date_before(state: State, date: object, other: object = None) -> bool:
    """Strictly before another instant."""
    return _instant(date, "isDateBefore", "date") < _instant(other, "isDateBefore", "other")


@function(
    "isDateAfter", examples=(("{{ isDateAfter('2025-06-15T12:00:00Z', '2025-06-15T14:00:00+02:00') }}", "false"),)
)
def is_date_after(state: State, date: object, other: object = None) -> bool:
    """Strictly after another instant."""
    return _instant(date, "isDateAfter", "date") > _instant(other, "isDateAfter", "other")
