"""The only place where parts are chosen and put together. ``build(settings)`` gives the whole, not yet started."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from namespaces.blobs import LocalStorage, Storage
from namespaces.clock import Clock, SystemClock
from namespaces.errors import ConfigurationError, StartRefused
from namespaces.expressions import Limits as ExpressionLimits
from namespaces.flows.catalog import Catalog, load_entry_points
from namespaces.flows.limits import FlowLimits
from namespaces.flows.policies import read_policies
from namespaces.hits import Hits
from namespaces.registry import Registry
from namespaces.secrets import Secrets, Vault, load_or_create_key
from namespaces.store.db import Database, open_database
from namespaces.store.nudges import open_nudges
from runner.context import Surroundings
from runner.dispatch.base import Dispatch
from runner.driving import Driver
from runner.effects import Effects
from runner.engine.states import State
from runner.engine.values import Execution
from runner.executions import Executions
from runner.limits import Limits
from runner.outbox import OutboxLoop
from runner.ports import ExecutionPorts, FlowPorts, World
from runner.renderer import Renderer
from runner.rendering import Rendering
from runner.rescue import Reconciler
from runner.retention import Kept, Retention
from runner.scheduler import SchedulerSettings
from runner.timers import TimerLoop
from runner.triggering import Triggers, TriggerSettings
from runner.view import Facts
from service import workers
from service.settings import Settings

if TYPE_CHECKING:
    from sync.service import SyncService

log = logging.getLogger("lanner.process")

ALL_ROLES = frozenset({"web", "scheduler", "executor", "sync", "worker"})
ENGINE_THREADS = 8
FOLLOWED = frozenset({State.PAUSED, State.RUNNING})
"""States of a child that its parent shows besides the end."""


class Lanner:
    """Every part of a running instance. Faces take what they need from here and nothing from anywhere else."""

    def __init__(self, settings: Settings, roles: frozenset[str], environ: Mapping[str, str], clock: Clock) -> None:
        self.settings = settings
        self.roles = roles
        self.clock = clock
        self.draining = threading.Event()
        self.database: Database = open_database(settings.database_url, must_exist=True)
        self.nudges = open_nudges(self.database.url, silent=environ.get("LANNER_TEST_SILENT") == "1")
        self.hits = Hits()
        plugins = load_entry_points()
        for problem in plugins.problems:
            log.warning("%s; %s", problem.message, problem.hint, extra={"action": "plugin_broken"})
        self.catalog = Catalog(plugins.types)
        self.registry = Registry(self.database, self.catalog, clock, hits=self.hits, **_reading(settings))
        self.vault = Vault(_key(settings))
        self.secrets = Secrets(self.database, self.vault, environ)
        self.storage = _storage(settings)
        self.renderer = Renderer(
            limits=expression_limits(settings), recursive=settings.recursive_rendering, hits=self.hits
        )
        self.egress = workers.egress(settings)
        environment = {
            name.removeprefix(settings.env_prefix).lower(): value
            for name, value in environ.items()
            if name.startswith(settings.env_prefix)
        }
        world = World(self.database, self.storage, self.secrets, environment, self.egress.fetch, clock.now)
        self.rendering = Rendering(
            engine=self.renderer,
            database=self.database,
            storage=self.storage,
            vault=self.vault,
            clock=clock,
            surroundings=Surroundings(environment=environment, globals=settings.globals, kestra=_kestra(settings)),
            ports_of=lambda place, value, run, _context: ExecutionPorts(world, place, value, run),
            flow_ports=lambda flow: FlowPorts(world, flow.namespace),
            listens=self._listens,
            limits=execution_limits(settings, self.hits),
        )
        self.work = ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="lanner-engine")
        self.executions = Executions(
            self.database,
            self.registry,
            clock,
            self.nudges,
            self.rendering,
            self.work,
            pins_subflows=settings.subflow_pin == "run",
        )
        self.triggers = Triggers(
            self.database,
            self.registry,
            self.executions,
            clock,
            self.nudges,
            self.rendering,
            trigger_settings(settings),
            egress=self.egress,
        )
        self.scheduler = self.triggers.scheduler
        self.webhooks = self.triggers.webhooks
        self.worker = workers.Workers(self, environ)
        self.dispatch: Dispatch = self.worker.dispatch
        self.driver = Driver(self.executions, self.dispatch, self.work, self.nudges)
        self.effects = Effects(
            self.executions, self.dispatch, self.triggers.flow_triggers, self.driver.released, self.triggers.ended
        )
        self.driver.effects = self.effects
        self.timers = TimerLoop(self.executions, self.driver)
        self.outbox = OutboxLoop(self.database, self.effects, clock)
        retention = Retention(
            self.executions, Kept(executions=settings.retention.executions, audit=settings.retention.audit)
        )
        self.reconciler = Reconciler(self.executions, self.driver, self.dispatch, self.worker.id, retention)
        self.sync: SyncService = self._sync(settings)
        self._stop: list[Callable[[], None]] = []

    def _sync(self, settings: Settings) -> SyncService:
        from sync.config import parse_git
        from sync.service import SyncService

        section, sources = parse_git(
            settings.git_section(), data_dir=settings.data_dir, resolve_credential=settings.resolve
        )
        return SyncService(
            self.database,
            self.catalog,
            self.clock,
            sources,
            settings.mirror_dir,
            section,
            resolve_credential=settings.resolve,
            reading_options=_reading(settings),
            nudges=self.nudges,
            hits=self.hits,
            runs_kept_for=settings.retention.sync_runs,
        )

    def toggle_trigger(self, namespace: str, flow_id: str, trigger_id: str, enabled: bool) -> None:
        """Enable or disable a trigger at run time (the task type ``trigger.Toggle``)."""
        self.triggers.states.set_disabled((namespace, flow_id, trigger_id), not enabled)

    def _listens(self, facts: Facts, value: Execution, state: State) -> bool:
        """Whether anybody wants to hear of this state: no row in the outbox for nobody."""
        if facts.parent_run_id is not None and (state.terminal or state in FOLLOWED):
            # Of ten thousand iterations nobody needs to hear that they began, only that they go on after a pause.
            begins = state is State.RUNNING and all(past is not State.PAUSED for past, _ in value.history)
            return not (facts.kind == "LOOP" and begins)
        return self.triggers.listens(facts, state)

    def start(self) -> None:
        """Start the loops of this process's roles."""
        if "worker" in self.roles:
            self.worker.start()
        if "executor" in self.roles:
            for loop in (self.timers, self.outbox, self.reconciler):
                loop.start()
                self._stop.append(loop.stop)
        if "scheduler" in self.roles:
            self.scheduler.start()
            self._stop.append(self.triggers.close)
            self._stop.append(self.scheduler.stop)
        if "sync" in self.roles:
            self.sync.start()
            self._stop.append(self.sync.stop)

    def stop(self, *, drain_s: float, kill: bool = False) -> None:
        """Stop scheduling, then claiming, then wait for what runs (R22). What is left is taken up again later."""
        self.draining.set()
        for stop in reversed(self._stop):
            stop()
        self._stop.clear()
        self.worker.stop(drain_s=drain_s, kill=kill)

    def close(self) -> None:
        """Let go of everything; safe after a failed start too."""
        self.work.shutdown(wait=True, cancel_futures=True)
        self.worker.close()
        self.renderer.close()
        self.nudges.close()
        self.database.close()

    def reload_sources(self, settings: Settings) -> None:
        """Take over the Git sources of a configuration that was read again."""
        from sync.config import parse_git

        _, sources = parse_git(settings.git_section(), data_dir=settings.data_dir, resolve_credential=settings.resolve)
        self.sync.reload(sources)


def build(
    settings: Settings,
    *,
    roles: frozenset[str] = ALL_ROLES,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> Lanner:
    """Put the instance together. Raises ``StartRefused`` for what an operator has to change."""
    return Lanner(settings, roles, environ or {}, clock or SystemClock())


def _reading(settings: Settings) -> dict[str, Any]:
    """How flows are read, through the API and from Git alike."""
    limits = settings.limits
    return {
        "plugin_defaults": tuple(settings.plugin_defaults),
        "language_default": _language(settings),
        "language_unmarked": settings.flow_language_unmarked,
        "strict": settings.strict,
        "policies": read_policies(settings.policies),
        "limits": FlowLimits(
            flow_bytes=limits.flow_bytes,
            flow_nodes=limits.flow_nodes,
            flow_depth=limits.flow_depth,
            flow_aliases=limits.flow_aliases,
            tasks_per_flow=limits.tasks_per_flow,
        ),
    }


def expression_limits(settings: Settings) -> ExpressionLimits:
    """The limits of R21 as the renderer wants them."""
    limits = settings.limits
    return ExpressionLimits(
        text=limits.template_bytes,
        expression=limits.expression_bytes,
        output=limits.rendered_bytes,
        context=limits.context_bytes,
        seconds=limits.render_time.total_seconds(),
        memory_bytes=limits.render_memory_bytes,
    )


def execution_limits(settings: Settings, hits: Hits) -> Limits:
    """The limits of R21 as executions want them."""
    limits = settings.limits
    return Limits(
        executions=limits.executions,
        executions_per_namespace=limits.executions_per_namespace,
        executions_per_flow=limits.executions_per_flow,
        task_runs=limits.task_runs_per_execution,
        subflow_depth=limits.subflow_depth,
        output_row_bytes=limits.output_row_bytes,
        output_bytes=limits.output_bytes,
        task_cache_entries=limits.task_cache_entries,
        input_bytes=limits.input_bytes,
        upload_bytes=limits.upload_bytes,
        memory_bytes=limits.memory_bytes,
        hits=hits,
    )


def trigger_settings(settings: Settings) -> TriggerSettings:
    rate = settings.limits.webhook_rate
    return TriggerSettings(
        timezone=settings.server.timezone or host_zone(),
        recover_missed_schedules=settings.recover_missed_schedules,
        webhook_rate=(rate / 60, rate) if rate else None,
        webhook_body_bytes=settings.limits.webhook_body_bytes,
        form_parts=settings.limits.form_parts,
        log_bad_inputs=settings.trigger_errors == "log",
        scheduler=SchedulerSettings(idempotency_keys=settings.retention.idempotency_keys),
    )


def host_zone() -> str:
    """The host's zone by name (``/etc/localtime`` or ``TZ``), UTC when it has none."""
    name = os.environ.get("TZ", "").lstrip(":")
    if not name:
        link = os.path.realpath("/etc/localtime")
        name = link.partition("/zoneinfo/")[2]
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return "UTC"
    return name


def _language(settings: Settings) -> str:
    return str(settings.flow_language) if settings.flow_language != "auto" else "auto"


def _key(settings: Settings) -> bytes:
    if settings.secrets.keys:
        import base64

        raw = base64.b64decode(settings.secrets.keys[0].resolve())
        if len(raw) != 32:
            raise ConfigurationError("secrets.keys must hold 32 bytes, base64", hint="openssl rand -base64 32")
        return raw
    folder = settings.data_dir / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_or_create_key(folder / "secrets.key")


def _storage(settings: Settings) -> Storage:
    if "://" in settings.storage_url:
        raise StartRefused(
            f"storage.url {settings.storage_url!r} is not a folder", hint="object stores are not supported yet"
        )
    return LocalStorage(Path(settings.storage_url))


def _kestra(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {"url": settings.public_url}
    if settings.server.environment.name:
        values["environment"] = {"name": settings.server.environment.name}
    return values


__all__ = ["ALL_ROLES", "Lanner", "build"]
