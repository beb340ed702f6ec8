"""One pass over one source: probe, fetch, compare, read, plan, apply. Steps 1 to 13 of ``gitops.md`` 2.5.

When a pass runs, and what a failure means for the next one, is decided in ``sync.loop``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.engine import Connection

from namespaces import crash, revisions
from namespaces.ids import new_id
from namespaces.store.leases import Lease
from sync import store
from sync.apply import Order, apply, put_events, write_results
from sync.changes import Changes
from sync.errors import MirrorBroken, SyncFailed
from sync.git import Objects
from sync.inventory import Inventory
from sync.mirror import Mirror
from sync.model import Commit, GitSource, Layout, Ref, State, SyncRun
from sync.plan import Plan
from sync.survey import Read, Survey, Tools

log = logging.getLogger("lanner.sync")

SHAPE_REASONS = frozenset({"PathMissing", "Limit", "NotACommit", "LayoutChanged", "Configuration", "BadObjects"})
"""The commit itself is at fault: not tried again until it, the policy or the task types change."""


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
        except OSError as error:
            # Disk full, permissions: the mirror's trouble, whatever step met it.
            raise SyncFailed("Mirror", f"the mirror cannot be used: {error.strerror or error}") from error
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

    def commits(self, limit: int) -> list[Commit]:
        """The newest commits that were fetched; empty before the first fetch."""
        mirror = Mirror(self._tools.settings, self.source, self._tools.stop)
        if not mirror.exists:
            return []
        with mirror.objects() as objects:
            seen = mirror.commit(objects, mirror.in_ref)
            return mirror.log(objects, seen.id, self.source.path, limit) if seen is not None else []

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
            return self._survey(work, mirror, objects).read(commit, rewritten=False).plan

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
            read = self._survey(work, mirror, objects).read(target, rewritten=bool(rewritten))
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

    def _survey(self, work: _Work, mirror: Mirror, objects: Objects) -> Survey:
        return Survey(
            tools=self._tools,
            source=self.source,
            row=work.row,
            policy=work.policy,
            inventory=self._load(work.row),
            mirror=mirror,
            objects=objects,
            full=work.wish.full or not self._compared,
            store_files=work.wish.trigger != "plan",
            timed=lambda phase: self._timed(work, phase),
        )

    # -- the end of a pass ------------------------------------------------------------------------------------

    def _carry_out(self, work: _Work, mirror: Mirror, read: Read) -> SyncRun | None:
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
        read = Read(
            made, commit, tree, Changes(Layout(work.row.layout or Layout.AUTO)), {}, {}, False, self._load(work.row)
        )
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


def _info(commit: Commit) -> dict[str, Any]:
    return {
        "subject": commit.subject,
        "author": commit.author_name,
        "email": commit.author_email,
        "at": commit.committed_at.isoformat() if commit.committed_at else None,
    }
