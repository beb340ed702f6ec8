"""Where attempts run in this process: the worker's parts, the dispatch that feeds it, adoption after a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from namespaces.flows.policies import read_policies
from namespaces.hits import Hits
from namespaces.ids import new_id
from namespaces.instance import instance_id
from runner.dispatch.base import Dispatch
from runner.egress import Egress, Rules
from runner.heartbeat import Heartbeat
from runner.plugin import World
from runner.reporting import DatabaseReporter
from runner.routing import queues, served
from runner.worker.attempt import AttemptRunner
from runner.worker.limits import Limits
from runner.worker.pool import Pool
from runner.worker.reporter import Claim
from runner.worker.running import Seen, Services, TaskSettings
from runner.worker.slots import Slots
from runner.worker.supervisor import Spawner
from runner.worker.taskrunners import containers
from runner.world import FlowWorld
from service import datafolder
from service.settings import Settings, is_loopback

if TYPE_CHECKING:
    from service.wiring import Lanner

log = logging.getLogger("lanner.worker")


class Workers:
    """The worker of this process (idle unless the role is on) and how attempts reach workers."""

    def __init__(self, lanner: Lanner, environ: Mapping[str, str]) -> None:
        settings = lanner.settings
        self._lanner = lanner
        self._local = "worker" in lanner.roles
        # A fresh id each start: what an earlier process held is adopted, or found to be lost.
        self.id = new_id()
        self.reporter = DatabaseReporter(lanner.executions, self.id)
        self.limits = worker_limits(settings, lanner.hits)
        self.slots = Slots(settings.subprocesses, lanner.hits)
        spools = settings.data_dir / "spool"
        spool = spools / "local"
        self._spool_lock: datafolder.Lock | None = None
        if self._local:
            spool, self._spool_lock = datafolder.own_spool(spools)
        self.spawner = Spawner(spool, self.limits)
        self.runner = AttemptRunner(
            self.reporter,
            self._seen,
            Services(
                renderer=lanner.renderer,
                storage=lanner.storage,
                world=self._world,
                clock=lanner.clock,
                spawner=self.spawner,
                catalog=lanner.catalog,
                slots=self.slots,
                limits=self.limits,
                settings=task_settings(settings),
                policies=read_policies(settings.policies),
                egress=lanner.egress,
            ),
            worker_id=self.id,
        )
        self.groups = served(settings.dispatch.groups, alone=settings.dispatch.kind == "inprocess")
        self.heartbeat = Heartbeat(lanner.database, lanner.clock, self._fence, worker_id=self.id, groups=self.groups)
        self._celery: Any = None
        self._pool: Pool | None = None
        self.dispatch: Dispatch = self._dispatch(settings)

    def _dispatch(self, settings: Settings) -> Dispatch:
        if settings.dispatch.kind == "celery":
            from runner.dispatch.celery import CeleryDispatch, CeleryWorker

            url = str(settings.dispatch.broker_url)
            instance = instance_id(self._lanner.database)
            if self._local:
                self._celery = CeleryWorker(
                    url,
                    instance,
                    self.runner.run,
                    self.runner.cancel,
                    concurrency=settings.subprocesses,
                    groups=queues(self.groups),
                )
            return CeleryDispatch(url, instance)
        from runner.dispatch.inprocess import InProcessDispatch

        self._pool = Pool(max(settings.subprocesses, 32))
        return InProcessDispatch(self.runner, self._pool)

    def _seen(self, claim: Claim) -> Seen:
        scene = self.reporter.scene(claim)
        variables = scene.variables
        return Seen(
            variables=variables,
            ports=scene.ports(variables),
            secrets=lambda: tuple(scene.secrets),
            hide=scene.secrets.add,
        )

    def _world(self, claim: Claim) -> World:
        return FlowWorld(self._lanner.executions, self._lanner.toggle_trigger, claim)

    def _fence(self) -> None:
        """This worker may be thought dead by now: end everything before its replacement starts."""
        self.runner.give_back()

    def start(self) -> None:
        """Sign in, take over the scripts that an earlier process here left running, then take new work."""
        self.heartbeat.start()
        for number, carry_on in enumerate(self.runner.adopt()):
            threading.Thread(target=carry_on, name=f"adopted-{number}", daemon=True).start()
        swept = (self.spawner.root, self._lanner.settings.tasks.docker.host or "")
        threading.Thread(target=containers.sweep, args=swept, name="containers", daemon=True).start()
        if self._celery is not None:
            self._celery.start()

    def stop(self, *, drain_s: float, kill: bool) -> None:
        if kill:
            for taker in (self._pool, self._celery):
                if taker is not None:
                    taker.close()  # or what is given back would begin here once more
            self.runner.give_back()
        if self._celery is not None:
            self._celery.stop(drain_s)
        self.dispatch.stop(drain_s)
        if self._local:
            left = bool(self.runner.live())
            # Scripts that still run belong to their supervisors: the next start adopts them.
            self.heartbeat.stop(state="RUNNING" if left else "STOPPED")

    def close(self) -> None:
        """Let go of the spool: the next worker here adopts what is in it."""
        if self._spool_lock is not None:
            self._spool_lock.release()


def worker_limits(settings: Settings, hits: Hits) -> Limits:
    """The limits of R21 as the worker wants them."""
    limits = settings.limits
    return Limits(
        log_head=limits.log_bytes * 4 // 5,
        log_tail=limits.log_bytes // 5,
        log_line=limits.log_line_bytes,
        log_rate=limits.log_lines_per_second,
        outputs=limits.output_bytes,
        file=limits.output_file_bytes,
        files=limits.output_files,
        files_total=limits.output_files_bytes,
        processes=limits.attempt_processes,
        written_file=limits.attempt_file_bytes,
        subprocesses=settings.subprocesses,
        download=limits.output_file_bytes,
        memory=limits.attempt_memory_bytes,
        cpu_s=None if limits.attempt_cpu is None else limits.attempt_cpu.total_seconds(),
        hits=hits,
    )


def task_settings(settings: Settings) -> TaskSettings:
    from pathlib import Path

    tasks = settings.tasks
    return TaskSettings(
        default_task_runner=tasks.default_task_runner,
        inherit_env=tuple(tasks.inherit_env),
        allowed_paths=tuple(Path(path) for path in tasks.allowed_paths),
        docker_host=tasks.docker.host,
        docker_volumes=tasks.docker.volumes,
        docker_privileged=tasks.docker.privileged,
        minimum_isolation=tasks.minimum_isolation,
    )


def egress(settings: Settings) -> Egress:
    """The one client for requests that tasks and ``http()`` send, with the rules of S21."""
    loopback = settings.egress.loopback
    return Egress(
        Rules(
            loopback=is_loopback(settings.server.host) if loopback == "auto" else loopback == "allow",
            private=settings.egress.private == "allow",
            allow=frozenset(settings.egress.allow),
        )
    )
