"""Rows of trigger state to values and back, and the few statements that scheduler, webhooks and API share.

What a state means and how it changes is decided in ``runner/triggers``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.store.base import from_micros, to_micros
from namespaces.store.statements import InsertNew, Query, Write, keeping, plain
from namespaces.tables import TriggerRow
from runner.logs import LogLine
from runner.tables import FireRow, TriggerStateRow
from runner.triggers.schedule import Backfill, Eligible, Hole, Reason, Recover, ScheduleState, Skip
from runner.writing import write_logs

state_table = TriggerStateRow.__table__  # type: ignore[attr-defined]
fire_table = FireRow.__table__  # type: ignore[attr-defined]
declaration_table = TriggerRow.__table__  # type: ignore[attr-defined]

Key: TypeAlias = tuple[str, str, str]
"""Namespace, flow id, trigger id."""
STARTED = "started"


def of(table: sa.Table, key: Key) -> sa.ColumnElement[bool]:
    """The condition that picks the row of one trigger."""
    return sa.and_(table.c.namespace == key[0], table.c.flow_id == key[1], table.c.trigger_id == key[2])


def same_trigger() -> sa.ColumnElement[bool]:
    """Joins states with declarations."""
    return sa.and_(
        declaration_table.c.namespace == state_table.c.namespace,
        declaration_table.c.flow_id == state_table.c.flow_id,
        declaration_table.c.trigger_id == state_table.c.trigger_id,
    )


def key_of(row: Any) -> Key:
    return row.namespace, row.flow_id, row.trigger_id


def _text(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else from_micros(value)


def encode_backfill(backfill: Backfill | None) -> dict[str, Any] | None:
    if backfill is None:
        return None
    return {
        "id": backfill.id,
        "start": to_micros(backfill.start),
        "end": to_micros(backfill.end),
        "current": _text(backfill.current),
        "paused": backfill.paused,
        "inputs": dict(backfill.inputs),
        "labels": [list(pair) for pair in backfill.labels],
        "previous_next": _text(backfill.previous_next),
    }


def decode_backfill(value: Mapping[str, Any] | None) -> Backfill | None:
    if value is None:
        return None
    return Backfill(
        id=value["id"],
        start=from_micros(value["start"]),
        end=from_micros(value["end"]),
        current=_moment(value.get("current")),
        paused=bool(value.get("paused")),
        inputs=value.get("inputs") or {},
        labels=tuple((key, text) for key, text in value.get("labels") or ()),
        previous_next=_moment(value.get("previous_next")),
    )


def schedule_state(row: Any, *, declared_disabled: bool = False) -> ScheduleState:
    """The state of a schedule as its row holds it; the declaration may switch it off too."""
    memory = row.memory or {}
    eligible, hole = memory.get("eligible"), memory.get("hole")
    return ScheduleState(
        watermark=row.watermark or row.updated_at,
        next_at=row.next_at,
        last_at=row.last_at,
        locked=row.execution_id is not None,
        disabled=bool(row.disabled) or declared_disabled,
        backfill=decode_backfill(row.backfill),
        eligible=Eligible(
            since=from_micros(eligible["since"]),
            why=Reason(eligible["why"]),
            recover=Recover(eligible["recover"]) if eligible.get("recover") else None,
        )
        if eligible
        else None,
        hole=Hole(from_micros(hole[0]), from_micros(hole[1])) if hole else None,
    )


def schedule_values(state: ScheduleState) -> dict[str, Any]:
    """The columns that a schedule's state decides; not ``disabled`` and the lock, which have other writers too."""
    memory: dict[str, Any] = {}
    if state.eligible is not None:
        memory["eligible"] = {
            "since": to_micros(state.eligible.since),
            "why": state.eligible.why.value,
            "recover": state.eligible.recover.value if state.eligible.recover else None,
        }
    if state.hole is not None:
        memory["hole"] = [to_micros(state.hole.after), to_micros(state.hole.to)]
    return {
        "watermark": state.watermark,
        "next_at": state.next_at,
        "last_at": state.last_at,
        "backfill": encode_backfill(state.backfill),
        "memory": memory or None,
    }


def _by_key(table: sa.Table) -> sa.ColumnElement[bool]:
    """As ``of``, for statements that are built once: building one costs more than running it."""
    return sa.and_(
        table.c.namespace == sa.bindparam("k_ns"),
        table.c.flow_id == sa.bindparam("k_flow"),
        table.c.trigger_id == sa.bindparam("k_id"),
    )


def _named(key: Key) -> dict[str, str]:
    return {"k_ns": key[0], "k_flow": key[1], "k_id": key[2]}


_state = sa.select(state_table).where(_by_key(state_table))
_STATE = Query(_state)
_STATE_LOCKED = Query(_state.with_for_update())
_DECLARED = Query(
    sa.select(declaration_table.c.revision, declaration_table.c.disabled).where(_by_key(declaration_table))
)
_DECIDED_COLUMNS = (
    "watermark", "next_at", "last_at", "backfill", "memory", "execution_id", "failures", "error", "updated_at",
)  # fmt: skip
_DECIDED = Write(
    sa.update(state_table)
    .where(_by_key(state_table))
    .values({name: sa.bindparam(f"v_{name}") for name in _DECIDED_COLUMNS})
)


def read_state(connection: Connection, key: Key, *, lock: bool = False) -> Any | None:
    return (_STATE_LOCKED if lock else _STATE).one_or_none(connection, **_named(key))


def declared_now(connection: Connection, key: Key) -> Any | None:
    """Revision of the declaration, and whether it is disabled; None when there is none."""
    return _DECLARED.one_or_none(connection, **_named(key))


def update_decided(tx: Connection, key: Key, state: ScheduleState, now: datetime, *, execution_id: str | None) -> None:
    """Write what a schedule decided; its errors are forgotten."""
    values = {**schedule_values(state), "execution_id": execution_id, "failures": 0, "error": None, "updated_at": now}
    _DECIDED.run(tx, {**_named(key), **{f"v_{name}": values[name] for name in _DECIDED_COLUMNS}})


def update_state(tx: Connection, key: Key, now: datetime, **values: Any) -> None:
    tx.execute(sa.update(state_table).where(of(state_table, key)).values(updated_at=now, **values))


def ensure_state(tx: Connection, key: Key, type_name: str, now: datetime, **values: Any) -> None:
    """Make the row when there is none; harmless when two do it at once."""
    tx.execute(
        ignoring(tx, state_table).values(
            namespace=key[0], flow_id=key[1], trigger_id=key[2], type=type_name, updated_at=now,
            **{"disabled": False, "declared": "", "failures": 0, **values},
        )
    )  # fmt: skip


def ignoring(tx: Connection, table: sa.Table) -> Any:
    """An insert that leaves an existing row as it is; ``returning`` tells whether there was none."""
    return keeping(tx.dialect.name, table)


def insert_skips(tx: Connection, key: Key, skips: Iterable[Skip], now: datetime) -> None:
    """A visible row for each skipped slot (or run of slots)."""
    rows = [
        {
            "namespace": key[0],
            "flow_id": key[1],
            "trigger_id": key[2],
            "scheduled_for": skip.slot,
            "backfill": skip.backfill.id if skip.backfill else "",
            "decision": skip.reason.value,
            "count": skip.count,
            "decided_at": now,
        }
        for skip in skips
    ]
    _INSERT_FIRE.run_many(tx, rows)


_INSERT_FIRE = InsertNew(fire_table)


def insert_fire(tx: Connection, key: Key, slot: datetime, backfill: str, execution_id: str, now: datetime) -> bool:
    """The unique row of a fire; False when this slot was decided before."""
    values = {
        "namespace": key[0],
        "flow_id": key[1],
        "trigger_id": key[2],
        "scheduled_for": slot,
        "backfill": backfill,
        "decision": STARTED,
        "execution_id": execution_id,
        "count": 1,
        "decided_at": now,
    }
    return _INSERT_FIRE.run(tx, values)


def record_error(
    tx: Connection, key: Key, type_name: str, message: str, now: datetime, *, level: int = 40, **values: Any
) -> None:
    """Count a failure of a trigger and say it: on its row and as a line of its log (40 WARN, 50 ERROR)."""
    ensure_state(tx, key, type_name, now)
    update_state(tx, key, now, error=message[:2_000], failures=state_table.c.failures + 1, **values)
    line = LogLine(
        at=now, level=level, message=message[:10_000], namespace=key[0], flow_id=key[1], trigger_id=key[2]
    )  # fmt: skip
    write_logs(tx, [line])


class Savepoint(AbstractContextManager[None]):
    """Undoes one part of a unit of work alone; by hand, for the SQLite writer drives its transaction itself."""

    def __init__(self, tx: Connection, name: str = "part") -> None:
        self._tx = tx
        self._name = name

    def __enter__(self) -> None:
        plain(self._tx, f"SAVEPOINT {self._name}")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            plain(self._tx, f"ROLLBACK TO SAVEPOINT {self._name}")
        plain(self._tx, f"RELEASE SAVEPOINT {self._name}")
