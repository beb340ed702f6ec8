"""Durations: ISO-8601 as Java's ``Duration`` reads it (flows), and the short form of configuration files.

Values are ``timedelta``; calendar periods (years, months) do not exist here.
"""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = timedelta(days=36_525)
"""A hundred years: nothing that waits longer is meant, and date arithmetic stays far from its limits."""

_ISO = re.compile(
    r"P(?:(?P<days>\d{1,9})D)?"
    r"(?P<time>T(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?"
    r"(?:(?P<seconds>\d{1,12})(?:[.,](?P<fraction>\d{0,9}))?S)?)?",
    re.ASCII | re.IGNORECASE,
)
_SECONDS = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_SHORT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w|y)", re.ASCII)
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


def parse_duration(value: object) -> timedelta:
    """``PT1H30M``, ``p1dt0.5s`` or a bare number of seconds (``flows.md`` 0) as a timedelta of 0 to 100 years.

    Raises ``ValueError`` with a sentence for years, months, weeks, negative ones and everything else.
    """
    if isinstance(value, timedelta):
        return _bounded(value, value)
    if isinstance(value, bool) or value is None:
        raise ValueError(f"not a duration: {value!r}, expected ISO-8601 such as PT30S")
    if isinstance(value, int | float):
        if value != value or abs(value) > LONGEST.total_seconds():
            raise ValueError(f"duration out of range: {value}")
        return _bounded(timedelta(seconds=value), value)
    text = str(value)
    match = _ISO.fullmatch(text)
    if match is None:
        if _SECONDS.fullmatch(text):
            return _bounded(timedelta(seconds=float(text)), text)
        raise ValueError(_why_not(text))
    days, hours, minutes, seconds = match["days"], match["hours"], match["minutes"], match["seconds"]
    if not (days or hours or minutes or seconds) or (match["time"] and len(match["time"]) == 1):
        raise ValueError(_why_not(text))
    microseconds = int(((match["fraction"] or "") + "000000")[:6])
    try:
        made = timedelta(
            days=int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=int(seconds or 0),
            microseconds=microseconds,
        )
    except OverflowError:
        raise ValueError(f"duration out of range: {text}, at most 100 years") from None
    return _bounded(made, text)


def _bounded(made: timedelta, seen: object) -> timedelta:
    if made < timedelta():
        raise ValueError(f"duration must not be negative: {seen}")
    if made > LONGEST:
        raise ValueError(f"duration out of range: {seen}, at most 100 years")
    return made


def _why_not(text: str) -> str:
    shown = text if len(text) <= 40 else text[:40] + "…"
    if re.fullmatch(r"P(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T.*)?", text, re.ASCII | re.IGNORECASE) and re.search(
        r"[YW]|^P\d+M", text, re.IGNORECASE
    ):
        return f"not a duration: {shown!r}, years, months and weeks have no fixed length: use days (P7D)"
    if text.startswith("-"):
        return f"duration must not be negative: {shown!r}"
    if _SHORT.fullmatch(text):
        return f"not a duration: {shown!r}, expected ISO-8601 such as {_iso_of_short(text)}"
    return f"not a duration: {shown!r}, expected ISO-8601 such as PT30S, PT1H30M or P1D"


def _iso_of_short(text: str) -> str:
    try:
        return format_duration(parse_config_duration(text))
    except ValueError:
        return "PT30S"


def format_duration(value: timedelta) -> str:
    """Java's form: ``PT25H0.5S`` for a day, an hour and half a second (days are written as hours)."""
    microseconds = value // timedelta(microseconds=1)
    if microseconds == 0:
        return "PT0S"
    sign = "-" if microseconds < 0 else ""
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    text = "PT"
    if hours:
        text += f"{sign}{hours}H"
    if minutes:
        text += f"{sign}{minutes}M"
    if seconds or fraction:
        tail = f".{fraction:06d}".rstrip("0") if fraction else ""
        text += f"{sign}{seconds}{tail}S"
    return text


def parse_config_duration(value: object) -> timedelta:
    """A duration of ``lanner.yaml`` or ``namespace.yaml``: ``60s``, ``5m``, ``8h``, ``7d``, ``1y`` or ISO-8601.

    Raises ``ValueError`` with a sentence.
    """
    if isinstance(value, str):
        match = _SHORT.fullmatch(value.strip().lower())
        if match is not None:
            try:
                return _bounded(_UNITS[match[2]] * float(match[1]), value)
            except OverflowError:
                raise ValueError(f"duration out of range: {value}, at most 100 years") from None
        if value[:1] not in ("P", "p"):
            raise ValueError(f"not a duration: {value!r}, expected 60s, 5m, 8h, 7d or ISO-8601 such as PT30S")
    return parse_duration(value)
