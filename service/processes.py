"""Which parts run in this process, from the checks before the start to the drain at the end.

What the parts are is decided in `wiring.py`; the HTTP server itself is `server.py`.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any

from namespaces.errors import BadRequest, ConfigurationError, LannerError, StartRefused, did_you_mean
from service import datafolder
from service.settings import Settings, is_loopback
from service.settings.values import mask_url
from service.version import VERSION

if TYPE_CHECKING:
    from service.wiring import Lanner

log = logging.getLogger("lanner.process")
ROLES = ("web", "scheduler", "executor", "sync", "worker")
DRAINS = ("wait", "kill")
KEPT_VARIABLES = ("LANNER_TEST",)
PR_SET_DUMPABLE = 4
COLLECT = (5_000, 10, 10)
"""Thresholds of the garbage collector: a request makes hundreds of objects, nearly all gone without its help."""


def parse_roles(given: Iterable[str]) -> frozenset[str]:
    """The roles of ``--role`` options, each a comma-separated list; none means all. Raises ``BadRequest``."""
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ROLES:
            raise BadRequest(f"there is no role '{name}'{did_you_mean(name, ROLES)}", hint=f"roles: {', '.join(ROLES)}")
    return frozenset(names or ROLES)


def take_environment() -> dict[str, str]:
    """The environment as it is now; nothing is removed yet."""
    return dict(os.environ)


def hide_environment(environ: Mapping[str, str], named: Iterable[str] = ()) -> None:
    """Remove the server's secrets from this process's environment, so that no child inherits them (S17).

    ``named`` are the variables that the configuration refers to. The first environment stays readable in /proc for
    processes of the same user; a process that may not be dumped is closed to them.
    """
    for name in environ:
        if (name.startswith(("LANNER_", "SECRET_")) and not name.startswith(KEPT_VARIABLES)) or name in set(named):
            os.environ.pop(name, None)
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        except (OSError, AttributeError):
            log.warning("this process can be inspected by others of the same user", extra={"action": "dumpable"})


def serve(
    settings: Settings,
    roles: frozenset[str],
    *,
    environ: Mapping[str, str],
    drain: str = "wait",
    reload: Callable[[], Settings] | None = None,
) -> int:
    """Run the roles until a signal says stop; returns the exit code. Raises ``StartRefused`` before anything runs."""
    set_up_logging()
    stop = Stop()
    stop.install()
    with ExitStack() as held:
        check_roles(settings, roles)
        check_start(settings, held)
        hide_environment(environ, settings.environment_names)
        lanner = _build(settings, roles, environ)
        held.callback(lanner.close)
        server, setup_token = _web(settings, lanner) if "web" in roles else (None, None)
        if server is not None:
            server.start()
            held.callback(server.stop, 0)
        if settings.server.management_port is not None:
            management = _management(lanner, settings.server.management_port)
            management.start()
            held.callback(management.stop, 0)
        if reload is not None:
            stop.on_hangup(lambda: _reload(lanner, reload))
        lanner.start()
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.freeze()
        gc.set_threshold(*COLLECT)
        gc.enable()
        print(start_block(settings, roles, lanner, server, setup_token), flush=True)
        # Needed by the first flow, not by the first answer.
        threading.Thread(target=lanner.catalog.load, name="lanner-catalog", daemon=True).start()
        stop.wait()
        _drain(settings, lanner, server, drain)
    return 0


def check_roles(settings: Settings, roles: frozenset[str]) -> None:
    """Refuse parts that nobody would hear of: without a broker a process runs its own attempts or nobody does."""
    if settings.dispatch.kind == "inprocess" and ("worker" not in roles or roles == {"worker"}):
        what = "a worker by itself" if "worker" in roles else f"roles without worker ({', '.join(sorted(roles))})"
        raise StartRefused(
            f"{what} cannot work without dispatch.kind: celery: no broker would tell workers of attempts",
            hint="set dispatch.kind and dispatch.broker_url, or run all roles in one process",
            code="roles",
        )


def check_start(settings: Settings, held: ExitStack) -> None:
    """Everything that can refuse a start before the first write; what must be held is left in ``held``."""
    datafolder.prepare(settings.data_dir)
    file = settings.sqlite_file
    if file is not None:
        if file.parent != settings.data_dir:
            datafolder.prepare(file.parent)
        held.callback(datafolder.lock(file).release)
        datafolder.check_sqlite(file)
        datafolder.protect(file)
    password = settings.auth.admin.password
    if password is not None and not 8 <= len(password.resolve()) <= 256:
        raise ConfigurationError("auth.admin.password must have 8 to 256 characters")
    ensure_schema(settings)


def ensure_schema(settings: Settings) -> None:
    """Make or upgrade the schema. Raises ``StartRefused`` when the database cannot be used or reached."""
    from sqlalchemy.exc import SQLAlchemyError

    from namespaces.errors import Unavailable
    from namespaces.store.db import open_database
    from service.migrations import schema

    shown = mask_url(settings.database_url)
    try:
        database = open_database(settings.database_url)
        try:
            schema.ensure(database)
        finally:
            database.close()
    except (SQLAlchemyError, Unavailable, ModuleNotFoundError) as error:
        cause = error.__cause__ if isinstance(error, Unavailable) and error.__cause__ else error
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines() or [type(error).__name__]
        raise StartRefused(
            f"the database {shown} cannot be used: {mask_url(reason[0])}",
            hint="check the address, and that the server runs and lets this user in",
            code="database",
        ) from error


class Stop:
    """Signals as events: the first SIGTERM or SIGINT ends the wait, a second one ends the process."""

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._ended = False
        self._hung_up = False
        self._reload: Callable[[], None] | None = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        # Before something can be read again, a hang-up must not kill a server that has just been started.
        signal.signal(signal.SIGHUP, self._hang_up)

    def on_hangup(self, reload: Callable[[], None]) -> None:
        self._reload = reload

    def wait(self) -> None:
        """Return at the first signal to end; a hang-up runs the reload here, outside the signal handler."""
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._ended:
                return
            if self._hung_up:
                self._hung_up = False
                if self._reload is not None:
                    self._reload()

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self._ended:
            # Safe at any moment: what is not committed is taken up again at the next start (R22).
            os._exit(128 + number)
        self._ended = True
        self._wake.set()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True
        self._wake.set()


def set_up_logging() -> None:
    """Log lines on stderr: people read them in a terminal, collectors read JSON elsewhere."""
    from service.logs import handler

    root = logging.getLogger()
    root.handlers[:] = [handler(sys.stderr)]
    root.setLevel(logging.INFO)
    for noisy in ("alembic", "httpx2", "httpcore2", "git", "asyncio", "_granian"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def start_block(settings: Settings, roles: frozenset[str], lanner: Lanner, server: Any, setup_token: str | None) -> str:
    """What a person sees when the server is up."""
    url = settings.server.url or (f"http://{_bracketed(server.host)}:{server.port}" if server is not None else "")
    database = lanner.database.url.render_as_string(hide_password=True)
    rows = [("pages", f"{url}/ui/")] if server is not None else []
    rows += [("data", str(settings.data_dir)), ("database", database)]
    if settings.server.management_port is not None:
        rows.append(("figures", f"http://127.0.0.1:{settings.server.management_port}/metrics"))
    if set(roles) != set(ROLES):
        rows.append(("roles", ", ".join(role for role in ROLES if role in roles)))
    if "sync" in roles:
        names = [source.name for source in settings.git.sources]
        rows.append(("sources", ", ".join(names) or "none; see lanner source add"))
    if setup_token is not None:
        rows.append(("set-up", f"{url}/ui/setup with the token {setup_token} (for 30 minutes)"))
    if server is not None and settings.auth.mode == "none":
        rows.append(("login", "off, this machine only"))
    lines = [f"Lanner {VERSION}", *(f"  {name:<9} {value}" for name, value in rows)]
    return "\n".join(lines)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _build(settings: Settings, roles: frozenset[str], environ: Mapping[str, str]) -> Lanner:
    from service.wiring import build

    return build(settings, roles=roles, environ=environ)


def _web(settings: Settings, lanner: Lanner) -> tuple[Any, str | None]:
    """The HTTP server, not started, and the token that makes the first user while there is none (S2).

    Without any user the server listens on loopback only, whatever the configuration says.
    """
    from service.auth.setup import prepare_first_run
    from service.server import Server
    from service.web import create_app

    app = create_app(lanner)
    host, token = settings.server.host, None
    if settings.auth.mode != "none":
        token = prepare_first_run(lanner)
        if token is not None and not is_loopback(host):
            log.warning(
                "there is no user yet: listening on 127.0.0.1 instead of %s until the set-up is done and the server "
                "is started again",
                host,
                extra={"action": "setup_on_loopback"},
            )
            host = "127.0.0.1"
    return Server(app, host=host, port=settings.server.port, threads=settings.server.threads), token


def _management(lanner: Lanner, port: int) -> Any:
    """Health and figures without a login, for this machine only; every role may have it."""
    from service.server import Server
    from service.web import create_management_app

    return Server(create_management_app(lanner), host="127.0.0.1", port=port, threads=4)


def _reload(lanner: Lanner, reload: Callable[[], Settings]) -> None:
    """Read the configuration again and take over its Git sources; a mistake in it keeps the old ones."""
    try:
        fresh = reload()
        lanner.reload_sources(fresh)
    except LannerError as error:
        log.error("the configuration was not read again: %s", error, extra={"action": "reload_failed"})  # noqa: TRY400 - a sentence is enough
    else:
        log.info("the configuration was read again: %d sources", len(fresh.git.sources), extra={"action": "reloaded"})


def _drain(settings: Settings, lanner: Lanner, server: Any, drain: str) -> None:
    """R22: no new work, then wait for what runs; scripts that still run are left to their supervisors or killed."""
    limit_s = settings.server.drain.total_seconds()
    log.info("stopping, up to %.0f s", limit_s, extra={"action": "draining"})
    lanner.draining.set()
    if server is not None:
        server.stop(min(limit_s, 5.0))
    lanner.stop(drain_s=limit_s, kill=drain == "kill")
    log.info("stopped", extra={"action": "stopped"})
