"""The tables of this room: executions, task runs, logs, metrics, timers, trigger state, workers.

State is rows, changed row by row. Hot paths write them with Core statements, never as objects.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from namespaces.store.base import Instant, Json, RowId, partial_index


class ExecutionRow(SQLModel, table=True):
    __tablename__ = "execution"
    __table_args__ = (
        Index("ix_execution_flow", "namespace", "flow_id", "created_at"),
        Index("ix_execution_created", "created_at"),
        Index("ix_execution_state", "state", "created_at"),
        partial_index(
            "ix_execution_open",
            "namespace",
            "flow_id",
            sqlite="finished = 0",
            postgresql="NOT finished",
        ),
        partial_index(
            "ix_execution_parent_run",
            "parent_run_id",
            sqlite="parent_run_id IS NOT NULL",
            postgresql="parent_run_id IS NOT NULL",
        ),
        partial_index(
            "ix_execution_trigger",
            "trigger_execution_id",
            sqlite="trigger_execution_id IS NOT NULL",
            postgresql="trigger_execution_id IS NOT NULL",
        ),
        partial_index(
            "ix_execution_replay",
            "parent_id",
            sqlite="parent_id IS NOT NULL",
            postgresql="parent_id IS NOT NULL",
        ),
    )
    id: str = Field(primary_key=True)
    version: int = 0
    """Rises with every write; each write is refused when another came between (optimistic lock)."""
    namespace: str
    flow_id: str
    revision: int
    generation: int = 0
    """Generation of the registry at the start: subflows, files and KV from Git are read as of it."""
    state: str
    finished: bool = False
    slot: bool = False
    """Holds one of the flow's concurrency slots."""
    kind: str = "NORMAL"
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    ended_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    schedule_date: datetime | None = Field(default=None, sa_column=Column(Instant))
    history: Any = Field(default=None, sa_column=Column(Json))
    """``[[state, microseconds], …]``."""
    labels: Any = Field(default=None, sa_column=Column(Json))
    """``[[key, value], …]``."""
    inputs: Any = Field(default=None, sa_column=Column(Json))
    variables: Any = Field(default=None, sa_column=Column(Json))
    outputs: Any = Field(default=None, sa_column=Column(Json))
    trigger: Any = Field(default=None, sa_column=Column(Json))
    """``{id, type, variables}`` of what started it."""
    progress: Any = Field(default=None, sa_column=Column(Json))
    """The engine's root scope and counters."""
    error: str | None = Field(default=None, sa_type=Text)
    parent_run_id: str | None = None
    """Task run of the Subflow (or loop) task that started this execution."""
    trigger_execution_id: str | None = None
    """Execution that caused this one: a parent by Subflow, an upstream by a Flow trigger."""
    depth: int = 0
    """Subflow depth."""
    parent_id: str | None = None
    """Execution this one is a replay of."""
    original_id: str
    attempt_number: int = 1
    original_created_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    breakpoints: Any = Field(default=None, sa_column=Column(Json))
    loop_run: Any = Field(default=None, sa_column=Column(Json))
    """Of an iteration of a Loop: ``{taskId, taskRunId, index, key?, value, parents}``."""
    loop_index: int | None = None
    """The same index, to sort by."""
    iterations: int | None = None
    """Iterations that Loops have made below this execution: they count as its task runs."""
    commit: str | None = None
    source: str | None = None
    recoveries: int = 0
    """How often the reconciler had to help."""


class ExecutionLabelRow(SQLModel, table=True):
    __tablename__ = "execution_label"
    __table_args__ = (Index("ix_execution_label_key", "key", "value"),)
    execution_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    value: str


class TaskRunRow(SQLModel, table=True):
    __tablename__ = "task_run"
    __table_args__ = (
        Index("ix_task_run_execution", "execution_id", "sequence"),
        Index("ix_task_run_task", "execution_id", "task_id", "address"),
        Index("ix_task_run_parent", "parent_id"),
        partial_index(
            "ix_task_run_open",
            "execution_id",
            "state",
            sqlite="terminal = 0",
            postgresql="NOT terminal",
        ),
        partial_index(
            "ix_task_run_worker",
            "worker_id",
            sqlite="worker_id IS NOT NULL",
            postgresql="worker_id IS NOT NULL",
        ),
    )
    id: str = Field(primary_key=True)
    execution_id: str
    task_id: str
    parent_id: str | None = None
    value: str | None = Field(default=None, sa_type=Text)
    iteration: int | None = None
    path: Any = Field(default=None, sa_column=Column(Json))
    """Values of the enclosing loops, outermost first, the own value last."""
    address: str = ""
    """Short digest of ``path``, empty without one: how ``outputs.task[value]`` finds its row among thousands."""
    sequence: int
    state: str
    terminal: bool = False
    epoch: int = 0
    history: Any = Field(default=None, sa_column=Column(Json))
    attempts: Any = Field(default=None, sa_column=Column(Json))
    outputs: Any = Field(default=None, sa_column=Column(Json))
    outputs_uri: str | None = None
    """Where large outputs are kept instead."""
    progress: Any = Field(default=None, sa_column=Column(Json))
    error: str | None = Field(default=None, sa_type=Text)
    worker_id: str | None = None
    """Worker that has claimed the present epoch; None when nobody has."""
    claimed_at: datetime | None = Field(default=None, sa_column=Column(Instant))


class IterationRow(SQLModel, table=True):
    """Values of a loop that were put aside until their turn comes."""

    __tablename__ = "iteration_value"
    task_run_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    value: str = Field(sa_type=Text)
    key: str | None = Field(default=None, sa_type=Text)
    """Of a map that a Loop goes through."""


class BatchSetRow(SQLModel, table=True):
    """The child executions of one ForEachItem or Loop, counted by how they ended: no end has to look at the others."""

    __tablename__ = "batch_set"
    task_run_id: str = Field(primary_key=True)
    epoch: int
    """Assignment of the task run that these batches belong to."""
    loop: bool = False
    """Of a Loop; ``started`` and the columns from ``again`` on are for these only."""
    total: int
    success: int = 0
    warning: int = 0
    failed: int = 0
    killed: int = 0
    cancelled: int = 0
    started: int = 0
    """Iterations that were created, the first ones of all values."""
    paused: int = 0
    again: int = 0
    """Iterations that ended and wait to be restarted."""
    halted: bool = False
    """Nothing further starts: an iteration failed, ``breakWhen`` held, or the execution is about to end."""
    stopped: bool = False
    """The execution is about to end: it waits for the iterations that run, whatever has failed."""
    stored: bool = False
    """Outputs of iterations are kept in files (``fetchType``)."""


class BatchRow(SQLModel, table=True):
    """One batch of a ForEachItem, or value of a Loop, and the execution it went to."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("ix_batch_execution", "execution_id"),
        partial_index(
            "ix_batch_waiting",
            "task_run_id",
            "state",
            sqlite="state IN ('PAUSED', 'RESTARTED')",
            postgresql="state IN ('PAUSED', 'RESTARTED')",
        ),
    )
    task_run_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    execution_id: str
    state: str | None = None
    """The end that was counted; None while it runs, RESTARTED while it is to be run again; or PAUSED."""


class LogRow(SQLModel, table=True):
    __tablename__ = "log_line"
    __table_args__ = (
        Index("ix_log_line_execution", "execution_id", "id"),
        Index("ix_log_line_at", "at"),
        Index("ix_log_line_flow", "namespace", "flow_id", "at"),
        partial_index(
            "uq_log_line_seq",
            "task_run_id",
            "attempt",
            "seq",
            unique=True,
            sqlite="seq IS NOT NULL",
            postgresql="seq IS NOT NULL",
        ),
    )
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(Instant, nullable=False))
    level: int
    """10 TRACE, 20 DEBUG, 30 INFO, 40 WARN, 50 ERROR."""
    namespace: str
    flow_id: str
    execution_id: str | None = None
    task_id: str | None = None
    task_run_id: str | None = None
    attempt: int = 0
    trigger_id: str | None = None
    seq: int | None = None
    """Line number given by the attempt's supervisor: a line that comes twice is kept once."""
    message: str = Field(sa_type=Text)


class MetricRow(SQLModel, table=True):
    __tablename__ = "metric"
    __table_args__ = (
        Index("ix_metric_execution", "execution_id", "id"),
        Index("ix_metric_flow", "namespace", "flow_id", "name", "at"),
    )
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(Instant, nullable=False))
    namespace: str
    flow_id: str
    execution_id: str
    task_id: str
    task_run_id: str
    type: str
    name: str
    value: float
    """Timers in seconds."""
    tags: Any = Field(default=None, sa_column=Column(Json))


class TimerRow(SQLModel, table=True):
    __tablename__ = "timer"
    __table_args__ = (Index("ix_timer_due", "due_at"), Index("ix_timer_execution", "execution_id"))
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    due_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    kind: str
    execution_id: str
    task_run_id: str | None = None
    epoch: int = 0
    name: str = ""
    payload: Any = Field(default=None, sa_column=Column(Json))
    failures: int = 0


class IdempotencyRow(SQLModel, table=True):
    """One delivery makes one execution: the key of every accepted call, kept 7 days."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_created", "created_at"),)
    namespace: str = Field(primary_key=True)
    flow_id: str = Field(primary_key=True)
    trigger_id: str = Field(primary_key=True)
    """Trigger id, or ``api`` for direct starts."""
    key: str = Field(primary_key=True)
    execution_id: str
    body_hash: str
    created_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class TaskCacheRow(SQLModel, table=True):
    """Outputs of a task with ``taskCache``, by the hash of what it was given."""

    __tablename__ = "task_cache"
    __table_args__ = (
        Index("ix_task_cache_task", "namespace", "flow_id", "task_id", "stored_at"),
        Index("ix_task_cache_expires", "expires_at"),
    )
    key: str = Field(primary_key=True)
    namespace: str
    flow_id: str
    task_id: str
    outputs: Any = Field(default=None, sa_column=Column(Json))
    outputs_uri: str | None = None
    """Where large outputs are kept instead."""
    stored_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    expires_at: datetime | None = Field(default=None, sa_column=Column(Instant))


class QuotaStartRow(SQLModel, table=True):
    """One start of a flow that has quotas; a restart is one more (``attempt``)."""

    __tablename__ = "quota_start"
    __table_args__ = (Index("ix_quota_start_flow", "namespace", "flow_id", "at"),)
    execution_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    namespace: str
    flow_id: str
    at: datetime = Field(sa_column=Column(Instant, nullable=False))


class TriggerStateRow(SQLModel, table=True):
    __tablename__ = "trigger_state"
    __table_args__ = (Index("ix_trigger_state_next", "next_at"), Index("ix_trigger_state_lock", "execution_id"))
    namespace: str = Field(primary_key=True)
    flow_id: str = Field(primary_key=True)
    trigger_id: str = Field(primary_key=True)
    type: str
    disabled: bool = False
    """Switched off at run time; the declaration may switch it off too."""
    declared: str = ""
    """Checksum of what the state was computed from; a changed cron starts anew."""
    watermark: datetime | None = Field(default=None, sa_column=Column(Instant))
    """The last fire that was decided."""
    last_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    next_at: datetime | None = Field(default=None, sa_column=Column(Instant))
    execution_id: str | None = None
    """The running execution that locks the trigger."""
    backfill: Any = Field(default=None, sa_column=Column(Json))
    memory: Any = Field(default=None, sa_column=Column(Json))
    """What a multi-condition trigger has seen so far."""
    error: str | None = Field(default=None, sa_type=Text)
    failures: int = 0
    updated_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class FireRow(SQLModel, table=True):
    """One decided moment of a schedule: never executed twice, never skipped silently."""

    __tablename__ = "fire"
    __table_args__ = (Index("ix_fire_decided", "decided_at"),)
    namespace: str = Field(primary_key=True)
    flow_id: str = Field(primary_key=True)
    trigger_id: str = Field(primary_key=True)
    scheduled_for: datetime = Field(sa_column=Column(Instant, primary_key=True))
    backfill: str = Field(default="", primary_key=True)
    """Id of the backfill that fired it, empty for the regular schedule."""
    decision: str
    """``started`` or the reason of the skip."""
    execution_id: str | None = None
    count: int = 1
    """How many moments this row stands for (a capped catch-up)."""
    decided_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class WorkerRow(SQLModel, table=True):
    __tablename__ = "worker"
    id: str = Field(primary_key=True)
    host: str
    boot_id: str
    pid: int
    process_start: str
    """Start time of the process as the kernel tells it: a pid alone may be somebody else's."""
    groups: Any = Field(default=None, sa_column=Column(Json))
    state: str = "RUNNING"
    started_at: datetime = Field(sa_column=Column(Instant, nullable=False))
    heartbeat_at: datetime = Field(sa_column=Column(Instant, nullable=False))


class LateResultRow(SQLModel, table=True):
    """A result that came with an old epoch: kept as evidence, changes nothing."""

    __tablename__ = "late_result"
    id: int | None = Field(default=None, sa_column=Column(RowId, primary_key=True, autoincrement=True))
    at: datetime = Field(sa_column=Column(Instant, nullable=False))
    execution_id: str
    task_run_id: str
    epoch: int
    state: str
