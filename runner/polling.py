"""Polling triggers: look in a thread of its own, and start the flow when there is something.

The http trigger asks a URL, a plugin's does what it wants. When to look is decided in ``runner/triggers/polling.py``;
the request itself is the http task's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast

from sqlalchemy.engine import Connection

from namespaces.clock import Clock
from namespaces.errors import LannerError, NotFound, Unavailable
from namespaces.flows.catalog import Catalog
from namespaces.flows.model import Flow, Trigger
from namespaces.registry import Registry
from namespaces.store.db import Database
from runner import triggerrows
from runner.checks import CheckFailed
from runner.egress import Egress
from runner.executions import Executions
from runner.plugin import Metric, PollContext, RunFailed
from runner.plugin import Trigger as PluginTrigger
from runner.starting import Started
from runner.triggers import polling
from runner.triggers.conditions import Subject, judge
from runner.triggerstarts import HTTP, TriggerRendering

log = logging.getLogger("lanner.triggers")

THREADS = 4
"""Requests of polling triggers at once; further ones wait, and are late."""
LARGEST_RESPONSE = 10 << 20


@dataclass(frozen=True, slots=True)
class _Limits:
    response: int = LARGEST_RESPONSE


@dataclass(frozen=True, slots=True)
class _Services:
    egress: Egress
    limits: _Limits = field(default_factory=_Limits)


@dataclass(frozen=True, slots=True)
class _Asking:
    """What the http task needs of a running attempt, where there is none: no files, no metrics."""

    services: _Services
    cancelled: threading.Event
    name: str

    def log(self, level: str, message: str) -> None:
        log.log(logging.INFO, "%s %s: %s", level, self.name, message, extra={"action": "poll"})

    def metric(self, metric: Metric) -> None:
        """Nobody asks for metrics of a poll."""

    def hide(self, text: str) -> None:
        """The body is given as it is: nothing of it is logged here."""

    def open(self, uri: str) -> BinaryIO:
        raise NotFound(f"'{uri}' cannot be sent: a polling trigger has no files")


def plugin_triggers(catalog: Catalog) -> tuple[str, ...]:
    """The trigger types of plugins, by name."""
    return tuple(one.type_name for one in catalog.more if issubclass(one, PluginTrigger))


class Polling:
    """Handles due rows of polling triggers; ``due`` returns at once."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        executions: Executions,
        clock: Clock,
        rendering: TriggerRendering,
        egress: Egress,
    ) -> None:
        self._database = database
        self._registry = registry
        self._executions = executions
        self._clock = clock
        self._rendering = rendering
        self._egress = egress
        self._cancelled = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lanner-poll")
        self._running: set[Future[None]] = set()

    def close(self) -> None:
        """Give up requests in flight; their triggers are asked again by whoever schedules next."""
        self._cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def due(self, row: Any, now: datetime) -> None:
        """Note the next evaluation, so that nobody starts this one too, then ask in another thread."""
        flow = self._database.read(lambda c: self._registry.flow(c, row.namespace, row.flow_id, row.revision))
        trigger = flow.trigger(row.trigger_id)
        if trigger is None:
            raise NotFound(f"flow '{flow.namespace}.{flow.id}' has no trigger '{row.trigger_id}'")
        following = polling.following(now, polling.interval(trigger), now)
        key = triggerrows.key_of(row)

        def take(tx: Connection) -> bool:
            present = triggerrows.read_state(tx, key, lock=True)
            if present is None or present.next_at != row.next_at or present.disabled or present.execution_id:
                return False
            triggerrows.update_state(tx, key, now, next_at=following, watermark=now)
            return True

        if self._database.write(take):
            future = self._pool.submit(self._evaluate_safely, flow, trigger, now, row.watermark)
            self._running.add(future)
            future.add_done_callback(self._running.discard)

    def settle(self, timeout_s: float) -> bool:
        """Wait until no request is in flight; False when the time is over first."""
        return not wait(list(self._running), timeout_s).not_done

    def _evaluate_safely(self, flow: Flow, trigger: Trigger, started: datetime, previous: datetime | None) -> None:
        key = (flow.namespace, flow.id, trigger.id)
        try:
            self.evaluate(flow, trigger, started, previous)
        except Unavailable as error:
            log.warning("poll of %s waits: %s", ".".join(key), error, extra={"action": "poll_waits"})
        except Exception:
            log.exception("poll of %s failed", ".".join(key), extra={"action": "poll_failed"})

    def evaluate(
        self, flow: Flow, trigger: Trigger, started: datetime, previous: datetime | None = None
    ) -> Started | None:
        """One evaluation. An error is told on the trigger, with ``failOnTriggerError`` by a FAILED execution too."""
        key = (flow.namespace, flow.id, trigger.id)
        variables: Mapping[str, Any] = {}
        error: str | None = None
        try:
            asked = trigger.type == HTTP
            outputs = self._ask(flow, trigger) if asked else self._look(flow, trigger, started, previous)
            if outputs is None:
                return None
            variables = {name: value for name, value in outputs.items() if value is not None}
            context = self._rendering.context(flow, trigger, variables)
            render = self._rendering.render_of(flow)
            if asked and not polling.answers(trigger, outputs, context, render):
                return None
            verdict = judge(trigger.conditions, trigger.when, Subject(variables=context), render)
            if verdict.error is None and not verdict.holds:
                return None
            error = verdict.error
        except Unavailable:
            raise
        except LannerError as failure:
            error = failure.message
        if error is not None:
            self._tell(key, trigger.type, error)
            if not trigger.fail_on_trigger_error:
                return None
        try:
            return self._start(flow, trigger, variables, error, started)
        except CheckFailed as refused:
            self._tell(key, trigger.type, refused.message)
            return None

    def _tell(self, key: triggerrows.Key, type_name: str, message: str) -> None:
        """A visible trigger error."""
        now = self._clock.now()
        self._database.write(
            partial(triggerrows.record_error, key=key, type_name=type_name, message=message, now=now, level=50)
        )

    def _ask(self, flow: Flow, trigger: Trigger) -> Mapping[str, Any]:
        """The outputs of an http.Request with the trigger's properties. Raises ``LannerError``."""
        from namespaces.flows.types.triggers import HttpTrigger
        from runner.tasks.http import request
        from runner.worker.properties import render_properties

        context = self._rendering.context(flow, trigger, {})
        properties = render_properties(
            HttpTrigger,
            {"allowFailed": True, **trigger.properties},
            lambda value: self._rendering.value(flow, value, context),
            raw=frozenset({"responseCondition", "interval"}),
        )
        asking = _Asking(_Services(self._egress), self._cancelled, f"{flow.namespace}.{flow.id}.{trigger.id}")
        return request(cast(Any, asking), cast(Any, properties)).values or {}

    def _look(
        self, flow: Flow, trigger: Trigger, started: datetime, previous: datetime | None
    ) -> Mapping[str, Any] | None:
        """What a plugin's trigger found. Raises ``LannerError``, whatever the plugin raises."""
        from runner.worker.properties import render_properties

        entry = self._registry.catalog.resolve(trigger.type)
        if entry is None or not issubclass(entry.cls, PluginTrigger):
            raise NotFound(f"this server cannot run the trigger type {trigger.type}")
        context = self._rendering.context(flow, trigger, {})
        name = f"{flow.namespace}.{flow.id}.{trigger.id}"
        looking = render_properties(
            entry.cls,
            trigger.properties,
            lambda value: self._rendering.value(flow, value, context),
            raw=frozenset({"interval"}),
        )
        seen = PollContext(
            namespace=flow.namespace,
            flow_id=flow.id,
            trigger_id=trigger.id,
            now=started,
            previous=previous,
            cancelled=self._cancelled,
            log=lambda level, text: log.log(logging.INFO, "%s %s: %s", level, name, text, extra={"action": "poll"}),
        )
        try:
            return looking.poll(seen)
        except LannerError:
            raise
        except Exception as error:
            log.exception("poll of %s failed", name, extra={"action": "poll_failed"})
            raise RunFailed(f"the trigger failed: {type(error).__name__}: {error}") from error

    def _start(
        self, flow: Flow, trigger: Trigger, variables: Mapping[str, Any], error: str | None, started: datetime
    ) -> Started | None:
        key = (flow.namespace, flow.id, trigger.id)
        context = self._rendering.context(flow, trigger, variables)
        prepared = self._executions.prepare(self._rendering.request(flow, trigger, variables, context, error=error))
        execution_id = str(prepared.row["id"])
        now = self._clock.now()

        def work(tx: Connection) -> Started | None:
            row = triggerrows.read_state(tx, key, lock=True)
            declared = triggerrows.declared_now(tx, key)
            if row is None or row.disabled or row.execution_id or declared is None or declared.disabled:
                return None
            if not triggerrows.insert_fire(tx, key, started, "", execution_id, now):
                return None
            values: dict[str, Any] = {"last_at": now}
            if prepared.failed is None:
                values |= {"failures": 0, "error": None}
                if not trigger.allow_concurrent and not prepared.ended:
                    values["execution_id"] = execution_id
            triggerrows.update_state(tx, key, now, **values)
            return self._executions.start_in(tx, prepared)

        made = self._database.write(work)
        if made is not None:
            self._executions.started(made)
        return made
