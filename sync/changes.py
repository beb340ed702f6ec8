"""Which files of a new tree need a look: the tree, or its difference to the applied one, against the inventory. Pure.

Both ways give the same set; nothing here reads content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from namespaces.errors import Problem
from sync.addresses import unsafe_path
from sync.errors import SyncFailed
from sync.inventory import Change, Entry, Inventory
from sync.layouts import Kind, Placed, detect, folded, place, selected
from sync.model import GitSource, Layout

MAX_DEPTH = 20
_RANK = {Layout.LANNER: 0, Layout.KESTRA_TENANT: 1, Layout.KESTRA_TASKS: 2, Layout.FLAT: 3}


@dataclass(frozen=True, slots=True)
class Touched:
    """One path that differs from the inventory, or was held. ``entry`` is None when the new tree lacks it.

    ``again`` marks a file that is the same as applied and is looked at because of another one.
    """

    path: str
    entry: Entry | None
    placed: Placed
    problems: tuple[Problem, ...] = ()
    again: bool = False

    @property
    def wants_content(self) -> bool:
        return self.entry is not None and not self.problems and self.placed.kind in (Kind.FLOW, Kind.FILE)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new tree asks for, before anything is read."""

    layout: Layout
    touched: Mapping[str, Touched] = field(default_factory=dict)


def compare(
    source: GitSource,
    entries: Sequence[Entry],
    inventory: Inventory,
    layout: Layout | None,
    *,
    everything: bool = False,
) -> Changes:
    """The reference method: the whole tree against the inventory. Raises ``SyncFailed`` for limits and layout.

    ``everything`` looks at unchanged files too: rights, limits or task types have changed.
    """
    resolved = _layout(source, (entry.path for entry in entries), layout)
    touched: dict[str, Touched] = {}
    present: set[str] = set()
    files, total = 0, 0
    by_path = inventory.by_path
    for entry in entries:
        path = entry.path
        known = by_path.get(path)
        same = known is not None and known.seen == entry.oid and known.mode == entry.mode and not everything
        if same and known is not None and known.state in ("ok", "ignored"):
            present.add(path)
            files += 1
            total += max(entry.size, 0)
            continue
        placed = _place(source, path, resolved)
        if placed is None:
            continue
        present.add(path)
        files += 1
        total += max(entry.size, 0)
        touched[path] = Touched(path, entry, placed, _entry_problems(source, entry, placed))
    if files > source.limits.max_files:
        raise SyncFailed("Limit", f"{files:,} files, limits.max_files is {source.limits.max_files:,}")
    if total > source.limits.max_total_bytes:
        raise SyncFailed("Limit", f"{total:,} bytes, limits.max_total_bytes is {source.limits.max_total_bytes:,}")
    for path, item in by_path.items():
        if path not in present and not (item.state == "kept" and not source.apply.prune):
            before = _placed_before(source, path, resolved, item.kind, item.namespace)
            touched[path] = Touched(path, None, before)
    _spellings(source, resolved, touched, inventory)
    _clashes(source, resolved, touched, inventory)
    return Changes(resolved, touched)


def advance(
    source: GitSource, changes: Iterable[Change], inventory: Inventory, layout: Layout, sizes: Mapping[str, int]
) -> Changes:
    """The fast path: only what differs between the applied tree and the new one, and every held item.

    ``sizes`` holds the size of each blob by its id.
    """
    found = list(changes)
    _layout(source, (change.path for change in found if change.entry is not None), layout, only_new=True)
    touched: dict[str, Touched] = {}
    differs = {change.path: change.entry for change in found}
    for path in inventory.held:
        if path not in differs:
            held = inventory.by_path[path]
            differs[path] = Entry(path, held.mode, held.seen) if held.seen is not None else None
    added = 0
    for path, entry in differs.items():
        item = inventory.by_path.get(path)
        if entry is None:
            if item is not None and not (item.state == "kept" and not source.apply.prune):
                touched[path] = Touched(path, None, _placed_before(source, path, layout, item.kind, item.namespace))
                added -= item.seen is not None
            continue
        placed = _place(source, path, layout)
        if placed is None:
            continue
        added += item is None or item.seen is None
        sized = Entry(path, entry.mode, entry.oid, sizes.get(entry.oid, -1))
        touched[path] = Touched(path, sized, placed, _entry_problems(source, sized, placed))
    files = sum(1 for item in inventory.by_path.values() if item.seen is not None) + added if added > 0 else 0
    if files > source.limits.max_files:
        raise SyncFailed("Limit", f"{files:,} files, limits.max_files is {source.limits.max_files:,}")
    _spellings(source, layout, touched, inventory)
    _clashes(source, layout, touched, inventory)
    return Changes(layout, touched)


def _layout(source: GitSource, paths: Iterable[str], stored: Layout | None, *, only_new: bool = False) -> Layout:
    if source.layout is not Layout.AUTO:
        return source.layout
    found = detect(paths)
    if stored is None:
        if found is Layout.KESTRA_TASKS and source.target_namespace is None:
            raise SyncFailed("Configuration", "the repository has the layout kestra-tasks: set target_namespace")
        return found
    if _RANK[found] < _RANK[stored]:
        raise SyncFailed(
            "LayoutChanged",
            f"G021: the repository was read as layout '{stored}' and now looks like '{found}'",
            hint=f"set `layout: {stored}` or `layout: {found}` on the source",
        )
    if found is not stored and not only_new and stored is Layout.LANNER and found is not Layout.FLAT:
        raise SyncFailed("LayoutChanged", f"G021: the layout changed from '{stored}' to '{found}'")
    return stored


def _place(source: GitSource, path: str, layout: Layout) -> Placed | None:
    if not selected(path, source.include, source.ignore):
        return None
    return place(path, layout, source.target_namespace)


def _placed_before(source: GitSource, path: str, layout: Layout, kind: str, namespace: str) -> Placed:
    """Where an inventory's path stood, also when the present policy would not select it any more."""
    return place(path, layout, source.target_namespace) or Placed(Kind(kind), namespace)


def _entry_problems(source: GitSource, entry: Entry, placed: Placed) -> tuple[Problem, ...]:
    why = unsafe_path(entry.path)
    if why:
        return (_problem("G036", f"the path {why}"),)
    if entry.path.count("/") >= MAX_DEPTH:
        return (_problem("G036", f"deeper than {MAX_DEPTH} folders"),)
    if entry.mode == "120000":
        return (_problem("G031", "a symbolic link, which is never followed", "commit the file itself"),)
    if entry.mode == "160000":
        return (_problem("G032", "a submodule, which is not followed", "commit the files, or add another source"),)
    if entry.mode not in ("100644", "100755", "100664"):
        return (_problem("G033", f"unsupported file mode {entry.mode}"),)
    if placed.fault:
        return (_problem("G036", placed.fault),)
    name, limit = (
        ("max_flow_bytes", source.limits.max_flow_bytes)
        if placed.kind is not Kind.FILE
        else ("max_file_bytes", source.limits.max_file_bytes)
    )
    if entry.size > limit:
        return (_problem("G034", f"{entry.size:,} bytes, limits.{name} is {limit:,}"),)
    return ()


def _spellings(source: GitSource, layout: Layout, touched: dict[str, Touched], inventory: Inventory) -> None:
    """``G022``: one namespace written as two folders, ``a.b`` and ``a/b``."""
    if layout is not Layout.LANNER:
        return
    names = {t.placed.namespace for t in touched.values() if t.entry is not None}
    folders: dict[str | None, dict[str, str]] = {}
    for path, t in touched.items():
        if t.entry is not None:
            folders.setdefault(t.placed.namespace, {}).setdefault(t.placed.folder, path)
    for path, item in inventory.by_path.items():
        if item.namespace in names and path not in touched and item.seen is not None:
            before = place(path, layout)
            if before is not None:
                folders.setdefault(before.namespace, {}).setdefault(before.folder, path)
    for namespace, found in folders.items():
        if len(found) > 1:
            spelt = " and ".join(sorted(f"namespaces/{folder}" for folder in found))
            problem = _problem("G022", f"namespace '{namespace}' is written twice: {spelt}", "keep one of the two")
            for path, t in list(touched.items()):
                if t.entry is not None and t.placed.namespace == namespace:
                    touched[path] = _with(t, problem)
            for path in found.values():
                _mark(source, layout, touched, inventory, path, problem)


def _clashes(source: GitSource, layout: Layout, touched: dict[str, Touched], inventory: Inventory) -> None:
    """``G023``: two paths that are one on systems that fold case or normalize names."""
    added = [t.path for t in touched.values() if t.entry is not None and not _was_there(inventory, t.path)]
    if not added:
        return
    by_fold: dict[str, list[str]] = {}
    for path, t in touched.items():
        if t.entry is not None:
            by_fold.setdefault(folded(path), []).append(path)
    wanted = {folded(path) for path in added}
    for path, item in inventory.by_path.items():
        if path not in touched and item.seen is not None and folded(path) in wanted:
            by_fold[folded(path)].append(path)
    for fold in wanted:
        paths = sorted(by_fold[fold])
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(repr(other) for other in paths if other != path)
            problem = _problem("G023", f"differs only by case or Unicode form from {others}", "rename one of them")
            _mark(source, layout, touched, inventory, path, problem)


def _was_there(inventory: Inventory, path: str) -> bool:
    item = inventory.by_path.get(path)
    return item is not None and item.seen is not None and item.state != "held"


def _mark(
    source: GitSource, layout: Layout, touched: dict[str, Touched], inventory: Inventory, path: str, problem: Problem
) -> None:
    if path in touched:
        touched[path] = _with(touched[path], problem)
        return
    item = inventory.by_path[path]
    assert item.seen is not None
    placed = _placed_before(source, path, layout, item.kind, item.namespace)
    touched[path] = Touched(path, Entry(path, item.mode, item.seen), placed, (problem,), again=True)


def _with(touched: Touched, problem: Problem) -> Touched:
    if any(known.code == problem.code and known.message == problem.message for known in touched.problems):
        return touched
    return Touched(touched.path, touched.entry, touched.placed, (*touched.problems, problem), touched.again)


def _problem(code: str, message: str, hint: str = "") -> Problem:
    return Problem(code, message, line=1, column=1, hint=hint)
