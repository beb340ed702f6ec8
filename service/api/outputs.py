"""Routes of outputs (``api.md`` 4.5), and reading outputs that are kept in internal storage."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response

from namespaces.errors import NotFound
from runner import queries
from runner.queries_shapes import LoadOutputs
from service.api.answers import answer
from service.api.context import lanner
from service.api.routes import Resource

resource = Resource("outputs")


def load_outputs(wiring: Any) -> LoadOutputs:
    """Reads what was too large for the row; a file that is gone (purged) shows as an empty map."""
    from namespaces.blobs import path_of

    def load(uri: str) -> Any:
        try:
            with wiring.storage.open(path_of(uri)) as file:
                return orjson.loads(file.read())
        except NotFound:
            return {}

    return load


@resource.on("GET", "/outputs/executions/<execution_id>", "/outputs/<execution_id>")
def of_execution(execution_id: str) -> Response:
    found = lanner().database.read(lambda c: queries.outputs(c, execution_id))
    if found is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    return answer(found)


@resource.on("GET", "/outputs/tasks/<execution_id>")
def of_tasks(execution_id: str) -> Response:
    wiring = lanner()
    if wiring.database.read(lambda c: queries.head(c, execution_id)) is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    return answer(wiring.database.read(lambda c: queries.runs_with_outputs(c, execution_id)))


@resource.on("GET", "/outputs/tasks/<execution_id>/<task_run_id>", "/outputs/<execution_id>/<task_run_id>")
def of_task_run(execution_id: str, task_run_id: str) -> Response:
    wiring = lanner()
    load = load_outputs(wiring)
    found = wiring.database.read(lambda c: queries.run_outputs(c, execution_id, task_run_id, load))
    if found is None:
        raise NotFound(f"execution '{execution_id}' has no task run '{task_run_id}'")
    return answer(found)
