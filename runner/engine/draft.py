"""The mutable working copy of one ``advance`` call: reading the view, noting changes, asks and acts.

Nothing in here decides anything about flows; it keeps the counters of the execution and of each scope right.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from namespaces.flows.model import Approval, Flow, Pause, Place, Task
from runner.engine.effects import Act, Announce, Ask, Log, Question
from runner.engine.lists import BEFORE_WAIT
from runner.engine.naming import task_run_id
from runner.engine.runs import Runs
from runner.engine.states import State
from runner.engine.step import Step
from runner.engine.values import Execution, History, Scope, TaskRun

BEFORE_THE_GATE = frozenset({State.CREATED, State.QUEUED, State.RESTARTED})
"""States of an execution that may not run yet."""
_SHOWN = frozenset({State.RUNNING, State.PAUSED, State.RETRYING})
_LONGEST_HISTORY = 200


@dataclass(slots=True)
class Progress:
    """A ``Scope`` that can be changed."""

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
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope) -> Progress:
        return cls(
            scope.branch,
            scope.active,
            scope.next,
            scope.size,
            scope.started,
            scope.done,
            scope.worst,
            scope.halted,
            scope.iterations,
            scope.since,
            dict(scope.extra),
        )

    def frozen(self) -> Scope:
        return Scope(
            branch=self.branch,
            active=self.active,
            next=self.next,
            size=self.size,
            started=self.started,
            done=self.done,
            worst=self.worst,
            halted=self.halted,
            iterations=self.iterations,
            since=self.since,
            extra=self.extra,
        )

    def note(self, key: str, value: Any) -> None:
        """Set an entry of ``extra``; None removes it."""
        if value is None:
            self.extra.pop(key, None)
        else:
            self.extra[key] = value


def noted(history: History, state: State, at: datetime) -> History:
    """The history with one more state; dates never run backwards and the length has a bound.

    A loop that waits for weeks would otherwise grow its history at every pass: of a long alternation only the
    beginning and the newest pass are kept.
    """
    if not history:
        return ((state, at),)
    last_state, last_at = history[-1]
    if last_state is state:
        return history
    at = max(at, last_at)
    if len(history) >= _LONGEST_HISTORY and history[-2][0] is state:
        return (*history[:-2], (state, at))
    return (*history, (state, at))


def without_live_attempt(run: TaskRun, state: State, at: datetime) -> TaskRun:
    """The task run with a running attempt marked as ended; KILLED when the task run itself goes on."""
    if not run.attempts or run.attempts[-1].state is not State.RUNNING:
        return run
    last = replace(run.attempts[-1], state=state if state.terminal else State.KILLED, ended_at=at)
    return replace(run, attempts=(*run.attempts[:-1], last))


class Draft:
    """One decision in the making. ``todo`` holds what ``progress.settle`` still has to look at."""

    def __init__(self, flow: Flow, execution: Execution, at: datetime) -> None:
        self.flow = flow
        self.old = execution
        self.at = at
        self.state = execution.state
        self.history = execution.history
        self.labels = execution.labels
        self.variables = execution.variables
        self.outputs = execution.outputs
        self.error = execution.error
        self.finished = execution.finished
        self.waiting = execution.waiting
        self.retrying = execution.retrying
        self.created = execution.created
        self.attempt_number = execution.attempt_number
        self.todo: deque[tuple[str, str | None]] = deque()
        self.stops = False
        """Whether this decision stops the execution early."""
        self.asks: list[Ask] = []
        self.acts: list[Act] = []
        self._base = Runs.of(execution.runs)
        self._new: dict[str, TaskRun] = {}
        self._gone: set[str] = set()
        self._scopes: dict[str | None, Progress] = {}

    # ---- reading -----------------------------------------------------------------------------------------------

    def find(self, run_id: str | None) -> TaskRun | None:
        if run_id is None or run_id in self._gone:
            return None
        return self._new.get(run_id) or self._base.get(run_id)

    def run(self, run_id: str) -> TaskRun:
        """A task run that the view must hold (``events.needs``); KeyError is a bug of the shell."""
        found = self.find(run_id)
        if found is None:
            raise KeyError(f"the view does not hold task run {run_id}")
        return found

    def task(self, run: TaskRun) -> Task:
        return self.flow.by_id[run.task_id]

    def task_or_none(self, run: TaskRun) -> Task | None:
        """For the case that the flow's revision does not know the task."""
        return self.flow.by_id.get(run.task_id)

    def place(self, run: TaskRun) -> Place:
        return self.flow.places[run.task_id]

    def scope(self, owner_id: str | None) -> Progress:
        """The progress of a flowable's task run, or (None) of the execution itself."""
        if owner_id not in self._scopes:
            scope = self.old.scope if owner_id is None else self.run(owner_id).scope
            self._scopes[owner_id] = Progress.of(scope or Scope())
        return self._scopes[owner_id]

    def is_open(self, run: TaskRun) -> bool:
        """Whether a flowable has begun with its children."""
        return run.scope is not None or run.id in self._scopes

    def all_runs(self) -> list[TaskRun]:
        """Every task run of the view in order of creation."""
        runs: Mapping[str, TaskRun] = {**self._base, **self._new}
        return sorted((run for run in runs.values() if run.id not in self._gone), key=lambda run: run.sequence)

    def live(self) -> list[TaskRun]:
        """The task runs of the view that are not terminal, in order of creation."""
        return [run for run in self.all_runs() if not run.state.terminal]

    def ancestors(self, run: TaskRun) -> tuple[TaskRun, ...]:
        """Closest first."""
        found = []
        while run.parent_id is not None:
            run = self.run(run.parent_id)
            found.append(run)
        return tuple(found)

    def children(self, owner_id: str | None) -> list[TaskRun]:
        """The children that the view holds (all of them only in a full view)."""
        return [run for run in self.all_runs() if run.parent_id == owner_id]

    @property
    def ending(self) -> State | None:
        """The state already decided by a kill, an Exit and the like: nothing new may start."""
        if self.state.terminal:
            return None
        word = self.scope(None).extra.get("ending")
        return State(word) if word else None

    @property
    def held(self) -> bool:
        """Whether a Pause or Approval task, a person or the gate keeps new task runs from starting."""
        extra = self.scope(None).extra
        return self.state in BEFORE_THE_GATE or bool(extra.get("manual") or extra.get("holding"))

    def is_before_wait(self, run: TaskRun) -> bool:
        """Whether a task run belongs to what a wait begins with: nothing holds it back."""
        return any(self.place(link).branch in BEFORE_WAIT for link in (run, *self.ancestors(run)))

    # ---- changing ----------------------------------------------------------------------------------------------

    def put(self, run: TaskRun) -> TaskRun:
        self._new[run.id] = run
        return run

    def turn(self, run: TaskRun, state: State, at: datetime | None = None, **changes: Any) -> TaskRun:
        """Another state for a task run: history, the execution's counters and the state it shows."""
        before = run.state
        run = replace(run, state=state, history=noted(run.history, state, at or self.at), **changes)
        if state not in (State.RUNNING, State.PAUSED):
            run = without_live_attempt(run, state, self.at)
        self.put(run)
        if before is not state:
            self.waiting += (state is State.PAUSED) - (before is State.PAUSED)
            self.retrying += (state is State.RETRYING) - (before is State.RETRYING)
            if isinstance(self.task_or_none(run), Pause | Approval):
                scope = self.scope(None)
                holding = scope.extra.get("holding", 0) + (state is State.PAUSED) - (before is State.PAUSED)
                scope.note("holding", holding or None)
            self.show()
        return run

    def show(self) -> None:
        """Let the execution show what its task runs do: PAUSED before RETRYING before RUNNING."""
        if self.state not in _SHOWN:
            return
        if self.waiting or self.scope(None).extra.get("manual"):
            self.turn_execution(State.PAUSED)
        else:
            self.turn_execution(State.RETRYING if self.retrying else State.RUNNING)

    def turn_execution(self, state: State) -> None:
        if self.state is state:
            return
        self.state = state
        self.history = noted(self.history, state, self.at)
        self.acts.append(Announce(state=state))

    def create(
        self, owner_id: str | None, task: Task, value: str | None = None, iteration: int | None = None
    ) -> TaskRun:
        """A new task run below ``owner_id``; whether it may begin is decided when its turn comes."""
        epoch = self.attempt_number if owner_id is None else self.run(owner_id).epoch
        run = TaskRun(
            id=task_run_id(self.old.id, task.id, owner_id, epoch, iteration),
            task_id=task.id,
            parent_id=owner_id,
            value=value,
            iteration=iteration,
            history=((State.CREATED, self.at),),
            sequence=self.created,
        )
        self.created += 1
        self.put(run)
        self.scope(owner_id).active += 1
        self.todo.append(("begin", run.id))
        return run

    def drop(self, run_ids: set[str]) -> None:
        """Forget task runs of the view together with everything below them."""
        gone = set(run_ids)
        for run in self.all_runs():  # in order of creation: parents come before their children
            if run.parent_id in gone:
                gone.add(run.id)
        for run_id in gone:
            self._new.pop(run_id, None)
            self._scopes.pop(run_id, None)
        self._gone |= gone

    def reset_scope(self, owner_id: str | None, progress: Progress) -> Progress:
        self._scopes[owner_id] = progress
        return progress

    def close_scope(self, owner_id: str) -> None:
        """The flowable begins anew: it has no children any more."""
        self._scopes.pop(owner_id, None)
        self.put(replace(self.run(owner_id), scope=None))

    def ask(self, question: Question, run: TaskRun | None = None, index: int = 0, name: str = "") -> None:
        self.asks.append(Ask(question=question, task_run_id=run.id if run else None, index=index, name=name))

    def act(self, act: Act) -> None:
        self.acts.append(act)

    def log_error(self, message: str, run: TaskRun | None = None) -> None:
        self.acts.append(Log(level="ERROR", message=message, task_run_id=run.id if run else None))

    # ---- the outcome -------------------------------------------------------------------------------------------

    def step(self) -> Step:
        """Everything frozen; the old execution itself when nothing has changed."""
        scope = self.old.scope
        for owner_id, progress in self._scopes.items():
            frozen = progress.frozen()
            if owner_id is None:
                scope = frozen if frozen != scope else scope
            elif (run := self.run(owner_id)).scope != frozen:
                self.put(replace(run, scope=frozen))
        new = {run_id: run for run_id, run in self._new.items() if run is not self._base.get(run_id)}
        execution = replace(
            self.old,
            state=self.state,
            history=self.history,
            labels=self.labels,
            variables=self.variables,
            outputs=self.outputs,
            scope=scope,
            runs=self._base.without(self._gone).changed(new),
            waiting=self.waiting,
            retrying=self.retrying,
            created=self.created,
            attempt_number=self.attempt_number,
            error=self.error,
            finished=self.finished,
        )
        changed = tuple(sorted(new, key=lambda run_id: new[run_id].sequence))
        if not changed and not self.acts and not self.asks and not self._gone and execution == self.old:
            return Step(execution=self.old, ignored="nothing changes")
        return Step(execution=execution, changed=changed, acts=tuple(self.acts), asks=tuple(self.asks))
