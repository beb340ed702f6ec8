"""Which schema a database has, and making it the right one at start-up. Alembic is imported for upgrades only.

A new database is created whole and marked with the newest version; an old one is upgraded step by step under a lock;
one made by a newer Lanner is refused (reliability R19, R23).
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from namespaces.errors import StartRefused
from namespaces.store.db import Database
from service.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

# Every version in order, with the release that brought it; the last one is what this code works with.
VERSIONS: tuple[tuple[str, str], ...] = (("0001", "0.1.0"),)
HEAD = VERSIONS[-1][0]
TABLE = "alembic_version"
LOCK = 4_862_011
"""Advisory lock of PostgreSQL under which schemas are made and changed."""


class State(StrEnum):
    EMPTY = "empty"
    CURRENT = "current"
    OLD = "old"
    NEWER = "newer"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Schema:
    """``version`` is the database's own word, empty when it has none."""

    state: State
    version: str


def inspect(connection: Connection) -> Schema:
    """What schema the connection's database has."""
    names = set(sa.inspect(connection).get_table_names())
    if TABLE not in names:
        ours = {"flow_revision", "execution"} & names
        return Schema(State.FOREIGN if ours or names else State.EMPTY, "")
    version = str(connection.scalar(sa.text(f"SELECT version_num FROM {TABLE}")) or "")  # noqa: S608
    known = [word for word, _ in VERSIONS]
    if version == HEAD:
        return Schema(State.CURRENT, version)
    return Schema(State.OLD if version in known else State.NEWER, version)


def ensure(database: Database, *, may_upgrade: bool = True) -> State:
    """Make the database usable by this code; returns the state it was found in.

    Raises ``StartRefused`` for a schema of a newer Lanner, for a database of something else, and for an old schema
    with ``may_upgrade`` off.
    """
    found = database.read(inspect)
    if found.state is State.CURRENT:
        return found.state
    _refuse(found, database, may_upgrade=may_upgrade)
    if found.state is State.EMPTY:
        with _alone(database):
            # Another process may have made it while this one waited for the lock.
            found = database.read(inspect)
            if found.state is State.EMPTY:
                database.write(create)
        return State.EMPTY
    from service.migrations import upgrade

    with _alone(database):
        if database.read(inspect).state is State.OLD:
            upgrade.upgrade(database)
    return State.OLD


def create(connection: Connection) -> None:
    """Make all tables in an empty database and mark it with the newest version."""
    from service.migrations.models import whole_metadata

    whole_metadata().create_all(connection)
    connection.execute(
        sa.text(f"CREATE TABLE {TABLE} (version_num VARCHAR(32) NOT NULL CONSTRAINT {TABLE}_pkc PRIMARY KEY)")
    )
    connection.execute(sa.text(f"INSERT INTO {TABLE} VALUES (:version)"), {"version": HEAD})  # noqa: S608


def _refuse(found: Schema, database: Database, *, may_upgrade: bool) -> None:
    shown = database.url.render_as_string(hide_password=True)
    if found.state is State.NEWER:
        raise StartRefused(
            f"the database {shown} has schema '{found.version}', made by a newer Lanner than {VERSION}",
            hint=f"use that release, or restore the backup made before it; this one works with schema '{HEAD}'",
            code="schema_newer",
        )
    if found.state is State.FOREIGN:
        raise StartRefused(
            f"the database {shown} holds tables that are not Lanner's",
            hint="give Lanner an empty database of its own",
            code="schema_foreign",
        )
    if found.state is State.OLD and not may_upgrade:
        raise StartRefused(
            f"the database {shown} has schema '{found.version}', this release needs '{HEAD}'",
            hint="run lanner db upgrade",
            code="schema_old",
        )


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Hold the lock of schema changes; SQLite is held by one server anyway (its lock file)."""
    if database.url.get_backend_name() != "postgresql":
        yield
        return
    engine: Any = sa.create_engine(database.url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
    with closing(engine.connect()) as connection:
        # The lock belongs to the session: it also ends with a killed process.
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
