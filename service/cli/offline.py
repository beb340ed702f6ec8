"""Checks flow files of a folder with the code of a sync, without database, network or git.

The folder is taken as if it were the tree of a first commit whose source may write every namespace.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from namespaces.errors import LannerError, NotFound, Problem, Severity

if TYPE_CHECKING:
    from sync.inventory import Entry
    from sync.model import GitSource
    from sync.reading import Digest, Parsed, Reader

SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
HUGE_BYTES = 64 * 1024 * 1024
"""Larger namespace files are not looked into; their size alone is judged."""


@dataclass(frozen=True, slots=True)
class Report:
    """``problems`` name files relative to the working folder; ``flows`` counts the flow files that were read."""

    problems: tuple[Problem, ...]
    flows: int


def check_path(path: Path, *, layout: str = "auto", target_namespace: str | None = None) -> Report:
    """Everything a sync would say about this file or folder. Raises ``NotFound`` and ``LannerError``."""
    from sync.changes import compare
    from sync.inventory import Inventory
    from sync.layouts import Kind
    from sync.plan import Situation, plan
    from sync.reading import Parsed

    root, names = files_of(path)
    if path.is_file():
        layout = "flat"
    source = _source(layout, target_namespace)
    entries = [_entry(root, name) for name in names]
    changes = compare(source, entries, Inventory(), None)
    reader = _reader()
    contents: dict[str, Parsed | Digest] = {}
    for name, touched in changes.touched.items():
        if touched.wants_content and touched.entry is not None:
            contents[name] = _content(root / name, touched.entry, touched.placed.namespace, reader, touched.placed.kind)
    situation = Situation(
        source=source,
        rules=(source.rule,),
        commit="",
        policy="",
        changes=changes,
        inventory=Inventory(),
        contents=contents,
        registry={},
    )
    found = [
        _judged(problem, alone=path.is_file()).at_file(_shown(path, root, item.path))
        for item in plan(situation).items
        for problem in item.problems
    ]
    found.sort(key=lambda problem: (problem.file, problem.line, problem.column, problem.code))
    flows = sum(
        isinstance(content, Parsed) and content.is_flow and not content.empty
        for name, content in contents.items()
        if changes.touched[name].placed.kind is Kind.FLOW
    )
    return Report(tuple(dict.fromkeys(found)), flows)


def _judged(problem: Problem, *, alone: bool) -> Problem:
    """A file by itself cannot show the flows it calls: their absence is worth a warning then, not an error."""
    return replace(problem, severity=Severity.WARNING) if alone and problem.code == "G060" else problem


def files_of(path: Path) -> tuple[Path, list[str]]:
    """The folder, and the files in it as a Git tree would name them; hidden folders hold tools, not flows."""
    if path.is_file() and not path.is_symlink():
        return path.parent, [path.name]
    if not path.is_dir():
        raise NotFound(f"there is no {path}")
    return path, sorted(_walk(path))


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [
            name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS and name not in links
        ]
        for name in (*files, *links):
            yield (here / name).relative_to(root).as_posix()


def _entry(root: Path, name: str) -> Entry:
    from sync.inventory import Entry

    about = (root / name).lstat()
    if stat.S_ISLNK(about.st_mode):
        mode = "120000"
    elif about.st_mode & stat.S_IXUSR:
        mode = "100755"
    else:
        mode = "100644"
    # The object id only has to tell files apart: nothing was applied before that it could equal.
    return Entry(name, mode, hashlib.sha256(name.encode()).hexdigest(), about.st_size)


def _content(path: Path, entry: Entry, namespace: str | None, reader: Reader, kind: str) -> Parsed | Digest:
    from sync.layouts import Kind
    from sync.reading import Digest, digest

    if kind == Kind.FILE and entry.size > HUGE_BYTES:
        return Digest("", entry.size)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LannerError(f"{path} cannot be read: {(error.strerror or 'error').lower()}") from error
    return digest(data) if kind == Kind.FILE else reader.parse(entry.oid, data, namespace)


def _reader() -> Reader:
    from namespaces.flows.catalog import Catalog, load_entry_points
    from namespaces.flows.parse import read_flow
    from sync.reading import Reader

    plugins = load_entry_points()
    catalog = Catalog(plugins.types)
    return Reader(lambda data, namespace: partial(read_flow, catalog=catalog)(data, namespace=namespace), str)


def _source(layout: str, target_namespace: str | None) -> GitSource:
    from sync.config import parse_sources

    values: dict[str, object] = {
        "name": "check",
        "url": "https://localhost/flows.git",
        "namespaces": ["**"],
        "layout": layout,
        # One broken file must not be repeated as "held" on its neighbours.
        "apply": {"atomicity": "file", "allow_empty": True},
    }
    if layout in {"auto", "kestra-tasks"}:
        values["target_namespace"] = target_namespace or "check"
    (source,) = parse_sources([values], resolve_credential=_no_credential)
    return source


def _no_credential(reference: str) -> str:
    raise LannerError(f"{reference} is not needed for a check")


def _shown(given: Path, root: Path, name: str) -> str:
    if given.is_file():
        return str(given)
    return name if str(given) == "." else str(root / name)
