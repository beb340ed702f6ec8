"""Routes of the instance (``api.md`` 4.10): configuration, login, first user, usage, secrets' names, Pebble's words."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from flask import Response, current_app, request
from sqlalchemy.engine import Connection

from namespaces import listing
from namespaces.errors import NotFound, Unauthorized
from runner.rows import execution_table
from service.api.answers import answer, empty
from service.api.context import json_object, lanner, page
from service.api.problems import unauthorized
from service.api.routes import Resource
from service.auth import passwords
from service.auth.accounts import Accounts
from service.auth.gate import clear_session_cookies, credentials, require_same_origin, set_session_cookie
from service.auth.principal import LOCAL, Principal, caller
from service.version import VERSION

resource = Resource("instance")

SETUP_HEADER = "Lanner-Setup-Token"


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["lanner.accounts"]
    return accounts


def _known() -> Principal | None:
    """Who asks on a public route: its answer may hold more for those who are logged in."""
    gate = current_app.extensions["lanner.gate"]
    known: Principal | None = gate.identify()
    return known


def _initialized() -> bool:
    return lanner().settings.auth.mode == "none" or _accounts().initialized


@resource.on("GET", "/configs")
def configs() -> Response:
    """Before login only version, edition and whether the set-up is done (``reliability.md`` S3)."""
    settings = lanner().settings
    shape: dict[str, Any] = {
        "version": VERSION,
        "edition": "OSS",
        "isBasicAuthInitialized": _initialized(),
    }
    if _known() is None:
        return answer(shape)
    names = sorted(entry.name for entry in lanner().catalog)
    shape |= {
        "uuid": _instance_id(),
        "isAnonymousUsageEnabled": False,
        "isAnonymousUsageUIEnabled": False,
        "isCustomDashboardsEnabled": False,
        "isTaskRunEnabled": False,
        "isTemplateEnabled": False,
        "isAiEnabled": False,
        "isConcurrencyViewEnabled": True,
        "preview": {"initial": 100, "max": 5000},
        "systemNamespace": settings.server.system_namespace,
        "hiddenLabelsPrefixes": ["system."],
        "chartDefaultDuration": "P30D",
        "pluginsHash": int(hashlib.sha256("\n".join(names).encode()).hexdigest()[:7], 16),
    }
    if settings.server.url:
        shape["url"] = settings.server.url
    if settings.server.environment.name:
        environment = settings.server.environment
        shape["environment"] = {"name": environment.name, "color": environment.color}
    return answer(shape)


def _instance_id() -> str:
    """Names this installation without telling anything about it."""
    url = lanner().database.url.render_as_string(hide_password=True)
    return hashlib.sha256(f"lanner:{url}".encode()).hexdigest()[:32]


@resource.on("GET", "/configs/login")
def configs_login() -> Response:
    return answer({"isBasicAuthInitialized": _initialized()})


@resource.on("POST", "/login", "/configs/login")
def login() -> Response:
    """Checks the credentials and opens a browser session."""
    require_same_origin()
    if lanner().settings.auth.mode == "none":
        return answer({"username": LOCAL.name})
    username, password = credentials(json_object())
    if not _accounts().check(username, password, request.remote_addr or ""):
        return unauthorized()
    session_id, session = _accounts().open_session(username)
    response = answer({"username": username, "csrf": session.csrf})
    set_session_cookie(response, session_id)
    return response


@resource.on("POST", "/logout")
def logout() -> Response:
    response = answer({})
    for name in ("__Host-lanner_session", "lanner_session"):
        if name in request.cookies:
            _accounts().close_session(request.cookies[name])
    clear_session_cookies(response)
    return response


@resource.on("POST", "/basicAuth")
def basic_auth() -> Response:
    """The first user, with the printed token; later only a known caller may set credentials."""
    accounts = _accounts()
    username, password = credentials(json_object())
    if accounts.initialized:
        known = _known()
        if known is None:
            raise Unauthorized("no or wrong credentials")
        accounts.save_user(username, password, by=known.name)
    else:
        accounts.setup(request.headers.get(SETUP_HEADER, ""), username, password)
    return empty(204)


@resource.on("GET", "/basicAuthValidationErrors")
def basic_auth_errors() -> Response:
    """What is wrong with the configured administrator; open only while nobody can log in."""
    if _initialized() and _known() is None:
        raise Unauthorized("no or wrong credentials")
    admin = lanner().settings.auth.admin
    faults: list[str] = []
    if admin.username:
        faults += passwords.username_faults(admin.username)
    return answer(faults)


@resource.on("GET", "/usages/all")
def usages() -> Response:
    def read(connection: Connection) -> dict[str, Any]:
        flows = listing.matching_flows(connection, ())
        ended = execution_table.c.state
        states = connection.execute(sa.select(ended, sa.func.count().label("n")).group_by(ended))
        return {
            "flows": {"count": len(flows), "namespacesCount": len({flow.namespace for flow in flows})},
            "executions": {"countByState": {row.state: row.n for row in states}},
        }

    return answer(lanner().database.read(read))


@resource.on("GET", "/pebble/filters")
def pebble_filters() -> Response:
    from namespaces.expressions.builtins import FILTERS

    return answer(sorted(FILTERS))


@resource.on("GET", "/pebble/functions")
def pebble_functions() -> Response:
    from namespaces.expressions.builtins import FUNCTIONS

    return answer([{"name": name} for name in sorted(FUNCTIONS)])


@resource.on("GET", "/secrets")
def secrets() -> Response:
    """Names only; values have no read path."""
    asked = page()
    names = lanner().secrets.names()
    rows = [{"key": name} for name in names[asked.offset : asked.offset + asked.size]]
    return answer({"readOnly": True, "results": rows, "total": len(names)})


@resource.on("GET", "/me")
def me() -> Response:
    principal = caller()
    if principal is None:
        raise NotFound("Not Found")
    return answer(
        {"id": principal.name, "username": principal.name, "superAdmin": principal.admin, "restricted": False}
    )
