"""What a decision asks for. *Ask* effects are answered in memory before anything is written; *act* effects are
written with the decision and carried out afterwards, at least once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from runner.engine.states import State


class Question(StrEnum):
    RUN_IF = "run_if"
    """Answer: bool."""
    CONDITION = "condition"
    """If and LoopUntil: bool."""
    SWITCH = "switch"
    """The rendered text."""
    VALUES = "values"
    """ForEach, EachParallel: tuple of text, distinct, in order."""
    ITERATION = "iteration"
    """The text of one value, ``index`` says which (``name``: for which task); asked when values were put aside."""
    PAUSE = "pause"
    """Pause: (pauseDuration or None, timeout or None, behavior): two timedeltas and the rendered word."""
    APPROVAL = "approval"
    """Approval: a map of ``auto`` (bool), ``timeout`` (timedelta or None), ``comment`` (the rendered word), ``buttons``
    (two texts), ``approve``, ``deny``, ``expire`` (behaviours) and ``url`` (of the execution's page)."""
    LISTENERS = "listeners"
    """The flow's listeners whose conditions hold: list of their numbers, from 0."""
    OUTPUTS = "outputs"
    """The flow's outputs: a map."""
    SLA = "sla"
    """EXECUTION_ASSERTION number ``index`` of the flow, ``name`` is its id: bool, true when it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    question: Question
    task_run_id: str | None = None
    index: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Have a worker (or, for inline task types, the shell itself) run one attempt."""

    task_run_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSubflow:
    task_run_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSubflow:
    """Restart the failed child of a Subflow task in place (``restartBehavior: RETRY_FAILED``)."""

    task_run_id: str
    execution_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBatches:
    """Start one child execution per batch of a ForEachItem; ``again``: restart those that failed instead."""

    task_run_id: str
    epoch: int
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartIterations:
    """Start the iterations of a Loop; ``again``: restart those that did not end well, then start the missing ones."""

    task_run_id: str
    epoch: int
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopIterations:
    """Start no further iteration of this Loop; ``kill`` those that run (``cascade``: with their subflows)."""

    task_run_id: str
    kill: bool
    cascade: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTimer:
    """Give back a ``TimerFired`` at ``due`` (plus up to ``spread``, drawn by the shell).

    ``kind`` is a ``TimerKind`` word; a timer whose ``epoch`` or task run no longer fits is ignored when it fires.
    """

    kind: str
    due: datetime
    task_run_id: str | None = None
    epoch: int = 0
    spread: timedelta = timedelta()
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillAttempt:
    """End the processes of a running attempt; its own end is reported like any other."""

    task_run_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KillChildren:
    """Kill the executions that this task run (or, None, this execution) started."""

    task_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreValues:
    """Put the values of a loop aside, in the deciding transaction; ``Question.ITERATION`` reads them one by one.

    That question may come in the same decision (the first value's tasks were skipped): the shell has to answer it
    from the values it is about to write.

    ``copy_of`` (replay) names the task run of the old execution whose values are to be copied instead.
    """

    task_run_id: str
    values: tuple[str, ...]
    copy_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRuns:
    """Remove these task runs and everything below them (a LoopUntil's finished pass, restart).

    Done in the deciding transaction, before the changed task runs are written: doing it later could remove what
    came in their place. ``children_of`` keeps that task run itself.
    """

    task_run_ids: tuple[str, ...] = ()
    children_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A line of the execution's log."""

    level: str
    message: str
    task_run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """The execution reached ``state``: flow triggers, a waiting parent, listeners, live pages want to know."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The execution is finished: free its concurrency slot, if it holds one, and wake the oldest QUEUED one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRetry:
    """Start a fresh execution in this one's place at ``due`` (retry with CREATE_NEW_EXECUTION)."""

    due: datetime
    spread: timedelta = timedelta()


Act = (
    Dispatch
    | StartSubflow
    | RestartSubflow
    | StartBatches
    | StartIterations
    | StopIterations
    | StartTimer
    | KillAttempt
    | KillChildren
    | StoreValues
    | DropRuns
    | Log
    | Announce
    | Release
    | CreateRetry
)
