"""The settings as one table of name, type, default and help: the source of `docs/reference/settings.md`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from service.settings.model import Settings
from service.settings.values import Credential, format_duration, format_size, parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Row:
    """One setting. ``name`` is dotted (`git.sources[].url`), ``variable`` empty inside lists."""

    name: str
    kind: str
    default: str
    help: str
    variable: str


def rows(model: type[BaseModel] = Settings, at: str = "") -> Iterator[Row]:
    """Every setting in the order of the file."""
    for name, field in model.model_fields.items():
        dotted = f"{at}{name}"
        inner, many = _inner(field.annotation)
        if inner is not None and not many:
            yield from rows(inner, f"{dotted}.")
            continue
        yield Row(dotted, _kind(field), _default(field), field.description or "", _variable(dotted))
        if inner is not None:
            yield from rows(inner, f"{dotted}[].")


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    if get_origin(annotation) is list:
        return _inner(get_args(annotation)[0])[0], True
    for argument in get_args(annotation):
        found, many = _inner(argument)
        if found is not None:
            return found, many
    return None, False


def _variable(dotted: str) -> str:
    return "" if "[]" in dotted else "LANNER_" + dotted.upper().replace(".", "__")


def _parsers(field: Any) -> set[Any]:
    found = {getattr(item, "func", None) for item in field.metadata}
    for argument in get_args(field.annotation):
        found |= {getattr(item, "func", None) for item in getattr(argument, "__metadata__", ())}
    return found


def _kind(field: Any) -> str:
    annotation = field.annotation
    parsers = _parsers(field)
    if parse_duration in parsers:
        return "duration"
    if parse_size in parsers:
        return "size"
    members = [part for part in get_args(annotation) if part is not type(None)]
    literal = (
        annotation
        if get_origin(annotation) is Literal
        else next((m for m in members if get_origin(m) is Literal), None)
    )
    if literal is not None:
        return " · ".join(f"`{choice}`" for choice in get_args(literal))
    if get_origin(annotation) is list:
        return "list of references" if get_args(annotation)[0] is Credential else "list"
    if get_origin(annotation) is dict:
        return "map"
    plain = annotation if not members else members[0]
    if get_origin(plain) is not None and hasattr(plain, "__metadata__"):
        plain = get_args(plain)[0]
    names = {str: "text", int: "number", bool: "true · false", Credential: "reference"}
    return names.get(plain, "path" if getattr(plain, "__name__", "") == "Path" else "text")


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return "`~/.local/share/lanner`" if field.default_factory.__name__ == "default_data_dir" else "branch `main`"
    value = field.default
    if value is None or value is PydanticUndefined:
        return "–"
    parsers = _parsers(field)
    if parse_size in parsers:
        return f"`{format_size(value)}`"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value == "":
        return "empty"
    return f"`{value}`"
