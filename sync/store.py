"""The rows of this room as plain values: reading sources, inventories, runs; the small writes of the loop.

What one plan changes is in ``sync.apply``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import declarations, revisions
from namespaces.errors import NotFound, Problem, Severity
from namespaces.tables import FileRow, FlowRow, RevisionRow
from sync.inventory import Inventory, Item, Key
from sync.layouts import Kind
from sync.model import Delivery, GitSource, ItemView, State, Status, SyncResult, SyncRun
from sync.plan import Fact
from sync.tables import GitDeliveryRow, GitHookRow, GitItemRow, GitSourceRow, SyncResultRow, SyncRunRow

source_table = GitSourceRow.__table__  # type: ignore[attr-defined]
item_table = GitItemRow.__table__  # type: ignore[attr-defined]
run_table = SyncRunRow.__table__  # type: ignore[attr-defined]
result_table = SyncResultRow.__table__  # type: ignore[attr-defined]
delivery_table = GitDeliveryRow.__table__  # type: ignore[attr-defined]
hook_table = GitHookRow.__table__  # type: ignore[attr-defined]
flow_table = FlowRow.__table__  # type: ignore[attr-defined]
revision_table = RevisionRow.__table__  # type: ignore[attr-defined]
file_table = FileRow.__table__  # type: ignore[attr-defined]

CHUNK = 400
BULK = 2_000
"""From so many keys on, one pass over the table is cheaper than looking each up."""

IN_PROGRESS_S = 60
"""A commit seen so long ago and not applied yet shows as out of sync."""
RELEASED = State.RELEASED


def register(tx: Connection, sources: Sequence[GitSource], *, origin: str, now: datetime) -> None:
    """Make the rows of configured sources; rows of this origin that are no longer configured become ``Released``."""
    rows = {row.name: row for row in tx.execute(sa.select(source_table))}
    for source in sources:
        old = rows.pop(source.name, None)
        values: dict[str, Any] = {"origin": origin, "config": dict(source.written)}
        if old is None:
            tx.execute(
                sa.insert(source_table).values(name=source.name, requested_at=now, request_trigger="start", **values)
            )
            continue
        if old.origin == origin and old.config == values["config"] and old.state != RELEASED:
            continue
        if old.state == RELEASED:
            values |= {"state": State.UNKNOWN, "reason": "", "message": ""}
            resume_triggers(tx, source.name)
        tx.execute(sa.update(source_table).where(source_table.c.name == source.name).values(**values))
    for name, row in rows.items():
        if row.origin == origin and row.state != RELEASED:
            release(tx, name)


def release(tx: Connection, name: str) -> None:
    """The source is no longer configured: what it applied stays, with its triggers paused."""
    declarations.pause(tx, name, revisions.next_generation(tx))
    tx.execute(
        sa.update(source_table)
        .where(source_table.c.name == name)
        .values(
            state=RELEASED,
            reason="",
            message="no longer configured; its flows stay and can be adopted by another source",
            plan=None,
            requested_at=None,
        )
    )


def resume_triggers(tx: Connection, name: str) -> None:
    """The source answers for its flows again, or now: their triggers go on."""
    declarations.resume(tx, name, partial(revisions.next_generation, tx))


def rows_of(connection: Connection) -> list[Any]:
    """All source rows by name."""
    return list(connection.execute(sa.select(source_table).order_by(source_table.c.name)))


def row_of(connection: Connection, name: str, *, lock: bool = False) -> Any:
    """One source row. Raises ``NotFound``."""
    query = sa.select(source_table).where(source_table.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no Git source '{name}'")
    return row


def update(tx: Connection, name: str, **values: Any) -> None:
    tx.execute(sa.update(source_table).where(source_table.c.name == name).values(**values))


def inventory_of(connection: Connection, name: str) -> Inventory:
    """The whole inventory of a source."""
    names = ("path", "kind", "namespace", "key", "mode", "blob_oid", "seen_oid", "state", "problems", "tied")
    columns = [item_table.c[column] for column in names]
    rows = connection.execute(sa.select(*columns).where(item_table.c.source == name))
    return Inventory.of(
        Item(path, kind, namespace, key, mode, oid, seen, state, load_problems(problems), tied or "")
        for path, kind, namespace, key, mode, oid, seen, state, problems, tied in rows
    )


def facts_of(connection: Connection, keys: Collection[Key]) -> dict[Key, Fact]:
    """What the registry holds under these keys; a key it never knew is left out."""
    released = set(connection.execute(sa.select(source_table.c.name).where(source_table.c.state == RELEASED)).scalars())
    known = set(connection.execute(sa.select(source_table.c.name)).scalars())
    found: dict[Key, Fact] = {}

    def fact(owner: str | None, deleted: bool, checksum: str) -> Fact:
        gone = owner is not None and (owner in released or owner not in known)
        return Fact(owner, bool(deleted), checksum, gone)

    flows = [key for key in keys if key[0] == Kind.FLOW]
    columns = (
        flow_table.c.namespace,
        flow_table.c.id,
        flow_table.c.source,
        flow_table.c.deleted,
        revision_table.c.checksum,
    )
    query = sa.select(*columns).join(
        revision_table,
        sa.and_(
            revision_table.c.namespace == flow_table.c.namespace,
            revision_table.c.flow_id == flow_table.c.id,
            revision_table.c.revision == flow_table.c.revision,
        ),
    )
    for condition in _conditions(flows, flow_table.c.namespace, flow_table.c.id):
        for namespace, flow_id, owner, deleted, checksum in connection.execute(query.where(condition)):
            found[Kind.FLOW, namespace, flow_id] = fact(owner, deleted, checksum)
    files = [key for key in keys if key[0] == Kind.FILE]
    file_query = sa.select(file_table.c.namespace, file_table.c.path, file_table.c.source, file_table.c.sha256).where(
        file_table.c.to_generation.is_(None)
    )
    for condition in _conditions(files, file_table.c.namespace, file_table.c.path):
        for namespace, path, owner, sha256 in connection.execute(file_query.where(condition)):
            found[Kind.FILE, namespace, path] = fact(owner, False, sha256)
    return found


def _conditions(keys: Sequence[Key], namespaces: Any, names: Any) -> Iterable[Any]:
    if not keys:
        return
    if len(keys) > BULK:
        yield sa.true()
        return
    by_namespace: dict[str, list[str]] = {}
    for _, namespace, name in keys:
        by_namespace.setdefault(namespace, []).append(name)
    for namespace, wanted in by_namespace.items():
        for start in range(0, len(wanted), CHUNK):
            yield sa.and_(namespaces == namespace, names.in_(wanted[start : start + CHUNK]))


def dump_problems(problems: Sequence[Problem]) -> list[dict[str, Any]] | None:
    """At most 100 findings a file, the rest as a count."""
    if not problems:
        return None
    dumped: list[dict[str, Any]] = [
        {"code": p.code, "message": p.message[:1000], "path": p.path, "line": p.line, "column": p.column,
         "severity": str(p.severity), "hint": p.hint}
        for p in problems[:100]
    ]  # fmt: skip
    if len(problems) > 100:
        dumped.append({"code": "", "message": f"and {len(problems) - 100} more", "severity": "info"})
    return dumped


def load_problems(dumped: Any) -> tuple[Problem, ...]:
    if not dumped:
        return ()
    return tuple(
        Problem(
            code=p.get("code", ""),
            message=p.get("message", ""),
            path=p.get("path", ""),
            line=p.get("line", 0),
            column=p.get("column", 0),
            severity=Severity(p.get("severity", "error")),
            hint=p.get("hint", ""),
        )
        for p in dumped
    )


def status_of(
    row: Any, source: GitSource | None, counts: Mapping[str, int], hook_id: str | None, now: datetime
) -> Status:
    """The row as people see it."""
    config = row.config or {}
    ref = config.get("ref") or {"branch": "main"}
    lag = None
    if row.seen_commit and row.seen_commit != row.applied_commit and row.seen_at:
        lag = max((now - row.seen_at).total_seconds(), 0.0)
    state, reason = State(row.state), row.reason or ""
    if state in (State.SYNCED, State.UNKNOWN) and lag is not None and lag > IN_PROGRESS_S:
        state, reason = State.OUT_OF_SYNC, "InProgress"
    return Status(
        name=row.name,
        url=source.url if source else str(config.get("url", "")),
        ref=" ".join(f"{kind} {value}" for kind, value in ref.items() if value is not None),
        path=str(config.get("path", "")),
        layout=row.layout or str(config.get("layout", "auto")),
        state=state,
        reason=reason,
        message=row.message or "",
        stale=state is not State.ERROR and row.fail_count > 0,
        paused=bool(row.paused),
        origin=row.origin,
        namespaces=tuple(config.get("namespaces", ())),
        applied_commit=row.applied_commit,
        applied=row.applied_info,
        applied_at=row.applied_at,
        seen_commit=row.seen_commit,
        seen=row.seen_info,
        seen_at=row.seen_at,
        lag_seconds=lag,
        generation=row.generation,
        last_success_at=row.checked_at,
        next_attempt_at=row.next_poll_at,
        fail_count=row.fail_count,
        counts=dict(counts),
        plan=row.plan,
        hook_id=hook_id,
        provider=(config.get("webhook") or {}).get("provider"),
        pinned_commit=row.pinned_commit,
        pin=row.pin,
    )


def counts_of(connection: Connection, name: str) -> dict[str, int]:
    """Number of items by ``kind.state``."""
    rows = connection.execute(
        sa.select(item_table.c.kind, item_table.c.state, sa.func.count())
        .where(item_table.c.source == name)
        .group_by(item_table.c.kind, item_table.c.state)
    )
    return {f"{kind}.{state}": count for kind, state, count in rows}


def items_of(connection: Connection, name: str, *, state: str | None, limit: int, offset: int) -> list[ItemView]:
    query = sa.select(item_table).where(item_table.c.source == name)
    if state is not None:
        query = query.where(item_table.c.state == state)
    rows = connection.execute(query.order_by(item_table.c.path).limit(limit).offset(offset))
    return [
        ItemView(
            path=row.path,
            kind=row.kind,
            namespace=row.namespace,
            key=row.key,
            state=row.state,
            mode=row.mode,
            blob_oid=row.blob_oid,
            seen_oid=row.seen_oid,
            problems=load_problems(row.problems),
        )
        for row in rows
    ]


def runs_of(
    connection: Connection, *, source: str | None = None, outcome: str | None = None, limit: int = 50, offset: int = 0
) -> list[SyncRun]:
    """Runs, newest first."""
    query = sa.select(run_table)
    if source is not None:
        query = query.where(run_table.c.source == source)
    if outcome is not None:
        query = query.where(run_table.c.outcome == outcome)
    rows = connection.execute(
        query.order_by(run_table.c.started_at.desc(), run_table.c.id.desc()).limit(limit).offset(offset)
    )
    return [_run(row) for row in rows]


def run_of(connection: Connection, run_id: str) -> SyncRun:
    """One run. Raises ``NotFound``."""
    row = connection.execute(sa.select(run_table).where(run_table.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no sync run '{run_id}'")
    return _run(row)


def has_run(connection: Connection, run_id: str) -> bool:
    return connection.execute(sa.select(run_table.c.id).where(run_table.c.id == run_id)).first() is not None


def _run(row: Any) -> SyncRun:
    return SyncRun(
        id=row.id,
        source=row.source,
        trigger=row.trigger,
        requested_by=row.requested_by,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        from_commit=row.from_commit,
        to_commit=row.to_commit,
        rewritten=bool(row.rewritten),
        reason=row.reason,
        message=row.message,
        generation=row.generation,
        counts=row.counts or {},
        plan_hash=row.plan_hash,
        durations=row.durations or {},
    )


def results_of(connection: Connection, run_id: str, *, limit: int = 10_000, offset: int = 0) -> list[SyncResult]:
    query = sa.select(result_table).where(result_table.c.run_id == run_id)
    rows = connection.execute(query.order_by(result_table.c.id).limit(limit).offset(offset))
    return [
        SyncResult(
            path=row.path,
            kind=row.kind,
            namespace=row.namespace,
            key=row.key,
            action=row.action,
            code=row.code,
            line=row.line,
            column=row.col,
            message=row.message,
            severity=row.severity,
        )
        for row in rows
    ]


def deliveries_of(connection: Connection, source: str, limit: int) -> list[Delivery]:
    rows = connection.execute(
        sa.select(delivery_table)
        .join(hook_table, hook_table.c.hook_id == delivery_table.c.hook_id)
        .where(hook_table.c.source == source)
        .order_by(delivery_table.c.received_at.desc())
        .limit(limit)
    )
    return [
        Delivery(
            delivery_id=row.delivery_id, received_at=row.received_at, event=row.event, ref=row.ref, result=row.result
        )
        for row in rows
    ]


def purge_runs(tx: Connection, source: str, *, before: datetime, keep: int) -> int:
    """Remove runs with their results that are older, or not among the newest ``keep``; how many went."""
    newest = (
        sa.select(run_table.c.id)
        .where(run_table.c.source == source)
        .order_by(run_table.c.started_at.desc(), run_table.c.id.desc())
        .limit(keep)
    )
    old = list(
        tx.execute(
            sa.select(run_table.c.id).where(
                run_table.c.source == source,
                sa.or_(run_table.c.started_at < before, run_table.c.id.not_in(newest)),
            )
        ).scalars()
    )
    for start in range(0, len(old), CHUNK):
        part = old[start : start + CHUNK]
        tx.execute(sa.delete(result_table).where(result_table.c.run_id.in_(part)))
        tx.execute(sa.delete(run_table).where(run_table.c.id.in_(part)))
    return len(old)


def insert_run(tx: Connection, run: SyncRun) -> None:
    tx.execute(
        sa.insert(run_table).values(
            id=run.id,
            source=run.source,
            trigger=run.trigger,
            requested_by=run.requested_by,
            from_commit=run.from_commit,
            to_commit=run.to_commit,
            rewritten=run.rewritten,
            started_at=run.started_at,
            ended_at=run.ended_at,
            outcome=run.outcome,
            reason=run.reason,
            message=run.message[:2000],
            generation=run.generation,
            counts=dict(run.counts),
            plan_hash=run.plan_hash,
            durations=dict(run.durations),
        )
    )
