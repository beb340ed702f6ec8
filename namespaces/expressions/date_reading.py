"""Reading dates: ISO texts, and texts by a Java pattern. Pure; English names only.

Formatting and moving are in ``java_dates``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from namespaces.expressions.failures import RenderError
from namespaces.expressions.java_dates import FLEXIBLE, LOCALIZED, SHORT_ZONES, offset, tokens_of
from namespaces.expressions.java_locale import names_of
from namespaces.expressions.values import shorten

_ISO = re.compile(
    r"([+-]?\d{4,5})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*"
    r"(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?(?:\[([A-Za-z0-9_+/:-]+)\])?"
)


def parsed_iso(text: str, zone: tzinfo) -> datetime:
    """An ISO date (start of day), local date-time (in ``zone``) or date-time with an offset."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise RenderError(f"{shorten(text)!r} is not an ISO date", hint="name its pattern with existingFormat")
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    micro = int((found[7] or "0").ljust(9, "0")[:6])
    made_zone: tzinfo = zone
    if found[9]:
        try:
            made_zone = ZoneInfo(found[9])
        except (KeyError, ValueError, OSError) as error:
            raise RenderError(f"unknown time zone {found[9]!r}") from error
    elif found[8]:
        delta = timedelta() if found[8] == "Z" else offset(found[8])
        made_zone = UTC if not delta else timezone(delta)
    try:
        return datetime(
            year, month, day, int(found[4] or 0), int(found[5] or 0), int(found[6] or 0), micro, tzinfo=made_zone
        )
    except ValueError as error:
        raise RenderError(f"{shorten(text)!r} is not a date: {error}") from error


def parsed(text: str, pattern: str, zone: tzinfo) -> datetime:
    """A text by a pattern; what the pattern leaves out is the start of the day, the month or the year."""
    if pattern in LOCALIZED:
        raise RenderError(f"existingFormat {pattern!r} is for output only")
    if pattern == "iso_instant" or (
        pattern in FLEXIBLE and pattern.startswith(("iso_date", "iso_zoned", "iso_local_date", "iso_offset_date"))
    ):
        return parsed_iso(text, zone)
    if pattern == "rfc_1123_date_time":
        pattern = "EEE, d MMM yyyy HH:mm[:ss] Z"
    pattern = FLEXIBLE.get(pattern, pattern)
    expression, letters = _expression(pattern)
    found = expression.fullmatch(text)
    if found is None:
        raise RenderError(f"{shorten(text)!r} does not follow the pattern {shorten(pattern)!r}")
    seen: dict[str, str] = {}
    for index, letter in enumerate(letters):
        if found[index + 1] is not None:
            seen.setdefault(letter, found[index + 1])
    try:
        return _moment(seen, zone)
    except (ValueError, OverflowError, KeyError) as error:
        raise RenderError(f"{shorten(text)!r} is not a date: {error}") from error


@lru_cache(maxsize=128)
def _expression(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    names = names_of(None)
    out: list[str] = []
    letters: list[str] = []
    tokens = tokens_of(pattern)
    for index, (letter, count) in enumerate(tokens):
        if count == 0:
            out.append(re.escape(letter))
            continue
        if count == -1:
            out.append("(?:" if letter == "[" else ")?")
            continue
        adjacent = index + 1 < len(tokens) and tokens[index + 1][1] > 0
        if letter in "ML":
            body = (
                rf"\d{{{count},2}}"
                if count < 3
                else "|".join(map(re.escape, names.months if count == 4 else names.months_short))
            )
        elif letter == "E" or (letter in "ec" and count >= 3):
            body = "|".join(map(re.escape, names.days if count == 4 else names.days_short))
        elif letter == "a":
            body = "[AaPp][Mm]"
        elif letter in "yuY":
            body = r"\d{2}" if count == 2 else r"\d{4}" if adjacent else rf"-?\d{{{min(count, 4)},5}}"
        elif letter in "XxZO":
            body = r"Z|GMT|[+-]\d\d(?::?\d\d(?::?\d\d)?)?"
        elif letter in "zV":
            body = r"[A-Za-z][A-Za-z0-9_+/-]*|[+-]\d\d:?\d\d"
        elif letter == "S":
            body = rf"\d{{{count}}}"
        elif count == -2:
            body, letter = r"\d\d(?:[.,]\d{1,9})?", "~"
        else:
            body = rf"\d{{{count}}}" if count > 1 or adjacent else r"\d{1,9}" if letter in "nNA" else r"\d{1,3}"
        out.append(f"({body})")
        letters.append({"L": "M", "u": "y", "x": "X", "Z": "X", "O": "X", "z": "V"}.get(letter, letter))
    try:
        return re.compile("".join(out), re.IGNORECASE), tuple(letters)
    except re.error as error:
        raise RenderError(f"date pattern {shorten(pattern)!r}: unbalanced brackets") from error


def _moment(seen: dict[str, str], zone: tzinfo) -> datetime:
    names = names_of(None)
    year = int(seen.get("y", seen.get("Y", "1970")))
    if len(seen.get("y", "")) == 2:
        year += 2000
    month_text = seen.get("M", "1")
    month = int(month_text) if month_text.isdecimal() else _index(names.months, names.months_short, month_text)
    hour = int(seen.get("H", "0"))
    if "k" in seen:
        hour = int(seen["k"]) % 24
    if "h" in seen or "K" in seen:
        hour = int(seen.get("h", seen.get("K", "0"))) % 12 + (12 if seen.get("a", "").lower() == "pm" else 0)
    seconds, _, fraction = seen.get("~", seen.get("s", "0")).replace(",", ".").partition(".")
    micro = int((fraction or seen.get("S", "0")).ljust(6, "0")[:6])
    if "n" in seen:
        micro = int(seen["n"]) // 1000
    place = zone
    if seen.get("X", "").upper() in ("Z", "GMT"):
        place = UTC
    elif "X" in seen:
        place = timezone(offset(seen["X"]) or timedelta())
    if "V" in seen:
        place = UTC if seen["V"] in ("GMT", "UTC", "Z") else ZoneInfo(SHORT_ZONES.get(seen["V"], seen["V"]))
    if "D" in seen:
        day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=int(seen["D"]) - 1)
        if day.year != year:
            raise ValueError(f"day {seen['D']} of {year}")
        month, seen["d"] = day.month, str(day.day)
    return datetime(
        year, month, int(seen.get("d", "1")), hour, int(seen.get("m", "0")), int(seconds), micro, tzinfo=place
    )


def _index(full: tuple[str, ...], short: tuple[str, ...], name: str) -> int:
    for table in (full, short):
        for index, one in enumerate(table):
            if one.lower() == name.lower():
                return index + 1
    raise ValueError(f"unknown month {name}")
