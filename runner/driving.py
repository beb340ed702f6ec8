"""Getting executions going: start date, concurrency slot, first event; and what each commit leaves to do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.clock import Clock
from namespaces.errors import CorruptRow, InvalidFlow, LannerError, NotFound, Unavailable
from namespaces.flows.model import Flow
from namespaces.ids import derived_id
from namespaces.revisions import flow_table
from namespaces.secrets import reseal
from namespaces.store.base import to_micros
from namespaces.store.db import Database, database_now
from namespaces.store.nudges import Nudges
from runner import batches, quotas, routing, view
from runner.applying import Outcome
from runner.dispatch.base import Dispatch
from runner.effects import Effects
from runner.engine import events
from runner.engine.attempts import NOT_BEGUN
from runner.engine.concurrency import admit
from runner.engine.effects import Dispatch as DispatchAct
from runner.engine.states import State
from runner.executions import Executions
from runner.rendering import Place
from runner.rows import execution_table, run_table, timer_table
from runner.writing import insert_execution

log = logging.getLogger("lanner.driving")


class Driver:
    """Wired to ``Executions``: told of each start and each commit."""

    def __init__(
        self,
        executions: Executions,
        dispatch: Dispatch,
        work: ThreadPoolExecutor,
        nudges: Nudges,
    ) -> None:
        self._executions = executions
        self._database: Database = executions.database
        self._clock: Clock = executions.clock
        self._dispatch = dispatch
        self._work = work
        self._nudges = nudges
        self.effects: Effects | None = None
        executions.on_start = self.begin_soon
        executions.on_commit = self.committed

    def begin_soon(self, execution_id: str, plain: bool = False) -> None:
        """``plain``: no start date, concurrency limit or quota, so nothing stands between CREATED and RUNNING."""
        self._later(self._run if plain else self.begin, execution_id)

    def _run(self, execution_id: str) -> None:
        self._executions.apply(execution_id, events.Started(at=self._clock.now()))

    def _later(self, work: Callable[[str], None], execution_id: str) -> None:
        try:
            self._work.submit(self._guarded, work, execution_id)
        except RuntimeError:  # shutting down: the reconciler of the next process takes it up
            log.info("left for the next start: %s", execution_id, extra={"action": "left_for_restart"})

    def _guarded(self, work: Callable[[str], None], execution_id: str) -> None:
        try:
            work(execution_id)
        except Unavailable as error:
            log.warning("execution %s waits: %s", execution_id, error, extra={"action": "execution_waits"})
        except (CorruptRow, NotFound, InvalidFlow) as error:
            self._executions.applier.write_off(execution_id, error.message)
        except Exception as error:
            log.exception("execution %s failed to start", execution_id, extra={"action": "begin_failed"})
            self._executions.apply(execution_id, events.Broken(at=self._clock.now(), reason=f"internal error: {error}"))

    def begin(self, execution_id: str) -> None:
        """Take a CREATED execution as far as it may go now: wait for its date, for a slot, or run.

        Harmless twice: each step looks at the row it is about to change.
        """
        row = self._database.read(
            lambda c: c.execute(sa.select(execution_table).where(execution_table.c.id == execution_id)).one_or_none()
        )
        if row is None:
            return
        now = self._clock.now()
        if State(row.state) not in (State.CREATED, State.RESTARTED):
            if self.effects is not None and row.finished and row.error:
                self.effects.announce_unborn(row)
            return
        if row.schedule_date is not None and row.schedule_date > now:
            self._database.write(lambda tx: self._start_later(tx, execution_id, row.schedule_date))
            self._nudges.send("timers")
            return
        whole = self._database.read(
            lambda c: self._executions.registry.flow(c, row.namespace, row.flow_id, row.revision)
        )
        flow = view.body(whole, row.loop_run)
        if flow.quotas or (flow.concurrency is not None and not row.slot):
            decided = self._database.write(lambda tx: self._admit(tx, flow, row))
            if decided is not None:
                self._executions.apply(execution_id, decided)
                return
        self._executions.apply(execution_id, events.Started(at=now))

    @staticmethod
    def _start_later(tx: Connection, execution_id: str, due: object) -> None:
        exists = tx.execute(
            sa.select(timer_table.c.id).where(
                timer_table.c.execution_id == execution_id, timer_table.c.kind == events.TimerKind.START.value
            )
        ).scalar()
        if exists is None:
            tx.execute(
                sa.insert(timer_table).values(
                    due_at=due,
                    kind=events.TimerKind.START.value,
                    execution_id=execution_id,
                    epoch=0,
                    name="",
                    failures=0,
                )
            )

    def _admit(self, tx: Connection, flow: Flow, row: Any) -> events.Queued | events.Refused | None:
        """Take a slot in this transaction (None), or say what happens instead. Slots are counted from rows."""
        self._lock_flow(tx, flow.namespace, flow.id)
        if flow.quotas:
            refused = quotas.take(tx, flow, row.id, row.attempt_number, self._clock.now())
            if refused is not None:
                return refused
        if flow.concurrency is None or row.slot:
            return None
        running = self._slots_in_use(tx, flow.namespace, flow.id)
        admission = admit(running, flow.concurrency)
        now = self._clock.now()
        if admission.state is State.RUNNING:
            tx.execute(sa.update(execution_table).where(execution_table.c.id == row.id).values(slot=True))
            return None
        if admission.state is State.QUEUED:
            return events.Queued(at=now)
        return events.Refused(at=now, state=admission.state, reason=admission.reason)

    @staticmethod
    def _lock_flow(tx: Connection, namespace: str, flow_id: str) -> None:
        tx.execute(
            sa.select(flow_table.c.id)
            .where(flow_table.c.namespace == namespace, flow_table.c.id == flow_id)
            .with_for_update()
        )

    @staticmethod
    def _slots_in_use(tx: Connection, namespace: str, flow_id: str) -> int:
        return int(
            tx.execute(
                sa.select(sa.func.count())
                .select_from(execution_table)
                .where(
                    execution_table.c.namespace == namespace,
                    execution_table.c.flow_id == flow_id,
                    execution_table.c.finished.is_(False),
                    execution_table.c.slot.is_(True),
                )
            ).scalar_one()
        )

    def released(self, namespace: str, flow_id: str) -> None:
        """A slot is free: the oldest QUEUED execution goes straight to RUNNING."""

        def take(tx: Connection) -> str | None:
            self._lock_flow(tx, namespace, flow_id)
            oldest = tx.execute(
                sa.select(execution_table.c.id, execution_table.c.revision)
                .where(
                    execution_table.c.namespace == namespace,
                    execution_table.c.flow_id == flow_id,
                    execution_table.c.finished.is_(False),
                    execution_table.c.state == State.QUEUED.value,
                )
                .order_by(execution_table.c.created_at, execution_table.c.id)
                .limit(1)
            ).one_or_none()
            if oldest is None:
                return None
            flow = self._limits(tx, namespace, flow_id, oldest.revision)
            if flow.concurrency is not None and self._slots_in_use(tx, namespace, flow_id) >= flow.concurrency.limit:
                return None
            tx.execute(sa.update(execution_table).where(execution_table.c.id == oldest.id).values(slot=True))
            return str(oldest.id)

        while True:
            execution_id = self._database.write(take)
            if execution_id is None:
                return
            self._executions.apply(execution_id, events.Started(at=self._clock.now()))

    def _limits(self, tx: Connection, namespace: str, flow_id: str, revision: int) -> Flow:
        """The newest revision decides; of a deleted flow, the one that waits."""
        try:
            return self._executions.registry.flow(tx, namespace, flow_id)
        except LannerError:
            return self._executions.registry.flow(tx, namespace, flow_id, revision)

    def retry_as_new(self, execution_id: str, timer_id: int) -> None:
        """A fresh execution in place of one that ended RETRIED; its id is derived, so twice makes one."""
        row = self._database.read(
            lambda c: c.execute(sa.select(execution_table).where(execution_table.c.id == execution_id)).one_or_none()
        )
        if row is None:
            return
        child_id = derived_id("retry", execution_id, str(timer_id))
        known = self._database.read(
            lambda c: c.execute(sa.select(execution_table.c.id).where(execution_table.c.id == child_id)).scalar()
        )
        if known is None:
            self._insert_retry(row, child_id)
        # The parent follows before the new execution moves: it may end faster than we come back.
        if row.parent_run_id is not None:
            self._follow(row.parent_run_id, execution_id, child_id)
        self.begin_soon(child_id)

    def _follow(self, parent_run_id: str, old_id: str, new_id: str) -> None:
        """Let what waits for ``old_id`` wait for the execution in its place; else do nothing."""
        self._database.write(lambda tx: batches.replaced(tx, old_id, new_id))
        run = self._database.read(
            lambda c: c.execute(
                sa.select(run_table.c.execution_id, run_table.c.epoch, run_table.c.outputs).where(
                    run_table.c.id == parent_run_id
                )
            ).one_or_none()
        )
        if run is not None and (run.outputs or {}).get("executionId") == old_id:
            self._executions.apply(
                run.execution_id,
                events.SubflowStarted(
                    at=self._clock.now(), task_run_id=parent_run_id, epoch=run.epoch, execution_id=new_id
                ),
            )

    def _insert_retry(self, row: Any, child_id: str) -> None:
        now = self._clock.now()
        values = {
            column: getattr(row, column)
            for column in (
                "namespace", "flow_id", "revision", "generation", "kind", "labels", "trigger", "parent_run_id",
                "trigger_execution_id", "depth", "original_id", "original_created_at", "commit", "source", "loop_run",
                "loop_index",
            )
        }  # fmt: skip
        values.update(
            id=child_id,
            version=0,
            state=State.CREATED.value,
            finished=False,
            slot=False,
            created_at=now,
            history=[[State.CREATED.value, to_micros(now)]],
            inputs=self._resealed(row.inputs, row.id, child_id),
            attempt_number=row.attempt_number + 1,
            recoveries=0,
        )
        self._database.write(lambda tx: insert_execution(tx, values))

    def _resealed(self, inputs: Any, old_id: str, new_id: str) -> Any:
        """Secret inputs are bound to their execution: open them and seal them again for the new one."""
        return reseal(self._executions.rendering.vault, inputs, old_id, new_id)

    def committed(self, execution_id: str, flow: Flow, outcome: Outcome) -> None:
        """Hand on what the commit left: attempts to workers, effects to their handlers, timers to their loop."""
        for dispatch in outcome.dispatches:
            if flow.routed:
                self._later_routed(execution_id, dispatch)
            else:
                self._dispatch.submit(dispatch.task_run_id, dispatch.epoch, "")
        if outcome.timers:
            self._nudges.send("timers")
        if outcome.unfinished:
            self._later(self._executions.applier.drive, execution_id)
        effects = self.effects
        if effects is None:
            return
        try:
            for message in outcome.messages:
                self._work.submit(effects.handle, message)
            for child in outcome.children:
                self._work.submit(self._guarded_effect, effects.start_child, execution_id, child)
        except RuntimeError:
            log.info("effects left for the next start: %s", execution_id, extra={"action": "left_for_restart"})

    def _later_routed(self, execution_id: str, dispatch: DispatchAct) -> None:
        try:
            self._work.submit(self._guarded_effect, self._route, execution_id, dispatch.task_run_id, dispatch.epoch)
        except RuntimeError:
            log.info("dispatch left for the next start: %s", execution_id, extra={"action": "left_for_restart"})

    def _route(self, execution_id: str, run_id: str, epoch: int) -> None:
        """Dispatch to the workers that a task asks for (``flows.md`` 1.13). What waits is looked at again by the
        reconciler; harmless twice, because an attempt that has begun or ended is left alone.
        """
        now = self._clock.now()
        loaded = self._executions.loaded(execution_id, events.AttemptStarted(at=now, task_run_id=run_id, epoch=epoch))
        run = loaded.value.runs.get(run_id)
        if run is None or run.epoch != epoch or run.state not in NOT_BEGUN:
            return
        flow = self._executions.flow_of(loaded)
        wanted = flow.by_id[run.task_id].worker_group or flow.worker_group
        if wanted is None:
            self._dispatch.submit(run_id, epoch, "")
            return
        place = Place(self._executions.rendering, flow, loaded.facts, loaded.paths)
        scene = place.renderer(loaded.value, run)
        try:
            tags = tuple(scene.text(tag).strip() for tag in wanted["tags"])
        except Unavailable:
            raise
        except LannerError as error:
            self._executions.refuse_attempt(execution_id, run, epoch, error.message)
            return
        workers = self._database.read(lambda c: routing.known_workers(c, database_now(c, self._clock)))
        route = routing.decide({**wanted, "tags": tags}, workers)
        if route.queue is not None:
            self._dispatch.submit(run_id, epoch, route.queue)
        elif route.end is State.FAILED:
            self._executions.refuse_attempt(execution_id, run, epoch, route.reason)
        elif route.end is not None:
            ended = events.AttemptFinished(at=now, task_run_id=run_id, epoch=epoch, state=route.end, error=route.reason)
            self._executions.apply(execution_id, ended)
        else:
            log.info("%s waits: %s", run_id, route.reason, extra={"action": "worker_group_waits"})

    @staticmethod
    def _guarded_effect(work: Callable[..., None], execution_id: str, *details: Any) -> None:
        """What fails here is found again by the reconciler, which counts how often."""
        try:
            work(execution_id, *details)
        except Exception:
            log.exception("execution %s: effect failed", execution_id, extra={"action": "effect_failed"})
