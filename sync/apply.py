"""Applies one plan in one transaction, or not at all: registry, inventory, source, run, audit and events together.

No git, no network, no parsing here: everything was read before. Step 12 of ``gitops.md`` 2.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from namespaces import crash, revisions
from namespaces.audit import Entry as AuditEntry
from namespaces.audit import append
from namespaces.revisions import Draft, Origin
from namespaces.store import leases, outbox
from namespaces.store.leases import Lease
from namespaces.tables import BlobRow
from sync import store
from sync.errors import Overtaken
from sync.inventory import Item
from sync.layouts import Kind
from sync.model import Commit, State, SyncRun
from sync.plan import Plan, Step
from sync.reading import Digest, Parsed
from sync.store import dump_problems, file_table, item_table, result_table

blob_table = BlobRow.__table__  # type: ignore[attr-defined]

RESULT_LIMIT = 10_000
CHANGING = frozenset({"create", "update", "rename", "move", "delete"})
TOPIC = "git.events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything one transaction needs. ``before`` is the source row as it was when the plan was made."""

    plan: Plan
    run: SyncRun
    lease: Lease | None
    before: Any
    commit: Commit
    tree: str
    policy: str
    layout: str
    contents: Mapping[str, Parsed | Digest]
    commits: Mapping[str, Commit] = field(default_factory=dict)
    """Path to the commit that brought its content, where that is not ``commit``."""
    info: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    """The source's ``path``, so that origins name paths within the repository."""
    forbidden_before: frozenset[str] = frozenset()
    """Paths that were reported as forbidden already."""
    full: bool = False
    actor: str = ""


def apply(tx: Connection, order: Order, *, now: datetime) -> SyncRun:
    """Write the plan. Raises ``Overtaken`` when lease or applied commit are not those planned with."""
    plan, name = order.plan, order.plan.source
    row = store.row_of(tx, name, lock=True)
    if order.lease is not None:
        leases.check(tx, order.lease)
    if row.applied_commit != order.before.applied_commit or row.version != order.before.version:
        raise Overtaken(f"source '{name}' moved to another commit while this plan was made")
    acting = [step for step in plan.steps if step.action in CHANGING]
    # An adopted or re-read flow whose text is the same changes its owner at most: no new generation.
    generation = revisions.next_generation(tx) if acting else revisions.generation(tx)
    _flows(tx, order, now, generation)
    crash.reach("sync.middle_apply")
    _files(tx, order, now, generation)
    _inventory(tx, name, plan.items, plan.removed)
    held = _held_after(tx, name)
    state = State.DEGRADED if held else State.SYNCED
    store.update(
        tx,
        name,
        state=state,
        reason="Held" if held else "",
        message=_kept(held),
        applied_commit=plan.commit,
        applied_tree=order.tree,
        applied_info=dict(order.info),
        applied_at=now,
        policy=order.policy,
        version=row.version + 1,
        generation=generation,
        # A repository that holds nothing for us yet may still become any layout.
        layout=order.layout if plan.items or row.layout else None,
        plan=None,
        approved_plan=None,
        approved_by=None,
        fail_count=0,
        **({"full_at": now} if order.full else {}),
    )
    outcome = "unchanged" if not acting and not held else "degraded" if held else "applied"
    run = replace(order.run, ended_at=now, outcome=outcome, generation=generation, counts=dict(plan.counts),
                  plan_hash=plan.hash)  # fmt: skip
    store.insert_run(tx, run)
    write_results(tx, run.id, plan.steps)
    _tell(tx, order, row, run, state, now)
    return run


def _flows(tx: Connection, order: Order, now: datetime, generation: int) -> None:
    drafts: list[Draft] = []
    for step in order.plan.steps:
        content = order.contents.get(step.path)
        if step.kind != Kind.FLOW or step.action not in ("create", "update", "rename", "move", "unchanged"):
            continue
        if not isinstance(content, Parsed) or content.flow is None or step.oid is None or not step.key:
            continue
        flow = content.flow
        if flow.namespace != step.namespace:
            flow = replace(flow, namespace=step.namespace)
        drafts.append(Draft(flow=flow, text=content.text, origin=_origin(order, step)))
    gone = [step for step in order.plan.steps if step.kind == Kind.FLOW and step.action == "delete"]
    if gone:
        revisions.delete(
            tx,
            [(s.namespace, s.key) for s in gone],
            now=now,
            generation=generation,
            origin=_origin(order, gone[0], path=""),
        )
    if drafts:
        revisions.save(tx, drafts, now=now, generation=generation)
        # Flows taken over from a source that is gone come with their triggers paused.
        store.resume_triggers(tx, order.plan.source)


def _origin(order: Order, step: Step, path: str | None = None) -> Origin:
    commit = order.commits.get(step.path, order.commit)
    where = f"{order.prefix}/{step.path}" if order.prefix else step.path
    return Origin(
        source=order.plan.source,
        commit=commit.id,
        path=where if path is None else path,
        blob_oid=step.oid or "",
        author_name=commit.author_name,
        author_email=commit.author_email,
        committed_at=commit.committed_at,
        message=commit.message,
        renamed_from=step.renamed_from,
    )


def _files(tx: Connection, order: Order, now: datetime, generation: int) -> None:
    steps = [s for s in order.plan.steps if s.kind == Kind.FILE and s.action in ("create", "update", "delete")]
    if not steps:
        return
    revisions_before = _close_files(tx, steps, generation)
    rows: list[dict[str, Any]] = []
    for step in steps:
        content = order.contents.get(step.path)
        if step.action == "delete" or not isinstance(content, Digest):
            continue
        rows.append(
            {
                "namespace": step.namespace,
                "path": step.key,
                "sha256": content.sha256,
                "size": content.size,
                "executable": step.mode == "100755",
                "source": order.plan.source,
                "revision": revisions_before.get((step.namespace, step.key), 0) + 1,
                "from_generation": generation,
                "created_at": now,
            }
        )
    if rows:
        tx.execute(sa.insert(file_table), rows)


def _close_files(tx: Connection, steps: Sequence[Step], generation: int) -> dict[tuple[str, str], int]:
    """End the present version of these files; their highest revision so far."""
    numbers: dict[tuple[str, str], int] = {}
    by_namespace: dict[str, list[str]] = {}
    for step in steps:
        by_namespace.setdefault(step.namespace, []).append(step.key)
    for namespace, paths in by_namespace.items():
        for start in range(0, len(paths), store.CHUNK):
            part = paths[start : start + store.CHUNK]
            ours = sa.and_(file_table.c.namespace == namespace, file_table.c.path.in_(part))
            for path, number in tx.execute(
                sa.select(file_table.c.path, sa.func.max(file_table.c.revision)).where(ours).group_by(file_table.c.path)
            ):
                numbers[namespace, path] = number
            tx.execute(
                sa.update(file_table).where(ours, file_table.c.to_generation.is_(None)).values(to_generation=generation)
            )
    return numbers


def missing_blobs(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Which of these contents are not stored yet."""
    wanted = list(dict.fromkeys(digests))
    missing = set(wanted)
    for start in range(0, len(wanted), store.CHUNK):
        part = wanted[start : start + store.CHUNK]
        missing -= set(
            connection.execute(sa.select(blob_table.c.sha256).where(blob_table.c.sha256.in_(part))).scalars()
        )
    return missing


def put_blobs(tx: Connection, blobs: Mapping[str, bytes]) -> None:
    """Store contents before the plan that uses them; one that another source stored meanwhile is fine."""
    for last in (False, True):
        missing = missing_blobs(tx, blobs)
        rows = [{"sha256": digest, "size": len(blobs[digest]), "content": blobs[digest]} for digest in sorted(missing)]
        if not rows:
            return
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(blob_table), rows)
        except IntegrityError:
            if last:
                raise
        else:
            return


def _inventory(tx: Connection, name: str, items: Sequence[Item], removed: Sequence[str]) -> None:
    paths = [*removed, *(item.path for item in items)]
    known = tx.execute(
        sa.select(sa.func.count()).select_from(item_table).where(item_table.c.source == name)
    ).scalar_one()
    if known:
        for start in range(0, len(paths), store.CHUNK):
            part = paths[start : start + store.CHUNK]
            tx.execute(sa.delete(item_table).where(item_table.c.source == name, item_table.c.path.in_(part)))
    if items:
        tx.execute(
            sa.insert(item_table),
            [
                {
                    "source": name,
                    "path": item.path,
                    "kind": item.kind,
                    "namespace": item.namespace,
                    "key": item.key,
                    "mode": item.mode,
                    "blob_oid": item.oid,
                    "seen_oid": item.seen,
                    "state": item.state,
                    "problems": dump_problems(item.problems),
                    "tied": item.tied or None,
                }
                for item in items
            ],
        )


def _kept(held: int) -> str:
    if held == 1:
        return "1 file is kept at its last good version"
    return f"{held} files are kept at their last good version" if held else ""


def _held_after(tx: Connection, name: str) -> int:
    query = sa.select(sa.func.count()).where(item_table.c.source == name, item_table.c.state == "held")
    return int(tx.execute(query).scalar_one())


def write_results(tx: Connection, run_id: str, steps: Sequence[Step]) -> None:
    """What happened to each file: one row a finding, or one for a step without findings; bounded."""
    rows: list[dict[str, Any]] = []
    for step in steps:
        base = {
            "run_id": run_id,
            "path": step.path,
            "kind": step.kind,
            "namespace": step.namespace,
            "key": step.key,
            "action": step.action,
        }
        empty = {"code": "", "line": 0, "col": 0, "message": "", "severity": ""}
        if step.renamed_from or step.renamed_to:
            other = f"renamed from {step.renamed_from}" if step.renamed_from else f"renamed to {step.renamed_to}"
            empty["message"] = other
        if step.action in CHANGING or (not step.problems and step.action in ("held", "invalid")):
            rows.append(base | empty)
        for problem in step.problems[:100]:
            rows.append(
                base
                | {
                    "code": problem.code,
                    "line": problem.line,
                    "col": problem.column,
                    "message": problem.message[:1000],
                    "severity": str(problem.severity),
                }
            )
    if len(rows) > RESULT_LIMIT:
        rest = len(rows) - RESULT_LIMIT
        rows = rows[:RESULT_LIMIT]
        rows.append(rows[-1] | {"path": "", "code": "", "message": f"and {rest} more results", "severity": "info"})
    if rows:
        tx.execute(sa.insert(result_table), rows)


def _tell(tx: Connection, order: Order, row: Any, run: SyncRun, state: State, now: datetime) -> None:
    """Audit rows and events: on a change of state and on what people must know, not on every poll."""
    plan = order.plan
    detail = {"commit": plan.commit, "from": row.applied_commit, "counts": dict(plan.counts), "run": run.id}
    actor = order.actor or f"git:{plan.source}"
    entries = []
    if any(step.action in CHANGING for step in plan.steps):
        entries.append(AuditEntry(actor=actor, verb="source.applied", object=plan.source, detail=detail))
    if run.rewritten:
        entries.append(AuditEntry(actor=actor, verb="source.rewritten", object=plan.source, detail=detail))
    if row.approved_plan == plan.hash:
        approver = row.approved_by or ""
        entries.append(AuditEntry(actor=approver, verb="source.approved", object=plan.source, detail=detail))
    forbidden = sorted({s.path for s in plan.steps for p in s.problems if p.code == "G040"})
    news = [path for path in forbidden if path not in order.forbidden_before]
    if news:
        entries.append(
            AuditEntry(actor=actor, verb="git.forbidden", object=plan.source, result="denied",
                       detail={"paths": news[:50], "commit": plan.commit})
        )  # fmt: skip
    for entry in entries:
        append(tx, entry, now=now)
    events: list[str] = []
    if state is State.SYNCED and any(step.action in CHANGING for step in plan.steps):
        events.append("git.synced")
    if state is State.DEGRADED and row.state != State.DEGRADED:
        events.append("git.degraded")
    if state is State.SYNCED and row.state in (State.DEGRADED, State.ERROR):
        events.append("git.recovered")
    if run.rewritten:
        events.append("git.rewritten")
    if news:
        events.append("git.forbidden")
    if any(step.kind == Kind.FLOW and step.action == "delete" for step in plan.steps):
        events.append("git.flow.deleted")
    put_events(tx, plan.source, events, run.id, {"commit": plan.commit, "counts": dict(plan.counts)}, now)


def put_events(
    tx: Connection, source: str, events: Iterable[str], run_id: str, data: Mapping[str, Any], now: datetime
) -> None:
    """Outbox rows of CloudEvents; the id is that of the run, so a repeat can be told."""
    messages = [
        (source, {"type": event, "source": source, "id": run_id, "time": now.isoformat(), "data": dict(data)})
        for event in events
    ]
    outbox.put(tx, TOPIC, messages, due_at=now)
