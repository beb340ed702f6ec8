"""The small declared parts of a flow: retries, inputs, outputs, triggers, conditions, limits. Values only.

``model`` gives them on: import from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

Values = Mapping[str, Any]
"""A free map as written: text, numbers, booleans, None, lists and maps."""


class RetryType(StrEnum):
    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    RANDOM = "random"


class RetryBehavior(StrEnum):
    RETRY_FAILED_TASK = "RETRY_FAILED_TASK"
    CREATE_NEW_EXECUTION = "CREATE_NEW_EXECUTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """``flows.md`` 2.2. ``max_attempts`` counts the first try too; None is without a limit."""

    type: RetryType
    interval: timedelta = timedelta()
    min_interval: timedelta = timedelta()
    max_interval: timedelta | None = None
    delay_factor: float = 2.0
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    warning_on_retry: bool = False
    behavior: RetryBehavior = RetryBehavior.RETRY_FAILED_TASK


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One declared input (``flows.md`` 1.4); type-specific properties are in ``properties``."""

    id: str
    type: str
    description: str | None = None
    display_name: str | None = None
    required: bool = True
    defaults: Any = None
    prefill: Any = None
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    properties: Values = field(default_factory=dict)
    written: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOutput:
    id: str
    type: str
    value: Any
    description: str | None = None
    display_name: str | None = None
    required: bool = True
    properties: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a trigger (``flows.md`` 8); nested ones (Not, Or) are in ``conditions``."""

    type: str
    properties: Values = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One declared trigger; ``type`` is canonical, ``properties`` its own properties as written."""

    id: str
    type: str
    properties: Values = field(default_factory=dict)
    written: Values = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    when: str | None = None
    disabled: bool = False
    inputs: Values = field(default_factory=dict)
    labels: Any = None
    stop_after: tuple[str, ...] = ()
    allow_concurrent: bool = False
    fail_on_trigger_error: bool = False


class ConcurrencyBehavior(StrEnum):
    QUEUE = "QUEUE"
    CANCEL = "CANCEL"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    limit: int
    behavior: ConcurrencyBehavior = ConcurrencyBehavior.QUEUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sla:
    """``type`` is MAX_DURATION or EXECUTION_ASSERTION, ``behavior`` FAIL, CANCEL or NONE."""

    id: str
    type: str
    behavior: str
    duration: timedelta | None = None
    assert_: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    condition: str
    message: str
    style: str = "INFO"
    behavior: str = "BLOCK_EXECUTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most ``limit`` starts in a moving window of ``duration``; ``behavior`` is FAIL or CANCEL."""

    duration: timedelta
    limit: int
    behavior: str = "FAIL"
