"""The web application: one Flask app for REST, webhooks, health and pages. Every part is given by the wiring."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from namespaces.errors import LannerError
from service.api import blueprints, problems
from service.auth.endpoints import ENDPOINTS, UPLOADS
from service.auth.gate import Gate
from service.auth.headers import secured
from service.auth.setup import accounts_of
from service.proxies import BehindProxy
from service.request import LannerRequest
from service.rules import LazyRule
from service.stream import Streams, most_streams

if TYPE_CHECKING:
    from service.wiring import Lanner


def create_app(lanner: Lanner) -> Flask:
    """The application for a wired ``lanner`` (``service.wiring``). Starts nothing and opens nothing."""
    settings = lanner.settings
    app = Flask("lanner", static_folder=None, template_folder=None)
    app.url_rule_class = LazyRule
    app.request_class = LannerRequest
    app.extensions["lanner"] = lanner
    app.config.update(
        MAX_CONTENT_LENGTH=settings.limits.body_bytes,
        MAX_FORM_PARTS=settings.limits.form_parts,
        MAX_FORM_MEMORY_SIZE=settings.limits.body_bytes,
        ALLOW_HTTP_LOGIN=settings.server.allow_http,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        PROPAGATE_EXCEPTIONS=False,
    )
    # No redirects: they break the bodies of POSTs and drop credentials in some clients.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    accounts = accounts_of(lanner)
    app.extensions["lanner.accounts"] = accounts
    app.extensions["lanner.streams"] = Streams(most_streams(settings.server.threads))
    table = dict(ENDPOINTS)
    for blueprint in blueprints():
        app.register_blueprint(blueprint)
    pages = _pages()
    if pages is not None:
        app.register_blueprint(pages.blueprint)
        table.update(pages.ENDPOINTS)
    own = urlsplit(settings.server.url).hostname if settings.server.url else None
    gate = Gate(
        accounts,
        table,
        settings.auth.mode,
        own_hosts=[own] if own else [],
        upload_bytes=settings.limits.upload_bytes,
        uploads=UPLOADS | frozenset(getattr(pages, "UPLOADS", ())),
    )
    gate.install(app)
    app.extensions["lanner.gate"] = gate
    app.extensions["lanner.endpoints"] = table
    _answer_errors(app, pages, lanner)
    app.after_request(secured)
    if settings.server.trusted_proxies:
        app.wsgi_app = BehindProxy(app.wsgi_app, settings.server.trusted_proxies)  # type: ignore[method-assign]
    return app


def create_management_app(lanner: Lanner) -> Flask:
    """Health and figures without a login, for ``server.management_port``: bind it to loopback unless told otherwise."""
    from service import health, metrics

    app = Flask("lanner.management", static_folder=None, template_folder=None)
    app.extensions["lanner"] = lanner
    app.extensions["lanner.streams"] = Streams(0)
    app.config.update(PROVIDE_AUTOMATIC_OPTIONS=False, MAX_CONTENT_LENGTH=0)
    for blueprint in (health.resource, metrics.resource):
        app.register_blueprint(blueprint)
    _answer_errors(app, None, lanner)
    app.after_request(secured)
    return app


def _pages() -> Any:
    """The web pages (``service.ui``), None in an installation without them."""
    if find_spec("service.ui") is None:
        return None
    pages = import_module("service.ui")
    return pages if hasattr(pages, "blueprint") else None


def _limit_met() -> str:
    """Which limit made this request too large. A body without a length is cut off, never counted in parts."""
    length = request.content_length
    if length is not None and length <= (request.max_content_length or 0):
        return "form_parts"
    return "upload_bytes" if request.endpoint in UPLOADS else "body_bytes"


def _answer_errors(app: Flask, pages: Any, lanner: Lanner) -> None:
    """JSON for the API and machines; the pages draw their own errors where they want to."""

    def drawn(error: Exception) -> Response | None:
        draw = getattr(pages, "draw_error", None)
        if draw is None or not request.path.startswith("/ui"):
            return None
        answer: Response | None = draw(error)
        return answer

    @app.errorhandler(LannerError)
    def lanner_error(error: LannerError) -> Response:
        return drawn(error) or problems.of_lanner(error)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        if isinstance(error, RequestEntityTooLarge):
            lanner.hits.note(_limit_met())
            # The rest of the body stays unread: the connection cannot be used again.
            response = drawn(error) or problems.of_http(error)
            response.headers["Connection"] = "close"
            return response
        return drawn(error) or problems.of_http(error)

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        return drawn(error) or problems.of_bug(error)
