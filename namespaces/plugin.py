"""The declarative half of a plugin: what a task or trigger type is called and which properties it takes.

What runs lives in ``runner.plugin``; this half is enough to validate and document a flow.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Dynamic:
    """Marks a property that may be an expression: ``Annotated[int, Dynamic]`` also takes ``"{{ … }}"``.

    The value is rendered when the attempt starts, then converted to the declared type.
    """


class PluginType(BaseModel):
    """Base of task and trigger types: the class's fields are the properties a flow may write.

    ``type_name`` is the canonical Kestra name, ``aliases`` every older one. Unknown properties are refused.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True, arbitrary_types_allowed=True)

    type_name: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""
    examples: ClassVar[tuple[str, ...]] = ()
    outputs: ClassVar[type[BaseModel] | None] = None
    deprecated: ClassVar[bool] = False


class TaskType(PluginType):
    """A runnable task type. ``inline``: does no I/O, cannot block and may run again after a crash without harm,
    so the shell executes it where the event is applied."""

    inline: ClassVar[bool] = False


class TriggerType(PluginType):
    """A trigger type."""


DynamicText = Annotated[str, Dynamic]
DynamicAny = Annotated[Any, Dynamic, Field(default=None)]
