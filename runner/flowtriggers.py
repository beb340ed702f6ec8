"""Flow triggers: told of every announced state, they find who listens, remember, and start what fires.

Deciding is in ``runner/triggers/flow.py``; announcements come from the outbox, at least once.
"""

from __future__ import annotations

import logging
import threading
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.clock import Clock, iso
from namespaces.errors import Conflict, InvalidFlow, LannerError, NotFound, Unavailable
from namespaces.flows.model import Flow
from namespaces.registry import Registry
from namespaces.secrets import masked
from namespaces.store.db import Database
from runner import triggerrows, view
from runner.checks import CheckFailed
from runner.context import nested_labels
from runner.executions import Executions
from runner.rendering import Place
from runner.rows import run_table
from runner.schedules import ScheduleDefaults
from runner.starting import CORRELATION, Prepared, Started
from runner.triggerrows import Key, declaration_table
from runner.triggers import flow as deciding
from runner.triggers.conditions import Subject, Upstream, kind_of, label_pairs, parts_of
from runner.triggers.flow import SILENT_KINDS
from runner.triggers.listening import Listening, read
from runner.triggerstarts import FLOW, WEBHOOK, TriggerRendering

log = logging.getLogger("lanner.triggers")

RETRIES = 20
"""Times a decision is taken again because another announcement changed the memory in between."""


@dataclass(slots=True)
class Index:
    """Who listens, kept in memory and brought up to date by generation."""

    generation: int = -1
    by_flow: dict[tuple[str, str], dict[Key, Listening]] = field(default_factory=dict)
    to_all: dict[Key, Listening] = field(default_factory=dict)
    stop_after: dict[Key, frozenset[str]] = field(default_factory=dict)
    """Triggers that nothing locks, yet that want to know how their executions end."""

    def drop(self, key: Key) -> None:
        self.to_all.pop(key, None)
        self.stop_after.pop(key, None)
        for listeners in self.by_flow.values():
            listeners.pop(key, None)

    def add(self, listening: Listening) -> None:
        if listening.flows is None:
            self.to_all[listening.key] = listening
        else:
            for flow in listening.flows:
                self.by_flow.setdefault(flow, {})[listening.key] = listening

    def of(self, namespace: str, flow_id: str, state: str) -> list[Listening]:
        own = (namespace, flow_id)
        found = [*self.by_flow.get(own, {}).values(), *self.to_all.values()]
        return [one for one in found if state in one.states and (one.namespace, one.flow_id) != own]


class FlowTriggers:
    """Safe from any thread."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        executions: Executions,
        clock: Clock,
        rendering: TriggerRendering,
        defaults: ScheduleDefaults,
        *,
        log_bad_inputs: bool = False,
    ) -> None:
        """``log_bad_inputs`` is the setting ``trigger_errors: log``: bad inputs make no FAILED execution."""
        self._database = database
        self._registry = registry
        self._executions = executions
        self._clock = clock
        self._rendering = rendering
        self._zone = defaults.zone
        self._log_bad_inputs = log_bad_inputs
        self._index = Index()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ who listens

    def interested(self, namespace: str, flow_id: str, state: str) -> bool:
        """Whether some trigger may want to hear that an execution of this flow reached this state."""
        return bool(self._fresh().of(namespace, flow_id, state))

    def wants_end(self, namespace: str, flow_id: str, trigger_id: str) -> bool:
        """Whether a webhook or Flow trigger has ``stopAfter``."""
        return (namespace, flow_id, trigger_id) in self._fresh().stop_after

    def _fresh(self) -> Index:
        generation = self._database.read(revisions.generation)
        index = self._index
        if index.generation == generation:
            return index
        with self._lock:
            if self._index.generation < generation:
                self._index = self._database.read(self._refreshed)
            return self._index

    def _refreshed(self, connection: Connection) -> Index:
        """A copy of the index with what was declared since; readers go on with the old one meanwhile."""
        old = self._index
        generation = revisions.generation(connection)
        changed = revisions.declarations(connection, (FLOW, WEBHOOK), since_generation=old.generation)
        if not changed:
            return replace(old, generation=generation)
        new = Index(
            generation,
            {flow: dict(listeners) for flow, listeners in old.by_flow.items()},
            dict(old.to_all),
            dict(old.stop_after),
        )
        for declaration in changed:
            key = (declaration.namespace, declaration.flow_id, declaration.trigger_id)
            new.drop(key)
            stop_after = (declaration.declared or {}).get("stopAfter")
            if isinstance(stop_after, list) and stop_after:
                new.stop_after[key] = frozenset(str(state) for state in stop_after)
            if declaration.type == FLOW and not declaration.disabled:
                listening = self._read(connection, declaration)
                if listening is not None:
                    new.add(listening)
        return new

    def _read(self, connection: Connection, declaration: revisions.Declaration) -> Listening | None:
        try:
            flow = self._registry.flow(connection, declaration.namespace, declaration.flow_id, declaration.revision)
            trigger = flow.trigger(declaration.trigger_id)
            return read(flow.namespace, flow.id, trigger, self._zone) if trigger is not None else None
        except LannerError as error:
            log.warning(
                "trigger %s.%s.%s does not listen: %s", declaration.namespace, declaration.flow_id,
                declaration.trigger_id, error.message, extra={"action": "flow_trigger_unreadable"},
            )  # fmt: skip
            return None

    # ------------------------------------------------------------------ an announcement

    def announce(self, execution_id: str, state: str, number: int) -> None:
        """An execution reached ``state``, as the ``number``-th entry of its history.

        Harmless twice: memories know the announcements they counted, executions their idempotency key.
        """
        loaded = self._database.read(lambda c: view.load(c, execution_id, ()))
        if loaded is None or loaded.facts.kind in SILENT_KINDS:
            return
        listeners = self._fresh().of(loaded.facts.namespace, loaded.facts.flow_id, state)
        if not listeners:
            return
        told = self._announcement(loaded, state, number, listeners)
        for listening in listeners:
            try:
                self._tell(listening, told)
            except Unavailable:
                raise
            except Exception as error:
                expected = isinstance(error, LannerError)
                log.log(
                    logging.WARNING if expected else logging.ERROR, "trigger %s failed: %s",
                    ".".join(listening.key), error, exc_info=None if expected else error,
                    extra={"action": "flow_trigger_failed", "execution_id": execution_id},
                )  # fmt: skip
                self._note(listening, str(error))

    def window_ended(self, row: Any, now: datetime) -> None:
        """A window with ``onMiss`` is over: where the trigger did not fire, a FAILED execution says so."""
        key = triggerrows.key_of(row)
        flow = self._database.read(lambda c: self._registry.flow(c, row.namespace, row.flow_id, row.revision))
        trigger = flow.trigger(row.trigger_id)
        listening = read(flow.namespace, flow.id, trigger, self._zone) if trigger is not None else None
        window = listening.deadline if listening is not None else None
        if listening is None or window is None:
            self._database.write(partial(triggerrows.update_state, key=key, now=now, next_at=None))
            return
        ends, following = deciding.missed(window, row.memory, row.next_at, now)
        prepared = [(end, self._missed(flow, listening, end)) for end in ends]

        def work(tx: Connection) -> list[Started]:
            present = triggerrows.read_state(tx, key, lock=True)
            if present is None or present.next_at != row.next_at or present.disabled:
                return []
            started = [
                self._executions.start_in(tx, one)
                for end, one in prepared
                if triggerrows.insert_fire(tx, key, end, "", str(one.row["id"]), now)
            ]
            triggerrows.update_state(tx, key, now, next_at=following)
            return started

        for started in self._database.write(work):
            self._executions.started(started)

    def _missed(self, flow: Flow, listening: Listening, end: datetime) -> Prepared:
        variables = {"deadline": iso(end)}
        context = self._rendering.context(flow, listening.trigger, variables)
        reason = f"not everything that trigger '{listening.trigger.id}' waits for happened by {iso(end)}"
        written = label_pairs((listening.on_miss or {}).get("labels"))
        labels = tuple((name, str(value)) for name, value in written if not name.startswith("system."))
        request = self._rendering.request(
            flow, listening.trigger, variables, context, error=reason, labels=labels
        )  # fmt: skip
        return self._executions.prepare(request)

    def _note(self, listening: Listening, message: str) -> None:
        now = self._clock.now()
        self._database.write(lambda tx: triggerrows.record_error(tx, listening.key, FLOW, message, now))

    def _announcement(
        self, loaded: view.Loaded, state: str, number: int, listeners: Iterable[Listening]
    ) -> Announcement:
        value, facts = loaded.value, loaded.facts
        flow = self._database.read(lambda c: self._registry.flow(c, facts.namespace, facts.flow_id, value.revision))
        place = Place(self._executions.rendering, flow, facts, {})
        at = value.history[number - 1][1] if 0 < number <= len(value.history) else self._clock.now()
        attempts = any(_asks_attempts(listening) for listening in listeners)
        tasks = self._database.read(lambda c: _task_facts(c, facts.id, attempts=attempts))
        upstream = Upstream(
            id=facts.id,
            namespace=facts.namespace,
            flow_id=facts.flow_id,
            revision=value.revision,
            state=state,
            labels=value.labels,
            outputs=masked(value.outputs) if value.outputs is not None else None,
            started_at=value.history[0][1] if value.history else None,
            ended_at=value.history[-1][1] if value.state.terminal and value.history else None,
            first_failed_task_id=tasks.first_failed,
            last_task_id=tasks.last,
            attempt_states=tasks.attempt_states,
            kind=facts.kind,
        )
        roots = place.context(value, None)
        for own in ("vars", "trigger", "schedule"):
            roots.pop(own, None)
        return Announcement(upstream, roots, at, number, tasks.retried)

    def _tell(self, listening: Listening, told: Announcement) -> None:
        upstream = told.upstream
        flow = self._database.read(lambda c: self._listener_flow(c, listening))
        if flow is None:
            return
        trigger = listening.trigger
        variables = deciding.variables(listening, upstream, (), iso)
        roots = {name: value for name, value in told.roots.items() if name != "flow"}
        context = self._rendering.context(flow, trigger, variables, **roots)
        subject = Subject(upstream=upstream, variables=context, country=self._rendering.country)
        when = {**context, **_root_values(told)}
        matched = deciding.match(listening, subject, when, self._rendering.render_of(flow))
        if matched.error is not None:
            self._note(listening, matched.error)
        if not matched.hears:
            return
        for _ in range(RETRIES):
            row = self._database.read(lambda c: triggerrows.read_state(c, listening.key))
            if row is not None and row.disabled:
                return
            memory = row.memory if row is not None else None
            combined = deciding.combine(listening, memory, matched, upstream, at=told.at, event=told.event)
            if not combined.fires and combined.memory == (memory or {}):
                return
            prepared = self._prepared(flow, listening, told, combined, roots) if combined.fires else None
            try:
                started = self._database.write(
                    partial(self._write, listening=listening, before=memory, after=combined.memory, prepared=prepared)
                )
            except _Changed:
                continue
            if started is not None:
                self._executions.started(started)
            return
        raise Conflict("the memory of the trigger changed again and again, this announcement is tried later")

    def _listener_flow(self, connection: Connection, listening: Listening) -> Flow | None:
        """The newest revision of the listening flow, None when the trigger is no longer declared or is off."""
        declaration = revisions.declaration(connection, *listening.key)
        if declaration is None or declaration.disabled:
            return None
        try:
            return self._registry.flow(connection, listening.namespace, listening.flow_id, declaration.revision)
        except (NotFound, InvalidFlow):
            return None

    def _prepared(
        self,
        flow: Flow,
        listening: Listening,
        told: Announcement,
        combined: deciding.Combined,
        roots: Mapping[str, Any],
    ) -> Prepared | None:
        upstream = told.upstream
        variables = deciding.variables(listening, upstream, combined.sources, iso)
        context = self._rendering.context(flow, listening.trigger, variables, **roots)
        request = self._rendering.request(
            flow,
            listening.trigger,
            variables,
            context,
            idempotency_key=f"flow-trigger:{told.event}",
            trigger_execution_id=upstream.id,
            correlation_id=dict(upstream.labels).get(CORRELATION, upstream.id),
        )
        if not listening.trigger.inputs and flow.inputs and request.failed_reason is None:
            # A Flow trigger that gives no inputs starts its flow even where one is required, as Kestra does.
            _, resolved = self._executions.validate_inputs(flow.namespace, flow.id, flow.revision, {})
            if resolved.problems and not resolved.secrets:
                request = replace(request, values=resolved.values)
        try:
            prepared = self._executions.prepare(request)
        except CheckFailed as refused:
            self._note(listening, refused.message)
            return None
        if prepared.failed is not None and self._log_bad_inputs:
            self._note(listening, prepared.failed)
            return None
        return prepared

    def _write(
        self, tx: Connection, listening: Listening, before: Any, after: Mapping[str, Any], prepared: Prepared | None
    ) -> Any:
        """Memory and execution in one transaction. Raises ``_Changed`` when the memory is not that decided on."""
        now = self._clock.now()
        triggerrows.ensure_state(tx, listening.key, FLOW, now)
        row = triggerrows.read_state(tx, listening.key, lock=True)
        if row is None or (row.memory or None) != (before or None):
            raise _Changed
        on = tx.execute(
            sa.select(declaration_table.c.disabled).where(triggerrows.of(declaration_table, listening.key))
        ).scalar()
        if on is None or on or row.disabled:
            return None
        values: dict[str, Any] = {}
        if (after or None) != (before or None):
            values["memory"] = dict(after)
        if prepared is not None:
            values["last_at"] = now
        triggerrows.update_state(tx, listening.key, now, **values)
        return self._executions.start_in(tx, prepared) if prepared is not None else None


@dataclass(frozen=True, slots=True)
class Announcement:
    """The upstream execution in its announced state; ``roots`` are its expression variables, looked up lazily."""

    upstream: Upstream
    roots: Mapping[str, Any]
    at: datetime
    number: int
    retried: bool

    @property
    def event(self) -> str:
        return f"{self.upstream.id}:{self.upstream.state}:{self.number}"


class _Changed(Exception):
    """Another announcement wrote the memory first."""


def _root_values(told: Announcement) -> dict[str, Any]:
    """What ``when`` sees of the upstream at the root (``flows.md`` 7.7)."""
    upstream, roots = told.upstream, told.roots
    outputs: Any = roots.get("outputs") or {}
    if upstream.outputs:
        outputs = ChainMap(dict(upstream.outputs), outputs)
    return {
        "flow": roots.get("flow"),
        "namespace": upstream.namespace,
        "flowId": upstream.flow_id,
        "state": upstream.state,
        "labels": nested_labels(upstream.labels),
        "outputs": outputs,
        "hasRetryAttempt": told.retried,
    }


def _asks_attempts(listening: Listening) -> bool:
    trigger = listening.trigger
    conditions = [*trigger.conditions]
    while conditions:
        condition = conditions.pop()
        if kind_of(condition.type) == "HasRetryAttempt":
            return True
        conditions.extend(condition.conditions or parts_of(condition).values())
    return "hasRetryAttempt" in f"{trigger.when} {trigger.properties.get('dependsOn')}"


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Of the upstream's task runs; the last two are only looked up when some condition asks."""

    first_failed: str | None
    last: str | None
    attempt_states: frozenset[str] = frozenset()
    retried: bool = False


def _task_facts(connection: Connection, execution_id: str, *, attempts: bool) -> TaskFacts:
    mine = run_table.c.execution_id == execution_id
    first = connection.execute(
        sa.select(run_table.c.task_id)
        .where(mine, run_table.c.state == "FAILED")
        .order_by(run_table.c.sequence)
        .limit(1)
    ).scalar()
    last = connection.execute(
        sa.select(run_table.c.task_id).where(mine).order_by(run_table.c.sequence.desc()).limit(1)
    ).scalar()
    if not attempts:
        return TaskFacts(first, last)
    found = [listed or [] for listed in connection.execute(sa.select(run_table.c.attempts).where(mine)).scalars()]
    states = frozenset(str(attempt["state"]) for listed in found for attempt in listed)
    return TaskFacts(first, last, states, any(len(listed) > 1 for listed in found))
