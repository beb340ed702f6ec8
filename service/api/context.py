"""What a view reads from the request: the wiring, paging, flags, dates. Views take nothing from Flask but this."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from flask import current_app, request

from namespaces.errors import BadRequest, InvalidInput
from namespaces.filters import Page

if TYPE_CHECKING:
    from service.wiring import Lanner

LARGEST_PAGE = 10_000


def lanner() -> Lanner:
    """The wiring of the application that answers."""
    wiring: Lanner = current_app.extensions["lanner"]
    return wiring


def page(default_size: int = 10) -> Page:
    """``page``, ``size``, ``sort`` (``api.md`` 1.5). Raises ``InvalidInput``."""
    sort = []
    for entry in request.args.getlist("sort"):
        for one in entry.split(","):
            field, colon, direction = one.rpartition(":")
            if not colon or direction.lower() not in ("asc", "desc"):
                raise InvalidInput(f"Illegal argument: sort must be <field>:asc or <field>:desc, not '{one}'")
            sort.append((field, direction.lower() == "desc"))
    return Page(number("page", 1, least=1), number("size", default_size, least=1, most=LARGEST_PAGE), tuple(sort))


def number(name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
    text = request.args.get(name)
    if text is None or text == "":
        return default
    try:
        value = int(text)
    except ValueError as error:
        raise InvalidInput(f"Illegal argument: {name} must be a whole number, not '{text[:40]}'") from error
    if least is not None and value < least:
        raise InvalidInput(f"Illegal argument: {name}: must be greater than or equal to {least}")
    if most is not None and value > most:
        raise InvalidInput(f"Illegal argument: {name}: must be less than or equal to {most}")
    return value


def optional_number(name: str) -> int | None:
    return number(name, 0, least=0) if request.args.get(name) else None


def flag(name: str, default: bool = False) -> bool:
    text = request.args.get(name)
    return default if text is None else text.lower() in ("true", "1", "")


def required(name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise BadRequest(f"Required QueryValue [{name}] not specified", code="missing_parameter")
    return value


def instant(text: str, name: str = "date") -> datetime:
    """An ISO-8601 date-time as an aware datetime, UTC when it names no zone. Raises ``InvalidInput``."""
    try:
        # A '+' of a zone that was not encoded arrives as a blank.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
    except ValueError as error:
        raise InvalidInput(f"Illegal argument: {name}: '{text[:60]}' is not an ISO-8601 date-time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def optional_instant(name: str) -> datetime | None:
    text = request.args.get(name)
    return instant(text, name) if text else None


def json_body(*, default: Any = None) -> Any:
    """The body as JSON, whatever its content type says; ``default`` for an empty one. Raises ``InvalidInput``."""
    raw = request.get_data()
    if not raw.strip():
        return default
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"Invalid json: {error}", code="invalid_json") from error


def json_object() -> dict[str, Any]:
    value = json_body(default={})
    if not isinstance(value, dict):
        raise InvalidInput("Invalid json: expected an object", code="invalid_json")
    return value


def json_list() -> list[Any]:
    value = json_body(default=[])
    if not isinstance(value, list):
        raise InvalidInput("Invalid json: expected a list", code="invalid_json")
    return value


def id_list() -> list[str]:
    """A body of ids: each once, in order."""
    found = json_list()
    if not all(isinstance(one, str) for one in found):
        raise InvalidInput("Invalid json: expected a list of ids", code="invalid_json")
    return list(dict.fromkeys(found))


def label_pairs(values: list[str], name: str = "labels") -> tuple[tuple[str, str], ...]:
    """``key:value`` texts, cut at the first colon. Raises ``InvalidInput`` for one without a value."""
    pairs = []
    for text in values:
        key, colon, value = text.partition(":")
        if not colon or not key or not value:
            raise InvalidInput(f"Illegal argument: {name} must be key:value, not '{text[:80]}'")
        pairs.append((key, value))
    return tuple(pairs)
