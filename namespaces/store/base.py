"""Column types and naming shared by the tables of all rooms. No table lives here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, Integer, Text
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
