"""The flow as frozen values: what every other part of Lanner works with.

Built only by ``namespaces.flows.parse``; property values stay as written (expressions unrendered).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from namespaces.flows.parts import Check as Check
from namespaces.flows.parts import Concurrency as Concurrency
from namespaces.flows.parts import ConcurrencyBehavior as ConcurrencyBehavior
from namespaces.flows.parts import Condition as Condition
from namespaces.flows.parts import FlowOutput as FlowOutput
from namespaces.flows.parts import Input as Input
from namespaces.flows.parts import Quota as Quota
from namespaces.flows.parts import Retry as Retry
from namespaces.flows.parts import RetryBehavior as RetryBehavior
from namespaces.flows.parts import RetryType as RetryType
from namespaces.flows.parts import Sla as Sla
from namespaces.flows.parts import Trigger as Trigger
from namespaces.flows.parts import Values as Values


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBase:
    """What every task has (``flows.md`` 2.1).

    ``type`` is the canonical type name, ``properties`` the task type's own properties as written after
    plugin defaults were merged, ``written`` the whole task exactly as in the source (for the API).
    """

    id: str
    type: str
    properties: Values = field(default_factory=dict)
    written: Values = field(default_factory=dict)
    description: str | None = None
    retry: Retry | None = None
    timeout: str | None = None
    """ISO duration or expression, per attempt."""
    disabled: bool = False
    run_if: str | None = None
    allow_failure: bool = False
    allow_warning: bool = False
    log_level: str | None = None
    log_to_file: bool = False
    task_cache: Values | None = None
    worker_group: Values | None = None
    on_worker_lost: str | None = None
    policy_refs: tuple[str, ...] = ()

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        """Child task lists by name, disabled tasks included; empty for a task without children."""
        return {}

    @property
    def lists(self) -> Mapping[str, tuple[Task, ...]]:
        """The lists that run: ``branches``, and what a task type adds to what was written."""
        return self.branches


@dataclass(frozen=True, slots=True, kw_only=True)
class Runnable(TaskBase):
    """A task that a worker (or, for inline task types, the shell) runs; has attempts and outputs."""

    inline: bool = False
    """From the task type: does no I/O and may run again without harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(TaskBase):
    """A flowable with one main list; base of the others, never used by itself."""

    tasks: tuple[Task, ...] = ()
    errors: tuple[Task, ...] = ()
    finally_: tuple[Task, ...] = ()

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        return {"tasks": self.tasks, "errors": self.errors, "finally": self.finally_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential(Block):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowFailure(Block):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(Block):
    concurrent: int = 0
    """At most so many children at once; 0 is without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dag(Block):
    concurrent: int = 0
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Task id to the ids it waits for; ``tasks`` holds the tasks in declaration order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class If(Block):
    """``tasks`` is ``then``; ``else_`` may be empty."""

    condition: str = ""
    else_: tuple[Task, ...] = ()

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        return {"then": self.tasks, "else": self.else_, "errors": self.errors, "finally": self.finally_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Block):
    """``tasks`` is unused; branch names are ``cases.<key>`` and ``defaults``."""

    value: str = ""
    cases: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    defaults: tuple[Task, ...] = ()

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        cases = {f"cases.{key}": tasks for key, tasks in self.cases.items()}
        return {**cases, "defaults": self.defaults, "errors": self.errors, "finally": self.finally_}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEach(Block):
    """ForEach and EachSequential: within one value the tasks run in sequence."""

    values: Any = ()
    """Text to render, or a list as written."""
    concurrency_limit: int = 1
    """Values in progress at once; 0 is without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EachParallel(Block):
    """All tasks of all values at once; ``concurrent`` limits task runs (0: no limit)."""

    values: Any = ()
    concurrent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopUntil(Block):
    condition: str = ""
    interval: timedelta = timedelta(minutes=1)
    max_iterations: int | None = None
    max_duration: timedelta | None = None
    fail_on_max_reached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Block):
    """``tasks`` (legacy) run after the resume; ``on_pause`` is started when the pause begins."""

    pause_duration: str | None = None
    """ISO duration or expression."""
    behavior: str = "RESUME"
    on_resume: tuple[Input, ...] = ()
    on_pause: Task | None = None

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        on_pause = (self.on_pause,) if self.on_pause else ()
        return {"onPause": on_pause, "tasks": self.tasks, "errors": self.errors, "finally": self.finally_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subflow(TaskBase):
    """Starts another flow's execution (``flows.md`` 4.10); strings may be expressions."""

    namespace: str = ""
    flow_id: str = ""
    revision: int | None = None
    inputs: Values = field(default_factory=dict)
    labels: Any = None
    inherit_labels: bool = False
    wait: bool = True
    transmit_failed: bool = True
    outputs: Values | None = None
    schedule_date: str | None = None
    restart_behavior: str = "RETRY_FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory(Block):
    """A block whose children all run in one worker slot, in one directory (``flows.md`` 4.12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches(TaskBase):
    """The middle step of a ForEachItem: one child execution per batch; ``split`` names the task that made them."""

    split: str
    namespace: str
    flow_id: str
    revision: int | None = None
    inputs: Values = field(default_factory=dict)
    labels: Any = ()
    inherit_labels: bool = False
    wait: bool = True
    transmit_failed: bool = True
    schedule_date: str | None = None
    restart_behavior: str = "RETRY_FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEachItem(TaskBase):
    """One sub-execution per batch of a file (``flows.md`` 4.11); what was written is in ``properties``.

    ``steps`` are the three tasks it runs one after the other, which nobody has written: split, items, merge.
    """

    errors: tuple[Task, ...] = ()
    steps: tuple[Task, ...] = ()

    @property
    def lists(self) -> Mapping[str, tuple[Task, ...]]:
        return {"tasks": self.steps, **self.branches}

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        return {"errors": self.errors}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Block):
    """Iterations as executions of kind LOOP (``flows.md`` 4.16)."""

    values: Any = ()
    concurrency_limit: int = 0
    transmit_failed: bool = True
    outputs: tuple[FlowOutput, ...] = ()
    fetch_type: str = "AUTO"
    break_when: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Block):
    """A decision by a person (``flows.md`` 4.15); ``tasks`` is unused, scalars are in ``properties``."""

    inputs: tuple[Input, ...] = ()
    on_wait: tuple[Task, ...] = ()
    on_approve: tuple[Task, ...] = ()
    on_deny: tuple[Task, ...] = ()

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        return {
            "onWait": self.on_wait,
            "onApprove": self.on_approve,
            "onDeny": self.on_deny,
            "errors": self.errors,
            "finally": self.finally_,
        }


Flowable = (
    Sequential
    | AllowFailure
    | Parallel
    | Dag
    | If
    | Switch
    | ForEach
    | EachParallel
    | LoopUntil
    | Pause
    | Loop
    | Approval
)
Executable = Subflow | Batches | Loop
"""Tasks that start other executions and wait for them: to the engine they are leaves."""
Task = Runnable | Flowable | Subflow | ForEachItem | Batches | WorkingDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Legacy: ``tasks`` run after the execution ended when all ``conditions`` hold."""

    tasks: tuple[Task, ...]
    conditions: tuple[Condition, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands: in which list of which parent (None: the flow itself), at which index.

    ``index`` counts enabled tasks only, because a disabled task is treated as if it were not written.
    """

    parent: str | None
    branch: str
    index: int


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One revision of a flow. ``labels`` keep their order; ``language`` is 1 or 2 (``versions.md`` 2)."""

    namespace: str
    id: str
    revision: int = 1
    description: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Input, ...] = ()
    variables: Values = field(default_factory=dict)
    tasks: tuple[Task, ...] = ()
    errors: tuple[Task, ...] = ()
    finally_: tuple[Task, ...] = ()
    after_execution: tuple[Task, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    outputs: tuple[FlowOutput, ...] = ()
    concurrency: Concurrency | None = None
    retry: Retry | None = None
    sla: tuple[Sla, ...] = ()
    checks: tuple[Check, ...] = ()
    disabled: bool = False
    on_worker_lost: str | None = None
    listeners: tuple[Listener, ...] = ()
    quotas: tuple[Quota, ...] = ()
    worker_group: Values | None = None
    policy_refs: tuple[str, ...] = ()
    draft: bool = False
    violations: tuple[str, ...] = ()
    """What policies of the server forbid about it: it cannot be started."""
    language: int = 1
    language_reason: str = ""
    written: Values = field(default_factory=dict)
    """The document as written, plain values, for the API's JSON."""
    whole: Flow | None = field(default=None, repr=False, compare=False)
    """Of the body of a Loop, the flow it stands in."""

    @property
    def branches(self) -> Mapping[str, tuple[Task, ...]]:
        return {
            "tasks": self.tasks,
            "errors": self.errors,
            "finally": self.finally_,
            **({"listeners": listened} if (listened := self.listener_tasks) else {}),
            "afterExecution": self.after_execution,
        }

    @property
    def listener_tasks(self) -> tuple[Task, ...]:
        """The tasks of all listeners as one list."""
        return tuple(task for listener in self.listeners for task in listener.tasks)

    @cached_property
    def bodies(self) -> Mapping[str, Flow]:
        """What an iteration runs, by the id of its Loop: a flow of the Loop's own lists and outputs.

        What concerns a whole run (triggers, concurrency, SLA, ``afterExecution`` …) is left out (``flows.md`` 4.16).
        """
        return {
            task.id: replace(
                self,
                tasks=task.tasks,
                errors=task.errors,
                finally_=task.finally_,
                outputs=task.outputs,
                retry=task.retry or self.retry,
                after_execution=(),
                triggers=(),
                listeners=(),
                concurrency=None,
                sla=(),
                checks=(),
                quotas=(),
                whole=self,
            )
            for task in self.by_id.values()
            if isinstance(task, Loop)
        }

    @cached_property
    def by_id(self) -> Mapping[str, Task]:
        """Every task of the flow, nested ones and the steps of others included, by id."""
        found: dict[str, Task] = {}

        def visit(lists: Mapping[str, tuple[Task, ...]]) -> None:
            for tasks in lists.values():
                for task in tasks:
                    found[task.id] = task
                    visit(task.lists)

        visit(self.branches)
        return found

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Where each enabled task stands, by task id."""
        found: dict[str, Place] = {}

        def visit(parent: str | None, branches: Mapping[str, tuple[Task, ...]]) -> None:
            for name, tasks in branches.items():
                for index, task in enumerate(t for t in tasks if not t.disabled):
                    found[task.id] = Place(parent, name, index)
                    visit(task.id, task.lists)

        visit(None, self.branches)
        return found

    def enabled(self, parent: str | None, branch: str) -> tuple[Task, ...]:
        """The enabled tasks of one list of the flow (``parent`` None) or of a flowable task."""
        return self._lists.get((parent, branch), ())

    @cached_property
    def _lists(self) -> Mapping[tuple[str | None, str], tuple[Task, ...]]:
        lists: dict[tuple[str | None, str], tuple[Task, ...]] = {}

        def visit(parent: str | None, branches: Mapping[str, tuple[Task, ...]]) -> None:
            for name, tasks in branches.items():
                lists[parent, name] = tuple(t for t in tasks if not t.disabled)
                for task in tasks:
                    visit(task.id, task.lists)

        visit(None, self.branches)
        return lists

    @cached_property
    def routed(self) -> bool:
        """Whether some attempt wants a worker of a certain group."""
        return self.worker_group is not None or any(task.worker_group is not None for task in self.walk())

    @cached_property
    def asks_approval(self) -> bool:
        """Whether an Approval is among the tasks: what ends below one may end the whole execution."""
        return any(isinstance(task, Approval) for task in self.walk())

    def walk(self) -> Iterator[Task]:
        """All tasks in document order, parents before children."""
        return iter(self._walked)

    @cached_property
    def _walked(self) -> list[Task]:
        found: list[Task] = []

        def visit(branches: Mapping[str, tuple[Task, ...]]) -> None:
            for tasks in branches.values():
                for task in tasks:
                    found.append(task)
                    visit(task.branches)

        visit(self.branches)
        return found

    def trigger(self, trigger_id: str) -> Trigger | None:
        return next((t for t in self.triggers if t.id == trigger_id), None)
