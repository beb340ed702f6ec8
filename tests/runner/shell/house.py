"""A server's engine side on one database: real shell, clock by hand, errands done when the test says so.

``deaf`` loses every wake-up (errands after commits, the first ring for each attempt): what then still gets done is
what the loops find by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from textwrap import dedent
from typing import Any

import sqlalchemy as sa

from namespaces.blobs import MemoryStorage
from namespaces.clock import ManualClock
from namespaces.flows.catalog import Catalog
from namespaces.registry import Registry
from namespaces.secrets import Secrets, Vault
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner.context import Surroundings
from runner.driving import Driver
from runner.effects import Effects
from runner.engine.events import AttemptFinished
from runner.engine.states import State
from runner.executions import Executions
from runner.limits import Limits
from runner.outbox import OutboxLoop
from runner.ports import ExecutionPorts, FlowPorts, World
from runner.renderer import Renderer
from runner.rendering import Rendering
from runner.reporting import DatabaseReporter
from runner.rescue import Reconciler
from runner.rows import execution_table, run_table, timer_table
from runner.starting import StartRequest
from runner.timers import TimerLoop

NS = "company.team"


class Errands(ThreadPoolExecutor):
    """Work of a commit, kept until ``run`` is called, or lost."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waiting: list[Callable[[], Any]] = []
        self.deaf = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self.deaf:
            self.waiting.append(lambda: fn(*args, **kwargs))
        return Future()

    def run(self) -> int:
        count = 0
        while self.waiting:
            self.waiting.pop(0)()
            count += 1
        return count


class Bell:
    """Dispatch without a worker behind it: keeps what was rung; deaf, it hears an attempt at the second ring only."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, int]] = []
        self.killed: list[tuple[str, int]] = []
        self.deaf = False
        self._lost: set[tuple[str, int]] = set()

    def submit(self, task_run_id: str, epoch: int, group: str) -> None:
        key = (task_run_id, epoch)
        if self.deaf and key not in self._lost:
            self._lost.add(key)
        else:
            self.rung.append(key)

    def kill(self, task_run_id: str, epoch: int) -> None:
        self.killed.append((task_run_id, epoch))

    def stop(self, timeout_s: float) -> None:
        pass


class Unheard:
    """No flow trigger listens."""

    def announce(self, execution_id: str, state: str, number: int) -> None:
        pass


class House:
    def __init__(
        self, database: Database, clock: ManualClock, renderer: Renderer, limits: Limits | None = None
    ) -> None:
        self.database = database
        self.clock = clock
        self.nudges = Nudges()
        self.registry = Registry(database, Catalog(), clock)
        vault = Vault(b"0123456789abcdef0123456789abcdef")
        self.storage = MemoryStorage()
        world = World(database, self.storage, Secrets(database, vault, {}), {}, lambda request: None, clock.now)
        rendering = Rendering(
            engine=renderer,
            database=database,
            storage=self.storage,
            vault=vault,
            clock=clock,
            surroundings=Surroundings(),
            ports_of=lambda place, value, run, _context: ExecutionPorts(world, place, value, run),
            flow_ports=lambda flow: FlowPorts(world, flow.namespace),
            listens=lambda facts, value, state: facts.parent_run_id is not None,
            limits=limits or Limits(),
        )
        self.errands = Errands()
        self.bell = Bell()
        self.executions = Executions(database, self.registry, clock, self.nudges, rendering, self.errands)
        self.driver = Driver(self.executions, self.bell, self.errands, self.nudges)
        self.effects = Effects(
            self.executions, self.bell, Unheard(), self.driver.released, lambda execution_id, state: None
        )
        self.driver.effects = self.effects
        self.timers = TimerLoop(self.executions, self.driver)
        self.outbox = OutboxLoop(database, self.effects, clock)
        self.reconciler = Reconciler(self.executions, self.driver, self.bell, "test")
        self.reporter = DatabaseReporter(self.executions, "worker")
        self.results: dict[str, list[State | Mapping[str, Any]]] = {}
        """Task id to how its next attempts end (or the outputs of a good end); SUCCESS when nothing is left."""

    @property
    def deaf(self) -> bool:
        return self.errands.deaf

    @deaf.setter
    def deaf(self, value: bool) -> None:
        self.errands.deaf = self.bell.deaf = value

    def close(self) -> None:
        self.errands.shutdown()

    # ------------------------------------------------------------------ doing

    def deploy(self, flow_id: str, body: str) -> None:
        from namespaces import revisions

        text = f"id: {flow_id}\nnamespace: {NS}\n{dedent(body).strip()}\n"
        if self.database.read(lambda c: revisions.latest(c, NS, flow_id)) is None:
            self.registry.create(text)
        else:
            self.registry.update(NS, flow_id, text)

    def start(self, flow_id: str, **more: Any) -> str:
        return self.executions.start(StartRequest(namespace=NS, flow_id=flow_id, **more)).execution_id

    def step(self) -> None:
        """Errands, then one pass of every loop, then the worker ends what it was rung for."""
        self.errands.run()
        self.timers.pass_once()
        self.outbox.pass_once()
        self.errands.run()
        self.reconciler.pass_once()
        self.errands.run()
        rung, self.bell.rung = self.bell.rung, []
        for run_id, epoch in rung:
            self.work(run_id, epoch)
        self.errands.run()

    def work(self, run_id: str, epoch: int) -> None:
        """One attempt of a worker, from claim to report."""
        claim = self.reporter.claim(run_id, epoch, "worker")
        if claim is None:
            return
        wanted = self.results.get(claim.task.id) or [State.SUCCESS]
        end = wanted.pop(0)
        outputs = None if isinstance(end, State) else end
        state = end if isinstance(end, State) else State.SUCCESS
        self.reporter.finished(
            claim,
            AttemptFinished(at=self.clock.now(), task_run_id=run_id, epoch=epoch, state=state, outputs=outputs),
        )

    def settle(self, until: Callable[[], bool], seconds: float = 600, every: float = 10) -> None:
        """Let time pass until something holds."""
        for _ in range(int(seconds / every)):
            self.step()
            if until():
                return
            self.clock.advance(timedelta(seconds=every))
        raise AssertionError(f"still waiting: {self.shown()}")

    def end(self, execution_id: str, **more: Any) -> str:
        """Let time pass until an execution is finished; returns its state."""
        self.settle(lambda: bool(self.row(execution_id).finished), **more)
        return str(self.row(execution_id).state)

    # ------------------------------------------------------------------ looking

    def row(self, execution_id: str) -> Any:
        query = sa.select(execution_table).where(execution_table.c.id == execution_id)
        return self.database.read(lambda c: c.execute(query).one())

    def executions_of(self, flow_id: str) -> list[Any]:
        query = (
            sa.select(execution_table)
            .where(execution_table.c.flow_id == flow_id)
            .order_by(execution_table.c.created_at, execution_table.c.id)
        )
        return list(self.database.read(lambda c: c.execute(query).all()))

    def runs(self, execution_id: str) -> list[Any]:
        query = sa.select(run_table).where(run_table.c.execution_id == execution_id).order_by(run_table.c.sequence)
        return list(self.database.read(lambda c: c.execute(query).all()))

    def run(self, execution_id: str, task_id: str) -> Any:
        return next(row for row in self.runs(execution_id) if row.task_id == task_id)

    def states(self, execution_id: str) -> list[str]:
        return [f"{row.task_id} {row.state}" for row in self.runs(execution_id)]

    def timer_kinds(self) -> list[str]:
        return list(self.database.read(lambda c: list(c.execute(sa.select(timer_table.c.kind)).scalars())))

    def shown(self) -> str:
        rows = self.database.read(
            lambda c: c.execute(sa.select(execution_table.c.id, execution_table.c.flow_id, execution_table.c.state))
        )
        return "; ".join(f"{row.flow_id} {row.state}: {', '.join(self.states(row.id))}" for row in rows)
