"""Amazon Ion text in (by the library ``amazon.ion``) and out (one line, as Kestra prints it)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

from namespaces.expressions.failures import DEFAULT_LIMITS, LimitReached, RenderError
from namespaces.expressions.values import BigInteger, is_list, iso_datetime, kind, shorten, to_text

_MAX_DEPTH = 64
_SYMBOL = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_RESERVED = frozenset(("null", "true", "false", "nan"))


def parsed(document: str, *, everything: bool) -> list[object]:
    """The Ion values of a text, only the first unless ``everything``. Raises for bad, long or deep text."""
    from amazon.ion import simpleion  # type: ignore[import-untyped]
    from amazon.ion.exceptions import IonException  # type: ignore[import-untyped]

    from namespaces.expressions.conversion import nesting

    if len(document) > DEFAULT_LIMITS.output:
        raise LimitReached(f"Ion too large: {len(document)} characters, the limit is {DEFAULT_LIMITS.output}")
    if nesting(document) > _MAX_DEPTH:
        raise LimitReached(f"Ion too deeply nested: more than {_MAX_DEPTH} levels")
    try:
        found: list[object] = []
        for value in simpleion.loads(document, single_value=False, parse_eagerly=False):
            found.append(_plain(value))
            if not everything:
                break
        return found
    except (IonException, ValueError, TypeError, ArithmeticError) as error:
        raise RenderError(f"not Ion: {shorten(document)!r}: {error}") from error


def _plain(value: object) -> object:
    """Ion's own types as plain ones; instants keep their offset, symbols are text, blobs Base64."""
    if value is None or type(value).__name__ == "IonPyNull":
        return None
    if type(value).__name__ == "IonPyBool" or isinstance(value, bool):
        return bool(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and hasattr(value, "text"):
        return str(value.text)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        plain = datetime(*value.timetuple()[:6], value.microsecond, tzinfo=value.tzinfo or UTC)
        return plain.replace(tzinfo=UTC) if not plain.utcoffset() else plain
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal):
        return float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value.text) if hasattr(value, "text") else str(value)


def written(value: object, depth: int = 0) -> str:
    """Ion text on one line. Raises for values too deep or without an Ion form."""
    if depth > _MAX_DEPTH:
        raise LimitReached(f"the value is too deeply nested for Ion: more than {_MAX_DEPTH} levels")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, BigInteger | int):
        return str(int(value))
    if isinstance(value, float):
        text = to_text(value).replace("E", "e")
        return {"NaN": "nan", "Infinity": "+inf", "-Infinity": "-inf"}.get(text, text if "e" in text else text + "e0")
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, datetime):
        text = iso_datetime(value)
        return text if re.search(r":\d\d:\d\d", text) else re.sub(r"(T\d\d:\d\d)", r"\1:00", text)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_field(to_text(key))}:{written(item, depth + 1)}" for key, item in value.items()) + "}"
    if is_list(value):
        assert isinstance(value, list | tuple)
        return "[" + ",".join(written(item, depth + 1) for item in value) + "]"
    raise RenderError(f"{kind(value)} has no Ion form")


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _field(name: str) -> str:
    if _SYMBOL.fullmatch(name) and name not in _RESERVED:
        return name
    return "'" + _quoted(name)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
