"""A driver that lets random things happen to an execution, and the invariants that must hold all the while."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from namespaces.flows.model import Approval, Loop, LoopUntil, Pause, Runnable, Subflow, WorkingDirectory
from runner.engine.effects import (
    Dispatch,
    KillAttempt,
    KillChildren,
    Question,
    RestartSubflow,
    StartIterations,
    StartSubflow,
    StartTimer,
    StopIterations,
)
from runner.engine.events import (
    AnyEvent,
    AttemptFinished,
    AttemptStarted,
    BlockFinished,
    Broken,
    ChildResult,
    ForceRun,
    IterationsChanged,
    Kill,
    Restart,
    Resume,
    Reviewed,
    Started,
    SubflowChanged,
    SubflowStarted,
    TaskRunMarked,
    TimerFired,
    TimerKind,
    Update,
    WorkerLost,
)
from runner.engine.events import Pause as PauseByHand
from runner.engine.ready import ready
from runner.engine.states import State
from runner.engine.transitions import EXECUTION, TASK_RUN
from tests.runner.engine.shell import Shell, Trouble

Key = tuple[str, int]
LEAF = (Runnable, WorkingDirectory, Subflow, Loop)
REPEATABLE = (AttemptStarted, AttemptFinished, BlockFinished, TimerFired, SubflowStarted, SubflowChanged, Started)


def digest(*parts: Any) -> int:
    """A stable number for the same parts, whatever the order in which things are asked."""
    return zlib.crc32(repr(parts).encode())


def answers(salt: int) -> dict[Any, Any]:
    """Answers that depend only on what is asked about."""

    def number(ask: Any, run: Any) -> int:
        return digest(salt, ask.question, run.task_id if run else ask.name, run.value if run else None, ask.index)

    def condition(ask: Any, run: Any) -> bool:
        passes = run.scope.iterations if run.scope is not None else 0
        return digest(number(ask, run), passes) % 3 != 0

    def values(ask: Any, run: Any) -> tuple[str, ...]:
        if number(ask, run) % 13 == 0:
            raise Trouble("no values")
        return tuple(str(index) for index in range(number(ask, run) % 4))

    return {
        Question.RUN_IF: lambda ask, run: number(ask, run) % 4 != 0,
        Question.CONDITION: condition,
        Question.SWITCH: lambda ask, run: "abc"[number(ask, run) % 3],
        Question.VALUES: values,
        Question.OUTPUTS: {"o": 1},
    }


@dataclass
class Going:
    """The iterations of one Loop: how many there are, and how those that have ended did."""

    total: int
    ended: Counter[State] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return max(0, self.total - self.ended.total())


@dataclass
class Chaos:
    """``wild`` lets people interfere: kills, pauses, restarts, lost workers, repeated and late reports."""

    shell: Shell
    random: Random
    wild: bool = True
    results: bool = False
    """Results depend on the task run alone, not on the order of events."""
    running: set[Key] = field(default_factory=set)
    children: dict[str, str] = field(default_factory=dict)
    """Child execution to the task run that waits for it."""
    loops: dict[str, Going] = field(default_factory=dict)
    """Iterations by the task run of their Loop."""
    sent: list[AnyEvent] = field(default_factory=list)
    reopened: bool = False

    # ---- driving ----

    def play(self, steps: int) -> None:
        self.send(Started(at=self.shell.now))
        for _ in range(steps):
            if self.shell.execution.finished and not (self.wild and self.random.random() < 0.1):
                break
            self.move()
        self.drain()

    def move(self) -> None:
        self.shell.tick(0.01)
        if self.wild and self.random.random() < 0.25:
            self.interfere()
        else:
            self.work(self.random.choice)

    def work(self, choose: Any) -> bool:
        choices: list[Any] = [act for act in self.shell.pending if not isinstance(act, KillChildren)]
        choices += sorted(self.running) + sorted(self.children) + sorted(f"loop {run}" for run in self.loops)
        if not choices:
            return False
        chosen = choose(choices)
        if isinstance(chosen, tuple):
            self.finish(chosen)
        elif isinstance(chosen, str) and chosen.startswith("loop "):
            self.end_iteration(chosen.removeprefix("loop "))
        elif isinstance(chosen, str):
            self.end_child(chosen)
        else:
            self.shell.pending.remove(chosen)
            self.carry_out(chosen)
        return True

    def drain(self) -> None:
        """Everything that is pending happens; what is paused is resumed; then it must be over."""
        for _ in range(5000):
            if self.shell.execution.finished:
                return
            if self.shell.state in (State.CREATED, State.QUEUED, State.RESTARTED):
                self.send(Started(at=self.shell.now))
            elif not self.work(lambda choices: choices[0]):
                assert not self.send(self.decision()).ignored, f"it hangs: {self.story()}"
        raise AssertionError(f"it never ends: {self.story()}")

    def decision(self) -> AnyEvent:
        """What a person does to whatever waits for one."""
        for run in self.shell.runs():
            if run.state is State.PAUSED and isinstance(self.task(run), Approval):
                word = self.random.choice(["APPROVED", "DENIED"])
                return Reviewed(at=self.shell.now, task_run_id=run.id, outputs={"decision": word})
        return Resume(at=self.shell.now)

    def send(self, event: AnyEvent) -> Any:
        before = self.shell.execution
        step = self.shell.send(event)
        self.sent.append(event)
        self.reopened = isinstance(event, Restart | TaskRunMarked)
        try:
            self.check(before)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from error
        return step

    def story(self) -> str:
        """What happened to which flow, for a failing example."""
        names = {run.id: run.task_id for run in self.shell.execution.runs.values()}
        events = [
            " ".join(
                [
                    type(event).__name__,
                    names.get(getattr(event, "task_run_id", None) or "", ""),
                    getattr(event, "state", ""),
                    str(getattr(event, "kind", "")),
                ]
            )
            for event in self.sent
        ]
        return "\n".join([describe(self.shell.flow), *events, str(self.shell.state), str(self.shell.states())])

    def carry_out(self, act: Any) -> None:
        run = self.shell.execution.runs.get(act.task_run_id) if act.task_run_id else None
        now = self.shell.now
        match act:
            case Dispatch():
                # As a worker's claim does: only what is still wanted is begun.
                if run and run.epoch == act.epoch and run.state in (State.CREATED, State.RESTARTED):
                    self.running.add((act.task_run_id, act.epoch))
                    if self.random.random() < 0.7:
                        self.send(AttemptStarted(at=now, task_run_id=act.task_run_id, epoch=act.epoch))
            case StartSubflow() | RestartSubflow():
                if run and run.epoch == act.epoch and not run.state.terminal:
                    child = act.execution_id if isinstance(act, RestartSubflow) else f"c{act.task_run_id}{act.epoch}"
                    self.children[child] = act.task_run_id
                    self.send(SubflowStarted(at=now, task_run_id=act.task_run_id, epoch=act.epoch, execution_id=child))
            case StartIterations():
                if run and run.epoch == act.epoch and not run.state.terminal:
                    self.loops.setdefault(run.id, Going(digest(run.id) % 3 + 1))
                    self.tell(run.id)
            case StopIterations():
                if going := self.loops.get(act.task_run_id):
                    going.ended[State.KILLED if act.kill else State.SUCCESS] += 1
                    self.tell(act.task_run_id, done=True)
            case StartTimer():
                self.shell.now = max(now, act.due)
                self.send(
                    TimerFired(
                        at=self.shell.now,
                        kind=TimerKind(act.kind),
                        task_run_id=act.task_run_id,
                        epoch=act.epoch,
                        name=act.name,
                    )
                )
            case KillAttempt():
                if (act.task_run_id, act.epoch) in self.running:
                    self.finish((act.task_run_id, act.epoch), State.KILLED)

    def finish(self, key: Key, state: State | None = None) -> None:
        self.running.discard(key)
        run = self.shell.execution.runs.get(key[0])
        if run is None:
            return
        number = digest(*key) if self.results else self.random.randrange(1000)
        state = state or (State.SUCCESS, State.SUCCESS, State.SUCCESS, State.FAILED, State.WARNING)[number % 5]
        task = self.shell.flow.by_id.get(run.task_id)
        now = self.shell.now
        if isinstance(task, WorkingDirectory):
            children = [
                ChildResult(task_id=child.id, state=state, started_at=now, ended_at=now, attempts=((state, now, now),))
                for child in task.tasks[:1]
                if not child.disabled
            ]
            self.send(BlockFinished(at=now, task_run_id=key[0], epoch=key[1], children=tuple(children)))
            return
        update = None
        if self.wild and self.random.random() < 0.03:
            update = Update(exit_state=self.random.choice([State.SUCCESS, State.FAILED, State.KILLED, State.CANCELLED]))
        self.send(AttemptFinished(at=now, task_run_id=key[0], epoch=key[1], state=state, update=update))

    def end_iteration(self, run_id: str) -> None:
        going = self.loops[run_id]
        number = digest(run_id, going.ended.total()) if self.results else self.random.randrange(1000)
        states = [State.SUCCESS, State.SUCCESS, State.FAILED, State.WARNING, State.CANCELLED]
        if self.wild:
            states.append(State.KILLED)
            if self.random.random() < 0.2:
                self.tell(run_id, paused=1)
        going.ended[states[number % len(states)]] += 1
        self.tell(run_id, done=not going.left)

    def tell(self, run_id: str, *, done: bool = False, paused: int = 0) -> None:
        """Report how far a Loop is; what an earlier assignment of its task run began is no longer heard."""
        going = self.loops[run_id]
        run = self.shell.execution.runs.get(run_id)
        if done or run is None or run.state.terminal:
            del self.loops[run_id]
        if run is not None:
            self.send(
                IterationsChanged(
                    at=self.shell.now,
                    task_run_id=run_id,
                    epoch=run.epoch,
                    total=going.total,
                    running=going.left,
                    paused=paused,
                    ended=dict(going.ended),
                    done=done,
                )
            )

    def end_child(self, child: str) -> None:
        run_id = self.children[child]
        number = digest(child) if self.results else self.random.randrange(1000)
        states = [State.SUCCESS, State.SUCCESS, State.FAILED, State.WARNING, State.CANCELLED]
        if self.wild:
            states.append(State.KILLED)
            if self.random.random() < 0.2:
                self.send(SubflowChanged(at=self.shell.now, task_run_id=run_id, execution_id=child, state=State.PAUSED))
        del self.children[child]
        self.send(
            SubflowChanged(
                at=self.shell.now, task_run_id=run_id, execution_id=child, state=states[number % len(states)]
            )
        )

    def interfere(self) -> None:
        now = self.shell.now
        runs = sorted(self.shell.execution.runs)
        match self.random.randrange(12):
            case 0:
                self.send(Kill(at=now, cascade=self.random.random() < 0.5))
            case 1 | 2:
                self.send(PauseByHand(at=now))
            case 3 | 4:
                self.send(Resume(at=now))
                self.send(self.decision())
            case 5:
                self.restart()
            case 6:
                if runs:
                    state = self.random.choice([State.SUCCESS, State.FAILED, State.WARNING])
                    self.send(TaskRunMarked(at=now, task_run_id=self.random.choice(runs), state=state))
            case 7:
                self.send(ForceRun(at=now))
            case 8 | 9:
                if self.running:
                    key = self.random.choice(sorted(self.running))
                    self.running.discard(key)
                    self.send(WorkerLost(at=now, task_run_id=key[0], epoch=key[1]))
            case 10:
                if self.random.random() < 0.1:
                    self.send(Broken(at=now, reason="a bug"))
            case _:
                self.repeat()

    def restart(self) -> None:
        self.send(Restart(at=self.shell.now))
        if self.random.random() < 0.8:
            self.send(Started(at=self.shell.now))

    def repeat(self) -> None:
        """Deliver an old report once more: nothing may change."""
        old = [event for event in self.sent if isinstance(event, REPEATABLE)]
        if not old or self.shell.state is State.RESTARTED:
            return
        before = self.shell.execution
        event = self.random.choice(old)
        self.shell.send(event)
        assert self.shell.execution == before, f"repeating {event} changed something"

    # ---- invariants ----

    def check(self, before: Any) -> None:
        execution = self.shell.execution
        runs = execution.runs
        states = Counter(run.state for run in runs.values())
        assert execution.waiting == states[State.PAUSED]
        assert execution.retrying == states[State.RETRYING]
        pauses = [r for r in runs.values() if r.state is State.PAUSED and isinstance(self.task(r), Pause | Approval)]
        assert execution.scope.extra.get("holding", 0) == len(pauses)
        if before.state.terminal and not self.reopened:
            assert execution.state is before.state, "terminal stays terminal"
        if not self.reopened:
            for run_id, run in before.runs.items():
                if run.state.terminal and run_id in runs:
                    assert runs[run_id].state is run.state
        self.check_uniqueness()
        self.check_scopes()
        self.check_histories()
        self.check_liveness()

    def task(self, run: Any) -> Any:
        return self.shell.flow.by_id[run.task_id]

    def check_uniqueness(self) -> None:
        runs = self.shell.execution.runs.values()
        keys = Counter((run.task_id, run.parent_id, run.value, run.iteration) for run in runs)
        assert not [key for key, count in keys.items() if count > 1]
        sequences = Counter(run.sequence for run in runs)
        assert not [number for number, count in sequences.items() if count > 1]
        for run in runs:
            alive = [attempt for attempt in run.attempts if attempt.state is State.RUNNING]
            assert len(alive) <= 1, "no two live attempts of one task run"
            assert not (alive and run.state.terminal)

    def check_scopes(self) -> None:
        execution = self.shell.execution
        live = Counter(run.parent_id for run in execution.runs.values() if not run.state.terminal)
        for run in execution.runs.values():
            if run.scope is not None and not run.state.terminal:
                assert run.scope.active == live[run.id], (run.task_id, run.scope, self.shell.states())
            if run.state.terminal:
                assert not live[run.id], f"{run.task_id} ended before its children"
        if not execution.finished:
            assert execution.scope.active == live[None], (execution.scope, self.shell.states())
        else:
            assert not live

    def check_histories(self) -> None:
        execution = self.shell.execution
        _check_history(execution.history, EXECUTION)
        for run in execution.runs.values():
            _check_history(run.history, TASK_RUN)

    def check_liveness(self) -> None:
        """Whatever is not over has a reason to go on: an attempt, a timer, a pending effect or a declared wait."""
        execution = self.shell.execution
        if execution.finished or execution.state in (State.CREATED, State.QUEUED, State.RESTARTED):
            return
        ready_now = {(d.task_run_id, d.epoch) for d in ready(self.shell.flow, execution)}
        alive = {(run.id, run.epoch) for run in execution.runs.values() if run.state is State.RUNNING}
        assert not ready_now & alive
        awaited = set(self.running)
        for act in self.shell.pending:
            starts = isinstance(act, Dispatch | StartSubflow | RestartSubflow | StartIterations | StartTimer)
            if starts and act.task_run_id:
                awaited.add((act.task_run_id, act.epoch))
        held = execution.scope.extra.get("manual") or execution.scope.extra.get("holding")
        live = [run for run in execution.runs.values() if not run.state.terminal]
        for run in live:
            task = self.task(run)
            if run.scope is not None and run.state is State.RUNNING:
                decided = isinstance(task, Approval) and execution.scope.extra.get("holding")
                assert run.scope.active or decided, f"{run.task_id} waits for nothing"
            elif run.state is State.PAUSED and isinstance(task, Pause | Approval):
                continue
            elif run.state is State.PAUSED and isinstance(task, LoopUntil):
                assert (run.id, run.epoch) in awaited, f"{run.task_id} has no timer"
            elif run.state in (State.RUNNING, State.PAUSED) and isinstance(task, Subflow):
                assert run.id in self.children.values(), f"{run.task_id} has no child"
            elif run.state in (State.RUNNING, State.PAUSED) and isinstance(task, Loop):
                assert run.id in self.loops, f"{run.task_id} has no iterations"
            elif run.state is State.RETRYING and self.waits_for_handler(run):
                continue
            elif not (held and run.state is State.CREATED):
                assert isinstance(task, LEAF), f"{run.task_id} is {run.state} and nothing happens"
                assert (run.id, run.epoch) in awaited, f"{run.task_id} {run.state} waits for nothing"
                # A dispatch made just before a pause, and lost: the resume makes it again.
                at_resume = held and run.state is State.RESTARTED
                if not isinstance(task, Subflow) and run.state in (State.CREATED, State.RESTARTED) and not at_resume:
                    assert (run.id, run.epoch) in ready_now, f"{run.task_id} would not be dispatched again"
        if not live:
            assert execution.scope.extra.get("manual"), "nothing is left and it does not end"

    def waits_for_handler(self, run: Any) -> bool:
        """Whether the retry is put off until a flowable's errors have run."""
        runs = self.shell.execution.runs
        owner = runs.get(run.parent_id)
        while owner is not None:
            if [run.id, run.epoch] in [waiting[:2] for waiting in owner.scope.extra.get("deferred", ())]:
                return True
            owner = runs.get(owner.parent_id)
        return False


def _check_history(history: Any, table: Any) -> None:
    for (one, at), (other, later) in itertools.pairwise(history):
        assert at <= later
        assert other in table[one], f"{one} to {other} is not in the table"


def describe(flow: Any) -> str:
    """A flow in a few lines: nesting by indentation, flags behind the id."""
    lines: list[str] = []

    def visit(branches: Any, depth: int) -> None:
        for branch, tasks in branches.items():
            for task in tasks:
                shown = ("run_if", "allow_failure", "allow_warning", "disabled", "concurrent", "concurrency_limit")
                flags = {key: getattr(task, key) for key in (*shown, "wait", "transmit_failed") if hasattr(task, key)}
                flags["retry"] = task.retry.behavior.value if task.retry else None
                text = " ".join(f"{key}={value}" for key, value in flags.items() if value not in (None, False))
                lines.append(f"{'  ' * depth}{branch}: {task.type} {task.id} {text}")
                visit(task.branches, depth + 1)

    visit(flow.branches, 0)
    return "\n".join([f"retry={flow.retry is not None} outputs={len(flow.outputs)}", *lines])
