"""A tiny shell in memory for engine tests: answers asks, keeps pending acts, feeds events. One execution at a time.

It loads only what ``needs`` names (``partial``) and checks after each event that the step agrees with a full view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from namespaces.flows.model import Flow
from runner.engine.advance import advance
from runner.engine.effects import (
    Act,
    Announce,
    Ask,
    CreateRetry,
    Dispatch,
    DropRuns,
    KillAttempt,
    KillChildren,
    Log,
    Question,
    Release,
    RestartSubflow,
    StartIterations,
    StartSubflow,
    StartTimer,
    StopIterations,
    StoreValues,
)
from runner.engine.events import (
    Answered,
    AnyEvent,
    AttemptFinished,
    AttemptStarted,
    IterationsChanged,
    Kill,
    Needs,
    Resume,
    Reviewed,
    Started,
    SubflowChanged,
    SubflowStarted,
    TimerFired,
    TimerKind,
    needs,
)
from runner.engine.states import State
from runner.engine.step import Step
from runner.engine.values import Execution, TaskRun

START = datetime(2026, 1, 1, tzinfo=UTC)

Answer = Callable[[Ask, TaskRun | None], Any]


def terms(**more: Any) -> dict[str, Any]:
    """The answer of an Approval's ask: the defaults of ``flows.md`` 4.15, and what a test wants otherwise."""
    found = {"auto": False, "timeout": None, "comment": "NEVER", "buttons": ["Approve", "Deny"], "url": "http://page"}
    return {**found, "approve": "CONTINUE", "deny": "CANCEL", "expire": "CANCEL", **more}


class Trouble(Exception):
    """Raised by an answer function: the expression cannot be rendered."""


@dataclass
class Shell:
    """``answers`` maps (question, task id) to a value, a function of (ask, run), or a Trouble."""

    flow: Flow
    answers: Mapping[Any, Any] = field(default_factory=dict)
    partial: bool = True
    compare: bool = True
    execution: Execution = field(init=False)
    now: datetime = START
    acts: list[Act] = field(default_factory=list)
    """All acts ever asked for."""
    pending: list[Act] = field(default_factory=list)
    """Dispatches, subflow starts and timers not carried out yet."""
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        self.execution = Execution(
            id="x1",
            namespace=self.flow.namespace,
            flow_id=self.flow.id,
            revision=1,
            history=((State.CREATED, self.now),),
        )

    # ---- events ----

    def send(self, event: AnyEvent) -> Step:
        """Decide on one event, answer what is asked, then keep the result as a database would."""
        first = None
        view = self.view(event)
        changed: dict[str, None] = {}
        queue: list[AnyEvent] = [event]
        acts: list[Act] = []
        while queue:
            current = queue.pop(0)
            step = advance(self.flow, view, current)
            self.steps += 1
            first = first or step
            view = step.execution
            changed.update(dict.fromkeys(step.changed))
            acts.extend(step.acts)
            self.values.update({act.task_run_id: act.values for act in step.acts if isinstance(act, StoreValues)})
            queue.extend(self.answer(ask, view) for ask in step.asks)
        if self.compare and self.partial:
            self._compare(event, view, changed, acts)
        gone = self._dropped(acts)
        runs = {run_id: run for run_id, run in self.execution.runs.items() if run_id not in gone}
        runs.update({run_id: view.runs[run_id] for run_id in changed if run_id in view.runs})
        self.execution = replace(view, runs=runs)
        for act in acts:
            self._take(act)
        assert first is not None
        return first

    def view(self, event: AnyEvent) -> Execution:
        if not self.partial:
            return self.execution
        runs: dict[str, TaskRun] = {}
        match needs(event, self.flow):
            case Needs.NOTHING:
                wanted: list[str | None] = []
            case Needs.ALL:
                wanted = list(self.execution.runs)
            case Needs.LIVE:
                wanted = [run.id for run in self.execution.runs.values() if not run.state.terminal]
                wanted.append(getattr(event, "task_run_id", None))
            case Needs.CHAIN:
                wanted = [getattr(event, "task_run_id", None)]
        for run_id in wanted:
            while run_id is not None and run_id in self.execution.runs and run_id not in runs:
                runs[run_id] = self.execution.runs[run_id]
                run_id = runs[run_id].parent_id
        return replace(self.execution, runs=runs)

    def _compare(self, event: AnyEvent, view: Execution, changed: Mapping[str, None], acts: list[Act]) -> None:
        full = self.execution
        queue: list[AnyEvent] = [event]
        full_changed: dict[str, None] = {}
        full_acts: list[Act] = []
        while queue:
            step = advance(self.flow, full, queue.pop(0))
            full = step.execution
            full_changed.update(dict.fromkeys(step.changed))
            full_acts.extend(step.acts)
            queue.extend(self.answer(ask, full) for ask in step.asks)
        assert list(full_changed) == list(changed)
        assert full_acts == acts
        assert replace(full, runs={}) == replace(view, runs={})
        assert {i: full.runs.get(i) for i in changed} == {i: view.runs.get(i) for i in changed}

    def _dropped(self, acts: list[Act]) -> set[str]:
        gone: set[str] = set()
        for act in acts:
            if isinstance(act, DropRuns):
                gone |= set(act.task_run_ids)
                gone |= {
                    r.id for r in self.execution.runs.values() if act.children_of and r.parent_id == act.children_of
                }
        for run in sorted(self.execution.runs.values(), key=lambda r: r.sequence):
            if run.parent_id in gone:
                gone.add(run.id)
        return gone

    def answer(self, ask: Ask, view: Execution) -> Answered:
        run = view.runs[ask.task_run_id] if ask.task_run_id else None
        key = (ask.question, run.task_id if run else ask.name)
        if ask.question is Question.ITERATION and key not in self.answers:
            return Answered(at=self.now, ask=ask, value=self._stored(ask))
        default: dict[Question, Any] = {
            Question.RUN_IF: True,
            Question.CONDITION: True,
            Question.PAUSE: (None, None, "RESUME"),
            Question.APPROVAL: terms(),
        }
        found = self.answers.get(key, self.answers.get(ask.question, default.get(ask.question)))
        try:
            if isinstance(found, Trouble):
                raise found
            value = found(ask, run) if callable(found) else found
        except Trouble as error:
            return Answered(at=self.now, ask=ask, error=str(error))
        return Answered(at=self.now, ask=ask, value=value)

    def _stored(self, ask: Ask) -> str:
        assert ask.task_run_id
        return self.values[ask.task_run_id][ask.index]

    def _take(self, act: Act) -> None:
        self.acts.append(act)
        match act:
            case Dispatch() | StartSubflow() | RestartSubflow() | StartTimer() | KillAttempt() | KillChildren():
                self.pending.append(act)
            case StartIterations() | StopIterations():
                self.pending.append(act)
            case StoreValues() | Announce() | Release() | Log() | CreateRetry() | DropRuns():
                pass

    # ---- driving ----

    def start(self) -> Shell:
        self.send(Started(at=self.now))
        return self

    def tick(self, seconds: float = 1) -> None:
        self.now += timedelta(seconds=seconds)

    def begin(self, task_id: str) -> None:
        """The worker starts the oldest pending attempt of a task."""
        act = self._dispatch(task_id)
        self.send(AttemptStarted(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch))

    def end(self, task_id: str, state: State = State.SUCCESS, **more: Any) -> Step:
        """The worker ends the oldest pending attempt of a task (optionally of one ``value``)."""
        act = self._dispatch(task_id, more.pop("value", None))
        self.pending.remove(act)
        return self.send(
            AttemptFinished(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch, state=state, **more)
        )

    def _dispatch(self, task_id: str, value: str | None = None) -> Dispatch:
        for act in self.pending:
            if isinstance(act, Dispatch):
                run = self.execution.runs[act.task_run_id]
                if run.task_id == task_id and value in (None, run.value):
                    return act
        raise AssertionError(f"no dispatch of {task_id} is pending: {self.pending}")

    def subflow(self, task_id: str, state: State | None = State.SUCCESS, child: str = "child", **more: Any) -> None:
        act = next(
            a
            for a in self.pending
            if isinstance(a, StartSubflow | RestartSubflow) and self.execution.runs[a.task_run_id].task_id == task_id
        )
        self.pending.remove(act)
        self.send(SubflowStarted(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch, execution_id=child))
        if state is not None:
            self.send(SubflowChanged(at=self.now, task_run_id=act.task_run_id, execution_id=child, state=state, **more))

    def iterate(self, task_id: str, **changed: Any) -> Step:
        """The pending start of a Loop is carried out, or its iterations have moved."""
        for act in self.pending:
            if isinstance(act, StartIterations) and self.execution.runs[act.task_run_id].task_id == task_id:
                self.pending.remove(act)
                break
        run = self.run(task_id)
        changed.setdefault("total", 3)
        return self.send(IterationsChanged(at=self.now, task_run_id=run.id, epoch=run.epoch, **changed))

    def fire(self, kind: TimerKind) -> Step:
        """Let the earliest timer of a kind fire, at its date."""
        timer = min((a for a in self.pending if isinstance(a, StartTimer) and a.kind == kind), key=lambda a: a.due)
        self.pending.remove(timer)
        self.now = max(self.now, timer.due)
        return self.send(
            TimerFired(at=self.now, kind=kind, task_run_id=timer.task_run_id, epoch=timer.epoch, name=timer.name)
        )

    def run_all(self, results: Mapping[str, State] | None = None) -> Shell:
        """Carry out pending dispatches, subflows and retries, in order, until nothing is left."""
        while self.pending:
            act = self.pending.pop(0)
            self._carry_out(act, results or {})
        return self

    def _carry_out(self, act: Act, results: Mapping[str, State]) -> None:
        match act:
            case Dispatch():
                run = self.execution.runs.get(act.task_run_id)
                state = results.get(run.task_id, State.SUCCESS) if run else State.SUCCESS
                self.send(AttemptStarted(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch))
                self.tick(0.001)
                self.send(AttemptFinished(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch, state=state))
            case StartSubflow() | RestartSubflow():
                run = self.execution.runs[act.task_run_id]
                child = f"child-{act.task_run_id}-{act.epoch}"
                self.send(SubflowStarted(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch, execution_id=child))
                state = results.get(run.task_id, State.SUCCESS)
                self.send(SubflowChanged(at=self.now, task_run_id=act.task_run_id, execution_id=child, state=state))
            case StartIterations():
                run = self.execution.runs[act.task_run_id]
                end = {results.get(run.task_id, State.SUCCESS): 2}
                self.send(
                    IterationsChanged(at=self.now, task_run_id=run.id, epoch=act.epoch, total=2, ended=end, done=True)
                )
            case StartTimer():
                self.now = max(self.now, act.due)
                kind = TimerKind(act.kind)
                self.send(
                    TimerFired(at=self.now, kind=kind, task_run_id=act.task_run_id, epoch=act.epoch, name=act.name)
                )
            case KillAttempt():
                self.send(
                    AttemptFinished(at=self.now, task_run_id=act.task_run_id, epoch=act.epoch, state=State.KILLED)
                )
            case _:
                pass

    def kill(self, *, cascade: bool = True) -> Step:
        return self.send(Kill(at=self.now, cascade=cascade))

    def resume(self, task_run_id: str | None = None, **outputs: Any) -> Step:
        return self.send(Resume(at=self.now, task_run_id=task_run_id, outputs=outputs or None))

    def review(self, task_id: str, decision: str, **outputs: Any) -> Step:
        outputs = {"decision": decision, "on": self.now.isoformat(), **outputs}
        return self.send(Reviewed(at=self.now, task_run_id=self.run(task_id).id, outputs=outputs))

    # ---- looking ----

    def runs(self, task_id: str | None = None) -> list[TaskRun]:
        ordered = sorted(self.execution.runs.values(), key=lambda run: run.sequence)
        return [run for run in ordered if task_id in (None, run.task_id)]

    def run(self, task_id: str, value: str | None = None) -> TaskRun:
        return next(run for run in self.runs(task_id) if value in (None, run.value))

    def states(self) -> dict[str, str]:
        """Task id (and value) to state, in order of creation."""
        return {
            run.task_id + (f"@{run.value}" if run.value is not None else ""): run.state.value for run in self.runs()
        }

    def order(self) -> list[str]:
        return list(self.states())

    @property
    def state(self) -> State:
        return self.execution.state

    def dispatched(self) -> list[str]:
        """Tasks whose dispatch waits to be carried out."""
        return [self.execution.runs[a.task_run_id].task_id for a in self.pending if isinstance(a, Dispatch)]

    def asked_for(self, kind: type) -> list[Any]:
        return [act for act in self.acts if isinstance(act, kind)]


def history(value: TaskRun | Execution) -> list[str]:
    return [state.value for state, _ in value.history]
