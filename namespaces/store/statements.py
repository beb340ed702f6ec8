"""Statements of hot paths: compiled once, and on SQLite run without SQLAlchemy's execution machinery.

SQLAlchemy spends five to ten times as long on a small statement as SQLite does. What is run here is still what
SQLAlchemy wrote, with its column types; on PostgreSQL, where a round trip costs more than either, it runs it too.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase

from namespaces.store.base import Instant, Json, dump_json, to_micros

Convert = Callable[[Any], Any]
_COUNTED = {"preserve_rowcount": True}
"""Of an INSERT SQLAlchemy keeps the number of rows only when told to."""


class Write:
    """An INSERT, UPDATE or DELETE with named parameters; the values of an INSERT are its parameters.

    ``run`` raises what the driver raises on SQLite (``sqlite3.Error``), SQLAlchemy's errors on PostgreSQL.
    """

    def __init__(self, statement: UpdateBase) -> None:
        self._statement = statement
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def run(self, tx: Connection, values: Mapping[str, Any]) -> int:
        """Run once; the number of rows it touched."""
        if tx.dialect.name != "sqlite":
            return tx.execute(self._statement, dict(values), execution_options=_COUNTED).rowcount
        plan = self._plan(tx, values)
        return raw(tx).execute(plan.sql, plan.bind(values)).rowcount

    def run_many(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run for each of the rows, which all have the members of the first."""
        if not rows:
            return
        if tx.dialect.name != "sqlite":
            tx.execute(self._statement, [dict(row) for row in rows])
            return
        plan = self._plan(tx, rows[0])
        if len(rows) == 1:
            raw(tx).execute(plan.sql, plan.bind(rows[0]))
        else:
            raw(tx).executemany(plan.sql, [plan.bind(row) for row in rows])

    def _plan(self, tx: Connection, values: Mapping[str, Any]) -> _Plan:
        names = tuple(values)
        plan = self._plans.get(names)
        if plan is None:
            # A plain INSERT has the columns that its first row has; an UPDATE says itself what it sets.
            keys = list(names) if isinstance(self._statement, sa.Insert) else None
            plan = self._plans[names] = _Plan(self._statement, tx.dialect, keys)
        return plan


class InsertNew:
    """An INSERT that leaves a row which is there already as it is."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._writes: dict[str, Write] = {}

    def run(self, tx: Connection, values: Mapping[str, Any]) -> bool:
        """False when there was such a row."""
        return self._on(tx).run(tx, values) == 1

    def run_many(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        self._on(tx).run_many(tx, rows)

    def _on(self, tx: Connection) -> Write:
        name = tx.dialect.name
        if name not in self._writes:
            self._writes[name] = Write(keeping(name, self._table))
        return self._writes[name]


def keeping(dialect: str, table: Any) -> Any:
    """The statement of ``InsertNew``, for those who want more of it."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgres_insert

        return postgres_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table).on_conflict_do_nothing()


class Query:
    """A SELECT with named parameters; rows have its columns as attributes, decoded by their types.

    Raises like ``Write``. Parameters are single values: no ``IN`` over a list.
    """

    def __init__(self, statement: sa.Select[Any]) -> None:
        self._statement = statement
        self._plan: _Plan | None = None
        names = [str(column.key) for column in statement.selected_columns]
        # The columns are not known before: no class of fields can be written down for them.
        made: Any = namedtuple("Row", names)  # type: ignore[misc]
        self._row: Callable[[Iterable[Any]], Any] = made._make
        self._convert: list[tuple[int, Convert]] = []

    def all(self, connection: Connection, **values: Any) -> list[Any]:
        if connection.dialect.name != "sqlite":
            return list(connection.execute(self._statement, values))
        plan = self._prepared(connection)
        return [self._decoded(row) for row in raw(connection).execute(plan.sql, plan.bind(values))]

    def one_or_none(self, connection: Connection, **values: Any) -> Any:
        """The first row, None without any."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, values).first()
        plan = self._prepared(connection)
        row = raw(connection).execute(plan.sql, plan.bind(values)).fetchone()
        return None if row is None else self._decoded(row)

    def scalar(self, connection: Connection, **values: Any) -> Any:
        """The first column of the first row, None without any."""
        row = self.one_or_none(connection, **values)
        return None if row is None else row[0]

    def _prepared(self, connection: Connection) -> _Plan:
        if self._plan is None:
            found: list[tuple[int, Convert]] = []
            for index, column in enumerate(self._statement.selected_columns):
                process = _result_processor(column.type, connection.dialect)
                if process is not None:
                    found.append((index, process))
            self._convert = found
            self._plan = _Plan(self._statement, connection.dialect, None)
        return self._plan

    def _decoded(self, row: Iterable[Any]) -> Any:
        values = list(row)
        for index, process in self._convert:
            if values[index] is not None:
                values[index] = process(values[index])
        return self._row(values)


class _Plan:
    """The text for one dialect, and in which order and form it takes its parameters."""

    __slots__ = ("_binds", "_fixed", "sql")

    def __init__(self, statement: Any, dialect: Dialect, keys: list[str] | None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        if getattr(compiled, "insert_prefetch", ()) or getattr(compiled, "update_prefetch", ()):
            raise TypeError("columns with defaults made in Python are not supported: give their values")
        self.sql = str(compiled)
        self._binds: list[tuple[str, Convert | None]] = []
        self._fixed: dict[str, Any] = {}
        for name in compiled.positiontup or ():
            bind = compiled.binds[name]
            self._binds.append((name, _bind_processor(bind.type, dialect)))
            if not bind.required:
                self._fixed[name] = bind.effective_value

    def bind(self, values: Mapping[str, Any]) -> list[Any]:
        fixed = self._fixed
        if fixed:
            values = {**fixed, **values}
        return [values[name] if process is None else process(values[name]) for name, process in self._binds]


def _bind_processor(kind: Any, dialect: Dialect) -> Convert | None:
    if isinstance(kind, Json | Instant):
        # These two are most of what there is to convert: without the wrappers around them it takes half the time.
        own = dump_json if isinstance(kind, Json) else to_micros
        return lambda value: None if value is None else own(value)
    processor: Convert | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _result_processor(kind: Any, dialect: Dialect) -> Convert | None:
    if isinstance(kind, Json | Instant):
        own = kind.process_result_value
        return lambda value: own(value, dialect)
    processor: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return processor


def plain(connection: Connection, words: str) -> None:
    """Run a statement without parameters or rows."""
    if connection.dialect.name == "sqlite":
        raw(connection).execute(words)
    else:
        connection.exec_driver_sql(words)


def raw(connection: Connection) -> sqlite3.Connection:
    """SQLite's own connection below a SQLAlchemy one."""
    below = connection.connection.dbapi_connection
    assert isinstance(below, sqlite3.Connection)
    return below


__all__ = ["InsertNew", "Query", "Write", "keeping", "plain", "raw"]
