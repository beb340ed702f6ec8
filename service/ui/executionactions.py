"""What a person does to an execution from its page: each is one call of ``runner.executions`` and a way back."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from namespaces.errors import BadRequest, InvalidInput
from runner import queries
from service.api.context import lanner
from service.api.uploads import submitted
from service.auth.principal import caller
from service.ui.execute import inputs_of
from service.ui.executionpages import PATH
from service.ui.site import page, redirect, url


def _back(namespace: str, flow_id: str, execution_id: str) -> Response:
    return redirect(url("execution", namespace=namespace, flow_id=flow_id, execution_id=execution_id))


def _known(namespace: str, flow_id: str, execution_id: str) -> None:
    """Raises ``NotFound`` for an execution that is not of this flow: the permission was asked for its namespace."""
    from namespaces.errors import NotFound

    head: Any = lanner().database.read(lambda c: queries.head(c, execution_id))
    if head is None or (head.namespace, head.flow_id) != (namespace, flow_id):
        raise NotFound(f"There is no execution “{execution_id}” of {namespace}.{flow_id}.")


@page(PATH + "/do", "execution.control", methods=("POST",))
def execution_do(namespace: str, flow_id: str, execution_id: str) -> Response:
    _known(namespace, flow_id, execution_id)
    door = lanner().executions
    match request.form.get("do"):
        case "kill":
            door.kill(execution_id, cascade=True)
        case "pause":
            door.pause(execution_id)
        case "restart":
            door.restart(execution_id)
        case "force-run":
            door.force_run(execution_id)
        case _:
            raise BadRequest("There is no such action.")
    return _back(namespace, flow_id, execution_id)


@page(PATH + "/resume", "execution.control", methods=("POST",))
def resume(namespace: str, flow_id: str, execution_id: str) -> Response:
    _known(namespace, flow_id, execution_id)
    principal = caller()
    with submitted() as given:
        try:
            lanner().executions.resume(
                execution_id, inputs=inputs_of(given), by=principal.name if principal is not None else None
            )
        except InvalidInput as error:
            raise InvalidInput(error.message, hint="go back and correct the values", code=error.code) from error
    return _back(namespace, flow_id, execution_id)


@page(PATH + "/review", "execution.control", methods=("POST",))
def review(namespace: str, flow_id: str, execution_id: str) -> Response:
    """The decision on an Approval; which one stands in the form, so that nobody decides on what he has not seen."""
    _known(namespace, flow_id, execution_id)
    principal = caller()
    with submitted() as given:
        try:
            lanner().executions.review(
                execution_id,
                decision=request.form.get("decision"),
                task_run_id=request.form.get("task_run") or None,
                comment=request.form.get("comment"),
                inputs=inputs_of(given),
                by=principal.name if principal is not None else None,
            )
        except InvalidInput as error:
            raise InvalidInput(error.message, hint="go back and correct it", code=error.code) from error
    return _back(namespace, flow_id, execution_id)


@page(PATH + "/replay", "execution.run", methods=("POST",))
def replay(namespace: str, flow_id: str, execution_id: str) -> Response:
    """A new execution with the same inputs, from the start or from a task run."""
    _known(namespace, flow_id, execution_id)
    new = lanner().executions.replay(
        execution_id, task_run_id=request.form.get("task_run") or None, latest=request.form.get("latest") == "1"
    )
    return _back(namespace, flow_id, new)
