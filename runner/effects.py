"""Carrying out act effects: one handler a kind. Each may be called twice; what makes that harmless is said there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.errors import LannerError, Unavailable
from namespaces.flows.model import Subflow
from namespaces.ids import derived_id
from namespaces.secrets import reseal
from namespaces.store import outbox
from namespaces.store.outbox import Message
from runner import loops, view
from runner.batches import Starter
from runner.children import request, scene_of, tell_parent
from runner.deciding import child_message
from runner.dispatch.base import Dispatch
from runner.engine import events
from runner.engine.ready import StartChild
from runner.engine.states import State
from runner.executions import Executions, killable
from runner.rendering import Place
from runner.rows import execution_table

log = logging.getLogger("lanner.effects")

MOST_ATTEMPTS = 5


class Listener(Protocol):
    """Flow triggers: told of every announced state, at least once."""

    def announce(self, execution_id: str, state: str, number: int) -> None: ...


class Effects:
    """Handlers for the messages of topic ``effect``."""

    def __init__(
        self,
        executions: Executions,
        dispatch: Dispatch,
        listener: Listener,
        released: Callable[[str, str], None],
        ended: Callable[[str, str], None],
    ) -> None:
        """``released(namespace, flow_id)`` admits the next queued execution; ``ended`` frees a locked trigger."""
        self._executions = executions
        self._database = executions.database
        self._clock = executions.clock
        self._dispatch = dispatch
        self._listener = listener
        self._released = released
        self._ended = ended

    def handle(self, message: Message) -> None:
        """Carry out and remove; a failure leaves the message for the outbox loop."""
        crash.reach("outbox.before_publish")
        payload = message.payload
        try:
            getattr(self, f"_{payload['do']}")(message.key, payload)
        except Unavailable as error:
            log.warning("effect %r of %s waits: %s", payload, message.key, error, extra={"action": "effect_waits"})
            self._postpone(message)
            return
        except Exception as error:
            log.exception("effect %r of %s failed", payload, message.key, extra={"action": "effect_failed"})
            if message.attempts < MOST_ATTEMPTS:
                self._postpone(message)
                return
            self._executions.apply(
                message.key, events.Broken(at=self._clock.now(), reason=f"recovery_exhausted: {error}")
            )
        crash.reach("outbox.after_publish")
        self._database.write(lambda tx: outbox.done(tx, [message.id]))

    def _postpone(self, message: Message) -> None:
        wait = timedelta(seconds=min(60, 2 ** min(message.attempts, 6)))
        try:
            self._database.write(lambda tx: outbox.postpone(tx, message.id, self._clock.now() + wait))
        except Unavailable:
            log.warning("effect stays claimed until its hold ends", extra={"action": "effect_held"})

    def _announce(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: a parent ignores an end it knows, flow triggers use an idempotency key."""
        state = State(payload["state"])
        row = self._database.read(lambda c: view.ONE_EXECUTION.one_or_none(c, k_id=execution_id))
        if row is None:
            return
        if row.kind == "LOOP":
            loops.iteration_changed(self._executions, row, state)
        elif row.parent_run_id is not None:
            self._tell_parent(row, state)
        if state.terminal:
            self._ended(execution_id, state.value)
        self._listener.announce(execution_id, state.value, int(payload["at"]))

    def announce_unborn(self, row: Any) -> None:
        """An execution that was created FAILED never passed the engine, but has listeners all the same."""
        self._announce(row.id, {"state": row.state, "at": len(row.history or ())})

    def _tell_parent(self, row: Any, state: State) -> None:
        outputs, error = row.outputs, None
        if state.terminal and row.trigger_execution_id is not None:
            parent = row.trigger_execution_id
            # A sealed value belongs to one execution: the parent's is another one.
            outputs = reseal(self._executions.rendering.vault, outputs, row.id, parent)
            try:
                outputs = {**(outputs or {}), **self._legacy_outputs(parent, row, self._clock.now())} or None
            except LannerError as problem:
                error = problem.message
        tell_parent(self._executions, row, state, outputs, error)

    def _legacy_outputs(self, parent_id: str, child: Any, now: datetime) -> dict[str, Any]:
        """``outputs`` written on the Subflow task itself: rendered in the context of the child at its end."""
        marked = events.AttemptStarted(at=now, task_run_id=child.parent_run_id, epoch=0)
        parent = self._database.read(lambda c: view.load(c, parent_id, [marked]))
        run = parent.value.runs.get(child.parent_run_id) if parent is not None else None
        if parent is None or run is None:
            return {}
        task = self._executions.flow_of(parent).by_id.get(run.task_id)
        if not isinstance(task, Subflow) or not task.outputs:
            return {}
        loaded = self._database.read(lambda c: view.load(c, child.id, [events.Queued(at=now)]))
        if loaded is None:
            return {}
        place = Place(self._executions.rendering, self._executions.flow_of(loaded), loaded.facts, loaded.paths)
        rendered: dict[str, Any] = place.renderer(loaded.value, None).value(dict(task.outputs))
        sealed: dict[str, Any] = place.sealed(rendered, parent_id)
        return sealed

    def _release(self, execution_id: str, _payload: Mapping[str, Any]) -> None:
        """Harmless twice: slots are counted from rows."""
        row = self._database.read(
            lambda c: c.execute(
                sa.select(execution_table.c.namespace, execution_table.c.flow_id).where(
                    execution_table.c.id == execution_id
                )
            ).one_or_none()
        )
        if row is not None:
            self._released(row.namespace, row.flow_id)

    def _kill_attempt(self, _execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: killing what is gone does nothing."""
        self._dispatch.kill(payload["run"], payload["epoch"])

    def _kill_children(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: a terminal execution is not killed again."""

        def children(connection: Connection) -> list[str]:
            query = sa.select(execution_table.c.id).where(killable())
            if payload["run"] is not None:
                query = query.where(execution_table.c.parent_run_id == payload["run"])
            else:
                query = query.where(
                    execution_table.c.trigger_execution_id == execution_id,
                    execution_table.c.parent_run_id.is_not(None),
                )
            return list(connection.execute(query).scalars())

        for child in self._database.read(children):
            self._executions.kill(child)

    def _remove_files(self, _execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: what is gone stays gone."""
        self._executions.rendering.storage.delete_prefix(payload["folder"])

    def _start_subflow(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: the child's id is derived from task run and epoch, so it is made once."""
        run_id, epoch = payload["run"], payload["epoch"]
        now = self._clock.now()
        loaded = self._database.read(
            lambda c: view.load(c, execution_id, [events.AttemptStarted(at=now, task_run_id=run_id, epoch=epoch)])
        )
        if loaded is None:
            return
        run = loaded.value.runs.get(run_id)
        if run is None or run.epoch != epoch or run.state.terminal:
            return
        flow = self._executions.flow_of(loaded)
        task = flow.by_id[run.task_id]
        if not isinstance(task, Subflow):
            raise LannerError(f"task '{task.id}' is not a Subflow")
        child_id = derived_id("subflow", run_id, str(epoch))
        try:
            self._start_child(
                task, Place(self._executions.rendering, flow, loaded.facts, loaded.paths), loaded, run_id, child_id
            )
        except LannerError as error:
            if isinstance(error, Unavailable):
                raise
            self._executions.refuse_attempt(execution_id, run, epoch, error.message)
            return
        self._executions.apply(
            execution_id,
            events.SubflowStarted(at=self._clock.now(), task_run_id=run_id, epoch=epoch, execution_id=child_id),
        )

    def _start_child(self, task: Subflow, place: Place, loaded: view.Loaded, run_id: str, child_id: str) -> None:
        exists = self._database.read(
            lambda c: c.execute(sa.select(execution_table.c.id).where(execution_table.c.id == child_id)).scalar()
        )
        if exists:
            return
        self._executions.rendering.limits.refuse_deep(loaded.facts.depth + 1)
        run = loaded.value.runs[run_id]
        scene = scene_of(place, loaded, run, None, None)
        self._executions.start(request(task, scene, loaded, run, child_id, self._executions))

    def _start_batches(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: what is there already is not made again."""
        Starter(self._executions, execution_id, payload["run"], payload["epoch"]).start(again=payload["again"])

    def _start_iterations(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: values are read once, and each has one execution."""
        loops.start(self._executions, execution_id, payload["run"], payload["epoch"], again=payload["again"])

    def _stop_iterations(self, _execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: what has ended is not killed again."""
        loops.stop(self._executions, payload["run"], kill=payload["kill"], cascade=payload["cascade"])

    def _restart_subflow(self, execution_id: str, payload: Mapping[str, Any]) -> None:
        """Harmless twice: a child that is running again refuses a second restart, and that is fine."""
        child = payload["child"]
        state = self._database.read(
            lambda c: c.execute(sa.select(execution_table.c.state).where(execution_table.c.id == child)).scalar()
        )
        if state is None:
            self._start_subflow(execution_id, payload)
            return
        # The parent follows the child before it moves: it may end faster than we come back.
        self._executions.apply(
            execution_id,
            events.SubflowStarted(
                at=self._clock.now(), task_run_id=payload["run"], epoch=payload["epoch"], execution_id=child
            ),
        )
        if State(state).terminal:
            self._executions.restart(child)

    def start_child(self, execution_id: str, effect: StartChild) -> None:
        """Start a child execution that nobody has started yet: what the reconciler finds."""
        payload = child_message(effect)
        getattr(self, f"_{payload['do']}")(execution_id, payload)

    def announce_again(self, execution_id: str) -> None:
        """Tell whoever waits for an execution that has ended; for ends that were not heard."""
        row = self._database.read(lambda c: view.ONE_EXECUTION.one_or_none(c, k_id=execution_id))
        if row is not None and State(row.state).terminal:
            self._announce(execution_id, {"state": row.state, "at": len(row.history or ())})
