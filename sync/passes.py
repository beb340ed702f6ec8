"""One pass over one source: probe, fetch, compare, read, plan, apply. Steps 1 to 13 of ``gitops.md`` 2.5.

When a pass runs, and what a failure means for the next one, is decided in ``sync.loop``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.engine import Connection

from namespaces import crash, revisions
from namespaces.clock import Clock
from namespaces.ids import new_id
from namespaces.ownership import SourceRule
from namespaces.store.db import Database
from namespaces.store.leases import Lease
from sync import store
from sync.apply import Order, apply, missing_blobs, put_blobs, put_events, write_results
from sync.candidates import widen
from sync.changes import Changes, Touched, advance, compare
from sync.errors import MirrorBroken, SyncFailed
from sync.git import Objects
from sync.inventory import Inventory, Key
from sync.layouts import Kind
from sync.mirror import Mirror
from sync.model import Commit, GitSource, Layout, Ref, Settings, State, SyncRun
from sync.plan import Fact, Plan, Situation, plan
from sync.reading import Digest, Parsed, Reader, digest

log = logging.getLogger("lanner.sync")

BLOB_BATCH = 8 * 1024 * 1024
"""Bytes of namespace files stored at a time, before the transaction that makes them visible."""
MANY_FILES = 1_000
HISTORY = 1_000
"""Commits looked through for the one that brought a file."""
SHAPE_REASONS = frozenset({"PathMissing", "Limit", "NotACommit", "LayoutChanged", "Configuration", "BadObjects"})
"""The commit itself is at fault: not tried again until it, the policy or the task types change."""


@dataclass(slots=True)
class Tools:
    """What all passes share."""

    database: Database
    clock: Clock
    reader: Reader
    settings: Settings
    rules: Callable[[], tuple[SourceRule, ...]]
    stop: threading.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Why a pass runs and what is asked of it."""

    trigger: str = "poll"
    requested_by: str = ""
    full: bool = False
    run_id: str = ""
    """Id the run was promised, empty: a new one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass came to. ``values`` are columns of the source for the caller to write with its own."""

    run: SyncRun | None
    values: Mapping[str, Any]
    fetched: bool = False


@dataclass(slots=True)
class _Work:
    """The facts of one pass as they become known."""

    wish: Wish
    row: Any
    policy: str
    lease: Lease | None
    run: SyncRun
    durations: dict[str, float] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    fetched: bool = False

    @property
    def judged(self) -> str:
        return f"{self.values.get('seen_commit', self.row.seen_commit)}:{self.policy}"


@dataclass(frozen=True, slots=True)
class _Read:
    """A commit, read and planned."""

    plan: Plan
    commit: Commit
    tree: str
    changes: Changes
    contents: Mapping[str, Parsed | Digest]
    commits: Mapping[str, Commit]
    full: bool
    inventory: Inventory


class SourceSync:
    """Passes of one source; keeps its inventory between them. Not for several threads at once."""

    def __init__(self, source: GitSource, tools: Tools) -> None:
        self.source = source
        self._tools = tools
        self._inventory: tuple[int, Inventory] | None = None
        self._compared = False
        """Whether this process has compared the whole tree once."""

    def policy(self) -> str:
        rules = sorted((rule.source, rule.allow, rule.deny) for rule in self._tools.rules())
        return self.source.policy_hash(self._tools.reader.version, str(rules))

    def sync(self, wish: Wish, lease: Lease | None) -> Outcome:
        """One pass; its ``run`` is None when there was nothing to do. Raises ``SyncFailed`` and its kind."""
        tools, source = self._tools, self.source
        row = tools.database.read(lambda c: store.row_of(c, source.name))
        now = tools.clock.now()
        begun = SyncRun(
            id=wish.run_id or new_id(),
            source=source.name,
            trigger=wish.trigger,
            requested_by=wish.requested_by,
            started_at=now,
            ended_at=None,
            outcome="running",
            from_commit=row.applied_commit,
        )
        work = _Work(wish=wish, row=row, policy=self.policy(), lease=lease, run=begun)
        mirror = Mirror(tools.settings, source, tools.stop)
        try:
            run = self._sync(work, mirror)
        except MirrorBroken as broken:
            log.warning(
                "source %s: mirror is damaged (%s), rebuilding", source.name, broken.message,
                extra={"action": "mirror_rebuilt", "source": source.name},
            )  # fmt: skip
            with mirror.locked():
                _, id_length = self._probe(mirror)
                mirror.rebuild(id_length)
            run = self._sync(work, mirror)
        except SyncFailed as failure:
            if failure.reason in SHAPE_REASONS:
                work.values["judged"] = work.judged
            failure.run = work.run
            failure.values = work.values
            raise
        return Outcome(run, work.values, work.fetched)

    def rebuild(self) -> None:
        """Make a new mirror from the remote."""
        mirror = Mirror(self._tools.settings, self.source, self._tools.stop)
        _, id_length = self._probe(mirror)
        with mirror.locked():
            mirror.rebuild(id_length)

    def dry_run(self, ref: Ref | None) -> Plan:
        """The plan for a ref (None: what the source follows); changes nothing but the mirror."""
        source = replace(self.source, ref=ref) if ref is not None else self.source
        mirror = Mirror(self._tools.settings, source, self._tools.stop)
        mirror.in_ref = f"refs/lanner/{source.name}/plan"
        row = self._tools.database.read(lambda c: store.row_of(c, source.name))
        _, id_length = self._probe(mirror, source.ref)
        with mirror.locked():
            commit = mirror.fetch(id_length)
        run = SyncRun(
            id="", source=source.name, trigger="plan", requested_by="", started_at=self._tools.clock.now(),
            ended_at=None, outcome="planned",
        )  # fmt: skip
        work = _Work(wish=Wish(trigger="plan", full=True), row=row, policy=self.policy(), lease=None, run=run)
        with mirror.objects() as objects:
            return self._read(work, mirror, objects, commit, rewritten=False).plan

    # -- the steps --------------------------------------------------------------------------------------------

    def _sync(self, work: _Work, mirror: Mirror) -> SyncRun | None:
        source = self.source
        with self._timed(work, "probe"):
            probed, id_length = self._probe(mirror)
        if self._nothing_to_do(work, probed):
            self._settle(work)
            return None
        with self._timed(work, "fetch"), mirror.locked():
            if source.ref.kind == "commit" and mirror.exists and self._has(mirror, probed):
                fetched = probed
            else:
                fetched = mirror.fetch(id_length)
                work.fetched = True
        crash.reach("sync.after_fetch")
        with mirror.objects() as objects:
            seen = mirror.commit(objects, fetched)
            if seen is None:
                raise MirrorBroken(f"commit {fetched} is missing after the fetch")
            self._see(work, seen)
            target = self._target(work, mirror, objects, fetched, id_length)
            rewritten = target == fetched and self._rewritten(work, mirror, objects, seen)
            work.run = replace(work.run, to_commit=target, rewritten=bool(rewritten))
            with self._timed(work, "diff"):
                tree = mirror.subtree(objects, target, source.path)
            if self._same_tree(work, tree, rewritten):
                return self._move_pointer(work, mirror, objects, target, tree)
            read = self._read(work, mirror, objects, target, rewritten=bool(rewritten))
        return self._carry_out(work, mirror, read)

    def _probe(self, mirror: Mirror, ref: Ref | None = None) -> tuple[str, int]:
        ref = ref or self.source.ref
        if ref.kind == "commit":
            return ref.value, len(ref.value)
        return mirror.probe()

    def _has(self, mirror: Mirror, commit: str) -> bool:
        with mirror.objects() as objects:
            return mirror.commit(objects, commit) is not None

    def _nothing_to_do(self, work: _Work, probed: str) -> bool:
        row = work.row
        if work.wish.full or row.approved_plan or row.judged != f"{probed}:{work.policy}":
            return False
        if row.state == State.ERROR:
            return row.reason in SHAPE_REASONS
        return self._compared and (row.plan is not None or not self._waits_for_others(row))

    def _waits_for_others(self, row: Any) -> bool:
        """Whether something is held that another source or the API may have made good meanwhile."""
        if row.state != State.DEGRADED:
            return False
        inventory = self._load(row)
        codes = {problem.code for path in inventory.held for problem in inventory.by_path[path].problems}
        if codes.isdisjoint({"G013", "G060"}):
            return False
        return self._tools.database.read(revisions.generation) > int(row.generation)

    def _target(self, work: _Work, mirror: Mirror, objects: Objects, fetched: str, id_length: int) -> str:
        pinned: str | None = work.row.pinned_commit
        if pinned is None or pinned == fetched:
            return fetched
        if mirror.commit(objects, pinned) is None:
            source = replace(self.source, ref=Ref(kind="commit", value=pinned))
            other = Mirror(self._tools.settings, source, self._tools.stop)
            other.in_ref = f"refs/lanner/{source.name}/keep/{pinned}"
            with other.locked():
                other.fetch(id_length)
        return pinned

    def _rewritten(self, work: _Work, mirror: Mirror, objects: Objects, seen: Commit) -> bool:
        applied = work.row.applied_commit
        if applied is None or applied == seen.id or applied in seen.parents:
            return False
        ancestor = mirror.is_ancestor(applied, seen.id) if mirror.commit(objects, applied) is not None else False
        if ancestor is not True and self.source.fetch.depth:
            return False  # undecidable in a shallow mirror: not taken for a rewrite
        return ancestor is not True

    def _same_tree(self, work: _Work, tree: str, rewritten: bool) -> bool:
        row = work.row
        return (
            row.applied_tree == tree
            and row.policy == work.policy
            and self._compared
            and not work.wish.full
            and not self._load(row).held
            and not (rewritten and self.source.apply.on_rewrite == "block" and not row.approved_plan)
        )

    def _read(self, work: _Work, mirror: Mirror, objects: Objects, target: str, *, rewritten: bool) -> _Read:
        tools, source, row = self._tools, self.source, work.row
        commit = mirror.commit(objects, target)
        if commit is None:
            raise MirrorBroken(f"commit {target} is missing")
        tree = mirror.subtree(objects, target, source.path)
        inventory = self._load(row)
        with self._timed(work, "diff"):
            changes, full = self._changes(work, mirror, objects, tree, inventory)
        with self._timed(work, "read"):
            contents = self._contents(objects, changes.touched, store_files=work.run.outcome != "planned")
            wider = widen(changes, contents, inventory)
            if wider is not changes:
                more = {path: t for path, t in wider.touched.items() if path not in changes.touched}
                contents |= self._contents(objects, more, store_files=False)
        with self._timed(work, "validate"):
            renames = self._renames(mirror, row, tree, wider)
            facts = self._facts(wider, contents)
            situation = Situation(
                source=source,
                rules=tools.rules(),
                commit=target,
                policy=work.policy,
                changes=wider,
                inventory=inventory,
                contents=contents,
                registry=facts,
                same=_same_texts(wider, contents, facts),
                renames=renames,
                rewritten=rewritten,
                approved=row.approved_plan,
            )
            made = plan(situation)
        commits = self._commits(work, mirror, objects, commit, made)
        return _Read(made, commit, tree, wider, contents, commits, full, inventory)

    def _changes(
        self, work: _Work, mirror: Mirror, objects: Objects, tree: str, inventory: Inventory
    ) -> tuple[Changes, bool]:
        row, source = work.row, self.source
        layout = Layout(row.layout) if row.layout else None
        same_policy = row.policy == work.policy
        if self._compared and same_policy and not work.wish.full and row.applied_tree and layout is not None:
            found = mirror.changes(row.applied_tree, tree)
            if found is not None:
                oids = [change.entry.oid for change in found if change.entry is not None]
                oids += [oid for path in inventory.held if (oid := inventory.by_path[path].seen) is not None]
                sizes = {info.oid: info.size for info in objects.info(oids) if info is not None}
                return advance(source, found, inventory, layout, sizes), False
        entries = mirror.entries(tree, source.limits.max_files)
        return compare(source, entries, inventory, layout, everything=not same_policy), True

    def _contents(
        self, objects: Objects, touched: Mapping[str, Touched], *, store_files: bool
    ) -> dict[str, Parsed | Digest]:
        reader = self._tools.reader
        contents: dict[str, Parsed | Digest] = {}
        flows: list[Touched] = []
        files: list[Touched] = []
        for t in touched.values():
            if t.wants_content and t.entry is not None:
                if t.placed.kind is Kind.FILE:
                    files.append(t)
                    continue
                cached = reader.cached(t.entry.oid, t.placed.namespace)
                if cached is not None:
                    contents[t.path] = cached
                else:
                    flows.append(t)
        with _few_collections(len(flows)):
            for t, data in zip(flows, objects.read([t.entry.oid for t in flows if t.entry]), strict=True):
                assert t.entry is not None
                contents[t.path] = reader.parse(t.entry.oid, data, t.placed.namespace)
        pending: dict[str, bytes] = {}
        for t, data in zip(files, objects.read([t.entry.oid for t in files if t.entry]), strict=True):
            made = digest(data)
            contents[t.path] = made
            if store_files and not made.problems:
                pending[made.sha256] = data
                if sum(map(len, pending.values())) > BLOB_BATCH:
                    self._store(pending)
                    pending = {}
        self._store(pending)
        return contents

    def _store(self, blobs: dict[str, bytes]) -> None:
        database, wanted = self._tools.database, tuple(blobs)

        def missing(connection: Connection) -> set[str]:
            return missing_blobs(connection, wanted)

        if not wanted:
            return
        if database.read(missing):
            database.write(lambda tx: put_blobs(tx, blobs))

    def _renames(self, mirror: Mirror, row: Any, tree: str, changes: Changes) -> dict[str, str]:
        flows = [t for t in changes.touched.values() if t.placed.kind is Kind.FLOW]
        gone = [t.path for t in flows if t.entry is None]
        new = [t.path for t in flows if t.entry is not None and not t.again]
        if not gone or not new or not row.applied_tree:
            return {}
        return mirror.renames(row.applied_tree, tree, [*gone, *new])

    def _facts(self, changes: Changes, contents: Mapping[str, Parsed | Digest]) -> dict[Key, Fact]:
        keys: set[Key] = set()
        for path, t in changes.touched.items():
            content = contents.get(path)
            if isinstance(content, Parsed):
                for namespace in {t.placed.namespace or content.namespace, content.namespace}:
                    keys.add((Kind.FLOW, namespace, content.id))
                keys |= {(Kind.FLOW, namespace, flow_id) for namespace, flow_id in content.references}
            elif isinstance(content, Digest) and t.placed.namespace:
                keys.add((Kind.FILE, t.placed.namespace, t.placed.name))
        return self._tools.database.read(lambda c: store.facts_of(c, keys)) if keys else {}

    def _commits(self, work: _Work, mirror: Mirror, objects: Objects, commit: Commit, made: Plan) -> dict[str, Commit]:
        """Who brought each file that changes, where it was not the newest commit itself."""
        applied = work.row.applied_commit
        changing = [s for s in made.steps if s.action in ("create", "update", "rename") and s.oid is not None]
        if not changing or not commit.parents or commit.parents == (applied,):
            return {}
        known = applied if applied and mirror.commit(objects, applied) is not None else None
        authors = mirror.authors(known, commit.id, self.source.path, HISTORY)
        by_id: dict[str, Commit] = {}
        found: dict[str, Commit] = {}
        for step in changing:
            oid = authors.get((step.path, step.oid or ""))
            if oid is None or oid == commit.id:
                continue
            if oid not in by_id:
                by_id[oid] = mirror.commit(objects, oid) or commit
            found[step.path] = by_id[oid]
        return found

    # -- the end of a pass ------------------------------------------------------------------------------------

    def _carry_out(self, work: _Work, mirror: Mirror, read: _Read) -> SyncRun | None:
        tools, source, made = self._tools, self.source, read.plan
        if made.blocked:
            return self._wait(work, made)
        order = Order(
            plan=made,
            run=replace(work.run, durations=work.durations),
            lease=work.lease,
            before=work.row,
            commit=read.commit,
            tree=read.tree,
            policy=work.policy,
            layout=read.changes.layout,
            contents=read.contents,
            commits=read.commits,
            info=_info(read.commit),
            prefix=source.path,
            forbidden_before=frozenset(
                path for path in read.inventory.held
                if any(p.code == "G040" for p in read.inventory.by_path[path].problems)
            ),
            full=read.full,
            actor=work.wish.requested_by,
        )  # fmt: skip
        with self._timed(work, "apply"):
            run = tools.database.write(lambda tx: apply(tx, order, now=tools.clock.now()))
        self._inventory = (work.row.version + 1, read.inventory.after(made.items, made.removed))
        self._compared = True
        with mirror.locked():
            mirror.keep_applied(made.commit)
            mirror.tidy()
        self._settle(work)
        log.info(
            "source %s: %s at %s: %s", source.name, run.outcome, made.commit[:10],
            ", ".join(f"{count} {action}" for action, count in sorted(made.counts.items())) or "no change",
            extra={"action": "synced", "source": source.name, "outcome": run.outcome, "counts": dict(made.counts),
                   "durations": work.durations},
        )  # fmt: skip
        return run

    def _move_pointer(self, work: _Work, mirror: Mirror, objects: Objects, target: str, tree: str) -> SyncRun | None:
        """The commit is new, what we read of it is not: nothing is parsed and nothing changes but the pointer."""
        commit = mirror.commit(objects, target)
        if commit is None:
            raise MirrorBroken(f"commit {target} is missing")
        made = Plan(self.source.name, target, "", ())
        if target == work.row.applied_commit:
            self._settle(work, state=State.SYNCED, reason="", message="", plan=None, policy=work.policy)
            return None
        read = _Read(made, commit, tree, Changes(Layout(work.row.layout)), {}, {}, False, self._load(work.row))
        return self._carry_out(work, mirror, read)

    def _wait(self, work: _Work, made: Plan) -> SyncRun:
        """The plan waits as a whole: remember it, change nothing else."""
        tools, source = self._tools, self.source
        now = tools.clock.now()
        invalid = made.blocked == "Invalid"
        run = replace(
            work.run, ended_at=now, outcome="invalid" if invalid else "blocked", reason=made.blocked,
            message=made.message, counts=dict(made.counts), plan_hash=made.hash, durations=work.durations,
        )  # fmt: skip
        shown = [
            {"action": s.action, "kind": s.kind, "namespace": s.namespace, "key": s.key, "path": s.path}
            for s in made.steps if s.action != "unchanged"
        ]  # fmt: skip
        pending = {
            "hash": made.hash, "commit": made.commit, "reason": made.blocked, "message": made.message,
            "counts": dict(made.counts), "actions": shown[:500], "more": max(len(shown) - 500, 0),
        }  # fmt: skip

        def work_tx(tx: Connection) -> None:
            row = store.row_of(tx, source.name, lock=True)
            again = row.plan is not None and row.plan.get("hash") == made.hash and row.reason == made.blocked
            store.update(
                tx,
                source.name,
                state=State.DEGRADED if invalid else State.OUT_OF_SYNC,
                reason=made.blocked,
                message=made.message,
                plan=pending,
                # An approval is for the plan it was given to.
                approved_plan=None,
            )
            if not again:
                store.insert_run(tx, run)
                write_results(tx, run.id, made.steps)
                put_events(tx, source.name, ["git.blocked"], run.id, {"reason": made.blocked, "plan": made.hash}, now)

        tools.database.write(work_tx)
        self._compared = True
        self._settle(work)
        log.warning(
            "source %s: plan waits (%s): %s", source.name, made.blocked, made.message,
            extra={"action": "sync_blocked", "source": source.name, "reason": made.blocked},
        )  # fmt: skip
        return run

    def _see(self, work: _Work, commit: Commit) -> None:
        """Remember the newest commit of the ref, and when it was first seen."""
        if work.row.seen_commit != commit.id:
            work.values |= {
                "seen_commit": commit.id,
                "seen_info": _info(commit),
                "seen_at": self._tools.clock.now(),
            }

    def _settle(self, work: _Work, **values: Any) -> None:
        """The remote answered and the pass came to its end."""
        row = work.row
        if row.pinned_commit:
            values |= {"state": State.OUT_OF_SYNC, "reason": "Pinned", "message": f"pinned to {row.pinned_commit[:10]}"}
        work.values |= {"judged": work.judged, "checked_at": self._tools.clock.now(), "fail_count": 0, **values}

    def _load(self, row: Any) -> Inventory:
        if self._inventory is None or self._inventory[0] != row.version:
            inventory = self._tools.database.read(lambda c: store.inventory_of(c, self.source.name))
            self._inventory = (row.version, inventory)
        return self._inventory[1]

    @contextlib.contextmanager
    def _timed(self, work: _Work, phase: str) -> Iterator[None]:
        started = self._tools.clock.monotonic()
        try:
            yield
        finally:
            spent = self._tools.clock.monotonic() - started
            work.durations[phase] = round(work.durations.get(phase, 0.0) + spent, 6)


_collections = threading.Lock()


@contextlib.contextmanager
def _few_collections(files: int) -> Iterator[None]:
    """While thousands of flows are read nothing of it is garbage: looking for some took a seventh of the time."""
    if files < MANY_FILES or not _collections.acquire(blocking=False):
        yield
        return
    before = gc.get_threshold()
    gc.set_threshold(50_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        _collections.release()


def _same_texts(changes: Changes, contents: Mapping[str, Parsed | Digest], facts: Mapping[Key, Fact]) -> frozenset[str]:
    """Paths whose text is the newest revision already."""
    found: set[str] = set()
    for path, content in contents.items():
        if isinstance(content, Parsed) and content.id:
            namespace = changes.touched[path].placed.namespace or content.namespace
            for key in ((Kind.FLOW, namespace, content.id), (Kind.FLOW, content.namespace, content.id)):
                fact = facts.get(key)
                if fact is not None and fact.checksum == revisions.checksum(content.text):
                    found.add(path)
    return frozenset(found)


def _info(commit: Commit) -> dict[str, Any]:
    return {
        "subject": commit.subject,
        "author": commit.author_name,
        "email": commit.author_email,
        "at": commit.committed_at.isoformat() if commit.committed_at else None,
    }


__all__ = ["SHAPE_REASONS", "SourceSync", "SyncFailed", "Tools", "Wish"]
