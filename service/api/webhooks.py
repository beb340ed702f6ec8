"""The HTTP face of flow webhooks (``api.md`` 4.4): hands the raw request on, formats the outcome."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, current_app, request

from namespaces.errors import LannerError, TooLarge
from runner.triggers.webhook import WebhookRequest
from service.api.answers import answer, empty
from service.api.context import lanner
from service.api.executions import LONGEST_WAIT_S, shape_of, url_of
from service.api.problems import unauthorized
from service.api.routes import Resource

resource = Resource("webhooks")


class _Refused(LannerError):
    """What the runner said about a call, with its status."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status


_CODES = {404: "not_found", 409: "conflict", 422: "invalid", 429: "too_many", 503: "unavailable", 507: "disk_full"}


@resource.on(
    "GET POST PUT",
    "/executions/webhook/<namespace>/<flow_id>/<key>",
    "/executions/webhook/<namespace>/<flow_id>/<key>/<path:path>",
)
def fire(namespace: str, flow_id: str, key: str, path: str = "") -> Response:
    """200 with the new execution, 204 when its conditions say no; all refusals look alike to strangers."""
    if request.method == "HEAD":
        # A link preview asks with HEAD; it never fires.
        return empty(405)
    wiring = lanner()
    limit = wiring.settings.limits.webhook_body_bytes
    if (request.content_length or 0) > limit:
        raise TooLarge(f"a webhook body has at most {limit} bytes")
    body = request.get_data(cache=False)
    if len(body) > limit:
        raise TooLarge(f"a webhook body has at most {limit} bytes")
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    outcome = wiring.webhooks.accept(
        namespace,
        flow_id,
        key,
        WebhookRequest(
            method=request.method,
            headers=headers,
            parameters=request.args.to_dict(flat=False),
            body=body,
            content_type=request.content_type or "",
            path=path,
        ),
    )
    if outcome.status == 204:
        return empty(204)
    if outcome.status == 401:
        return unauthorized()
    if outcome.status != 200 or outcome.execution_id is None:
        message = outcome.message or "Webhook not found"
        raise _Refused(outcome.status, message, getattr(outcome, "code", "") or _CODES.get(outcome.status, "error"))
    return _accepted(namespace, flow_id, outcome)


def _accepted(namespace: str, flow_id: str, outcome: Any) -> Response:
    properties = outcome.trigger.properties if outcome.trigger is not None else {}
    if properties.get("wait"):
        lanner().executions.wait(outcome.execution_id, timeout_s=LONGEST_WAIT_S)
    shape = shape_of(outcome.execution_id)
    shape["url"] = url_of(namespace, flow_id, outcome.execution_id)
    status = _status(properties, shape)
    if properties.get("returnOutputs"):
        outputs = shape.get("outputs", {})
        if properties.get("responseContentType") == "text/plain":
            return _text(outputs, status)
        if properties.get("wait"):
            return answer(outputs, status)
    if outcome.replayed:
        return answer(shape, status, Lanner_Replayed="true")
    return answer(shape, status)


def _status(properties: Any, shape: dict[str, Any]) -> int:
    if properties.get("wait") and "responseCode" in properties:
        return 500 if shape["state"]["current"] == "FAILED" else int(properties["responseCode"])
    return 200


def _text(outputs: dict[str, Any], status: int) -> Response:
    """Outputs as plain text: a single one by itself, several as JSON text."""
    values = list(outputs.values())
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else orjson.dumps(outputs).decode()
    return current_app.response_class(text, status, mimetype="text/plain")
