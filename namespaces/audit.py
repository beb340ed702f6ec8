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
PURGED = "audit.purge"
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


def purge(tx: Connection, *, before: datetime, now: datetime, limit: int) -> int:
    """Delete the oldest rows up to ``before``, at most ``limit``; how many. The newest row always stays.

    A row tells of it with the hash of the last one that went, so that what is left still verifies as a whole.
    """
    kept_from = sa.select(sa.func.min(table.c.seq)).where(table.c.at >= before).scalar_subquery()
    newest = sa.select(sa.func.max(table.c.seq)).scalar_subquery()
    query = sa.select(table.c.seq, table.c.hash).where(table.c.seq < sa.func.coalesce(kept_from, newest))
    old = tx.execute(query.order_by(table.c.seq).limit(limit)).all()
    if not old:
        return 0
    last = old[-1]
    detail = {"through": last.seq, "hash": last.hash, "rows": len(old)}
    append(tx, Entry(actor="lanner", verb=PURGED, object="audit", detail=detail), now=now)
    tx.execute(sa.delete(table).where(table.c.seq <= last.seq))
    return len(old)


def _beginning(connection: Connection) -> str:
    """What the first row refers to: nothing, or the last row that was purged."""
    newest = sa.select(table.c.detail).where(table.c.verb == PURGED).order_by(table.c.seq.desc()).limit(1)
    detail = connection.execute(newest).scalar()
    return str(detail["hash"]) if detail else GENESIS


def verify(connection: Connection) -> int | None:
    """The number of the first row that does not fit the chain, None when all do."""
    previous = _beginning(connection)
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
