"""Dates, times and instants as flows and inputs write them: strict ISO-8601, never guessed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

from namespaces.errors import did_you_mean

_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?", re.ASCII)
_INSTANT = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ](?P<time>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)"
    r"(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?)?(?:\[[A-Za-z0-9_+/-]+\])?",
    re.ASCII,
)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", re.ASCII)


def read_date(value: object) -> date:
    """``2024-02-29``. Raises ``ValueError`` with a sentence."""
    match = _DATE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"not a date: {_short(value)}, expected yyyy-MM-dd")
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise ValueError(f"not a date: {_short(value)}, no such day") from None


def read_time(value: object) -> time:
    """``10:15``, ``10:15:30`` or ``10:15:30.5``, without a zone. Raises ``ValueError`` with a sentence."""
    match = _TIME.fullmatch(str(value))
    if match is None:
        raise ValueError(f"not a time: {_short(value)}, expected HH:mm:ss")
    micro = int(((match[4] or "") + "000000")[:6])
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0), micro)
    except ValueError:
        raise ValueError(f"not a time: {_short(value)}, no such time of day") from None


def read_instant(value: object) -> datetime:
    """An instant with zone or offset, as aware UTC. Raises ``ValueError`` with a sentence."""
    match = _INSTANT.fullmatch(str(value))
    if match is None or match["zone"] is None:
        raise ValueError(f"not an instant: {_short(value)}, expected a date, a time and a zone: 2024-01-01T00:00:00Z")
    try:
        local = datetime.combine(read_date(match["date"]), read_time(match["time"]))
        zone = UTC if match["zone"] in "zZ" else _fixed(match["zone"])
        return local.replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"not an instant: {_short(value)}, no such moment") from None


def _fixed(text: str) -> timezone:
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(text)
    hours, minutes = int(match[2]), int(match[3] or 0)
    if hours > 18 or minutes > 59 or (hours == 18 and minutes):
        raise ValueError(text)
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if match[1] == "-" else offset)


def read_zone(name: object) -> ZoneInfo | timezone:
    """``Europe/Paris``, ``UTC``, ``Z``, ``+02:00``, ``GMT+2``. Raises ``ValueError`` in Kestra's words."""
    text = str(name)
    if text in ("Z", "z", "UTC", "GMT"):
        return UTC
    try:
        return _fixed(text)
    except ValueError:
        pass
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # unknown; not a name at all; a folder such as `Europe`
        shown = text[:60]
        near = did_you_mean(shown, available_timezones())
        raise ValueError(f"timezone '({shown})' is not a valid time-zone ID{near}") from None


def iso_instant(moment: datetime) -> str:
    """Java's ``Instant`` as text: UTC with ``Z``, seconds always, a fraction in groups of three digits if any."""
    utc = moment.astimezone(UTC)
    text = utc.strftime("%Y-%m-%dT%H:%M:%S")
    if utc.microsecond:
        digits = f"{utc.microsecond:06d}"
        text += "." + (digits[:3] if digits.endswith("000") else digits)
    return text + "Z"


def iso_time(value: time) -> str:
    """Java's ``LocalTime`` as text: ``10:15``, ``10:15:30``, ``10:15:30.500``; here seconds are always written."""
    text = value.strftime("%H:%M:%S")
    if value.microsecond:
        digits = f"{value.microsecond:06d}"
        text += "." + (digits[:3] if digits.endswith("000") else digits)
    return text


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:60] + "…")
