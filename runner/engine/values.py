"""The frozen values the engine works with: an execution, its task runs and the progress of task lists.

An ``Execution`` is a *view*: ``runs`` may hold only the task runs an event concerns (``needs`` in
``events.py`` says which), so that applying one event costs the same among 10 and among 10,000 task runs.
What a decision must know about the other children of a flowable is summed up in its ``Scope``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from runner.engine.states import State

History = tuple[tuple[State, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Progress of whoever owns task lists: the execution itself or a flowable's task run.

    ``branch`` names the list at work (``tasks``, ``then``, ``cases.x``, ``errors``, ``finally``, …), ``active``
    counts its children that are not terminal, ``next`` is the next child (or iteration) to start, ``size`` the
    number of iterations of a loop. ``started`` and ``done`` are bit sets over the children of a Dag. ``worst`` is
    the worst end of direct children of the *main* list only (errors and finally never decide, ``flows.md`` 3.4);
    ``halted`` says that nothing more of the present list may start. ``iterations`` counts the passes of a LoopUntil.
    """

    branch: str = "tasks"
    active: int = 0
    next: int = 0
    size: int = 0
    started: int = 0
    done: int = 0
    worst: State | None = None
    halted: bool = False
    iterations: int = 0
    since: datetime | None = None
    """When a LoopUntil or Pause began, for its longest duration."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only one kind of flowable needs; JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a task run; ``number`` counts from 0. ``info`` holds worker, task runner, exit code, log file."""

    number: int
    state: State
    started_at: datetime | None = None
    ended_at: datetime | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """One task of one execution; one iteration of a loop is a task run of its own.

    ``epoch`` rises at every (re)assignment: a result with an older one is refused. ``outputs`` are the values the
    task gave, None when it gave none. ``scope`` exists on flowables only.
    """

    id: str
    task_id: str
    parent_id: str | None = None
    value: str | None = None
    iteration: int | None = None
    state: State = State.CREATED
    epoch: int = 0
    history: History = ()
    attempts: tuple[Attempt, ...] = ()
    outputs: Mapping[str, Any] | None = None
    scope: Scope | None = None
    error: str | None = None
    sequence: int = 0
    """Order of creation within the execution, from 0."""

    def to(self, state: State, at: datetime, **changes: Any) -> TaskRun:
        """This task run in another state, the change noted in its history."""
        history = self.history if self.state is state and self.history else (*self.history, (state, at))
        return replace(self, state=state, history=history, **changes)

    @property
    def created_at(self) -> datetime:
        return self.history[0][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of a flow, as far as deciding needs it.

    ``waiting`` counts task runs that are PAUSED, ``retrying`` those that wait for their retry date, ``created`` is
    the number of task runs ever created (the next ``sequence``). ``scope.extra`` of an execution may hold: ``ending``
    (the state it will take once its live task runs are gone; nothing new starts), ``manual`` (paused by hand),
    ``holding`` (how many Pause and Approval tasks are PAUSED), ``sla`` (violated ones).
    """

    id: str
    namespace: str
    flow_id: str
    revision: int
    state: State = State.CREATED
    history: History = ()
    labels: tuple[tuple[str, str], ...] = ()
    variables: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    scope: Scope = field(default_factory=Scope)
    runs: Mapping[str, TaskRun] = field(default_factory=dict)
    waiting: int = 0
    retrying: int = 0
    created: int = 0
    attempt_number: int = 1
    original_created_at: datetime | None = None
    error: str | None = None
    finished: bool = False
    """Terminal and nothing of afterExecution left: the slot is free, the execution may be purged."""

    @property
    def ending(self) -> State | None:
        """The state already decided for a non-terminal execution (kill, Exit, SLA), or None."""
        word = self.scope.extra.get("ending")
        return State(word) if word and not self.state.terminal else None

    def to(self, state: State, at: datetime, **changes: Any) -> Execution:
        history = self.history if self.state is state and self.history else (*self.history, (state, at))
        return replace(self, state=state, history=history, **changes)

    @property
    def created_at(self) -> datetime:
        return self.history[0][1]
