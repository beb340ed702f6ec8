"""Removing executions with everything that belongs to them: rows first, files after."""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import crash
from namespaces.blobs import execution_folder
from namespaces.errors import Conflict, NotFound
from namespaces.store import outbox
from runner.children import tell_parent
from runner.engine.states import State
from runner.rows import (
    batch_set_table,
    batch_table,
    execution_table,
    iteration_table,
    label_table,
    run_table,
    timer_table,
)
from runner.writing import HOLD, TOPIC, log_table, metric_table


def delete(
    executions: Any,
    execution_id: str,
    *,
    logs: bool = True,
    metrics: bool = True,
    storage: bool = True,
    if_finished: bool = False,
) -> None:
    """Remove an execution, with the iterations of its Loops. Raises ``NotFound``.

    ``if_finished`` leaves one alone that has been restarted meanwhile.

    What still runs of it is killed. Files go after the rows; a message keeps them from being forgotten when this
    process dies in between. A parent that waits for the execution goes on as after a kill.
    """
    row = executions.database.read(
        lambda c: c.execute(sa.select(execution_table).where(execution_table.c.id == execution_id)).one_or_none()
    )
    if row is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    if if_finished and not row.finished:
        return
    if not row.finished and row.parent_run_id is not None and row.trigger_execution_id is not None:
        tell_parent(executions, row, State.KILLED)
    if not row.finished:
        with contextlib.suppress(Conflict):  # it ended by itself meanwhile
            executions.kill(execution_id)
    iterations = sa.select(execution_table.c.id).where(
        execution_table.c.trigger_execution_id == execution_id, execution_table.c.kind == "LOOP"
    )
    for iteration in executions.database.read(lambda c: list(c.execute(iterations).scalars())):
        with contextlib.suppress(NotFound):  # somebody else deletes it as well
            delete(executions, iteration, logs=logs, metrics=metrics, storage=storage)
    folder = execution_folder(row.namespace, row.flow_id, execution_id)

    def work(tx: Connection) -> list[int]:
        finished = sa.select(execution_table.c.finished).where(execution_table.c.id == execution_id)
        if if_finished and not tx.execute(finished.with_for_update()).scalar():
            return []
        _delete_rows(tx, execution_id, logs=logs, metrics=metrics)
        if not storage:
            return []
        message = (execution_id, {"do": "remove_files", "folder": folder})
        return outbox.put(tx, TOPIC, [message], due_at=executions.clock.now() + HOLD)

    messages = executions.database.write(work)
    crash.reach("purge.after_rows")
    if messages:
        executions.rendering.storage.delete_prefix(folder)
        executions.database.write(lambda tx: outbox.done(tx, messages))


def _delete_rows(tx: Connection, execution_id: str, *, logs: bool, metrics: bool) -> None:
    runs = sa.select(run_table.c.id).where(run_table.c.execution_id == execution_id).scalar_subquery()
    for table in (iteration_table, batch_table, batch_set_table):
        tx.execute(sa.delete(table).where(table.c.task_run_id.in_(runs)))
    tx.execute(sa.delete(run_table).where(run_table.c.execution_id == execution_id))
    tx.execute(sa.delete(timer_table).where(timer_table.c.execution_id == execution_id))
    tx.execute(sa.delete(label_table).where(label_table.c.execution_id == execution_id))
    if logs:
        tx.execute(sa.delete(log_table).where(log_table.c.execution_id == execution_id))
    if metrics:
        tx.execute(sa.delete(metric_table).where(metric_table.c.execution_id == execution_id))
    tx.execute(sa.delete(execution_table).where(execution_table.c.id == execution_id))
