"""The door to executions: start them, steer them, look into them. Every change is one transaction or nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.clock import Clock
from namespaces.errors import BadRequest, Conflict, InvalidInput, NotFound
from namespaces.flows.model import Flow, Pause
from namespaces.inputs import Resolved
from namespaces.registry import Registry
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner import checks, preparing, queries, reviewing, rows, starting, view, writing
from runner.applying import Applier, Outcome
from runner.engine import events
from runner.engine.restart import NOTHING
from runner.engine.states import TERMINAL, State
from runner.engine.values import TaskRun
from runner.limits import OpenExecutions
from runner.logs import LEVELS, LogLine
from runner.opening import open_execution
from runner.rendering import Place, Rendering
from runner.rows import execution_table, timer_table
from runner.starting import Prepared, Started, StartRequest, Upload
from runner.writing import Change, Stale

log = logging.getLogger("lanner.executions")


def killable() -> sa.ColumnElement[bool]:
    """Executions that a kill concerns: not terminal, or RETRIED and about to be replaced."""
    replaced = sa.select(timer_table.c.id).where(
        timer_table.c.execution_id == execution_table.c.id,
        timer_table.c.kind == events.TimerKind.NEW_EXECUTION.value,
    )
    return sa.or_(
        execution_table.c.state.not_in([state.value for state in TERMINAL]),
        sa.and_(execution_table.c.state == State.RETRIED.value, replaced.exists()),
    )


class Executions:
    """``work`` is the pool that carries out what a commit left to do; ``driver`` decides about slots and effects."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        clock: Clock,
        nudges: Nudges,
        rendering: Rendering,
        work: ThreadPoolExecutor,
        *,
        pins_subflows: bool = True,
    ) -> None:
        """``pins_subflows``: subflows start at the generation of their parent (``subflow_pin: run``)."""
        self.pins_subflows = pins_subflows
        self.database = database
        self.registry = registry
        self.clock = clock
        self.nudges = nudges
        self.rendering = rendering
        self.work = work
        self.open = OpenExecutions(database, clock, rendering.limits)
        self.applier = Applier(database, registry, clock, nudges, rendering, self._committed)
        self.on_commit: Any = None
        """Set by the wiring: ``(execution_id, flow, outcome)``, called after each commit."""
        self.on_start: Any = None
        """Set by the wiring: ``(execution_id, plain)``, called after a start is committed; ``plain`` needs no gate."""

    # ------------------------------------------------------------------ starting

    def prepare(self, request: StartRequest) -> Prepared:
        """Everything before the write. Raises ``NotFound``, ``Conflict``, ``InvalidInput``, ``TooMany``, and
        ``Unavailable`` while memory is short. Subflows belong to what was taken on already and only count.
        """
        if request.parent_run_id is None:
            self.open.refuse_without_memory()
        self.open.refuse_more(request.namespace, request.flow_id)
        prepared = self.prepare_child(request)
        if prepared.plain and not request.breakpoints:
            opening = open_execution(self.rendering, prepared.flow, prepared.row, self.clock.now())
            prepared = replace(prepared, opening=opening)
        return prepared

    def prepare_child(self, request: StartRequest) -> Prepared:
        """``prepare`` for one of many whose number was looked at before."""
        return preparing.prepare(self, request)

    def start_in(self, tx: Connection, prepared: Prepared) -> Started:
        """Write a prepared start in the caller's transaction; call ``started`` after the commit."""
        return starting.insert(tx, prepared, now=self.clock.now())

    def started(self, started: Started) -> None:
        """After the commit of ``start_in``: get the execution going, from where its opening left it."""
        self.nudges.send("executions")
        prepared = started.prepared
        if prepared is None:
            return
        if not prepared.ended:
            self.open.started(prepared.flow.namespace, prepared.flow.id)
        if prepared.opening is not None:
            outcome = replace(prepared.opening.outcome, messages=list(started.messages))
            self._committed(started.execution_id, prepared.flow, outcome)
        elif self.on_start is not None:
            self.on_start(started.execution_id, prepared.plain)

    def start(self, request: StartRequest) -> Started:
        """Start a flow; durable when it returns."""
        prepared = self.prepare(request)

        def accept(tx: Connection) -> Started:
            accepted = self.start_in(tx, prepared)
            crash.reach("accept.before_commit")
            return accepted

        started = self.database.write(accept)
        crash.reach("accept.after_commit")
        self.started(started)
        return started

    def validate_inputs(
        self, namespace: str, flow_id: str, revision: int | None, inputs: Mapping[str, Any]
    ) -> tuple[Flow, Resolved]:
        """Resolve inputs without starting anything or keeping any file."""
        request = StartRequest(namespace=namespace, flow_id=flow_id, revision=revision, inputs=inputs)
        flow, _ = self.database.read(lambda c: starting.find_flow(c, self.registry, request))
        return flow, self.resolve(flow, inputs, "", store=False)

    def failing_checks(self, flow: Flow, resolved: Resolved) -> tuple[checks.Failing, ...]:
        """The checks that would not pass with inputs that ``validate_inputs`` resolved; none while some are bad."""
        return () if resolved.problems else checks.failing(self.rendering, flow, resolved.values, "")

    def resolve(self, flow: Flow, submitted: Mapping[str, Any], execution_id: str, store: bool = True) -> Resolved:
        """The flow's inputs from what was submitted; files are kept under the execution's folder."""
        return preparing.resolve(self.rendering, flow, flow.inputs, submitted, execution_id, store=store)

    # ------------------------------------------------------------------ steering

    def apply(self, execution_id: str, event: events.AnyEvent) -> bool:
        return self.applier.apply(execution_id, event)

    def refuse_attempt(self, execution_id: str, run: TaskRun, epoch: int, error: str) -> None:
        """End an attempt that could not even begin (a subflow that cannot start), with its reason in the log."""
        now = self.clock.now()
        row = self._row(execution_id)
        line = LogLine(
            at=now,
            level=LEVELS["ERROR"],
            message=error,
            namespace=row.namespace,
            flow_id=row.flow_id,
            execution_id=execution_id,
            task_id=run.task_id,
            task_run_id=run.id,
            attempt=len(run.attempts),
        )
        self.database.write(lambda tx: writing.write_logs(tx, [line]))
        self.nudges.send(f"logs:{execution_id}")
        self.apply(
            execution_id,
            events.AttemptFinished(at=now, task_run_id=run.id, epoch=epoch, state=State.FAILED, error=error),
        )

    def kill(self, execution_id: str, *, cascade: bool = True) -> None:
        """Kill; a finished execution stays as it is, its running children are killed when cascading."""
        row = self._row(execution_id)
        if State(row.state).terminal:
            if self._give_up_retry(row):
                return
            if not cascade:
                raise Conflict(f"execution is already {row.state}", code="already_ended")
            self._kill_children(execution_id)
            return
        self.apply(execution_id, events.Kill(at=self.clock.now(), cascade=cascade))
        crash.reach("kill.after_commit")

    def _give_up_retry(self, row: Any) -> bool:
        """Let nothing take the place of a RETRIED execution, and tell the parent that waits for it."""
        if row.state != State.RETRIED:
            return False
        pending = (timer_table.c.execution_id == row.id, timer_table.c.kind == events.TimerKind.NEW_EXECUTION.value)
        if self.database.read(lambda c: c.execute(sa.select(timer_table.c.id).where(*pending)).first()) is None:
            return False
        if row.parent_run_id is not None:
            from runner.children import tell_parent

            tell_parent(self, row, State.KILLED)
        self.database.write(lambda tx: tx.execute(sa.delete(timer_table).where(*pending)))
        return True

    def _kill_children(self, execution_id: str) -> None:
        open_children = self.database.read(
            lambda c: c.execute(
                sa.select(execution_table.c.id).where(
                    execution_table.c.trigger_execution_id == execution_id,
                    execution_table.c.parent_run_id.is_not(None),
                    killable(),
                )
            ).scalars()
        )
        for child in list(open_children):
            self.kill(child)

    def pause(self, execution_id: str) -> None:
        row = self._row(execution_id)
        if row.state != State.RUNNING:
            raise InvalidInput(f"execution is not RUNNING but {row.state}", code="not_running")
        if not self.apply(execution_id, events.Pause(at=self.clock.now())):
            raise InvalidInput("execution is not RUNNING any more", code="not_running")

    def resume(
        self,
        execution_id: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        task_run_id: str | None = None,
        by: str | None = None,
    ) -> None:
        """Resume the first paused task run. Raises ``Conflict`` when nothing is paused, ``InvalidInput`` for inputs."""
        loaded = self.loaded(execution_id, events.Resume(at=self.clock.now(), task_run_id=task_run_id))
        if loaded.value.state is not State.PAUSED:
            raise Conflict(f"execution is not paused but {loaded.value.state}", code="not_paused")
        flow = self.flow_of(loaded)
        paused = view.paused_task(flow, loaded, task_run_id)
        if paused is None:
            iteration = self.database.read(lambda c: view.paused_iteration(c, flow, loaded, task_run_id))
            if iteration is not None:
                self.resume(iteration, inputs=inputs, by=by)
                return
        now = self.clock.now()
        outputs: dict[str, Any] = {}
        if paused is not None:
            task = flow.by_id[paused.task_id]
            if isinstance(task, Pause):
                if task.on_resume:
                    resolved = preparing.resolve(self.rendering, flow, task.on_resume, inputs or {}, execution_id)
                    outputs["onResume"] = resolved.require()
                outputs["resumed"] = {"by": by, "on": now.isoformat(), "to": State.RUNNING.value}
        event = events.Resume(at=now, task_run_id=paused.id if paused else None, outputs=outputs or None)
        if not self.apply(execution_id, event):
            if reviewing.waiting_approvals(flow, loaded):
                raise Conflict(
                    "execution waits for a decision and cannot be resumed",
                    code="not_paused",
                    hint="approve or deny it: POST /executions/{id}/actions/review",
                )
            raise Conflict("execution is not paused any more", code="not_paused")

    def review(
        self,
        execution_id: str,
        *,
        decision: Any,
        task_run_id: str | None = None,
        comment: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> None:
        """Decide on an Approval that waits. Raises ``InvalidInput``, ``Conflict``, ``NotFound``."""
        reviewing.review(
            self, execution_id, decision=decision, task_run_id=task_run_id, comment=comment, inputs=inputs or {}, by=by
        )

    def restart(self, execution_id: str, *, revision: int | None = None) -> str:
        """Run again what failed, was killed or is paused; returns the id of the execution that goes on.

        Under another revision that is a new one, and the old one stays as it is. Raises ``Conflict`` when it still
        runs or has nothing to restart, ``NotFound`` for an unknown revision.
        """
        row = self._row(execution_id)
        if not State(row.state).terminal and row.state != State.PAUSED:
            raise Conflict(f"execution is not terminated but {row.state}", code="not_terminated")
        if revision is not None and revision != row.revision:
            from runner.replaying import Replaying

            return Replaying(self).restart(execution_id, revision)
        if not self.apply(execution_id, events.Restart(at=self.clock.now())):
            raise Conflict(NOTHING, code="nothing_to_restart")
        self._begin(execution_id)
        return execution_id

    def replay(
        self,
        execution_id: str,
        *,
        task_run_id: str | None = None,
        revision: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        latest: bool = False,
        breakpoints: tuple[str, ...] = (),
    ) -> str:
        """A new execution from the start or from a task run; returns its id."""
        from runner.replaying import Replaying

        return Replaying(self).replay(
            execution_id,
            task_run_id=task_run_id,
            revision=revision,
            inputs=inputs,
            latest=latest,
            breakpoints=breakpoints,
        )

    def force_run(self, execution_id: str) -> None:
        """Run now, limits or not. Raises ``InvalidInput`` for a terminated execution."""
        row = self._row(execution_id)
        if State(row.state).terminal:
            raise InvalidInput(f"execution in a terminated state: {row.state}", code="already_ended")
        if row.state == State.PAUSED:
            self.resume(execution_id)
            return
        self.apply(execution_id, events.ForceRun(at=self.clock.now()))
        self.applier.drive(execution_id)

    def unqueue(self, execution_id: str, state: str = "RUNNING") -> None:
        """Take a QUEUED execution out of the queue into RUNNING, CANCELLED or FAILED."""
        row = self._row(execution_id)
        if row.state != State.QUEUED:
            raise Conflict(f"execution not in state QUEUED but {row.state}", code="not_queued")
        wanted = State(state)
        if wanted is State.RUNNING:
            self.apply(execution_id, events.ForceRun(at=self.clock.now()))
        elif wanted in (State.CANCELLED, State.FAILED):
            self.apply(execution_id, events.Refused(at=self.clock.now(), state=wanted, reason="unqueued by a person"))
        else:
            raise InvalidInput(f"an execution cannot be unqueued to {wanted}", code="bad_state")

    def change_status(self, execution_id: str, state: str) -> None:
        """Rewrite the state of a terminated execution; nothing runs because of it."""
        wanted = State(state)

        def work(tx: Connection) -> None:
            row = self._row_in(tx, execution_id)
            if not State(row.state).terminal or not wanted.terminal:
                raise InvalidInput(
                    f"the state can change between terminal states only, not from {row.state} to {wanted}",
                    code="bad_state",
                )
            now = self.clock.now()
            value = rows.execution(row, {}).to(wanted, now)
            self._write(tx, rows.execution(row, {}), value, row.version, now)

        self.database.write(work)
        self.nudges.send(f"execution:{execution_id}")

    def mark_task_run(self, execution_id: str, task_run_id: str, state: str) -> None:
        """Set a task run to a terminal state and go on from there."""
        wanted = State(state)
        if not wanted.terminal:
            raise InvalidInput(f"a task run can be marked with a terminal state only, not {wanted}", code="bad_state")
        row = self._row(execution_id)
        if not State(row.state).terminal and row.state != State.PAUSED:
            raise Conflict(f"execution is not terminated but {row.state}", code="not_terminated")
        event = events.TaskRunMarked(at=self.clock.now(), task_run_id=task_run_id, state=wanted)
        if not self.apply(execution_id, event):
            raise NotFound(f"execution '{execution_id}' has no task run '{task_run_id}'")
        self._begin(execution_id)

    def set_labels(self, execution_id: str, labels: Sequence[tuple[str, str]]) -> None:
        """Merge labels into a terminated execution's; system labels stay."""

        def work(tx: Connection) -> None:
            row = self._row_in(tx, execution_id)
            if not State(row.state).terminal:
                raise BadRequest("execution is not terminated", code="not_terminated")
            before = rows.execution(row, {})
            known = dict(before.labels)
            for key, value in labels:
                if key.startswith("system.") and known.get(key) != value:
                    raise InvalidInput(
                        f"System labels can only be set by Kestra itself, offending label: {key}={value}"
                    )
                if not key or not value:
                    raise InvalidInput("a label needs a key and a value")
                known[key] = value
            self._write(tx, before, replace(before, labels=tuple(known.items())), row.version, self.clock.now())

        self.database.write(work)
        self.nudges.send(f"execution:{execution_id}")

    def delete(self, execution_id: str, **parts: bool) -> None:
        """Remove an execution with what belongs to it (``runner.deleting``). Raises ``NotFound``."""
        from runner.deleting import delete

        delete(self, execution_id, **parts)

    # ------------------------------------------------------------------ looking

    def evaluate(self, execution_id: str, expression: str, task_run_id: str | None = None) -> str:
        """Render an expression in the context of an execution, secrets masked. Raises ``RenderError``."""
        now = self.clock.now()
        event = (
            events.TaskRunMarked(at=now, task_run_id=task_run_id, state=State.SUCCESS)
            if task_run_id
            else events.Started(at=now)
        )
        loaded = self.loaded(execution_id, event)
        run = loaded.value.runs.get(task_run_id) if task_run_id else None
        if task_run_id and run is None:
            raise NotFound(f"execution '{execution_id}' has no task run '{task_run_id}'")
        place = Place(self.rendering, self.flow_of(loaded), loaded.facts, loaded.paths)
        return place.mask(place.renderer(loaded.value, run).text(expression))

    def wait(self, execution_id: str, *, timeout_s: float) -> bool:
        """Wait until the execution is terminal or waits for somebody; False when the time is over first."""
        topic = f"execution:{execution_id}"
        deadline = time.monotonic() + timeout_s
        waits = partial(view.waits_for_somebody, execution_id=execution_id, flow_of=self.registry.flow)
        while True:
            seen = self.nudges.seen(topic)
            state = State(self.database.read(lambda c: queries.state(c, execution_id)))
            if state.terminal or (state is State.PAUSED and self.database.read(waits)):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.nudges.wait(topic, seen, min(left, 1.0))

    # ------------------------------------------------------------------ inside

    def _committed(self, execution_id: str, flow: Flow, outcome: Outcome) -> None:
        if self.on_commit is not None:
            self.on_commit(execution_id, flow, outcome)

    def _begin(self, execution_id: str) -> None:
        """Get an execution going again, past the gate like a fresh one."""
        if self.on_start is not None:
            self.on_start(execution_id)

    def _write(self, tx: Connection, before: Any, after: Any, version: int, now: datetime) -> None:
        try:
            writing.write(tx, Change(before=before, after=after), version=version, now=now)
        except Stale as error:
            raise Conflict("the execution was changed meanwhile, try again", code="version_conflict") from error

    def _row(self, execution_id: str) -> Any:
        return self.database.read(lambda c: self._row_in(c, execution_id))

    @staticmethod
    def _row_in(connection: Connection, execution_id: str) -> Any:
        row = connection.execute(sa.select(execution_table).where(execution_table.c.id == execution_id)).one_or_none()
        if row is None:
            raise NotFound(f"execution '{execution_id}' does not exist")
        return row

    def loaded(self, execution_id: str, event: events.AnyEvent) -> view.Loaded:
        """The execution with the task runs that an event needs. Raises ``NotFound``."""
        loaded = self.database.read(lambda c: view.load(c, execution_id, [event], self.registry.flow))
        if loaded is None:
            raise NotFound(f"execution '{execution_id}' does not exist")
        return loaded

    def flow_of(self, loaded: view.Loaded) -> Flow:
        """The revision that a loaded execution runs; of an iteration, the body of its Loop."""
        known = self.registry.cached(loaded.facts.namespace, loaded.facts.flow_id, loaded.value.revision)
        whole = known or self.database.read(
            lambda c: self.registry.flow(c, loaded.facts.namespace, loaded.facts.flow_id, loaded.value.revision)
        )
        return view.body(whole, loaded.facts.loop_run)


__all__ = ["Executions", "StartRequest", "Started", "Upload", "killable"]
