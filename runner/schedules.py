"""From a declared Schedule or ScheduleOnDates to the rules of its decisions, and the names of what was declared.

Keeps rules by revision, because a revision never changes; reads no rows.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from namespaces.durations import parse_duration
from namespaces.errors import InvalidInput
from namespaces.flows.model import Flow, Trigger
from namespaces.flows.reader import scalar_text
from namespaces.store.base import dump_json
from runner.triggers import schedule
from runner.triggers.conditions import Subject, Verdict, cheap, judge, read_moment
from runner.triggers.schedule import Dates, Recover, Rules, Slots
from runner.triggers.windows import zone_of
from runner.triggerstarts import ON_DATES, SCHEDULE, TriggerRendering

KEPT = 20_000
"""Rules kept in memory; a few hundred bytes each."""
TIMED = frozenset({SCHEDULE, ON_DATES})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDefaults:
    """What a trigger that says nothing gets: ``zone`` is ``server.timezone``, ``recover`` the server's policy."""

    zone: tzinfo = UTC
    recover: Recover = Recover.ALL
    cap: int = schedule.CAP


class Schedules:
    """Rules of triggers, made once a revision."""

    def __init__(self, rendering: TriggerRendering, defaults: ScheduleDefaults) -> None:
        self._rendering = rendering
        self.defaults = defaults
        self._known: OrderedDict[tuple[str, str, int, str], Rules] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, namespace: str, flow_id: str, revision: int, trigger_id: str) -> bool:
        with self._lock:
            return (namespace, flow_id, revision, trigger_id) in self._known

    def rules(self, flow: Flow, trigger: Trigger) -> Rules:
        """Raises ``InvalidInput`` for a cron expression, zone, date or duration that cannot be used."""
        key = (flow.namespace, flow.id, flow.revision, trigger.id)
        with self._lock:
            found = self._known.get(key)
        if found is None:
            found = self._make(flow, trigger)
            with self._lock:
                self._known[key] = found
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return found

    def _make(self, flow: Flow, trigger: Trigger) -> Rules:
        properties = trigger.properties
        zone = self.defaults.zone
        if properties.get("timezone") is not None:
            zone = zone_of(scalar_text(properties["timezone"]))
        try:
            slots = self._slots(flow, trigger, zone)
            late = properties.get("lateMaximumDelay")
            late_maximum_delay = parse_duration(late) if late is not None else None
        except ValueError as error:
            raise InvalidInput(f"trigger '{trigger.id}': {error}", code="invalid_schedule") from error
        return Rules(
            slots=slots,
            zone=zone,
            recover=Recover(properties.get("recoverMissedSchedules") or self.defaults.recover),
            late_maximum_delay=late_maximum_delay,
            allow_concurrent=trigger.allow_concurrent,
            cap=self.defaults.cap,
            test=self._test(flow, trigger, slots, zone),
            cheap=cheap(trigger.conditions, trigger.when),
        )

    def _slots(self, flow: Flow, trigger: Trigger, zone: tzinfo) -> Slots:
        if trigger.type == ON_DATES:
            context = self._rendering.context(flow, trigger, {})
            written = self._rendering.value(flow, list(trigger.properties.get("dates") or ()), context)
            return Dates([_moment(scalar_text(item), zone) for item in written])
        from namespaces.cron import Schedule

        text = scalar_text(trigger.properties.get("cron"))
        return Remembered(Schedule(text, zone, with_seconds=trigger.properties.get("withSeconds") is True))

    def _test(self, flow: Flow, trigger: Trigger, slots: Slots, zone: tzinfo) -> Any:
        if not trigger.conditions and trigger.when is None:
            return None
        render = self._rendering.render_of(flow)
        simple = cheap(trigger.conditions, trigger.when)

        def test(slot: datetime) -> Verdict:
            context: Mapping[str, Any] = {}
            if not simple:
                date = schedule.iso(slot, zone)
                variables = {"date": date, "timestamp": date}
                for name, neighbour in (("next", slots.next(slot)), ("previous", slots.previous(slot))):
                    if neighbour is not None:
                        variables[name] = schedule.iso(neighbour, zone)
                context = self._rendering.context(flow, trigger, variables)
            subject = Subject(date=slot.astimezone(zone), variables=context, country=self._rendering.country)
            return judge(trigger.conditions, trigger.when, subject, render)

        return test


class Remembered:
    """Slots that keep their last few answers: one decision asks for the same neighbours again and again."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._next: dict[datetime, datetime | None] = {}

    def next(self, after: datetime) -> datetime | None:
        known = self._next
        if after in known:
            return known[after]
        found = self._slots.next(after)
        if len(known) >= 4:
            known = {}
        # A new dict each time: other threads may be reading the old one.
        self._next = {**known, after: found}
        return found

    def previous(self, before: datetime) -> datetime | None:
        return self._slots.previous(before)


def _moment(text: str, zone: tzinfo) -> datetime:
    moment = read_moment(text)
    has_zone = text.strip()[-1:] in "zZ]" or any(mark in text.strip()[10:] for mark in "+-")
    return moment if has_zone else moment.replace(tzinfo=zone)


@dataclass(frozen=True, slots=True)
class Mark:
    """What a state was computed from: ``timing`` changes with the slots, ``content`` with anything written."""

    timing: str
    content: str
    disabled: bool
    generation: int

    def text(self) -> str:
        return f"{self.timing}.{self.content}.{int(self.disabled)}.{self.generation}"

    @classmethod
    def read(cls, text: str) -> Mark | None:
        parts = text.split(".")
        if len(parts) != 4 or not parts[3].isdigit():
            return None
        return cls(parts[0], parts[1], parts[2] == "1", int(parts[3]))


def mark(type_name: str, declared: Mapping[str, Any], *, disabled: bool, generation: int) -> Mark:
    """The mark of a declaration as written."""
    timing = [type_name, *(declared.get(name) for name in ("cron", "timezone", "withSeconds", "dates", "interval"))]
    return Mark(_short(timing), _short([type_name, dict(declared)]), disabled, generation)


def _short(value: Any) -> str:
    return hashlib.blake2b(dump_json(value).encode(), digest_size=8).hexdigest()


def next_dates(rules: Rules, now: datetime, count: int, *, until: timedelta | None = None) -> list[datetime]:
    """The next slots that satisfy the conditions, ``count`` at most; few tries where conditions need rendering."""
    found: list[datetime] = []
    tries = schedule.CHEAP_TRIES if rules.cheap else schedule.TRIES
    slot = rules.slots.next(now)
    while slot is not None and len(found) < count and tries > 0:
        if until is not None and slot - now > until:
            break
        tries -= 1
        if rules.test is None or rules.test(slot).holds:
            found.append(slot)
        slot = rules.slots.next(slot)
    return found
