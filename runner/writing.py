"""Writing what was decided: one transaction for state, history, logs, timers and outbox, guarded by the version."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.errors import Conflict
from namespaces.store import outbox
from namespaces.store.outbox import Message
from namespaces.store.statements import InsertNew, Write
from runner import rows, view
from runner.engine.effects import DropRuns, StartTimer, StoreValues
from runner.engine.values import Execution, TaskRun
from runner.logs import LogLine
from runner.plugin import Metric
from runner.rows import (
    batch_set_table,
    batch_table,
    execution_table,
    iteration_table,
    label_table,
    run_table,
    timer_table,
)
from runner.tables import LateResultRow, LogRow, MetricRow

log_table = LogRow.__table__  # type: ignore[attr-defined]
metric_table = MetricRow.__table__  # type: ignore[attr-defined]
late_table = LateResultRow.__table__  # type: ignore[attr-defined]


TOPIC = "effect"
"""Messages of executions in the outbox."""
HOLD = timedelta(seconds=5)
"""Whoever writes a message carries it out at once; after this long anybody may."""


class Stale(Conflict):
    """Another write came between reading and writing: load again and decide again."""

    code = "version_conflict"


@dataclass(slots=True, kw_only=True)
class Change:
    """Everything one decision (or a run of them) wants written together."""

    before: Execution
    after: Execution
    created: list[TaskRun] = field(default_factory=list)
    updated: list[TaskRun] = field(default_factory=list)
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    task_outputs: dict[str, tuple[Any, str | None]] = field(default_factory=dict)
    """Task run id to (what the row keeps, URI of what it does not)."""
    claims: dict[str, str] = field(default_factory=dict)
    """Task run id to the worker that takes it."""
    dropped: list[DropRuns] = field(default_factory=list)
    values: list[StoreValues] = field(default_factory=list)
    timers: list[StartTimer] = field(default_factory=list)
    messages: list[tuple[str, Any]] = field(default_factory=list)
    """Outbox messages ``(key, payload)``."""
    logs: list[LogLine] = field(default_factory=list)
    metrics: list[tuple[TaskRun, Metric]] = field(default_factory=list)
    late: list[dict[str, Any]] = field(default_factory=list)
    slot: bool | None = None
    """True to take, False to free the concurrency slot, None to leave it."""


def write(tx: Connection, change: Change, *, version: int, now: datetime) -> list[Message]:
    """Write the change. Raises ``Stale`` when the execution's version is no longer ``version``.

    Returns what it put into the outbox. A second call with the same change is stale and changes nothing.
    """
    values = rows.execution_changes(change.after)
    values["version"] = version + 1
    if change.slot is not None:
        values["slot"] = change.slot
    values["k_id"], values["k_version"] = change.after.id, version
    update = _UPDATE_EXECUTION_AND_SLOT if change.slot is not None else _UPDATE_EXECUTION
    if update.run(tx, values) != 1:
        raise Stale(f"execution '{change.after.id}' was changed meanwhile")
    return _write_rest(tx, change, now)


def write_new(tx: Connection, values: Mapping[str, Any], change: Change, *, now: datetime) -> list[Message]:
    """A new execution as far as its first decision took it: ``values`` are its columns before that decision."""
    insert_execution(tx, {**values, **rows.execution_changes(change.after)})
    return _write_rest(tx, change, now)


def _write_rest(tx: Connection, change: Change, now: datetime) -> list[Message]:
    """All of the change but the execution's own row."""
    for drop in change.dropped:
        _drop(tx, change.after.id, drop)
    _insert_runs(tx, change)
    _update_runs(tx, change)
    if change.after.labels != change.before.labels:
        replace_labels(tx, change.after.id, change.after.labels)
    for stored in change.values:
        tx.execute(
            sa.insert(iteration_table),
            [
                {"task_run_id": stored.task_run_id, "position": position, "value": value}
                for position, value in enumerate(stored.values)
            ],
        )
    if change.timers:
        tx.execute(sa.insert(timer_table), [timer_values(change.after.id, timer) for timer in change.timers])
    if change.logs:
        write_logs(tx, change.logs)
    if change.metrics:
        _write_metrics(tx, change, now)
    if change.late:
        tx.execute(sa.insert(late_table), change.late)
    ids = outbox.put(tx, TOPIC, change.messages, due_at=now + HOLD)
    return [Message(i, TOPIC, key, payload, 0) for i, (key, payload) in zip(ids, change.messages, strict=True)]


_EXECUTION_COLUMNS = (
    "version", "revision", "state", "finished", "history", "labels", "variables", "outputs", "progress",
    "attempt_number", "error", "started_at", "ended_at",
)  # fmt: skip
_WHOSE = (execution_table.c.id == sa.bindparam("k_id"), execution_table.c.version == sa.bindparam("k_version"))
# Statements of the hot path are built once: building one costs as much as running it.
_update = sa.update(execution_table).where(*_WHOSE).values({name: sa.bindparam(name) for name in _EXECUTION_COLUMNS})
_UPDATE_EXECUTION = Write(_update)
_UPDATE_EXECUTION_AND_SLOT = Write(_update.values(slot=sa.bindparam("slot")))
_INSERT_EXECUTION = Write(sa.insert(execution_table))
_INSERT_RUN = Write(sa.insert(run_table))
_INSERT_LOG = Write(sa.insert(log_table))
_INSERT_NUMBERED_LOG = InsertNew(log_table)
_INSERT_LABEL = Write(sa.insert(label_table))


def timer_values(execution_id: str, timer: StartTimer) -> dict[str, Any]:
    """A timer row; the jitter of a random retry is drawn here, outside the engine."""
    due = timer.due
    if timer.spread:
        due += timedelta(seconds=random.uniform(0, timer.spread.total_seconds()))  # noqa: S311
    return {
        "due_at": due,
        "kind": timer.kind,
        "execution_id": execution_id,
        "task_run_id": timer.task_run_id,
        "epoch": timer.epoch,
        "name": timer.name,
        "failures": 0,
    }


def replace_labels(tx: Connection, execution_id: str, labels: Sequence[tuple[str, str]]) -> None:
    """The searchable twin of the execution's labels; of a key given twice the first counts."""
    tx.execute(sa.delete(label_table).where(label_table.c.execution_id == execution_id))
    insert_labels(tx, [(execution_id, labels)])


def insert_labels(tx: Connection, executions: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> None:
    values = [
        {"execution_id": execution_id, "key": key, "value": value}
        for execution_id, labels in executions
        for key, value in dict(reversed(labels)).items()
    ]
    _INSERT_LABEL.run_many(tx, values)


def write_logs(tx: Connection, lines: Sequence[LogLine]) -> None:
    """Insert log lines in this order; of one attempt's numbered line only the first is kept."""
    for numbered, group in groupby(lines, lambda line: line.seq is not None):
        (_INSERT_NUMBERED_LOG if numbered else _INSERT_LOG).run_many(tx, [_log_values(line) for line in group])


def _log_values(line: LogLine) -> dict[str, Any]:
    return {
        "at": line.at,
        "level": line.level,
        "namespace": line.namespace,
        "flow_id": line.flow_id,
        "execution_id": line.execution_id,
        "task_id": line.task_id,
        "task_run_id": line.task_run_id,
        "attempt": line.attempt,
        "trigger_id": line.trigger_id,
        "seq": line.seq,
        "message": line.message,
    }


def _write_metrics(tx: Connection, change: Change, now: datetime) -> None:
    tx.execute(
        sa.insert(metric_table),
        [
            {
                "at": now,
                "namespace": change.after.namespace,
                "flow_id": change.after.flow_id,
                "execution_id": change.after.id,
                "task_id": run.task_id,
                "task_run_id": run.id,
                "type": metric.type,
                "name": metric.name,
                "value": metric.value,
                "tags": dict(metric.tags) or None,
            }
            for run, metric in change.metrics
        ],
    )


def _insert_runs(tx: Connection, change: Change) -> None:
    if not change.created:
        return
    _INSERT_RUN.run_many(
        tx,
        [
            {
                "id": run.id,
                "execution_id": change.after.id,
                "task_id": run.task_id,
                "parent_id": run.parent_id,
                "value": run.value,
                "iteration": run.iteration,
                "path": list(change.paths.get(run.id, ())) or None,
                "address": rows.address(change.paths.get(run.id, ())),
                "sequence": run.sequence,
                "worker_id": change.claims.get(run.id),
                **_outputs(change, run),
                **rows.task_run_changes(run),
            }
            for run in change.created
        ],
    )
    if len(change.created) > 1:
        crash.reach("advance.middle_fanout")


_UPDATE = (
    "state",
    "terminal",
    "epoch",
    "history",
    "attempts",
    "progress",
    "error",
    "outputs",
    "outputs_uri",
    "worker_id",
)
_UPDATE_RUN = Write(
    sa.update(run_table)
    .where(run_table.c.id == sa.bindparam("k_id"))
    .values({name: sa.bindparam(name) for name in _UPDATE})
)


def _update_runs(tx: Connection, change: Change) -> None:
    if change.updated:
        _UPDATE_RUN.run_many(
            tx,
            [
                {
                    "k_id": run.id,
                    "worker_id": None if run.state.terminal else change.claims.get(run.id),
                    **_outputs(change, run),
                    **rows.task_run_changes(run),
                }
                for run in change.updated
            ],
        )


def _outputs(change: Change, run: TaskRun) -> dict[str, Any]:
    kept, uri = change.task_outputs.get(run.id, (run.outputs, None))
    return {"outputs": kept, "outputs_uri": uri}


def count_iterations(tx: Connection, execution_id: str, more: int) -> int:
    """Add to the iterations of Loops below the main execution, however deep ``execution_id`` stands; the new number."""
    columns = (execution_table.c.kind, execution_table.c.trigger_execution_id)
    while (
        row := tx.execute(sa.select(*columns).where(execution_table.c.id == execution_id)).one_or_none()
    ) is not None:
        if row.kind != "LOOP":
            break
        execution_id = row.trigger_execution_id
    total = sa.func.coalesce(execution_table.c.iterations, 0) + more
    changed = sa.update(execution_table).where(execution_table.c.id == execution_id).values(iterations=total)
    return int(tx.execute(changed.returning(execution_table.c.iterations)).scalar() or 0)


def _drop(tx: Connection, execution_id: str, drop: DropRuns) -> None:
    roots: list[str] = list(drop.task_run_ids)
    if drop.children_of is not None:
        roots.extend(tx.execute(sa.select(run_table.c.id).where(run_table.c.parent_id == drop.children_of)).scalars())
    doomed = [*roots, *view.descendants(tx, roots)]
    for start in range(0, len(doomed), 400):
        part = doomed[start : start + 400]
        loops = sa.select(sa.func.sum(batch_set_table.c.total)).where(
            batch_set_table.c.task_run_id.in_(part), batch_set_table.c.loop.is_(True)
        )
        if gone := tx.execute(loops).scalar():
            count_iterations(tx, execution_id, -int(gone))
        for table in (iteration_table, batch_table, batch_set_table):
            tx.execute(sa.delete(table).where(table.c.task_run_id.in_(part)))
        tx.execute(sa.delete(run_table).where(run_table.c.id.in_(part)))


def insert_execution(tx: Connection, values: Mapping[str, Any]) -> None:
    """A new execution row with its labels."""
    _INSERT_EXECUTION.run(tx, values)
    insert_labels(tx, [(values["id"], [(key, value) for key, value in values["labels"]])])


def insert_executions(tx: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """New execution rows with their labels; all have the same columns."""
    _INSERT_EXECUTION.run_many(tx, rows)
    insert_labels(tx, [(values["id"], [(key, value) for key, value in values["labels"]]) for values in rows])
