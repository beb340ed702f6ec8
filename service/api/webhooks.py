"""The HTTP face of flow webhooks (``api.md`` 4.4): hands the raw request on, formats the outcome."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from flask import Response, current_app, request

from namespaces.errors import LannerError, TooLarge, TooMany
from runner.triggers.webhook import WebhookRequest
from runner.webhooks import WebhookOutcome
from service import stream
from service.api.answers import answer, empty
from service.api.context import lanner
from service.api.executions import replayed_shape, started_shape, url_of
from service.api.problems import unauthorized
from service.api.routes import Resource

log = logging.getLogger("lanner.api")
resource = Resource("webhooks")


class _Refused(LannerError):
    """What the runner said about a call, with its status."""

    def __init__(self, outcome: WebhookOutcome) -> None:
        super().__init__(outcome.message or "Webhook not found", code=outcome.code or None, hint=outcome.hint)
        self.status = outcome.status
        self.retry_after_s = outcome.retry_after_s


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
    body = b"" if (request.content_length or 0) > limit else request.get_data(cache=False)
    if max(request.content_length or 0, len(body)) > limit:
        wiring.hits.note("webhook_body_bytes")
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
            address=request.remote_addr or "",
        ),
    )
    if outcome.status == 204:
        return empty(204)
    if outcome.status == 401:
        return unauthorized()
    if outcome.status != 200 or outcome.execution_id is None:
        # A refused input is told as everywhere else, one violation for each.
        raise outcome.cause if outcome.status == 422 and outcome.cause is not None else _Refused(outcome)
    return _accepted(namespace, flow_id, outcome, outcome.execution_id)


def _accepted(namespace: str, flow_id: str, outcome: WebhookOutcome, execution_id: str) -> Response:
    properties = outcome.trigger.properties if outcome.trigger is not None else {}
    if properties.get("wait"):
        try:
            with stream.place():
                stream.wait_for_end(execution_id)
        except TooMany:
            # It runs already: the sender gets its id at once rather than a refusal that makes him send again.
            log.warning("webhook call does not wait: too many wait", extra={"action": "webhook_wait_skipped"})
    if outcome.replayed:
        shape = replayed_shape(namespace, flow_id, execution_id)
    else:
        shape = started_shape(execution_id, None if properties.get("wait") else outcome.row)
    shape["url"] = url_of(namespace, flow_id, execution_id)
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
        failed = shape.get("state", {}).get("current") == "FAILED"
        return 500 if failed else int(properties["responseCode"])
    return 200


def _text(outputs: dict[str, Any], status: int) -> Response:
    """Outputs as plain text: a single one by itself, several as JSON text."""
    values = list(outputs.values())
    text = values[0] if len(values) == 1 and isinstance(values[0], str) else orjson.dumps(outputs).decode()
    return current_app.response_class(text, status, mimetype="text/plain")
