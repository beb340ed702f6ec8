"""New executions made of old ones: replay, from the start or a task run, and restart under another revision
(``flows.md`` 3.7). What they take over is decided in ``engine/replay.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.blobs import execution_folder, path_of, uri
from namespaces.errors import Conflict, NotFound
from namespaces.flows.model import Flow
from namespaces.ids import derived_id, new_id
from namespaces.secrets import reseal
from namespaces.store.base import dump_json
from runner import rows, view, writing
from runner.applying import Outcome
from runner.engine import events
from runner.engine.effects import Dispatch, StartTimer, StoreValues
from runner.engine.replay import Replayed, replay, restart_as
from runner.engine.restart import NOTHING
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.rows import execution_table, iteration_table
from runner.starting import StartRequest


class Replaying:
    """Part of ``Executions``, kept apart because it makes executions instead of changing one."""

    def __init__(self, executions: Any) -> None:
        self._executions = executions

    def replay(
        self,
        execution_id: str,
        *,
        task_run_id: str | None,
        revision: int | None,
        inputs: Mapping[str, Any] | None,
        latest: bool,
        breakpoints: tuple[str, ...],
    ) -> str:
        """Returns the new execution's id. Raises ``NotFound`` for an unknown execution, revision or task run."""
        row, loaded, stored = self._read(execution_id, revision, latest)
        if task_run_id is None:
            return str(self._from_start(row, loaded, stored, inputs, breakpoints))
        return self._from_task_run(row, loaded, stored, task_run_id, inputs)

    def restart(self, execution_id: str, revision: int) -> str:
        """Restart under another revision: a new execution, whose id is returned.

        Raises ``NotFound`` for an unknown revision, ``Conflict`` when nothing is to be restarted.
        """
        row, loaded, stored = self._read(execution_id, revision, latest=False)
        flow = self._executions.registry.parsed(stored)
        new = new_id()
        made = restart_as(flow, loaded.value, new, self._executions.clock.now())
        if made is None:
            raise Conflict(NOTHING, code="nothing_to_restart")
        return self._insert(row, loaded, flow, new, made, self._inputs(row, new))

    def _read(self, execution_id: str, revision: int | None, latest: bool) -> tuple[Any, view.Loaded, revisions.Stored]:
        everything = events.Restart(at=self._executions.clock.now())

        def read(connection: Connection) -> tuple[Any, view.Loaded, revisions.Stored]:
            row = connection.execute(
                sa.select(execution_table).where(execution_table.c.id == execution_id)
            ).one_or_none()
            loaded = view.load(connection, execution_id, [everything])
            if row is None or loaded is None:
                raise NotFound(f"execution '{execution_id}' does not exist")
            if row.kind == "LOOP":
                raise Conflict(
                    f"execution '{execution_id}' is an iteration of a Loop",
                    code="replay_impossible",
                    hint=f"replay the execution it belongs to: {row.trigger_execution_id}",
                )
            number = revision if revision is not None else row.revision
            stored = (
                revisions.latest(connection, row.namespace, row.flow_id)
                if latest
                else revisions.at_revision(connection, row.namespace, row.flow_id, number)
            )
            if stored is None:
                raise NotFound(f"flow '{row.namespace}.{row.flow_id}' has no revision {number}")
            return row, loaded, stored

        found: tuple[Any, view.Loaded, revisions.Stored] = self._executions.database.read(read)
        return found

    def _inputs(self, row: Any, new: str) -> Any:
        return reseal(self._executions.rendering.vault, row.inputs, row.id, new)

    def _from_start(
        self, row: Any, loaded: view.Loaded, stored: revisions.Stored, inputs: Mapping[str, Any] | None,
        breakpoints: tuple[str, ...],
    ) -> str:  # fmt: skip
        new = new_id()
        request = StartRequest(
            namespace=row.namespace,
            flow_id=row.flow_id,
            revision=stored.revision,
            inputs=inputs or {},
            values=None if inputs is not None else (self._inputs(row, new) or {}),
            trusted_labels=tuple((k, v) for k, v in loaded.value.labels),
            trigger=row.trigger,
            execution_id=new,
            breakpoints=breakpoints,
        )
        prepared = self._executions.prepare(request)
        values = {**prepared.row, "parent_id": row.id, "original_id": row.original_id}
        self._executions.database.write(lambda tx: writing.insert_execution(tx, values))
        self._executions.on_start(new)
        return new

    def _from_task_run(
        self, row: Any, loaded: view.Loaded, stored: revisions.Stored, task_run_id: str,
        inputs: Mapping[str, Any] | None,
    ) -> str:  # fmt: skip
        executions = self._executions
        flow = executions.registry.parsed(stored)
        if task_run_id not in loaded.value.runs:
            raise NotFound(f"execution '{row.id}' has no task run '{task_run_id}'")
        new, now = new_id(), executions.clock.now()
        made = replay(flow, loaded.value, new, task_run_id, now)
        values_in = self._inputs(row, new)
        if inputs is not None:
            values_in = executions.resolve(flow, inputs, new).require()
        return self._insert(row, loaded, flow, new, made, values_in)

    def _insert(self, row: Any, loaded: view.Loaded, flow: Flow, new: str, made: Replayed, inputs: Any) -> str:
        """Write the copy of an execution with its task runs, and get it going."""
        executions = self._executions
        now = executions.clock.now()
        execution, copied, acts = made
        base = {column.name: getattr(row, column.name) for column in execution_table.columns}
        values = {
            **base,
            **rows.execution_changes(execution),
            "id": new,
            "version": 0,
            "revision": flow.revision,
            "created_at": now,
            "slot": False,
            "inputs": inputs,
            "parent_id": row.id,
            "original_id": row.original_id,
            "parent_run_id": None,
            "recoveries": 0,
            "iterations": None,
        }
        change = writing.Change(
            before=execution,
            after=execution,
            created=list(copied),
            paths=_paths(execution.runs),
            task_outputs=self._outputs(row.id, new, flow, loaded, copied),
            timers=[act for act in acts if isinstance(act, StartTimer)],
            values=[act for act in acts if isinstance(act, StoreValues) and act.copy_of is None],
        )

        def write(tx: Connection) -> None:
            writing.insert_execution(tx, values)
            writing.write(tx, change, version=0, now=now)
            for act in acts:
                if isinstance(act, StoreValues) and act.copy_of is not None:
                    _copy_values(tx, act.copy_of, act.task_run_id)

        executions.database.write(write)
        dispatches = [act for act in acts if isinstance(act, Dispatch)]
        if dispatches:
            executions._committed(new, flow, Outcome(dispatches=dispatches))
        executions.on_start(new)
        return new

    def _outputs(
        self, old: str, new: str, flow: Flow, loaded: view.Loaded, copied: Iterable[TaskRun]
    ) -> dict[str, tuple[Any, str | None]]:
        """Outputs of the copies: secrets are bound to their execution, and so are large outputs in the storage."""
        shared = self._executions.rendering
        large = {derived_id(new, run_id): address for run_id, address in loaded.outputs_uris.items()}
        found: dict[str, tuple[Any, str | None]] = {}
        for run in copied:
            if run.id in large and run.state not in (State.RESTARTED, State.CREATED):
                with shared.storage.open(path_of(large[run.id])) as file:
                    outputs = reseal(shared.vault, orjson.loads(file.read()), old, new)
                path = f"{execution_folder(flow.namespace, flow.id, new)}/outputs/{run.id}.json"
                shared.storage.put(path, dump_json(outputs).encode())
                found[run.id] = (None, uri(path))
            elif run.outputs is not None:
                found[run.id] = (reseal(shared.vault, dict(run.outputs), old, new), None)
        return found


def _paths(runs: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    paths: dict[str, tuple[str, ...]] = {}

    def path(run: Any) -> tuple[str, ...]:
        if run.id not in paths:
            parent = path(runs[run.parent_id]) if run.parent_id in runs else ()
            paths[run.id] = (*parent, run.value) if run.value is not None else parent
        return paths[run.id]

    for run in runs.values():
        path(run)
    return paths


def _copy_values(tx: Connection, old: str, new: str) -> None:
    found = tx.execute(
        sa.select(iteration_table.c.position, iteration_table.c.value).where(iteration_table.c.task_run_id == old)
    ).all()
    if found:
        tx.execute(
            sa.insert(iteration_table),
            [{"task_run_id": new, "position": item.position, "value": item.value} for item in found],
        )
