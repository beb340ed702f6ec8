"""Receives push hooks: limits, verification, replay, and at most a request to sync. The HTTP face is the service's.

A hook is only ever a hint: nothing of its payload is used but which ref may have moved.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from namespaces.clock import Clock
from namespaces.errors import LannerError
from namespaces.store.db import Database
from sync import requests, store
from sync.model import GitSource, Webhook
from sync.signatures import Heard, hear, verify
from sync.store import delivery_table

log = logging.getLogger("lanner.sync.hooks")

MAX_BODY = 5 * 1024 * 1024
"""The face stops reading here too (413)."""
PER_HOOK = 60
PER_HOOK_S = 60.0
GLOBAL = 10
GLOBAL_S = 1.0
REPLAY = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """``status`` 202 queued · 200 ping, duplicate, other ref · 401 · 404 · 413 · 429 · 503; ``body`` is JSON."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)


UNAUTHORIZED = HookAnswer(401, {"code": "unauthorized", "message": "the signature is missing or wrong"})


class Hooks:
    """All push hooks of this server."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sources: Callable[[], Mapping[str, GitSource]],
        ask: Callable[[str, str], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._sources = sources
        self._ask = ask
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {}
        self._purged = 0.0
        self.counters: Counter[tuple[str, str]] = Counter()

    def receive(self, hook_id: str, headers: Mapping[str, str], raw_body: bytes) -> HookAnswer:
        """Answer one request. Never raises for what the sender sent; ``Unavailable`` passes through."""
        if len(raw_body) > MAX_BODY:
            return self._count("", "too_large", HookAnswer(413, _body("too_large", "the body is larger than 5 MiB")))
        names = self._names(hook_id)
        sources = [source for name, source in self._sources().items() if name in names and source.webhook is not None]
        # Unknown addresses share one counter, so that guessing costs no memory.
        limited = not self._allow(hook_id if sources else "")
        if not sources:
            answer = HookAnswer(404, _body("not_found", "there is no such hook"))
            return self._count("", "unknown", _too_many() if limited else answer)
        lowered = {name.lower(): value for name, value in headers.items()}
        provider = sources[0].webhook.provider if sources[0].webhook else ""
        genuine: list[GitSource] = []
        configured = False
        for source in sources:
            assert source.webhook is not None
            secrets = _secrets(source, source.webhook)
            configured = configured or bool(secrets)
            if self._genuine(source.webhook, lowered, raw_body, secrets):
                genuine.append(source)
        if not configured:
            message = "the hook has no secret yet: its reference leads nowhere"
            return self._count(provider, "not_configured", HookAnswer(503, _body("hook_not_configured", message)))
        if not genuine:
            return self._count(provider, "unauthorized", _too_many() if limited else UNAUTHORIZED)
        return self._accept(hook_id, genuine, lowered, raw_body, limited)

    def _accept(
        self, hook_id: str, sources: list[GitSource], headers: Mapping[str, str], body: bytes, limited: bool
    ) -> HookAnswer:
        assert sources[0].webhook is not None
        provider = sources[0].webhook.provider
        heard = hear(provider, headers, body)
        if heard.ping:
            return self._count(provider, "ping", HookAnswer(200, {"result": "ping"}))
        wanted = [source for source in sources if _concerns(source, heard)]
        if limited:
            # Refused, but not lost: a push that may be the last one still leads to a sync.
            for source in wanted:
                self._ask_once(source.name)
            return self._count(provider, "limited", _too_many())
        if heard.delivery and not self._database.write(lambda tx: self._remember(tx, hook_id, heard, bool(wanted))):
            return self._count(provider, "duplicate", HookAnswer(200, {"result": "duplicate"}))
        if not wanted:
            return self._count(provider, "other_ref", HookAnswer(200, {"result": "other ref"}))
        runs = {source.name: self._ask(source.name, "webhook") for source in wanted}
        log.info("hook asks for %s", ", ".join(runs), extra={"action": "hook_accepted", "event": heard.event})
        return self._count(provider, "queued", HookAnswer(202, {"result": "queued", "runs": runs}))

    def _ask_once(self, name: str) -> None:
        row = self._database.read(lambda c: store.row_of(c, name))
        if not requests.is_pending(row):
            self._ask(name, "webhook")

    def _names(self, hook_id: str) -> set[str]:
        if not hook_id or len(hook_id) > 100:
            return set()
        query = sa.select(store.hook_table.c.source).where(store.hook_table.c.hook_id == hook_id)
        return self._database.read(lambda c: set(c.execute(query).scalars()))

    def _genuine(self, hook: Webhook, headers: Mapping[str, str], body: bytes, secrets: list[str]) -> bool:
        now = self._clock.now()
        return verify(hook.provider, headers, body, secrets, now=now, username=hook.username, header=hook.header)

    def _allow(self, key: str) -> bool:
        """Count one request; whether it is within 60 a minute for this hook and 10 a second for all."""
        now = self._clock.monotonic()
        with self._lock:
            allowed = True
            for name, number, span in ((f"hook:{key}", PER_HOOK, PER_HOOK_S), ("all", GLOBAL, GLOBAL_S)):
                times = self._recent.setdefault(name, deque())
                while times and times[0] <= now - span:
                    times.popleft()
                if len(times) >= number:
                    allowed = False
                else:
                    times.append(now)
            return allowed

    def _remember(self, tx: Connection, hook_id: str, heard: Heard, wanted: bool) -> bool:
        """Note the delivery; False when it was here before."""
        now = self._clock.now()
        if self._clock.monotonic() - self._purged > 3600 or not self._purged:
            self._purged = self._clock.monotonic() or 1.0
            tx.execute(sa.delete(delivery_table).where(delivery_table.c.received_at < now - REPLAY))
        mine = sa.and_(delivery_table.c.hook_id == hook_id, delivery_table.c.delivery_id == heard.delivery)
        if tx.execute(sa.select(delivery_table.c.received_at).where(mine)).scalar() is not None:
            return False
        row = {
            "hook_id": hook_id,
            "delivery_id": heard.delivery,
            "received_at": now,
            "ref": ", ".join(sorted(heard.refs or ()))[:200],
            "event": heard.event[:100],
            "result": "queued" if wanted else "other ref",
        }
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(delivery_table).values(row))
        except IntegrityError:
            return False  # the same delivery at the same moment on another connection
        return True

    def _count(self, provider: str, result: str, answer: HookAnswer) -> HookAnswer:
        self.counters[provider, result] += 1
        return answer


def _secrets(source: GitSource, hook: Webhook) -> list[str]:
    found: list[str] = []
    for credential in hook.secrets:
        try:
            value = credential.value().strip()
        except LannerError as error:
            log.warning(
                "a hook secret of source %s cannot be read: %s", source.name, error.message,
                extra={"action": "hook_secret_missing"},
            )  # fmt: skip
            continue
        if value:
            found.append(value)
    return found


def _concerns(source: GitSource, heard: Heard) -> bool:
    name = source.ref.full_name
    return heard.refs is None or name is None or name in heard.refs


def _too_many() -> HookAnswer:
    return HookAnswer(429, _body("too_many", "too many requests: wait a minute"))


def _body(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
