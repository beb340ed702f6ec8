"""Accepting webhook calls: find the flow, check key and signature, ask the conditions, start the execution.

What a call means is in ``runner/triggers/webhook.py``; the HTTP face (waiting, answers, streaming) is in ``service/``.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.clock import Clock
from namespaces.errors import InvalidFlow, LannerError, TooLarge
from namespaces.flows.model import Flow, Trigger
from namespaces.hits import Hits
from namespaces.ids import new_id
from namespaces.registry import Registry
from namespaces.revisions import counter_table
from namespaces.store.db import Database
from namespaces.store.statements import Query
from runner import triggerrows, webhookparts
from runner.checks import CheckFailed
from runner.executions import Executions
from runner.starting import Started, StartRequest
from runner.triggerrows import Key, state_table
from runner.triggers import webhook
from runner.triggers.conditions import Subject, judge
from runner.triggers.webhook import Bucket, WebhookRequest
from runner.triggerstarts import WEBHOOK, TriggerRendering
from runner.webhookparts import Form

log = logging.getLogger("lanner.webhooks")

METHODS = frozenset({"GET", "POST", "PUT"})
LARGEST_BODY = 5 * 1024 * 1024
WRONG_KEYS = 20
"""A minute and address; further wrong keys get 429, a right one is never refused for it."""
KEPT = 20_000
"""Flows, addresses and buckets kept in memory at most."""
NO_FLOW = ""
"""No flow has this id."""
NOT_FOUND = "Not Found: Webhook not found"


_GENERATION_AND_OFF = Query(
    sa.select(counter_table.c.value, state_table.c.trigger_id)
    .select_from(
        counter_table.outerjoin(
            state_table,
            sa.and_(
                state_table.c.namespace == sa.bindparam("k_ns"),
                state_table.c.flow_id == sa.bindparam("k_id"),
                state_table.c.disabled.is_(True),
            ),
        )
    )
    .where(counter_table.c.name == "catalog_version")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOutcome:
    """``status`` as in ``flows.md`` 7.5. ``code`` is the error's word, ``retry_after_s`` a hint with 429 and 503."""

    status: int
    message: str = ""
    code: str = ""
    hint: str = ""
    execution_id: str | None = None
    replayed: bool = False
    trigger: Trigger | None = None
    flow: Flow | None = None
    row: Mapping[str, Any] | None = None
    """The columns of the new execution, None for a repeat."""
    retry_after_s: int | None = None
    cause: LannerError | None = None
    """What was wrong with a call that had the right key: it names every input."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One Webhook trigger: a literal key as its digest, one written as an expression as its template."""

    id: str
    trigger: Trigger | None
    digest: bytes | None
    template: str | None


@dataclass(frozen=True, slots=True)
class Hooks:
    """The webhooks of one flow as of a generation; ``flow`` is None when its text no longer reads."""

    generation: int
    hooks: tuple[Hook, ...] = ()
    flow: Flow | None = None


class Webhooks:
    """Safe from any thread; nothing is kept that the next call does not check against the generation."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        executions: Executions,
        clock: Clock,
        rendering: TriggerRendering,
        *,
        rate: tuple[float, int] | None = None,
        largest_body: int = LARGEST_BODY,
        form_parts: int = 1_000,
        hits: Hits | None = None,
    ) -> None:
        """``rate`` is ``limits.webhook_rate`` (per second, burst) for triggers that set none; None: no limit."""
        self._database = database
        self._registry = registry
        self._executions = executions
        self._clock = clock
        self._rendering = rendering
        self._rate = rate
        self._largest_body = largest_body
        self._form_parts = form_parts
        self._hits = hits or Hits()
        self._known: OrderedDict[tuple[str, str], Hooks] = OrderedDict()
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()
        self._strangers: OrderedDict[str, Bucket] = OrderedDict()
        self._keyless: OrderedDict[tuple[Key, int], None] = OrderedDict()
        """Triggers, with their revision, of which it was said that the key does not render."""
        self._lock = threading.Lock()

    def accept(self, namespace: str, flow_id: str, key: str, request: WebhookRequest) -> WebhookOutcome:
        """Decide on one call. Whatever a caller or a flow gets wrong is a status, never an exception."""
        if request.method not in METHODS:
            return WebhookOutcome(status=405, message="webhooks take GET, POST and PUT", code="method_not_allowed")
        try:
            known, generation, off = self._database.read(lambda c: self._kept(c, namespace, flow_id))
            hooks = known or self._database.read(lambda c: self._load(c, namespace, flow_id, generation))
            hook = self._fitting(hooks, off, key)
            if hook is None:
                if known is not None:
                    # A flow that does not exist was looked up; who asks for one that does must wait as long.
                    self._database.read(lambda c: revisions.declarations_of(c, namespace, NO_FLOW))
                return self._stranger(request)
            if hooks.flow is None or hook.trigger is None:
                return WebhookOutcome(status=409, code="broken_flow", message="Cannot execute an invalid flow")
            if hooks.flow.disabled:
                message = "Cannot execute a flow which is disabled"
                return WebhookOutcome(status=409, code="disabled_flow", message=message)
            return self._accept(hooks.flow, hook.trigger, request)
        except LannerError as error:
            wait = {429: 5, 503: 2}.get(error.status)
            return WebhookOutcome(
                status=error.status,
                message=error.message,
                code=error.code,
                hint=error.hint,
                retry_after_s=wait,
                cause=error,
            )

    # ------------------------------------------------------------------ which trigger

    def _kept(self, connection: Connection, namespace: str, flow_id: str) -> tuple[Hooks | None, int, frozenset[str]]:
        """The flow's webhooks when nothing has changed, the generation, and those switched off at run time."""
        rows = _GENERATION_AND_OFF.all(connection, k_ns=namespace, k_id=flow_id)
        generation = int(rows[0].value) if rows else 0
        off = frozenset(row.trigger_id for row in rows if row.trigger_id is not None)
        with self._lock:
            found = self._known.get((namespace, flow_id))
        return found if found is not None and found.generation == generation else None, generation, off

    def _load(self, connection: Connection, namespace: str, flow_id: str, generation: int) -> Hooks:
        declared = [d for d in revisions.declarations_of(connection, namespace, flow_id) if d.type == WEBHOOK]
        if not declared:
            return Hooks(generation)
        flow: Flow | None = None
        try:
            flow = self._registry.flow(connection, namespace, flow_id, declared[0].revision)
        except (InvalidFlow, LannerError):
            log.info("flow %s.%s does not read", namespace, flow_id, extra={"action": "webhook_broken_flow"})
        hooks = []
        for declaration in declared:
            trigger = flow.trigger(declaration.trigger_id) if flow is not None else None
            written: Mapping[str, Any] = trigger.properties if trigger is not None else declaration.declared
            paused = declaration.disabled and not (flow is not None and flow.disabled)
            if paused or (trigger.disabled if trigger is not None else written.get("disabled") is True):
                continue
            key = str(written.get("key") or "")
            if "{{" in key or "{%" in key:
                hooks.append(Hook(declaration.trigger_id, trigger, None, key))
            elif key:
                hooks.append(Hook(declaration.trigger_id, trigger, webhook.digest(key), None))
        found = Hooks(generation, tuple(hooks), flow)
        with self._lock:
            if found.hooks:
                self._known[namespace, flow_id] = found
            _bound(self._known)
        return found

    def _fitting(self, hooks: Hooks, off: frozenset[str], key: str) -> Hook | None:
        """The trigger that the key belongs to; with none to compare, a dummy is compared all the same."""
        candidates = [hook for hook in hooks.hooks if hook.id not in off]
        wanted = [hook.digest or self._rendered_digest(hooks.flow, hook) for hook in candidates]
        index = webhook.fits(key, wanted)
        return candidates[index] if index is not None else None

    def _rendered_digest(self, flow: Flow | None, hook: Hook) -> bytes:
        """The digest of a key written as an expression, rendered for this call and not kept."""
        if flow is None or hook.trigger is None or hook.template is None:
            return webhook.NO_KEY
        try:
            context = self._rendering.context(flow, hook.trigger, {})
            key = self._rendering.render_of(flow)(hook.template, context)
        except LannerError as error:
            self._note_keyless((flow.namespace, flow.id, hook.id), flow.revision, error.message)
            return webhook.NO_KEY
        return webhook.digest(key) if key else webhook.NO_KEY

    def _stranger(self, request: WebhookRequest) -> WebhookOutcome:
        with self._lock:
            ok, bucket = webhook.take(
                self._strangers.get(request.address), WRONG_KEYS / 60, WRONG_KEYS, self._clock.monotonic()
            )
            self._strangers[request.address] = bucket
            _bound(self._strangers)
        if not ok:
            return WebhookOutcome(status=429, message="too many wrong keys", code="too_many", retry_after_s=60)
        return WebhookOutcome(status=404, message=NOT_FOUND, code="not_found")

    # ------------------------------------------------------------------ the right key

    def _accept(self, flow: Flow, trigger: Trigger, request: WebhookRequest) -> WebhookOutcome:
        key = (flow.namespace, flow.id, trigger.id)
        encoding = (request.header("Content-Encoding") or "identity").strip().lower()
        if len(request.body) > self._largest_body:
            message = f"a webhook body has at most {self._largest_body} bytes"
            return WebhookOutcome(status=413, message=message, code="too_large")
        if encoding not in ("", "identity"):
            message = f"Content-Encoding '{encoding}' is not supported, send the body as it is"
            return WebhookOutcome(status=415, message=message, code="unsupported_encoding")
        if not self._signed(flow, trigger, request):
            return WebhookOutcome(status=401, message="the signature is missing or wrong", code="unauthorized")
        if not self._within_rate(key, trigger):
            message = f"more calls than the rate limit of trigger '{trigger.id}' allows"
            return WebhookOutcome(status=429, message=message, code="too_many", retry_after_s=1)
        variables = webhook.variables(request)
        execution_id = new_id()
        form = None
        if webhookparts.is_multipart(request):
            try:
                form = webhookparts.read_form(request, flow, trigger, execution_id, self._form_parts)
            except TooLarge:
                self._hits.note("form_parts")
                raise
            parts = [part.variables() for part in form.parts]
            variables |= {"body": None, "formFields": form.fields, "parts": parts}
        context = self._rendering.context(flow, trigger, variables)
        if trigger.conditions or trigger.when is not None:
            subject = Subject(variables=context, country=self._rendering.country)
            verdict = judge(trigger.conditions, trigger.when, subject, self._rendering.render_of(flow))
            if verdict.error is not None:
                self._note(key, verdict.error)
            if not verdict.holds:
                return WebhookOutcome(status=204, trigger=trigger, flow=flow)
        delivery = webhook.delivery_key(request) or self._own_delivery_key(flow, trigger, context)
        start = self._rendering.request(
            flow,
            trigger,
            variables,
            context,
            strict=True,
            execution_id=execution_id,
            idempotency_key=delivery,
            body_hash=webhook.body_hash(request) if delivery is not None else "",
        )
        try:
            started = self._start(flow, start, form)
        except CheckFailed as refused:
            self._note(key, refused.message)
            raise
        return WebhookOutcome(
            status=200,
            execution_id=started.execution_id,
            replayed=started.replayed,
            trigger=trigger,
            flow=flow,
            row=started.row,
        )

    def _start(self, flow: Flow, start: StartRequest, form: Form | None) -> Started:
        """Files of the body are there before the execution is, and gone again when it starts none."""
        if form is None or not form.parts:
            return self._executions.start(start)
        storage = self._executions.rendering.storage
        started: Started | None = None
        try:
            form.store(storage)
            started = self._executions.start(start)
        finally:
            if started is None or started.replayed:
                webhookparts.forget(storage, flow, str(start.execution_id))
        return started

    def _signed(self, flow: Flow, trigger: Trigger, request: WebhookRequest) -> bool:
        wanted = trigger.properties.get("signature")
        if not wanted:
            return True
        context = self._rendering.context(flow, trigger, {})
        render = self._rendering.render_of(flow)
        secrets = []
        for written in wanted.get("secrets") or ():
            try:
                secrets.append(render(str(written), context))
            except LannerError as error:
                key = (flow.namespace, flow.id, trigger.id)
                self._note(key, f"a secret of the signature does not render: {error.message}")
        return webhook.signed(
            str(wanted.get("scheme")), secrets, request, header=wanted.get("header"),
            now_s=self._clock.now().timestamp(),
        )  # fmt: skip

    def _within_rate(self, key: Key, trigger: Trigger) -> bool:
        written = trigger.properties.get("rateLimit")
        rate = self._rate
        if written:
            rate = (float(written["perSecond"]), int(written.get("burst") or 1))
        if rate is None:
            return True
        with self._lock:
            ok, bucket = webhook.take(self._buckets.get(key), rate[0], rate[1], self._clock.monotonic())
            self._buckets[key] = bucket
            _bound(self._buckets)
        if not ok and not written:
            self._hits.note("webhook_rate")
        return ok

    def _own_delivery_key(self, flow: Flow, trigger: Trigger, context: Mapping[str, Any]) -> str | None:
        written = trigger.properties.get("idempotencyKey")
        if not written:
            return None
        try:
            found = self._rendering.render_of(flow)(str(written), context).strip()
        except LannerError as error:
            self._note((flow.namespace, flow.id, trigger.id), f"idempotencyKey: {error.message}")
            return None
        return found[: webhook.LONGEST_KEY] or None

    def _note_keyless(self, key: Key, revision: int, message: str) -> None:
        """Said once a revision: any stranger's call comes here, and must not fill the log or keep the database busy."""
        with self._lock:
            if (key, revision) in self._keyless:
                return
            self._keyless[key, revision] = None
            _bound(self._keyless)
        self._note(key, f"the key does not render: {message}")

    def _note(self, key: Key, message: str) -> None:
        """A visible trigger error."""
        now = self._clock.now()
        log.warning("webhook %s: %s", ".".join(key), message, extra={"action": "webhook_error"})
        self._database.write(lambda tx: triggerrows.record_error(tx, key, WEBHOOK, message, now))


def _bound(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > KEPT:
        kept.popitem(last=False)
