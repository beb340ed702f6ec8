"""Units of work. ``write`` is the only way to change a row; ``read`` sees one consistent snapshot.

SQLite: all writes of the process pass one thread that joins what waits into one durable commit (`docs/adr/0005`).
PostgreSQL: each write is a transaction of its own, tried again when the database says so.
"""

from __future__ import annotations

import logging
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from namespaces.clock import Clock
from namespaces.errors import LannerError, Unavailable
from namespaces.store.base import metadata
from namespaces.store.statements import raw

T = TypeVar("T")
Work = Callable[[Connection], T]
log = logging.getLogger("lanner.store")

BUSY_TIMEOUT_MS = 10_000
BATCH = 200
"""Units of work in one commit at most: bounds how long the first one waits."""
RETRIES = 5


class Database(Protocol):
    """Both databases behind one face."""

    url: URL

    def read(self, work: Work[T]) -> T:
        """Run ``work`` on a snapshot. Raises ``Unavailable`` when the database cannot be reached."""
        ...

    def write(self, work: Work[T]) -> T:
        """Run ``work`` in one durable transaction and return after its commit.

        ``work`` may run more than once, must be short, and does nothing but talk to the connection. Whatever it
        raises undoes its changes alone. Raises ``Unavailable`` when no commit was possible.
        """
        ...

    def close(self) -> None: ...


def open_database(url: str | URL, *, must_exist: bool = False) -> Database:
    """The database behind ``url`` (``sqlite:////path/lanner.db`` or ``postgresql+psycopg://…``)."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteDatabase(parsed, must_exist=must_exist)
    if parsed.get_backend_name() == "postgresql":
        return PostgresDatabase(parsed.set(drivername="postgresql+psycopg"))
    raise LannerError(
        f"database '{parsed.get_backend_name()}' is not supported",
        hint="use sqlite:////path/to/lanner.db or postgresql://user@host/name",
        code="configuration",
    )


def database_now(tx: Connection, clock: Clock) -> datetime:
    """The database's time, by which leases and heartbeats are judged; on SQLite the host's, which is the same there."""
    if tx.dialect.name == "postgresql":
        moment: datetime = tx.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return moment
    return clock.now()


def create_schema(database: Database) -> None:
    """Make every table that is missing; for new databases and tests (upgrades are migrations)."""
    database.write(lambda tx: metadata.create_all(tx))


class SqliteDatabase:
    """One file, one writer thread, many readers."""

    def __init__(self, url: URL, *, must_exist: bool = False) -> None:
        self.url = url
        path = url.database or ":memory:"
        mode = "rw" if must_exist else "rwc"

        def connect(writer: bool) -> Callable[[], sqlite3.Connection]:
            def opened() -> sqlite3.Connection:
                # mode=rw: a file that was removed at run time must not come back empty and silent.
                made = sqlite3.connect(
                    f"file:{path}?mode={mode if writer else 'rw'}",
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                )
                made.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
                made.execute("PRAGMA foreign_keys=ON")
                made.execute("PRAGMA synchronous=FULL")
                made.execute("PRAGMA temp_store=MEMORY")
                if writer:
                    made.execute("PRAGMA journal_mode=WAL")
                    made.execute("PRAGMA wal_autocheckpoint=2000")
                else:
                    # Below SQLite 3.51.3 a checkpoint beside the writer can corrupt: only the writer checkpoints.
                    made.execute("PRAGMA wal_autocheckpoint=0")
                    made.execute("PRAGMA query_only=ON")
                return made

            return opened

        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
        self._writer_engine = sa.create_engine(
            "sqlite://", creator=connect(True), poolclass=sa.pool.StaticPool, **options
        )
        self._reader_engine = sa.create_engine(
            "sqlite://", creator=connect(False), pool_size=8, max_overflow=120, poolclass=sa.pool.QueuePool, **options
        )
        self._connection = self._writer_engine.connect()
        self._readers: list[Connection] = []
        self._queue: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lanner-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def read(self, work: Work[T]) -> T:
        # Connections are kept here: taking one from SQLAlchemy's pool costs more than most of the queries.
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._reader_engine.connect()
        below = raw(connection)
        below.execute("BEGIN")
        try:
            return work(connection)
        except (OperationalError, sqlite3.OperationalError) as error:
            raise Unavailable("the database cannot be read now", hint="try again") from error
        finally:
            # SQLAlchemy rolls back by itself on some errors: a COMMIT then would hide what went wrong.
            if below.in_transaction:
                below.execute("COMMIT")
            if self._closed:
                connection.close()
            else:
                self._readers.append(connection)

    def write(self, work: Work[T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed")
        if threading.current_thread() is self._thread:
            raise RuntimeError("write() inside a unit of work: pass the connection on instead")
        unit = _Unit(work)
        self._queue.put(unit)
        unit.done.acquire()
        if unit.error is not None:
            raise unit.error
        result: T = unit.value
        return result

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._connection.close()
            while self._readers:
                self._readers.pop().close()
            self._writer_engine.dispose()
            self._reader_engine.dispose()

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            batch = [item]
            stop = False
            while len(batch) < BATCH:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    stop = True
                    break
                batch.append(more)
            self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[_Unit]) -> None:
        """One transaction for the whole batch, a savepoint for each unit, so that one failure undoes itself alone.

        Transactions are driven on the raw connection: these five words a unit are most of what a small write costs.
        """
        below = raw(self._connection)
        try:
            below.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                self._alone(below, batch[0])
            else:
                self._together(below, batch)
        except Exception as error:
            log.exception("commit of %d units of work failed", len(batch), extra={"action": "commit_failed"})
            if below.in_transaction:
                below.execute("ROLLBACK")
            for unit in batch:
                unit.error = Unavailable("the database did not commit", hint="try again with the same key")
                unit.error.__cause__ = error
        for unit in batch:
            unit.done.release()

    def _alone(self, below: sqlite3.Connection, unit: _Unit) -> None:
        """Nothing else is in the transaction: its failure may undo all of it."""
        try:
            unit.value = unit.work(self._connection)
        except Exception as error:  # noqa: BLE001 - whatever the unit raises goes to its caller
            below.execute("ROLLBACK")
            unit.error = error
        else:
            below.execute("COMMIT")

    def _together(self, below: sqlite3.Connection, batch: list[_Unit]) -> None:
        for unit in batch:
            below.execute("SAVEPOINT unit")
            try:
                unit.value = unit.work(self._connection)
            except Exception as error:  # noqa: BLE001 - whatever the unit raises goes to its caller
                below.execute("ROLLBACK TO unit")
                unit.error = error
            below.execute("RELEASE unit")
        below.execute("COMMIT")


class _Unit:
    """A unit of work on its way through the writer thread. A lock is the lightest thing to wait for."""

    __slots__ = ("done", "error", "value", "work")

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class PostgresDatabase:
    """Pooled connections, one transaction a unit of work, bounded retries."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._engine: Engine = sa.create_engine(
            url, pool_size=10, max_overflow=40, pool_pre_ping=True, isolation_level="READ COMMITTED"
        )
        self._closed = False
        sa.event.listen(self._engine, "connect", _take_any_text)
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def read(self, work: Work[T]) -> T:
        return self._try(self._snapshots, work)

    def write(self, work: Work[T]) -> T:
        return self._try(self._engine, work)

    def close(self) -> None:
        self._closed = True
        self._engine.dispose()

    def _try(self, engine: Engine, work: Work[T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed")
        for attempt in range(RETRIES):
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                met = getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION
                if not met and not _worth_another_try(error):
                    raise
                if attempt == RETRIES - 1:
                    if met:
                        raise
                    raise Unavailable("the database cannot be reached now", hint="try again") from error
                # Jitter, so that those who met once do not meet again; never on SQLite, which has one writer.
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311
        raise AssertionError("unreachable")


_UNIQUE_VIOLATION = "23505"
"""Two looked, both found nothing, both inserted: at the next try the second one sees the first one's row."""


def _take_any_text(connection: Any, _record: object) -> None:
    """PostgreSQL has no NUL in texts and UTF-8 no lone surrogates, but scripts print them and callers send them.

    They are stored as the signs ␀ and ?: a log line must not be lost, nor a search fail, for a character.
    """
    from psycopg.types.string import StrDumperUnknown

    class AnyText(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            if "\0" in obj:
                obj = obj.replace("\0", "\u2400")
            try:
                return super().dump(obj)
            except UnicodeEncodeError:
                return obj.encode(self._encoding, "replace")

    connection.adapters.register_dumper(str, AnyText)


def _worth_another_try(error: DBAPIError) -> bool:
    """Serialization failure, deadlock, lock or connection trouble: what passes by itself."""
    if error.connection_invalidated or isinstance(error, sa.exc.InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state in {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"} or (
        isinstance(error, OperationalError) and (state is None or state.startswith("08"))
    )
