"""Conditions of triggers (``flows.md`` 8): properties only; evaluating them is the runner's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import ConditionMap, Conditions, Labels, State
from namespaces.plugin import ConditionType, Duration, Dynamic, DynamicText

PREFIX = "io.kestra.plugin.core.condition."
Weekday = Literal["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]


class DateTimeBetween(ConditionType):
    type_name = PREFIX + "DateTimeBetween"
    title = "The date is between two instants."
    date: DynamicText | None = None
    after: DynamicText | None = None
    before: DynamicText | None = None


class TimeBetween(ConditionType):
    type_name = PREFIX + "TimeBetween"
    title = "The time of day is between two times."
    date: DynamicText | None = None
    after: DynamicText | None = None
    before: DynamicText | None = None


class DayWeek(ConditionType):
    type_name = PREFIX + "DayWeek"
    title = "It is a given weekday."
    date: DynamicText | None = None
    day_of_week: Annotated[Weekday, Dynamic]


class DayWeekInMonth(ConditionType):
    type_name = PREFIX + "DayWeekInMonth"
    title = "It is, for example, the first Monday of the month."
    date: DynamicText | None = None
    day_of_week: Annotated[Weekday, Dynamic]
    day_in_month: Annotated[Literal["FIRST", "SECOND", "THIRD", "FOURTH", "LAST"], Dynamic]


class Weekend(ConditionType):
    type_name = PREFIX + "Weekend"
    title = "It is Saturday or Sunday."
    date: DynamicText | None = None


class PublicHoliday(ConditionType):
    type_name = PREFIX + "PublicHoliday"
    title = "It is a public holiday."
    date: DynamicText | None = None
    country: DynamicText | None = None
    sub_division: DynamicText | None = None


class Expression(ConditionType):
    type_name = PREFIX + "Expression"
    aliases = ("io.kestra.core.models.conditions.types.VariableCondition", PREFIX + "VariableCondition")
    title = "An expression holds."
    expression: Annotated[str, Dynamic, Field(min_length=1)]


class ExecutionFlow(ConditionType):
    type_name = PREFIX + "ExecutionFlow"
    title = "The execution is of a given flow."
    namespace: DynamicText
    flow_id: DynamicText


class ExecutionNamespace(ConditionType):
    type_name = PREFIX + "ExecutionNamespace"
    title = "The execution is of a given namespace."
    namespace: DynamicText
    comparison: Annotated[Literal["EQUALS", "PREFIX", "SUFFIX"], Dynamic] | None = None
    prefix: bool = False


class ExecutionStatus(ConditionType):
    type_name = PREFIX + "ExecutionStatus"
    title = "The execution is in one of some states."
    in_: Annotated[list[State], Dynamic] | None = Field(default=None, alias="in")
    not_in: Annotated[list[State], Dynamic] | None = None


class ExecutionLabels(ConditionType):
    type_name = PREFIX + "ExecutionLabels"
    title = "The execution has some labels."
    labels: Labels


class ExecutionOutputs(ConditionType):
    type_name = PREFIX + "ExecutionOutputs"
    title = "An expression over the execution's outputs holds."
    expression: DynamicText


class HasRetryAttempt(ConditionType):
    type_name = PREFIX + "HasRetryAttempt"
    title = "Some attempt of the execution ended in one of some states."
    in_: list[State] | None = Field(default=None, alias="in")
    not_in: list[State] | None = None


class FlowCondition(ConditionType):
    type_name = PREFIX + "FlowCondition"
    title = "The flow is a given one."
    namespace: DynamicText
    flow_id: DynamicText


class FlowNamespaceCondition(ConditionType):
    type_name = PREFIX + "FlowNamespaceCondition"
    title = "The flow is of a given namespace."
    namespace: DynamicText
    prefix: bool = False


class Not(ConditionType):
    type_name = PREFIX + "Not"
    title = "None of the conditions holds."
    conditions: Conditions


class Or(ConditionType):
    type_name = PREFIX + "Or"
    title = "One of the conditions holds."
    conditions: Conditions


class MultipleCondition(ConditionType):
    type_name = PREFIX + "MultipleCondition"
    title = "Conditions that may be met by different executions."
    deprecated = True
    id: Annotated[str, Field(min_length=1)]
    conditions: ConditionMap
    time_window: dict[str, Any] | None = None
    window: Duration | None = None
    window_advance: Duration | None = None
    reset_on_success: bool = True


CONDITION_TYPES: tuple[type[ConditionType], ...] = (
    DateTimeBetween,
    TimeBetween,
    DayWeek,
    DayWeekInMonth,
    Weekend,
    PublicHoliday,
    Expression,
    ExecutionFlow,
    ExecutionNamespace,
    ExecutionStatus,
    ExecutionLabels,
    ExecutionOutputs,
    HasRetryAttempt,
    FlowCondition,
    FlowNamespaceCondition,
    Not,
    Or,
    MultipleCondition,
)
