"""Trigger types (``flows.md`` 7): properties only; when they fire is the runner's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import Conditions, Part, State
from namespaces.flows.types.tasks_http import RequestProperties
from namespaces.flows.types.tasks_scripts import BY_LANGUAGE, SCRIPTS
from namespaces.plugin import Duration, Dynamic, DynamicText, TriggerType

PREFIX = "io.kestra.plugin.core.trigger."
Recover = Literal["ALL", "LAST", "NONE"]
States = list[State]


class Schedule(TriggerType):
    type_name = PREFIX + "Schedule"
    title = "Start at the times of a cron expression."
    cron: str = Field(min_length=1)
    timezone: str | None = None
    with_seconds: bool = False
    late_maximum_delay: Duration | None = None
    recover_missed_schedules: Recover | None = None
    schedule_conditions: Conditions
    backfill: Any = None


class ScheduleOnDates(TriggerType):
    type_name = PREFIX + "ScheduleOnDates"
    title = "Start at given dates."
    dates: Annotated[list[DynamicText], Field(min_length=1), Dynamic]
    timezone: str | None = None
    recover_missed_schedules: Recover | None = None


class Signature(Part):
    scheme: Literal["github", "gitlab", "stripe", "standard", "generic"]
    secrets: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2)]
    header: str | None = None


class RateLimit(Part):
    per_second: Annotated[float, Field(gt=0)]
    burst: Annotated[int, Field(ge=1)] = 1


class Webhook(TriggerType):
    type_name = PREFIX + "Webhook"
    title = "Start when a URL is called."
    key: Annotated[str, Dynamic, Field(min_length=1, max_length=256)]
    wait: bool = False
    return_outputs: bool = False
    response_content_type: Literal["application/json", "text/plain"] | None = None
    response_code: Annotated[int, Field(ge=100, le=599)] | None = None
    fetch_type: Literal["FETCH", "STORE", "NONE"] | None = None
    idempotency_key: DynamicText | None = None
    signature: Signature | None = None
    rate_limit: RateLimit | None = None


class TimeWindow(Part):
    type: Literal["DURATION_WINDOW", "SLIDING_WINDOW", "DAILY_TIME_DEADLINE", "DAILY_TIME_WINDOW"] = "DURATION_WINDOW"
    window: Duration | None = None
    window_advance: Duration | None = None
    deadline: str | None = None
    start_time: str | None = None
    end_time: str | None = None


class UpstreamFlow(Part):
    namespace: str
    flow_id: str | None = None
    states: States | None = None
    labels: Any = None


class Filter(Part):
    field: Literal["FLOW_ID", "NAMESPACE", "STATE", "EXPRESSION"]
    type: Literal[
        "EQUAL_TO",
        "NOT_EQUAL_TO",
        "IN",
        "NOT_IN",
        "IS_TRUE",
        "IS_FALSE",
        "IS_NULL",
        "IS_NOT_NULL",
        "STARTS_WITH",
        "ENDS_WITH",
        "REGEX",
        "CONTAINS",
    ]
    value: str | None = None
    values: list[str] | None = None


class Where(Part):
    id: str
    operand: Literal["AND", "OR"] = "AND"
    filters: Annotated[list[Filter], Field(min_length=1)]


class Preconditions(Part):
    id: Annotated[str, Field(min_length=1)]
    time_window: TimeWindow | None = None
    reset_on_success: bool = True
    flows: list[UpstreamFlow] | None = None
    where: list[Where] | None = None


class DependsOn(Part):
    namespace: str | None = None
    flow_id: str | None = None
    states: States | None = None
    labels: Any = None
    when: DynamicText | None = None


class Window(Part):
    deadline: str | None = None
    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    lookback: Duration | None = None
    every: Duration | None = None
    offset: Duration | None = None
    timezone: str | None = None
    fire_once: bool = False


class OnMiss(Part):
    behavior: Literal["FAIL"] = "FAIL"
    labels: Any = None


class FlowTrigger(TriggerType):
    type_name = PREFIX + "Flow"
    title = "Start when an execution of another flow changes its state."
    states: States | None = None
    preconditions: Preconditions | None = None
    multiple_conditions: Conditions
    depends_on: list[DependsOn] | None = None
    mode: Literal["ALL", "ANY", "AT_LEAST"] = "ALL"
    min_satisfied: Annotated[int, Field(ge=1)] | None = None
    window: Window | None = None
    on_miss: OnMiss | None = None


class HttpTrigger(RequestProperties, TriggerType):
    type_name = "io.kestra.plugin.core.http.Trigger"
    aliases = ("io.kestra.plugin.fs.http.Trigger",)
    title = "Ask a URL again and again, and start when the answer meets a condition."
    interval: Duration | None = None
    response_condition: DynamicText = "{{ response.statusCode < 400 }}"


class McpToolTrigger(TriggerType):
    type_name = PREFIX + "McpToolTrigger"
    title = "Offer the flow as a tool of an MCP server."
    tool_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    title_: str = Field(alias="title")
    tool_description: str
    mcp_server: str = "default"
    annotations: dict[str, bool] | None = None


class GitEvent(TriggerType):
    type_name = "io.lanner.trigger.GitEvent"
    title = "Start when a Git source was synchronized, failed or was held."
    sources: list[str] | None = None
    events: list[str] | None = None


def _script_triggers() -> tuple[type[TriggerType], ...]:
    made: list[type[TriggerType]] = []
    for language in ("shell", "python", "node", "go", "ruby"):
        for form, task_type in zip(("Script", "Commands"), BY_LANGUAGE[language], strict=True):
            made.append(
                type(
                    f"{language.capitalize()}{form}Trigger",
                    (_ScriptTrigger, task_type, TriggerType),
                    {
                        "__module__": __name__,
                        "type_name": f"{SCRIPTS}{language}.{form}Trigger",
                        "title": f"Run a {language} script again and again, and start when it says so.",
                    },
                )
            )
    return tuple(made)


class _ScriptTrigger(TriggerType):
    interval: Duration | None = None
    exit_condition: DynamicText | None = None
    edge: bool | None = None


TRIGGER_TYPES: tuple[type[TriggerType], ...] = (
    Schedule,
    ScheduleOnDates,
    Webhook,
    FlowTrigger,
    HttpTrigger,
    McpToolTrigger,
    GitEvent,
    *_script_triggers(),
)
