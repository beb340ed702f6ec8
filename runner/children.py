"""Child executions of Subflow and ForEachItem tasks: what they are started with, whom their end is told.

When they are started is decided by the engine; ``effects`` and ``batches`` start them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from namespaces import revisions
from namespaces.errors import LannerError
from namespaces.flows.model import Batches, Subflow
from namespaces.labels import read_labels
from namespaces.store.db import Database
from runner import view
from runner.engine.events import SubflowChanged
from runner.engine.states import State
from runner.engine.values import TaskRun
from runner.rendering import Bound, Place
from runner.rows import run_table
from runner.starting import StartRequest


def scene_of(place: Place, loaded: view.Loaded, run: TaskRun, position: int | None, items: str | None) -> Bound:
    """Where the properties of a child are rendered; of a batch ``taskrun`` has its number and its file."""
    if position is None:
        return place.renderer(loaded.value, run)
    scene = place.renderer(loaded.value, replace(run, iteration=position))
    context = scene.context()
    context["taskrun"] = {**context["taskrun"], "items": items}
    return scene


def request(
    task: Subflow | Batches, scene: Bound, loaded: view.Loaded, run: TaskRun, child_id: str, executions: Any
) -> StartRequest:
    """How the child of this task run is to be started. Raises ``LannerError`` for what cannot be rendered.

    It starts at the generation of its parent (``gitops.md`` 2.11), with ``subflow_pin: latest`` at the newest.
    """
    facts = loaded.facts
    variables: dict[str, Any] = {
        "executionId": facts.id,
        "namespace": facts.namespace,
        "flowId": facts.flow_id,
        "flowRevision": loaded.value.revision,
        "taskRunId": run.id,
    }
    if run.value is not None:
        variables["taskRunValue"] = run.value
    if run.iteration is not None:
        variables["taskRunIteration"] = run.iteration
    namespace, flow_id = scene.text(task.namespace), scene.text(task.flow_id)
    return StartRequest(
        namespace=namespace,
        flow_id=flow_id,
        revision=task.revision,
        inputs=scene.value(dict(task.inputs)) if task.inputs else {},
        labels=tuple(_labels(task, scene, loaded).items()),
        schedule_date=_instant(scene.text(task.schedule_date) if task.schedule_date else ""),
        trigger={"id": task.id, "type": task.type, "variables": variables},
        execution_id=child_id,
        parent_run_id=run.id,
        trigger_execution_id=facts.id,
        correlation_id=dict(loaded.value.labels).get("system.correlationId", facts.id),
        depth=facts.depth + 1,
        generation=_generation(executions.database, facts.generation, namespace, flow_id)
        if executions.pins_subflows
        else None,
    )


def _labels(task: Subflow | Batches, scene: Bound, loaded: view.Loaded) -> dict[str, str]:
    labels: dict[str, str] = {}
    if task.inherit_labels:
        labels.update((k, v) for k, v in loaded.value.labels if not k.startswith("system."))
    if task.labels:
        # The model keeps pairs, or one expression; read_labels takes the forms that a flow may write.
        written: Any = (
            scene.typed(task.labels)
            if isinstance(task.labels, str)
            else scene.value([{"key": key, "value": value} for key, value in task.labels])
        )
        pairs, faults = read_labels(written)
        wrong = [fault for fault in faults if not fault.warning]
        if wrong:
            raise LannerError(f"labels: {wrong[0].message}", code="bad_labels")
        labels.update(pairs)
    return labels


def _generation(database: Database, pinned: int, namespace: str, flow_id: str) -> int | None:
    """The parent's generation when the flow was there then; the newest when it came later."""
    found = database.read(lambda c: revisions.at_generation(c, namespace, flow_id, pinned))
    return pinned if found is not None else None


def _instant(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise LannerError(f"'scheduleDate' is not a date-time: {text!r}") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def tell_parent(
    executions: Any, row: Any, state: State, outputs: Mapping[str, Any] | None = None, error: str | None = None
) -> None:
    """Tell the task run that started this execution (a row) of its state. Harmless twice."""
    from runner import batches, loops

    if row.kind == "LOOP":
        loops.iteration_changed(executions, row, state)
        return
    if batches.child_changed(executions, row.id, state):
        return
    parent = executions.database.read(
        lambda c: c.execute(sa.select(run_table.c.execution_id).where(run_table.c.id == row.parent_run_id)).scalar()
    )
    if parent is None:
        return
    executions.apply(
        parent,
        SubflowChanged(
            at=executions.clock.now(),
            task_run_id=row.parent_run_id,
            execution_id=row.id,
            state=state,
            outputs=outputs,
            error=error,
        ),
    )
