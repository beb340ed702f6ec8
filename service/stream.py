"""Server-sent events (``api.md`` 4.3): a bounded number of open streams, woken by nudges, polling as the net."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from flask import Response, current_app, request

from namespaces.errors import NotFound, TooMany

WAKE_S = 1.0
"""How long a stream sleeps at most: it looks again even when no nudge came, and sees a stopping server."""
LONGEST_WAIT_S = 3_600
PING_EVERY = 15
"""Sleeps without an event after which a comment is sent; so a client that went away is noticed."""


def most_streams(threads: int) -> int:
    """How many streams may be open on a server with so many threads: a quarter stays for everybody else."""
    return max(2, threads * 3 // 4)


class Streams:
    """The open streams of one server; each holds a thread, so their number is bounded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._lock = threading.Lock()

    @property
    def open(self) -> int:
        return self._open

    def enter(self) -> None:
        """Take a place. Raises ``TooMany`` when all are taken."""
        with self._lock:
            if self._open >= self._most:
                raise TooMany(
                    f"{self._most} event streams are open already", hint="poll instead", code="too_many_streams"
                )
            self._open += 1

    def leave(self) -> None:
        with self._lock:
            self._open -= 1


Event = tuple[str, Any]
"""(kind, JSON value); ``("", None)`` is a comment that keeps the connection alive."""
PING: Event = ("", None)


def event(kind: str, data: Any) -> bytes:
    """One event in Kestra's form: ``id`` and ``data``, no ``event`` line."""
    return b"id: " + kind.encode() + b"\ndata: " + orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS) + b"\n\n"


class _Body:
    """The stream's bytes; gives its place back exactly once, also when nobody ever read from it."""

    def __init__(self, events: Iterator[Event], streams: Streams) -> None:
        self._events = events
        self._streams = streams
        self._left = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        kind, data = next(self._events)
        return event(kind, data) if kind else b": ping\n\n"

    def close(self) -> None:
        if not self._left:
            self._left = True
            self._streams.leave()
            close = getattr(self._events, "close", None)
            if close is not None:
                close()


def respond(events: Iterator[Event]) -> Response:
    """A streaming response of ``events``. Raises ``TooMany`` when too many streams are open."""
    streams: Streams = current_app.extensions["lanner.streams"]
    streams.enter()
    response = Response(_Body(events, streams), 200, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache, no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def stopping() -> Callable[[], bool]:
    """Tells whether the server of this request is about to stop; never, under a server that does not say."""
    flag: Any = request.environ.get("lanner.stopping")
    return flag.is_set if flag is not None else (lambda: False)


@contextmanager
def place() -> Iterator[None]:
    """A place for a request that will wait: it holds a thread as a stream does. Raises ``TooMany``."""
    streams: Streams = current_app.extensions["lanner.streams"]
    streams.enter()
    try:
        yield
    finally:
        streams.leave()


def wait_for_end(execution_id: str) -> None:
    """Hold this request until the execution has ended, pauses or is deleted, an hour at most, or the server stops."""
    executions = current_app.extensions["lanner"].executions
    stops = stopping()
    with suppress(NotFound):
        for _ in range(LONGEST_WAIT_S):
            if executions.wait(execution_id, timeout_s=WAKE_S) or stops():
                return


def watch(
    nudges: Any, topic: str, look: Callable[[], Iterator[Event] | None], stops: Callable[[], bool]
) -> Iterator[Event]:
    """Call ``look`` now and after every nudge (or second); send what it yields; end when it returns None.

    After something was sent it looks again at once: there may have been more than one look gives.
    """
    quiet = 0
    while not stops():
        seen = nudges.seen(topic)
        events = look()
        if events is None:
            return
        sent = False
        for one in events:
            sent = True
            yield one
        quiet = 0 if sent else quiet + 1
        if quiet >= PING_EVERY:
            quiet = 0
            yield PING
        if not sent:
            nudges.wait(topic, seen, WAKE_S)
