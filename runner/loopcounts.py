"""What is known of a Loop's iterations without looking at them: counters on one row, changed with every end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.flows.model import Loop
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


def find(executions: Executions, run_id: str) -> Known | None:
    """None when there is no such task run, or its values have not been read."""
    query = (
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
        .where(batch_set_table.c.task_run_id == run_id)
    )

    def read(connection: Connection) -> Known | None:
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        flow = executions.registry.flow(connection, row.namespace, row.flow_id, row.revision)
        task = flow.by_id[row.task_id]
        assert isinstance(task, Loop)
        return Known(execution_id=row.execution_id, run_id=run_id, task=task, counts=counts_of(row), row=row)

    return executions.database.read(read)


def moved(tx: Connection, known: Known, position: int, before: State | None, after: State | None) -> Counts:
    """Change what is known of one iteration from ``before``, unless somebody else has, and the counters with it."""
    whole = batch_set_table.c.task_run_id == known.run_id
    one = [batch_table.c.task_run_id == known.run_id, batch_table.c.position == position]
    one.append(batch_table.c.state.is_(None) if before is None else batch_table.c.state == before.value)
    stored = sa.update(batch_table).where(*one).values(state=after.value if after is not None else None)
    if before is not after and tx.execute(stored).rowcount == 1:
        change = {}
        if before is not None:
            change[_COLUMNS[before]] = batch_set_table.c[_COLUMNS[before]] - 1
        if after is not None:
            change[_COLUMNS[after]] = batch_set_table.c[_COLUMNS[after]] + 1
        tx.execute(sa.update(batch_set_table).where(whole).values(change))
    return counts_of(tx.execute(sa.select(batch_set_table).where(whole)).one())


_COLUMNS = {**ENDS, State.PAUSED: "paused", State.RESTARTED: "again"}
