"""Errors as pages: what happened, what to do, the request's id. Never a bare text, never a stack trace."""

from __future__ import annotations

import logging

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from namespaces.errors import InvalidFlow, LannerError, Problem
from service.ui.site import here, redirect, render, url

log = logging.getLogger("lanner.ui")

_TITLES = {
    400: "The request cannot be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "This address takes another kind of request",
    409: "The present state forbids this",
    413: "Too large",
    422: "This cannot be accepted",
    429: "Too many requests",
    500: "Lanner made a mistake",
    503: "Not available at the moment",
}


def draw_error(error: Exception) -> Response | None:
    """The page for an error below ``/ui``; a stranger is sent to the login page and comes back from there."""
    if isinstance(error, HTTPException) and error.code is not None and error.code < 400:
        return None
    status, message, hint, code = _facts(error)
    if status == 401 and request.method in ("GET", "HEAD") and "HX-Request" not in request.headers:
        return redirect(url("login", next=here() if request.path != "/ui/" else None))
    g.drawing_error = True
    problems: tuple[Problem, ...] = error.problems if isinstance(error, InvalidFlow) else ()
    response = render(
        "error.html",
        status,
        status=status,
        heading=_TITLES.get(status, "Error"),
        message=message,
        hint=hint,
        code=code,
        problems=problems,
        request_id=g.get("request_id", ""),
        back=_back(),
    )
    if status in (429, 503):
        response.headers["Retry-After"] = "3"
    return response


def _facts(error: Exception) -> tuple[int, str, str, str]:
    if isinstance(error, LannerError):
        return error.status, error.message, error.hint, error.code
    if isinstance(error, HTTPException):
        status = error.code or 500
        words = f"There is no page at {request.path}." if status == 404 else (error.description or error.name)
        return status, words, "", ""
    log.error(
        "%s %s failed",
        request.method,
        request.path,
        exc_info=error,
        extra={"action": "request_failed", "request_id": g.get("request_id")},
    )
    return (
        500,
        "The page could not be made.",
        "The server's log has the details under the request id below.",
        "internal",
    )


def _back() -> str:
    """Where the person came from, when that was a page of ours."""
    from urllib.parse import urlsplit

    from service.ui.site import own_path

    parts = urlsplit(request.referrer or "")
    if parts.netloc != request.host or parts.path == request.path:
        return url("home")
    return own_path(parts.path + (f"?{parts.query}" if parts.query else "")) or url("home")
