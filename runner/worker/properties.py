"""From what a flow writes to what a task gets: expressions rendered, values converted to the declared types.

Which properties exist, and which may hold expressions, is said by the task type's class; nothing is run here.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from namespaces.plugin import Dynamic, PluginType
from runner.plugin import RunFailed

Render = Callable[[Any], Any]
"""Renders every text in a value, keys included."""


@dataclass(frozen=True, slots=True)
class Property:
    """``dynamic``: may hold expressions. ``structured``: a list or map, so text that was rendered is read as JSON.

    ``text``: any text is fine as it is.
    """

    dynamic: bool
    structured: bool
    text: bool
    required: bool


def _marked(annotation: Any, metadata: Iterable[Any] = ()) -> bool:
    if any(mark is Dynamic or isinstance(mark, Dynamic) for mark in metadata):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_field_marked(field) for field in annotation.model_fields.values())
    if get_origin(annotation) is typing.Annotated:
        first, *marks = get_args(annotation)
        return _marked(first, marks)
    return any(_marked(part) for part in get_args(annotation))


def _field_marked(field: FieldInfo) -> bool:
    return _marked(field.annotation, field.metadata) or any(type(m).__name__ == "Nested" for m in field.metadata)


def _bases(annotation: Any) -> set[Any]:
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _bases(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return {base for part in get_args(annotation) for base in _bases(part)}
    return {origin or annotation}


def _property(field: FieldInfo) -> Property:
    bases = _bases(field.annotation)
    text = str in bases or Any in bases or object in bases
    structured = not text and any(
        base in (list, dict, tuple, set, frozenset)
        or (isinstance(base, type) and issubclass(base, (BaseModel, Mapping)))
        for base in bases
    )
    return Property(_field_marked(field), structured, text, field.is_required())


@functools.lru_cache(maxsize=1024)
def properties_of(task_type: type[PluginType]) -> Mapping[str, Property]:
    """The properties of a type by the name a flow writes."""
    return {field.alias or name: _property(field) for name, field in task_type.model_fields.items()}


T = TypeVar("T", bound=PluginType)


def render_properties(
    task_type: type[T],
    written: Mapping[str, Any],
    render: Render,
    *,
    raw: frozenset[str] = frozenset(),
    forced: frozenset[str] = frozenset(),
) -> T:
    """An instance of the type with rendered, converted values.

    ``raw`` names properties left as written, ``forced`` those rendered although their declaration does not say so.
    Raises what ``render`` raises, and ``RunFailed`` for a value that does not fit its declared type.
    """
    known = properties_of(task_type)
    values: dict[str, Any] = {}
    for name, value in written.items():
        declared = known.get(name)
        if declared is None or name in raw or not (declared.dynamic or name in forced):
            values[name] = value
            continue
        rendered = render(value)
        if isinstance(value, str) and not declared.text:
            if rendered == "" and not declared.required:
                continue
            if declared.structured:
                rendered = _structured(name, rendered)
        values[name] = rendered
    try:
        return task_type.read(values)
    except ValidationError as error:
        raise RunFailed(explain(error), code="invalid_property") from error


def _structured(name: str, text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise RunFailed(
            f"property `{name}` must be a JSON list or map, but rendered to: {shown}",
            code="invalid_property",
            hint="write the list in YAML, or use `| toJson` in the expression",
        ) from None


def rendered_text_list(name: str, rendered: Any) -> list[str]:
    """A rendered property that must be a list of texts; text is read as a JSON list. Raises ``RunFailed``."""
    if rendered in (None, ""):
        return []
    value = _structured(name, rendered)
    if not isinstance(value, list | tuple):
        raise RunFailed(f"property `{name}` must be a list", code="invalid_property")
    return [str(item) for item in value]


def explain(error: ValidationError) -> str:
    """A validation error as one line: property, what is wrong, what was seen."""
    found = []
    for item in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"] if not str(part).startswith(("function-", "dict[", "list[")))
        seen = repr(item["input"])
        found.append(f"property `{path}`: {item['msg']} (was {seen if len(seen) <= 60 else seen[:60] + '…'})")
    return "; ".join(found)
