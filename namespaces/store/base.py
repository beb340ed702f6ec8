"""Column types and naming shared by the tables of all rooms. No table lives here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, Connection, Index, Integer, MetaData, Text, event, text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

from namespaces.errors import CorruptRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# Named constraints, so that migrations can address them on both databases.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = SQLModel.metadata


def partial_index(name: str, *columns: str, sqlite: str, postgresql: str, unique: bool = False) -> Index:
    """An index of the rows that fulfil a condition, written for both databases.

    SQLAlchemy imports a whole dialect to check its words, which costs a start on SQLite a tenth of its time: the
    words for PostgreSQL are added by ``complete_indexes`` when tables are made or compared there.
    """
    return Index(name, *columns, unique=unique, sqlite_where=text(sqlite), info={"postgresql_where": postgresql})


def complete_indexes(tables: MetaData) -> None:
    """Give partial indexes their condition for PostgreSQL."""
    for table in tables.tables.values():
        for index in table.indexes:
            if "postgresql_where" in index.info:
                index.kwargs["postgresql_where"] = text(index.info["postgresql_where"])


@event.listens_for(metadata, "before_create")
def _before_create(target: MetaData, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == "postgresql":
        complete_indexes(target)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC; ``moment`` must be aware."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(value: int) -> datetime:
    return _EPOCH + value * _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970: the same order and index on both databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


def dump_json(value: Any) -> str:
    """Compact JSON text; map keys may be any scalar, datetimes become ISO text."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode()


class Unreadable:
    """Stands for a stored text that is no JSON. The rows beside it stay readable; using it raises ``CorruptRow``."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def _refuse(self, *_: Any) -> Any:
        raise CorruptRow(f"a stored value is no JSON: {self.text[:60]!r}", hint="restore this row from a backup")

    __bool__ = __contains__ = __getitem__ = __iter__ = __len__ = _refuse

    def __getattr__(self, name: str) -> Any:
        return self._refuse()

    def __repr__(self) -> str:
        return f"Unreadable({self.text[:60]!r})"


class Json(TypeDecorator[Any]):
    """A JSON value kept as text; None stays NULL, what does not parse becomes ``Unreadable``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return Unreadable(value)


# SQLite numbers rows only in an INTEGER PRIMARY KEY; PostgreSQL wants 64 bits.
RowId = BigInteger().with_variant(Integer(), "sqlite")
