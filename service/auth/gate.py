"""The one gate in front of every route (``reliability.md`` S3): it decides by endpoint name, never by path text."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Iterable, Mapping, Set
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, request

from namespaces.errors import Forbidden, InvalidInput, TooMany, Unauthorized
from service.auth.accounts import Accounts
from service.auth.endpoints import AUTHENTICATED, PUBLIC
from service.auth.principal import LOCAL, Principal, require
from service.settings.model import is_loopback

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE = "lanner_session"
SECURE_COOKIE = "__Host-lanner_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


class Gate:
    """``mode`` none lets everybody in as the local administrator and ignores credentials; basic asks for a login."""

    def __init__(
        self,
        accounts: Accounts,
        table: Mapping[str, str],
        mode: str,
        *,
        own_hosts: Iterable[str] = (),
        upload_bytes: int = 1 << 30,
        uploads: Set[str] = frozenset(),
    ) -> None:
        """``own_hosts`` are names besides loopback under which this server is known; only ``uploads`` may be large."""
        self.accounts = accounts
        self._table = table
        self._mode = mode
        self._upload_bytes = upload_bytes
        self._uploads = uploads
        self._own_hosts = frozenset({"localhost", "127.0.0.1", "::1", *own_hosts})

    def install(self, app: Flask) -> None:
        app.before_request(self.decide)

    def decide(self) -> Response | None:
        """Let the request through (None) or raise. An endpoint that is not in the table is refused."""
        sent = request.headers.get("X-Request-Id", "")
        g.request_id = sent if _REQUEST_ID.fullmatch(sent) else os.urandom(8).hex()
        endpoint = request.endpoint
        if endpoint in self._uploads:
            # The route decides how much may be read, never the content type the client claims.
            request.max_content_length = self._upload_bytes
        permission = self._table.get(endpoint) if endpoint is not None else AUTHENTICATED
        if permission == PUBLIC:
            g.permission = PUBLIC
            g.principal = LOCAL if self._mode == "none" else None
            return None
        if self._mode == "none":
            self._only_own_pages()
            principal: Principal | None = LOCAL
        else:
            principal = self._principal()
        if principal is None:
            raise Unauthorized("no or wrong credentials")
        g.principal = principal
        if endpoint is None:
            # No such route, or not with this method: Flask tells it, to those who may come in and only to them.
            return None
        if permission is None:
            raise Forbidden(f"the endpoint '{endpoint}' has no permission of its own", code="unlisted_endpoint")
        g.permission = permission
        if permission != AUTHENTICATED:
            require(permission, (request.view_args or {}).get("namespace"))
        return None

    def identify(self) -> Principal | None:
        """Who asks on a public route, whose answer may hold more for a known caller; never refuses."""
        if self._mode == "none":
            return LOCAL
        try:
            return self._principal()
        except (Forbidden, TooMany):
            return None

    def _only_own_pages(self) -> None:
        """Without a login the browser is the only door for strangers: another site's page, or a rebound name.

        A page under a rebound name reads with neither ``Origin`` nor ``Sec-Fetch-Site`` (browsers leave the latter out
        over plain HTTP), so the name is looked at whoever asks.
        """
        host = urlsplit(f"//{request.host}").hostname or ""
        if host not in self._own_hosts and not is_loopback(host):
            raise Forbidden(
                f"'{request.host}' is not a name of this server",
                code="foreign_host",
                hint="without a login it answers to localhost and the host of server.url only",
            )
        if request.method not in SAFE:
            require_same_origin()

    def _principal(self) -> Principal | None:
        header = request.headers.get("Authorization")
        if header is not None:
            return self._basic(header)
        cookie = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE)
        return self._session(cookie) if cookie else None

    def _basic(self, header: str) -> Principal | None:
        """The user of a Basic header; anything else, a malformed one included, is nobody."""
        kind, _, encoded = header.partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            username, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not colon or len(username) > 256 or len(password) > 256:
            return None
        if not self.accounts.check(username, password, request.remote_addr or ""):
            return None
        return Principal(username, admin=True, via="basic")

    def _session(self, cookie: str) -> Principal | None:
        session = self.accounts.session(cookie)
        if session is None:
            return None
        g.session = session
        if request.method not in SAFE:
            self._same_site(session.csrf)
        return Principal(session.username, admin=True, via="session")

    @staticmethod
    def _same_site(csrf: str) -> None:
        """An unsafe request with a cookie must come from our own pages (S6). Raises ``Forbidden``."""
        require_same_origin()
        token = request.headers.get(CSRF_HEADER) or _form_token()
        if not hmac.compare_digest(token.encode(), csrf.encode()):
            raise Forbidden("the request carries no valid CSRF token", code="csrf", hint="reload the page")


def require_same_origin() -> None:
    """Refuse what another site's page sent. Raises ``Forbidden``."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the request comes from another site", code="csrf")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden("the request comes from another origin", code="csrf")


def _form_token() -> str:
    if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return ""
    return request.form.get(CSRF_FIELD, "")


def set_session_cookie(response: Response, session_id: str) -> None:
    """HttpOnly, SameSite=Lax; over HTTPS also Secure with the ``__Host-`` name.

    Raises ``Forbidden`` for a login over plain HTTP from another machine, unless the server allows it.
    """
    secure = request.is_secure
    if not secure and not is_loopback(request.remote_addr or "") and not current_app.config["ALLOW_HTTP_LOGIN"]:
        raise Forbidden(
            "a login over plain HTTP from another machine is refused: the password can be read on the way",
            code="plain_http",
            hint="serve HTTPS through a proxy named in server.trusted_proxies, or set server.allow_http: true",
        )
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        session_id,
        max_age=7 * 86_400,
        httponly=True,
        secure=secure,
        samesite="Lax",
        path="/",
    )


def clear_session_cookies(response: Response) -> None:
    for name in (COOKIE, SECURE_COOKIE):
        if name in request.cookies:
            response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True, samesite="Lax")


def credentials(body: Any) -> tuple[str, str]:
    """``username`` and ``password`` of a login or setup body. Raises ``InvalidInput``."""
    username, password = body.get("username"), body.get("password")
    if not isinstance(username, str) or not isinstance(password, str):
        raise InvalidInput("Invalid entity: username and password are required", code="invalid_credentials")
    return username, password
