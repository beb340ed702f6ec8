"""What third parties import to write a type: ``Task`` or ``Trigger``, their contexts, ``Output``, ``RunFailed``.

Stable from 1.0 on (`docs/adr/0010`). A type is one class; its fields are the properties a flow may write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import Field

from namespaces.errors import LannerError
from namespaces.flows.model import Flow
from namespaces.flows.model import Task as FlowTask
from namespaces.plugin import Duration, Dynamic, TaskType, TriggerType
from runner.engine.events import Update
from runner.engine.states import State

__all__ = ["Duration", "Dynamic", "Metric", "Output", "PollContext", "RunContext", "RunFailed", "Task", "Trigger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``type`` is counter, timer (value in seconds) or gauge."""

    name: str
    type: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a run gives: ``values`` become ``outputs.<task>``; ``state`` may be WARNING, SKIPPED or KILLED."""

    values: Mapping[str, Any] | None = None
    state: State = State.SUCCESS
    update: Update | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    """What is noted on the attempt: exit code, task runner and why it was chosen, log file."""


class RunFailed(LannerError):
    """The task failed in an expected way; ``outputs`` are kept all the same (scripts: exit code, vars, files)."""

    code = "task_failed"
    status = 422

    def __init__(
        self,
        message: str,
        *,
        outputs: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
        state: State = State.FAILED,
        **rest: Any,
    ) -> None:
        super().__init__(message, **rest)
        self.outputs = outputs
        self.info = info or {}
        self.state = state


class RunContext(Protocol):
    """What a running task sees of the world; everything it may touch goes through here."""

    flow: Flow
    task: FlowTask
    execution_id: str
    task_run_id: str
    attempt: int
    """From 0."""
    epoch: int
    cancelled: threading.Event
    """Set by a kill or at the timeout: stop soon."""

    @property
    def variables(self) -> Mapping[str, Any]:
        """The expression context: inputs, outputs, vars, trigger, …"""
        ...

    @property
    def working_dir(self) -> Path:
        """A private, empty folder that is removed after the attempt; made at the first use."""
        ...

    def render(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        """Render texts in ``value`` (maps and lists too). Raises ``RenderError``."""
        ...

    def render_typed(self, text: str) -> Any:
        """The native value of a text that is one single expression."""
        ...

    def log(self, level: str, message: str) -> None: ...

    def metric(self, metric: Metric) -> None: ...

    def open(self, uri: str) -> BinaryIO:
        """Read a ``kestra://``, ``nsfile://`` or allowed ``file://`` URI; raises when the execution may not."""
        ...

    def store(self, name: str, content: bytes | BinaryIO | Path) -> str:
        """Keep a file of this task run in internal storage; returns its ``kestra://`` URI."""
        ...

    @property
    def world(self) -> World:
        """KV, state, other executions: the rooms behind the task types of the core."""
        ...


class World(Protocol):
    """The rest of Lanner as core task types need it; each method checks namespace rights itself."""

    def kv_get(self, namespace: str, key: str) -> Any | None: ...

    def kv_set(
        self,
        namespace: str,
        key: str,
        value: Any,
        *,
        type_: str | None,
        overwrite: bool,
        ttl_s: float | None,
        description: str | None,
    ) -> None: ...

    def kv_delete(self, namespace: str, key: str) -> bool: ...

    def kv_keys(self, namespace: str, prefix: str | None) -> list[str]: ...

    def kv_purge(self, filters: Mapping[str, Any]) -> int:
        """Remove expired keys, all keys or old versions; ``filters`` are the properties of ``kv.PurgeKV``."""
        ...

    def may_read(self, uri: str) -> bool:
        """Whether the claim's flow may read a file of another execution (``flows.md`` 9.5)."""
        ...

    def file_exists(self, uri: str) -> bool: ...

    def file_size(self, uri: str) -> int: ...

    def file_delete(self, uri: str) -> bool: ...

    def state_read(self, path: str) -> dict[str, Any] | None:
        """The state store: a JSON map kept under a path of internal storage (``flows.md`` 5.3, 9.5)."""
        ...

    def state_write(self, path: str, data: Mapping[str, Any] | None) -> None: ...

    def namespace_files(self, namespace: str) -> list[str]: ...

    def namespace_file_read(self, namespace: str, path: str) -> bytes: ...

    def namespace_file_write(self, namespace: str, path: str, content: bytes) -> None: ...

    def namespace_file_delete(self, namespace: str, path: str) -> None: ...

    def resume_execution(
        self, execution_id: str, inputs: Mapping[str, Any], *, namespace: str | None, flow_id: str | None
    ) -> None:
        """``namespace`` and ``flow_id``: what the execution has to be of, where they are given."""
        ...

    def kill_execution(self, execution_id: str, cascade: bool) -> None: ...

    def toggle_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None: ...

    def log_rows(
        self,
        execution_id: str,
        task_ids: list[str] | None,
        level: str,
        *,
        namespace: str | None,
        flow_id: str | None,
    ) -> list[dict[str, Any]]: ...

    def purge_logs(self, filters: Mapping[str, Any]) -> int: ...

    def purge_flows(self, filters: Mapping[str, Any]) -> int: ...

    def purge_executions(self, filters: Mapping[str, Any]) -> dict[str, int]: ...

    def batch_outputs(self, parent_run_id: str, task_id: str) -> list[Any]:
        """Flow outputs of the batches of a ForEachItem's middle step, in order; ``{}`` for those without."""
        ...

    def count_executions(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]: ...


class Task(TaskType):
    """Base class of third-party task types: declare fields, write ``run``."""

    def run(self, context: RunContext) -> Output:
        """Do the work. Raise ``RunFailed`` for an expected failure; check ``context.cancelled`` in long loops."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class PollContext:
    """What a polling trigger sees of the world at one look."""

    namespace: str
    flow_id: str
    trigger_id: str
    now: datetime
    """When this look began, aware UTC."""
    previous: datetime | None
    """When the look before began; None at the first one."""
    cancelled: threading.Event
    """Set when the server stops: give up soon."""
    log: Callable[[str, str], None]
    """Level and message, for the server's log."""


class Trigger(TriggerType):
    """Base class of third-party triggers: looked at every ``interval``, starts the flow when ``poll`` gives a map.

    A look runs in a thread of the scheduler, beside few others: it asks and returns, it does not wait for something to
    happen. Looks of one trigger never overlap, and none is made while the execution it started runs.
    """

    interval: Duration = Field(default=timedelta(minutes=1), description="Time between two looks, a second at least.")

    def poll(self, context: PollContext) -> Mapping[str, Any] | None:
        """What the execution finds as ``trigger.*``, or None to start nothing. Raise ``RunFailed`` to tell an error."""
        raise NotImplementedError
