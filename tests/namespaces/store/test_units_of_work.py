"""Units of work on both databases: durable, alone in their failure, refused in words when there is no commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from namespaces.errors import LannerError, Unavailable
from namespaces.store import db
from namespaces.store.db import Database, PostgresDatabase, SqliteDatabase, create_schema, open_database
from namespaces.store.statements import raw
from namespaces.tables import CounterRow

counter = CounterRow.__table__  # type: ignore[attr-defined]


def put(name: str, value: int = 0) -> db.Work[None]:
    def work(tx: Connection) -> None:
        tx.execute(sa.insert(counter).values(name=name, value=value))

    return work


def add_one(tx: Connection) -> None:
    tx.execute(sa.update(counter).where(counter.c.name == "n").values(value=counter.c.value + 1))


def values(database: Database) -> dict[str, int]:
    return {row.name: row.value for row in database.read(lambda c: c.execute(sa.select(counter)).all())}


@contextmanager
def writer_held(database: Database) -> Iterator[list[threading.Thread]]:
    """Holds up SQLite's writer, so that what is written meanwhile becomes one commit; joins the added threads."""
    begun, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def wait(_tx: Connection) -> None:
        begun.set()
        go_on.wait(10)

    holder = threading.Thread(target=lambda: database.write(wait))
    holder.start()
    begun.wait(10)
    yield threads
    go_on.set()
    for thread in (*threads, holder):
        thread.join(20)


def test_what_was_written_is_there_for_everyone(database: Database, database_url_of: str) -> None:
    database.write(put("a", 1))

    other = open_database(database_url_of)
    try:
        assert values(other) == {"a": 1}
    finally:
        other.close()


def test_a_unit_that_fails_undoes_itself_alone(database: Database) -> None:
    failures: list[BaseException] = []

    def good(name: str) -> None:
        database.write(put(name))

    def bad() -> None:
        def work(tx: Connection) -> None:
            put("bad")(tx)
            raise ValueError("no")

        try:
            database.write(work)
        except ValueError as error:
            failures.append(error)

    with writer_held(database) as threads:
        for work in (lambda: good("before"), bad, lambda: good("after")):
            threads.append(threading.Thread(target=work))
            threads[-1].start()

    assert set(values(database)) == {"before", "after"}
    assert [str(failure) for failure in failures] == ["no"]


def test_a_broken_constraint_reaches_its_caller_only(database: Database) -> None:
    database.write(put("a"))

    with pytest.raises(IntegrityError):
        database.write(put("a"))
    database.write(put("b"))

    assert set(values(database)) == {"a", "b"}


def test_concurrent_writers_lose_nothing(database: Database) -> None:
    database.write(put("n"))

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(database.write, add_one) for _ in range(200)]:
            future.result()

    assert values(database) == {"n": 200}


def test_reading_before_writing_in_one_unit_needs_no_second_try(database: Database) -> None:
    database.write(put("n"))

    def read_then_write(tx: Connection) -> None:
        found = tx.execute(sa.select(counter.c.value).where(counter.c.name == "n").with_for_update()).scalar_one()
        tx.execute(sa.update(counter).where(counter.c.name == "n").values(value=found + 1))

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(database.write, read_then_write) for _ in range(80)]:
            future.result()

    assert values(database) == {"n": 80}


def test_a_read_sees_one_moment(database: Database) -> None:
    database.write(put("n"))

    def look_twice(connection: Connection) -> tuple[int, int]:
        query = sa.select(counter.c.value).where(counter.c.name == "n")
        first = connection.execute(query).scalar_one()
        writer = threading.Thread(target=lambda: database.write(add_one))
        writer.start()
        writer.join(20)
        return first, connection.execute(query).scalar_one()

    assert database.read(look_twice) == (0, 0)
    assert values(database) == {"n": 1}


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises((LannerError, sa.exc.DBAPIError)):
        database.read(put("a"))

    assert values(database) == {}


def test_a_read_that_fails_leaves_its_connection_usable(database: Database) -> None:
    def fail(_connection: Connection) -> None:
        raise ValueError("no")

    for _ in range(200):  # more than the pool has connections
        with pytest.raises(ValueError, match="no"):
            database.read(fail)

    assert values(database) == {}


def test_write_inside_a_unit_is_a_programming_error_not_a_hang(sqlite_database: Database) -> None:
    with pytest.raises(RuntimeError, match="pass the connection on"):
        sqlite_database.write(lambda tx: sqlite_database.write(put("a")))


def test_a_closed_database_says_so(sqlite_database: Database) -> None:
    sqlite_database.close()

    with pytest.raises(Unavailable):
        sqlite_database.write(put("a"))


def test_a_foreign_write_lock_makes_a_write_unavailable_and_not_lost(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 50)
    database = open_database(sqlite_url)
    create_schema(database)
    try:
        with closing(sqlite3.connect(tmp_path / "lanner.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="did not commit") as refused:
                database.write(put("a"))
            assert refused.value.status == 503
            other.execute("ROLLBACK")

        database.write(put("a"))

        assert set(values(database)) == {"a"}
    finally:
        database.close()


def test_waiting_units_share_a_commit(sqlite_database: SqliteDatabase) -> None:
    commits: list[str] = []
    below = raw(sqlite_database._connection)

    with writer_held(sqlite_database) as threads:
        below.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        for number in range(20):
            threads.append(threading.Thread(target=sqlite_database.write, args=(put(str(number)),)))
            threads[-1].start()
    below.set_trace_callback(None)

    assert len(values(sqlite_database)) == 20
    assert len(commits) < 20


def test_a_file_that_vanished_does_not_come_back_empty(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises((Unavailable, sa.exc.OperationalError)):
        open_database(sqlite_url, must_exist=True)

    assert not (tmp_path / "lanner.db").exists()


def test_commits_survive_the_loss_of_power(sqlite_database: SqliteDatabase) -> None:
    below = raw(sqlite_database._connection)

    assert below.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert below.execute("PRAGMA synchronous").fetchone() == (2,)
    assert below.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.postgres
def test_a_cut_connection_is_tried_again(postgres_database: PostgresDatabase) -> None:
    cut = 0

    def work(tx: Connection) -> None:
        nonlocal cut
        put(f"try{cut}")(tx)
        if cut < 2:
            cut += 1
            pid = tx.scalar(sa.text("SELECT pg_backend_pid()"))
            with postgres_database._engine.connect() as other:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            tx.execute(sa.text("SELECT 1"))

    postgres_database.write(work)

    assert set(values(postgres_database)) == {"try2"}


@pytest.mark.postgres
def test_two_that_lock_each_other_both_get_through(postgres_database: PostgresDatabase) -> None:
    postgres_database.write(lambda tx: (put("a")(tx), put("b")(tx)))
    meet = threading.Barrier(2)
    first = {"a": True, "b": True}

    def both(one: str, two: str) -> None:
        def work(tx: Connection) -> None:
            for name in (one, two):
                tx.execute(sa.update(counter).where(counter.c.name == name).values(value=counter.c.value + 1))
                if name == one and first[one]:
                    first[one] = False
                    meet.wait(10)

        postgres_database.write(work)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(both, "a", "b"), pool.submit(both, "b", "a")]:
            future.result()

    assert values(postgres_database) == {"a": 2, "b": 2}


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = open_database("postgresql://nobody@127.0.0.1:1/nothing")
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            database.read(lambda c: c.execute(sa.select(counter)).all())
    finally:
        database.close()
