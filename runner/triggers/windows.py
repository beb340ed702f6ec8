"""Time windows of Flow triggers (``flows.md`` 7.7): which window holds a moment, and when it ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Any

from namespaces.durations import parse_duration
from runner.triggers.conditions import ConditionError

MONDAY = datetime(1970, 1, 5)  # noqa: DTZ001 - local time, the zone is added where it is used
"""Windows longer than a day are counted from here, so that a week begins on Monday."""
DAY = timedelta(days=1)


class WindowType(StrEnum):
    DURATION = "DURATION_WINDOW"
    SLIDING = "SLIDING_WINDOW"
    DEADLINE = "DAILY_TIME_DEADLINE"
    DAILY = "DAILY_TIME_WINDOW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """``length`` and ``advance`` belong to DURATION and SLIDING; ``begin``, ``end`` to the daily ones."""

    type: WindowType = WindowType.DURATION
    length: timedelta = DAY
    advance: timedelta = timedelta()
    begin: time = time()
    end: time = time()
    zone: tzinfo = UTC

    @property
    def has_deadline(self) -> bool:
        return self.type is not WindowType.SLIDING

    def bounds(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The window that holds ``moment`` as [start, end) in UTC; None when none does, or for SLIDING.

        The end of a daily window itself still belongs to it.
        """
        local = moment.astimezone(self.zone)
        if self.type is WindowType.SLIDING:
            return None
        if self.type is WindowType.DURATION:
            return self._fixed(local)
        for day in (local.date() - DAY, local.date()):
            start, stop = self._of_day(datetime.combine(day, time()))
            if start <= moment <= stop:
                return start, stop + timedelta(microseconds=1)
        return None

    def next_end(self, moment: datetime) -> datetime:
        """End of the first window that ends after ``moment``; for windows with a deadline only."""
        held = self.bounds(moment)
        if held is not None:
            return held[1]
        day = moment.astimezone(self.zone).date()
        for ahead in range(-1, 3):
            _, stop = self._of_day(datetime.combine(day + ahead * DAY, time()))
            if stop + timedelta(microseconds=1) > moment:
                return stop + timedelta(microseconds=1)
        raise AssertionError("a daily window ends every day")

    def _of_day(self, midnight: datetime) -> tuple[datetime, datetime]:
        start = _at(midnight, self.begin, self.zone)
        stop = _at(midnight, self.end, self.zone)
        if self.end <= self.begin and self.type is WindowType.DAILY:
            stop = _at(midnight + DAY, self.end, self.zone)
        return start, stop

    def _fixed(self, local: datetime) -> tuple[datetime, datetime]:
        wall = local.replace(tzinfo=None)
        length = self.length if self.length > timedelta() else DAY
        if length >= DAY:
            anchor = MONDAY + self.advance
            start = anchor + (wall - anchor) // length * length
            stop = start + length
        else:
            # Counted anew each day: of a length that does not divide the day the last window is shorter.
            anchor = wall.replace(hour=0, minute=0, second=0, microsecond=0) + self.advance % DAY
            if wall < anchor:
                anchor -= DAY
            start = anchor + (wall - anchor) // length * length
            stop = min(start + length, anchor + DAY)
        return start.replace(tzinfo=self.zone).astimezone(UTC), stop.replace(tzinfo=self.zone).astimezone(UTC)


def _at(midnight: datetime, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(midnight.date(), clock).replace(tzinfo=zone).astimezone(UTC)


def of_preconditions(written: Mapping[str, Any] | None, zone: tzinfo) -> Window:
    """``timeWindow`` of ``preconditions``, or a MultipleCondition's own ``window`` and ``windowAdvance``."""
    value = written or {}
    kind = WindowType(value.get("type") or WindowType.DURATION)
    if kind is WindowType.DEADLINE:
        return _daily(kind, time(), _time(value.get("deadline")), zone)
    if kind is WindowType.DAILY:
        return _daily(kind, _time(value.get("startTime")), _time(value.get("endTime")), zone)
    return Window(
        type=kind,
        length=_duration(value.get("window"), DAY),
        advance=_duration(value.get("windowAdvance"), timedelta()),
        zone=zone,
    )


def of_depends_on(written: Mapping[str, Any], zone: tzinfo) -> Window:
    """``window`` of a 2.x Flow trigger: ``deadline``, ``from``/``to``, ``lookback``, else ``every``/``offset``."""
    if written.get("timezone"):
        zone = zone_of(str(written["timezone"]))
    if written.get("deadline") is not None:
        return _daily(WindowType.DEADLINE, time(), _time(written["deadline"]), zone)
    if written.get("from") is not None or written.get("to") is not None:
        begin, end = _time(written.get("from") or "00:00"), _time(written.get("to") or "23:59:59.999999")
        return _daily(WindowType.DAILY, begin, end, zone)
    if written.get("lookback") is not None:
        return Window(type=WindowType.SLIDING, length=_duration(written["lookback"], DAY), zone=zone)
    return Window(
        length=_duration(written.get("every"), DAY), advance=_duration(written.get("offset"), timedelta()), zone=zone
    )


def _daily(kind: WindowType, begin: time, end: time, zone: tzinfo) -> Window:
    """Times with an offset are read in that offset, whatever the window's zone."""
    zone = end.tzinfo or begin.tzinfo or zone
    return Window(type=kind, begin=begin.replace(tzinfo=None), end=end.replace(tzinfo=None), zone=zone)


def zone_of(text: str) -> tzinfo:
    """An IANA zone or a fixed offset (``+02:00``, ``Z``). Raises ``ConditionError``."""
    if text in ("Z", "UTC", "GMT"):
        return UTC
    if text[:1] in "+-":
        try:
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{text}").utcoffset()
        except ValueError:
            offset = None
        if offset is None:
            raise ConditionError(f"'{text}' is not a time zone offset")
        return timezone(offset)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ConditionError(f"unknown time zone '{text}'") from None


def _time(value: Any) -> time:
    """A local time, or one with an offset (documentation writes both)."""
    try:
        return time.fromisoformat(str(value))
    except ValueError:
        raise ConditionError(f"'{value}' is not a time, expected such as 09:00:00") from None


def _duration(value: Any, default: timedelta) -> timedelta:
    if value is None:
        return default
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConditionError(str(error)) from None
