"""One commit, read and planned: from a mirror's objects and the database's facts to a ``Plan`` and its contents.

Reads only, but for the contents of namespace files, which are stored ahead and seen by nobody until a plan uses them.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.clock import Clock
from namespaces.ownership import SourceRule
from namespaces.store.db import Database
from sync import store
from sync.apply import missing_blobs, put_blobs
from sync.candidates import widen
from sync.changes import Changes, Touched, advance, compare
from sync.errors import MirrorBroken
from sync.git import Objects
from sync.inventory import Inventory, Key
from sync.layouts import Kind
from sync.mirror import Mirror
from sync.model import Commit, GitSource, Layout, Settings
from sync.plan import Fact, Plan, Situation, plan
from sync.reading import Digest, Parsed, Reader, digest

BLOB_BATCH = 8 * 1024 * 1024
"""Bytes of namespace files stored at a time, before the transaction that makes them visible."""
MANY_FILES = 1_000
HISTORY = 1_000
"""Commits looked through for the one that brought a file."""


@dataclass(slots=True)
class Tools:
    """What all passes share."""

    database: Database
    clock: Clock
    reader: Reader
    settings: Settings
    rules: Callable[[], tuple[SourceRule, ...]]
    stop: threading.Event


@dataclass(frozen=True, slots=True)
class Read:
    """A commit, read and planned."""

    plan: Plan
    commit: Commit
    tree: str
    changes: Changes
    contents: Mapping[str, Parsed | Digest]
    commits: Mapping[str, Commit]
    full: bool
    inventory: Inventory


@dataclass(slots=True)
class Survey:
    """What reading needs. ``full`` compares the whole tree; ``timed`` measures a phase by its name."""

    tools: Tools
    source: GitSource
    row: Any
    policy: str
    inventory: Inventory
    mirror: Mirror
    objects: Objects
    full: bool
    store_files: bool
    timed: Callable[[str], AbstractContextManager[None]]

    def read(self, target: str, *, rewritten: bool) -> Read:
        """Read the commit and plan it. Raises ``SyncFailed`` and ``MirrorBroken``."""
        tools, source, row, mirror, objects = self.tools, self.source, self.row, self.mirror, self.objects
        inventory = self.inventory
        commit = mirror.commit(objects, target)
        if commit is None:
            raise MirrorBroken(f"commit {target} is missing")
        tree = mirror.subtree(objects, target, source.path)
        with self.timed("diff"):
            changes, full = self._changes(tree)
        with self.timed("read"):
            contents = self._contents(changes.touched, store_files=self.store_files)
            wider = widen(changes, contents, inventory)
            if wider is not changes:
                more = {path: t for path, t in wider.touched.items() if path not in changes.touched}
                contents |= self._contents(more, store_files=False)
        with self.timed("validate"):
            renames = self._renames(tree, wider)
            facts = self._facts(wider, contents)
            situation = Situation(
                source=source,
                rules=tools.rules(),
                commit=target,
                policy=self.policy,
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
        commits = self._commits(commit, made)
        return Read(made, commit, tree, wider, contents, commits, full, inventory)

    def _changes(self, tree: str) -> tuple[Changes, bool]:
        """What differs, and whether the whole tree was compared."""
        row, source, mirror, inventory = self.row, self.source, self.mirror, self.inventory
        layout = Layout(row.layout) if row.layout else None
        same_policy = row.policy == self.policy
        if not self.full and same_policy and row.applied_tree and layout is not None:
            found = mirror.changes(row.applied_tree, tree)
            if found is not None:
                oids = [change.entry.oid for change in found if change.entry is not None]
                oids += [oid for path in inventory.held if (oid := inventory.by_path[path].seen) is not None]
                sizes = {info.oid: info.size for info in self.objects.info(oids) if info is not None}
                return advance(source, found, inventory, layout, sizes), False
        entries = mirror.entries(tree, source.limits.max_files)
        return compare(source, entries, inventory, layout, everything=not same_policy), True

    def _contents(self, touched: Mapping[str, Touched], *, store_files: bool) -> dict[str, Parsed | Digest]:
        reader, objects = self.tools.reader, self.objects
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
        database, wanted = self.tools.database, tuple(blobs)

        def missing(connection: Connection) -> set[str]:
            return missing_blobs(connection, wanted)

        if not wanted:
            return
        if database.read(missing):
            database.write(lambda tx: put_blobs(tx, blobs))

    def _renames(self, tree: str, changes: Changes) -> dict[str, str]:
        flows = [t for t in changes.touched.values() if t.placed.kind is Kind.FLOW]
        gone = [t.path for t in flows if t.entry is None]
        new = [t.path for t in flows if t.entry is not None and not t.again]
        if not gone or not new or not self.row.applied_tree:
            return {}
        return self.mirror.renames(self.row.applied_tree, tree, [*gone, *new])

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
        return self.tools.database.read(lambda c: store.facts_of(c, keys)) if keys else {}

    def _commits(self, commit: Commit, made: Plan) -> dict[str, Commit]:
        """Who brought each file that changes, where it was not the newest commit itself."""
        mirror, objects, applied = self.mirror, self.objects, self.row.applied_commit
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
