"""Flow revisions and their trigger declarations: the one door through which sync and API change the registry.

Functions take the connection of the unit of work they are part of; everything in one plan is one transaction.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.declarations import Declaration, declaration, declarations, declarations_of, declare, forget
from namespaces.errors import Conflict, NotFound
from namespaces.flows.model import Flow
from namespaces.store.statements import Query
from namespaces.tables import CounterRow, FlowRow, NamespaceRow, RevisionRow

flow_table = FlowRow.__table__  # type: ignore[attr-defined]
revision_table = RevisionRow.__table__  # type: ignore[attr-defined]
namespace_table = NamespaceRow.__table__  # type: ignore[attr-defined]
counter_table = CounterRow.__table__  # type: ignore[attr-defined]

CHUNK = 400
"""Keys in one IN list: below SQLite's limit of host parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a revision came from in Git. ``commit`` is the full id, ``path`` the file within the repository."""

    source: str
    commit: str
    path: str
    blob_oid: str
    author_name: str = ""
    author_email: str = ""
    committed_at: datetime | None = None
    message: str = ""
    renamed_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A flow to be saved: the exact text and what it means."""

    flow: Flow
    text: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One stored revision."""

    namespace: str
    id: str
    revision: int
    text: str
    deleted: bool
    created_at: datetime
    latest: int
    disabled: bool = False
    source: str | None = None
    """Name of the Git source that owns the flow now; None: managed through the API."""
    broken: str | None = None
    from_generation: int = 0
    origin: Origin | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Outcome of a save: ``changed`` is false when the text was already the newest revision."""

    namespace: str
    id: str
    revision: int
    changed: bool


_REVISION_LINE = re.compile(r"^revision:[^\n]*\n?", re.MULTILINE)


def normalized(text: str) -> str:
    """The text as revisions are compared: one kind of line end, no top-level ``revision:`` line, no outer blanks."""
    return _REVISION_LINE.sub("", text.replace("\r\n", "\n").removeprefix("\ufeff")).strip()


def checksum(text: str) -> str:
    return hashlib.sha256(normalized(text).encode("utf-8", "surrogatepass")).hexdigest()


def generation(connection: Connection) -> int:
    """The registry's generation: grows by one with each applied plan and each save."""
    return int(_GENERATION.scalar(connection) or 0)


def lock(tx: Connection) -> None:
    """Let savers wait for each other before they look, so that what they saw still holds when they write."""
    locked = sa.select(counter_table.c.value).where(counter_table.c.name == "catalog_version").with_for_update()
    if tx.execute(locked).scalar() is None:
        # Nothing was ever saved: without a row there is nothing to wait for. On a clash this unit is tried again.
        tx.execute(sa.insert(counter_table).values(name="catalog_version", value=0))


def next_generation(tx: Connection) -> int:
    """Raise the generation; the caller's changes belong to the returned one."""
    raised = tx.execute(
        sa.update(counter_table)
        .where(counter_table.c.name == "catalog_version")
        .values(value=counter_table.c.value + 1)
        .returning(counter_table.c.value)
    ).scalar()
    if raised is None:
        tx.execute(sa.insert(counter_table).values(name="catalog_version", value=1))
        return 1
    return int(raised)


def save(tx: Connection, drafts: Sequence[Draft], *, now: datetime, generation: int) -> list[Saved]:
    """Write revision n+1 of each flow whose text differs from its newest, and its trigger declarations.

    Ownership is the caller's business (``managed_by`` below, the sync plan). The cost is that of the drafts given.
    """
    keys = [(draft.flow.namespace, draft.flow.id) for draft in drafts]
    known = dict(_current(tx, keys))
    saved: list[Saved] = []
    new_flows: list[dict[str, Any]] = []
    old_flows: list[dict[str, Any]] = []
    revisions: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    written: list[tuple[Flow, int]] = []
    for draft in drafts:
        flow, origin = draft.flow, draft.origin
        digest = checksum(draft.text)
        current = known.get((flow.namespace, flow.id))
        values = {
            "source": origin.source if origin else None,
            "disabled": flow.disabled,
            "deleted": False,
            "broken": None,
            "description": flow.description,
            "labels": [list(pair) for pair in flow.labels],
        }
        if current is not None and not current.deleted and current.checksum == digest:
            if current.source != values["source"]:
                old_flows.append(
                    {"k_ns": flow.namespace, "k_id": flow.id, "revision": current.revision, "updated_at": now, **values}
                )
            saved.append(Saved(namespace=flow.namespace, id=flow.id, revision=current.revision, changed=False))
            continue
        number = current.revision + 1 if current is not None else 1
        if current is None:
            new_flows.append(
                {"namespace": flow.namespace, "id": flow.id, "revision": number, "updated_at": now, **values}
            )
        else:
            old_flows.append({"k_ns": flow.namespace, "k_id": flow.id, "revision": number, "updated_at": now, **values})
            closed.append({"k_ns": flow.namespace, "k_id": flow.id, "k_rev": current.revision, "closed": generation})
        revisions.append(_revision_values(draft, number, digest, now, generation))
        written.append((flow, number))
        saved.append(Saved(namespace=flow.namespace, id=flow.id, revision=number, changed=True))
    _close(tx, closed)
    if new_flows:
        tx.execute(sa.insert(flow_table), new_flows)
    _update_flows(tx, old_flows)
    if revisions:
        tx.execute(sa.insert(revision_table), revisions)
    declare(tx, written, generation)
    _ensure_namespaces(tx, {flow.namespace for flow, _ in written}, now)
    return saved


def delete(
    tx: Connection, keys: Iterable[tuple[str, str]], *, now: datetime, generation: int, origin: Origin | None = None
) -> list[Saved]:
    """Write a deleted revision for each flow that exists; its triggers stop with this commit."""
    gone: list[Saved] = []
    revisions: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    flows: list[dict[str, Any]] = []
    for (namespace, flow_id), row in _current(tx, list(keys)):
        if row.deleted:
            continue
        number = row.revision + 1
        revisions.append(
            {
                "namespace": namespace,
                "flow_id": flow_id,
                "revision": number,
                "text": row.text,
                "checksum": row.checksum,
                "deleted": True,
                "created_at": now,
                "from_generation": generation,
                **_origin_values(origin),
            }
        )
        closed.append({"k_ns": namespace, "k_id": flow_id, "k_rev": row.revision, "closed": generation})
        flows.append({"k_ns": namespace, "k_id": flow_id, "revision": number, "deleted": True, "updated_at": now})
        gone.append(Saved(namespace=namespace, id=flow_id, revision=number, changed=True))
    _close(tx, closed)
    if flows:
        tx.execute(
            sa.update(flow_table)
            .where(flow_table.c.namespace == sa.bindparam("k_ns"), flow_table.c.id == sa.bindparam("k_id"))
            .values(
                revision=sa.bindparam("revision"),
                deleted=sa.bindparam("deleted"),
                updated_at=sa.bindparam("updated_at"),
            ),
            flows,
        )
        tx.execute(sa.insert(revision_table), revisions)
        forget(tx, [(saved.namespace, saved.id) for saved in gone])
    return gone


def managed_by(connection: Connection, namespace: str, flow_id: str) -> str | None:
    """The Git source that owns the flow, None when the API does or when it does not exist."""
    return connection.execute(
        sa.select(flow_table.c.source).where(flow_table.c.namespace == namespace, flow_table.c.id == flow_id)
    ).scalar()


def require_api_managed(connection: Connection, namespace: str, flow_id: str) -> None:
    """Raise 409 ``managed_by_git`` for a flow that a Git source owns."""
    source = managed_by(connection, namespace, flow_id)
    if source is not None:
        raise Conflict(
            f"flow '{namespace}.{flow_id}' is managed by the Git source '{source}'",
            code="managed_by_git",
            hint="change the file in the repository and push; the sync brings it here",
        )


def _select() -> sa.Select[Any]:
    return sa.select(
        revision_table,
        flow_table.c.revision.label("latest"),
        flow_table.c.disabled,
        flow_table.c.source.label("owner"),
        flow_table.c.broken,
    ).join(
        flow_table,
        sa.and_(flow_table.c.namespace == revision_table.c.namespace, flow_table.c.id == revision_table.c.flow_id),
    )


# Built once: this is on the path of every start.
_LATEST = Query(
    _select().where(
        flow_table.c.namespace == sa.bindparam("k_ns"),
        flow_table.c.id == sa.bindparam("k_id"),
        revision_table.c.revision == flow_table.c.revision,
    )
)
_GENERATION = Query(sa.select(counter_table.c.value).where(counter_table.c.name == "catalog_version"))


def latest(connection: Connection, namespace: str, flow_id: str, *, allow_deleted: bool = False) -> Stored | None:
    """The newest revision, None when the flow never existed or is deleted."""
    row = _LATEST.one_or_none(connection, k_ns=namespace, k_id=flow_id)
    if row is None or (row.deleted and not allow_deleted):
        return None
    return _stored(row)


def at_revision(connection: Connection, namespace: str, flow_id: str, revision: int) -> Stored | None:
    """That revision, deleted ones included; None when there is none."""
    row = connection.execute(
        _select().where(
            revision_table.c.namespace == namespace,
            revision_table.c.flow_id == flow_id,
            revision_table.c.revision == revision,
        )
    ).one_or_none()
    return _stored(row) if row is not None else None


def at_generation(connection: Connection, namespace: str, flow_id: str, generation: int) -> Stored | None:
    """The revision that was the newest at that generation, None when the flow was not there then."""
    row = connection.execute(
        _select()
        .where(
            revision_table.c.namespace == namespace,
            revision_table.c.flow_id == flow_id,
            revision_table.c.from_generation <= generation,
        )
        .order_by(revision_table.c.revision.desc())
        .limit(1)
    ).one_or_none()
    return _stored(row) if row is not None and not row.deleted else None


def history(connection: Connection, namespace: str, flow_id: str) -> list[Stored]:
    """All revisions, oldest first, deleted ones included. Raises ``NotFound`` for an unknown flow."""
    rows = connection.execute(
        _select()
        .where(revision_table.c.namespace == namespace, revision_table.c.flow_id == flow_id)
        .order_by(revision_table.c.revision)
    ).all()
    if not rows:
        raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
    return [_stored(row) for row in rows]


def of_namespace(connection: Connection, namespace: str) -> list[Stored]:
    """The newest revisions of the flows of exactly this namespace, by id."""
    rows = connection.execute(
        _select()
        .where(
            flow_table.c.namespace == namespace,
            flow_table.c.deleted.is_(False),
            revision_table.c.revision == flow_table.c.revision,
        )
        .order_by(flow_table.c.id)
    )
    return [_stored(row) for row in rows]


def _current(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[tuple[tuple[str, str], Any]]:
    columns = (
        flow_table.c.namespace,
        flow_table.c.id,
        flow_table.c.revision,
        flow_table.c.deleted,
        flow_table.c.source,
        revision_table.c.checksum,
        revision_table.c.text,
    )
    join = sa.and_(
        revision_table.c.namespace == flow_table.c.namespace,
        revision_table.c.flow_id == flow_table.c.id,
        revision_table.c.revision == flow_table.c.revision,
    )
    found: list[tuple[tuple[str, str], Any]] = []
    by_namespace: dict[str, list[str]] = {}
    for namespace, flow_id in keys:
        by_namespace.setdefault(namespace, []).append(flow_id)
    for namespace, ids in by_namespace.items():
        for start in range(0, len(ids), CHUNK):
            rows = connection.execute(
                sa.select(*columns)
                .join(revision_table, join)
                .where(flow_table.c.namespace == namespace, flow_table.c.id.in_(ids[start : start + CHUNK]))
            )
            found.extend(((row.namespace, row.id), row) for row in rows)
    return found


def _origin_values(origin: Origin | None) -> dict[str, Any]:
    return {
        "source": origin.source if origin else None,
        "commit": origin.commit if origin else None,
        "path": origin.path if origin else None,
        "blob_oid": origin.blob_oid if origin else None,
        "author_name": origin.author_name if origin else None,
        "author_email": origin.author_email if origin else None,
        "committed_at": origin.committed_at if origin else None,
        "message": origin.message if origin else None,
        "renamed_from": origin.renamed_from if origin else None,
    }


def _revision_values(draft: Draft, number: int, digest: str, now: datetime, generation: int) -> dict[str, Any]:
    return {
        "namespace": draft.flow.namespace,
        "flow_id": draft.flow.id,
        "revision": number,
        "text": draft.text,
        "checksum": digest,
        "deleted": False,
        "created_at": now,
        "from_generation": generation,
        **_origin_values(draft.origin),
    }


def _close(tx: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        tx.execute(
            sa.update(revision_table)
            .where(
                revision_table.c.namespace == sa.bindparam("k_ns"),
                revision_table.c.flow_id == sa.bindparam("k_id"),
                revision_table.c.revision == sa.bindparam("k_rev"),
            )
            .values(to_generation=sa.bindparam("closed")),
            rows,
        )


def _update_flows(tx: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        names = [name for name in rows[0] if not name.startswith("k_")]
        tx.execute(
            sa.update(flow_table)
            .where(flow_table.c.namespace == sa.bindparam("k_ns"), flow_table.c.id == sa.bindparam("k_id"))
            .values({name: sa.bindparam(name) for name in names}),
            rows,
        )


def _ensure_namespaces(tx: Connection, names: set[str], now: datetime) -> None:
    known = set(tx.execute(sa.select(namespace_table.c.name).where(namespace_table.c.name.in_(names))).scalars())
    missing = sorted(names - known)
    if missing:
        tx.execute(sa.insert(namespace_table), [{"name": name, "created_at": now} for name in missing])


def _stored(row: Any) -> Stored:
    origin = None
    if row.commit:
        origin = Origin(
            source=row.source or "",
            commit=row.commit,
            path=row.path or "",
            blob_oid=row.blob_oid or "",
            author_name=row.author_name or "",
            author_email=row.author_email or "",
            committed_at=row.committed_at,
            message=row.message or "",
            renamed_from=row.renamed_from,
        )
    return Stored(
        namespace=row.namespace,
        id=row.flow_id,
        revision=row.revision,
        text=row.text,
        deleted=bool(row.deleted),
        created_at=row.created_at,
        latest=row.latest,
        disabled=bool(row.disabled),
        source=row.owner,
        broken=row.broken,
        from_generation=row.from_generation,
        origin=origin,
    )


__all__ = [
    "Declaration", "Draft", "Origin", "Saved", "Stored", "at_generation", "at_revision", "checksum", "declaration",
    "declarations", "declarations_of", "delete", "generation", "history", "latest", "managed_by", "next_generation",
    "normalized", "of_namespace", "require_api_managed", "save",
]  # fmt: skip
