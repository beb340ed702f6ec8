"""What is known of a Loop's iterations without looking at them: counters on one row, changed with every end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.flows.model import Loop
from namespaces.store.statements import Query, Write
from runner.engine.states import State
from runner.executions import Executions
from runner.rows import ENDS, batch_set_table, batch_table, execution_table, run_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How far a Loop is; one row, changed with every end."""

    epoch: int
    total: int
    started: int
    again: int
    paused: int
    halted: bool
    stopped: bool
    stored: bool
    ended: Mapping[State, int]

    @property
    def done(self) -> int:
        return sum(self.ended.values())

    @property
    def running(self) -> int:
        return self.started - self.again - self.done

    def over(self, task: Loop) -> bool:
        """Whether the Loop ends now: a failure is transmitted at once, but a stopped Loop waits for what runs."""
        if fails(task, self.ended) and not self.stopped:
            return True
        return not self.running and (self.halted or (not self.again and self.started >= self.total))


def fails(task: Loop, ended: Mapping[State, int]) -> bool:
    return task.transmit_failed and bool(ended.get(State.FAILED) or ended.get(State.KILLED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A Loop's task run, found again by its id: where it stands, and its counts."""

    execution_id: str
    run_id: str
    task: Loop
    counts: Counts
    row: Any
    """Columns of the execution that its iterations share."""

    @property
    def held(self) -> bool:
        """Whether the execution lets nothing new start: it is paused, or being killed."""
        extra = ((self.row.progress or {}).get("scope") or {}).get("extra") or {}
        return bool(extra.get("manual") or extra.get("holding")) or self.row.around == State.KILLING.value


def counts_of(row: Any) -> Counts:
    names = ("epoch", "total", "started", "again", "paused", "halted", "stopped", "stored")
    return Counts(
        **{name: getattr(row, name) for name in names},
        ended={state: n for state, name in ENDS.items() if (n := getattr(row, name))},
    )


SHARED = (
    "namespace", "flow_id", "revision", "generation", "labels", "depth", "commit", "source", "loop_run",
)  # fmt: skip


# These statements run with every end of an iteration: they are built once.
_FIND = Query(
    sa.select(
        batch_set_table,
        run_table.c.execution_id,
        run_table.c.task_id,
        execution_table.c.state.label("around"),
        execution_table.c.progress,
        *(execution_table.c[name] for name in SHARED),
    )
    .join(run_table, run_table.c.id == batch_set_table.c.task_run_id)
    .join(execution_table, execution_table.c.id == run_table.c.execution_id)
    .where(batch_set_table.c.task_run_id == sa.bindparam("k_run"))
)
_COUNTS = Query(sa.select(batch_set_table).where(batch_set_table.c.task_run_id == sa.bindparam("k_run")))
_ONE = (
    batch_table.c.task_run_id == sa.bindparam("k_run"),
    batch_table.c.position == sa.bindparam("k_position"),
)
_MOVE = Write(
    sa.update(batch_table)
    .where(*_ONE, batch_table.c.state == sa.bindparam("k_before"))
    .values(state=sa.bindparam("to"))
)
_MOVE_FROM_NONE = Write(
    sa.update(batch_table).where(*_ONE, batch_table.c.state.is_(None)).values(state=sa.bindparam("to"))
)


def find(executions: Executions, run_id: str) -> Known | None:
    """None when there is no such task run, or its values have not been read."""

    def read(connection: Connection) -> Known | None:
        row = _FIND.one_or_none(connection, k_run=run_id)
        if row is None:
            return None
        flow = executions.registry.flow(connection, row.namespace, row.flow_id, row.revision)
        task = flow.by_id[row.task_id]
        assert isinstance(task, Loop)
        return Known(execution_id=row.execution_id, run_id=run_id, task=task, counts=counts_of(row), row=row)

    return executions.database.read(read)


def moved(tx: Connection, known: Known, position: int, before: State | None, after: State | None) -> Counts:
    """Change what is known of one iteration from ``before``, unless somebody else has, and the counters with it."""
    if before is not after:
        values = {"k_run": known.run_id, "k_position": position, "to": after.value if after is not None else None}
        if before is None:
            done = _MOVE_FROM_NONE.run(tx, values)
        else:
            done = _MOVE.run(tx, {**values, "k_before": before.value})
        if done:
            _change(before, after).run(tx, {"k_run": known.run_id})
    return counts_of(_COUNTS.one_or_none(tx, k_run=known.run_id))


_COLUMNS = {**ENDS, State.PAUSED: "paused", State.RESTARTED: "again"}


@cache
def _change(before: State | None, after: State | None) -> Write:
    columns = batch_set_table.c
    change: dict[str, Any] = {}
    if before is not None:
        change[_COLUMNS[before]] = columns[_COLUMNS[before]] - 1
    if after is not None:
        change[_COLUMNS[after]] = columns[_COLUMNS[after]] + 1
    return Write(sa.update(batch_set_table).where(columns.task_run_id == sa.bindparam("k_run")).values(change))
