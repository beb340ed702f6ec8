"""Instances inside the test's process: a whole one (``Instance``), or the shell with an idle worker (``Shell``)."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from namespaces.blobs import MemoryStorage
from namespaces.clock import Clock, SystemClock
from namespaces.flows.catalog import Catalog
from namespaces.registry import Registry
from namespaces.secrets import Secrets, Vault
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner import queries
from runner.context import Surroundings
from runner.driving import Driver
from runner.effects import Effects
from runner.engine import events
from runner.engine.states import TERMINAL, State
from runner.executions import Executions
from runner.outbox import OutboxLoop
from runner.pending import Pending
from runner.ports import ExecutionPorts, FlowPorts, World
from runner.renderer import Renderer
from runner.rendering import Rendering
from runner.rescue import Reconciler
from runner.rows import execution_table, run_table
from runner.starting import StartRequest
from runner.timers import TimerLoop
from runner.writing import log_table
from tests.support.waiting import until

if TYPE_CHECKING:
    from service.wiring import Lanner

NS = "company.team"
ENDED = {state.value for state in TERMINAL}


def whole(flow_id: str, body: str) -> str:
    """A flow text: id and namespace before ``body``."""
    return f"id: {flow_id}\nnamespace: {NS}\n{dedent(body)}"


def wired(folder: Path, *, env: dict[str, str] | None = None, **settings: Any) -> Lanner:
    """The parts of a server with a data folder of its own; nothing runs yet."""
    from service import datafolder
    from service.processes import ensure_schema
    from service.settings.model import Settings
    from service.wiring import build

    settings.setdefault("tasks", {"default_task_runner": "process"})  # whatever engine is on this machine
    # The memory of a process that runs thousands of tests says nothing about a server.
    settings["limits"] = {"memory_bytes": "1TiB"} | settings.get("limits", {})
    made = Settings(data_dir=folder, **settings)
    datafolder.prepare(folder)
    ensure_schema(made)
    return build(made, environ=env)


class Instance:
    """A wired instance on a database and data folder of its own; ``stop`` ends it like SIGTERM, ``close`` for good."""

    def __init__(self, folder: Path, url: str, *, env: dict[str, str] | None = None, **settings: Any) -> None:
        self.lanner = wired(folder, env=env, database={"url": url}, auth={"mode": "none"}, **settings)
        self.executions = self.lanner.executions
        self.database = self.lanner.database
        self.lanner.start()

    def close(self) -> None:
        self.lanner.stop(drain_s=5)
        self.lanner.close()

    def deploy(self, flow_id: str, body: str) -> None:
        self.lanner.registry.create(whole(flow_id, body))

    def start(self, flow_id: str, **more: Any) -> str:
        return self.executions.start(StartRequest(namespace=NS, flow_id=flow_id, **more)).execution_id

    def run(self, flow_id: str, **more: Any) -> dict[str, Any]:
        return self.ended(self.start(flow_id, **more))

    def ended(self, execution_id: str, timeout_s: float = 40) -> dict[str, Any]:
        """The execution's JSON once it is terminal."""
        return self.until(execution_id, lambda one: one["state"]["current"] in ENDED, "its end", timeout_s)

    def in_state(self, execution_id: str, state: str) -> dict[str, Any]:
        return self.until(execution_id, lambda one: one["state"]["current"] == state, state)

    def until(self, execution_id: str, good: Any, what: str, timeout_s: float = 40) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            one = self.get(execution_id)
            return one if good(one) else None

        return until(look, f"{what} of {execution_id}", timeout_s)

    def get(self, execution_id: str) -> dict[str, Any]:
        now = self.lanner.clock.now()
        found = self.database.read(lambda c: queries.execution(c, execution_id, now=now))
        assert found is not None
        return dict(found)

    def logs(self, execution_id: str) -> list[str]:
        query = sa.select(log_table.c.message).where(log_table.c.execution_id == execution_id).order_by(log_table.c.id)
        return list(self.database.read(lambda c: list(c.execute(query).scalars())))

    def count(self, flow_id: str) -> int:
        query = sa.select(sa.func.count()).where(execution_table.c.flow_id == flow_id)
        return int(self.database.read(lambda c: c.execute(query).scalar_one()))


class Held:
    """A dispatch whose worker never comes: attempts are collected, the test ends them."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, int]] = []
        self.killed: list[tuple[str, int]] = []
        self._lock = threading.Lock()

    def submit(self, task_run_id: str, epoch: int, group: str) -> None:
        with self._lock:
            self.waiting.append((task_run_id, epoch))

    def kill(self, task_run_id: str, epoch: int) -> None:
        with self._lock:
            self.killed.append((task_run_id, epoch))

    def stop(self, timeout_s: float) -> None:
        pass


class Nobody:
    """No flow trigger listens."""

    def announce(self, execution_id: str, state: str, number: int) -> None:
        pass


class Shell:
    """Executions, driver, effects and loops of one process on a shared database; loops run when the test says so."""

    def __init__(self, database: Database, renderer: Renderer, *, clock: Clock | None = None, silent: bool = False):
        self.database = database
        self.clock = clock or SystemClock()
        self.nudges = Nudges(silent=silent)
        self.registry = Registry(database, Catalog(), self.clock)
        vault = Vault(b"0123456789abcdef0123456789abcdef")
        storage = MemoryStorage()
        world = World(database, storage, Secrets(database, vault, {}), {}, lambda request: None, self.clock.now)
        self.rendering = Rendering(
            engine=renderer,
            database=database,
            storage=storage,
            vault=vault,
            clock=self.clock,
            surroundings=Surroundings(),
            ports_of=lambda place, value, run, _context: ExecutionPorts(world, place, value, run),
            flow_ports=lambda flow: FlowPorts(world, flow.namespace),
            listens=lambda facts, value, state: facts.parent_run_id is not None and state.terminal,
        )
        self.work = ThreadPoolExecutor(4)
        self.executions = Executions(database, self.registry, self.clock, self.nudges, self.rendering, self.work)
        self.dispatch = Held()
        self.driver = Driver(self.executions, self.dispatch, self.work, self.nudges)
        self.effects = Effects(
            self.executions, self.dispatch, Nobody(), self.driver.released, lambda execution_id, state: None
        )
        self.driver.effects = self.effects
        self.timers = TimerLoop(self.executions, self.driver)
        self.outbox = OutboxLoop(database, self.effects, self.clock)
        self.reconciler = Reconciler(self.executions, self.driver, self.dispatch, "test")

    def close(self) -> None:
        self.work.shutdown()

    def deploy(self, flow_id: str, body: str) -> None:
        self.registry.create(whole(flow_id, body))

    def start(self, flow_id: str, **more: Any) -> str:
        return self.executions.start(StartRequest(namespace=NS, flow_id=flow_id, **more)).execution_id

    def insert(self, flow_id: str) -> str:
        """An accepted execution whose process died before it did anything about it."""
        prepared = self.executions.prepare(StartRequest(namespace=NS, flow_id=flow_id))
        return self.database.write(lambda tx: self.executions.start_in(tx, prepared)).execution_id

    def row(self, execution_id: str) -> Any:
        return self.database.read(
            lambda c: c.execute(sa.select(execution_table).where(execution_table.c.id == execution_id)).one()
        )

    def runs(self, execution_id: str) -> list[Any]:
        query = sa.select(run_table).where(run_table.c.execution_id == execution_id).order_by(run_table.c.sequence)
        return list(self.database.read(lambda c: c.execute(query).all()))

    def state(self, execution_id: str) -> str:
        return str(self.row(execution_id).state)

    def in_state(self, execution_id: str, state: str) -> None:
        until(lambda: self.state(execution_id) == state, f"{state} of {execution_id}")

    def claim(self, execution_id: str, run_id: str, epoch: int, worker: str = "w") -> bool:
        event = events.AttemptStarted(at=self.clock.now(), task_run_id=run_id, epoch=epoch)
        return self.executions.applier.settle(execution_id, Pending(event, Future(), worker))

    def finish(self, execution_id: str, run_id: str, epoch: int, state: State = State.SUCCESS, **more: Any) -> bool:
        event = events.AttemptFinished(at=self.clock.now(), task_run_id=run_id, epoch=epoch, state=state, **more)
        return self.executions.apply(execution_id, event)
