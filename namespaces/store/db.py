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
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from namespaces.clock import Clock
from namespaces.errors import LannerError, Unavailable
from namespaces.store.base import metadata

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
                raw = sqlite3.connect(
                    f"file:{path}?mode={mode if writer else 'rw'}",
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                )
                raw.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
                raw.execute("PRAGMA foreign_keys=ON")
                raw.execute("PRAGMA synchronous=FULL")
                raw.execute("PRAGMA temp_store=MEMORY")
                if writer:
                    raw.execute("PRAGMA journal_mode=WAL")
                    raw.execute("PRAGMA wal_autocheckpoint=2000")
                else:
                    # Below SQLite 3.51.3 a checkpoint beside the writer can corrupt: only the writer checkpoints.
                    raw.execute("PRAGMA wal_autocheckpoint=0")
                    raw.execute("PRAGMA query_only=ON")
                return raw

            return opened

        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
        self._writer_engine = sa.create_engine(
            "sqlite://", creator=connect(True), poolclass=sa.pool.StaticPool, **options
        )
        self._reader_engine = sa.create_engine(
            "sqlite://", creator=connect(False), pool_size=8, max_overflow=120, poolclass=sa.pool.QueuePool, **options
        )
        self._connection = self._writer_engine.connect()
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lanner-writer", daemon=True)
        self._thread.start()
        self._closed = False

    def read(self, work: Work[T]) -> T:
        with self._reader_engine.connect() as connection:
            raw = _raw(connection)
            raw.execute("BEGIN")
            try:
                return work(connection)
            except OperationalError as error:
                raise Unavailable("the database cannot be read now", hint="try again") from error
            finally:
                # SQLAlchemy rolls back by itself on some errors: a COMMIT then would hide what went wrong.
                if raw.in_transaction:
                    raw.execute("COMMIT")

    def write(self, work: Work[T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed")
        if threading.current_thread() is self._thread:
            raise RuntimeError("write() inside a unit of work: pass the connection on instead")
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future.result()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._connection.close()
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

    def _commit(self, batch: list[tuple[Work[Any], Future[Any]]]) -> None:
        """One transaction for the whole batch, a savepoint for each unit, so that one failure undoes itself alone.

        Transactions are driven on the raw connection: these five words a unit are most of what a small write costs.
        """
        raw = _raw(self._connection)
        results: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            raw.execute("BEGIN IMMEDIATE")
            for work, future in batch:
                raw.execute("SAVEPOINT unit")
                try:
                    value = work(self._connection)
                except Exception as error:  # noqa: BLE001 - whatever the unit raises goes to its caller
                    raw.execute("ROLLBACK TO unit")
                    results.append((future, None, error))
                else:
                    results.append((future, value, None))
                raw.execute("RELEASE unit")
            raw.execute("COMMIT")
        except Exception as error:
            log.exception("commit of %d units of work failed", len(batch), extra={"action": "commit_failed"})
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            failure = Unavailable("the database did not commit", hint="try again with the same key")
            failure.__cause__ = error
            results = [(future, None, failure) for _, future in batch]
        for future, value, problem in results:
            if problem is None:
                future.set_result(value)
            else:
                future.set_exception(problem)


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


class PostgresDatabase:
    """Pooled connections, one transaction a unit of work, bounded retries."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._engine: Engine = sa.create_engine(
            url, pool_size=10, max_overflow=40, pool_pre_ping=True, isolation_level="READ COMMITTED"
        )
        self._closed = False
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


def _worth_another_try(error: DBAPIError) -> bool:
    """Serialization failure, deadlock, lock or connection trouble: what passes by itself."""
    if error.connection_invalidated or isinstance(error, sa.exc.InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    return state in {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"} or (
        isinstance(error, OperationalError) and (state is None or state.startswith("08"))
    )
