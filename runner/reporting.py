"""The worker's seam on the database: claims, starts, ends, log lines. Exactly one end per epoch counts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from namespaces import crash
from namespaces.expressions import Ports
from namespaces.flows.model import Flow
from namespaces.store.statements import Query
from runner import taskcache, view, writing
from runner.context import ancestors_of
from runner.engine import events
from runner.engine.values import Execution, TaskRun
from runner.executions import Executions
from runner.logs import LogLine
from runner.pending import GoesOn, Pending, Taken
from runner.plugin import Metric
from runner.rendering import Place
from runner.rows import run_table
from runner.worker.reporter import Claim

_EXECUTION_OF = Query(sa.select(run_table.c.execution_id).where(run_table.c.id == sa.bindparam("k_id")))


@dataclass(slots=True)
class Scene:
    """Where an attempt renders: its variables, the functions that reach out, the secrets it has read so far."""

    place: Place
    value: Execution
    run: TaskRun

    @property
    def variables(self) -> Mapping[str, Any]:
        return self.place.context(self.value, self.run)

    @property
    def secrets(self) -> set[str]:
        return self.place.secrets

    def ports(self, variables: Mapping[str, Any]) -> Ports:
        return self.place.shared.ports_of(self.place, self.value, self.run, variables)


class DatabaseReporter:
    """``Reporter`` for workers that reach the database themselves."""

    def __init__(self, executions: Executions, worker_id: str) -> None:
        self._executions = executions
        self._worker_id = worker_id
        self._scenes: dict[tuple[str, int], Scene] = {}
        self._lock = threading.Lock()

    def claim(self, task_run_id: str, epoch: int, worker_id: str) -> Claim | None:
        """One transaction makes the attempt RUNNING and ours; a second claim of the same epoch gets None."""
        database = self._executions.database
        execution_id = database.read(lambda c: _EXECUTION_OF.scalar(c, k_id=task_run_id))
        if execution_id is None:
            return None
        event = events.AttemptStarted(
            at=self._executions.clock.now(), task_run_id=task_run_id, epoch=epoch, info={"workerId": worker_id}
        )
        pending = Pending(event, Future(), worker_id)
        self._executions.applier.settle(execution_id, pending)
        return self._taken(pending)

    def adopted(self, task_run_id: str, epoch: int) -> Claim | None:
        """The claim of an attempt that an earlier process of this worker had started; None when it is out of date."""
        database = self._executions.database
        row = database.read(
            lambda c: c.execute(
                sa.select(run_table.c.execution_id, run_table.c.epoch, run_table.c.terminal).where(
                    run_table.c.id == task_run_id
                )
            ).one_or_none()
        )
        if row is None or row.epoch != epoch or row.terminal:
            return None
        # From here on the attempt is this worker's: the reconciler must not take it for the dead one's.
        database.write(
            lambda tx: tx.execute(
                sa.update(run_table)
                .where(run_table.c.id == task_run_id, run_table.c.epoch == epoch)
                .values(worker_id=self._worker_id)
            )
        )
        executions = self._executions
        event = events.AttemptStarted(at=executions.clock.now(), task_run_id=task_run_id, epoch=epoch)
        loaded = database.read(lambda c: view.load(c, row.execution_id, [event]))
        if loaded is None or task_run_id not in loaded.value.runs:
            return None
        run = loaded.value.runs[task_run_id]
        flow: Flow = executions.flow_of(loaded)
        return self._claimed(Taken(flow=flow, facts=loaded.facts, paths=loaded.paths, value=loaded.value, run=run))

    def _taken(self, pending: Pending) -> Claim | None:
        if pending.taken is None:
            return None
        crash.reach("claim.after_commit")
        return self._claimed(pending.taken)

    def _claimed(self, taken: Taken) -> Claim:
        run = taken.run
        place = Place(self._executions.rendering, taken.flow, taken.facts, taken.paths)
        place.inputs()  # opens secret inputs, so that they are masked from the first line on
        with self._lock:
            self._scenes[run.id, run.epoch] = Scene(place, taken.value, run)
        return Claim(
            flow=taken.flow,
            task=taken.flow.by_id[run.task_id],
            task_run=run,
            epoch=run.epoch,
            attempt=max(0, len(run.attempts) - 1),
            ancestors=ancestors_of(taken.value.runs, run),
            execution={"id": taken.value.id},
            generation=taken.facts.generation,
            secrets=frozenset(place.secrets),
        )

    def scene(self, claim: Claim) -> Scene:
        """Where this claim renders."""
        with self._lock:
            return self._scenes[claim.task_run.id, claim.epoch]

    def started(self, claim: Claim, event: events.AttemptStarted) -> None:
        """What became known after the claim (process, task runner) is noted on the attempt."""
        self._executions.apply(str(claim.execution["id"]), event)

    def finished(
        self,
        claim: Claim,
        event: events.AttemptFinished | events.BlockFinished,
        metrics: Sequence[Metric] = (),
        lines: Sequence[LogLine] = (),
        goes_on: GoesOn | None = None,
    ) -> Claim | None:
        crash.reach("result.before_commit")
        key = (claim.task_run.id, claim.epoch)
        with self._lock:
            scene = self._scenes.get(key)
        secrets = frozenset(scene.secrets) if scene else claim.secrets
        pending = Pending(event, Future(), self._worker_id, metrics, secrets, lines, goes_on)
        self._executions.applier.settle(str(claim.execution["id"]), pending)
        crash.reach("result.after_commit")
        with self._lock:
            self._scenes.pop(key, None)
        return self._taken(pending)

    def lost(self, claim: Claim, reason: str) -> None:
        """Assigned again or failed by ``onWorkerLost``; a second call finds another epoch and changes nothing."""
        event = events.WorkerLost(
            at=self._executions.clock.now(), task_run_id=claim.task_run.id, epoch=claim.epoch, reason=reason
        )
        self._executions.apply(str(claim.execution["id"]), event)
        with self._lock:
            self._scenes.pop((claim.task_run.id, claim.epoch), None)

    def recall(self, claim: Claim, key: str) -> Mapping[str, Any] | None:
        """Secrets among the kept outputs are masked from here on."""
        executions = self._executions
        shared = executions.rendering
        found = taskcache.find(executions.database, shared.storage, key, executions.clock.now())
        if found is None:
            return None
        opened: Mapping[str, Any] = shared.vault.unseal(found, key, self.scene(claim).secrets)
        return opened

    def remember(self, claim: Claim, key: str, outputs: Mapping[str, Any], ttl: timedelta | None) -> None:
        executions = self._executions
        limits = executions.rendering.limits
        full = taskcache.keep(
            executions.database,
            executions.rendering.storage,
            key,
            (claim.flow.namespace, claim.flow.id, claim.task.id),
            self.scene(claim).place.sealed(outputs, key),
            now=executions.clock.now(),
            ttl=ttl,
            row_bytes=limits.output_row_bytes,
            most=limits.task_cache_entries,
        )
        limits.hits.note("task_cache_entries" if full else "")

    def logs(self, lines: Sequence[LogLine]) -> None:
        """Repeating lines is harmless: numbered ones are kept once."""
        if not lines:
            return
        self._executions.database.write(lambda tx: writing.write_logs(tx, lines))
        for execution_id in {line.execution_id for line in lines if line.execution_id}:
            self._executions.nudges.send(f"logs:{execution_id}")
