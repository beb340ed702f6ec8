"""Compiled statements: the same rows on both databases as through SQLAlchemy itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from namespaces.store.db import Database
from namespaces.store.statements import Query, Write
from namespaces.tables import FlowRow

table = FlowRow.__table__  # type: ignore[attr-defined]
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def flow(name: str) -> dict[str, object]:
    return {
        "namespace": "a",
        "id": name,
        "revision": 1,
        "disabled": False,
        "deleted": name == "gone",
        "labels": {"k": [name]},
        "updated_at": WHEN,
    }


def test_what_is_written_is_read_with_its_types(database: Database) -> None:
    insert = Write(sa.insert(table))
    query = Query(sa.select(table).where(table.c.id == sa.bindparam("k_id")))

    database.write(lambda tx: insert.run_many(tx, [flow("one"), flow("gone")]))
    row = database.read(lambda c: query.one_or_none(c, k_id="gone"))
    plain = database.read(lambda c: c.execute(sa.select(table).where(table.c.id == "gone")).one())

    assert tuple(row) == tuple(plain)
    assert (row.labels, row.updated_at, bool(row.deleted), row.source) == ({"k": ["gone"]}, WHEN, True, None)


def test_a_write_tells_how_many_rows_it_touched(database: Database) -> None:
    update = Write(
        sa.update(table).where(table.c.id == sa.bindparam("k_id"), table.c.namespace == "a").values(
            revision=sa.bindparam("revision")
        )
    )  # fmt: skip
    database.write(lambda tx: Write(sa.insert(table)).run(tx, flow("one")))

    assert database.write(lambda tx: update.run(tx, {"k_id": "one", "revision": 2})) == 1
    assert database.write(lambda tx: update.run(tx, {"k_id": "two", "revision": 2})) == 0
    assert database.read(lambda c: Query(sa.select(table.c.revision)).scalar(c)) == 2


def test_queries_have_nothing_many_or_the_first(database: Database) -> None:
    query = Query(sa.select(table.c.id).where(table.c.namespace == sa.bindparam("k_ns")).order_by(table.c.id))
    database.write(lambda tx: Write(sa.insert(table)).run_many(tx, [flow("one"), flow("two")]))

    assert [row.id for row in database.read(lambda c: query.all(c, k_ns="a"))] == ["one", "two"]
    assert database.read(lambda c: query.scalar(c, k_ns="a")) == "one"
    assert database.read(lambda c: query.one_or_none(c, k_ns="b")) is None


def test_inserts_with_other_columns_are_other_statements(database: Database) -> None:
    insert = Write(sa.insert(table))

    database.write(lambda tx: insert.run(tx, flow("one")))
    database.write(lambda tx: insert.run(tx, {**flow("two"), "source": "git"}))

    found = database.read(lambda c: Query(sa.select(table.c.source).order_by(table.c.id)).all(c))
    assert [row.source for row in found] == [None, "git"]


def test_a_missing_parameter_is_named(database: Database) -> None:
    query = Query(sa.select(table.c.id).where(table.c.namespace == sa.bindparam("k_ns")))

    with pytest.raises((KeyError, sa.exc.StatementError), match="k_ns"):
        database.read(lambda c: query.all(c))
