"""Field types shared by the built-in types: levels, states, and the places where other language parts nest.

The nested parts (tasks, inputs, labels, conditions, task runners) are ``Any`` for pydantic: the parser reads
them itself, so that one bad child hides no other finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from namespaces.plugin import Dynamic


@dataclass(frozen=True, slots=True)
class Nested:
    """Marks a field that holds other parts of the language. ``kind`` says which, and the JSON Schema uses it."""

    kind: str

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return {NESTED_KEY: self.kind}


NESTED_KEY = "x-lanner-nested"
"""Stands in a type's own schema where ``namespaces.flows.schema`` puts a reference."""

Tasks = Annotated[Any, Nested("tasks"), Field(default=None)]
OneTask = Annotated[Any, Nested("task"), Field(default=None)]
TaskCases = Annotated[Any, Nested("cases"), Field(default=None)]
DagTasks = Annotated[Any, Nested("dag"), Field(default=None)]
Inputs = Annotated[Any, Nested("inputs"), Field(default=None)]
Outputs = Annotated[Any, Nested("outputs"), Field(default=None)]
Labels = Annotated[Any, Nested("labels"), Field(default=None)]
Conditions = Annotated[Any, Nested("conditions"), Field(default=None)]
ConditionMap = Annotated[Any, Nested("conditionMap"), Field(default=None)]
TaskRunner = Annotated[Any, Nested("taskRunner"), Field(default=None)]

Level = Literal["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]
DynamicLevel = Annotated[Level, Dynamic]
State = Literal[
    "CREATED",
    "SUBMITTED",
    "RUNNING",
    "PAUSED",
    "PAUSING",
    "QUEUED",
    "RESTARTED",
    "RETRYING",
    "BREAKPOINT",
    "KILLING",
    "SUCCESS",
    "WARNING",
    "FAILED",
    "KILLED",
    "CANCELLED",
    "RETRIED",
    "SKIPPED",
    "RESUBMITTED",
]
Free = Any
"""A value of any shape, kept as written."""


class Part(BaseModel):
    """A map with fixed properties inside a type's properties; unknown ones are refused."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        frozen=True,
        alias_generator=to_camel,
        defer_build=True,
        protected_namespaces=(),
    )


class TaskOutputs(BaseModel):
    """Base of what a task type says about its outputs."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, defer_build=True, extra="allow")
