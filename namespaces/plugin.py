"""The declarative half of a plugin: what a task or trigger type is called and which properties it takes.

What runs lives in ``runner.plugin``; this half is enough to validate and document a flow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from namespaces.durations import parse_duration

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


def is_expression(value: object) -> bool:
    """Whether a value is text with something to render in it."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


class Dynamic:
    """Marks a property that may be an expression: ``Annotated[int, Dynamic]`` also takes ``"{{ … }}"``.

    The value is rendered when the attempt starts, then converted to the declared type.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        if inner["type"] in ("str", "any"):
            return inner

        def unless_expression(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
            return value if is_expression(value) else validate(value)

        return core_schema.no_info_wrap_validator_function(unless_expression, inner)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner = handler(schema)
        if inner.get("type") == "string" and "enum" not in inner and "pattern" not in inner:
            return inner
        expression = {"type": "string", "pattern": r"\{[{%]", "description": "an expression"}
        return {"anyOf": [inner, expression]} if inner else inner


class PluginType(BaseModel):
    """Base of task and trigger types: the class's fields are the properties a flow may write.

    ``type_name`` is the canonical Kestra name, ``aliases`` every older one. Unknown properties are refused.
    A field ``error_message`` is the property ``errorMessage``.
    """

    # Validators are compiled at the first use of a type: a server knows a hundred types and uses a dozen.
    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
        arbitrary_types_allowed=True,
        alias_generator=to_camel,
        defer_build=True,
        protected_namespaces=(),
    )

    type_name: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""
    examples: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[type[BaseModel] | None] = None
    deprecated: ClassVar[bool] = False

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Make an instance from a flow's values, where a text property may have been written ``true`` or ``1.10``.

        Raises pydantic's ``ValidationError``. ``values`` is keyed by property name.
        """
        try:
            return cls.model_validate(values, by_name=False)
        except ValidationError as error:
            repaired = as_text_where_wanted(values, error)
            if repaired is None:
                raise
            return cls.model_validate(repaired, by_name=False)


def as_text_where_wanted(
    values: Mapping[str, Any],
    error: ValidationError,
    text_at: Callable[[tuple[Any, ...], Any], str] | None = None,
) -> dict[str, Any] | None:
    """The values with numbers and booleans turned into text where ``error`` says that text is wanted.

    None when nothing could be repaired. ``text_at`` knows how the scalar at a path was written. Kestra's reader
    hands over the text of any scalar; here that costs only those who wrote ``version: 1.10``.
    """
    from namespaces.flows.reader import scalar_text

    repaired: dict[str, Any] = dict(values)
    found = False
    for item in error.errors(include_url=False, include_context=False):
        seen = item["input"]
        if item["type"] != "string_type" or not isinstance(seen, bool | int | float):
            continue
        holder: Any = repaired
        place: list[int | str] = []
        for part in item["loc"]:
            try:
                below = holder[part]
            except (KeyError, IndexError, TypeError):
                continue  # the name of a union's member, not a place in the value
            place.append(part)
            if isinstance(below, dict | list):
                holder[part] = below = dict(below) if isinstance(below, dict) else list(below)
                holder = below
            elif below is seen:
                holder[part] = scalar_text(seen) if text_at is None else text_at(tuple(place), seen)
                found = True
                break
    return repaired if found else None


class TaskType(PluginType):
    """A runnable task type. ``inline``: does no I/O, cannot block and may run again after a crash without harm,
    so the shell executes it where the event is applied."""

    inline: ClassVar[bool] = False


class TriggerType(PluginType):
    """A trigger type."""


class ConditionType(PluginType):
    """A condition of a trigger (``flows.md`` 8)."""


class FlowableType(PluginType):
    """A task that only orchestrates other tasks, or starts executions; runs in the engine, never on a worker."""


class RunnerType(PluginType):
    """A task runner: where the process of a script task runs (``flows.md`` 6.6)."""


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT30S"]}),
]
"""An ISO-8601 duration as Java reads it, or a bare number of seconds."""


def _from_json(value: Any) -> Any:
    """Kestra takes lists and maps as JSON text too."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value  # the declared type says what is wanted


DynamicText = Annotated[str, Dynamic]
DynamicAny = Annotated[Any, Dynamic, Field(default=None)]
DynamicDuration = Annotated[Duration, Dynamic]
DynamicInt = Annotated[int, Dynamic]
DynamicFloat = Annotated[float, Dynamic]
DynamicBool = Annotated[bool, Dynamic]
DynamicList = Annotated[list[DynamicText], BeforeValidator(_from_json), Dynamic]
"""A list of texts, the same as JSON text, or one expression that gives a JSON list."""
DynamicMap = Annotated[dict[str, Any], BeforeValidator(_from_json), Dynamic]
"""A map with expressions inside, the same as JSON text, or one expression that gives a JSON object."""
