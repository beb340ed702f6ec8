"""Time zones as stretches of constant offset, which ``zoneinfo`` knows but does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_STEP = timedelta(hours=12)
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Segment:
    """``start`` (included) to ``end`` (excluded), in UTC, with the offset there and the one just before."""

    start: datetime
    end: datetime
    offset: timedelta
    offset_before: timedelta


@lru_cache(maxsize=4_096)
def _changes(zone: ZoneInfo, year: int) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """The changes of offset in a year (UTC): instant, offset before, offset from then on.

    Found by looking twice a day and halving: no zone has changed back within twelve hours.
    """
    found = []
    moment = datetime(year, 1, 1, tzinfo=UTC)
    last = datetime(year + 1, 1, 1, tzinfo=UTC)
    offset = _offset(zone, moment - timedelta(seconds=1))
    previous = moment - timedelta(seconds=1)
    while previous < last - timedelta(seconds=1):
        here = _offset(zone, moment)
        if here != offset:
            low, high = previous, moment
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                if _offset(zone, middle) == offset:
                    low = middle
                else:
                    high = middle
            found.append((high, offset, here))
            offset = here
        previous, moment = moment, min(moment + _STEP, last - timedelta(seconds=1))
    return tuple(found)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _whole(zone: tzinfo) -> Segment:
    offset = _offset(zone, datetime(2000, 1, 1, tzinfo=UTC))
    return Segment(_FIRST, _LAST, offset, offset)


def _segment_at(zone: ZoneInfo, moment: datetime) -> Segment:
    """The stretch that holds ``moment``; cut at two years before and after when nothing changes."""
    start, end = None, None
    before = offset = _offset(zone, moment)
    for year in (moment.year, moment.year - 1, moment.year - 2):
        earlier = [c for c in _changes(zone, year) if c[0] <= moment]
        if earlier:
            start, before, offset = earlier[-1]
            break
    for year in (moment.year, moment.year + 1, moment.year + 2):
        later = [c for c in _changes(zone, year) if c[0] > moment]
        if later:
            end = later[0][0]
            break
    return Segment(
        start or datetime(moment.year - 2, 1, 1, tzinfo=UTC),
        end or datetime(moment.year + 3, 1, 1, tzinfo=UTC),
        offset,
        before,
    )


def segments_after(zone: tzinfo, moment: datetime, limit: datetime) -> Iterator[Segment]:
    """The stretch that holds ``moment``, then the following ones, until ``limit``."""
    if isinstance(zone, timezone) or not isinstance(zone, ZoneInfo):
        yield _whole(zone)
        return
    at = moment
    while at <= limit and at < _LAST - timedelta(days=1_200):
        segment = _segment_at(zone, at)
        yield segment
        at = segment.end


def segments_before(zone: tzinfo, moment: datetime, limit: datetime) -> Iterator[Segment]:
    """The stretch that ends in or holds the time just before ``moment``, then the earlier ones, until ``limit``."""
    if isinstance(zone, timezone) or not isinstance(zone, ZoneInfo):
        yield _whole(zone)
        return
    at = moment - timedelta(microseconds=1)
    while at >= limit and at > _FIRST + timedelta(days=1_200):
        segment = _segment_at(zone, at)
        yield segment
        at = segment.start - timedelta(microseconds=1)
