"""A bare repository, a database and the Git service over them; what must always hold is checked after each test."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces import audit, revisions
from namespaces.clock import Clock, ManualClock
from namespaces.errors import ConfigurationError
from namespaces.flows.catalog import Catalog
from namespaces.store.db import Database
from namespaces.tables import AuditRow, FileRow, FlowRow, OutboxRow, RevisionRow, TriggerRow
from sync.config import parse_sources
from sync.model import Settings, State, Status, SyncResult, SyncRun
from sync.service import SyncService
from tests.support.gitrepo import GitRepo

LOG = "io.kestra.plugin.core.log.Log"
GIT = "/usr/bin/git"
SECRETS = {"TOKEN": "tok-very-secret-1", "HOOK": "hook-secret-value", "OLD_HOOK": "hook-secret-of-old"}


def flow(flow_id: str, namespace: str | None = "company.data", message: str = "hello", more: str = "") -> str:
    """A small valid flow."""
    named = f"namespace: {namespace}\n" if namespace else ""
    return f"id: {flow_id}\n{named}tasks:\n  - id: say\n    type: {LOG}\n    message: {message}\n{more}"


def calls(flow_id: str, namespace: str, target_namespace: str, target: str) -> str:
    """A flow that calls another one."""
    return (
        f"id: {flow_id}\nnamespace: {namespace}\ntasks:\n  - id: call\n    type: io.kestra.plugin.core.flow.Subflow\n"
        f"    namespace: {target_namespace}\n    flowId: {target}\n"
    )


def at(namespace: str, name: str) -> str:
    """Path of a flow file in the layout ``lanner``."""
    return f"namespaces/{namespace}/flows/{name}.yaml"


def resolve(reference: str) -> str:
    name = reference.removeprefix("${env:").removesuffix("}")
    if name not in SECRETS:
        raise ConfigurationError(f"{reference} is not set")
    return SECRETS[name]


class World:
    """Everything a sync test needs. ``sync()`` runs one pass in this thread."""

    def __init__(self, repo: GitRepo, database: Database, folder: Path, clock: Clock) -> None:
        self.repo = repo
        self.database = database
        self.folder = folder
        self.clock = clock
        self.catalog = Catalog()
        self.commands = folder / "git-commands.log"
        self.git_program = folder / "git-logged"
        # The real git; only what it is asked for is written down.
        self.git_program.write_text(
            f'#!/bin/sh\nfor a in "$@"; do case "$a" in -*) ;; *) echo "$a" >> "{self.commands}"; break ;; esac; done\n'
            f'exec {GIT} "$@"\n'
        )
        self.git_program.chmod(0o755)
        self.services: list[SyncService] = []
        self.config: dict[str, Any] = {
            "name": "data",
            "url": repo.url,
            "namespaces": ["company.**"],
            "apply": {"guard": {"max_deletes": 20, "max_delete_percent": 100}},
        }
        self._service: SyncService | None = None

    def configure(self, **changes: Any) -> World:
        self.config = {**self.config, **changes}
        self._service = None
        return self

    def policy(self, **changes: Any) -> World:
        """Change the ``apply`` section."""
        return self.configure(apply={**self.config.get("apply", {}), **changes})

    @property
    def settings(self) -> Settings:
        return Settings(
            mirror_dir=self.folder / "mirrors with space", allow_file_urls=True, git_program=str(self.git_program),
            allow_insecure_http=("127.0.0.1",),
        )  # fmt: skip

    def make(self, *configs: dict[str, Any], settings: Settings | None = None, **options: Any) -> SyncService:
        """A service of its own over the same database, as another process would have."""
        settings = settings or self.settings
        sources = parse_sources(list(configs or (self.config,)), resolve_credential=resolve, settings=settings)
        made = SyncService(
            self.database, self.catalog, self.clock, sources, settings.mirror_dir, settings,
            resolve_credential=resolve, **options,
        )  # fmt: skip
        self.services.append(made)
        return made

    @property
    def service(self) -> SyncService:
        if self._service is None:
            for service in self.services:
                service.stop()
            self._service = self.make()
        return self._service

    def sync(self, name: str = "data", **options: Any) -> SyncRun:
        run = self.service.sync_now(name, **options)
        assert run is not None
        return run

    def push(self, files: dict[str, Any] | None = None, message: str = "change") -> str:
        return self.repo.commit(files, message)

    def synced(self, files: dict[str, Any] | None = None, message: str = "change") -> SyncRun:
        """Push, then sync."""
        self.push(files, message)
        return self.sync()

    @property
    def status(self) -> Status:
        return self.service.status("data")

    def results(self, run: SyncRun | None = None) -> list[SyncResult]:
        found = run or self.service.runs("data", limit=1)[0]
        return list(self.service.results(found.id))

    def codes(self, run: SyncRun | None = None) -> dict[str, tuple[str, int]]:
        """Path to (code, line) of the errors of a run."""
        return {r.path: (r.code, r.line) for r in self.results(run) if r.severity == "error"}

    def flows(self, source: str | None = "data") -> dict[str, int]:
        """``namespace.id`` to revision of what is there now."""
        rows = self._all(FlowRow)
        return {f"{r.namespace}.{r.id}": r.revision for r in rows if not r.deleted and source in (None, r.source)}

    def files(self) -> dict[str, str]:
        rows = [r for r in self._all(FileRow) if r.to_generation is None]
        return {f"{r.namespace}{r.path}": r.sha256 for r in rows}

    def text(self, namespace: str, flow_id: str) -> str:
        stored = self.database.read(lambda c: revisions.latest(c, namespace, flow_id))
        assert stored is not None
        return stored.text

    def origin(self, namespace: str, flow_id: str) -> revisions.Origin:
        stored = self.database.read(lambda c: revisions.latest(c, namespace, flow_id))
        assert stored is not None
        assert stored.origin is not None
        return stored.origin

    def triggers(self) -> set[tuple[str, str]]:
        return {(r.flow_id, r.trigger_id) for r in self._all(TriggerRow)}

    def events(self) -> list[str]:
        return [r.payload["type"] for r in self._all(OutboxRow) if r.topic == "git.events"]

    def audited(self) -> list[str]:
        return [r.verb for r in self._all(AuditRow)]

    def generation(self) -> int:
        return self.database.read(revisions.generation)

    def asked_git(self) -> list[str]:
        """The git commands run since the last call."""
        if not self.commands.exists():
            return []
        found = self.commands.read_text().split()
        self.commands.unlink()
        return found

    def mirrors(self) -> list[Path]:
        return sorted((self.folder / "mirrors with space").glob("*/*.git"))

    def _all(self, row: Any) -> list[Any]:
        return self.database.read(lambda c: list(c.execute(sa.select(row.__table__))))

    # -- what must always hold ---------------------------------------------------------------------------------

    def check(self) -> None:
        """The registry is what the inventory says; texts hash to their ids; no lock is left; the audit chain fits."""
        for row in self._all(RevisionRow):
            if row.blob_oid and not row.deleted and len(row.blob_oid) == 40:
                data = row.text.encode()
                assert hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == row.blob_oid, row.flow_id
        service = self.services[-1] if self.services else None
        for status in service.list() if service else ():
            if status.state == "Released":
                continue
            applied = {
                (item.namespace, item.key): item
                for item in service.items(status.name, limit=100_000)  # type: ignore[union-attr]
                if item.kind == "flow" and item.blob_oid is not None
            }
            present = {
                (row.namespace, row.id) for row in self._all(FlowRow) if row.source == status.name and not row.deleted
            }
            assert present == set(applied)
            if status.state is State.SYNCED:
                assert all(item.blob_oid == item.seen_oid for item in applied.values() if item.state == "ok")
        assert self.database.read(audit.verify) is None
        mirrors = self.folder / "mirrors with space"
        assert [p for p in mirrors.rglob("*.lock") if p.name != "lock"] == []
        assert list(mirrors.glob(".private-*")) == []


@pytest.fixture
def any_world(
    git_repo: GitRepo, database: Database, tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> Iterator[World]:
    """On SQLite and on PostgreSQL."""
    yield from _world(git_repo, database, tmp_path, clock, caplog)


@pytest.fixture
def world(
    git_repo: GitRepo,
    sqlite_database: Database,
    tmp_path: Path,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:
    """On SQLite."""
    yield from _world(git_repo, sqlite_database, tmp_path, clock, caplog)


def _world(
    repo: GitRepo, database: Database, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> Iterator[World]:
    made = World(repo, database, folder, clock)
    with caplog.at_level(logging.DEBUG):
        yield made
    try:
        made.check()
        for secret in SECRETS.values():
            assert secret not in caplog.text
    finally:
        for service in made.services:
            service.stop()


@pytest.fixture
def remote_git(git_repo: GitRepo) -> Callable[..., str]:
    """Git in the bare remote itself."""

    def run(*arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run([GIT, *arguments], cwd=git_repo.remote, input=stdin, capture_output=True, check=True)
        return done.stdout.decode("utf-8", "surrogateescape").strip()

    return run
