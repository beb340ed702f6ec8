"""Every schedule agrees with a brute-force oracle that walks every minute in UTC and matches local fields."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from namespaces.cron import Cron, Schedule, read_cron

EXPRESSIONS = (
    "* * * * *",
    "*/15 * * * *",
    "*/7 * * * *",
    "30 2 * * *",
    "0 2 * * *",
    "15,45 1-3 * * *",
    "30 * * * *",
    "*/20 2 * * *",
    "0 */2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "0 0 1 * *",
    "30 2 * * 0",
    "30 2 * * 7",
    "0 12 13 * 5",
    "0 0 */2 * 1",
    "5 4 * * sun",
    "0 22 * * 1-5",
    "23 0-20/2 * * *",
    "0 3 30 12 *",
    "45 23 29-31 * *",
    "0/30 1,2,3 * * MON-FRI",
    "59/15 * * * *",
    "1 0 1 jan *",
    "30 0 30 3 *",
    "0 5-7 * * 5-7",
    "@hourly",
    "@weekly",
)

# Zone, first day, days: each holds at least one change of offset.
SPANS = (
    ("Europe/Berlin", datetime(2026, 3, 28, tzinfo=UTC), 3),
    ("Europe/Berlin", datetime(2026, 10, 24, tzinfo=UTC), 3),
    ("America/New_York", datetime(2026, 3, 7, tzinfo=UTC), 3),
    ("America/New_York", datetime(2026, 10, 31, tzinfo=UTC), 3),
    ("Australia/Lord_Howe", datetime(2026, 4, 3, tzinfo=UTC), 3),
    ("Australia/Lord_Howe", datetime(2026, 10, 2, tzinfo=UTC), 3),
    ("Pacific/Apia", datetime(2011, 12, 28, tzinfo=UTC), 6),
    ("Africa/Casablanca", datetime(2026, 2, 13, tzinfo=UTC), 4),
    ("Africa/Casablanca", datetime(2026, 3, 20, tzinfo=UTC), 4),
    ("Africa/Cairo", datetime(2026, 4, 23, tzinfo=UTC), 3),
    ("Africa/Cairo", datetime(2026, 10, 28, tzinfo=UTC), 3),
    ("Asia/Tehran", datetime(2022, 3, 20, tzinfo=UTC), 3),
    ("America/Nuuk", datetime(2024, 3, 29, tzinfo=UTC), 3),
    ("Asia/Kathmandu", datetime(2026, 1, 30, tzinfo=UTC), 3),
    ("UTC", datetime(2028, 2, 27, tzinfo=UTC), 4),
)


@functools.lru_cache(maxsize=4)
def walked(zone: ZoneInfo, start: datetime, days: int) -> list[tuple[datetime, datetime]]:
    """Every minute of some days, in UTC and on the wall clock."""
    minutes = (start + timedelta(minutes=n) for n in range(days * 24 * 60))
    return [(at, at.astimezone(zone).replace(tzinfo=None)) for at in minutes]


def oracle(cron: Cron, zone: ZoneInfo, start: datetime, days: int) -> list[datetime]:
    """The rule of R12, written the slow way: minute by minute, from the definition."""
    minute = timedelta(minutes=1)
    walk = walked(zone, start, days)
    if not cron.fixed:
        return [at for at, wall in walk if cron.matches(wall)]
    found: set[datetime] = set()
    wall, last = walk[0][1], walk[-1][1]
    seen: dict[datetime, datetime] = {}
    for at, local in walk:
        seen.setdefault(local, at)
    while wall <= last:
        if cron.matches(wall):
            if wall in seen:
                found.add(seen[wall])
            else:  # in the gap: the first instant after it
                later = wall
                while later not in seen and later <= last:
                    later += minute
                if later in seen:
                    found.add(seen[later])
        wall += minute
    return sorted(found)


def between(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    for at in schedule.after(start - timedelta(seconds=1)):
        if at >= end:
            return
        yield at


# The first and last day are left out of the comparison: the oracle does not see what lies before and after.
@pytest.mark.parametrize(
    ("name", "start", "days"),
    [
        pytest.param(*span, id=f"{span[0]}-{span[1]:%Y-%m-%d}", marks=[] if span in SPANS[:2] else [pytest.mark.slow])
        for span in SPANS
    ],
)
def test_next_and_previous_agree_with_the_walk_through_every_minute(name: str, start: datetime, days: int) -> None:
    zone = ZoneInfo(name)
    inner, end = start + timedelta(hours=3), start + timedelta(days=days, hours=-3)
    for expression in EXPRESSIONS:
        cron = read_cron(expression)
        schedule = Schedule(cron, zone)
        expected = [at for at in oracle(cron, zone, start, days) if inner <= at < end]

        forward = list(between(schedule, inner, end))
        backward = []
        at = schedule.previous(end)
        while at is not None and at >= inner:
            backward.append(at)
            at = schedule.previous(at)

        assert forward == expected, expression
        assert backward[::-1] == expected, expression


def _random_expression(chance: random.Random) -> str:
    def field(low: int, high: int) -> str:
        form = chance.randrange(6)
        a, b = sorted((chance.randint(low, high), chance.randint(low, high)))
        if form == 0:
            return "*"
        if form == 1:
            return f"*/{chance.randint(1, high)}"
        if form == 2:
            return f"{a}-{b}" if a < b else str(a)
        if form == 3:
            return f"{a}/{chance.randint(1, high)}"
        if form == 4:
            return f"{a}-{b}/{chance.randint(1, high)}" if a < b else str(a)
        return ",".join(str(chance.randint(low, high)) for _ in range(chance.randint(1, 3)))

    day = "*" if chance.random() < 0.6 else field(1, 31)
    weekday = "*" if chance.random() < 0.6 else field(0, 6)
    return " ".join((field(0, 59), field(0, 23), day, "*", weekday))


@pytest.mark.parametrize("seed", range(8))
def test_random_expressions_agree_with_the_walk_through_every_minute(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        name, start, days = chance.choice(SPANS)
        zone, expression = ZoneInfo(name), _random_expression(chance)
        cron = read_cron(expression)
        inner, end = start + timedelta(hours=3), start + timedelta(days=days, hours=-3)
        expected = [at for at in oracle(cron, zone, start, days) if inner <= at < end]

        found = list(between(Schedule(cron, zone), inner, end))

        assert found == expected, (name, expression)


def _some_changes(chance: random.Random, count: int) -> list[tuple[str, datetime]]:
    """Zones with a day on which their offset changes, 2020 to 2035, drawn from all IANA zones."""
    names = sorted(available_timezones())
    found: list[tuple[str, datetime]] = []
    while len(found) < count:
        name, year = chance.choice(names), chance.randint(2020, 2035)
        zone = ZoneInfo(name)
        days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(366)]
        offsets = [day.astimezone(zone).utcoffset() for day in days]
        found += [(name, days[n]) for n in range(365) if offsets[n] != offsets[n + 1]][:1]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_days_of_change_in_any_zone_agree_with_the_walk_through_every_minute(seed: int) -> None:
    chance = random.Random(f"zones {seed}")
    for name, day in _some_changes(chance, 6):
        zone, start, days = ZoneInfo(name), day - timedelta(days=1), 4
        inner, end = start + timedelta(hours=3), start + timedelta(days=days, hours=-3)
        for expression in chance.sample(EXPRESSIONS, 6):
            cron = read_cron(expression)
            expected = [at for at in oracle(cron, zone, start, days) if inner <= at < end]

            assert list(between(Schedule(cron, zone), inner, end)) == expected, (name, day, expression)
