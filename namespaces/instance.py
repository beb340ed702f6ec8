"""Which instance this is: one number per database, so that instances can share a broker without sharing work."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.store.db import Database
from namespaces.tables import CounterRow

counter_table = CounterRow.__table__  # type: ignore[attr-defined]

NAME = "instance"
BITS = 31


def instance_id(database: Database) -> str:
    """Eight hex digits, drawn once and kept in the database."""

    def work(tx: Connection) -> int:
        known = tx.execute(sa.select(counter_table.c.value).where(counter_table.c.name == NAME)).scalar()
        if known is None:
            known = secrets.randbits(BITS)
            tx.execute(sa.insert(counter_table).values(name=NAME, value=known))
        return int(known)

    return f"{database.write(work):08x}"
