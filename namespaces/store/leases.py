"""Named leases with fencing: one leader a name, whose token rises with each new holder.

A holder trusts itself only until one margin before the end, counted from *before* the renewal was sent. What a
holder writes under a lease it guards with ``check`` in the same transaction.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import Conflict
from namespaces.store.base import Unreadable
from namespaces.tables import LeaseRow

table = LeaseRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    token: int


@cache
def boot_id() -> str:
    """Names this boot of this host; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot, empty when there is no such process (or no /proc)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def this_process() -> dict[str, str]:
    """What tells this process from any other, also after a reboot or a reused pid."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": boot_id(), "pid": str(pid), "start": process_start(pid)}


def is_dead(process: dict[str, str] | Unreadable | None) -> bool:
    """Whether the process certainly no longer exists: only knowable on the same host."""
    if isinstance(process, Unreadable) or not process or not process.get("start"):
        return False
    if process.get("host") != socket.gethostname():
        return False
    if process.get("boot") != boot_id():
        return True
    return process_start(int(process["pid"])) != process["start"]


def acquire(tx: Connection, name: str, holder: str, *, now: datetime, ttl: timedelta) -> Lease | None:
    """Take a free, ended or orphaned lease, or renew the own one; None while somebody else holds it.

    ``now`` is the database's time (on SQLite the host's, which is the same there).
    """
    mine = sa.select(table).where(table.c.name == name).with_for_update()
    row = tx.execute(mine).one_or_none()
    values = {"holder": holder, "host": this_process(), "until": now + ttl}
    if row is None:
        # Several may find nothing at the same moment: the row is made by one of them, then all queue up for it.
        tx.execute(_insert(tx).values(name=name, token=0, until=now).on_conflict_do_nothing())
        row = tx.execute(mine).one()
    if row.holder == holder and row.until > now:
        tx.execute(sa.update(table).where(table.c.name == name).values(until=now + ttl))
        return Lease(name, holder, row.token)
    if row.holder is not None and row.until > now and not is_dead(row.host):
        return None
    token = row.token + 1
    tx.execute(sa.update(table).where(table.c.name == name).values(token=token, **values))
    return Lease(name, holder, token)


def _insert(tx: Connection) -> Any:
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as on_postgresql

        return on_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as on_sqlite

    return on_sqlite(table)


def check(tx: Connection, lease: Lease) -> None:
    """Raise ``Conflict`` (``lease_lost``) unless the lease is still this one; locks the row until the commit."""
    row = tx.execute(
        sa.select(table.c.holder, table.c.token).where(table.c.name == lease.name).with_for_update()
    ).one_or_none()
    if row is None or row.token != lease.token or row.holder != lease.holder:
        raise Conflict(f"the lease '{lease.name}' went to somebody else", code="lease_lost")


def release(tx: Connection, lease: Lease) -> None:
    """Hand the lease over at once; does nothing when it is no longer ours."""
    tx.execute(
        sa.update(table)
        .where(table.c.name == lease.name, table.c.token == lease.token, table.c.holder == lease.holder)
        .values(holder=None)
    )
