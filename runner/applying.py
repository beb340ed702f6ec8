"""Applying events: load, decide, answer, run what is inline, write once. The only writer of running executions.

Safe from any thread and any process: within a process events of one execution queue up and are decided together,
between processes the version of the execution row decides who has to look again.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from namespaces.clock import Clock
from namespaces.errors import CorruptRow, InvalidFlow, NotFound, Unavailable
from namespaces.flows.model import Flow
from namespaces.registry import Registry
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner.deciding import Decision, Outcome
from runner.engine.events import AnyEvent, Broken, Pause
from runner.pending import Pending
from runner.rendering import Rendering
from runner.rows import run_table
from runner.view import Loaded, body, load
from runner.writeoff import write_off
from runner.writing import TOPIC, Stale, write

log = logging.getLogger("lanner.executions")

STALE_RETRIES = 20


@dataclass(slots=True)
class _Queue:
    waiting: deque[Pending] = field(default_factory=deque)
    busy: bool = False


class Applier:
    """Applies events to executions. ``after_commit`` is told what to hand on."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        clock: Clock,
        nudges: Nudges,
        rendering: Rendering,
        after_commit: Callable[[str, Flow, Outcome], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._nudges = nudges
        self._rendering = rendering
        self._after_commit = after_commit
        self._queues: dict[str, _Queue] = {}
        self._lock = threading.Lock()

    def apply(self, execution_id: str, event: AnyEvent) -> bool:
        """Apply one event and return whether it changed anything (late and repeated events do not).

        Raises ``Unavailable`` when nothing could be committed; applying the same event again is harmless.
        """
        return self.settle(execution_id, Pending(event, Future()))

    def settle(self, execution_id: str, pending: Pending) -> bool:
        """As ``apply``, for an event that comes with more than itself; ``pending.taken`` is filled in."""
        with self._lock:
            queue = self._queues.setdefault(execution_id, _Queue())
            queue.waiting.append(pending)
            first = not queue.busy
            queue.busy = True
        if first:
            self._drain(execution_id, queue)
        return pending.future.result()

    def _drain(self, execution_id: str, queue: _Queue) -> None:
        """Decide everything that waits for this execution, several events in one transaction."""
        while True:
            with self._lock:
                batch = list(queue.waiting)
                queue.waiting.clear()
                if not batch:
                    queue.busy = False
                    self._queues.pop(execution_id, None)
                    return
            try:
                results = self._apply_batch(execution_id, batch)
            except BaseException as error:
                for pending in batch:
                    pending.future.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for pending, changed in zip(batch, results, strict=True):
                    pending.future.set_result(changed)

    def _apply_batch(self, execution_id: str, batch: list[Pending]) -> list[bool]:
        for attempt in range(STALE_RETRIES):
            loaded = self._load(execution_id, [pending.event for pending in batch])
            if loaded is None:
                return [False] * len(batch)
            flow = self._flow(loaded)
            decision = Decision(self._rendering, flow, loaded)
            results = [decision.take(pending) for pending in batch]
            try:
                self._finish(decision)
            except Stale:
                if decision.version != loaded.version:
                    # The events are in; only inline tasks are left, and whoever was faster left them open.
                    self.drive(execution_id)
                    return results
                # Another process was faster; spread out those that met.
                time.sleep(random.uniform(0, 0.005) * (attempt + 1))  # noqa: S311
                continue
            if decision.grown:
                self._refuse_growth(execution_id)
            return results
        raise Unavailable(f"execution '{execution_id}' is too busy", hint="try again")

    def _refuse_growth(self, execution_id: str) -> None:
        """End an execution that has more task runs than it may have."""
        limits = self._rendering.limits
        count = self._database.read(
            lambda c: c.execute(
                sa.select(sa.func.count()).select_from(run_table).where(run_table.c.execution_id == execution_id)
            ).scalar_one()
        )
        if count > limits.task_runs:
            broken = Broken(at=self._clock.now(), reason=limits.too_many_task_runs(count))
            self._apply_batch(execution_id, [Pending(broken, Future())])
        else:
            self.drive(execution_id)

    def drive(self, execution_id: str) -> None:
        """Run what is ready and owned by nobody: after a crash, a lost message, a resume. Harmless at any time."""
        for _ in range(STALE_RETRIES):
            loaded = self._load(execution_id, [Pause(at=self._clock.now())])
            if loaded is None or loaded.value.finished:
                return
            decision = Decision(self._rendering, self._flow(loaded), loaded)
            ready = decision.ready()
            if ready.strangers:
                reason = f"the flow has no task '{ready.strangers[0]}', which waits to run"
                broken = Broken(at=self._clock.now(), reason=reason)
                self._apply_batch(execution_id, [Pending(broken, Future())])  # not apply: it may wait for this thread
                return
            try:
                self._finish(decision)
            except Stale:
                continue
            if ready.dispatches or ready.children:
                self._after_commit(execution_id, decision.flow, ready)
            if decision.grown:
                self._refuse_growth(execution_id)
            return

    def _load(self, execution_id: str, events: Sequence[AnyEvent]) -> Loaded | None:
        """The execution, None when there is none. One that cannot be read, or whose flow cannot, ends here (R20)."""
        try:
            return self._database.read(lambda c: load(c, execution_id, events, self._registry.flow))
        except (CorruptRow, NotFound, InvalidFlow) as error:
            self.write_off(execution_id, error.message)
            return None

    def write_off(self, execution_id: str, reason: str) -> None:
        """End an execution without the engine, which cannot go on with it."""
        now = self._clock.now()
        if self._database.write(lambda tx: write_off(tx, execution_id, reason, now=now, topic=TOPIC)):
            for topic in (f"execution:{execution_id}", "executions", "outbox"):
                self._nudges.send(topic)

    def _flow(self, loaded: Loaded) -> Flow:
        facts = loaded.facts
        known = self._registry.cached(facts.namespace, facts.flow_id, loaded.value.revision)
        whole = known or self._database.read(
            lambda c: self._registry.flow(c, facts.namespace, facts.flow_id, loaded.value.revision)
        )
        return body(whole, facts.loop_run)

    def _finish(self, decision: Decision) -> None:
        """Write and go on while inline tasks are left; each round is a commit of its own."""
        while True:
            decision.run_inline()
            decision.go_on()
            if not decision.dirty:
                return
            now = self._clock.now()
            change, outcome = decision.change()
            work = partial(write, change=change, version=decision.version, now=now)
            outcome.messages = self._database.write(work)
            decision.committed()
            execution = decision.value
            self._nudges.send(f"execution:{execution.id}")
            if change.logs:
                self._nudges.send(f"logs:{execution.id}")
            if execution.state is not change.before.state:
                self._nudges.send("executions")
            self._after_commit(execution.id, decision.flow, outcome)
            if not decision.inline_waits or decision.grown:
                return


__all__ = ["Applier", "Outcome"]
