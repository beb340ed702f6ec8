"""Actions on one execution (``api.md`` 4.1), under ``/actions/x`` (v2) and ``/x`` (v0, v1). Bulk: ``execution_bulk``.

``POST executions/{namespace}/{flowId}`` has the shape of a v1 action: an existing execution decides (``api.md`` 8.18).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Response, request

from namespaces import revisions
from namespaces.errors import InvalidInput
from runner import queries
from runner.engine.states import State
from service.api import executions
from service.api.answers import answer, empty
from service.api.bodies import text_body
from service.api.context import flag, json_list, json_object, lanner, optional_number, required
from service.api.executions import require_execution, shape_of
from service.api.routes import Resource
from service.api.uploads import FORM, MULTIPART, submitted
from service.auth.principal import caller, require

resource = Resource("execution_actions")

Action = Callable[[str], Response]


def _both(name: str) -> tuple[str, str]:
    return f"/executions/<execution_id>/actions/{name}", f"/executions/<execution_id>/{name}"


def _or_start(name: str) -> Callable[[Action], Action]:
    """A v1 action path is also the start of a flow of that name in a namespace: an execution of the id decides."""

    def wrap(action: Action) -> Action:
        @wraps(action)
        def view(execution_id: str) -> Response:
            old_path = "/actions/" not in request.path
            if old_path and _means_flow(execution_id, name):
                require("execution.run", execution_id)
                return executions.create(execution_id, name)
            require_execution(execution_id)
            return action(execution_id)

        return view

    return wrap


def _means_flow(first: str, flow_id: str) -> bool:
    def read(connection: Any) -> bool:
        if queries.head(connection, first) is not None:
            return False
        return revisions.latest(connection, first, flow_id) is not None

    found: bool = lanner().database.read(read)
    return found


def state_word(text: Any, name: str = "state") -> str:
    """A state of ``State``. Raises ``InvalidInput``."""
    word = "CANCELLED" if text == "CANCELED" else text
    if not isinstance(word, str) or word not in State.__members__:
        raise InvalidInput(f"Illegal argument: {name}: '{str(text)[:40]}' is not a state")
    return word


@resource.on("DELETE", *_both("kill"))
def kill(execution_id: str) -> Response:
    require_execution(execution_id)
    lanner().executions.kill(execution_id, cascade=flag("isOnKillCascade", True))
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("pause"))
@_or_start("pause")
def pause(execution_id: str) -> Response:
    lanner().executions.pause(execution_id)
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("resume"))
@_or_start("resume")
def resume(execution_id: str) -> Response:
    """The old path answers without a body, as its clients expect it; the new one with the execution."""
    with submitted() as given:
        lanner().executions.resume(execution_id, inputs=given.inputs, by=_name())
    return answer(shape_of(execution_id)) if "/actions/" in request.path else empty(204)


def _name() -> str | None:
    principal = caller()
    return principal.name if principal is not None else None


@resource.on("POST", *_both("resume-from-breakpoint"))
@_or_start("resume-from-breakpoint")
def resume_from_breakpoint(execution_id: str) -> Response:
    lanner().executions.resume(execution_id, by=_name())
    return answer(shape_of(execution_id))


@resource.on("POST", "/executions/<execution_id>/actions/review")
def review(execution_id: str) -> Response:
    """A decision on an Approval: ``taskRunId``, ``decision``, ``comment`` as JSON, in the query or as form parts; a
    form's other parts are the inputs (``flows.md`` 4.15).
    """
    require_execution(execution_id)
    with submitted() as given:
        if request.mimetype in (MULTIPART, FORM):
            inputs: Any = {key: value for key, value in given.inputs.items() if key not in _OF_DECISION}
        else:
            inputs = given.inputs.get("inputs") or {}
        if not isinstance(inputs, dict):
            raise InvalidInput("Invalid entity: inputs: must be a map of input ids to values")
        lanner().executions.review(
            execution_id,
            **{name: _of_decision(given.inputs, key) for key, name in _OF_DECISION.items()},
            inputs=inputs,
            by=_name(),
        )
    return answer(shape_of(execution_id))


_OF_DECISION = {"taskRunId": "task_run_id", "decision": "decision", "comment": "comment"}


def _of_decision(body: dict[str, Any], key: str) -> str | None:
    value = request.args.get(key, body.get(key))
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"Invalid entity: {key}: must be text")
    return value or None


@resource.on("POST", *_both("restart"))
@_or_start("restart")
def restart(execution_id: str) -> Response:
    going_on = lanner().executions.restart(execution_id, revision=optional_number("revision"))
    return answer(shape_of(going_on, rewind="RESTARTED"))


@resource.on("POST", *_both("replay"))
@_or_start("replay")
def replay(execution_id: str) -> Response:
    new = lanner().executions.replay(
        execution_id,
        task_run_id=request.args.get("taskRunId"),
        revision=optional_number("revision"),
        latest=flag("latestRevision"),
        breakpoints=_breakpoints(),
    )
    return answer(shape_of(new, rewind="RESTARTED"))


def _breakpoints() -> tuple[str, ...]:
    return tuple(part for part in request.args.get("breakpoints", "").split(",") if part)


@resource.on("POST", *_both("replay-with-inputs"))
@_or_start("replay-with-inputs")
def replay_with_inputs(execution_id: str) -> Response:
    with submitted(required=True) as given:
        new = lanner().executions.replay(
            execution_id,
            task_run_id=request.args.get("taskRunId"),
            revision=optional_number("revision"),
            inputs=given.inputs,
            breakpoints=_breakpoints(),
        )
    return answer(shape_of(new, rewind="RESTARTED"))


@resource.on("POST", *_both("force-run"))
@_or_start("force-run")
def force_run(execution_id: str) -> Response:
    lanner().executions.force_run(execution_id)
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("unqueue"))
@_or_start("unqueue")
def unqueue(execution_id: str) -> Response:
    lanner().executions.unqueue(execution_id, state_word(request.args.get("state", "RUNNING")))
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("change-status"))
@_or_start("change-status")
def change_status(execution_id: str) -> Response:
    lanner().executions.change_status(execution_id, state_word(required("status"), "status"))
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("state"))
def state(execution_id: str) -> Response:
    """Mark a task run. A multipart (or no) body on the old path starts a flow called ``state`` (``decisions.md`` 7)."""
    starts = request.mimetype in (MULTIPART, FORM) or not request.get_data()
    if "/actions/" not in request.path and starts:
        require("execution.run", execution_id)
        return executions.create(execution_id, "state")
    require_execution(execution_id)
    body = json_object()
    task_run_id = body.get("taskRunId")
    if not isinstance(task_run_id, str):
        raise InvalidInput("Invalid entity: taskRunId: must not be null")
    lanner().executions.mark_task_run(execution_id, task_run_id, state_word(body.get("state")))
    return answer(shape_of(execution_id, rewind="RESTARTED"))


def label_body(found: list[Any]) -> list[tuple[str, str]]:
    """``[{key, value}]`` as pairs. Raises ``InvalidInput``."""
    pairs = []
    for one in found:
        key, value = (one.get("key"), one.get("value")) if isinstance(one, dict) else (None, None)
        if not isinstance(key, str) or not key or value is None or value == "" or isinstance(value, dict | list):
            raise InvalidInput("Invalid entity: labels: each needs a key and a value")
        pairs.append((key, value if isinstance(value, str) else str(value)))
    return pairs


@resource.on("POST", *_both("labels"))
@_or_start("labels")
def labels(execution_id: str) -> Response:
    lanner().executions.set_labels(execution_id, label_body(json_list()))
    return answer(shape_of(execution_id))


@resource.on("POST", *_both("eval"))
@_or_start("eval")
def evaluate(execution_id: str) -> Response:
    return _evaluated(execution_id, None)


@resource.on("POST", *_both("eval/<task_run_id>"))
def evaluate_for_task_run(execution_id: str, task_run_id: str) -> Response:
    require_execution(execution_id)
    return _evaluated(execution_id, task_run_id)


def _evaluated(execution_id: str, task_run_id: str | None) -> Response:
    """An expression that cannot be rendered is an answer, not an error (``api.md`` 8.14)."""
    from namespaces.expressions import RenderError

    try:
        return answer({"result": lanner().executions.evaluate(execution_id, text_body(), task_run_id)})
    except RenderError as error:
        return answer({"error": str(error), "stackTrace": f"{type(error).__name__}: {error}"})
