"""Ending an execution that can no longer be read or run: FAILED with its reason, by rows alone, without the engine.

The last resort (``reliability.md`` R20): what can still be decided by the engine never comes here.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.store import outbox
from namespaces.store.base import Json, Unreadable, to_micros
from runner.engine.states import State
from runner.rows import decode_history, execution_table, run_table, timer_table

log = logging.getLogger("lanner.rescue")


def write_off(tx: Connection, execution_id: str, reason: str, *, now: datetime, topic: str) -> bool:
    """End the execution and its open task runs as FAILED; False when there is none or it has ended.

    Values that are no JSON are emptied, or no page could show the row; its slot and whoever waits for it are seen to
    by messages. A second call finds it ended.
    """
    row = tx.execute(
        sa.select(execution_table).where(execution_table.c.id == execution_id).with_for_update()
    ).one_or_none()
    if row is None or row.finished:
        return False
    log.error("execution %s is given up: %s", execution_id, reason, extra={"action": "execution_written_off"})
    history = _ended(row.history, State.FAILED, now)
    values: dict[str, Any] = {
        **_emptied(execution_table, row),
        "state": State.FAILED.value,
        "finished": True,
        "ended_at": now,
        "error": reason,
        "history": history,
        "version": execution_table.c.version + 1,
    }
    tx.execute(sa.update(execution_table).where(execution_table.c.id == execution_id).values(values))
    for run in tx.execute(sa.select(run_table).where(run_table.c.execution_id == execution_id)).all():
        emptied = _emptied(run_table, run)
        if run.terminal and not emptied:
            continue
        state = State(run.state) if run.terminal else State.FAILED
        values = {
            **emptied,
            "state": state.value,
            "terminal": True,
            "epoch": run.epoch if run.terminal else run.epoch + 1,
            "history": _ended(run.history, state, now),
            "worker_id": None,
        }
        if not _attempts_are_whole(run.attempts):
            values["attempts"] = None
        tx.execute(sa.update(run_table).where(run_table.c.id == run.id).values(values))
        if run.worker_id is not None and not run.terminal:
            kill = {"do": "kill_attempt", "run": run.id, "epoch": run.epoch}
            outbox.put(tx, topic, [(execution_id, kill)], due_at=now)
    tx.execute(sa.delete(timer_table).where(timer_table.c.execution_id == execution_id))
    news = {"do": "announce", "state": State.FAILED.value, "at": len(history)}
    outbox.put(tx, topic, [(execution_id, {"do": "release"}), (execution_id, news)], due_at=now)
    return True


def _emptied(table: sa.Table, row: Any) -> dict[str, None]:
    columns = [column.name for column in table.c if isinstance(column.type, Json)]
    return {name: None for name in columns if isinstance(getattr(row, name), Unreadable)}


def _ended(stored: Any, state: State, now: datetime) -> list[list[Any]]:
    """The history with its end; one that nobody understands begins anew."""
    last = [state.value, to_micros(now)]
    try:
        known = decode_history(None if isinstance(stored, Unreadable) else stored)
    except (ValueError, TypeError):
        known = ()
    history = [[word.value, to_micros(at)] for word, at in known]
    if not history:
        return [[State.CREATED.value, to_micros(now)], last]
    return history if history[-1][0] == state.value else [*history, last]


def _attempts_are_whole(stored: Any) -> bool:
    from runner.rows import decode_attempts

    try:
        decode_attempts(None if isinstance(stored, Unreadable) else stored)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return not isinstance(stored, Unreadable)
