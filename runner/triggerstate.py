"""What API, CLI and the Toggle task do with triggers: list them, switch, unlock, restart, forget, run backfills.

Each change is one transaction on the row; what it means for a schedule is decided in ``runner/triggers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.clock import Clock, iso
from namespaces.errors import BadRequest, Conflict, InvalidInput, LannerError, NotFound
from namespaces.flows.model import Flow, Trigger
from namespaces.ids import new_id
from namespaces.registry import Registry
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner import declared, triggerrows
from runner.schedules import TIMED, Schedules, next_dates
from runner.triggerrows import Key, declaration_table, fire_table, state_table
from runner.triggers import schedule
from runner.triggers.schedule import Backfill, Recover, Rules, ScheduleState

TENANT = "main"

FIELDS: Mapping[str, sa.ColumnElement[Any]] = {
    "namespace": declaration_table.c.namespace,
    "flowId": declaration_table.c.flow_id,
    "triggerId": declaration_table.c.trigger_id,
    "type": declaration_table.c.type,
    "nextExecutionDate": state_table.c.next_at,
    "nextEvaluationDate": state_table.c.next_at,
    "lastTriggeredDate": state_table.c.last_at,
    "date": state_table.c.last_at,
}
"""Filter and sort fields of the trigger list, as columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerQuery:
    """``namespace`` means itself and its children. ``where`` holds further conditions over ``FIELDS``."""

    q: str | None = None
    namespace: str | None = None
    flow_id: str | None = None
    disabled: bool | None = None
    locked: bool | None = None
    where: tuple[sa.ColumnElement[bool], ...] = ()


def search(
    connection: Connection, query: TriggerQuery, *, page: int = 1, size: int = 10, sort: Sequence[tuple[str, bool]] = ()
) -> tuple[list[dict[str, Any]], int]:
    """``({abstractTrigger, triggerContext, trigger, state}, total)``; ``sort`` is (field, descending) pairs."""
    wanted = _wanted(query)
    total = connection.execute(sa.select(sa.func.count()).select_from(_joined()).where(*wanted)).scalar_one()
    order = [FIELDS[name].desc() if descending else FIELDS[name].asc() for name, descending in sort]
    order += [declaration_table.c.namespace, declaration_table.c.flow_id, declaration_table.c.trigger_id]
    rows = connection.execute(_select().where(*wanted).order_by(*order).limit(size).offset((page - 1) * size))
    return [_listed(row) for row in rows], int(total)


def keys(connection: Connection, query: TriggerQuery) -> list[Key]:
    """All triggers that match, for the bulk routes."""
    columns = (declaration_table.c.namespace, declaration_table.c.flow_id, declaration_table.c.trigger_id)
    rows = connection.execute(sa.select(*columns).select_from(_joined()).where(*_wanted(query)).order_by(*columns))
    return [(row.namespace, row.flow_id, row.trigger_id) for row in rows]


def of_flow(connection: Connection, namespace: str, flow_id: str, *, q: str | None = None) -> list[dict[str, Any]]:
    """The trigger rows of one flow, by id."""
    query = _select().where(declaration_table.c.namespace == namespace, declaration_table.c.flow_id == flow_id)
    rows = connection.execute(query.order_by(declaration_table.c.trigger_id)).all()
    return [row_json(row) for row in rows if not q or q.lower() in row.trigger_id.lower()]


def one(connection: Connection, key: Key) -> dict[str, Any]:
    """One trigger row. Raises ``NotFound``."""
    row = connection.execute(_select().where(triggerrows.of(declaration_table, key))).one_or_none()
    if row is None:
        raise NotFound(f"trigger '{'.'.join(key)}' does not exist")
    return row_json(row)


def fires(connection: Connection, key: Key, *, limit: int = 100) -> list[dict[str, Any]]:
    """What was decided last for a schedule, newest first: executions and skips with their reasons."""
    rows = connection.execute(
        sa.select(fire_table)
        .where(triggerrows.of(fire_table, key))
        .order_by(fire_table.c.scheduled_for.desc())
        .limit(limit)
    )
    return [
        _present(
            {
                "scheduledFor": iso(row.scheduled_for),
                "decision": row.decision,
                "executionId": row.execution_id,
                "count": row.count,
                "backfill": row.backfill or None,
                "decidedAt": iso(row.decided_at),
            }
        )
        for row in rows
    ]


def row_json(row: Any) -> dict[str, Any]:
    """The trigger row of ``api.md`` 2, with the date names of both generations."""
    values: dict[str, Any] = {
        "tenantId": TENANT,
        "namespace": row.namespace,
        "flowId": row.flow_id,
        "triggerId": row.trigger_id,
        "kind": row.type.rsplit(".", 1)[-1],
        "disabled": bool(row.disabled),
        "locked": row.execution_id is not None,
        "executionId": row.execution_id,
        "stopAfter": (row.written or {}).get("stopAfter") or None,
        "backfill": _backfill_json(row.backfill),
        "error": row.error,
    }
    for names, moment in (
        (("date", "lastTriggeredDate"), row.last_at),
        (("nextExecutionDate", "nextEvaluationDate"), row.next_at),
        (("updatedDate", "updatedAt"), row.updated_at),
        (("evaluatedAt",), row.watermark),
    ):
        for name in names:
            values[name] = iso(moment) if moment is not None else None
    return _present(values)


def _backfill_json(stored: Any) -> dict[str, Any] | None:
    backfill = triggerrows.decode_backfill(stored)
    if backfill is None:
        return None
    return _present(
        {
            "start": iso(backfill.start),
            "end": iso(backfill.end),
            "currentDate": iso(backfill.current or backfill.start),
            "paused": backfill.paused,
            "inputs": dict(backfill.inputs) or None,
            "labels": [{"key": key, "value": value} for key, value in backfill.labels] or None,
            "previousNextExecutionDate": iso(backfill.previous_next) if backfill.previous_next else None,
        }
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(row: Any) -> dict[str, Any]:
    state = row_json(row)
    written = row.written or {}
    return {"abstractTrigger": written, "triggerContext": state, "trigger": written, "state": state}


def _joined() -> sa.Join:
    return sa.join(declaration_table, state_table, triggerrows.same_trigger(), isouter=True)


def _select() -> sa.Select[Any]:
    names = ("execution_id", "backfill", "error", "last_at", "next_at", "updated_at", "watermark", "failures")
    disabled = sa.or_(declaration_table.c.disabled, sa.func.coalesce(state_table.c.disabled, sa.false()))
    return sa.select(
        declaration_table.c.namespace,
        declaration_table.c.flow_id,
        declaration_table.c.trigger_id,
        declaration_table.c.type,
        declaration_table.c.declared.label("written"),
        disabled.label("disabled"),
        *(state_table.c[name] for name in names),
    ).select_from(_joined())


def _wanted(query: TriggerQuery) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = list(query.where)
    namespace = declaration_table.c.namespace
    if query.q:
        wanted.append(
            sa.or_(*(FIELDS[name].icontains(query.q, autoescape=True) for name in ("namespace", "flowId", "triggerId")))
        )
    if query.namespace:
        wanted.append(
            sa.or_(namespace == query.namespace, namespace.startswith(f"{query.namespace}.", autoescape=True))
        )
    if query.flow_id:
        wanted.append(declaration_table.c.flow_id == query.flow_id)
    if query.disabled is not None:
        off = sa.or_(declaration_table.c.disabled, sa.func.coalesce(state_table.c.disabled, sa.false()))
        wanted.append(off if query.disabled else sa.not_(off))
    if query.locked is not None:
        held = state_table.c.execution_id.is_not(None)
        wanted.append(held if query.locked else sa.not_(held))
    return wanted


@dataclass(frozen=True, slots=True)
class _Found:
    declaration: revisions.Declaration
    row: Any
    flow: Flow | LannerError


class TriggerStates:
    """Changes of trigger state on somebody's behalf. All raise ``NotFound`` for a trigger that is not declared."""

    def __init__(
        self, database: Database, registry: Registry, clock: Clock, nudges: Nudges, schedules: Schedules
    ) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._nudges = nudges
        self._schedules = schedules

    def set_disabled(self, key: Key, disabled: bool, *, recover: str | None = None) -> dict[str, Any]:
        """Switch a trigger; enabling a schedule applies ``recover`` (else its own) to the time it was off."""
        wanted = _recover(recover)
        found = self._find(key)
        if found.declaration.type.endswith("RealtimeTrigger"):
            raise InvalidInput("realtime triggers are switched in the flow", hint="set 'disabled' in its source")

        def change(tx: Connection, row: Any, now: datetime) -> dict[str, Any]:  # noqa: ARG001
            if bool(row.disabled) == disabled:
                return {}
            if found.declaration.type not in TIMED:
                return {"disabled": disabled}
            if disabled:
                return {"disabled": True, "next_at": None}
            state = replace(triggerrows.schedule_state(row), disabled=False)
            if not found.declaration.disabled:
                state = schedule.enabled(self._rules(found), state, now, wanted)
            return {"disabled": False, **triggerrows.schedule_values(state)}

        return self._change(key, found, change)

    def unlock(self, key: Key) -> dict[str, Any]:
        """Let go of the execution that holds the trigger. Raises ``Conflict`` when none does."""
        found = self._find(key)

        def change(tx: Connection, row: Any, now: datetime) -> dict[str, Any]:
            if row.execution_id is None:
                raise Conflict("Illegal state: Trigger is not locked", code="not_locked")
            declared.release(tx, key, row.execution_id, now)
            return {}

        return self._change(key, found, change)

    def restart(self, key: Key) -> dict[str, Any]:
        """Free the trigger, forget its errors and look at it again at once."""
        found = self._find(key)

        def change(tx: Connection, row: Any, now: datetime) -> dict[str, Any]:
            if row.execution_id is not None:
                declared.release(tx, key, row.execution_id, now)
            due = row.next_at
            if found.declaration.type in TIMED and not row.disabled and not found.declaration.disabled:
                due = now  # the next pass decides from the watermark, and sets the true date
            return {"failures": 0, "error": None, "next_at": due}

        return self._change(key, found, change)

    def delete(self, key: Key) -> None:
        """Drop the stored state; the trigger starts anew as if it had just been declared."""
        found = self._find(key)

        def work(tx: Connection) -> None:
            tx.execute(sa.delete(state_table).where(triggerrows.of(state_table, key)))

        self._database.write(work)
        self._follow(key, replace(found, row=None))
        self._nudges.send("triggers")

    def create_backfill(
        self,
        key: Key,
        *,
        start: datetime,
        end: datetime | None = None,
        inputs: Mapping[str, Any] | None = None,
        labels: Sequence[tuple[str, str]] = (),
        paused: bool = False,
    ) -> dict[str, Any]:
        """Run every slot of ``start`` … ``end`` (default: now). Raises ``Conflict`` while another backfill runs."""
        found = self._find(key)
        rules = self._rules(found)

        def change(tx: Connection, row: Any, now: datetime) -> dict[str, Any]:  # noqa: ARG001
            backfill = Backfill(
                id=new_id(), start=start, end=end or now, inputs=inputs or {}, labels=tuple(labels), paused=paused
            )
            state = schedule.with_backfill(self._state(found, row), backfill, now)
            if paused:
                state = schedule.pause_backfill(rules, state, paused=True, now=now)
            return triggerrows.schedule_values(state)

        return self._change(key, found, change)

    def pause_backfill(self, key: Key, *, paused: bool = True) -> dict[str, Any]:
        """Pause or go on. Raises ``BadRequest`` without a backfill."""
        return self._reschedule(
            key, lambda rules, state, now: schedule.pause_backfill(rules, state, paused=paused, now=now)
        )

    def delete_backfill(self, key: Key) -> dict[str, Any]:
        """End a backfill; the regular schedule goes on where it stood. Raises ``BadRequest`` without one."""
        return self._reschedule(key, schedule.without_backfill)

    def next_dates(self, key: Key, count: int = 10) -> list[str]:
        """The next slots that satisfy the conditions, in UTC."""
        found = self._find(key)
        return [iso(moment) for moment in next_dates(self._rules(found), self._clock.now(), count)]

    # ------------------------------------------------------------------ inside

    def _reschedule(
        self, key: Key, decide: Callable[[Rules, ScheduleState, datetime], ScheduleState]
    ) -> dict[str, Any]:
        found = self._find(key)
        rules = self._rules(found)

        def change(tx: Connection, row: Any, now: datetime) -> dict[str, Any]:  # noqa: ARG001
            return triggerrows.schedule_values(decide(rules, self._state(found, row), now))

        return self._change(key, found, change)

    @staticmethod
    def _state(found: _Found, row: Any) -> ScheduleState:
        return triggerrows.schedule_state(row, declared_disabled=found.declaration.disabled)

    def _find(self, key: Key) -> _Found:
        def read(connection: Connection) -> _Found:
            declaration = revisions.declaration(connection, *key)
            if declaration is None:
                raise NotFound(f"trigger '{'.'.join(key)}' does not exist")
            flow: Flow | LannerError
            try:
                flow = self._registry.flow(connection, key[0], key[1], declaration.revision)
            except LannerError as error:
                flow = error
            return _Found(declaration, triggerrows.read_state(connection, key), flow)

        found = self._database.read(read)
        if found.row is None:
            self._follow(key, found)
        return found

    def _follow(self, key: Key, found: _Found) -> None:
        """Make the state row now: the scheduler may not have seen the trigger yet."""
        now = self._clock.now()
        change = declared.Change(key=key, declaration=found.declaration, row=found.row)
        plan = declared.plan(change, found.flow, self._schedules, now)
        self._database.write(lambda tx: declared.apply(tx, [plan], now))

    def _rules(self, found: _Found) -> Rules:
        if found.declaration.type not in TIMED:
            raise BadRequest("only schedules have slots, backfills and next dates")
        if isinstance(found.flow, LannerError):
            raise Conflict(f"the flow is broken: {found.flow.message}", code="broken_flow") from found.flow
        return self._schedules.rules(found.flow, self._trigger(found.flow, found.declaration.trigger_id))

    @staticmethod
    def _trigger(flow: Flow, trigger_id: str) -> Trigger:
        trigger = flow.trigger(trigger_id)
        if trigger is None:
            raise NotFound(f"flow '{flow.namespace}.{flow.id}' has no trigger '{trigger_id}'")
        return trigger

    def _change(
        self, key: Key, found: _Found, change: Callable[[Connection, Any, datetime], dict[str, Any]]
    ) -> dict[str, Any]:
        now = self._clock.now()

        def work(tx: Connection) -> dict[str, Any]:
            triggerrows.ensure_state(tx, key, found.declaration.type, now)
            row = triggerrows.read_state(tx, key, lock=True)
            values = change(tx, row, now)
            if values:
                triggerrows.update_state(tx, key, now, **values)
            return one(tx, key)

        answer = self._database.write(work)
        self._nudges.send("triggers")
        return answer


def _recover(value: str | None) -> Recover | None:
    if value is None:
        return None
    try:
        return Recover(value)
    except ValueError:
        raise InvalidInput(f"recoverMissedSchedules '{value}' is not one of ALL, LAST, NONE") from None
