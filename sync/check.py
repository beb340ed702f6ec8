"""Checks a folder, a work tree or a commit offline, with the same reading and planning as a sync. Changes nothing.

Printing, exit codes and explanations belong to the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from namespaces.errors import BadRequest, NotFound, Problem, Severity
from namespaces.flows.catalog import Catalog, load_entry_points
from namespaces.flows.parse import Reading, read_flow
from namespaces.ownership import SourceRule
from sync.addresses import Address
from sync.candidates import widen
from sync.changes import Changes, compare
from sync.errors import SyncFailed
from sync.git import Objects, find_git, run
from sync.inventory import Entry, Inventory
from sync.layouts import Kind, is_ignored, is_yaml
from sync.model import Apply, Atomicity, GitSource, Layout, Limits, Ref
from sync.plan import Situation, plan
from sync.reading import Digest, Parsed, Reader, digest

SKIPPED = frozenset({".git", ".venv", "node_modules", "__pycache__", ".tox"})
_FOLLOWS = "G061"
"""Said of a file that is held because of another one: in a check that other one is reported, that is enough."""


@dataclass(frozen=True, slots=True)
class Report:
    """Findings in the order of files and lines, and how many flow files were read."""

    problems: tuple[Problem, ...]
    flows: int
    layout: str = ""


@dataclass(frozen=True, slots=True)
class _Tree:
    entries: list[Entry]
    read: Any
    """(list of entries) -> contents in the same order."""


def check_path(
    path: Path | str,
    *,
    catalog: Catalog | None = None,
    layout: str = "auto",
    target_namespace: str | None = None,
    rev: str | None = None,
    strict: bool = False,
    reading_options: Mapping[str, Any] | None = None,
) -> Report:
    """All findings below ``path`` (a file, a folder, or with ``rev`` a commit of the Git repository there).

    ``strict`` makes warnings errors. Each finding's ``file`` is a path one can open (with ``rev``: within the
    commit). Raises ``NotFound`` and ``BadRequest``.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"there is no {path}")
    try:
        wanted = Layout(layout)
    except ValueError:
        raise BadRequest(f"'{layout}' is no layout: {', '.join(Layout)}") from None
    options = dict(reading_options or {})
    types = catalog if catalog is not None else _catalog()

    def read(text: bytes, namespace: str | None) -> Reading:
        return read_flow(text, types, namespace=namespace, **options)

    reader = Reader(read, lambda: "check")
    root, prefix, single = _root(path) if rev is None else (path, "", False)
    if rev is not None:
        with _Commit(path, rev) as tree:
            report = _check(tree, reader, wanted, target_namespace)
    elif single:
        report = _check_file(path, reader)
    else:
        report = _check(_folder(root), reader, wanted, target_namespace)
    shown = [p for p in report.problems if p.file == prefix or p.file.startswith(f"{prefix}/") or not prefix]
    if rev is None and not single:
        shown = [replace(p, file=_shown(path, root, p.file)) if p.file else p for p in shown]
    if strict:
        shown = [replace(p, severity=Severity.ERROR) if p.severity is Severity.WARNING else p for p in shown]
    shown.sort(key=lambda p: (p.file, p.line, p.column, p.code))
    return replace(report, problems=tuple(shown))


def _catalog() -> Catalog:
    """The types of this installation, third-party ones included."""
    plugins = load_entry_points()
    return Catalog(plugins.types)


def _root(path: Path) -> tuple[Path, str, bool]:
    """The folder whose tree has to be read, the part of it that is asked about, and whether that is one file alone.

    A folder or file below ``namespaces/`` only makes sense as part of the whole.
    """
    resolved = path.resolve()
    for parent in (resolved, *resolved.parents):
        if parent.name == "namespaces" and resolved != parent.parent:
            return parent.parent, resolved.relative_to(parent.parent).as_posix(), False
    return path, "", path.is_file()


def _shown(path: Path, root: Path, file: str) -> str:
    """The file as the caller could write it: below ``path`` when that is where it is."""
    full = root / file
    if path.is_absolute():
        return str(full)
    try:
        return os.path.relpath(full)
    except ValueError:
        return str(full)


def _check_file(path: Path, reader: Reader) -> Report:
    parsed = reader.parse(str(path), path.read_bytes(), None)
    return Report(tuple(problem.at_file(str(path)) for problem in parsed.problems), 1)


def _check(tree: _Tree, reader: Reader, layout: Layout, target: str | None) -> Report:
    source = GitSource(
        name="check",
        address=Address("", "file"),
        ref=Ref(kind="branch", value="main"),
        layout=layout,
        target_namespace=target,
        limits=Limits(max_files=1_000_000, max_total_bytes=2**40),
        # Per file: one finding does not hide what is wrong elsewhere.
        apply=Apply(atomicity=Atomicity.FILE, allow_empty=True),
        poll=timedelta(),
    )
    inventory = Inventory()
    try:
        changes = compare(source, tree.entries, inventory, None)
    except SyncFailed as failure:
        raise BadRequest(failure.message, hint=failure.hint) from failure
    contents = _contents(tree, changes, reader)
    changes = widen(changes, contents, inventory)
    made = plan(
        Situation(
            source=source,
            rules=(SourceRule(source.name, _namespaces(changes, contents)),),
            commit="",
            policy="",
            changes=changes,
            inventory=inventory,
            contents=contents,
            registry={},
        )
    )
    problems = [p.at_file(step.path) for step in made.steps for p in step.problems if p.code != _FOLLOWS]
    flows = sum(1 for content in contents.values() if isinstance(content, Parsed) and content.is_flow)
    return Report(tuple(problems), flows, str(changes.layout))


def _contents(tree: _Tree, changes: Changes, reader: Reader) -> dict[str, Parsed | Digest]:
    wanted = [t for t in changes.touched.values() if t.wants_content and t.entry is not None]
    contents: dict[str, Parsed | Digest] = {}
    for t, data in zip(wanted, tree.read([t.entry for t in wanted if t.entry is not None]), strict=True):
        assert t.entry is not None
        if t.placed.kind is Kind.FILE:
            contents[t.path] = digest(data)
        else:
            contents[t.path] = reader.parse(t.entry.oid, data, t.placed.namespace)
    return contents


def _namespaces(changes: Changes, contents: Mapping[str, Parsed | Digest]) -> tuple[str, ...]:
    """The namespaces of the tree itself: references within them have to resolve, others are somebody else's."""
    found: set[str] = set()
    for path, t in changes.touched.items():
        content = contents.get(path)
        if t.placed.namespace:
            found.add(t.placed.namespace)
        elif isinstance(content, Parsed) and content.namespace:
            found.add(content.namespace)
    return tuple(sorted(found))


def _folder(root: Path) -> _Tree:
    def read(entries: Iterable[Entry]) -> Iterator[bytes]:
        for entry in entries:
            yield (root / entry.path).read_bytes()

    return _Tree(list(_walk(root, "")), read)


def _walk(root: Path, prefix: str) -> Iterator[Entry]:
    with os.scandir(root / prefix if prefix else root) as found:
        listed = sorted(found, key=lambda entry: entry.name)
    for entry in listed:
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_symlink():
            yield Entry(path, "120000", path, 0)
        elif entry.is_dir(follow_symlinks=False):
            if entry.name not in SKIPPED:
                yield from _walk(root, path)
        elif entry.is_file(follow_symlinks=False) and (is_yaml(entry.name) or not is_ignored(path)):
            status = entry.stat(follow_symlinks=False)
            yield Entry(path, "100755" if status.st_mode & 0o100 else "100644", path, status.st_size)


class _Commit:
    """The tree of one commit of the repository at ``path``; nothing of its work tree is looked at."""

    def __init__(self, path: Path, rev: str) -> None:
        if rev.startswith("-") or any(ord(character) < 33 for character in rev):
            raise BadRequest(f"'{rev}' names no commit")
        self._git = find_git()
        self._path = path
        self._rev = rev
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "core.fsmonitor",
            "GIT_CONFIG_VALUE_0": "false",
            "GIT_CONFIG_KEY_1": "core.hooksPath",
            "GIT_CONFIG_VALUE_1": "/dev/null",
        }
        self._objects: Objects | None = None

    def __enter__(self) -> _Tree:
        listed = self._run("ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", f"{self._rev}^{{tree}}")
        entries: list[Entry] = []
        for record in listed.decode("utf-8", "surrogateescape").split("\0"):
            if record:
                head, path = record.split("\t", 1)
                mode, _, oid, size = head.split(None, 3)
                entries.append(Entry(path, mode, oid, int(size) if size.strip() != "-" else -1))
        objects = Objects(self._git, self._environment, self._path, timeout_s=300)
        self._objects = objects

        def read(wanted: Iterable[Entry]) -> Iterator[bytes]:
            return objects.read([entry.oid for entry in wanted])

        return _Tree(entries, read)

    def __exit__(self, *_: object) -> None:
        if self._objects is not None:
            self._objects.close()

    def _run(self, *arguments: str) -> bytes:
        done = run([self._git, *arguments], environment=self._environment, cwd=self._path, timeout_s=300)
        if done.status != 0:
            raise NotFound(f"'{self._rev}' names no commit of the repository at {self._path}")
        return done.output
