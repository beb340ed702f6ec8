"""What a source has applied and what its newest commit holds, file by file. Pure.

An ``Inventory`` is never changed: ``after`` makes the next one, sharing nothing that could move under a reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from namespaces.errors import Problem

Key = tuple[str, str, str]
"""(kind, namespace, flow id or file path)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a tree. ``size`` is -1 where git was not asked for it."""

    path: str
    mode: str
    oid: str
    size: int = -1


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two trees; ``entry`` is None for a path that is gone."""

    path: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Item:
    """One file. ``oid`` is what is applied (None: nothing yet), ``seen`` what the newest commit holds (None: gone).

    ``state``: ``ok`` · ``held`` (kept at its last good version) · ``kept`` (gone from Git, not pruned) ·
    ``ignored`` (nothing in it for us).
    """

    path: str
    kind: str
    namespace: str
    key: str
    mode: str
    oid: str | None
    seen: str | None
    state: str = "ok"
    problems: tuple[Problem, ...] = ()
    tied: str = ""
    """Path of the held item that this held one replaces: both wait until both can be applied."""

    @property
    def identity(self) -> Key:
        return self.kind, self.namespace, self.key

    @property
    def applied(self) -> bool:
        return self.oid is not None


@dataclass(frozen=True, slots=True)
class Inventory:
    """All items of one source at one version."""

    by_path: dict[str, Item] = field(default_factory=dict)
    by_key: dict[Key, str] = field(default_factory=dict)
    """Path of the applied item of each key."""
    held: frozenset[str] = frozenset()

    @staticmethod
    def of(items: Iterable[Item]) -> Inventory:
        return Inventory().after(items, ())

    def after(self, changed: Iterable[Item], removed: Iterable[str]) -> Inventory:
        """The inventory once these items are written and these paths are gone."""
        by_path, by_key, held = dict(self.by_path), dict(self.by_key), set(self.held)
        changed = list(changed)
        for path in [*removed, *(item.path for item in changed)]:
            old = by_path.pop(path, None)
            held.discard(path)
            if old is not None and old.applied and by_key.get(old.identity) == path:
                del by_key[old.identity]
        for item in changed:
            by_path[item.path] = item
            if item.applied:
                by_key[item.identity] = item.path
            if item.state == "held":
                held.add(item.path)
        return Inventory(by_path, by_key, frozenset(held))

    def applied(self, kind: str | None = None) -> int:
        """Number of applied items."""
        return sum(1 for item in self.by_path.values() if item.oid is not None and kind in (None, item.kind))
