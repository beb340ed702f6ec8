"""Namespace files: a tree per namespace, each version valid from one generation of the registry to another.

Content lies in ``blob`` by its SHA-256. Paths begin with ``/``; folders exist through their files, or by a marker.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import InvalidInput, NotFound
from namespaces.revisions import next_generation
from namespaces.tables import BlobRow, FileRow, NamespaceRow

file_table = FileRow.__table__  # type: ignore[attr-defined]
blob_table = BlobRow.__table__  # type: ignore[attr-defined]
namespace_table = NamespaceRow.__table__  # type: ignore[attr-defined]

LONGEST_PATH = 1_024
LONGEST_NAME = 255
FOLDER = ".folder"
"""Name of the empty file that keeps an empty folder alive; never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version of a file; ``path`` begins with ``/``."""

    namespace: str
    path: str
    sha256: str
    size: int
    revision: int
    executable: bool
    source: str | None
    created_at: datetime


def clean(path: str) -> str:
    """The path as it is stored. Raises ``InvalidInput`` for what could mean another place on some system."""
    text = "/" + path.strip("/")
    if len(text) > LONGEST_PATH:
        raise InvalidInput(f"a path may have {LONGEST_PATH} characters, this one has {len(text)}", code="bad_path")
    for segment in text.split("/")[1:]:
        if segment == "" and text == "/":
            continue
        reason = _why_not(segment)
        if reason:
            raise InvalidInput(f"Invalid path '{path[:120]}': {reason}", code="bad_path")
    if text == "/_flows" or text.startswith("/_flows/"):
        raise InvalidInput(f"Forbidden path: {text}", code="forbidden_path")
    return unicodedata.normalize("NFC", text)


def _why_not(segment: str) -> str:
    if segment in ("", ".", ".."):
        return "it has an empty, '.' or '..' segment"
    if segment.lower() == ".git":
        return "'.git' is not a file of a namespace"
    if any(ord(c) < 32 or ord(c) == 127 for c in segment) or "\\" in segment:
        return "it has a control character or a backslash"
    if segment[-1] in ". ":
        return "a name must not end with a dot or a blank"
    if len(segment.encode()) > LONGEST_NAME:
        return f"a name may have {LONGEST_NAME} bytes"
    return ""


def _at(generation: int | None) -> Any:
    if generation is None:
        return file_table.c.to_generation.is_(None)
    return sa.and_(
        file_table.c.from_generation <= generation,
        sa.or_(file_table.c.to_generation.is_(None), file_table.c.to_generation > generation),
    )


def find(
    connection: Connection, namespace: str, path: str, *, generation: int | None = None, revision: int | None = None
) -> Entry | None:
    """The file now, at a generation, or a certain revision of it; None when there is none."""
    query = sa.select(file_table).where(file_table.c.namespace == namespace, file_table.c.path == clean(path))
    query = query.where(file_table.c.revision == revision) if revision is not None else query.where(_at(generation))
    row = connection.execute(query.order_by(file_table.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _entry(row)


def read(
    connection: Connection, namespace: str, path: str, *, generation: int | None = None, revision: int | None = None
) -> bytes | None:
    """The content, None when there is no such file."""
    entry = find(connection, namespace, path, generation=generation, revision=revision)
    if entry is None:
        return None
    return bytes(
        connection.execute(sa.select(blob_table.c.content).where(blob_table.c.sha256 == entry.sha256)).scalar_one()
    )


def paths(connection: Connection, namespace: str, *, generation: int | None = None) -> list[str]:
    """Paths of all files, sorted; markers of empty folders left out."""
    return [entry.path for entry in listing(connection, namespace, generation=generation) if not is_marker(entry.path)]


def is_marker(path: str) -> bool:
    return path.rsplit("/", 1)[-1] == FOLDER


def listing(connection: Connection, namespace: str, folder: str = "/", *, generation: int | None = None) -> list[Entry]:
    """Every file below a folder, by path; markers of empty folders included."""
    query = sa.select(file_table).where(file_table.c.namespace == namespace, _at(generation))
    prefix = clean(folder).rstrip("/")
    if prefix:
        escaped = prefix.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        query = query.where(file_table.c.path.like(f"{escaped}/%", escape="\\"))
    return [_entry(row) for row in connection.execute(query.order_by(file_table.c.path))]


def versions(connection: Connection, namespace: str, path: str) -> list[int]:
    """Revisions of a file, oldest first."""
    query = (
        sa.select(file_table.c.revision)
        .where(file_table.c.namespace == namespace, file_table.c.path == clean(path))
        .order_by(file_table.c.revision)
    )
    return [int(revision) for revision in connection.execute(query).scalars()]


def write(
    tx: Connection, namespace: str, path: str, content: bytes, *, now: datetime, executable: bool = False,
    source: str | None = None, generation: int | None = None,
) -> Entry:  # fmt: skip
    """Write the next version; an equal content keeps the present one. Raises ``InvalidInput`` for the path."""
    name = clean(path)
    digest = hashlib.sha256(content).hexdigest()
    before = find(tx, namespace, name)
    if before is not None and before.sha256 == digest and before.executable == executable and before.source == source:
        return before
    at = generation if generation is not None else next_generation(tx)
    keep(tx, {digest: content})
    _close(tx, namespace, [name], at)
    last = tx.execute(
        sa.select(sa.func.max(file_table.c.revision)).where(
            file_table.c.namespace == namespace, file_table.c.path == name
        )
    ).scalar()
    tx.execute(
        sa.insert(file_table).values(
            namespace=namespace,
            path=name,
            sha256=digest,
            size=len(content),
            executable=executable,
            source=source,
            revision=(last or 0) + 1,
            from_generation=at,
            created_at=now,
        )
    )
    if tx.execute(sa.select(namespace_table.c.name).where(namespace_table.c.name == namespace)).scalar() is None:
        tx.execute(sa.insert(namespace_table).values(name=namespace, created_at=now))
    entry = find(tx, namespace, name)
    if entry is None:
        raise NotFound(f"file '{name}' vanished while it was written")
    return entry


def keep(tx: Connection, contents: dict[str, bytes]) -> None:
    """Keep contents by their digest; what is there already stays."""
    digests = list(contents)
    known: set[str] = set()
    for start in range(0, len(digests), 400):
        known.update(
            tx.execute(
                sa.select(blob_table.c.sha256).where(blob_table.c.sha256.in_(digests[start : start + 400]))
            ).scalars()
        )
    new = [
        {"sha256": digest, "size": len(content), "content": content}
        for digest, content in contents.items()
        if digest not in known
    ]
    if new:
        tx.execute(sa.insert(blob_table), new)


def delete(tx: Connection, namespace: str, path: str, *, now: datetime) -> list[str]:  # noqa: ARG001
    """Remove a file, or a folder with everything in it; the paths that are gone (none: there was no such thing)."""
    name = clean(path)
    gone = [entry.path for entry in listing(tx, namespace, name)]
    if find(tx, namespace, name) is not None:
        gone.append(name)
    if gone:
        _close(tx, namespace, gone, next_generation(tx))
    return gone


def move(tx: Connection, namespace: str, source: str, target: str, *, now: datetime) -> None:
    """Move a file or folder. Raises ``NotFound``, and ``InvalidInput`` when the target exists."""
    old, new = clean(source), clean(target)
    moved = {entry.path: new + entry.path.removeprefix(old) for entry in listing(tx, namespace, old)}
    if find(tx, namespace, old) is not None:
        moved[old] = new
    if not moved:
        raise NotFound(f"file '{old}' does not exist")
    taken = [path for path in moved.values() if find(tx, namespace, path) is not None]
    if taken:
        raise InvalidInput(f"'{taken[0]}' exists already", code="file_exists")
    for path, to in moved.items():
        content = read(tx, namespace, path)
        if content is not None:
            write(tx, namespace, to, content, now=now)
    _close(tx, namespace, list(moved), next_generation(tx))


def _close(tx: Connection, namespace: str, names: Sequence[str], generation: int) -> None:
    for start in range(0, len(names), 400):
        tx.execute(
            sa.update(file_table)
            .where(
                file_table.c.namespace == namespace,
                file_table.c.path.in_(names[start : start + 400]),
                file_table.c.to_generation.is_(None),
            )
            .values(to_generation=generation)
        )


def _entry(row: Any) -> Entry:
    return Entry(
        namespace=row.namespace,
        path=row.path,
        sha256=row.sha256,
        size=row.size,
        revision=row.revision,
        executable=bool(row.executable),
        source=row.source,
        created_at=row.created_at,
    )
