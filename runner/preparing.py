"""Everything about a start that comes before its short write: the flow, its inputs and their files, its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.blobs import execution_folder
from namespaces.flows.model import Flow
from namespaces.ids import new_id
from namespaces.inputs import Resolved, resolve_inputs
from runner import checks, starting
from runner.inputs import InputShell
from runner.rendering import Rendering
from runner.starting import Prepared, StartRequest

if TYPE_CHECKING:
    from runner.executions import Executions


def prepare(executions: Executions, request: StartRequest) -> Prepared:
    """Raises ``NotFound``, ``Conflict``, ``InvalidInput`` and, for a check that blocks, ``CheckFailed``."""
    rendering = executions.rendering

    def read(connection: Connection) -> tuple[Flow, revisions.Stored, int]:
        flow, stored = starting.find_flow(connection, executions.registry, request)
        now_at = request.generation if request.generation is not None else revisions.generation(connection)
        return flow, stored, now_at

    flow, stored, generation = executions.database.read(read)
    execution_id = request.execution_id or new_id()
    try:
        return starting.prepare(
            flow,
            stored,
            replace(request, execution_id=execution_id),
            now=executions.clock.now(),
            generation=generation,
            resolve=executions.resolve,
            judge=partial(checks.failing, rendering),
        )
    except checks.CheckFailed:
        # The files of its inputs are there already, and nobody would ever delete them.
        rendering.storage.delete_prefix(execution_folder(flow.namespace, flow.id, execution_id))
        raise


def resolve(
    rendering: Rendering,
    flow: Flow,
    declared: Sequence[Any],
    submitted: Mapping[str, Any],
    execution_id: str,
    *,
    store: bool = True,
) -> Resolved:
    """The declared inputs (of the flow, a Pause, an Approval) from what was submitted."""
    shell = InputShell(rendering, flow, execution_id)
    resolved = resolve_inputs(
        declared,
        submitted,
        render=shell.render,
        render_typed=shell.render_typed,
        store_file=shell.store_file if store else None,
        encrypt=lambda text: rendering.vault.seal(text, execution_id),
        accept_uri=shell.accept_uri,
        value_bytes=rendering.limits.input_bytes,
    )
    for problem in resolved.problems:
        rendering.limits.hits.note(problem.limit)
    return resolved
