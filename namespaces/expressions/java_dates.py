"""Java's date patterns: formatting, parsing, named formats, moving by units. Pure; English names.

Which values may stand for a date, and zones by name, are in ``date_filters``.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from namespaces.errors import did_you_mean
from namespaces.expressions.failures import RenderError
from namespaces.expressions.java_locale import Names, names_of
from namespaces.expressions.values import shorten

SHORT_ZONES = {"CET": "CET", "EST": "America/Panama", "MST": "America/Phoenix", "HST": "Pacific/Honolulu"}
_NAMED = {
    "iso": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "iso_sec": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "sql": "yyyy-MM-dd HH:mm:ss.SSSSSS",
    "sql_seq": "yyyy-MM-dd HH:mm:ss",
}
#: Names whose fraction shows as many digits as are needed; ``~`` marks seconds with such a fraction.
FLEXIBLE = {
    "iso_date_time": "yyyy-MM-dd'T'HH:mm:~XXX'['VV']'",
    "iso_zoned_date_time": "yyyy-MM-dd'T'HH:mm:~XXX'['VV']'",
    "iso_offset_date_time": "yyyy-MM-dd'T'HH:mm:~XXX",
    "iso_local_date_time": "yyyy-MM-dd'T'HH:mm:~",
    "iso_date": "yyyy-MM-ddXXX",
    "iso_offset_date": "yyyy-MM-ddXXX",
    "iso_local_date": "yyyy-MM-dd",
    "basic_iso_date": "yyyyMMddXX",
    "iso_time": "HH:mm:~XXX",
    "iso_offset_time": "HH:mm:~XXX",
    "iso_local_time": "HH:mm:~",
    "iso_ordinal_date": "yyyy-DDDXXX",
    "iso_week_date": "YYYY-'W'ww-eXXX",
    "rfc_1123_date_time": "EEE, d MMM yyyy HH:mm:ss '+'",
    "iso_instant": "",
}
LOCALIZED = ("full", "long", "medium", "short")
_OFFSET = re.compile(r"([+-])(\d{1,2})(?::?(\d{2})(?::?(\d{2}))?)?")


def offset(text: str) -> timedelta | None:
    """A zone offset such as ``+02:00``, ``-5``, ``UTC+1``; None when the text is none."""
    found = _OFFSET.fullmatch(text.removeprefix("UTC").removeprefix("GMT"))
    if found is None:
        return None
    delta = timedelta(hours=int(found[2]), minutes=int(found[3] or 0), seconds=int(found[4] or 0))
    if delta > timedelta(hours=18):
        raise RenderError(f"the zone offset {text} is more than 18 hours")
    return -delta if found[1] == "-" else delta


def named(format_: str) -> str:
    """A named format as a pattern (or its own name where no pattern can say it), a pattern as it is."""
    lower = format_.lower()
    if lower in _NAMED:
        return _NAMED[lower]
    return lower if lower in FLEXIBLE or lower in LOCALIZED else format_


# -- formatting


def formatted(moment: datetime, pattern: str, locale: object = None) -> str:
    """A moment by a name of :func:`named` or a pattern. Raises for unknown letters."""
    names = names_of(locale)
    if pattern in LOCALIZED:
        return "".join(_piece(moment, letter, count, names) for letter, count in tokens_of(names.styles[pattern]))
    if pattern == "iso_instant":
        local = moment.astimezone(UTC)
        return f"{local.year:04d}-{local:%m-%dT%H:%M:%S}{_needed(local)}Z"
    if pattern == "rfc_1123_date_time":
        body = "".join(
            _piece(moment, letter, count, names_of(None)) for letter, count in tokens_of("EEE, d MMM yyyy HH:mm:ss ")
        )
        zero = not moment.utcoffset()
        return body + ("GMT" if zero else _offset_text(moment, "Z", 1))
    if pattern in ("iso_date_time", "iso_zoned_date_time") and not isinstance(moment.tzinfo, ZoneInfo):
        pattern = "iso_offset_date_time"
    return "".join(_piece(moment, letter, count, names) for letter, count in tokens_of(FLEXIBLE.get(pattern, pattern)))


@lru_cache(maxsize=512)
def tokens_of(pattern: str) -> tuple[tuple[str, int], ...]:
    """Letters with their counts; literal text has the count 0."""
    if len(pattern) > 500:
        raise RenderError("the date pattern has more than 500 characters")
    found: list[tuple[str, int]] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "'":
            end = at + 1
            literal: list[str] = []
            while True:
                close = pattern.find("'", end)
                if close < 0:
                    raise RenderError(f"date pattern {shorten(pattern)!r}: unclosed quote")
                literal.append(pattern[end:close])
                if not pattern.startswith("''", close):
                    break
                literal.append("'")
                end = close + 2
            found.append(("".join(literal) or "'", 0))
            at = close + 1
        elif char.isascii() and char.isalpha():
            end = at
            while end < len(pattern) and pattern[end] == char:
                end += 1
            if char not in "yuYMLdDEeGwWaHhkKmsSnNAzZXxVQqOc":
                raise RenderError(f"date pattern {shorten(pattern)!r}: unknown letter {char!r}")
            found.append((char, end - at))
            at = end
        elif char in "{}#":
            raise RenderError(f"date pattern {shorten(pattern)!r}: {char!r} is reserved")
        else:
            found.append((char, -1 if char in "[]" else -2 if char == "~" else 0))
            at += 1
    return tuple(found)


def _needed(moment: datetime) -> str:
    """The fraction with the digits it needs, as Java's ISO formats print it."""
    if not moment.microsecond:
        return ""
    return f".{moment.microsecond:06d}".rstrip("0")


def _piece(moment: datetime, letter: str, count: int, names: Names) -> str:
    if count == 0:
        return letter
    if count == -1:
        return ""
    if count == -2:
        return f"{moment.second:02d}{_needed(moment)}"
    week_year, week, weekday = moment.isocalendar()
    numbers = {
        "d": moment.day, "D": moment.timetuple().tm_yday, "w": week, "H": moment.hour, "m": moment.minute,
        "s": moment.second, "k": moment.hour or 24, "K": moment.hour % 12, "h": moment.hour % 12 or 12,
        "n": moment.microsecond * 1000, "W": (moment.day + moment.replace(day=1).weekday() - 1) // 7 + 1,
        "A": (moment.hour * 3600 + moment.minute * 60 + moment.second) * 1000 + moment.microsecond // 1000,
        "N": (moment.hour * 3600 + moment.minute * 60 + moment.second) * 10**9 + moment.microsecond * 1000,
    }  # fmt: skip
    if letter in numbers:
        return str(numbers[letter]).rjust(count, "0")
    if letter in "yuY":
        year = week_year if letter == "Y" else moment.year
        return f"{year % 100:02d}" if count == 2 else str(year).rjust(count, "0")
    if letter in "ML":
        if count <= 2:
            return str(moment.month).rjust(count, "0")
        return _name(names.months, names.months_short, moment.month - 1, count)
    if letter == "E" or (letter in "ec" and count >= 3):
        return _name(names.days, names.days_short, weekday - 1, count)
    if letter in "ec":
        return str(weekday).rjust(count, "0")
    if letter == "a":
        return names.halves[0 if moment.hour < 12 else 1]
    if letter == "S":
        return f"{moment.microsecond:06d}000"[:count].ljust(count, "0")
    if letter in "Qq":
        quarter = (moment.month - 1) // 3 + 1
        return (
            str(quarter).rjust(count, "0")
            if count <= 2
            else f"Q{quarter}"
            if count == 3
            else names.quarters[quarter - 1]
        )
    if letter == "G":
        return "AD" if count < 4 else "Anno Domini"
    if letter == "V":
        return _zone_id(moment)
    if letter == "z":
        return _zone_name(moment, long=count >= 4)
    return _offset_text(moment, letter, count)


def _name(full: tuple[str, ...], short: tuple[str, ...], index: int, count: int) -> str:
    return full[index] if count == 4 else full[index][0].upper() if count == 5 else short[index]


def _zone_id(moment: datetime) -> str:
    zone = moment.tzinfo
    if isinstance(zone, ZoneInfo):
        return str(zone.key)
    return _offset_text(moment, "X", 3)


def _zone_name(moment: datetime, *, long: bool) -> str:
    short = moment.tzname() or ""
    if moment.tzinfo is UTC or short in ("UTC", "GMT"):
        return "Coordinated Universal Time" if long else short or "UTC"
    if not short or short[0] in "+-" or short.startswith("UTC"):
        return _offset_text(moment, "X", 3)
    return _LONG_ZONES.get(short, short) if long else short


_LONG_ZONES = {
    "CET": "Central European Standard Time", "CEST": "Central European Summer Time", "BST": "British Summer Time",
    "EST": "Eastern Standard Time", "EDT": "Eastern Daylight Time", "CST": "Central Standard Time",
    "CDT": "Central Daylight Time", "MST": "Mountain Standard Time", "MDT": "Mountain Daylight Time",
    "PST": "Pacific Standard Time", "PDT": "Pacific Daylight Time", "WET": "Western European Standard Time",
    "WEST": "Western European Summer Time", "EET": "Eastern European Standard Time",
    "EEST": "Eastern European Summer Time", "JST": "Japan Standard Time", "IST": "India Standard Time",
}  # fmt: skip


def _offset_text(moment: datetime, letter: str, count: int) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    if letter == "O" or (letter == "Z" and count == 4):
        if not seconds:
            return "GMT"
        hours, minutes = divmod(abs(seconds) // 60, 60)
        sign = "-" if seconds < 0 else "+"
        long = count == 4
        return (
            f"GMT{sign}{hours:02d}:{minutes:02d}"
            if long
            else f"GMT{sign}{hours}" + (f":{minutes:02d}" if minutes else "")
        )
    if (letter == "X" or (letter == "Z" and count == 5)) and not seconds:
        return "Z"
    sign = "-" if seconds < 0 else "+"
    hours, minutes = divmod(abs(seconds) // 60, 60)
    colon = ":" if (letter in "Xx" and count in (3, 5)) or (letter == "Z" and count == 5) else ""
    text = f"{sign}{hours:02d}{colon}{minutes:02d}"
    if letter in "Xx" and count == 1 and not minutes:
        text = f"{sign}{hours:02d}"
    return f"{text}{colon}{abs(seconds) % 60:02d}" if count >= 4 and letter in "Xx" and seconds % 60 else text


# -- moving

_SECONDS = {
    "NANOS": 1e-9, "MICROS": 1e-6, "MILLIS": 1e-3, "SECONDS": 1, "MINUTES": 60, "HOURS": 3600, "HALF_DAYS": 43200,
}  # fmt: skip
_DAYS = {"DAYS": 1, "WEEKS": 7}
_MONTHS = {"MONTHS": 1, "YEARS": 12, "DECADES": 120, "CENTURIES": 1200, "MILLENNIA": 12000}


def moved(moment: datetime, amount: int, unit: str) -> datetime:
    """By clock time below a day, by calendar from a day up. Raises for unknown units and dates out of range."""
    known = [*_SECONDS, *_DAYS, *_MONTHS]
    if unit not in known:
        raise RenderError(f"`dateAdd`: unknown unit {shorten(unit)!r}{did_you_mean(unit.upper(), known)}")
    try:
        if unit in ("NANOS", "MICROS", "MILLIS"):
            factor = {"NANOS": 1, "MICROS": 1000, "MILLIS": 1_000_000}[unit]
            return _exact(moment, timedelta(microseconds=amount * factor // 1000))
        if unit in _SECONDS:
            return _exact(moment, timedelta(seconds=amount * int(_SECONDS[unit])))
        if unit in _DAYS:
            return _existing(moment + timedelta(days=amount * _DAYS[unit]))
        months = moment.year * 12 + moment.month - 1 + amount * _MONTHS[unit]
        year, month = divmod(months, 12)
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        return _existing(moment.replace(year=year, month=month + 1, day=day))
    except (OverflowError, ValueError) as error:
        raise RenderError(f"the date is out of range: {error}") from error


def _exact(moment: datetime, delta: timedelta) -> datetime:
    return (moment.astimezone(UTC) + delta).astimezone(moment.tzinfo)


def _existing(moment: datetime) -> datetime:
    """A local time inside a spring gap moves on by the gap, as Java does."""
    return moment.astimezone(UTC).astimezone(moment.tzinfo)
