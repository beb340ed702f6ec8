"""Streams that tell a page to fetch itself anew: one small event a change, nothing of the content in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from namespaces.errors import NotFound
from runner import queries, queries_counters
from service import stream
from service.api.context import lanner
from service.auth.principal import require_here
from service.ui.site import page


def _changes(topic: str, look: Callable[[], tuple[Any, bool] | None]) -> Response:
    """``look`` gives (a value that differs after a change, whether it was the last); None ends the stream."""
    seen: dict[str, Any] = {"value": None, "ended": False}

    def events() -> Iterator[stream.Event] | None:
        if seen["ended"]:
            return None
        found = look()
        if found is None:
            return None
        value, seen["ended"] = found
        if value == seen["value"]:
            return iter(())
        first, seen["value"] = seen["value"] is None, value
        kind = "end" if seen["ended"] else "hello" if first else "change"
        return iter([(kind, {"version": str(value), "kind": kind})])

    return stream.respond(stream.watch(lanner().nudges, topic, events, stream.stopping()))


@page("/live/executions/<execution_id>", "execution.read")
def live_execution(execution_id: str) -> Response:
    database = lanner().database
    head: Any = database.read(lambda c: queries.head(c, execution_id))
    if head is None:
        raise NotFound("There is no such execution.")
    require_here(head.namespace)
    return _changes(f"execution:{execution_id}", lambda: database.read(lambda c: queries.version(c, execution_id)))


@page("/live/executions", "execution.read")
def live_executions() -> Response:
    database = lanner().database
    return _changes("executions", lambda: (database.read(queries_counters.newest_change), False))


@page("/live/sync", "source.read")
def live_sync() -> Response:
    sync = lanner().sync

    def look() -> tuple[str, bool]:
        facts = [
            (one.name, one.state, one.reason, one.message, one.seen_commit, one.applied_commit, one.paused, one.plan)
            for one in sync.list()
        ]
        newest = [(run.id, run.outcome) for run in sync.runs(limit=1)]
        return hashlib.sha256(repr((facts, newest)).encode()).hexdigest()[:16], False

    return _changes("git", look)
