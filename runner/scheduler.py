"""The scheduler loop: follows declarations, finds what is due, and makes each decision of a trigger one transaction.

The unique fire row is what keeps a slot from running twice; the leader lease only saves work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.clock import Clock
from namespaces.errors import InvalidFlow, LannerError, NotFound, TooMany, Unavailable
from namespaces.flows.model import Flow, Trigger
from namespaces.ids import new_id
from namespaces.registry import Registry
from namespaces.store import leases
from namespaces.store.db import Database, database_now
from namespaces.store.nudges import Nudges
from namespaces.store.statements import Query
from runner import declared, taskcache, triggerrows
from runner.checks import CheckFailed
from runner.executions import Executions
from runner.schedules import TIMED, Schedules
from runner.starting import Prepared, Started
from runner.triggerrows import Key, Savepoint, declaration_table, state_table
from runner.triggers import schedule
from runner.triggers.schedule import Outcome, Reason, Skip, Start
from runner.triggerstarts import TriggerRendering

log = logging.getLogger("lanner.scheduler")

LEASE = "scheduler"
LEASE_TTL = timedelta(seconds=15)
RENEW = timedelta(seconds=5)
AWAY = timedelta(seconds=60)
"""A pass that comes so much later than the one before finds *missed* slots: the process or the clock stood still."""
DUE = 500
"""Triggers looked at in one pass."""
BATCH = 50
"""Triggers decided in one transaction: others can write in between."""
WARM = timedelta(minutes=2)
FORGET_EVERY = timedelta(minutes=1)
FORGET = 500
LONGEST_BACKOFF = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """``lease`` off lets several schedulers work at once: for the test that this doubles nothing."""

    lease: bool = True
    poll_s: float = 0.5
    batch: int = BATCH
    unlock_every: timedelta = timedelta(seconds=10)
    idempotency_keys: timedelta = timedelta(days=7)
    """How long a delivery's key is remembered (``retention.idempotency_keys``)."""


@dataclass(frozen=True, slots=True)
class Fire:
    start: Start
    prepared: Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one trigger decided, and the row it was decided on."""

    key: Key
    row: Any
    outcome: Outcome
    fires: tuple[Fire, ...]
    refused: str = ""
    """Message of the check that refused a slot: a visible trigger error."""


_DUE = Query(
    sa.select(
        state_table,
        declaration_table.c.revision,
        declaration_table.c.disabled.label("declared_disabled"),
        declaration_table.c.generation,
    )
    .select_from(state_table.outerjoin(declaration_table, triggerrows.same_trigger()))
    .where(
        state_table.c.next_at <= sa.bindparam("k_now"),
        state_table.c.execution_id.is_(None),
        state_table.c.disabled.is_(False),
    )
    .order_by(state_table.c.next_at)
    .limit(sa.bindparam("k_limit"))
)
Due = Callable[[Any, datetime], None]
"""Handles a due row of another type (polling, a Flow trigger's missed deadline)."""


class Scheduler:
    """``run_once`` is one pass; ``start`` runs passes in a thread until ``stop``."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        executions: Executions,
        clock: Clock,
        nudges: Nudges,
        rendering: TriggerRendering,
        schedules: Schedules,
        settings: SchedulerSettings | None = None,
        *,
        holder: str | None = None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._executions = executions
        self._clock = clock
        self._nudges = nudges
        self._rendering = rendering
        self._schedules = schedules
        self._settings = settings or SchedulerSettings()
        self._holder = holder or new_id()
        self._lease: leases.Lease | None = None
        self._renewed: float | None = None
        self._last_pass: datetime | None = None
        self._watching_since: datetime | None = None
        self._generation = -1
        self._unlocked_at: datetime | None = None
        self._warmed_at: datetime | None = None
        self._forgot_at: datetime | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.others: dict[str, Due] = {}
        """Handlers of due rows by trigger type."""
        self.polled: tuple[str, ...] = ()
        """Trigger types of plugins, which have handlers too."""
        self.lag_s = 0.0
        """How late the last fire was."""

    # ------------------------------------------------------------------ the loop

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="lanner-scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop and hand over the lease."""
        self._stop.set()
        self._nudges.send("triggers")
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._lease is not None:
            lease = self._lease
            self._lease = None
            try:
                self._database.write(lambda tx: leases.release(tx, lease))
            except Unavailable:
                log.warning("the lease ends by itself", extra={"action": "lease_not_released"})

    @property
    def leading(self) -> bool:
        return not self._settings.lease or self._lease is not None

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            seen = self._nudges.seen("triggers")
            wait = self._settings.poll_s
            try:
                wait = self.run_once()
                failures = 0
            except Unavailable as error:
                failures += 1
                log.warning("the scheduler waits: %s", error, extra={"action": "scheduler_waits"})
            except Exception:
                failures += 1
                log.exception("a pass of the scheduler failed", extra={"action": "scheduler_pass_failed"})
            if failures:
                self._stop.wait(min(5.0, 0.1 * 2 ** min(failures, 6)))
            elif wait > 0:
                self._nudges.wait("triggers", seen, min(wait, self._settings.poll_s))

    def run_once(self) -> float:
        """One pass. Returns the seconds until the next trigger is due (0: more is due already)."""
        if self._settings.lease and not self._lead():
            self._watching_since = None
            return self._settings.poll_s
        now = self._clock.now()
        if self._watching_since is None or self._last_pass is None or now - self._last_pass > AWAY:
            self._watching_since = now
        self._last_pass = now
        self.follow()
        self._unlock_orphans(now)
        self._forget_keys(now)
        due = self._database.read(lambda c: self._due(c, now, DUE))
        for first in range(0, len(due), self._settings.batch):
            self._work(due[first : first + self._settings.batch], now)
        if len(due) >= DUE:
            return 0.0
        self._warm(now)
        upcoming = self._database.read(self._earliest)
        if upcoming is None:
            return self._settings.poll_s
        return max(0.0, (upcoming - self._clock.now()).total_seconds())

    def _lead(self) -> bool:
        """Hold the lease: renewed in time, else taken if it is free."""
        now = self._clock.monotonic()
        if self._lease is not None and self._renewed is not None and now - self._renewed < RENEW.total_seconds():
            return True
        had = self._lease
        self._lease = self._database.write(
            lambda tx: leases.acquire(tx, LEASE, self._holder, now=database_now(tx, self._clock), ttl=LEASE_TTL)
        )
        # Trusted from before the request was sent: whoever takes over sees an older end, never a later one.
        self._renewed = now
        if self._lease is not None and (had is None or had.token != self._lease.token):
            self._watching_since = None
            self._generation = -1
            log.info("this process schedules now", extra={"action": "scheduler_leads"})
            crash.reach("leader.after_win")
        return self._lease is not None

    # ------------------------------------------------------------------ declarations

    def follow(self) -> None:
        """Bring trigger states in line with what is declared since the generation last seen (in the database)."""
        generation = self._database.read(declared.generation)
        if generation == self._generation:
            return
        now = self._clock.now()
        known = self._database.read(partial(declared.changes, polled=self.polled))
        flows = {change.key: self._parsed(change.key[0], change.key[1], change.revision) for change in known.changes}
        plans = [declared.plan(change, flows[change.key], self._schedules, now) for change in known.changes]
        for first in range(0, len(plans), self._settings.batch):
            part = plans[first : first + self._settings.batch]
            self._database.write(partial(declared.apply, follows=part, now=now))
        self._database.write(lambda tx: declared.finish(tx, known.generation))
        self._generation = known.generation

    def _parsed(self, namespace: str, flow_id: str, revision: int) -> Flow | LannerError:
        try:
            return self._database.read(lambda c: self._registry.flow(c, namespace, flow_id, revision))
        except (InvalidFlow, NotFound) as error:
            return error

    # ------------------------------------------------------------------ what is due

    @staticmethod
    def _due(connection: Connection, now: datetime, limit: int) -> Sequence[Any]:
        """Due rows that nothing locks, with what is declared now; ``revision`` is None when nothing is."""
        return _DUE.all(connection, k_now=now, k_limit=limit)

    @staticmethod
    def _earliest(connection: Connection) -> datetime | None:
        query = (
            sa.select(state_table.c.next_at)
            .where(
                state_table.c.next_at.is_not(None),
                state_table.c.execution_id.is_(None),
                state_table.c.disabled.is_(False),
            )
            .order_by(state_table.c.next_at)
            .limit(1)
        )
        return connection.execute(query).scalar()

    def _warm(self, now: datetime) -> None:
        """Parse what is due soon, so that many flows due at once start without reading their texts first."""
        if self._warmed_at is not None and timedelta() <= now - self._warmed_at < WARM / 4:
            return
        self._warmed_at = now
        for row in self._database.read(lambda c: self._due(c, now + WARM, DUE)):
            if row.type in TIMED and row.revision is not None and not self._stop.is_set():
                if self._schedules.known(row.namespace, row.flow_id, row.revision, row.trigger_id):
                    continue
                try:
                    found = self._database.read(partial(self._flow_of, row=row))
                    self._schedules.rules(*self._trigger(row, found))
                except LannerError:
                    continue  # told when it is due

    def _unlock_orphans(self, now: datetime) -> None:
        """Free triggers whose execution ended or is gone without anybody having said so."""
        every = self._settings.unlock_every
        if self._unlocked_at is not None and timedelta() <= now - self._unlocked_at < every:
            return
        self._unlocked_at = now
        orphans = self._database.read(declared.orphans)
        for key, execution_id in orphans:
            self._database.write(partial(declared.release, key=key, execution_id=execution_id, now=now))

    def _forget_keys(self, now: datetime) -> None:
        """Delete idempotency keys that are too old and kept outputs that are expired, a few at a time (R2, R25)."""
        if self._forgot_at is not None and timedelta() <= now - self._forgot_at < FORGET_EVERY:
            return
        self._forgot_at = now
        until = now - self._settings.idempotency_keys
        storage = self._executions.rendering.storage
        while not self._stop.is_set() and taskcache.forget_expired(self._database, storage, now, FORGET) == FORGET:
            continue
        while not self._stop.is_set():
            if self._database.write(partial(declared.forget_keys, until=until, limit=FORGET)) < FORGET:
                return

    # ------------------------------------------------------------------ deciding and firing

    def _work(self, rows: Sequence[Any], now: datetime) -> None:
        plans: list[Planned] = []
        flows = self._database.read(lambda c: [self._flow_of(c, row) for row in rows])
        for row, flow in zip(rows, flows, strict=True):
            key = triggerrows.key_of(row)
            try:
                if row.revision is None:
                    self._database.write(partial(declared.forget, key=key))
                elif row.type in TIMED:
                    plans.append(self._decide(row, flow, now))
                elif row.type in self.others:
                    self.others[row.type](row, now)
                else:
                    self._database.write(partial(triggerrows.update_state, key=key, now=now, next_at=None))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - R20: whatever one row does, the others go on
                self._failed(row, error, now)
        if plans:
            self._fire(plans, now)

    def _flow_of(self, connection: Connection, row: Any) -> Flow | LannerError:
        """The declared revision; in memory already for most."""
        if row.revision is None:
            return NotFound("the trigger is declared no more")
        try:
            return self._registry.flow(connection, row.namespace, row.flow_id, row.revision)
        except LannerError as error:
            return error

    @staticmethod
    def _trigger(row: Any, flow: Flow | LannerError) -> tuple[Flow, Trigger]:
        if isinstance(flow, LannerError):
            raise flow
        trigger = flow.trigger(row.trigger_id)
        if trigger is None:
            raise NotFound(f"flow '{flow.namespace}.{flow.id}' has no trigger '{row.trigger_id}'")
        return flow, trigger

    def _decide(self, row: Any, found: Flow | LannerError, now: datetime) -> Planned:
        """Decide for one schedule and prepare what it starts; nothing is written yet."""
        flow, trigger = self._trigger(row, found)
        rules = self._schedules.rules(flow, trigger)
        state = triggerrows.schedule_state(row, declared_disabled=bool(row.declared_disabled))
        assert self._watching_since is not None
        outcome = schedule.decide(rules, state, now, watching_since=self._watching_since)
        fires: list[Fire] = []
        decisions: list[Start | Skip] = []
        refused = ""
        for decision in outcome.decisions:
            if isinstance(decision, Start):
                try:
                    fires.append(Fire(decision, self._prepare(flow, trigger, rules, decision)))
                except (TooMany, CheckFailed) as error:
                    # The instance is full (R21), or the flow's own check forbids it: the slot is decided, visibly,
                    # and does not come back later.
                    reason = Reason.BACKLOG
                    if isinstance(error, CheckFailed):
                        reason, refused = Reason.CHECK, error.message
                    decisions.append(Skip(slot=decision.slot, reason=reason, backfill=decision.backfill))
                    outcome = replace(outcome, state=replace(outcome.state, locked=False))
                    continue
            decisions.append(decision)
        outcome = replace(outcome, decisions=tuple(decisions))
        return Planned(key=triggerrows.key_of(row), row=row, outcome=outcome, fires=tuple(fires), refused=refused)

    def _prepare(self, flow: Flow, trigger: Trigger, rules: schedule.Rules, start: Start) -> Prepared:
        variables = schedule.variables(rules, start.slot)
        context = self._rendering.context(flow, trigger, variables)
        more: dict[str, Any] = {}
        if start.backfill is not None:
            more = {
                "inputs": dict(start.backfill.inputs),
                "labels": (*start.backfill.labels, ("backfill", "true")),
            }
        request = self._rendering.request(flow, trigger, variables, context, error=start.error, **more)
        return self._executions.prepare(request)

    def _fire(self, plans: Sequence[Planned], now: datetime) -> None:
        """Write all plans in one transaction, each undone alone when it fails; then get the executions going."""

        def work(tx: Connection) -> tuple[list[Started], list[tuple[Planned, Exception]]]:
            started: list[Started] = []
            failed: list[tuple[Planned, Exception]] = []
            for plan in plans:
                try:
                    with Savepoint(tx, "fire"):
                        started.extend(self._write(tx, plan, now))
                except LannerError as error:
                    failed.append((plan, error))
            crash.reach("fire.before_commit")
            return started, failed

        started, failed = self._database.write(work)
        crash.reach("fire.after_commit")
        for one in started:
            self._executions.started(one)
        for plan, error in failed:
            self._failed(plan.row, error, now)
        for plan in plans:
            for fire in plan.fires:
                if fire.start.backfill is None:
                    self.lag_s = (self._clock.now() - fire.start.slot).total_seconds()

    def _write(self, tx: Connection, plan: Planned, now: datetime) -> list[Started]:
        """One trigger's decisions: fire rows, executions, watermark. Nothing when the row or declaration changed."""
        if not self._still(tx, plan):
            log.debug("somebody else decided for %s", ".".join(plan.key), extra={"action": "fire_lost"})
            return []
        started: list[Started] = []
        holder: str | None = None
        for fire in plan.fires:
            backfill = fire.start.backfill.id if fire.start.backfill else ""
            execution_id = str(fire.prepared.row["id"])
            if not triggerrows.insert_fire(tx, plan.key, fire.start.slot, backfill, execution_id, now):
                log.info("slot %s of %s was decided before", fire.start.slot, ".".join(plan.key),
                         extra={"action": "fire_known"})  # fmt: skip
                continue
            started.append(self._executions.start_in(tx, fire.prepared))
            if not fire.prepared.ended:
                holder = execution_id
        skips = [decision for decision in plan.outcome.decisions if isinstance(decision, Skip)]
        triggerrows.insert_skips(tx, plan.key, skips, now)
        state = plan.outcome.state
        triggerrows.update_decided(tx, plan.key, state, now, execution_id=holder if state.locked else None)
        if plan.refused:
            triggerrows.record_error(tx, plan.key, plan.row.type, plan.refused, now)
        return started

    @staticmethod
    def _still(tx: Connection, plan: Planned) -> bool:
        """Whether row and declaration are those that were decided on; locks the row until the commit."""
        row = triggerrows.read_state(tx, plan.key, lock=True)
        before = plan.row
        if row is None or row.updated_at != before.updated_at or row.execution_id != before.execution_id:
            return False
        if row.watermark != before.watermark or row.disabled != before.disabled or row.backfill != before.backfill:
            return False
        found = triggerrows.declared_now(tx, plan.key)
        return found is not None and (found.revision, found.disabled) == (before.revision, before.declared_disabled)

    def _failed(self, row: Any, error: Exception, now: datetime) -> None:
        """One trigger's failure is its own: counted, shown, tried again later and later (R20)."""
        key = triggerrows.key_of(row)
        wait = min(LONGEST_BACKOFF, timedelta(seconds=2 ** min(row.failures + 1, 10)))
        if isinstance(error, LannerError):
            message = str(error)
            log.warning("trigger %s failed: %s", ".".join(key), message, extra={"action": "trigger_failed"})
        else:
            message = f"internal error: {error}"
            log.error("trigger %s failed", ".".join(key), exc_info=error, extra={"action": "trigger_failed"})
        self._database.write(lambda tx: triggerrows.record_error(tx, key, row.type, message, now, next_at=now + wait))
