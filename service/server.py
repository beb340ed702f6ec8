"""The HTTP server: granian's Rust listener embedded in this process, calling the WSGI application on threads.

Knows nothing of Lanner; which loops run beside it is decided in ``service/processes.py`` (why granian: ADR 0013).
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from namespaces.errors import StartRefused

log = logging.getLogger("lanner.server")

THREADS = 160
"""Requests answered at once, open streams included; threads are made on demand and end after 30 idle seconds."""
WAITING = 1024
"""Connections that may wait for a thread."""
HEADER_TIMEOUT_MS = 30_000

_ENVIRON: dict[str, Any] = {
    # The process's environment stays out of it: nothing in a request needs the server's variables.
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "Lanner",
    "wsgi.errors": sys.stderr,
    # The body ends where the server says, also without a length: Werkzeug may read chunked bodies.
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": False,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.version": (1, 0),
}

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Start:
    """WSGI's ``start_response``: remembers status and headers."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        self.status = int(status[:3])
        self.headers = headers


class _Stream:
    """A streamed body; ``close`` runs when it ends, when the client goes away, and when the server stops."""

    __slots__ = ("__next__", "_body", "_closed", "_ended")

    def __init__(self, body: Any, ended: Callable[[], None]) -> None:
        self._body = body
        self._ended = ended
        self._closed = False
        self.__next__ = iter(body).__next__

    def __iter__(self) -> Iterator[bytes]:
        return self

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._ended()


class Server:
    """One listener in this process. ``start`` returns once connections are accepted."""

    def __init__(self, app: WsgiApp, *, host: str = "127.0.0.1", port: int = 8080, threads: int = THREADS) -> None:
        self._app = app
        self.host = host
        self.port = port
        self._threads = threads
        self._busy = 0
        self._stopping = threading.Event()
        # Streams look at the event, so that they end by themselves when the server stops.
        self._environ = {**_ENVIRON, "lanner.stopping": self._stopping}
        self._idle = threading.Condition()
        self._signal: Any = None
        self._kept: tuple[Any, ...] = ()

    def start(self) -> int:
        """Listen; returns the port (the one chosen when 0 was asked for). Raises ``StartRefused`` when it is taken."""
        listener = _bind(self.host, self.port)
        self.port = listener.getsockname()[1]

        import asyncio

        from granian import _futures, _granian
        from granian.http import HTTP1Settings

        # granian's stub file lags behind its binary: the pair is pinned, and a test talks to the real listener.
        rust: Any = _granian
        futures: Any = _futures

        self._signal = rust.WorkerSignal()
        loop = asyncio.new_event_loop()
        worker = rust.WSGIWorker(
            1,
            (None, rust.SocketHolder(listener.detach(), False, WAITING)),
            None,
            1,
            8,
            self._threads,
            30,
            WAITING,
            "1",
            HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
            None,
            None,
            *(False, None, None, None, "tls1.3", None, [], False),
            (None, None),
        )
        scheduler = futures._new_cbscheduler(loop, self._answer, impl_asyncio=True)
        worker.serve_mtr(scheduler, loop, self._signal)
        self._kept = (worker, scheduler, loop)
        log.info("listening on http://%s:%d", self.host, self.port, extra={"action": "listening"})
        return self.port

    def stop(self, drain_s: float = 10.0) -> bool:
        """Accept nothing more and wait for the requests in progress; False when some were left after ``drain_s``.

        After False the process must end by ``os._exit``: a thread of the listener that comes back to a finished
        interpreter aborts it.
        """
        if self._signal is None:
            return True
        self._stopping.set()
        self._signal.set()
        self._signal = None
        deadline = time.monotonic() + drain_s
        with self._idle:
            drained = self._idle.wait_for(lambda: self._busy == 0, max(0.0, deadline - time.monotonic()))
        self._kept[2].close()
        return drained

    @property
    def busy(self) -> int:
        """Requests in progress, open streams included."""
        return self._busy

    def _answer(self, protocol: Any, scope: dict[str, Any]) -> int:
        with self._idle:
            self._busy += 1
        start = _Start()
        try:
            body = self._app(self._environ | scope, start)
            if isinstance(body, list):
                protocol.response_bytes(start.status, start.headers, b"".join(body))
            else:
                # The stream now owns the place in the count.
                protocol.response_iter(start.status, start.headers, _Stream(body, self._done))
                return start.status
        except BaseException:
            self._done()
            log.exception("a request broke the application", extra={"action": "request_failed"})
            raise
        self._done()
        return start.status

    def _done(self) -> None:
        with self._idle:
            self._busy -= 1
            if not self._busy:
                self._idle.notify_all()


def serve(
    app: WsgiApp, host: str, port: int, threads: int, stop_event: threading.Event, *, drain_s: float = 10.0
) -> None:
    """Serve in this process until ``stop_event`` is set, then drain. Raises ``StartRefused`` when the port is taken."""
    server = Server(app, host=host, port=port, threads=threads)
    server.start()
    stop_event.wait()
    server.stop(drain_s)


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket of our own: granian's would share the port (SO_REUSEPORT) with a second server unnoticed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by every accepted connection: headers and body leave in two writes, and waiting for the
        # acknowledgement of the first costs 40 ms on a kept connection.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="choose another --port, or stop what listens there",
            code="port_in_use",
        ) from error
    listener.setblocking(False)
    return listener
