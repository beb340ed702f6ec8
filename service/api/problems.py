"""Errors as HTTP answers (``api.md`` 1.7): Kestra's body by default, problem+json only when ``Accept`` names it."""

from __future__ import annotations

import logging
import random
from typing import Any

import orjson
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from namespaces.errors import InvalidFlow, InvalidInputs, LannerError, Problem, Severity
from service.api.answers import BulkRefused

log = logging.getLogger("lanner.api")

_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    409: "Illegal state",
    410: "Resource has expired",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    422: "Illegal argument",
    429: "Too Many Requests",
    500: "Internal server error",
    503: "Service Unavailable",
    507: "Insufficient Storage",
}
_BEGIN = ("Invalid ", "Illegal ", "Bad Request", "Not Found", "invalid bulk")
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}


def of_lanner(error: LannerError) -> Response:
    """The answer to an error raised on purpose."""
    if error.status == 401:
        return unauthorized()
    if isinstance(error, BulkRefused):
        return _send(error.status, error.message, {"code": error.code, "invalids": error.invalids})
    extra: dict[str, Any] = {"code": error.code}
    if error.hint:
        extra["hint"] = error.hint
    if isinstance(error, InvalidFlow):
        errors = [problem for problem in error.problems if problem.severity is Severity.ERROR]
        extra |= _place(errors[0]) if errors else {}
        return _send(422, f"Invalid entity: {error.message}", extra, errors)
    message = _with_reason(error.status, error.message)
    if error.status == 422 and error.where and not error.message.startswith("Invalid "):
        message = f"Invalid entity: {error.where}: {error.message}"
    if error.status == 404 and request.method == "GET":
        # A get that finds nothing says only that; what was looked for is in the hint.
        message, extra["hint"] = "Not Found", extra.get("hint") or error.message
    errors = [Problem(error.code, error.message, path=error.where)] if error.status == 422 and error.where else []
    if isinstance(error, InvalidInputs):
        errors = [Problem(error.code, fault, path=path) for path, fault in error.faults]
    if error.where and not errors:
        extra["where"] = error.where
    response = _send(error.status, message, extra, errors)
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def of_http(error: HTTPException) -> Response:
    """The answer to what Flask and Werkzeug refuse: unknown routes, wrong methods, bodies too large."""
    status = error.code or 500
    if status == 401:
        return unauthorized()
    if error.response is not None and status < 400:
        return error.response  # type: ignore[return-value]
    message = _REASONS.get(status, error.name)
    if status == 400 and error.description:
        message = f"{message}: {error.description}"
    response = _send(status, message, {"code": _CODES.get(status, "http_error")})
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def of_bug(error: Exception) -> Response:
    """Anything else is our mistake: logged with the request's id, told without details."""
    log.error(
        "%s %s failed",
        request.method,
        # The rule, not the path: a webhook's key stands in the path.
        request.url_rule.rule if request.url_rule is not None else request.path,
        exc_info=error,
        extra={"action": "request_failed", "request_id": g.get("request_id")},
    )
    extra = {"code": "internal", "hint": "the server's log has the details under this requestId"}
    return _send(500, _REASONS[500], extra)


def unauthorized() -> Response:
    """401 without a body; no browser dialog for calls that come from the login page (``api.md`` 1.2)."""
    response = Response(b"", 401)
    del response.headers["Content-Type"]
    if not (request.referrer or "").endswith("/login"):
        response.headers["WWW-Authenticate"] = "Basic"
    return response


def _with_reason(status: int, message: str) -> str:
    if message.startswith(_BEGIN):
        return message
    return f"{_REASONS.get(status, 'Error')}: {message}"


def _place(problem: Problem) -> dict[str, Any]:
    found: dict[str, Any] = {"code": problem.code}
    if problem.line:
        found |= {"line": problem.line, "column": problem.column}
    if problem.hint:
        found["hint"] = problem.hint
    return found


def _violation(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "path": problem.path, **_place(problem)}


def _send(status: int, message: str, extra: dict[str, Any], errors: list[Problem] | None = None) -> Response:
    if "requestId" not in extra and g.get("request_id"):
        extra["requestId"] = g.request_id
    if "application/problem+json" in request.headers.get("Accept", ""):
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": _REASONS.get(status, "Error"),
            "status": status,
            "detail": message,
            "instance": request.path,
            **extra,
        }
        if errors:
            body["errors"] = [_violation(problem) for problem in errors]
        mimetype = "application/problem+json"
    else:
        body = {"message": message, "_links": {"self": [{"href": request.path, "templated": False}]}}
        if errors:
            body["_embedded"] = {"errors": [_violation(problem) for problem in errors]}
        body |= extra
        mimetype = "application/json"
    response = Response(orjson.dumps(body), status, mimetype=mimetype)
    if status in (429, 503, 507):
        # Jitter, so that senders refused together do not come back together.
        response.headers["Retry-After"] = str(random.randint(1, 5))  # noqa: S311
    return response
