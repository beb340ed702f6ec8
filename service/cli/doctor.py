"""`lanner doctor`: is everything here that a server needs? Each line says what was seen and what to do."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from namespaces.errors import LannerError
from service.cli.output import JsonOption, clean, console, print_json
from service.cli.serving import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from service.settings import Settings

OK, WARN, FAIL = "ok", "warning", "fail"
GIT_MINIMUM = (2, 39)
SQLITE_SAFE = (3, 51, 3)


@dataclass(frozen=True, slots=True)
class Finding:
    """``level`` is ok, warning or fail."""

    what: str
    level: str
    seen: str
    hint: str = ""


def doctor(
    data: DataOption = None, config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Check this machine, the configuration, database, Git and broker; exit code 1 when something fails."""
    findings = list(examine(data, config, database))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        styles = {OK: "green", WARN: "yellow", FAIL: "red"}
        out = console()
        for finding in findings:
            out.print(f"{finding.level:<8}", style=styles[finding.level], end="")
            print(clean(f"{finding.what}: {finding.seen}"))
            if finding.hint and finding.level != OK:
                print(clean(f"        {finding.hint}"))
    raise typer.Exit(1 if any(finding.level == FAIL for finding in findings) else 0)


def examine(data: object, config: object, database: object) -> Iterator[Finding]:
    """Every check in turn; one that cannot be made does not stop the others."""
    from service.settings import load_settings

    yield Finding("Python", OK, sys.version.split()[0])
    yield _git()
    yield _sqlite()
    try:
        settings = load_settings(config, {"data_dir": data, "database.url": database})  # type: ignore[arg-type]
    except LannerError as error:
        yield Finding("configuration", FAIL, error.message, error.hint)
        return
    yield Finding("configuration", OK, f"{len(settings.git.sources)} sources, login {settings.auth.mode}")
    for what, check in (("data folder", _data), ("database", _database), ("clock", _clock), ("broker", _broker)):
        yield _guarded(what, lambda check=check: check(settings))  # type: ignore[misc]
    for source in settings.git.sources:
        yield _guarded(f"source {source.name}", lambda source=source: _credentials(settings, source))  # type: ignore[misc]


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except LannerError as error:
        return Finding(what, FAIL, error.message, error.hint)


def _git() -> Finding:
    import re
    import shutil
    import subprocess

    program = shutil.which("git")
    if program is None:
        return Finding("Git", FAIL, "not found", "install git 2.39 or later")
    text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None or (int(match[1]), int(match[2])) < GIT_MINIMUM:
        return Finding("Git", FAIL, text.strip() or "unknown version", "install git 2.39 or later")
    return Finding("Git", OK, match[0])


def _sqlite() -> Finding:
    seen = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < SQLITE_SAFE:
        return Finding("SQLite", OK, f"{seen}, all checkpoints by the one writer (needed before 3.51.3)")
    return Finding("SQLite", OK, seen)


def _data(settings: Settings) -> Finding:
    import shutil

    from service import datafolder

    if not settings.data_dir.exists():
        return Finding("data folder", OK, f"{settings.data_dir} will be made at the first start")
    datafolder.prepare(settings.data_dir)
    free = shutil.disk_usage(settings.data_dir).free
    level = WARN if free < 512 * 2**20 else OK
    return Finding(
        "data folder", level, f"{settings.data_dir}, {free // 2**20} MiB free", "below 512 MiB nothing new starts"
    )


def _database(settings: Settings) -> Finding:
    from namespaces.store.db import open_database
    from service import datafolder
    from service.migrations import schema
    from service.settings.values import mask_url

    file = settings.sqlite_file
    shown = mask_url(settings.database_url)
    if file is not None:
        if not file.exists():
            return Finding("database", OK, f"{shown} will be made at the first start")
        datafolder.check_sqlite(file)
    try:
        with closing(open_database(settings.database_url, must_exist=True)) as database:
            found = database.read(schema.inspect)
    except Exception as error:  # noqa: BLE001 - whatever the driver raises is the finding
        reason = mask_url((str(error).strip().splitlines() or [type(error).__name__])[0])
        return Finding("database", FAIL, f"{shown}: {reason}", "check the address and that the server runs")
    if found.state is schema.State.CURRENT:
        return Finding("database", OK, f"{shown}, schema {found.version}")
    hints = {
        schema.State.EMPTY: "it is filled at the first start",
        schema.State.OLD: "it is upgraded at the next start, or by lanner db upgrade",
    }
    level = WARN if found.state in hints else FAIL
    return Finding("database", level, f"{shown}: {found.state} schema '{found.version}'",
                   hints.get(found.state, "use the release that made it"))  # fmt: skip


def _clock(settings: Settings) -> Finding:
    """Leases live by the database's time: a host that disagrees by much works, but reads confusingly."""
    if settings.sqlite_file is not None:
        return Finding("clock", OK, "the database is on this host")
    import sqlalchemy as sa

    from namespaces.clock import SystemClock
    from namespaces.store.db import open_database

    try:
        with closing(open_database(settings.database_url)) as database:
            theirs = database.read(lambda connection: connection.scalar(sa.text("SELECT now()")))
    except Exception as error:  # noqa: BLE001 - reported as a finding of the database already
        return Finding("clock", WARN, f"not compared: {type(error).__name__}")
    off_s = abs((SystemClock().now() - theirs).total_seconds())
    return Finding("clock", WARN if off_s > 2 else OK, f"{off_s:.1f} s from the database's", "set up NTP on both")


def _broker(settings: Settings) -> Finding:
    if settings.dispatch.kind == "inprocess":
        return Finding("broker", OK, "none needed, attempts run in this process")
    from urllib.parse import urlsplit

    from service.settings.values import mask_url

    url = settings.dispatch.broker_url or ""
    shown = mask_url(url)
    parts = urlsplit(url)
    import socket

    port = parts.port or {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}.get(parts.scheme, 0)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError as error:
        return Finding("broker", FAIL, f"{shown}: {error.strerror or error}", "check that it runs and its address")
    return Finding("broker", OK, f"{shown} answers")


def _credentials(settings: Settings, source: object) -> Finding:
    from service.settings.git import Source

    assert isinstance(source, Source)
    for reference in (source.auth.token, source.auth.private_key, source.auth.passphrase, source.auth.known_hosts):
        if reference is not None and not reference.reference.startswith("${secret:"):
            settings.resolve(reference.reference)
    return Finding(f"source {source.name}", OK, f"{source.url}, credentials can be read")
