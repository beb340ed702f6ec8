"""What values are: printing, truth, equality and order (expressions.md 2.4, 4.2, 4.4). Pure.

Looking things up in values is in ``access``; this module never raises for a missing key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal

import orjson

from namespaces.expressions.failures import RenderError

_ORJSON = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
_FALSY = frozenset(("false", "0", "-0", ""))


class BigInteger(int):
    """An integer that says it is a java.math.BigInteger (``number('BIGINTEGER')``)."""


def truthy(text: str | None) -> bool:
    """Kestra's truth of a rendered text (flows.md 0): null, ``false``, ``0``, ``-0`` and empty are false."""
    return text is not None and text not in _FALSY


def is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def kind(value: object) -> str:
    """The word for a value's type in messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if is_number(value):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "a map"
    if is_list(value):
        return "a list"
    if isinstance(value, date | time):
        return "a date"
    return f"a {type(value).__name__}"


def shorten(value: object, limit: int = 80) -> str:
    """A value for a message, never longer than ``limit`` characters."""
    text = value if isinstance(value, str) else to_text(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


# -- printing


def to_text(value: object) -> str:
    """The text that ``{{ value }}`` prints."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return java_double(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if -10 < value.adjusted() < 30 else str(value)
    if isinstance(value, datetime):
        return iso_datetime(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return iso_time(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return to_json(value)
    raise RenderError(f"a {type(value).__name__} cannot be printed")


def java_double(value: float) -> str:
    """Java's ``Double.toString``: scientific from 10^7 up and below 10^-3."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    if 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, rest = str(digits[0]), "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{exponent + len(digits) - 1}"


def _fraction(microsecond: int) -> str:
    """Java prints fractions in groups of three digits."""
    if not microsecond:
        return ""
    return f".{microsecond // 1000:03d}" if microsecond % 1000 == 0 else f".{microsecond:06d}"


def offset_text(moment: datetime) -> str:
    offset = moment.utcoffset()
    if not offset:
        return "Z"
    seconds = int(offset.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    text = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


def iso_datetime(moment: datetime) -> str:
    """An instant (``datetime.UTC``) as Java's Instant, every other zone as ZonedDateTime: no trailing zero seconds."""
    base = moment.strftime("%Y-%m-%dT%H:%M") if moment.year >= 1000 else moment.isoformat()[:16]
    if moment.tzinfo is UTC or moment.second or moment.microsecond:
        base += f":{moment.second:02d}{_fraction(moment.microsecond)}"
    return base if moment.tzinfo is None else base + offset_text(moment)


def iso_time(moment: time) -> str:
    base = f"{moment.hour:02d}:{moment.minute:02d}"
    return (
        base + f":{moment.second:02d}{_fraction(moment.microsecond)}" if moment.second or moment.microsecond else base
    )


def _json_default(value: object) -> object:
    if isinstance(value, Mapping):
        return {to_text(k): v for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, datetime | date | time):
        return to_text(value)
    if isinstance(value, BigInteger):
        return int(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def to_json(value: object, *, pretty: bool = False) -> str:
    """Compact JSON (or with two blanks of indentation), dates as ISO text; any mapping is a map."""
    try:
        return orjson.dumps(value, _json_default, _ORJSON | (orjson.OPT_INDENT_2 if pretty else 0)).decode()
    except TypeError as error:
        if "ecursion" in str(error) or "depth" in str(error):
            raise RenderError("the value is too deeply nested for JSON") from error
    try:  # integers above 64 bits and lone surrogates, which orjson refuses
        separators = None if pretty else (",", ":")
        return json.dumps(
            value, default=_json_default, ensure_ascii=False, separators=separators, indent=2 if pretty else None
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise RenderError(f"the value has no JSON form: {error}") from error


# -- truth, equality, order


def truth(value: object, where: str) -> bool:
    """Truth inside expressions (4.4). Raises for null, lists, maps and dates; ``where`` names the operator or tag."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return value != 0
    if isinstance(value, str):
        return value != ""
    raise RenderError(
        f"{kind(value)} is neither true nor false in `{where}`",
        hint="write `x is not empty` or `x is defined`",
    )


def equal(left: object, right: object, charge: Callable[[int], None]) -> bool:
    """Numbers by value, never across types; lists and maps deep; dates as instants.

    ``charge`` is told the size of every list and map compared, and may stop it.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left) and is_number(right):
        return bool(left == right)
    if isinstance(left, str) and isinstance(right, str):
        return str(left) == str(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        charge(len(left) + 1)
        if len(left) != len(right):
            return False
        return all(key in right and equal(value, right[key], charge) for key, value in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        charge(len(left) + 1)
        return len(left) == len(right) and all(equal(a, b, charge) for a, b in zip(left, right, strict=True))
    if isinstance(left, datetime) and isinstance(right, datetime):
        return (left.tzinfo is None) == (right.tzinfo is None) and _instant(left) == _instant(right)
    if left is None or right is None:
        return left is right
    return type(left) is type(right) and left == right


def parse_iso_datetime(text: str, zone: tzinfo) -> datetime | None:
    """An ISO date or date-time as an instant, local ones in ``zone``; None when the text is no such thing."""
    try:
        moment = datetime.fromisoformat(text.strip().split("[", 1)[0])
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _instants(left: object, right: object) -> tuple[datetime, datetime] | None:
    """Two dates, or a date and ISO text, as instants; text without a zone is in the zone of the date."""
    zone = next((v.tzinfo for v in (left, right) if isinstance(v, datetime) and v.tzinfo), UTC)
    found: list[datetime] = []
    for value in (left, right):
        moment: datetime | None = None
        if isinstance(value, datetime):
            moment = value if value.tzinfo else value.replace(tzinfo=zone)
        elif isinstance(value, date):
            moment = datetime.combine(value, time(), zone)
        elif isinstance(value, str):
            moment = parse_iso_datetime(value, zone)
        if moment is None:
            return None
        found.append(_instant(moment))
    return found[0], found[1]


def _instant(moment: datetime) -> datetime:
    """In UTC: Python calls hours that occur twice in a zone unequal to everything in another zone."""
    if moment.tzinfo is None or moment.tzinfo is UTC:
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise RenderError("the date is out of the range of dates") from error


def compare(op: str, left: object, right: object) -> bool:
    """``<`` and its kind: null is false, numbers, texts by code points, dates; anything else raises."""
    if left is None or right is None:
        return False
    pair: tuple[object, object] | None = None
    if (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        pair = (left, right)
    elif isinstance(left, date) or isinstance(right, date):
        pair = _instants(left, right)
    if pair is None:
        raise RenderError(f"{kind(left)} and {kind(right)} cannot be compared with `{op}`")
    a, b = pair
    if op == "<":
        return bool(a < b)  # type: ignore[operator]
    if op == ">":
        return bool(a > b)  # type: ignore[operator]
    if op == "<=":
        return bool(a <= b)  # type: ignore[operator]
    return bool(a >= b)  # type: ignore[operator]
