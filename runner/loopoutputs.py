"""The declared outputs of a Loop's iterations, in the order of its values (``flows.md`` 4.16)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.blobs import execution_folder
from namespaces.secrets import masked, reseal
from runner.executions import Executions
from runner.rows import batch_table, execution_table

PAGE = 500
IN_MEMORY = 1 << 20


def gather(executions: Executions, execution_id: str, run_id: str, flow: Any, *, stored: bool) -> dict[str, Any]:
    """``outputs`` of the Loop: one entry per iteration that was started.

    ``stored``: each iteration's map is a file of its own, and ``uri`` names one with all of them, a row each;
    secrets in files are stars. ``flow`` has ``namespace`` and ``flow_id``. Doing it twice gives the same files.
    """
    entries = _entries(executions, run_id)
    if not stored:
        vault = executions.rendering.vault
        found = []
        for item, iteration_id, outputs in entries:
            found.append({"item": item, "outputs": reseal(vault, outputs, iteration_id, execution_id)})
        return {"outputs": found}
    from namespaces.expressions.ion_text import written

    storage = executions.rendering.storage
    folder = f"{execution_folder(flow.namespace, flow.flow_id, execution_id)}/loops/{run_id}"
    found = []
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as whole:
        for item, _, outputs in entries:
            row = f"{written(masked(outputs, '********'))}\n".encode()
            whole.write(row)
            uri = storage.put(f"{folder}/{item['iteration']}.ion", row)
            found.append({"item": item, "outputs": {"uri": uri}})
        whole.seek(0)
        return {"outputs": found, "uri": storage.put(f"{folder}/outputs.ion", whole)}  # type: ignore[arg-type]


def _entries(executions: Executions, run_id: str) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """(item, execution, outputs) of each iteration, a page at a time."""
    query = (
        sa.select(batch_table.c.position, execution_table.c.id, execution_table.c.loop_run, execution_table.c.outputs)
        .join(execution_table, execution_table.c.id == batch_table.c.execution_id)
        .where(batch_table.c.task_run_id == run_id)
        .order_by(batch_table.c.position)
        .limit(PAGE)
    )
    after = -1
    while True:

        def page(connection: Connection, after: int = after) -> list[Any]:
            return list(connection.execute(query.where(batch_table.c.position > after)).all())

        rows = executions.database.read(page)
        for row in rows:
            item = {"value": row.loop_run["value"], "iteration": row.position}
            if "key" in row.loop_run:
                item["key"] = row.loop_run["key"]
            yield item, row.id, row.outputs or {}
        if len(rows) < PAGE:
            return
        after = rows[-1].position
