"""Loading an execution: the part of it that an event concerns, and the facts that only expressions and effects need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import CorruptRow, NotFound
from namespaces.flows.model import Flow, Loop, LoopUntil, Pause
from namespaces.store.base import Unreadable
from namespaces.store.statements import Query
from runner import rows
from runner.engine.events import AnyEvent, Needs, Refused, Started, needs
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun
from runner.rows import batch_table, execution_table, run_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What never changes while an execution runs (or only by hand): where it came from and what it was given."""

    id: str
    namespace: str
    flow_id: str
    generation: int
    kind: str
    inputs: Mapping[str, Any] | None
    trigger: Mapping[str, Any] | None
    parent_run_id: str | None
    trigger_execution_id: str | None
    depth: int
    parent_id: str | None
    original_id: str
    schedule_date: datetime | None
    breakpoints: Any
    loop_run: Mapping[str, Any] | None
    commit: str | None
    source: str | None
    locks: bool = True
    """A trigger may be locked until it ends; not by one that ends in the transaction that makes it."""


@dataclass(slots=True, kw_only=True)
class Loaded:
    """An execution as read from the database: its engine value, its version for the optimistic lock, its facts."""

    value: Execution
    version: int
    slot: bool
    facts: Facts
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Loop path of each loaded task run."""
    claimed: dict[str, str | None] = field(default_factory=dict)
    """Worker of each loaded task run."""
    outputs_uris: dict[str, str] = field(default_factory=dict)
    """Where large outputs are, by task run; the task run itself has none then."""


def facts(row: Any) -> Facts:
    return Facts(
        id=row.id,
        namespace=row.namespace,
        flow_id=row.flow_id,
        generation=row.generation,
        kind=row.kind,
        inputs=row.inputs,
        trigger=row.trigger,
        parent_run_id=row.parent_run_id,
        trigger_execution_id=row.trigger_execution_id,
        depth=row.depth,
        parent_id=row.parent_id,
        original_id=row.original_id,
        schedule_date=row.schedule_date,
        breakpoints=row.breakpoints,
        loop_run=row.loop_run,
        commit=row.commit,
        source=row.source,
    )


def of_new(values: Mapping[str, Any]) -> Loaded:
    """The execution that a row with these columns will be."""
    return _loaded(SimpleNamespace(**{**_NO_COLUMNS, **values}), ())


_NO_COLUMNS = dict.fromkeys(column.name for column in execution_table.columns)
ONE_EXECUTION = Query(sa.select(execution_table).where(execution_table.c.id == sa.bindparam("k_id")))
_ONE_RUN = Query(
    sa.select(run_table).where(
        run_table.c.id == sa.bindparam("k_id"), run_table.c.execution_id == sa.bindparam("k_execution")
    )
)
_LIVE_RUNS = Query(
    sa.select(run_table).where(run_table.c.execution_id == sa.bindparam("k_id"), run_table.c.terminal.is_(False))
)
FlowOf = Callable[[Connection, str, str, int], Flow]


def body(flow: Flow, loop_run: Mapping[str, Any] | None) -> Flow:
    """What an execution runs of its flow: all of it, or as an iteration the lists of its Loop. Raises ``NotFound``."""
    if loop_run is None:
        return flow
    found = flow.bodies.get(loop_run["taskId"])
    if found is None:
        raise NotFound(f"flow '{flow.namespace}.{flow.id}' has no Loop '{loop_run['taskId']}'")
    return found


def load(
    connection: Connection, execution_id: str, events: Iterable[AnyEvent], flow_of: FlowOf | None = None
) -> Loaded | None:
    """The execution with the task runs these events need; None when there is no such execution.

    ``flow_of`` gives the flow of the execution's revision: some events may end everything, which the flow tells.
    """
    row = ONE_EXECUTION.one_or_none(connection, k_id=execution_id)
    if row is None:
        return None
    # Values that nothing looks at are passed on as they are: an unreadable one must not wait for the first task.
    for name in ("inputs", "variables", "outputs", "trigger", "loop_run"):
        if isinstance(getattr(row, name), Unreadable):
            raise CorruptRow(f"execution '{execution_id}' cannot be read: '{name}' is no JSON")
    flow = None
    if flow_of is not None:
        flow = body(flow_of(connection, row.namespace, row.flow_id, row.revision), row.loop_run)
    wanted: set[str] = set()
    widest = Needs.NOTHING
    for event in events:
        match Needs.NOTHING if isinstance(event, Started | Refused) and _untouched(row) else needs(event, flow):
            case Needs.ALL:
                widest = Needs.ALL
            case Needs.LIVE if widest is not Needs.ALL:
                widest = Needs.LIVE
            case _:
                pass
        run_id = getattr(event, "task_run_id", None) or getattr(getattr(event, "ask", None), "task_run_id", None)
        if run_id:
            wanted.add(run_id)
    found = _runs(connection, execution_id, widest, wanted)
    try:
        return _loaded(row, found)
    except CorruptRow:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # Valid JSON of a wrong shape, a state that does not exist: as unreadable as a torn text.
        raise CorruptRow(f"execution '{execution_id}' cannot be read: {type(error).__name__}: {error}") from error


def _loaded(row: Any, found: Iterable[Any]) -> Loaded:
    runs: dict[str, TaskRun] = {}
    paths: dict[str, tuple[str, ...]] = {}
    claimed: dict[str, str | None] = {}
    uris: dict[str, str] = {}
    for run_row in found:
        runs[run_row.id] = rows.task_run(run_row, run_row.outputs)
        paths[run_row.id] = tuple(run_row.path or ())
        claimed[run_row.id] = run_row.worker_id
        if run_row.outputs_uri:
            uris[run_row.id] = run_row.outputs_uri
    return Loaded(
        value=rows.execution(row, runs),
        version=row.version,
        slot=bool(row.slot),
        facts=facts(row),
        paths=paths,
        claimed=claimed,
        outputs_uris=uris,
    )


def waits_for_somebody(connection: Connection, execution_id: str, flow_of: FlowOf) -> bool:
    """Whether a PAUSED execution needs a person; between two rounds of a LoopUntil it goes on by itself."""
    row = ONE_EXECUTION.one_or_none(connection, k_id=execution_id)
    if row is None:
        return False
    flow = body(flow_of(connection, row.namespace, row.flow_id, row.revision), row.loop_run)
    query = sa.select(run_table.c.id, run_table.c.task_id).where(
        run_table.c.execution_id == execution_id, run_table.c.state == State.PAUSED.value
    )
    paused = connection.execute(query).all()
    for run in paused:
        match flow.by_id.get(run.task_id):
            case LoopUntil():
                pass
            case Loop():
                below = paused_iterations(connection, run.id)
                if any(waits_for_somebody(connection, one, flow_of) for one in below):
                    return True
            case _:
                return True
    return not paused


def paused_iterations(connection: Connection, loop_run_id: str, limit: int = 100) -> list[str]:
    """Executions of a Loop's PAUSED iterations, in order of their values."""
    query = (
        sa.select(batch_table.c.execution_id)
        .where(batch_table.c.task_run_id == loop_run_id, batch_table.c.state == State.PAUSED.value)
        .order_by(batch_table.c.position)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def iterations_below(connection: Connection, execution_id: str) -> list[str]:
    """Executions of all iterations of the Loops of an execution, those of nested Loops included."""
    found: list[str] = []
    level = [execution_id]
    while level:
        inner: list[str] = []
        for start in range(0, len(level), 400):
            query = sa.select(execution_table.c.id).where(
                execution_table.c.trigger_execution_id.in_(level[start : start + 400]),
                execution_table.c.kind == "LOOP",
            )
            inner.extend(connection.execute(query).scalars())
        found.extend(inner)
        level = inner
    return found


def paused_task(flow: Flow, loaded: Loaded, task_run_id: str | None = None) -> TaskRun | None:
    """The first PAUSED task run of a Pause among those loaded, of any or this one."""
    for run in loaded.value.runs.values():
        waits = run.state is State.PAUSED and isinstance(flow.by_id.get(run.task_id), Pause)
        if waits and task_run_id in (None, run.id):
            return run
    return None


def paused_iteration(connection: Connection, flow: Flow, loaded: Loaded, loop_run_id: str | None = None) -> str | None:
    """The first PAUSED iteration of a Loop that waits in this execution, of any or of this task run."""
    for run in loaded.value.runs.values():
        waits = run.state is State.PAUSED and isinstance(flow.by_id.get(run.task_id), Loop)
        if waits and loop_run_id in (None, run.id):
            for found in paused_iterations(connection, run.id, limit=1):
                return found
    return None


def _untouched(row: Any) -> bool:
    """Whether the execution has no task run yet: then there is nothing to load for its start."""
    return not (row.progress or {}).get("created", 0)


def _runs(connection: Connection, execution_id: str, widest: Needs, wanted: set[str]) -> list[Any]:
    if widest is Needs.ALL:
        return list(
            connection.execute(
                sa.select(run_table).where(run_table.c.execution_id == execution_id).order_by(run_table.c.sequence)
            )
        )
    found: dict[str, Any] = {}
    if widest is Needs.LIVE:
        found.update({row.id: row for row in _LIVE_RUNS.all(connection, k_id=execution_id)})
    # Ancestors are fetched level by level: depth is small, and a plain key lookup beats a recursive query.
    missing = (wanted | {row.parent_id for row in found.values() if row.parent_id}) - found.keys()
    while missing:
        ids = list(missing)
        if len(ids) == 1:
            one = _ONE_RUN.one_or_none(connection, k_id=ids[0], k_execution=execution_id)
            if one is not None:
                found[one.id] = one
            ids = []
        for start in range(0, len(ids), 400):
            query = sa.select(run_table).where(
                run_table.c.id.in_(ids[start : start + 400]), run_table.c.execution_id == execution_id
            )
            found.update({row.id: row for row in connection.execute(query)})
        missing = {row.parent_id for row in found.values() if row.parent_id and row.parent_id not in found} - missing
    return sorted(found.values(), key=lambda row: row.sequence)


def descendants(connection: Connection, parent_ids: Iterable[str]) -> list[str]:
    """Ids of everything below these task runs, themselves left out."""
    below: list[str] = []
    level = list(parent_ids)
    while level:
        children: list[str] = []
        for start in range(0, len(level), 400):
            children.extend(
                connection.execute(
                    sa.select(run_table.c.id).where(run_table.c.parent_id.in_(level[start : start + 400]))
                ).scalars()
            )
        below.extend(children)
        level = children
    return below
