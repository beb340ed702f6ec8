"""In-memory stand-ins for the seams of a worker: reporter, world, expression context."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from namespaces.blobs import MemoryStorage
from namespaces.clock import SystemClock
from namespaces.errors import Conflict, NotFound, Unavailable
from namespaces.expressions import NoPorts, render, render_typed, render_value
from namespaces.flows.catalog import Catalog
from namespaces.flows.model import Flow
from namespaces.flows.parse import read_flow
from runner.engine.events import AttemptFinished, AttemptStarted, BlockFinished
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.logs import LogLine
from runner.plugin import Metric
from runner.worker.attempt import AttemptRunner
from runner.worker.limits import Limits
from runner.worker.reporter import Claim
from runner.worker.running import Seen, Services, TaskSettings
from runner.worker.supervisor import Spawner

CATALOG = Catalog()


class InProcessRenderer:
    def render(self, text: str, context: Mapping[str, object], ports: Any) -> str:
        return render(text, context, ports)

    def render_typed(self, text: str, context: Mapping[str, object], ports: Any) -> object:
        return render_typed(text, context, ports)

    def render_value(self, value: object, context: Mapping[str, object], ports: Any) -> object:
        return render_value(value, context, ports)


class MemoryReporter:
    """Keeps the contract of ``Reporter`` in memory: one owner per epoch, one end, lines once."""

    def __init__(self) -> None:
        self.claims: dict[tuple[str, int], Claim] = {}
        self.owner: dict[tuple[str, int], str] = {}
        self.starts: list[AttemptStarted] = []
        self.ends: dict[tuple[str, int], AttemptFinished | BlockFinished] = {}
        self.late: list[Any] = []
        self.lost_ones: list[tuple[str, int, str]] = []
        self.metrics: list[Metric] = []
        self.cache: dict[str, Mapping[str, Any]] = {}
        self.lines: list[LogLine] = []
        self._numbered: set[tuple[str | None, int, int]] = set()
        self.ended = threading.Event()
        self.down = threading.Event()
        self.on_lines: Any = None
        self.on_start: Any = None
        self.following: Claim | None = None
        """What is to be run after the next end."""
        self.on_going_on: Any = None

    def offer(self, claim: Claim) -> None:
        self.claims[claim.task_run.id, claim.epoch] = claim

    def _check(self) -> None:
        if self.down.is_set():
            raise Unavailable("the database is down")

    def claim(self, task_run_id: str, epoch: int, worker_id: str) -> Claim | None:
        self._check()
        key = (task_run_id, epoch)
        if key not in self.claims or key in self.ends or self.owner.setdefault(key, worker_id) != worker_id:
            return None
        return self.claims[key]

    def adopted(self, task_run_id: str, epoch: int) -> Claim | None:
        self._check()
        key = (task_run_id, epoch)
        return None if key in self.ends else self.claims.get(key)

    def started(self, claim: Claim, event: AttemptStarted) -> None:
        self._check()
        self.starts.append(event)
        if self.on_start is not None:
            self.on_start(event)

    def finished(
        self,
        claim: Claim,
        event: AttemptFinished | BlockFinished,
        metrics: Sequence[Metric] = (),
        lines: Sequence[LogLine] = (),
        goes_on: Any = None,
    ) -> Claim | None:
        self._check()
        self.logs(lines)
        key = (claim.task_run.id, claim.epoch)
        if key in self.ends:
            self.late.append(event)
            return None
        self.ends[key] = event
        self.metrics.extend(metrics)
        self.ended.set()
        following, self.following = self.following, None
        if following is None or goes_on is None or not goes_on(following.task_run.id, following.epoch):
            return None
        if self.on_going_on is not None:
            self.on_going_on()
        return following

    def lost(self, claim: Claim, reason: str) -> None:
        self._check()
        self.lost_ones.append((claim.task_run.id, claim.epoch, reason))
        self.ended.set()

    def recall(self, claim: Claim, key: str) -> Mapping[str, Any] | None:
        self._check()
        return self.cache.get(key)

    def remember(self, claim: Claim, key: str, outputs: Mapping[str, Any], ttl: Any) -> None:
        self._check()
        self.cache[key] = outputs

    def logs(self, lines: Sequence[LogLine]) -> None:
        self._check()
        for line in lines:
            if line.seq is not None:
                key = (line.task_run_id, line.attempt, line.seq)
                if key in self._numbered:
                    continue
                self._numbered.add(key)
            self.lines.append(line)
        if self.on_lines is not None:
            self.on_lines(lines)

    def messages(self, least: int = 30) -> list[str]:
        return [line.message for line in self.lines if line.level >= least]


class MemoryWorld:
    """KV, state and namespace files in maps."""

    def __init__(self, storage: MemoryStorage) -> None:
        self.outputs_of_batches: list[Any] = []
        self.storage = storage
        self.kv: dict[tuple[str, str], Any] = {}
        self.types: dict[tuple[str, str], str | None] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.readable: set[str] = set()
        self.rows: list[dict[str, Any]] = []

    def kv_get(self, namespace: str, key: str) -> Any | None:
        return self.kv.get((namespace, key))

    def kv_set(
        self, namespace: str, key: str, value: Any, *, type_: str | None, overwrite: bool, ttl_s: float | None,
        description: str | None,
    ) -> None:  # fmt: skip
        if not overwrite and (namespace, key) in self.kv:
            raise Conflict(f"key {key} exists")
        self.kv[namespace, key] = value
        self.types[namespace, key] = type_

    def kv_delete(self, namespace: str, key: str) -> bool:
        return self.kv.pop((namespace, key), None) is not None

    def kv_keys(self, namespace: str, prefix: str | None) -> list[str]:
        return sorted(key for ns, key in self.kv if ns == namespace and key.startswith(prefix or ""))

    def kv_purge(self, filters: Mapping[str, Any]) -> int:
        self.calls.append(("kv_purge", dict(filters)))
        return 0

    def may_read(self, uri: str) -> bool:
        return uri in self.readable

    def file_exists(self, uri: str) -> bool:
        return self.storage.exists(uri)

    def file_size(self, uri: str) -> int:
        return self.storage.size(uri)

    def file_delete(self, uri: str) -> bool:
        return self.storage.delete(uri)

    def state_read(self, path: str) -> dict[str, Any] | None:
        return self.states.get(path)

    def state_write(self, path: str, data: Mapping[str, Any] | None) -> None:
        if data is None:
            self.states.pop(path, None)
        else:
            self.states[path] = dict(data)

    def namespace_files(self, namespace: str) -> list[str]:
        return sorted(path for ns, path in self.files if ns == namespace)

    def namespace_file_read(self, namespace: str, path: str) -> bytes:
        try:
            return self.files[namespace, path]
        except KeyError:
            raise NotFound(f"no namespace file {path}") from None

    def namespace_file_write(self, namespace: str, path: str, content: bytes) -> None:
        self.files[namespace, path] = content

    def namespace_file_delete(self, namespace: str, path: str) -> None:
        del self.files[namespace, path]

    def resume_execution(
        self, execution_id: str, inputs: Mapping[str, Any], *, namespace: str | None, flow_id: str | None
    ) -> None:
        self.calls.append(("resume", execution_id, dict(inputs)))

    def kill_execution(self, execution_id: str, cascade: bool) -> None:
        self.calls.append(("kill", execution_id, cascade))

    def toggle_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None:
        self.calls.append(("toggle", namespace, flow_id, trigger_id, enabled))

    def log_rows(
        self,
        execution_id: str,
        task_ids: list[str] | None,
        level: str,
        *,
        namespace: str | None,
        flow_id: str | None,
    ) -> list[dict[str, Any]]:
        self.calls.append(("logs", execution_id, task_ids, level))
        return self.rows

    def purge_logs(self, filters: Mapping[str, Any]) -> int:
        self.calls.append(("purge_logs", dict(filters)))
        return 3

    def purge_flows(self, filters: Mapping[str, Any]) -> int:
        self.calls.append(("purge_flows", dict(filters)))
        return 2

    def purge_executions(self, filters: Mapping[str, Any]) -> dict[str, int]:
        self.calls.append(("purge_executions", dict(filters)))
        return {"executions": 1, "logs": 2, "metrics": 3, "storages": 4}

    def batch_outputs(self, parent_run_id: str, task_id: str) -> list[Any]:
        self.calls.append(("batch_outputs", parent_run_id, task_id))
        return list(self.outputs_of_batches)

    def count_executions(self, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.calls.append(("count", dict(filters)))
        return [{"namespace": "a", "flowId": "b", "count": 0}, {"namespace": "a", "flowId": "c", "count": 2}]


class Bench:
    """A worker with everything around it in memory, for one flow at a time."""

    def __init__(self, root: Path, *, limits: Limits | None = None, settings: TaskSettings | None = None) -> None:
        self.unique = hashlib.sha256(str(root).encode()).hexdigest()[:10]
        self.reporter = MemoryReporter()
        self.storage = MemoryStorage()
        self.world = MemoryWorld(self.storage)
        self.limits = limits or Limits(kill_grace_s=1, heartbeat_s=0.5, unresponsive_s=0.3)
        self.spawner = Spawner(root / "spool", self.limits)
        self.variables: dict[str, Any] = {}
        self.secrets: set[str] = set()
        self.clock = SystemClock()
        self.services = Services(
            renderer=InProcessRenderer(),
            storage=self.storage,
            world=lambda claim: self.world,
            clock=self.clock,
            spawner=self.spawner,
            catalog=CATALOG,
            limits=self.limits,
            settings=settings or TaskSettings(default_task_runner="process"),
        )
        self.runner = AttemptRunner(self.reporter, self.context_of, self.services, worker_id="w1")

    def context_of(self, claim: Claim) -> Seen:
        run = claim.task_run
        variables = {
            "flow": {"id": claim.flow.id, "namespace": claim.flow.namespace},
            "execution": {"id": claim.execution["id"]},
            "task": {"id": claim.task.id, "type": claim.task.type},
            "taskrun": {"id": run.id, **({"value": run.value} if run.value else {})},
            **self.variables,
        }
        return Seen(variables=variables, ports=NoPorts(), secrets=lambda: self.secrets, hide=self.secrets.add)

    def flow(self, tasks: str) -> Flow:
        reading = read_flow(f"id: f\nnamespace: company.team\ntasks:\n{tasks}", CATALOG)
        assert reading.flow is not None, reading.problems
        return reading.flow

    def tr(self, number: int = 1) -> str:
        """A task run's id: processes are found by it, so no two benches on this machine may share one."""
        return f"tr{number}-{self.unique}"

    def claim(
        self, tasks: str, *, number: int = 1, epoch: int = 1, attempt: int = 0, value: str | None = None
    ) -> Claim:
        flow = self.flow(tasks)
        run_id = self.tr(number)
        task = flow.tasks[0]
        claim = Claim(
            flow=flow,
            task=task,
            task_run=TaskRun(id=run_id, task_id=task.id, state=State.CREATED, epoch=epoch, value=value),
            epoch=epoch,
            attempt=attempt,
            ancestors=(),
            execution={"id": "ex1"},
            generation=1,
        )
        self.reporter.offer(claim)
        return claim

    def run(self, tasks: str, **rest: Any) -> Any:
        """Run the first task of these; its end as reported."""
        claim = self.claim(tasks, **rest)
        assert self.runner.run(claim.task_run.id, claim.epoch)
        return self.reporter.ends[claim.task_run.id, claim.epoch]

    def text(self, uri: str) -> str:
        with self.storage.open(uri) as file:
            return file.read().decode()

    def close(self) -> None:
        self.spawner.close()


def with_epoch(claim: Claim, epoch: int) -> Claim:
    return replace(claim, epoch=epoch)
