"""Triggers as the newest revisions of flows declare them; what they did so far belongs to the runner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.flows.model import Flow
from namespaces.store.base import dump_json
from namespaces.tables import FlowRow, TriggerRow

flow_table = FlowRow.__table__  # type: ignore[attr-defined]
trigger_table = TriggerRow.__table__  # type: ignore[attr-defined]

CHUNK = 400
"""Keys in one IN list: below SQLite's limit of host parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A trigger as the newest revision of its flow declares it."""

    namespace: str
    flow_id: str
    trigger_id: str
    type: str
    revision: int
    disabled: bool
    generation: int
    declared: dict[str, Any] = field(default_factory=dict)


def declarations(connection: Connection, types: Iterable[str] = (), *, since_generation: int = -1) -> list[Declaration]:
    """Trigger declarations of these types (none given: all) that changed after the generation."""
    query = sa.select(trigger_table).where(trigger_table.c.generation > since_generation)
    wanted = list(types)
    if wanted:
        query = query.where(trigger_table.c.type.in_(wanted))
    return [_declaration(row) for row in connection.execute(query)]


def declarations_of(connection: Connection, namespace: str, flow_id: str) -> list[Declaration]:
    """The triggers one flow declares."""
    query = (
        sa.select(trigger_table)
        .where(trigger_table.c.namespace == namespace, trigger_table.c.flow_id == flow_id)
        .order_by(trigger_table.c.trigger_id)
    )
    return [_declaration(row) for row in connection.execute(query)]


def declaration(connection: Connection, namespace: str, flow_id: str, trigger_id: str) -> Declaration | None:
    row = connection.execute(
        sa.select(trigger_table).where(
            trigger_table.c.namespace == namespace,
            trigger_table.c.flow_id == flow_id,
            trigger_table.c.trigger_id == trigger_id,
        )
    ).one_or_none()
    return _declaration(row) if row is not None else None


def forget(tx: Connection, keys: Sequence[tuple[str, str]]) -> None:
    """Remove every declaration of these flows."""
    if keys:
        tx.execute(
            sa.delete(trigger_table).where(
                trigger_table.c.namespace == sa.bindparam("k_ns"), trigger_table.c.flow_id == sa.bindparam("k_id")
            ),
            [{"k_ns": namespace, "k_id": flow_id} for namespace, flow_id in keys],
        )


def declare(tx: Connection, flows: Sequence[tuple[Flow, int]], generation: int) -> None:
    """Replace the declarations of these flows; one that did not change keeps its generation, so schedules keep time."""
    before: dict[tuple[str, str, str], Any] = {}
    ids = [(flow.namespace, flow.id) for flow, _ in flows]
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        rows = tx.execute(
            sa.select(trigger_table).where(
                trigger_table.c.namespace.in_({namespace for namespace, _ in part}),
                trigger_table.c.flow_id.in_({flow_id for _, flow_id in part}),
            )
        )
        before.update({(row.namespace, row.flow_id, row.trigger_id): row for row in rows})
    if before:
        forget(tx, [key for key in ids if any(known[:2] == key for known in before)] if len(ids) < CHUNK else ids)
    rows_to_write: list[dict[str, Any]] = []
    for flow, number in flows:
        for trigger in flow.triggers:
            disabled = trigger.disabled or flow.disabled
            old = before.get((flow.namespace, flow.id, trigger.id))
            same = (
                old is not None
                and old.type == trigger.type
                and bool(old.disabled) == disabled
                and dump_json(old.declared) == dump_json(dict(trigger.written))
            )
            rows_to_write.append(
                {
                    "namespace": flow.namespace,
                    "flow_id": flow.id,
                    "trigger_id": trigger.id,
                    "type": trigger.type,
                    "revision": number,
                    "disabled": disabled,
                    "declared": dict(trigger.written),
                    "generation": old.generation if old is not None and same else generation,
                }
            )
    if rows_to_write:
        tx.execute(sa.insert(trigger_table), rows_to_write)


def pause(tx: Connection, source: str, generation: int) -> None:
    """Switch off every trigger of a source's flows: nobody answers for them any more (``gitops.md`` 2.1)."""
    tx.execute(
        sa.update(trigger_table)
        .where(_flow_of(flow_table.c.source == source), trigger_table.c.disabled.is_(False))
        .values(disabled=True, generation=generation)
    )


def resume(tx: Connection, source: str, next_generation: Callable[[], int]) -> None:
    """Take ``pause`` back for the flows that the source owns now; what a flow itself switches off stays off."""
    paused = [
        row
        for row in tx.execute(
            sa.select(trigger_table).where(
                _flow_of(flow_table.c.source == source, flow_table.c.disabled.is_(False)),
                trigger_table.c.disabled.is_(True),
            )
        )
        if not (row.declared or {}).get("disabled")
    ]
    if paused:
        generation = next_generation()
        tx.execute(
            sa.update(trigger_table)
            .where(
                trigger_table.c.namespace == sa.bindparam("k_ns"),
                trigger_table.c.flow_id == sa.bindparam("k_flow"),
                trigger_table.c.trigger_id == sa.bindparam("k_id"),
            )
            .values(disabled=False, generation=generation),
            [{"k_ns": row.namespace, "k_flow": row.flow_id, "k_id": row.trigger_id} for row in paused],
        )


def _flow_of(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """That the flow of a declaration fulfils these conditions."""
    same = (flow_table.c.namespace == trigger_table.c.namespace, flow_table.c.id == trigger_table.c.flow_id)
    return sa.exists().where(*same, *conditions)


def _declaration(row: Any) -> Declaration:
    return Declaration(
        namespace=row.namespace,
        flow_id=row.flow_id,
        trigger_id=row.trigger_id,
        type=row.type,
        revision=row.revision,
        disabled=bool(row.disabled),
        generation=row.generation,
        declared=row.declared or {},
    )
