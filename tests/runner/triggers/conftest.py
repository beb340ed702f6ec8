"""Real parts around the triggers: database, registry, executions. Executions are created, not run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.blobs import MemoryStorage
from namespaces.clock import ManualClock
from namespaces.flows.catalog import Catalog
from namespaces.plugin import PluginType
from namespaces.registry import Registry
from namespaces.secrets import Secrets, Vault
from namespaces.store.base import to_micros
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner.context import Surroundings
from runner.egress import Egress
from runner.executions import Executions
from runner.ports import ExecutionPorts, FlowPorts, World
from runner.renderer import Renderer
from runner.rendering import Rendering
from runner.rows import execution_table, run_table
from runner.scheduler import SchedulerSettings
from runner.triggering import Triggers, TriggerSettings
from runner.triggerrows import Key, fire_table, read_state, state_table

NS = "company.team"


class House:
    """A server's trigger side on one database; several may share one."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        renderer: Renderer,
        *,
        lease: bool = False,
        egress: Egress | None = None,
        types: tuple[type[PluginType], ...] = (),
        **settings: Any,
    ) -> None:
        self.database = database
        self.clock = clock
        self.nudges = Nudges()
        self.registry = Registry(database, Catalog(types), clock)
        vault = Vault(b"0123456789abcdef0123456789abcdef")
        storage = MemoryStorage()
        secrets = Secrets(database, vault, {"LANNER_SECRET_HOOK": "s3cret-key"})
        world = World(database, storage, secrets, {}, lambda request: None, clock.now)
        rendering = Rendering(
            engine=renderer,
            database=database,
            storage=storage,
            vault=vault,
            clock=clock,
            surroundings=Surroundings(),
            ports_of=lambda place, value, run, _context: ExecutionPorts(world, place, value, run),
            flow_ports=lambda flow: FlowPorts(world, flow.namespace),
            listens=lambda facts, value, state: False,
        )
        self.work = ThreadPoolExecutor(1)
        self.executions = Executions(database, self.registry, clock, self.nudges, rendering, self.work)
        chosen = TriggerSettings(scheduler=SchedulerSettings(lease=lease), **settings)
        self.triggers = Triggers(
            database, self.registry, self.executions, clock, self.nudges, rendering, chosen, egress=egress
        )
        self.scheduler = self.triggers.scheduler

    def close(self) -> None:
        self.triggers.close()
        self.work.shutdown()

    def deploy(self, triggers: str, *, flow_id: str = "f", namespace: str = NS, more: str = "") -> None:
        """Save a flow of one task with these triggers (a YAML list, not indented)."""
        indented = "\n".join("  " + line for line in dedent(triggers).strip().splitlines())
        text = f"id: {flow_id}\nnamespace: {namespace}\n{dedent(more).strip()}\n"
        # A template: what needs one is not run in the transaction that creates the execution.
        text += 'tasks:\n  - id: t\n    type: io.kestra.plugin.core.debug.Return\n    format: "{{ flow.id }}"\n'
        text += f"triggers:\n{indented}\n" if triggers else ""
        self.deploy_text(text, flow_id, namespace)

    def deploy_text(self, text: str, flow_id: str, namespace: str = NS) -> None:
        from namespaces import revisions

        known = self.database.read(lambda c: revisions.latest(c, namespace, flow_id))
        if known is None:
            self.registry.create(text)
        else:
            self.registry.update(namespace, flow_id, text)

    def remove(self, flow_id: str = "f") -> None:
        self.registry.delete(NS, flow_id)

    def executions_of(self, flow_id: str = "f") -> list[Any]:
        query = (
            sa.select(execution_table)
            .where(execution_table.c.flow_id == flow_id)
            .order_by(execution_table.c.created_at, execution_table.c.id)
        )
        return list(self.database.read(lambda c: c.execute(query).all()))

    def dates(self, flow_id: str = "f") -> list[str]:
        """``trigger.date`` of the executions, in the order of the slots."""
        return sorted(row.trigger["variables"]["date"] for row in self.executions_of(flow_id))

    def end(self, execution_id: str, state: str = "SUCCESS") -> None:
        """What the engine writes at the end of an execution, and the announcement that follows."""
        now = self.clock.now()

        def work(tx: Any) -> None:
            history = tx.execute(
                sa.select(execution_table.c.history).where(execution_table.c.id == execution_id)
            ).scalar()
            values = {"state": state, "finished": True, "history": [*history, [state, to_micros(now)]]}
            tx.execute(sa.update(execution_table).where(execution_table.c.id == execution_id).values(values))

        self.database.write(work)
        self.triggers.ended(execution_id, state)

    def end_all(self, flow_id: str = "f") -> None:
        for row in self.executions_of(flow_id):
            if not row.finished:
                self.end(row.id)

    def run(
        self,
        flow_id: str,
        state: str = "SUCCESS",
        *,
        outputs: dict[str, Any] | None = None,
        tasks: dict[str, dict[str, Any]] | None = None,
    ) -> str:
        """An execution of the flow that has ended, announced to the Flow triggers."""
        from runner.starting import StartRequest

        started = self.executions.start(StartRequest(namespace=NS, flow_id=flow_id))
        now = to_micros(self.clock.now())

        def work(tx: Any) -> int:
            for sequence, (task_id, values) in enumerate((tasks or {}).items()):
                tx.execute(
                    sa.insert(run_table).values(
                        id=f"{started.execution_id}-{task_id}", execution_id=started.execution_id, task_id=task_id,
                        sequence=sequence, address="", terminal=True, epoch=1, history=[["CREATED", now]], attempts=[],
                        **{"state": "SUCCESS", **values},
                    )
                )  # fmt: skip
            return 0

        self.database.write(work)
        if outputs is not None:
            self.database.write(
                lambda tx: tx.execute(
                    sa.update(execution_table)
                    .where(execution_table.c.id == started.execution_id)
                    .values(outputs=outputs)
                )
            )
        self.end(started.execution_id, state)
        self.triggers.flow_triggers.announce(started.execution_id, state, 2)
        return started.execution_id

    def state(self, trigger_id: str, flow_id: str = "f") -> Any:
        return self.database.read(lambda c: read_state(c, (NS, flow_id, trigger_id)))

    def fires(self, flow_id: str = "f") -> list[Any]:
        query = sa.select(fire_table).where(fire_table.c.flow_id == flow_id).order_by(fire_table.c.scheduled_for)
        return list(self.database.read(lambda c: c.execute(query).all()))

    def decisions(self, flow_id: str = "f") -> list[tuple[str, str]]:
        """(minute:second, decision) of every fire row."""
        return [(row.scheduled_for.strftime("%H:%M:%S"), row.decision) for row in self.fires(flow_id)]


def key(trigger_id: str, flow_id: str = "f") -> Key:
    return NS, flow_id, trigger_id


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-01T{text}+00:00")


__all__ = ["NS", "House", "at", "key", "state_table"]


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def house(database: Database, clock: ManualClock, renderer: Renderer) -> Iterator[House]:
    made = House(database, clock, renderer)
    yield made
    made.close()
