"""Security headers of every answer (``reliability.md`` S7), errors included."""

from __future__ import annotations

from flask import Response, g, request

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


def secured(response: Response) -> Response:
    """The response with the headers; what a route has set itself (a download's policy, caching) stays."""
    headers = response.headers
    for name, value in _ALWAYS:
        headers[name] = value
    headers.setdefault("Content-Security-Policy", POLICY)
    if "Cache-Control" not in headers:
        headers["Cache-Control"] = "no-store"
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    request_id = g.get("request_id")
    if request_id:
        headers["X-Request-Id"] = request_id
    return response
