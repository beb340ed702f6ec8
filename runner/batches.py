"""ForEachItem: child executions made in bulk from the files of its split, and counted one by one as they end.

Everything may be done twice: ids are derived, an end that was counted is known by its row. The cost of an end does
not depend on how many batches there are (``flows.md`` 4.11).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.blobs import path_of
from namespaces.errors import Conflict, LannerError, NotFound, Unavailable
from namespaces.flows.model import Batches
from namespaces.ids import derived_id
from namespaces.secrets import masked
from runner import children, starting, view, writing
from runner.engine.events import AttemptStarted, BatchesChanged
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.executions import Executions
from runner.rendering import Place
from runner.rows import ENDS, batch_set_table, batch_table, execution_table, run_table

CHUNK = 100
"""Executions created in one transaction."""
STEPS = 20
"""How often the progress of a long list is shown at most."""


class Starter:
    """One run of the effect that starts (or restarts) the batches of a task run."""

    def __init__(self, executions: Executions, execution_id: str, run_id: str, epoch: int) -> None:
        self._executions = executions
        self._database = executions.database
        self._execution_id = execution_id
        self._run_id = run_id
        self._epoch = epoch

    def start(self, *, again: bool) -> None:
        """Create what is missing. A failure that a repeat cannot mend fails the task run.

        Raises ``Unavailable`` when nothing could be written: call again.
        """
        loaded = self._load()
        if loaded is None:
            return
        run = loaded.value.runs[self._run_id]
        flow = self._executions.flow_of(loaded)
        task = flow.by_id[run.task_id]
        if not isinstance(task, Batches):
            raise LannerError(f"task '{task.id}' has no batches")
        place = Place(self._executions.rendering, flow, loaded.facts, loaded.paths)
        try:
            self._start(place, loaded, run, task, again)
        except Unavailable:
            raise
        except LannerError as error:
            self._executions.refuse_attempt(self._execution_id, run, self._epoch, error.message)
            self._kill()

    def _start(self, place: Place, loaded: view.Loaded, run: TaskRun, task: Batches, again: bool) -> None:
        self._executions.rendering.limits.refuse_deep(loaded.facts.depth + 1)
        files = self._files(place, loaded, run, task)
        fresh = self._database.write(lambda tx: self._open(tx, len(files), again))
        if fresh and files:
            first = self._request(place, loaded, run, task, 0, files[0])
            self._executions.open.refuse_more(first.namespace, first.flow_id, len(files))
        self._tell(len(files), {}, done=False)
        if again:
            self._restart()
        for start in range(0, len(files), CHUNK):
            now = self._load()
            if now is None or now.value.ending is not None:
                self._cut_short()
                return
            self._create(place, loaded, run, task, range(start, min(start + CHUNK, len(files))), files)
        if task.wait:
            report(self._executions, self._run_id)
        else:
            self._tell(len(files), {State.SUCCESS: len(files)}, done=True)

    def _load(self) -> view.Loaded | None:
        """The task run with its surroundings, None when this assignment is over."""
        marked = AttemptStarted(at=self._executions.clock.now(), task_run_id=self._run_id, epoch=self._epoch)
        loaded = self._database.read(lambda c: view.load(c, self._execution_id, [marked]))
        run = loaded.value.runs.get(self._run_id) if loaded is not None else None
        return loaded if run is not None and run.epoch == self._epoch and not run.state.terminal else None

    def _files(self, place: Place, loaded: view.Loaded, run: TaskRun, task: Batches) -> list[str]:
        made = place.lookup.one(task.split, loaded.paths.get(run.id, ()))
        splits = (made or {}).get("splits")
        if not splits:
            raise LannerError(f"the task '{task.split}' gave no batches")
        with self._executions.rendering.storage.open(path_of(splits)) as file:
            return str(file.read().decode()).split()

    def _open(self, tx: Connection, total: int, again: bool) -> bool:
        """Make the set ready for this assignment; false when an earlier call has done so."""
        mine = batch_set_table.c.task_run_id == self._run_id
        known = tx.execute(sa.select(batch_set_table).where(mine).with_for_update()).one_or_none()
        counts = dict.fromkeys(ENDS.values(), 0)
        if known is None:
            unused = dict.fromkeys(("loop", "halted", "stopped", "stored"), False) | dict.fromkeys(
                ("started", "paused", "again"), 0
            )
            values = {"task_run_id": self._run_id, "epoch": self._epoch, "total": total, **counts, **unused}
            tx.execute(sa.insert(batch_set_table).values(values))
            return True
        if known.epoch == self._epoch:
            return False
        rows = batch_table.c.task_run_id == self._run_id
        if again:
            stopped = batch_table.c.state.in_([State.FAILED.value, State.KILLED.value])
            tx.execute(sa.update(batch_table).where(rows, stopped).values(state=State.RESTARTED.value))
            counts = {"failed": 0, "killed": 0}
        else:
            counts["paused"] = 0
            tx.execute(sa.delete(batch_table).where(rows))
        tx.execute(sa.update(batch_set_table).where(mine).values(epoch=self._epoch, total=total, **counts))
        return not again

    def _restart(self) -> None:
        """Restart in place what failed; what cannot be restarted counts as it ended."""
        waiting = (batch_table.c.task_run_id == self._run_id, batch_table.c.state == State.RESTARTED.value)
        query = sa.select(batch_table.c.position, batch_table.c.execution_id).where(*waiting)
        for row in self._database.read(lambda c: c.execute(query).all()):
            mine = (*waiting, batch_table.c.position == row.position)
            try:
                self._executions.restart(row.execution_id)
            except NotFound:
                self._write(sa.delete(batch_table).where(*mine))
                continue
            except Conflict:
                state = self._state_of(row.execution_id)
                if state.terminal:
                    child_changed(self._executions, row.execution_id, state)
                    continue
            self._write(sa.update(batch_table).where(*mine).values(state=None))

    def _write(self, statement: sa.Executable) -> None:
        self._database.write(lambda tx: tx.execute(statement))

    def _state_of(self, execution_id: str) -> State:
        query = sa.select(execution_table.c.state).where(execution_table.c.id == execution_id)
        return State(self._database.read(lambda c: c.execute(query).scalar_one()))

    def _request(
        self, place: Place, loaded: view.Loaded, run: TaskRun, task: Batches, position: int, file: str
    ) -> starting.StartRequest:
        scene = children.scene_of(place, loaded, run, position, file)
        child_id = derived_id("batch", run.id, str(self._epoch), str(position))
        return children.request(task, scene, loaded, run, child_id, self._executions)

    def _create(
        self,
        place: Place,
        loaded: view.Loaded,
        run: TaskRun,
        task: Batches,
        positions: range,
        files: Sequence[str],
    ) -> None:
        """The executions of some batches, in one transaction."""
        inside = batch_table.c.position.between(positions.start, positions.stop - 1)
        query = sa.select(batch_table.c.position).where(batch_table.c.task_run_id == self._run_id, inside)
        known = set(self._database.read(lambda c: list(c.execute(query).scalars())))
        missing = [position for position in positions if position not in known]
        if not missing:
            return
        prepare = self._executions.prepare_child
        made = [prepare(self._request(place, loaded, run, task, position, files[position])) for position in missing]
        rows = [
            {"task_run_id": self._run_id, "position": position, "execution_id": prepared.row["id"], "state": None}
            for position, prepared in zip(missing, made, strict=True)
        ]

        def write(tx: Connection) -> None:
            tx.execute(sa.insert(batch_table), rows)
            writing.insert_executions(tx, [prepared.row for prepared in made])
            writing.write_logs(tx, [line for prepared in made for line in prepared.lines])

        self._database.write(write)
        for prepared in made:
            self._executions.started(starting.Started(str(prepared.row["id"]), prepared=prepared))

    def _cut_short(self) -> None:
        """The execution is being ended: what was not created never will be, what was is killed."""
        mine = batch_set_table.c.task_run_id == self._run_id
        created = sa.select(sa.func.count()).where(batch_table.c.task_run_id == self._run_id).scalar_subquery()
        self._database.write(lambda tx: tx.execute(sa.update(batch_set_table).where(mine).values(total=created)))
        self._kill()
        report(self._executions, self._run_id)

    def _kill(self) -> None:
        from runner.executions import killable

        query = sa.select(execution_table.c.id).where(execution_table.c.parent_run_id == self._run_id, killable())
        for child in self._database.read(lambda c: list(c.execute(query).scalars())):
            self._executions.kill(child)

    def _tell(self, total: int, ended: Mapping[State, int], *, done: bool) -> None:
        event = BatchesChanged(
            at=self._executions.clock.now(),
            task_run_id=self._run_id,
            epoch=self._epoch,
            total=total,
            ended=ended,
            done=done,
        )
        self._executions.apply(self._execution_id, event)


def child_changed(executions: Executions, execution_id: str, state: State) -> bool:
    """Count a batch's execution that paused, went on or ended; false when it is no batch. Harmless twice."""
    query = (
        sa.select(batch_table, execution_table.c.history)
        .outerjoin(execution_table, execution_table.c.id == batch_table.c.execution_id)
        .where(batch_table.c.execution_id == execution_id)
    )
    row = executions.database.read(lambda c: c.execute(query).one_or_none())
    if row is None:
        return False
    if state.terminal and state not in ENDS:
        return True
    if not (state.terminal or any(entry[0] == State.PAUSED for entry in row.history or ())):
        return True  # it has only begun
    before, after = executions.database.write(lambda tx: _count(tx, row, state))
    done = sum(getattr(after, name) for name in ENDS.values())
    # A long list tells of every so many ends only.
    told = state.terminal and (done >= after.total or done % max(1, after.total // STEPS) == 0)
    if told or bool(after.paused) != bool(before.paused):
        report(executions, row.task_run_id)
    return True


_COLUMNS = {**ENDS, State.PAUSED: "paused"}


def _count(tx: Connection, batch: Any, state: State) -> tuple[Any, Any]:
    """Note where one batch (its row) is; the counters of the whole set before and after."""
    mine = (batch_table.c.task_run_id == batch.task_run_id, batch_table.c.position == batch.position)
    whole = batch_set_table.c.task_run_id == batch.task_run_id
    counters = sa.select(batch_set_table).where(whole)
    known = tx.execute(counters.with_for_update()).one()
    found = tx.execute(sa.select(batch_table.c.state).where(*mine)).scalar()
    before = None if found is None else State(found)
    noted = state if state.terminal else _present(tx, batch.execution_id, before)
    if before is noted:
        return known, known
    tx.execute(sa.update(batch_table).where(*mine).values(state=noted.value if noted else None))
    change = {}
    if noted is not None and noted in _COLUMNS:
        change[_COLUMNS[noted]] = batch_set_table.c[_COLUMNS[noted]] + 1
    if before is not None and before in _COLUMNS:
        change[_COLUMNS[before]] = batch_set_table.c[_COLUMNS[before]] - 1
    if change:
        tx.execute(sa.update(batch_set_table).where(whole).values(change))
    return known, tx.execute(counters).one()


def _present(tx: Connection, execution_id: str, before: State | None) -> State | None:
    """What to note of a batch that has not ended: news of a pause may be overtaken, so it is how it is now."""
    if before in ENDS:
        return before
    state = tx.execute(sa.select(execution_table.c.state).where(execution_table.c.id == execution_id)).scalar()
    if state == State.PAUSED.value:
        return State.PAUSED
    return None if before is State.PAUSED else before


def report(executions: Executions, run_id: str) -> None:
    """Tell the task run how far its batches are, from the counters. Harmless at any time."""
    query = (
        sa.select(batch_set_table, run_table.c.execution_id)
        .join(run_table, run_table.c.id == batch_set_table.c.task_run_id)
        .where(batch_set_table.c.task_run_id == run_id)
    )
    row = executions.database.read(lambda c: c.execute(query).one_or_none())
    if row is None:
        return
    ended = {state: getattr(row, name) for state, name in ENDS.items()}
    event = BatchesChanged(
        at=executions.clock.now(),
        task_run_id=run_id,
        epoch=row.epoch,
        total=row.total,
        ended=ended,
        paused=row.paused,
        done=sum(ended.values()) >= row.total,
    )
    executions.apply(row.execution_id, event)


def replaced(tx: Connection, old_id: str, new_id: str) -> None:
    """A batch's execution ended RETRIED: another one has taken its place."""
    tx.execute(sa.update(batch_table).where(batch_table.c.execution_id == old_id).values(execution_id=new_id))


def unheard(connection: Connection, limit: int) -> list[str]:
    """Task runs whose batches have all ended although they do not know."""
    ended = sum((batch_set_table.c[name] for name in ENDS.values()), start=sa.literal(0))
    return list(
        connection.execute(
            sa.select(batch_set_table.c.task_run_id)
            .join(run_table, run_table.c.id == batch_set_table.c.task_run_id)
            .where(
                batch_set_table.c.loop.is_(False),
                run_table.c.terminal.is_(False),
                run_table.c.epoch == batch_set_table.c.epoch,
                run_table.c.state.in_([State.RUNNING.value, State.PAUSED.value]),
                ended >= batch_set_table.c.total,
            )
            .limit(limit)
        ).scalars()
    )


def outputs(connection: Connection, run_id: str) -> Iterator[Any]:
    """Flow outputs of the executions of all batches, in order; secrets as stars."""
    query = (
        sa.select(execution_table.c.outputs)
        .join(batch_table, batch_table.c.execution_id == execution_table.c.id)
        .where(batch_table.c.task_run_id == run_id)
        .order_by(batch_table.c.position)
    )
    for value in connection.execute(query).scalars():
        yield masked(value, "********") if value is not None else {}
