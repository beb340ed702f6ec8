"""The audit log: append-only rows, each hashed together with the one before. Appending is part of the caller's
transaction; who may read it is decided by the faces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.clock import iso
from namespaces.store.base import dump_json
from namespaces.tables import AuditRow

table = AuditRow.__table__  # type: ignore[attr-defined]

GENESIS = "0" * 64
_LOCK = 0x4C414E4E
"""Key of the PostgreSQL advisory lock that lets one writer at a time extend the chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who did what to what. ``detail`` never holds a secret's value."""

    actor: str
    verb: str
    object: str
    result: str = "ok"
    address: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def append(tx: Connection, entry: Entry, *, now: datetime) -> None:
    """Add one row to the end of the chain."""
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    previous = tx.execute(sa.select(table.c.hash).order_by(table.c.seq.desc()).limit(1)).scalar() or GENESIS
    values: dict[str, Any] = {
        "at": now,
        "actor": entry.actor,
        "address": entry.address,
        "verb": entry.verb,
        "object": entry.object,
        "result": entry.result,
        "detail": dict(entry.detail),
    }
    tx.execute(sa.insert(table).values(**values, previous_hash=previous, hash=_hash(previous, values)))


def verify(connection: Connection) -> int | None:
    """The number of the first row that does not fit the chain, None when all do."""
    previous = GENESIS
    for row in connection.execute(sa.select(table).order_by(table.c.seq)):
        values = {name: getattr(row, name) for name in ("at", "actor", "address", "verb", "object", "result", "detail")}
        if row.previous_hash != previous or row.hash != _hash(previous, values):
            return int(row.seq)
        previous = row.hash
    return None


def _hash(previous: str, values: Mapping[str, Any]) -> str:
    fields = {**values, "at": iso(values["at"])}
    canonical = dump_json({name: fields[name] for name in sorted(fields)})
    return hashlib.sha256(f"{previous}{canonical}".encode()).hexdigest()
