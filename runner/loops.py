"""Loop: iterations as executions, made a chunk at a time, counted one by one as they end (``flows.md`` 4.16).

Everything may be done twice: values are read once and kept as rows, ids are derived, an end that was counted is known
by its row. The cost of an end does not depend on how many iterations there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.blobs import path_of
from namespaces.errors import Conflict, InvalidInput, LannerError, NotFound, Unavailable
from namespaces.flows.model import Loop
from namespaces.ids import derived_id
from namespaces.store.base import to_micros
from namespaces.store.statements import Query
from runner import access, asking, loopoutputs, view, writing
from runner.batches import CHUNK, STEPS
from runner.engine.events import AttemptStarted, IterationsChanged, Queued
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.executions import Executions, killable
from runner.loopcounts import SHARED, Counts, Known, counts_of, fails, find, moved
from runner.loopvalues import Value, lines_of, loop_values
from runner.rendering import Place
from runner.rows import ENDS, batch_set_table, batch_table, execution_table, iteration_table, run_table

VALUES_CHUNK = 1_000
"""Values written in one transaction."""
RESTARTED_FROM = (State.FAILED, State.KILLED, State.CANCELLED, State.PAUSED)
"""What a restart of the Loop runs again; the others have ended well, or still run."""


# ---- starting ------------------------------------------------------------------------------------------------------


def start(executions: Executions, execution_id: str, run_id: str, epoch: int, *, again: bool) -> None:
    """Read the values and start what may run at once. A failure that a repeat cannot mend fails the task run.

    ``again`` (restart) keeps the values and runs again what did not end well.
    Raises ``Unavailable`` when nothing could be written: call again.
    """
    loaded = _waiting(executions, execution_id, run_id, epoch)
    if loaded is None:
        return
    run = loaded.value.runs[run_id]
    try:
        known = find(executions, run_id)
        if known is None or (known.counts.epoch != epoch and not again):
            _read_values(executions, loaded, run, epoch)
        elif known.counts.epoch != epoch:
            executions.database.write(lambda tx: _reopen(tx, run_id, epoch))
    except Unavailable:
        raise
    except LannerError as error:
        executions.refuse_attempt(execution_id, run, epoch, error.message)
        return
    report(executions, run_id, begins=True)
    # From here on the end of the execution halts the Loop by itself; before, it ended the task run.
    if _waiting(executions, execution_id, run_id, epoch) is not None:
        go_on(executions, run_id)


def _waiting(executions: Executions, execution_id: str, run_id: str, epoch: int) -> view.Loaded | None:
    """The task run with its surroundings, None when this assignment is over."""
    marked = AttemptStarted(at=executions.clock.now(), task_run_id=run_id, epoch=epoch)
    loaded = executions.database.read(lambda c: view.load(c, execution_id, [marked]))
    run = loaded.value.runs.get(run_id) if loaded is not None else None
    return loaded if run is not None and run.epoch == epoch and not run.state.terminal else None


def _read_values(executions: Executions, loaded: view.Loaded, run: TaskRun, epoch: int) -> None:
    flow = executions.flow_of(loaded)
    task = flow.by_id[run.task_id]
    if not isinstance(task, Loop):
        raise LannerError(f"task '{task.id}' is no Loop")
    place = Place(executions.rendering, flow, loaded.facts, loaded.paths)
    found = loop_values(task.values, place.renderer(loaded.value, run))
    if not isinstance(found, str):
        _keep(executions, loaded, run, epoch, found, stored=task.fetch_type == "STORE")
        return
    path = path_of(found)
    if not executions.database.read(lambda c: access.may_read(c, path, flow.namespace, loaded.facts.id)):
        raise access.refuse(found)
    with executions.rendering.storage.open(path) as file:
        _keep(executions, loaded, run, epoch, lines_of(file), stored=task.fetch_type != "FETCH")


def _keep(
    executions: Executions, loaded: view.Loaded, run: TaskRun, epoch: int, values: Iterable[Value], *, stored: bool
) -> None:
    """Write the values a chunk at a time; only the last transaction makes them count."""
    write, limits = executions.database.write, executions.rendering.limits
    write(lambda tx: tx.execute(sa.delete(iteration_table).where(iteration_table.c.task_run_id == run.id)))
    total, rest = 0, iter(values)
    while chunk := list(islice(rest, VALUES_CHUNK)):
        rows = [
            {"task_run_id": run.id, "position": position, "key": key, "value": value}
            for position, (key, value) in enumerate(chunk, start=total)
        ]
        total += len(chunk)
        if total > limits.task_runs:
            raise InvalidInput(limits.too_many_task_runs(total), code="too_many_taskruns")
        write(partial(_insert_values, rows=rows))

    def count(tx: Connection) -> None:
        for table in (batch_table, batch_set_table):
            tx.execute(sa.delete(table).where(table.c.task_run_id == run.id))
        nothing = dict.fromkeys([*ENDS.values(), "started", "paused", "again"], 0) | {"halted": False, "stopped": False}
        values = {"task_run_id": run.id, "epoch": epoch, "loop": True, "total": total, "stored": stored, **nothing}
        tx.execute(sa.insert(batch_set_table).values(values))
        all_in_all = writing.count_iterations(tx, loaded.facts.id, total)
        if all_in_all > limits.task_runs:
            raise InvalidInput(limits.too_many_task_runs(all_in_all), code="too_many_taskruns")

    write(count)


def _insert_values(tx: Connection, rows: list[dict[str, Any]]) -> None:
    tx.execute(sa.insert(iteration_table), rows)


def _reopen(tx: Connection, run_id: str, epoch: int) -> None:
    mine = batch_table.c.task_run_id == run_id
    stopped = batch_table.c.state.in_([state.value for state in RESTARTED_FROM])
    tx.execute(sa.update(batch_table).where(mine, stopped).values(state=State.RESTARTED.value))
    waiting = batch_table.c.state == State.RESTARTED.value
    again = tx.execute(sa.select(sa.func.count()).select_from(batch_table).where(mine, waiting)).scalar_one()
    values = {"epoch": epoch, "again": again, "paused": 0, "failed": 0, "killed": 0, "cancelled": 0}
    tx.execute(
        sa.update(batch_set_table)
        .where(batch_set_table.c.task_run_id == run_id)
        .values(**values, halted=False, stopped=False)
    )


def go_on(executions: Executions, run_id: str) -> None:
    """Start whatever may start now, and tell the task run where it stands. Harmless at any time."""
    while _next(executions, run_id):
        pass
    report(executions, run_id)


def _next(executions: Executions, run_id: str) -> bool:
    """Start some iterations; false when none may start now. First those that run again, then new ones."""
    known = find(executions, run_id)
    if known is None or known.counts.halted or known.held:
        return False
    if known.counts.again:
        return bool(_restart(executions, known))
    made = executions.database.write(lambda tx: _create(tx, known, executions.clock.now()))
    if made:
        executions.nudges.send("executions")
        for execution_id in made:
            executions.on_start(execution_id, True)
    return bool(made)


def _room(task: Loop, counts: Counts) -> int:
    limit = task.concurrency_limit
    return min(CHUNK, max(0, limit - counts.running)) if limit else CHUNK


def _restart(executions: Executions, known: Known) -> int:
    """Restart in place what waits for it; what cannot be restarted counts as it ended."""
    mine = (batch_table.c.task_run_id == known.run_id, batch_table.c.state == State.RESTARTED.value)
    query = (
        sa.select(batch_table.c.position, batch_table.c.execution_id)
        .where(*mine)
        .order_by(batch_table.c.position)
        .limit(_room(known.task, known.counts))
    )
    found = executions.database.read(lambda c: c.execute(query).all())
    for row in found:
        place = {"known": known, "position": row.position}
        # Noted first: until then whatever is heard of it is about the end that is to be undone.
        executions.database.write(partial(moved, before=State.RESTARTED, after=None, **place))
        state: State | None = None
        try:
            executions.restart(row.execution_id)
        except NotFound:
            state = State.CANCELLED  # somebody has deleted it
        except Conflict:
            present = executions.database.read(partial(view.ONE_EXECUTION.one_or_none, k_id=row.execution_id))
            state = next((end for end in ENDS if present is not None and present.state == end.value), None)
        if state is not None:
            executions.database.write(partial(moved, before=None, after=state, **place))
    return len(found)


def _create(tx: Connection, known: Known, now: datetime) -> list[str]:
    """The executions of the next values; whatever halts the Loop meanwhile has the last word."""
    mine = batch_set_table.c.task_run_id == known.run_id
    row = tx.execute(sa.select(batch_set_table).where(mine).with_for_update()).one_or_none()
    if row is None or row.halted:
        return []
    counts = counts_of(row)
    first = counts.started
    last = min(first + _room(known.task, counts), counts.total)
    if first >= last:
        return []
    values = tx.execute(
        sa.select(iteration_table)
        .where(iteration_table.c.task_run_id == known.run_id, iteration_table.c.position.between(first, last - 1))
        .order_by(iteration_table.c.position)
    ).all()
    made = [_execution(known, value, now) for value in values]
    tx.execute(sa.update(batch_set_table).where(mine).values(started=last))
    tx.execute(
        sa.insert(batch_table),
        [
            {"task_run_id": known.run_id, "position": one["loop_index"], "execution_id": one["id"], "state": None}
            for one in made
        ],
    )
    writing.insert_executions(tx, made)
    return [one["id"] for one in made]


def _execution(known: Known, value: Any, now: datetime) -> dict[str, Any]:
    """The row of an iteration. Inputs, variables and trigger are its parent's: they are looked up there."""
    parent = known.row
    outer = parent.loop_run
    parents = [*outer["parents"], {k: outer[k] for k in ("index", "key", "value") if k in outer}] if outer else []
    new = derived_id("iteration", known.run_id, str(known.counts.epoch), str(value.position))
    return {
        **{name: getattr(parent, name) for name in SHARED},
        "id": new,
        "version": 0,
        "state": State.CREATED.value,
        "finished": False,
        "slot": False,
        "kind": "LOOP",
        "created_at": now,
        "history": [[State.CREATED.value, to_micros(now)]],
        "parent_run_id": known.run_id,
        "trigger_execution_id": known.execution_id,
        "original_id": new,
        "original_created_at": now,
        "attempt_number": 1,
        "recoveries": 0,
        "loop_index": value.position,
        "loop_run": {
            "taskId": known.task.id,
            "taskRunId": known.run_id,
            "index": value.position,
            **({} if value.key is None else {"key": value.key}),
            "value": value.value,
            "parents": parents,
        },
    }


# ---- ends ----------------------------------------------------------------------------------------------------------


_OF_EXECUTION = Query(sa.select(batch_table).where(batch_table.c.execution_id == sa.bindparam("k_execution")))
_LOCK = Query(
    sa.select(batch_set_table.c.total).where(batch_set_table.c.task_run_id == sa.bindparam("k_run")).with_for_update()
)
_STATE = Query(
    sa.select(batch_table.c.state).where(
        batch_table.c.task_run_id == sa.bindparam("k_run"), batch_table.c.position == sa.bindparam("k_position")
    )
)


def iteration_changed(executions: Executions, row: Any, state: State) -> None:
    """An iteration (its execution's row) has paused, gone on or ended: count it, start the next. Harmless twice."""
    if state is State.RETRIED:
        return  # the execution in its place is what counts
    known = find(executions, row.parent_run_id)
    mine = executions.database.read(lambda c: _OF_EXECUTION.one_or_none(c, k_execution=row.id))
    if known is None or mine is None:
        return
    breaks = False
    if state.terminal and mine.state != state.value and not known.counts.halted:
        try:
            breaks = fails(known.task, {state: 1}) or _breaks(executions, known.task, row.id)
        except Unavailable:
            raise
        except LannerError as error:
            _refuse(executions, known, f"breakWhen: {error.message}")
            return
    before = known.counts
    after = executions.database.write(lambda tx: _count(tx, known, mine.position, row.id, state, breaks))
    if after is None:
        return
    # Without a limit whoever starts them all is still at it.
    if known.task.concurrency_limit and not after.halted and (after.again or after.started < after.total):
        while _next(executions, known.run_id) and after.again:
            pass
    # A long list tells of every so many ends only.
    step = max(1, after.total // STEPS)
    told = state.terminal and after.done % step == 0
    if told or after.over(known.task) or bool(after.paused) != bool(before.paused):
        report(executions, known.run_id)


def _breaks(executions: Executions, task: Loop, execution_id: str) -> bool:
    if task.break_when is None:
        return False
    event = Queued(at=executions.clock.now())
    loaded = executions.database.read(lambda c: view.load(c, execution_id, [event]))
    if loaded is None:
        return False
    place = Place(executions.rendering, executions.flow_of(loaded), loaded.facts, loaded.paths)
    scene = place.renderer(loaded.value, None)
    scene.context()["iteration"] = {
        "executionId": execution_id,
        "state": loaded.value.state.value,
        "outputs": place.opened(loaded.value.outputs) or {},
    }
    return asking.truthy(scene.text(task.break_when).strip())


def _count(tx: Connection, known: Known, position: int, execution_id: str, state: State, halts: bool) -> Counts | None:
    """Note where one iteration is; the counters of all afterwards, None when nothing is to be done."""
    whole = batch_set_table.c.task_run_id == known.run_id
    if _LOCK.one_or_none(tx, k_run=known.run_id) is None:
        return None
    before = _STATE.scalar(tx, k_run=known.run_id, k_position=position)
    if before == State.RESTARTED.value:
        return None
    noted: State | None = state
    if not state.terminal:
        # News of a pause may be overtaken by news of its end: what counts is how it is now.
        present = tx.execute(sa.select(execution_table.c.state).where(execution_table.c.id == execution_id)).scalar()
        noted = State.PAUSED if present == State.PAUSED.value else None
        if before not in (None, State.PAUSED.value):
            return None
    if halts:
        tx.execute(sa.update(batch_set_table).where(whole).values(halted=True))
    return moved(tx, known, position, None if before is None else State(before), noted)


def report(executions: Executions, run_id: str, *, begins: bool = False) -> None:
    """Tell the task run how far its iterations are, from the counters. Harmless at any time."""
    known = find(executions, run_id)
    if known is None:
        return
    counts = known.counts
    over = not begins and counts.over(known.task)
    outputs: Mapping[str, Any] | None = None
    if over and known.task.outputs:
        try:
            outputs = loopoutputs.gather(executions, known.execution_id, run_id, known.row, stored=counts.stored)
            executions.rendering.limits.refuse_large(outputs)
        except Unavailable:
            raise
        except LannerError as error:
            _refuse(executions, known, error.message)
            return
    event = IterationsChanged(
        at=executions.clock.now(),
        task_run_id=run_id,
        epoch=counts.epoch,
        total=counts.total,
        running=counts.running,
        paused=counts.paused,
        ended=counts.ended,
        done=over,
        outputs=outputs,
    )
    executions.apply(known.execution_id, event)


def _refuse(executions: Executions, known: Known, message: str) -> None:
    """Fail the Loop for a reason of its own; what runs of it ends by itself."""
    _halt(executions, known.run_id, stopped=False)
    loaded = _waiting(executions, known.execution_id, known.run_id, known.counts.epoch)
    if loaded is not None:
        run = loaded.value.runs[known.run_id]
        executions.refuse_attempt(known.execution_id, run, known.counts.epoch, message)


def stop(executions: Executions, run_id: str, *, kill: bool, cascade: bool) -> None:
    """Start nothing more, kill what runs if so wanted. Harmless twice."""
    _halt(executions, run_id, stopped=True)
    if kill:
        query = sa.select(execution_table.c.id).where(execution_table.c.parent_run_id == run_id, killable())
        for iteration in executions.database.read(lambda c: list(c.execute(query).scalars())):
            try:
                executions.kill(iteration, cascade=cascade)
            except Conflict:
                continue  # it has ended meanwhile
    report(executions, run_id)


def _halt(executions: Executions, run_id: str, *, stopped: bool) -> None:
    change = {"halted": True, **({"stopped": True} if stopped else {})}
    mine = batch_set_table.c.task_run_id == run_id
    executions.database.write(lambda tx: tx.execute(sa.update(batch_set_table).where(mine).values(change)))


def standing(connection: Connection, limit: int) -> list[str]:
    """Task runs of Loops that could end or start something, as their counters say: what a crash may leave behind."""
    sets = batch_set_table.c
    ended = sum((sets[name] for name in ENDS.values()), start=sa.literal(0))
    return list(
        connection.execute(
            sa.select(sets.task_run_id)
            .join(run_table, run_table.c.id == sets.task_run_id)
            .where(
                sets.loop.is_(True),
                run_table.c.terminal.is_(False),
                run_table.c.epoch == sets.epoch,
                run_table.c.state.in_([State.RUNNING.value, State.PAUSED.value]),
                sa.or_(sets.halted.is_(True), sets.started - sets.again - ended == 0),
            )
            .limit(limit)
        ).scalars()
    )
