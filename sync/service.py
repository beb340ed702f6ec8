"""What the faces may ask about Git sources: plain values in, plain values out; the loops run behind it.

Who may ask is decided by the faces. Nothing here reads a credential.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.audit import Entry, append
from namespaces.clock import Clock
from namespaces.errors import ConfigurationError, Conflict, Forbidden, InvalidInput, NotFound
from namespaces.flows.catalog import Catalog
from namespaces.flows.parse import Reading, read_flow
from namespaces.hits import Hits
from namespaces.ownership import SourceRule, check_rules
from namespaces.store.db import Database
from namespaces.store.nudges import Nudges
from sync import requests, store
from sync.addresses import check_commit_id, check_ref_name
from sync.config import Resolve, parse_sources
from sync.hooks import HookAnswer, Hooks
from sync.loop import GIT_TOPIC, RUNS_KEPT_FOR, SyncLoop
from sync.mirror import Mirror
from sync.model import MIB, Commit, Delivery, GitSource, ItemView, Ref, Settings, State, Status, SyncResult, SyncRun
from sync.plan import Plan
from sync.reading import Reader, fingerprint
from sync.survey import Tools


def _unresolved(reference: str) -> str:
    raise ConfigurationError(f"{reference} cannot be read here")


class SyncService:
    """All Git sources of this server."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        clock: Clock,
        sources: Sequence[GitSource],
        mirror_dir: Path,
        settings: Settings | None = None,
        *,
        resolve_credential: Resolve = _unresolved,
        reading_options: Mapping[str, Any] | None = None,
        nudges: Nudges | None = None,
        hits: Hits | None = None,
        runs_kept_for: timedelta = RUNS_KEPT_FOR,
        holder: str | None = None,
    ) -> None:
        """``sources`` are those of the configuration; those added through the API are found in the database.

        ``reading_options`` are passed to ``read_flow`` (plugin defaults, language); ``nudges`` gets the topics
        ``git`` and ``catalog``, ``hits`` counts the limits that files met.
        """
        self._database = database
        self._clock = clock
        self._settings = settings or Settings(mirror_dir=mirror_dir)
        self._resolve = resolve_credential
        self._configured = tuple(sources)
        self._nudges = nudges or Nudges()
        options = dict(reading_options or {})
        met = hits or Hits()

        def read(text: bytes, namespace: str | None) -> Reading:
            reading = read_flow(text, catalog, namespace=namespace, **options)
            for problem in reading.problems:
                met.note(problem.limit)
            return reading

        self._loop = SyncLoop(
            Tools(
                database=database,
                clock=clock,
                reader=Reader(read, partial(fingerprint, catalog, options)),
                settings=self._settings,
                rules=self._rules,
                stop=threading.Event(),
            ),
            nudges=self._nudges,
            read_row=self._read_row,
            workers=self._settings.workers,
            runs_kept_for=runs_kept_for,
            holder=holder,
        )
        self._hooks = Hooks(database, clock, self._loop.sources, self._ask)
        self._register()

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loops (once)."""
        self._loop.start()

    def stop(self) -> None:
        """End git commands and passes promptly; what was not finished is repeated at the next start."""
        self._loop.stop()

    def _register(self) -> None:
        check_rules([source.rule for source in self._configured])
        now = self._clock.now()

        def work(tx: Connection) -> list[Any]:
            store.register(tx, self._configured, origin="config", now=now)
            for source in self._configured:
                _ensure_hook(tx, source, now)
            return store.rows_of(tx)

        rows = self._database.write(work)
        for source in self._configured:
            self._loop.configure(source)
        self._loop.notice(rows)

    def _read_row(self, row: Any) -> GitSource | None:
        """The source of a row that was added through the API; one that cannot be used any more shows as Error."""
        try:
            return self._parse(row.config or {})[0]
        except ConfigurationError as error:
            message = f"the stored configuration is no longer accepted: {error}"
            if row.reason != "Configuration" or row.message != message:
                values = {"state": State.ERROR, "reason": "Configuration", "message": message}
                self._database.write(lambda tx: store.update(tx, row.name, **values))
            return None

    def reload(self, sources: Sequence[GitSource]) -> None:
        """Take over the sources of a configuration that was read again. Raises ``ConfigurationError``."""
        before = {source.name: source for source in self._configured}
        added = [source.rule for name, source in self._loop.sources().items() if name not in before]
        check_rules([*(source.rule for source in sources), *added])
        self._configured = tuple(sources)
        names = {source.name for source in sources}
        now = self._clock.now()

        def work(tx: Connection) -> None:
            store.register(tx, sources, origin="config", now=now)
            for source in sources:
                _ensure_hook(tx, source, now)

        self._database.write(work)
        for name in before:
            if name not in names:
                self._loop.forget(name)
        for source in sources:
            if before.get(source.name) != source:
                self._loop.configure(source)

    def _parse(self, config: Mapping[str, Any]) -> tuple[GitSource, ...]:
        return parse_sources([config], resolve_credential=self._resolve, settings=self._settings)

    def _rules(self) -> tuple[SourceRule, ...]:
        return tuple(source.rule for _, source in sorted(self._loop.sources().items()))

    # -- sources ----------------------------------------------------------------------------------------------

    def add(self, config: Mapping[str, Any], *, by: str = "") -> Status:
        """Add a source (administrators). Raises ``ConfigurationError`` and ``Conflict``."""
        source = self._parse(config)[0]
        check_rules([*(rule for rule in self._rules() if rule.source != source.name), source.rule])
        now = self._clock.now()

        def work(tx: Connection) -> None:
            existing = {row.name: row for row in store.rows_of(tx)}
            row = existing.get(source.name)
            if row is not None and row.state != store.RELEASED:
                raise Conflict(f"there is already a Git source '{source.name}'", code="source_exists")
            if row is None:
                tx.execute(sa.insert(store.source_table).values(name=source.name, origin="api", config=dict(config)))
            else:
                store.update(tx, source.name, origin="api", config=dict(config), state=State.UNKNOWN, message="")
                store.resume_triggers(tx, source.name)
            _ensure_hook(tx, source, now)
            append(tx, Entry(actor=by, verb="source.added", object=source.name, detail={"url": source.url}), now=now)

        self._database.write(work)
        self._loop.configure(source)
        return self.status(source.name)

    def remove(self, name: str, *, by: str = "") -> None:
        """Remove a source that was added here; its flows stay (``Released``). Raises ``Forbidden``, ``NotFound``."""
        now = self._clock.now()

        def work(tx: Connection) -> None:
            row = store.row_of(tx, name, lock=True)
            if row.origin != "api":
                raise Forbidden(f"source '{name}' is in the configuration file", hint="remove it there and restart")
            store.release(tx, name)
            store.update(tx, name, config={**(row.config or {})})
            append(tx, Entry(actor=by, verb="source.removed", object=name), now=now)

        self._database.write(work)
        self._loop.forget(name)

    def list(self) -> tuple[Status, ...]:
        """All sources by name, ``Released`` ones too."""
        now = self._clock.now()
        known = self._loop.sources()

        def work(connection: Connection) -> tuple[Status, ...]:
            hooks = _hooks_of(connection)
            return tuple(
                store.status_of(
                    row, known.get(row.name), store.counts_of(connection, row.name), hooks.get(row.name), now
                )
                for row in store.rows_of(connection)
            )

        return self._database.read(work)

    def status(self, name: str) -> Status:
        """One source. Raises ``NotFound``."""
        now = self._clock.now()
        source = self._loop.sources().get(name)

        def work(connection: Connection) -> Status:
            row = store.row_of(connection, name)
            return store.status_of(row, source, store.counts_of(connection, name), _hooks_of(connection).get(name), now)

        return self._database.read(work)

    def items(
        self, name: str, state: str | None = None, *, limit: int = 1_000, offset: int = 0
    ) -> tuple[ItemView, ...]:
        """The inventory of a source by path. Raises ``NotFound``."""

        def work(connection: Connection) -> tuple[ItemView, ...]:
            store.row_of(connection, name)
            return tuple(store.items_of(connection, name, state=state, limit=limit, offset=offset))

        return self._database.read(work)

    def runs(
        self, source: str | None = None, outcome: str | None = None, *, limit: int = 50, offset: int = 0
    ) -> tuple[SyncRun, ...]:
        """Runs, newest first."""
        return self._database.read(
            lambda c: tuple(store.runs_of(c, source=source, outcome=outcome, limit=limit, offset=offset))
        )

    def run(self, run_id: str) -> SyncRun:
        """One run. Raises ``NotFound`` (also for a promised one that has not begun)."""
        return self._database.read(lambda c: store.run_of(c, run_id))

    def results(self, run_id: str, *, limit: int = 10_000, offset: int = 0) -> tuple[SyncResult, ...]:
        """What happened to each file in a run. Raises ``NotFound``."""

        def work(connection: Connection) -> tuple[SyncResult, ...]:
            store.run_of(connection, run_id)
            return tuple(store.results_of(connection, run_id, limit=limit, offset=offset))

        return self._database.read(work)

    def commits(self, name: str, *, limit: int = 50) -> tuple[Commit, ...]:
        """The newest commits of the followed ref, newest first. Raises ``NotFound`` and ``SyncFailed``."""
        sync = self._loop.sync_of(name)
        if sync is None:
            raise NotFound(f"there is no Git source '{name}'")
        return tuple(sync.commits(limit))

    def deliveries(self, name: str, *, limit: int = 50) -> tuple[Delivery, ...]:
        """The newest push hook deliveries of the last seven days. Raises ``NotFound``."""

        def work(connection: Connection) -> tuple[Delivery, ...]:
            store.row_of(connection, name)
            return tuple(store.deliveries_of(connection, name, limit))

        return self._database.read(work)

    # -- wishes -----------------------------------------------------------------------------------------------

    def request(self, name: str, *, full: bool = False, by: str = "", trigger: str = "api") -> str:
        """Ask for a sync and return at once with the id its run will have. Raises ``NotFound``, ``Conflict``."""
        row = self._database.read(lambda c: store.row_of(c, name))
        if row.paused:
            raise Conflict(f"source '{name}' is paused", code="source_paused", hint="resume it first")
        if row.state == store.RELEASED:
            raise Conflict(f"source '{name}' is no longer configured", code="source_released")
        return self._ask(name, trigger, by=by, full=full)

    def _ask(self, name: str, trigger: str, *, by: str = "", full: bool = False) -> str:
        now = self._clock.now()
        run_id = self._database.write(lambda tx: requests.request(tx, name, now=now, trigger=trigger, by=by, full=full))
        self._loop.wake()
        return run_id

    def sync_now(
        self, name: str, full: bool = False, wait: float | None = None, *, by: str = "", trigger: str = "api"
    ) -> SyncRun | None:
        """Sync and wait for the run, ``wait`` seconds at most (None: 120). None when it is not done by then.

        Without started loops the pass runs in the calling thread, unless another process has the lease.
        """
        run_id = self.request(name, full=full, by=by, trigger=trigger)
        if not self._loop.started:
            try:
                run = self._loop.pass_over(name)
            finally:
                self._loop.release()
            if run is not None:
                return run
        deadline = self._clock.monotonic() + (120.0 if wait is None else wait)
        while True:
            seen = self._nudges.seen(GIT_TOPIC)
            try:
                return self.run(run_id)
            except NotFound:
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return None
                self._nudges.wait(GIT_TOPIC, seen, min(left, 0.5))

    def poll(self, name: str) -> SyncRun | None:
        """One pass in the calling thread, as the loop does it; None when nothing was to be done."""
        return self._loop.pass_over(name)

    def plan(self, name: str, ref: str | None = None) -> Plan:
        """The plan for a branch, full ref name or commit id (None: what is followed). Changes nothing.

        Raises ``NotFound``, ``InvalidInput`` and ``SyncFailed``.
        """
        sync = self._loop.sync_of(name)
        if sync is None:
            raise NotFound(f"there is no Git source '{name}'")
        return sync.dry_run(None if ref is None else _ref(ref))

    def approve(self, name: str, plan_hash: str, *, by: str) -> str:
        """Let the waiting plan pass its guards; returns the id of the run. ``Conflict`` when it is another plan."""
        now = self._clock.now()

        def work(tx: Connection) -> str:
            row = store.row_of(tx, name, lock=True)
            pending = row.plan or {}
            if pending.get("hash") != plan_hash:
                raise Conflict(
                    f"the plan that waits in '{name}' is another one",
                    code="plan_outdated",
                    hint="look at the present plan and approve that",
                )
            store.update(tx, name, approved_plan=plan_hash, approved_by=by)
            append(tx, Entry(actor=by, verb="source.approve", object=name, detail={"plan": plan_hash}), now=now)
            return requests.request(tx, name, now=now, trigger="approve", by=by)

        run_id = self._database.write(work)
        self._loop.wake()
        return run_id

    def pause(self, name: str, *, by: str = "") -> None:
        """No more polls and syncs until ``resume``."""
        self._mark(name, "source.paused", by, paused=True, state=State.OUT_OF_SYNC, reason="Paused", message="")

    def resume(self, name: str, *, by: str = "") -> None:
        self._mark(name, "source.resumed", by, paused=False, judged="", reason="", state=State.UNKNOWN)
        self._ask(name, "resume", by=by, full=True)

    def pin(self, name: str, commit: str | None, *, by: str = "", reason: str = "") -> None:
        """Sync to this commit and stay there (rollback); None follows the ref again."""
        if commit is not None:
            try:
                check_commit_id(commit)
            except ValueError as error:
                raise InvalidInput(str(error), where="commit") from None
        verb = "source.pinned" if commit else "source.unpinned"
        pin = {"by": by, "reason": reason, "at": self._clock.now().isoformat()} if commit else None
        values: dict[str, Any] = {"pinned_commit": commit, "pin": pin, "judged": ""}
        if commit is None:
            values |= {"state": State.UNKNOWN, "reason": "", "message": ""}
        self._mark(name, verb, by, **values)
        self._ask(name, "pin", by=by, full=True)

    def rebuild(self, name: str) -> None:
        """Make a new mirror from the remote. Raises ``NotFound`` and ``SyncFailed``."""
        sync = self._loop.sync_of(name)
        if sync is None:
            raise NotFound(f"there is no Git source '{name}'")
        sync.rebuild()

    def test(self, name: str) -> str:
        """Ask the remote for the followed ref; returns the commit id. Changes nothing. Raises ``SyncFailed``."""
        source = self._loop.sources().get(name)
        if source is None:
            raise NotFound(f"there is no Git source '{name}'")
        if source.ref.kind == "commit":
            return source.ref.value
        return Mirror(self._settings, source).probe()[0]

    def texts(self, name: str, objects: Sequence[str]) -> dict[str, str]:
        """The texts of files in the mirror, by blob id or ``commit:path``; what is not there is left out.

        For showing the place of a fault: at most 1 MiB a file.
        """
        source = self._loop.sources().get(name)
        wanted = [one for one in dict.fromkeys(objects) if "\n" not in one and not one.startswith("-")]
        if source is None or not wanted:
            return {}
        mirror = Mirror(self._settings, source)
        if not mirror.exists:
            return {}
        found: dict[str, str] = {}
        with mirror.objects() as reader:
            infos = dict(zip(wanted, reader.info(wanted), strict=True))
            fit = {key: info.oid for key, info in infos.items() if info and info.type == "blob" and info.size <= MIB}
            for key, data in zip(fit, reader.read(list(fit.values())), strict=True):
                found[key] = data.decode("utf-8", "replace")
        return found

    def receive(self, hook_id: str, headers: Mapping[str, str], raw_body: bytes) -> HookAnswer:
        """A push hook's request: verified over the raw body, then at most a request to sync. Never raises."""
        return self._hooks.receive(hook_id, headers, raw_body)

    def figures(self) -> tuple[tuple[str, dict[str, str], float], ...]:
        """(name, labels, value) of every metric of this room."""
        found: list[tuple[str, dict[str, str], float]] = []
        labels = {"lanner_git_sync_total": "outcome", "lanner_git_fetch_failures_total": "reason"}
        for (name, source, second), count in sorted(self._loop.health.counters.items()):
            extra = {labels[name]: second} if name in labels else {}
            found.append((name, {"source": source, **extra}, float(count)))
        for (provider, result), count in sorted(self._hooks.counters.items()):
            found.append(("lanner_git_webhook_total", {"provider": provider, "result": result}, float(count)))
        for status in self.list():
            found += [
                ("lanner_git_state", {"source": status.name, "state": state}, float(status.state == state))
                for state in State
            ]
            found.append(("lanner_git_lag_seconds", {"source": status.name}, status.lag_seconds or 0.0))
            if status.applied_at is not None:
                applied = status.applied_at.timestamp()
                found.append(("lanner_git_applied_timestamp_seconds", {"source": status.name}, applied))
            for kind_state, count in status.counts.items():
                kind, _, item_state = kind_state.partition(".")
                found.append(
                    ("lanner_git_items", {"source": status.name, "kind": kind, "state": item_state}, float(count))
                )
        return tuple(found)

    def _mark(self, name: str, verb: str, by: str, **values: Any) -> None:
        now = self._clock.now()

        def work(tx: Connection) -> None:
            store.row_of(tx, name, lock=True)
            store.update(tx, name, **values)
            detail = {"commit": values["pinned_commit"]} if "pinned_commit" in values else {}
            append(tx, Entry(actor=by, verb=verb, object=name, detail=detail), now=now)

        self._database.write(work)
        self._loop.wake()


def _ref(text: str) -> Ref:
    try:
        if len(text) in (40, 64) and all(character in "0123456789abcdef" for character in text):
            return Ref(kind="commit", value=text)
        check_ref_name(text)
    except ValueError as error:
        raise InvalidInput(str(error), where="ref") from None
    return Ref(kind="name" if text.startswith("refs/") else "branch", value=text)


def _ensure_hook(tx: Connection, source: GitSource, now: datetime) -> None:
    """A source with a push hook has an address: the configured one, or one made once."""
    if source.webhook is None:
        return
    table = store.hook_table
    known = list(tx.execute(sa.select(table.c.hook_id).where(table.c.source == source.name)).scalars())
    wanted = source.webhook.hook_id
    if (wanted and wanted in known) or (not wanted and known):
        return
    if wanted:
        tx.execute(sa.delete(table).where(table.c.source == source.name))
    hook_id = wanted or secrets.token_urlsafe(16)
    tx.execute(sa.insert(table).values(hook_id=hook_id, source=source.name, created_at=now))


def _hooks_of(connection: Connection) -> dict[str, str]:
    rows = connection.execute(sa.select(store.hook_table.c.source, store.hook_table.c.hook_id))
    return {row.source: row.hook_id for row in rows}
