"""Deciding: one loaded execution, the events that wait for it, the answers they need, the inline tasks they start.

Nothing is written here; ``change`` says what ``applying`` writes and what follows the commit.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from namespaces.errors import InvalidInput, LannerError
from namespaces.flows.model import Flow, Runnable, Task
from namespaces.store.outbox import Message
from runner import asking
from runner.context import ancestors_of
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
    StartBatches,
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
    BlockFinished,
    Broken,
    SubflowChanged,
)
from runner.engine.ready import StartChild, ready, strangers
from runner.engine.states import State
from runner.engine.step import Step
from runner.engine.values import Execution, TaskRun
from runner.inline import INLINE
from runner.listening import listening
from runner.logs import LEVELS, LogLine
from runner.pending import Pending, Taken
from runner.plugin import Metric
from runner.rendering import Place, Rendering
from runner.rows import iteration_table
from runner.view import Facts, Loaded
from runner.writing import Change

log = logging.getLogger("lanner.executions")

INLINE_BATCH = 250
"""Inline task runs in one commit at most."""
INLINE_SECONDS = 0.25
"""And at most this long, so that a watcher sees progress."""
VALUES_AHEAD = 200
GROWTH = 1_000
"""Beyond their limit task runs are counted again each time so many were created."""


@dataclass(slots=True)
class Outcome:
    """What is to be done once the write is committed."""

    dispatches: list[Dispatch] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    timers: bool = False
    unfinished: bool = False
    """Inline tasks are left over."""
    children: list[StartChild] = field(default_factory=list)
    """Child executions found unstarted; those of fresh decisions are messages."""
    strangers: list[str] = field(default_factory=list)
    """Tasks of waiting task runs that the flow does not have: nobody can ever run them."""


def child_message(effect: StartChild) -> dict[str, Any]:
    """The payload by which ``effects`` starts (or restarts) a child execution."""
    payload: dict[str, Any] = {"do": "start_subflow", "run": effect.task_run_id, "epoch": effect.epoch}
    if isinstance(effect, RestartSubflow):
        payload.update(do="restart_subflow", child=effect.execution_id)
    elif isinstance(effect, StartBatches):
        payload.update(do="start_batches", again=effect.again)
    elif isinstance(effect, StartIterations):
        payload.update(do="start_iterations", again=effect.again)
    return payload


class Decision:
    """One run of decisions over one loaded execution, up to its commits."""

    def __init__(self, rendering: Rendering, flow: Flow, loaded: Loaded) -> None:
        self._rendering = rendering
        self.flow = flow
        self.value: Execution = loaded.value
        self.facts: Facts = loaded.facts
        self.version = loaded.version
        self._before = loaded.value
        self._slot = loaded.slot
        self._in_database = set(loaded.value.runs)
        self._paths: dict[str, tuple[str, ...]] = dict(loaded.paths)
        self._claims = {run_id: worker for run_id, worker in loaded.claimed.items() if worker}
        self._epochs = {run.id: run.epoch for run in loaded.value.runs.values()}
        self._free: list[Pending] = []
        """Ends whose workers would go on with another attempt."""
        self._gone_on: list[tuple[Pending, Pending]] = []
        self._parked: dict[str, TaskRun] = {}
        self._inline: deque[Dispatch] = deque()
        self._values: dict[tuple[str, int], str] = {}
        self._large = loaded.outputs_uris
        self.grown = False
        """The limit of task runs may be passed: count them."""
        self.place = Place(rendering, flow, loaded.facts, self._paths)
        self._reset()

    def _reset(self) -> None:
        self._changed: dict[str, None] = {}
        self._acts: list[Act] = []
        self._logs: list[LogLine] = []
        self.place.unwritten = self._logs
        self._metrics: list[tuple[TaskRun, Metric]] = []
        self._late: list[dict[str, Any]] = []
        self._ended_runs: list[TaskRun] = []
        self.dirty = False

    @property
    def inline_waits(self) -> bool:
        return bool(self._inline)

    def take(self, pending: Pending) -> bool:
        """Decide one event. A bug in deciding fails this execution with its reason, and nothing else."""
        event = pending.event
        pending.taken = None
        self.place.secrets.update(pending.secrets)
        self._logs.extend(pending.lines)
        event = self._small(event)
        created = self.value.created
        try:
            changed = self._advance(event)
        except Exception as error:
            if isinstance(event, Broken):
                raise
            log.exception(
                "execution %s cannot go on",
                self.value.id,
                extra={"action": "execution_broken", "execution_id": self.value.id},
            )
            self.log("ERROR", f"Internal error: {error}", None)
            return self._advance(Broken(at=event.at, reason=f"internal error: {error}"))
        self._watch_growth(created)
        if changed and isinstance(event, AttemptStarted) and pending.worker_id:
            self._claims[event.task_run_id] = pending.worker_id
            pending.taken = self._taken(event.task_run_id)
        if changed and pending.metrics and isinstance(event, AttemptFinished | BlockFinished):
            run = self.value.runs.get(event.task_run_id)
            if run is not None:
                self._metrics.extend((run, metric) for metric in pending.metrics)
        if changed and pending.goes_on is not None:
            self._free.append(pending)
        if not changed and isinstance(event, AttemptFinished | BlockFinished):
            self._late.append(
                {
                    "at": event.at,
                    "execution_id": self.value.id,
                    "task_run_id": event.task_run_id,
                    "epoch": event.epoch,
                    "state": str(event.state or ""),
                }
            )
            self.dirty = True
        return changed

    def _small(self, event: AnyEvent) -> AnyEvent:
        """The event; one whose outputs are too large reports a failure instead."""
        if not isinstance(event, AttemptFinished | BlockFinished | SubflowChanged):
            return event
        limits = self._rendering.limits
        try:
            limits.refuse_large(event.outputs)
            if isinstance(event, BlockFinished):
                for child in event.children:
                    limits.refuse_large(child.outputs)
        except InvalidInput as error:
            if isinstance(event, SubflowChanged):
                return replace(event, outputs=None, error=error.message)
            self.log("ERROR", error.message, event.task_run_id)
            if isinstance(event, BlockFinished):
                event = replace(event, children=())
            return replace(event, state=State.FAILED, outputs=None, error=error.message)
        return event

    def _watch_growth(self, before: int) -> None:
        """Task runs are counted only now and then: a loop that drops what it has done may go on for ever."""
        after = self.value.created
        if after > self._rendering.limits.task_runs and after // GROWTH > before // GROWTH:
            self.grown = True

    def _advance(self, event: AnyEvent) -> bool:
        """Advance by one event and every answer it asks for."""
        step = advance(self.flow, self.value, event)
        changed = self._collect(step)
        asks = deque(step.asks)
        while asks:
            ask = asks.popleft()
            answered = self._answer(ask, event)
            step = advance(self.flow, self.value, answered)
            changed = self._collect(step) or changed
            asks.extend(step.asks)
        return changed

    def _answer(self, ask: Ask, event: AnyEvent) -> Answered:
        run = self.value.runs.get(ask.task_run_id) if ask.task_run_id else None
        renderer = self.place.renderer(self.value, run)
        try:
            if ask.question is Question.OUTPUTS:
                value: Any = self.place.flow_outputs(self.value)
            elif ask.question is Question.LISTENERS:
                value = listening(self.place, self.value)
            else:
                stored = self._stored_value(ask) if ask.question is Question.ITERATION else None
                value = asking.answer(self.flow, ask, run.task_id if run else None, renderer, stored)
                if ask.question is Question.APPROVAL:
                    value["url"] = self._page()
                elif ask.question is Question.VALUES:
                    self._refuse_many(len(value))
        except LannerError as error:
            return Answered(at=event.at, ask=ask, error=error.message)
        return Answered(at=event.at, ask=ask, value=value)

    def _page(self) -> str:
        """Address of the execution's page."""
        base = str(self._rendering.surroundings.kestra.get("url", "")).rstrip("/")
        return f"{base}/ui/main/executions/{self.value.namespace}/{self.value.flow_id}/{self.value.id}"

    def _refuse_many(self, values: int) -> None:
        """More values than an execution may have task runs are not even begun with."""
        limits = self._rendering.limits
        if values > limits.task_runs:
            raise InvalidInput(limits.too_many_task_runs(values), code="too_many_taskruns")

    def _stored_value(self, ask: Ask) -> str:
        for act in self._acts:
            if isinstance(act, StoreValues) and act.task_run_id == ask.task_run_id:
                return act.values[ask.index]
        key = str(ask.task_run_id), ask.index
        if key not in self._values:
            # The next ones will be asked for soon: one query for many.
            ahead = sa.select(iteration_table.c.position, iteration_table.c.value).where(
                iteration_table.c.task_run_id == ask.task_run_id,
                iteration_table.c.position.between(ask.index, ask.index + VALUES_AHEAD),
            )
            rows = self._rendering.database.read(lambda c: c.execute(ahead).all())
            self._values = {(key[0], row.position): row.value for row in rows}
        return self._values[key]

    def _collect(self, step: Step) -> bool:
        changed = step.execution is not self.value
        previous = self.value
        self.value = step.execution
        for run_id in step.changed:
            run = self.value.runs.get(run_id)
            if run is None:
                continue
            self._changed[run_id] = None
            if run_id not in self._paths:
                self._paths[run_id] = self._path(run)
            if self._epochs.get(run_id) != run.epoch:
                self._claims.pop(run_id, None)
                self._epochs[run_id] = run.epoch
            self.place.note(run, self._paths[run_id])
        for act in step.acts:
            match act:
                case Dispatch() if self._is_inline(act):
                    self._inline.append(act)
                case Log():
                    self.log(act.level, act.message, act.task_run_id)
                case _:
                    self._acts.append(act)
        if changed or step.acts:
            self.dirty = True
        return changed or previous is not self.value

    def _path(self, run: TaskRun) -> tuple[str, ...]:
        parent = self._paths.get(run.parent_id, ()) if run.parent_id else ()
        return (*parent, run.value) if run.value is not None else parent

    def _is_inline(self, dispatch: Dispatch) -> bool:
        run = self.value.runs.get(dispatch.task_run_id)
        task = self.flow.by_id.get(run.task_id) if run else None
        return (
            isinstance(task, Runnable)
            and not task.log_to_file
            and task.task_cache is None
            and not self._routed(task)
            and task.timeout is None
            and task.type in INLINE
        )

    def _routed(self, task: Task) -> bool:
        """Whether it has to be found out which workers the task may go to."""
        return task.worker_group is not None or self.flow.worker_group is not None

    def ready(self) -> Outcome:
        """What waits and nobody has taken; inline attempts are taken up here."""
        waiting = Outcome()
        for effect in ready(self.flow, self.value):
            if effect.task_run_id in self._claims:
                continue
            if not isinstance(effect, Dispatch):
                waiting.children.append(effect)
            elif self._is_inline(effect):
                self._inline.append(effect)
            else:
                waiting.dispatches.append(effect)
        waiting.strangers.extend(strangers(self.flow, self.value))
        return waiting

    def run_inline(self, most_s: float = INLINE_SECONDS) -> None:
        """Run inline tasks right here, until there are none, the batch is full or the time is over.

        They may run again after a crash before the commit: they do no I/O, so nobody can tell.
        """
        started = self._rendering.clock.monotonic()
        count = 0
        while self._inline:
            if self.grown:
                return
            if count >= INLINE_BATCH or self._rendering.clock.monotonic() - started > most_s:
                return
            dispatch = self._inline.popleft()
            self._unpark(dispatch.task_run_id)
            run = self.value.runs.get(dispatch.task_run_id)
            if run is None or run.epoch != dispatch.epoch or run.state.terminal:
                continue
            count += 1
            event, lines, metrics = self.place.run_inline(self.value, run, dispatch.epoch)
            self._logs.extend(lines)
            self._metrics.extend((run, metric) for metric in metrics)
            created = self.value.created
            self._advance(event)
            self._watch_growth(created)

    def go_on(self) -> None:
        """Have workers whose attempts end here take what would be dispatched: no second commit, nobody to wake.

        Only in the last round of decisions: what fails after a commit must not leave a worker with an attempt that
        it does not know of.
        """
        if self._inline or self.grown:
            return
        free, self._free = self._free, []
        dispatches = [act for act in self._acts if isinstance(act, Dispatch) and self._goes_to_any_worker(act)]
        for pending, act in zip(free, dispatches, strict=False):
            if pending.goes_on is None or not pending.goes_on(act.task_run_id, act.epoch):
                continue
            begun = AttemptStarted(
                at=self._rendering.clock.now(),
                task_run_id=act.task_run_id,
                epoch=act.epoch,
                info={"workerId": pending.worker_id},
            )
            following = Pending(begun, pending.future, pending.worker_id)
            if self.take(following):
                self._acts.remove(act)
                self._gone_on.append((pending, following))

    def _goes_to_any_worker(self, dispatch: Dispatch) -> bool:
        return not self._routed(self.flow.by_id[self.value.runs[dispatch.task_run_id].task_id])

    def _taken(self, run_id: str) -> Taken:
        run = self.value.runs[run_id]
        near = {one.id: one for one in (run, *ancestors_of(self.value.runs, run))}
        value = replace(self.value, runs=near)
        return Taken(flow=self.flow, facts=self.facts, paths=dict(self._paths), value=value, run=run)

    def _unpark(self, run_id: str) -> None:
        if run_id not in self._parked:
            return
        wanted = {run_id: self._parked.pop(run_id)}
        self.value = replace(self.value, runs={**self.value.runs, **wanted})

    def log(self, level: str, message: str, run_id: str | None) -> None:
        run = self.value.runs.get(run_id) if run_id else None
        self._logs.append(
            LogLine(
                at=self._rendering.clock.now(),
                level=LEVELS[level],
                message=self.place.mask(message),
                namespace=self.value.namespace,
                flow_id=self.value.flow_id,
                execution_id=self.value.id,
                task_id=run.task_id if run else None,
                task_run_id=run_id,
                attempt=max(0, len(run.attempts) - 1) if run else 0,
            )
        )

    def change(self) -> tuple[Change, Outcome]:
        """Everything decided so far as one change, and what follows its commit."""
        runs = self.value.runs
        created = [runs[i] for i in self._changed if i in runs and i not in self._in_database]
        updated = [runs[i] for i in self._changed if i in runs and i in self._in_database]
        outputs = self.place.stored_outputs([*created, *updated])
        for run in updated:
            # Only the row knows of outputs that are kept elsewhere; what is begun anew has none.
            if run.outputs is None and run.state.terminal and run.id in self._large:
                outputs[run.id] = (None, self._large[run.id])
        change = Change(
            before=self._before,
            after=self.value,
            created=created,
            updated=updated,
            paths=self._paths,
            claims=self._claims,
            logs=self._logs,
            metrics=self._metrics,
            late=self._late,
            task_outputs=outputs,
        )
        outcome = Outcome()
        for act in self._acts:
            match act:
                case Dispatch():
                    outcome.dispatches.append(act)
                case StartTimer():
                    change.timers.append(act)
                    outcome.timers = True
                case DropRuns():
                    change.dropped.append(act)
                case StoreValues():
                    change.values.append(act)
                case Announce():
                    change.messages.extend(self._announcements(act))
                case Release():
                    if self._slot:
                        change.slot = False
                        change.messages.append((self.value.id, {"do": "release"}))
                case StartSubflow() | RestartSubflow() | StartBatches() | StartIterations():
                    change.messages.append((self.value.id, child_message(act)))
                case StopIterations():
                    stop = {"do": "stop_iterations", "run": act.task_run_id, "kill": act.kill, "cascade": act.cascade}
                    change.messages.append((self.value.id, stop))
                case KillAttempt():
                    change.messages.append(
                        (self.value.id, {"do": "kill_attempt", "run": act.task_run_id, "epoch": act.epoch})
                    )
                case KillChildren():
                    change.messages.append((self.value.id, {"do": "kill_children", "run": act.task_run_id}))
                case CreateRetry():
                    change.timers.append(StartTimer(kind="new_execution", due=act.due, spread=act.spread))
                    outcome.timers = True
                case Log():
                    raise AssertionError("log lines are collected when they come")
        if change.before.finished and not change.after.finished and self.flow.concurrency is not None:
            change.slot = True  # a restart passes the gate again
        return change, outcome

    def _announcements(self, act: Announce) -> Iterable[tuple[str, Any]]:
        """Who wants to know: a waiting parent, flow triggers, a locked trigger. Nobody: no message."""
        if self._rendering.listens(self.facts, self.value, act.state):
            yield self.value.id, {"do": "announce", "state": act.state.value, "at": len(self.value.history)}

    def committed(self) -> None:
        """The change is on disk: begin a new one from here, with a small view again."""
        self.version += 1
        for end, following in self._gone_on:
            end.taken = following.taken
        self._in_database.update(i for i in self._changed if i in self.value.runs)
        runs = self.value.runs
        waiting = {dispatch.task_run_id for dispatch in self._inline}
        parents = {run.parent_id for run in runs.values() if run.parent_id}
        keep = {i: run for i, run in runs.items() if i in parents and not run.state.terminal}
        self._parked.update({i: runs[i] for i in waiting if i in runs})
        for i in waiting & keep.keys():
            self._parked.pop(i, None)
        self.value = replace(self.value, runs=keep)
        self.place.committed()
        self._before = self.value
        self._reset()
