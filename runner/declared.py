"""Trigger states following their declarations: made for new triggers, moved on for changed ones, dropped for gone ones.

Also the end of the execution that locks a trigger. When triggers fire is the scheduler's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.errors import LannerError
from namespaces.flows.model import Flow, Trigger
from namespaces.revisions import counter_table
from runner import triggerrows
from runner.rows import execution_table
from runner.schedules import TIMED, Mark, Schedules, mark
from runner.tables import IdempotencyRow
from runner.triggerrows import Key, declaration_table, state_table
from runner.triggers import listening, schedule
from runner.triggers.schedule import Eligible, Reason, ScheduleState, Skip
from runner.triggerstarts import FLOW, HTTP

key_table = IdempotencyRow.__table__  # type: ignore[attr-defined]

COUNTER = "scheduler_generation"
"""The generation up to which states follow declarations; kept, so that a start reads only what changed."""
FOLLOWED = (*TIMED, FLOW, HTTP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A declaration newer than the last look, with the state row it has so far."""

    key: Key
    declaration: revisions.Declaration
    row: Any | None

    @property
    def revision(self) -> int:
        return self.declaration.revision


@dataclass(frozen=True, slots=True)
class Changes:
    generation: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """What to write for one declaration: ``state`` for schedules, ``next_at`` for the others."""

    key: Key
    type: str
    mark: Mark
    fresh: bool
    state: ScheduleState | None = None
    next_at: datetime | None = None
    skips: tuple[Skip, ...] = ()
    error: str | None = None


def generation(connection: Connection) -> int:
    return revisions.generation(connection)


def changes(connection: Connection, polled: Iterable[str] = ()) -> Changes:
    """What was declared since the generation that states follow. ``polled`` are the types of plugins."""
    now_at = revisions.generation(connection)
    since = connection.execute(sa.select(counter_table.c.value).where(counter_table.c.name == COUNTER)).scalar() or 0
    found = revisions.declarations(connection, (*FOLLOWED, *polled), since_generation=since)
    made = [
        Change(key=triggerrows.key_of(d), declaration=d, row=triggerrows.read_state(connection, triggerrows.key_of(d)))
        for d in found
    ]
    return Changes(now_at, tuple(made))


def plan(change: Change, flow: Flow | LannerError, schedules: Schedules, now: datetime) -> Follow:
    """What becomes of the state of one declared trigger."""
    declaration, row = change.declaration, change.row
    new = mark(declaration.type, declaration.declared, disabled=declaration.disabled, generation=declaration.generation)
    old = Mark.read(row.declared) if row is not None else None
    # The same content in a new generation was deleted in between: its record went with it.
    again = (
        old is not None
        and old.generation != new.generation
        and (old.content, old.disabled) == (new.content, new.disabled)
    )
    # An upstream may end before the scheduler comes by: what a Flow trigger has seen by then is kept.
    unmarked = old is None and declaration.type in TIMED
    fresh = row is None or unmarked or again or row.type != declaration.type
    base = Follow(key=change.key, type=declaration.type, mark=new, fresh=fresh)
    if isinstance(flow, LannerError):
        return replace(base, error=flow.message)
    trigger = flow.trigger(declaration.trigger_id)
    if trigger is None:
        return replace(base, error=f"revision {declaration.revision} has no trigger '{declaration.trigger_id}'")
    if declaration.type not in TIMED:
        if declaration.disabled:
            return base
        kept = None if fresh or row is None else row.next_at
        try:
            return replace(base, next_at=_looked_at(change, trigger, schedules, kept, now))
        except LannerError as error:
            return replace(base, error=error.message)
    try:
        rules = schedules.rules(flow, trigger)
    except LannerError as error:
        return replace(base, error=error.message)
    if fresh:
        state = schedule.first(rules, now)
        return replace(base, state=replace(state, next_at=None) if declaration.disabled else state)
    assert row is not None
    assert old is not None
    state = triggerrows.schedule_state(row, declared_disabled=declaration.disabled)
    skips: tuple[Skip, ...] = ()
    if old.timing != new.timing:
        outcome = schedule.edited(rules, state, now)
        state = outcome.state
        skips = tuple(d for d in outcome.decisions if isinstance(d, Skip))
    elif old.disabled and not declaration.disabled and not row.disabled:
        state = schedule.enabled(rules, state, now)
    else:
        state = schedule.refreshed(rules, state)
    return replace(base, state=state, skips=skips)


def _looked_at(
    change: Change, trigger: Trigger, schedules: Schedules, kept: datetime | None, now: datetime
) -> datetime | None:
    """When a trigger that is no schedule has to be looked at next: a poll at once, ``onMiss`` when its window ends."""
    if change.declaration.type != FLOW:
        return kept or now
    window = listening.read(*change.key[:2], trigger, schedules.defaults.zone).deadline
    return window.next_end(now) if window is not None else None


def apply(tx: Connection, follows: Sequence[Follow], now: datetime) -> None:
    """Write them; what another process wrote meanwhile for the same generation stays."""
    for follow in follows:
        row = triggerrows.read_state(tx, follow.key, lock=True)
        if row is not None and row.declared == follow.mark.text():
            continue
        values: dict[str, Any] = {"declared": follow.mark.text(), "type": follow.type, "error": follow.error}
        if follow.error is not None:
            values["next_at"] = None
        elif follow.state is not None:
            values |= triggerrows.schedule_values(follow.state)
        else:
            values["next_at"] = follow.next_at
        if follow.fresh and row is not None and not _came_meanwhile(row, follow):
            tx.execute(sa.delete(state_table).where(triggerrows.of(state_table, follow.key)))
        if follow.fresh or row is None:
            triggerrows.ensure_state(tx, follow.key, follow.type, now)
        triggerrows.update_state(tx, follow.key, now, failures=0, **{k: v for k, v in values.items() if k != "type"})
        triggerrows.insert_skips(tx, follow.key, follow.skips, now)


def _came_meanwhile(row: Any, follow: Follow) -> bool:
    """Whether a Flow trigger heard its first upstream since the plan was made, which saw no row."""
    return row.declared == "" and row.type == follow.type and follow.type not in TIMED


def finish(tx: Connection, followed: int) -> None:
    """States follow that generation now; drop those whose trigger is gone."""
    gone = ~sa.exists().where(triggerrows.same_trigger())
    tx.execute(sa.delete(state_table).where(gone))
    done = tx.execute(
        sa.update(counter_table)
        .where(counter_table.c.name == COUNTER)
        .values(value=sa.case((counter_table.c.value < followed, followed), else_=counter_table.c.value))
    )
    if done.rowcount == 0:
        tx.execute(triggerrows.ignoring(tx, counter_table).values(name=COUNTER, value=followed))


def forget(tx: Connection, key: Key) -> None:
    """The trigger is declared no more: its record goes too."""
    exists = tx.execute(sa.select(declaration_table.c.type).where(triggerrows.of(declaration_table, key))).first()
    if exists is None:
        tx.execute(sa.delete(state_table).where(triggerrows.of(state_table, key)))


def forget_keys(tx: Connection, *, until: datetime, limit: int) -> int:
    """Delete up to ``limit`` idempotency keys made before ``until``; returns how many there were."""
    names = ("namespace", "flow_id", "trigger_id", "key")
    columns = [key_table.c[name] for name in names]
    old = tx.execute(
        sa.select(*columns).where(key_table.c.created_at < until).order_by(key_table.c.created_at).limit(limit)
    ).all()
    if old:
        this = sa.and_(*(key_table.c[name] == sa.bindparam(f"k_{name}") for name in names))
        tx.execute(sa.delete(key_table).where(this), [{f"k_{n}": getattr(row, n) for n in names} for row in old])
    return len(old)


def orphans(connection: Connection) -> list[tuple[Key, str]]:
    """Locked triggers whose execution has ended or is gone."""
    query = (
        sa.select(state_table.c.namespace, state_table.c.flow_id, state_table.c.trigger_id, state_table.c.execution_id)
        .select_from(state_table.outerjoin(execution_table, execution_table.c.id == state_table.c.execution_id))
        .where(
            state_table.c.execution_id.is_not(None),
            sa.or_(execution_table.c.id.is_(None), execution_table.c.finished.is_(True)),
        )
    )
    return [(triggerrows.key_of(row), row.execution_id) for row in connection.execute(query)]


def release(tx: Connection, key: Key, execution_id: str, now: datetime) -> bool:
    """Free the trigger if that execution still holds it: what passed meanwhile follows ``recoverMissedSchedules``."""
    row = triggerrows.read_state(tx, key, lock=True)
    if row is None or row.execution_id != execution_id:
        return False
    values: dict[str, Any] = {"execution_id": None}
    if row.type in TIMED:
        state = triggerrows.schedule_state(row)
        recover = state.eligible.recover if state.eligible else None
        eligible = Eligible(since=now, why=Reason.CONCURRENCY, recover=recover)
        values["memory"] = triggerrows.schedule_values(replace(state, eligible=eligible))["memory"]
    triggerrows.update_state(tx, key, now, **values)
    return True


def concerns(connection: Connection, execution_id: str, state: str) -> bool:
    """Whether the end of this execution changes a trigger."""
    found = _trigger_of(connection, execution_id)
    if found is None:
        return False
    key, stop_after, _ = found
    row = triggerrows.read_state(connection, key)
    return (row is not None and row.execution_id == execution_id) or state in stop_after


def execution_ended(tx: Connection, execution_id: str, state: str, *, now: datetime) -> bool:
    """Free the trigger that the execution holds, and obey its trigger's ``stopAfter``. Harmless twice.

    True when a trigger changed: the scheduler should look.
    """
    found = _trigger_of(tx, execution_id)
    if found is None:
        return False
    key, stop_after, type_name = found
    changed = release(tx, key, execution_id, now)
    if state in stop_after:
        triggerrows.ensure_state(tx, key, type_name, now)
        triggerrows.update_state(tx, key, now, disabled=True, next_at=None)
        changed = True
    return changed


def _trigger_of(connection: Connection, execution_id: str) -> tuple[Key, tuple[str, ...], str] | None:
    """The declared trigger that started an execution, with its ``stopAfter`` and type."""
    row = connection.execute(
        sa.select(execution_table.c.namespace, execution_table.c.flow_id, execution_table.c.trigger).where(
            execution_table.c.id == execution_id
        )
    ).one_or_none()
    trigger_id = (row.trigger or {}).get("id") if row is not None else None
    if row is None or not trigger_id:
        return None
    key = (row.namespace, row.flow_id, str(trigger_id))
    written = connection.execute(
        sa.select(declaration_table.c.declared, declaration_table.c.type).where(triggerrows.of(declaration_table, key))
    ).one_or_none()
    if written is None:
        return key, (), ""
    return key, tuple(str(state) for state in (written.declared or {}).get("stopAfter") or ()), written.type
