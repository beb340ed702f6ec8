"""Task types debug, log, flow, metric, output and execution (``flows.md`` 5.1, 5.2): properties and outputs only."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import DynamicLevel, Free, Level, Part, State, TaskOutputs
from namespaces.plugin import (
    Dynamic,
    DynamicBool,
    DynamicDuration,
    DynamicList,
    DynamicMap,
    DynamicText,
    TaskType,
)

CORE = "io.kestra.plugin.core."


class Value(TaskOutputs):
    value: Any = None


class Return(TaskType):
    type_name = CORE + "debug.Return"
    title = "Give back a rendered text."
    examples = ('id: hello\ntype: io.kestra.plugin.core.debug.Return\nformat: "{{ flow.id }}"',)
    outputs = Value
    inline = True
    format: DynamicText | None = None


class Echo(TaskType):
    type_name = CORE + "debug.Echo"
    title = "Write a text to the log."
    deprecated = True
    inline = True
    format: DynamicText | None = None
    level: DynamicLevel = "INFO"


class Log(TaskType):
    type_name = CORE + "log.Log"
    title = "Write one or several log entries."
    examples = ("id: hello\ntype: io.kestra.plugin.core.log.Log\nmessage: Hello World!",)
    inline = True
    message: DynamicText | list[DynamicText]
    level: DynamicLevel = "INFO"


class FetchedLogs(TaskOutputs):
    size: int
    uri: str


class FetchLogs(TaskType):
    type_name = CORE + "log.Fetch"
    aliases = ("io.kestra.plugin.kestra.logs.Fetch",)
    title = "Write the log entries of an execution to a file."
    outputs = FetchedLogs
    namespace: DynamicText | None = None
    flow_id: DynamicText | None = None
    execution_id: DynamicText | None = None
    tasks_id: list[str] | None = None
    level: DynamicLevel = "INFO"


class Counted(TaskOutputs):
    count: int


class PurgeLogs(TaskType):
    type_name = CORE + "log.PurgeLogs"
    title = "Delete old log entries."
    outputs = Counted
    namespace: DynamicText | None = None
    flow_id: DynamicText | None = None
    execution_id: DynamicText | None = None
    log_levels: Annotated[list[Level], Dynamic] | None = None
    start_date: DynamicText | None = None
    end_date: DynamicText = Field(min_length=1)


class Sleep(TaskType):
    type_name = CORE + "flow.Sleep"
    title = "Wait for a duration."
    duration: DynamicDuration


class MetricEntry(Part):
    name: DynamicText
    type: Annotated[Literal["counter", "timer", "gauge"], Dynamic]
    value: Annotated[Any, Dynamic]
    tags: DynamicMap | None = None


class Publish(TaskType):
    type_name = CORE + "metric.Publish"
    title = "Publish metrics of the task run."
    metrics: Annotated[list[MetricEntry], Dynamic] | None = None


class GivenValues(TaskOutputs):
    values: dict[str, Any]


class OutputValues(TaskType):
    type_name = CORE + "output.OutputValues"
    title = "Give back several values."
    outputs = GivenValues
    inline = True
    values: DynamicMap | None = None


class Fail(TaskType):
    type_name = CORE + "execution.Fail"
    title = "Fail, always or on a condition."
    inline = True
    condition: DynamicText | None = None
    error_message: DynamicText = "Task failure"


class Assert(TaskType):
    type_name = CORE + "execution.Assert"
    title = "Fail unless all conditions hold."
    inline = True
    conditions: Annotated[list[DynamicText], Field(min_length=1)]
    error_message: DynamicText | None = None


class Exit(TaskType):
    type_name = CORE + "execution.Exit"
    title = "End the execution in a given state."
    inline = True
    state: Annotated[Literal["SUCCESS", "WARNING", "KILLED", "FAILED", "CANCELLED", "CANCELED"], Dynamic] = "SUCCESS"


class LabelsTask(TaskType):
    type_name = CORE + "execution.Labels"
    title = "Add labels to the running execution, or change them."
    inline = True
    labels: Free


class SetVariables(TaskType):
    type_name = CORE + "execution.SetVariables"
    title = "Change variables of the running execution."
    inline = True
    variables: DynamicMap
    overwrite: DynamicBool = True


class UnsetVariables(TaskType):
    type_name = CORE + "execution.UnsetVariables"
    title = "Remove variables of the running execution."
    inline = True
    variables: DynamicList
    ignore_missing: DynamicBool = False


class FlowRef(Part):
    namespace: DynamicText
    flow_id: DynamicText | None = None


class CountedExecutions(TaskOutputs):
    results: list[dict[str, Any]]
    total: int


class Count(TaskType):
    type_name = CORE + "execution.Count"
    aliases = ("io.kestra.core.tasks.executions.Counts",)
    title = "Count executions of flows."
    outputs = CountedExecutions
    flows: list[FlowRef] | None = None
    namespaces: DynamicList | None = None
    states: Annotated[list[State], Dynamic] | None = None
    start_date: DynamicText
    end_date: DynamicText | None = None
    expression: DynamicText


class Resume(TaskType):
    type_name = CORE + "execution.Resume"
    title = "Resume a paused execution."
    execution_id: DynamicText | None = None
    namespace: DynamicText | None = None
    flow_id: DynamicText | None = None
    inputs: DynamicMap | None = None


class Kill(TaskType):
    type_name = CORE + "execution.Kill"
    title = "Kill an execution."
    execution_id: DynamicText
    propagate_kill: DynamicBool = True


class PurgedExecutions(TaskOutputs):
    executions_count: int
    logs_count: int
    metrics_count: int
    storages_count: int


class PurgeExecutions(TaskType):
    type_name = CORE + "execution.PurgeExecutions"
    aliases = (CORE + "storage.Purge", "io.kestra.core.tasks.storages.Purge")
    title = "Delete old executions with their logs, metrics and files."
    outputs = PurgedExecutions
    namespace: DynamicText | None = None
    flow_id: DynamicText | None = None
    start_date: DynamicText | None = None
    end_date: DynamicText
    states: Annotated[list[State], Dynamic] | None = None
    purge_execution: DynamicBool = True
    purge_log: DynamicBool = True
    purge_metric: DynamicBool = True
    purge_storage: DynamicBool = True


class PurgeFlows(TaskType):
    type_name = CORE + "flow.PurgeFlows"
    title = "Delete old revisions of flows that no execution needs."
    outputs = Counted
    namespace: DynamicText | None = None
    flow_id: DynamicText | None = None


TYPES: tuple[type[TaskType], ...] = (
    Return,
    Echo,
    Log,
    FetchLogs,
    PurgeLogs,
    Sleep,
    Publish,
    OutputValues,
    Fail,
    Assert,
    Exit,
    LabelsTask,
    SetVariables,
    UnsetVariables,
    Count,
    Resume,
    Kill,
    PurgeExecutions,
    PurgeFlows,
)
