"""Cron: what Kestra accepts, checked here before croniter sees it, and the next and previous times.

The only module that uses croniter: it steps through wall-clock times; which instants those are is decided here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from namespaces.zones import Segment, segments_after, segments_before

MAX_LENGTH = 200
SEARCH = timedelta(days=366 * 50)
"""How far the next or previous time is looked for; 29 February with a weekday needs at most 40 years."""

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: n
    for n, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
_WEEKDAYS = {name: n for n, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class CronFault(ValueError):
    """Why an expression is refused; the text names field and range."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: dict[str, int]


_SECOND = _Field("second", 0, 59, {})
_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)
_ALLOWED = re.compile(r"[0-9A-Za-z*,/ \t-]", re.ASCII)
_UNSUPPORTED = frozenset("LW#?HR")
_ITEM = re.compile(
    r"(?P<first>\*|[0-9]{1,2}|[A-Za-z]{3})(?:-(?P<last>[0-9]{1,2}|[A-Za-z]{3}))?(?:/(?P<step>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class Cron:
    """One accepted expression. ``fields`` are the values of minute, hour, day, month, weekday (0 is Sunday)."""

    text: str
    with_seconds: bool
    written: tuple[str, ...]
    """Five or six fields as written, nicknames replaced."""
    seconds: frozenset[int]
    fields: tuple[frozenset[int], ...]

    @property
    def fixed(self) -> bool:
        """Neither minute nor hour begins with ``*``: the schedule keeps its local times over a DST change."""
        minute, hour = self.written[-5], self.written[-4]
        return not minute.startswith("*") and not hour.startswith("*")

    @property
    def either_day(self) -> bool:
        """Day of month and day of week are both given: one of them is enough."""
        return self.written[-3] != "*" and self.written[-1] != "*"

    @property
    def never(self) -> bool:
        """No date matches, such as 31 February."""
        if self.written[-1] != "*":
            return False
        _, _, days, months, _ = self.fields
        return all(min(days) > _LONGEST_MONTH[month - 1] for month in months)

    def matches(self, local: datetime) -> bool:
        """Whether a wall-clock time matches: the definition that the search has to agree with."""
        minutes, hours, days, months, weekdays = self.fields
        if (
            local.second not in self.seconds
            or local.minute not in minutes
            or local.hour not in hours
            or local.month not in months
        ):
            return False
        day, weekday = local.day in days, (local.weekday() + 1) % 7 in weekdays
        return (day or weekday) if self.either_day else (day and weekday)

    def notes(self) -> list[tuple[str, str]]:
        """Finding code and sentence of what an author should know: ``F1`` is a warning, ``F2`` an information."""
        found: list[tuple[str, str]] = []
        if self.never:
            found.append(("F104", f"cron expression '{self.text}' never fires: no such date exists"))
        if self.either_day:
            days, weekdays = self.written[-3], self.written[-1]
            found.append(
                ("F205", f"fires when day of month ({days}) OR day of week ({weekdays}) matches; some crons mean AND")
            )
        if len(self.seconds) == 60:
            found.append(("F116", "fires every second: executions that take longer pile up or are waited for"))
        return found

    def for_croniter(self) -> str:
        """The same times as plain lists, seconds last: steps and names mean other things in each croniter release."""
        minutes, hours, days, months, weekdays = self.fields
        texts = [
            _listed(minutes, 60),
            _listed(hours, 24),
            _listed(days, 31) if self.written[-3] != "*" else "*",
            _listed(months, 12),
            _listed(weekdays, 7) if self.written[-1] != "*" else "*",
        ]
        if self.either_day and "*" in (texts[2], texts[4]):
            texts[2] = texts[4] = "*"  # one of the two covers every day, and one is enough
        if self.with_seconds:
            texts.append(_listed(self.seconds, 60))
        return " ".join(texts)


def _listed(values: frozenset[int], whole: int) -> str:
    return "*" if len(values) == whole else ",".join(map(str, sorted(values)))


@lru_cache(maxsize=4_096)
def read_cron(text: str, *, with_seconds: bool = False) -> Cron:
    """Check and read an expression: 5 fields, 6 (seconds first) with ``with_seconds``, or a nickname.

    Raises ``CronFault``.
    """
    if len(text) > MAX_LENGTH:
        raise CronFault(f"longer than {MAX_LENGTH} characters")
    stripped = text.strip(" ")
    if stripped.startswith("@"):
        if stripped not in NICKNAMES:
            raise CronFault(f"unknown nickname {stripped[:20]}, known are {', '.join(NICKNAMES)}")
        written = NICKNAMES[stripped].split()
        if with_seconds:
            written = ["0", *written]
    else:
        _check_characters(text)
        written = stripped.split()
    wanted = 6 if with_seconds else 5
    if len(written) != wanted:
        raise CronFault(_wrong_count(len(written), with_seconds))
    seconds = _values(written[0], _SECOND) if with_seconds else frozenset({0})
    fields = [_values(item, spec) for item, spec in zip(written[-5:], _FIELDS, strict=True)]
    fields[4] = frozenset(day % 7 for day in fields[4])
    return Cron(stripped, with_seconds, tuple(written), seconds, tuple(fields))


def _check_characters(text: str) -> None:
    for position, character in enumerate(text, start=1):
        if _ALLOWED.match(character):
            continue
        if character in _UNSUPPORTED:
            raise CronFault(f"'{character}' is not supported")
        shown = character if character.isprintable() and character.isascii() else f"U+{ord(character):04X}"
        raise CronFault(f"unexpected character {shown} at {position}")


def _wrong_count(count: int, with_seconds: bool) -> str:
    if count == 6 and not with_seconds:
        return "6 fields need withSeconds: true (seconds first)"
    if count == 7:
        return "7 fields are not supported: there is no field for years"
    wanted = "6 fields with withSeconds: true (seconds first)" if with_seconds else "5 fields"
    return f"expected {wanted}, but found {count}"


def _values(written: str, spec: _Field) -> frozenset[int]:
    found: set[int] = set()
    for item in written.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise CronFault(_why_not(item, spec))
        first, last, step = match["first"], match["last"], match["step"]
        if first == "*":
            if last is not None:
                raise CronFault(f"{spec.name}: '{item}' is not a range")
            low, high = spec.low, spec.high
        else:
            low = _number(first, spec)
            high = _number(last, spec, as_end=True) if last is not None else low
            backwards = high < low or (high == low and last is not None and not last.isdigit())
            if backwards:
                raise CronFault(f"{spec.name}: range goes backwards: {item}")
            if step is not None and last is None:
                high = spec.high
        by = 1
        if step is not None:
            by = int(step)
            if not 1 <= by <= spec.high:
                raise CronFault(f"{spec.name}: step {by} is not between 1 and {spec.high}")
        found.update(range(low, high + 1, by))
    return frozenset(found)


def _number(text: str, spec: _Field, *, as_end: bool = False) -> int:
    if text.isdigit():
        number = int(text)
        if not spec.low <= number <= spec.high:
            raise CronFault(f"{spec.name}: {number} is not between {spec.low} and {spec.high}")
        return number
    number = spec.names.get(text.upper(), -1)
    if number < 0:
        raise CronFault(_why_not(text, spec))
    return 7 if as_end and number == 0 and spec.names is _WEEKDAYS else number


def _why_not(item: str, spec: _Field) -> str:
    for character in item:
        if character.upper() in _UNSUPPORTED and item.upper() not in spec.names:
            return f"'{character.upper()}' is not supported ({spec.name}: {item[:20]})"
    return f"{spec.name}: '{item[:20]}' is not a value between {spec.low} and {spec.high}"


@dataclass(slots=True)
class Schedule:
    """The instants of an expression in a time zone. Thread-safe.

    ``cron`` is text or a ``Cron``; ``timezone`` a ``tzinfo`` or a name that ``read_zone`` takes. Raises
    ``CronFault`` and ``ValueError``. DST (``reliability.md`` R12): a *fixed* schedule runs times that do not exist
    at the first instant after the gap, once, and times that happen twice the first time only; any other runs at
    every real instant that matches.
    """

    cron: Cron | str
    timezone: tzinfo | str = UTC
    with_seconds: bool = False
    _zone: tzinfo = field(init=False, repr=False)
    _cron: Cron = field(init=False, repr=False)
    _steps: Any = field(init=False, repr=False, default=None)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        from namespaces.flows.moments import read_zone

        self._cron = read_cron(self.cron, with_seconds=self.with_seconds) if isinstance(self.cron, str) else self.cron
        self._zone = read_zone(self.timezone) if isinstance(self.timezone, str) else self.timezone

    @property
    def zone(self) -> tzinfo:
        """The zone in which the expression is read."""
        return self._zone

    def next(self, after: datetime) -> datetime | None:
        """The first instant later than ``after`` (aware), in UTC; None when it never fires again."""
        if self._cron.never:
            return None
        begin = after.astimezone(UTC)
        limit = begin + SEARCH
        for segment in segments_after(self._zone, begin, limit):
            wall = _ceil(self._wall_start(segment)) - timedelta(seconds=1)
            if begin >= segment.start:
                wall = max(wall, _floor(begin + segment.offset))  # strictly later than `after`
            found = self._step(wall, forward=True)
            if found is None:
                return None
            instant = max(segment.start, found - segment.offset)
            if instant < segment.end and instant > begin:
                return instant if instant <= limit else None
        return None

    def previous(self, before: datetime) -> datetime | None:
        """The last instant earlier than ``before`` (aware), in UTC; None when there is none in 50 years."""
        if self._cron.never:
            return None
        end = before.astimezone(UTC)
        limit = end - SEARCH
        for segment in segments_before(self._zone, end, limit):
            upper = min(end, segment.end) + segment.offset
            found = self._step(_ceil(upper), forward=False)
            if found is None:
                return None
            if found >= self._wall_start(segment):
                return max(segment.start, found - segment.offset)
        return None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """All instants later than ``moment``, in order."""
        found = self.next(moment)
        while found is not None:
            yield found
            found = self.next(found)

    def _wall_start(self, segment: Segment) -> datetime:
        # A fixed schedule takes over the skipped hour (its times collapse to the segment's start) and leaves out
        # the repeated one; both is said by beginning at the wall clock of the segment before.
        offset = segment.offset_before if self._cron.fixed else segment.offset
        return segment.start + offset

    def _step(self, wall: datetime, *, forward: bool) -> datetime | None:
        """The next or previous matching wall-clock time, strictly; UTC stands for "no zone" here."""
        import croniter as library

        with self._lock:
            if self._steps is None:
                self._steps = library.croniter(self._cron.for_croniter(), 0.0, max_years_between_matches=60)
            self._steps.set_current(wall.timestamp(), force=True)
            try:
                found = self._steps.get_next(float) if forward else self._steps.get_prev(float)
            except library.CroniterBadDateError:
                return None
        try:
            return datetime.fromtimestamp(found, UTC)
        except (OverflowError, ValueError):
            return None


def _floor(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _ceil(moment: datetime) -> datetime:
    return moment if not moment.microsecond else moment.replace(microsecond=0) + timedelta(seconds=1)
