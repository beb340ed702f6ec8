"""Everything about triggers put together for the wiring; each part lives in its own module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from namespaces.clock import Clock
from namespaces.registry import Registry
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from runner import declared
from runner.egress import Egress
from runner.engine.states import State
from runner.executions import Executions
from runner.flowtriggers import FlowTriggers
from runner.polling import Polling, plugin_triggers
from runner.rendering import Rendering
from runner.scheduler import Scheduler, SchedulerSettings
from runner.schedules import TIMED, ScheduleDefaults, Schedules
from runner.triggers.schedule import CAP, Recover
from runner.triggers.windows import zone_of
from runner.triggerstarts import FLOW, HTTP, WEBHOOK, TriggerRendering
from runner.triggerstate import TriggerStates
from runner.view import Facts
from runner.webhooks import LARGEST_BODY, Webhooks

LOCKABLE = TIMED | {HTTP}


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """``timezone`` is ``server.timezone``, ``webhook_rate`` (per second, burst).

    ``log_bad_inputs`` is ``trigger_errors: log``.
    """

    timezone: str = "UTC"
    recover_missed_schedules: str = "ALL"
    cap: int = CAP
    country: str | None = None
    webhook_rate: tuple[float, int] | None = None
    webhook_body_bytes: int = LARGEST_BODY
    form_parts: int = 1_000
    log_bad_inputs: bool = False
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)


class Triggers:
    """``scheduler``, ``webhooks``, ``flow_triggers`` and ``states`` share rules and rendering."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        executions: Executions,
        clock: Clock,
        nudges: Nudges,
        rendering: Rendering,
        settings: TriggerSettings | None = None,
        *,
        holder: str | None = None,
        egress: Egress | None = None,
    ) -> None:
        """``egress`` sends the requests of polling triggers; without it they are not asked."""
        chosen = settings or TriggerSettings()
        self._database = database
        self._clock = clock
        self._nudges = nudges
        self.rendering = TriggerRendering(
            engine=rendering.engine,
            ports_of=lambda flow, _context: rendering.flow_ports(flow),
            surroundings=rendering.surroundings,
            country=chosen.country,
        )
        defaults = ScheduleDefaults(
            zone=zone_of(chosen.timezone), recover=Recover(chosen.recover_missed_schedules), cap=chosen.cap
        )
        self.schedules = Schedules(self.rendering, defaults)
        self.scheduler = Scheduler(
            database, registry, executions, clock, nudges, self.rendering, self.schedules, chosen.scheduler,
            holder=holder,
        )  # fmt: skip
        self.flow_triggers = FlowTriggers(
            database, registry, executions, clock, self.rendering, defaults, log_bad_inputs=chosen.log_bad_inputs
        )
        self.scheduler.others[FLOW] = self.flow_triggers.window_ended
        self.polling: Polling | None = None
        if egress is not None:
            self.polling = Polling(database, registry, executions, clock, self.rendering, egress)
            self.scheduler.others[HTTP] = self.polling.due
            self.scheduler.polled = plugin_triggers(registry.catalog)
            self.scheduler.others |= dict.fromkeys(self.scheduler.polled, self.polling.due)
        self.webhooks = Webhooks(
            database,
            registry,
            executions,
            clock,
            self.rendering,
            rate=chosen.webhook_rate,
            largest_body=chosen.webhook_body_bytes,
            form_parts=chosen.form_parts,
            hits=rendering.limits.hits,
        )
        self.states = TriggerStates(database, registry, clock, nudges, self.schedules)

    def ended(self, execution_id: str, state: str) -> None:
        """An execution reached a terminal state: free the trigger it holds, obey ``stopAfter``. Harmless twice.

        Looks before it writes: most executions hold nothing.
        """
        if not self._database.read(lambda c: declared.concerns(c, execution_id, state)):
            return
        now = self._clock.now()
        if self._database.write(lambda tx: declared.execution_ended(tx, execution_id, state, now=now)):
            self._nudges.send("triggers")

    def close(self) -> None:
        """End what runs beside the scheduler."""
        if self.polling is not None:
            self.polling.close()

    def may_lock(self, facts: Facts) -> bool:
        """Whether the end of this execution can matter to the trigger that started it."""
        trigger: Any = facts.trigger or {}
        if trigger.get("type") in LOCKABLE or trigger.get("type") in self.scheduler.polled:
            return facts.locks
        if trigger.get("type") in (WEBHOOK, FLOW):
            return self.flow_triggers.wants_end(facts.namespace, facts.flow_id, str(trigger.get("id")))
        return False

    def listens(self, facts: Facts, state: State) -> bool:
        """Whether reaching ``state`` has to be announced for the sake of triggers."""
        if state.terminal and self.may_lock(facts):
            return True
        return self.flow_triggers.interested(facts.namespace, facts.flow_id, state.value)
