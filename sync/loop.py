"""The loops: one thread decides which source is due, four at most are synced at a time, each under its lease.

What a pass does is in ``sync.passes``; what the faces may ask is in ``sync.service``.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.engine import Connection

from namespaces.errors import Conflict, LannerError, Unavailable
from namespaces.ids import new_id
from namespaces.store import leases
from namespaces.store.db import database_now
from namespaces.store.leases import Lease
from namespaces.store.nudges import Nudges
from sync import pace, requests, store
from sync.apply import put_events
from sync.errors import Overtaken, Stopped, SyncFailed
from sync.model import GitSource, State, SyncRun
from sync.passes import SHAPE_REASONS, Outcome, SourceSync, Wish
from sync.survey import Tools

log = logging.getLogger("lanner.sync")

TTL = timedelta(seconds=60)
RENEW_S = 20.0
MARGIN_S = 10.0
TICK_S = 1.0
"""So often requests of other processes are looked for."""
LOOK_WRITTEN = timedelta(seconds=5)
"""How old `checked_at` may be before a look that found nothing writes it again."""
RUNS_KEPT_FOR = timedelta(days=90)
RUNS_KEPT = 1_000
BUSY_S = 5.0
"""How long a source is left alone whose lease somebody else holds."""
GIT_TOPIC = "git"
CATALOG_TOPIC = "catalog"


@dataclass(slots=True)
class _Held:
    lease: Lease
    trusted_until: float


@dataclass(slots=True)
class Health:
    """Figures of this process's loops; names follow ``gitops.md`` 2.17."""

    turns: int = 0
    last_turn: float = 0.0
    counters: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(metric, source, second label) to count."""


class SyncLoop:
    """Owns the threads. ``pass_over`` is also what a one-off sync without threads calls."""

    def __init__(
        self,
        tools: Tools,
        *,
        nudges: Nudges,
        read_row: Callable[[Any], GitSource | None],
        workers: int = 4,
        holder: str | None = None,
        runs_kept_for: timedelta = RUNS_KEPT_FOR,
    ) -> None:
        """``read_row`` makes the source of a row that was added through the API."""
        self._tools = tools
        self._read_row = read_row
        self._runs_kept_for = runs_kept_for
        self._nudges = nudges
        self._workers = workers
        self._holder = holder or f"{socket.gethostname()}:{os.getpid()}:{new_id()}"
        self._syncs: dict[str, SourceSync] = {}
        self._leases: dict[str, _Held] = {}
        self._not_before: dict[str, float] = {}
        self._running: set[str] = set()
        self._fresh: set[str] = set()
        """Sources that had no pass in this process yet: due at once."""
        self._lock = threading.Condition()
        self._wake = False
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._renewed = 0.0
        self.health = Health()

    # -- what is configured -----------------------------------------------------------------------------------

    def configure(self, source: GitSource) -> None:
        """Add or replace a source."""
        with self._lock:
            self._syncs[source.name] = SourceSync(source, self._tools)
            self._fresh.add(source.name)
        self.wake()

    def forget(self, name: str) -> None:
        with self._lock:
            self._syncs.pop(name, None)
            self._fresh.discard(name)

    def notice(self, rows: Iterable[Any]) -> None:
        """Take over sources that were added or removed through the API, perhaps by another process."""
        for row in rows:
            if row.origin != "api":
                continue
            known = self.sync_of(row.name)
            if row.state == State.RELEASED:
                if known is not None:
                    self.forget(row.name)
            elif known is None or dict(known.source.written) != row.config:
                source = self._read_row(row)
                if source is not None:
                    self.configure(source)

    def sources(self) -> Mapping[str, GitSource]:
        with self._lock:
            return {name: sync.source for name, sync in self._syncs.items()}

    def sync_of(self, name: str) -> SourceSync | None:
        with self._lock:
            return self._syncs.get(name)

    # -- threads ----------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        if self._thread is None:
            self._tools.stop.clear()
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="lanner-sync")
            self._thread = threading.Thread(target=self._run, name="lanner-sync-loop", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End running git commands, wait for the passes, hand the leases over."""
        self._tools.stop.set()
        self.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self.release()

    def release(self) -> None:
        """Hand every lease over."""
        held, self._leases = self._leases, {}

        def work(tx: Connection) -> None:
            for entry in held.values():
                leases.release(tx, entry.lease)

        if held:
            try:
                self._tools.database.write(work)
            except LannerError as error:
                log.warning("leases were not released: %s", error.message, extra={"action": "lease_kept"})

    def wake(self) -> None:
        with self._lock:
            self._wake = True
            self._lock.notify_all()

    def _run(self) -> None:
        while not self._tools.stop.is_set():
            try:
                wait_s = self._turn()
            except Unavailable as error:
                log.warning("sync loop waits for the database: %s", error.message, extra={"action": "database_down"})
                wait_s = TICK_S
            except Exception:
                log.exception("a turn of the sync loop failed", extra={"action": "loop_failed"})
                wait_s = TICK_S
            with self._lock:
                self._lock.wait_for(lambda: self._wake, timeout=wait_s)
                self._wake = False

    def _turn(self) -> float:
        """Hand due sources to the pool; how long to wait before the next look."""
        clock = self._tools.clock
        self.health.turns += 1
        self.health.last_turn = clock.monotonic()
        if clock.monotonic() - self._renewed >= RENEW_S:
            self._renew()
        rows = {row.name: row for row in self._tools.database.read(store.rows_of)}
        self.notice(rows.values())
        now, wait_s = clock.now(), TICK_S
        with self._lock:
            names = [name for name in self._syncs if name not in self._running]
        for name in names:
            row = rows.get(name)
            if row is None or row.paused or self._not_before.get(name, 0.0) > clock.monotonic():
                continue
            due = self._due(row, now)
            if due is None:
                continue
            if due > now:
                wait_s = min(wait_s, max((due - now).total_seconds(), 0.001))
                continue
            with self._lock:
                self._running.add(name)
                self._fresh.discard(name)
            assert self._pool is not None
            self._pool.submit(self._in_pool, name)
        return wait_s

    def _due(self, row: Any, now: datetime) -> datetime | None:
        request = requests.pending(row)
        moments = [] if request is None else [pace.ready_at(request, row.fetched_at)]
        if row.name in self._fresh:
            moments.append(now)
        sync = self.sync_of(row.name)
        if row.next_poll_at is not None:
            moments.append(row.next_poll_at)
        elif sync is not None and sync.source.poll:
            moments.append(now)
        return min(moments, default=None)

    def _in_pool(self, name: str) -> None:
        try:
            self.pass_over(name)
        except Stopped:
            log.info("the pass over %s was given up: stopping", name, extra={"action": "sync_stopped"})
        except Unavailable as error:
            log.warning("source %s waits for the database: %s", name, error.message, extra={"action": "database_down"})
            self._not_before[name] = self._tools.clock.monotonic() + TICK_S
        except Exception:
            log.exception("the pass over %s failed", name, extra={"action": "sync_crashed", "source": name})
            self._not_before[name] = self._tools.clock.monotonic() + BUSY_S
        finally:
            with self._lock:
                self._running.discard(name)
            self.wake()

    # -- one pass ---------------------------------------------------------------------------------------------

    def pass_over(self, name: str) -> SyncRun | None:
        """One pass with everything around it: lease, request, failure, next poll. None: nothing to tell.

        Raises ``Stopped``, ``Unavailable`` and ``NotFound``; a failed sync is a run, not an exception.
        """
        sync = self.sync_of(name)
        if sync is None:
            return None
        tools = self._tools
        row = tools.database.read(lambda c: store.row_of(c, name))
        lease = self._lease(name)
        if lease is None:
            self._not_before[name] = tools.clock.monotonic() + BUSY_S
            return None
        asked = requests.pending(row)
        promised = (row.request_run or "") if asked else ""
        if asked is not None:
            tools.database.write(lambda tx: requests.take(tx, name, row.requested_at))
            if tools.database.read(lambda c: store.has_run(c, promised)):
                promised = ""  # the pass that had this request was killed after its commit
        now = tools.clock.now()
        whole = row.full_at is not None and now - row.full_at > pace.WHOLE_TREE
        wish = Wish(
            trigger=row.request_trigger if asked else "poll",
            requested_by=row.requested_by if asked else "",
            full=bool(asked and row.request_full) or whole,
            run_id=promised,
        )
        try:
            outcome = sync.sync(wish, lease)
        except Conflict as lost:
            if lost.code != Overtaken.code:
                raise
            self._leases.pop(name, None)
            run: SyncRun | None = self._lost(sync, wish, row, lost)
        except SyncFailed as failure:
            run = self._failed(sync, wish, row, failure)
        else:
            run = self._succeeded(sync, wish, row, outcome)
        if whole:
            # Once a day is often enough, and the whole tree is compared once a day.
            before = tools.clock.now() - self._runs_kept_for
            tools.database.write(lambda tx: store.purge_runs(tx, name, before=before, keep=RUNS_KEPT))
        self._nudges.send(GIT_TOPIC)
        if run is not None and run.outcome in ("applied", "degraded"):
            self._nudges.send(CATALOG_TOPIC)
        return run

    def _succeeded(self, sync: SourceSync, wish: Wish, row: Any, outcome: Outcome) -> SyncRun | None:
        clock, name = self._tools.clock, sync.source.name
        now = clock.now()
        values = dict(outcome.values)
        values["next_poll_at"] = pace.next_poll(now, sync.source.poll, random.random())  # noqa: S311
        if outcome.fetched:
            values["fetched_at"] = now
        run = outcome.run
        promised = run is None and bool(wish.run_id)
        if run is None and promised:
            run = self._blank(sync, wish, row, "unchanged", now)

        def work(tx: Connection) -> None:
            self._finish(tx, name, row, values)
            if promised and run is not None:
                store.insert_run(tx, run)
            if row.state == State.ERROR and values.get("state") == State.SYNCED:
                put_events(tx, name, ["git.recovered"], run.id if run else new_id(), {}, now)

        if run is not None or outcome.fetched or _says_more(row, values, now):
            self._tools.database.write(work)
        self.health.counters["lanner_git_sync_total", name, run.outcome if run else "unchanged"] += 1
        return run

    def _failed(self, sync: SourceSync, wish: Wish, row: Any, failure: SyncFailed) -> SyncRun:
        name, now = sync.source.name, self._tools.clock.now()
        failures = row.fail_count + 1
        error = pace.is_error(failure.reason, failures)
        again = row.state == State.ERROR and row.reason == failure.reason
        if failure.reason in SHAPE_REASONS:
            next_at = pace.next_poll(now, sync.source.poll, random.random())  # noqa: S311
        else:
            next_at = pace.next_try(now, sync.source.poll, failures, failure.reason, random.random())  # noqa: S311
        values = {**failure.values, "fail_count": failures, "next_poll_at": next_at}
        if error:
            hint = f" ({failure.hint})" if failure.hint else ""
            values |= {"state": State.ERROR, "reason": failure.reason, "message": f"{failure.message}{hint}"[:2000]}
        begun = failure.run or self._blank(sync, wish, row, "failed", now)
        run = replace(begun, ended_at=now, outcome="failed", reason=failure.reason, message=failure.message)

        def work(tx: Connection) -> None:
            self._finish(tx, name, row, values)
            if not again or wish.run_id:
                store.insert_run(tx, run)
            if error and not again:
                put_events(tx, name, ["git.error"], run.id, {"reason": failure.reason, "message": failure.message}, now)

        self._tools.database.write(work)
        log.warning(
            "source %s: %s: %s; next try at %s", name, failure.reason, failure.message, next_at,
            extra={"action": "sync_failed", "source": name, "reason": failure.reason, "failures": failures},
        )  # fmt: skip
        self.health.counters["lanner_git_fetch_failures_total", name, failure.reason] += 1
        self.health.counters["lanner_git_sync_total", name, "failed"] += 1
        return run

    def _lost(self, sync: SourceSync, wish: Wish, row: Any, lost: Conflict) -> SyncRun:
        """Another process was faster: nothing was written, and the request stays for whoever leads now."""
        name, now = sync.source.name, self._tools.clock.now()
        blank = self._blank(sync, wish, row, "lost_lease", now)
        run = replace(blank, id=new_id(), message=lost.message, reason="LostLease")
        self._tools.database.write(lambda tx: store.insert_run(tx, run))
        log.warning("source %s: %s", name, lost.message, extra={"action": "lease_lost", "source": name})
        self.health.counters["lanner_git_lease_lost_total", name, ""] += 1
        return run

    def _finish(self, tx: Connection, name: str, row: Any, values: Mapping[str, Any]) -> None:
        store.update(tx, name, **values)
        if row.requested_at is not None and requests.is_pending(row):
            requests.handled(tx, name, row.requested_at)

    def _blank(self, sync: SourceSync, wish: Wish, row: Any, outcome: str, now: datetime) -> SyncRun:
        return SyncRun(
            id=wish.run_id or new_id(),
            source=sync.source.name,
            trigger=wish.trigger,
            requested_by=wish.requested_by,
            started_at=now,
            ended_at=now,
            outcome=outcome,
            from_commit=row.applied_commit,
            to_commit=row.applied_commit if outcome == "unchanged" else None,
        )

    # -- leases -----------------------------------------------------------------------------------------------

    def _lease(self, name: str) -> Lease | None:
        """The source's lease, taken or still trusted; None while another process holds it."""
        clock = self._tools.clock
        held = self._leases.get(name)
        if held is not None and clock.monotonic() < held.trusted_until:
            return held.lease
        asked_at = clock.monotonic()
        lease = self._tools.database.write(
            lambda tx: leases.acquire(
                tx, f"source:{name}", self._holder, now=database_now(tx, self._tools.clock), ttl=TTL
            )
        )
        if lease is None:
            self._leases.pop(name, None)
            return None
        # Counted from before the question, so that a slow answer never makes the lease look longer than it is.
        self._leases[name] = _Held(lease, asked_at + TTL.total_seconds() - MARGIN_S)
        return lease

    def _renew(self) -> None:
        """Keep the leases while passes run; one that went elsewhere makes its pass fail at the fencing token."""
        clock = self._tools.clock
        self._renewed = clock.monotonic()
        for name, held in list(self._leases.items()):
            asked_at = clock.monotonic()
            lease = self._tools.database.write(
                lambda tx, name=name: leases.acquire(  # type: ignore[misc]
                    tx, f"source:{name}", self._holder, now=database_now(tx, self._tools.clock), ttl=TTL
                )
            )
            if lease is None or lease.token != held.lease.token:
                self._leases.pop(name, None)
            else:
                held.trusted_until = asked_at + TTL.total_seconds() - MARGIN_S


def _says_more(row: Any, values: Mapping[str, Any], now: datetime) -> bool:
    """Whether a look at the remote has to be written down: one before its time, right after another, has not."""
    if row.checked_at is None or row.next_poll_at is None or requests.is_pending(row):
        return True
    if now - row.checked_at >= LOOK_WRITTEN or now >= row.next_poll_at:
        return True
    return any(getattr(row, key) != value for key, value in values.items() if key not in ("checked_at", "next_poll_at"))
