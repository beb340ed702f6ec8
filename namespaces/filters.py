"""Search filters as values, and how each becomes a condition in SQL. Which fields a resource has is the
resource's business; the two notations in which filters arrive over HTTP are read in ``service/api/filters.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from namespaces.errors import BadRequest, InvalidInput


class Op(StrEnum):
    EQUALS = "EQUALS"
    NOT_EQUALS = "NOT_EQUALS"
    IN = "IN"
    NOT_IN = "NOT_IN"
    GREATER_THAN = "GREATER_THAN"
    GREATER_THAN_OR_EQUAL_TO = "GREATER_THAN_OR_EQUAL_TO"
    LESS_THAN = "LESS_THAN"
    LESS_THAN_OR_EQUAL_TO = "LESS_THAN_OR_EQUAL_TO"
    STARTS_WITH = "STARTS_WITH"
    ENDS_WITH = "ENDS_WITH"
    CONTAINS = "CONTAINS"
    NOT_CONTAINS = "NOT_CONTAINS"
    IS_NULL = "IS_NULL"
    IS_NOT_NULL = "IS_NOT_NULL"
    REGEX = "REGEX"
    PREFIX = "PREFIX"


@dataclass(frozen=True, slots=True)
class Filter:
    """``value`` is text, a tuple of texts (IN, NOT_IN) or a tuple of (key, value) pairs (labels)."""

    field: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class Group:
    """Members joined by ``or`` or ``and``."""

    joined_by: str
    members: tuple[Filter | Group, ...]


Filters = Sequence[Filter | Group]


@dataclass(frozen=True, slots=True)
class Page:
    """``number`` counts from 1; ``sort`` holds (field, descending)."""

    number: int = 1
    size: int = 10
    sort: tuple[tuple[str, bool], ...] = ()

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


Condition = ColumnElement[bool]
Field = Callable[[Op, Any], Condition]
COUNTED = 10_000
"""Lists are counted exactly up to here; beyond, a total only says that there is more."""


def where(filters: Filters, fields: Mapping[str, Field]) -> list[Condition]:
    """The conditions of all filters (to be AND-ed). Raises ``BadRequest`` for what the resource does not know."""
    return [_condition(member, fields) for member in filters]


def _condition(member: Filter | Group, fields: Mapping[str, Field]) -> Condition:
    if isinstance(member, Group):
        parts = [_condition(inner, fields) for inner in member.members]
        return sa.or_(*parts) if member.joined_by == "or" else sa.and_(*parts)
    field = fields.get(member.field)
    if field is None:
        raise BadRequest(f"Invalid query filters: field '{member.field}' is not supported here")
    return field(member.op, member.value)


def unsupported(name: str, op: Op) -> BadRequest:
    return BadRequest(f"Invalid query filters: operation {op.value} is not supported for field '{name}'")


def like(text: str, *, before: bool = True, after: bool = True) -> str:
    """A LIKE pattern (escape ``\\``) for text that may hold the wildcard characters itself."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{'%' if before else ''}{escaped}{'%' if after else ''}"


def contains(column: Any, text: str) -> Condition:
    """Case-insensitive: the column holds the text."""
    return sa.func.lower(column).like(like(text.lower()), escape="\\")


def values_of(value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return tuple(part for part in str(value).split(",") if part)


def text_field(name: str, column: Any) -> Field:
    """Every operation on a text column."""

    def condition(op: Op, value: Any) -> Condition:
        match op:
            case Op.EQUALS:
                return sa.and_(column == str(value))
            case Op.NOT_EQUALS:
                return sa.or_(column != str(value), column.is_(None))
            case Op.IN:
                return sa.and_(column.in_(values_of(value)))
            case Op.NOT_IN:
                return sa.or_(column.not_in(values_of(value)), column.is_(None))
            case Op.STARTS_WITH:
                return sa.and_(column.like(like(str(value), before=False), escape="\\"))
            case Op.ENDS_WITH:
                return sa.and_(column.like(like(str(value), after=False), escape="\\"))
            case Op.CONTAINS:
                return contains(column, str(value))
            case Op.NOT_CONTAINS:
                return sa.or_(sa.not_(contains(column, str(value))), column.is_(None))
            case Op.IS_NULL:
                return sa.and_(column.is_(None))
            case Op.IS_NOT_NULL:
                return sa.and_(column.is_not(None))
            case Op.PREFIX:
                return itself_or_child(column, str(value))
            case _:
                raise unsupported(name, op)

    return condition


def itself_or_child(column: Any, namespace: str) -> Condition:
    """The namespace or one below it (``a.b`` matches ``a.b.c``, not ``a.bc``), as a range an index can answer."""
    return sa.or_(column == namespace, _Below(column, f"{namespace}.", f"{namespace}/"))


class _Below(FunctionElement[bool]):
    """(column, "a.", "a/"): the names that begin with ``a.``; ``/`` is the character after ``.``."""

    name = "below"
    type = sa.Boolean()
    inherit_cache = True


@compiles(_Below)
def _range(element: Any, compiler: Any, **kw: Any) -> str:
    column, low, high = (compiler.process(part, **kw) for part in element.clauses)
    return f"({column} >= {low} AND {column} < {high})"


@compiles(_Below, "postgresql")
def _prefix(element: Any, compiler: Any, **kw: Any) -> str:
    # A collation may order punctuation in its own way: ranges of text mean something there only by accident.
    column, low, _ = (compiler.process(part, **kw) for part in element.clauses)
    return f"starts_with({column}, {low})"


def number_field(name: str, column: Any) -> Field:
    def condition(op: Op, value: Any) -> Condition:
        try:
            if op in (Op.IN, Op.NOT_IN):
                wanted = [int(part) for part in values_of(value)]
                return sa.and_(column.in_(wanted)) if op is Op.IN else sa.and_(column.not_in(wanted))
            number = int(value)
        except ValueError as error:
            raise BadRequest(f"Invalid query filters: '{value}' is not a number (field '{name}')") from error
        return _compared(name, column, op, number)

    return condition


def instant_field(name: str, column: Any, read: Callable[[str], datetime]) -> Field:
    """Comparisons of an instant; ``read`` turns the text into an aware datetime."""

    def condition(op: Op, value: Any) -> Condition:
        if op is Op.IS_NULL:
            return sa.and_(column.is_(None))
        if op is Op.IS_NOT_NULL:
            return sa.and_(column.is_not(None))
        return _compared(name, column, op, read(str(value)))

    return condition


def flag_field(name: str, column: Any) -> Field:
    def condition(op: Op, value: Any) -> Condition:
        if op not in (Op.EQUALS, Op.NOT_EQUALS):
            raise unsupported(name, op)
        wanted = str(value).lower() == "true"
        return sa.and_(column.is_(wanted if op is Op.EQUALS else not wanted))

    return condition


def _compared(name: str, column: Any, op: Op, value: Any) -> Condition:
    match op:
        case Op.EQUALS:
            return sa.and_(column == value)
        case Op.NOT_EQUALS:
            return sa.and_(column != value)
        case Op.GREATER_THAN:
            return sa.and_(column > value)
        case Op.GREATER_THAN_OR_EQUAL_TO:
            return sa.and_(column >= value)
        case Op.LESS_THAN:
            return sa.and_(column < value)
        case Op.LESS_THAN_OR_EQUAL_TO:
            return sa.and_(column <= value)
        case _:
            raise unsupported(name, op)


def ordered(query: sa.Select[Any], page: Page, columns: Mapping[str, Any], default: Sequence[Any]) -> sa.Select[Any]:
    """The query sorted and cut to the page. Raises ``InvalidInput`` for a field that cannot be sorted by."""
    order: list[Any] = []
    for field, descending in page.sort:
        column = columns.get(field)
        if column is None:
            raise InvalidInput(f"Illegal argument: cannot sort by '{field}'", hint=f"one of {', '.join(columns)}")
        order.append(column.desc() if descending else column.asc())
    return query.order_by(*order, *default).limit(page.size).offset(page.offset)


def total(connection: sa.Connection, query: sa.Select[Any], page: Page, found: int) -> int:
    """How many rows ``query`` (unpaged, any columns) has: exact up to ``COUNTED``, "at least" beyond.

    A page that is not full tells by itself; only then nothing is counted.
    """
    if 0 < found < page.size or (found == 0 and page.number == 1):
        return page.offset + found
    some = query.with_only_columns(sa.literal(1)).order_by(None).limit(COUNTED + 1).subquery()
    counted = int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())
    if counted <= COUNTED:
        return counted
    return max(counted, page.offset + found + (1 if found == page.size else 0))
