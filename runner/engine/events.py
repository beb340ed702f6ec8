"""Everything that can happen to an execution. Each event carries its own time; handling one twice is harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from namespaces.flows.model import Flow, RetryBehavior
from runner.engine.effects import Ask
from runner.engine.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A slot is free and the start date has come: CREATED or QUEUED becomes RUNNING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Event):
    """The concurrency limit is reached, behaviour QUEUE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """Ends an execution that has not begun: concurrency or quota (CANCELLED, FAILED), bad trigger inputs (FAILED)."""

    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """The answer to an ask effect. Exactly one of ``value`` and ``error`` counts; ``error`` is the render error."""

    ask: Ask
    value: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """A worker has registered the attempt's process (or thread); the task run is RUNNING."""

    task_run_id: str
    epoch: int
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What an execution-updating task (Labels, SetVariables, UnsetVariables, Exit) asks of the execution."""

    labels: tuple[tuple[str, str], ...] = ()
    variables: Mapping[str, Any] | None = None
    """The whole new ``vars`` map, or None for no change."""
    exit_state: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished(Event):
    """An attempt has ended: SUCCESS, WARNING, FAILED, KILLED, SKIPPED or CANCELLED, before flags and retry are applied.

    ``started_at`` is noted as RUNNING when no ``AttemptStarted`` came before (inline tasks).
    """

    task_run_id: str
    epoch: int
    state: State
    started_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    update: Update | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost(Event):
    """The worker of an attempt is gone: assign again (epoch + 1) or fail, by ``onWorkerLost``."""

    task_run_id: str
    epoch: int
    reason: str = "worker lost"
    policy: str | None = None
    """The namespace's ``on_worker_lost``, used when neither task nor flow says RESUBMIT or FAIL."""


class TimerKind(StrEnum):
    RETRY = "retry"
    PAUSE = "pause"
    """End of ``pauseDuration``."""
    TIMEOUT = "timeout"
    """End of the ``timeout`` of a Pause or Approval."""
    LOOP = "loop"
    """Next pass of a LoopUntil."""
    SLA = "sla"
    """MAX_DURATION of an SLA; ``name`` is its id."""
    STOP = "stop"
    """Look once more, with a wide view, for what an execution that is to end must not start or wait for."""
    START = "start"
    """``scheduleDate`` has come (handled by the shell's admission, never by the engine)."""
    NEW_EXECUTION = "new_execution"
    """A retry that creates a new execution is due (handled by the shell)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Event):
    kind: TimerKind
    task_run_id: str | None = None
    epoch: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubflowStarted(Event):
    """The child execution of a Subflow task exists (``execution_id``). ``wait`` false ends the task at once."""

    task_run_id: str
    epoch: int
    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubflowChanged(Event):
    """The child ended, paused or went on; ``outputs`` are its flow outputs, when ended.

    ``error`` fails the task whatever the child's state: its legacy ``outputs`` could not be rendered.
    """

    task_run_id: str
    execution_id: str
    state: State
    outputs: Mapping[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchesChanged(Event):
    """How far the child executions of a ForEachItem are: ``total`` batches, how many wait or ended in which state.

    The first one begins the attempt, the one with ``done`` ends it.
    """

    task_run_id: str
    epoch: int
    total: int
    ended: Mapping[State, int] = field(default_factory=dict)
    paused: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationsChanged(Event):
    """How far the iterations of a Loop are: ``total`` values, ``running`` (``paused`` of them wait), ended by state.

    The first one begins the attempt, the one with ``done`` ends it; ``outputs`` are then the declared ones.
    """

    task_run_id: str
    epoch: int
    total: int
    running: int = 0
    paused: int = 0
    ended: Mapping[State, int] = field(default_factory=dict)
    done: bool = False
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildResult:
    """How one child of a WorkingDirectory ended, flags and retries already applied by the worker.

    ``attempts`` are (state, started, ended), oldest first; empty for a child that its ``runIf`` skipped.
    """

    task_id: str
    state: State
    started_at: datetime
    ended_at: datetime
    attempts: tuple[tuple[State, datetime, datetime], ...] = ()
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFinished(Event):
    """A WorkingDirectory's attempt has ended; ``children`` are those that ran, in order.

    ``state`` is that of the block itself: FAILED when its own files could not be prepared, KILLED when it was
    interrupted, else SUCCESS; the children's states count besides.
    """

    task_run_id: str
    epoch: int
    children: tuple[ChildResult, ...] = ()
    state: State = State.SUCCESS
    started_at: datetime | None = None
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Event):
    cascade: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Event):
    """By a person or the API; only from RUNNING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Event):
    """``task_run_id`` None: the first PAUSED task run, or the execution when it was paused by hand.

    ``outputs`` become the Pause task's outputs (``onResume``, ``resumed``).
    """

    task_run_id: str | None = None
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed(Event):
    """A person decided on an Approval. ``outputs``: ``decision`` (APPROVED or DENIED), ``by``, ``on``, ``comment`` and
    the resolved ``inputs``; what the task asks for was checked before.
    """

    task_run_id: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Event):
    """Run failed, paused, killed and cancelled task runs again (``flows.md`` 3.7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunMarked(Event):
    """A person sets a task run to a terminal state; the execution goes on from there."""

    task_run_id: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceRun(Event):
    """CREATED or QUEUED: run now, limits or not. PAUSED: resume. Else: look again at what is waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken(Event):
    """The engine or shell cannot go on with this execution: its last live task run fails, else the execution."""

    reason: str


AnyEvent = (
    Started
    | Queued
    | Refused
    | Answered
    | AttemptStarted
    | AttemptFinished
    | BlockFinished
    | WorkerLost
    | TimerFired
    | SubflowStarted
    | SubflowChanged
    | BatchesChanged
    | IterationsChanged
    | Kill
    | Pause
    | Resume
    | Reviewed
    | Restart
    | TaskRunMarked
    | ForceRun
    | Broken
)


class Needs(Enum):
    """Which task runs a view must hold before an event can be decided."""

    NOTHING = "nothing"
    CHAIN = "chain"
    """The event's task run and all its ancestors."""
    LIVE = "live"
    """Every task run that is not terminal, and all ancestors of those."""
    ALL = "all"


def needs(event: AnyEvent, flow: Flow | None = None) -> Needs:
    """What the shell has to load for this event.

    With ``flow`` the answer also covers decisions that end a whole execution because of one attempt (a retry that
    creates a new execution, an SLA). Runs loaded beyond the answer never change a decision.
    """
    match event:
        case Queued():
            return Needs.NOTHING
        case Started() | Refused() | Kill() | Pause() | Resume() | Reviewed() | ForceRun() | Broken():
            # A fresh execution has no task runs: while ``created`` is 0 there is nothing to load for Started.
            return Needs.LIVE
        case TimerFired(kind=TimerKind.SLA | TimerKind.PAUSE | TimerKind.TIMEOUT | TimerKind.STOP):
            return Needs.LIVE
        case AttemptFinished(update=Update(exit_state=State())):
            return Needs.LIVE
        case Restart() | TaskRunMarked():
            return Needs.ALL
        case _:
            return Needs.LIVE if flow is not None and _may_end_all(flow, event) else Needs.CHAIN


def _may_end_all(flow: Flow, event: AnyEvent) -> bool:
    if any(sla.type == "EXECUTION_ASSERTION" and sla.behavior != "NONE" for sla in flow.sla):
        return True
    if flow.asks_approval:
        return True  # the end of a branch may end the execution
    match event:
        case AttemptFinished(state=State.FAILED) | SubflowChanged(state=State.FAILED) | BatchesChanged(done=True):
            retries = [task.retry for task in flow.walk()]
            return any(r and r.behavior is RetryBehavior.CREATE_NEW_EXECUTION for r in [flow.retry, *retries])
        case _:
            return False
