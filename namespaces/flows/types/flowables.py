"""Properties of the flowable, executable and block tasks (``flows.md`` 4). How they behave is the engine's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import (
    DagTasks,
    Inputs,
    Labels,
    OneTask,
    Outputs,
    Part,
    TaskCases,
    TaskOutputs,
    Tasks,
)
from namespaces.plugin import (
    Duration,
    Dynamic,
    DynamicBool,
    DynamicDuration,
    DynamicMap,
    DynamicText,
    FlowableType,
)

PREFIX = "io.kestra.plugin.core.flow."
Concurrent = Annotated[int, Field(ge=0)]
Values = Annotated[Any, Dynamic]
RestartBehavior = Literal["RETRY_FAILED", "NEW_EXECUTION"]


class _Block(FlowableType):
    errors: Tasks
    finally_: Tasks = Field(default=None, alias="finally")


class Sequential(_Block):
    type_name = PREFIX + "Sequential"
    title = "Run tasks one after the other."
    tasks: Tasks


class AllowFailure(_Block):
    type_name = PREFIX + "AllowFailure"
    title = "Run tasks one after the other; a failure is only a warning."
    tasks: Tasks


class Parallel(_Block):
    type_name = PREFIX + "Parallel"
    title = "Run tasks at the same time."
    tasks: Tasks
    concurrent: Concurrent = 0


class Dag(_Block):
    type_name = PREFIX + "Dag"
    title = "Run tasks in the order of their dependencies."
    tasks: DagTasks
    concurrent: Concurrent = 0


class If(_Block):
    class Result(TaskOutputs):
        evaluation_result: bool

    type_name = PREFIX + "If"
    title = "Run one of two branches."
    outputs = Result
    condition: DynamicText = Field(min_length=1)
    then: Tasks
    else_: Tasks = Field(default=None, alias="else")


class Switch(_Block):
    class Result(TaskOutputs):
        value: str
        defaults: bool

    type_name = PREFIX + "Switch"
    title = "Run the branch whose key equals a value."
    outputs = Result
    value: DynamicText
    cases: TaskCases
    defaults: Tasks


class ForEach(_Block):
    type_name = PREFIX + "ForEach"
    title = "Run tasks for each value of a list."
    values: Values
    concurrency_limit: Concurrent = 1
    tasks: Tasks


class EachSequential(_Block):
    type_name = PREFIX + "EachSequential"
    title = "Run tasks for each value, one after the other."
    deprecated = True
    value: Values
    tasks: Tasks


class EachParallel(_Block):
    type_name = PREFIX + "EachParallel"
    title = "Run all tasks of all values at the same time."
    deprecated = True
    value: Values
    concurrent: Concurrent = 0
    tasks: Tasks


class CheckFrequency(Part):
    max_iterations: int | None = Field(default=None, ge=1)
    max_duration: Duration | None = None
    interval: Duration | None = None


class LoopUntil(_Block):
    class Result(TaskOutputs):
        iteration_count: int

    type_name = PREFIX + "LoopUntil"
    aliases = (PREFIX + "WaitFor",)
    title = "Run tasks again and again until a condition holds."
    outputs = Result
    condition: DynamicText = Field(min_length=1)
    tasks: Tasks
    check_frequency: CheckFrequency = CheckFrequency.model_construct()
    fail_on_max_reached: bool = False


class Subflow(FlowableType):
    class Result(TaskOutputs):
        execution_id: str
        state: str
        outputs: dict[str, Any] | None = None

    type_name = PREFIX + "Subflow"
    aliases = ("io.kestra.core.tasks.flows.Flow", PREFIX + "Flow")
    title = "Start an execution of another flow."
    outputs = Result
    namespace: DynamicText = Field(min_length=1)
    flow_id: DynamicText = Field(min_length=1)
    revision: int | None = Field(default=None, ge=1, le=2**31 - 1)
    inputs: DynamicMap | None = None
    labels: Labels
    inherit_labels: bool = False
    wait: bool = True
    transmit_failed: bool = True
    outputs_: DynamicMap | None = Field(default=None, alias="outputs")
    schedule_date: DynamicText | None = None
    restart_behavior: RestartBehavior = "RETRY_FAILED"


class Batch(Part):
    rows: Annotated[int, Field(ge=1), Dynamic] | None = None
    bytes: DynamicText | None = None
    partitions: Annotated[int, Field(ge=1), Dynamic] | None = None
    separator: str = "\n"


class ForEachItem(FlowableType):
    type_name = PREFIX + "ForEachItem"
    title = "Start one execution of a flow for each batch of a file."
    items: DynamicText = Field(min_length=1)
    batch: Batch = Batch.model_construct()
    namespace: DynamicText = Field(min_length=1)
    flow_id: DynamicText = Field(min_length=1)
    revision: int | None = Field(default=None, ge=1, le=2**31 - 1)
    inputs: DynamicMap | None = None
    labels: Labels
    inherit_labels: bool = False
    wait: bool = True
    transmit_failed: bool = True
    schedule_date: DynamicText | None = None
    restart_behavior: RestartBehavior = "RETRY_FAILED"
    errors: Tasks


class Cache(Part):
    patterns: Annotated[list[str], Field(min_length=1)]
    ttl: Duration | None = None


class WorkingDirectory(_Block):
    class Result(TaskOutputs):
        output_files: dict[str, str]

    type_name = PREFIX + "WorkingDirectory"
    aliases = ("io.kestra.core.tasks.flows.Worker", PREFIX + "Worker")
    title = "Run tasks one after the other in one shared directory."
    outputs = Result
    tasks: Tasks
    cache: Cache | None = None
    input_files: DynamicMap | None = None
    output_files: Annotated[list[DynamicText], Dynamic] | None = None
    namespace_files: dict[str, Any] | None = None


class Pause(_Block):
    class Result(TaskOutputs):
        on_resume: dict[str, Any] | None = None
        resumed: dict[str, Any] | None = None

    type_name = PREFIX + "Pause"
    title = "Wait for a person, or for a time."
    outputs = Result
    pause_duration: DynamicDuration | None = None
    delay: DynamicDuration | None = None
    behavior: Annotated[Literal["RESUME", "WARN", "FAIL", "CANCEL"], Dynamic] = "RESUME"
    on_resume: Inputs
    on_pause: OneTask
    tasks: Tasks


ApprovalBehavior = Annotated[Literal["CONTINUE", "WARN", "FAIL", "SUCCEED", "CANCEL", "KILL"], Dynamic]


class Decisions(Part):
    approve: DynamicText = "Approve"
    deny: DynamicText = "Deny"


class Approval(_Block):
    class Result(TaskOutputs):
        decision: str
        auto: bool
        by: str | None
        on: str | None
        comment: str | None
        inputs: dict[str, Any] | None
        due: str | None
        url: str | None

    type_name = PREFIX + "Approval"
    title = "Ask a person to approve or deny."
    outputs = Result
    inputs: Inputs
    decisions: Decisions = Decisions.model_construct(approve="Approve", deny="Deny")
    comment_required: Annotated[Literal["NEVER", "ALWAYS", "ON_DENY", "ON_APPROVE"], Dynamic] = "NEVER"
    auto_approve: DynamicBool = False
    approve_behavior: ApprovalBehavior = "CONTINUE"
    deny_behavior: ApprovalBehavior = "CANCEL"
    expire_behavior: ApprovalBehavior = "CANCEL"
    on_wait: Tasks
    on_approve: Tasks
    on_deny: Tasks


class Loop(_Block):
    class Result(TaskOutputs):
        iteration_count: int
        running_iterations: int
        terminated_iterations: dict[str, int]
        outputs: list[dict[str, Any]] | None = None
        uri: str | None = Field(default=None, description="File with the outputs of all iterations, a row each.")

    type_name = PREFIX + "Loop"
    title = "Run tasks for each value, every iteration an execution of its own."
    outputs = Result
    values: Values = Field(description="List, map, or text that is one or the address of a file of lines.")
    concurrency_limit: Concurrent = 0
    transmit_failed: bool = Field(default=True, description="Fail at once when an iteration FAILED or was KILLED.")
    outputs_: Outputs = Field(default=None, alias="outputs")
    fetch_type: Literal["AUTO", "FETCH", "STORE"] = Field(
        default="AUTO", description="Outputs of iterations as values, in files, or in files when `values` is one."
    )
    break_when: DynamicText | None = None
    tasks: Tasks


class Template(FlowableType):
    type_name = PREFIX + "Template"
    title = "Run the tasks of a template."
    deprecated = True
    namespace: DynamicText = Field(min_length=1)
    template_id: DynamicText = Field(min_length=1)
    args: DynamicMap | None = None


FLOWABLE_TYPES: tuple[type[FlowableType], ...] = (
    Sequential,
    AllowFailure,
    Parallel,
    Dag,
    If,
    Switch,
    ForEach,
    EachSequential,
    EachParallel,
    LoopUntil,
    Subflow,
    ForEachItem,
    WorkingDirectory,
    Pause,
    Approval,
    Loop,
    Template,
)
